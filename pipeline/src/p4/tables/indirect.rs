// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Entries whose actions are in an action profile or selector; direct meters and counters used by
//! actions.

use std::sync::atomic::AtomicU64;
use std::sync::Arc;

use adit_p4_frontend::ir::{self, Chosen};

use super::{Action, EntryId, Table, TableError};
use crate::p4::hash::Algorithm;
use crate::p4::memory::Pin;
use crate::p4::objects::{
    Color, Count, MemberAction, MeterConfig, MeterLevels, Object, Profile, SetAction,
};

/// The action profile or selector of a table.
pub(super) struct Indirect {
    profile: Arc<Profile>,
    algorithm: Algorithm,
    /// The table's action for each of the profile's; the profile may have actions of other tables
    /// too.
    actions: Vec<Option<u32>>,
}

/// An action as stored in records, where a set is a group.
#[derive(Clone, Copy)]
pub(super) enum Stored<'a> {
    Direct(&'a Chosen),
    Member(u32),
    Group(u32),
}

impl Table {
    /// Resolves the objects that the table's properties name.
    pub(in crate::p4) fn attach(&mut self, objects: &[Object]) {
        let Some(Object::Profile(profile, algorithm)) =
            self.profile.and_then(|at| objects.get(at as usize))
        else {
            return;
        };
        let position = |name: &str| {
            let at = self.spec().actions.iter().position(|a| a.name == name);
            at.map(|at| at as u32)
        };
        self.indirect = Some(Indirect {
            profile: profile.clone(),
            algorithm: *algorithm,
            actions: profile.actions().map(position).collect(),
        });
    }

    /// The keys that select a group's member.
    pub fn selector_keys(&self) -> &[ir::Key] {
        &self.shape.selector
    }

    pub(in crate::p4) fn selector_hash(&self) -> Algorithm {
        let indirect = self.indirect.as_ref();
        indirect.map_or(Algorithm::Identity, |indirect| indirect.algorithm)
    }

    /// Copies a member's arguments into the frame. Returns its action, or the default action if
    /// there is no such member.
    pub(in crate::p4) fn select_member(
        &self,
        member: u32,
        frame: &mut [u64],
        pin: &Pin<'_>,
    ) -> u32 {
        self.copy_chosen(frame, |profile| profile.chosen(member, pin))
    }

    /// The same for the member that a hash selects. An empty group runs the default action.
    pub(in crate::p4) fn select_group(
        &self,
        group: u32,
        hash: u64,
        frame: &mut [u64],
        pin: &Pin<'_>,
    ) -> u32 {
        self.copy_chosen(frame, |profile| profile.selected(group, hash, pin))
    }

    /// The member that a hash selects in a group, for a trace.
    pub(in crate::p4) fn selected_member(
        &self,
        group: u32,
        hash: u64,
        pin: &Pin<'_>,
    ) -> Option<u32> {
        let indirect = self.indirect.as_ref()?;
        indirect.profile.selected_member(group, hash, pin)
    }

    fn copy_chosen<'p>(
        &'p self,
        frame: &mut [u64],
        find: impl FnOnce(&'p Profile) -> Option<MemberAction<'p>>,
    ) -> u32 {
        let indirect = self.indirect.as_ref();
        let found = indirect.and_then(|indirect| {
            let chosen = find(&indirect.profile)?;
            // A member's action may belong to another table only.
            Some((indirect.actions[chosen.action as usize]?, chosen))
        });
        let Some((action, chosen)) = found else {
            return self.reach_default(frame);
        };
        let slots = &self.argument_slots[action as usize];
        for (slot, word) in slots.iter().zip(chosen.arguments) {
            frame[*slot as usize] = *word;
        }
        action
    }

    pub(super) fn check_indirect(&self, action: &Action) -> Result<(), TableError> {
        let is_group = matches!(action, Action::Group(_) | Action::Set(_));
        match &self.indirect {
            Some(indirect) if !is_group || indirect.profile.selects() => Ok(()),
            _ => Err(TableError::Indirect {
                table: self.spec().name.clone(),
                wanted: "members: it has an action profile, no selector",
            }),
        }
    }

