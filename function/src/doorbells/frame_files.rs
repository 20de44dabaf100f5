// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files of their own for the register frames of ADIs, so that an ADI's driver can be given a file
//! that maps its pages and nothing else.
//!
//! Such a file is mapped over the frame's pages in the window of all frames: whoever polls them does
//! not notice.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{fallocate, FallocateFlags};

use super::window::{Window, PAGE};
use super::{inherit, pages_file};

/// The file of a frame.
struct FrameFile {
    pages: u32,
    fd: OwnedFd,
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
        window.map_over(first, pages, fd.as_fd(), 0)?;
        self.0.insert(first, FrameFile { pages, fd });
        Ok(given)
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
        files.try_for_each(|(&first, file)| window.map_over(first, file.pages, file.fd.as_fd(), 0))
    }

    /// Zeroes the pages of a frame that has a file of its own. Returns false if it has none, or the
    /// host cannot do it.
    pub(super) fn zero(&self, first: u32, pages: u32) -> bool {
        let file = self.0.get(&first).filter(|file| file.pages == pages);
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        file.is_some_and(|file| fallocate(&file.fd, mode, 0, u64::from(pages) * PAGE).is_ok())
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
