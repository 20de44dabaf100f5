// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The name spaces on the host that everything of one guest runs in.
//!
//! Its network name space is the other end of the wire; its root is the Debian tree, so that the
//! emulator and every tool are the tree's; and when it ends, the kernel ends every process in it.
//! It is entered with nsenter(1) and ends with the process that made it, however that one ends.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{bail, Context, Result};

use crate::image::Image;
use crate::paths;
use crate::tree::Tree;

/// Where programs are in the tree.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Set in the environment once [`become_root`] has entered a user name space.
pub const USERNS_MARK: &str = "ADIT_USERNS";

/// Where the run folder is in the sandbox.
pub const RUN: &str = "/run/adit";

/// An ordinary user starts over as root of a user name space of its own; root goes on.
pub fn become_root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let spaces = [
        "--user",
        "--map-root-user",
        "--map-auto",
        "--setuid=0",
        "--setgid=0",
        "--mount",
    ];
    let works = Command::new("unshare").args(spaces).arg("true").output();
    let why = match works {
        Ok(output) if output.status.success() => {
            let again = Command::new("unshare")
                .args(spaces)
                .arg("--")
                .arg(std::env::current_exe()?)
                .args(std::env::args_os().skip(1))
                .env(USERNS_MARK, "1")
                .exec();
            again.to_string()
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    bail!(
        "cannot enter a user name space ({why}): run `sudo apt-get install -y uidmap mmdebstrap`, \
         give the user a range in /etc/subuid and /etc/subgid, or run this as root"
    )
}

/// A running sandbox. Dropping it ends everything in it.
#[derive(Debug)]
pub struct Sandbox {
    child: Child,
    entrance: Entrance,
}

/// How to get into a sandbox, also from another process.
#[derive(Debug, Clone, Copy)]
pub struct Entrance {
    /// The sandbox's first process, as the host numbers it.
    pub pid: u32,
}

impl Sandbox {
    /// Makes the name spaces; `run` is the folder for sockets and logs.
    pub fn start(tree: &Tree, image: &Image, run: &Path) -> Result<Self> {
        // The parent-death signal ends unshare with us, --kill-child the sandbox with unshare.
        let mut child = Command::new("setpriv")
            .args([
                "--pdeathsig",
                "KILL",
                "unshare",
                "--net",
                "--mount",
                "--pid",
                "--fork",
            ])
            .args(["--kill-child=KILL", "sh"])
            .arg(paths::repo().join("qemu-tests/guest/sandbox.sh"))
            .args([
                tree.root.as_path(),
                &paths::repo(),
                run,
                &paths::scratch()?,
                &image.path,
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot start setpriv and unshare (package util-linux)")?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let Some(pid) = line
            .trim()
            .strip_prefix("ready ")
            .and_then(|pid| pid.parse().ok())
        else {
            let status = child.wait()?;
            bail!(
                "the network, mount and process name spaces could not be set up ({status}): \
                 inside a container it must be privileged (CAP_SYS_ADMIN, CAP_NET_ADMIN)"
            );
        };
        Ok(Self {
            child,
            entrance: Entrance { pid },
        })
    }

    /// How to get in.
    pub fn entrance(&self) -> Entrance {
        self.entrance
    }

    /// Runs a short command of the tree in the sandbox; an error carries what it printed.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        let (program, args) = words.split_first().context("no command")?;
        let output = self.entrance.command(program).args(args).output()?;
        if !output.status.success() {
            bail!(
                "`{}`: {}",
                words.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // --kill-child ends the first process in it, and the kernel then all others.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Entrance {
    /// A command of the Debian tree, with the tree as its root.
    pub fn command(self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.enter(&["--mount", "--root", "--wd"]);
        command
            .arg(program)
            .env("PATH", PATH)
            .env("HOME", "/tmp")
            .env("LC_ALL", "C.UTF-8");
        command
    }

    /// A program of the host, with the host's root, in the sandbox's network.
    pub fn host_command(self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.enter(&[]);
        command.arg(program);
        command
    }

    /// A file of the run folder by a path that is short wherever the repository is: the path of a
    /// UNIX socket has room for 107 bytes (`struct sockaddr_un`).
    pub fn run_path(self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{RUN}/{name}", self.pid))
    }

    fn enter(self, spaces: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.pid.to_string(), "--net", "--pid"])
            .args(spaces);
        // nsenter waits outside for a child inside; the child must not outlive it.
        command.args(["--", "setpriv", "--pdeathsig", "KILL"]);
        command
    }
}
