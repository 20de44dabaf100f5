// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads: entities are read in pieces, so that memory use does not depend on the size of a table.

use adit_pipeline::p4::objects::{Count, Object};
use adit_pipeline::p4::replication::{CloneTo, Replica};
use adit_pipeline::p4::tables::{EntryId, EntryState, Origin, Table};
use prost::Message;
use tonic::Code;

use super::entries::from_match;
use super::fault::{Fault, Result};
use super::names::Kind;
use super::pipeline::{Pipeline, Thing};
use super::target::{range, Target};
use super::texts::Unknown;
use crate::bytes::from_limbs;
use crate::p4info::id_of;
use crate::proto::v1::{self, entity::Entity as E};

/// The maximum size of a reply: gRPC clients accept 4 MiB by default.
const MAX_REPLY: usize = 1 << 20;
/// The number of entries that are examined at a time.
const PIECE: usize = 1024;

/// A callback that takes a reply; `false` ends the read.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(v1::ReadResponse) -> bool;

/// Gathers entities into replies of bounded size.
struct Replies<'a> {
    sink: Sink<'a>,
    now: v1::ReadResponse,
    bytes: usize,
    is_open: bool,
}

impl Replies<'_> {
    fn add(&mut self, entity: E) -> bool {
        let entity = v1::Entity {
            entity: Some(entity),
        };
        self.bytes += entity.encoded_len() + 8;
        self.now.entities.push(entity);
        if self.bytes >= MAX_REPLY {
            self.flush();
        }
        self.is_open
    }

    fn flush(&mut self) {
        self.bytes = 0;
        let reply = std::mem::take(&mut self.now);
        if !reply.entities.is_empty() && self.is_open {
            self.is_open = (self.sink)(reply);
        }
    }
}

/// A field of a value set's members.
pub(crate) struct SetField {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) kind: &'static str,
}

impl Pipeline {
    /// Returns the fields of a value set.
    pub(crate) fn set_fields(&self, n: usize) -> Vec<SetField> {
        use crate::proto::config::match_field::{Match, MatchType};
        let id = self.value_sets[n];
        let mut sets = self.p4info.value_sets.iter();
        let set = sets.find(|s| id_of(&s.preamble) == id);
        let fields = set.map_or(&[][..], |s| &s.r#match).iter();
        let fields = fields.map(|f| SetField {
            id: f.id,
            name: f.name.clone(),
            kind: match f.r#match {
                Some(Match::MatchType(kind)) => match MatchType::try_from(kind) {
                    Ok(MatchType::Lpm) => "lpm",
                    Ok(MatchType::Ternary) => "ternary",
                    Ok(MatchType::Range) => "range",
                    Ok(MatchType::Optional) => "optional",
                    _ => "exact",
                },
                _ => "exact",
            },
        });
        fields.collect()
    }
}

