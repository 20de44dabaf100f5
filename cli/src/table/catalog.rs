// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The entities of a device's program, by the names that users write: complete, or any suffix that
//! is unambiguous.

use adit_p4runtime::proto::config::{self as pb, action_ref::Scope, match_field};
use adit_p4runtime::proto::v1::{entity::Entity, ActionProfileGroup, ActionProfileMember};
use anyhow::{bail, Result};

use super::matching::Field;
use super::value::{form, Form};

/// A parameter of an action.
#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) width: u32,
    pub(crate) form: Form,
}

/// An action.
#[derive(Clone, Debug)]
pub(crate) struct Action {
    pub(crate) id: u32,
    pub(crate) name: String,
    /// The short name.
    pub(crate) alias: String,
    pub(crate) parameters: Vec<Parameter>,
    /// `true` if entries may have it.
    pub(crate) in_entries: bool,
    /// `true` if it may be the default.
    pub(crate) in_default: bool,
}

/// A table.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) alias: String,
    pub(crate) fields: Vec<Field>,
    pub(crate) actions: Vec<Action>,
    pub(crate) size: i64,
    /// `true` if entries refer to members and groups.
    pub(crate) has_profile: bool,
    /// `true` if they refer to groups, or have action sets of their own.
    pub(crate) has_selector: bool,
    pub(crate) has_counter: bool,
    pub(crate) has_const_default: bool,
    /// The program's default action, with its arguments.
    pub(crate) initial_default: Option<pb::TableActionCall>,
}

/// An action profile.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) alias: String,
    /// The actions that members may have.
    pub(crate) actions: Vec<Action>,
    pub(crate) size: i64,
    /// `true` if it is a selector.
    pub(crate) has_groups: bool,
}

/// An entity that has entries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Holder<'a> {
    Table(&'a Table),
    Profile(&'a Profile),
}

/// An array of counters.
#[derive(Clone, Debug)]
pub(crate) struct Counter {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) alias: String,
    pub(crate) size: i64,
}

/// A program's tables, action profiles and counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) tables: Vec<Table>,
    pub(crate) profiles: Vec<Profile>,
    pub(crate) counters: Vec<Counter>,
}

/// An entity with a name.
pub(crate) trait Named {
    /// Returns the full name.
    fn name(&self) -> &str;
    /// Returns the name that is shown.
    fn short(&self) -> &str {
        self.name()
    }
}

macro_rules! named {
    ($($kind:ty: $($short:ident)?;)*) => {
        $(impl Named for $kind {
            fn name(&self) -> &str {
                &self.name
            }
            $(fn short(&self) -> &str {
                &self.$short
            })?
        })*
    };
}
named!(Table: alias; Profile: alias; Counter: alias; Action: alias; Field: ; Parameter: ;);

/// Finds the entity with that name, or whose name has that suffix, in whole components.
pub(crate) fn find<'a, T: Named>(
    things: impl Iterator<Item = &'a T> + Clone,
    what: &str,
    of: &str,
    wanted: &str,
) -> Result<&'a T> {
    let exact = things.clone().find(|t| t.name() == wanted);
    if let Some(found) = exact.or_else(|| things.clone().find(|t| t.short() == wanted)) {
        return Ok(found);
    }
    let end = wanted.strip_prefix('.').unwrap_or(wanted);
    let is_meant = |name: &str| match name.strip_suffix(end) {
        Some(rest) => !end.is_empty() && (rest.is_empty() || rest.ends_with('.')),
        None => false,
    };
    let list = |names: Vec<&str>| match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    };
    let meant: Vec<&T> = things.clone().filter(|t| is_meant(t.name())).collect();
    match meant[..] {
        [one] => Ok(one),
        [] => bail!(
            "{of} has no {what} `{wanted}`; it has: {}",
            list(things.map(Named::short).collect())
        ),
        _ => bail!(
            "the {what} `{wanted}` of {of} may be one of: {}",
            list(meant.into_iter().map(Named::name).collect())
        ),
    }
}

fn action(info: &pb::P4Info, reference: &pb::ActionRef) -> Option<Action> {
    let mut all = info.actions.iter();
    let action = all.find(|a| a.preamble.as_ref().is_some_and(|p| p.id == reference.id))?;
    let preamble = action.preamble.as_ref()?;
    let parameters = action.params.iter().map(|p| {
        let width = u32::try_from(p.bitwidth).unwrap_or(0);
        Parameter {
            id: p.id,
            name: p.name.clone(),
            width,
            form: form(&p.name, width, &p.annotations),
        }
    });
    Some(Action {
        id: preamble.id,
        name: preamble.name.clone(),
        alias: preamble.alias.clone(),
        parameters: parameters.collect(),
        in_entries: reference.scope() != Scope::DefaultOnly,
        in_default: reference.scope() != Scope::TableOnly,
    })
}

