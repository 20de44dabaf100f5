// SPDX-License-Identifier: Apache-2.0 OR MIT
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::writer::{self, Parties};
use crate::bits::{CtState, ExpectFlags};
use crate::expect::{ExpectFunction, Expectation};
use crate::helper::Helper;
use crate::nat::{Nat, NatRange, Translation};
use crate::packet::tcp::flag::{ACK, SYN};
use crate::testing::{Flow, V4, V6};
use crate::tracker::{Commit, Input, Tracker};
use crate::{Connection, Protocol, Seed, Settings, Time};

const NOW: Time = Time::from_secs(1000);
const OUTSIDE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9));

/// A tracker, the connection of a helper, and the payloads that leave.
struct Bench {
    tracker: Tracker,
    flow: Flow,
    /// The flow to the client, as the server sends it.
    back: Flow,
    nat: Option<Nat>,
    seqs: [u32; 2],
}

impl Bench {
    fn new(flow: Flow, is_translated: bool) -> Self {
        let nat = Nat {
            source: Some(NatRange::to_address(OUTSIDE)),
            destination: None,
        };
        let mut back = flow.reverse();
        if is_translated {
            back.dst = OUTSIDE;
        }
        Bench {
            tracker: Tracker::new(256, Seed::new([6; 16]), Settings::default()),
            flow,
            back,
            nat: is_translated.then_some(nat),
            seqs: [100, 900],
        }
    }

    /// Passes a packet, whose new connection gets a helper. Returns its state, and what leaves.
    fn pass(&self, packet: &[u8], helper: Option<Helper>) -> Option<(CtState, Vec<u8>)> {
        let input = Input::new(packet);
        let mut tracked = self.tracker.track(&input, NOW);
        let commit = Commit {
            helper,
            nat: self.nat.filter(|_| helper.is_some()),
            ..Commit::default()
        };
        self.tracker
            .commit(&mut tracked, &input, &commit, NOW)
            .ok()?;
        let mut octets = packet.to_vec();
        let translation = self.tracker.translate(&tracked, &mut octets);
        let is_dropped = tracked.must_drop() || translation == Translation::Drop;
        (!is_dropped).then_some((tracked.state(), octets))
    }

    fn datagram(&self, side: usize, payload: &[u8]) -> Vec<u8> {
        let flow = [self.flow, self.back][side];
        let passed = self.pass(&flow.udp(payload), Some(Helper::Ras));
        passed.expect("not dropped").1[28..].to_vec()
    }

    fn connect(&mut self, helper: Option<Helper>) {
        self.segment(0, SYN, &[], helper);
        self.segment(1, SYN | ACK, &[], None);
        self.segment(0, ACK, &[], None);
    }

    fn segment(
        &mut self,
        side: usize,
        flags: u8,
        payload: &[u8],
        helper: Option<Helper>,
    ) -> Vec<u8> {
        let flow = [self.flow, self.back][side];
        let packet = flow.tcp(flags, self.seqs[side], self.seqs[1 - side], payload);
        self.seqs[side] += payload.len() as u32 + u32::from(flags & SYN != 0);
        let header = if flow.src.is_ipv4() { 40 } else { 60 };
        let passed = self.pass(&packet, helper);
        passed.expect("not dropped").1[header..].to_vec()
    }

    fn send(&mut self, side: usize, payload: &[u8]) -> Vec<u8> {
        self.segment(side, ACK, payload, None)
    }

    fn expected(&self) -> Vec<Expectation> {
        self.tracker.expectations(0, 100, NOW).0
    }

    /// The destinations that are expected, and their protocols.
    fn ports(&self) -> Vec<(u8, SocketAddr)> {
        let all = self.expected().into_iter().map(|one| {
            let dst = one.tuple.dst();
            (
                one.tuple.protocol().0,
                SocketAddr::new(dst.address, dst.part),
            )
        });
        all.collect()
    }

    fn connections(&self) -> Vec<Connection> {
        self.tracker.dump(Default::default(), 100, NOW).0
    }
}

fn at(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}

const TCP: u8 = Protocol::TCP.0;
const UDP: u8 = Protocol::UDP.0;

/// The octets of an address of IPv4 in a message.
fn octets(address: SocketAddr) -> Vec<u8> {
    let IpAddr::V4(ip) = address.ip() else {
        panic!("IPv4 is meant")
    };
    [&ip.octets()[..], &address.port().to_be_bytes()].concat()
}

