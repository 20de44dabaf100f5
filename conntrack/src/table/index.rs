// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The index: from the hash of a key to the slots that may have it.
//!
//! Buckets are cache lines of 16 slots. A key has two buckets and is in the emptier one, so that
//! buckets of a full table hold 10.5 entries on average and hardly ever overflow. Of a connection that is
//! not translated, both keys have one of the buckets in common. A place holds the
//! number of a slot, the direction and 7 bits of the hash; most slots that do not match are not
//! touched. Entries do not move, so that readers need no lock.
//!
//! Entries are read in pairs, a word at a time, and both buckets of a key before any slot: their cache
//! lines arrive at the same time, and no branch depends on the bucket that has the key.

use std::sync::atomic::Ordering;

use super::slot::Index;
use crate::hash::scale;
use crate::memory::{array, prefetch};
use crate::sync::AtomicU64;
use crate::tuple::Direction;

/// The words of a bucket, of two places each; few in models, which run each step in many orders.
const WORDS: usize = if cfg!(feature = "loom") { 2 } else { 8 };
/// The average number of entries of two buckets when the table is full.
const FULL_LOAD: usize = 21;
/// The most slots of a table: their numbers have 24 bits, of which one value means none.
pub(crate) const MAX_SLOTS: usize = (1 << 24) - 1;
const MAX_SHARDS: usize = 64;

/// Sixteen entries in a cache line: two in a word.
#[repr(align(64))]
#[derive(Default)]
struct Bucket([AtomicU64; WORDS]);

/// A place's content.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry(u32);

impl Entry {
    /// The bits of the hash.
    const TAG: u32 = 0x7f;

    fn new(index: Index, direction: Direction, hash: u64) -> Self {
        Entry((index.0 + 1) << 8 | (direction as u32) << 7 | Entry::tag(hash))
    }

    /// Bits of the hash; never zero, so that empty places have none.
    fn tag(hash: u64) -> u32 {
        ((hash >> 32) as u32 & Entry::TAG).max(1)
    }

    /// The slot and the direction; absent in an empty place.
    fn target(self) -> Option<(Index, Direction)> {
        let index = Index((self.0 >> 8).checked_sub(1)?);
        Some((index, Direction::from_bit(self.0 >> 7 & 1)))
    }
}

/// A set of places of a bucket: bit `word` for the word's low half, bit `32 + word` for its high one.
#[derive(Clone)]
struct Places(u64);

impl Places {
    const ALL: u64 = {
        let low = (1 << WORDS) - 1;
        low << 32 | low
    };

    fn len(&self) -> u32 {
        self.0.count_ones()
    }
}

impl Iterator for Places {
    type Item = Place;

    #[inline(always)]
    fn next(&mut self) -> Option<Place> {
        let bit = (self.0 != 0).then(|| self.0.trailing_zeros())?;
        self.0 &= self.0 - 1;
        Some(Place {
            word: bit as usize % 32,
            shift: bit & 32,
        })
    }
}

/// A place: a half of a word.
#[derive(Clone, Copy)]
struct Place {
    word: usize,
    shift: u32,
}

/// The same value in both halves of a word.
const fn both(value: u32) -> u64 {
    (value as u64) << 32 | value as u64
}

/// The places of the word with number `at` whose tags differ from `tag`.
#[inline(always)]
fn differences(word: u64, tag: u32, at: usize) -> u64 {
    const TAGS: u64 = both(Entry::TAG);
    const TAG_BITS: usize = Entry::TAG.count_ones() as usize;
    let difference = (word ^ both(tag)) & TAGS;
    // The bit above the tag is set unless the difference is zero.
    let bits = difference.wrapping_add(TAGS) & !TAGS;
    bits >> (TAG_BITS - at)
}

impl Bucket {
    /// The places with a tag, and the ones without an entry, of which the tags are zero.
    #[inline(always)]
    fn scan(&self, tag: u32) -> (Places, Places) {
        let (mut others, mut used) = (0, 0);
        for (at, word) in self.0.iter().enumerate() {
            let word = word.load(Ordering::Relaxed);
            others |= differences(word, tag, at);
            used |= differences(word, 0, at);
        }
        (Places(!others & Places::ALL), Places(!used & Places::ALL))
    }

