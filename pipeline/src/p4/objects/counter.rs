// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Counters.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{zeros, ObjectError};

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
    /// Packets and bytes, alternating.
    counts: Box<[AtomicU64]>,
}

impl Counter {
    pub(super) fn new(size: usize) -> Counter {
        Counter {
            counts: zeros(size * 2),
        }
    }

    /// The number of elements.
    pub fn size(&self) -> u64 {
        self.counts.len() as u64 / 2
    }

    /// An element.
    pub fn get(&self, index: u64) -> Result<Count, ObjectError> {
        let [packets, bytes] = self.element(index)?;
        Ok(Count {
            packets: packets.load(Relaxed),
            bytes: bytes.load(Relaxed),
        })
    }

    /// Sets an element.
    pub fn set(&self, index: u64, count: Count) -> Result<(), ObjectError> {
        let [packets, bytes] = self.element(index)?;
        packets.store(count.packets, Relaxed);
        bytes.store(count.bytes, Relaxed);
        Ok(())
    }

    /// Counts a packet; ignored if there is no such element.
    pub(in crate::p4) fn add(&self, index: u64, weight: Count) {
        if let Ok([packets, bytes]) = self.element(index) {
            packets.fetch_add(weight.packets, Relaxed);
            bytes.fetch_add(weight.bytes, Relaxed);
        }
    }

    fn element(&self, index: u64) -> Result<[&AtomicU64; 2], ObjectError> {
        let size = self.size();
        let at = usize::try_from(index).ok().filter(|_| index < size);
        let at = at.ok_or(ObjectError::Index { index, size })? * 2;
        Ok([&self.counts[at], &self.counts[at + 1]])
    }
}
