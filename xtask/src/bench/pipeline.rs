// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The P4 engine alone: packets through programs with tables of several sizes, on one core and on
//! two, and concurrent control updates.

mod fixtures;
mod peers;
mod updates;

use std::cmp::Ordering;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_pipeline::p4::{Engine, Input, Output, Worker};
use anyhow::{ensure, Context, Result};
use serde::Serialize;

use super::Args;
use fixtures::{frame, Fixture};
use updates::Updates;

/// Number of packets per batch.
const BATCH: usize = 32;
/// The simple Internet mix (IMIX): seven packets of 64 bytes, four of 570, one of 1518.
const IMIX: [usize; 12] = [64, 570, 64, 64, 570, 64, 1518, 64, 570, 64, 64, 570];

/// Results for one program and one table size.
#[derive(Serialize)]
struct Row {
    program: &'static str,
    entries: u64,
    masks: usize,
    bytes_per_entry: u64,
    /// Time per packet, on one core.
    mean_ns: f64,
    p50_ns: f64,
    p99_ns: f64,
    /// Rate at the median, as are all rates.
    mpps_64: f64,
    mpps_imix: f64,
    mpps_two_cores: f64,
    /// Maximum update rate with packets on the other core, and the remaining packet rate in
    /// percent.
    updates_per_s: f64,
    forwarding_percent: Option<f64>,
    /// The same with 500,000 updates per second, or as many of those as there were.
    paced_updates_per_s: f64,
    paced_forwarding_percent: Option<f64>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    if args.only == ["peers"] {
        return peers::run().map(drop);
    }
    if cfg!(debug_assertions) {
        return run_optimized(args);
    }
    let time = Duration::from_millis(if args.quick { 100 } else { 500 });
    let rounds = args.rounds.unwrap_or(if args.quick { 1 } else { 3 });
    let mut rows = Vec::new();
    println!(
        "{:11} {:>8} {:>5} {:>7} | {:>6} {:>6} {:>6} | {:>6} {:>6} {:>6} | {:>9} {:>5} | {:>9} {:>5}",
        "program",
        "entries",
        "masks",
        "B/entry",
        "mean",
        "p50",
        "p99",
        "Mpps",
        "imix",
        "2cores",
        "updates/s",
        "left%",
        "paced/s",
        "left%"
    );
    for fixture in Fixture::ALL {
        if !args.only.is_empty() && !args.only.iter().any(|name| name == fixture.name()) {
            continue;
        }
        for entries in fixture.sizes() {
            let row = measure(fixture, *entries, time, rounds)?;
            println!(
                "{:11} {:>8} {:>5} {:>7} | {:>6.1} {:>6.1} {:>6.1} | {:>6.2} {:>6.2} {:>6.2} | {:>9.0} {:>5} | {:>9.0} {:>5}",
                row.program, row.entries, row.masks, row.bytes_per_entry, row.mean_ns, row.p50_ns,
                row.p99_ns, row.mpps_64, row.mpps_imix, row.mpps_two_cores, row.updates_per_s,
                percent(row.forwarding_percent), row.paced_updates_per_s, percent(row.paced_forwarding_percent)
            );
            rows.push(row);
        }
    }
    let peers = match args.only.is_empty() {
        true => peers::run()?,
        false => Vec::new(),
    };
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench");
    std::fs::create_dir_all(folder)?;
    let path = format!("{folder}/pipeline.json");
    let report = serde_json::json!({ "programs": rows, "peers": peers });
    std::fs::write(&path, serde_json::to_vec_pretty(&report)?)?;
    println!("{path}");
    Ok(())
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"))
}

/// Runs the optimized build: figures of unoptimized code are meaningless.
fn run_optimized(args: &Args) -> Result<()> {
    let mut command = Command::new("cargo");
    command.args([
        "run",
        "--release",
        "-q",
        "-p",
        "xtask",
        "--",
        "bench",
        "pipeline",
    ]);
    command.args(args.quick.then_some("--quick"));
    if let Some(rounds) = args.rounds {
        command.args(["--rounds", &rounds.to_string()]);
    }
    if !args.only.is_empty() {
        command.args(["--only", &args.only.join(",")]);
    }
    let status = command.status().context("cannot run cargo")?;
    ensure!(status.success(), "the optimized benchmark failed: {status}");
    Ok(())
}

