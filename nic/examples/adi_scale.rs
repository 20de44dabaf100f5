// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The cost of ADIs in the device model alone: `cargo xtask bench adi` runs it.
//!
//! Prints a JSON object: for 1, 100, 1,000 and 10,000 ADIs the time and memory of each and what a
//! turn of the device takes while all are idle; then what a packet takes from one ADI to another
//! and what the translation of an address takes, known in the burst and walked for.

use std::hint::black_box;
use std::time::{Duration, Instant};

use adit_nic::interrupts::SLEEP_AFTER_NS;
use adit_nic::pasid::{AddressSpace, Dma, Pasid};
use adit_nic::testing::adi::{frame, AdiDriver, IOVA, RING};
use adit_nic::testing::guest::{wanted, Guest};
use serde_json::{json, Value};

const POPULATIONS: [u32; 4] = [1, 100, 1_000, 10_000];
/// The number of pages that an ADI uses in a burst of [`packet`].
const PAGES: u64 = 8;
/// The number of blocks of a measurement.
const BLOCKS: u64 = 40;
/// Bytes of the rings and pages that a turn of translations goes over.
const SPAN: u64 = 16 * 0x1000;

fn main() {
    let scale: Vec<_> = POPULATIONS.map(population).into();
    let report = json!({
        "scale": scale,
        "packet": packet(),
        "translation": translation(),
    });
    println!("{report}");
}

/// The best of some blocks, the one that was disturbed least by what else the machine does.
struct Best(f64);

impl Default for Best {
    fn default() -> Self {
        Self(f64::INFINITY)
    }
}

impl Best {
    fn add(&mut self, figure: f64) {
        self.0 = self.0.min(figure);
    }
    fn get(&self) -> f64 {
        self.0
    }
}

fn ns(time: Duration, n: u64) -> f64 {
    time.as_nanos() as f64 / n as f64
}

/// Memory of this process that is in use, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split_whitespace()
        .nth(1)
        .and_then(|n| n.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

/// So many ADIs are made with queues that run, are left alone, and end.
fn population(count: u32) -> Value {
    let mut guest = Guest::new(10_240, 16_384);
    guest.cause_ring(1024);
    let before = resident();
    let start = Instant::now();
    let ids: Vec<_> = (1..=count)
        .map(|pasid| guest.create(pasid, &wanted(1)).expect("an ADI").id())
        .collect();
    let created = start.elapsed();
    let after = resident();
    guest.idle(SLEEP_AFTER_NS);
    let turns = 10_000;
    let start = Instant::now();
    for _ in 0..turns {
        guest.poll();
    }
    let turn = start.elapsed();
    let start = Instant::now();
    for &id in &ids {
        guest.destroy(id);
    }
    let destroyed = start.elapsed();
    let n = u64::from(count);
    json!({
        "adis": count,
        "create_us": ns(created, n) / 1e3,
        "destroy_us": ns(destroyed, n) / 1e3,
        "bytes_each": after.saturating_sub(before) / n,
        "idle_turn_ns": ns(turn, turns),
    })
}

/// Frames of 64 bytes from one ADI to another, the drivers' part included.
fn packet() -> Value {
    let mut guest = Guest::new(2, 2);
    let mut a = AdiDriver::new(&mut guest, 1, &wanted(1));
    let mut b = AdiDriver::new(&mut guest, 2, &wanted(1));
    let burst = u64::from(RING) / 2;
    b.post(&mut guest, burst);
    let sent = frame(b.mac(), a.mac(), 1);
    let (mut device, mut packets) = (Best::default(), 0);
    let before = guest.function.datapath().queues().translator.counters();
    for _ in 0..BLOCKS {
        let (mut time, mut received) = (Duration::ZERO, 0);
        while received < 1_000_000 / BLOCKS {
            for _ in 0..burst {
                a.send(&mut guest, &sent);
            }
            let start = Instant::now();
            guest.poll();
            time += start.elapsed();
            while b.recv(&guest).is_some() {
                received += 1;
            }
            while a.completion(&guest).is_some() {}
            b.post(&mut guest, burst);
        }
        device.add(ns(time, received));
        packets += received;
    }
    let after = guest.function.datapath().queues().translator.counters();
    json!({
        "packets": packets,
        "device_ns": device.get(),
        "translations": (after.hits + after.walks - before.hits - before.walks) as f64 / packets as f64,
        "walks": (after.walks - before.walks) as f64 / packets as f64,
    })
}

/// Reads of eight bytes: without a PASID; with one, of pages that the burst knows; of pages that are
/// new to bursts as those of [`packet`]; and with all tables walked each time.
fn translation() -> Value {
    let mut guest = Guest::new(1, 1);
    let adi = AdiDriver::new(&mut guest, 1, &wanted(1));
    let pasid = Pasid::new(1);
    let accesses = 4_000_000 / BLOCKS;
    let time = |guest: &mut Guest, pasid, base: u64, step: u64, burst: u64| {
        let start = Instant::now();
        let mut buf = [0; 8];
        for n in 0..accesses {
            let datapath = guest.function.datapath_mut();
            if n % burst == 0 {
                datapath.queues_mut().translator.flush();
            }
            let space = AddressSpace::new(
                &datapath.queues().memory,
                &datapath.queues().translator,
                pasid,
            );
            let at = base + n * step % SPAN;
            let at = at - at % 8;
            space.read(black_box(at), &mut buf).expect("memory");
            black_box(&buf);
        }
        ns(start.elapsed(), accesses)
    };
    let [mut none, mut cached, mut learned, mut walked] = [(); 4].map(|()| Best::default());
    let (inside, endless) = (72, u64::MAX);
    for _ in 0..BLOCKS {
        none.add(time(&mut guest, None, adi.physical, inside, endless));
        cached.add(time(&mut guest, pasid, IOVA, inside, endless));
        learned.add(time(&mut guest, pasid, IOVA, 0x1000, PAGES));
        walked.add(time(&mut guest, pasid, IOVA, inside, 1));
    }
    let [none, cached, learned, walked] = [none, cached, learned, walked].map(|best| best.get());
    json!({
        "none_ns": none,
        "cached_ns": cached,
        "learned_ns": learned,
        "walked_ns": walked,
        "cost_cached_ns": cached - none,
    })
}
