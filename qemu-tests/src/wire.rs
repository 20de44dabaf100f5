// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The host's end of the wire: addresses, and commands that run there for the guest.

use std::collections::HashMap;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::{kill_process_group, Pid, Signal};

use crate::proto::{execute, send, shell_status, Frame, Kind, SharedWriter};
use crate::sandbox::{Entrance, Sandbox};

/// Time that a background command has to exit on SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// Returns the interface of wire `index` on the host's side.
pub fn interface(index: usize) -> String {
    format!("wire{index}")
}

/// Returns the addresses of wire `index`, without prefix lengths (24 and 64): the host's end is 1,
/// the guest's is 2.
pub fn addresses(index: usize, end: u8) -> (String, String) {
    let net = if index == 0 {
        String::from("fd99:")
    } else {
        format!("fd99:{index}:")
    };
    (format!("10.99.{index}.{end}"), format!("{net}:{end}"))
}

/// Creates the TAP device of wire `index` with its addresses. It keeps them while it is down,
/// including those of IPv6, which the kernel would otherwise remove (`keep_addr_on_down`,
/// `ip-sysctl`).
pub fn add(sandbox: &Sandbox, index: usize) -> Result<()> {
    let (name, (v4, v6)) = (interface(index), addresses(index, 1));
    let (v4, v6) = (format!("{v4}/24"), format!("{v6}/64"));
    sandbox.run(&["ip", "tuntap", "add", &name, "mode", "tap"])?;
    let keep = format!("net.ipv6.conf.{name}.keep_addr_on_down=1");
    sandbox.run(&["sysctl", "-qw", &keep])?;
    sandbox.run(&["ip", "link", "set", &name, "up"])?;
    sandbox.run(&["ip", "addr", "add", &v4, "dev", &name])?;
    sandbox.run(&["ip", "addr", "add", &v6, "dev", &name, "nodad"])?;
    Ok(())
}

/// Runs the commands that the guest sends (`wire CMD…`, `wire --bg NAME CMD…`,
/// `wire --kill NAME`).
pub struct Wire {
    entrance: Entrance,
    background: Mutex<HashMap<String, Child>>,
}

impl Wire {
    /// Creates one for the sandbox of `entrance`.
    pub fn new(entrance: Entrance) -> Self {
        Self {
            entrance,
            background: Mutex::default(),
        }
    }

    /// Handles one request on `channel`.
    pub fn request(&self, words: &[String], channel: u32, to: &SharedWriter) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["--bg", name, program, args @ ..] => {
                let mut command = self.command(program, args);
                command
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null());
                let answer = match command.spawn() {
                    Ok(child) => self.keep(name, child),
                    Err(error) => Err(format!("{program}: {error}\n")),
                };
                finish(channel, to, answer);
            }
            ["--kill", name] => finish(channel, to, self.kill(name)),
            ["--bg" | "--kill", ..] | [] => {
                finish(
                    channel,
                    to,
                    Err("use: wire [--bg NAME] CMD…, wire --kill NAME\n".into()),
                );
            }
            [program, args @ ..] => {
                // No standard input: dropping the sender ends it.
                drop(execute(self.command(program, args), channel, to));
            }
        }
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = self.entrance.command(program);
        command.args(args).process_group(0);
        command
    }

    fn keep(&self, name: &str, child: Child) -> Result<i32, String> {
        // An earlier command of the same name is ended.
        let _ = self.kill(name);
        let mut background = self.background.lock().map_err(|error| error.to_string())?;
        background.insert(name.to_owned(), child);
        Ok(0)
    }

    /// Ends background command `name`; returns its status, 0 if it exited on SIGTERM, or 143 if it
    /// had to be killed.
    fn kill(&self, name: &str) -> Result<i32, String> {
        let child = self
            .background
            .lock()
            .map_err(|error| error.to_string())?
            .remove(name);
        let mut child = child.ok_or_else(|| format!("nothing runs as `{name}`\n"))?;
        let group = Pid::from_child(&child);
        if let Ok(Some(status)) = child.try_wait() {
            return Ok(shell_status(status));
        }
        let _ = kill_process_group(group, Signal::TERM);
        let start = Instant::now();
        while start.elapsed() < GRACE {
            if let Ok(Some(_)) = child.try_wait() {
                return Ok(0);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = kill_process_group(group, Signal::KILL);
        let _ = child.wait();
        Ok(143)
    }
}

fn finish(channel: u32, to: &SharedWriter, answer: Result<i32, String>) {
    let status = answer.unwrap_or_else(|text| {
        send(to, &Frame::new(channel, Kind::Stderr, text));
        126
    });
    send(to, &Frame::new(channel, Kind::Exit, status.to_le_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wires_have_networks_of_their_own() {
        assert_eq!(addresses(0, 1), ("10.99.0.1".into(), "fd99::1".into()));
        assert_eq!(addresses(3, 2), ("10.99.3.2".into(), "fd99:3::2".into()));
    }
}
