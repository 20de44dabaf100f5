// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The library under test, fed with the packets of a trace.

use std::sync::Arc;
use std::time::Duration;

use adit_conntrack::testing::fill_header_checksum;
use adit_conntrack::{
    Connection, CtState, Cursor, Expectation, FragmentLimits, Fragments, Input, Invalid,
    PacketBuffer, ProtoInfo, Reassembly, Seed, Settings, Time, Tracker, Translation,
};

use crate::observation::{comparable, Entry, Expected, Observation, Verdict};
use crate::policy::Policy;
use crate::trace::Packet;

/// More connections than a trace has.
const CAPACITY: usize = 4096;
/// Steps of expiry: enough for all that is due.
const EXPIRY_BUDGET: usize = 1 << 20;

/// A tracker of the library that forwards as a router does: it commits every connection.
pub struct Library {
    tracker: Arc<Tracker>,
    fragments: Fragments,
    policy: Policy,
}

impl Library {
    /// An empty tracker.
    pub fn new(settings: Settings, policy: Policy) -> Self {
        let tracker = Tracker::new(CAPACITY, Seed::new([0x5a; 16]), settings);
        Library::of(Arc::new(tracker), policy)
    }

    /// A tracker that others see as well.
    pub fn of(tracker: Arc<Tracker>, policy: Policy) -> Self {
        Library {
            tracker,
            fragments: Fragments::new(FragmentLimits::default()),
            policy,
        }
    }

    /// Tracks a packet that arrives at `now`.
    pub fn feed(&mut self, packet: &Packet, now: Time) -> Observation {
        while self.tracker.expire(now, EXPIRY_BUDGET) {}
        let zone = self.policy.zone(packet);
        let (verdict, forwarded) = match self.fragments.insert(&packet.bytes, zone, now) {
            Ok(Reassembly::Kept) | Err(_) => (Verdict::Unseen, Vec::new()),
            Ok(Reassembly::Whole) => {
                let mut octets = packet.bytes.clone();
                let (verdict, passes) = self.track(packet, &packet.bytes, &mut octets, now);
                (verdict, if passes { vec![octets] } else { Vec::new() })
            }
            Ok(Reassembly::Complete(mut datagram)) => {
                let received = datagram.packet().to_vec();
                let (verdict, passes) = self.track(packet, &received, &mut datagram, now);
                let count = if passes { datagram.fragments() } else { 0 };
                let fragments = (0..count).map(|number| {
                    let mut octets = Vec::new();
                    datagram.write_fragment(number, &mut octets);
                    octets
                });
                (verdict, fragments.collect())
            }
        };
        Observation {
            verdict,
            forwarded: forwarded.into_iter().map(hop).map(comparable).collect(),
            entries: self.entries(now),
            expected: self.expected(now),
        }
    }

    /// Tracks and translates a packet. Returns its state, and whether it is passed on.
    fn track<B: PacketBuffer>(
        &self,
        packet: &Packet,
        received: &[u8],
        octets: &mut B,
        now: Time,
    ) -> (Verdict, bool) {
        let input = Input {
            zone: self.policy.zone(packet),
            ..Input::new(received)
        };
        let mut tracked = self.tracker.track(&input, now);
        // Linux judges a packet before it decides the translation.
        let state = tracked.state();
        let commit = self.policy.commit(packet);
        let committed = self.tracker.commit(&mut tracked, &input, &commit, now);
        let translation = self.tracker.translate(&tracked, octets);
        let verdict = match tracked.invalid_reason() {
            Some(Invalid::Untracked) => Verdict::Untracked,
            _ => Verdict::State(as_linux(state)),
        };
        let is_dropped =
            committed.is_err() || tracked.must_drop() || translation == Translation::Drop;
        (verdict, !is_dropped)
    }

    /// Sets the timeout of each connection.
    pub fn set_timeout(&self, timeout: Duration, now: Time) {
        for connection in self.dump(now) {
            self.tracker.set_timeout(connection.id, timeout, now);
        }
    }

    fn dump(&self, now: Time) -> Vec<Connection> {
        self.tracker.dump(Cursor::default(), CAPACITY, now).0
    }

    fn entries(&self, now: Time) -> Vec<Entry> {
        let connections = self.dump(now);
        let entries = connections.iter().map(|connection| {
            let master = connection
                .master
                .and_then(|master| self.tracker.get(master, now));
            Entry {
                master: master.map(|master| master.original),
                ..entry(connection)
            }
        });
        entries.collect()
    }

    fn expected(&self, now: Time) -> Vec<Expected> {
        let (all, _) = self.tracker.expectations(0, CAPACITY, now);
        all.iter().map(|one| expected(one, now)).collect()
    }
}

/// The state that nftables shows: without the bits of translation, and one of new, established and
/// related. Of an expected connection, packets are related until one has answered.
fn as_linux(state: CtState) -> CtState {
    let state = state.without(CtState::SRC_NAT | CtState::DST_NAT);
    if !state.contains(CtState::RELATED) {
        return state;
    }
    if state.contains(CtState::ESTABLISHED) {
        state.without(CtState::RELATED)
    } else {
        state.without(CtState::NEW)
    }
}

fn expected(one: &Expectation, now: Time) -> Expected {
    Expected {
        tuple: one.tuple,
        mask: (one.mask.address, one.mask.part),
        master: one.master_tuple,
        timeout: one.timeout(now),
        class: one.class.into(),
        flags: one.flags.bits().into(),
        zone: one.zone,
        helper: one.helper.map_or("", |helper| helper.name()).to_owned(),
        nat: one
            .nat
            .map(|nat| (nat.direction as u32, nat.target.address, nat.target.part)),
        function: one.nat.map_or("", |nat| nat.function.name()).to_owned(),
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
        zone: connection.zone.id(),
        helper: connection.helper.map(|helper| helper.name().to_owned()),
        master: None,
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
