// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Pages of guest memory whose place in a mapped file is cached beyond one access.

use std::sync::atomic::{AtomicU64, Ordering};

use vm_memory::VolatileSlice;

use super::file::FileIndex;
use super::{Access, GuestMemory};

/// The length of a page that has a [`Place`], in bytes.
pub const PAGE_LEN: usize = 0x1000;

/// The state of a memory map: no two states in this process have the same version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version(u64);

impl Version {
    /// The state of no map.
    const NONE: Self = Self(0);

    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // At one per nanosecond, the counter lasts for centuries.
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The place of a page of guest memory in a file. It is valid only for its map, until that map
/// changes.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub(super) version: Version,
    pub(super) file: FileIndex,
    /// The page's offset in the file.
    pub(super) offset: u64,
    pub(super) access: Access,
}

impl Place {
    /// The place of a page that is not within one region of a file.
    pub const NOWHERE: Self = Self {
        version: Version::NONE,
        file: FileIndex(0),
        offset: 0,
        access: Access::NONE,
    };
}

impl GuestMemory {
    /// The bytes of a page, if the access is permitted, is not to be logged, and the map is still in
    /// the state that created the place. On `None` the caller must use the page's address instead,
    /// which logs the access or reports the fault.
    #[inline]
    #[must_use]
    pub fn slice_in(
        &self,
        place: &Place,
        offset: usize,
        len: usize,
        write: bool,
    ) -> Option<VolatileSlice<'_>> {
        let inside = offset <= PAGE_LEN && len <= PAGE_LEN - offset;
        let is_logged = write && self.log.is_some();
        let is_current = place.version == self.version;
        if !is_current || !place.access.permits(write) || !inside || is_logged {
            return None;
        }
        self.files
            .slice(place.file, place.offset + offset as u64, len)
    }
}
