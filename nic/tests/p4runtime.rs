// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the device process with third-party P4Runtime clients.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use adit_p4runtime::p4info::{p4info, text};
use adit_p4runtime::program::Package;
use adit_qemu_tests::python::{Environment, FINSY, P4RUNTIME_SHELL};

const PROGRAM: &str = include_str!("p4runtime/clients.p4");

struct Nic {
    process: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Drop for Nic {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts a device process; the kernel selects the port.
fn nic() -> Nic {
    let folder = tempfile::tempdir().expect("a folder");
    let mut process = Command::new(env!("CARGO_BIN_EXE_adit-nic"))
        .arg("--socket")
        .arg(folder.path().join("nic.sock"))
        .args(["--p4rt", "127.0.0.1:0"])
        .env("NO_COLOR", "1")
        .env_remove("ADIT_LOG")
        .stderr(Stdio::piped())
        .spawn()
        .expect("adit-nic starts");
    let mut lines = BufReader::new(process.stderr.take().expect("its log")).lines();
    let address = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("P4Runtime address=")?.1.trim().to_owned()))
        .expect("no line with the listening address");
    // The log must be drained while the process runs.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    Nic {
        process,
        address,
        _folder: folder,
    }
}

/// Runs a client's script, which prints its checks and fails on the first error.
fn drive(client: Environment, script: &str, least: usize) {
    let python = client.python().unwrap_or_else(|error| panic!("{error:#}"));
    let nic = nic();
    let folder = tempfile::tempdir().expect("a folder");
    let package = Package::source(PROGRAM);
    let program = package.program().expect("the program has no errors");
    let info = p4info(&program).expect("its ids are right").p4info;
    let (info_file, blob) = (
        folder.path().join("p4info.txtpb"),
        folder.path().join("blob"),
    );
    std::fs::write(&info_file, text::to_text(&info).expect("P4Info as text")).expect("a file");
    std::fs::write(&blob, package.to_bytes()).expect("a file");
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/p4runtime")
        .join(script);
    let output = Command::new("timeout")
        .arg("300")
        .arg(python)
        .arg(script)
        .arg(&nic.address)
        .args([&info_file, &blob])
        .output()
        .expect("the client starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{stdout}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let checks = stdout
        .lines()
        .filter(|line| line.starts_with("ok - "))
        .count();
    assert!(checks >= least, "only {checks} checks were made:\n{stdout}");
}

#[test]
fn finsy_drives_the_device() {
    drive(FINSY, "finsy_client.py", 22);
}

#[test]
fn p4runtime_shell_drives_the_device() {
    drive(P4RUNTIME_SHELL, "shell_client.py", 14);
}

/// A code block of P4Runtime's README, selected by the info string of its fence.
fn readme(kind: &str) -> &'static str {
    let text = include_str!("../../p4runtime/README.md");
    let (_, behind) = text.split_once(&format!("```{kind}\n")).expect("the block");
    behind.split_once("```").expect("its end").0
}

#[test]
fn the_clients_of_the_readme_work_one_after_the_other() {
    let nic = nic();
    let folder = tempfile::tempdir().expect("a folder");
    let package = Package::source(include_str!("../../p4/l3.p4"));
    let program = package.program().expect("the program has no errors");
    let info = p4info(&program).expect("its ids are right").p4info;
    let text = text::to_text(&info).expect("P4Info as text");
    std::fs::write(folder.path().join("p4info.txtpb"), text).expect("a file");
    std::fs::write(folder.path().join("program.p4bin"), package.to_bytes()).expect("a file");
    for (client, kind, route) in [
        (FINSY, "python finsy", "set_nexthop"),
        (P4RUNTIME_SHELL, "python shell", "set_nexthop"),
    ] {
        let python = client.python().unwrap_or_else(|error| panic!("{error:#}"));
        let script = readme(kind);
        assert!(script.contains("127.0.0.1:9559"), "{script}");
        let output = Command::new("timeout")
            .arg("120")
            .arg(python)
            .arg("-c")
            .arg(script.replace("127.0.0.1:9559", &nic.address))
            .current_dir(folder.path())
            .output()
            .expect("the client starts");
        let stdout = String::from_utf8_lossy(&output.stdout);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{kind}: {stdout}{error}");
        assert!(stdout.contains(route), "{kind}: {stdout}{error}");
    }
}
