// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Rings of descriptors in memory that is shared with the device.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use crate::Memory;

/// A ring of entries of `WORDS` 64-bit words.
pub(crate) struct Ring<const WORDS: usize> {
    memory: Arc<Memory>,
    base: usize,
    len: u16,
}

impl<const WORDS: usize> Ring<WORDS> {
    /// The size of an entry in bytes.
    pub(crate) const ENTRY: u64 = WORDS as u64 * 8;

    /// A ring of `len` entries from byte `base` of the memory on.
    pub(crate) fn new(memory: Arc<Memory>, base: u64, len: u16) -> Self {
        assert!(base + u64::from(len) * Self::ENTRY <= memory.len() && len > 0);
        let base = base as usize; // inside of a mapping
        Self { memory, base, len }
    }

    pub(crate) fn len(&self) -> u16 {
        self.len
    }

    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Returns the ring's device address.
    pub(crate) fn iova(&self) -> u64 {
        self.memory.iova() + self.base as u64
    }

    fn at(&self, entry: u16, word: usize) -> usize {
        self.base + (usize::from(entry) * WORDS + word) * 8
    }

    /// Writes an entry that the device does not read yet: a doorbell follows.
    pub(crate) fn store(&self, entry: u16, words: [u64; WORDS]) {
        for (n, word) in words.into_iter().enumerate() {
            self.memory
                .word(self.at(entry, n))
                .store(word, Ordering::Relaxed);
        }
    }

    /// Reads the first word of an entry with acquire semantics: all earlier writes of the device
    /// are then visible.
    pub(crate) fn first(&self, entry: u16) -> u64 {
        self.memory.word(self.at(entry, 0)).load(Ordering::Acquire)
    }

    /// Reads the rest of an entry whose first word has been read.
    pub(crate) fn rest(&self, entry: u16, first: u64) -> [u64; WORDS] {
        let mut words = [first; WORDS];
        for (n, word) in words.iter_mut().enumerate().skip(1) {
            *word = self.memory.word(self.at(entry, n)).load(Ordering::Relaxed);
        }
        words
    }
}

/// A ring of 32-bit entries that the device writes: TX completions of queue scheduling.
pub(crate) struct Ring32 {
    memory: Arc<Memory>,
    base: usize,
    len: u16,
}

impl Ring32 {
    /// The size of an entry in bytes. The device checks addresses as if entries had 8 bytes.
    pub(crate) const ENTRY: u64 = 8;

    pub(crate) fn new(memory: Arc<Memory>, base: u64, len: u16) -> Self {
        assert!(base + u64::from(len) * Self::ENTRY <= memory.len() && len > 0);
        let base = base as usize; // inside of a mapping
        Self { memory, base, len }
    }

    pub(crate) fn len(&self) -> u16 {
        self.len
    }

    pub(crate) fn iova(&self) -> u64 {
        self.memory.iova() + self.base as u64
    }

    /// Reads an entry with acquire semantics: all earlier writes of the device are then visible.
    pub(crate) fn load(&self, entry: u16) -> u32 {
        let at = self.base + usize::from(entry) * 4;
        self.memory.half(at).load(Ordering::Acquire)
    }
}

/// A reader's position in a ring whose writer flips a generation bit with every pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) at: u16,
    /// The generation bit of new entries.
    pub(crate) generation: bool,
}

impl Cursor {
    /// A cursor at the first entry of a ring in zeroed memory.
    pub(crate) fn new() -> Self {
        Self {
            at: 0,
            generation: true,
        }
    }

    pub(crate) fn advance(&mut self, len: u16) {
        self.at += 1;
        if self.at >= len {
            self.at = 0;
            self.generation = !self.generation;
        }
    }
}

/// Returns the index of the entry after `at`.
pub(crate) fn next(at: u16, len: u16) -> u16 {
    if at + 1 >= len {
        0
    } else {
        at + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generation_changes_with_every_pass() {
        let mut cursor = Cursor::new();
        let seen: Vec<_> = (0..6)
            .map(|_| {
                let now = (cursor.at, cursor.generation);
                cursor.advance(3);
                now
            })
            .collect();
        let want = [
            (0, true),
            (1, true),
            (2, true),
            (0, false),
            (1, false),
            (2, false),
        ];
        assert_eq!(seen, want);
    }

    #[test]
    #[should_panic(expected = "base + ")]
    fn a_ring_outside_of_its_memory_is_not_made() {
        let memory = Arc::new(Memory::new(0x1000, 0).unwrap());
        let _ = Ring::<4>::new(memory, 0xF00, 32);
    }
}
