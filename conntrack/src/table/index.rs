// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The index: from the hash of a key to the slots that may have it.
//!
//! Buckets are cache lines of 16 places. A key has two buckets and is in the emptier one, so that
//! buckets of a full table hold 10.5 entries on average and hardly ever overflow. Of a connection that is
//! not translated, both keys have one of the buckets in common. A place holds the
//! number of a slot, the direction and 7 bits of the hash; most slots that do not match are not
//! touched. Entries do not move, so that readers need no lock.
//!
//! The bits of the hash are side by side, eight places in a word, so that both buckets of a key are
//! searched in four words, before any slot is looked at. So an entry is not read at once: of a place that
//! changes meanwhile, a reader may get a number that no entry had. It verifies the slot, as it has
//! to in any case, and a key that is there all the time is in a place that does not change.

use std::sync::atomic::Ordering;

use super::slot::Index;
use crate::hash::scale;
use crate::memory::{array, prefetch};
use crate::sync::{AtomicU16, AtomicU64, AtomicU8};
use crate::tuple::Direction;

/// The words of a bucket's tags, of eight places each; few in models, which run each step in many orders.
const WORDS: usize = if cfg!(feature = "loom") { 1 } else { 2 };
/// The places of a word, a byte each.
const IN_WORD: usize = size_of::<u64>();
/// The places of a bucket.
const PLACES: usize = WORDS * IN_WORD;
/// The average number of entries of two buckets when the table is full.
const FULL_LOAD: usize = 21;
/// The most slots of a table: their numbers have 24 bits.
pub(crate) const MAX_SLOTS: usize = (1 << 24) - 1;
const MAX_SHARDS: usize = 64;

/// Sixteen entries in a cache line, by their parts.
#[repr(C, align(64))]
#[derive(Default)]
struct Bucket {
    /// The tags, and the directions above them.
    tags: [AtomicU64; WORDS],
    /// The lower bits of the slots' numbers.
    lows: [AtomicU16; PLACES],
    /// The upper ones.
    highs: [AtomicU8; PLACES],
}

/// The bits of the hash in a place.
const TAG: u8 = 0x7f;

/// Bits of the hash; never zero, so that empty places have none.
#[inline(always)]
fn tag_of(hash: u64) -> u8 {
    ((hash >> 32) as u8 & TAG).max(1)
}

/// The tag of an entry, and its direction.
fn tag_in(direction: Direction, hash: u64) -> u8 {
    (direction as u8) << TAG.count_ones() | tag_of(hash)
}

/// The same value in all bytes of a word.
#[inline(always)]
const fn in_all(value: u8) -> u64 {
    u64::from_ne_bytes([value; 8])
}

/// The highest bits of the bytes whose tags are `tag`, in their bytes.
#[inline(always)]
fn equal(word: u64, tag: u8) -> u64 {
    const TAGS: u64 = in_all(TAG);
    let difference = (word ^ in_all(tag)) & TAGS;
    // The bit above the tag is set unless the difference is zero.
    !difference.wrapping_add(TAGS) & !TAGS
}

/// A set of places of two buckets: bit `8 * byte + word`, of which the second bucket's words follow the
/// first one's.
#[derive(Clone, Copy)]
struct Places(u64);

impl Places {
    /// The number of places, all of which are of one bucket.
    #[inline(always)]
    fn len(self) -> u32 {
        const EVEN: u64 = in_all(0x55);
        const OF_BUCKET: u64 = in_all((1 << WORDS) - 1);
        // The words of a bucket are bits side by side: their sums, then those of all bytes.
        let sums = match WORDS {
            1 => self.0,
            _ => (self.0 & EVEN) + (self.0 >> 1 & EVEN),
        };
        let sums = (sums & OF_BUCKET) + (sums >> WORDS & OF_BUCKET);
        (sums.wrapping_mul(in_all(1)) >> 56) as u32
    }
}

impl Iterator for Places {
    type Item = Place;

    #[inline(always)]
    fn next(&mut self) -> Option<Place> {
        let bit = (self.0 != 0).then(|| self.0.trailing_zeros())? as usize;
        self.0 &= self.0 - 1;
        let (byte, word) = (bit / 8 % IN_WORD, bit % 8);
        Some(Place {
            bucket: word / WORDS % 2,
            at: word % WORDS * IN_WORD + byte,
        })
    }
}

/// A place of one of two buckets.
#[derive(Clone, Copy)]
struct Place {
    bucket: usize,
    at: usize,
}

impl Bucket {
    /// The places with each of some tags, as those of a first or second bucket; a tag of zero is that of
    /// places without an entry.
    #[inline(always)]
    fn with_tags<const N: usize>(&self, tags: [u8; N], bucket: usize) -> [Places; N] {
        let mut places = [0; N];
        for (word, stored) in self.tags.iter().enumerate() {
            // The numbers of the slots are at least those that were stored before the tag.
            let stored = stored.load(Ordering::Acquire);
            for (places, tag) in places.iter_mut().zip(tags) {
                *places |=
                    equal(stored, tag) >> (TAG.count_ones() as usize - (bucket * WORDS + word));
            }
        }
        places.map(Places)
    }

    #[inline(always)]
    fn index(&self, at: usize) -> Index {
        let [low, high] = [
            u32::from(self.lows[at].load(Ordering::Relaxed)),
            u32::from(self.highs[at].load(Ordering::Relaxed)),
        ];
        Index(high << 16 | low)
    }

    /// The tag and direction of a place.
    #[inline(always)]
    fn tag(&self, at: usize) -> u8 {
        let word = self.tags[at / IN_WORD].load(Ordering::Relaxed);
        (word >> (at % IN_WORD * 8)) as u8
    }

