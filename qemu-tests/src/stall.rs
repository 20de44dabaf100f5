// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The report on a guest that does not boot, and does not end either.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{bail, Context, Result};
use serde_json::{json, Value};

/// Timeout of each reply of QEMU.
const REPLY: Duration = Duration::from_secs(5);

/// Number of samples of the processors, and the interval between them.
const SAMPLES: u32 = 3;
const INTERVAL: Duration = Duration::from_millis(200);

/// The guest's agent did not respond in time, though QEMU runs.
#[derive(Debug, thiserror::Error)]
#[error("the guest's agent did not respond within {seconds} s\n{report}")]
pub struct Stalled {
    /// The timeout in seconds.
    pub(crate) seconds: u64,
    /// Where its processors were, and the ends of its logs.
    pub(crate) report: String,
}

/// Returns samples of the instruction pointers of the guest's processors, from QEMU's monitor at
/// `socket`, or the reason for which there are none.
pub(crate) fn processors(socket: &Path) -> String {
    sample(socket).unwrap_or_else(|error| format!("--- processors: {error:#}\n"))
}

fn sample(socket: &Path) -> Result<String> {
    let mut to = UnixStream::connect(socket)
        .with_context(|| format!("cannot connect to {}", socket.display()))?;
    to.set_read_timeout(Some(REPLY))?;
    to.set_write_timeout(Some(REPLY))?;
    let mut from = BufReader::new(to.try_clone()?);
    call(&mut to, &mut from, &json!({"execute": "qmp_capabilities"}))?;
    let mut text = String::from("--- processors\n");
    for index in 0..SAMPLES {
        if index > 0 {
            std::thread::sleep(INTERVAL);
        }
        let registers = json!({
            "execute": "human-monitor-command",
            "arguments": {"command-line": "info registers -a"},
        });
        let reply = call(&mut to, &mut from, &registers)?;
        let places = places(reply["return"].as_str().unwrap_or_default());
        let _ = writeln!(text, "{}", places.join("; "));
    }
    Ok(text)
}

/// Sends a command, and returns the message that answers it; events are passed over.
fn call(to: &mut UnixStream, from: &mut impl BufRead, command: &Value) -> Result<Value> {
    to.write_all(format!("{command}\n").as_bytes())?;
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            bail!("QEMU closed its monitor in the middle of {command}");
        }
        let message: Value = serde_json::from_str(&line)?;
        if message.get("error").is_some() {
            bail!("QEMU refused {command}: {}", message["error"]);
        }
        if message.get("return").is_some() {
            return Ok(message);
        }
    }
}

/// Returns each processor's number and the line with its instruction pointer and flags, of QEMU's
/// `info registers -a`.
fn places(registers: &str) -> Vec<String> {
    let mut processor = "";
    let mut places = Vec::new();
    for line in registers.lines().map(str::trim) {
        if line.starts_with("CPU#") {
            processor = line;
        } else if line.starts_with("RIP=") || line.starts_with("EIP=") {
            places.push(format!("{processor} {line}"));
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn each_processor_has_its_place() {
        let text = "\nCPU#0\nRAX=0 RBX=1\nRIP=ffffffff8100 RFL=00000246 HLT=1\nES =0\n\n\
                    CPU#1\nRAX=0\nRIP=ffffffff8200 RFL=00000046 HLT=0\n";
        let expected = [
            "CPU#0 RIP=ffffffff8100 RFL=00000246 HLT=1",
            "CPU#1 RIP=ffffffff8200 RFL=00000046 HLT=0",
        ];
        assert_eq!(places(text), expected);
    }

    #[test]
    fn events_are_passed_over_and_an_end_is_an_error() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("monitor.sock");
        let listener = UnixListener::bind(&path)?;
        let server = std::thread::spawn(move || -> std::io::Result<()> {
            let (mut client, _) = listener.accept()?;
            let mut lines = BufReader::new(client.try_clone()?).lines();
            client.write_all(b"{\"QMP\": {}}\n")?;
            lines.next();
            client.write_all(b"{\"return\": {}}\n")?;
            lines.next();
            client.write_all(
                b"{\"event\": \"RESUME\"}\n{\"return\": \"CPU#0\\r\\nRIP=12 RFL=2\\r\\n\"}\n",
            )?;
            lines.next();
            Ok(())
        });
        let error = sample(&path).expect_err("the server ends after one sample");
        assert!(error.to_string().contains("closed its monitor"), "{error}");
        server.join().expect("the server")?;
        Ok(())
    }
}
