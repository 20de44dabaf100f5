// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A group of members, and its buckets.

use std::collections::HashSet;

use super::buckets::{assign, BUCKETS, NOBODY};
use super::{GroupMember, MAX_GROUP};

/// A group, with the buckets that flows are hashed to.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) members: Vec<GroupMember>,
    /// The index in `members` of each bucket's owner; [`NOBODY`] if there is none.
    pub(super) buckets: [u16; BUCKETS],
    /// Set while the buckets are those of a group that was just added.
    pub(super) is_new: bool,
    /// The words of each member's action.
    pub(super) actions: Vec<u64>,
    /// Set if its members belong to one entry, and are in no other group.
    pub(super) is_set: bool,
}

impl Default for Group {
    fn default() -> Group {
        Group {
            members: Vec::new(),
            buckets: [NOBODY; BUCKETS],
            is_new: false,
            actions: Vec::new(),
            is_set: false,
        }
    }
}

impl Group {
    /// The place of the member that a hash selects; [`NOBODY`] if there is none.
    pub(super) fn owner(&self, hash: u64) -> u16 {
        self.buckets[hash as usize % BUCKETS]
    }

    /// Reassigns the buckets; `old` has their previous owners.
    pub(super) fn assign(&mut self, old: &Group, down: &HashSet<u32>) {
        let weights: Vec<u32> = self
            .members
            .iter()
            .map(|m| match m.watch_port.is_some_and(|p| down.contains(&p)) {
                true => 0,
                false => m.weight,
            })
            .collect();
        let place = places(&self.members);
        // Once for each member, not for each bucket.
        let places = old.members.iter().map(|m| find(&place, m.member));
        let mut owners = [NOBODY; MAX_GROUP + 1];
        for (owner, place) in owners.iter_mut().zip(places) {
            *owner = place.unwrap_or(NOBODY);
        }
        for (owner, old) in self.buckets.iter_mut().zip(&old.buckets) {
            *owner = owners[usize::from(*old).min(MAX_GROUP)];
        }
        assign(&mut self.buckets, &weights);
        self.is_new = old.members.is_empty() && !weights.contains(&0);
    }
}

/// The members of a group and their places in it, in the order of their ids.
pub(super) fn places(members: &[GroupMember]) -> Vec<(u32, u16)> {
    let each = (0..).zip(members);
    let mut places: Vec<_> = each.map(|(n, member)| (member.member, n)).collect();
    places.sort_unstable();
    places
}

/// The place of a member.
pub(super) fn find(places: &[(u32, u16)], member: u32) -> Option<u16> {
    let at = places.binary_search_by_key(&member, |(id, _)| *id).ok()?;
    Some(places[at].1)
}
