// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Operands of calls.

use adit_p4_frontend::ir::Layout;

use crate::p4::bits::mask;
use crate::p4::fields::Flat;
use crate::p4::hash::Algorithm;

/// A value in the frame.
#[derive(Clone, Debug)]
pub(in crate::p4) struct Operand {
    slot: u32,
    width: u32,
    /// The bits of the first limb that a value may have.
    mask: u64,
    pub(in crate::p4) flat: Flat,
}

impl Operand {
    pub(in crate::p4) fn new(slot: u32, layout: &Layout) -> Operand {
        Operand {
            slot,
            width: layout.bits(),
            mask: mask(layout.bits()),
            flat: Flat::new(layout),
        }
    }

    /// The first limb.
    pub(in crate::p4) fn get(&self, frame: &[u64]) -> u64 {
        frame[self.slot as usize]
    }

    pub(in crate::p4) fn slot(&self) -> u32 {
        self.slot
    }

    pub(in crate::p4) fn width(&self) -> u32 {
        self.width
    }

    pub(in crate::p4) fn limbs(&self) -> u32 {
        self.flat.limbs
    }

    /// Returns whether its bits fit in one word and do not depend on a header's validity or a
    /// varbit's length.
    fn is_one_word(&self) -> bool {
        let mut leaves = self.flat.leaves.iter();
        (1..=64).contains(&self.flat.bits) && leaves.all(|l| !l.is_varbit && l.header.is_none())
    }

    /// The slots and widths of its parts, if they fit in one word.
    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    pub(in crate::p4) fn parts_of_one_word(&self) -> Option<Vec<(u32, u32)>> {
        let leaves = self.flat.leaves.iter();
        let parts = leaves.map(|leaf| (self.slot + leaf.offset, leaf.width));
        self.is_one_word().then(|| parts.collect())
    }

    /// Its bits left-aligned in one word, padded with zeros, if they fit.
    pub(in crate::p4) fn in_one_word(&self, frame: &[u64]) -> Option<u64> {
        if !self.is_one_word() {
            return None;
        }
        let mut word = 0u64;
        for leaf in &self.flat.leaves {
            let value = frame[self.slot as usize + leaf.offset as usize];
            word = word.checked_shl(leaf.width).unwrap_or(0) | value;
        }
        Some(word << (64 - self.flat.bits))
    }

    /// Its lowest 128 bits.
    pub(in crate::p4) fn wide(&self, frame: &[u64]) -> u128 {
        let limbs = self.value(frame).iter().take(2).rev();
        limbs.fold(0, |value, limb| value << 64 | u128::from(*limb))
    }

    /// Sets a value of at most 128 bits.
    pub(in crate::p4) fn set_wide(&self, frame: &mut [u64], value: u128) {
        match self.value_mut(frame) {
            [first, second] => (*first, *second) = (value as u64, (value >> 64) as u64),
            _ => {
                self.set(frame, value as u64);
                if let Some(second) = self.value_mut(frame).get_mut(1) {
                    *second = (value >> 64) as u64;
                }
            }
        }
    }

    /// Its limbs.
    pub(in crate::p4) fn value<'f>(&self, frame: &'f [u64]) -> &'f [u64] {
        &frame[self.slot as usize..][..self.flat.limbs as usize]
    }

    /// Its limbs, to be changed.
    pub(in crate::p4) fn value_mut<'f>(&self, frame: &'f mut [u64]) -> &'f mut [u64] {
        &mut frame[self.slot as usize..][..self.flat.limbs as usize]
    }

    /// Sets the first limb, of at most the value's width, and clears the others.
    pub(in crate::p4) fn set(&self, frame: &mut [u64], value: u64) {
        // Nearly all have one limb.
        if self.flat.limbs > 1 {
            self.value_mut(frame).fill(0);
        }
        frame[self.slot as usize] = value & self.mask;
    }
}

/// Hash functions, selected by the enum member's index in a slot.
pub(in crate::p4) struct Algorithms {
    pub(super) slot: u32,
    pub(super) members: Vec<Algorithm>,
}

impl Algorithms {
    pub(in crate::p4) fn get(&self, frame: &[u64]) -> Algorithm {
        let index = frame[self.slot as usize] as usize;
        self.members.get(index).copied().unwrap_or(Algorithm::Crc32)
    }
}
