// SPDX-License-Identifier: Apache-2.0 OR MIT
use proptest::prelude::*;

use super::*;
use crate::bits::CtState;
use crate::fuzzing::successor::successor;
use crate::helper::Helper;
use crate::nat::{Nat, NatRange, Translation};
use crate::packet::tcp::flag::{ACK, SYN};
use crate::testing::{Flow, V4};
use crate::tracker::{Commit, Cursor, Input, Tracker};
use crate::{EventMask, RemovalReason, Seed, Settings, Time};

const NOW: Time = Time::from_secs(1000);
const CONTROL_CONNECTION: Flow = Flow {
    dst_port: 1723,
    ..V4
};
const OUTSIDE: [u8; 4] = [192, 0, 2, 9];
/// The call ids of client and server.
const PNS: u16 = 0x0101;
const PAC: u16 = 0x0202;

fn ids(ids: &[u16]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.to_be_bytes()).collect()
}

/// A packet of the tunnel to the peer with a call id.
fn tunnel(flow: Flow, call_id: u16) -> Vec<u8> {
    let mut message = vec![0x20, 1, 0x88, 0x0b, 0, 0];
    message.extend(call_id.to_be_bytes());
    flow.packet(Protocol::GRE, &message)
}

struct Bench {
    tracker: Tracker,
    commit: Commit,
    /// The flow to the client, as the server sends it.
    back: Flow,
    seqs: [u32; 2],
}

impl Bench {
    fn new(is_translated: bool) -> Self {
        let outside = NatRange::to_address(OUTSIDE.into()).with_ports(4000, 4000);
        let nat = Nat {
            source: Some(outside),
            destination: None,
        };
        let mut back = CONTROL_CONNECTION.reverse();
        if is_translated {
            (back.dst, back.dst_port) = (OUTSIDE.into(), 4000);
        }
        let mut bench = Bench {
            tracker: Tracker::new(64, Seed::new([6; 16]), Settings::default()),
            commit: Commit {
                helper: Some(Helper::Pptp),
                nat: is_translated.then_some(nat),
                ..Commit::default()
            },
            back,
            seqs: [99, 499],
        };
        bench.segment(0, SYN, &[]);
        bench.segment(1, SYN | ACK, &[]);
        bench.segment(0, ACK, &[]);
        bench
    }

    fn pass(&self, packet: &[u8]) -> (CtState, Vec<u8>) {
        let input = Input::new(packet);
        let mut tracked = self.tracker.track(&input, NOW);
        let committed = self.tracker.commit(&mut tracked, &input, &self.commit, NOW);
        committed.unwrap();
        let mut octets = packet.to_vec();
        assert_ne!(
            self.tracker.translate(&tracked, &mut octets),
            Translation::Drop
        );
        (tracked.state(), octets)
    }

    /// Passes a segment of the client (0) or the server (1), and returns the payload that leaves.
    fn segment(&mut self, side: usize, flags: u8, payload: &[u8]) -> Vec<u8> {
        let flow = [CONTROL_CONNECTION, self.back][side];
        let packet = flow.tcp(flags, self.seqs[side], self.seqs[1 - side], payload);
        self.seqs[side] += payload.len() as u32 + u32::from(flags & SYN != 0);
        self.pass(&packet).1[40..].to_vec()
    }

    /// Sets the session up. Returns the client's call id as the server sees it, and the one in the
    /// server's answer as the client sees it.
    fn call(&mut self) -> (u16, u16) {
        let word = |payload: &[u8], at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
        self.segment(0, ACK, &message(Kind::StartRequest, &[]));
        self.segment(1, ACK, &message(Kind::StartReply, &[1, 0, GRANTED]));
        let request = self.segment(0, ACK, &message(Kind::OutRequest, &ids(&[PNS])));
        let outside = word(&request, HEADER);
        let mut granted = ids(&[PAC, outside]);
        granted.push(GRANTED);
        let reply = self.segment(1, ACK, &message(Kind::OutReply, &granted));
        (outside, word(&reply, HEADER + 2))
    }
}

