// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What control updates take from packets. One core forwards all the time; the other changes
//! entries, or only spins, in short turns: what else the machine does meets all of them alike. Only
//! packets count that are forwarded while the other core is really at work, and only time in which
//! it is.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_pipeline::p4::tables::{Entry, Table};
use adit_pipeline::p4::Engine;
use anyhow::{Context, Result};

use super::fixtures::Fixture;
use super::{Forwarder, BATCH};

/// Updates a second that packets have to bear.
const PACE: f64 = 500_000.0;
/// How many updates are made without a look at the clock.
const BURST: usize = 8;
const TURN: Duration = Duration::from_millis(10);
/// If the clock went on by more than this between two looks, the core was taken away.
const AWAY: Duration = Duration::from_micros(200);
/// A batch that takes so many times what half of them take at most: the core was taken away.
const LOST: u64 = 4;
/// Of less batches nothing is said.
const FEW: usize = 200;

/// The turns: no updates, [`PACE`], none, as many as can be.
const TURNS: [usize; 4] = [QUIET, PACED, QUIET, FAST];
const QUIET: usize = 0;
const PACED: usize = 1;
const FAST: usize = 2;
const OVER: usize = 3;

/// What was measured.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Updates {
    /// As fast as they go, and when they were to be [`PACE`].
    pub(super) fast_per_s: f64,
    pub(super) paced_per_s: f64,
    /// What of the packets is left then, in percent of what there are without updates; `None` if
    /// the two cores were never at work at once.
    pub(super) fast_left: Option<f64>,
    pub(super) paced_left: Option<f64>,
}

/// The core with the updates.
struct Writer<'a> {
    table: &'a Table,
    entries: Vec<Entry>,
    next: usize,
    /// Goes on while this core is at work.
    beat: &'a AtomicU64,
    /// Updates, and how long they were made, by the kind of turn.
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

/// The mean of a batch, without those whose core was taken away.
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

/// Measures for about that long.
pub(super) fn measure(
    engine: &Arc<Engine>,
    fixture: Fixture,
    entries: u64,
    time: Duration,
) -> Result<Updates> {
    let table = fixture.table(engine)?;
    // Made before, as a client has them.
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
                // Not one in which a turn began, or beside which nothing was done.
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
