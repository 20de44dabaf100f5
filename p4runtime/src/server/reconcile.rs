// SPDX-License-Identifier: Apache-2.0 OR MIT
//! RECONCILE_AND_COMMIT: the state of the old program is carried over to the new one; and the same from one
//! process to the next.

use prost::Message;
use tonic::Code;

use super::fault::{Fault, Result};
use super::target::Target;
use super::{Active, Server};
use crate::proto::v1::{self, entity::Entity as E, update::Type};

/// Reads of all entities, in an order in which they can be written: members before the groups that
/// contain them, and these before the entries that refer to them.
fn everything() -> Vec<E> {
    let entry = v1::TableEntry {
        counter_data: Some(v1::CounterData::default()),
        meter_config: Some(v1::MeterConfig::default()),
        ..Default::default()
    };
    vec![
        E::ActionProfileMember(v1::ActionProfileMember::default()),
        E::ActionProfileGroup(v1::ActionProfileGroup::default()),
        E::TableEntry(entry),
        E::ValueSetEntry(v1::ValueSetEntry::default()),
        E::PacketReplicationEngineEntry(v1::PacketReplicationEngineEntry::default()),
        E::DigestEntry(v1::DigestEntry::default()),
        E::MeterEntry(v1::MeterEntry::default()),
        E::CounterEntry(v1::CounterEntry::default()),
        E::RegisterEntry(v1::RegisterEntry::default()),
    ]
}

/// Returns the type of the update that writes an entity: one that always exists can only be
/// modified. `None` if it need not be written.
fn kind(entity: &E) -> Option<Type> {
    match entity {
        E::TableEntry(entry) if entry.is_const => None,
        E::TableEntry(entry) if entry.is_default_action => Some(Type::Modify),
        E::MeterEntry(entry) if entry.config.is_none() => None,
        E::CounterEntry(entry) if entry.data.unwrap_or_default() == Default::default() => None,
        E::ValueSetEntry(set) if set.members.is_empty() => None,
        E::RegisterEntry(entry) if entry.data.as_ref() == Some(&zero()) => None,
        E::ValueSetEntry(_) | E::MeterEntry(_) | E::CounterEntry(_) | E::RegisterEntry(_) => {
            Some(Type::Modify)
        }
        _ => Some(Type::Insert),
    }
}

/// The initial value of registers.
fn zero() -> v1::P4Data {
    v1::P4Data {
        data: Some(v1::p4_data::Data::Bitstring(vec![0])),
    }
}

impl Target<'_> {
    /// Reads all that control planes and packets have written, as the updates that write it to another
    /// engine, in batches. `sink` returns false to end that.
    fn updates(&self, sink: &mut dyn FnMut(Vec<v1::Update>) -> bool) -> Result<()> {
        let mut wanted = everything();
        let tables = self.pipeline.tables.iter();
        let changed = tables.zip(self.pipeline.engine.tables());
        let changed = changed.filter(|(id, t)| **id != 0 && t.default_is_set());
        wanted.extend(changed.map(|(id, _)| {
            E::TableEntry(v1::TableEntry {
                table_id: *id,
                is_default_action: true,
                ..Default::default()
            })
        }));
        let wanted: Vec<_> = wanted
            .into_iter()
            .map(|entity| v1::Entity {
                entity: Some(entity),
            })
            .collect();
        self.read(&wanted, &mut |reply| {
            let entities = reply.entities.into_iter();
            let updates = entities.filter_map(|entity| {
                let kind = kind(entity.entity.as_ref()?)?;
                Some(v1::Update {
                    r#type: kind as i32,
                    entity: Some(entity),
                })
            });
            sink(updates.collect())
        })
    }

    /// Makes updates of an engine with the same entities. `described` returns the name of an entity.
    fn carry_out(
        &self,
        updates: &[v1::Update],
        described: &dyn Fn(&E) -> String,
    ) -> std::result::Result<(), String> {
        for update in updates {
            match self.update(update) {
                // The program's own entries exist already.
                Err(fault) if fault.code == Code::AlreadyExists => {}
                Err(fault) => {
                    let entity = update.entity.as_ref().and_then(|e| e.entity.as_ref());
                    let what = entity.map(described).unwrap_or_default();
                    let why = fault.message;
                    return Err(format!("{what} cannot be kept by the new program: {why}"));
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }
}

impl Server {
    /// Copies the state of the old program to the new one. If any of it does not fit, nothing has
    /// changed.
    pub(super) fn carry_over(&self, before: &Active, next: &Active) -> Result<()> {
        next.pipeline.texts.inherit(&before.pipeline.texts);
        let target = Target {
            defers_references: true,
            ..self.target(next, "")
        };
        let refused = |why: String| Fault::invalid(format!("RECONCILE_AND_COMMIT: {why}"));
        let mut carried = Ok(());
        self.target(before, "").updates(&mut |updates| {
            carried = target.carry_out(&updates, &|entity| before.pipeline.describe(entity));
            carried.is_ok()
        })?;
        carried.map_err(refused)?;
        let references = next.pipeline.rules.references.check_all();
        references.map_err(|fault| refused(fault.message))
    }

    /// The state of the active program as bytes, for a successor of this process: entries and values,
    /// with the numbers of strings. Clients must not write meanwhile
    /// ([`hold_writes`](Self::hold_writes)), and no packet may pass.
    ///
    /// # Errors
    /// With a text when an entity cannot be read.
    pub fn save_state(&self) -> std::result::Result<Vec<u8>, String> {
        let Ok(active) = self.active() else {
            return Ok(Vec::new());
        };
        let mut state = SavedState::default();
        for (name, bits, assigned) in active.pipeline.texts.assigned() {
            let (numbers, texts) = assigned.into_iter().unzip();
            state.translations.push(SavedTranslation {
                name,
                bits,
                numbers,
                texts,
            });
        }
        let read = self.target(&active, "").updates(&mut |updates| {
            state.updates.extend(updates);
            true
        });
        read.map_err(|fault| fault.message)?;
        Ok(state.encode_to_vec())
    }

    /// Restores a state of [`save_state`](Self::save_state) to the active program, which has none yet.
    ///
    /// # Errors
    /// With a text when the state is damaged, or does not fit the program. Some of it has been restored
    /// then.
    pub fn restore_state(&self, bytes: &[u8]) -> std::result::Result<(), String> {
        let state = SavedState::decode(bytes)
            .map_err(|error| format!("the state of the program is damaged: {error}"))?;
        let active = match self.active() {
            Ok(active) => active,
            Err(_) if state == SavedState::default() => return Ok(()),
            Err(fault) => return Err(fault.message),
        };
        let translations = state.translations.into_iter().map(|one| {
            let assigned = one.numbers.into_iter().zip(one.texts).collect();
            (one.name, one.bits, assigned)
        });
        active
            .pipeline
            .texts
            .assign(&translations.collect::<Vec<_>>());
        let target = Target {
            defers_references: true,
            ..self.target(&active, "")
        };
        target.carry_out(&state.updates, &|entity| active.pipeline.describe(entity))?;
        let references = active.pipeline.rules.references.check_all();
        references.map_err(|fault| fault.message)
    }
}

/// The state of a program.
#[derive(Clone, PartialEq, Message)]
struct SavedState {
    #[prost(message, repeated, tag = "1")]
    updates: Vec<v1::Update>,
    #[prost(message, repeated, tag = "2")]
    translations: Vec<SavedTranslation>,
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