    #[inline(always)]
    fn with_tag(&self, tag: u32) -> Places {
        let mut others = 0;
        for (at, word) in self.0.iter().enumerate() {
            // The slot's generation orders what is read from the slot, not the entry.
            others |= differences(word.load(Ordering::Relaxed), tag, at);
        }
        Places(!others & Places::ALL)
    }

    fn used(&self) -> Places {
        Places(!self.with_tag(0).0 & Places::ALL)
    }

    #[inline(always)]
    fn entry(&self, place: Place) -> Entry {
        Entry((self.0[place.word].load(Ordering::Relaxed) >> place.shift) as u32)
    }

    /// Changes a place, under the lock of the bucket's shard.
    fn set(&self, place: Place, entry: u32) {
        let word = &self.0[place.word];
        let other = word.load(Ordering::Relaxed) & !(u64::from(u32::MAX) << place.shift);
        word.store(other | u64::from(entry) << place.shift, Ordering::Release);
    }
}

/// The first result of `check` for the entries in some places of two buckets.
#[inline(always)]
fn first_of<T>(
    buckets: [&Bucket; 2],
    [first, second]: [Places; 2],
    mut check: impl FnMut(Index, Direction) -> Option<T>,
) -> Option<T> {
    const SECOND: u32 = WORDS as u32;
    for Place { word, shift } in Places(first.0 | second.0 << SECOND) {
        let place = Place {
            word: word % WORDS,
            shift,
        };
        let entry = buckets[usize::from(word >= WORDS)].entry(place);
        // It may have changed meanwhile, and is another one or none.
        let Some((index, direction)) = entry.target() else {
            continue;
        };
        if let Some(found) = check(index, direction) {
            return Some(found);
        }
    }
    None
}

/// The result of [`Buckets::find_or_place`].
pub(super) enum Search<'a, T> {
    Found(T),
    Free(FreePlace<'a>),
    Full,
}

/// A place that no entry has.
pub(super) struct FreePlace<'a> {
    bucket: &'a Bucket,
    place: Place,
    hash: u64,
}

