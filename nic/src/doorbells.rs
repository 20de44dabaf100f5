// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The pages of BAR0 that the guest writes without a trap: queue tails and interrupt control.
//!
//! They are a memfd that QEMU maps into the guest. The device reads them when it polls. Only as
//! many pages are offered as there are queues and vectors, so that a guest that touches all of
//! them costs that much memory and no more (1 GiB of BAR0 costs nothing by itself).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use adit_uapi::regs::{pf, RegArray};
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{fcntl_add_seals, ftruncate, memfd_create, MemfdFlags, SealFlags};

/// Bytes of BAR0: room for the standard's PF layout and, above 256 MiB, for frames of ADIs.
pub const BAR0_LEN: u64 = 1 << 30;

const PAGE: u64 = 0x1000;

/// One run of pages, each with one register at its start.
pub struct Window {
    map: MmapRaw,
    first: u64,
    count: u32,
}

impl Window {
    fn new(fd: &OwnedFd, array: &RegArray, count: u32) -> io::Result<Self> {
        assert!(count > 0 && count <= array.count && u64::from(array.stride) == PAGE);
        let first = u64::from(array.base);
        let map = MmapOptions::new()
            .offset(first)
            .len((u64::from(count) * PAGE) as usize)
            .map_raw(fd)?;
        Ok(Self { map, first, count })
    }

    /// Where it is in BAR0, in bytes.
    #[must_use]
    pub fn range(&self) -> std::ops::Range<u64> {
        self.first..self.first + u64::from(self.count) * PAGE
    }

    /// Pages in the window.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The register at `offset` bytes into page `page`. `None` outside of the window, or when
    /// the offset is not that of a 32-bit register.
    #[must_use]
    pub fn register(&self, page: u32, offset: u32) -> Option<&AtomicU32> {
        if page >= self.count || u64::from(offset) >= PAGE || offset % 4 != 0 {
            return None;
        }
        let at = page as usize * PAGE as usize + offset as usize;
        // SAFETY: `at` is inside of the mapping and a multiple of 4 from its page-aligned start.
        // The memory is shared with the guest, which atomics are made for; it lives as long as
        // the mapping, which outlives the borrow of `self`.
        Some(unsafe { AtomicU32::from_ptr(self.map.as_mut_ptr().add(at).cast()) })
    }

    /// The value of a page's first register; 0 outside of the window.
    #[must_use]
    pub fn load(&self, page: u32) -> u32 {
        self.register(page, 0)
            .map_or(0, |r| u32::from_le(r.load(Ordering::Acquire)))
    }

    /// Sets a page's first register.
    pub fn store(&self, page: u32, value: u32) {
        if let Some(register) = self.register(page, 0) {
            register.store(value.to_le(), Ordering::Release);
        }
    }

    /// Zeroes every register of the window that may have been written.
    pub fn clear(&self) {
        for page in 0..self.count {
            for offset in [0, 4, 8, 12] {
                if let Some(register) = self.register(page, offset) {
                    // Reading first: a page that nobody wrote need not be dirtied.
                    if register.load(Ordering::Relaxed) != 0 {
                        register.store(0, Ordering::Release);
                    }
                }
            }
        }
    }
}

/// All mapped pages of BAR0.
pub struct Doorbells {
    fd: OwnedFd,
    /// Tails of the RX buffer queues.
    pub bufq_tail: Window,
    /// Tails of the TX queues.
    pub tx_tail: Window,
    /// DYN_CTL and the ITR registers of the vectors.
    pub vectors: Window,
}

impl Doorbells {
    /// Makes the pages.
    ///
    /// # Errors
    /// When the host has no memory for them.
    pub fn new(bufqs: u32, txqs: u32, vectors: u32) -> io::Result<Self> {
        let fd = memfd_create("adit-bar0", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC)?;
        ftruncate(&fd, BAR0_LEN)?;
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok(Self {
            bufq_tail: Window::new(&fd, &pf::BUFQ_TAIL, bufqs)?,
            tx_tail: Window::new(&fd, &pf::QTX_TAIL, txqs)?,
            vectors: Window::new(&fd, &pf::GLINT_DYN_CTL, vectors)?,
            fd,
        })
    }

    /// The file behind the pages; a page's place in it is its place in BAR0.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The windows, in the order of BAR0.
    #[must_use]
    pub fn windows(&self) -> [&Window; 3] {
        [&self.bufq_tail, &self.tx_tail, &self.vectors]
    }

    /// Reads a register of a window by its place in BAR0.
    #[must_use]
    pub fn read(&self, offset: u64) -> Option<u32> {
        self.at(offset)
            .map(|r| u32::from_le(r.load(Ordering::Acquire)))
    }

    /// Writes a register of a window by its place in BAR0; false when it is in none.
    pub fn write(&self, offset: u64, value: u32) -> bool {
        self.at(offset)
            .map(|r| r.store(value.to_le(), Ordering::Release))
            .is_some()
    }

    fn at(&self, offset: u64) -> Option<&AtomicU32> {
        let window = self
            .windows()
            .into_iter()
            .find(|w| w.range().contains(&offset))?;
        let inside = offset - window.first;
        window.register((inside / PAGE) as u32, (inside % PAGE) as u32)
    }

    /// Zeroes everything, as a reset does.
    pub fn clear(&self) {
        for window in self.windows() {
            window.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_found_by_page_and_by_offset_and_nowhere_else() {
        let d = Doorbells::new(4, 2, 3).unwrap();
        d.tx_tail.store(1, 77);
        assert_eq!(d.read(0x0500_1000), Some(77));
        assert!(d.write(0x0890_2004, 5));
        assert_eq!(d.vectors.register(2, 4).unwrap().load(Ordering::Relaxed), 5);
        assert_eq!(d.read(0x0500_2000), None, "beyond the last queue");
        assert_eq!(d.read(0x0500_1002), None, "not a register");
        assert_eq!(d.read(0), None, "RX tails are not mapped");
        assert_eq!(d.tx_tail.load(2), 0);
        d.clear();
        assert_eq!(
            (d.read(0x0500_1000), d.read(0x0890_2004)),
            (Some(0), Some(0))
        );
    }
}
