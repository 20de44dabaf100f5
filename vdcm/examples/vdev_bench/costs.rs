// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The cost of devices in a daemon, by their number.

use std::time::{Duration, Instant};

use adit_vdcm::protocol::{Spec, VdevInfo, VdevState};
use anyhow::{ensure, Result};
use serde_json::{json, Value};

use crate::composed::Composed;
use crate::device::Device;
use crate::figures::milliseconds;
use crate::process::Daemon;
use crate::vf::Vf;

/// The number of clients that attach at the same time.
const CLIENTS: usize = 16;
/// The time over which the CPU time of idle devices is taken.
const IDLE: Duration = Duration::from_secs(3);
/// The time in which the daemon notices that a client has left.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Creates that number of devices in a daemon, attaches clients to some, and destroys all.
pub(crate) fn population(daemon: &Daemon, count: usize) -> Result<Value> {
    let mut control = daemon.client()?;
    let before = daemon.usage()?;
    let (mut devices, mut created) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for _ in 0..count {
        let start = Instant::now();
        devices.push(control.create(Spec::default())?);
        created.push(start.elapsed());
    }
    let after = daemon.usage()?;
    std::thread::sleep(IDLE);
    let idle = daemon.usage()?.cpu_ticks - after.cpu_ticks;

    let clients = clients(&devices)?;
    for device in devices.iter().take(CLIENTS) {
        let start = Instant::now();
        while control.show(&device.name)?.state != VdevState::Idle {
            ensure!(start.elapsed() < TIMEOUT, "the daemon keeps a client");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    let mut destroyed = Vec::with_capacity(count);
    for device in &devices {
        let start = Instant::now();
        control.destroy(&device.name)?;
        destroyed.push(start.elapsed());
    }
    let end = daemon.usage()?;
    ensure!(control.list()?.is_empty(), "devices are left");
    let n = count as f64;
    let each = |after: u64, before: u64| (after as f64 - before as f64) / n;
    Ok(json!({
        "devices": count,
        "create_ms": milliseconds(&created),
        "destroy_ms": milliseconds(&destroyed),
        "attach": clients,
        "memory_bytes_each": each(after.memory, before.memory),
        "written_bytes_each": each(after.written, before.written),
        "threads_each": each(after.threads, before.threads),
        "descriptors_each": each(after.descriptors, before.descriptors),
        "idle_cpu_percent": idle as f64 / IDLE.as_secs_f64(),
        "left": {
            "memory_bytes": end.memory as i64 - before.memory as i64,
            "threads": end.threads as i64 - before.threads as i64,
            "descriptors": end.descriptors as i64 - before.descriptors as i64,
        },
    }))
}

/// Attaches a client to each of the first devices, all at the same time in the end, and resets each.
fn clients(devices: &[VdevInfo]) -> Result<Value> {
    let (mut attached, mut up, mut reset) = (Vec::new(), Vec::new(), Vec::new());
    let mut connected = Vec::new();
    for device in devices.iter().take(CLIENTS) {
        let start = Instant::now();
        // The regions are known, memory and eventfds are registered, and a driver has the
        // capabilities.
        let vf = Vf::start(Device::connect(&device.socket)?)?;
        attached.push(start.elapsed());
        let composed = Composed::start(vf)?;
        up.push(start.elapsed());
        let time = composed.with(|vf| {
            let start = Instant::now();
            vf.device.reset()?;
            // The driver starts again: mailbox, version, capabilities, vectors.
            vf.restart(TIMEOUT)?;
            anyhow::Ok(start.elapsed())
        })?;
        reset.push(time);
        connected.push(composed);
    }
    Ok(json!({
        "clients": connected.len(),
        "attach_ms": milliseconds(&attached),
        "vport_ms": milliseconds(&up),
        "reset_ms": milliseconds(&reset),
    }))
}
