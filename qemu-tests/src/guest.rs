// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest: stock QEMU, the stock Debian kernel, the Debian tree as its root.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{mpsc, Arc};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use crate::accel::Accel;
use crate::end::{postmortem, End};
use crate::image::Image;
use crate::link::{Link, Remote};
pub use crate::machine::GuestConfig;
use crate::monitor::Monitor;
use crate::process::Process;
use crate::proto::{Frame, Kind};
use crate::run;
use crate::sandbox::{Entrance, Sandbox, RUN};
use crate::stall::{processors, Stalled};
use crate::tree::Tree;
use crate::wire::{self, Wire};

/// Timeout for QEMU to create its sockets.
const SOCKETS: Duration = Duration::from_secs(60);

/// Interval at which QEMU and the processes besides it are polled while a command runs.
const LOOK: Duration = Duration::from_millis(100);

/// Timeout for QEMU to exit after the guest or a command of its monitor has announced it. Processes
/// besides QEMU may exit before.
const GRACE: Duration = Duration::from_secs(20);

/// Timeout for QEMU's announcement of its end after a process besides it has exited: which of the two is
/// seen first is a matter of chance.
const ANNOUNCEMENT: Duration = Duration::from_secs(2);

/// The outcome of a command in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The command exited with this status.
    Exited(i32),
    /// The command timed out.
    TimedOut,
    /// The guest ended first, in this way.
    Ended(End),
}

/// A running guest. Dropping it ends it, and all processes that ran for it.
pub struct Guest {
    link: Link,
    greeted: mpsc::Receiver<String>,
    qemu: Child,
    monitor: Monitor,
    nics: Vec<Option<Process>>,
    shares: Vec<Process>,
    nics_may_end: bool,
    sandbox: Sandbox,
    run: PathBuf,
    /// The accelerator that executes the guest's instructions.
    pub accel: Accel,
    /// Duration of the boot.
    pub boot_time: Duration,
    /// The running kernel's release.
    pub kernel: String,
    /// Number of boots it took: two if the first one stalled.
    pub boots: u32,
    pace: u32,
}

impl Guest {
    /// Boots a guest and waits for its agent. A boot that stalls is reported on standard error and
    /// repeated once: under TCG on a busy host the kernel sometimes does not reach its init.
    pub fn boot(tree: &Tree, image: &Image, config: &GuestConfig) -> Result<Self> {
        match Self::boot_once(tree, image, config) {
            Err(error) if error.is::<Stalled>() => eprintln!("warning: {error:#}"),
            result => return result,
        }
        let mut guest = Self::boot_once(tree, image, config)?;
        guest.boots = 2;
        Ok(guest)
    }

