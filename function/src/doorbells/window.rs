// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Pages of BAR0 with registers at regular intervals, mapped in this process.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use adit_uapi::regs::{adi, RegArray};
use memmap2::{MmapOptions, MmapRaw};
use rustix::mm::{mmap, MapFlags, ProtFlags};

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
    ///
    /// # Errors
    /// When the file cannot be mapped.
    ///
    /// # Panics
    /// When `count` is 0 or larger than the array.
    pub fn new(fd: &impl AsRawFd, array: &RegArray, count: u32) -> io::Result<Self> {
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

    /// The offset of a register in BAR0, and so in the file of all pages.
    pub(super) fn offset_of(&self, index: u32) -> u64 {
        self.first + self.lead + u64::from(index) * u64::from(self.stride)
    }

    /// Replaces the pages of `count` registers, which have a page each, by those of a file from
    /// `offset` on. The file must not shrink.
    ///
    /// # Errors
    /// When the host refuses it; the pages are as before then.
    pub(super) fn map_over(
        &self,
        index: u32,
        count: u32,
        fd: BorrowedFd<'_>,
        offset: u64,
    ) -> io::Result<()> {
        let inside = index
            .checked_add(count)
            .is_some_and(|end| end <= self.count);
        if u64::from(self.stride) != PAGE || self.lead != 0 || count == 0 || !inside {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.replace(u64::from(index) * PAGE, u64::from(count) * PAGE, fd, offset)
    }

    /// Replaces all pages by those of a file of all pages of BAR0, which must not shrink.
    ///
    /// # Errors
    /// When the host refuses it; the pages are as before then.
    pub(super) fn map_anew(&self, all: BorrowedFd<'_>) -> io::Result<()> {
        self.replace(0, self.len, all, self.first)
    }

    /// Replaces `len` bytes of pages from `at` on by those of a file from `offset` on.
    fn replace(&self, at: u64, len: u64, fd: BorrowedFd<'_>, offset: u64) -> io::Result<()> {
        let inside = at.checked_add(len).is_some_and(|end| end <= self.len);
        if at % PAGE != 0 || len % PAGE != 0 || len == 0 || !inside {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (at, len) = (at as usize, len as usize);
        // SAFETY: the range is whole pages inside of this window's own mapping, which has `self.len`
        // bytes (checked above) and of which nobody holds Rust references to anything but atomics:
        // they see other memory of the same size afterwards, which is mapped shared, readable and
        // writable like before. The kernel replaces a mapping in one step, and checks its limits
        // before it removes the old one. The mapping ends with the window's, whose `munmap` covers it.
        let mapped = unsafe {
            mmap(
                self.map.as_mut_ptr().add(at).cast(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::FIXED,
                fd,
                offset,
            )
        };
        Ok(mapped.map(drop)?)
    }

    /// The 32-bit word at `at` bytes from the window's start; `None` outside of it, or if it is not
    /// aligned.
    #[must_use]
    pub fn word(&self, at: u64) -> Option<&AtomicU32> {
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
