// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The memory that the device may access: the DMA mappings of the vfio-user client.
//!
//! An I/O virtual address (IOVA) is translated through a table of regions, each backed by a part of
//! a file that the client sent. An access outside of the regions, or against their permissions,
//! returns a [`DmaFault`] and is not performed.

mod dma;
mod file;
mod place;
mod view;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;

use thiserror::Error;
use zerocopy::{FromBytes, Immutable, IntoBytes};

pub use dma::Dma;
pub use file::{FileMapping, FileMappingError};
pub use place::{Place, PAGE_LEN};
pub use view::{Nearby, View};

use crate::pasid::TranslationFault;
use place::Version;

/// The maximum number of mapped regions. QEMU sends a region for each memory slot, or for each
/// mapped range when the guest uses an IOMMU.
pub const MAX_REGIONS: usize = 1 << 18;

/// A failed access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("DMA {} of {len} bytes at IOVA {iova:#x}: {cause}", if *.write { "write" } else { "read" })]
pub struct DmaFault {
    /// The IOVA at which the access began.
    pub iova: u64,
    /// Its length in bytes.
    pub len: usize,
    /// `true` for a write.
    pub write: bool,
    /// The cause.
    pub cause: FaultCause,
}

/// The cause of a failed access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FaultCause {
    /// No region covers all of it.
    #[error("not mapped")]
    Unmapped,
    /// A region covers it, but does not permit the access.
    #[error("not permitted")]
    Permission,
    /// The address is not aligned as the access requires.
    #[error("not aligned")]
    Misaligned,
    /// The IOMMU's tables do not translate the address.
    #[error(transparent)]
    Translation(#[from] TranslationFault),
}

/// An error of mapping or unmapping a region.
#[derive(Debug, Error)]
pub enum MapError {
    /// The range is empty or wraps around the address space.
    #[error("the range {iova:#x}+{len:#x} is empty or wraps around")]
    Range {
        /// First address.
        iova: u64,
        /// Length in bytes.
        len: u64,
    },
    /// It overlaps another region.
    #[error("the range {iova:#x}+{len:#x} overlaps the region at {other:#x}")]
    Overlap {
        /// First address.
        iova: u64,
        /// Length in bytes.
        len: u64,
        /// First address of the existing region.
        other: u64,
    },
    /// The range to unmap splits a region.
    #[error("the range {iova:#x}+{len:#x} cuts the region at {other:#x} in two")]
    Partial {
        /// First address.
        iova: u64,
        /// Length in bytes.
        len: u64,
        /// First address of the region that would be split.
        other: u64,
    },
    /// The table is full.
    #[error("{MAX_REGIONS} regions are mapped: no room for another")]
    Full,
    /// The file cannot back the region.
    #[error(transparent)]
    File(#[from] FileMappingError),
}

/// The device's permissions for a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Set if the device may read it.
    pub read: bool,
    /// Set if the device may write it.
    pub write: bool,
}

struct Region {
    len: u64,
    access: Access,
    /// `None`: the client mapped a range without a file (such as the BAR of another device). It is
    /// not accessible.
    backing: Option<(Arc<FileMapping>, u64)>,
}

/// The address map. Translations hold only as long as the borrow of the map does.
pub struct GuestMemory {
    /// Changes whenever a region is added or removed, which invalidates cached lookups.
    version: Version,
    regions: BTreeMap<u64, Region>,
    files: Vec<std::sync::Weak<FileMapping>>,
}

impl Default for GuestMemory {
    fn default() -> Self {
        Self::new()
    }
}

impl GuestMemory {
    /// An empty map.
    #[must_use]
    pub fn new() -> Self {
        Self {
            version: Version::new(),
            regions: BTreeMap::new(),
            files: Vec::new(),
        }
    }

