// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The P4 engine alone: packets through programs with tables of several sizes, on one core and on
//! two, and control updates meanwhile.

mod fixtures;
mod peers;

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_pipeline::p4::{Engine, Input, Output};
use anyhow::{ensure, Context, Result};
use serde::Serialize;

use super::Args;
use fixtures::{frame, Fixture};

/// Packets that go in at once.
const BATCH: usize = 32;
/// Updates per second while it is measured what of the packets is left.
const PACE: f64 = 500_000.0;
/// The simple Internet mix: seven of 64 bytes, four of 570, one of 1518.
const IMIX: [usize; 12] = [64, 570, 64, 64, 570, 64, 1518, 64, 570, 64, 64, 570];

/// What was measured with one program and one size.
#[derive(Serialize)]
struct Row {
    program: &'static str,
    entries: u64,
    masks: usize,
    bytes_per_entry: u64,
    /// Per packet, on one core.
    mean_ns: f64,
    p50_ns: f64,
    p99_ns: f64,
    /// At the median, as all rates.
    mpps_64: f64,
    mpps_imix: f64,
    mpps_two_cores: f64,
    /// As fast as they go, beside packets on the other core.
    updates_per_s: f64,
    /// What of the packets is left while there are [`PACE`] updates, in percent.
    forwarding_percent: f64,
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
        "{:11} {:>8} {:>5} {:>7} | {:>6} {:>6} {:>6} | {:>6} {:>6} {:>6} | {:>9} {:>5}",
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
        "left%"
    );
    for fixture in Fixture::ALL {
        if !args.only.is_empty() && !args.only.iter().any(|name| name == fixture.name()) {
            continue;
        }
        for entries in fixture.sizes() {
            let row = measure(fixture, *entries, time, rounds)?;
            println!(
                "{:11} {:>8} {:>5} {:>7} | {:>6.1} {:>6.1} {:>6.1} | {:>6.2} {:>6.2} {:>6.2} | {:>9.0} {:>5.1}",
                row.program, row.entries, row.masks, row.bytes_per_entry, row.mean_ns, row.p50_ns,
                row.p99_ns, row.mpps_64, row.mpps_imix, row.mpps_two_cores, row.updates_per_s,
                row.forwarding_percent
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

/// Figures of code that is not optimized say nothing: runs what is.
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
    let stop = AtomicBool::new(false);
    let mut best: Option<Rate> = None;
    let (mut imix, mut two) = (0f64, 0f64);
    let (mut updates, mut left) = (0f64, 0f64);
    for _ in 0..rounds {
        let one = forward(&engine, fixture, entries, &[64], time, &stop);
        imix = imix.max(forward(&engine, fixture, entries, &IMIX, time, &stop).mpps);
        let sum = std::thread::scope(|scope| {
            let other = scope.spawn(|| forward(&engine, fixture, entries, &[64], time, &stop));
            let here = forward(&engine, fixture, entries, &[64], time, &stop);
            here.mpps + other.join().map_or(0.0, |rate| rate.mpps)
        });
        two = two.max(sum);
        let done = while_updating(&engine, fixture, entries, time, f64::INFINITY)?.1;
        let rate = while_updating(&engine, fixture, entries, time, PACE)?.0;
        // The best of several: a machine that is shared disturbs both.
        updates = updates.max(done);
        left = left.max(100.0 * rate / one.mpps);
        if best.as_ref().is_none_or(|best| one.mpps > best.mpps) {
            best = Some(one);
        }
    }
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
        updates_per_s: updates,
        forwarding_percent: left,
    })
}

struct Rate {
    mpps: f64,
    p50_ns: f64,
    p99_ns: f64,
    mean_ns: f64,
}

/// Sends packets through, to entries at random, for a while.
fn forward(
    engine: &Arc<Engine>,
    fixture: Fixture,
    entries: u64,
    sizes: &[usize],
    time: Duration,
    stop: &AtomicBool,
) -> Rate {
    let mut worker = Engine::worker(engine);
    let mut frames: Vec<_> = (0..BATCH).map(|n| frame(sizes[n % sizes.len()])).collect();
    let mut random = 0x1234_5678_9abc_def1u64;
    let (mut packets, mut dropped, mut headers) = (0u64, 0u64, 0u64);
    let mut batches = Vec::new();
    let start = Instant::now();
    while start.elapsed() < time && !stop.load(Relaxed) {
        for frame in &mut frames {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            fixture.aim(frame, random % entries);
        }
        let inputs: [Input<'_>; BATCH] = std::array::from_fn(|n| Input::new(0, &frames[n]));
        let before = Instant::now();
        worker.process(packets, &inputs, &mut |_, output| match output {
            Output::Sent(sent) => headers += sent.headers.len() as u64,
            Output::Dropped(_) => dropped += 1,
        });
        batches.push(before.elapsed().as_nanos() as u64);
        packets += BATCH as u64;
    }
    std::hint::black_box((headers, dropped));
    let total: u64 = batches.iter().sum();
    batches.sort_unstable();
    let at = |percent: usize| batches[(batches.len() - 1) * percent / 100] as f64 / BATCH as f64;
    // By the median: what took the core away for a while says nothing of the engine.
    Rate {
        mpps: 1000.0 / at(50).max(0.001),
        p50_ns: at(50),
        p99_ns: at(99),
        mean_ns: total as f64 / packets.max(1) as f64,
    }
}

/// Packets on one core, changes of entries on the other; what of both there was.
fn while_updating(
    engine: &Arc<Engine>,
    fixture: Fixture,
    entries: u64,
    time: Duration,
    pace: f64,
) -> Result<(f64, f64)> {
    let stop = AtomicBool::new(false);
    let table = fixture.table(engine)?;
    // Made before, as a client has them.
    let many: Result<Vec<_>> = (0..4096.min(entries * 2))
        .map(|n| fixture.entry(table, n * 31 % entries, n / 2))
        .collect();
    let many = many?;
    std::thread::scope(|scope| {
        let rate = scope.spawn(|| forward(engine, fixture, entries, &[64], time, &stop));
        let (start, mut done) = (Instant::now(), 0u64);
        while start.elapsed() < time {
            for entry in &many {
                table.modify(entry, 0)?;
            }
            done += many.len() as u64;
            while done as f64 > pace * start.elapsed().as_secs_f64() {
                std::hint::spin_loop();
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        let rate = rate.join().map_or(0.0, |rate| rate.mpps);
        Ok((rate, done as f64 / seconds))
    })
}
