// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The translation cache, valid for one burst.
//!
//! Three direct-mapped tables: page tables by PASID, lowest-level tables by PASID and 2 MiB, pages
//! by PASID and 4 KiB. An entry belongs to the burst that created it; [`Translator::flush`] begins
//! the next burst, which makes all entries stale at once. An entry also holds the page's place in its
//! file, so that an access to a cached page needs no lookup in the map of guest memory.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use vm_memory::VolatileSlice;

use super::registered::Registered;
use super::root::{Readiness, RootQuery, Tables};
use super::walk::{self, Descent, LowestTable, Page, PageTable, Rights, PAGE_SHIFT};
use super::{Pasid, Root, TranslationFault};
use crate::memory::{Access, GuestMemory, Nearby, Place, Request, View, WriteLog, PAGE_LEN};

const _: () = assert!(PAGE_LEN == 1 << PAGE_SHIFT);

/// The burst of entries that are not in use.
const NO_BURST: u64 = 0;

const CONTEXTS: usize = 64;
const LOWEST: usize = 256;
const PAGES: usize = 1024;
/// The number of bytes covered by one lowest-level table, as a shift.
const LOWEST_SHIFT: u32 = 21;

/// A cache entry: its burst, its key and its value.
struct Entry<T> {
    burst: Cell<u64>,
    tag: Cell<u64>,
    pasid: Cell<u32>,
    value: Cell<T>,
}

/// A direct-mapped table of `N` entries, a power of two.
struct Map<T, const N: usize>(Box<[Entry<T>; N]>);

impl<T: Copy, const N: usize> Map<T, N> {
    /// An empty table: `unused` is the value of entries that belong to no burst.
    fn new(unused: T) -> Self {
        const { assert!(N.is_power_of_two()) };
        Self(Box::new(std::array::from_fn(|_| Entry {
            burst: Cell::new(NO_BURST),
            tag: Cell::new(0),
            pasid: Cell::new(0),
            value: Cell::new(unused),
        })))
    }

    #[inline]
    fn slot(&self, pasid: Pasid, tag: u64) -> &Entry<T> {
        // PASIDs and page numbers are both consecutive: neighbours must use different slots.
        let mixed = tag ^ (u64::from(pasid.get()) << 5) ^ u64::from(pasid.get());
        &self.0[mixed as usize % N]
    }

    #[inline]
    // The value is not copied as a part of an `Option`, which costs more than the rest of an access.
    fn get(&self, burst: u64, pasid: Pasid, tag: u64) -> Option<&Cell<T>> {
        let entry = self.slot(pasid, tag);
        (entry.burst.get() == burst && entry.pasid.get() == pasid.get() && entry.tag.get() == tag)
            .then_some(&entry.value)
    }

    fn put(&self, burst: u64, pasid: Pasid, tag: u64, value: T) {
        let entry = self.slot(pasid, tag);
        entry.burst.set(burst);
        entry.pasid.set(pasid.get());
        entry.tag.set(tag);
        entry.value.set(value);
    }
}

/// A cached page, and its place in a file.
#[derive(Clone, Copy)]
pub(super) struct CachedPage {
    address: u64,
    rights: Access,
    pub(super) place: Place,
}

impl CachedPage {
    /// The page's guest-physical address.
    pub(super) fn address(&self) -> u64 {
        self.address
    }
}

/// Counters of translations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TranslationCounters {
    /// Translations found in the cache.
    pub hits: u64,
    /// Translations that required a walk of the tables.
    pub walks: u64,
    /// Translations that failed.
    pub faults: u64,
}

/// The address translation agent of one function.
pub struct Translator {
    tables: Tables,
    /// Memory that is used instead of the tables.
    registered: Option<Box<Registered>>,
    /// The logs of what is written with a PASID, of those that have one.
    logs: BTreeMap<Pasid, Arc<WriteLog>>,
    burst: u64,
    contexts: Map<PageTable, CONTEXTS>,
    lowest: Map<LowestTable, LOWEST>,
    pages: Map<CachedPage, PAGES>,
    /// The region in which tables and pages were found last.
    nearby: Cell<Option<Nearby>>,
    hits: Cell<u64>,
    walks: Cell<u64>,
    faults: Cell<u64>,
}

