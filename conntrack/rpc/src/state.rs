// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The connections and expectations of a tracker as bytes, for the tracker of a successor of this
//! process.
//!
//! All that a control plane sees of a connection goes to the successor, and the adjustments of sequence
//! numbers. TCP's windows do not: each direction's next segment sets its window, as after conntrackd.
//! The numbers of connections and expectations are others afterwards.

use std::collections::HashMap;

use adit_conntrack::{
    CommitError, Connection, ConnectionRef, Cursor, ExpectError, SequenceAdjustment, Tracker,
};
use prost::Message;
use thiserror::Error;

use crate::convert::{connection_message, expectation_message, new_connection, new_expectation};
use crate::{proto, Clock, Malformed};

/// The number of connections or expectations that are copied at a time.
const PAGE: usize = 4096;

/// One connection or expectation; in a state they follow each other, each behind its length.
#[derive(Clone, PartialEq, Message)]
struct Saved {
    #[prost(message, optional, tag = "1")]
    connection: Option<proto::Connection>,
    /// `position`, `before` and `after` of both directions.
    #[prost(message, repeated, tag = "2")]
    adjustments: Vec<Adjustment>,
    #[prost(message, optional, tag = "3")]
    expectation: Option<proto::Expectation>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct Adjustment {
    #[prost(uint32, tag = "1")]
    position: u32,
    #[prost(sint32, tag = "2")]
    before: i32,
    #[prost(sint32, tag = "3")]
    after: i32,
}

/// The reason that a state cannot be restored.
#[derive(Debug, Error)]
pub enum StateError {
    /// The bytes are not a state.
    #[error("entry {0} is not one of a state of connections: {1}")]
    Form(usize, prost::DecodeError),
    /// A value is impossible.
    #[error("entry {0}: {1}")]
    Value(usize, Malformed),
    /// A connection was not created.
    #[error("entry {0}: the connection is not created: {1}")]
    Connection(usize, CommitError),
    /// An expectation was not created.
    #[error("entry {0}: the expectation is not created: {1}")]
    Expectation(usize, ExpectError),
    /// The connection that announced another one, or an expectation, is not part of the state.
    #[error("entry {0}: its master is not part of the state")]
    Master(usize),
}

/// Saves all connections and expectations. Nothing must change meanwhile.
#[must_use]
pub fn save(tracker: &Tracker, clock: &impl Clock) -> Vec<u8> {
    let (now, date) = (clock.now(), clock.start_date());
    let mut bytes = Vec::new();
    let mut add = |saved: Saved| {
        // A vector has room for any message.
        let _ = saved.encode_length_delimited(&mut bytes);
    };
    let mut cursor = Some(Cursor::default());
    while let Some(at) = cursor {
        let (found, next) = tracker.dump(at, PAGE, now);
        for connection in &found {
            add(Saved {
                connection: Some(connection_message(connection, date)),
                adjustments: adjustments(connection),
                expectation: None,
            });
        }
        cursor = next;
    }
    let mut first = Some(0);
    while let Some(at) = first {
        let (found, next) = tracker.expectations(at, PAGE, now);
        for expectation in &found {
            add(Saved {
                expectation: Some(expectation_message(expectation, now)),
                ..Saved::default()
            });
        }
        first = next;
    }
    bytes
}

fn adjustments(connection: &Connection) -> Vec<Adjustment> {
    let both = connection.adjustments.into_iter().flatten();
    both.map(|one| Adjustment {
        position: one.position,
        before: one.before,
        after: one.after,
    })
    .collect()
}

/// Restores a state to a tracker without connections, whose clock shows the time of the old one's.
/// Returns the number of connections.
///
/// # Errors
/// When the state is damaged, or the tracker has no room for it. Some of it has been restored then.
pub fn restore(
    tracker: &Tracker,
    clock: &impl Clock,
    mut bytes: &[u8],
) -> Result<usize, StateError> {
    let (now, date) = (clock.now(), clock.start_date());
    let mut known: HashMap<u64, ConnectionRef> = HashMap::new();
    // Those that another connection expected, which may follow later, and the expectations.
    let (mut expected, mut expectations) = (Vec::new(), Vec::new());
    let mut number = 0;
    let create = |number, saved: &Saved, master: Option<ConnectionRef>| {
        let message = saved.connection.as_ref();
        let mut new =
            new_connection(message, date).map_err(|error| StateError::Value(number, error))?;
        new.master = master;
        if let [one, other] = saved.adjustments[..] {
            new.adjustments = Some([one, other].map(|one| SequenceAdjustment {
                position: one.position,
                before: one.before,
                after: one.after,
            }));
        }
        tracker
            .create_connection(&new, now)
            .map_err(|error| StateError::Connection(number, error))
    };
    while !bytes.is_empty() {
        let saved = Saved::decode_length_delimited(&mut bytes)
            .map_err(|error| StateError::Form(number, error))?;
        match &saved.connection {
            Some(connection) if connection.master == 0 => {
                known.insert(connection.id, create(number, &saved, None)?);
            }
            Some(_) => expected.push((number, saved)),
            None => expectations.push((number, saved)),
        }
        number += 1;
    }
    let connections = known.len() + expected.len();
    // A master may itself have been expected.
    while !expected.is_empty() {
        let before = expected.len();
        let mut left = Vec::new();
        for (number, saved) in expected {
            let (id, master) = saved
                .connection
                .as_ref()
                .map_or((0, 0), |c| (c.id, c.master));
            match known.get(&master) {
                Some(&master) => {
                    let created = create(number, &saved, Some(master))?;
                    known.insert(id, created);
                }
                None => left.push((number, saved)),
            }
        }
        if left.len() == before {
            // The master has ended: the kernel, too, forgets it then.
            for (number, saved) in left {
                create(number, &saved, None)?;
            }
            break;
        }
        expected = left;
    }
    for (number, saved) in expectations {
        let Some(message) = &saved.expectation else {
            continue;
        };
        let master = known.get(&message.master).copied();
        let master = master.ok_or(StateError::Master(number))?;
        let new =
            new_expectation(message, master).map_err(|error| StateError::Value(number, error))?;
        tracker
            .create_expectation(&new, now)
            .map_err(|error| StateError::Expectation(number, error))?;
    }
    Ok(connections)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use adit_conntrack::{Endpoint, Protocol, Tuple};
    use adit_conntrack::{
        NewConnection, NewProto, Seed, Settings, Status, TcpFlags, TcpState, Time,
    };

    use super::*;

    struct At(u64);

    impl Clock for At {
        fn now(&self) -> Time {
            Time::from_nanos(self.0)
        }

        fn start_date(&self) -> Duration {
            Duration::from_secs(1_700_000_000)
        }
    }

    fn tracker() -> Tracker {
        Tracker::new(64, Seed::new([7; 16]), Settings::default())
    }

    fn tuple(port: u16, server: u16) -> Tuple {
        let end = |address: &str, part| Endpoint {
            address: address.parse().unwrap(),
            part,
        };
        Tuple::new(
            Protocol::TCP,
            end("10.0.0.1", port),
            end("10.0.0.2", server),
        )
        .unwrap()
    }

    /// All connections, without their numbers.
    fn all(tracker: &Tracker, now: Time) -> Vec<Connection> {
        let (mut found, next) = tracker.dump(Cursor::default(), 64, now);
        assert!(next.is_none());
        found.sort_by_key(|one| one.original.src().part);
        found
    }

    #[test]
    fn connections_are_restored_with_their_masters_adjustments_and_counters() {
        let (old, new) = (tracker(), tracker());
        let clock = At(5_000_000_000);
        let connection = |port: u16| {
            let original = tuple(port, 21);
            let timeout = Duration::from_secs(100);
            let mut one = NewConnection::new(original, original.invert().unwrap(), timeout);
            one.status = Status::ASSURED | Status::SEEN_REPLY;
            one.proto = NewProto::Tcp {
                state: Some(TcpState::Established),
                scales: Some([7, 8]),
                flags: [TcpFlags {
                    bits: 1,
                    mask: 0xFF,
                }; 2],
            };
            one.counters[0].packets = port.into();
            one.mark = 9;
            one.start = Some(Time::from_nanos(1_000_000_000));
            one
        };
        let master = old
            .create_connection(&connection(1000), clock.now())
            .unwrap();
        let mut data = connection(1001);
        data.master = Some(master);
        let data = old.create_connection(&data, clock.now()).unwrap();
        let mut third = connection(1002);
        third.master = Some(data);
        let one = SequenceAdjustment {
            position: 5,
            before: -3,
            after: 4,
        };
        third.adjustments = Some([one, SequenceAdjustment::default()]);
        old.create_connection(&third, clock.now()).unwrap();

        let bytes = save(&old, &clock);
        assert_eq!(restore(&new, &clock, &bytes).unwrap(), 3);
        let (before, after) = (all(&old, clock.now()), all(&new, clock.now()));
        assert_eq!(before.len(), 3);
        for (before, after) in before.iter().zip(&after) {
            let master = |tracker: &Tracker, one: &Connection| {
                let master = one
                    .master
                    .and_then(|master| tracker.get(master, clock.now()));
                master.map(|master| master.original)
            };
            assert_eq!(master(&old, before), master(&new, after));
            let mut alike = after.clone();
            (alike.id, alike.master) = (before.id, before.master);
            assert_eq!(alike, *before);
        }
    }

    #[test]
    fn damaged_states_are_refused() {
        let clock = At(1);
        let original = tuple(1, 2);
        let timeout = Duration::from_secs(9);
        let one = NewConnection::new(original, original.invert().unwrap(), timeout);
        let old = tracker();
        old.create_connection(&one, clock.now()).unwrap();
        let bytes = save(&old, &clock);
        let half = restore(&tracker(), &clock, &bytes[..bytes.len() - 1]);
        assert!(matches!(half, Err(StateError::Form(0, _))));
        let twice = restore(&tracker(), &clock, &[&bytes[..], &bytes].concat());
        assert!(matches!(twice, Err(StateError::Connection(1, _))));
    }
}
