// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Action sets (one-shot): groups whose members belong to one entry and share its lifetime.

use std::collections::HashSet;
use std::sync::Arc;

use adit_p4_frontend::ir::Chosen;

use super::{
    Group, GroupMember, Profile, ProfileError, Writing, MAX_GROUP, MAX_GROUPS, MAX_WEIGHT,
};

/// An action of an entry's set.
#[derive(Clone, Debug, PartialEq)]
pub struct SetAction {
    /// The action with its arguments.
    pub chosen: Chosen,
    /// Its share of the flows, relative to the other weights.
    pub weight: u32,
    /// A port: while it is down, the action receives no flows.
    pub watch_port: Option<u32>,
}

impl Profile {
    /// Creates the set of an entry and returns its id. If the entry has a set already, that one is
    /// replaced and its id is kept. Flows of actions that are in both sets do not move.
    pub(in crate::p4) fn hold_set(
        &self,
        actions: Vec<SetAction>,
        replaced: Option<u32>,
    ) -> Result<u32, ProfileError> {
        if !self.selects {
            return Err(ProfileError::NoGroups(self.name.clone()));
        }
        let (mut members, mut words) = (Vec::new(), Vec::new());
        self.check_set(&actions)?;
        for action in actions {
            members.push(GroupMember {
                member: 0,
                weight: action.weight,
                watch_port: action.watch_port,
            });
            words.extend(self.forms.pack(&action.chosen)?);
        }
        let mut writing = self.writing.lock();
        if self.members.len() > 0 || writing.groups > 0 {
            return Err(ProfileError::Mixed {
                profile: self.name.clone(),
                has: "members or groups",
            });
        }
        let replaced = replaced.and_then(|id| {
            let old = self.group_of_set(id)?;
            Some((id, old))
        });
        let before = replaced.as_ref().map_or(0, |(_, old)| old.members.len());
        let count = writing.set_actions - before as u64 + members.len() as u64;
        if count > self.size {
            return Err(self.full("actions of sets", self.size));
        }
        if replaced.is_none() && writing.sets >= MAX_GROUPS {
            return Err(self.full("sets", MAX_GROUPS as u64));
        }
        let mut group = Group {
            members,
            actions: words,
            is_set: true,
            ..Group::default()
        };
        let none = Arc::default();
        let old = replaced.as_ref().map_or(&none, |(_, old)| old);
        group.name_after(old, self.forms.words());
        group.assign(old, &writing.down);
        let id = match replaced {
            Some((id, _)) => id,
            None => {
                writing.sets += 1;
                self.unused_id(&mut writing)
            }
        };
        writing.set_actions = count;
        self.groups.put(id.into(), Some(Arc::new(group)));
        Ok(id)
    }

    /// The set with that id, if there is one.
    pub(in crate::p4) fn set(&self, id: u32) -> Option<Vec<SetAction>> {
        let group = self.group_of_set(id)?;
        let actions = group.actions.chunks_exact(self.forms.words());
        let actions = group.members.iter().zip(actions).map(|(member, words)| {
            Some(SetAction {
                chosen: self.forms.unpack(words)?,
                weight: member.weight,
                watch_port: member.watch_port,
            })
        });
        actions.collect()
    }

    /// Releases the set of an entry. Packets may still use it: it is kept until
    /// [`Profile::forget_set`].
    pub(in crate::p4) fn release_set(&self, id: u32) -> bool {
        let mut writing = self.writing.lock();
        let Some(group) = self.group_of_set(id) else {
            return false;
        };
        writing.sets -= 1;
        writing.set_actions -= group.members.len() as u64;
        true
    }

    /// Frees a released set that no packet uses any more.
    pub(in crate::p4) fn forget_set(&self, id: u32) {
        let _writing = self.writing.lock();
        // A control plane may have created a group with this id meanwhile.
        if self.group_of_set(id).is_some() {
            self.groups.put(id.into(), None);
        }
    }

    /// The group with that id, if it is a set.
    pub(super) fn group_of_set(&self, id: u32) -> Option<Arc<Group>> {
        self.groups.get(id.into()).filter(|group| group.is_set)
    }

    pub(super) fn check_no_sets(&self, writing: &Writing) -> Result<(), ProfileError> {
        match writing.sets {
            0 => Ok(()),
            _ => Err(ProfileError::Mixed {
                profile: self.name.clone(),
                has: "sets of actions",
            }),
        }
    }

    fn check_set(&self, actions: &[SetAction]) -> Result<(), ProfileError> {
        let wrong = |why: String| ProfileError::Set {
            profile: self.name.clone(),
            why,
        };
        if actions.len() > MAX_GROUP {
            return Err(wrong(format!("it has more than {MAX_GROUP} actions")));
        }
        let weights = actions.iter().map(|action| action.weight).enumerate();
        for (n, weight) in weights {
            if !(1..=MAX_WEIGHT).contains(&weight) {
                let n = n + 1;
                return Err(wrong(format!(
                    "action {n} has the weight {weight}, which is not in 1 to {MAX_WEIGHT}"
                )));
            }
        }
        Ok(())
    }

    /// An id that neither a group nor a set in use by packets has.
    fn unused_id(&self, writing: &mut Writing) -> u32 {
        loop {
            // Control planes usually allocate ids from the other end.
            writing.next_set = writing.next_set.wrapping_sub(1);
            if self.groups.get(writing.next_set.into()).is_none() {
                return writing.next_set;
            }
        }
    }
}

impl Group {
    /// Assigns ids to members: those of equal actions in `old`, which keep their flows.
    fn name_after(&mut self, old: &Group, words: usize) {
        let actions = old.actions.chunks_exact(words);
        let mut theirs: Vec<_> = old.members.iter().zip(actions).map(Some).collect();
        let mut used = HashSet::new();
        let found: Vec<Option<u32>> = self
            .actions
            .chunks_exact(words)
            .map(|action| {
                let same = |place: &Option<(&GroupMember, &[u64])>| {
                    place.is_some_and(|(_, other)| other == action)
                };
                let at = theirs.iter().position(same)?;
                let id = theirs[at].take()?.0.member;
                used.insert(id);
                Some(id)
            })
            .collect();
        let mut unused = (0..).filter(|id| !used.contains(id));
        for (member, found) in self.members.iter_mut().zip(found) {
            member.member = found.or_else(|| unused.next()).unwrap_or_default();
        }
    }
}
