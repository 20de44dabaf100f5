// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The limit of messages a second.

use std::time::{Duration, Instant};

use crate::protocol::Limits;

/// Admits messages at a mean rate, with bursts (the generic cell rate algorithm).
#[derive(Debug)]
pub(crate) struct Limiter {
    /// The time between messages at the mean rate.
    interval: Duration,
    /// The time that a burst may be ahead of the mean rate.
    tolerance: Duration,
    /// The time at which the next message is due at the mean rate.
    due: Instant,
    /// Set while a message waits.
    waiting: bool,
    delayed: u64,
}

impl Limiter {
    pub(crate) fn new(limits: &Limits, now: Instant) -> Self {
        let interval = Duration::from_secs(1) / limits.messages_per_second.max(1);
        Self {
            interval,
            tolerance: interval * limits.message_burst.saturating_sub(1),
            due: now,
            waiting: false,
            delayed: 0,
        }
    }

    /// Returns whether a message may be handled, and counts it then.
    pub(crate) fn admit(&mut self, now: Instant) -> bool {
        let due = self.due.max(now);
        if due - now > self.tolerance {
            self.delayed += u64::from(!self.waiting);
            self.waiting = true;
            return false;
        }
        self.waiting = false;
        self.due = due + self.interval;
        true
    }

    /// Returns whether a message waits.
    pub(crate) fn waiting(&self) -> bool {
        self.waiting
    }

    /// Forgets a message that waits: the mailbox was reset.
    pub(crate) fn forget(&mut self) {
        self.waiting = false;
    }

    /// The number of messages that had to wait.
    pub(crate) fn delayed(&self) -> u64 {
        self.delayed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_admitted_and_then_the_mean_rate() {
        let limits = Limits {
            messages_per_second: 10,
            message_burst: 3,
            ..Limits::default()
        };
        let start = Instant::now();
        let mut limiter = Limiter::new(&limits, start);
        assert!((0..3).all(|_| limiter.admit(start)));
        assert!(!limiter.admit(start) && !limiter.admit(start));
        assert!(limiter.waiting());
        assert_eq!(limiter.delayed(), 1, "one message, asked about twice");
        let later = start + Duration::from_millis(100);
        assert!(limiter.admit(later) && !limiter.admit(later));
        let idle = later + Duration::from_secs(60);
        assert!((0..3).all(|_| limiter.admit(idle)));
        assert!(!limiter.admit(idle));
        assert_eq!(limiter.delayed(), 3);
    }

    #[test]
    fn limits_at_the_ends_of_their_ranges_do_not_overflow() {
        let limits = Limits {
            messages_per_second: 0,
            message_burst: u32::MAX,
            ..Limits::default()
        };
        let now = Instant::now();
        let mut limiter = Limiter::new(&limits, now);
        assert!(limiter.admit(now) && limiter.admit(now));
    }
}
