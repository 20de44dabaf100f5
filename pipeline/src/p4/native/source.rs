// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A program as its translation sees it.

use adit_p4_frontend::ir::{self, Program};

use super::graph::Slots;
use super::liveness::Headers;
use crate::p4::externs::{self, Order};
use crate::p4::fields::Flat;
use crate::p4::tables::{is_direct_counter, learns, may_suspend, Places, Plan, Table};

/// The inputs that are constant during a program's translation.
pub(super) struct Source<'p> {
    pub(super) program: &'p Program,
    /// The program's calls, if some have machine code.
    pub(super) calls: Vec<externs::Call>,
    pub(super) layouts: &'p [Flat],
    /// The packed layouts of the tables' keys.
    pub(super) plans: Vec<Plan>,
    /// The places of tables in memory, where the code looks up itself.
    pub(super) places: Vec<Option<Places>>,
    /// Slots that are never written.
    pub(super) constants: Slots,
    pub(super) headers: Headers,
    /// The index of the error `PacketTooShort`.
    pub(super) too_short: u32,
}

impl Source<'_> {
    /// Returns whether a call gives the packet to a connection tracker.
    pub(super) fn is_track(&self, call: u32) -> bool {
        let call = self.calls.get(call as usize);
        call.is_some_and(externs::Call::is_track)
    }

    /// Returns whether a lookup in a table may suspend.
    pub(super) fn may_suspend(&self, table: u32) -> bool {
        may_suspend(&self.program.tables[table as usize])
    }

    /// Returns whether packets add entries to a table.
    pub(super) fn learns(&self, table: u32) -> bool {
        learns(&self.program.tables[table as usize])
    }

    /// Returns whether an object is a table's direct counter.
    pub(super) fn has_direct_counter(&self, table: &ir::Table, object: usize) -> bool {
        let counter = ir::Constant::Object(object as u32);
        let mut properties = table.properties.iter();
        properties.any(|(name, value)| is_direct_counter(name) && *value == counter)
    }

    /// The offset of a field of a table, from the first table on: the engine has one table for each that
    /// the program declares.
    pub(super) fn table_offset(&self, table: u32, field: usize) -> i32 {
        assert!(
            (table as usize) < self.program.tables.len(),
            "no table {table}"
        );
        (table as usize * size_of::<Table>() + field) as i32
    }

    /// Returns whether packets execute a call in their order.
    pub(super) fn is_in_turn(&self, call: u32) -> bool {
        let call = self.calls.get(call as usize);
        call.is_some_and(|call| call.order() == Order::Packets)
    }
}
