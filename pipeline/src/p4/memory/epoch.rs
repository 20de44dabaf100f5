// SPDX-License-Identifier: Apache-2.0 OR MIT
//! When what was taken out of a table may be used again: when no worker can still be reading it.
//! A worker says that it reads, once for a batch, by putting the number of the current epoch into
//! a place of its own, and clears that place after the batch. What is taken out begins a new epoch;
//! it is free when every place is empty or has an epoch that is not older.

use std::sync::atomic::{fence, AtomicU64, Ordering};

use parking_lot::Mutex;

/// The most workers of one engine.
pub(in crate::p4) const MAX_WORKERS: usize = 64;

/// A place of its own in memory, so that cores do not share lines.
#[repr(align(128))]
#[derive(Debug, Default)]
struct Place(AtomicU64);

/// The epochs of one engine.
#[derive(Debug)]
pub(in crate::p4) struct Epochs {
    current: AtomicU64,
    /// 0: not reading.
    places: Box<[Place]>,
    taken: Mutex<u64>,
}

/// Proof that a worker reads: what it reaches now stays as it is until this goes.
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

    /// A number for a worker; `None` if there are too many.
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

    /// The worker begins to read. A worker has one pin at a time.
    pub(in crate::p4) fn pin(&self, number: usize) -> Pin<'_> {
        let place = &self.places[number].0;
        let epoch = self.current.load(Ordering::Acquire);
        place.store(epoch, Ordering::Relaxed);
        // Either this is seen by who takes something out, or this worker sees that it is gone.
        fence(Ordering::SeqCst);
        Pin { place }
    }

    /// Something has been taken out: gives the epoch that begins.
    pub(in crate::p4) fn advance(&self) -> u64 {
        fence(Ordering::SeqCst);
        self.current.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The oldest epoch that is still read: what went out in it or before is free.
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
