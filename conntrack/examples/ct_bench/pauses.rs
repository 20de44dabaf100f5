// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The time that a packet takes while all other connections expire: packets of connections that stay, and
//! of new ones, which need the locks that expiry holds.
//!
//! Wall-clock times contain what the machine does with the thread meanwhile. So each packet has its CPU
//! time, too, and a second run of the same loop, in which no connection expires, is the control.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use adit_conntrack::{Time, Tracker};

use super::packets::packet;
use super::{on_processor, track, Each};

/// Steps of the timer wheels in a call of `expire`: what a packet of the same thread waits for.
const EXPIRE_BUDGET: usize = 32;
/// Connections that have packets while all others expire, and the first one's number.
pub(super) const ALIVE: u32 = 1000;
pub(super) const FIRST_ALIVE: u32 = 0xff00_0000;
/// The first number of connections that begin meanwhile.
const FIRST_NEW: u32 = 0xf000_0000;

/// The times of packets, in order.
#[derive(Default)]
pub(super) struct Times {
    wall: Vec<Duration>,
    processor: Vec<Duration>,
}

impl Times {
    fn sort(&mut self) {
        self.wall.sort();
        self.processor.sort();
    }

    /// The longest time, and the one that one packet of 10,000 exceeds.
    fn extremes(times: &[Duration]) -> [Duration; 2] {
        let rare = times.len().saturating_sub(1 + times.len() / 10_000);
        [times.len().saturating_sub(1), rare].map(|at| times.get(at).copied().unwrap_or_default())
    }

    fn json(&self) -> String {
        let [wall, processor] = [&self.wall, &self.processor].map(|times| Times::extremes(times));
        format!(
            "{{\"packets\":{},\"longest_ns\":{},\"p99_99_ns\":{},\
             \"longest_processor_ns\":{},\"p99_99_processor_ns\":{}}}",
            self.wall.len(),
            wall[0].as_nanos(),
            wall[1].as_nanos(),
            processor[0].as_nanos(),
            processor[1].as_nanos()
        )
    }
}

/// The times of packets while all other connections expire, and of a control.
pub(super) struct Pauses {
    expiring: Times,
    idle: Times,
}

impl Pauses {
    pub(super) fn json(&self) -> String {
        format!(
            "\"pause\":{},\"idle_pause\":{}",
            self.expiring.json(),
            self.idle.json()
        )
    }
}

impl std::fmt::Display for Pauses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, times) in [("while all expire", &self.expiring), ("else", &self.idle)] {
            let [wall, processor] =
                [&times.wall, &times.processor].map(|times| Times::extremes(times));
            writeln!(
                f,
                "longest packet of {} {name}: {:?}, CPU time {:?}; one of 10,000 exceeds {:?}, CPU time {:?}",
                times.wall.len(),
                wall[0],
                processor[0],
                wall[1],
                processor[1]
            )?;
        }
        Ok(())
    }
}

/// Passes packets, in turn of a living connection and of a new one, until `is_done` of their number.
/// `before` is a part of a packet's time.
fn packets(
    tracker: &Tracker,
    now: Time,
    mut before: impl FnMut(),
    is_done: impl Fn(usize) -> bool,
) -> Times {
    let living: Vec<_> = (0..ALIVE)
        .map(|number| packet(FIRST_ALIVE + number))
        .collect();
    let mut times = Times::default();
    times.wall.reserve(1 << 22);
    times.processor.reserve(1 << 22);
    while !is_done(times.wall.len()) {
        let number = times.wall.len();
        let is_new = number % 2 == 1;
        let packet = if is_new {
            packet(FIRST_NEW + number as u32)
        } else {
            living[number / 2 % living.len()]
        };
        let begun = on_processor();
        let begin = Instant::now();
        before();
        let connection = track(tracker, &packet, now);
        let wall = begin.elapsed();
        let processor = on_processor().saturating_sub(begun);
        times.wall.push(wall);
        times.processor.push(processor);
        if is_new {
            tracker.delete(connection, now);
        }
    }
    times.sort();
    times
}

/// Passes packets while `expire` is called, by the thread of the packets before each of them, or by
/// another thread again and again. Ends when nothing is left to expire and `least` packets have passed.
/// Returns also the time that was spent until then in calls of `expire`.
fn beside_expiry(tracker: &Tracker, threads: u32, now: Time, least: usize) -> (Times, Each) {
    let work_left = AtomicBool::new(true);
    let is_left = || work_left.load(Ordering::Relaxed);
    let step = || work_left.store(tracker.expire(now, EXPIRE_BUDGET), Ordering::Relaxed);
    let is_done = |count| count >= least && !is_left();
    let mut spent = Each {
        wall: Duration::ZERO,
        processor: Duration::ZERO,
    };
    if threads == 1 {
        let before = || {
            let was_left = is_left();
            let (begin, begun) = (Instant::now(), on_processor());
            step();
            if was_left {
                spent.wall += begin.elapsed();
                spent.processor += on_processor().saturating_sub(begun);
            }
        };
        let times = packets(tracker, now, before, is_done);
        return (times, spent);
    }
    let has_ended = AtomicBool::new(false);
    let times = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let (begin, begun) = (Instant::now(), on_processor());
            let mut spent = None;
            while !has_ended.load(Ordering::Relaxed) {
                step();
                if !is_left() && spent.is_none() {
                    spent = Some(Each {
                        wall: begin.elapsed(),
                        processor: on_processor() - begun,
                    });
                }
            }
            spent
        });
        let times = packets(tracker, now, || (), is_done);
        has_ended.store(true, Ordering::Relaxed);
        if let Some(all) = other.join().expect("it does not panic") {
            spent = all;
        }
        times
    });
    (times, spent)
}

/// Expires all connections but the living ones. With one thread, a packet waits for a call of
/// `expire` before it; with more, another thread expires them.
pub(super) fn expire(tracker: &Tracker, threads: u32, later: Time) -> (Each, Pauses) {
    let expired = tracker.len() as u32 - ALIVE;
    let (expiring, spent) = beside_expiry(tracker, threads, later, 0);
    assert_eq!(tracker.len(), ALIVE as usize);
    let (idle, _) = beside_expiry(tracker, threads, later, expiring.wall.len());
    let each = Each {
        wall: spent.wall / expired.max(1),
        processor: spent.processor / expired.max(1),
    };
    (each, Pauses { expiring, idle })
}
