// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A tracker that takes another one's place.

use std::collections::HashMap;

use crate::tracker::{NewConnection, NewExpectation, NewProto, TcpFlags};
use crate::{Connection, ConnectionRef, Cursor, ProtoInfo, Status, Time, Tracker};

/// A tracker with all that `old` has, for which no packet makes a difference.
pub(crate) fn successor(old: &Tracker, now: Time) -> Tracker {
    let new = super::tracker();
    let mut known: HashMap<ConnectionRef, ConnectionRef> = HashMap::new();
    let (mut left, next) = old.dump_whole(Cursor::default(), old.capacity(), now);
    assert!(next.is_none(), "a table of a few slots is one page");
    let mut with_masters = true;
    while !left.is_empty() {
        let before = left.len();
        left.retain(|(one, internals)| {
            let master = one.master.and_then(|master| known.get(&master).copied());
            if with_masters && one.master.is_some() && master.is_none() {
                return true;
            }
            let copy = NewConnection {
                master,
                internals: internals.clone(),
                ..copy_of(one)
            };
            let created = new.create_connection(&copy, now);
            known.insert(one.id, created.expect("the old tracker had room for it"));
            false
        });
        // The masters of the others have ended.
        with_masters = left.len() < before;
    }
    for expectation in old.expectations(0, usize::MAX, now).0.iter().rev() {
        let Some(&master) = known.get(&expectation.master) else {
            continue;
        };
        let copy = NewExpectation {
            master,
            tuple: expectation.tuple,
            mask: expectation.mask,
            timeout: expectation.timeout(now),
            class: expectation.class,
            flags: expectation.flags,
            assigned: expectation.assigned,
            nat: expectation.nat,
        };
        let restored = new.restore_expectation(&copy, now);
        restored.expect("the old tracker had room for it");
    }
    new
}

/// A copy of what control planes see of a connection.
fn copy_of(one: &Connection) -> NewConnection {
    NewConnection {
        zone: one.zone,
        status: one.status,
        was_expected: one.status.contains(Status::EXPECTED),
        mark: one.mark,
        label: one.label,
        proto: match one.proto {
            ProtoInfo::None => NewProto::None,
            ProtoInfo::Tcp {
                state,
                scales,
                flags,
            } => NewProto::Tcp {
                state: Some(state),
                scales: Some(scales),
                flags: flags.map(|bits| TcpFlags { bits, mask: 0xff }),
            },
            ProtoInfo::Sctp { state, tags } => NewProto::Sctp { state, tags },
        },
        policy: one.policy,
        helper: one.helper,
        counters: one.counters,
        start: Some(one.start),
        adjustments: one.adjustments,
        ..NewConnection::new(one.original, one.reply, one.timeout)
    }
}