fn measure(fixture: Fixture, entries: u64, time: Duration, rounds: usize) -> Result<Row> {
    let engine = fixture.load(entries)?;
    let table = fixture.table(&engine)?;
    let mut best: Option<Rate> = None;
    let (mut imix, mut two) = (0f64, 0f64);
    let mut updates = Vec::new();
    for _ in 0..rounds {
        let one = forward(&engine, fixture, entries, &[64], time);
        imix = imix.max(forward(&engine, fixture, entries, &IMIX, time).mpps);
        let sum = std::thread::scope(|scope| {
            let other = scope.spawn(|| forward(&engine, fixture, entries, &[64], time));
            let here = forward(&engine, fixture, entries, &[64], time);
            here.mpps + other.join().map_or(0.0, |rate| rate.mpps)
        });
        two = two.max(sum);
        updates.push(updates::measure(&engine, fixture, entries, 2 * time)?);
        // The best of several rounds: other load on a shared machine slows everything.
        if best.as_ref().is_none_or(|best| one.mpps > best.mpps) {
            best = Some(one);
        }
    }
    // Ratios are not the best ones, but those of the median round.
    updates.sort_by(|a, b| {
        a.paced_left
            .partial_cmp(&b.paced_left)
            .unwrap_or(Ordering::Equal)
    });
    let updates: Updates = updates.get(rounds / 2).copied().unwrap_or_default();
    let best = best.context("there was no round")?;
    Ok(Row {
        program: fixture.name(),
        entries,
        masks: table.masks(),
        bytes_per_entry: table.bytes() as u64 / entries,
        mean_ns: best.mean_ns,
        p50_ns: best.p50_ns,
        p99_ns: best.p99_ns,
        mpps_64: best.mpps,
        mpps_imix: imix,
        mpps_two_cores: two,
        updates_per_s: updates.fast_per_s,
        forwarding_percent: updates.fast_left,
        paced_updates_per_s: updates.paced_per_s,
        paced_forwarding_percent: updates.paced_left,
    })
}

struct Rate {
    mpps: f64,
    p50_ns: f64,
    p99_ns: f64,
    mean_ns: f64,
}

/// A core that forwards packets, to random entries.
struct Forwarder {
    worker: Worker,
    fixture: Fixture,
    entries: u64,
    frames: Vec<Vec<u8>>,
    random: u64,
    packets: u64,
    /// Sum over the output, so that nothing is optimized away.
    headers: u64,
}

impl Forwarder {
    fn new(engine: &Arc<Engine>, fixture: Fixture, entries: u64, sizes: &[usize]) -> Forwarder {
        Forwarder {
            worker: Engine::worker(engine),
            fixture,
            entries,
            frames: (0..BATCH).map(|n| frame(sizes[n % sizes.len()])).collect(),
            random: 0x1234_5678_9abc_def1,
            packets: 0,
            headers: 0,
        }
    }

    /// Processes a batch and returns its duration in nanoseconds.
    fn batch(&mut self) -> u64 {
        for frame in &mut self.frames {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            self.fixture.aim(frame, self.random % self.entries);
        }
        let inputs: [Input<'_>; BATCH] = std::array::from_fn(|n| Input::new(0, &self.frames[n]));
        let headers = &mut self.headers;
        let before = Instant::now();
        let mut out = |_, output: Output<'_>| {
            if let Output::Sent(sent) = output {
                *headers += sent.headers.len() as u64;
            }
        };
        self.worker.process(self.packets, &inputs, &mut out);
        let ns = before.elapsed().as_nanos() as u64;
        self.packets += BATCH as u64;
        std::hint::black_box(self.headers);
        ns
    }
}

/// Forwards packets for `time`.
fn forward(
    engine: &Arc<Engine>,
    fixture: Fixture,
    entries: u64,
    sizes: &[usize],
    time: Duration,
) -> Rate {
    let mut forwarder = Forwarder::new(engine, fixture, entries, sizes);
    let mut batches = Vec::new();
    let start = Instant::now();
    while start.elapsed() < time {
        batches.push(forwarder.batch());
    }
    let total: u64 = batches.iter().sum();
    batches.sort_unstable();
    let at = |percent: usize| batches[(batches.len() - 1) * percent / 100] as f64 / BATCH as f64;
    // By the median: preemption of the core says nothing about the engine.
    Rate {
        mpps: 1000.0 / at(50).max(0.001),
        p50_ns: at(50),
        p99_ns: at(99),
        mean_ns: total as f64 / forwarder.packets.max(1) as f64,
    }
}
