// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Updates: each is applied completely or not at all.

use adit_pipeline::p4::objects::Object;
use adit_pipeline::p4::replication::{CloneSession, CloneTo, Replica};
use adit_pipeline::p4::tables::Table;
use tonic::Code;

use super::digests::Digests;
use super::direct::{count, Direct};
use super::entries::to_match;
use super::fault::{Fault, Result};
use super::kept::{metadata, Kept};
use super::names::{listed, Kind};
use super::pipeline::{Pipeline, Thing};
use super::rules::{Holder, Uses};
use super::target::{index, modified_only, Target};
use super::texts::Unknown;
use super::MAX_UPDATES;
use crate::client::UpdateError;
use crate::proto::v1::{self, entity::Entity as E, update::Type, write_request::Atomicity};

impl Target<'_> {
    /// Applies a batch; returns the result of each update. `go_on` is called before each update, and
    /// its error ends the batch: it is the result of that update and of those after it.
    pub(crate) fn batch(
        &self,
        updates: &[v1::Update],
        how: Atomicity,
        go_on: &dyn Fn() -> Result<()>,
    ) -> Vec<Result<()>> {
        let mut results = Vec::with_capacity(updates.len());
        if how == Atomicity::ContinueOnError {
            for update in updates {
                if let Err(fault) = go_on() {
                    results.resize(updates.len(), Err(fault));
                    break;
                }
                results.push(self.update(update));
            }
            return results;
        }
        let mut done = Vec::new();
        for update in updates {
            let result = go_on().and_then(|()| {
                let undo = self.inverse(update);
                self.update(update).map(|()| undo)
            });
            match result {
                Ok(undo) => {
                    results.push(Ok(()));
                    done.push(undo);
                }
                Err(fault) => {
                    results.push(Err(fault));
                    break;
                }
            }
        }
        if results.len() == updates.len() && results.iter().all(Result::is_ok) {
            return results;
        }
        for undo in done.into_iter().rev().flatten() {
            // The previous state fits, since no other client writes meanwhile.
            if let Err(fault) = self.update(&undo) {
                tracing::error!("an update could not be taken back: {}", fault.message);
            }
        }
        let aborted = || Fault::new(Code::Aborted, "another update of the batch failed");
        for result in results.iter_mut().filter(|r| r.is_ok()) {
            *result = Err(aborted());
        }
        results.resize_with(updates.len(), || Err(aborted()));
        results
    }

    /// Rejects a batch whose rollback would restore too many cells of arrays: each is kept as an
    /// update meanwhile.
    pub(crate) fn check_rollback(&self, updates: &[v1::Update]) -> Result<()> {
        let entities = updates
            .iter()
            .filter_map(|u| u.entity.as_ref()?.entity.as_ref());
        let cells = entities.map(|entity| self.cells(entity));
        let cells = cells.fold(0, u64::saturating_add);
        match cells > MAX_UPDATES as u64 {
            true => Err(Fault::new(
                Code::ResourceExhausted,
                format!(
                    "a rollback of this batch would restore {cells} cells of counters, registers \
                     and meters: {MAX_UPDATES} are the most"
                ),
            )),
            false => Ok(()),
        }
    }

    /// Returns the number of cells of a counter, register or meter that is written as a whole.
    fn cells(&self, entity: &E) -> u64 {
        let id = match entity {
            E::CounterEntry(entry) if entry.index.is_none() => entry.counter_id,
            E::RegisterEntry(entry) if entry.index.is_none() => entry.register_id,
            E::MeterEntry(entry) if entry.index.is_none() => entry.meter_id,
            _ => return 0,
        };
        match self.object(id) {
            Some(Object::Counter(counter)) => counter.size(),
            Some(Object::Register(register)) => register.size(),
            Some(Object::Meter(meter)) => meter.size(),
            _ => 0,
        }
    }

    /// Returns the updates that undo an update.
    fn inverse(&self, update: &v1::Update) -> Vec<v1::Update> {
        let Some(entity) = &update.entity else {
            return Vec::new();
        };
        let (kind, entities) = match Type::try_from(update.r#type) {
            Ok(Type::Insert) => (Type::Delete, vec![entity.clone()]),
            Ok(Type::Modify) => (Type::Modify, self.current(entity)),
            Ok(Type::Delete) => (Type::Insert, self.current(entity)),
            Ok(Type::Unspecified) | Err(_) => return Vec::new(),
        };
        let updates = entities.into_iter().map(|entity| v1::Update {
            r#type: kind as i32,
            entity: Some(entity),
        });
        updates.collect()
    }

    /// Rejects references to entries that do not exist.
    pub(crate) fn check_references(&self, uses: &Uses) -> Result<()> {
        match self.defers_references {
            true => Ok(()),
            false => self.pipeline.rules.references.check(uses),
        }
    }

    pub(crate) fn update(&self, update: &v1::Update) -> Result<()> {
        let kind = Type::try_from(update.r#type).unwrap_or(Type::Unspecified);
        if kind == Type::Unspecified {
            return Err(Fault::invalid(format!(
                "the update's type is {}: it takes INSERT (1), MODIFY (2) or DELETE (3)",
                update.r#type
            )));
        }
        let entity = update.entity.as_ref().and_then(|e| e.entity.as_ref());
        let Some(entity) = entity else {
            return Err(Fault::invalid("the update has no entity"));
        };
        match entity {
            E::TableEntry(entry) => self.table_entry(kind, entry),
            E::CounterEntry(entry) => self.counter(kind, entry),
            E::DirectCounterEntry(entry) => self.direct_counter(kind, entry),
            E::RegisterEntry(entry) => self.register(kind, entry),
            E::ValueSetEntry(entry) => self.value_set(kind, entry),
            E::PacketReplicationEngineEntry(entry) => self.replication(kind, entry),
            E::DigestEntry(entry) => self.digests.update(self.pipeline, kind, entry),
            E::ActionProfileMember(member) => self.member(kind, member),
            E::ActionProfileGroup(group) => self.group(kind, group),
            E::MeterEntry(entry) => self.meter(kind, entry),
            E::DirectMeterEntry(entry) => self.direct_meter(kind, entry),
            E::ExternEntry(entry) => Err(Fault::not_found(format!(
                "extern_type_id {} does not exist; externs: none",
                entry.extern_type_id
            ))),
        }
    }

    pub(crate) fn table_entry(&self, kind: Type, given: &v1::TableEntry) -> Result<()> {
        let (n, table) = self.pipeline.table(given.table_id)?;
        let rules = &self.pipeline.rules;
        rules.check_role(n, table.spec(), self.role)?;
        if given.is_default_action {
            return self.default_action(kind, n, table, given);
        }
        if kind == Type::Delete {
            let keys = self.pipeline.matches(n, &given.r#match, Unknown::Missing)?;
            let priority = self.pipeline.priority(table, given.priority)?;
            if rules.references.is_empty() {
                table.delete(&keys, priority)?;
                return Ok(());
            }
            let before = table.get(&keys, priority)?.entry;
            if !self.defers_references {
                rules.references.check_deleted(n, &before.keys)?;
            }
            table.delete(&keys, priority)?;
            let uses = rules.references.of_entry(n, table.spec(), &before);
            rules.references.deleted(n, &before.keys, &uses);
            return Ok(());
        }
        let entry = self.pipeline.entry(n, given)?;
        rules.check_entry(n, table.spec(), &entry.keys, entry.priority)?;
        let uses = rules.references.of_entry(n, table.spec(), &entry);
        self.check_references(&uses)?;
        // Everything is checked before anything changes.
        let direct = Direct::of(given)?;
        let id = match kind {
            Type::Insert => {
                let id = table.insert(&entry, self.now_ns)?;
                rules.references.inserted(n, &entry.keys, &uses);
                id
            }
            _ => {
                let before = match rules.references.is_empty() {
                    true => None,
                    false => Some(table.get(&entry.keys, entry.priority)?.entry),
                };
                let id = table.modify(&entry, self.now_ns)?;
                if let Some(before) = before {
                    let before = rules.references.of_entry(n, table.spec(), &before);
                    rules.references.modified(&before, &uses);
                }
                id
            }
        };
        direct.set(table, id)
    }

    fn default_action(
        &self,
        kind: Type,
        n: usize,
        table: &Table,
        given: &v1::TableEntry,
    ) -> Result<()> {
        let references = &self.pipeline.rules.references;
        let name = &table.spec().name;
        let kept = Kept::of(given)?;
        if kind != Type::Modify {
            return Err(Fault::invalid(format!(
                "type {} of the default entry of table `{name}`: it always exists, and takes \
                 MODIFY only",
                kind.as_str_name()
            )));
        }
        if !given.r#match.is_empty() || given.priority != 0 || given.idle_timeout_ns != 0 {
            return Err(Fault::invalid(format!(
                "match, priority or idle_timeout_ns is given for the default entry of table \
                 `{name}`, which has none"
            )));
        }
        let defaults = &self.pipeline.defaults;
        match given.action.as_ref().and_then(|a| a.r#type.as_ref()) {
            None => {
                table.reset_default()?;
                references.holds(Holder::Default(n), Uses::default());
                defaults.lock().remove(&given.table_id);
            }
            Some(v1::table_action::Type::Action(action)) => {
                let chosen = self.pipeline.chosen(table.spec(), action)?;
                let action = &table.spec().actions[chosen.action as usize];
                let uses = references.of_action(&action.name, &chosen.arguments);
                self.check_references(&uses)?;
                table.set_default(chosen)?;
                references.holds(Holder::Default(n), uses);
                defaults.lock().insert(given.table_id, kept);
            }
            Some(_) => {
                return Err(Fault::invalid(format!(
                    "the default entry of table `{name}` takes an action, no member, group or set"
                )))
            }
        }
        Ok(())
    }

    /// Returns the extern object with that id, if there is one.
    fn object(&self, id: u32) -> Option<&Object> {
        match self.pipeline.things.get(&id) {
            Some(Thing::Extern(n)) => self.pipeline.engine.objects().get(*n),
            _ => None,
        }
    }

    fn counter(&self, kind: Type, given: &v1::CounterEntry) -> Result<()> {
        modified_only(kind, "counters")?;
        let Some(Object::Counter(counter)) = self.object(given.counter_id) else {
            return Err(self.pipeline.unknown(Kind::Counter, given.counter_id));
        };
        // Without data nothing is modified.
        let Some(data) = &given.data else {
            return match given.index {
                Some(at) => Ok(counter.get(index(at)?).map(drop)?),
                None => Ok(()),
            };
        };
        let count = count(data)?;
        match given.index {
            Some(at) => counter.set(index(at)?, count)?,
            None => {
                for n in 0..counter.size() {
                    counter.set(n, count)?;
                }
            }
        }
        Ok(())
    }

    fn direct_counter(&self, kind: Type, given: &v1::DirectCounterEntry) -> Result<()> {
        modified_only(kind, "direct counters")?;
        let Some(entry) = &given.table_entry else {
            return Err(Fault::invalid(
                "the direct counter entry has no table_entry",
            ));
        };
        let (n, table) = self.pipeline.table(entry.table_id)?;
        self.pipeline.rules.check_role(n, table.spec(), self.role)?;
        let keys = self.pipeline.matches(n, &entry.r#match, Unknown::Missing)?;
        let priority = self.pipeline.priority(table, entry.priority)?;
        let state = table.get(&keys, priority)?;
        Ok(table.set_count(state.id, count(&given.data.unwrap_or_default())?)?)
    }

    fn register(&self, kind: Type, given: &v1::RegisterEntry) -> Result<()> {
        modified_only(kind, "registers")?;
        let Some(Object::Register(register)) = self.object(given.register_id) else {
            return Err(self.pipeline.unknown(Kind::Register, given.register_id));
        };
        let Some(v1::p4_data::Data::Bitstring(bytes)) =
            given.data.as_ref().and_then(|d| d.data.as_ref())
        else {
            return Err(Fault::unimplemented(
                "data of a register entry is no bitstring, which is the only kind supported",
            ));
        };
        let value = crate::bytes::limbs(bytes, register.width());
        let value = value.map_err(|error| Fault::of("data", error))?;
        match given.index {
            Some(at) => register.set(index(at)?, &value)?,
            None => {
                for n in 0..register.size() {
                    register.set(n, &value)?;
                }
            }
        }
        Ok(())
    }

    fn value_set(&self, kind: Type, given: &v1::ValueSetEntry) -> Result<()> {
        modified_only(kind, "value sets")?;
        let Some(Thing::ValueSet(n)) = self.pipeline.things.get(&given.value_set_id).copied()
        else {
            return Err(self.pipeline.unknown(Kind::ValueSet, given.value_set_id));
        };
        let set = &self.pipeline.engine.value_sets()[n];
        if given.members.len() as u64 > set.spec().size {
            return Err(Fault::new(
                Code::ResourceExhausted,
                format!(
                    "{} members are given: value set `{}` has room for {}",
                    given.members.len(),
                    set.name(),
                    set.spec().size
                ),
            ));
        }
        let fields = self.pipeline.set_fields(n);
        let mut members = Vec::with_capacity(given.members.len());
        for member in &given.members {
            let mut list = Vec::new();
            for (field, (_, width)) in fields.iter().zip(&set.spec().keys) {
                let found = member.r#match.iter().find(|m| m.field_id == field.id);
                let is = found.and_then(|m| m.field_match_type.as_ref());
                list.push(match is {
                    Some(is) => {
                        let (place, name) = ((given.value_set_id, field.id), &field.name);
                        let texts = &self.pipeline.texts;
                        let is = texts.number_match(place, name, is, Unknown::Numbered)?;
                        to_match(name, field.kind, *width, &is)?
                    }
                    None if field.kind == "exact" => {
                        return Err(Fault::invalid(format!(
                            "match field `{}` ({}) of a member of value set `{}` is missing: it is \
                             matched exact",
                            field.name,
                            field.id,
                            set.name()
                        )))
                    }
                    None => adit_p4_frontend::ir::Match::Any,
                });
            }
            let mut given = member.r#match.iter();
            let other = given.find(|m| fields.iter().all(|field| field.id != m.field_id));
            if let Some(other) = other {
                let there = fields.iter().map(|field| (field.name.as_str(), field.id));
                return Err(Fault::invalid(format!(
                    "match field {} of value set `{}` does not exist; match fields: {}",
                    other.field_id,
                    set.name(),
                    listed(there)
                )));
            }
            if member.r#match.len() > fields.len() {
                return Err(Fault::invalid(format!(
                    "a match field of a member of value set `{}` is given twice",
                    set.name()
                )));
            }
            members.push(list);
        }
        Ok(set.set(members)?)
    }

    fn replication(&self, kind: Type, given: &v1::PacketReplicationEngineEntry) -> Result<()> {
        use v1::packet_replication_engine_entry::Type as Pre;
        let replication = self.pipeline.engine.replication();
        match &given.r#type {
            Some(Pre::MulticastGroupEntry(group)) => {
                let id = u64::from(group.multicast_group_id);
                let metadata = match kind {
                    Type::Delete => Vec::new(),
                    _ => metadata(&group.metadata)?,
                };
                let references = &self.pipeline.rules.references;
                if kind == Type::Delete {
                    references.check_group_deleted(id)?;
                    replication.delete_group(id)?;
                    references.holds(Holder::Group(id), Uses::default());
                } else {
                    let replicas = replicas(&group.replicas)?;
                    let uses = references.of_replicas(&replicas);
                    self.check_references(&uses)?;
                    match kind {
                        Type::Insert => replication.insert_group(id, &replicas)?,
                        _ => replication.modify_group(id, &replicas)?,
                    }
                    references.holds(Holder::Group(id), uses);
                }
                references.group_exists(id, kind != Type::Delete);
                let mut kept = self.pipeline.groups.lock();
                match metadata.is_empty() {
                    true => kept.remove(&group.multicast_group_id),
                    false => kept.insert(group.multicast_group_id, metadata),
                };
                Ok(())
            }
            Some(Pre::CloneSessionEntry(session)) => {
                let id = u64::from(session.session_id);
                if kind == Type::Delete {
                    return Ok(replication.delete_session(id)?);
                }
                if session.class_of_service != 0 {
                    return Err(Fault::unimplemented(format!(
                        "class_of_service of clone session {id} is {}: only 0 is supported",
                        session.class_of_service
                    )));
                }
                let made = CloneSession {
                    to: CloneTo::Replicas(replicas(&session.replicas)?),
                    truncate: match session.packet_length_bytes {
                        0 => None,
                        length @ ..=-1 => {
                            return Err(Fault::invalid(format!(
                                "packet_length_bytes of clone session {id} is {length}, below 0"
                            )))
                        }
                        length => Some(length as u32),
                    },
                };
                match kind {
                    Type::Insert => replication.insert_session(id, made)?,
                    _ => replication.modify_session(id, made)?,
                }
                Ok(())
            }
            None => Err(Fault::invalid(
                "the packet replication engine entry has no type: it takes a multicast group \
                 entry or a clone session entry",
            )),
        }
    }
}

