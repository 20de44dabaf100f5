// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Granted pages: a file descriptor that can map some pages and do nothing else.
//!
//! A VFIO device's own file descriptor lets its holder reset the device and use its mailbox. A
//! process that composes a virtual device out of ADIs needs its client to ring doorbells and no
//! more: the ioctl [`PAGES_FD`] on a device returns a new file descriptor that maps the listed
//! pages, in the order of the list, at offset 0. Entries may refer to file descriptors from earlier
//! calls, of this or of other ADIs: holding one is the right to grant its pages to others. So a
//! list over several ADIs is made with an ioctl on each.
//!
//! *Lifetime.* The file descriptor keeps no device open. Its pages are an ADI's for as long as the
//! owner that granted them has that ADI: until its device is closed for the last time (also by the
//! death of the process) or reset (VFIO_DEVICE_RESET), the driver is unbound, or the ADI ends. From
//! then on a dummy page replaces them in existing mappings: writes reach no device, and raise no
//! signal. Mapping them anew fails with EIO, and so does granting them to others; pages of other
//! ADIs in the same file stay valid.
//!
//! *Mapping* is shared and never executable, and covers any range of pages of the file; it cannot
//! grow (mremap). The file cannot be read or written by system calls.
//!
//! | errno | why |
//! |---|---|
//! | EINVAL | reserved fields or flags that are not 0, no pages, `argsz` too small, a region whose pages cannot be granted, a file descriptor that is not of this kind |
//! | E2BIG | more than [`MAX_PAGES`] |
//! | ENXIO | the region or the file has no such page |
//! | EBADF | the file descriptor is not open |
//! | EEXIST | the same page twice |
//! | EIO | the device, or the ADI of an entry, is gone or has another owner |
//! | ENOSPC | [`MAX_PAGES_FDS`] files have pages of this ADI |
//! | EFAULT, ENOMEM, EMFILE, ENFILE | as for any ioctl that opens a file |

use zerocopy::little_endian::{I32, U32};

/// The ioctl's number: `_IO(0xAD, 0)`. It takes a [`PagesFd`] and returns a file descriptor.
pub const PAGES_FD: u32 = 0xAD00;
/// Maximum number of pages in one call.
pub const MAX_PAGES: u32 = 1024;
/// Maximum number of files with pages of one ADI at a time.
pub const MAX_PAGES_FDS: u32 = 256;
/// [`PageEntry::source_fd`]: the device that the ioctl is called on.
pub const SOURCE_SELF: i32 = -1;

wire! {
    /// Argument of [`PAGES_FD`], followed by `count` × [`PageEntry`].
    pub struct PagesFd [16] {
        /// Length of the argument in bytes, including the entries.
        0 => argsz: U32,
        /// Reserved, 0.
        4 => flags: U32,
        /// Number of pages, 1 to [`MAX_PAGES`].
        8 => count: U32,
        /// Reserved, 0.
        12 => reserved: U32,
    }

    /// A page.
    pub struct PageEntry [16] {
        /// [`SOURCE_SELF`], or a file descriptor from [`PAGES_FD`].
        0 => source_fd: I32,
        /// [`super::region::DOORBELLS`], [`super::region::INTERRUPTS`] or
        /// [`super::region::KICK`]; 0 with a file descriptor from [`PAGES_FD`].
        4 => region: U32,
        /// Index of the page in the region or file.
        8 => page: U32,
        /// Reserved, 0.
        12 => reserved: U32,
    }
}
