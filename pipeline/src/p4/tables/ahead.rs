// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Looking up in large tables, in stages: each asks for the memory that the next one reads, so that
//! a worker can do the same for other packets meanwhile. The lookup itself comes last, and does not
//! depend on any of it.

use super::find::Visit;
use super::key::hash;
use super::{Search, Table};

/// How many stages there are before a lookup.
pub(in crate::p4) const STAGES: usize = 3;
/// From this size of the hash table on, most of a table is not in the cache of a core.
const FAR_BYTES: usize = match cfg!(any(test, feature = "fuzzing")) {
    true => 1,
    false => 128 << 10,
};

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

    /// The stage of that number, for a packed key.
    pub(in crate::p4) fn approach(&self, stage: usize, key: &[u64], visit: Visit<'_>) {
        let record = match &self.search {
            Search::Exact => {
                let hash = hash(self.seed, key.len(), |n| key[n]);
                let index = self.index.read(visit.pin);
                if stage == 0 {
                    return index.prefetch(hash);
                }
                index.candidate(hash)
            }
            Search::Tuples { dir: Some(dir), .. } => {
                if stage == 0 {
                    return dir.prefetch(key[0]);
                }
                dir.find(key[0])
            }
            Search::Tuples { .. } => None,
        };
        let Some(record) = record else {
            return;
        };
        if stage == 1 {
            return self.records.prefetch(record);
        }
        if let Some(counts) = &self.counts {
            counts.prefetch(visit.worker, self.records.head(record).id as usize);
        }
    }
}
