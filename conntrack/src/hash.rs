// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The keyed hash of tuples. Without the key nobody can choose tuples that collide.

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
        let mut bytes = [0; size_of::<Key>()];
        for (octets, word) in bytes.chunks_exact_mut(8).zip(words) {
            octets.copy_from_slice(&word.to_le_bytes());
        }
        SipHasher13::new_with_keys(self.0[0], self.0[1]).hash(&bytes)
    }

    /// The hash of a tuple in a zone.
    pub(crate) fn hash_key(self, key: &Key) -> u64 {
        // Most words of an IPv4 tuple are empty, and time is spent by the word. The length is a part of
        // the hash, so that tuples of the families do not collide by their form.
        match Family::of_key(key) {
            Family::V4 => {
                let mut bytes = [0; 16];
                bytes[..8].copy_from_slice(&(key[0] | key[2] << 32).to_le_bytes());
                bytes[8..].copy_from_slice(&key[4].to_le_bytes());
                SipHasher13::new_with_keys(self.0[0], self.0[1]).hash(&bytes)
            }
            Family::V6 => self.hash(key),
        }
    }
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

    #[test]
    fn scaling_covers_the_range() {
        assert_eq!(
            (scale(0, 10), scale(u32::MAX, 10), scale(1 << 31, 10)),
            (0, 9, 5)
        );
    }
}
