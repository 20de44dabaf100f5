// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A QMP client with one purpose: the reason for QEMU's exit (QEMU's `qapi/run-state.json`).

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use serde_json::{json, Value};

/// Timeout for the rest of QEMU's events once its process has exited, which end with its socket.
const DRAIN: Duration = Duration::from_secs(20);

/// A connection to a QMP socket of QEMU that has no other user.
pub(crate) struct Monitor {
    to: UnixStream,
    shutdown: mpsc::Receiver<String>,
    /// The reason of a SHUTDOWN event that was received.
    reason: Option<String>,
}

impl Monitor {
    /// Connects, and waits for the socket until `timeout`.
    pub(crate) fn connect(socket: &Path, timeout: Duration) -> Result<Self> {
        let start = Instant::now();
        let mut to = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) if start.elapsed() > timeout => {
                    bail!("QEMU does not offer {} ({error})", socket.display())
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        to.set_write_timeout(Some(DRAIN))?;
        let from = to.try_clone().context("cannot share the QMP socket")?;
        execute(&mut to, "qmp_capabilities")?;
        let (found, shutdown) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                if let Some(reason) = shutdown_reason(&line) {
                    let _ = found.send(reason);
                }
            }
        });
        Ok(Self {
            to,
            shutdown,
            reason: None,
        })
    }

    /// Returns the reason of the SHUTDOWN event, if QEMU sends one within `timeout`.
    pub(crate) fn announced(&mut self, timeout: Duration) -> Option<&str> {
        let wait = |shutdown: &mpsc::Receiver<String>| shutdown.recv_timeout(timeout).ok();
        self.reason = self.reason.take().or_else(|| wait(&self.shutdown));
        self.reason.as_deref()
    }

    /// Returns the reason of the SHUTDOWN event of a QEMU whose process has exited; none if it sent
    /// no such event, as when it crashed.
    pub(crate) fn final_reason(&mut self) -> Option<&str> {
        let last = |shutdown: &mpsc::Receiver<String>| shutdown.recv_timeout(DRAIN).ok();
        self.reason = self.reason.take().or_else(|| last(&self.shutdown));
        self.reason.as_deref()
    }

    /// Makes QEMU exit at once, like cutting the power.
    pub(crate) fn quit(&mut self) -> Result<()> {
        execute(&mut self.to, "quit")
    }
}

fn execute(to: &mut UnixStream, command: &str) -> Result<()> {
    let line = format!("{}\n", json!({ "execute": command }));
    to.write_all(line.as_bytes())
        .with_context(|| format!("QMP command {command}"))
}

/// Returns the reason in a line from QEMU, if that is a SHUTDOWN event.
fn shutdown_reason(line: &str) -> Option<String> {
    let message: Value = serde_json::from_str(line).ok()?;
    (message["event"] == "SHUTDOWN")
        .then(|| message["data"]["reason"].as_str().map(str::to_owned))?
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// Creates a monitor whose peer sends `lines` and closes.
    fn monitor(lines: &'static str) -> Result<Monitor> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("qmp.sock");
        let listener = UnixListener::bind(&path)?;
        let server = std::thread::spawn(move || -> std::io::Result<()> {
            let (mut client, _) = listener.accept()?;
            let mut first = String::new();
            BufReader::new(client.try_clone()?).read_line(&mut first)?;
            assert_eq!(first, "{\"execute\":\"qmp_capabilities\"}\n");
            client.write_all(lines.as_bytes())
        });
        let monitor = Monitor::connect(&path, Duration::from_secs(60))?;
        server.join().expect("the server")?;
        Ok(monitor)
    }

    #[test]
    fn the_reason_of_a_shutdown_is_found_among_other_events() -> Result<()> {
        let mut monitor = monitor(
            "{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}\n{\"return\": {}}\n\
             {\"event\": \"RESET\", \"data\": {\"guest\": true, \"reason\": \"guest-reset\"}}\n\
             {\"timestamp\": {\"seconds\": 1}, \"event\": \"SHUTDOWN\", \
             \"data\": {\"guest\": true, \"reason\": \"guest-shutdown\"}}\n",
        )?;
        assert_eq!(monitor.final_reason(), Some("guest-shutdown"));
        assert_eq!(monitor.announced(Duration::ZERO), Some("guest-shutdown"));
        Ok(())
    }

    #[test]
    fn a_crash_has_no_reason() -> Result<()> {
        let mut monitor = monitor("{\"QMP\": {}}\n{\"return\": {}}\n{\"event\": \"SHUT")?;
        assert_eq!(monitor.final_reason(), None);
        Ok(())
    }
}
