// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The result of a lookup, and how it is recorded.

use super::EntryId;
use crate::p4::objects::Count;

/// Data with which a hit of an entry is recorded.
#[derive(Clone, Copy)]
pub(in crate::p4) struct Hit {
    pub(in crate::p4) worker: usize,
    /// Packets and bytes that are added to counters.
    pub(in crate::p4) weight: Count,
    pub(in crate::p4) now_ns: u64,
}

/// The result of a lookup.
pub(in crate::p4) struct Found {
    pub(in crate::p4) entry: Option<EntryId>,
    pub(in crate::p4) action: SelectedAction,
}

/// The action that a lookup selected: the table's own, or an indirect one of its profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::p4) enum SelectedAction {
    Direct(u32),
    Member(u32),
    Group(u32),
}
