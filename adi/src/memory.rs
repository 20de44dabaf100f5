// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Memory that the device can access.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64};

use adit_uapi::vfio::PAGE_LEN;
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{fcntl_add_seals, ftruncate, memfd_create, MemfdFlags, SealFlags};

use crate::Error;

/// A contiguous range of memory with an address in the device's address space.
///
/// It is shared with the device: its bytes can be borrowed only through a [`Buffer`](crate::Buffer)
/// that the device does not own.
#[derive(Debug)]
pub struct Memory {
    map: MmapRaw,
    fd: Option<OwnedFd>,
    iova: u64,
}

impl Memory {
    /// Allocates zeroed memory with the device address `iova`. It is a sealed memfd, so that it
    /// stays the same memory after a fork and can be passed to another process.
    ///
    /// # Errors
    /// Fails when the system has no memory.
    pub fn new(len: u64, iova: u64) -> Result<Self, Error> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let what = "memory for rings and buffers";
        let fd = memfd_create("adit-adi", flags).map_err(Error::errno(what))?;
        let len = len.next_multiple_of(PAGE_LEN);
        ftruncate(&fd, len).map_err(Error::errno(what))?;
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW).map_err(Error::errno(what))?;
        let map = MmapOptions::new()
            .len(usize::try_from(len).unwrap_or(usize::MAX))
            .map_raw(&fd)
            .map_err(Error::io(what))?;
        Ok(Self {
            map,
            fd: Some(fd),
            iova,
        })
    }

    /// Maps part of a file, which other processes may use, too, at the device address `iova`, for
    /// the device: this process accesses none of it, so that it makes no difference to it when the
    /// file becomes shorter. No memory is reserved for it.
    ///
    /// # Errors
    /// Fails when offset, length or `iova` is not a multiple of the page size, the length is 0, or
    /// the file cannot be mapped for writing.
    pub fn of_file(fd: BorrowedFd<'_>, offset: u64, len: u64, iova: u64) -> Result<Self, Error> {
        for (what, value) in [
            ("the offset in the file", offset),
            ("the length of the memory", len),
            ("the device address of the memory", iova),
        ] {
            if value % PAGE_LEN != 0 {
                return Err(Error::Config {
                    what,
                    value,
                    range: format!("multiples of {PAGE_LEN}"),
                });
            }
        }
        if len == 0 || iova.checked_add(len - 1).is_none() {
            return Err(Error::Config {
                what: "the length of the memory",
                value: len,
                range: format!("at least a page, at most what there is from {iova:#x} on"),
            });
        }
        let map = MmapOptions::new()
            .offset(offset)
            .len(usize::try_from(len).unwrap_or(usize::MAX))
            .no_reserve_swap()
            .map_raw(&fd)
            .map_err(Error::io("mapping a file for the device"))?;
        Ok(Self {
            map,
            fd: None,
            iova,
        })
    }

    /// Memory that the driver allocated, with the device address `iova`.
    #[must_use]
    pub fn from_driver(map: MmapRaw, iova: u64) -> Self {
        Self {
            map,
            fd: None,
            iova,
        }
    }

    /// Returns the memory's device address.
    #[must_use]
    pub fn iova(&self) -> u64 {
        self.iova
    }

    /// Returns the length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.map.len() as u64
    }

    /// Returns whether the length is 0.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.len() == 0
    }

    /// Returns the memory's file, if [`new`](Self::new) has created one.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    /// Returns the address of the first byte.
    #[must_use]
    pub fn as_mut_ptr(&self) -> *mut u8 {
        self.map.as_mut_ptr()
    }

    /// The aligned word at byte `at`.
    pub(crate) fn word(&self, at: usize) -> &AtomicU64 {
        word(&self.map, at)
    }

    /// The aligned half word at byte `at`.
    pub(crate) fn half(&self, at: usize) -> &AtomicU32 {
        half(&self.map, at)
    }
}

/// The 64-bit word at byte `at` of memory that is shared with a device.
///
/// # Panics
/// Panics when it is outside of the mapping or not aligned: rings are laid out before any is used.
fn word(map: &MmapRaw, at: usize) -> &AtomicU64 {
    assert!(at % 8 == 0 && at.checked_add(8).is_some_and(|end| end <= map.len()));
    // SAFETY: the word is inside of the mapping (just checked), which starts at a page and lives as
    // long as the borrow. The device may write it concurrently, which atomics permit; nothing in
    // this crate borrows these bytes in another way, because rings and buffers are kept separate.
    unsafe { AtomicU64::from_ptr(map.as_mut_ptr().add(at).cast()) }
}

/// The 32-bit word at byte `at` of memory that is shared with a device.
///
/// # Panics
/// Panics like [`word`].
pub(crate) fn half(map: &MmapRaw, at: usize) -> &AtomicU32 {
    assert!(at % 4 == 0 && at.checked_add(4).is_some_and(|end| end <= map.len()));
    // SAFETY: as in `word`.
    unsafe { AtomicU32::from_ptr(map.as_mut_ptr().add(at).cast()) }
}

/// A linear allocator of parts of memory.
pub(crate) struct Layout {
    next: u64,
}

impl Layout {
    pub(crate) fn new() -> Self {
        Self { next: 0 }
    }

    /// Returns the offset of `len` bytes, which start at a page of their own.
    pub(crate) fn take(&mut self, len: u64) -> u64 {
        let at = self.next;
        self.next += len.next_multiple_of(PAGE_LEN);
        at
    }

    /// Returns the number of bytes allocated.
    pub(crate) fn len(&self) -> u64 {
        self.next
    }
}
