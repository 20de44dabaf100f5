// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Restores the state of another tracker.

use std::collections::HashMap;

use adit_conntrack::{
    ConnectionRef, ExpectError, ExpectFunction, Internals, SequenceAdjustment, Status, Time,
    Tracker,
};
use prost::Message;

use super::{Saved, StateError};
use crate::convert::{new_connection, new_expectation, reserved_ports};
use crate::{proto, Clock};

/// The number of what has been restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// The connections.
    pub connections: usize,
    /// The expectations.
    pub expectations: usize,
    /// The expectations that have ended with their masters: these were not part of the state.
    pub without_master: usize,
    /// The entries of connections whose internals this release does not understand: they begin without.
    pub not_understood: NotUnderstood,
}

/// The internals of another release's layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotUnderstood {
    /// The number of entries.
    pub entries: usize,
    /// The layout of the last one.
    pub layout: Option<u8>,
}

impl NotUnderstood {
    /// Reads the internals of an entry, and counts it if it has some that are not understood.
    fn read(&mut self, number: usize, bytes: &[u8]) -> Result<Option<Internals>, StateError> {
        let internals = Internals::from_bytes(bytes);
        let internals = internals.map_err(|error| StateError::Internals(number, error))?;
        if let (None, Some(&layout)) = (&internals, bytes.first()) {
            self.entries += 1;
            self.layout = Some(layout);
        }
        Ok(internals)
    }
}

/// Restores a state of one part to a tracker without connections, whose clock goes on from the old one's.
///
/// # Errors
/// When the state is damaged, or the tracker has no room for it. Some of it has been restored then.
pub fn restore(
    tracker: &Tracker,
    clock: &impl Clock,
    bytes: &[u8],
) -> Result<Restored, StateError> {
    Restoring::default().finish(tracker, clock, bytes)
}

/// A state that is being restored.
#[derive(Default)]
pub struct Restoring {
    /// The connections, by their numbers in the old tracker.
    known: HashMap<u64, ConnectionRef>,
    /// Set once connections have been added that were copied.
    has_copied: bool,
    /// The connections that another one expected, which may follow later.
    expected: Vec<(usize, Saved)>,
    expectations: Vec<(usize, proto::Expectation)>,
    not_understood: NotUnderstood,
}

impl Restoring {
    /// Restores connections that were [copied](super::precopy). Nothing else may have changed the tracker.
    ///
    /// # Errors
    /// As [`restore`].
    pub fn add(
        &mut self,
        tracker: &Tracker,
        clock: &impl Clock,
        bytes: &[u8],
    ) -> Result<(), StateError> {
        self.has_copied = true;
        self.read(tracker, clock, bytes, false).map(drop)
    }

    /// Restores a whole state, or the rest of one.
    ///
    /// # Errors
    /// As [`restore`].
    pub fn finish(
        mut self,
        tracker: &Tracker,
        clock: &impl Clock,
        bytes: &[u8],
    ) -> Result<Restored, StateError> {
        let now = self.read(tracker, clock, bytes, self.has_copied)?;
        self.create_expected(tracker, clock, now)?;
        self.create_expectations(tracker, now)
    }

    /// Reads entries, and creates the connections of them that no other one expected. Returns the time of the
    /// state.
    fn read(
        &mut self,
        tracker: &Tracker,
        clock: &impl Clock,
        mut bytes: &[u8],
        is_rest: bool,
    ) -> Result<Time, StateError> {
        let mut now = clock.now();
        let mut number = 0;
        if is_rest && bytes.is_empty() {
            return Err(StateError::Part(self.known.len()));
        }
        while !bytes.is_empty() {
            let saved = Saved::decode_length_delimited(&mut bytes)
                .map_err(|error| StateError::Form(number, error))?;
            if let Some(head) = &saved.head {
                now = Time::from_nanos(head.time_ns);
                if head.is_rest != is_rest {
                    return Err(StateError::Part(self.known.len()));
                }
                for id in &head.stale {
                    if let Some(stale) = self.known.remove(id) {
                        tracker.delete(stale, now);
                    }
                }
            }
            if let Some(reserved) = &saved.reserved {
                let ports = reserved_ports(&reserved.ports);
                let ports = ports.map_err(|error| StateError::Value(number, error))?;
                tracker.set_reserved_ports(ports);
            }
            match &saved.connection {
                Some(connection) if connection.master == 0 => {
                    let created = self.create(tracker, clock, now, (number, &saved), None)?;
                    self.known.insert(connection.id, created);
                }
                Some(_) => self.expected.push((number, saved)),
                None => {
                    let expectation = saved.expectation;
                    self.expectations
                        .extend(expectation.map(|one| (number, one)));
                }
            }
            number += 1;
        }
        Ok(now)
    }

