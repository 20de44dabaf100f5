// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The namespaces on the host that all processes of one guest run in.
//!
//! Its network namespace is the other end of the wire; its root is the Debian tree, so the emulator
//! and every tool are the tree's; and when it ends, the kernel kills every process in it. It is
//! entered with nsenter(1) and ends with the process that created it, however that one ends.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{bail, Context, Result};

use crate::image::Image;
use crate::paths;
use crate::tree::Tree;

/// `PATH` of programs in the tree.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Environment variable that is set once [`become_root`] has entered a user namespace.
pub const USERNS_MARK: &str = "ADIT_USERNS";

/// Path of the run folder in the sandbox.
pub const RUN: &str = "/run/adit";

/// Re-executes the program as root of a new user namespace for an ordinary user; returns at once
/// for root.
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

/// An entrance to a sandbox, also for other processes.
#[derive(Debug, Clone, Copy)]
pub struct Entrance {
    /// The id of the sandbox's first process on the host.
    pub pid: u32,
}

impl Sandbox {
    /// Creates the namespaces; `run` is the folder for sockets and logs.
    pub fn start(tree: &Tree, image: &Image, run: &Path) -> Result<Self> {
        // The parent-death signal kills unshare with us, --kill-child the sandbox with unshare.
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

    /// Returns the entrance.
    pub fn entrance(&self) -> Entrance {
        self.entrance
    }

    /// Runs a short command of the tree in the sandbox; an error has its error output.
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
        // --kill-child kills the first process in it, and the kernel then all others.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Entrance {
    /// Returns a command of the Debian tree, with the tree as its root.
    pub fn command(self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.enter(&["--mount", "--root", "--wd"]);
        command
            .arg(program)
            .env("PATH", PATH)
            .env("HOME", "/tmp")
            .env("LC_ALL", "C.UTF-8");
        command
    }

    /// Returns a program of the host, with the host's root, in the sandbox's network.
    pub fn host_command(self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.enter(&[]);
        command.arg(program);
        command
    }

    /// Returns the path of a file of the run folder, short wherever the repository is: the path of
    /// a UNIX socket is limited to 107 bytes (`struct sockaddr_un`).
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
