// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Epoch-based reclamation: memory removed from a table may be reused when no worker can still be
//! reading it. Once for each batch, a worker announces that it reads by storing the current epoch
//! in its own slot, and clears the slot after the batch. Each removal begins a new epoch; the
//! removed memory is free when every slot is empty or has an epoch that is not older.

use std::sync::atomic::{fence, AtomicU64, Ordering};

use parking_lot::Mutex;

/// Maximum number of workers of one engine.
pub(in crate::p4) const MAX_WORKERS: usize = 64;

/// A worker's slot in its own cache lines, to avoid false sharing.
#[repr(align(128))]
#[derive(Debug, Default)]
struct Place(AtomicU64);

/// The epochs of one engine.
#[derive(Debug)]
pub(in crate::p4) struct Epochs {
    current: AtomicU64,
    /// The workers' epochs; 0: not reading.
    places: Box<[Place]>,
    taken: Mutex<u64>,
}

/// Guard of a reading worker: what it can reach stays valid until the guard is dropped.
#[derive(Debug)]
pub(in crate::p4) struct Pin<'e> {
    place: &'e AtomicU64,
}

impl Epochs {
    pub(in crate::p4) fn new() -> Epochs {
        Epochs {
            current: AtomicU64::new(1),
            places: (0..MAX_WORKERS).map(|_| Place::default()).collect(),
            taken: Mutex::new(0),
        }
    }

    /// Allocates a worker number; `None` if all are in use.
    pub(in crate::p4) fn join(&self) -> Option<usize> {
        let mut taken = self.taken.lock();
        let number = taken.trailing_ones() as usize;
        if number >= MAX_WORKERS {
            return None;
        }
        *taken |= 1 << number;
        Some(number)
    }

    pub(in crate::p4) fn leave(&self, number: usize) {
        *self.taken.lock() &= !(1 << number);
    }

    /// Begins a worker's reads. A worker has at most one pin at a time.
    pub(in crate::p4) fn pin(&self, number: usize) -> Pin<'_> {
        let place = &self.places[number].0;
        let epoch = self.current.load(Ordering::Acquire);
        place.store(epoch, Ordering::Relaxed);
        // Either a writer that removes something sees this pin, or this worker sees the removal.
        fence(Ordering::SeqCst);
        Pin { place }
    }

    /// Begins a new epoch after a removal, and returns it.
    pub(in crate::p4) fn advance(&self) -> u64 {
        fence(Ordering::SeqCst);
        self.current.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The oldest epoch that is still read: removals in it or before are free.
    pub(in crate::p4) fn oldest(&self) -> u64 {
        fence(Ordering::SeqCst);
        let busy = self.places.iter().map(|p| p.0.load(Ordering::Acquire));
        busy.filter(|epoch| *epoch != 0).min().unwrap_or(u64::MAX)
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        self.place.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_out_is_free_when_nobody_reads_it() {
        let epochs = Epochs::new();
        let worker = epochs.join().unwrap();
        assert_eq!(epochs.oldest(), u64::MAX);
        let pin = epochs.pin(worker);
        let out = epochs.advance();
        assert!(epochs.oldest() < out, "still read");
        drop(pin);
        let _pin = epochs.pin(worker);
        assert!(epochs.oldest() >= out, "a later reader does not see it");
    }

    #[test]
    fn workers_have_numbers_of_their_own() {
        let epochs = Epochs::new();
        let all: Vec<_> = (0..MAX_WORKERS).map(|_| epochs.join().unwrap()).collect();
        assert_eq!(all, (0..MAX_WORKERS).collect::<Vec<_>>());
        assert_eq!(epochs.join(), None);
        epochs.leave(5);
        assert_eq!(epochs.join(), Some(5));
    }
}
