// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A daemon as a process, with a service manager.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use adit_vdcm::control::client::Client;
use rustix::process::{kill_process, Pid, Signal};

/// The timeout for everything that a correct daemon does soon.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) fn adit_vdcm() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adit-vdcm"));
    command.env_remove("ADIT_LOG").env_remove("NOTIFY_SOCKET");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// A daemon with a service manager.
pub(crate) struct Daemon {
    pub(crate) process: Child,
    manager: UnixDatagram,
    pub(crate) folder: tempfile::TempDir,
}

impl Daemon {
    /// Starts one, with this configuration and these arguments; it is ready then.
    pub(crate) fn start(config: &str, words: &[&str]) -> Self {
        Self::start_with(adit_vdcm(), config, words)
    }

    /// Starts one by a command that passes its arguments on.
    pub(crate) fn start_with(mut command: Command, config: &str, words: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let manager = UnixDatagram::bind(path("notify")).unwrap();
        manager.set_read_timeout(Some(TIMEOUT)).unwrap();
        std::fs::write(path("vdcm.toml"), config).unwrap();
        let log = std::fs::File::create(path("log")).unwrap();
        let process = command
            .arg("--control")
            .arg(path("control.sock"))
            .arg("--config")
            .arg(path("vdcm.toml"))
            .args(words)
            .env("NOTIFY_SOCKET", path("notify"))
            .stderr(log)
            .spawn()
            .unwrap();
        let daemon = Self {
            process,
            manager,
            folder,
        };
        let ready = daemon.notified();
        assert!(ready.starts_with("READY=1\n"), "{ready}: {}", daemon.log());
        daemon
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }

    /// The next notification.
    pub(crate) fn notified(&self) -> String {
        let mut buffer = [0; 4096];
        match self.manager.recv(&mut buffer) {
            Ok(len) => String::from_utf8(buffer[..len].to_vec()).unwrap(),
            Err(error) => panic!("{error}: {}", self.log()),
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.path("control.sock")).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Stops it with a signal.
    pub(crate) fn stop(mut self, signal: Signal) {
        self.signal(signal);
        let stopping = self.notified();
        assert!(stopping.starts_with("STOPPING=1"), "{stopping}");
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.log());
        assert!(!self.path("control.sock").exists());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended already, unless a test has failed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
