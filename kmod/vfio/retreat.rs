// SPDX-License-Identifier: GPL-2.0

//! Delays of registration after memory was removed from the container under a registration.
//!
//! `vfio_iommu_type1` requests that pinned memory be unpinned and checks again, up to ten times;
//! then it reports a bug. It does not signal when it is done. An owner that registers memory in one
//! thread while another unmaps it could win that race ten times in a row, so registration waits
//! after each time, and longer when it recurs soon: to lose, the unmapping thread would have to be
//! kept from a lock for ten seconds in total. An owner that unregisters memory before unmapping it
//! never waits.
//!
//! Free of kernel dependencies, so that the host tests compile the same source.

/// The first delay, and the longest.
const WAITS_MS: (u64, u64) = (20, 5_000);

/// State of the delays. Times are in milliseconds since an arbitrary start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Retreat {
    until: u64,
    wait: u64,
}

impl Retreat {
    /// Starts without a delay.
    pub(crate) const fn new() -> Self {
        Self { until: 0, wait: 0 }
    }

    /// Starts a delay, after memory was removed under its registration.
    pub(crate) fn begin(&mut self, now: u64) {
        let (first, longest) = WAITS_MS;
        // A removal during a delay concerns another part of the same range.
        if self.left(now) == 0 {
            let soon = now < self.until.saturating_add(self.wait);
            self.wait = if soon {
                self.wait.saturating_mul(2).min(longest)
            } else {
                first
            };
        }
        self.until = now.saturating_add(self.wait);
    }

    /// Returns the milliseconds that registration still has to wait.
    pub(crate) fn left(&self, now: u64) -> u64 {
        self.until.saturating_sub(now)
    }
}