#[test]
fn tunnels_are_related() {
    let bench = &mut Bench::new(false);
    assert_eq!(bench.call(), (PNS, PNS));
    assert_eq!(bench.tracker.expectation_count(), 2);
    // Whichever end is first.
    let (state, _) = bench.pass(&tunnel(bench.back, PNS));
    assert!(state.contains(CtState::NEW | CtState::RELATED));
    assert_eq!(bench.tracker.expectation_count(), 0);
    let (state, _) = bench.pass(&tunnel(CONTROL_CONNECTION, PAC));
    assert!(state.contains(CtState::REPLY | CtState::RELATED));
    // Another tunnel between the same hosts is not.
    let (state, _) = bench.pass(&tunnel(CONTROL_CONNECTION, PAC + 1));
    assert_eq!(state, CtState::TRACKED | CtState::NEW);
    assert_eq!(bench.tracker.len(), 3);
    bench.segment(1, ACK, &message(Kind::Disconnected, &ids(&[PAC])));
    assert_eq!(bench.tracker.len(), 2);
    let (state, _) = bench.pass(&tunnel(CONTROL_CONNECTION, PAC));
    assert_eq!(state, CtState::TRACKED | CtState::NEW);
}

#[test]
fn tunnels_are_related_in_a_tracker_that_takes_the_place_of_another() {
    let bench = &mut Bench::new(false);
    bench.call();
    let replace = |bench: &mut Bench| bench.tracker = successor(&bench.tracker, NOW);
    replace(bench);
    let (state, _) = bench.pass(&tunnel(bench.back, PNS));
    assert!(state.contains(CtState::NEW | CtState::RELATED));
    replace(bench);
    let (state, _) = bench.pass(&tunnel(CONTROL_CONNECTION, PAC));
    assert!(state.contains(CtState::REPLY | CtState::RELATED));
    replace(bench);
    bench.segment(1, ACK, &message(Kind::Disconnected, &ids(&[PAC])));
    let left = bench.tracker.dump(Cursor::default(), 10, NOW).0;
    let left: Vec<_> = left.iter().map(|one| one.original.protocol()).collect();
    assert_eq!(left, [Protocol::TCP]);
}

#[test]
fn tunnels_are_translated() {
    for is_client_first in [false, true] {
        let bench = &mut Bench::new(true);
        // The call id that the server sees is the translated port.
        assert_eq!(bench.call(), (4000, PNS));
        let to_client = |bench: &Bench| {
            let (state, packet) = bench.pass(&tunnel(bench.back, 4000));
            assert!(
                state.contains(CtState::RELATED | CtState::DST_NAT),
                "{state:?}"
            );
            let inside = Flow {
                dst: V4.src,
                ..bench.back
            };
            assert_eq!(packet, tunnel(inside, PNS));
        };
        if !is_client_first {
            to_client(bench);
        }
        let (state, packet) = bench.pass(&tunnel(CONTROL_CONNECTION, PAC));
        assert!(
            state.contains(CtState::RELATED | CtState::SRC_NAT),
            "{state:?}"
        );
        assert_eq!(packet, tunnel(bench.back.reverse(), PAC));
        to_client(bench);
        assert_eq!(bench.tracker.len(), 2);
        // As in Linux, the client's direction is still expected if the server was first.
        let expected = usize::from(!is_client_first);
        assert_eq!(bench.tracker.expectation_count(), expected);
    }
}

#[test]
fn a_tunnel_ends_with_its_control_connection() {
    let bench = &mut Bench::new(false);
    bench.call();
    bench.pass(&tunnel(CONTROL_CONNECTION, PAC));
    let listener = bench.tracker.listen(EventMask::ALL, 8).unwrap();
    let control = bench.tracker.dump(Cursor::default(), 10, NOW).0;
    let control = control.iter().find(|it| it.helper.is_some()).unwrap();
    assert!(bench.tracker.delete(control.id, NOW));
    assert!(bench.tracker.is_empty());
    let reasons: Vec<_> = std::iter::from_fn(|| listener.next())
        .filter_map(|event| match event {
            crate::Event::Destroy(gone) => Some(gone.end.unwrap().1),
            _ => None,
        })
        .collect();
    assert_eq!(reasons, [RemovalReason::Master, RemovalReason::Deleted]);
}

