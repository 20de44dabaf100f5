// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A guest: stock QEMU, the stock Debian kernel, the Debian tree as its root.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{mpsc, Arc};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};

use crate::accel::Accel;
use crate::flavour::Flavour;
use crate::image::Image;
use crate::link::{Link, Remote};
use crate::nic::Nic;
use crate::paths;
use crate::proto::{Frame, Kind};
use crate::sandbox::{Entrance, Sandbox, RUN};
use crate::tree::Tree;
use crate::wire::{self, Wire};

/// Run folders kept for looking at afterwards.
const KEPT_RUNS: usize = 8;

/// What is plugged together for a boot.
#[derive(Debug, Clone)]
pub struct GuestConfig {
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Virtual CPUs.
    pub cpus: u32,
    /// The module that the guest loads for its NIC at boot, or `none`.
    pub driver: String,
    /// The NICs, each with a wire of its own.
    pub nics: Vec<Nic>,
    /// Whether the emulated IOMMU has first-stage tables, which the kernel then prefers to those
    /// of the second stage (VT-d specification, 3.6 and 3.7).
    pub first_stage: bool,
    /// More words on the kernel's command line.
    pub kernel_args: Vec<String>,
    /// More arguments for QEMU.
    pub qemu_args: Vec<String>,
    /// Whether the guest may reboot; otherwise a reboot ends QEMU, as a panic does.
    pub may_reboot: bool,
    /// How long the boot of a stock kernel may take.
    pub boot_timeout: Duration,
}

impl Default for GuestConfig {
    fn default() -> Self {
        Self {
            memory_mib: 2048,
            cpus: 2,
            driver: "idpf".into(),
            nics: Vec::new(),
            first_stage: false,
            kernel_args: Vec::new(),
            qemu_args: Vec::new(),
            may_reboot: false,
            boot_timeout: Duration::from_secs(120),
        }
    }
}

/// How a command in the guest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With this status.
    Exited(i32),
    /// Not within its time.
    TimedOut,
    /// The guest ended, or booted again, first.
    GuestDied,
}

/// The note that lets another process find a running guest.
#[derive(Debug, Serialize, Deserialize)]
struct RunNote {
    owner: u32,
    sandbox: u32,
}

/// A running guest. Dropping it ends it, with everything that ran for it.
pub struct Guest {
    link: Link,
    greeted: mpsc::Receiver<String>,
    qemu: Child,
    nics: Vec<Option<Child>>,
    sandbox: Sandbox,
    run: PathBuf,
    /// What executes the guest's instructions.
    pub accel: Accel,
    /// How long the boot took.
    pub boot_time: Duration,
    /// The running kernel's release.
    pub kernel: String,
    /// Which kernel that is.
    pub flavour: Flavour,
}

