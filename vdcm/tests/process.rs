// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The daemon as a process, from the operator's and the service manager's view.

mod daemon;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use adit_vdcm::control::message::MAX_REQUEST_LEN;
use adit_vdcm::protocol::Spec;
use daemon::Daemon;
use rustix::process::Signal;

/// The error of a daemon that does not start.
fn refused(words: &[&str], folder: &Path) -> String {
    let mut limited = Command::new("timeout");
    limited
        .arg("60")
        .arg(env!("CARGO_BIN_EXE_adit-vdcm"))
        .args(words)
        .current_dir(folder)
        .env_remove("ADIT_LOG");
    let output = limited.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        matches!(output.status.code(), Some(1 | 2)),
        "{words:?}: {}, {text}",
        output.status
    );
    text
}

#[test]
fn the_service_manager_hears_of_start_and_stop() {
    for signal in [Signal::TERM, Signal::INT] {
        let daemon = Daemon::start("", &[]);
        let mut client = daemon.client();
        assert!(client.list().unwrap().is_empty());
        let mode = std::fs::metadata(daemon.path("control.sock"))
            .unwrap()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        // A connected client does not keep it from stopping.
        daemon.stop(signal);
        assert!(client.list().is_err());
    }
}

#[test]
fn the_socket_has_the_mode_of_the_configuration() {
    let daemon = Daemon::start("[control]\nmode = \"0606\"", &[]);
    let mode = std::fs::metadata(daemon.path("control.sock"))
        .unwrap()
        .mode();
    assert_eq!(mode & 0o777, 0o606);
    daemon.stop(Signal::TERM);
}

#[test]
fn the_limit_of_descriptors_is_raised() {
    // As many shells start programs.
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -Sn 128 && exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_adit-vdcm"))
        .stdin(std::process::Stdio::null());
    let daemon = Daemon::start_with(shell, "", &[]);
    let limits = format!("/proc/{}/limits", daemon.process.id());
    let limits = std::fs::read_to_string(limits).unwrap();
    let files = limits
        .lines()
        .find_map(|it| it.strip_prefix("Max open files"));
    let numbers: Vec<u64> = files
        .unwrap()
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    assert_eq!(numbers[0], numbers[1], "{limits}");
    assert!(numbers[0] > 128);
}

#[test]
fn a_second_daemon_leaves_the_first_alone() {
    let daemon = Daemon::start("", &[]);
    let path = daemon.path("control.sock");
    let error = refused(&["--control", path.to_str().unwrap()], daemon.folder.path());
    assert!(error.contains("another process listens"), "{error}");
    daemon.client().list().unwrap();
    daemon.stop(Signal::TERM);
}

#[test]
fn a_new_configuration_is_read_on_sighup() {
    let daemon = Daemon::start("max_devices = 5", &[]);
    for (config, status, log) in [
        ("max_devices = 6", "0 devices", "the change of max_devices"),
        (
            "max_devices = \"x\"",
            "unchanged",
            "the configuration is unchanged",
        ),
    ] {
        std::fs::write(daemon.path("vdcm.toml"), config).unwrap();
        daemon.signal(Signal::HUP);
        let reloading = daemon.notified();
        assert!(reloading.contains("RELOADING=1"), "{reloading}");
        let ready = daemon.notified();
        assert!(
            ready.starts_with("READY=1\n") && ready.contains(status),
            "{ready}"
        );
        assert!(daemon.log().contains(log), "{}", daemon.log());
    }
    daemon.client().list().unwrap();
    daemon.stop(Signal::TERM);
}

#[test]
fn what_is_wrong_is_said_at_start() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.toml"), "[control]\nmodes = 1").unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    for (words, part) in [
        (
            &["--control", "s", "--config", "none.toml"][..],
            "none.toml",
        ),
        (&["--control", "s", "--config", "bad.toml"], "modes"),
        (&["--control", "file"], "not a socket"),
        (&["--control", "no/folder"], "no: open"),
        (&["--controls", "s"], "--controls"),
    ] {
        let error = refused(words, folder.path());
        assert!(error.contains(part), "{words:?}: {error}");
    }
    assert!(!folder.path().join("s").exists());
}

#[cfg(feature = "embedded")]
#[test]
fn devices_are_made_of_an_embedded_nic() {
    use adit_vdcm::control::client::ClientError;
    use adit_vdcm::protocol::{ErrorCode, VdevState};
    use std::os::unix::fs::FileTypeExt;

    let config = "[sockets]\nmode = \"0660\"\n[[device]]\nname = \"web\"";
    let daemon = Daemon::start(config, &["--embedded", "--wire", "none"]);
    let mut client = daemon.client();
    let web = client.show("web").unwrap();
    assert_eq!((web.state, web.adis.len()), (VdevState::Idle, 1));
    assert_eq!(web.socket, daemon.path("web.sock"));
    let file = std::fs::metadata(&web.socket).unwrap();
    assert!(file.file_type().is_socket());
    assert_eq!(file.mode() & 0o777, 0o660);
    let db = client.create(Spec::default()).unwrap();
    assert_eq!(client.list().unwrap().len(), 2);
    client.stats(&db.name).unwrap();
    client.trace(&db.name, 0).unwrap();
    client.destroy(&db.name).unwrap();
    assert!(!db.socket.exists());
    let taken = Spec {
        name: Some("web".into()),
        ..Spec::default()
    };
    match client.create(taken) {
        Err(ClientError::Refused(error)) => assert_eq!(error.code, ErrorCode::Exists),
        other => panic!("{other:?}"),
    }
    // A device that was destroyed is made again; one that exists is left alone.
    client.destroy("web").unwrap();
    daemon.signal(Signal::HUP);
    daemon.notified();
    assert!(daemon.notified().contains("1 devices"));
    let socket = client.show("web").unwrap().socket;
    daemon.stop(Signal::TERM);
    assert!(!socket.exists());
}

#[test]
fn a_state_that_is_longer_than_a_request_is_restored() {
    let daemon = Daemon::start("", &["--embedded", "--wire", "none"]);
    let mut client = daemon.client();
    let spec = |name: &str| Spec {
        name: Some(name.to_owned()),
        ..Spec::default()
    };
    client.create(spec("web")).unwrap();
    let mut state = client.save("web").unwrap();
    client.destroy("web").unwrap();
    // A driver that takes no messages.
    let message = serde_json::json!({
        "opcode": 526, "status": 0, "cookie": 7, "payload": "5a".repeat(4096),
    });
    state["function"]["mailbox"]["backlog"] = vec![message; 64].into();
    let len = state.to_string().len();
    assert!(len > 2 * MAX_REQUEST_LEN, "{len}");
    let restored = client.restore(spec("again"), state.clone()).unwrap();
    assert!(restored.suspended);
    let saved = client.save("again").unwrap();
    // Not by assert_eq, which would print both.
    assert!(saved["function"]["mailbox"] == state["function"]["mailbox"]);

    // One that is too long, or no state, leaves nothing, and the connection goes on.
    client.destroy("again").unwrap();
    for (at, wrong, part) in [
        ("format", "x".repeat(9 << 20), "the limit is 8388608"),
        ("more", "x".repeat(1 << 20), "unknown field `more`"),
    ] {
        let mut state = state.clone();
        state[at] = wrong.into();
        let refused = client
            .restore(spec("again"), state)
            .unwrap_err()
            .to_string();
        assert!(refused.contains(part), "{refused}");
        assert!(client.list().unwrap().is_empty());
    }
    daemon.stop(Signal::TERM);
}
