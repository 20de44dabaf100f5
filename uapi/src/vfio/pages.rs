// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Pages given away: a file descriptor that can map some pages and do nothing else.
//!
//! A VFIO device's own file descriptor lets its holder reset the device and use its mailbox. Who
//! composes a virtual device out of ADIs wants its client to ring doorbells and no more: the ioctl
//! [`PAGES_FD`] on a device returns a new file descriptor that maps the listed pages, in the order
//! of the list, at offset 0. Entries may come from file descriptors made so before, of this or of
//! other ADIs: having one is the right to pass its pages on.

use zerocopy::little_endian::{I32, U32};

/// The ioctl's number: `_IO(0xAD, 0)`. It takes a [`PagesFd`] and returns a file descriptor.
pub const PAGES_FD: u32 = 0xAD00;
/// Pages in one call, at most.
pub const MAX_PAGES: u32 = 1024;
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
