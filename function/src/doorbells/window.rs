// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Pages of BAR0 with registers at regular intervals, mapped in this process.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use adit_uapi::regs::{adi, RegArray};
use memmap2::{MmapOptions, MmapRaw};

/// The size of a page in bytes.
pub(super) const PAGE: u64 = 0x1000;

/// A contiguous run of pages, with registers at regular intervals.
pub struct Window {
    map: MmapRaw,
    /// The offset of the first page in BAR0.
    first: u64,
    /// The length in bytes.
    len: u64,
    /// The offset of the first register in the window.
    lead: u64,
    /// The distance from one register to the next in bytes.
    stride: u32,
    count: u32,
}

impl Window {
    /// Maps the pages of the first `count` registers of an array.
    pub(super) fn new(fd: &OwnedFd, array: &RegArray, count: u32) -> io::Result<Self> {
        assert!(count > 0 && count <= array.count && array.stride % 4 == 0);
        let first = u64::from(array.base) & !(PAGE - 1);
        let lead = u64::from(array.base) - first;
        let len = (lead + u64::from(count) * u64::from(array.stride)).next_multiple_of(PAGE);
        let map = MmapOptions::new()
            .offset(first)
            .len(len as usize)
            .map_raw(fd)?;
        Ok(Self {
            map,
            first,
            len,
            lead,
            stride: array.stride,
            count,
        })
    }

    /// Its place in BAR0, in bytes.
    #[must_use]
    pub fn range(&self) -> std::ops::Range<u64> {
        self.first..self.first + self.len
    }

    /// The number of registers in the window.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The 32-bit word at `at` bytes from the window's start; `None` outside of it, or if it is not
    /// aligned.
    pub(super) fn word(&self, at: u64) -> Option<&AtomicU32> {
        if at >= self.len || at % 4 != 0 {
            return None;
        }
        // SAFETY: `at` is a multiple of 4 from the mapping's page-aligned start, and below its
        // length, which is a multiple of 4, too: the word is inside of the mapping. The memory is
        // shared with the guest, so it is accessed with atomics; it lives as long as the mapping,
        // which outlives the borrow of `self`.
        Some(unsafe { AtomicU32::from_ptr(self.map.as_mut_ptr().add(at as usize).cast()) })
    }

    /// The register at `offset` bytes from register `index` and before the next one. `None` outside
    /// of the window, or if the offset is not that of a 32-bit register.
    #[must_use]
    pub fn register(&self, index: u32, offset: u32) -> Option<&AtomicU32> {
        if index >= self.count || offset >= self.stride {
            return None;
        }
        self.word(self.lead + u64::from(index) * u64::from(self.stride) + u64::from(offset))
    }

    /// The value of a register; 0 outside of the window.
    #[must_use]
    pub fn load(&self, index: u32) -> u32 {
        self.register(index, 0)
            .map_or(0, |r| u32::from_le(r.load(Ordering::Acquire)))
    }

    /// Sets a register.
    pub fn store(&self, index: u32, value: u32) {
        if let Some(register) = self.register(index, 0) {
            register.store(value.to_le(), Ordering::Release);
        }
    }

    /// Zeroes every word of the window that may have been written: of registers that have a page
    /// each, the words that the standard defines, and of registers that share pages, every word of
    /// these pages, because all of them are mapped into the guest.
    pub fn clear(&self) {
        if u64::from(self.stride) >= PAGE {
            (0..self.count).for_each(|index| self.clear_register(index));
        } else {
            let words = (0..self.len).step_by(4);
            words.filter_map(|at| self.word(at)).for_each(zero);
        }
    }

    /// Zeroes a register, and those that follow it on its page.
    pub(super) fn clear_register(&self, index: u32) {
        for offset in [0, 4, 8, 12, adi::ASLEEP_OFFSET] {
            if let Some(register) = self.register(index, offset) {
                zero(register);
            }
        }
    }
}

/// Zeroes a word. The load avoids dirtying a page that was never written.
fn zero(word: &AtomicU32) {
    if word.load(Ordering::Relaxed) != 0 {
        word.store(0, Ordering::Release);
    }
}
