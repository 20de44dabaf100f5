// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The pages of BAR0 that the guest writes without a trap: queue tails and interrupt control.
//!
//! They are a memfd that QEMU maps into the guest. The device reads them when it polls. Only as
//! many pages are mapped as there are queues and vectors, so that a guest that touches all of them
//! costs no more memory than that (1 GiB of BAR0 costs nothing by itself).

mod frame_files;
mod frames;
mod vectors;
mod window;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use adit_uapi::regs::adi;
use rustix::fs::{
    fallocate, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create, FallocateFlags,
    MemfdFlags, SealFlags,
};

use crate::layout::RegisterLayout;
use frame_files::{check_runs, FrameFiles};
use window::PAGE;

pub use frame_files::Run;
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
    /// Those with a file of their own.
    files: FrameFiles,
}

impl Doorbells {
    /// Creates the pages of a function with this many buffer queues, TX queues and vectors.
    ///
    /// # Errors
    /// When the host has no memory for them.
    pub fn new(layout: RegisterLayout, bufqs: u32, txqs: u32, vectors: u32) -> io::Result<Self> {
        let fd = pages_file("adit-bar0", layout.bar0_len())?;
        Self::over(fd, layout, bufqs, txqs, vectors)
    }

    /// Uses the pages of a process that is gone, which the client still has mapped; they are zero
    /// afterwards.
    ///
    /// # Errors
    /// When the file is not one of these pages, or the host refuses an operation.
    pub fn inherit(
        fd: OwnedFd,
        layout: RegisterLayout,
        bufqs: u32,
        txqs: u32,
        vectors: u32,
    ) -> io::Result<Self> {
        inherit(&fd, layout.bar0_len())?;
        Self::over(fd, layout, bufqs, txqs, vectors)
    }

