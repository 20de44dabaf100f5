// SPDX-License-Identifier: Apache-2.0 OR MIT
//! RECONCILE_AND_COMMIT: the state of the old program is carried over to the new one.
//!
//! Entries of the program's source are carried over as far as they are not any more what the source says: those
//! that were deleted are deleted in the new program, if it has them too, and those that were changed are changed.
//! The others are the new program's.

use std::collections::HashSet;

use adit_pipeline::p4::objects::{Count, Object};
use adit_pipeline::p4::tables::Fate;
use prost::Message;
use tonic::Code;

use super::fault::{Fault, Result};
use super::pipeline::Thing;
use super::read::key_of;
use super::target::Target;
use super::{Active, Server};
use crate::proto::v1::{self, entity::Entity as E, update::Type};

/// A part of the state of a program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    All,
    /// The entries of tables, with members and groups.
    Tables,
    /// All else.
    Rest,
}

/// Reads of the entities of a part, in an order in which they can be written: members before the groups that
/// contain them, and these before the entries that refer to them.
fn entities(part: Part) -> Vec<E> {
    let entry = v1::TableEntry {
        counter_data: Some(v1::CounterData::default()),
        meter_config: Some(v1::MeterConfig::default()),
        ..Default::default()
    };
    let tables = [
        E::ActionProfileMember(v1::ActionProfileMember::default()),
        E::ActionProfileGroup(v1::ActionProfileGroup::default()),
        E::TableEntry(entry),
    ];
    let rest = [
        E::ValueSetEntry(v1::ValueSetEntry::default()),
        E::PacketReplicationEngineEntry(v1::PacketReplicationEngineEntry::default()),
        E::DigestEntry(v1::DigestEntry::default()),
        E::MeterEntry(v1::MeterEntry::default()),
        E::CounterEntry(v1::CounterEntry::default()),
        E::RegisterEntry(v1::RegisterEntry::default()),
    ];
    match part {
        Part::All => tables.into_iter().chain(rest).collect(),
        Part::Tables => tables.into(),
        Part::Rest => rest.into(),
    }
}

/// The entries of a program's source that are still as they are there, as clients see their keys.
#[derive(Default)]
struct Unchanged(HashSet<Vec<u8>>);

impl Unchanged {
    fn add(&mut self, entry: &v1::TableEntry) {
        self.0.insert(key_of(entry).encode_to_vec());
    }

    fn contains(&self, entry: &v1::TableEntry) -> bool {
        !self.0.is_empty() && self.0.contains(&key_of(entry).encode_to_vec())
    }
}

fn update(kind: Type, entity: E) -> v1::Update {
    v1::Update {
        r#type: kind as i32,
        entity: Some(v1::Entity {
            entity: Some(entity),
        }),
    }
}

/// The update of an entry's direct counter.
pub(super) fn direct_counter(key: v1::TableEntry, count: Count) -> v1::Update {
    let counter = v1::DirectCounterEntry {
        table_entry: Some(key),
        data: Some(v1::CounterData {
            byte_count: count.bytes as i64,
            packet_count: count.packets as i64,
        }),
    };
    update(Type::Modify, E::DirectCounterEntry(counter))
}

/// The updates of the direct counter and meter of an entry that is the program's own.
fn direct(entry: &v1::TableEntry) -> impl Iterator<Item = v1::Update> {
    let key = || Some(key_of(entry));
    let counts = entry
        .counter_data
        .filter(|counts| *counts != Default::default());
    let counter = counts.map(|counts| {
        E::DirectCounterEntry(v1::DirectCounterEntry {
            table_entry: key(),
            data: Some(counts),
        })
    });
    let meter = entry.meter_config.map(|config| {
        E::DirectMeterEntry(v1::DirectMeterEntry {
            table_entry: key(),
            config: Some(config),
            counter_data: None,
        })
    });
    let both = [counter, meter];
    both.into_iter()
        .flatten()
        .map(|entity| update(Type::Modify, entity))
}