    fn boot_once(tree: &Tree, image: &Image, config: &GuestConfig) -> Result<Self> {
        let run = run::new_folder()?;
        let sandbox = Sandbox::start(tree, image, &run)?;
        let entrance = sandbox.entrance();
        let accel = Accel::choose(&sandbox)?;
        for index in 0..config.nics.len() {
            wire::add(&sandbox, index)
                .context("cannot make the wire (needs /dev/net/tun, readable and writable)")?;
        }
        let mut nics = Vec::new();
        for (index, nic) in config.nics.iter().enumerate() {
            nics.push(nic.start(index, entrance, &run)?);
        }
        let mut shares = Vec::new();
        for share in ["root", "share"] {
            shares.push(start_virtiofsd(entrance, share, &run)?);
        }
        let start = Instant::now();
        let log = File::create(run.join("qemu.log"))?;
        let mut qemu = entrance
            .command("qemu-system-x86_64")
            .args(config.qemu_args(accel, image.flavour))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let sockets = ["agent.sock", "events.sock"].map(|name| entrance.run_path(name));
        while !sockets.iter().all(|socket| socket.exists()) {
            if let Some(status) = qemu.try_wait()? {
                bail!("QEMU does not start ({status})\n{}", postmortem(&run));
            }
            if start.elapsed() > SOCKETS {
                bail!(
                    "QEMU does not offer its sockets after {} s\n{}",
                    SOCKETS.as_secs(),
                    postmortem(&run)
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let wire = Arc::new(Wire::new(entrance));
        let [agent, events] = &sockets;
        let connected = Link::connect(agent, wire, SOCKETS)
            .and_then(|link| Ok((link, Monitor::connect(events, SOCKETS)?)));
        let ((link, greeted), monitor) = match connected {
            Ok(connected) => connected,
            Err(error) => return Err(error.context(postmortem(&run))),
        };
        let pace = config.pace(image.flavour);
        let boot_timeout = config.boot_timeout * pace;
        let kernel = loop {
            if let Ok(kernel) = greeted.recv_timeout(Duration::from_millis(50)) {
                break kernel;
            }
            if let Some(status) = qemu.try_wait()? {
                bail!(
                    "QEMU ended during the boot ({status})\n{}",
                    postmortem(&run)
                );
            }
            if start.elapsed() > boot_timeout {
                let processors = processors(&entrance.run_path("monitor.sock"));
                return Err(Stalled {
                    seconds: boot_timeout.as_secs(),
                    report: processors + &postmortem(&run),
                }
                .into());
            }
        };
        run::note(&run, entrance)?;
        let boot_time = start.elapsed();
        Ok(Self {
            link,
            greeted,
            qemu,
            monitor,
            nics,
            shares,
            nics_may_end: config.nics_may_end,
            sandbox,
            run,
            accel,
            boot_time,
            kernel,
            boots: 1,
            pace,
        })
    }

    /// Runs a command in the guest; `sink` gets its output as it arrives.
    pub fn exec<S: AsRef<str>>(
        &mut self,
        words: &[S],
        timeout: Option<Duration>,
        mut sink: impl FnMut(&Frame),
    ) -> Result<Outcome> {
        let remote = self.link.run(words);
        remote.input(&[]);
        self.follow(&remote, timeout, &mut sink)
    }

    /// Runs a command in the guest and returns its status and output.
    pub fn output<S: AsRef<str>>(
        &mut self,
        words: &[S],
        timeout: Duration,
    ) -> Result<(Outcome, String)> {
        let mut text = Vec::new();
        let outcome = self.exec(words, Some(timeout), |frame| text.extend(&frame.data))?;
        Ok((outcome, String::from_utf8_lossy(&text).into_owned()))
    }

    /// Starts a command whose input is sent later; [`Self::follow`] waits for it.
    pub fn start<S: AsRef<str>>(&self, words: &[S]) -> Remote {
        self.link.run(words)
    }

    /// Returns a function that sets the size of a terminal of the guest, whose name is in the file
    /// `tty` there; the kernel signals it to the processes on that terminal.
    pub fn resizer(&self, tty: &'static str) -> impl Fn(u16, u16) + Send + 'static {
        let link = self.link.clone();
        move |columns, rows| {
            let line = format!("stty -F $(cat {tty}) columns {columns} rows {rows}");
            link.run(&["sh", "-c", &line]).input(&[]);
        }
    }

    /// Forwards the output of `remote` until it ends.
    pub fn follow(
        &mut self,
        remote: &Remote,
        timeout: Option<Duration>,
        sink: &mut impl FnMut(&Frame),
    ) -> Result<Outcome> {
        let start = Instant::now();
        let mut looked = start;
        loop {
            match remote.frames.recv_timeout(LOOK) {
                Ok(frame) if frame.kind == Kind::Exit => {
                    return Ok(Outcome::Exited(frame.status().unwrap_or(1)))
                }
                Ok(frame) => sink(&frame),
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Ok(Outcome::Ended(self.end_without_agent()?))
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                if let Some(end) = self.ended()? {
                    return Ok(Outcome::Ended(end));
                }
            }
            if timeout.is_some_and(|timeout| start.elapsed() > timeout) {
                return Ok(Outcome::TimedOut);
            }
        }
    }

    /// Returns the end of the guest, if it has ended. If a process besides QEMU exited first, QEMU
    /// is ended, too: the guest cannot power itself down in order, as its drivers wait for a device
    /// that no longer responds.
    fn ended(&mut self) -> Result<Option<End>> {
        if let Some(status) = self.qemu.try_wait()? {
            return self.end_of_qemu(status).map(Some);
        }
        let Some(end) = self.dead_process()? else {
            return Ok(None);
        };
        // When a guest powers itself down, they exit as well.
        if self.monitor.announced(ANNOUNCEMENT).is_some() {
            if let Some(status) = self.wait_for_qemu()? {
                return self.end_of_qemu(status).map(Some);
            }
        }
        // So do those that served a QEMU which has crashed, or was killed.
        let gone = self.monitor.quit().is_err();
        match self.wait_for_qemu()? {
            Some(status) if gone || (end.is_success() && !status.success()) => {
                self.end_of_qemu(status).map(Some)
            }
            _ => Ok(Some(end)),
        }
    }

    /// Returns the end of a guest whose agent no longer replies.
    fn end_without_agent(&mut self) -> Result<End> {
        let start = Instant::now();
        loop {
            if self.greeted.try_recv().is_ok() {
                return Ok(End::Rebooted);
            }
            if let Some(end) = self.ended()? {
                return Ok(end);
            }
            if start.elapsed() > GRACE {
                return Ok(End::Silent);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Returns the end of a QEMU that exited with `status`.
    fn end_of_qemu(&mut self, status: ExitStatus) -> Result<End> {
        if let Some(reason) = self.monitor.final_reason() {
            return Ok(End::of_qemu(status, Some(reason)));
        }
        // QEMU may have crashed because a process that it communicates with died.
        let first = self.dead_process()?.filter(|end| !end.is_success());
        Ok(first.unwrap_or(End::of_qemu(status, None)))
    }

    /// Returns the end of a process besides QEMU, if one has exited unexpectedly.
    fn dead_process(&mut self) -> Result<Option<End>> {
        let nics = self.nics.iter_mut().flatten();
        let watched = nics.filter(|_| !self.nics_may_end).chain(&mut self.shares);
        for process in watched {
            if let Some(end) = process.ended()? {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    /// Returns QEMU's status, if it exits within the grace period.
    fn wait_for_qemu(&mut self) -> Result<Option<ExitStatus>> {
        let start = Instant::now();
        loop {
            let status = self.qemu.try_wait()?;
            if status.is_some() || start.elapsed() > GRACE {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets the guest continue when a device process exits, from now on.
    pub fn let_nics_end(&mut self) {
        self.nics_may_end = true;
    }

    /// Runs a command that reboots the guest, and waits for the agent of the next boot.
    pub fn reboot<S: AsRef<str>>(&mut self, words: &[S], timeout: Duration) -> Result<()> {
        let _remote = self.link.run(words);
        let start = Instant::now();
        loop {
            if self.greeted.recv_timeout(Duration::from_millis(50)).is_ok() {
                return Ok(());
            }
            if let Some(end) = self.ended()? {
                bail!("{}", end.report(&self.run));
            }
            if start.elapsed() > timeout {
                bail!(
                    "no next boot in {} s\n{}",
                    timeout.as_secs(),
                    postmortem(&self.run)
                );
            }
        }
    }

    /// Returns the factor by which operations may take longer than with a stock kernel on a machine
    /// without other guests.
    pub fn pace(&self) -> u32 {
        self.pace
    }

    /// Returns the entrance for commands at the other end of the wire.
    pub fn entrance(&self) -> Entrance {
        self.sandbox.entrance()
    }

    /// Returns device process `index`; its id is that of nsenter(1) around it on the host.
    pub fn nic(&mut self, index: usize) -> Option<&mut Child> {
        Some(&mut self.nics.get_mut(index)?.as_mut()?.child)
    }

    /// Returns the id of QEMU's process: that of nsenter(1) around it on the host.
    pub fn qemu_pid(&self) -> u32 {
        self.qemu.id()
    }

    /// Returns the folder with this run's logs.
    pub fn run_folder(&self) -> &Path {
        &self.run
    }

    /// Returns the ends of the logs, for an error message.
    pub fn postmortem(&self) -> String {
        postmortem(&self.run)
    }

    /// Returns a report on the guest's end, for an error message.
    pub fn report(&self, end: &End) -> String {
        end.report(&self.run)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        run::forget(&self.run);
    }
}

/// Serves folder `/run/SHARE` of the sandbox to the guest.
fn start_virtiofsd(entrance: Entrance, share: &str, run: &Path) -> Result<Process> {
    let log_name = format!("virtiofsd-{share}.log");
    let log = File::create(run.join(&log_name))?;
    let mut child = entrance
        .command("/usr/libexec/virtiofsd")
        .arg(format!("--socket-path={RUN}/{share}.sock"))
        .arg(format!("--shared-dir=/run/{share}"))
        // The tree does not change; the folder shared with the host does.
        .arg(if share == "root" {
            "--cache=always"
        } else {
            "--cache=auto"
        })
        // The process already runs in our sandbox.
        .args([
            "--sandbox=none",
            "--inode-file-handles=never",
            "--thread-pool-size=2",
        ])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    let socket = run.join(format!("{share}.sock"));
    let start = Instant::now();
    while !socket.exists() {
        if let Some(status) = child.try_wait()? {
            bail!("virtiofsd ended ({status})\n{}", postmortem(run));
        }
        if start.elapsed() > SOCKETS {
            bail!(
                "virtiofsd does not listen after {} s\n{}",
                SOCKETS.as_secs(),
                postmortem(run)
            );
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(Process {
        name: format!("virtiofsd (share {share})"),
        log: log_name,
        child,
    })
}
