// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The machine that a guest boots on, as QEMU's command line.

use std::time::Duration;

use crate::accel::Accel;
use crate::flavour::Flavour;
use crate::nic::Nic;
use crate::sandbox::RUN;

/// Configuration of a guest.
#[derive(Debug, Clone)]
pub struct GuestConfig {
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Virtual CPUs.
    pub cpus: u32,
    /// The module that the guest loads for its NIC at boot, or `none`.
    pub driver: String,
    /// The NICs, each with its own wire.
    pub nics: Vec<Nic>,
    /// `true` if the emulated IOMMU has first-stage tables, which the kernel then prefers to those
    /// of the second stage (VT-d specification, 3.6 and 3.7).
    pub first_stage: bool,
    /// Additional arguments on the kernel's command line.
    pub kernel_args: Vec<String>,
    /// Additional arguments for QEMU.
    pub qemu_args: Vec<String>,
    /// `true` if the guest may reboot; otherwise a reboot ends QEMU, as a panic does.
    pub may_reboot: bool,
    /// `true` for an empty root port instead of the first NIC, whose device process listens, so
    /// that it can be plugged in.
    pub hot_plug: bool,
    /// `true` if the guest continues when a device process exits.
    pub nics_may_end: bool,
    /// Timeout of the boot of a stock kernel.
    pub boot_timeout: Duration,
    /// Factor by which operations may take longer than on a machine without other guests, apart
    /// from that of the kernel's flavour.
    pub pace: u32,
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
            hot_plug: false,
            nics_may_end: false,
            boot_timeout: Duration::from_secs(120),
            pace: 1,
        }
    }
}

impl GuestConfig {
    /// Returns the factor by which operations may take longer than with a stock kernel on a machine
    /// without other guests.
    pub(crate) fn pace(&self, flavour: Flavour) -> u32 {
        flavour.pace() * self.pace
    }

    /// Returns QEMU's command line. Its QMP sockets are `qmp.sock` for the device process,
    /// `events.sock` for [`crate::monitor`] and `monitor.sock` for users and selftests.
    pub(crate) fn qemu_args(&self, accel: Accel, flavour: Flavour) -> Vec<String> {
        let memory = self.memory_mib.max(flavour.memory_mib());
        // no_timer_check: the kernel's check for timer interrupts fails when a busy host delays the
        // emulator, and ends in a panic.
        // nokaslr: a report on a boot that stalls has addresses for the kernel's System.map.
        let append = format!(
            "console=ttyS0 intel_iommu=on,sm_on iommu=pt panic=-1 loglevel=6 net.ifnames=0 \
         no_timer_check nokaslr random.trust_cpu=on adit.driver={} adit.pace={} {} {} {}",
            self.driver,
            self.pace(flavour),
            accel.kernel_args(),
            flavour.kernel_args(),
            self.kernel_args.join(" ")
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
        add(&["-smp", &self.cpus.to_string(), "-m", &format!("{memory}M")]);
        add(&[
            "-object",
            &format!("memory-backend-memfd,id=m0,size={memory}M,share=on"),
        ]);
        add(&["-machine", "memory-backend=m0"]);
        // caching-mode always: without it QEMU aborts on a function-level reset.
        let stage = if self.first_stage { ",fsts=on" } else { "" };
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
        for socket in ["qmp", "events", "monitor"] {
            add(&[
                "-qmp",
                &format!("unix:{RUN}/{socket}.sock,server=on,wait=off"),
            ]);
        }
        // A panic is a separate event, not one of several resets.
        add(&["-device", "pvpanic"]);
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
        if !self.may_reboot {
            add(&["-no-reboot"]);
        }
        for (index, nic) in self.nics.iter().enumerate() {
            args.extend(nic.qemu_args(index, self.hot_plug && index == 0));
        }
        args.extend(self.qemu_args.iter().cloned());
        args
    }
}
