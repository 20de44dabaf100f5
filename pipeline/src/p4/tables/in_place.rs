// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Places of a table in memory, for machine code that looks up without a call.

use std::mem::offset_of;

use adit_p4_frontend::ir;

use super::record::{Layout, Records};
use super::shape::Shape;
use super::Table;

/// Returns whether that is the property that names a table's direct counter.
pub(in crate::p4) fn is_direct_counter(property: &str) -> bool {
    matches!(property, "counters" | "pna_direct_counter")
}

/// The records of a declared table, and the way to them.
#[derive(Clone, Debug)]
pub(in crate::p4) struct Places {
    /// The number of words of the key, if one hash lookup finds it. It has no ranges then.
    pub(in crate::p4) exact_words: Option<usize>,
    /// Bytes from one record to the next; from the start of a record to its key, and to its action's
    /// arguments.
    pub(in crate::p4) stride: usize,
    pub(in crate::p4) key: i32,
    pub(in crate::p4) arguments: i32,
}

impl Places {
    /// The places of a declared table whose lookups have no effects, and whose records have an action
    /// with its arguments; `None` for others: with an action profile, with timeouts, or counted
    /// implicitly.
    pub(in crate::p4) fn of(spec: &ir::Table) -> Option<Places> {
        let is_plain = |property: &str| {
            matches!(
                property,
                "pna_direct_counter" | "pna_direct_meter" | "meters" | "largest_priority_wins"
            )
        };
        if !spec.properties.iter().all(|(name, _)| is_plain(name)) {
            return None;
        }
        let mut spec = spec.clone();
        spec.entries.clear();
        let shape = Shape::new(spec).ok()?;
        // A key of no bits is in no word, but may be an entry's.
        if !shape.spec.keys.is_empty() && shape.plan.length() == 0 {
            return None;
        }
        let is_exact = shape.is_exact() && !shape.spec.keys.is_empty();
        let layout = Layout::of(&shape);
        Some(Places {
            exact_words: is_exact.then_some(shape.plan.words),
            stride: layout.bytes(),
            key: layout.key as i32 * 8,
            arguments: layout.arguments as i32 * 8,
        })
    }
}

/// Offsets in a table of what machine code reads.
impl Table {
    /// The number of entries, a word.
    pub(in crate::p4) const COUNT: usize = offset_of!(Table, count);
    /// The seed of its hash, a word.
    pub(in crate::p4) const SEED: usize = offset_of!(Table, seed);
    /// The address of its index.
    pub(in crate::p4) const INDEX: usize = offset_of!(Table, index);
    /// The address of its records.
    pub(in crate::p4) const RECORDS: usize = offset_of!(Table, records) + Records::START;
    /// The number of the default action's record, 32 bits.
    pub(in crate::p4) const DEFAULT: usize = offset_of!(Table, default);
}
