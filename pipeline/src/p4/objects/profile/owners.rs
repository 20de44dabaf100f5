// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The owners of a group's buckets, which depend on the changes that the group has seen. With the same owners
//! in another engine, flows stay with their members there, too.

use std::sync::Arc;

use super::buckets::{BUCKETS, NOBODY};
use super::{Group, Profile, ProfileError};

impl Profile {
    /// The owners of the buckets of a group: places among its members, in the order of its buckets. `None` if they
    /// are those of a group with these members that was just added, or if no member owns any.
    pub fn owners(&self, group: u32) -> Option<Vec<u8>> {
        self.own_group(group)?.owners()
    }

    /// Gives the buckets of a group the owners that those of another engine's group with the same members have.
    ///
    /// # Errors
    /// When there is no such group, or they are not the owners of buckets of one like it.
    pub fn set_owners(&self, group: u32, owners: &[u8]) -> Result<(), ProfileError> {
        let writing = self.writing.lock();
        let Some(old) = self.own_group(group) else {
            return Err(self.unknown("group", group));
        };
        self.put_owners(&writing, group, &old, owners)
    }

    /// The same as [`owners`](Self::owners) for an entry's set.
    pub(in crate::p4) fn owners_of_set(&self, id: u32) -> Option<Vec<u8>> {
        self.group_of_set(id)?.owners()
    }

    /// The same as [`set_owners`](Self::set_owners) for an entry's set.
    pub(in crate::p4) fn set_owners_of_set(
        &self,
        id: u32,
        owners: &[u8],
    ) -> Result<(), ProfileError> {
        let writing = self.writing.lock();
        let Some(old) = self.group_of_set(id) else {
            return Err(self.unknown("set", id));
        };
        self.put_owners(&writing, id, &old, owners)
    }

    /// Returns whether entries have sets of actions.
    pub(in crate::p4) fn has_sets(&self) -> bool {
        self.writing.lock().sets > 0
    }

    fn put_owners(
        &self,
        writing: &super::Writing,
        group: u32,
        old: &Group,
        owners: &[u8],
    ) -> Result<(), ProfileError> {
        let wrong = |why: String| {
            Err(ProfileError::Group {
                profile: self.name.clone(),
                group,
                why,
            })
        };
        if owners.len() != BUCKETS {
            let given = owners.len();
            return wrong(format!("owners of {given} buckets: it has {BUCKETS}"));
        }
        let count = old.members.len();
        if let Some(owner) = owners.iter().find(|owner| usize::from(**owner) >= count) {
            return wrong(format!(
                "member {owner} owns a bucket: it has {count} members, from 0"
            ));
        }
        let mut kept = old.clone();
        for (bucket, owner) in kept.buckets.iter_mut().zip(owners) {
            *bucket = (*owner).into();
        }
        kept.is_new = false;
        let watched = |port: Option<u32>| port.is_some_and(|port| writing.down.contains(&port));
        if old.members.iter().any(|member| watched(member.watch_port)) {
            let before = kept.clone();
            kept.assign(&before, &writing.down);
        }
        self.groups.put(group.into(), Some(Arc::new(kept)));
        Ok(())
    }
}

impl Group {
    fn owners(&self) -> Option<Vec<u8>> {
        // If one bucket has no owner, none has; and a place is below `MAX_GROUP`.
        let is_owned = self.buckets.first().is_some_and(|owner| *owner != NOBODY);
        (is_owned && !self.is_new).then(|| self.buckets.iter().map(|owner| *owner as u8).collect())
    }
}
