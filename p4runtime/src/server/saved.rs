// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state of the active program from one process to the next: whole, or as a copy of the tables, made while
//! packets pass, and the rest.

use std::time::Duration;

use prost::Message;

use super::learnt::Learnt;
use super::levels::Levels;
use super::owners::Owners;
use super::reconcile::Part;
use super::target::Target;
use super::{Active, Server};
use crate::proto::v1;

/// The state of a program.
#[derive(Clone, PartialEq, Message)]
struct SavedState {
    #[prost(message, repeated, tag = "1")]
    updates: Vec<v1::Update>,
    #[prost(message, repeated, tag = "2")]
    translations: Vec<SavedTranslation>,
    /// The last number of `allocate_flow_id`.
    #[prost(uint64, tag = "3")]
    last_flow_id: u64,
    #[prost(message, repeated, tag = "4")]
    learnt: Vec<Learnt>,
    #[prost(enumeration = "SavedPart", tag = "5")]
    part: i32,
    #[prost(message, repeated, tag = "6")]
    owners: Vec<Owners>,
    /// Those of clients, with the last part.
    #[prost(message, repeated, tag = "7")]
    roles: Vec<SavedRole>,
    /// Of meters, with the last part.
    #[prost(message, repeated, tag = "8")]
    levels: Vec<Levels>,
}

/// A role, with the highest election id that it has seen.
#[derive(Clone, PartialEq, Message)]
struct SavedRole {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    high: u64,
    #[prost(uint64, tag = "3")]
    low: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum SavedPart {
    Whole = 0,
    Tables = 1,
    Rest = 2,
}

impl From<(String, u128)> for SavedRole {
    fn from((name, highest): (String, u128)) -> Self {
        let (high, low) = ((highest >> 64) as u64, highest as u64);
        Self { name, high, low }
    }
}

impl From<SavedRole> for (String, u128) {
    fn from(role: SavedRole) -> Self {
        let highest = u128::from(role.high) << 64 | u128::from(role.low);
        (role.name, highest)
    }
}

/// The strings of the types with one URI. An empty text is that of a number which was written as such.
#[derive(Clone, PartialEq, Message)]
struct SavedTranslation {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    bits: u32,
    #[prost(uint64, repeated, tag = "3")]
    numbers: Vec<u64>,
    #[prost(string, repeated, tag = "4")]
    texts: Vec<String>,
}

impl SavedState {
    /// Those of a program: entities are missing.
    fn of(active: &Active) -> Self {
        let translations = active.pipeline.texts.assigned().into_iter();
        let translations = translations.map(|(name, bits, assigned)| {
            let (numbers, texts) = assigned.into_iter().unzip();
            SavedTranslation {
                name,
                bits,
                numbers,
                texts,
            }
        });
        Self {
            translations: translations.collect(),
            last_flow_id: active.pipeline.engine.last_flow_id(),
            ..Self::default()
        }
    }
}

impl Server {
    /// Copies the tables of the active program for a successor of this process, while packets pass; clients' writes
    /// wait. From then on their updates are recorded, until [`save_state`](Self::save_state). `None` if a client
    /// writes for longer than `patience`.
    ///
    /// # Errors
    /// With a text when an entity cannot be read.
    pub fn copy_state(&self, patience: Duration) -> std::result::Result<Option<Vec<u8>>, String> {
        let Some(_writes) = self.hold_writes(patience) else {
            return Ok(None);
        };
        let Ok(active) = self.active() else {
            return Ok(None);
        };
        let copied = self.target(&active, "").copy_tables(&active.journal);
        let (updates, owners) = copied.map_err(|fault| fault.message)?;
        let state = SavedState {
            updates,
            owners,
            part: SavedPart::Tables.into(),
            ..SavedState::of(&active)
        };
        Ok(Some(state.encode_to_vec()))
    }

    /// Ends the record of clients' updates: the successor that has the copy does not take over.
    pub fn forget_copy(&self) {
        if let Ok(active) = self.active() {
            active.journal.end();
        }
    }