fn has(payload: &[u8], address: SocketAddr) -> bool {
    payload.windows(6).any(|part| part == octets(address))
}

#[test]
fn a_registration_announces_calls_from_the_gatekeeper() {
    let bench = Bench::new(V4, false);
    let (client, calls) = (at(V4.src, V4.src_port), at(V4.src, 1720));
    bench.datagram(0, &writer::register(&[calls], &[client], Some(90)));
    let [one] = &bench.expected()[..] else {
        panic!("{:?}", bench.ports())
    };
    assert_eq!(bench.ports(), [(TCP, calls)]);
    assert_eq!(
        (one.tuple.src().address, one.assigned),
        (V4.dst, Some(Helper::Q931))
    );
    assert_eq!(one.flags, ExpectFlags::PERMANENT);
    assert_eq!(one.timeout(NOW), Duration::from_secs(240));
    bench.datagram(1, &writer::registered(&[calls], None));
    assert_eq!(bench.connections()[0].timeout, Duration::from_secs(90));
    bench.datagram(1, &writer::registered(&[calls], Some(70)));
    assert_eq!(bench.connections()[0].timeout, Duration::from_secs(70));
    let call = Flow {
        src_port: 4000,
        dst_port: 1720,
        ..V4.reverse()
    };
    let (state, _) = bench.pass(&call.tcp(SYN, 1, 0, &[]), None).unwrap();
    assert!(state.contains(CtState::NEW | CtState::RELATED));
    let helpers: Vec<_> = bench.connections().iter().map(|one| one.helper).collect();
    assert!(helpers.contains(&Some(Helper::Q931)), "{helpers:?}");
    // Many calls are expected, until the client is registered no more.
    assert_eq!(bench.expected().len(), 1);
    bench.datagram(0, &writer::unregister(&[calls]));
    assert_eq!(bench.expected(), []);
    let ras = bench
        .connections()
        .into_iter()
        .find(|one| one.helper == Some(Helper::Ras));
    assert_eq!(ras.unwrap().timeout, Duration::from_secs(30));
}

#[test]
fn a_gatekeeper_names_others() {
    let bench = Bench::new(V4, false);
    let gatekeeper = at([10, 0, 0, 9].into(), 1719);
    bench.datagram(0, &writer::gatekeeper_request(at(V4.src, V4.src_port)));
    bench.datagram(1, &writer::gatekeeper_confirm(at(V4.dst, V4.dst_port)));
    assert_eq!(bench.ports(), []);
    bench.datagram(1, &writer::gatekeeper_confirm(gatekeeper));
    assert_eq!(bench.ports(), [(UDP, gatekeeper)]);
    let called = at([10, 0, 0, 8].into(), 1720);
    bench.datagram(1, &writer::admitted(called));
    bench.datagram(1, &writer::located(at(called.ip(), 1721), gatekeeper));
    let expected = [
        (UDP, gatekeeper),
        (TCP, called),
        (TCP, at(called.ip(), 1721)),
    ];
    assert_eq!(bench.ports(), expected);
    assert!(bench
        .expected()
        .iter()
        .all(|one| one.tuple.src().address == V4.src));
}

#[test]
fn addresses_of_a_translated_registration_are_replaced() {
    let bench = Bench::new(V4, true);
    let (client, calls) = (at(V4.src, V4.src_port), at(V4.src, 1720));
    let local = at([127, 0, 0, 1].into(), 1720);
    let outside = |port| at(OUTSIDE, port);
    let made = bench.datagram(0, &writer::register(&[local, calls], &[client], None));
    assert_eq!(
        made,
        writer::register(
            &[outside(1720), outside(1720)],
            &[outside(V4.src_port)],
            None
        )
    );
    assert_eq!(bench.ports(), [(TCP, outside(1720))]);
    let nat = bench.expected()[0].nat.unwrap();
    assert_eq!(
        (nat.target.part, nat.function),
        (1720, ExpectFunction::Q931)
    );
    let made = bench.datagram(1, &writer::registered(&[outside(1720)], None));
    assert_eq!(made, writer::registered(&[calls], None));
    let made = bench.datagram(0, &writer::admit(Some(calls), Some(calls)));
    assert_eq!(made, writer::admit(Some(outside(1720)), Some(calls)));
    let made = bench.datagram(0, &writer::admit(None, Some(at(V4.src, 5))));
    assert_eq!(made, writer::admit(None, Some(outside(5))));
    let made = bench.datagram(0, &writer::status(client, &[calls]));
    assert_eq!(made, writer::status(outside(V4.src_port), &[outside(1720)]));
    // The gatekeeper's call reaches the client.
    let call = Flow {
        src: V4.dst,
        src_port: 4000,
        dst: OUTSIDE,
        dst_port: 1720,
    };
    let (_, made) = bench.pass(&call.tcp(SYN, 1, 0, &[]), None).unwrap();
    assert_eq!(made[16..20], [10, 0, 0, 1]);
}