impl FreePlace<'_> {
    /// Puts an entry there, under the lock with which the place was found.
    pub(super) fn take(self, index: Index, direction: Direction) {
        let entry = Entry::new(index, direction, self.hash);
        self.bucket.set(self.place, entry.0);
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
        let per_shard = (slots * 4).div_ceil(FULL_LOAD * shards).max(4);
        Buckets {
            buckets: array(per_shard * shards, |_| Bucket::default()),
            per_shard: per_shard as u32,
            shards,
        }
    }

    pub(super) fn shards(&self) -> usize {
        self.shards
    }

    /// The memory of the index, in bytes.
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

    #[inline(always)]
    fn buckets_of(&self, hash: u64) -> [&Bucket; 2] {
        self.pair(hash).map(|bucket| &self.buckets[bucket])
    }

    /// Prefetches the two buckets of a hash.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        self.buckets_of(hash).into_iter().for_each(prefetch);
    }

    /// The first result of `check` for the slots that may have the key with this hash.
    #[inline]
    pub(super) fn find<T>(
        &self,
        hash: u64,
        check: impl FnMut(Index, Direction) -> Option<T>,
    ) -> Option<T> {
        let buckets = self.buckets_of(hash);
        let matches = buckets.map(|bucket| bucket.with_tag(Entry::tag(hash)));
        first_of(buckets, matches, check)
    }

    /// All entries of the two buckets of a hash, bucket by bucket.
    pub(super) fn entries_of(
        &self,
        hash: u64,
    ) -> impl Iterator<Item = impl Iterator<Item = Index> + '_> + '_ {
        self.buckets_of(hash).into_iter().map(|bucket| {
            let entries = bucket.used().map(|place| bucket.entry(place));
            entries.filter_map(|entry| Some(entry.target()?.0))
        })
    }

    /// As [`Buckets::find`]; if nothing is found, the result is a place for an entry with this hash. Under
    /// the lock of the hash's shard.
    #[inline]
    pub(super) fn find_or_place<T>(
        &self,
        hash: u64,
        check: impl FnMut(Index, Direction) -> Option<T>,
    ) -> Search<'_, T> {
        let buckets = self.buckets_of(hash);
        let [first, second] = buckets.map(|bucket| bucket.scan(Entry::tag(hash)));
        if let Some(found) = first_of(buckets, [first.0, second.0], check) {
            return Search::Found(found);
        }
        let (bucket, mut free) = if second.1.len() > first.1.len() {
            (buckets[1], second.1)
        } else {
            (buckets[0], first.1)
        };
        match free.next() {
            Some(place) => Search::Free(FreePlace {
                bucket,
                place,
                hash,
            }),
            None => Search::Full,
        }
    }

    /// Removes an entry, under the lock of the hash's shard.
    pub(super) fn remove(&self, hash: u64, index: Index, direction: Direction) {
        let entry = Entry::new(index, direction, hash);
        for bucket in self.buckets_of(hash) {
            let mut places = bucket.with_tag(Entry::tag(hash));
            if let Some(place) = places.find(|&place| bucket.entry(place) == entry) {
                bucket.set(place, 0);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Seed;

    /// Adds an entry. Returns whether there was a place.
    fn add(buckets: &Buckets, hash: u64, index: Index, direction: Direction) -> bool {
        match buckets.find_or_place(hash, |_, _| None::<()>) {
            Search::Free(place) => place.take(index, direction),
            _ => return false,
        }
        true
    }

    /// Of connections whose keys have unrelated hashes, and of ones whose keys are mirrors, also after
    /// half of them have been replaced some times.
    #[test]
    fn a_full_index_does_not_overflow() {
        let slots = 100_000;
        let seed = Seed::new([7; 16]);
        for mirrors in [false, true] {
            let buckets = Buckets::new(slots);
            let hashes = |slot: u32, round: u32| {
                let key = [slot.into(), 0, 1 << 31, 0, (round % 8).into()];
                let hash = seed.hash_key(&key);
                let other = if mirrors {
                    seed.hash_reply((&key, hash), &[key[2], 0, key[0], 0, key[4] << 16])
                } else {
                    seed.hash(&key)
                };
                [hash, other]
            };
            let both = [Direction::Original, Direction::Reply];
            for round in 0..6 {
                for slot in (0..slots as u32).filter(|slot| round == 0 || (slot + round) % 2 == 0) {
                    if round > 0 {
                        let former = round.saturating_sub(2);
                        for (hash, direction) in hashes(slot, former).into_iter().zip(both) {
                            buckets.remove(hash, Index(slot), direction);
                        }
                    }
                    for (hash, direction) in hashes(slot, round).into_iter().zip(both) {
                        assert!(add(&buckets, hash, Index(slot), direction), "{slot}");
                    }
                }
            }
            assert!(buckets.size() <= 13 * slots, "{}", buckets.size());
        }
    }

    /// Every place of a bucket is found by its tag, and only by it.
    #[test]
    fn each_place_is_found_by_its_tag() {
        let bucket = Bucket::default();
        let places: Vec<Place> = Places(Places::ALL).collect();
        assert_eq!(places.len(), 2 * WORDS);
        for (number, &place) in places.iter().enumerate() {
            let tag = 0x7f - number as u32;
            let entry = 0xffff_ff80 | tag;
            bucket.set(place, entry);
            assert_eq!(bucket.used().len(), number as u32 + 1);
            let (matches, free) = bucket.scan(tag);
            assert_eq!(
                (matches.len(), free.len()),
                (1, 2 * WORDS as u32 - number as u32 - 1)
            );
            let found: Vec<Entry> = bucket.with_tag(tag).map(|at| bucket.entry(at)).collect();
            assert!(found == [Entry(entry)], "{number}");
        }
        for place in places {
            bucket.set(place, 0);
            assert!(bucket.entry(place) == Entry(0));
        }
        assert_eq!(bucket.used().len(), 0);
    }

    #[test]
    fn entries_are_found_until_they_are_removed() {
        let buckets = Buckets::new(10);
        let hash = 0x1234_5678_9abc_def0;
        let target = (Index(MAX_SLOTS as u32 - 1), Direction::Reply);
        assert!(add(&buckets, hash, target.0, target.1));
        let first = |hash| buckets.find(hash, |index, direction| Some((index, direction)));
        assert_eq!(first(hash), Some(target));
        assert_eq!(first(hash ^ 1 << 32), None);
        buckets.remove(hash, target.0, target.1);
        assert_eq!(first(hash), None);
    }
}
