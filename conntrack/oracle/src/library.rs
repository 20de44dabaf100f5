// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The library under test, fed with the packets of a trace.

use std::time::Duration;

use adit_conntrack::testing::fill_header_checksum;
use adit_conntrack::{
    Commit, Connection, CtState, Cursor, Input, Invalid, ProtoInfo, Seed, Settings, Time, Tracker,
};

use crate::observation::{Entry, Observation, Verdict};

/// More connections than a trace has.
const CAPACITY: usize = 4096;
/// Steps of expiry: enough for all that is due.
const EXPIRY_BUDGET: usize = 1 << 20;

/// A tracker of the library that forwards as a router does: it commits every connection.
pub(crate) struct Library {
    tracker: Tracker,
}

impl Library {
    /// An empty tracker.
    pub(crate) fn new(settings: Settings) -> Self {
        Library {
            tracker: Tracker::new(CAPACITY, Seed::new([0x5a; 16]), settings),
        }
    }

    /// Tracks a packet that arrives at `now`.
    pub(crate) fn feed(&self, packet: &[u8], now: Time) -> Observation {
        while self.tracker.expire(now, EXPIRY_BUDGET) {}
        let input = Input::new(packet);
        let mut tracked = self.tracker.track(&input, now);
        let committed = self
            .tracker
            .commit(&mut tracked, &input, &Commit::default(), now);
        let verdict = match tracked.invalid_reason() {
            Some(Invalid::Untracked) => Verdict::Untracked,
            _ => Verdict::State(tracked.state().without(CtState::SRC_NAT | CtState::DST_NAT)),
        };
        Observation {
            verdict,
            forwarded: committed.is_ok().then(|| hop(packet.to_vec())),
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
