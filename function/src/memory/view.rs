// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Many small reads that are likely to hit the same region.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use vm_memory::{GuestAddress, GuestMemoryBackend, VolatileMemory, VolatileSlice};
use zerocopy::little_endian::U64;

use super::file::FileIndex;
use super::place::Version;
use super::{Access, Dma, DmaFault, GuestMemory, Place};

/// A region of guest memory, cached beyond one access. It is valid for its map until that map
/// changes.
#[derive(Clone, Copy, Debug)]
pub struct Nearby {
    pub(super) version: Version,
    /// The first address.
    first: u64,
    /// The length in bytes.
    pub(super) len: u64,
    pub(super) file: FileIndex,
    /// The offset of its first byte in the file.
    pub(super) offset: u64,
    pub(super) access: Access,
}

/// Guest memory for walks through pointers: the region of the last access is checked before the map
/// is searched.
pub struct View<'a> {
    memory: &'a GuestMemory,
    last: &'a Cell<Option<Nearby>>,
    /// The region of the last word that was read: its first address and its bytes.
    words: Cell<Option<(u64, VolatileSlice<'a>)>>,
}

impl<'a> View<'a> {
    /// A view that starts with the region cached in `last`, and stores the last region there.
    #[must_use]
    pub fn new(memory: &'a GuestMemory, last: &'a Cell<Option<Nearby>>) -> Self {
        Self {
            memory,
            last,
            words: Cell::new(None),
        }
    }

    /// Reads a little-endian word.
    ///
    /// # Errors
    /// Fails when it cannot be read.
    #[inline]
    pub fn read_u64(&self, at: u64) -> Result<u64, DmaFault> {
        match self.word(at) {
            Some(word) => Ok(u64::from_le(word)),
            // Unaligned, across two regions, or a fault.
            None => self.memory.read_obj::<U64>(at).map(U64::get),
        }
    }

    /// Reads a word that is aligned and in one region.
    #[inline]
    fn word(&self, at: u64) -> Option<u64> {
        let word = |(first, bytes): (u64, VolatileSlice<'_>)| {
            let offset = usize::try_from(at.wrapping_sub(first)).ok()?;
            let word = bytes.get_atomic_ref::<AtomicU64>(offset).ok()?;
            // The guest may change the word at any time.
            Some(word.load(Ordering::Relaxed))
        };
        let cached = self.words.get().and_then(word);
        cached.or_else(|| self.words_at(at).and_then(word))
    }

    /// Caches the bytes of the region that contains an address, if the region may be read.
    #[inline(never)]
    fn words_at(&self, at: u64) -> Option<(u64, VolatileSlice<'a>)> {
        let (region, _) = self.memory.nearby(at, self.last)?;
        if !region.access.permits(false) {
            return None;
        }
        let len = usize::try_from(region.len).ok()?;
        let bytes = self.memory.files.slice(region.file, region.offset, len)?;
        let words = (region.first, bytes);
        self.words.set(Some(words));
        Some(words)
    }

    /// Returns the place of a page, if the page is within one region that is mapped in this
    /// process.
    #[inline]
    #[must_use]
    pub fn place(&self, page: u64) -> Option<Place> {
        let (region, offset) = self.region(page, super::PAGE_LEN as u64)?;
        Some(Place {
            version: region.version,
            file: region.file,
            offset,
            access: region.access,
        })
    }

    /// Returns the region that contains all of these bytes, and their offset in its file.
    #[inline]
    fn region(&self, at: u64, len: u64) -> Option<(Nearby, u64)> {
        let (region, skip) = self.memory.nearby(at, self.last)?;
        (region.len - skip >= len).then_some((region, region.offset + skip))
    }
}

impl GuestMemory {
    /// Returns the region that contains a byte, if it is mapped in this process, and the number of
    /// bytes before that byte. The region cached in `last` is checked first.
    #[inline]
    pub(super) fn nearby(&self, at: u64, last: &Cell<Option<Nearby>>) -> Option<(Nearby, u64)> {
        let cached = last.get().is_some_and(|region| {
            region.version == self.version && at.wrapping_sub(region.first) < region.len
        });
        if !cached && !self.search(at, last) {
            return None;
        }
        let region = last.get()?;
        Some((region, at - region.first))
    }

    /// Caches the region that contains a byte. Returns whether there is one in this process.
    #[inline(never)]
    fn search(&self, at: u64, last: &Cell<Option<Nearby>>) -> bool {
        let Some(region) = self.regions.find_region(GuestAddress(at)) else {
            return false;
        };
        let Some(backing) = region.backing.as_ref() else {
            return false;
        };
        last.set(Some(Nearby {
            version: self.version,
            first: region.first,
            len: region.len,
            file: backing.file.index(),
            offset: backing.offset,
            access: region.access,
        }));
        true
    }
}
