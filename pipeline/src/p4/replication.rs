// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Multicast groups, and sessions of clones (v1model) and mirrors (PNA).

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

/// The most copies of one packet.
pub const MAX_COPIES: usize = 1024;
/// The most groups, and the most sessions.
pub const MAX_GROUPS: usize = 64 << 10;

/// One copy of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    /// The port that it leaves by.
    pub port: u64,
    /// Tells copies for the same port apart: v1model's `egress_rid`.
    pub instance: u64,
}

/// Where clones of a session go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloneSession {
    /// The copies.
    pub to: CloneTo,
    /// Copies are cut to that many bytes.
    pub truncate: Option<u32>,
}

/// The copies of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloneTo {
    /// These.
    Replicas(Vec<Replica>),
    /// Those of a multicast group, as it is when a packet comes.
    Group(u64),
}

impl CloneSession {
    /// A session with one copy.
    pub fn port(port: u64) -> CloneSession {
        CloneSession {
            to: CloneTo::Replicas(vec![Replica { port, instance: 0 }]),
            truncate: None,
        }
    }

    /// A session whose copies are those of a group.
    pub fn group(group: u64) -> CloneSession {
        CloneSession {
            to: CloneTo::Group(group),
            truncate: None,
        }
    }
}

/// What is wrong with a group or session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplicationError {
    /// The same one again.
    #[error("the {what} {id} exists already")]
    Exists {
        /// A group or a session.
        what: &'static str,
        /// Its number.
        id: u64,
    },
    /// No such one.
    #[error("there is no {what} {id}")]
    Unknown {
        /// A group or a session.
        what: &'static str,
        /// Its number.
        id: u64,
    },
    /// 0 means that there is none.
    #[error("a {0}'s number is at least 1")]
    Zero(&'static str),
    /// Too many copies.
    #[error("the {what} {id} has {given} copies: {MAX_COPIES} are the most")]
    TooManyCopies {
        /// A group or a session.
        what: &'static str,
        /// Its number.
        id: u64,
        /// How many were given.
        given: usize,
    },
    /// The same copy twice.
    #[error("the {what} {id} has the copy for port {port}, instance {instance} twice")]
    SameCopy {
        /// A group or a session.
        what: &'static str,
        /// Its number.
        id: u64,
        /// The port of the copy.
        port: u64,
        /// The instance of the copy.
        instance: u64,
    },
    /// No room.
    #[error("there is room for {MAX_GROUPS} of each kind")]
    Full,
}

const GROUP: &str = "multicast group";
const SESSION: &str = "clone session";

/// Clone sessions and multicast groups.
#[derive(Debug, Default)]
pub struct Replication {
    sessions: RwLock<BTreeMap<u64, Arc<CloneSession>>>,
    groups: RwLock<BTreeMap<u64, Arc<[Replica]>>>,
}

fn check(what: &'static str, id: u64, copies: &[Replica]) -> Result<(), ReplicationError> {
    if id == 0 && what == GROUP {
        return Err(ReplicationError::Zero(what));
    }
    let given = copies.len();
    if given > MAX_COPIES {
        return Err(ReplicationError::TooManyCopies { what, id, given });
    }
    let mut sorted: Vec<_> = copies.iter().map(|c| (c.port, c.instance)).collect();
    sorted.sort_unstable();
    match sorted.windows(2).find(|two| two[0] == two[1]) {
        None => Ok(()),
        Some(two) => Err(ReplicationError::SameCopy {
            what,
            id,
            port: two[0].0,
            instance: two[0].1,
        }),
    }
}

impl Replication {
    /// Makes a multicast group.
    pub fn insert_group(&self, group: u64, copies: &[Replica]) -> Result<(), ReplicationError> {
        check(GROUP, group, copies)?;
        let mut groups = self.groups.write();
        match groups.contains_key(&group) {
            true => {
                return Err(ReplicationError::Exists {
                    what: GROUP,
                    id: group,
                })
            }
            false if groups.len() >= MAX_GROUPS => return Err(ReplicationError::Full),
            false => groups.insert(group, copies.into()),
        };
        Ok(())
    }

    /// Gives a multicast group other copies.
    pub fn modify_group(&self, group: u64, copies: &[Replica]) -> Result<(), ReplicationError> {
        check(GROUP, group, copies)?;
        match self.groups.write().get_mut(&group) {
            Some(place) => *place = copies.into(),
            None => {
                return Err(ReplicationError::Unknown {
                    what: GROUP,
                    id: group,
                })
            }
        }
        Ok(())
    }

    /// Removes a multicast group.
    pub fn delete_group(&self, group: u64) -> Result<(), ReplicationError> {
        let removed = self.groups.write().remove(&group);
        removed.map(drop).ok_or(ReplicationError::Unknown {
            what: GROUP,
            id: group,
        })
    }

    /// The copies of a group.
    pub fn group(&self, group: u64) -> Option<Arc<[Replica]>> {
        self.groups.read().get(&group).cloned()
    }

    /// All groups, by their numbers.
    pub fn groups(&self) -> Vec<(u64, Arc<[Replica]>)> {
        self.groups
            .read()
            .iter()
            .map(|(id, copies)| (*id, copies.clone()))
            .collect()
    }

    /// Makes a session.
    pub fn insert_session(&self, id: u64, session: CloneSession) -> Result<(), ReplicationError> {
        self.check_session(id, &session)?;
        let mut sessions = self.sessions.write();
        match sessions.contains_key(&id) {
            true => return Err(ReplicationError::Exists { what: SESSION, id }),
            false if sessions.len() >= MAX_GROUPS => return Err(ReplicationError::Full),
            false => sessions.insert(id, session.into()),
        };
        Ok(())
    }

    /// Gives a session other copies.
    pub fn modify_session(&self, id: u64, session: CloneSession) -> Result<(), ReplicationError> {
        self.check_session(id, &session)?;
        match self.sessions.write().get_mut(&id) {
            Some(place) => *place = session.into(),
            None => return Err(ReplicationError::Unknown { what: SESSION, id }),
        }
        Ok(())
    }

    /// Removes a session.
    pub fn delete_session(&self, id: u64) -> Result<(), ReplicationError> {
        let removed = self.sessions.write().remove(&id);
        removed
            .map(drop)
            .ok_or(ReplicationError::Unknown { what: SESSION, id })
    }

    /// A session.
    pub fn session(&self, id: u64) -> Option<Arc<CloneSession>> {
        self.sessions.read().get(&id).cloned()
    }

    /// All sessions, by their numbers.
    pub fn sessions(&self) -> Vec<(u64, Arc<CloneSession>)> {
        self.sessions
            .read()
            .iter()
            .map(|(id, session)| (*id, session.clone()))
            .collect()
    }

    fn check_session(&self, id: u64, session: &CloneSession) -> Result<(), ReplicationError> {
        match &session.to {
            CloneTo::Replicas(copies) => check(SESSION, id, copies),
            CloneTo::Group(_) => Ok(()),
        }
    }

    /// The copies of a session, and what they are cut to.
    pub(super) fn copies(&self, session: u64) -> Option<(Arc<[Replica]>, Option<u32>)> {
        let session = self.session(session)?;
        let copies = match &session.to {
            CloneTo::Replicas(copies) => copies[..].into(),
            CloneTo::Group(group) => self.group(*group)?,
        };
        Some((copies, session.truncate))
    }
}
