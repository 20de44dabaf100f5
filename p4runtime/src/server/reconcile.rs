// SPDX-License-Identifier: Apache-2.0 OR MIT
//! RECONCILE_AND_COMMIT: the state of the old program is carried over to the new one.

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

impl Server {
    /// Copies the state of the old program to the new one. If any of it does not fit, nothing has
    /// changed.
    pub(super) fn carry_over(&self, before: &Active, next: &Active) -> Result<()> {
        next.pipeline.texts.inherit(&before.pipeline.texts);
        let old = self.target(before, "");
        let mut wanted = everything();
        let tables = before.pipeline.tables.iter();
        let changed = tables.zip(before.pipeline.engine.tables());
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
        let target = Target {
            defers_references: true,
            ..self.target(next, "")
        };
        let mut failed = Ok(());
        old.read(&wanted, &mut |reply| {
            for entity in reply.entities {
                let kind = entity.entity.as_ref().and_then(kind);
                let Some(kind) = kind else { continue };
                let update = v1::Update {
                    r#type: kind as i32,
                    entity: Some(entity),
                };
                let entity = update.entity.as_ref().and_then(|e| e.entity.as_ref());
                match target.update(&update) {
                    // The program's own entries exist already.
                    Err(fault) if fault.code == Code::AlreadyExists => {}
                    Err(fault) => {
                        let what = entity.map(|entity| before.pipeline.describe(entity));
                        let what = what.unwrap_or_default();
                        failed = Err(Fault::invalid(format!(
                            "RECONCILE_AND_COMMIT: {what} cannot be kept by the new program: {}",
                            fault.message
                        )));
                        return false;
                    }
                    Ok(()) => {}
                }
            }
            true
        })?;
        failed?;
        let references = next.pipeline.rules.references.check_all();
        references
            .map_err(|fault| Fault::invalid(format!("RECONCILE_AND_COMMIT: {}", fault.message)))
    }
}
