// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The environment of a program's code while a block processes a packet: tables, value sets, and
//! the execution of calls of externs, for the interpreter and for machine code.

mod calls;
mod conntrack;
mod entries;
mod hashes;
mod local;
mod marks;
mod objects;
mod own_counts;
mod reached;
mod requests;

use super::externs::Call;
use super::machine::{Applied, Host};
use super::memory::Pin;
use super::state::State;
use super::tables::{Found, SelectedAction, Table};
pub(super) use local::Local;
pub(super) use own_counts::OwnCounts;
pub(super) use reached::Reached;
pub(super) use requests::{Extra, Forward, Requests};

/// The shared state and a worker's own, for one block of one packet.
pub(super) struct Environment<'a> {
    pub(super) state: &'a State,
    pub(super) pin: &'a Pin<'a>,
    pub(super) local: &'a mut Local,
    /// The packet, as the parser reads it; empty if the block does not parse.
    pub(super) data: &'a [u8],
    /// The data after the headers.
    pub(super) payload: &'a [u8],
}

impl<'s> Environment<'s> {
    /// A table of the program.
    #[inline(always)]
    pub(super) fn table(&self, table: u32) -> &'s Table {
        let state: &'s State = self.state;
        &state.tables[table as usize]
    }

    /// Looks up the key that was packed for a table, whose number is `table`. Returns `None` if the
    /// lookup is slow and was only begun.
    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    #[inline(always)]
    pub(super) fn begin_apply(
        &mut self,
        table: u32,
        of: &Table,
        frame: &mut [u64],
        may_wait: bool,
    ) -> Option<Applied> {
        if may_wait && of.is_worth_staging(self.pin) {
            self.local.staged = of.begin_staged(self.local.key_of(of), self.pin);
            return None;
        }
        Some(self.find(table, of, frame))
    }

    /// Begins a call that is executed later ([`Environment::advance_call`]). Returns whether that is
    /// worth its while.
    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    pub(super) fn begin_call(&mut self, call: u32, frame: &[u64]) -> bool {
        match self.state.calls.get(call as usize) {
            Some(Call::Conntrack(call)) => self.prepare_track(call, frame),
            _ => false,
        }
    }

    /// Looks up the key that was packed for a table that packets change.
    pub(in crate::p4) fn find_in_turn(&mut self, table: u32, frame: &mut [u64]) -> Applied {
        self.find(table, self.table(table), frame)
    }

    /// Completes a lookup that was begun.
    pub(super) fn end_apply(&mut self, table: u32, frame: &mut [u64]) -> Applied {
        let of = self.table(table);
        let local = &*self.local;
        let hit = || local.hit();
        let found = of.find_staged(frame, local.key_of(of), local.staged, self.pin, hit);
        self.take(table, found, frame)
    }

    /// Looks up the key that was packed for a table, whose number is `table`.
    #[inline(always)]
    pub(super) fn find(&mut self, table: u32, of: &Table, frame: &mut [u64]) -> Applied {
        let local = &*self.local;
        let found = of.find(frame, local.key_of(of), self.pin, || local.hit());
        self.take(table, found, frame)
    }

    /// Finds the record for the key that was packed for a table.
    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    #[inline(always)]
    pub(super) fn record(&self, of: &Table) -> Option<u32> {
        of.look_up(self.local.key_of(of), self.pin)
    }

    /// The same for a table with exact keys, of which the hash is known.
    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    #[inline(always)]
    pub(super) fn record_hashed(&self, of: &Table, hash: u64) -> Option<u32> {
        of.look_up_hashed(self.local.key_of(of), hash, self.pin)
    }

    /// The result of a lookup in a table without entries.
    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    #[inline]
    pub(super) fn miss(&mut self, table: u32, of: &Table, frame: &mut [u64]) -> Applied {
        let local = &*self.local;
        let found = of.miss(frame, || local.hit());
        self.take(table, found, frame)
    }

    /// Records a lookup's result for the packet; resolves members and groups of a profile.
    #[inline(always)]
    fn take(&mut self, table: u32, found: Found, frame: &mut [u64]) -> Applied {
        *self.local.applied = Reached::new(table, found.entry);
        let action = match found.action {
            SelectedAction::Direct(action) => action,
            indirect => self.select(table, indirect, frame),
        };
        Applied {
            hit: found.entry.is_some(),
            action,
        }
    }

    /// Resolves a member or group of a table's profile. Returns the table's action.
    #[inline(never)]
    fn select(&mut self, table: u32, selected: SelectedAction, frame: &mut [u64]) -> u32 {
        let local = &mut *self.local;
        let table = &self.state.tables[table as usize];
        match selected {
            SelectedAction::Direct(action) => action,
            SelectedAction::Member(member) => table.select_member(member, frame, self.pin),
            SelectedAction::Group(group) => {
                local.gather_selector(table, frame);
                let hash = local.hash(&self.state.hashes, table.selector_hash());
                local.selected = (group, hash);
                table.select_group(group, hash, frame, self.pin)
            }
        }
    }

    /// Runs a later stage of a lookup that was begun.
    pub(super) fn advance(&mut self, table: u32, stage: usize) {
        let mut staged = self.local.staged;
        let table = &self.state.tables[table as usize];
        let (key, worker) = (self.local.key_of(table), self.local.worker);
        table.advance(stage, &mut staged, key, self.pin, worker);
        self.local.staged = staged;
    }
}

impl Host for Environment<'_> {
    fn apply(&mut self, table: u32, frame: &mut [u64]) -> Applied {
        let of = self.table(table);
        self.local.gather_key(of, frame);
        self.find(table, of, frame)
    }

    fn external(&mut self, call: u32, frame: &mut [u64]) {
        let calls = &self.state.calls;
        match calls.get(call as usize) {
            Some(call) => self.execute(call, frame),
            // Those of a trace are behind the program's.
            None => self.mark(call as usize - calls.len(), frame),
        }
    }

    fn in_value_set(&mut self, set: u32, frame: &[u64]) -> bool {
        self.state.value_sets[set as usize].has(frame)
    }
}
