// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Packed keys: all compared bits, contiguous, in as few words as they fill, then the limbs of
//! range keys.

use adit_p4_frontend::ir::{limbs_of, Key, Table};

use crate::p4::bits;

/// The match kind of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchKind {
    /// An exact value.
    Exact,
    /// The longest prefix.
    Lpm,
    /// Value and mask.
    Ternary,
    /// An inclusive range of values.
    Range,
    /// A value, or any.
    Optional,
}

impl MatchKind {
    /// The kind with that name in a program; `None` if there is no such kind.
    pub(super) fn named(name: &str) -> Option<MatchKind> {
        Some(match name {
            "exact" => MatchKind::Exact,
            "lpm" => MatchKind::Lpm,
            "ternary" => MatchKind::Ternary,
            "range" => MatchKind::Range,
            "optional" => MatchKind::Optional,
            _ => return None,
        })
    }
}

/// Returns whether a key is not looked up, but selects a group's member.
pub(in crate::p4) fn is_selector(key: &Key) -> bool {
    key.kind == "selector"
}

/// A copy of bits from a limb of the frame: `limb << up >> down` is their part of a word.
#[derive(Clone, Copy, Debug)]
pub(in crate::p4) struct Part {
    pub(in crate::p4) slot: u32,
    pub(in crate::p4) word: u32,
    pub(in crate::p4) up: u32,
    pub(in crate::p4) down: u32,
    /// Mask for the bits stored in the word by preceding parts: all ones, or zero.
    pub(in crate::p4) keep: u64,
}

/// The place of a key among the packed keys.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// The first bit.
    Bits(u32),
    /// Its limbs follow the packed bits.
    Range,
}

/// The packed layout of a table's keys.
#[derive(Clone, Debug, Default)]
pub(in crate::p4) struct Plan {
    /// In the order of the words.
    pub(in crate::p4) parts: Vec<Part>,
    /// The first limb of each range key in the frame, and the number of limbs.
    pub(in crate::p4) ranges: Vec<(u32, u32)>,
    pub(super) places: Vec<Place>,
    /// Number of words of the packed bits.
    pub(in crate::p4) words: usize,
    /// Number of words of the ranges.
    pub(super) range_words: usize,
}

impl Plan {
    /// The packed layout of a declared table's keys; `None` if it has one of an unknown kind.
    pub(in crate::p4) fn of(table: &Table) -> Option<Plan> {
        let keys = table.keys.iter().filter(|key| !is_selector(key));
        let keys: Vec<Key> = keys.cloned().collect();
        let kinds: Option<Vec<_>> = keys.iter().map(|k| MatchKind::named(&k.kind)).collect();
        Some(Plan::new(&keys, &kinds?))
    }

    /// The number of words of a packed key.
    pub(in crate::p4) fn length(&self) -> usize {
        self.words + self.range_words
    }

    pub(super) fn new(keys: &[Key], kinds: &[MatchKind]) -> Plan {
        let mut plan = Plan::default();
        let (mut bit, mut word) = (0, 0);
        for (key, kind) in keys.iter().zip(kinds) {
            let limbs = limbs_of(key.width);
            if *kind == MatchKind::Range {
                plan.places.push(Place::Range);
                plan.ranges.push((key.slot, limbs));
                word += limbs;
                continue;
            }
            plan.places.push(Place::Bits(bit));
            for limb in 0..limbs {
                let width = (key.width - limb * 64).min(64);
                let (slot, shift) = (key.slot + limb, bit % 64);
                if width > 0 {
                    plan.parts.push(Part {
                        slot,
                        word: bit / 64,
                        up: shift,
                        down: 0,
                        keep: if shift == 0 { 0 } else { u64::MAX },
                    });
                }
                if shift + width > 64 {
                    // The key continues in the next word.
                    plan.parts.push(Part {
                        slot,
                        word: bit / 64 + 1,
                        up: 0,
                        down: 64 - shift,
                        keep: 0,
                    });
                }
                bit += width;
            }
        }
        plan.words = bit.div_ceil(64) as usize;
        plan.range_words = word as usize;
        plan
    }

    /// Packs a key of that length from a frame. Machine code does the same.
    #[inline]
    pub(super) fn gather(&self, frame: &[u64], key: &mut [u64]) {
        let mut word = 0;
        for part in &self.parts {
            let value = frame[part.slot as usize];
            let bits = value.wrapping_shl(part.up).wrapping_shr(part.down);
            word = word & part.keep | bits;
            key[part.word as usize] = word;
        }
        let mut at = self.words;
        for (slot, limbs) in &self.ranges {
            for n in 0..*limbs as usize {
                key[at] = frame[*slot as usize + n];
                at += 1;
            }
        }
    }

    /// Stores the value of a key in its place.
    pub(super) fn pack(&self, key: usize, width: u32, value: &[u64], words: &mut [u64]) {
        if let (Place::Bits(bit), true) = (self.places[key], width > 0) {
            bits::insert(words, value, bit, width);
        }
    }

    /// Extracts the value of a key.
    pub(super) fn unpack(&self, key: usize, width: u32, words: &[u64]) -> Vec<u64> {
        let mut value = vec![0; limbs_of(width) as usize];
        if let (Place::Bits(bit), true) = (self.places[key], width > 0) {
            let mut shifted = vec![0; words.len()];
            bits::shr(&mut shifted, words, bit);
            for (to, from) in value.iter_mut().zip(&shifted) {
                *to = *from;
            }
            bits::trim(&mut value, width);
        }
        value
    }
}

/// Numbers of [`hash`]: machine code computes the same.
pub(in crate::p4) mod numbers {
    /// Takes the place of a word behind the last one.
    pub(in crate::p4) const NO_WORD: u64 = 0x2d35_8dcc_aa6c_78a5;
    /// Makes the second factor's start of the seed.
    pub(in crate::p4) const SECOND: u64 = 0xa076_1d64_78bd_642f;
    /// The increment of the factors' starts with each product.
    pub(in crate::p4) const STEPS: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03];
    /// The last product's factor.
    pub(in crate::p4) const LAST: u64 = 0xd6e8_feb8_6659_fd93;
}

/// Hashes words, which are obtained by index; the seed is unknown to attackers who choose keys.
#[inline(always)]
pub(super) fn hash(seed: u64, count: usize, word: impl Fn(usize) -> u64) -> u64 {
    mixed(seed, mix(seed, count, word))
}

/// The first half of [`hash`]: sufficient where a collision only costs time.
#[inline(always)]
pub(super) fn mix(seed: u64, count: usize, word: impl Fn(usize) -> u64) -> u64 {
    let (mut state, mut first, mut second) = (0u64, seed, seed.rotate_left(32) ^ numbers::SECOND);
    let mut n = 0;
    // Two words for each product, and products that do not depend on each other.
    while n < count {
        let other = match n + 1 < count {
            true => word(n + 1),
            false => numbers::NO_WORD,
        };
        state = state.wrapping_add(fold(word(n) ^ first, other ^ second));
        first = first.wrapping_add(numbers::STEPS[0]);
        second = second.wrapping_add(numbers::STEPS[1]);
        n += 2;
    }
    state
}

/// The second half of [`hash`].
#[inline]
pub(super) fn mixed(seed: u64, state: u64) -> u64 {
    fold(state ^ seed, numbers::LAST)
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}
