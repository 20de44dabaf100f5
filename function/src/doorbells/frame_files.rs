// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files of their own for the register frames of ADIs, so that an ADI's driver can be given a file
//! that maps its pages and nothing else.
//!
//! Such a file is mapped over the frame's pages in the window of all frames: whoever polls them does
//! not notice. The frames of several ADIs can be parts of one file, in another order.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{fallocate, FallocateFlags};

use super::window::{Window, PAGE};
use super::{inherit, pages_file};

/// A run of a frame's pages in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The number of pages.
    pub pages: u32,
    /// The page of the file at which they begin.
    pub at: u32,
}

/// Checks that runs are `pages` pages of a file of `len` bytes.
pub(super) fn check_runs(runs: &[Run], pages: u32, len: u64) -> io::Result<()> {
    let sum: u64 = runs.iter().map(|run| u64::from(run.pages)).sum();
    let ends = runs
        .iter()
        .map(|run| u64::from(run.at) + u64::from(run.pages));
    let end = ends.max().unwrap_or(0) * PAGE;
    if sum == u64::from(pages) && end <= len && runs.iter().all(|run| run.pages > 0) {
        return Ok(());
    }
    let text = format!(
        "runs of {sum} pages, up to byte {end:#x} of a file of {len:#x}: the frame has {pages} pages"
    );
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

/// The file of a frame.
struct FrameFile {
    pages: u32,
    fd: OwnedFd,
    /// Its pages in the file, in their order in the frame.
    runs: Vec<Run>,
}

impl FrameFile {
    /// Maps the file over the pages of the frame.
    fn map(&self, window: &Window, first: u32) -> io::Result<()> {
        let mut page = first;
        for run in &self.runs {
            window.map_over(page, run.pages, self.fd.as_fd(), u64::from(run.at) * PAGE)?;
            page += run.pages;
        }
        Ok(())
    }
}

/// The frames that have a file of their own, by their first page.
#[derive(Default)]
pub(super) struct FrameFiles(BTreeMap<u32, FrameFile>);

impl FrameFiles {
    /// Maps a new file, or one that is inherited, over pages of the window, in place of any other of
    /// this frame; returns another descriptor of it. The pages are zero then.
    pub(super) fn add(
        &mut self,
        window: &Window,
        first: u32,
        pages: u32,
        inherited: Option<OwnedFd>,
    ) -> io::Result<OwnedFd> {
        let len = u64::from(pages) * PAGE;
        let fd = match inherited {
            Some(fd) => {
                inherit(&fd, len)?;
                fd
            }
            None => pages_file("adit-frame", len)?,
        };
        self.map(window, first, pages, fd)
    }

    /// Maps a file over pages of the window, in place of any other of this frame; returns another
    /// descriptor of it.
    pub(super) fn map(
        &mut self,
        window: &Window,
        first: u32,
        pages: u32,
        fd: OwnedFd,
    ) -> io::Result<OwnedFd> {
        let given = fd.try_clone()?;
        self.place(window, first, fd, vec![Run { pages, at: 0 }])?;
        Ok(given)
    }

    /// Maps runs of pages of a file over those of a frame, in place of any other file of this frame.
    pub(super) fn place(
        &mut self,
        window: &Window,
        first: u32,
        fd: OwnedFd,
        runs: Vec<Run>,
    ) -> io::Result<()> {
        let pages = runs.iter().map(|run| run.pages).sum();
        let file = FrameFile { pages, fd, runs };
        file.map(window, first)?;
        self.0.insert(first, file);
        Ok(())
    }

    /// Maps the file of all frames over the pages of a frame again. No effect if it has no file of
    /// its own.
    pub(super) fn remove(
        &mut self,
        window: &Window,
        first: u32,
        all: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let Some(file) = self.0.get(&first) else {
            return Ok(());
        };
        window.map_over(first, file.pages, all, window.offset_of(first))?;
        self.0.remove(&first);
        Ok(())
    }

    /// Maps the files again, over a window that was mapped anew.
    pub(super) fn map_again(&self, window: &Window) -> io::Result<()> {
        let mut files = self.0.iter();
        files.try_for_each(|(&first, file)| file.map(window, first))
    }

    /// Zeroes the pages of a frame that has a file of its own. Returns false if it has none, or the
    /// host cannot do it.
    pub(super) fn zero(&self, first: u32, pages: u32) -> bool {
        let file = self.0.get(&first).filter(|file| file.pages == pages);
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let zero = |file: &FrameFile, run: &Run| {
            let (at, len) = (u64::from(run.at) * PAGE, u64::from(run.pages) * PAGE);
            fallocate(&file.fd, mode, at, len).is_ok()
        };
        file.is_some_and(|file| file.runs.iter().all(|run| zero(file, run)))
    }

    /// The frames: the first page of each, and the number of pages.
    pub(super) fn frames(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.0.iter().map(|(&first, file)| (first, file.pages))
    }

    /// Returns whether a frame has a file of its own.
    pub(super) fn contains(&self, first: u32) -> bool {
        self.0.contains_key(&first)
    }
}

#[cfg(test)]
mod tests {
    use adit_uapi::regs::adi;
    use memmap2::MmapOptions;

    use super::super::{inherited_file, shared_file, Doorbells};
    use super::*;
    use crate::layout::RegisterLayout;

    #[test]
    fn two_frames_are_parts_of_one_file_in_another_order() {
        let mut d = Doorbells::new(RegisterLayout::Pf, 4, 2, 3).unwrap();
        d.add_frames(3).unwrap();
        for first in [0, 4] {
            d.separate_frame(first, 4, None).unwrap();
        }
        let file = shared_file(8).unwrap();
        let runs = |place: u32| [(1, place), (2, 2 + 2 * place), (1, 6 + place)];
        let runs = |place| runs(place).map(|(pages, at)| Run { pages, at });
        let given = || file.try_clone().unwrap();
        for (first, place) in [(0, 0), (4, 1)] {
            d.place_frame(first, 4, given(), &runs(place)).unwrap();
        }
        // SAFETY: the file is sealed against shrinking; the test's only accesses are by turns.
        let mut map = unsafe { MmapOptions::new().len(0x8000).map_mut(&file) }.unwrap();
        for page in 0..8_u8 {
            map[usize::from(page) * 0x1000] = page + 1;
        }
        let base = u64::from(adi::FRAMES.base);
        let seen = |d: &Doorbells, page: u64| d.read(base + page * 0x1000);
        let order = [1, 3, 4, 7, 2, 5, 6, 8];
        for (page, value) in (0..).zip(order) {
            assert_eq!(seen(&d, page), Some(value), "page {page}");
        }
        d.renew().unwrap();
        assert_eq!(seen(&d, 4), Some(2), "the file is mapped again");
        // Zeroing one frame leaves the pages of the other.
        d.release_frames(0, 4);
        let left: Vec<_> = (0..8).map(|page| seen(&d, page)).collect();
        assert_eq!(left, [0, 0, 0, 0, 2, 5, 6, 8].map(Some));
        // What does not fit is refused: a run beyond the file, other pages, an empty run.
        for bad in [
            vec![(4, 5)],
            vec![(3, 0)],
            vec![(4, 0), (0, 7)],
            vec![(4, u32::MAX)],
        ] {
            let bad = bad.into_iter().map(|(pages, at)| Run { pages, at });
            let bad: Vec<_> = bad.collect();
            assert!(d.place_frame(0, 4, given(), &bad).is_err(), "{bad:?}");
        }
        d.rejoin_frame(4).unwrap();
        map[0x1000] = 9;
        assert_eq!(seen(&d, 4), Some(0), "the file is no longer seen");
        // A process that inherits the file finds none of its content, and takes no other one.
        let short = inherited_file(given(), 7).unwrap_err().to_string();
        assert!(short.contains("0x7000 bytes"), "{short}");
        assert_eq!(map[0x1000], 9);
        inherited_file(given(), 8).unwrap();
        assert!((0..8).all(|page| map[page * 0x1000] == 0));
    }
}