impl Target<'_> {
    /// Returns the current state of an entity, for undoing a change; several entities if a change
    /// applies to a whole array, none if it does not exist.
    pub(crate) fn current(&self, entity: &v1::Entity) -> Vec<v1::Entity> {
        let mut wanted = entity.clone();
        if let Some(E::TableEntry(entry)) = &mut wanted.entity {
            let Ok((_, table)) = self.pipeline.table(entry.table_id) else {
                return Vec::new();
            };
            // An entry without a match would select all entries.
            let has_keys = !table.spec().keys.is_empty();
            if !entry.is_default_action && entry.r#match.is_empty() && has_keys {
                return self.current_any(entry);
            }
            *entry = v1::TableEntry {
                meter_config: table.direct_meter().map(|_| v1::MeterConfig::default()),
                counter_data: table.direct_counter().map(|_| v1::CounterData::default()),
                ..key_of(entry)
            };
            if entry.is_default_action && !table.default_is_set() {
                return vec![v1::Entity {
                    entity: Some(E::TableEntry(v1::TableEntry {
                        table_id: entry.table_id,
                        is_default_action: true,
                        ..Default::default()
                    })),
                }];
            }
        }
        let mut found = Vec::new();
        let mut sink = |reply: v1::ReadResponse| {
            found.extend(reply.entities);
            true
        };
        if self.read(std::slice::from_ref(&wanted), &mut sink).is_err() {
            return Vec::new();
        }
        for entity in &mut found {
            if let Some(E::TableEntry(entry)) = &mut entity.entity {
                if entry.is_default_action {
                    entry.counter_data = None;
                }
            }
        }
        found
    }

    /// Returns the entry that matches anything, since a read of it selects all entries.
    fn current_any(&self, entry: &v1::TableEntry) -> Vec<v1::Entity> {
        let found = || -> Result<v1::TableEntry> {
            let (n, table) = self.pipeline.table(entry.table_id)?;
            let keys = self.pipeline.matches(n, &entry.r#match, Unknown::Missing)?;
            let priority = self.pipeline.priority(table, entry.priority)?;
            let state = table.get(&keys, priority)?;
            let wanted = v1::TableEntry {
                meter_config: table.direct_meter().map(|_| v1::MeterConfig::default()),
                counter_data: table.direct_counter().map(|_| v1::CounterData::default()),
                ..Default::default()
            };
            Ok(self.pipeline.shown_entry(n, &state, &wanted, self.now_ns))
        };
        let found = found().ok().map(|entry| v1::Entity {
            entity: Some(E::TableEntry(entry)),
        });
        found.into_iter().collect()
    }

    /// Finds the requested entities, each of which is checked first.
    pub(crate) fn read(&self, wanted: &[v1::Entity], sink: Sink<'_>) -> Result<()> {
        let mut replies = Replies {
            sink,
            now: v1::ReadResponse::default(),
            bytes: 0,
            is_open: true,
        };
        for entity in wanted {
            let Some(entity) = &entity.entity else {
                return Err(Fault::invalid("an entity of the read has no kind"));
            };
            self.find(entity, &mut replies)?;
            if !replies.is_open {
                return Ok(());
            }
        }
        replies.flush();
        Ok(())
    }

    fn find(&self, wanted: &E, replies: &mut Replies<'_>) -> Result<()> {
        match wanted {
            E::TableEntry(entry) => self.tables(entry, replies, &|entry| E::TableEntry(entry)),
            E::DirectCounterEntry(direct) => {
                let mut entry = direct.table_entry.as_ref().map(key_of).unwrap_or_default();
                entry.counter_data = Some(v1::CounterData::default());
                entry.is_default_action = false;
                self.tables(&entry, replies, &|mut entry| {
                    let data = entry.counter_data.take();
                    entry.action = None;
                    E::DirectCounterEntry(v1::DirectCounterEntry {
                        table_entry: Some(entry),
                        data,
                    })
                })
            }
            E::CounterEntry(entry) => self.counters(entry, replies),
            E::RegisterEntry(entry) => self.registers(entry, replies),
            E::ValueSetEntry(entry) => self.sets(entry, replies),
            E::PacketReplicationEngineEntry(entry) => self.copies(entry, replies),
            E::DigestEntry(entry) => {
                for entry in self.digests.read(self.pipeline, entry.digest_id)? {
                    replies.add(E::DigestEntry(entry));
                }
                Ok(())
            }
            E::ActionProfileMember(wanted) => {
                let found = self.pipeline.members(wanted)?;
                found
                    .into_iter()
                    .all(|m| replies.add(E::ActionProfileMember(m)));
                Ok(())
            }
            E::ActionProfileGroup(wanted) => {
                let found = self.pipeline.groups(wanted)?;
                found
                    .into_iter()
                    .all(|g| replies.add(E::ActionProfileGroup(g)));
                Ok(())
            }
            E::MeterEntry(wanted) => {
                let found = self.pipeline.meters(wanted)?;
                found.into_iter().all(|m| replies.add(E::MeterEntry(m)));
                Ok(())
            }
            E::DirectMeterEntry(direct) => {
                let mut entry = direct.table_entry.as_ref().map(key_of).unwrap_or_default();
                entry.meter_config = Some(v1::MeterConfig::default());
                entry.is_default_action = false;
                self.tables(&entry, replies, &|mut entry| {
                    let config = entry.meter_config.take();
                    entry.action = None;
                    E::DirectMeterEntry(v1::DirectMeterEntry {
                        table_entry: Some(entry),
                        config,
                        counter_data: None,
                    })
                })
            }
            E::ExternEntry(entry) => Err(Fault::not_found(format!(
                "extern_type_id {} does not exist; externs: none",
                entry.extern_type_id
            ))),
        }
    }

    fn tables(
        &self,
        wanted: &v1::TableEntry,
        replies: &mut Replies<'_>,
        make: &dyn Fn(v1::TableEntry) -> E,
    ) -> Result<()> {
        let lacks = |table: &Table| match make(v1::TableEntry::default()) {
            E::DirectCounterEntry(_) => table.direct_counter().is_none(),
            E::DirectMeterEntry(_) => table.direct_meter().is_none(),
            _ => false,
        };
        if wanted.table_id != 0 {
            let (n, table) = self.pipeline.table(wanted.table_id)?;
            if lacks(table) {
                return Err(Fault::invalid(format!(
                    "table `{}` has no direct counter or meter",
                    table.spec().name
                )));
            }
            self.table(n, wanted, replies, make)?;
            return Ok(());
        }
        if !wanted.r#match.is_empty() {
            return Err(Fault::invalid(
                "match is given for table_id 0, which is all tables: it takes a table_id",
            ));
        }
        for n in 0..self.pipeline.tables.len() {
            // Hidden tables are not visible to clients.
            let table = &self.pipeline.engine.tables()[n];
            let is_shown = self
                .pipeline
                .p4info
                .tables
                .iter()
                .any(|t| id_of(&t.preamble) == self.pipeline.tables[n]);
            if !is_shown || lacks(table) {
                continue;
            }
            self.table(n, wanted, replies, make)?;
        }
        Ok(())
    }

    fn table(
        &self,
        n: usize,
        wanted: &v1::TableEntry,
        replies: &mut Replies<'_>,
        make: &dyn Fn(v1::TableEntry) -> E,
    ) -> Result<()> {
        let table = &self.pipeline.engine.tables()[n];
        if wanted.is_default_action {
            let action = table.default_action();
            let id = self.pipeline.tables[n];
            let mut shown = v1::TableEntry {
                table_id: id,
                is_default_action: true,
                action: self.pipeline.shown_action(table.spec(), &action),
                ..Default::default()
            };
            if let Some(kept) = self.pipeline.defaults.lock().get(&id) {
                kept.clone().show(&mut shown);
            }
            if is_wanted(wanted, &shown)? {
                replies.add(make(shown));
            }
            return Ok(());
        }
        if !wanted.r#match.is_empty() {
            let keys = match self.pipeline.matches(n, &wanted.r#match, Unknown::Missing) {
                // A string that no client has written is in no entry.
                Err(fault) if fault.code == Code::NotFound => return Ok(()),
                keys => keys?,
            };
            let priority = self.pipeline.priority(table, wanted.priority)?;
            if let Ok(state) = table.get(&keys, priority) {
                let shown = self.pipeline.shown_entry(n, &state, wanted, self.now_ns);
                if is_wanted(wanted, &shown)? {
                    replies.add(make(shown));
                }
            }
            return Ok(());
        }
        let mut add = |state: &EntryState| {
            if self.hands_over && state.origin == Origin::Packet {
                return Ok(true);
            }
            if wanted.priority != 0 && state.entry.priority != i64::from(wanted.priority) {
                return Ok(true);
            }
            let shown = self.pipeline.shown_entry(n, state, wanted, self.now_ns);
            Ok::<_, Fault>(!is_wanted(wanted, &shown)? || replies.add(make(shown)))
        };
        let in_order = self.hands_over.then(|| table.in_order()).flatten();
        if let Some(ids) = in_order {
            for id in ids {
                let (states, _) = table.entries(id, 1);
                for state in states.iter().filter(|state| state.id == id) {
                    if !add(state)? {
                        return Ok(());
                    }
                }
            }
            return Ok(());
        }
        let mut from = Some(EntryId::FIRST);
        while let Some(at) = from {
            let (states, next) = table.entries(at, PIECE);
            for state in &states {
                if !add(state)? {
                    return Ok(());
                }
            }
            from = next;
        }
        Ok(())
    }

    /// Returns the objects with that id, or all.
    fn objects(&self, id: u32, kind: Kind) -> Result<Vec<(u32, &Object)>> {
        let objects = self.pipeline.engine.objects();
        match id {
            0 => Ok(self
                .pipeline
                .externs
                .iter()
                .copied()
                .zip(objects)
                .filter(|(id, _)| *id != 0)
                .collect()),
            id => match self.pipeline.things.get(&id) {
                Some(Thing::Extern(n)) => Ok(vec![(id, &objects[*n])]),
                _ => Err(self.pipeline.unknown(kind, id)),
            },
        }
    }

    fn counters(&self, wanted: &v1::CounterEntry, replies: &mut Replies<'_>) -> Result<()> {
        for (id, object) in self.objects(wanted.counter_id, Kind::Counter)? {
            let Object::Counter(counter) = object else {
                if wanted.counter_id != 0 {
                    return Err(self.pipeline.unknown(Kind::Counter, id));
                }
                continue;
            };
            for at in range(wanted.index, counter.size())? {
                let Count { packets, bytes } = counter.get(at)?;
                let shown = v1::CounterEntry {
                    counter_id: id,
                    index: Some(v1::Index { index: at as i64 }),
                    data: Some(v1::CounterData {
                        byte_count: bytes as i64,
                        packet_count: packets as i64,
                    }),
                };
                if !replies.add(E::CounterEntry(shown)) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn registers(&self, wanted: &v1::RegisterEntry, replies: &mut Replies<'_>) -> Result<()> {
        for (id, object) in self.objects(wanted.register_id, Kind::Register)? {
            let Object::Register(register) = object else {
                if wanted.register_id != 0 {
                    return Err(self.pipeline.unknown(Kind::Register, id));
                }
                continue;
            };
            for at in range(wanted.index, register.size())? {
                let value = from_limbs(&register.get(at)?);
                let shown = v1::RegisterEntry {
                    register_id: id,
                    index: Some(v1::Index { index: at as i64 }),
                    data: Some(v1::P4Data {
                        data: Some(v1::p4_data::Data::Bitstring(value)),
                    }),
                };
                if !replies.add(E::RegisterEntry(shown)) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn sets(&self, wanted: &v1::ValueSetEntry, replies: &mut Replies<'_>) -> Result<()> {
        let ids = &self.pipeline.value_sets;
        if wanted.value_set_id != 0 && !ids.contains(&wanted.value_set_id) {
            return Err(self.pipeline.unknown(Kind::ValueSet, wanted.value_set_id));
        }
        for (n, set) in self.pipeline.engine.value_sets().iter().enumerate() {
            if wanted.value_set_id != 0 && ids[n] != wanted.value_set_id {
                continue;
            }
            let fields = self.pipeline.set_fields(n);
            let member = |member: &Vec<adit_p4_frontend::ir::Match>| v1::ValueSetMember {
                r#match: fields
                    .iter()
                    .zip(&set.spec().keys)
                    .zip(member)
                    .filter_map(|((field, (_, width)), is)| {
                        let is = from_match(field.kind, *width, is)?;
                        let is = self.pipeline.texts.shown_match((ids[n], field.id), is);
                        Some(v1::FieldMatch {
                            field_id: field.id,
                            field_match_type: Some(is),
                        })
                    })
                    .collect(),
            };
            replies.add(E::ValueSetEntry(v1::ValueSetEntry {
                value_set_id: ids[n],
                members: set.members().iter().map(member).collect(),
            }));
        }
        Ok(())
    }

    fn copies(
        &self,
        wanted: &v1::PacketReplicationEngineEntry,
        replies: &mut Replies<'_>,
    ) -> Result<()> {
        use v1::packet_replication_engine_entry::Type as Pre;
        let replication = self.pipeline.engine.replication();
        let (groups, sessions) = match &wanted.r#type {
            None => (Some(0), Some(0)),
            Some(Pre::MulticastGroupEntry(group)) => (Some(group.multicast_group_id), None),
            Some(Pre::CloneSessionEntry(session)) => (None, Some(session.session_id)),
        };
        let add = |replies: &mut Replies<'_>, entry| {
            replies.add(E::PacketReplicationEngineEntry(
                v1::PacketReplicationEngineEntry {
                    r#type: Some(entry),
                },
            ))
        };
        let kept = self.pipeline.groups.lock().clone();
        for (id, copies) in replication.groups() {
            if groups.is_some_and(|wanted| wanted == 0 || u64::from(wanted) == id) {
                add(
                    replies,
                    Pre::MulticastGroupEntry(v1::MulticastGroupEntry {
                        multicast_group_id: id as u32,
                        replicas: shown(&copies),
                        metadata: kept.get(&(id as u32)).cloned().unwrap_or_default(),
                    }),
                );
            }
        }
        for (id, session) in replication.sessions() {
            if sessions.is_some_and(|wanted| wanted == 0 || u64::from(wanted) == id) {
                let copies = match &session.to {
                    CloneTo::Replicas(copies) => shown(copies),
                    CloneTo::Group(_) => Vec::new(),
                };
                add(
                    replies,
                    Pre::CloneSessionEntry(v1::CloneSessionEntry {
                        session_id: id as u32,
                        replicas: copies,
                        class_of_service: 0,
                        packet_length_bytes: session.truncate.unwrap_or(0) as i32,
                    }),
                );
            }
        }
        Ok(())
    }
}

/// Returns the fields that identify an entry.
pub(crate) fn key_of(entry: &v1::TableEntry) -> v1::TableEntry {
    v1::TableEntry {
        table_id: entry.table_id,
        r#match: entry.r#match.clone(),
        priority: entry.priority,
        is_default_action: entry.is_default_action,
        ..Default::default()
    }
}

/// Returns whether an entry has the action and metadata that a read selects, if any.
#[allow(deprecated, reason = "the standard still has controller_metadata")]
fn is_wanted(wanted: &v1::TableEntry, shown: &v1::TableEntry) -> Result<bool> {
    use v1::table_action::Type;
    fn action(entry: &v1::TableEntry) -> Option<&Type> {
        entry.action.as_ref().and_then(|a| a.r#type.as_ref())
    }
    let has_action = match (action(wanted), action(shown)) {
        (None, _) => true,
        (Some(Type::Action(wanted)), Some(Type::Action(shown))) => {
            wanted.action_id == shown.action_id
        }
        (Some(Type::Action(_)), _) => false,
        (Some(_), _) => return Err(Fault::unimplemented(
            "a read of table entries by member, group or action set is not supported: it takes \
                 an action_id",
        )),
    };
    let (cookie, metadata) = (wanted.controller_metadata, &wanted.metadata);
    Ok(has_action
        && (cookie == 0 || cookie == shown.controller_metadata)
        && (metadata.is_empty() || *metadata == shown.metadata))
}

fn shown(copies: &[Replica]) -> Vec<v1::Replica> {
    let one = |copy: &Replica| v1::Replica {
        port_kind: Some(v1::replica::PortKind::Port(from_limbs(&[copy.port]))),
        instance: copy.instance as u32,
        backup_replicas: Vec::new(),
    };
    copies.iter().map(one).collect()
}
