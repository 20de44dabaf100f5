// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the device process from the operator's view: its log, its errors, the limits of its
//! options.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

const ESCAPE: char = '\u{1b}';

fn adit_nic() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adit-nic"));
    command.env_remove("ADIT_LOG").env_remove("NO_COLOR");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// The log of the process until it listens, and after SIGTERM.
fn log_of(args: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let mut process = adit_nic()
        .arg("--socket")
        .arg(folder.path().join("nic.sock"))
        .args(args)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let mut log = Vec::new();
    for line in lines.by_ref().map(Result::unwrap) {
        log.push(line);
        if log.last().is_some_and(|line| line.contains(" ready ")) {
            break;
        }
    }
    let pid = rustix::process::Pid::from_child(&process);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    log.extend(lines.map(Result::unwrap));
    assert!(process.wait().unwrap().success(), "{log:#?}");
    log
}

/// The output of a process that fails to start.
fn refused(args: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut command = adit_nic();
    if !args.contains(&"--socket") {
        command.arg("--socket").arg(folder.path().join("nic.sock"));
    }
    // A process that starts nevertheless must not run indefinitely.
    let mut limited = Command::new("timeout");
    limited
        .arg("20")
        .arg(command.get_program())
        .args(command.get_args())
        .args(args);
    let Output { status, stderr, .. } = limited.env_remove("ADIT_LOG").output().unwrap();
    let text = String::from_utf8(stderr).unwrap();
    assert!(
        matches!(status.code(), Some(1 | 2)),
        "{args:?}: {status}, {text}"
    );
    text
}

/// The error line of a process that fails to start; its log has at most one line before that.
fn error_of(args: &[&str]) -> String {
    let text = refused(args);
    let (before, error) = text
        .trim_end()
        .rsplit_once('\n')
        .unwrap_or(("", text.trim_end()));
    assert!(before.lines().count() <= 1, "{text}");
    error.to_owned()
}

#[test]
fn a_start_is_a_few_lines_without_colours() {
    let log = log_of(&["--wire", "none"]);
    assert!((2..=4).contains(&log.len()), "{log:#?}");
    for line in &log {
        assert!(!line.contains(ESCAPE) && line.contains(" adit_"), "{line}");
    }
    let program = log
        .iter()
        .find(|line| line.contains("P4 program loaded: compiled"));
    let program = program.expect("a line for the program");
    for part in [r#"name="default.p4""#, "tables=0", "blocks=3", "ms="] {
        assert!(program.contains(part), "{part}: {program}");
    }
}

#[test]
fn a_program_is_one_line() {
    let l3 = Path::new(env!("CARGO_MANIFEST_DIR")).join("../p4/l3.p4");
    let log = log_of(&["--p4", l3.to_str().unwrap()]);
    let about = |text| log.iter().filter(|line| line.contains(text)).count();
    assert_eq!(about("P4 program loaded"), 1, "{log:#?}");
    assert_eq!(about("cranelift"), 0, "{log:#?}");
    assert!(log.len() <= 4, "{log:#?}");
}

#[test]
fn what_is_listened_at_is_logged() {
    let log = log_of(&["--metrics", "127.0.0.1:0", "--p4rt", "127.0.0.1:0"]).join("\n");
    assert!(log.contains("metrics address=127.0.0.1:"), "{log}");
    assert!(log.contains("P4Runtime address=127.0.0.1:"), "{log}");
}

#[test]
fn an_error_is_one_line_that_names_its_cause_once() {
    let long = "x".repeat(200);
    for (args, cause) in [
        (
            vec!["--socket", "/nonexistent/d/x.sock"],
            "No such file or directory",
        ),
        (vec!["--socket", &long], "name too long"),
        (
            vec!["--wire", "pcap:/nonexistent,o"],
            "No such file or directory",
        ),
        (
            vec!["--wire", "pcap:-,/nonexistent/d/o"],
            "No such file or directory",
        ),
        (vec!["--wire", "pcap:/dev/null,-"], "not a regular file"),
        (
            vec!["--wire", "unix:/nonexistent/d/x"],
            "No such file or directory",
        ),
        (vec!["--wire", "unix:/dev/null"], "is not a socket"),
        (vec!["--p4", "/nonexistent.p4"], "No such file or directory"),
        (
            vec!["--p4rt", "192.0.2.1:9559"],
            "Cannot assign requested address",
        ),
        (
            vec!["--p4rt", "unix:/nonexistent/d/x"],
            "No such file or directory",
        ),
        (
            vec![
                "--p4rt",
                "127.0.0.1:0",
                "--p4rt-cert",
                "/nonexistent",
                "--p4rt-key",
                "k",
            ],
            "No such file or directory",
        ),
        (
            vec!["--metrics", "192.0.2.1:9100"],
            "Cannot assign requested address",
        ),
    ] {
        let error = error_of(&args);
        assert!(error.starts_with("adit-nic: "), "{args:?}: {error}");
        assert_eq!(error.matches(cause).count(), 1, "{args:?}: {error}");
    }
}

