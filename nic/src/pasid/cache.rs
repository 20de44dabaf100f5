// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What one burst has translated.
//!
//! Three direct-mapped tables: page tables by PASID, lowest tables by PASID and 2 MiB, pages by
//! PASID and 4 KiB. An entry is of the burst that made it; [`Translator::flush`] begins the next
//! one, which makes all of them stale at once. With a page goes its place in this process, so that an
//! access to one that is known asks the map of guest memory nothing.

use std::cell::Cell;

use super::root::{RootQuery, Tables};
use super::walk::{self, Descent, LowestTable, Page, PageTable, PAGE_SHIFT};
use super::{Pasid, Root, TranslationFault};
use crate::memory::{GuestMemory, Nearby, Place, View, PAGE_LEN};

const _: () = assert!(PAGE_LEN == 1 << PAGE_SHIFT);

const CONTEXTS: usize = 64;
const LOWEST: usize = 256;
const PAGES: usize = 1024;
/// Bytes under one lowest table, as a shift.
const LOWEST_SHIFT: u32 = 21;

/// An entry: which burst made it, what it is for, what it says.
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
        // PASIDs and pages both count up from anywhere: neighbours are to have places apart.
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

/// A page, and its place in this process if it has one.
#[derive(Clone, Copy)]
pub(super) struct Known {
    page: Page,
    pub(super) place: Option<Place>,
}

impl Known {
    /// Its guest-physical address.
    pub(super) fn address(&self) -> u64 {
        self.page.address
    }
}

/// What translations have cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TranslationCounters {
    /// Answered by what the burst knew.
    pub hits: u64,
    /// Walked for.
    pub walks: u64,
    /// Refused.
    pub faults: u64,
}

/// The translation agent of one function.
pub struct Translator {
    tables: Tables,
    burst: u64,
    contexts: Map<PageTable, CONTEXTS>,
    lowest: Map<LowestTable, LOWEST>,
    pages: Map<Known, PAGES>,
    /// Where tables and pages were found last.
    nearby: Cell<Option<Nearby>>,
    hits: Cell<u64>,
    walks: Cell<u64>,
    faults: Cell<u64>,
}

impl Translator {
    /// An agent that asks `query` where the tables are.
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

    /// Where the tables are, and who asks.
    pub fn tables(&mut self) -> &mut Tables {
        self.flush();
        &mut self.tables
    }

    /// Where the tables are, if that is known.
    #[must_use]
    pub fn root(&self) -> Option<Root> {
        self.tables.root()
    }

    /// What translations have cost so far.
    #[must_use]
    pub fn counters(&self) -> TranslationCounters {
        TranslationCounters {
            hits: self.hits.get(),
            walks: self.walks.get(),
            faults: self.faults.get(),
        }
    }

    /// The end of a burst: nothing that it has translated is used again.
    pub fn flush(&mut self) {
        self.burst += 1;
    }

    /// Where the page around `iova` is, if the access is permitted.
    ///
    /// # Errors
    /// When it is not, or nothing is mapped there.
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

    /// As [`translate`](Self::translate), with the page's place in this process.
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