    /// The state of the active program as bytes, for a successor of this process: entries and values, with the
    /// numbers of strings and flows, the owners of groups' buckets, the levels of meters, and the highest election
    /// ids of roles; without what it has got by a [copy](Self::copy_state), if it `has_copy`. Clients must not write
    /// meanwhile ([`hold_writes`](Self::hold_writes)), and no packet may pass.
    ///
    /// # Errors
    /// With a text when an entity cannot be read, or clients have written too much since the copy.
    pub fn save_state(&self, has_copy: bool) -> std::result::Result<Vec<u8>, String> {
        let roles = self.arbitration.lock().roles().into_iter();
        let roles = roles.map(SavedRole::from).collect();
        let active = match self.active() {
            Ok(active) => active,
            Err(_) if !has_copy => {
                let none = SavedState::default();
                return Ok(SavedState { roles, ..none }.encode_to_vec());
            }
            Err(fault) => return Err(fault.message),
        };
        let target = self.target(&active, "");
        let mut state = SavedState {
            roles,
            ..SavedState::of(&active)
        };
        let read = match (active.journal.end(), has_copy) {
            (Some(copied), true) => {
                state.part = SavedPart::Rest.into();
                let rest = target.rest_of_tables(copied);
                rest.map(|rest| (state.updates, state.owners) = rest)
            }
            (None, true) => {
                return Err("clients have written too much since the tables were copied".into());
            }
            (_, false) => {
                let read = target.updates(Part::All, &mut |updates| {
                    state.updates.extend(updates);
                    true
                });
                let owners = read.and_then(|()| target.owners());
                owners.map(|owners| state.owners = owners)
            }
        };
        read.map_err(|fault| fault.message)?;
        let read = target.learnt(&mut |learnt| {
            state.learnt.extend(learnt);
            true
        });
        read.map_err(|fault| fault.message)?;
        state.levels = target.levels().map_err(|fault| fault.message)?;
        Ok(state.encode_to_vec())
    }

    /// Restores a copy of [`copy_state`](Self::copy_state) to the active program, which has no state yet.
    ///
    /// # Errors
    /// As [`restore_state`](Self::restore_state).
    pub fn load_copy(&self, bytes: &[u8]) -> std::result::Result<(), String> {
        self.restore(bytes, SavedPart::Tables)
    }

    /// Restores a state of [`save_state`](Self::save_state) to the active program, which has none yet, or if it
    /// `has_copy` that of [`load_copy`](Self::load_copy).
    ///
    /// # Errors
    /// With a text when the state is damaged, or does not fit the program. Some of it has been restored
    /// then.
    pub fn restore_state(&self, bytes: &[u8], has_copy: bool) -> std::result::Result<(), String> {
        let expected = match has_copy {
            true => SavedPart::Rest,
            false => SavedPart::Whole,
        };
        self.restore(bytes, expected)
    }

    fn restore(&self, bytes: &[u8], expected: SavedPart) -> std::result::Result<(), String> {
        let mut state = SavedState::decode(bytes)
            .map_err(|error| format!("the state of the program is damaged: {error}"))?;
        if state.part != i32::from(expected) {
            let part = state.part;
            return Err(format!(
                "the state is part {part}: expected is {expected:?}"
            ));
        }
        let roles = std::mem::take(&mut state.roles).into_iter();
        let roles = roles.map(<(String, u128)>::from);
        self.arbitration.lock().continue_roles(roles);
        let active = match self.active() {
            Ok(active) => active,
            Err(_) if state == SavedState::default() => return Ok(()),
            Err(fault) => return Err(fault.message),
        };
        let translations = state.translations.into_iter().map(|one| {
            let assigned = one.numbers.into_iter().zip(one.texts).collect();
            (one.name, one.bits, assigned)
        });
        let pipeline = &active.pipeline;
        pipeline.texts.assign(&translations.collect::<Vec<_>>());
        pipeline.engine.continue_flow_ids(state.last_flow_id);
        let target = Target {
            defers_references: true,
            ..self.target(&active, "")
        };
        target.carry_out(&state.updates, &|entity| pipeline.describe(entity))?;
        target.assign(&state.owners)?;
        if expected == SavedPart::Tables {
            return Ok(());
        }
        target.learn(&state.learnt, &|entity| pipeline.describe(entity))?;
        target.fill(&state.levels);
        let references = pipeline.rules.references.check_all();
        references.map_err(|fault| fault.message)
    }
}