impl Guest {
    /// Boots one and waits for its agent.
    pub fn boot(tree: &Tree, image: &Image, config: &GuestConfig) -> Result<Self> {
        let run = new_run_folder()?;
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
        for share in ["root", "share"] {
            start_virtiofsd(entrance, share, &run)?;
        }
        let start = Instant::now();
        let log = File::create(run.join("qemu.log"))?;
        let mut qemu = entrance
            .command("qemu-system-x86_64")
            .args(qemu_args(config, accel, image.flavour))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let wire = Arc::new(Wire::new(entrance));
        let connected = Link::connect(
            &entrance.run_path("agent.sock"),
            wire,
            Duration::from_secs(20),
        );
        let (link, greeted) = match connected {
            Ok(connected) => connected,
            Err(error) => return Err(error.context(postmortem(&run))),
        };
        let boot_timeout = config.boot_timeout * image.flavour.pace();
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
                bail!(
                    "the guest's agent did not answer in {} s\n{}",
                    boot_timeout.as_secs(),
                    postmortem(&run)
                );
            }
        };
        let note = RunNote {
            owner: std::process::id(),
            sandbox: entrance.pid,
        };
        fs::write(run.join("run.json"), serde_json::to_vec(&note)?)?;
        let boot_time = start.elapsed();
        Ok(Self {
            link,
            greeted,
            qemu,
            nics,
            sandbox,
            run,
            accel,
            boot_time,
            kernel,
            flavour: image.flavour,
        })
    }

    /// Runs a command in the guest; `sink` gets its output as it comes.
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

    /// Runs a command in the guest and returns its status and what it printed.
    pub fn output<S: AsRef<str>>(
        &mut self,
        words: &[S],
        timeout: Duration,
    ) -> Result<(Outcome, String)> {
        let mut text = Vec::new();
        let outcome = self.exec(words, Some(timeout), |frame| text.extend(&frame.data))?;
        Ok((outcome, String::from_utf8_lossy(&text).into_owned()))
    }

    /// Starts a command whose input comes later; [`Self::follow`] it.
    pub fn start<S: AsRef<str>>(&self, words: &[S]) -> Remote {
        self.link.run(words)
    }

    /// Passes on what `remote` prints until it ends.
    pub fn follow(
        &mut self,
        remote: &Remote,
        timeout: Option<Duration>,
        sink: &mut impl FnMut(&Frame),
    ) -> Result<Outcome> {
        let start = Instant::now();
        loop {
            match remote.frames.recv_timeout(Duration::from_millis(100)) {
                Ok(frame) if frame.kind == Kind::Exit => {
                    return Ok(Outcome::Exited(frame.status().unwrap_or(1)))
                }
                Ok(frame) => sink(&frame),
                Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(Outcome::GuestDied),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    if self.qemu.try_wait()?.is_some() {
                        return Ok(Outcome::GuestDied);
                    }
                }
            }
            if timeout.is_some_and(|timeout| start.elapsed() > timeout) {
                return Ok(Outcome::TimedOut);
            }
        }
    }

    /// Runs a command that reboots the guest, and waits for the agent of the next boot.
    pub fn reboot<S: AsRef<str>>(&mut self, words: &[S], timeout: Duration) -> Result<()> {
        let _remote = self.link.run(words);
        let start = Instant::now();
        loop {
            if self.greeted.recv_timeout(Duration::from_millis(50)).is_ok() {
                return Ok(());
            }
            if let Some(status) = self.qemu.try_wait()? {
                bail!("QEMU ended ({status})\n{}", postmortem(&self.run));
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

    /// How to run something at the other end of the wire.
    pub fn entrance(&self) -> Entrance {
        self.sandbox.entrance()
    }

    /// The process id of device process `index`, as the host numbers nsenter(1) around it.
    pub fn nic(&mut self, index: usize) -> Option<&mut Child> {
        self.nics.get_mut(index)?.as_mut()
    }

    /// QEMU's process, as the host numbers nsenter(1) around it.
    pub fn qemu_pid(&self) -> u32 {
        self.qemu.id()
    }

    /// The folder with this run's logs.
    pub fn run_folder(&self) -> &Path {
        &self.run
    }

    /// The ends of the logs, for an error message.
    pub fn postmortem(&self) -> String {
        postmortem(&self.run)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.run.join("run.json"));
    }
}

/// How to get to the wire of the guest that was started last and still runs.
pub fn running() -> Result<Entrance> {
    let mut found = Vec::new();
    for entry in fs::read_dir(paths::guests())
        .into_iter()
        .flatten()
        .flatten()
    {
        let path = entry.path().join("run.json");
        let Ok(note) = fs::read(&path) else { continue };
        let Ok(note) = serde_json::from_slice::<RunNote>(&note) else {
            continue;
        };
        let alive = |pid: u32| Path::new("/proc").join(pid.to_string()).exists();
        if alive(note.owner) && alive(note.sandbox) {
            found.push((fs::metadata(&path)?.modified()?, note.sandbox));
        }
    }
    let newest = found.into_iter().max();
    let (_, pid) = newest.context("no guest is running: start one with `cargo xtask guest`")?;
    Ok(Entrance { pid })
}

/// A new folder for sockets and logs, and `latest` pointing to it.
fn new_run_folder() -> Result<PathBuf> {
    let guests = paths::guests();
    fs::create_dir_all(&guests).with_context(|| format!("cannot create {}", guests.display()))?;
    let mut old: VecDeque<_> = fs::read_dir(&guests)?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("run-"))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    old.make_contiguous().sort();
    while old.len() >= KEPT_RUNS {
        let Some((_, path)) = old.pop_front() else {
            break;
        };
        if !path.join("run.json").exists() {
            let _ = fs::remove_dir_all(path);
        }
    }
    let pid = std::process::id();
    let mut path = guests.join(format!("run-{pid}"));
    let mut number = 1;
    while path.exists() {
        number += 1;
        path = guests.join(format!("run-{pid}-{number}"));
    }
    fs::create_dir(&path)?;
    let latest = guests.join("latest");
    let _ = fs::remove_file(&latest);
    let _ = symlink(&path, latest);
    Ok(path)
}