    /// Takes a reference to a member or group, which must exist. Creates the group of a set; if
    /// possible it replaces the one that the entry had `before`.
    pub(super) fn hold<'a>(
        &self,
        action: &'a Action,
        before: Option<&Action>,
    ) -> Result<Stored<'a>, TableError> {
        let indirect = || {
            let wanted = "actions of their own: it has no action profile";
            self.indirect.as_ref().ok_or_else(|| TableError::Indirect {
                table: self.spec().name.clone(),
                wanted,
            })
        };
        let held = match action {
            Action::Direct(chosen) => Ok(Stored::Direct(chosen)),
            Action::Member(id) => {
                let held = indirect()?.profile.hold_member(*id);
                held.map(|()| Stored::Member(*id))
            }
            Action::Group(id) => {
                let held = indirect()?.profile.hold_group(*id);
                held.map(|()| Stored::Group(*id))
            }
            Action::Set(actions) => {
                let indirect = indirect()?;
                let replaced = match before {
                    Some(Action::Group(id)) => Some(*id),
                    _ => None,
                };
                let mut actions = actions.clone();
                for SetAction { chosen, .. } in &mut actions {
                    let mut places = indirect.actions.iter();
                    let at = places.position(|at| *at == Some(chosen.action));
                    let at = at.ok_or_else(|| TableError::Action {
                        table: self.spec().name.clone(),
                        action: "the action profile does not have it".to_owned(),
                    })?;
                    chosen.action = at as u32;
                }
                let held = indirect.profile.hold_set(actions, replaced);
                held.map(Stored::Group)
            }
        };
        held.map_err(TableError::Profile)
    }

    /// Releases the reference to a member or group. Returns a set that must be freed once no packet
    /// can use it.
    pub(super) fn release(&self, action: &Action) -> Option<u32> {
        match (&self.indirect, action) {
            (Some(indirect), Action::Member(id)) => {
                indirect.profile.release_member(*id);
                None
            }
            (Some(indirect), Action::Group(id)) => match indirect.profile.release_set(*id) {
                true => Some(*id),
                false => {
                    indirect.profile.release_group(*id);
                    None
                }
            },
            _ => None,
        }
    }

    pub(super) fn forget(&self, set: Option<u32>) {
        if let (Some(indirect), Some(id)) = (&self.indirect, set) {
            indirect.profile.forget_set(id);
        }
    }

    /// Converts an action to the control plane's form.
    pub(super) fn shown(&self, action: Action) -> Action {
        let (Some(indirect), Action::Group(id)) = (&self.indirect, &action) else {
            return action;
        };
        let Some(mut actions) = indirect.profile.set(*id) else {
            return action;
        };
        for SetAction { chosen, .. } in &mut actions {
            // A set has only actions of this table.
            let action = indirect.actions[chosen.action as usize];
            chosen.action = action.unwrap_or(chosen.action);
        }
        Action::Set(actions)
    }

    /// The entries with sets of actions whose buckets are not as in a new set, with the owners of these
    /// ([`Profile::owners`]).
    pub fn sets(&self) -> Vec<(EntryId, Vec<u8>)> {
        let indirect = self.indirect.as_ref();
        let Some(Indirect { profile, .. }) = indirect.filter(|one| one.profile.has_sets()) else {
            return Vec::new();
        };
        let state = self.state.lock();
        let owners = |record| match self.action_of(record) {
            Action::Group(id) => profile.owners_of_set(id),
            _ => None,
        };
        let entries = state.from(0);
        let sets = entries.filter_map(|(id, record, _)| Some((id, owners(record)?)));
        sets.collect()
    }

    /// The owners of the buckets of an entry's set; `None` without one, and as for [`Profile::owners`].
    pub fn set_owners(&self, id: EntryId) -> Option<Vec<u8>> {
        let profile = &self.indirect.as_ref()?.profile;
        let state = self.state.lock();
        match self.action_of(state.record(id)?.0) {
            Action::Group(id) => profile.owners_of_set(id),
            _ => None,
        }
    }

    /// Gives the buckets of an entry's set the owners that those of the same set in another engine have.
    ///
    /// # Errors
    /// When there is no such entry with a set, or they are not the owners of buckets of one like it.
    pub fn put_set_owners(&self, id: EntryId, owners: &[u8]) -> Result<(), TableError> {
        let state = self.state.lock();
        let action = state.record(id).map(|(record, _)| self.action_of(record));
        match (&self.indirect, action) {
            (Some(indirect), Some(Action::Group(id))) => {
                let put = indirect.profile.set_owners_of_set(id, owners);
                put.map_err(TableError::Profile)
            }
            _ => Err(TableError::Unknown(self.spec().name.clone())),
        }
    }

    /// Sets the rates of an entry's direct meter; without rates all packets are green.
    pub fn set_meter(&self, id: EntryId, config: Option<MeterConfig>) -> Result<(), TableError> {
        if self.direct_meter.is_none() {
            return Err(TableError::NoMeter(self.spec().name.clone()));
        }
        let state = self.state.lock();
        if state.record(id).is_none() {
            return Err(TableError::Unknown(self.spec().name.clone()));
        }
        let cell = match config {
            Some(_) => self.meters.make(id.0),
            None => self.meters.get(id.0),
        };
        let set = cell.map_or(Ok(()), |cell| cell.set(config));
        set.map_err(TableError::Meter)
    }

    /// The levels of the direct meters of entries, where not all buckets are full.
    pub fn meter_levels(&self, now_ns: u64) -> Vec<(EntryId, MeterLevels)> {
        if self.direct_meter.is_none() {
            return Vec::new();
        }
        let state = self.state.lock();
        let levels = |id: EntryId| self.meters.get(id.0)?.levels(now_ns);
        let entries = state.from(0);
        let found = entries.filter_map(|(id, ..)| Some((id, levels(id)?)));
        found.collect()
    }

    /// Sets the levels of an entry's direct meter, after its rates.
    pub fn set_meter_levels(&self, id: EntryId, levels: &MeterLevels, now_ns: u64) {
        if let Some(cell) = self.meters.get(id.0) {
            cell.set_levels(levels, now_ns);
        }
    }

    /// Meters a packet with an entry's meter.
    pub(in crate::p4) fn mark(&self, id: EntryId, now_ns: u64, amount: u64, color: Color) -> Color {
        let cell = self.meters.get(id.0);
        cell.map_or(color, |cell| cell.mark(now_ns, amount, color))
    }

    /// The words of a worker's direct counter, by the entries' ids.
    pub(in crate::p4) fn own_counts(&self, worker: usize) -> &[AtomicU64] {
        let counts = self.counts.as_ref();
        counts.map_or(&[], |counts| counts.own(worker))
    }

    /// Counts a packet for an entry.
    pub(in crate::p4) fn count(&self, worker: usize, id: EntryId, weight: Count) {
        if let Some(counts) = &self.counts {
            counts.add(worker, id.0 as usize, weight);
        }
    }
}
