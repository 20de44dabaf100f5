// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Action profiles and selectors: members, groups of members, and selection by a flow's hash.
//!
//! A group has a fixed number of buckets, and each bucket belongs to a member. When members are
//! added or removed or change their weights, as few buckets as possible are reassigned: a flow
//! stays with its member as long as that member's bucket does. Packets read without blocking; each
//! sees a group either before or after a change.

mod actions;
mod buckets;
mod error;
mod group;
mod owners;
mod sets;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use adit_p4_frontend::ir::{Chosen, TableAction};
use parking_lot::Mutex;

use crate::p4::memory::{Epochs, Parts, Pin};
use actions::Forms;
pub(in crate::p4) use actions::MemberAction;
pub use error::ProfileError;
use group::{find, places, Group};
pub use sets::SetAction;

/// Maximum weight of a group's member.
pub const MAX_WEIGHT: u32 = 256;
/// Maximum number of members of a group.
pub const MAX_GROUP: usize = 256;
/// Maximum number of groups of a profile, each of which has its own buckets.
pub const MAX_GROUPS: usize = 1 << 16;

/// A member of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// The member's id in the profile.
    pub member: u32,
    /// Its share of the flows, relative to the other weights.
    pub weight: u32,
    /// A port: while it is down, the member receives no flows.
    pub watch_port: Option<u32>,
}

/// State that only writers access, one at a time.
#[derive(Default)]
struct Writing {
    /// The groups of each member.
    groups_of: HashMap<u32, HashSet<u32>>,
    groups: usize,
    /// The number of sets, and of actions in them.
    sets: usize,
    set_actions: u64,
    /// The start of the search for the id of a new set.
    next_set: u32,
    /// The number of entries that refer to each member or group.
    member_uses: HashMap<u32, u64>,
    group_uses: HashMap<u32, u64>,
    down: HashSet<u32>,
}

/// An `action_profile` or `action_selector`.
pub struct Profile {
    name: String,
    size: u64,
    /// Set if it has groups.
    selects: bool,
    /// The actions of the tables that share the profile.
    forms: Forms,
    /// The words of each member's action.
    members: Parts<[u64]>,
    groups: Parts<Group>,
    writing: Mutex<Writing>,
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let members = self.members.len();
        write!(f, "profile {} with {members} members", self.name)
    }
}

impl Profile {
    /// Creates a profile; a size of 0 means no limit.
    pub(super) fn new(
        name: &str,
        size: u64,
        selects: bool,
        actions: &[TableAction],
        epochs: &Arc<Epochs>,
    ) -> Profile {
        let actions = actions.iter();
        let actions = actions.map(|a| (a.name.clone(), a.parameters.clone()));
        Profile {
            name: name.to_owned(),
            size: if size == 0 { u64::MAX } else { size },
            selects,
            forms: Forms::new(name, actions.collect()),
            members: Parts::new(epochs.clone()),
            groups: Parts::new(epochs.clone()),
            writing: Mutex::default(),
        }
    }

    /// Returns whether it has groups.
    pub fn selects(&self) -> bool {
        self.selects
    }

    /// Maximum number of members.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The names of the actions that members may have; [`Chosen::action`] is an index into these.
    pub fn actions(&self) -> impl Iterator<Item = &str> {
        self.forms.names()
    }

    /// Adds a member.
    pub fn insert_member(&self, id: u32, chosen: Chosen) -> Result<(), ProfileError> {
        let action = self.forms.pack(&chosen)?;
        let writing = self.writing.lock();
        self.check_no_sets(&writing)?;
        self.members.change(id.into(), |old, count| match old {
            Some(_) => Err(self.exists("member", id)),
            None if count as u64 >= self.size => Err(self.full("members", self.size)),
            None => Ok(Some(action.into())),
        })
    }

    /// Replaces a member's action. No flow moves to another member.
    pub fn modify_member(&self, id: u32, chosen: Chosen) -> Result<(), ProfileError> {
        let action: Arc<[u64]> = self.forms.pack(&chosen)?.into();
        let writing = self.writing.lock();
        self.members.change(id.into(), |old, _| match old {
            Some(_) => Ok(Some(action.clone())),
            None => Err(self.unknown("member", id)),
        })?;
        for group in writing.groups_of.get(&id).into_iter().flatten() {
            let group = u64::from(*group);
            let Some(mut changed) = self.groups.get(group).map(|g| Group::clone(&g)) else {
                continue;
            };
            let actions = changed.actions.chunks_exact_mut(self.forms.words());
            for (member, words) in changed.members.iter().zip(actions) {
                if member.member == id {
                    words.copy_from_slice(&action);
                }
            }
            self.groups.put(group, Some(Arc::new(changed)));
        }
        Ok(())
    }

