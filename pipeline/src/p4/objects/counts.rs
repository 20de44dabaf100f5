// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Counters with one copy for each worker, so that cores do not share cache lines.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::OnceLock;

use super::Count;
use crate::p4::memory::{prefetch, Words, MAX_WORKERS};

/// Packets and bytes by index.
pub(in crate::p4) struct Counts {
    size: usize,
    /// Offset added to the workers' sums, modulo 2^64.
    base: Words,
    workers: Box<[OnceLock<Words>]>,
}

impl std::fmt::Debug for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} counts", self.size)
    }
}

impl Counts {
    pub(in crate::p4) fn new(size: usize) -> Option<Counts> {
        Some(Counts {
            size,
            base: Words::new(size * 2)?,
            workers: (0..MAX_WORKERS).map(|_| OnceLock::new()).collect(),
        })
    }

    /// The number of counts.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Allocates a worker's copy. Returns `false` if there is not enough memory.
    pub(in crate::p4) fn join(&self, worker: usize) -> bool {
        let place = &self.workers[worker];
        if place.get().is_none() {
            match Words::new(self.size * 2) {
                Some(words) => drop(place.set(words)),
                None => return false,
            }
        }
        true
    }

    /// The words of a worker's copy: packets and bytes of each count in turn; none without a copy. Only
    /// the worker with that number may change them.
    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    pub(in crate::p4) fn own(&self, worker: usize) -> &[AtomicU64] {
        let own = self.workers.get(worker).and_then(OnceLock::get);
        own.map_or(&[], |words| words)
    }

    /// Counts a packet; only the worker with that number may call this.
    #[inline]
    pub(in crate::p4) fn add(&self, worker: usize, index: usize, weight: Count) {
        let own = self.workers.get(worker).and_then(OnceLock::get);
        let words = own.unwrap_or(&self.base);
        if let Some([packets, total]) = words.get(index * 2..index * 2 + 2) {
            if own.is_some() {
                // A single writer: no read-modify-write is needed.
                packets.store(packets.load(Relaxed).wrapping_add(weight.packets), Relaxed);
                total.store(total.load(Relaxed).wrapping_add(weight.bytes), Relaxed);
            } else {
                // There was no memory for its copy.
                packets.fetch_add(weight.packets, Relaxed);
                total.fetch_add(weight.bytes, Relaxed);
            }
        }
    }

    /// Prefetches a counter of a worker.
    #[inline]
    pub(in crate::p4) fn prefetch(&self, worker: usize, index: usize) {
        let words = self.workers.get(worker).and_then(OnceLock::get);
        if let Some(place) = words.and_then(|words| words.get(index * 2)) {
            prefetch(place);
        }
    }

    fn sum(&self, at: usize) -> u64 {
        let parts = self.workers.iter().filter_map(OnceLock::get);
        let values = parts.map(|words| words[at].load(Relaxed));
        values.fold(0, u64::wrapping_add)
    }

    pub(in crate::p4) fn get(&self, index: usize) -> Option<Count> {
        let value = |at: usize| self.base[at].load(Relaxed).wrapping_add(self.sum(at));
        (index < self.size).then(|| Count {
            packets: value(index * 2),
            bytes: value(index * 2 + 1),
        })
    }

    /// Sets a counter; packets counted concurrently may be lost.
    pub(in crate::p4) fn set(&self, index: usize, count: Count) {
        if index < self.size {
            for (at, value) in [(index * 2, count.packets), (index * 2 + 1, count.bytes)] {
                self.base[at].store(value.wrapping_sub(self.sum(at)), Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_workers_add_up() {
        let count = |packets, bytes| Count { packets, bytes };
        let counts = Counts::new(4).unwrap();
        assert!(counts.join(0) && counts.join(5));
        // Worker 7 has no copy.
        for worker in [0, 5, 5, 7] {
            counts.add(worker, 2, count(1, 10));
            counts.add(worker, 4, count(1, 10));
        }
        assert_eq!(counts.get(2), Some(count(4, 40)));
        assert_eq!((counts.get(3), counts.get(4)), (Some(count(0, 0)), None));
        counts.set(2, count(9, 1));
        counts.add(5, 2, count(1, 10));
        assert_eq!(counts.get(2), Some(count(10, 11)));
    }
}
