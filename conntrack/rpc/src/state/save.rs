// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Saves the state of a tracker.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use adit_conntrack::{Connection, Cursor, Internals, Time, Tracker};
use prost::Message;

use super::{Adjustment, Head, Saved};
use crate::convert::{connection_message, expectation_message, reserved_message};
use crate::Clock;

/// The number of connections or expectations that are copied at a time.
const PAGE: usize = 4096;

/// The connections that have been copied, as they were then.
pub struct Copied {
    /// The number of each, and the hash of what can change of it; in the order of the table.
    connections: Vec<(u64, u64)>,
    hasher: RandomState,
}

/// Copies all connections that no other one expected. Others may come, change and end meanwhile.
#[must_use]
pub fn precopy(tracker: &Tracker, clock: &impl Clock) -> (Vec<u8>, Copied) {
    let (now, date) = (clock.now(), clock.start_date());
    let mut copied = Copied {
        connections: Vec::with_capacity(tracker.len()),
        hasher: RandomState::new(),
    };
    let mut bytes = Vec::new();
    let head = Head {
        time_ns: now.as_nanos(),
        ..Head::default()
    };
    add(&mut bytes, Saved::of_head(head));
    each_connection(tracker, now, |connection, internals| {
        if connection.master.is_none() {
            let id = connection.id.to_bits();
            let hash = copied.hash(connection, internals, now);
            copied.connections.push((id, hash));
            add(
                &mut bytes,
                Saved::of_connection(connection, internals, date),
            );
        }
    });
    (bytes, copied)
}

/// Saves all connections and expectations, and the reserved ports; of connections that have been copied, only
/// what has changed since. Nothing must change meanwhile.
#[must_use]
pub fn save(tracker: &Tracker, clock: &impl Clock, copied: Option<&Copied>) -> Vec<u8> {
    let (now, date) = (clock.now(), clock.start_date());
    let (mut stale, mut body) = (Vec::new(), Vec::new());
    let mut before = copied.map_or(&[][..], |copied| &copied.connections[..]);
    each_connection(tracker, now, |connection, internals| {
        let id = connection.id.to_bits();
        // Both are in the order of slots: those in front have ended.
        let ended = before.iter().take_while(|(one, _)| slot(*one) < slot(id));
        let ended = ended.count();
        stale.extend(before[..ended].iter().map(|(one, _)| one));
        before = &before[ended..];
        if let (Some(copied), Some(&(one, hash))) = (copied, before.first()) {
            if slot(one) == slot(id) {
                before = &before[1..];
                if one == id && hash == copied.hash(connection, internals, now) {
                    return;
                }
                stale.push(one);
            }
        }
        add(&mut body, Saved::of_connection(connection, internals, date));
    });
    stale.extend(before.iter().map(|(one, _)| one));
    let mut first = Some(0);
    while let Some(at) = first {
        let (found, next) = tracker.expectations(at, PAGE, now);
        for expectation in &found {
            let saved = Saved {
                expectation: Some(expectation_message(expectation, now)),
                ..Saved::default()
            };
            add(&mut body, saved);
        }
        first = next;
    }
    let head = Head {
        time_ns: now.as_nanos(),
        is_rest: copied.is_some(),
        stale,
    };
    let mut bytes = Vec::new();
    add(&mut bytes, Saved::of_head(head));
    let reserved = Saved {
        reserved: Some(reserved_message(&tracker.reserved_ports())),
        ..Saved::default()
    };
    add(&mut bytes, reserved);
    bytes.append(&mut body);
    bytes
}

/// The slot of a connection with a number.
fn slot(id: u64) -> u32 {
    id as u32
}

/// Calls a function with a copy of each connection and its internals, in the order of slots.
fn each_connection(
    tracker: &Tracker,
    now: Time,
    mut act: impl FnMut(&Connection, Option<&Internals>),
) {
    let mut cursor = Some(Cursor::default());
    while let Some(at) = cursor {
        let (found, next) = tracker.dump_whole(at, PAGE, now);
        for (connection, internals) in &found {
            act(connection, internals.as_ref());
        }
        cursor = next;
    }
}

fn add(bytes: &mut Vec<u8>, saved: Saved) {
    // A vector has room for any message.
    let _ = saved.encode_length_delimited(bytes);
}

impl Saved {
    fn of_head(head: Head) -> Self {
        Self {
            head: Some(head),
            ..Self::default()
        }
    }

    fn of_connection(
        connection: &Connection,
        internals: Option<&Internals>,
        date: std::time::Duration,
    ) -> Self {
        let both = connection.adjustments.into_iter().flatten();
        let adjustments = both.map(|one| Adjustment {
            position: one.position,
            before: one.before,
            after: one.after,
        });
        Self {
            connection: Some(connection_message(connection, date)),
            adjustments: adjustments.collect(),
            internals: internals.map(Internals::to_bytes).unwrap_or_default(),
            ..Self::default()
        }
    }
}

impl Copied {
    /// The hash of all of a connection that can change. Its key is random: peers choose the values.
    fn hash(&self, connection: &Connection, internals: Option<&Internals>, now: Time) -> u64 {
        let Connection {
            status,
            timeout,
            mark,
            label,
            counters,
            policy,
            master,
            helper,
            adjustments,
            // The tuples, the zone and the first packet's time are the connection's for ever; the protocol's
            // state is part of the internals.
            ..
        } = connection;
        let mut hasher = self.hasher.build_hasher();
        let deadline = now.as_nanos().saturating_add(timeout.as_nanos() as u64);
        (status.bits(), deadline, mark).hash(&mut hasher);
        (label.bits(), policy.0, helper.map(|helper| helper.name())).hash(&mut hasher);
        for one in counters {
            (one.packets, one.bytes).hash(&mut hasher);
        }
        master.map(|master| master.to_bits()).hash(&mut hasher);
        internals.hash(&mut hasher);
        for one in adjustments.iter().flatten() {
            (one.position, one.before, one.after).hash(&mut hasher);
        }
        hasher.finish()
    }
}
