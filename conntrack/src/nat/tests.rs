// SPDX-License-Identifier: Apache-2.0 OR MIT
use std::collections::HashSet;
use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::bits::CtState;
use crate::entry::Connection;
use crate::hash::Seed;
use crate::packet::sctp::chunk;
use crate::packet::tcp::flag::{RST, SYN};
use crate::settings::Settings;
use crate::testing::{fill_checksums, Flow, V4, V6};
use crate::tracker::{Commit, CommitError, Input};
use crate::tuple::{Endpoint, Protocol, Tuple};

const NOW: Time = Time::from_secs(1000);

fn tracker() -> Tracker {
    Tracker::new(4096, Seed::new([5; 16]), Settings::default())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn snat(range: NatRange) -> Nat {
    Nat {
        source: Some(range),
        destination: None,
    }
}

fn dnat(range: NatRange) -> Nat {
    Nat {
        source: None,
        destination: Some(range),
    }
}

/// Tracks, commits and translates a packet.
fn pass(tracker: &Tracker, packet: &[u8], nat: Nat) -> Result<(CtState, Vec<u8>), CommitError> {
    let input = Input::new(packet);
    let mut tracked = tracker.track(&input, NOW);
    assert_eq!(tracked.invalid_reason(), None);
    let commit = Commit {
        nat: Some(nat),
        ..Commit::default()
    };
    tracker.commit(&mut tracked, &input, &commit, NOW)?;
    let mut packet = packet.to_vec();
    assert_ne!(tracker.translate(&tracked, &mut packet), Translation::Drop);
    Ok((tracked.state(), packet))
}

#[track_caller]
fn assert_checksums(packet: &[u8]) {
    let mut again = packet.to_vec();
    fill_checksums(&mut again);
    assert_eq!(again, packet);
}

fn ends(packet: &[u8]) -> (Endpoint, Endpoint) {
    let tuple = Headers::parse(packet).unwrap().tuple(packet).unwrap();
    (tuple.src(), tuple.dst())
}

#[test]
fn a_destination_is_translated_there_and_back() {
    for (flow, server) in [(V4, "192.0.2.7"), (V6, "2001:db8::7")] {
        let tracker = tracker();
        let server = Endpoint {
            address: ip(server),
            part: 8080,
        };
        let range = NatRange::to_address(server.address).with_ports(8080, 8080);
        let (state, packet) = pass(&tracker, &flow.tcp(SYN, 1, 0, &[]), dnat(range)).unwrap();
        assert_eq!(state, CtState::TRACKED | CtState::NEW | CtState::DST_NAT);
        assert_eq!(
            ends(&packet),
            (
                Endpoint {
                    address: flow.src,
                    part: 1234
                },
                server
            )
        );
        assert_checksums(&packet);
        let answer = Flow {
            dst: server.address,
            dst_port: 8080,
            ..flow
        }
        .reverse();
        let (state, packet) = pass(
            &tracker,
            &answer.tcp(SYN | 0x10, 9, 2, b"odd"),
            Nat::default(),
        )
        .unwrap();
        assert!(state.contains(CtState::REPLY | CtState::SRC_NAT));
        assert!(!state.contains(CtState::DST_NAT));
        assert_eq!(
            ends(&packet).0,
            Endpoint {
                address: flow.dst,
                part: 80
            }
        );
        assert_checksums(&packet);
    }
}

#[test]
fn a_source_keeps_its_port_or_its_class() {
    let tracker = tracker();
    let range = NatRange::to_address(ip("192.0.2.1"));
    for (port, class) in [(40_000, 1024..=65535), (900, 600..=1023), (100, 1..=511)] {
        let mut seen = HashSet::new();
        for host in 1..=20 {
            let flow = Flow {
                src: IpAddr::from([10, 0, 1, host]),
                src_port: port,
                ..V4
            };
            let (_, packet) = pass(&tracker, &flow.udp(b"x"), snat(range)).unwrap();
            let (src, dst) = ends(&packet);
            assert_eq!((src.address, dst.address), (ip("192.0.2.1"), V4.dst));
            assert_eq!(host == 1, src.part == port);
            assert!(class.contains(&src.part), "{}", src.part);
            assert!(seen.insert(src.part));
            assert_checksums(&packet);
        }
    }
}

#[test]
fn a_port_range_is_exhausted() {
    let tracker = tracker();
    let range = NatRange::to_address(ip("192.0.2.1")).with_ports(5000, 5003);
    for host in 1..=4 {
        let flow = Flow {
            src: IpAddr::from([10, 0, 1, host]),
            ..V4
        };
        let (_, packet) = pass(&tracker, &flow.udp(b"x"), snat(range)).unwrap();
        assert!((5000..=5003).contains(&ends(&packet).0.part));
    }
    let flow = Flow {
        src: IpAddr::from([10, 0, 1, 5]),
        ..V4
    };
    let before = tracker.statistics().found;
    assert_eq!(
        pass(&tracker, &flow.udp(b"x"), snat(range)).map(|_| ()),
        Err(CommitError::NatExhausted)
    );
    let statistics = tracker.statistics();
    // Each port was tried once: no translation is chosen again where none was free.
    assert!((4..=5).contains(&(statistics.found - before)));
    assert_eq!((statistics.nat_exhausted, statistics.drop), (1, 1));
    let reason = CommitError::NatExhausted.to_string();
    assert_eq!(statistics.drop_by_reason, [(reason, 1)].into());
    // Another destination is another tuple.
    let elsewhere = Flow {
        dst: ip("10.9.9.9"),
        ..flow
    };
    assert!(pass(&tracker, &elsewhere.udp(b"x"), snat(range)).is_ok());
}

fn reserve(tracker: &Tracker, ranges: &[(Protocol, u16, u16)]) {
    let range = |&(protocol, first, last): &(Protocol, u16, u16)| ReservedRange {
        protocol,
        first,
        last,
    };
    let ports = ReservedPorts::new(ranges.iter().map(range).collect());
    tracker.set_reserved_ports(ports.unwrap());
}

/// The source of a flow's first packet after translation.
fn source(
    tracker: &Tracker,
    host: u8,
    port: u16,
    range: NatRange,
) -> Result<Endpoint, CommitError> {
    let flow = Flow {
        src: IpAddr::from([10, 0, 1, host]),
        src_port: port,
        ..V4
    };
    let (_, packet) = pass(tracker, &flow.udp(b"x"), snat(range))?;
    assert_checksums(&packet);
    Ok(ends(&packet).0)
}

#[test]
fn no_source_is_translated_to_a_reserved_port() {
    let address = ip("192.0.2.1");
    let ranges = [
        NatRange::to_address(address),
        NatRange::to_address(address).with_random_ports(),
        NatRange::to_address(address).with_ports(30_000, 32_799),
    ];
    for range in ranges {
        let tracker = tracker();
        // All ports of the last range but 32, and those around 40000.
        let reserved = [
            (Protocol::UDP, 30_000, 32_767),
            (Protocol::UDP, 39_000, 41_000),
        ];
        reserve(&tracker, &reserved);
        for host in 1..=30 {
            for port in [30_080, 40_000] {
                if port == 40_000 && range == ranges[2] {
                    continue;
                }
                let Endpoint { address: got, part } = source(&tracker, host, port, range).unwrap();
                assert_eq!(got, address);
                assert!(
                    !tracker.reserved_ports().contains(Protocol::UDP, part),
                    "{part}"
                );
            }
        }
        assert!(tracker.exhausted().is_empty());
    }
}

#[test]
fn reserved_ports_of_another_protocol_are_taken() {
    let tracker = tracker();
    reserve(&tracker, &[(Protocol::TCP, 1, 65_535)]);
    let range = NatRange::to_address(ip("192.0.2.1"));
    assert_eq!(source(&tracker, 1, 4000, range).unwrap().part, 4000);
}

#[test]
fn a_source_that_is_not_translated_may_have_a_reserved_port() {
    let tracker = tracker();
    reserve(&tracker, &[(Protocol::UDP, 4000, 4000)]);
    let own = NatRange::to_address(IpAddr::from([10, 0, 1, 1]));
    assert_eq!(source(&tracker, 1, 4000, own).unwrap().part, 4000);
    // Another one's does not get it.
    assert_ne!(source(&tracker, 2, 4000, own).unwrap().part, 4000);
}

#[test]
fn exhaustion_is_counted_by_address() {
    let tracker = tracker();
    reserve(
        &tracker,
        &[(Protocol::UDP, 5000, 5001), (Protocol::UDP, 5003, 5009)],
    );
    let range = |address| NatRange::to_address(ip(address)).with_ports(5000, 5009);
    let first = range("192.0.2.1");
    assert_eq!(source(&tracker, 1, 5000, first).unwrap().part, 5002);
    for host in [2, 3] {
        let refused = source(&tracker, host, 5000, first);
        assert_eq!(refused, Err(CommitError::NatExhausted));
    }
    reserve(&tracker, &[(Protocol::UDP, 1, 65_535)]);
    let refused = source(&tracker, 4, 5000, range("192.0.2.2"));
    assert_eq!(refused, Err(CommitError::NatExhausted));
    let fixed = NatRange::to_address(ip("192.0.2.3")).with_ports(7, 7);
    assert_eq!(
        source(&tracker, 5, 5, fixed),
        Err(CommitError::NatExhausted)
    );
    let counts = [("192.0.2.1", 2), ("192.0.2.2", 1), ("192.0.2.3", 1)];
    let counts = counts.map(|(address, count)| (Some(ip(address)), count));
    assert_eq!(tracker.exhausted(), counts.into());
    // No port is reserved any more.
    reserve(&tracker, &[]);
    assert!(source(&tracker, 2, 5000, first).is_ok());
}

#[test]
fn ranges_are_checked() {
    let addresses = [("10.0.0.9", "10.0.0.1"), ("10.0.0.1", "fd00::1")];
    for (first, last) in addresses.map(|(first, last)| (ip(first), ip(last))) {
        let refused = NatRange::to_addresses(first, last);
        assert_eq!(refused, Err(InvalidRange { first, last }));
    }
    let range = NatRange::to_addresses(ip("fd00::1"), ip("fd00::9")).unwrap();
    for nat in [snat(range), dnat(range)] {
        let tracker = tracker();
        let result = pass(&tracker, &V4.udp(b"x"), nat);
        assert_eq!(result.map(|_| ()), Err(CommitError::Family));
        assert!(tracker.is_empty());
    }
    assert!(pass(&tracker(), &V6.udp(b"x"), snat(range)).is_ok());
    // Ports are a range in either order.
    let range = NatRange::to_address(ip("192.0.2.1")).with_ports(2000, 1000);
    let (_, packet) = pass(&tracker(), &V4.udp(b"x"), snat(range)).unwrap();
    assert_eq!(ends(&packet).0.part, V4.src_port);
}

#[test]
fn hairpin() {
    let tracker = tracker();
    let nat = Nat {
        destination: Some(NatRange::to_address(V4.src).with_ports(8080, 8080)),
        source: Some(NatRange::to_address(ip("10.0.0.254"))),
    };
    let (state, packet) = pass(&tracker, &V4.udp(b"x"), nat).unwrap();
    assert!(state.contains(CtState::SRC_NAT | CtState::DST_NAT));
    let (src, dst) = ends(&packet);
    assert_eq!(
        (src.address, dst),
        (
            ip("10.0.0.254"),
            Endpoint {
                address: V4.src,
                part: 8080
            }
        )
    );
    let back = Flow {
        src: dst.address,
        src_port: 8080,
        dst: src.address,
        dst_port: src.part,
    };
    let (_, packet) = pass(&tracker, &back.udp(b"y"), nat).unwrap();
    assert_eq!(ends(&packet), ends(&V4.reverse().udp(b"y")));
    assert_checksums(&packet);
}

#[test]
fn checksums_of_udp() {
    let tracker = tracker();
    let range = NatRange::to_address(ip("192.0.2.1"));
    let mut packet = V4.udp(b"x");
    packet[26..28].fill(0);
    let (_, packet) = pass(&tracker, &packet, snat(range)).unwrap();
    assert_eq!(packet[26..28], [0, 0]);
}

#[test]
fn identifiers_of_queries_are_translated() {
    for (flow, query, answer, nat_address) in
        [(V4, 8, 0, "192.0.2.1"), (V6, 128, 129, "2001:db8::1")]
    {
        let tracker = tracker();
        let range = NatRange::to_address(ip(nat_address));
        let other = Flow {
            src: if flow.src.is_ipv4() {
                ip("10.0.0.9")
            } else {
                ip("fd00::9")
            },
            ..flow
        };
        let request = |flow: Flow| flow.icmp(query, 0, [0, 7, 0, 1], b"abc");
        let first = pass(&tracker, &request(flow), snat(range)).unwrap().1;
        let second = pass(&tracker, &request(other), snat(range)).unwrap().1;
        assert_eq!(ends(&first).0.part, 7);
        let id = ends(&second).0.part;
        assert_ne!(id, 7);
        assert_checksums(&second);
        let [high, low] = id.to_be_bytes();
        let reply = Flow {
            src: flow.dst,
            dst: ip(nat_address),
            ..flow
        };
        let reply = reply.icmp(answer, 0, [high, low, 0, 1], b"abc");
        let (_, reply) = pass(&tracker, &reply, Nat::default()).unwrap();
        assert_eq!(reply, other.reverse().icmp(answer, 0, [0, 7, 0, 1], b"abc"));
    }
}

#[test]
fn sctp_is_translated() {
    let tracker = tracker();
    let mut init = vec![chunk::INIT, 0, 0, 20, 0, 0, 0, 1];
    init.extend([0; 12]);
    let range = NatRange::to_address(ip("192.0.2.1")).with_ports(7000, 7000);
    let (_, packet) = pass(&tracker, &V4.sctp(0, &[&init]), snat(range)).unwrap();
    assert_eq!(ends(&packet).0.part, 7000);
    assert_checksums(&packet);
}

/// An error about a translated packet shows the sender its own packet, whatever is left of it.
#[test]
fn quotes_of_errors_are_translated() {
    for (flow, kind, nat_address, router) in [
        (V4, 3, "192.0.2.1", "198.51.100.1"),
        (V6, 2, "2001:db8::1", "2001:db8::ffff"),
    ] {
        let tracker = tracker();
        let range = NatRange::to_address(ip(nat_address)).with_ports(7000, 7000);
        let sent = flow.tcp(SYN, 1, 0, b"some payload");
        let seen = pass(&tracker, &sent, snat(range)).unwrap().1;
        let transport = Headers::parse(&sent).unwrap().transport;
        for length in transport + 8..=sent.len() {
            let error = Flow {
                src: ip(router),
                dst: ip(nat_address),
                ..flow
            };
            let error = error.icmp(kind, 4, [0, 0, 5, 0], &seen[..length]);
            let (state, mut error) = pass(&tracker, &error, Nat::default()).unwrap();
            assert!(state.contains(CtState::RELATED | CtState::REPLY | CtState::DST_NAT));
            assert!(!state.contains(CtState::SRC_NAT));
            assert_checksums(&error);
            let expected = Flow {
                src: ip(router),
                dst: flow.src,
                ..flow
            };
            let mut expected = expected.icmp(kind, 4, [0, 0, 5, 0], &sent[..length]);
            // Too short a quote has the checksum of the packet that it was.
            if (transport + 17..transport + 20).contains(&length) {
                let at = Headers::parse(&error).unwrap().transport + 8 + transport + 16;
                for packet in [&mut error, &mut expected] {
                    let end = packet.len().min(at + 2);
                    packet[at..end].fill(0);
                    fill_checksums(packet);
                }
            }
            assert_eq!(error, expected, "{length}");
        }
    }
}

/// An error that a router behind the translation sends comes from the translated address.
#[test]
fn errors_of_servers_come_from_the_service() {
    let tracker = tracker();
    let range = NatRange::to_address(ip("192.0.2.7"));
    let sent = V4.udp(b"x");
    let seen = pass(&tracker, &sent, dnat(range)).unwrap().1;
    let error = Flow {
        src: ip("192.0.2.99"),
        dst: V4.src,
        ..V4
    };
    let (_, error) = pass(&tracker, &error.icmp(3, 3, [0; 4], &seen), Nat::default()).unwrap();
    assert_eq!(
        error,
        Flow {
            src: V4.dst,
            dst: V4.src,
            ..V4
        }
        .icmp(3, 3, [0; 4], &sent)
    );
}

#[test]
fn redirects_are_not_translated() {
    let tracker = tracker();
    let seen = pass(
        &tracker,
        &V4.udp(b"x"),
        snat(NatRange::to_address(ip("192.0.2.1"))),
    )
    .unwrap()
    .1;
    let redirect = Flow {
        src: ip("192.0.2.254"),
        dst: ip("192.0.2.1"),
        ..V4
    };
    let mut redirect = redirect.icmp(5, 1, [192, 0, 2, 9], &seen);
    let tracked = tracker.track(&Input::new(&redirect), NOW);
    assert_eq!(
        tracker.translate(&tracked, &mut redirect),
        Translation::Drop
    );
    let drops = tracker.statistics().drop_by_reason;
    assert_eq!(drops, [("packet cannot be translated".into(), 1)].into());
}

#[test]
fn a_client_keeps_its_address() {
    let range = NatRange::to_addresses(ip("192.0.2.0"), ip("192.0.2.255")).unwrap();
    let range = range.with_persistent_address();
    let mut addresses = HashSet::new();
    for host in 0..50 {
        let tracker = tracker();
        let mut of_client = HashSet::new();
        for dst in 0..5 {
            let flow = Flow {
                src: IpAddr::from([10, 0, 1, host]),
                dst: IpAddr::from([10, 7, 7, dst]),
                ..V4
            };
            let (_, packet) = pass(&tracker, &flow.udp(b"x"), snat(range)).unwrap();
            of_client.insert(ends(&packet).0.address);
        }
        assert_eq!(of_client.len(), 1);
        addresses.extend(of_client);
    }
    assert!(addresses.len() > 20);
}

#[test]
fn a_source_keeps_its_translation_towards_other_destinations() {
    let range = NatRange::to_addresses(ip("192.0.2.0"), ip("192.0.2.255")).unwrap();
    let tracker = tracker();
    let mut translations = HashSet::new();
    for dst in 0..20 {
        let flow = Flow {
            dst: IpAddr::from([10, 7, 7, dst]),
            ..V4
        };
        let (_, packet) = pass(&tracker, &flow.udp(b"x"), snat(range)).unwrap();
        translations.insert(ends(&packet).0);
    }
    assert_eq!(translations.len(), 1);
    // Another port is another source.
    let other = Flow { src_port: 9, ..V4 };
    let elsewhere = NatRange::to_address(ip("192.0.3.1"));
    let (_, packet) = pass(&tracker, &other.udp(b"x"), snat(elsewhere)).unwrap();
    assert_eq!(ends(&packet).0.address, ip("192.0.3.1"));
    // A translation that is not in the range does not count.
    let again = Flow {
        dst: ip("10.8.8.8"),
        ..V4
    };
    let (_, packet) = pass(&tracker, &again.udp(b"x"), snat(elsewhere)).unwrap();
    assert_eq!(ends(&packet).0.address, ip("192.0.3.1"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is translated: no two connections share a tuple, each reply comes back to who sent the
    /// request, and all checksums are right.
    #[test]
    fn translations_are_unique_and_reversible(
        flows in proptest::collection::vec((0u8..4, 0u16..8, 0u8..2, any::<bool>(), any::<bool>()), 1..60),
        random in any::<bool>(),
        ports in proptest::option::of((2000u16..2004, 2004u16..2040)),
    ) {
        let tracker = tracker();
        for (host, port, server, is_tcp, is_dnat) in flows {
            let flow = Flow {
                src: IpAddr::from([10, 0, 1, host]),
                src_port: 1020 + port,
                dst: IpAddr::from([10, 2, 2, server]),
                dst_port: 80,
            };
            let mut range = NatRange::to_address(ip("192.0.2.1"));
            if let Some((first, last)) = ports {
                range = range.with_ports(first, last);
            }
            if random {
                range = range.with_random_ports();
            }
            let target = NatRange::to_address(ip("10.3.3.3")).with_ports(8080, 8080);
            let nat = Nat { source: Some(range), destination: is_dnat.then_some(target) };
            let make = |flow: Flow| if is_tcp { flow.tcp(SYN, 1, 0, b"abc") } else { flow.udp(b"abc") };
            let Ok((_, sent)) = pass(&tracker, &make(flow), nat) else { continue };
            assert_checksums(&sent);
            let (src, dst) = ends(&sent);
            let back = Flow { src: dst.address, src_port: dst.part, dst: src.address, dst_port: src.part };
            let answer = match is_tcp {
                true => back.tcp(SYN | 0x10, 9, 5, b"answer"),
                false => back.udp(b"answer"),
            };
            let (state, answer) = pass(&tracker, &answer, nat).unwrap();
            prop_assert!(state.contains(CtState::REPLY));
            assert_checksums(&answer);
            prop_assert_eq!(ends(&answer), ends(&make(flow.reverse())));
        }
        let (connections, _) = tracker.dump(Default::default(), usize::MAX, NOW);
        let mut tuples: HashSet<Tuple> = HashSet::new();
        for Connection { original, reply, .. } in connections {
            prop_assert!(tuples.insert(original) && tuples.insert(reply));
            if reply.protocol() == Protocol::UDP {
                prop_assert_eq!(reply.invert().unwrap().src().address, ip("192.0.2.1"));
            }
        }
    }
}

/// A control plane deletes the connection after a packet was tracked, before it leaves.
#[test]
fn a_packet_is_translated_when_its_connection_is_removed() {
    let tracker = tracker();
    let nat = snat(NatRange::to_address(ip("192.0.2.7")));
    let sent = V4.udp(b"x");
    let input = Input::new(&sent);
    let mut first = tracker.track(&input, NOW);
    let commit = Commit {
        nat: Some(nat),
        ..Commit::default()
    };
    tracker.commit(&mut first, &input, &commit, NOW).unwrap();
    let second = tracker.track(&input, NOW);
    let error = Flow {
        src: ip("198.51.100.1"),
        dst: ip("192.0.2.7"),
        ..V4
    };
    let mut seen = sent.clone();
    tracker.translate(&second, &mut seen);
    let mut error = error.icmp(3, 1, [0; 4], &seen);
    let related = tracker.track(&Input::new(&error), NOW);
    assert!(tracker.delete(first.connection().unwrap(), NOW));
    for tracked in [&first, &second] {
        let mut packet = sent.clone();
        let translation = tracker.translate(tracked, &mut packet);
        assert_eq!(translation, Translation::Rewritten);
        assert_eq!(ends(&packet).0.address, ip("192.0.2.7"));
    }
    let translation = tracker.translate(&related, &mut error);
    assert_eq!(translation, Translation::Rewritten);
    assert_eq!(ends(&error).1.address, V4.src);
}

#[test]
fn a_packet_that_ends_its_connection_is_translated() {
    let tracker = tracker();
    let nat = snat(NatRange::to_address(ip("192.0.2.7")));
    pass(&tracker, &V4.tcp(SYN, 1, 0, &[]), nat).unwrap();
    let (_, packet) = pass(&tracker, &V4.tcp(RST, 2, 0, &[]), nat).unwrap();
    assert!(tracker.is_empty());
    assert_eq!(ends(&packet).0.address, ip("192.0.2.7"));
    assert_checksums(&packet);
}