    fn over(
        fd: OwnedFd,
        layout: RegisterLayout,
        bufqs: u32,
        txqs: u32,
        vectors: u32,
    ) -> io::Result<Self> {
        Ok(Self {
            bufq_tail: Tails::new(Window::new(&fd, &layout.buffer_tails(), bufqs)?),
            tx_tail: Tails::new(Window::new(&fd, &layout.tx_tails(), txqs)?),
            vectors: VectorRegisters::new(&fd, layout, vectors)?,
            frames: None,
            files: FrameFiles::default(),
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

    /// Gives a frame a file of its own, and returns it: its pages are those of the frame, which are
    /// zero now, and it has no others. They are no longer those of [`fd`](Self::fd). The file is
    /// `inherited` if an owner still has that of a process that is gone.
    ///
    /// # Errors
    /// When there are no such pages, the inherited file has others, or the host refuses it.
    pub fn separate_frame(
        &mut self,
        first: u32,
        pages: u32,
        inherited: Option<OwnedFd>,
    ) -> io::Result<OwnedFd> {
        let frames = self.frames.as_deref().ok_or(io::ErrorKind::Unsupported)?;
        if self.files.contains(first) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.files.add(frames, first, pages, inherited)
    }

    /// Replaces a frame's own file by a new one, and returns that: what is written to the old one is
    /// no longer seen. The pages are zero.
    ///
    /// # Errors
    /// When the frame has no file of its own with as many pages, or the host refuses it; the frame has
    /// its old file then.
    pub fn renew_frame(&mut self, first: u32, pages: u32) -> io::Result<OwnedFd> {
        let frames = self.frames.as_deref().ok_or(io::ErrorKind::Unsupported)?;
        if !self.files.frames().any(|frame| frame == (first, pages)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.files.add(frames, first, pages, None)
    }

    /// Replaces a frame's own file by one of a process whose owner goes on here: its content stays.
    ///
    /// # Errors
    /// As [`renew_frame`](Self::renew_frame), and when the file has other pages.
    pub fn adopt_frame(&mut self, first: u32, pages: u32, file: OwnedFd) -> io::Result<OwnedFd> {
        let frames = self.frames.as_deref().ok_or(io::ErrorKind::Unsupported)?;
        if !self.files.frames().any(|frame| frame == (first, pages)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        check_file(&file, u64::from(pages) * PAGE)?;
        self.files.map(frames, first, pages, file)
    }

    /// Replaces a frame's own file by runs of pages of another one, which has those of other frames,
    /// too ([`shared_file`]). Its content stays.
    ///
    /// # Errors
    /// As [`renew_frame`](Self::renew_frame), and when the runs are other pages or not in the file. When
    /// the host refuses it, some pages may be those of the new file, until another call succeeds.
    pub fn place_frame(
        &mut self,
        first: u32,
        pages: u32,
        file: OwnedFd,
        runs: &[Run],
    ) -> io::Result<()> {
        let frames = self.frames.as_deref().ok_or(io::ErrorKind::Unsupported)?;
        if !self.files.frames().any(|frame| frame == (first, pages)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let len = u64::try_from(fstat(&file)?.st_size).unwrap_or(0);
        check_file(&file, len)?;
        check_runs(runs, pages, len)?;
        self.files.place(frames, first, file, runs.to_vec())
    }

    /// Replaces the file of all pages by that of a process whose client goes on here: its content
    /// stays.
    ///
    /// # Errors
    /// As [`renew`](Self::renew), and when the file has other pages.
    pub fn adopt(&mut self, file: OwnedFd) -> io::Result<()> {
        check_file(&file, self.layout.bar0_len())?;
        self.map_all(file)
    }

    /// Replaces the file of all pages by a new one, for another client: what is written to the old one
    /// is no longer seen. The pages are zero; frames with a file of their own keep it.
    ///
    /// # Errors
    /// When the host refuses it. Some pages may be those of the old file then, until another call
    /// succeeds.
    pub fn renew(&mut self) -> io::Result<()> {
        self.map_all(pages_file("adit-bar0", self.layout.bar0_len())?)
    }

    fn map_all(&mut self, fd: OwnedFd) -> io::Result<()> {
        for window in self.windows() {
            window.map_anew(fd.as_fd())?;
        }
        if let Some(frames) = self.frames.as_deref() {
            self.files.map_again(frames)?;
        }
        self.fd = fd;
        Ok(())
    }

    /// Ends the use of a frame's own file: what its owner writes to it is no longer seen.
    ///
    /// # Errors
    /// When the host refuses it.
    pub fn rejoin_frame(&mut self, first: u32) -> io::Result<()> {
        match self.frames.as_deref() {
            Some(frames) => self.files.remove(frames, first, self.fd.as_fd()),
            None => Ok(()),
        }
    }

    /// Zeroes pages of frames and returns their memory to the host.
    pub fn release_frames(&self, first: u32, pages: u32) {
        if self.files.zero(first, pages) {
            return;
        }
        let at = u64::from(adi::FRAMES.base) + u64::from(first) * PAGE;
        let len = u64::from(pages) * PAGE;
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if self.files.contains(first) || fallocate(&self.fd, mode, at, len).is_err() {
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
            for (first, pages) in self.files.frames() {
                self.release_frames(first, pages);
            }
        }
    }
}

/// A new file of doorbell pages for several frames ([`Doorbells::place_frame`]). The pages are zero.
///
/// # Errors
/// When the host has no resources for it.
pub fn shared_file(pages: u32) -> io::Result<OwnedFd> {
    pages_file("adit-frames", u64::from(pages) * PAGE)
}

/// Uses a file of doorbell pages for several frames whose process is gone, and which a client still has
/// mapped; the pages are zero afterwards.
///
/// # Errors
/// When it is not one of [`shared_file`] with as many pages, or the host refuses it.
pub fn inherited_file(file: OwnedFd, pages: u32) -> io::Result<OwnedFd> {
    inherit(&file, u64::from(pages) * PAGE)?;
    Ok(file)
}

/// A new file of `len` bytes of pages. Those who map it cannot make the device fault, or their own
/// pages unwritable.
fn pages_file(name: &str, len: u64) -> io::Result<OwnedFd> {
    let fd = memfd_create(name, MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC)?;
    ftruncate(&fd, len)?;
    fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(fd)
}

/// Zeroes an inherited file, which must be one of `len` bytes of pages.
fn inherit(fd: &OwnedFd, len: u64) -> io::Result<()> {
    check_file(fd, len)?;
    let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(fallocate(fd, mode, 0, len)?)
}

/// Checks that an inherited file is one of `len` bytes of pages.
fn check_file(fd: &OwnedFd, len: u64) -> io::Result<()> {
    let (found, seals) = (fstat(fd)?.st_size, fcntl_get_seals(fd)?);
    if u64::try_from(found) != Ok(len) || !seals.contains(SealFlags::SHRINK) {
        let text = format!(
            "the inherited file of doorbell pages has {found:#x} bytes and seals {seals:?}: {len:#x} \
             bytes that cannot shrink are expected"
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(())
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
    fn pages_are_inherited_with_their_file_and_without_their_content() {
        let old = Doorbells::new(RegisterLayout::Vf, 4, 2, 3).unwrap();
        // The client has these pages mapped.
        let client = old.fd().try_clone_to_owned().unwrap();
        let clients = Window::new(&client, &RegisterLayout::Vf.tx_tails(), 2).unwrap();
        let at = clients.range().start;
        old.write(at, 7);
        let file = old.fd().try_clone_to_owned().unwrap();
        drop(old);
        let new = Doorbells::inherit(file, RegisterLayout::Vf, 4, 2, 3).unwrap();
        assert_eq!((new.read(at), clients.load(0)), (Some(0), 0));
        clients.store(0, 9);
        assert_eq!(new.read(at), Some(9));

        let other = new.fd().try_clone_to_owned().unwrap();
        let error = Doorbells::inherit(other, RegisterLayout::Pf, 4, 2, 3);
        assert!(error.err().unwrap().to_string().contains("doorbell pages"));
        let unsealed = memfd_create("pages", MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&unsealed, RegisterLayout::Vf.bar0_len()).unwrap();
        assert!(Doorbells::inherit(unsealed, RegisterLayout::Vf, 4, 2, 3).is_err());
    }

    #[test]
    fn a_frame_with_a_file_of_its_own_is_that_file_and_nothing_else() {
        use memmap2::MmapOptions;
        let mut d = Doorbells::new(RegisterLayout::Pf, 1, 2, 1).unwrap();
        assert!(d.separate_frame(0, 4, None).is_err(), "there are no frames");
        d.add_frames(3).unwrap();
        d.tx_tail.place(2, Some(4));
        d.tx_tail.store(2, 7);
        assert!(d.separate_frame(8, 5, None).is_err(), "beyond the frames");
        let file = d.separate_frame(4, 4, None).unwrap();
        assert!(d.separate_frame(4, 4, None).is_err(), "it has one");
        assert_eq!(rustix::fs::fstat(&file).unwrap().st_size, 0x4000);
        assert!(ftruncate(&file, 0).is_err());
        assert_eq!(d.tx_tail.load(2), 0, "the pages are new");
        // SAFETY: the file is sealed against shrinking; the test's only accesses are below.
        let mut map = unsafe { MmapOptions::new().len(0x4000).map_mut(&file) }.unwrap();
        map[0] = 9;
        map[0x3000] = 5;
        assert_eq!(d.tx_tail.load(2), 9);
        assert_eq!(d.read(0x1000_7000), Some(5));
        let neighbours = [d.read(0x1000_3000), d.read(0x1000_8000)];
        assert_eq!(neighbours, [Some(0), Some(0)]);
        d.tx_tail.store(2, 0x1234);
        assert_eq!(map[..2], [0x34, 0x12]);
        d.release_frames(4, 4);
        assert_eq!((map[0], map[0x3000]), (0, 0));
        map[0x1000] = 3;
        d.clear();
        assert_eq!(map[0x1000], 0);
        // The former owner has its file, which is nobody's now.
        map[0] = 1;
        d.rejoin_frame(4).unwrap();
        map[0x1000] = 3;
        assert_eq!((d.tx_tail.load(2), d.read(0x1000_5000)), (0, Some(0)));
        d.tx_tail.store(2, 8);
        assert_eq!(map[0], 1);
        let next = d.separate_frame(4, 4, None).unwrap();
        assert_eq!(d.tx_tail.load(2), 0);
        drop(next);
    }

    /// The words of pages as somebody sees them who has mapped their file.
    fn mapped(fd: BorrowedFd<'_>, len: usize) -> memmap2::MmapMut {
        // SAFETY: the file is sealed against shrinking; the tests' only accesses are by turns.
        unsafe { memmap2::MmapOptions::new().len(len).map_mut(&fd) }.unwrap()
    }

    #[test]
    fn a_renewed_file_ends_what_is_written_to_the_old_one() {
        for layout in RegisterLayout::ALL {
            let mut d = Doorbells::new(layout, 1, 2, 3).unwrap();
            let last = d.windows().map(|w| w.range().end).max().unwrap();
            let mut old = mapped(d.fd(), last as usize);
            let tail = d.tx_tail.own().offset_of(1) as usize;
            let vector = layout.dyn_ctl(2).unwrap() as usize;
            old[tail] = 5;
            assert_eq!(d.tx_tail.load(1), 5);
            d.renew().unwrap();
            assert_eq!(d.tx_tail.load(1), 0);
            (old[tail], old[vector]) = (7, 3);
            assert_eq!((d.tx_tail.load(1), d.vectors.load(2)), (0, 0));
            let mut new = mapped(d.fd(), last as usize);
            (new[tail], new[vector]) = (8, 1);
            assert_eq!((d.tx_tail.load(1), d.vectors.load(2)), (8, 1));
            assert_eq!((old[tail], old[vector]), (7, 3));
        }
    }

    #[test]
    fn adopted_files_keep_their_content() {
        let old = Doorbells::new(RegisterLayout::Pf, 1, 2, 1).unwrap();
        old.tx_tail.store(1, 5);
        let mut new = Doorbells::new(RegisterLayout::Pf, 1, 2, 1).unwrap();
        new.add_frames(2).unwrap();
        new.tx_tail.place(2, Some(4));
        drop(new.separate_frame(4, 4, None).unwrap());
        let frame = pages_file("frame", 0x4000).unwrap();
        mapped(frame.as_fd(), 0x4000)[0] = 6;
        new.adopt_frame(4, 4, frame).unwrap();
        new.adopt(old.fd().try_clone_to_owned().unwrap()).unwrap();
        assert_eq!((new.tx_tail.load(1), new.tx_tail.load(2)), (5, 6));
        old.tx_tail.store(1, 7);
        assert_eq!(new.tx_tail.load(1), 7);
        let short = pages_file("frame", 0x3000).unwrap();
        assert!(new.adopt_frame(4, 4, short).is_err());
        let short = pages_file("pages", 0x3000).unwrap();
        assert!(new.adopt(short).is_err());
    }

    #[test]
    fn a_frames_own_file_is_renewed_alone_and_stays_when_the_others_are() {
        let mut d = Doorbells::new(RegisterLayout::Pf, 1, 2, 1).unwrap();
        d.add_frames(3).unwrap();
        d.tx_tail.place(2, Some(4));
        assert!(d.renew_frame(4, 4).is_err(), "it has none");
        let first = d.separate_frame(4, 4, None).unwrap();
        assert!(d.renew_frame(4, 8).is_err(), "it has other pages");
        let mut old = mapped(first.as_fd(), 0x4000);
        old[0] = 1;
        let second = d.renew_frame(4, 4).unwrap();
        assert_eq!(d.tx_tail.load(2), 0);
        old[0] = 2;
        assert_eq!(d.tx_tail.load(2), 0, "the former file is nobody's");
        let mut new = mapped(second.as_fd(), 0x4000);
        new[0] = 3;
        assert_eq!(d.tx_tail.load(2), 3);
        d.renew().unwrap();
        assert_eq!(d.tx_tail.load(2), 3);
        d.release_frames(4, 4);
        assert_eq!(new[0], 0);
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