impl Translator {
    /// A translator that requests the location of the tables with `query`.
    #[must_use]
    pub fn new(query: Option<RootQuery>) -> Self {
        Self {
            tables: Tables::new(query),
            registered: None,
            logs: BTreeMap::new(),
            burst: NO_BURST + 1,
            contexts: Map::new(PageTable {
                top: 0,
                levels: 0,
                stage: walk::Stage::First,
            }),
            lowest: Map::new(LowestTable {
                address: 0,
                rights: Rights {
                    read: false,
                    write: false,
                },
            }),
            pages: Map::new(CachedPage {
                address: 0,
                rights: Access::NONE,
                place: Place::NOWHERE,
            }),
            nearby: Cell::new(None),
            hits: Cell::default(),
            walks: Cell::default(),
            faults: Cell::default(),
        }
    }

    /// An agent without tables: addresses are those of memory that is registered for each PASID.
    #[must_use]
    pub fn of_registered_memory() -> Self {
        Self {
            registered: Some(Box::default()),
            ..Self::new(None)
        }
    }

    /// The registered memory of a PASID; `None` if there are tables instead.
    #[inline]
    #[must_use]
    pub fn registered(&self, pasid: Pasid) -> Option<&GuestMemory> {
        self.registered.as_ref().map(|all| all.get(pasid))
    }

    /// The registered memory of a PASID, to be changed; `None` if there are tables instead.
    pub fn registered_mut(&mut self, pasid: Pasid) -> Option<&mut GuestMemory> {
        self.registered.as_mut().map(|all| all.entry(pasid))
    }

    /// Releases the registered memory of a PASID.
    pub fn unregister(&mut self, pasid: Pasid) {
        if let Some(all) = &mut self.registered {
            all.remove(pasid);
        }
    }

    /// Sets the log in which writes with a PASID are marked from now on; `None` for none. Returns false
    /// for registered memory, which has a log of its own ([`GuestMemory::set_log`]).
    pub fn set_log(&mut self, pasid: Pasid, log: Option<Arc<WriteLog>>) -> bool {
        match log {
            Some(log) if self.registered.is_none() => self.logs.insert(pasid, log),
            Some(_) => return false,
            None => self.logs.remove(&pasid),
        };
        true
    }

    /// The number of pages that the logs have bits for.
    pub fn logged_pages(&self) -> u64 {
        self.logs.values().map(|log| log.pages()).sum()
    }

    /// The log in which writes with a PASID are marked.
    #[inline]
    pub(super) fn log(&self, pasid: Pasid) -> Option<&WriteLog> {
        // Usually, there are none.
        match self.logs.is_empty() {
            true => None,
            false => self.logs.get(&pasid).map(Arc::as_ref),
        }
    }

    /// Returns the availability of the tables, which are not needed for registered memory; starts a
    /// lookup if their location is unknown.
    pub fn find_tables(&mut self) -> Readiness {
        match self.registered {
            Some(_) => Readiness::Ready,
            None => self.tables().find(),
        }
    }

    /// Returns whether the location of the tables is known, or they are not needed.
    #[must_use]
    pub fn has_tables(&self) -> bool {
        self.registered.is_some() || self.root().is_some()
    }

    /// The location of the tables and the state of its lookup. Flushes the cache.
    pub fn tables(&mut self) -> &mut Tables {
        self.flush();
        &mut self.tables
    }

    /// The location of the tables, if it is known.
    #[must_use]
    pub fn root(&self) -> Option<Root> {
        self.tables.root()
    }

