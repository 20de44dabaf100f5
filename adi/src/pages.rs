// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Doorbell pages for delegation: a file that can map some pages of registers and do nothing else
//! (`adit_uapi::vfio`, PAGES_FD).

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use adit_uapi::vfio::{PageEntry, PagesFd, MAX_PAGES, PAGES_FD, PAGE_LEN, SOURCE_SELF};
use memmap2::{MmapOptions, MmapRaw};
use rustix::ioctl::{ioctl, Ioctl, IoctlOutput, Opcode};
use zerocopy::little_endian::{I32, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::Error;

/// A page to be delegated.
#[derive(Clone, Copy, Debug)]
pub enum Page<'a> {
    /// A page of this ADI: of [`region::DOORBELLS`], [`region::INTERRUPTS`] or [`region::KICK`].
    ///
    /// [`region::DOORBELLS`]: adit_uapi::vfio::region::DOORBELLS
    /// [`region::INTERRUPTS`]: adit_uapi::vfio::region::INTERRUPTS
    /// [`region::KICK`]: adit_uapi::vfio::region::KICK
    Own {
        /// The region's index.
        region: u32,
        /// The index of the page in the region.
        page: u32,
    },
    /// A page that was already delegated, of this ADI or of another.
    Given {
        /// The file that contains it.
        pages: &'a Pages,
        /// The index of the page in the file.
        page: u32,
    },
}

impl Page<'_> {
    fn entry(&self) -> PageEntry {
        let (source, region, page) = match *self {
            Self::Own { region, page } => (SOURCE_SELF, region, page),
            Self::Given { pages, page } => (pages.fd.as_raw_fd(), 0, page),
        };
        PageEntry {
            source_fd: I32::new(source),
            region: U32::new(region),
            page: U32::new(page),
            ..PageEntry::default()
        }
    }
}

/// Pages of registers in a separate file. The holder of its descriptor can map them, and nothing
/// else. They have no effect once the ADI's device is closed or reset, or the ADI is gone; this
/// file does not keep the ADI open.
#[derive(Debug)]
pub struct Pages {
    fd: OwnedFd,
    count: u32,
}

impl Pages {
    /// A file of `count` pages that was passed on.
    #[must_use]
    pub fn new(fd: OwnedFd, count: u32) -> Self {
        Self { fd, count }
    }

    /// Maps all pages, in the order in which they were listed.
    ///
    /// # Errors
    /// Fails when the ADI of one of the pages has another owner, or is gone.
    pub fn map(&self) -> Result<MmapRaw, Error> {
        MmapOptions::new()
            .len(self.count as usize * PAGE_LEN as usize)
            .map_raw(&self.fd)
            .map_err(Error::io("mapping pages that were given away"))
    }

    /// Returns the number of pages.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }
}

impl AsFd for Pages {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Pages> for OwnedFd {
    fn from(pages: Pages) -> Self {
        pages.fd
    }
}

/// The argument of the PAGES_FD ioctl.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable)]
struct List {
    head: PagesFd,
    entries: [PageEntry; MAX_PAGES as usize],
}

impl List {
    /// Builds the list; returns `None` if it is too long.
    fn new(pages: &[Page<'_>]) -> Option<Box<Self>> {
        let mut list = Box::new(Self {
            head: PagesFd::default(),
            entries: [PageEntry::default(); MAX_PAGES as usize],
        });
        let entries = list.entries.get_mut(..pages.len())?;
        for (entry, page) in entries.iter_mut().zip(pages) {
            *entry = page.entry();
        }
        let argsz = PagesFd::LEN + size_of_val(entries);
        list.head.argsz.set(argsz as u32); // at most MAX_PAGES of them
        list.head.count.set(pages.len() as u32);
        Some(list)
    }
}

/// The PAGES_FD ioctl, which returns a new descriptor.
struct MakePages(Box<List>);

// SAFETY: the kernel reads the number of bytes given by the list's `argsz`, all of which are inside
// of the list, and returns a descriptor with no other owner.
unsafe impl Ioctl for MakePages {
    type Output = OwnedFd;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        PAGES_FD as Opcode
    }

    fn as_ptr(&mut self) -> *mut core::ffi::c_void {
        core::ptr::from_mut(&mut *self.0).cast()
    }

    unsafe fn output_from_ptr(
        out: IoctlOutput,
        _: *mut core::ffi::c_void,
    ) -> rustix::io::Result<OwnedFd> {
        // SAFETY: the ioctl succeeded, and then its return value is a new descriptor.
        Ok(unsafe { OwnedFd::from_raw_fd(out) })
    }
}

/// Creates a file of pages; `device` is the VFIO device.
pub(crate) fn give(device: &File, pages: &[Page<'_>]) -> Result<Pages, Error> {
    let wrong = || Error::Config {
        what: "the number of pages",
        value: pages.len() as u64,
        range: format!("at most {MAX_PAGES}"),
    };
    let list = List::new(pages).ok_or_else(wrong)?;
    // SAFETY: see `MakePages`.
    let fd =
        unsafe { ioctl(device, MakePages(list)) }.map_err(Error::errno("giving pages away"))?;
    let count = pages.len() as u32; // checked above
    Ok(Pages { fd, count })
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_uapi::vfio::region;

    #[test]
    fn a_list_says_how_long_it_is() {
        let pages = Pages {
            fd: tempfile::tempfile().unwrap().into(),
            count: 4,
        };
        let own = Page::Own {
            region: region::KICK,
            page: 0,
        };
        let given = Page::Given {
            pages: &pages,
            page: 3,
        };
        let list = List::new(&[own, given]).unwrap();
        assert_eq!((list.head.argsz.get(), list.head.count.get()), (48, 2));
        let [first, second, rest @ ..] = &list.entries;
        assert_eq!((first.source_fd.get(), first.region.get()), (-1, 3));
        assert_eq!(second.source_fd.get(), pages.fd.as_raw_fd());
        assert_eq!((second.region.get(), second.page.get()), (0, 3));
        assert!(rest.iter().all(|entry| *entry == PageEntry::default()));
        assert!(List::new(&[own; MAX_PAGES as usize + 1]).is_none());
    }

    #[test]
    fn another_kind_of_file_gives_nothing() {
        let file = tempfile::tempfile().unwrap();
        let error = give(&file, &[Page::Own { region: 1, page: 0 }]).unwrap_err();
        let Error::Io { source, .. } = error else {
            panic!("{error}");
        };
        let errno = rustix::io::Errno::NOTTY;
        assert_eq!(source.raw_os_error(), Some(errno.raw_os_error()));
    }
}
