// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Regions: ranges of IOVAs, each backed by a part of a file of the client.
//!
//! A region of `vm-memory`'s own (`GuestRegionMmap`) is a mapping of the host, of which a process
//! has 65,530 by default. Here all regions of a file share one mapping, so that a guest with an
//! IOMMU may have a quarter of a million of them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use vm_memory::bitmap::BS;
use vm_memory::{
    Address, GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryRegion,
    GuestMemoryRegionBytes, GuestUsize, MemoryRegionAddress, VolatileSlice,
};

use super::file::FileMapping;

/// The device's permissions for a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Set if the device may read it.
    pub read: bool,
    /// Set if the device may write it.
    pub write: bool,
}

impl Access {
    /// No access.
    pub const NONE: Self = Self {
        read: false,
        write: false,
    };

    /// Returns whether an access is permitted.
    #[inline]
    #[must_use]
    pub fn permits(self, write: bool) -> bool {
        if write {
            self.write
        } else {
            self.read
        }
    }
}

/// The part of a file that backs a region.
pub(super) struct Backing {
    pub(super) file: Arc<FileMapping>,
    /// The offset of its first byte in the file.
    pub(super) offset: u64,
}

/// A range of IOVAs.
pub struct Region {
    pub(super) first: u64,
    /// Its length in bytes.
    pub(super) len: u64,
    pub(super) access: Access,
    /// `None`: the client mapped a range without a file (such as the BAR of another device). It is
    /// not accessible.
    pub(super) backing: Option<Backing>,
}

impl Region {
    /// Its last address.
    #[inline]
    pub(super) fn last(&self) -> u64 {
        self.first + (self.len - 1)
    }
}

impl GuestMemoryRegion for Region {
    type B = ();

    fn len(&self) -> GuestUsize {
        self.len
    }

    fn start_addr(&self) -> GuestAddress {
        GuestAddress(self.first)
    }

    fn bitmap(&self) -> BS<'_, ()> {}

    #[inline]
    fn get_slice(
        &self,
        offset: MemoryRegionAddress,
        count: usize,
    ) -> Result<VolatileSlice<'_>, GuestMemoryError> {
        let backing = (self.backing.as_ref()).ok_or(GuestMemoryError::HostAddressNotAvailable)?;
        offset
            .checked_add(count as u64)
            .filter(|end| end.0 <= self.len)
            .and_then(|_| backing.file.slice(backing.offset + offset.0, count))
            .ok_or(GuestMemoryError::InvalidBackendAddress)
    }
}

impl GuestMemoryRegionBytes for Region {}

/// Regions that do not overlap, by their first address.
#[derive(Default)]
pub struct Regions(BTreeMap<u64, Region>);

impl Regions {
    /// The last region that begins at or before an address.
    #[inline]
    pub(super) fn before(&self, iova: u64) -> Option<&Region> {
        self.0.range(..=iova).next_back().map(|(_, region)| region)
    }

    /// Adds a region that overlaps no other.
    pub(super) fn insert(&mut self, region: Region) {
        self.0.insert(region.first, region);
    }

    /// Removes the first region that begins in a range.
    pub(super) fn take_first_in(&mut self, range: RangeInclusive<u64>) -> Option<Region> {
        let (&first, _) = self.0.range(range).next()?;
        self.0.remove(&first)
    }
}

impl GuestMemoryBackend for Regions {
    type R = Region;

    fn num_regions(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn find_region(&self, address: GuestAddress) -> Option<&Region> {
        self.before(address.0)
            .filter(|region| address.0 - region.first < region.len)
    }

    fn iter(&self) -> impl Iterator<Item = &Region> {
        self.0.values()
    }
}