fn field(field: &pb::MatchField) -> Field {
    let width = u32::try_from(field.bitwidth).unwrap_or(0);
    let kind = match field.r#match {
        Some(match_field::Match::MatchType(kind)) => kind.try_into().unwrap_or_default(),
        _ => match_field::MatchType::Unspecified,
    };
    Field {
        id: field.id,
        name: field.name.clone(),
        width,
        kind,
        form: form(&field.name, width, &field.annotations),
    }
}

fn profile(info: &pb::P4Info, profile: &pb::ActionProfile) -> Option<Profile> {
    let preamble = profile.preamble.as_ref()?;
    let mut tables = info.tables.iter();
    // Tables that share a profile have the same actions.
    let references = tables
        .find(|t| t.implementation_id == preamble.id)
        .map_or(&[][..], |t| &t.action_refs);
    let actions = references.iter().filter_map(|r| action(info, r));
    Some(Profile {
        id: preamble.id,
        name: preamble.name.clone(),
        alias: preamble.alias.clone(),
        actions: actions.filter(|a| a.in_entries).collect(),
        size: profile.size,
        has_groups: profile.with_selector,
    })
}

impl Catalog {
    /// Creates the catalog of a P4Info.
    pub(crate) fn new(info: &pb::P4Info) -> Catalog {
        let tables = info.tables.iter().filter_map(|table| {
            let preamble = table.preamble.as_ref()?;
            let is_direct_counter = |id: &u32| {
                let mut counters = info.direct_counters.iter();
                counters.any(|c| c.preamble.as_ref().is_some_and(|p| p.id == *id))
            };
            let references = table.action_refs.iter();
            let mut profiles = info.action_profiles.iter();
            let has_selector = profiles.any(|profile| {
                let preamble = profile.preamble.as_ref();
                let is_it = |p: &pb::Preamble| p.id == table.implementation_id;
                profile.with_selector && preamble.is_some_and(is_it)
            });
            Some(Table {
                id: preamble.id,
                name: preamble.name.clone(),
                alias: preamble.alias.clone(),
                fields: table.match_fields.iter().map(field).collect(),
                actions: references.filter_map(|r| action(info, r)).collect(),
                size: table.size,
                has_profile: table.implementation_id != 0,
                has_selector,
                has_counter: table.direct_resource_ids.iter().any(is_direct_counter),
                has_const_default: table.const_default_action_id != 0,
                initial_default: table.initial_default_action.clone(),
            })
        });
        let counters = info.counters.iter().filter_map(|counter| {
            let preamble = counter.preamble.as_ref()?;
            Some(Counter {
                id: preamble.id,
                name: preamble.name.clone(),
                alias: preamble.alias.clone(),
                size: counter.size,
            })
        });
        Catalog {
            tables: tables.collect(),
            profiles: info
                .action_profiles
                .iter()
                .filter_map(|p| profile(info, p))
                .collect(),
            counters: counters.collect(),
        }
    }

    /// Returns the table with that name.
    pub(crate) fn table(&self, name: &str) -> Result<&Table> {
        find(self.tables.iter(), "table", "the program", name)
    }

    /// Returns the table with that id.
    pub(crate) fn table_of(&self, id: u32) -> Option<&Table> {
        self.tables.iter().find(|t| t.id == id)
    }

    /// Formats the key of an entry; empty if the table or profile is not known here.
    pub(crate) fn key(&self, entity: &Entity) -> String {
        let shown = match entity {
            Entity::TableEntry(entry) => self.table_of(entry.table_id).map(|table| {
                let mut key = entry.clone();
                key.action = None;
                table.line(&key)
            }),
            Entity::ActionProfileMember(ActionProfileMember {
                action_profile_id, ..
            })
            | Entity::ActionProfileGroup(ActionProfileGroup {
                action_profile_id, ..
            }) => {
                let mut profiles = self.profiles.iter();
                let profile = profiles.find(|p| p.id == *action_profile_id);
                profile.and_then(|p| p.key(entity))
            }
            _ => None,
        };
        shown.unwrap_or_default()
    }

    /// Returns the table or action profile with that name.
    pub(crate) fn holder(&self, name: &str) -> Result<Holder<'_>> {
        let why = match self.table(name) {
            Ok(table) => return Ok(Holder::Table(table)),
            Err(why) => why,
        };
        match find(self.profiles.iter(), "action profile", "the program", name) {
            Ok(profile) => Ok(Holder::Profile(profile)),
            Err(_) if self.profiles.is_empty() => Err(why),
            Err(no_profile) => bail!("{why}; {no_profile}"),
        }
    }

    /// Returns these tables and action profiles, or all: members before the groups that contain
    /// them, and these before the entries that refer to them.
    pub(crate) fn chosen(&self, names: &[String]) -> Result<Vec<Holder<'_>>> {
        if !names.is_empty() {
            return names.iter().map(|name| self.holder(name)).collect();
        }
        let profiles = self.profiles.iter().map(Holder::Profile);
        let tables = self.tables.iter().map(Holder::Table);
        Ok(profiles.chain(tables).collect())
    }
}
