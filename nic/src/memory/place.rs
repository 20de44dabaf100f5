// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Pages of guest memory whose place in this process is remembered beyond one access.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::{Access, GuestMemory};

/// Bytes of a page that has a [`Place`].
pub const PAGE_LEN: usize = 0x1000;

/// Which state of which map: no two have the same, in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version(u64);

impl Version {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // At one a nanosecond it would last for centuries.
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Where a page of guest memory is in this process. It serves the map that it is of until that
/// changes, and nobody after that.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    version: Version,
    page: *mut u8,
    access: Access,
}

// SAFETY: the pointer is private, and used only by a map that is in the state which gave it, whose
// mappings may be used by any thread.
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
    /// The bytes of a page, if it may be used so and the map is still that which gave it.
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

    /// Copies out of a page; `None` if that is to be done by its address, which tells what is
    /// wrong.
    #[inline]
    #[must_use]
    pub fn read_in(&self, place: &Place, offset: usize, buf: &mut [u8]) -> Option<()> {
        let src = self.inside(place, offset, buf.len(), false)?;
        // SAFETY: the page was inside of a region of this map when it was in this same state, so
        // that its file is mapped still, and these bytes are inside of the page (`inside`). The
        // rest is as in `read`.
        unsafe { std::ptr::copy_nonoverlapping(src, buf.as_mut_ptr(), buf.len()) };
        Some(())
    }

    /// Copies into a page, as [`read_in`](Self::read_in) out of it.
    #[inline]
    #[must_use]
    pub fn write_in(&self, place: &Place, offset: usize, buf: &[u8]) -> Option<()> {
        let dst = self.inside(place, offset, buf.len(), true)?;
        // SAFETY: as in `read_in`, the other way round.
        unsafe { std::ptr::copy_nonoverlapping(buf.as_ptr(), dst, buf.len()) };
        Some(())
    }

    /// Stores eight bytes at once, as [`publish_u64`](Self::publish_u64) does.
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

    /// Stores four bytes at once, as [`publish_u32`](Self::publish_u32) does.
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
