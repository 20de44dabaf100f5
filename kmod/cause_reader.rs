// SPDX-License-Identifier: GPL-2.0

//! A driver's position in a cause ring. Free of kernel dependencies, so that the host tests compile
//! the same source.

use adit_uapi::virtchnl2::adi::CauseEntry;

/// The position of the next entry, and the generation bit that makes it valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CauseReader {
    len: u32,
    next: u32,
    generation: bool,
}

impl CauseReader {
    /// Creates a reader at the start of a zeroed ring of `len` entries.
    pub(crate) const fn new(len: u32) -> Self {
        Self {
            len,
            next: 0,
            generation: true,
        }
    }

    /// Returns the index of the next entry, which is also the head index written for the device.
    pub(crate) const fn index(&self) -> u32 {
        self.next
    }

    /// Checks the value at [`Self::index`]: a valid entry is consumed, and the reader advances; any
    /// other value was written in the previous pass.
    pub(crate) fn take(&mut self, value: u64) -> Option<CauseEntry> {
        let entry = CauseEntry(value);
        if entry.generation() != self.generation {
            return None;
        }
        self.next += 1;
        if self.next >= self.len {
            self.next = 0;
            self.generation = !self.generation;
        }
        Some(entry)
    }
}
