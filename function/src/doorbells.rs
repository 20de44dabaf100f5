// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The pages of BAR0 that the guest writes without a trap: queue tails and interrupt control.
//!
//! They are a memfd that QEMU maps into the guest. The device reads them when it polls. Only as
//! many pages are mapped as there are queues and vectors, so that a guest that touches all of them
//! costs no more memory than that (1 GiB of BAR0 costs nothing by itself).

mod frames;
mod vectors;
mod window;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use adit_uapi::regs::adi;
use rustix::fs::{
    fallocate, fcntl_add_seals, ftruncate, memfd_create, FallocateFlags, MemfdFlags, SealFlags,
};

use crate::layout::RegisterLayout;
use window::PAGE;

pub use frames::{Asleep, Tails};
pub use vectors::VectorRegisters;
pub use window::Window;

/// All mapped pages of BAR0.
pub struct Doorbells {
    fd: OwnedFd,
    layout: RegisterLayout,
    /// Tails of the RX buffer queues.
    pub bufq_tail: Tails,
    /// Tails of the TX queues.
    pub tx_tail: Tails,
    /// DYN_CTL and the ITR registers of the function's vectors.
    pub vectors: VectorRegisters,
    /// Frames of ADIs, if ADIs are enabled.
    frames: Option<Arc<Window>>,
}

impl Doorbells {
    /// Creates the pages of a function with this many buffer queues, TX queues and vectors.
    ///
    /// # Errors
    /// When the host has no memory for them.
    pub fn new(layout: RegisterLayout, bufqs: u32, txqs: u32, vectors: u32) -> io::Result<Self> {
        let fd = memfd_create("adit-bar0", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC)?;
        ftruncate(&fd, layout.bar0_len())?;
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok(Self {
            bufq_tail: Tails::new(Window::new(&fd, &layout.buffer_tails(), bufqs)?),
            tx_tail: Tails::new(Window::new(&fd, &layout.tx_tails(), txqs)?),
            vectors: VectorRegisters::new(&fd, layout, vectors)?,
            frames: None,
            fd,
            layout,
        })
    }

    /// Allocates the frames of ADIs with `pairs` queue pairs together.
    ///
    /// # Errors
    /// When the layout has no frames, or the host has no address space for them.
    pub fn add_frames(&mut self, pairs: u32) -> io::Result<()> {
        if !self.layout.has_adis() {
            return Err(io::ErrorKind::Unsupported.into());
        }
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
                self.frames.iter().for_each(|f| f.clear_register(page));
            }
        }
    }

    /// The file that backs the pages; a page's offset in it is its offset in BAR0.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The windows: tails, control of the vectors, frames of ADIs. The order is not that of BAR0.
    pub fn windows(&self) -> impl Iterator<Item = &Window> {
        self.own().chain(self.frames.as_deref())
    }

    /// The windows of the function itself.
    fn own(&self) -> impl Iterator<Item = &Window> {
        let tails = [self.bufq_tail.own(), self.tx_tail.own()];
        tails.into_iter().chain(self.vectors.windows())
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
        window.word(offset - window.range().start)
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
        let mut d = Doorbells::new(RegisterLayout::Pf, 1, 2, 1).unwrap();
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
        let d = Doorbells::new(RegisterLayout::Pf, 4, 2, 3).unwrap();
        d.tx_tail.store(1, 77);
        assert_eq!(d.read(0x0500_1000), Some(77));
        assert!(d.write(0x0890_2004, 5));
        assert_eq!(d.vectors.itr(2, 0).unwrap().load(Ordering::Relaxed), 5);
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

    #[test]
    fn a_vf_has_its_registers_in_arrays_and_no_frames() {
        let mut d = Doorbells::new(RegisterLayout::Vf, 4, 2, 3).unwrap();
        d.tx_tail.store(1, 77);
        assert_eq!(d.read(0x4_0004), Some(77));
        assert!(d.write(0x6_000C, 5));
        assert_eq!((d.bufq_tail.load(3), d.bufq_tail.load(4)), (5, 0));
        assert!(d.write(0x5C00, 1) && d.write(0x7_0004, 2) && d.write(0x7_4004, 3));
        assert_eq!((d.vectors.load(0), d.vectors.load(2)), (1, 2));
        assert_eq!(d.vectors.itr(2, 1).unwrap().load(Ordering::Relaxed), 3);
        assert!(d.vectors.itr(0, 0).is_none() && d.vectors.itr(1, 3).is_none());
        assert!(d.vectors.dyn_ctl(3).is_none());
        assert_eq!(d.read(0x6C00), None, "the mailbox traps");
        let page = |w: &Window| w.range().start % PAGE == 0 && w.range().end % PAGE == 0;
        assert!(d.windows().all(page));
        assert!(d.add_frames(1).is_err());
        // Beyond the registers there is the rest of the page.
        let all = [
            0x4_0004, 0x6_000C, 0x5C00, 0x7_0004, 0x7_4004, 0x4_0008, 0x4_0FFC, 0x5000, 0x7_0FF0,
        ];
        assert!(all.iter().all(|&at| d.write(at, 7)));
        d.clear();
        assert_eq!(all.map(|at| d.read(at)), [Some(0); 9]);
    }
}