/// Serves folder `/run/SHARE` of the sandbox to the guest.
fn start_virtiofsd(entrance: Entrance, share: &str, run: &Path) -> Result<()> {
    let log = File::create(run.join(format!("virtiofsd-{share}.log")))?;
    let mut child = entrance
        .command("/usr/libexec/virtiofsd")
        .arg(format!("--socket-path={RUN}/{share}.sock"))
        .arg(format!("--shared-dir=/run/{share}"))
        // The tree does not change; what is shared with the host does.
        .arg(if share == "root" {
            "--cache=always"
        } else {
            "--cache=auto"
        })
        // The sandbox is ours already.
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
        if start.elapsed() > Duration::from_secs(10) {
            bail!("virtiofsd does not listen after 10 s\n{}", postmortem(run));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn qemu_args(config: &GuestConfig, accel: Accel, flavour: Flavour) -> Vec<String> {
    let memory = config.memory_mib.max(flavour.memory_mib());
    // no_timer_check: the kernel's test whether timer interrupts come fails when a busy host lets
    // the emulator wait, and ends in a panic.
    let append = format!(
        "console=ttyS0 intel_iommu=on,sm_on iommu=pt panic=-1 loglevel=6 net.ifnames=0 \
         no_timer_check random.trust_cpu=on adit.driver={} adit.pace={} {} {}",
        config.driver,
        flavour.pace(),
        flavour.kernel_args(),
        config.kernel_args.join(" ")
    );
    let mut args: Vec<String> = Vec::new();
    let mut add = |words: &[&str]| args.extend(words.iter().map(|&word| word.to_owned()));
    add(&[
        "-M",
        "q35,kernel-irqchip=split",
        "-nodefaults",
        "-display",
        "none",
    ]);
    add(accel.args());
    add(&[
        "-smp",
        &config.cpus.to_string(),
        "-m",
        &format!("{memory}M"),
    ]);
    add(&[
        "-object",
        &format!("memory-backend-memfd,id=m0,size={memory}M,share=on"),
    ]);
    add(&["-machine", "memory-backend=m0"]);
    // caching-mode always: without it QEMU aborts on a function-level reset.
    let stage = if config.first_stage { ",fsts=on" } else { "" };
    add(&[
        "-device",
        &format!(
            "intel-iommu,scalable-mode=on,caching-mode=on,pasid-bits=20,device-iotlb=on,\
             aw-bits=48{stage}"
        ),
    ]);
    add(&[
        "-kernel",
        "/run/image/vmlinuz",
        "-initrd",
        "/run/image/initramfs",
    ]);
    add(&["-append", &append]);
    add(&["-serial", &format!("file:{RUN}/console.log")]);
    add(&["-qmp", &format!("unix:{RUN}/qmp.sock,server=on,wait=off")]);
    for share in ["root", "share"] {
        add(&[
            "-chardev",
            &format!("socket,id={share},path={RUN}/{share}.sock"),
        ]);
        add(&[
            "-device",
            &format!("vhost-user-fs-pci,chardev={share},tag={share}"),
        ]);
    }
    add(&[
        "-chardev",
        &format!("socket,id=agent,path={RUN}/agent.sock,server=on,wait=off"),
    ]);
    add(&[
        "-device",
        "virtio-serial-pci",
        "-device",
        "virtserialport,chardev=agent,name=adit",
    ]);
    add(&["-device", "virtio-rng-pci"]);
    if !config.may_reboot {
        add(&["-no-reboot"]);
    }
    for (index, nic) in config.nics.iter().enumerate() {
        args.extend(nic.qemu_args(index));
    }
    args.extend(config.qemu_args.iter().cloned());
    args
}

/// What the logs of a run end with.
fn postmortem(run: &Path) -> String {
    let mut text = String::new();
    for name in ["qemu.log", "nic0.log", "console.log"] {
        let Ok(end) = tail(&run.join(name), 2000) else {
            continue;
        };
        if !end.trim().is_empty() {
            text.push_str(&format!(
                "--- the end of {}\n{}\n",
                run.join(name).display(),
                end.trim()
            ));
        }
    }
    text
}

fn tail(path: &Path, length: u64) -> Result<String> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(length)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
