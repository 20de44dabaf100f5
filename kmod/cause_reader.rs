// SPDX-License-Identifier: GPL-2.0

//! Where a driver is in a cause ring; no kernel in here, so that the host tests the same source.

use adit_uapi::virtchnl2::adi::CauseEntry;

/// The place of the next entry, and which generation makes it one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CauseReader {
    len: u32,
    next: u32,
    generation: bool,
}

impl CauseReader {
    /// The beginning of a zeroed ring of `len` entries.
    pub(crate) const fn new(len: u32) -> Self {
        Self {
            len,
            next: 0,
            generation: true,
        }
    }

    /// The index of the entry to look at, which is also what the device is told.
    pub(crate) const fn index(&self) -> u32 {
        self.next
    }

    /// Judges what is at [`Self::index`]: an entry is taken, and the next one is looked at from
    /// then on; anything else was written in the pass before.
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
