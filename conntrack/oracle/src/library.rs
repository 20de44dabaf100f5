// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The library under test, fed with the packets of a trace.

use std::time::Duration;

use adit_conntrack::testing::fill_header_checksum;
use adit_conntrack::{
    Commit, Connection, CtState, Cursor, Input, Invalid, Nat, ProtoInfo, Seed, Settings, Time,
    Tracker, Translation,
};

use crate::observation::{Entry, Observation, Verdict};
use crate::trace::{Packet, Side};

/// More connections than a trace has.
const CAPACITY: usize = 4096;
/// Steps of expiry: enough for all that is due.
const EXPIRY_BUDGET: usize = 1 << 20;

/// A tracker of the library that forwards as a router does: it commits every connection.
pub(crate) struct Library {
    tracker: Tracker,
    /// The translation of connections from the left.
    nat: Option<Nat>,
}

impl Library {
    /// An empty tracker.
    pub(crate) fn new(settings: Settings, nat: Option<Nat>) -> Self {
        Library {
            tracker: Tracker::new(CAPACITY, Seed::new([0x5a; 16]), settings),
            nat,
        }
    }

    /// Tracks a packet that arrives at `now`.
    pub(crate) fn feed(&self, packet: &Packet, now: Time) -> Observation {
        while self.tracker.expire(now, EXPIRY_BUDGET) {}
        let input = Input::new(&packet.bytes);
        let mut tracked = self.tracker.track(&input, now);
        // Linux judges a packet before it decides the translation.
        let state = tracked.state();
        let nat = self.nat.map(|nat| match packet.from {
            Side::Left => nat,
            Side::Right => Nat::default(),
        });
        let commit = Commit {
            nat,
            ..Commit::default()
        };
        let committed = self.tracker.commit(&mut tracked, &input, &commit, now);
        let mut forwarded = packet.bytes.clone();
        let translation = self.tracker.translate(&tracked, &mut forwarded);
        let verdict = match tracked.invalid_reason() {
            Some(Invalid::Untracked) => Verdict::Untracked,
            _ => Verdict::State(state.without(CtState::SRC_NAT | CtState::DST_NAT)),
        };
        Observation {
            verdict,
            forwarded: (committed.is_ok() && translation != Translation::Drop)
                .then(|| hop(forwarded)),
            entries: self.entries(now),
        }
    }

    /// Sets the timeout of each connection.
    pub(crate) fn set_timeout(&self, timeout: Duration, now: Time) {
        for connection in self.dump(now) {
            self.tracker.set_timeout(connection.id, timeout, now);
        }
    }

    fn dump(&self, now: Time) -> Vec<Connection> {
        self.tracker.dump(Cursor::default(), CAPACITY, now).0
    }

    fn entries(&self, now: Time) -> Vec<Entry> {
        self.dump(now).iter().map(entry).collect()
    }
}

fn entry(connection: &Connection) -> Entry {
    let counters = connection.counters;
    Entry {
        tuples: [connection.original, connection.reply],
        status: connection.status,
        timeout: connection.timeout,
        mark: connection.mark,
        proto: match connection.proto {
            ProtoInfo::Tcp {
                state,
                scales,
                flags,
            } => vec![
                ("state", state as u32),
                ("wscale_original", scales[0].into()),
                ("wscale_reply", scales[1].into()),
                ("flags_original", flags[0].into()),
                ("flags_reply", flags[1].into()),
            ],
            ProtoInfo::Sctp { state, tags } => vec![
                ("state", state as u32),
                ("vtag_original", tags[0]),
                ("vtag_reply", tags[1]),
            ],
            _ => Vec::new(),
        },
        counters: counters.map(|direction| (direction.packets, direction.bytes)),
    }
}

/// The packet after a router: the time to live, or hop limit, is one less.
fn hop(mut packet: Vec<u8>) -> Vec<u8> {
    if packet[0] >> 4 == 4 {
        packet[8] -= 1;
        fill_header_checksum(&mut packet);
    } else {
        packet[7] -= 1;
    }
    packet
}
