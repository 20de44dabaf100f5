// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The accelerator: KVM where it works, TCG otherwise.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{bail, Result};

use crate::paths;
use crate::sandbox::Sandbox;

/// Timeout of the probe guest: with a working KVM it takes less than two seconds.
const LIMIT: Duration = Duration::from_secs(15);

/// The accelerator that executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// The host's virtualisation.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

impl Accel {
    /// Returns QEMU's arguments for it.
    ///
    /// The vendor: QEMU reserves 0xfd00000000 to 0xffffffffff under an AMD CPU with at least 40
    /// bits of physical address (`pc_memory_init()` in `hw/i386/pc.c`). TCG's CPUs are AMD's with
    /// 40 bits, so the firmware puts the window of 64-bit BARs there, at the top of the address
    /// space, and Linux finds no space for a BAR in it when it rescans the bus. With KVM an AMD
    /// host has more bits, and the window is elsewhere; another vendor there would make the guest
    /// use the wrong hypercall instruction.
    pub fn args(self) -> &'static [&'static str] {
        match self {
            Self::Kvm => &["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => &[
                "-accel",
                "tcg,thread=multi",
                "-cpu",
                "max,vendor=GenuineIntel",
            ],
        }
    }

    /// Returns the guest kernel's arguments for it.
    ///
    /// TCG: the kernel would measure its delay loop against timer interrupts, which a busy host delays,
    /// so that the results differ by a factor of two. The preset is that of a time stamp counter of
    /// 3 GHz with Debian's 250 ticks a second: no delay is too short on a slower host.
    pub fn kernel_args(self) -> &'static str {
        match self {
            Self::Kvm => "",
            Self::Tcg => "lpj=12000000",
        }
    }

    /// Returns the accelerator given by `ADIT_ACCEL`, or determined by a probe guest. Opening
    /// /dev/kvm is no proof: on some hosts it cannot run a stock guest. The result is cached for
    /// this boot of the host.
    pub fn choose(sandbox: &Sandbox) -> Result<Self> {
        match std::env::var("ADIT_ACCEL").as_deref() {
            Ok("kvm") => return Ok(Self::Kvm),
            Ok("tcg") => return Ok(Self::Tcg),
            Ok(other) => bail!("ADIT_ACCEL is `{other}`: use kvm or tcg"),
            Err(_) => {}
        }
        if !Path::new("/dev/kvm").exists() {
            return Ok(Self::Tcg);
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let note = paths::cache()?.join("kvm-probe");
        let answer = |works: bool| format!("{} {works}\n", boot.trim());
        let known = fs::read_to_string(&note).unwrap_or_default();
        let works = if known == answer(true) || known == answer(false) {
            known == answer(true)
        } else {
            let works = probe(sandbox);
            fs::write(&note, answer(works))?;
            works
        };
        Ok(if works { Self::Kvm } else { Self::Tcg })
    }
}

/// Boots the guest's kernel to its initramfs with KVM, and returns whether that works.
fn probe(sandbox: &Sandbox) -> bool {
    let child = sandbox
        .entrance()
        .command("qemu-system-x86_64")
        .args([
            "-M", "q35", "-accel", "kvm", "-cpu", "host", "-m", "512M", "-smp", "2",
        ])
        .args([
            "-nodefaults",
            "-display",
            "none",
            "-serial",
            "stdio",
            "-no-reboot",
        ])
        .args([
            "-kernel",
            "/run/image/vmlinuz",
            "-initrd",
            "/run/image/initramfs",
        ])
        .args(["-append", "console=ttyS0 panic=-1 adit.probe"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return false };
    let reader = child.stdout.take().map(|mut stdout| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stdout.read_to_end(&mut text);
            String::from_utf8_lossy(&text).contains("adit-probe-alive")
        })
    });
    let start = Instant::now();
    while start.elapsed() < LIMIT && matches!(child.try_wait(), Ok(None)) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = child.kill();
    let _ = child.wait();
    reader.is_some_and(|reader| reader.join().unwrap_or(false))
}
