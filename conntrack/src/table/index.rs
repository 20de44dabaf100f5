// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The index: from the hash of a key to the slots that may have it.
//!
//! Buckets are cache lines of 16 places. A key has two buckets and is in the emptier one, so that
//! buckets of a full table hold 11 entries on average and hardly ever overflow. A place holds the
//! number of a slot, the direction and 7 bits of the hash; most slots that do not match are not
//! touched. Entries do not move, so that readers need no lock.

use std::sync::atomic::{AtomicU32, Ordering};

use super::slot::Index;
use crate::hash::scale;
use crate::tuple::Direction;

const PLACES: usize = 16;
/// The average number of entries of a bucket when the table is full.
const FULL_LOAD: usize = 11;
/// The most slots of a table: their numbers have 24 bits, of which one value means none.
pub(crate) const MAX_SLOTS: usize = (1 << 24) - 1;
const MAX_SHARDS: usize = 64;

/// Sixteen entries in a cache line.
#[repr(align(64))]
#[derive(Default)]
struct Bucket([AtomicU32; PLACES]);

/// A place's content.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry(u32);

impl Entry {
    const EMPTY: Entry = Entry(0);

    fn new(index: Index, direction: Direction, hash: u64) -> Self {
        Entry((index.0 + 1) << 8 | (direction as u32) << 7 | Entry::tag(hash))
    }

    /// Bits of the hash; never zero, so that empty places have none.
    fn tag(hash: u64) -> u32 {
        ((hash >> 32) as u32 & 0x7f).max(1)
    }

    fn target(self) -> (Index, Direction) {
        (
            Index((self.0 >> 8) - 1),
            Direction::from_bit(self.0 >> 7 & 1),
        )
    }
}

pub(super) struct Buckets {
    buckets: Box<[Bucket]>,
    /// Buckets of a shard.
    per_shard: u32,
    /// A power of two.
    shards: usize,
}

impl Buckets {
    pub(super) fn new(slots: usize) -> Self {
        let shards = (slots / 1024).clamp(1, MAX_SHARDS);
        let shards = if shards.is_power_of_two() {
            shards
        } else {
            shards.next_power_of_two() / 2
        };
        let per_shard = (slots * 2).div_ceil(FULL_LOAD * shards).max(4);
        let buckets = (0..per_shard * shards).map(|_| Bucket::default()).collect();
        Buckets {
            buckets,
            per_shard: per_shard as u32,
            shards,
        }
    }

    pub(super) fn shards(&self) -> usize {
        self.shards
    }

    /// The memory of the index, in octets.
    pub(super) fn size(&self) -> usize {
        size_of_val(&*self.buckets)
    }

    /// The shard of a hash.
    pub(super) fn shard(&self, hash: u64) -> usize {
        hash as usize & (self.shards - 1)
    }

    /// The numbers of the two buckets of a hash, which are in its shard.
    pub(super) fn pair(&self, hash: u64) -> [usize; 2] {
        let first = self.shard(hash) * self.per_shard as usize;
        [hash as u32, (hash >> 32) as u32].map(|half| first + scale(half, self.per_shard) as usize)
    }

    /// The first result of `check` for the slots that may have the key with this hash.
    pub(super) fn find<T>(
        &self,
        hash: u64,
        mut check: impl FnMut(Index, Direction) -> Option<T>,
    ) -> Option<T> {
        let tag = Entry::tag(hash);
        for bucket in self.pair(hash) {
            let places = &self.buckets[bucket].0;
            // The slot's generation orders what is read from the slot, not the entry.
            let entries: [u32; PLACES] =
                std::array::from_fn(|at| places[at].load(Ordering::Relaxed));
            let mut matching = 0u32;
            for (at, entry) in entries.iter().enumerate() {
                matching |= u32::from(entry & 0x7f == tag) << at;
            }
            while matching != 0 {
                let (index, direction) =
                    Entry(entries[matching.trailing_zeros() as usize]).target();
                if let Some(found) = check(index, direction) {
                    return Some(found);
                }
                matching &= matching - 1;
            }
        }
        None
    }

    /// All entries of the two buckets of a hash, bucket by bucket.
    pub(super) fn entries_of(
        &self,
        hash: u64,
    ) -> impl Iterator<Item = impl Iterator<Item = Index> + '_> + '_ {
        self.pair(hash)
            .into_iter()
            .map(|bucket| self.entries(bucket))
    }

    fn entries(&self, bucket: usize) -> impl Iterator<Item = Index> + '_ {
        self.buckets[bucket]
            .0
            .iter()
            .map(|place| Entry(place.load(Ordering::Acquire)))
            .filter(|&entry| entry != Entry::EMPTY)
            .map(|entry| entry.target().0)
    }

    /// Adds an entry, under the lock of the hash's shard. Returns whether there was a place.
    pub(super) fn add(&self, hash: u64, index: Index, direction: Direction) -> bool {
        let used = |bucket: &Bucket| {
            bucket
                .0
                .iter()
                .filter(|place| place.load(Ordering::Relaxed) != 0)
                .count()
        };
        let [first, second] = self.pair(hash).map(|bucket| &self.buckets[bucket]);
        let bucket = if used(second) < used(first) {
            second
        } else {
            first
        };
        let free = bucket
            .0
            .iter()
            .find(|place| place.load(Ordering::Relaxed) == 0);
        match free {
            Some(place) => {
                place.store(Entry::new(index, direction, hash).0, Ordering::Release);
                true
            }
            None => false,
        }
    }

    /// Removes an entry, under the lock of the hash's shard.
    pub(super) fn remove(&self, hash: u64, index: Index, direction: Direction) {
        let entry = Entry::new(index, direction, hash);
        for bucket in self.pair(hash) {
            for place in &self.buckets[bucket].0 {
                if place.load(Ordering::Relaxed) == entry.0 {
                    place.store(Entry::EMPTY.0, Ordering::Release);
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Seed;

    #[test]
    fn a_full_index_does_not_overflow() {
        let slots = 100_000;
        let buckets = Buckets::new(slots);
        let seed = Seed::new([7; 16]);
        for number in 0..slots as u32 {
            for direction in [Direction::Original, Direction::Reply] {
                let hash = seed.hash(&[number.into(), direction as u64]);
                assert!(buckets.add(hash, Index(number), direction), "{number}");
            }
        }
        assert!(buckets.size() <= 13 * slots, "{}", buckets.size());
    }

    #[test]
    fn entries_are_found_until_they_are_removed() {
        let buckets = Buckets::new(10);
        let hash = 0x1234_5678_9abc_def0;
        let target = (Index(MAX_SLOTS as u32 - 1), Direction::Reply);
        assert!(buckets.add(hash, target.0, target.1));
        let first = |hash| buckets.find(hash, |index, direction| Some((index, direction)));
        assert_eq!(first(hash), Some(target));
        assert_eq!(first(hash ^ 1 << 32), None);
        buckets.remove(hash, target.0, target.1);
        assert_eq!(first(hash), None);
    }
}
