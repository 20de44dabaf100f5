// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The translation cache, valid for one burst.
//!
//! Three direct-mapped tables: page tables by PASID, lowest-level tables by PASID and 2 MiB, pages
//! by PASID and 4 KiB. An entry belongs to the burst that created it; [`Translator::flush`] begins
//! the next burst, which makes all entries stale at once. An entry also holds the page's address in
//! this process, so that an access to a cached page needs no lookup in the map of guest memory.

use std::cell::Cell;

use super::root::{RootQuery, Tables};
use super::walk::{self, Descent, LowestTable, Page, PageTable, PAGE_SHIFT};
use super::{Pasid, Root, TranslationFault};
use crate::memory::{GuestMemory, Nearby, Place, View, PAGE_LEN};

const _: () = assert!(PAGE_LEN == 1 << PAGE_SHIFT);

const CONTEXTS: usize = 64;
const LOWEST: usize = 256;
const PAGES: usize = 1024;
/// The number of bytes covered by one lowest-level table, as a shift.
const LOWEST_SHIFT: u32 = 21;

/// A cache entry: its burst, its key and its value.
#[derive(Clone, Copy)]
struct Entry<T> {
    burst: u64,
    pasid: u32,
    tag: u64,
    value: T,
}

/// A direct-mapped table of `N` entries, a power of two.
struct Map<T: Copy, const N: usize>(Box<[Cell<Option<Entry<T>>>; N]>);

impl<T: Copy, const N: usize> Map<T, N> {
    fn new() -> Self {
        const { assert!(N.is_power_of_two()) };
        Self(Box::new([const { Cell::new(None) }; N]))
    }

    fn slot(&self, pasid: Pasid, tag: u64) -> &Cell<Option<Entry<T>>> {
        // PASIDs and page numbers are both consecutive: neighbours must use different slots.
        let mixed = tag ^ (u64::from(pasid.get()) << 5) ^ u64::from(pasid.get());
        &self.0[mixed as usize % N]
    }

    fn get(&self, burst: u64, pasid: Pasid, tag: u64) -> Option<T> {
        let entry = self.slot(pasid, tag).get()?;
        (entry.burst == burst && entry.pasid == pasid.get() && entry.tag == tag)
            .then_some(entry.value)
    }

    fn put(&self, burst: u64, pasid: Pasid, tag: u64, value: T) {
        self.slot(pasid, tag).set(Some(Entry {
            burst,
            pasid: pasid.get(),
            tag,
            value,
        }));
    }
}

/// A cached page, and its place in this process if it has one.
#[derive(Clone, Copy)]
pub(super) struct Known {
    page: Page,
    pub(super) place: Option<Place>,
}

impl Known {
    /// The page's guest-physical address.
    pub(super) fn address(&self) -> u64 {
        self.page.address
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
    burst: u64,
    contexts: Map<PageTable, CONTEXTS>,
    lowest: Map<LowestTable, LOWEST>,
    pages: Map<Known, PAGES>,
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
            burst: 0,
            contexts: Map::new(),
            lowest: Map::new(),
            pages: Map::new(),
            nearby: Cell::new(None),
            hits: Cell::default(),
            walks: Cell::default(),
            faults: Cell::default(),
        }
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
            .map(|known| known.address())
    }

    /// Translates like [`translate`](Self::translate), and adds the page's place in this process.
    #[inline]
    pub(super) fn find(
        &self,
        memory: &GuestMemory,
        pasid: Pasid,
        iova: u64,
        write: bool,
    ) -> Result<Known, TranslationFault> {
        let known = match self.pages.get(self.burst, pasid, iova >> PAGE_SHIFT) {
            Some(known) => {
                count(&self.hits);
                Ok(known)
            }
            None => self.learn(memory, pasid, iova),
        };
        let checked = known.and_then(|known| known.page.rights.check(write).map(|()| known));
        if checked.is_err() {
            count(&self.faults);
        }
        checked
    }

    #[cold]
    fn learn(
        &self,
        memory: &GuestMemory,
        pasid: Pasid,
        iova: u64,
    ) -> Result<Known, TranslationFault> {
        count(&self.walks);
        let view = View::new(memory, &self.nearby);
        let page = self.walk(&view, pasid, iova)?;
        let place = view.place(page.address);
        let known = Known { page, place };
        self.pages.put(self.burst, pasid, iova >> PAGE_SHIFT, known);
        Ok(known)
    }

    fn walk(&self, memory: &View<'_>, pasid: Pasid, iova: u64) -> Result<Page, TranslationFault> {
        let table = match self.contexts.get(self.burst, pasid, 0) {
            Some(table) => table,
            None => {
                let root = self.root().ok_or(TranslationFault::NoRootTable)?;
                let table = walk::resolve(memory, root, pasid)?;
                self.contexts.put(self.burst, pasid, 0, table);
                table
            }
        };
        let tag = iova >> LOWEST_SHIFT;
        let lowest = match self.lowest.get(self.burst, pasid, tag) {
            Some(lowest) => lowest,
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