    /// The number of mapped regions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.regions.len()
    }

    /// Returns whether nothing is mapped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// Maps `len` bytes at `iova` to the bytes of `fd` from `offset`.
    ///
    /// # Errors
    /// When the range is invalid or overlaps, or the file cannot back it; nothing is mapped then.
    pub fn map(
        &mut self,
        iova: u64,
        len: u64,
        access: Access,
        fd: Option<(OwnedFd, u64)>,
    ) -> Result<(), MapError> {
        let end = range_end(iova, len)?;
        if let Some((&other, _)) = self
            .regions
            .range(..=end)
            .next_back()
            .filter(|(&at, r)| at + (r.len - 1) >= iova)
        {
            return Err(MapError::Overlap { iova, len, other });
        }
        if self.regions.len() >= MAX_REGIONS {
            return Err(MapError::Full);
        }
        let backing = match fd {
            None => None,
            Some((fd, offset)) => {
                let mapping = self.file(fd)?;
                mapping.check(offset, len)?;
                Some((mapping, offset))
            }
        };
        self.version = Version::new();
        self.regions.insert(
            iova,
            Region {
                len,
                access,
                backing,
            },
        );
        Ok(())
    }

    /// Unmaps every region inside of the range. It is no error if there is none.
    ///
    /// # Errors
    /// When the range is invalid, or splits a region; nothing is unmapped then.
    pub fn unmap(&mut self, iova: u64, len: u64) -> Result<(), MapError> {
        let end = range_end(iova, len)?;
        let cut = |(&at, r): (&u64, &Region)| {
            let last = at + (r.len - 1);
            ((at < iova && last >= iova) || (at <= end && last > end)).then_some(at)
        };
        let before = self.regions.range(..iova).next_back().and_then(cut);
        let last = self.regions.range(..=end).next_back().and_then(cut);
        if let Some(other) = before.or(last) {
            return Err(MapError::Partial { iova, len, other });
        }
        self.version = Version::new();
        while let Some((&at, _)) = self.regions.range(iova..=end).next() {
            self.regions.remove(&at);
        }
        Ok(())
    }

    /// Unmaps everything.
    pub fn clear(&mut self) {
        self.version = Version::new();
        self.regions.clear();
        self.files.clear();
    }

    /// The mapping of the whole file that `fd` refers to, shared by all its regions.
    fn file(&mut self, fd: OwnedFd) -> Result<Arc<FileMapping>, MapError> {
        let id = FileMapping::id_of(&fd)?;
        self.files.retain(|f| f.strong_count() > 0);
        if let Some(known) = self
            .files
            .iter()
            .filter_map(std::sync::Weak::upgrade)
            .find(|f| f.id() == id)
        {
            return Ok(known);
        }
        let mapping = Arc::new(FileMapping::new(fd)?);
        self.files.push(Arc::downgrade(&mapping));
        Ok(mapping)
    }

    /// The longest piece starting at `iova` that is contiguous in this process, at most `len`
    /// bytes.
    fn piece(&self, iova: u64, len: usize, write: bool) -> Result<(*mut u8, usize), FaultCause> {
        let (&at, region) = self
            .regions
            .range(..=iova)
            .next_back()
            .ok_or(FaultCause::Unmapped)?;
        let skip = iova - at;
        if skip >= region.len {
            return Err(FaultCause::Unmapped);
        }
        if !(if write {
            region.access.write
        } else {
            region.access.read
        }) {
            return Err(FaultCause::Permission);
        }
        let (mapping, offset) = region.backing.as_ref().ok_or(FaultCause::Unmapped)?;
        let room = usize::try_from(region.len - skip).unwrap_or(usize::MAX);
        Ok((mapping.at(offset + skip), len.min(room)))
    }

    /// Copies out of guest memory.
    ///
    /// # Errors
    /// When a byte of it cannot be read; the buffer's content is unspecified then.
    pub fn read(&self, iova: u64, buf: &mut [u8]) -> Result<(), DmaFault> {
        let (mut at, mut done) = (iova, 0);
        while done < buf.len() {
            let (src, n) = self
                .piece(at, buf.len() - done, false)
                .map_err(|cause| DmaFault {
                    iova,
                    len: buf.len(),
                    write: false,
                    cause,
                })?;
            // SAFETY: `piece` returned `n` bytes inside of a live shared mapping of a file that
            // cannot shrink, and `buf` is ours, so they do not overlap. The guest may change the
            // bytes while they are copied; any byte is a valid `u8`, and nothing is read twice.
            unsafe { std::ptr::copy_nonoverlapping(src, buf[done..].as_mut_ptr(), n) };
            done += n;
            at = at.wrapping_add(n as u64);
        }
        Ok(())
    }

    /// Copies into guest memory.
    ///
    /// # Errors
    /// When a byte of it cannot be written; bytes before it may have been.
    pub fn write(&self, iova: u64, buf: &[u8]) -> Result<(), DmaFault> {
        let (mut at, mut done) = (iova, 0);
        while done < buf.len() {
            let (dst, n) = self
                .piece(at, buf.len() - done, true)
                .map_err(|cause| DmaFault {
                    iova,
                    len: buf.len(),
                    write: true,
                    cause,
                })?;
            // SAFETY: as in `read`, in the other direction: `n` writable bytes of a live shared
            // mapping, which no Rust reference points into.
            unsafe { std::ptr::copy_nonoverlapping(buf[done..].as_ptr(), dst, n) };
            done += n;
            at = at.wrapping_add(n as u64);
        }
        Ok(())
    }

    /// Reads a plain value.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_obj<T: FromBytes + IntoBytes>(&self, iova: u64) -> Result<T, DmaFault> {
        let mut value = T::new_zeroed();
        self.read(iova, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Writes a plain value.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_obj<T: IntoBytes + Immutable>(
        &self,
        iova: u64,
        value: &T,
    ) -> Result<(), DmaFault> {
        self.write(iova, value.as_bytes())
    }

    /// Stores eight bytes atomically, after everything written before: publishes a descriptor with
    /// a generation bit.
    ///
    /// # Errors
    /// When they cannot be written, or the address is not a multiple of 8.
    pub fn publish_u64(&self, iova: u64, value: u64) -> Result<(), DmaFault> {
        let dst = self.aligned(iova, 8)?;
        // SAFETY: eight aligned, writable bytes of a live shared mapping (`aligned`); the other
        // side uses them as memory shared with a device, so the access must be atomic.
        let word = unsafe { AtomicU64::from_ptr(dst.cast()) };
        word.store(value.to_le(), Ordering::Release);
        Ok(())
    }

    /// Stores four bytes like [`publish_u64`](Self::publish_u64).
    ///
    /// # Errors
    /// When they cannot be written, or the address is not a multiple of 4.
    pub fn publish_u32(&self, iova: u64, value: u32) -> Result<(), DmaFault> {
        let dst = self.aligned(iova, 4)?;
        // SAFETY: as in `publish_u64`, with four bytes.
        let word = unsafe { AtomicU32::from_ptr(dst.cast()) };
        word.store(value.to_le(), Ordering::Release);
        Ok(())
    }

    fn aligned(&self, iova: u64, len: usize) -> Result<*mut u8, DmaFault> {
        let fault = |cause| DmaFault {
            iova,
            len,
            write: true,
            cause,
        };
        let (dst, n) = self.piece(iova, len, true).map_err(fault)?;
        if n < len {
            return Err(fault(FaultCause::Unmapped));
        }
        if dst.align_offset(len) != 0 {
            return Err(fault(FaultCause::Misaligned));
        }
        Ok(dst)
    }
}

/// The last address of a range.
fn range_end(iova: u64, len: u64) -> Result<u64, MapError> {
    len.checked_sub(1)
        .and_then(|n| iova.checked_add(n))
        .ok_or(MapError::Range { iova, len })
}

#[cfg(test)]
mod tests;
