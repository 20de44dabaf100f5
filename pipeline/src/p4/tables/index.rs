// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A hash table from keys to records. Buckets are cache lines of eight slots. A slot is one word,
//! so that it changes atomically: readers need no lock and either see a record or do not. A full
//! bucket overflows into the next one.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::staged::FAR_BYTES;
use crate::p4::memory::{prefetch, Words};

const PLACES: usize = 8;
/// An empty slot, in a bucket that may have overflowed into the next one.
const GONE: u64 = u32::MAX as u64;
const HOME_BIT: u32 = 24;

/// The hash table. Keys are in the records; callers compare them.
pub(in crate::p4) struct Index {
    places: Words,
    /// The number of buckets minus one; it is a power of two.
    mask: usize,
    /// Set if most of it is not in a core's cache.
    is_far: bool,
}

/// The slot of a record.
#[derive(Clone, Copy)]
pub(super) struct Place(usize);

/// Combines the upper half of a hash with a record in the lower half.
fn word(hash: u64, record: u32) -> u64 {
    hash & !GONE | u64::from(record + 1)
}

fn record_of(word: u64) -> Option<u32> {
    match word as u32 {
        0 | u32::MAX => None,
        n => Some(n - 1),
    }
}

/// The slot of its bucket in which a record is looked for first.
fn home(hash: u64) -> usize {
    // Bits that select no bucket of the largest table, and are not in the slot.
    (hash >> HOME_BIT) as usize % PLACES
}

#[cfg(feature = "jit")]
/// Offsets of what machine code reads, as [`Index::search`] does.
impl Index {
    /// The address of its slots.
    pub(in crate::p4) const SLOTS: usize = std::mem::offset_of!(Index, places) + Words::START;
    /// A word.
    pub(in crate::p4) const MASK: usize = std::mem::offset_of!(Index, mask);
    /// A byte.
    pub(in crate::p4) const IS_FAR: usize = std::mem::offset_of!(Index, is_far);
    /// The number of slots of a bucket.
    pub(in crate::p4) const SLOTS_OF_BUCKET: usize = PLACES;
    /// The lowest bit of a hash that selects the slot of its bucket in which a record is looked for
    /// first.
    pub(in crate::p4) const HOME_BIT: u32 = HOME_BIT;
}

impl Index {
    /// Allocates an index for that many records; `None` if there is not enough memory.
    pub(super) fn new(records: usize) -> Option<Index> {
        // At most five eighths are used.
        let buckets = (records.max(4) * 8 / 5)
            .div_ceil(PLACES)
            .next_power_of_two();
        let places = Words::new(buckets * PLACES)?;
        Some(Index {
            is_far: places.len() * 8 >= FAR_BYTES,
            places,
            mask: buckets - 1,
        })
    }

    /// The maximum number of slots in use.
    pub(super) fn room(&self) -> usize {
        self.places.len() / 8 * 5
    }

    /// Returns whether most of it is not in a core's cache.
    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    #[inline]
    pub(super) fn is_far(&self) -> bool {
        self.is_far
    }

    pub(super) fn bytes(&self) -> usize {
        self.places.len() * 8
    }

    fn bucket(&self, hash: u64) -> usize {
        hash as usize & self.mask
    }

