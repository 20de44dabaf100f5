// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The names and ids of a program's entities, for the errors about unknown ones.

use adit_p4_frontend::ir;

use super::fault::Fault;
use super::pipeline::Pipeline;
use crate::proto::config::Preamble;
use crate::proto::v1::{self, entity::Entity as E, packet_replication_engine_entry::Type as Pre};

/// The maximum number of names that a message lists.
const MAX_LISTED: usize = 8;

/// A kind of entity in P4Info.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Table,
    Profile,
    Counter,
    Meter,
    Register,
    Digest,
    ValueSet,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Table => "table",
            Kind::Profile => "action profile",
            Kind::Counter => "counter",
            Kind::Meter => "meter",
            Kind::Register => "register",
            Kind::Digest => "digest",
            Kind::ValueSet => "value set",
        }
    }
}

/// Formats names with their ids, as many as a message may list.
pub(crate) fn listed<'n>(names: impl Iterator<Item = (&'n str, u32)>) -> String {
    let all: Vec<(&str, u32)> = names.collect();
    if all.is_empty() {
        return "none".to_owned();
    }
    let some = all.iter().take(MAX_LISTED);
    let some: Vec<String> = some.map(|(name, id)| format!("{name} ({id})")).collect();
    match all.len() - some.len() {
        0 => some.join(", "),
        more => format!("{} and {more} more", some.join(", ")),
    }
}

impl Pipeline {
    fn preambles(&self, kind: Kind) -> Vec<&Preamble> {
        macro_rules! preambles {
            ($list:ident) => {
                self.p4info
                    .$list
                    .iter()
                    .filter_map(|e| e.preamble.as_ref())
                    .collect()
            };
        }
        match kind {
            Kind::Table => preambles!(tables),
            Kind::Profile => preambles!(action_profiles),
            Kind::Counter => preambles!(counters),
            Kind::Meter => preambles!(meters),
            Kind::Register => preambles!(registers),
            Kind::Digest => preambles!(digests),
            Kind::ValueSet => preambles!(value_sets),
        }
    }

    /// Creates the fault for an id that no entity of this kind has.
    pub(crate) fn unknown(&self, kind: Kind, id: u32) -> Fault {
        let there = self.preambles(kind).into_iter();
        let there = listed(there.map(|preamble| (preamble.alias.as_str(), preamble.id)));
        let kind = kind.name();
        Fault::not_found(format!("{kind} {id} does not exist; {kind}s: {there}"))
    }

    /// Describes an entity with the names of this program.
    pub(crate) fn describe(&self, entity: &E) -> String {
        let of = |what: &str, kind: Kind, id: u32| {
            let preambles = self.preambles(kind);
            let name = preambles.iter().find(|p| p.id == id).map(|p| &p.name);
            let name = name.map_or_else(|| id.to_string(), |name| format!("`{name}`"));
            format!("{what}{} {name}", kind.name())
        };
        let table = |entry: &Option<v1::TableEntry>| entry.as_ref().map_or(0, |e| e.table_id);
        match entity {
            E::TableEntry(entry) if entry.is_default_action => {
                of("the default entry of ", Kind::Table, entry.table_id)
            }
            E::TableEntry(entry) => of("an entry of ", Kind::Table, entry.table_id),
            E::ActionProfileMember(member) => {
                let what = format!("member {} of ", member.member_id);
                of(&what, Kind::Profile, member.action_profile_id)
            }
            E::ActionProfileGroup(group) => {
                let what = format!("group {} of ", group.group_id);
                of(&what, Kind::Profile, group.action_profile_id)
            }
            E::MeterEntry(entry) => of("", Kind::Meter, entry.meter_id),
            E::DirectMeterEntry(entry) => {
                of("a direct meter of ", Kind::Table, table(&entry.table_entry))
            }
            E::CounterEntry(entry) => of("", Kind::Counter, entry.counter_id),
            E::DirectCounterEntry(entry) => of(
                "a direct counter of ",
                Kind::Table,
                table(&entry.table_entry),
            ),
            E::PacketReplicationEngineEntry(entry) => match &entry.r#type {
                Some(Pre::MulticastGroupEntry(group)) => {
                    format!("multicast group {}", group.multicast_group_id)
                }
                Some(Pre::CloneSessionEntry(session)) => {
                    format!("clone session {}", session.session_id)
                }
                None => "a packet replication engine entry".to_owned(),
            },
            E::ValueSetEntry(entry) => of("", Kind::ValueSet, entry.value_set_id),
            E::RegisterEntry(entry) => of("", Kind::Register, entry.register_id),
            E::DigestEntry(entry) => of("", Kind::Digest, entry.digest_id),
            E::ExternEntry(entry) => format!("extern {}", entry.extern_id),
        }
    }
}

impl Pipeline {
    /// Creates the fault for a match field that a table does not have.
    pub(crate) fn unknown_field(&self, n: usize, id: u32) -> Fault {
        let spec = self.engine.tables()[n].spec();
        let there = spec
            .keys
            .iter()
            .zip(&self.keys[n])
            .filter(|(_, id)| **id != 0);
        let there = listed(there.map(|(key, id)| (key.name.as_str(), *id)));
        Fault::invalid(format!(
            "match field {id} of table `{}` does not exist; match fields: {there}",
            spec.name
        ))
    }

    /// Creates the fault for an action that a table does not have.
    pub(crate) fn unknown_action(&self, table: &ir::Table, id: u32) -> Fault {
        let there = table.actions.iter().filter_map(|action| {
            let ids = self.actions.get(&action.name)?;
            Some((action.name.as_str(), ids.id))
        });
        let there = listed(there);
        let what = match self.names.get(&id) {
            Some(name) => format!(
                "action `{name}` ({id}) is not one of table `{}`",
                table.name
            ),
            None => format!("action {id} does not exist"),
        };
        Fault::invalid(format!(
            "{what}; actions of table `{}`: {there}",
            table.name
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_names_are_bounded() {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        let with_ids = |n: usize| names[..n].iter().copied().zip(1..);
        assert_eq!(listed(with_ids(0)), "none");
        assert_eq!(listed(with_ids(2)), "a (1), b (2)");
        let long = listed(with_ids(10));
        assert!(long.ends_with("g (7), h (8) and 2 more"), "{long}");
    }
}
