// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Looking up in large tables, in stages: each asks for the memory that the next one reads, so that
//! a worker can do the same for other packets meanwhile. The lookup itself comes last: mostly it is
//! known by then what it comes to.

use super::find::Visit;
use super::{Search, Table};

/// How many stages there are before a lookup.
pub(in crate::p4) const STAGES: usize = 3;
/// From this size of the hash table on, most of a table is not in the cache of a core.
const FAR_BYTES: usize = match cfg!(any(test, feature = "fuzzing")) {
    true => 1,
    false => 128 << 10,
};

/// What stages have found out.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::p4) struct Ahead {
    /// The key's, in a table with exact keys only.
    hash: u64,
    candidate: Option<u32>,
    /// Whether the candidate is what the lookup comes to.
    is_sure: bool,
}

impl Ahead {
    /// The record that the lookup comes to, or that there is none; `None` if that is not known.
    #[inline]
    pub(super) fn sure(&self) -> Option<Option<u32>> {
        self.is_sure.then_some(self.candidate)
    }
}

impl Table {
    /// Whether stages are worth while.
    #[inline]
    pub(in crate::p4) fn is_far(&self, visit: Visit<'_>) -> bool {
        let is_staged = match &self.search {
            Search::Exact => !self.is_keyless,
            Search::Tuples { dir: Some(dir), .. } => !dir.has_overflowed(),
            Search::Tuples { .. } => false,
        };
        is_staged && self.index.read(visit.pin).bytes() >= FAR_BYTES
    }

    /// The first stage, for a packed key.
    #[inline]
    pub(in crate::p4) fn set_out(&self, key: &[u64], visit: Visit<'_>) -> Ahead {
        let mut ahead = Ahead::default();
        match &self.search {
            Search::Exact => {
                ahead.hash = self.hash(key);
                self.index.read(visit.pin).prefetch(ahead.hash);
            }
            Search::Tuples { dir: Some(dir), .. } => dir.prefetch(key[0]),
            Search::Tuples { .. } => {}
        }
        ahead
    }

    /// The stage of that number, behind the first. What is found stays as long as the pin: what is
    /// taken out of the table meanwhile was there when the packet asked.
    #[inline]
    pub(in crate::p4) fn approach(
        &self,
        stage: usize,
        ahead: &mut Ahead,
        key: &[u64],
        visit: Visit<'_>,
    ) {
        if stage == 1 {
            match &self.search {
                Search::Exact => {
                    ahead.candidate = self.index.read(visit.pin).candidate(ahead.hash);
                }
                Search::Tuples { dir: Some(dir), .. } => {
                    (ahead.candidate, ahead.is_sure) = (dir.find(key[0]), true);
                }
                Search::Tuples { .. } => {}
            }
            if let Some(record) = ahead.candidate {
                self.records.prefetch(record);
            }
            return;
        }
        let Some(record) = ahead.candidate else {
            return;
        };
        if let Search::Exact = self.search {
            ahead.is_sure = self.record_has(record, key);
        }
        if let Some(counts) = &self.counts {
            counts.prefetch(visit.worker, self.records.head(record).id as usize);
        }
    }
}