#[test]
fn a_control_connection_without_its_helper_has_no_tunnel() {
    let bench = &mut Bench::new(false);
    bench.call();
    let control = bench.tracker.dump(Cursor::default(), 10, NOW).0;
    let update = crate::Update {
        helper: Some(None),
        ..Default::default()
    };
    bench.tracker.change(control[0].id, &update, NOW).unwrap();
    assert_eq!(bench.tracker.expectation_count(), 0);
    bench.pass(&tunnel(CONTROL_CONNECTION, PAC));
    let all = bench.tracker.dump(Cursor::default(), 10, NOW).0;
    let is_gre = |one: &&crate::Connection| one.original.protocol() == Protocol::GRE;
    let gre = all.iter().find(is_gre).unwrap();
    // The client's call id is not known any more.
    assert_eq!(gre.original.src().part, 0);
}

#[test]
fn messages_out_of_order_announce_nothing() {
    let bench = &mut Bench::new(false);
    let mut granted = ids(&[PAC, PNS]);
    granted.push(GRANTED);
    // No session is confirmed, no call requested.
    bench.segment(1, ACK, &message(Kind::OutReply, &granted));
    bench.segment(0, ACK, &message(Kind::StartRequest, &[]));
    bench.segment(1, ACK, &message(Kind::StartReply, &[1, 0, 2]));
    bench.segment(0, ACK, &message(Kind::OutRequest, &ids(&[PNS])));
    bench.segment(1, ACK, &message(Kind::OutReply, &granted));
    assert_eq!(bench.tracker.expectation_count(), 0);
}

#[test]
fn messages_are_whole() {
    let whole = message(Kind::OutReply, &[]);
    assert_eq!(Message::parse(&whole).unwrap().kind, Kind::OutReply);
    for length in 0..whole.len() {
        assert!(Message::parse(&whole[..length]).is_none());
    }
    for (at, octet) in [(3, 2), (4, 0), (9, 0), (9, 16)] {
        let mut other = whole.clone();
        other[at] = octet;
        assert!(Message::parse(&other).is_none());
    }
}

/// An action of one of several clients' control connections, which announce tunnels between the same hosts.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// Begins the connection of a client, unless it is there, and announces a tunnel with these call ids, if it
    /// has none: a tunnel that is announced beside another one outlives its control connection.
    Call(usize, u16, u16),
    /// Ends the tunnel of a client.
    Disconnect(usize),
    /// Ends a client's control connection.
    Delete(usize),
    /// Sends a packet of a tunnel, to the server or to the client.
    Tunnel(bool, u16),
}

fn act() -> impl Strategy<Value = Act> {
    // Few ids, so that destinations are equal.
    let id = || 1..3u16;
    prop_oneof![
        4 => (0..4usize, id(), id()).prop_map(|(client, pns, pac)| Act::Call(client, pns, pac)),
        1 => (0..4usize).prop_map(Act::Disconnect),
        1 => (0..4usize).prop_map(Act::Delete),
        3 => (any::<bool>(), id()).prop_map(|(is_to_server, id)| Act::Tunnel(is_to_server, id)),
    ]
}

/// Clients of one host, and their control connections through a tracker.
struct Clients {
    tracker: Tracker,
    /// The sequence numbers of client and server, once the control connection has begun.
    seqs: [Option<[u32; 2]>; 4],
    has_tunnel: [bool; 4],
    is_replaced: bool,
}

impl Clients {
    fn pass(&mut self, packet: &[u8]) -> CtState {
        let input = Input::new(packet);
        let mut tracked = self.tracker.track(&input, NOW);
        let commit = Commit {
            helper: Some(Helper::Pptp),
            ..Commit::default()
        };
        let _ = self.tracker.commit(&mut tracked, &input, &commit, NOW);
        let state = tracked.state();
        if self.is_replaced {
            self.tracker = successor(&self.tracker, NOW);
        }
        state
    }

    fn flow(client: usize) -> Flow {
        Flow {
            src_port: 5000 + client as u16,
            ..CONTROL_CONNECTION
        }
    }

    fn segment(&mut self, client: usize, side: usize, flags: u8, payload: &[u8]) -> CtState {
        let flow = [Self::flow(client), Self::flow(client).reverse()][side];
        let seqs = self.seqs[client].get_or_insert([99, 499]);
        let packet = flow.tcp(flags, seqs[side], seqs[1 - side], payload);
        seqs[side] += payload.len() as u32 + u32::from(flags & SYN != 0);
        self.pass(&packet)
    }

