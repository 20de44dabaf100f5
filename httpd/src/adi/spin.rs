// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The time that a thread without work polls before it sleeps.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use rustix::thread::set_current_timer_slack;

/// The maximum that a sleep is assumed to cost. CPUs leave their deepest idle states within it.
const MAX_COST: Duration = Duration::from_micros(200);

/// Polling that lasts as long as a sleep costs, as long as that saves CPU time.
///
/// A gap that polling bridges costs its length, a longer one costs the polling and the sleep. Polling
/// pays while the average of that is less than the cost of sleeping at once. Clients that leave longer
/// gaps are noticed by gaps that are tried.
#[derive(Debug)]
pub(super) struct Spin {
    /// The cost of a sleep, in nanoseconds.
    sleep: u64,
    /// The average cost of a gap that begins with polling, in nanoseconds.
    polling: u64,
    /// Gaps so far, of which one in [`TRIAL`](Self::TRIAL) is tried.
    gaps: u32,
}

impl Spin {
    const TRIAL: u32 = 32;
    /// The weight of the past in the average is 1 - 1 / `WEIGHT`.
    const WEIGHT: u64 = 4;

    /// Polling where a sleep costs `sleep`.
    pub(super) fn new(sleep: Duration) -> Self {
        Self {
            sleep: u64::try_from(sleep.as_nanos()).unwrap_or(u64::MAX / 4),
            polling: 0,
            gaps: 0,
        }
    }

    /// Returns the time to poll in the present gap.
    pub(super) fn time(&self) -> Duration {
        Duration::from_nanos(if self.polls() { self.sleep } else { 0 })
    }

    /// Notes that there was work again after a gap.
    pub(super) fn note(&mut self, gap: Duration) {
        // Of the other gaps only the short ones would be known, as they are with the sleep.
        if self.polls() {
            let gap = u64::try_from(gap.as_nanos()).unwrap_or(u64::MAX);
            let cost = if gap <= self.sleep {
                gap
            } else {
                2 * self.sleep
            };
            self.polling = self.polling - self.polling / Self::WEIGHT + cost / Self::WEIGHT;
        }
        self.gaps = self.gaps.wrapping_add(1);
    }

    fn polls(&self) -> bool {
        self.polling < self.sleep || self.gaps % Self::TRIAL == 0
    }
}

/// Measures the CPU time that a sleep of this thread costs, with the way into it and out of it.
///
/// The way out is the time by which short sleeps are too long: that of the timer's interrupt, and of the
/// way back to the thread. The way in cannot be seen, and counts as much. On a loaded machine other threads
/// prolong all sleeps, which says nothing about the cost: it counts as [`MAX_COST`] at most, lest polling
/// take a CPU from them.
pub(super) fn sleep_cost() -> Duration {
    // Long enough for the CPU to become idle.
    const LEN: Duration = Duration::from_micros(100);
    const SLEEPS: usize = 32;
    // By default the kernel may add 50 us to each.
    let _ = set_current_timer_slack(NonZeroU64::new(1));
    let mut excesses = [Duration::ZERO; SLEEPS];
    for excess in &mut excesses {
        let begin = Instant::now();
        std::thread::sleep(LEN);
        *excess = begin.elapsed().saturating_sub(LEN);
    }
    // Back to the default.
    let _ = set_current_timer_slack(None);
    excesses.sort_unstable();
    cost(&excesses)
}

/// The cost of a sleep, given by how much each of some was too long, in ascending order.
fn cost(excesses: &[Duration]) -> Duration {
    // Other work of the machine prolongs some.
    let excess = excesses.get(excesses.len() / 4).copied();
    excess.unwrap_or_default().saturating_mul(2).min(MAX_COST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLEEP: Duration = Duration::from_micros(50);

    #[test]
    fn polling_lasts_while_it_finds_work() {
        let mut spin = Spin::new(SLEEP);
        for _ in 0..100 {
            assert_eq!(spin.time(), SLEEP);
            spin.note(SLEEP / 2);
        }
    }

    #[test]
    fn where_polling_finds_nothing_it_is_tried_seldom() {
        let mut spin = Spin::new(SLEEP);
        (0..64).for_each(|_| spin.note(SLEEP * 2));
        let mut tried = 0;
        for _ in 0..320 {
            tried += u32::from(spin.time() == SLEEP);
            spin.note(SLEEP * 2);
        }
        assert_eq!(tried, 10);
        // Gaps that were not tried say nothing about those that are.
        for _ in 0..31 {
            spin.note(SLEEP / 2);
        }
        (0..320).for_each(|_| spin.note(SLEEP / 2));
        assert_eq!(spin.time(), SLEEP);
    }

    /// With gaps of which every `n`th is long, polling costs `2 * SLEEP` for that and `SLEEP / 4` for the
    /// others.
    #[test]
    fn polling_that_costs_more_than_it_saves_ends() {
        let polled = |long_in: u32| {
            let mut spin = Spin::new(SLEEP);
            let mut polled = 0;
            for n in 0..4096 {
                polled += u32::from(spin.time() == SLEEP);
                let is_long = n % long_in == 0;
                spin.note(if is_long { SLEEP * 9 } else { SLEEP / 4 });
            }
            polled
        };
        assert!(polled(16) > 4000, "{}", polled(16));
        // 2 in 3, not a multiple of the interval of trials.
        let mut spin = Spin::new(SLEEP);
        let mut polled = 0;
        for n in 0..4096 {
            polled += u32::from(spin.time() == SLEEP);
            spin.note(if n % 3 > 0 { SLEEP * 9 } else { SLEEP / 4 });
        }
        assert!(polled < 1000, "{polled}");
    }

    #[test]
    fn a_sleep_costs_something_and_not_what_other_threads_prolong_it_by() {
        let measured = sleep_cost();
        assert!(measured > Duration::ZERO && measured <= MAX_COST);
        let of = |us: u64| cost(&[Duration::from_micros(us); 8]);
        assert_eq!(of(30), Duration::from_micros(60));
        // Time slices of other threads.
        assert_eq!(of(4_000), MAX_COST);
        // Less than all are prolonged.
        let us = [20, 25, 30, 3_000, 4_000, 4_000, 4_000, 4_000];
        let prolonged = us.map(Duration::from_micros);
        assert_eq!(cost(&prolonged), Duration::from_micros(60));
    }
}
