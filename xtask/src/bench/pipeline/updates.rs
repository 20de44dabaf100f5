// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The cost of control updates for packets. One core forwards all the time; the other updates
//! entries, or only spins, in short turns, so that other load on the machine affects all of them
//! alike. Only packets forwarded while the other core is really at work count, and only time in
//! which it is.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_pipeline::p4::tables::{Entry, Table};
use adit_pipeline::p4::Engine;
use anyhow::{Context, Result};

use super::fixtures::Fixture;
use super::{Forwarder, BATCH};

/// Updates per second in the paced turns.
const PACE: f64 = 500_000.0;
/// Number of updates between reads of the clock.
const BURST: usize = 8;
const TURN: Duration = Duration::from_millis(10);
/// Maximum time between two reads of the clock; beyond it, the core was preempted.
const AWAY: Duration = Duration::from_micros(200);
/// Factor over the median batch time beyond which the core was preempted.
const LOST: u64 = 4;
/// Minimum number of batches for a result.
const FEW: usize = 200;

/// The turns: no updates, [`PACE`], none, as many as possible.
const TURNS: [usize; 4] = [QUIET, PACED, QUIET, FAST];
const QUIET: usize = 0;
const PACED: usize = 1;
const FAST: usize = 2;
const OVER: usize = 3;

/// Results of a measurement.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Updates {
    /// Update rate at full speed, and with a target of [`PACE`].
    pub(super) fast_per_s: f64,
    pub(super) paced_per_s: f64,
    /// Packet rate in those turns, in percent of the rate without updates; `None` if there were too
    /// few batches while both cores were at work.
    pub(super) fast_left: Option<f64>,
    pub(super) paced_left: Option<f64>,
}

/// The core that updates entries.
struct Writer<'a> {
    table: &'a Table,
    entries: Vec<Entry>,
    next: usize,
    /// Advances while this core is at work.
    beat: &'a AtomicU64,
    /// Number of updates, and the time spent, by kind of turn.
    done: [(u64, Duration); OVER],
}

impl Writer<'_> {
    fn turn(&mut self, kind: usize) -> Result<()> {
        let (mut last, mut time, mut done) = (Instant::now(), Duration::ZERO, 0u64);
        while time < TURN {
            let now = Instant::now();
            let gone = now - last;
            last = now;
            if gone < AWAY {
                time += gone;
            }
            let is_due = match kind {
                QUIET => false,
                PACED => (done as f64) < PACE * time.as_secs_f64(),
                _ => true,
            };
            for _ in 0..BURST {
                self.beat.fetch_add(1, Relaxed);
                if is_due {
                    self.table.modify(&self.entries[self.next], 0)?;
                    self.next = (self.next + 1) % self.entries.len();
                } else {
                    std::hint::spin_loop();
                }
            }
            done += if is_due { BURST as u64 } else { 0 };
        }
        let sum = &mut self.done[kind];
        *sum = (sum.0 + done, sum.1 + time);
        Ok(())
    }

    fn per_s(&self, kind: usize) -> f64 {
        let (done, time) = self.done[kind];
        done as f64 / time.as_secs_f64().max(1e-9)
    }
}

/// Returns the mean time of a packet, without batches during which the core was preempted.
fn mean(mut batches: Vec<u64>) -> Option<f64> {
    batches.sort_unstable();
    let limit = batches.get(batches.len() / 2)? * LOST;
    let kept = batches.partition_point(|ns| *ns <= limit);
    if kept < FEW {
        return None;
    }
    let sum: u64 = batches[..kept].iter().sum();
    Some(sum as f64 / kept as f64 / BATCH as f64)
}

/// Measures for about `time`.
pub(super) fn measure(
    engine: &Arc<Engine>,
    fixture: Fixture,
    entries: u64,
    time: Duration,
) -> Result<Updates> {
    let table = fixture.table(engine)?;
    // Built in advance, as by a client.
    let many: Result<Vec<_>> = (0..4096.min(entries * 2))
        .map(|n| fixture.entry(table, n * 31 % entries, n / 2))
        .collect();
    let beat = AtomicU64::new(0);
    let mut writer = Writer {
        table,
        entries: many?,
        next: 0,
        beat: &beat,
        done: Default::default(),
    };
    let now = AtomicUsize::new(QUIET);
    let batches = std::thread::scope(|scope| {
        let forwarding = scope.spawn(|| {
            let mut forwarder = Forwarder::new(engine, fixture, entries, &[64]);
            let mut batches: [Vec<u64>; OVER] = Default::default();
            loop {
                let kind = now.load(Relaxed);
                if kind == OVER {
                    return batches;
                }
                let before = beat.load(Relaxed);
                let ns = forwarder.batch();
                // Skips batches in which a turn began, or during which the other core was not at
                // work.
                if now.load(Relaxed) == kind && beat.load(Relaxed) != before {
                    batches[kind].push(ns);
                }
            }
        });
        let start = Instant::now();
        let mut result = Ok(());
        while result.is_ok() && start.elapsed() < time {
            for kind in TURNS {
                now.store(kind, Relaxed);
                result = result.and_then(|()| writer.turn(kind));
            }
        }
        now.store(OVER, Relaxed);
        let batches = forwarding.join();
        result?;
        batches.ok().context("the forwarding core gave up")
    })?;
    let [quiet, paced, fast] = batches.map(mean);
    let left = |with: Option<f64>| Some(100.0 * quiet? / with?);
    Ok(Updates {
        fast_per_s: writer.per_s(FAST),
        paced_per_s: writer.per_s(PACED),
        fast_left: left(fast),
        paced_left: left(paced),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_whose_core_was_taken_away_do_not_count() {
        let all = |batches: [u64; 3]| {
            batches
                .repeat(FEW)
                .iter()
                .map(|ns| ns * BATCH as u64)
                .collect()
        };
        assert_eq!(mean(all([1, 3, 2])), Some(2.0));
        assert_eq!(mean(all([1, 1, 1000])), Some(1.0));
        assert_eq!(mean(vec![1; FEW - 1]), None);
    }
}