    /// Returns the states of the packets, and the connections then, without their references.
    fn act(&mut self, act: Act) -> (Vec<CtState>, Vec<(Tuple, Tuple)>) {
        let mut states = Vec::new();
        match act {
            Act::Call(client, ..) if self.has_tunnel[client] => {}
            Act::Call(client, pns, pac) => {
                self.has_tunnel[client] = true;
                if self.seqs[client].is_none() {
                    for (side, flags) in [(0, SYN), (1, SYN | ACK), (0, ACK)] {
                        states.push(self.segment(client, side, flags, &[]));
                    }
                }
                let granted = [&ids(&[pac, pns])[..], &[GRANTED]].concat();
                for (side, kind, body) in [
                    (0, Kind::StartRequest, &[0u8; 0][..]),
                    (1, Kind::StartReply, &[1, 0, GRANTED][..]),
                    (0, Kind::OutRequest, &ids(&[pns])[..]),
                    (1, Kind::OutReply, &granted[..]),
                ] {
                    states.push(self.segment(client, side, ACK, &message(kind, body)));
                }
            }
            Act::Disconnect(client) if self.seqs[client].is_some() => {
                self.has_tunnel[client] = false;
                let message = message(Kind::Disconnected, &[0; 4]);
                states.push(self.segment(client, 1, ACK, &message));
            }
            Act::Delete(client) => {
                self.seqs[client] = None;
                self.has_tunnel[client] = false;
                let all = self.tracker.dump(Cursor::default(), 100, NOW).0;
                let port = Self::flow(client).src_port;
                let ended = all.iter().find(|one| one.original.src().part == port);
                if let Some(one) = ended {
                    self.tracker.delete(one.id, NOW);
                }
            }
            Act::Disconnect(_) => {}
            Act::Tunnel(is_to_server, id) => {
                let flow = if is_to_server {
                    CONTROL_CONNECTION
                } else {
                    CONTROL_CONNECTION.reverse()
                };
                states.push(self.pass(&tunnel(flow, id)));
            }
        }
        let all = self.tracker.dump(Cursor::default(), 100, NOW).0;
        let mut all: Vec<_> = all.iter().map(|one| (one.original, one.reply)).collect();
        all.sort_unstable_by_key(|one| format!("{one:?}"));
        (states, all)
    }
}

/// A tracker that takes the place of another one has the order of tunnels with one destination.
#[test]
fn the_oldest_tunnel_is_found_in_a_tracker_that_takes_the_place_of_another() {
    for deleted in [None, Some(0), Some(1)] {
        for is_replaced in [false, true] {
            let mut clients = clients(is_replaced);
            // The slot of the third client's connection is that of the first one, which is free again.
            let acts = [
                Act::Call(3, 9, 9),
                Act::Call(0, 1, 5),
                Act::Delete(3),
                Act::Call(1, 2, 5),
            ];
            acts.into_iter().for_each(|one| drop(clients.act(one)));
            if let Some(client) = deleted {
                clients.act(Act::Delete(client));
            }
            let (_, all) = clients.act(Act::Tunnel(true, 5));
            let found = all.iter().find(|one| one.0.protocol() == Protocol::GRE);
            let part = found.unwrap().0.src().part;
            let wanted = if deleted == Some(0) { 2 } else { 1 };
            assert_eq!(part, wanted, "without {deleted:?}, replaced: {is_replaced}");
        }
    }
}

fn clients(is_replaced: bool) -> Clients {
    Clients {
        tracker: Tracker::new(64, Seed::new([6; 16]), Settings::default()),
        seqs: [None; 4],
        has_tunnel: [false; 4],
        is_replaced,
    }
}

proptest! {
    #[test]
    fn no_tunnel_differs_in_a_tracker_that_takes_the_place_of_another(
        acts in proptest::collection::vec(act(), 0..30),
    ) {
        let [mut kept, mut replaced] = [false, true].map(clients);
        for act in acts {
            prop_assert_eq!(replaced.act(act), kept.act(act), "{:?}", act);
        }
    }

    #[test]
    fn no_octets_panic(
        messages in proptest::collection::vec((0usize..2, 0usize..15, any::<[u8; 8]>()), 0..20),
        is_translated in any::<bool>(),
    ) {
        let mut bench = Bench::new(is_translated);
        for (side, kind, start) in messages {
            let start = start.map(|octet| octet & 3);
            bench.segment(side, ACK, &message(Kind::ALL[kind].0, &start));
            prop_assert!(bench.tracker.expectation_count() <= 2);
        }
    }
}
