// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Counters.

use std::sync::atomic::AtomicU64;

use super::{Counts, ObjectError};

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Number of packets.
    pub packets: u64,
    /// Number of bytes.
    pub bytes: u64,
}

/// A `counter`.
#[derive(Debug)]
pub struct Counter {
    counts: Counts,
}

impl Counter {
    /// Creates a counter; `None` if there is not enough memory.
    pub(super) fn new(size: usize) -> Option<Counter> {
        let counts = Counts::new(size)?;
        Some(Counter { counts })
    }

    /// Allocates a worker's counts when it starts. Without memory for them it counts in those that
    /// workers share.
    pub(in crate::p4) fn join(&self, worker: usize) {
        self.counts.join(worker);
    }

    /// The words of a worker's counts ([`Counts::own`]).
    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    pub(in crate::p4) fn own(&self, worker: usize) -> &[AtomicU64] {
        self.counts.own(worker)
    }

    /// The number of elements.
    pub fn size(&self) -> u64 {
        self.counts.size() as u64
    }

    /// An element.
    pub fn get(&self, index: u64) -> Result<Count, ObjectError> {
        let at = usize::try_from(index).ok();
        let count = at.and_then(|at| self.counts.get(at));
        count.ok_or_else(|| self.no_element(index))
    }

    /// Sets an element. Packets counted meanwhile may be lost.
    pub fn set(&self, index: u64, count: Count) -> Result<(), ObjectError> {
        let at = usize::try_from(index).ok();
        let at = at.filter(|at| *at < self.counts.size());
        self.counts
            .set(at.ok_or_else(|| self.no_element(index))?, count);
        Ok(())
    }

    /// Counts a packet of a worker; ignored if there is no such element.
    #[inline]
    pub(in crate::p4) fn add(&self, worker: usize, index: u64, weight: Count) {
        if index < self.size() {
            self.counts.add(worker, index as usize, weight);
        }
    }

    fn no_element(&self, index: u64) -> ObjectError {
        let size = self.size();
        ObjectError::Index { index, size }
    }
}