#[test]
fn signalling_announces_h245_and_h245_announces_streams() {
    for flow in [V4, V6] {
        let bench = &mut Bench::new(flow, false);
        bench.connect(Some(Helper::Q931));
        let (control, media) = (at(flow.dst, 3000), at(flow.dst, 5000));
        let parties = Parties {
            h245: Some(at(flow.src, 3001)),
            ..Parties::default()
        };
        bench.send(0, &writer::setup(parties, &[], &[]));
        bench.send(1, &writer::connect(control));
        assert_eq!(bench.ports(), [(TCP, at(flow.src, 3001)), (TCP, control)]);
        let channel = Flow {
            src_port: 4001,
            dst_port: 3000,
            ..flow
        };
        let mut h245 = Bench {
            tracker: std::mem::replace(&mut bench.tracker, Bench::new(flow, false).tracker),
            flow: channel,
            back: channel.reverse(),
            nat: None,
            seqs: [1, 2],
        };
        // The helper is the expectation's, not the commit's.
        h245.connect(Some(Helper::Ftp));
        let helpers: Vec<_> = h245.connections().iter().map(|one| one.helper).collect();
        assert!(helpers.contains(&Some(Helper::H245)), "{helpers:?}");
        let open = writer::open_channel(Some(media), at(flow.dst, 5001));
        // Other messages before it, and two in a segment.
        let all = [writer::tpkt(&writer::other_request()), writer::tpkt(&open)].concat();
        h245.send(1, &all);
        let streams = [(UDP, media), (UDP, at(flow.dst, 5001))];
        assert_eq!(h245.ports()[1..], streams);
        let rtp = Flow {
            src_port: 7000,
            dst_port: 5000,
            ..flow
        };
        let (state, _) = h245.pass(&rtp.udp(b"media"), None).unwrap();
        assert!(state.contains(CtState::RELATED));
        let answer = writer::acknowledge(at(flow.src, 7000), at(flow.src, 7001));
        h245.send(0, &writer::tpkt(&answer));
        assert!(h245.ports().contains(&(UDP, at(flow.src, 7001))));
    }
}

#[test]
fn addresses_of_a_translated_call_are_replaced() {
    let bench = &mut Bench::new(V4, true);
    bench.connect(Some(Helper::Q931));
    let media = at(V4.src, 5001);
    let parties = Parties {
        h245: Some(at(V4.src, 3000)),
        called: Some(at([10, 0, 0, 7].into(), 1720)),
        calling: Some(at(V4.src, 9)),
    };
    // The address of the control is that of an odd port.
    let fast = [writer::fast_channel(Some(at(V4.src, 5000)), media)];
    let tunnelled = [writer::open_channel(None, at(V4.src, 6001))];
    let made = bench.send(0, &writer::setup(parties, &fast, &tunnelled));
    let outside = |port| at(OUTSIDE, port);
    let seen = Parties {
        h245: Some(outside(3000)),
        called: Some(at(V4.dst, V4.dst_port)),
        calling: Some(outside(V4.src_port)),
    };
    let fast = [writer::fast_channel(Some(outside(5000)), outside(5001))];
    let tunnelled = [writer::open_channel(None, outside(6001))];
    assert_eq!(made, writer::setup(seen, &fast, &tunnelled));
    let streams = [5000, 5001, 6000, 6001].map(|port| (UDP, outside(port)));
    let expected = [&[(TCP, outside(3000))][..], &streams].concat();
    assert_eq!(bench.ports(), expected);
    // From the server to the client as it is seen.
    let rtp = Flow {
        src: V4.dst,
        src_port: 8000,
        dst: OUTSIDE,
        dst_port: 5000,
    };
    let (_, made) = bench.pass(&rtp.udp(b"media"), None).unwrap();
    assert_eq!(
        (&made[16..20], &made[22..24]),
        (&[10, 0, 0, 1][..], &5000_u16.to_be_bytes()[..])
    );
}