    #[inline(always)]
    fn target(&self, at: usize) -> (Index, Direction) {
        let direction = self.tag(at) >> TAG.count_ones();
        (self.index(at), Direction::from_bit(direction.into()))
    }

    /// Changes a place's tag and direction, under the lock of the bucket's shard.
    fn set_tag(&self, at: usize, tag: u8) {
        let (word, shift) = (&self.tags[at / IN_WORD], at % IN_WORD * 8);
        let others = word.load(Ordering::Relaxed) & !(u64::from(u8::MAX) << shift);
        word.store(others | u64::from(tag) << shift, Ordering::Release);
    }

    /// Puts an entry into a place without one, under the lock of the bucket's shard.
    fn set(&self, at: usize, index: Index, tag: u8) {
        self.lows[at].store(index.0 as u16, Ordering::Relaxed);
        self.highs[at].store((index.0 >> 16) as u8, Ordering::Relaxed);
        self.set_tag(at, tag);
    }
}

/// The places of two buckets with each of some tags.
#[inline(always)]
fn with_tags<const N: usize>([first, second]: [&Bucket; 2], tags: [u8; N]) -> [[Places; N]; 2] {
    [first.with_tags(tags, 0), second.with_tags(tags, 1)]
}

/// The places of two buckets with a tag.
#[inline(always)]
fn with_tag(buckets: [&Bucket; 2], tag: u8) -> Places {
    let [[first], [second]] = with_tags(buckets, [tag]);
    Places(first.0 | second.0)
}

/// The first result of `check` for the entries in some places of two buckets.
#[inline(always)]
fn first_of<T>(
    buckets: [&Bucket; 2],
    places: Places,
    mut check: impl FnMut(Index, Direction) -> Option<T>,
) -> Option<T> {
    for place in places {
        // It may have changed meanwhile, and be another one or none.
        let (index, direction) = buckets[place.bucket].target(place.at);
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
    at: usize,
    hash: u64,
}

impl FreePlace<'_> {
    /// Puts an entry there, under the lock with which the place was found.
    pub(super) fn take(self, index: Index, direction: Direction) {
        self.bucket
            .set(self.at, index, tag_in(direction, self.hash));
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
        first_of(buckets, with_tag(buckets, tag_of(hash)), check)
    }

    /// All entries of the two buckets of a hash, bucket by bucket, each with the bucket's number. Without the
    /// lock of the hash's shard, some may be of other buckets ([`Buckets::may_have`]).
    pub(super) fn entries_of(
        &self,
        hash: u64,
    ) -> impl Iterator<Item = (usize, impl Iterator<Item = Index> + '_)> + '_ {
        self.pair(hash).into_iter().map(|number| {
            let bucket = &self.buckets[number];
            let used = (0..PLACES).filter(|&at| bucket.tag(at) != 0);
            (number, used.map(|at| bucket.index(at)))
        })
    }

    /// Reports whether a bucket may have an entry with a hash.
    pub(super) fn may_have(&self, bucket: usize, hash: u64) -> bool {
        self.pair(hash).contains(&bucket)
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
        let [[in_first, first], [in_second, second]] = with_tags(buckets, [tag_of(hash), 0]);
        if let Some(found) = first_of(buckets, Places(in_first.0 | in_second.0), check) {
            return Search::Found(found);
        }
        let mut free = if second.len() > first.len() {
            second
        } else {
            first
        };
        match free.next() {
            Some(Place { bucket, at }) => Search::Free(FreePlace {
                bucket: buckets[bucket],
                at,
                hash,
            }),
            None => Search::Full,
        }
    }

    /// Removes an entry, under the lock of the hash's shard.
    pub(super) fn remove(&self, hash: u64, index: Index, direction: Direction) {
        let (buckets, tag) = (self.buckets_of(hash), tag_of(hash));
        let mut places = with_tag(buckets, tag);
        let place =
            places.find(|place| buckets[place.bucket].target(place.at) == (index, direction));
        if let Some(place) = place {
            buckets[place.bucket].set_tag(place.at, 0);
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

    /// Every place of two buckets is found by its tag, and only by it.
    #[test]
    fn each_place_is_found_by_its_tag() {
        let buckets = [Bucket::default(), Bucket::default()];
        let both = buckets.each_ref();
        let all = |tag| with_tag(both, tag);
        let places: Vec<Place> = all(0).collect();
        assert_eq!(places.len(), 2 * PLACES);
        let direction = |number: usize| Direction::from_bit(number as u32 & 1);
        for (number, place) in places.iter().enumerate() {
            let tag = TAG - number as u8;
            let index = Index(0xff_fff0 - number as u32);
            let hash = u64::from(tag) << 32;
            assert_eq!(all(tag).count(), 0);
            both[place.bucket].set(place.at, index, tag_in(direction(number), hash));
            assert_eq!(all(0).count(), 2 * PLACES - number - 1);
            let lengths =
                with_tags(both, [0]).map(|[places]| (places.len() as usize, places.count()));
            assert!(
                lengths.iter().all(|(length, count)| length == count),
                "{lengths:?}"
            );
            let mut found = all(tag).map(|at| both[at.bucket].target(at.at));
            assert_eq!(found.next(), Some((index, direction(number))));
            assert_eq!(found.next(), None);
        }
        for place in &places {
            both[place.bucket].set_tag(place.at, 0);
        }
        let lengths = with_tags(both, [0]).map(|[places]| places.len() as usize);
        assert_eq!(lengths, [PLACES; 2]);
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
