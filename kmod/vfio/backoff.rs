// SPDX-License-Identifier: GPL-2.0

//! Back-off of registration after memory was removed from the container under a registration.
//!
//! `vfio_iommu_type1` requests that pinned memory be unpinned and checks again, up to ten times;
//! then it reports a bug. It does not signal when it is done. An owner that registers memory in one
//! thread while another unmaps it could win that race ten times in a row, so registration is
//! delayed after each time, and longer when it recurs soon: to lose, the unmapping thread would
//! have to be kept from a lock for ten seconds in total. An owner that unregisters memory before
//! unmapping it is never delayed.
//!
//! Closing the device does not end a delay: the process that unmaps memory could otherwise evade it
//! by opening the device again. So the first registration of the next owner may be delayed, too, by
//! at most the longest delay; a signal interrupts it.
//!
//! Free of kernel dependencies, so that the host tests compile the same source.

/// The first delay, and the longest.
const DELAYS_MS: (u64, u64) = (20, 5_000);

/// State of the delays. Times are in milliseconds since an arbitrary start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    until: u64,
    delay: u64,
}

impl Backoff {
    /// Starts without a delay.
    pub(crate) const fn new() -> Self {
        Self { until: 0, delay: 0 }
    }

    /// Starts a delay, after memory was removed under its registration.
    pub(crate) fn start(&mut self, now: u64) {
        let (first, longest) = DELAYS_MS;
        // A removal during a delay concerns another part of the same range.
        if self.remaining(now) == 0 {
            let recurs = now < self.until.saturating_add(self.delay);
            self.delay = if recurs {
                self.delay.saturating_mul(2).min(longest)
            } else {
                first
            };
        }
        self.until = now.saturating_add(self.delay);
    }

    /// Returns the milliseconds for which registration is still delayed.
    pub(crate) fn remaining(&self, now: u64) -> u64 {
        self.until.saturating_sub(now)
    }
}