    /// The counters of translations so far.
    #[must_use]
    pub fn counters(&self) -> TranslationCounters {
        TranslationCounters {
            hits: self.hits.get(),
            walks: self.walks.get(),
            faults: self.faults.get(),
        }
    }

    /// Ends a burst: none of its translations is used again.
    pub fn flush(&mut self) {
        self.burst += 1;
    }

    /// Translates the page that contains `iova`, if the access is permitted.
    ///
    /// # Errors
    /// Fails when the access is not permitted, or nothing is mapped there.
    pub fn translate(
        &self,
        memory: &GuestMemory,
        pasid: Pasid,
        iova: u64,
        write: bool,
    ) -> Result<u64, TranslationFault> {
        self.find(memory, pasid, iova, write)
            .map(|page| page.address())
    }

    /// Returns the bytes of an access within a page, if the page is cached, permits the access and
    /// has a place in a file.
    // Inline, so that the bytes are copied from registers.
    #[inline(always)]
    pub(super) fn cached<'a>(
        &self,
        memory: &'a GuestMemory,
        pasid: Pasid,
        part: Request,
    ) -> Option<VolatileSlice<'a>> {
        let page = self
            .pages
            .get(self.burst, pasid, part.iova >> PAGE_SHIFT)?
            .get();
        if !page.rights.permits(part.write) {
            return None;
        }
        let offset = part.iova as usize % PAGE_LEN;
        let slice = memory.slice_in(&page.place, offset, part.len, part.write)?;
        count(&self.hits);
        Some(slice)
    }

    /// Translates like [`translate`](Self::translate), and adds the page's place.
    pub(super) fn find(
        &self,
        memory: &GuestMemory,
        pasid: Pasid,
        iova: u64,
        write: bool,
    ) -> Result<CachedPage, TranslationFault> {
        let found = match self.pages.get(self.burst, pasid, iova >> PAGE_SHIFT) {
            Some(cached) => {
                count(&self.hits);
                Ok(cached.get())
            }
            None => self.fill(memory, pasid, iova),
        };
        let checked = found.and_then(|page| {
            let permitted = page.rights.permits(write).then_some(page);
            permitted.ok_or(TranslationFault::Permission)
        });
        if checked.is_err() {
            count(&self.faults);
        }
        checked
    }

    /// Walks the tables for a page that is not cached, and caches it.
    #[cold]
    fn fill(
        &self,
        memory: &GuestMemory,
        pasid: Pasid,
        iova: u64,
    ) -> Result<CachedPage, TranslationFault> {
        count(&self.walks);
        let view = View::new(memory, &self.nearby);
        let page = self.walk(&view, pasid, iova)?;
        let place = view.place(page.address).unwrap_or(Place::NOWHERE);
        let Rights { read, write } = page.rights;
        let cached = CachedPage {
            address: page.address,
            rights: Access { read, write },
            place,
        };
        self.pages
            .put(self.burst, pasid, iova >> PAGE_SHIFT, cached);
        Ok(cached)
    }

    fn walk(&self, memory: &View<'_>, pasid: Pasid, iova: u64) -> Result<Page, TranslationFault> {
        let table = match self.contexts.get(self.burst, pasid, 0) {
            Some(table) => table.get(),
            None => {
                let root = self.root().ok_or(TranslationFault::NoRootTable)?;
                let table = walk::resolve(memory, root, pasid)?;
                self.contexts.put(self.burst, pasid, 0, table);
                table
            }
        };
        let tag = iova >> LOWEST_SHIFT;
        let lowest = match self.lowest.get(self.burst, pasid, tag) {
            Some(lowest) => lowest.get(),
            None => match walk::descend(memory, &table, iova)? {
                Descent::Page(page) => return Ok(page),
                Descent::Table(lowest) => {
                    self.lowest.put(self.burst, pasid, tag, lowest);
                    lowest
                }
            },
        };
        walk::lowest(memory, table.stage, lowest, iova)
    }
}

fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}
