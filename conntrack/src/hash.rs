// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The keyed hash of tuples. Without the key nobody can choose tuples that collide.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::tuple::{Family, Key};

/// The key of the table's hash: 128 random bits.
///
/// Its quality decides whether a sender can fill single buckets, so take it from a source of
/// cryptographic quality, and never show it.
#[derive(Clone, Copy)]
pub struct Seed([u64; 2]);

impl Seed {
    /// The seed of 16 random bytes.
    pub fn new(random: [u8; 16]) -> Self {
        let bits = u128::from_le_bytes(random);
        Seed([bits as u64, (bits >> 64) as u64])
    }

    /// A seed for another purpose, from which this one does not follow.
    pub(crate) fn derive(self, purpose: u64) -> Self {
        Seed([self.hash(&[purpose, 0]), self.hash(&[purpose, 1])])
    }

    /// The hash of some words, at most five: SipHash-1-3.
    pub(crate) fn hash(self, words: &[u64]) -> u64 {
        let mut all = [0; 5];
        for (place, &word) in all.iter_mut().zip(words) {
            *place = word;
        }
        self.hash_words(all)
    }

    #[inline]
    fn hash_words<const N: usize>(self, words: [u64; N]) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.0[0], self.0[1]);
        for word in words {
            hasher.write_u64(word);
        }
        hasher.finish()
    }

    /// The hash of a tuple in a zone. That of the tuple with both ends exchanged, as which a connection
    /// that is not translated has its replies, follows from it ([`mirrored`]).
    pub(crate) fn hash_key(self, key: &Key) -> u64 {
        let [src, src_high, dst, dst_high, rest] = *key;
        let (src_part, dst_part, others) = (rest & 0xffff, rest >> 16 & 0xffff, rest >> 32);
        // Most words of an IPv4 tuple are empty, and time is spent by the word. The length is a part of
        // the hash, so that tuples of the families do not collide by their form.
        let (hash, is_exchanged) = match Family::of_key(key) {
            Family::V4 => {
                let ends = [src << 16 | src_part, dst << 16 | dst_part];
                let [lower, upper] = [ends[0].min(ends[1]), ends[0].max(ends[1])];
                // The zone above one end, the protocol above the other.
                let words = [lower | (others & 0xffff) << 48, upper | others >> 16 << 48];
                (self.hash_words(words), ends[0] > ends[1])
            }
            Family::V6 => {
                let is_exchanged = (src_high, src, src_part) > (dst_high, dst, dst_part);
                let key = if is_exchanged { &mirror(key) } else { key };
                (self.hash(key), is_exchanged)
            }
        };
        if is_exchanged {
            mirrored(hash)
        } else {
            hash
        }
    }

    /// The hashes of a connection's keys, of which the first one is known.
    pub(crate) fn hash_reply(self, original: (&Key, u64), reply: &Key) -> u64 {
        let (key, hash) = original;
        if differs(&mirror(key), reply) {
            self.hash_key(reply)
        } else if differs(key, reply) {
            mirrored(hash)
        } else {
            hash
        }
    }
}

/// Reports whether two keys differ; without a call of the library's comparison of memory.
fn differs(a: &Key, b: &Key) -> bool {
    a.iter().zip(b).fold(0, |bits, (a, b)| bits | a ^ b) != 0
}

/// The key with source and destination exchanged.
fn mirror(key: &Key) -> Key {
    let [src, src_high, dst, dst_high, rest] = *key;
    let parts = (rest as u32).rotate_left(16);
    [
        dst,
        dst_high,
        src,
        src_high,
        rest & !0xffff_ffff | u64::from(parts),
    ]
}

/// The hash of a key whose ends are those of another one, exchanged. The lower half stays, and so do the
/// shard and one of two buckets: an insertion locks one shard and touches three cache lines of the index,
/// not four. If both buckets stayed, those of a full table would overflow.
pub(crate) fn mirrored(hash: u64) -> u64 {
    let upper = ((hash >> 32) as u32).rotate_left(16);
    u64::from(upper) << 32 | hash & 0xffff_ffff
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// The number below `range` at the place of `hash` in 32 bits (`reciprocal_scale`).
pub(crate) fn scale(hash: u32, range: u32) -> u32 {
    ((u64::from(hash) * u64::from(range)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn seeds_matter() {
        let (a, b) = (Seed::new([1; 16]), Seed::new([2; 16]));
        let key = [1, 0, 3, 0, 5];
        assert_ne!(a.hash_key(&key), b.hash_key(&key));
        assert_ne!(a.hash_key(&key), a.derive(1).hash_key(&key));
        assert_ne!(a.derive(2).hash_key(&key), a.derive(1).hash_key(&key));
        assert_eq!(format!("{a:?}"), "Seed(..)");
    }

    #[test]
    fn each_part_of_a_key_matters() {
        let seed = Seed::new([1; 16]);
        for key in [[1, 0, 3, 0, 5], [1, 2, 3, 4, 1 << 56 | 5]] {
            let words = (0..key.len()).filter(|&at| key[at] != 0);
            for (word, bit) in words.flat_map(|word| [0, 31].map(|bit| (word, bit))) {
                let mut other = key;
                other[word] ^= 1 << bit;
                assert_ne!(seed.hash_key(&other), seed.hash_key(&key), "{word} {bit}");
            }
        }
        let families = [0, 1 << 56].map(|family| seed.hash_key(&[1, 0, 3, 0, family]));
        assert_ne!(families[0], families[1]);
    }

    proptest! {
        #[test]
        fn both_directions_have_hashes_that_follow(
            tuple in crate::tuple::tests::any_tuple(),
            zones in any::<[u16; 2]>(),
            same_zone in any::<bool>(),
        ) {
            let seed = Seed::new([5; 16]);
            let key = tuple.key(zones[0]);
            let zone = if same_zone { zones[0] } else { zones[1] };
            for reply in [tuple, tuple.invert().unwrap_or(tuple)] {
                let reply = reply.key(zone);
                let hash = seed.hash_reply((&key, seed.hash_key(&key)), &reply);
                prop_assert_eq!(hash, seed.hash_key(&reply));
            }
            prop_assert_eq!(mirror(&mirror(&key)), key);
        }
    }

    #[test]
    fn a_mirrored_hash_has_the_other_upper_half() {
        let seed = Seed::new([1; 16]);
        for rest in [0x20_0001, 1 << 56 | 0x20_0001] {
            let key = [1, 0, 3, 0, rest];
            let hashes = [seed.hash_key(&key), seed.hash_key(&mirror(&key))];
            assert_ne!(hashes[0], hashes[1]);
            assert_eq!(hashes[0] as u32, hashes[1] as u32);
            assert_eq!(mirrored(hashes[1]), hashes[0]);
            // Only the ends that are exchanged together are the same connection's.
            let other = [3, 0, 1, 0, rest];
            assert_ne!(seed.hash_key(&other) as u32, hashes[0] as u32);
        }
    }

    #[test]
    fn scaling_covers_the_range() {
        assert_eq!(
            (scale(0, 10), scale(u32::MAX, 10), scale(1 << 31, 10)),
            (0, 9, 5)
        );
    }
}
