// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The pages of BAR0 that the guest writes without a trap: queue tails and interrupt control.
//!
//! They are a memfd that QEMU maps into the guest. The device reads them when it polls. Only as
//! many pages are mapped as there are queues and vectors, so that a guest that touches all of them
//! costs no more memory than that (1 GiB of BAR0 costs nothing by itself).

mod frames;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use adit_uapi::regs::{adi, pf, RegArray};
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{
    fallocate, fcntl_add_seals, ftruncate, memfd_create, FallocateFlags, MemfdFlags, SealFlags,
};

pub use frames::{Asleep, Tails};

/// The size of BAR0 in bytes: space for the standard's PF layout and, above 256 MiB, for frames of
/// ADIs.
pub const BAR0_LEN: u64 = 1 << 30;

const PAGE: u64 = 0x1000;

/// A contiguous run of pages, each with one register at its start.
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

    /// Its place in BAR0, in bytes.
    #[must_use]
    pub fn range(&self) -> std::ops::Range<u64> {
        self.first..self.first + u64::from(self.count) * PAGE
    }

    /// The number of pages in the window.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The register at `offset` bytes into page `page`. `None` outside of the window, or if the
    /// offset is not that of a 32-bit register.
    #[must_use]
    pub fn register(&self, page: u32, offset: u32) -> Option<&AtomicU32> {
        if page >= self.count || u64::from(offset) >= PAGE || offset % 4 != 0 {
            return None;
        }
        let at = page as usize * PAGE as usize + offset as usize;
        // SAFETY: `at` is inside of the mapping and a multiple of 4 from its page-aligned start.
        // The memory is shared with the guest, so it is accessed with atomics; it lives as long as
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
            self.clear_page(page);
        }
    }

    fn clear_page(&self, page: u32) {
        for offset in [0, 4, 8, 12, adi::ASLEEP_OFFSET] {
            if let Some(register) = self.register(page, offset) {
                // The load avoids dirtying a page that was never written.
                if register.load(Ordering::Relaxed) != 0 {
                    register.store(0, Ordering::Release);
                }
            }
        }
    }
}

/// All mapped pages of BAR0.
pub struct Doorbells {
    fd: OwnedFd,
    /// Tails of the RX buffer queues.
    pub bufq_tail: Tails,
    /// Tails of the TX queues.
    pub tx_tail: Tails,
    /// DYN_CTL and the ITR registers of the function's vectors.
    pub vectors: Window,
    /// Frames of ADIs, if ADIs are enabled.
    frames: Option<Arc<Window>>,
}

impl Doorbells {
    /// Creates the pages.
    ///
    /// # Errors
    /// When the host has no memory for them.
    pub fn new(bufqs: u32, txqs: u32, vectors: u32) -> io::Result<Self> {
        let fd = memfd_create("adit-bar0", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC)?;
        ftruncate(&fd, BAR0_LEN)?;
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok(Self {
            bufq_tail: Tails::new(Window::new(&fd, &pf::BUFQ_TAIL, bufqs)?),
            tx_tail: Tails::new(Window::new(&fd, &pf::QTX_TAIL, txqs)?),
            vectors: Window::new(&fd, &pf::GLINT_DYN_CTL, vectors)?,
            frames: None,
            fd,
        })
    }

    /// Allocates the frames of ADIs with `pairs` queue pairs together.
    ///
    /// # Errors
    /// When the host has no address space for them.
    pub fn add_frames(&mut self, pairs: u32) -> io::Result<()> {
        let frames = Window::new(&self.fd, &adi::FRAMES, pairs * adi::PAGES_PER_PAIR)?;
        let frames = Arc::new(frames);
        self.tx_tail.extend(&frames);
        self.bufq_tail.extend(&frames);
        self.frames = Some(frames);
        Ok(())
    }

    /// The frames of ADIs, if ADIs are enabled.
    #[must_use]
    pub fn frames(&self) -> Option<&Arc<Window>> {
        self.frames.as_ref()
    }

    /// Zeroes pages of frames and returns their memory to the host.
    pub fn release_frames(&self, first: u32, pages: u32) {
        let at = u64::from(adi::FRAMES.base) + u64::from(first) * PAGE;
        let len = u64::from(pages) * PAGE;
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if fallocate(&self.fd, mode, at, len).is_err() {
            // The memory is not returned then, but must still be zeroed.
            for page in first..first + pages {
                self.frames.iter().for_each(|f| f.clear_page(page));
            }
        }
    }

    /// The file that backs the pages; a page's offset in it is its offset in BAR0.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The windows, in the order of BAR0.
    pub fn windows(&self) -> impl Iterator<Item = &Window> {
        self.own().into_iter().chain(self.frames.as_deref())
    }

    /// The windows of the function itself.
    fn own(&self) -> [&Window; 3] {
        [self.bufq_tail.own(), self.tx_tail.own(), &self.vectors]
    }

    /// Reads a register of a window by its offset in BAR0.
    #[must_use]
    pub fn read(&self, offset: u64) -> Option<u32> {
        self.at(offset)
            .map(|r| u32::from_le(r.load(Ordering::Acquire)))
    }

    /// Writes a register of a window by its offset in BAR0; returns false if no window contains it.
    pub fn write(&self, offset: u64, value: u32) -> bool {
        self.at(offset)
            .map(|r| r.store(value.to_le(), Ordering::Release))
            .is_some()
    }

    fn at(&self, offset: u64) -> Option<&AtomicU32> {
        let window = self.windows().find(|w| w.range().contains(&offset))?;
        let inside = offset - window.first;
        window.register((inside / PAGE) as u32, (inside % PAGE) as u32)
    }

    /// Zeroes everything, for a reset.
    pub fn clear(&self) {
        for window in self.own() {
            window.clear();
        }
        if let Some(frames) = &self.frames {
            self.release_frames(0, frames.count());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_mapped_where_the_layout_has_them_and_are_zero_after_release() {
        let mut d = Doorbells::new(1, 2, 1).unwrap();
        assert_eq!(d.read(0x1000_0000), None);
        d.add_frames(2).unwrap();
        assert_eq!(
            d.windows().last().unwrap().range(),
            0x1000_0000..0x1000_8000
        );
        d.tx_tail.place(2, Some(5));
        d.tx_tail.store(2, 9);
        assert_eq!(d.read(0x1000_5000), Some(9));
        assert_eq!((d.tx_tail.load(2), d.tx_tail.load(3)), (9, 0));
        let asleep = d.tx_tail.asleep(2).unwrap();
        asleep.set(true);
        assert_eq!(d.read(0x1000_5040), Some(1));
        d.release_frames(4, 4);
        assert_eq!((d.tx_tail.load(2), d.read(0x1000_5040)), (0, Some(0)));
        d.tx_tail.store(2, 9);
        d.tx_tail.place(2, None);
        assert_eq!(d.tx_tail.load(2), 0, "nobody's");
        d.clear();
        assert_eq!(d.read(0x1000_5000), Some(0));
    }

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
