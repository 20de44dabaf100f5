// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Multicast groups, and sessions of clones (v1model) and mirrors (PNA).

use std::sync::Arc;

use super::memory::{Epochs, Parts, Pin};
use super::packets::DropReason;

/// Maximum number of copies of one packet.
pub const MAX_COPIES: usize = 1024;
/// Maximum number of groups, and of sessions.
pub const MAX_GROUPS: usize = 64 << 10;

/// One copy of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    /// The egress port.
    pub port: u64,
    /// Distinguishes copies for the same port: v1model's `egress_rid`.
    pub instance: u64,
}

/// The destinations of a session's clones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloneSession {
    /// The copies.
    pub to: CloneTo,
    /// The length in bytes to which copies are truncated.
    pub truncate: Option<u32>,
}

/// The copies of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloneTo {
    /// A list of copies.
    Replicas(Vec<Replica>),
    /// The copies of a multicast group, as it is when a packet is cloned.
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

    /// Creates a session with the copies of a group.
    pub fn group(group: u64) -> CloneSession {
        CloneSession {
            to: CloneTo::Group(group),
            truncate: None,
        }
    }
}

/// An error of a group or session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplicationError {
    /// The number exists already.
    #[error("the {what} {id} exists already")]
    Exists {
        /// A group or a session.
        what: &'static str,
        /// Its number.
        id: u64,
    },
    /// The number does not exist.
    #[error("there is no {what} {id}")]
    Unknown {
        /// A group or a session.
        what: &'static str,
        /// Its number.
        id: u64,
    },
    /// A number of 0, which means none.
    #[error("a {0}'s number is at least 1")]
    Zero(&'static str),
    /// Too many copies.
    #[error("the {what} {id} has {given} copies: {MAX_COPIES} are the most")]
    TooManyCopies {
        /// A group or a session.
        what: &'static str,
        /// Its number.
        id: u64,
        /// The number of copies given.
        given: usize,
    },
    /// A duplicate copy.
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
    /// The maximum number is reached.
    #[error("there is room for {MAX_GROUPS} of each kind")]
    Full,
}

const GROUP: &str = "multicast group";
const SESSION: &str = "clone session";

/// Clone sessions and multicast groups. Packets read them without blocking, and see each
/// consistently.
pub struct Replication {
    sessions: Parts<CloneSession>,
    groups: Parts<[Replica]>,
}

/// The copies of a session, as read by a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copies<'p> {
    pub(super) replicas: &'p [Replica],
    /// The length in bytes to which they are truncated.
    pub(super) truncate: Option<usize>,
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

/// Checks an insertion: the number must not exist, and there must be capacity.
fn insert<T: ?Sized>(
    what: &'static str,
    id: u64,
    old: Option<&T>,
    count: usize,
) -> Result<(), ReplicationError> {
    match old {
        Some(_) => Err(ReplicationError::Exists { what, id }),
        None if count >= MAX_GROUPS => Err(ReplicationError::Full),
        None => Ok(()),
    }
}

/// Checks a modification or removal: the number must exist.
fn exists<T: ?Sized>(what: &'static str, id: u64, old: Option<&T>) -> Result<(), ReplicationError> {
    let unknown = ReplicationError::Unknown { what, id };
    old.map(drop).ok_or(unknown)
}

fn check_session(id: u64, session: &CloneSession) -> Result<(), ReplicationError> {
    match &session.to {
        CloneTo::Replicas(copies) => check(SESSION, id, copies),
        CloneTo::Group(_) => Ok(()),
    }
}

impl Replication {
    pub(super) fn new(epochs: &Arc<Epochs>) -> Replication {
        Replication {
            sessions: Parts::new(epochs.clone()),
            groups: Parts::new(epochs.clone()),
        }
    }

    /// Creates a multicast group.
    pub fn insert_group(&self, group: u64, copies: &[Replica]) -> Result<(), ReplicationError> {
        check(GROUP, group, copies)?;
        self.groups.change(group, |old, count| {
            insert(GROUP, group, old, count)?;
            Ok(Some(copies.into()))
        })
    }

    /// Replaces the copies of a multicast group.
    pub fn modify_group(&self, group: u64, copies: &[Replica]) -> Result<(), ReplicationError> {
        check(GROUP, group, copies)?;
        self.groups.change(group, |old, _| {
            exists(GROUP, group, old)?;
            Ok(Some(copies.into()))
        })
    }

    /// Removes a multicast group.
    pub fn delete_group(&self, group: u64) -> Result<(), ReplicationError> {
        self.groups.change(group, |old, _| {
            exists(GROUP, group, old)?;
            Ok(None)
        })
    }

    /// The copies of a group.
    pub fn group(&self, group: u64) -> Option<Arc<[Replica]>> {
        self.groups.get(group)
    }

    /// All groups, by their numbers.
    pub fn groups(&self) -> Vec<(u64, Arc<[Replica]>)> {
        self.groups.all()
    }

    /// Creates a session.
    pub fn insert_session(&self, id: u64, session: CloneSession) -> Result<(), ReplicationError> {
        check_session(id, &session)?;
        self.sessions.change(id, |old, count| {
            insert(SESSION, id, old, count)?;
            Ok(Some(session.into()))
        })
    }

    /// Replaces the copies of a session.
    pub fn modify_session(&self, id: u64, session: CloneSession) -> Result<(), ReplicationError> {
        check_session(id, &session)?;
        self.sessions.change(id, |old, _| {
            exists(SESSION, id, old)?;
            Ok(Some(session.into()))
        })
    }

    /// Removes a session.
    pub fn delete_session(&self, id: u64) -> Result<(), ReplicationError> {
        self.sessions.change(id, |old, _| {
            exists(SESSION, id, old)?;
            Ok(None)
        })
    }

    /// A session.
    pub fn session(&self, id: u64) -> Option<Arc<CloneSession>> {
        self.sessions.get(id)
    }

    /// All sessions, by their numbers.
    pub fn sessions(&self) -> Vec<(u64, Arc<CloneSession>)> {
        self.sessions.all()
    }

    /// The copies of a group, for a packet.
    pub(super) fn members<'p>(&'p self, group: u64, pin: &'p Pin<'_>) -> Option<&'p [Replica]> {
        self.groups.read(group, pin)
    }

    /// The copies of a session, for a packet.
    ///
    /// # Errors
    /// When there is no such session, or not the group of its copies.
    pub(super) fn copies<'p>(
        &'p self,
        session: u64,
        pin: &'p Pin<'_>,
    ) -> Result<Copies<'p>, DropReason> {
        let session = self.sessions.read(session, pin);
        let session = session.ok_or(DropReason::UnknownSession)?;
        let replicas = match &session.to {
            CloneTo::Replicas(copies) => copies,
            CloneTo::Group(group) => {
                let members = self.members(*group, pin);
                members.ok_or(DropReason::UnknownGroup)?
            }
        };
        Ok(Copies {
            replicas,
            truncate: session.truncate.map(|bytes| bytes as usize),
        })
    }
}

impl std::fmt::Debug for Replication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (groups, sessions) = (self.groups().len(), self.sessions().len());
        write!(f, "{groups} multicast groups, {sessions} sessions")
    }
}
