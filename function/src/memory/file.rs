// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One file of the client, mapped as a whole and shared by all regions inside it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{fcntl_get_seals, fstat, SealFlags};
use thiserror::Error;

/// The largest file that is mapped, in bytes: 1 TiB of guest memory.
pub(super) const MAX_FILE_LEN: u64 = 1 << 40;

/// The reason that a file cannot back guest memory.
#[derive(Debug, Error)]
pub enum FileMappingError {
    /// The file could shrink, and an access beyond its new end would kill the device process.
    #[error(
        "the file is not sealed against shrinking: give QEMU its memory with \
         -object memory-backend-memfd,share=on (seal=on is its default)"
    )]
    Unsealed,
    /// The region extends beyond the end of the file.
    #[error(
        "{len:#x} bytes at offset {offset:#x} are not inside of a file of {file_len:#x} bytes"
    )]
    Outside {
        /// The first byte's offset in the file.
        offset: u64,
        /// The length of the region in bytes.
        len: u64,
        /// The file's length in bytes.
        file_len: u64,
    },
    /// The file is larger than the supported maximum.
    #[error("the file has {0} bytes: at most {MAX_FILE_LEN} are mapped")]
    TooLarge(u64),
    /// The host returned an error.
    #[error("mapping the file: {0}")]
    Io(io::Error),
}

impl From<io::Error> for FileMappingError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<rustix::io::Errno> for FileMappingError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// A whole file mapped into this process, shared with its other users.
pub struct FileMapping {
    map: MmapRaw,
    id: (u64, u64),
    len: u64,
}

impl FileMapping {
    /// The identity of the file that a descriptor is open on: device and inode.
    ///
    /// # Errors
    /// Fails when `fstat` fails.
    pub fn id_of(fd: &OwnedFd) -> Result<(u64, u64), FileMappingError> {
        let stat = fstat(fd)?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// Maps a file.
    ///
    /// # Errors
    /// Fails when the file could shrink, is too large, or the host returns an error.
    pub fn new(fd: OwnedFd) -> Result<Self, FileMappingError> {
        let id = Self::id_of(&fd)?;
        let sealed = fcntl_get_seals(fd.as_fd()).unwrap_or(SealFlags::empty());
        if !sealed.contains(SealFlags::SHRINK) {
            return Err(FileMappingError::Unsealed);
        }
        let len = u64::try_from(fstat(&fd)?.st_size).unwrap_or(0);
        if len > MAX_FILE_LEN {
            return Err(FileMappingError::TooLarge(len));
        }
        let map = MmapOptions::new().len(len as usize).map_raw(&fd)?;
        Ok(Self { map, id, len })
    }

    /// The identity of this file: device and inode.
    #[must_use]
    pub fn id(&self) -> (u64, u64) {
        self.id
    }

    /// Checks that a range is inside of the file.
    ///
    /// # Errors
    /// Fails when it is not.
    pub fn check(&self, offset: u64, len: u64) -> Result<(), FileMappingError> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(FileMappingError::Outside {
                offset,
                len,
                file_len: self.len,
            }),
        }
    }

    /// The address of a byte that [`check`](Self::check) has found to be inside the file.
    #[must_use]
    pub(super) fn at(&self, offset: u64) -> *mut u8 {
        debug_assert!(offset < self.len);
        self.map.as_mut_ptr().wrapping_add(offset as usize)
    }
}
