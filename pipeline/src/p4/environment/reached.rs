// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The result of the last lookup, for calls that refer to it.

use crate::p4::tables::EntryId;

/// The table applied last, and the entry that was hit: one word, which machine code writes too. The
/// entry's number is its lower half; above that are a bit that is set on a hit, and the table's number
/// plus one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(in crate::p4) struct Reached(u64);

impl Reached {
    /// The bit of a hit.
    pub(in crate::p4) const HIT: u64 = 1 << 32;

    /// The word of a miss in a table. A program has fewer than 2^31 tables: each takes memory.
    pub(in crate::p4) const fn miss(table: u32) -> u64 {
        (table as u64 + 1) << 33
    }

    pub(super) fn new(table: u32, entry: Option<EntryId>) -> Reached {
        let entry = entry.map_or(0, |entry| Reached::HIT | u64::from(entry.number()));
        Reached(Reached::miss(table) | entry)
    }

    /// The table, and the entry on a hit; `None` before the first lookup.
    #[inline]
    pub(super) fn get(self) -> Option<(usize, Option<EntryId>)> {
        let table = ((self.0 >> 33) as usize).checked_sub(1)?;
        let is_hit = self.0 & Reached::HIT != 0;
        Some((table, is_hit.then_some(EntryId(self.0 as u32))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_table_and_the_entry() {
        assert_eq!(Reached::default().get(), None);
        for entry in [None, Some(0), Some(7), Some(u32::MAX)] {
            let entry = entry.map(EntryId);
            for table in [0, 1, 9000] {
                let reached = Reached::new(table, entry);
                assert_eq!(reached.get(), Some((table as usize, entry)));
            }
        }
    }
}
