// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Registers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{zeros, ObjectError};
use crate::p4::bits::top_mask;

/// A `register`. Accesses to an element of more than 64 bits are not atomic.
#[derive(Debug)]
pub struct Register {
    limbs: usize,
    width: u32,
    initial: u128,
    values: Box<[AtomicU64]>,
}

impl Register {
    /// Creates a register of elements of that many limbs, at least one, with an initial value.
    pub(super) fn new(size: usize, limbs: u32, width: u32, initial: u128) -> Register {
        let limbs = limbs as usize;
        let values = zeros(size * limbs);
        for value in values.chunks_exact(limbs) {
            let parts = [initial as u64, (initial >> 64) as u64];
            value
                .iter()
                .zip(parts)
                .for_each(|(v, p)| v.store(p, Relaxed));
        }
        Register {
            limbs,
            width,
            initial,
            values,
        }
    }

    /// The number of elements.
    pub fn size(&self) -> u64 {
        (self.values.len() / self.limbs) as u64
    }

    /// The width of an element in bits.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Returns whether an element has the value that the program gives all of them.
    pub fn is_initial(&self, index: u64) -> Result<bool, ObjectError> {
        let mut parts = [self.initial as u64, (self.initial >> 64) as u64].into_iter();
        let mut limbs = self.element(index)?.iter();
        Ok(limbs.all(|limb| limb.load(Relaxed) == parts.next().unwrap_or(0)))
    }

    /// An element, as limbs.
    pub fn get(&self, index: u64) -> Result<Vec<u64>, ObjectError> {
        let element = self.element(index)?;
        Ok(element.iter().map(|limb| limb.load(Relaxed)).collect())
    }

    /// Sets an element; omitted limbs are 0.
    pub fn set(&self, index: u64, value: &[u64]) -> Result<(), ObjectError> {
        let top = value.get(self.limbs - 1).copied().unwrap_or(0);
        let high = value.iter().skip(self.limbs).any(|limb| *limb != 0);
        if high || top & !top_mask(self.width) != 0 {
            return Err(ObjectError::Width(self.width));
        }
        for (n, limb) in self.element(index)?.iter().enumerate() {
            limb.store(value.get(n).copied().unwrap_or(0), Relaxed);
        }
        Ok(())
    }

    /// Reads an element; zeros if there is no such element.
    pub(in crate::p4) fn read(&self, index: u64, to: &mut [u64]) {
        to.fill(0);
        if let Ok(element) = self.element(index) {
            to.iter_mut()
                .zip(element)
                .for_each(|(to, limb)| *to = limb.load(Relaxed));
        }
    }

    /// Writes an element; ignored if there is no such element.
    pub(in crate::p4) fn write(&self, index: u64, from: &[u64]) {
        if let Ok(element) = self.element(index) {
            element
                .iter()
                .zip(from)
                .for_each(|(limb, from)| limb.store(*from, Relaxed));
        }
    }

    fn element(&self, index: u64) -> Result<&[AtomicU64], ObjectError> {
        let size = self.size();
        let at = usize::try_from(index).ok().filter(|_| index < size);
        let at = at.ok_or(ObjectError::Index { index, size })? * self.limbs;
        Ok(&self.values[at..at + self.limbs])
    }
}
