// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The daemon as a process of its own, and the resources that it uses.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use adit_vdcm::control::client::Client;
use anyhow::{ensure, Context, Result};
use rustix::process::{kill_process, Pid, Signal};

/// The timeout of the daemon's start.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The daemon, with a NIC in its process.
pub(crate) struct Daemon {
    process: Child,
    folder: tempfile::TempDir,
}

impl Daemon {
    /// Starts it, and waits until it listens.
    pub(crate) fn start(program: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let process = Command::new(program)
            .args(["--embedded", "--wire", "none", "--control"])
            .arg(folder.path().join("control.sock"))
            .env("ADIT_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut daemon = Self { process, folder };
        let start = Instant::now();
        while daemon.client().is_err() {
            let ended = daemon.process.try_wait()?;
            ensure!(
                ended.is_none() && start.elapsed() < TIMEOUT,
                "the daemon does not listen"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(daemon)
    }

    pub(crate) fn client(&self) -> Result<Client> {
        Ok(Client::connect(&self.folder.path().join("control.sock"))?)
    }

    /// Reads the resources that it uses.
    pub(crate) fn usage(&self) -> Result<Usage> {
        Usage::of(&PathBuf::from(format!("/proc/{}", self.process.id())))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It removes its sockets, unless it has ended already.
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        let _ = self.process.wait();
    }
}

/// The resources of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Its proportional share of memory in bytes.
    pub(crate) memory: u64,
    /// Its share of memory that it has written, in bytes.
    pub(crate) written: u64,
    pub(crate) threads: u64,
    pub(crate) descriptors: u64,
    /// Its CPU time in ticks of 10 ms, as Linux reports them to programs.
    pub(crate) cpu_ticks: u64,
}

impl Usage {
    fn of(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        let rollup = read("smaps_rollup")?;
        let kib = |key| field(&rollup, key).with_context(|| format!("smaps_rollup has no {key}"));
        let stat = read("stat")?;
        // The name in parentheses may contain spaces.
        let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let fields: Vec<_> = fields.split(' ').collect();
        let number = |n: usize| {
            let text = fields.get(n).context("stat is shorter")?;
            text.parse::<u64>().context("stat")
        };
        Ok(Self {
            memory: kib("Pss:")? << 10,
            written: kib("Pss_Dirty:")? << 10,
            // utime and stime are the fields 14 and 15, num_threads is 20 (proc_pid_stat(5)).
            cpu_ticks: number(11)? + number(12)?,
            threads: number(17)?,
            descriptors: std::fs::read_dir(folder.join("fd"))?.count() as u64,
        })
    }
}

/// The value of a line such as `Pss:  12 kB`.
fn field(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}