    /// Creates the connections that others expected.
    fn create_expected(
        &mut self,
        tracker: &Tracker,
        clock: &impl Clock,
        now: Time,
    ) -> Result<(), StateError> {
        let mut expected = std::mem::take(&mut self.expected);
        // A master may itself have been expected.
        while !expected.is_empty() {
            let before = expected.len();
            let mut left = Vec::new();
            for (number, saved) in expected {
                let connection = saved.connection.as_ref();
                let (id, master) = connection.map_or((0, 0), |one| (one.id, one.master));
                match self.known.get(&master) {
                    Some(&master) => {
                        let master = Some(master);
                        let created = self.create(tracker, clock, now, (number, &saved), master)?;
                        self.known.insert(id, created);
                    }
                    None => left.push((number, saved)),
                }
            }
            if left.len() == before {
                // The master has ended. The connection stays an expected one, as it does in Linux.
                for (number, saved) in left {
                    let id = saved.connection.as_ref().map_or(0, |one| one.id);
                    let created = self.create(tracker, clock, now, (number, &saved), None)?;
                    self.known.insert(id, created);
                }
                break;
            }
            expected = left;
        }
        Ok(())
    }

    /// Creates the connection of an entry.
    fn create(
        &mut self,
        tracker: &Tracker,
        clock: &impl Clock,
        now: Time,
        (number, saved): (usize, &Saved),
        master: Option<ConnectionRef>,
    ) -> Result<ConnectionRef, StateError> {
        let message = saved.connection.as_ref();
        let new = new_connection(message, clock.start_date());
        let mut new = new.map_err(|error| StateError::Value(number, error))?;
        new.master = master;
        new.was_expected = new.status.contains(Status::EXPECTED);
        new.internals = self.not_understood.read(number, &saved.internals)?;
        if let [one, other] = saved.adjustments[..] {
            new.adjustments = Some([one, other].map(|one| SequenceAdjustment {
                position: one.position,
                before: one.before,
                after: one.after,
            }));
        }
        let created = tracker.create_connection(&new, now);
        created.map_err(|error| StateError::Connection(number, error))
    }

    fn create_expectations(self, tracker: &Tracker, now: Time) -> Result<Restored, StateError> {
        let mut restored = Restored {
            connections: self.known.len(),
            not_understood: self.not_understood,
            ..Restored::default()
        };
        for (number, message) in self.expectations {
            let Some(&master) = self.known.get(&message.master) else {
                // It ends with its master, which has expired but was not removed yet.
                restored.without_master += 1;
                continue;
            };
            let new = new_expectation(&message, master);
            let mut new = new.map_err(|error| StateError::Value(number, error))?;
            if let Some(nat) = &mut new.nat {
                // Clients cannot choose it, but this is a tracker's own.
                nat.function = function(&message.function);
            }
            match tracker.restore_expectation(&new, now) {
                Ok(_) => restored.expectations += 1,
                Err(ExpectError::NoMaster) => restored.without_master += 1,
                Err(error) => return Err(StateError::Expectation(number, error)),
            }
        }
        Ok(restored)
    }
}

/// The function of a name; one that this release does not know follows the master.
fn function(name: &str) -> ExpectFunction {
    let mut all = ExpectFunction::ALL.into_iter();
    let found = all.find(|function| function.name() == name);
    found.unwrap_or(ExpectFunction::FollowMaster)
}
