// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Pages of guest memory whose address in this process is cached beyond one access.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::{Access, GuestMemory};

/// The length of a page that has a [`Place`], in bytes.
pub const PAGE_LEN: usize = 0x1000;

/// The state of a memory map: no two states in this process have the same version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version(u64);

impl Version {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // At one per nanosecond, the counter lasts for centuries.
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The address of a page of guest memory in this process. It is valid only for its map, until that
/// map changes.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    version: Version,
    page: *mut u8,
    access: Access,
}

// SAFETY: the pointer is private, and used only by a map that is in the state that created it,
// whose mappings may be used by any thread.
unsafe impl Send for Place {}

impl Place {
    pub(super) fn new(version: Version, page: *mut u8, access: Access) -> Self {
        Self {
            version,
            page,
            access,
        }
    }
}

impl GuestMemory {
    /// The address of bytes of a page, if the access is permitted and the map is still in the state
    /// that created the place.
    #[inline]
    fn inside(&self, place: &Place, offset: usize, len: usize, write: bool) -> Option<*mut u8> {
        let permitted = if write {
            place.access.write
        } else {
            place.access.read
        };
        let fits = offset <= PAGE_LEN && len <= PAGE_LEN - offset;
        (place.version == self.version && permitted && fits)
            .then(|| place.page.wrapping_add(offset))
    }

    /// Copies out of a page. Returns `None` if the caller must use the page's address instead,
    /// which reports the fault.
    #[inline]
    #[must_use]
    pub fn read_in(&self, place: &Place, offset: usize, buf: &mut [u8]) -> Option<()> {
        let src = self.inside(place, offset, buf.len(), false)?;
        // SAFETY: the page was inside of a region of this map when the map was in this same state,
        // so that its file is still mapped, and these bytes are inside of the page (`inside`). The
        // rest is as in `read`.
        unsafe { std::ptr::copy_nonoverlapping(src, buf.as_mut_ptr(), buf.len()) };
        Some(())
    }

    /// Copies into a page, the counterpart of [`read_in`](Self::read_in).
    #[inline]
    #[must_use]
    pub fn write_in(&self, place: &Place, offset: usize, buf: &[u8]) -> Option<()> {
        let dst = self.inside(place, offset, buf.len(), true)?;
        // SAFETY: as in `read_in`, in the opposite direction.
        unsafe { std::ptr::copy_nonoverlapping(buf.as_ptr(), dst, buf.len()) };
        Some(())
    }

    /// Stores eight bytes atomically, as [`publish_u64`](Self::publish_u64) does.
    #[inline]
    #[must_use]
    pub fn publish_u64_in(&self, place: &Place, offset: usize, value: u64) -> Option<()> {
        let dst = self.inside(place, offset, 8, true)?;
        let aligned = dst.align_offset(8) == 0;
        // SAFETY: as in `publish_u64`: eight writable bytes of a live shared mapping (`inside`),
        // aligned.
        aligned.then(|| unsafe {
            AtomicU64::from_ptr(dst.cast()).store(value.to_le(), Ordering::Release);
        })
    }

    /// Stores four bytes atomically, as [`publish_u32`](Self::publish_u32) does.
    #[inline]
    #[must_use]
    pub fn publish_u32_in(&self, place: &Place, offset: usize, value: u32) -> Option<()> {
        let dst = self.inside(place, offset, 4, true)?;
        let aligned = dst.align_offset(4) == 0;
        // SAFETY: as in `publish_u64_in`, with four bytes.
        aligned.then(|| unsafe {
            AtomicU32::from_ptr(dst.cast()).store(value.to_le(), Ordering::Release);
        })
    }
}
