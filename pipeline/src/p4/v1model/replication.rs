// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Clone sessions and multicast groups.

use std::collections::BTreeMap;

/// The most copies of one packet.
const MAX_COPIES: usize = 1024;

/// Where clones of a session go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloneSession {
    /// To a port.
    Port(u64),
    /// To a multicast group.
    Group(u64),
}

/// Clone sessions and multicast groups.
#[derive(Clone, Debug, Default)]
pub struct Replication {
    sessions: BTreeMap<u64, CloneSession>,
    /// The copies of each group: port and replication id.
    groups: BTreeMap<u64, Vec<(u64, u64)>>,
}

impl Replication {
    /// Makes or changes a clone session.
    pub fn set_session(&mut self, session: u64, to: CloneSession) {
        self.sessions.insert(session, to);
    }

    /// Makes a multicast group if there is none of that number.
    pub fn make_group(&mut self, group: u64) {
        self.groups.entry(group).or_default();
    }

    /// Adds a copy to a group; false if there is no such group, or it is full.
    pub fn add_copy(&mut self, group: u64, port: u64, rid: u64) -> bool {
        match self.groups.get_mut(&group) {
            Some(copies) if copies.len() < MAX_COPIES => {
                copies.push((port, rid));
                true
            }
            _ => false,
        }
    }

    pub(super) fn group(&self, group: u64) -> Option<Vec<(u64, u64)>> {
        self.groups.get(&group).cloned()
    }

    /// The copies of a session: port and replication id.
    pub(super) fn session(&self, session: u64) -> Option<Vec<(u64, u64)>> {
        match self.sessions.get(&session)? {
            CloneSession::Port(port) => Some(vec![(*port, 0)]),
            CloneSession::Group(group) => self.group(*group),
        }
    }
}
