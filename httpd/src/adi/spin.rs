// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The time that a thread without work polls before it sleeps.

use std::time::Duration;

/// Polling that is given up where it finds nothing: clients that ask one request after the other leave
/// longer gaps than polling lasts, and each gap would cost all of it besides the sleep.
#[derive(Debug)]
pub(super) struct Spin {
    max: Duration,
    /// Set if the last gap was short enough.
    pays: bool,
    /// Gaps so far, of which one in [`TRIAL`](Self::TRIAL) is tried.
    gaps: u32,
}

impl Spin {
    const TRIAL: u32 = 32;

    /// Polling for at most `max`.
    pub(super) fn new(max: Duration) -> Self {
        Self {
            max,
            pays: true,
            gaps: 0,
        }
    }

    /// Returns the time to poll in the present gap.
    pub(super) fn time(&self) -> Duration {
        if self.pays || self.gaps % Self::TRIAL == 0 {
            self.max
        } else {
            Duration::ZERO
        }
    }

    /// Notes that there was work again after a gap.
    pub(super) fn note(&mut self, gap: Duration) {
        self.gaps = self.gaps.wrapping_add(1);
        self.pays = gap <= self.max;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polling_lasts_where_it_finds_work_and_is_tried_seldom_elsewhere() {
        let max = Duration::from_micros(50);
        let mut spin = Spin::new(max);
        for _ in 0..100 {
            assert_eq!(spin.time(), max);
            spin.note(max);
        }
        let mut tried = 0;
        for _ in 0..320 {
            spin.note(max * 2);
            tried += u32::from(spin.time() == max);
        }
        assert_eq!(tried, 10);
        spin.note(max / 2);
        assert_eq!(spin.time(), max);
    }
}
