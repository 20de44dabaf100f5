// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The memory that the device may access: the DMA mappings of the vfio-user client.
//!
//! An I/O virtual address (IOVA) is translated through a table of regions, each backed by a part of
//! a file that the client sent. An access outside of the regions, or against their permissions,
//! returns a [`DmaFault`] and is not performed.
//!
//! Mappings, bounds and accesses to bytes that the guest may change meanwhile are `vm-memory`'s.
//! This module adds what `vm-memory` does not have: files that cannot shrink, regions that share a
//! mapping, a map that changes without a copy, and places that are cached while it does not change.

mod backend;
mod dma;
mod error;
mod file;
mod log;
mod place;
mod region;
mod view;

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use vm_memory::{GuestAddress, GuestMemoryBackend, VolatileSlice};

pub use backend::Pieces;
pub use dma::{Dma, Request};
pub use error::{DmaFault, FaultCause, MapError};
pub use file::{FileMappingError, MAX_FILES};
pub use log::{LogTooLarge, WriteLog, MAX_LOGGED_PAGES};
pub use place::{Place, PAGE_LEN};
pub use region::{Access, Region, Regions};
pub use view::{Nearby, View};

use file::Files;
use place::Version;
use region::Backing;

/// The maximum number of mapped regions. QEMU sends a region for each memory slot, or for each
/// mapped range when the guest uses an IOMMU.
pub const MAX_REGIONS: usize = 1 << 18;

/// The address map. Translations are valid only as long as the borrow of the map does.
pub struct GuestMemory {
    /// Changes whenever a region is added or removed, which invalidates cached lookups.
    version: Version,
    regions: Regions,
    files: Files,
    /// The region of the last access.
    last: Cell<Option<Nearby>>,
    /// The log of what is written, if there is one.
    log: Option<Arc<WriteLog>>,
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
            regions: Regions::default(),
            files: Files::default(),
            last: Cell::new(None),
            log: None,
        }
    }

    /// The number of mapped regions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.regions.num_regions()
    }

    /// Returns whether nothing is mapped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
        if let Some(other) = self.regions.before(end).filter(|r| r.last() >= iova) {
            let other = other.first;
            return Err(MapError::Overlap { iova, len, other });
        }
        if self.len() >= MAX_REGIONS {
            return Err(MapError::Full);
        }
        let backing = match fd {
            None => None,
            Some((fd, offset)) => Some(Backing {
                file: self.files.mapping(fd, offset, len)?,
                offset,
            }),
        };
        self.version = Version::new();
        self.regions.insert(Region {
            first: iova,
            len,
            access,
            backing,
        });
        Ok(())
    }

    /// Unmaps every region inside of the range. It is no error if there is none.
    ///
    /// # Errors
    /// When the range is invalid, or splits a region; nothing is unmapped then.
    pub fn unmap(&mut self, iova: u64, len: u64) -> Result<(), MapError> {
        let end = range_end(iova, len)?;
        let split = |region: &&Region| {
            (region.first < iova && region.last() >= iova)
                || (region.first <= end && region.last() > end)
        };
        let below = iova.checked_sub(1).and_then(|at| self.regions.before(at));
        let last = self.regions.before(end);
        if let Some(region) = below.filter(split).or(last.filter(split)) {
            let other = region.first;
            return Err(MapError::Partial { iova, len, other });
        }
        self.version = Version::new();
        while let Some(region) = self.regions.take_first_in(iova..=end) {
            if let Some(backing) = region.backing {
                self.files.release(backing.file);
            }
        }
        Ok(())
    }

    /// Unmaps everything.
    pub fn clear(&mut self) {
        self.version = Version::new();
        self.regions = Regions::default();
        self.files.clear();
    }

    /// Sets the log in which writes are marked from now on; `None` for none. It is kept when regions
    /// are unmapped.
    pub fn set_log(&mut self, log: Option<Arc<WriteLog>>) {
        self.log = log;
    }

    /// Returns the length of the longest piece at the start of an access that is contiguous in this
    /// process, which is not accessed.
    ///
    /// # Errors
    /// Fails when the first byte cannot be accessed.
    #[inline]
    pub fn piece_len(&self, request: Request) -> Result<usize, FaultCause> {
        self.find(request).map(|piece| piece.len())
    }

    /// Returns the longest piece at the start of an access that is contiguous in this process.
    #[inline]
    fn find(&self, request: Request) -> Result<VolatileSlice<'_>, FaultCause> {
        let Some((region, skip)) = self.nearby(request.iova, &self.last) else {
            return Err(self.cause(request));
        };
        if !region.access.permits(request.write) {
            return Err(FaultCause::Permission);
        }
        let available = usize::try_from(region.len - skip).unwrap_or(usize::MAX);
        self.files
            .slice(
                region.file,
                region.offset + skip,
                request.len.min(available),
            )
            .ok_or(FaultCause::Unmapped)
    }

    /// Returns the reason why an access is not possible.
    #[cold]
    fn cause(&self, request: Request) -> FaultCause {
        match self.regions.find_region(GuestAddress(request.iova)) {
            Some(region) if !region.access.permits(request.write) => FaultCause::Permission,
            _ => FaultCause::Unmapped,
        }
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