    /// Prefetches the bucket of a hash.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        prefetch(&self.places[self.bucket(hash) * PLACES]);
    }

    /// A record that may be the one for a hash, by the hash bits in its slot.
    #[inline]
    pub(super) fn candidate(&self, hash: u64) -> Option<u32> {
        let line = &self.places[self.bucket(hash) * PLACES..][..PLACES];
        let slots = (0..PLACES).map(|n| &line[(home(hash) + n) % PLACES]);
        let words = slots.map(|place| place.load(Acquire));
        let mut alike = words.filter(|word| (word ^ hash) >> 32 == 0);
        alike.find_map(record_of)
    }

    /// Finds the record whose key `is_it` confirms.
    #[inline(always)]
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        self.search(hash, &mut is_it).map(|found| found.1)
    }

    /// The same with its slot, for writers.
    #[inline(always)]
    pub(super) fn search(
        &self,
        hash: u64,
        is_it: &mut impl FnMut(u32) -> bool,
    ) -> Option<(Place, u32)> {
        let mut bucket = self.bucket(hash);
        let last = bucket.wrapping_sub(1) & self.mask;
        loop {
            let line = self.places[bucket * PLACES..].first_chunk::<PLACES>()?;
            // Most records are in the first of these. The others without branches: which of them a record
            // is in is unpredictable. The first slot's bit is the lowest.
            let differs = |place: &AtomicU64| (place.load(Acquire) ^ hash) >> 32;
            let first = home(hash);
            let mut alike = u32::from(differs(&line[first]) == 0) << first;
            let mut others = !(1 << first);
            loop {
                if alike == 0 {
                    for place in line.iter().rev() {
                        alike = alike.wrapping_add(alike) + u32::from(differs(place) == 0);
                    }
                    alike &= std::mem::take(&mut others);
                    if alike == 0 {
                        break;
                    }
                }
                let n = alike.trailing_zeros() as usize;
                alike &= alike - 1;
                // The slot may have another record by now; `is_it` compares all of the key.
                if let Some(record) = record_of(line[n % PLACES].load(Acquire)) {
                    if is_it(record) {
                        return Some((Place(bucket * PLACES + n), record));
                    }
                }
            }
            // A full bucket does not become one with a slot that was never used.
            if bucket == last || line.iter().any(|place| place.load(Acquire) == 0) {
                return None;
            }
            bucket = (bucket + 1) & self.mask;
        }
    }

    /// Adds a record; the caller has ensured that there is space. Returns whether the slot was
    /// never used before.
    pub(super) fn insert(&self, hash: u64, record: u32) -> bool {
        let mut bucket = self.bucket(hash);
        for _ in 0..=self.mask {
            let line = &self.places[bucket * PLACES..][..PLACES];
            for place in (0..PLACES).map(|n| &line[(home(hash) + n) % PLACES]) {
                let old = place.load(Relaxed);
                if record_of(old).is_none() {
                    place.store(word(hash, record), Release);
                    return old == 0;
                }
            }
            bucket = (bucket + 1) & self.mask;
        }
        false
    }

    /// Replaces the record in a slot.
    pub(super) fn replace(&self, place: Place, hash: u64, record: u32) {
        self.places[place.0].store(word(hash, record), Release);
    }

    /// Empties a slot. Returns whether it is again in the never-used state.
    pub(super) fn remove(&self, place: Place) -> bool {
        let bucket = place.0 / PLACES * PLACES;
        let line = &self.places[bucket..][..PLACES];
        // No record overflowed from a bucket that has a slot that was never used.
        let ends_here = line.iter().any(|place| place.load(Relaxed) == 0);
        self.places[place.0].store(if ends_here { 0 } else { GONE }, Release);
        ends_here
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records that belong into the same slot of the same bucket are found in other slots and buckets,
    /// also after the one that has the slot is removed and another one takes it.
    #[test]
    fn records_that_share_their_first_slot_are_found() {
        let index = Index::new(40).unwrap();
        let (bucket, slot) = (3, 6);
        let hash = |record: u32| u64::from(record) << 32 | slot << 24 | bucket;
        let has = |record: u32| index.find(hash(record), |found| found == record) == Some(record);
        for record in 0..20 {
            assert!(index.insert(hash(record), record));
            assert_eq!(
                index
                    .search(hash(record), &mut |r| r == record)
                    .unwrap()
                    .0
                     .0
                    / PLACES,
                bucket as usize + record as usize / PLACES
            );
        }
        assert_eq!(
            index.search(hash(0), &mut |r| r == 0).unwrap().0 .0 % PLACES,
            slot as usize
        );
        assert!((0..20).all(has) && !has(20));
        for record in (0..20).step_by(3) {
            let (place, _) = index.search(hash(record), &mut |r| r == record).unwrap();
            index.remove(place);
            assert!(!has(record));
            assert_eq!(index.find(hash(record), |_| true), None);
        }
        assert!((0..20).all(|record| has(record) == (record % 3 != 0)));
        index.insert(hash(100), 100);
        assert!(has(100) && index.candidate(hash(100)) == Some(100));
        assert!((0..20).all(|record| has(record) == (record % 3 != 0)));
    }

    /// A record is found although the first slot has one whose hash is alike.
    #[test]
    fn equal_hashes_are_told_apart() {
        let index = Index::new(40).unwrap();
        let hash = 0x1234_5678_0500_0001;
        for record in 0..12 {
            index.insert(hash, record);
        }
        for record in 0..12 {
            assert_eq!(index.find(hash, |found| found == record), Some(record));
        }
        assert_eq!(index.find(hash, |found| found == 12), None);
    }
}
