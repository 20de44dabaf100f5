// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Staged lookups in large tables: each stage prefetches the memory that the next one reads, so
//! that a worker can process other packets meanwhile. The lookup itself comes last; usually its
//! result is known by then.

#[cfg(feature = "jit")]
use adit_p4_frontend::ir;

#[cfg(feature = "jit")]
use super::key::{is_selector, MatchKind};
use super::{Search, Table};
use crate::p4::memory::Pin;

/// Number of stages before a lookup.
pub(in crate::p4) const STAGES: usize = 3;
/// Hash table size from which most of the table is not in a core's cache.
pub(super) const FAR_BYTES: usize = match cfg!(any(test, feature = "fuzzing")) {
    true => 1,
    false => 128 << 10,
};

/// Returns whether a lookup in a declared table may suspend: it may be staged, or packets change the
/// table.
#[cfg(feature = "jit")]
pub(in crate::p4) fn may_suspend(table: &ir::Table) -> bool {
    let kinds = table.keys.iter().filter(|key| !is_selector(key));
    let kinds: Vec<_> = kinds.map(|key| MatchKind::named(&key.kind)).collect();
    let is_exact = !kinds.is_empty() && kinds.iter().all(|kind| *kind == Some(MatchKind::Exact));
    is_exact || kinds == [Some(MatchKind::Lpm)] || learns(table)
}

/// Returns whether packets add entries to a declared table.
#[cfg(feature = "jit")]
pub(in crate::p4) fn learns(table: &ir::Table) -> bool {
    let property = ("add_on_miss".to_owned(), ir::Constant::Bool(true));
    table.properties.contains(&property)
}

/// Results of the stages so far.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::p4) struct StagedLookup {
    /// The hash of the key; only for tables with exact keys.
    hash: u64,
    candidate: Option<u32>,
    /// Set if the candidate is the lookup's result.
    is_known: bool,
}

impl StagedLookup {
    /// The lookup's result: a record or a miss. `None` if it is not known yet.
    #[inline]
    pub(super) fn known(&self) -> Option<Option<u32>> {
        self.is_known.then_some(self.candidate)
    }
}

impl Table {
    /// Returns whether staged lookups pay off.
    #[inline]
    pub(in crate::p4) fn is_worth_staging(&self, pin: &Pin<'_>) -> bool {
        if !self.has_stages || !self.index.read(pin).is_far() {
            return false;
        }
        match &self.search {
            Search::Tuples { dir: Some(dir), .. } => !dir.has_overflowed(),
            _ => true,
        }
    }

    /// Runs the first stage, for a packed key.
    #[inline]
    pub(in crate::p4) fn begin_staged(&self, key: &[u64], pin: &Pin<'_>) -> StagedLookup {
        let mut staged = StagedLookup::default();
        match &self.search {
            Search::Exact => {
                staged.hash = self.hash(key);
                self.index.read(pin).prefetch(staged.hash);
            }
            Search::Tuples { dir: Some(dir), .. } => dir.prefetch(key[0]),
            Search::Tuples { .. } => {}
        }
        staged
    }

    /// Runs a later stage. Its result stays valid while the pin is held: an entry removed meanwhile
    /// was present when the lookup began.
    #[inline]
    pub(in crate::p4) fn advance(
        &self,
        stage: usize,
        staged: &mut StagedLookup,
        key: &[u64],
        pin: &Pin<'_>,
        worker: usize,
    ) {
        if stage == 1 {
            match &self.search {
                Search::Exact => {
                    staged.candidate = self.index.read(pin).candidate(staged.hash);
                }
                Search::Tuples { dir: Some(dir), .. } => {
                    (staged.candidate, staged.is_known) = (dir.find(key[0]), true);
                }
                Search::Tuples { .. } => {}
            }
            if let Some(record) = staged.candidate {
                self.records.prefetch(record);
            }
            return;
        }
        let Some(record) = staged.candidate else {
            return;
        };
        if let Search::Exact = self.search {
            staged.is_known = self.record_has(record, key);
        }
        if let Some(counts) = &self.counts {
            counts.prefetch(worker, self.records.head(record).id as usize);
        }
    }
}
