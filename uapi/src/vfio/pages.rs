// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Pages given away: a file descriptor that can map some pages and do nothing else.
//!
//! A VFIO device's own file descriptor lets its holder reset the device and use its mailbox. Who
//! composes a virtual device out of ADIs wants its client to ring doorbells and no more: the ioctl
//! [`PAGES_FD`] on a device returns a new file descriptor that maps the listed pages, in the order
//! of the list, at offset 0. Entries may come from file descriptors made so before, of this or of
//! other ADIs: having one is the right to pass its pages on. So a list over several ADIs is made
//! with an ioctl on each.
//!
//! *Lifetime.* The file descriptor keeps no device open. Its pages are an ADI's for as long as the
//! owner that gave them away has that ADI: until its device is closed for the last time (by
//! death, too) or reset (VFIO_DEVICE_RESET), the driver is unbound, or the ADI ends. From then on
//! they lead nowhere, in mappings that exist: what is written there reaches no device, and nobody
//! is killed for it. Mapping them anew fails, and so does passing them on, with EIO; pages of
//! other ADIs in the same file go on.
//!
//! *Mapping* is shared and never executable, from any page of the file to any other; it cannot
//! grow (mremap). Nothing can be read or written by calls.
//!
//! | errno | why |
//! |---|---|
//! | EINVAL | reserved fields or flags that are not 0, no pages, `argsz` too small, a region whose pages are not given away, a file descriptor that is not of this kind |
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
/// Pages in one call, at most.
pub const MAX_PAGES: u32 = 1024;
/// Files with pages of one ADI at a time, at most.
pub const MAX_PAGES_FDS: u32 = 256;
/// [`PageEntry::source_fd`]: the device that the ioctl is called on.
pub const SOURCE_SELF: i32 = -1;

wire! {
    /// Argument of [`PAGES_FD`], followed by `count` × [`PageEntry`].
    pub struct PagesFd [16] {
        /// Bytes of the argument, with the entries.
        0 => argsz: U32,
        /// Reserved, 0.
        4 => flags: U32,
        /// How many pages, 1 to [`MAX_PAGES`].
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
        /// Which page of the region or file.
        8 => page: U32,
        /// Reserved, 0.
        12 => reserved: U32,
    }
}
