// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The number of connections of each zone, and its limit.

use std::sync::atomic::Ordering;

use crate::sync::AtomicU32;

/// Models have the default zone only.
const ZONES: usize = if cfg!(feature = "loom") { 1 } else { 1 << 16 };
const UNLIMITED: u32 = u32::MAX;

pub(crate) struct Zones {
    counts: Box<[AtomicU32]>,
    limits: Box<[AtomicU32]>,
}

fn all(value: u32) -> Box<[AtomicU32]> {
    (0..ZONES).map(|_| AtomicU32::new(value)).collect()
}

impl Zones {
    pub(super) fn new() -> Self {
        Zones {
            counts: all(0),
            limits: all(UNLIMITED),
        }
    }

    /// Counts a connection. Returns false, and does not count it, if the limit is reached.
    pub(super) fn enter(&self, zone: u16) -> bool {
        let count = &self.counts[usize::from(zone)];
        let limit = self.limits[usize::from(zone)].load(Ordering::Relaxed);
        if count.fetch_add(1, Ordering::Relaxed) < limit {
            return true;
        }
        count.fetch_sub(1, Ordering::Relaxed);
        false
    }

    pub(super) fn leave(&self, zone: u16) {
        self.counts[usize::from(zone)].fetch_sub(1, Ordering::Relaxed);
    }

    /// The number of connections of a zone.
    pub(crate) fn count(&self, zone: u16) -> u32 {
        self.counts[usize::from(zone)].load(Ordering::Relaxed)
    }

    /// The limit of a zone.
    pub(crate) fn limit(&self, zone: u16) -> Option<u32> {
        Some(self.limits[usize::from(zone)].load(Ordering::Relaxed))
            .filter(|&limit| limit != UNLIMITED)
    }

    /// Limits the connections of a zone. Those above the limit remain.
    pub(crate) fn set_limit(&self, zone: u16, limit: Option<u32>) {
        self.limits[usize::from(zone)].store(limit.unwrap_or(UNLIMITED), Ordering::Relaxed);
    }
}
