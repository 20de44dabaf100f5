// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The members that own the buckets of groups and action sets, for another engine: an assignment depends on the
//! changes that a group has seen, and flows stay with their members only by the same one.

use std::collections::HashSet;

use adit_pipeline::p4::tables::EntryId;
use prost::Message;

use super::fault::{Fault, Result};
use super::read::key_of;
use super::target::Target;
use super::texts::Unknown;
use crate::proto::v1::{self, entity::Entity as E};

/// The owners of the buckets of a group, or of an entry's action set.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Owners {
    /// The action profile; 0 for a set.
    #[prost(uint32, tag = "1")]
    profile: u32,
    /// The group; 0 for a set.
    #[prost(uint32, tag = "2")]
    group: u32,
    /// The key of the entry with the set.
    #[prost(message, optional, tag = "3")]
    entry: Option<v1::TableEntry>,
    /// The place of each bucket's owner among the members.
    #[prost(bytes = "vec", tag = "4")]
    places: Vec<u8>,
}

impl Target<'_> {
    /// The owners of the buckets of all groups and sets where these are not as in a new one.
    pub(super) fn owners(&self) -> Result<Vec<Owners>> {
        let mut all = Vec::new();
        for profile in self.pipeline.profiles(0)? {
            let (found, _) = self.pipeline.profile(profile)?;
            let groups = found.groups().into_iter();
            all.extend(groups.filter_map(|group| self.of_group(profile, group)));
        }
        for (n, table) in self.pipeline.engine.tables().iter().enumerate() {
            if self.pipeline.tables[n] == 0 {
                continue;
            }
            let sets = table.sets().into_iter();
            all.extend(sets.filter_map(|(id, places)| self.of_set(n, id, places)));
        }
        Ok(all)
    }

    /// The same for those that updates have written, each once.
    pub(super) fn owners_written(&self, updates: &[v1::Update]) -> Vec<Owners> {
        let (mut groups, mut sets) = (HashSet::new(), HashSet::new());
        let entities = updates.iter().filter_map(|update| update.entity.as_ref());
        let owners = entities.filter_map(|entity| match entity.entity.as_ref()? {
            E::ActionProfileGroup(group) => {
                let (profile, group) = (group.action_profile_id, group.group_id);
                let is_first = groups.insert((profile, group));
                is_first.then(|| self.of_group(profile, group)).flatten()
            }
            E::TableEntry(entry) if !entry.is_default_action => {
                let (n, id) = self.find_entry(entry).ok()?;
                if !sets.insert((n, id)) {
                    return None;
                }
                let places = self.pipeline.engine.tables()[n].set_owners(id)?;
                self.of_set(n, id, places)
            }
            _ => None,
        });
        owners.collect()
    }

    fn of_group(&self, profile: u32, group: u32) -> Option<Owners> {
        let (found, _) = self.pipeline.profile(profile).ok()?;
        Some(Owners {
            profile,
            group,
            entry: None,
            places: found.owners(group)?,
        })
    }

    fn of_set(&self, n: usize, id: EntryId, places: Vec<u8>) -> Option<Owners> {
        let (found, _) = self.pipeline.engine.tables()[n].entries(id, 1);
        let entry = &found.first().filter(|state| state.id == id)?.entry;
        let key = self.pipeline.shown_key(n, &entry.keys, entry.priority);
        Some(Owners {
            profile: 0,
            group: 0,
            entry: Some(key),
            places,
        })
    }

    /// The table and the id of an entry.
    pub(super) fn find_entry(&self, entry: &v1::TableEntry) -> Result<(usize, EntryId)> {
        let (n, table) = self.pipeline.table(entry.table_id)?;
        let keys = self.pipeline.matches(n, &entry.r#match, Unknown::Missing)?;
        let priority = self.pipeline.priority(table, entry.priority)?;
        Ok((n, table.get(&keys, priority)?.id))
    }

    /// Assigns the buckets of groups and sets with the same members as in the other engine.
    pub(super) fn assign(&self, all: &[Owners]) -> std::result::Result<(), String> {
        for one in all {
            let assigned = match &one.entry {
                None => self.assign_group(one),
                Some(entry) => self.assign_set(entry, &one.places),
            };
            assigned.map_err(|fault| {
                let what = match &one.entry {
                    None => format!("group {} of action profile {}", one.group, one.profile),
                    Some(entry) => self.pipeline.describe(&E::TableEntry(key_of(entry))),
                };
                format!("the flows of {what} cannot stay: {}", fault.message)
            })?;
        }
        Ok(())
    }

    fn assign_group(&self, one: &Owners) -> Result<()> {
        let (profile, _) = self.pipeline.profile(one.profile)?;
        Ok(profile.set_owners(one.group, &one.places)?)
    }

    fn assign_set(&self, entry: &v1::TableEntry, places: &[u8]) -> Result<()> {
        let (n, id) = self.find_entry(entry)?;
        let put = self.pipeline.engine.tables()[n].put_set_owners(id, places);
        put.map_err(Fault::from)
    }
}