impl Target<'_> {
    /// Reads all that control planes have written and packets have counted, or a part of it, as the updates that
    /// write it to another engine, in batches. `sink` returns false to end that. Learnt entries are not part of it.
    pub(super) fn updates(
        &self,
        part: Part,
        sink: &mut dyn FnMut(Vec<v1::Update>) -> bool,
    ) -> Result<()> {
        let mut unchanged = Unchanged::default();
        if part != Part::Rest {
            let deletions;
            (deletions, unchanged) = self.own_entries()?;
            if !sink(deletions) {
                return Ok(());
            }
        }
        let mut wanted = entities(part);
        let tables = self.pipeline.tables.iter();
        let changed = tables.zip(self.pipeline.engine.tables());
        let changed =
            changed.filter(|(id, t)| part != Part::Tables && **id != 0 && t.default_is_set());
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
        let of_packets = Target {
            hands_over: true,
            ..*self
        };
        of_packets.read(&wanted, &mut |reply| {
            let mut updates = Vec::with_capacity(reply.entities.len());
            for entity in reply.entities.into_iter().filter_map(|e| e.entity) {
                self.add_updates(entity, &unchanged, &mut updates);
            }
            sink(updates)
        })
    }

    /// The deletions of the program's own entries that are not there any more, and those that are as they
    /// were.
    fn own_entries(&self) -> Result<(Vec<v1::Update>, Unchanged)> {
        let (mut deletions, mut unchanged) = (Vec::new(), Unchanged::default());
        let engine = &self.pipeline.engine;
        let programs = engine.program().tables.iter().zip(engine.tables());
        for (n, (spec, table)) in programs.enumerate() {
            if spec.const_entries || self.pipeline.tables[n] == 0 {
                continue;
            }
            for own in &spec.entries {
                let (keys, fate) = table.fate(own)?;
                let key = self.pipeline.shown_key(n, &keys, own.priority);
                match fate {
                    Fate::Unchanged => unchanged.add(&key),
                    Fate::Changed => {}
                    Fate::Deleted => deletions.push(update(Type::Delete, E::TableEntry(key))),
                }
            }
        }
        Ok((deletions, unchanged))
    }

    /// Adds the updates that write an entity; none if it need not be written.
    fn add_updates(&self, entity: E, unchanged: &Unchanged, updates: &mut Vec<v1::Update>) {
        let kind = match &entity {
            E::TableEntry(entry) if entry.is_const => {
                updates.extend(direct(entry));
                return;
            }
            // It is the new program's, if that has it.
            E::TableEntry(entry) if unchanged.contains(entry) => {
                updates.push(update(Type::Insert, E::TableEntry(entry.clone())));
                updates.extend(direct(entry));
                return;
            }
            E::TableEntry(_) => Type::Modify,
            E::MeterEntry(entry) if entry.config.is_none() => return,
            E::CounterEntry(entry) if entry.data.unwrap_or_default() == Default::default() => {
                return
            }
            E::ValueSetEntry(set) if set.members.is_empty() => return,
            E::RegisterEntry(entry) if self.is_initial(entry) => return,
            E::ValueSetEntry(_) | E::MeterEntry(_) | E::CounterEntry(_) | E::RegisterEntry(_) => {
                Type::Modify
            }
            _ => Type::Insert,
        };
        updates.push(update(kind, entity));
    }

    /// Returns whether an element of a register has the value of the program.
    fn is_initial(&self, entry: &v1::RegisterEntry) -> bool {
        let Some(Thing::Extern(n)) = self.pipeline.things.get(&entry.register_id) else {
            return false;
        };
        let index = entry.index.map_or(-1, |index| index.index);
        match (self.pipeline.engine.objects().get(*n), u64::try_from(index)) {
            (Some(Object::Register(register)), Ok(at)) => register.is_initial(at) == Ok(true),
            _ => false,
        }
    }

    /// Makes updates of an engine with the same entities. `described` returns the name of an entity.
    pub(super) fn carry_out(
        &self,
        updates: &[v1::Update],
        described: &dyn Fn(&E) -> String,
    ) -> std::result::Result<(), String> {
        for update in updates {
            let Err(fault) = self.write(update) else {
                continue;
            };
            let entity = update.entity.as_ref().and_then(|e| e.entity.as_ref());
            let what = entity.map(described).unwrap_or_default();
            let why = fault.message;
            return Err(format!("{what} cannot be kept by the new program: {why}"));
        }
        Ok(())
    }

    /// Makes one update. It need not fit what the program has by itself.
    fn write(&self, update: &v1::Update) -> Result<()> {
        let entity = update.entity.as_ref().and_then(|e| e.entity.as_ref());
        let kind = Type::try_from(update.r#type).unwrap_or(Type::Unspecified);
        match (entity, kind) {
            // An entry that may be one of the program's own already.
            (Some(E::TableEntry(entry)), Type::Modify) if !entry.is_default_action => {
                match self.table_entry(Type::Insert, entry) {
                    Err(fault) if fault.code == Code::AlreadyExists => {
                        self.table_entry(Type::Modify, entry)
                    }
                    inserted => inserted,
                }
            }
            (Some(E::TableEntry(_)), Type::Delete) => match self.update(update) {
                // The program has no such entry, or not even the table.
                Err(fault) if fault.code == Code::NotFound => Ok(()),
                deleted => deleted,
            },
            // Of an entry of the old program's own, which the new one need not have.
            (Some(E::DirectCounterEntry(_) | E::DirectMeterEntry(_)), _) => {
                let _ = self.update(update);
                Ok(())
            }
            _ => match self.update(update) {
                // The program's own entries exist already.
                Err(fault) if fault.code == Code::AlreadyExists => Ok(()),
                done => done,
            },
        }
    }
}

impl Server {
    /// Copies the state of the old program to the new one. If any of it does not fit, nothing has
    /// changed.
    pub(super) fn carry_over(&self, before: &Active, next: &Active) -> Result<()> {
        next.pipeline.texts.inherit(&before.pipeline.texts);
        let engine = &next.pipeline.engine;
        engine.continue_flow_ids(before.pipeline.engine.last_flow_id());
        let target = Target {
            defers_references: true,
            ..self.target(next, "")
        };
        let refused = |why: String| Fault::invalid(format!("RECONCILE_AND_COMMIT: {why}"));
        let before = self.target(before, "");
        let described = |entity: &E| before.pipeline.describe(entity);
        let mut carried = Ok(());
        before.updates(Part::All, &mut |updates| {
            carried = target.carry_out(&updates, &described);
            carried.is_ok()
        })?;
        carried.map_err(refused)?;
        target.assign(&before.owners()?).map_err(refused)?;
        let mut carried = Ok(());
        before.learnt(&mut |learnt| {
            carried = target.learn(&learnt, &described);
            carried.is_ok()
        })?;
        carried.map_err(refused)?;
        target.fill(&before.levels()?);
        let references = next.pipeline.rules.references.check_all();
        references.map_err(|fault| refused(fault.message))
    }
}
