// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Many small reads that are likely to hit the same region.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use zerocopy::little_endian::U64;

use super::place::Version;
use super::{Access, DmaFault, GuestMemory, Place};

/// A region of guest memory, cached beyond one access. It is valid for its map until that map
/// changes.
#[derive(Clone, Copy, Debug)]
pub struct Nearby {
    version: Version,
    /// The first address.
    first: u64,
    /// The length in bytes.
    len: u64,
    /// Its address in this process.
    start: *mut u8,
    access: Access,
}

// SAFETY: the pointer is private, and used only with a map that is in the state that created it,
// whose mappings may be used by any thread.
unsafe impl Send for Nearby {}

/// Guest memory for walks through pointers: the region of the last access is checked before the map
/// is searched.
pub struct View<'a> {
    memory: &'a GuestMemory,
    last: &'a Cell<Option<Nearby>>,
}

impl<'a> View<'a> {
    /// A view that starts with the region cached in `last`, and stores the last region there.
    #[must_use]
    pub fn new(memory: &'a GuestMemory, last: &'a Cell<Option<Nearby>>) -> Self {
        Self { memory, last }
    }

    /// Reads a little-endian word.
    ///
    /// # Errors
    /// Fails when it cannot be read.
    #[inline]
    pub fn read_u64(&self, at: u64) -> Result<u64, DmaFault> {
        let known = self.region(at, 8).and_then(|(region, start)| {
            let word = start.cast::<u64>();
            // SAFETY: the word is in a readable region of the map in its current state (`region`),
            // whose file stays mapped while the map is borrowed. It is aligned, and the guest may
            // change it at any time, which an atomic read permits.
            let load = || unsafe { AtomicU64::from_ptr(word) }.load(Ordering::Relaxed);
            (region.access.read && word.is_aligned()).then(load)
        });
        match known {
            Some(word) => Ok(u64::from_le(word)),
            // Unaligned, across two regions, or a fault.
            None => self.memory.read_obj::<U64>(at).map(U64::get),
        }
    }

    /// Returns the place of a page, if the page is within one region that is mapped in this
    /// process.
    #[inline]
    #[must_use]
    pub fn place(&self, page: u64) -> Option<Place> {
        let (region, start) = self.region(page, super::PAGE_LEN as u64)?;
        Some(Place::new(region.version, start, region.access))
    }

    /// Returns the region that contains all of these bytes, and their address.
    #[inline]
    fn region(&self, at: u64, len: u64) -> Option<(Nearby, *mut u8)> {
        if let Some(last) = self.last.get() {
            if let (true, Some(start)) = (last.version == self.memory.version, last.at(at, len)) {
                return Some((last, start));
            }
        }
        let found = self.memory.nearby(at)?;
        self.last.set(Some(found));
        found.at(at, len).map(|start| (found, start))
    }
}

impl Nearby {
    /// Returns the address of these bytes, if all of them are in this region.
    fn at(&self, at: u64, len: u64) -> Option<*mut u8> {
        let skip = at.checked_sub(self.first)?;
        let fits = skip < self.len && self.len - skip >= len;
        // A region that is mapped in this process fits into its address space.
        fits.then(|| self.start.wrapping_add(skip as usize))
    }
}

impl GuestMemory {
    /// Returns the last region that begins at or before an address, if it is mapped in this
    /// process.
    fn nearby(&self, at: u64) -> Option<Nearby> {
        let (&first, region) = self.regions.range(..=at).next_back()?;
        let (mapping, offset) = region.backing.as_ref()?;
        Some(Nearby {
            version: self.version,
            first,
            len: region.len,
            start: mapping.at(*offset),
            access: region.access,
        })
    }
}
