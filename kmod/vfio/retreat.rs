// SPDX-License-Identifier: GPL-2.0

//! How long registration waits after memory was taken out of the container under a registration.
//!
//! `vfio_iommu_type1` asks for what is pinned to be unpinned and looks again, up to ten times; then
//! it calls it a bug. It does not say when it is through. An owner who registers memory in one
//! thread while another unmaps it could win that race ten times in a row, so registration waits
//! after each time, and longer when it has been at once again: to lose, the unmapping thread would
//! have to be kept from a lock for ten seconds altogether. Who gives memory back before it is
//! unmapped never waits.
//!
//! This file needs nothing of the kernel: the same source is tested on the host.

/// The first wait, and the longest.
const WAITS_MS: (u64, u64) = (20, 5_000);

/// The state of it. Times are milliseconds since whenever.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Retreat {
    until: u64,
    wait: u64,
}

impl Retreat {
    /// None so far.
    pub(crate) const fn new() -> Self {
        Self { until: 0, wait: 0 }
    }

    /// Memory was taken away under its registration.
    pub(crate) fn begin(&mut self, now: u64) {
        let (first, longest) = WAITS_MS;
        // While registration waits, it is another part of the same range.
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

    /// How long registration has to wait yet.
    pub(crate) fn left(&self, now: u64) -> u64 {
        self.until.saturating_sub(now)
    }
}
