// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The client's files, each mapped as a whole and shared by all regions inside it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{fcntl_get_seals, fstat, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use thiserror::Error;
use vm_memory::mmap::MmapRegionError;
use vm_memory::{FileOffset, MmapRegion, VolatileMemory, VolatileSlice};

/// The largest file that is mapped, in bytes: 1 TiB of guest memory.
pub(super) const MAX_FILE_LEN: u64 = 1 << 40;

/// The maximum number of files that are mapped at a time, each of which stays open. QEMU has one for
/// each memory backend: a machine has at most 256 memory devices.
pub const MAX_FILES: usize = 320;

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
    /// Too many files are mapped.
    #[error("{MAX_FILES} files are mapped: the limit is reached")]
    TooMany,
    /// The host returned an error.
    #[error("mapping the file: {0}")]
    Io(io::Error),
}

impl From<rustix::io::Errno> for FileMappingError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno.into())
    }
}

impl From<MmapRegionError> for FileMappingError {
    fn from(error: MmapRegionError) -> Self {
        Self::Io(match error {
            MmapRegionError::Mmap(error) => error,
            other => io::Error::other(other),
        })
    }
}

/// The identity of a file: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Identity(u64, u64);

/// The number of a mapped file in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileIndex(pub(super) u32);

/// A whole file mapped into this process, shared with its other users.
pub(super) struct FileMapping {
    map: MmapRegion,
    identity: Identity,
    index: FileIndex,
}

impl FileMapping {
    /// Its number in the table.
    pub(super) fn index(&self) -> FileIndex {
        self.index
    }

    /// The bytes of a range. `None` if it is not inside of the file.
    #[inline]
    pub(super) fn slice(&self, offset: u64, len: usize) -> Option<VolatileSlice<'_>> {
        self.map.get_slice(usize::try_from(offset).ok()?, len).ok()
    }
}

/// The files that regions are in.
#[derive(Default)]
pub(super) struct Files {
    by_index: Vec<Option<Arc<FileMapping>>>,
    by_identity: BTreeMap<Identity, FileIndex>,
}

impl Files {
    /// The number of mapped files.
    pub(super) fn len(&self) -> usize {
        self.by_identity.len()
    }

    /// Returns the mapping of a file that contains a range, and creates it if there is none.
    ///
    /// # Errors
    /// Fails when the file could shrink, is too large, does not contain the range, or the host
    /// returns an error.
    pub(super) fn mapping(
        &mut self,
        fd: OwnedFd,
        offset: u64,
        len: u64,
    ) -> Result<Arc<FileMapping>, FileMappingError> {
        let stat = fstat(&fd)?;
        let identity = Identity(stat.st_dev, stat.st_ino);
        if let Some(mapping) = self.find(identity) {
            // Its length when it was mapped: the file may have grown since.
            contained(offset, len, mapping.map.size() as u64)?;
            return Ok(Arc::clone(mapping));
        }
        sealed(fd.as_fd())?;
        // Only now: before the seal it could shrink.
        let file_len = u64::try_from(fstat(&fd)?.st_size).unwrap_or(0);
        if file_len > MAX_FILE_LEN {
            return Err(FileMappingError::TooLarge(file_len));
        }
        contained(offset, len, file_len)?;
        if self.len() >= MAX_FILES {
            return Err(FileMappingError::TooMany);
        }
        let free = self.by_index.iter().position(Option::is_none);
        let index = free.unwrap_or_else(|| {
            self.by_index.push(None);
            self.by_index.len() - 1
        });
        let mapping = Arc::new(FileMapping {
            map: map_whole(fd.into(), file_len)?,
            identity,
            index: FileIndex(index as u32),
        });
        self.by_index[index] = Some(Arc::clone(&mapping));
        self.by_identity.insert(identity, mapping.index);
        Ok(mapping)
    }

    fn find(&self, identity: Identity) -> Option<&Arc<FileMapping>> {
        let index = self.by_identity.get(&identity)?;
        self.by_index.get(index.0 as usize)?.as_ref()
    }

    /// Ends the use of a file by a region. The file is unmapped when it was the last one.
    pub(super) fn release(&mut self, mapping: Arc<FileMapping>) {
        let FileIndex(index) = mapping.index;
        // Another reference is the table's.
        if Arc::strong_count(&mapping) <= 2 {
            self.by_identity.remove(&mapping.identity);
            self.by_index[index as usize] = None;
        }
    }

    /// Unmaps all files.
    pub(super) fn clear(&mut self) {
        self.by_identity.clear();
        self.by_index.clear();
    }

    /// The bytes of a range of a file. `None` if there is no such file, or the range is not inside
    /// of it.
    #[inline]
    pub(super) fn slice(
        &self,
        index: FileIndex,
        offset: u64,
        len: usize,
    ) -> Option<VolatileSlice<'_>> {
        self.by_index
            .get(index.0 as usize)?
            .as_ref()?
            .slice(offset, len)
    }
}

/// Maps a whole file. `vm-memory` maps without reservation by default; an access to a huge page that
/// the host does not have would then kill the device process.
fn map_whole(file: File, len: u64) -> Result<MmapRegion, FileMappingError> {
    let prot = ProtFlags::READ | ProtFlags::WRITE;
    let region = MmapRegion::build(
        Some(FileOffset::new(file, 0)),
        len as usize,
        prot.bits() as i32,
        MapFlags::SHARED.bits() as i32,
    )?;
    Ok(region)
}

/// Checks that a file cannot shrink.
fn sealed(fd: BorrowedFd<'_>) -> Result<(), FileMappingError> {
    let seals = fcntl_get_seals(fd).unwrap_or(SealFlags::empty());
    seals
        .contains(SealFlags::SHRINK)
        .then_some(())
        .ok_or(FileMappingError::Unsealed)
}

/// Checks that a range is inside of a file.
fn contained(offset: u64, len: u64, file_len: u64) -> Result<(), FileMappingError> {
    offset
        .checked_add(len)
        .filter(|&end| end <= file_len)
        .map(drop)
        .ok_or(FileMappingError::Outside {
            offset,
            len,
            file_len,
        })
}