    /// Removes a member that no group and no entry refers to.
    pub fn delete_member(&self, id: u32) -> Result<(), ProfileError> {
        let mut writing = self.writing.lock();
        let grouped = writing.groups_of.get(&id).is_some_and(|g| !g.is_empty());
        let used = grouped || writing.member_uses.contains_key(&id);
        self.members.change(id.into(), |old, _| match old {
            None => Err(self.unknown("member", id)),
            Some(_) if used => Err(self.used("member", id)),
            Some(_) => Ok(None),
        })?;
        writing.groups_of.remove(&id);
        Ok(())
    }

    /// A member's action.
    pub fn member(&self, id: u32) -> Option<Chosen> {
        self.forms.unpack(&self.members.get(id.into())?)
    }

    /// The ids of all members, in order.
    pub fn members(&self) -> Vec<u32> {
        let all = self.members.all().into_iter();
        all.map(|(id, _)| id as u32).collect()
    }

    /// Adds a group.
    pub fn insert_group(&self, id: u32, members: &[GroupMember]) -> Result<(), ProfileError> {
        let mut writing = self.writing.lock();
        self.check_no_sets(&writing)?;
        if self.own_group(id).is_some() {
            return Err(self.exists("group", id));
        }
        if writing.groups >= MAX_GROUPS {
            return Err(self.full("groups", MAX_GROUPS as u64));
        }
        self.put_group(&mut writing, id, members, &Group::default())?;
        writing.groups += 1;
        Ok(())
    }

    /// Replaces a group's members and weights.
    pub fn modify_group(&self, id: u32, members: &[GroupMember]) -> Result<(), ProfileError> {
        let mut writing = self.writing.lock();
        let Some(old) = self.own_group(id) else {
            return Err(self.unknown("group", id));
        };
        self.put_group(&mut writing, id, members, &old)
    }

    /// Removes a group that no entry refers to.
    pub fn delete_group(&self, id: u32) -> Result<(), ProfileError> {
        let mut writing = self.writing.lock();
        let Some(old) = self.own_group(id) else {
            return Err(self.unknown("group", id));
        };
        if writing.group_uses.contains_key(&id) {
            return Err(self.used("group", id));
        }
        for member in &old.members {
            leave(&mut writing, id, member.member);
        }
        writing.groups -= 1;
        self.groups.put(id.into(), None);
        Ok(())
    }

    /// A group's members.
    pub fn group(&self, id: u32) -> Option<Vec<GroupMember>> {
        self.own_group(id).map(|group| group.members.clone())
    }

    /// The ids of all groups, in order.
    pub fn groups(&self) -> Vec<u32> {
        let all = self.groups.all().into_iter();
        let own = all.filter(|(_, group)| !group.is_set);
        own.map(|(id, _)| id as u32).collect()
    }

    /// Sets whether a port is up. Flows of members that watch a port move to other members of their
    /// group while it is down, and back when it is up.
    pub fn set_port(&self, port: u32, is_up: bool) {
        let mut writing = self.writing.lock();
        let changed = match is_up {
            true => writing.down.remove(&port),
            false => writing.down.insert(port),
        };
        if !changed {
            return;
        }
        for (id, old) in self.groups.all() {
            if old.members.iter().any(|m| m.watch_port == Some(port)) {
                let mut group = Group::clone(&old);
                group.assign(&old, &writing.down);
                self.groups.put(id, Some(Arc::new(group)));
            }
        }
    }

    /// Takes an entry's reference to a member.
    pub(in crate::p4) fn hold_member(&self, id: u32) -> Result<(), ProfileError> {
        let mut writing = self.writing.lock();
        self.check_no_sets(&writing)?;
        if self.members.get(id.into()).is_none() {
            return Err(self.unknown("member", id));
        }
        *writing.member_uses.entry(id).or_default() += 1;
        Ok(())
    }

    /// Takes an entry's reference to a group.
    pub(in crate::p4) fn hold_group(&self, id: u32) -> Result<(), ProfileError> {
        let mut writing = self.writing.lock();
        self.check_no_sets(&writing)?;
        if self.own_group(id).is_none() {
            return Err(self.unknown("group", id));
        }
        *writing.group_uses.entry(id).or_default() += 1;
        Ok(())
    }

    /// Releases an entry's reference to a member.
    pub(in crate::p4) fn release_member(&self, id: u32) {
        release(&mut self.writing.lock().member_uses, id);
    }

    /// Releases an entry's reference to a group.
    pub(in crate::p4) fn release_group(&self, id: u32) {
        release(&mut self.writing.lock().group_uses, id);
    }