#[test]
fn limits_are_checked_where_they_are_given() {
    let qmp = ["--qmp", "/nonexistent/qmp"];
    let sixteen_wires = ["--wire", "none"].repeat(16);
    for (args, expected) in [
        (vec!["--adis", "99999999"], "0..=16384"),
        (vec!["--adis", "16385"], "0..=16384"),
        (vec!["--adi-queues", "99999999"], "0..=16384"),
        (
            vec!["--adis", "5", "--adi-queues", "0"],
            "5 ADIs need 5 queue pairs or more: there are 0",
        ),
        (vec!["--queues", "129"], "1..=128"),
        (vec!["--queues", "0"], "1..=128"),
        (vec!["--queues", "65536"], "1..=128"),
        (
            [&sixteen_wires[..], &["--wire", "none"]].concat(),
            "17 virtual ports: there can be 1 to 16",
        ),
        (
            [&sixteen_wires[..], &["--queues", "128"]].concat(),
            "there can be 126 queues",
        ),
        (
            [&sixteen_wires[..], &["--mac", "02:ff:ff:ff:ff:ff"]].concat(),
            "a group or zero",
        ),
        (
            vec!["--mac", "02:ad:17:80:00:05"],
            "02:ad:17:80:00:00 to 02:ad:17:80:27:ff",
        ),
        (
            vec!["--layout", "vf", "--adis", "5"],
            "the vf register layout has no space",
        ),
        (vec!["--layout", "siov"], "`siov` is not a register layout"),
        (vec!["--pci-id", "ffff:0001"], "ffff:0001"),
        (vec!["--p4rt", "127.0.0.1:0", "--p4rt-device", "0"], "1.."),
    ] {
        let error = refused(&[&qmp[..], &args].concat());
        assert!(error.contains(expected), "{args:?}: {error}");
        assert!(!error.contains("ready"), "{args:?}: {error}");
    }
}

#[test]
fn the_largest_limits_are_accepted() {
    log_of(&[
        "--qmp",
        "/nonexistent/qmp",
        "--adis",
        "16384",
        "--adi-queues",
        "16384",
    ]);
    log_of(&["--qmp", "/nonexistent/qmp", "--adi-queues", "100"]);
    log_of(&["--adis", "0", "--adi-queues", "0"]);
    let wires = ["--wire", "none"].repeat(16);
    log_of(&[&wires[..], &["--queues", "126"]].concat());
}

#[test]
fn adis_without_qmp_are_refused_by_name() {
    for option in ["--adis", "--adi-queues"] {
        let error = refused(&[option, "5"]);
        assert!(error.contains(&format!("{option} needs --qmp")), "{error}");
    }
}

#[test]
fn options_for_adis_are_refused_with_a_layout_without_space_for_them() {
    for option in ["--adis", "--adi-queues"] {
        let error = refused(&["--layout", "vf", option, "5"]);
        let cause = format!("{option} is for ADIs, and the vf register layout has no space");
        assert!(error.contains(&cause), "{error}");
        assert!(error.contains("use --layout pf"), "{error}");
    }
    log_of(&["--layout", "vf", "--adis", "0", "--adi-queues", "0"]);
    log_of(&["--layout", "vf", "--qmp", "/nonexistent/qmp"]);
}

#[test]
fn a_bad_filter_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let output = adit_nic()
        .arg("--socket")
        .arg(folder.path().join("nic.sock"))
        .env("ADIT_LOG", "adit_nic=loud")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.starts_with("adit-nic: ADIT_LOG=`adit_nic=loud`: "),
        "{text}"
    );
}
