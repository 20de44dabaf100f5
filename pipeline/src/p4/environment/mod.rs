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
mod requests;

use super::externs::Call;
use super::machine::{Applied, Host};
use super::memory::Pin;
use super::state::State;
use super::tables::{Found, Lookup, SelectedAction};
pub(super) use local::Local;
pub(super) use requests::{Forward, Requests};

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

impl Environment<'_> {
    fn lookup(&self) -> Lookup<'_> {
        Lookup {
            pin: self.pin,
            worker: self.local.worker,
            weight: self.local.weight(None),
            now_ns: self.local.now_ns,
        }
    }

    /// Looks up the key that was packed. Returns `None` if the lookup is slow and was only begun.
    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    pub(super) fn begin_apply(
        &mut self,
        table: u32,
        frame: &mut [u64],
        may_wait: bool,
    ) -> Option<Applied> {
        let state = self.state;
        let of = &state.tables[table as usize];
        let lookup = self.lookup();
        if may_wait && of.is_worth_staging(lookup) {
            let staged = of.begin_staged(self.local.key_of(of), lookup);
            self.local.staged = staged;
            return None;
        }
        Some(self.find(table, frame))
    }

    /// Returns whether packets change a table's entries.
    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    pub(super) fn is_changed_by_packets(&self, table: u32) -> bool {
        self.state.tables[table as usize].learns()
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

    /// Completes a lookup that was begun.
    pub(super) fn end_apply(&mut self, table: u32, frame: &mut [u64]) -> Applied {
        let of = &self.state.tables[table as usize];
        let (key, staged) = (self.local.key_of(of), self.local.staged);
        let found = of.find_staged(frame, key, staged, self.lookup());
        self.take(table, found, frame)
    }

    /// Looks up the key that was packed.
    #[inline]
    pub(in crate::p4) fn find(&mut self, table: u32, frame: &mut [u64]) -> Applied {
        let of = &self.state.tables[table as usize];
        let found = of.find(frame, self.local.key_of(of), self.lookup());
        self.take(table, found, frame)
    }

    /// Records a lookup's result for the packet; resolves members and groups of a profile.
    #[inline]
    fn take(&mut self, table: u32, found: Found, frame: &mut [u64]) -> Applied {
        let index = table as usize;
        let local = &mut *self.local;
        let table = &self.state.tables[index];
        local.applied = Some((index, found.entry));
        let action = match found.action {
            SelectedAction::Direct(action) => action,
            SelectedAction::Member(member) => table.select_member(member, frame, self.pin),
            SelectedAction::Group(group) => {
                local.gather_selector(table, frame);
                let hash = local.hash(&self.state.hashes, table.selector_hash());
                local.selected = (group, hash);
                table.select_group(group, hash, frame, self.pin)
            }
        };
        Applied {
            hit: found.entry.is_some(),
            action,
        }
    }

    /// Runs a later stage of a lookup that was begun.
    pub(super) fn advance(&mut self, table: u32, stage: usize) {
        let mut staged = self.local.staged;
        let table = &self.state.tables[table as usize];
        table.advance(stage, &mut staged, self.local.key_of(table), self.lookup());
        self.local.staged = staged;
    }
}

impl Host for Environment<'_> {
    fn apply(&mut self, table: u32, frame: &mut [u64]) -> Applied {
        let of = &self.state.tables[table as usize];
        self.local.gather_key(of, frame);
        self.find(table, frame)
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
