// SPDX-License-Identifier: Apache-2.0 OR MIT
//! CPU time of the emulator and the device process.

use std::fs;
use std::ops::Sub;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// CPU seconds (user and system) that processes have used.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct CpuTime {
    /// The device process besides QEMU, if there is one.
    pub(crate) device: f64,
    /// All of QEMU, including threads that have exited.
    pub(crate) qemu: f64,
    /// QEMU's vCPU threads: the guest's own instructions, but also the work of QEMU's models that
    /// is done synchronously when the guest accesses a register.
    pub(crate) vcpus: f64,
}

impl CpuTime {
    /// Returns the device's work as far as it can be separated: no vCPU thread counts.
    pub(crate) fn device_side(self) -> f64 {
        self.device + self.qemu - self.vcpus
    }

    /// Returns the total, including the guest's instructions.
    pub(crate) fn whole(self) -> f64 {
        self.device + self.qemu
    }
}

impl Sub for CpuTime {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            device: self.device - earlier.device,
            qemu: self.qemu - earlier.qemu,
            vcpus: self.vcpus - earlier.vcpus,
        }
    }
}

/// The processes whose time counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Processes {
    pub(crate) qemu: u32,
    pub(crate) device: Option<u32>,
}

impl Processes {
    /// Returns the CPU time that they have used so far.
    pub(crate) fn cpu_time(self) -> Result<CpuTime> {
        let folder = |pid: u32| PathBuf::from("/proc").join(pid.to_string());
        let time = |path: PathBuf| -> Result<f64> {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("{}: has it ended?", path.display()))?;
            seconds(&text).with_context(|| format!("{} has another format", path.display()))
        };
        let mut vcpus = 0.0;
        for task in fs::read_dir(folder(self.qemu).join("task"))? {
            let task = task?.path();
            // A worker thread may have exited since it was listed; vCPU threads do not.
            let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
            if name.starts_with("CPU ") {
                vcpus += time(task.join("stat"))?;
            }
        }
        Ok(CpuTime {
            device: self
                .device
                .map_or(Ok(0.0), |pid| time(folder(pid).join("stat")))?,
            qemu: time(folder(self.qemu).join("stat"))?,
            vcpus,
        })
    }
}

/// Returns the user and system time in a line of `/proc/PID/stat` (proc_pid_stat(5), fields 14 and
/// 15).
fn seconds(stat: &str) -> Option<f64> {
    // The name, field 2, is in parentheses and may contain anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Returns the program at the end of the chain of helpers (nsenter(1) stays and waits) that starts
/// at `pid`.
pub(crate) fn innermost(pid: u32) -> u32 {
    let mut pid = pid;
    loop {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let child = children
            .ok()
            .and_then(|text| text.split_whitespace().next()?.parse().ok());
        match child {
            Some(child) => pid = child,
            None => return pid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_process_are_read() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 7 0 0 0 150 50 0 0 20 0 4 0 100 0 0";
        let second = rustix::param::clock_ticks_per_second() as f64;
        assert_eq!(seconds(stat), Some(200.0 / second));
        assert_eq!(seconds("42 (a) S 1"), None);
    }

    #[test]
    fn what_the_vcpus_used_is_told_apart() {
        let time = CpuTime {
            device: 1.0,
            qemu: 5.0,
            vcpus: 4.0,
        };
        assert_eq!((time.device_side(), time.whole()), (2.0, 6.0));
    }
}
