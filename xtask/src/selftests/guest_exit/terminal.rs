// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A user's terminal: a shell in the guest is notified of its size, and Ctrl-D ends it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use rustix::pty::{grantpt, openpt, ptsname, unlockpt, OpenptFlags};
use rustix::termios::{tcsetwinsize, Winsize};

use crate::selftests::machine::Machines;

pub(super) const NAME: &str = "the shell follows the terminal's size and ends by Ctrl-D";

/// Timeout of the boot and of each reply.
const LIMIT: Duration = Duration::from_secs(180);

/// The user's end of a pseudoterminal.
struct User {
    keys: File,
    screen: mpsc::Receiver<Vec<u8>>,
    seen: String,
}

impl User {
    fn new(master: OwnedFd) -> Result<Self> {
        let keys = File::from(master);
        let mut from = keys.try_clone()?;
        let (sender, screen) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = from.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            keys,
            screen,
            seen: String::new(),
        })
    }

    fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.keys, size).context("cannot set the terminal's size")
    }

    fn write(&mut self, keys: &str) -> Result<()> {
        self.seen.clear();
        self.keys.write_all(keys.as_bytes()).context("the terminal")
    }

    /// Waits until the screen shows `text`.
    fn wait_for(&mut self, text: &str, limit: Duration) -> Result<()> {
        self.wait_for_after("", text, limit)
    }

    /// Waits until the screen shows `text` somewhere after `marker`.
    fn wait_for_after(&mut self, marker: &str, text: &str, limit: Duration) -> Result<()> {
        let start = Instant::now();
        let shown = |seen: &str| {
            let rest = seen.split_once(marker);
            rest.is_some_and(|(_, rest)| rest.contains(text))
        };
        while !shown(&self.seen) {
            let rest = limit.saturating_sub(start.elapsed());
            match self.screen.recv_timeout(rest) {
                Ok(bytes) => self.seen += &String::from_utf8_lossy(&bytes),
                Err(_) => bail!("no `{text}` in {} s:\n{}", limit.as_secs(), self.seen),
            }
        }
        Ok(())
    }
}

pub(super) fn check(machines: &Machines) -> Result<()> {
    let limit = LIMIT * machines.pace;
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?.into_string()?;
    let slave = OpenOptions::new().read(true).write(true).open(name)?;
    let mut user = User::new(master)?;
    user.resize(30, 100)?;
    let shell = Command::new("setsid")
        .args(["--ctty", "--wait"])
        .arg(std::env::current_exe()?)
        .args(super::guest(machines))
        .args(["--nic", "none"])
        .stdin(slave.try_clone()?)
        .stdout(slave.try_clone()?)
        .stderr(slave)
        .spawn()
        .context("cannot start setsid (package util-linux)")?;
    let mut shell = Shell(shell);
    user.wait_for("/repo#", limit)?;
    user.write("stty size\r")?;
    user.wait_for("30 100", limit)?;
    user.resize(40, 120)?;
    // The new size arrives asynchronously.
    let start = Instant::now();
    loop {
        user.write("stty size\r")?;
        if user.wait_for("40 120", Duration::from_secs(2)).is_ok() {
            break;
        }
        let seen = &user.seen;
        ensure!(start.elapsed() < limit / 6, "the size is still\n{seen}");
    }
    // Readline takes Ctrl-D for the end only once it has set the terminal up for the next line. The
    // prompt of an earlier command may still be on its way: only the one after this output counts.
    user.write("echo last-$((40 + 2))\r")?;
    user.wait_for_after("last-42", "/repo#", limit)?;
    user.write("\u{4}")?;
    let status = shell.end(limit)?;
    ensure!(status.success(), "Ctrl-D after `echo`: {status}");
    Ok(())
}

/// The command on the terminal, which is killed if the test fails before its end.
struct Shell(Child);

impl Shell {
    /// Waits for the end of the command.
    fn end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            ensure!(
                start.elapsed() < limit,
                "the shell did not end in {} s",
                limit.as_secs()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