/// Streams of two clients at the same ports have others outside.
#[test]
fn ports_in_use_are_replaced() {
    let bench = &mut Bench::new(V4, true);
    let other = Flow {
        src: [10, 0, 0, 3].into(),
        ..V4
    };
    let channel = |flow: Flow| writer::tpkt(&writer::open_channel(None, at(flow.src, 5001)));
    bench.connect(Some(Helper::H245));
    let first = bench.send(0, &channel(V4));
    assert!(has(&first, at(OUTSIDE, 5001)));
    let again = bench.send(0, &channel(V4));
    assert!(has(&again, at(OUTSIDE, 5001)), "the same streams");
    assert_eq!(bench.expected().len(), 2);
    bench.flow = other;
    bench.seqs = [1, 2];
    bench.segment(0, SYN, &[], Some(Helper::H245));
    let port = bench
        .connections()
        .into_iter()
        .find(|one| one.original.src().address == other.src);
    bench.back.dst_port = port.unwrap().reply.dst().part;
    bench.segment(1, SYN | ACK, &[], None);
    let second = bench.send(0, &channel(other));
    assert!(has(&second, at(OUTSIDE, 5003)), "{:?}", bench.ports());
    assert_eq!(bench.expected().len(), 4);
}

#[test]
fn a_header_may_have_a_segment_of_its_own() {
    let bench = &mut Bench::new(V4, false);
    bench.connect(Some(Helper::Q931));
    let message = writer::connect(at(V4.dst, 3000));
    bench.send(1, &message[..4]);
    // Of the other direction.
    bench.send(0, b"x");
    bench.send(1, &message[4..]);
    assert_eq!(bench.ports(), [(TCP, at(V4.dst, 3000))]);
    bench.tracker.flush_expectations(10, NOW);
    // Without its header, it is no message.
    bench.send(1, &message[4..]);
    assert_eq!(bench.ports(), []);
}

#[test]
fn a_forwarded_call_is_expected() {
    let forwarded = at([10, 0, 0, 9].into(), 1730);
    let bench = &mut Bench::new(V4, false);
    bench.connect(Some(Helper::Q931));
    bench.send(1, &writer::facility(Some(forwarded), None));
    assert_eq!(bench.ports(), [(TCP, forwarded)]);
    assert_eq!(bench.expected()[0].tuple.src().address, V4.src);
    bench.send(1, &writer::facility(None, Some(at(V4.dst, 3000))));
    assert_eq!(bench.ports()[1], (TCP, at(V4.dst, 3000)));
}

/// Addresses that are not the sender's are not followed, and unreadable messages are passed on.
#[test]
fn others_addresses_and_damaged_messages_are_left_alone() {
    let bench = &mut Bench::new(V4, false);
    bench.connect(Some(Helper::Q931));
    bench.send(1, &writer::connect(at(V4.src, 3000)));
    bench.send(1, &writer::connect(at(V4.dst, 0)));
    let whole = writer::connect(at(V4.dst, 3000));
    for length in 0..whole.len() {
        // The header says that all is there.
        let mut cut = whole.clone();
        cut.truncate(length.max(4));
        let stated = (cut.len() as u16).to_be_bytes();
        cut[2..4].copy_from_slice(&stated);
        bench.send(1, &cut);
    }
    assert_eq!(bench.ports(), []);
    bench.send(1, &whole);
    assert_eq!(bench.ports().len(), 1);
}

/// A packet of many channels makes as little work as one of few.
#[test]
fn the_work_for_a_packet_is_bounded() {
    let bench = &mut Bench::new(V4, false);
    bench.connect(Some(Helper::Q931));
    let channels: Vec<_> = (0..100)
        .map(|number| writer::fast_channel(None, at(V4.src, 5001 + 2 * number)))
        .collect();
    let message = writer::setup(Parties::default(), &channels, &[]);
    let packet = V4.tcp(ACK, bench.seqs[0], bench.seqs[1], &message);
    bench.pass(&packet, None);
    // Of 30 channels, those of the last ones: a connection has 20 expectations at most.
    let ports = bench.ports();
    assert!(ports.len() <= 20, "{}", ports.len());
    assert!(
        ports
            .iter()
            .all(|(_, address)| address.port() < 5001 + 2 * 30),
        "{ports:?}"
    );
}