    /// The action of a member, for a packet.
    pub(in crate::p4) fn chosen<'p>(
        &'p self,
        member: u32,
        pin: &'p Pin<'_>,
    ) -> Option<MemberAction<'p>> {
        MemberAction::of(self.members.read(member.into(), pin)?)
    }

    /// The action of the group's member that a hash selects, for a packet.
    pub(in crate::p4) fn selected<'p>(
        &'p self,
        group: u32,
        hash: u64,
        pin: &'p Pin<'_>,
    ) -> Option<MemberAction<'p>> {
        let group = self.groups.read(group.into(), pin)?;
        let owner = group.owner(hash);
        MemberAction::of(self.action(group, owner)?)
    }

    /// The words of a member's action, by its place in its group; there is none at [`NOBODY`].
    fn action<'g>(&self, group: &'g Group, place: u16) -> Option<&'g [u64]> {
        let words = self.forms.words();
        group
            .actions
            .get(usize::from(place) * words..)?
            .get(..words)
    }

    /// The member whose action [`Profile::selected`] returns.
    pub(in crate::p4) fn selected_member(
        &self,
        group: u32,
        hash: u64,
        pin: &Pin<'_>,
    ) -> Option<u32> {
        let group = self.groups.read(group.into(), pin)?;
        let owner = group.owner(hash);
        Some(group.members.get(usize::from(owner))?.member)
    }

    fn put_group(
        &self,
        writing: &mut Writing,
        id: u32,
        members: &[GroupMember],
        old: &Group,
    ) -> Result<(), ProfileError> {
        if !self.selects {
            return Err(ProfileError::NoGroups(self.name.clone()));
        }
        let wrong = |why: String| ProfileError::Group {
            profile: self.name.clone(),
            group: id,
            why,
        };
        if members.len() > MAX_GROUP {
            return Err(wrong(format!("it has more than {MAX_GROUP} members")));
        }
        let (seen, were) = (places(members), places(&old.members));
        if let Some(twice) = seen.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let id = twice[0].0;
            return Err(wrong(format!("the member {id} is there twice")));
        }
        let mut actions = Vec::with_capacity(members.len() * self.forms.words());
        for member in members {
            let (id, weight) = (member.member, member.weight);
            if !(1..=MAX_WEIGHT).contains(&weight) {
                return Err(wrong(format!(
                    "the member {id} has the weight {weight}, which is not in 1 to {MAX_WEIGHT}"
                )));
            }
            // The old group has the actions of those that stay, and is in the cache.
            let known = find(&were, id).and_then(|place| self.action(old, place));
            match known {
                Some(words) => actions.extend_from_slice(words),
                None => {
                    let words = self.members.get(id.into());
                    let words = words.ok_or_else(|| self.unknown("member", id))?;
                    actions.extend_from_slice(&words);
                }
            }
        }
        let mut group = Group {
            members: members.to_vec(),
            actions,
            ..Group::default()
        };
        group.assign(old, &writing.down);
        for (gone, _) in were.iter().filter(|(id, _)| find(&seen, *id).is_none()) {
            leave(writing, id, *gone);
        }
        for (new, _) in seen.iter().filter(|(id, _)| find(&were, *id).is_none()) {
            writing.groups_of.entry(*new).or_default().insert(id);
        }
        self.groups.put(id.into(), Some(Arc::new(group)));
        Ok(())
    }

    /// The group with that id, unless it is an entry's set.
    fn own_group(&self, id: u32) -> Option<Arc<Group>> {
        self.groups.get(id.into()).filter(|group| !group.is_set)
    }

    fn full(&self, what: &'static str, size: u64) -> ProfileError {
        ProfileError::Full {
            profile: self.name.clone(),
            what,
            size,
        }
    }

    fn exists(&self, what: &'static str, id: u32) -> ProfileError {
        let profile = self.name.clone();
        ProfileError::Exists { profile, what, id }
    }

    fn unknown(&self, what: &'static str, id: u32) -> ProfileError {
        let profile = self.name.clone();
        ProfileError::Unknown { profile, what, id }
    }

    fn used(&self, what: &'static str, id: u32) -> ProfileError {
        let profile = self.name.clone();
        ProfileError::Used { profile, what, id }
    }
}

fn release(uses: &mut HashMap<u32, u64>, id: u32) {
    if let Some(count) = uses.get_mut(&id) {
        *count -= 1;
        if *count == 0 {
            uses.remove(&id);
        }
    }
}

/// Removes a group from the list of a member.
fn leave(writing: &mut Writing, group: u32, member: u32) {
    if let Some(groups) = writing.groups_of.get_mut(&member) {
        groups.remove(&group);
    }
}

#[cfg(test)]
mod tests;