impl Pipeline {
    /// Applies updates without a client, in order; returns those that failed.
    pub fn write(&self, updates: &[v1::Update], now_ns: u64) -> Vec<UpdateError> {
        let digests = Digests::default();
        let target = Target {
            pipeline: self,
            digests: &digests,
            role: "",
            defers_references: false,
            hands_over: false,
            now_ns,
        };
        let failed = updates.iter().enumerate().filter_map(|(index, update)| {
            let fault = target.update(update).err()?;
            Some(UpdateError {
                index,
                code: fault.code,
                message: fault.message,
            })
        });
        failed.collect()
    }
}

fn replicas(given: &[v1::Replica]) -> Result<Vec<Replica>> {
    use v1::replica::PortKind;
    let one = |replica: &v1::Replica| {
        if !replica.backup_replicas.is_empty() {
            return Err(Fault::unimplemented(
                "backup_replicas of a replica are not supported",
            ));
        }
        Ok(Replica {
            port: match &replica.port_kind {
                #[allow(deprecated, reason = "older clients use it")]
                Some(PortKind::EgressPort(port)) => u64::from(*port),
                Some(PortKind::Port(bytes)) => {
                    let port = crate::bytes::limbs(bytes, 32);
                    port.map_err(|error| Fault::of("port", error))?[0]
                }
                None => {
                    return Err(Fault::invalid(format!(
                        "the replica of instance {} has no port",
                        replica.instance
                    )))
                }
            },
            instance: u64::from(replica.instance),
        })
    };
    given.iter().map(one).collect()
}
