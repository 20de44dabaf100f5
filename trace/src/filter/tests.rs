// SPDX-License-Identifier: Apache-2.0 OR MIT
use super::*;

/// A SYN from 10.0.0.1 port 1000 to 10.0.0.2 port 80.
fn syn() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([
        0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ]);
    frame.extend([
        3, 0xe8, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 1, 0, 0, 0, 0, 0,
    ]);
    frame
}

fn passes(message: proto::Filter) -> bool {
    let (filter, frame) = (Filter::try_from(&message).unwrap(), syn());
    filter.passes(&Seen::new(7, &frame, None).unwrap())
}

fn net(address: &[u8], length: u32) -> Option<proto::Prefix> {
    let address = address.to_vec();
    Some(proto::Prefix { address, length })
}

#[test]
fn each_field_selects() {
    type Set = fn(&mut proto::Filter);
    let all: [(Set, bool); 22] = [
        (|_| {}, true),
        (|f| f.port = Some(7), true),
        (|f| f.port = Some(8), false),
        (|f| f.ether_type = Some(0x800), true),
        (|f| f.ether_type = Some(0x86dd), false),
        (|f| f.protocol = Some(6), true),
        (|f| f.protocol = Some(17), false),
        (|f| f.source = net(&[10, 0, 0, 0], 24), true),
        (|f| f.source = net(&[10, 0, 0, 2], 32), false),
        (|f| f.source = net(&[10, 0, 0, 2], 0), true),
        (|f| f.source = net(&[0; 16], 0), false),
        (|f| f.destination = net(&[10, 0, 0, 2], 32), true),
        (|f| f.either = net(&[10, 0, 0, 2], 32), true),
        (|f| f.either = net(&[10, 0, 0, 3], 32), false),
        (|f| f.source_port = Some(1000), true),
        (|f| f.destination_port = Some(1000), false),
        (|f| f.either_port = Some(80), true),
        (|f| f.either_port = Some(81), false),
        (
            |f| (f.either, f.either_port) = (net(&[10, 0, 0, 2], 32), Some(80)),
            true,
        ),
        (
            |f| (f.either, f.either_port) = (net(&[10, 0, 0, 2], 32), Some(1000)),
            false,
        ),
        (|f| (f.tcp_flags_mask, f.tcp_flags) = (0x12, 2), true),
        (|f| (f.tcp_flags_mask, f.tcp_flags) = (0x12, 0x12), false),
    ];
    for (n, (set, wanted)) in all.into_iter().enumerate() {
        let mut message = proto::Filter::default();
        set(&mut message);
        assert_eq!(passes(message.clone()), wanted, "{n}: {message:?}");
    }
}

#[test]
fn what_has_no_ports_or_addresses_passes_none_of_them() {
    let mut arp = syn();
    arp[13] = 6;
    let seen = Seen::new(0, &arp, None).unwrap();
    let passes = |message: proto::Filter| Filter::try_from(&message).unwrap().passes(&seen);
    assert!(passes(proto::Filter::default()));
    let any = net(&[0; 4], 0);
    let either = proto::Filter {
        either: any.clone(),
        ..proto::Filter::default()
    };
    let source = proto::Filter {
        source: any,
        ..proto::Filter::default()
    };
    let port = proto::Filter {
        either_port: Some(0),
        ..proto::Filter::default()
    };
    let flags = proto::Filter {
        tcp_flags_mask: 1,
        ..proto::Filter::default()
    };
    for message in [either, source, port, flags] {
        assert!(!passes(message.clone()), "{message:?}");
    }
}

#[test]
fn one_of_several_destinations_is_enough() {
    let of = |sockets: &[(&[u8], u32)]| proto::Filter {
        destinations: sockets
            .iter()
            .map(|(address, port)| proto::Socket {
                address: address.to_vec(),
                port: *port,
            })
            .collect(),
        ..proto::Filter::default()
    };
    assert!(passes(of(&[(&[10, 0, 0, 9], 80), (&[10, 0, 0, 2], 80)])));
    assert!(!passes(of(&[(&[10, 0, 0, 2], 81), (&[10, 0, 0, 1], 80)])));
    assert!(!passes(of(&[(&[0; 16], 80)])));
}

/// A frame in a VXLAN tunnel from 192.0.2.1 to 192.0.2.2.
fn tunnelled(inner: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    let length = (20 + 8 + 8 + inner.len()) as u16;
    frame.extend([0x45, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    frame.extend([0xc0, 0, 0x12, 0xb5]);
    frame.extend((length - 20).to_be_bytes());
    frame.extend([0, 0, 8, 0, 0, 0, 0, 0, 7, 0]);
    frame.extend(inner);
    frame
}

#[test]
fn packets_in_tunnels_pass_if_they_are_wanted() {
    let frame = tunnelled(&syn());
    let passes = |port, message: proto::Filter| {
        let filter = Filter::try_from(&message).unwrap();
        filter.passes(&Seen::new(port, &frame, None).unwrap())
    };
    let of = |protocol, in_tunnels| proto::Filter {
        protocol: Some(protocol),
        destination: net(&[10, 0, 0, 2], 32),
        in_tunnels,
        ..proto::Filter::default()
    };
    assert!(passes(0, of(6, true)));
    assert!(!passes(0, of(6, false)) && !passes(0, of(17, true)));
    // What a virtual port sends is payload.
    assert!(!passes(0x1000, of(6, true)));
    let outer = proto::Filter {
        destination: net(&[192, 0, 2, 2], 32),
        in_tunnels: true,
        ..proto::Filter::default()
    };
    assert!(passes(0, outer.clone()) && passes(0x1000, outer.clone()));
    let from_wires = proto::Filter {
        from_wires: true,
        ..outer
    };
    assert!(passes(0, from_wires.clone()) && !passes(0x1000, from_wires));
}

#[test]
fn replies_pass_by_the_first_packet_of_their_connection() {
    use adit_conntrack::testing::{Flow, V4};
    use adit_conntrack::{Commit, Input, Seed, Settings, Time, Tracker, Zone};

    let (now, zone) = (Time::from_secs(1), Zone::new(5));
    let tracker = Tracker::new(64, Seed::new([1; 16]), Settings::default());
    let packet = V4.udp(b"a");
    let input = Input {
        zone,
        ..Input::new(&packet)
    };
    let mut tracked = tracker.track(&input, now);
    let committed = tracker.commit(&mut tracked, &input, &Commit::default(), now);
    committed.expect("a connection");
    let passes = |packet: &[u8], change: fn(&mut proto::Filter)| {
        let mut message = proto::Filter {
            protocol: Some(17),
            destination: net(&[10, 0, 0, 2], 32),
            destination_port: Some(80),
            replies_in_zone: Some(5),
            ..proto::Filter::default()
        };
        change(&mut message);
        let frame = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0], packet].concat();
        let filter = Filter::try_from(&message).unwrap();
        filter.passes(&Seen::new(0x1000, &frame, Some((&tracker, now))).unwrap())
    };
    let reply = V4.reverse().udp(b"b");
    let router = Flow {
        src: [192, 0, 2, 99].into(),
        ..V4.reverse()
    };
    let error = router.icmp(3, 1, [0; 4], &packet);
    for wanted in [&packet, &reply, &error] {
        assert!(passes(wanted, |_| {}));
    }
    let others: [fn(&mut proto::Filter); 5] = [
        |f| f.replies_in_zone = None,
        |f| f.replies_in_zone = Some(4),
        |f| f.protocol = Some(6),
        |f| f.source = net(&[10, 0, 0, 9], 32),
        |f| f.port = Some(0),
    ];
    for change in others {
        assert!(!passes(&reply, change) && !passes(&error, change));
    }
    // Only the first packet's side has to come from a wire.
    assert!(passes(&reply, |f| f.from_wires = true));
    assert!(!passes(&packet, |f| f.from_wires = true));
    let other = Flow {
        src_port: 1,
        ..V4.reverse()
    };
    assert!(!passes(&other.udp(b"b"), |_| {}));
}

#[test]
fn what_no_packet_has_is_refused_by_name() {
    let refused = |message: proto::Filter| Filter::try_from(&message).unwrap_err().to_string();
    let of = |source| proto::Filter {
        source,
        ..proto::Filter::default()
    };
    assert_eq!(
        refused(of(net(&[1, 2, 3], 8))),
        "`source` has an address of 3 bytes: IPv4 has 4, IPv6 has 16"
    );
    assert_eq!(
        refused(of(net(&[1, 2, 3, 4], 33))),
        "`source` has a prefix of 33 bits, its address has 32"
    );
    let port = proto::Filter {
        source_port: Some(65536),
        ..proto::Filter::default()
    };
    assert_eq!(
        refused(port),
        "`source_port` is 65536, the largest is 65535"
    );
    let protocol = proto::Filter {
        protocol: Some(256),
        ..proto::Filter::default()
    };
    assert_eq!(refused(protocol), "`protocol` is 256, the largest is 255");
    let socket = |bytes: usize, port| proto::Socket {
        address: vec![0; bytes],
        port,
    };
    let to = |destinations| proto::Filter {
        destinations,
        ..proto::Filter::default()
    };
    assert_eq!(
        refused(to(vec![socket(4, 1); 1025])),
        "`destinations` has 1025 addresses and ports, the most are 1024"
    );
    assert_eq!(
        refused(to(vec![socket(5, 1)])),
        "`destinations` has an address of 5 bytes: IPv4 has 4, IPv6 has 16"
    );
    assert_eq!(
        refused(to(vec![socket(16, 65536)])),
        "`destinations` is 65536, the largest is 65535"
    );
}

/// `adit svc trace` has a filter for each frontend, which ask for the same.
#[test]
fn hundreds_of_filters_look_at_a_packet_once() {
    use adit_conntrack::{Seed, Settings, Time, Tracker};

    let tracker = Tracker::new(64, Seed::new([1; 16]), Settings::default());
    let frame = tunnelled(&syn());
    let seen = Seen::new(0, &frame, Some((&tracker, Time::from_secs(1)))).unwrap();
    let of = |port: u32, zone| {
        Filter::try_from(&proto::Filter {
            destination_port: Some(port),
            in_tunnels: true,
            replies_in_zone: Some(zone),
            ..proto::Filter::default()
        })
        .unwrap()
    };
    for port in 1000..1256 {
        assert!(!of(port, 5).passes(&seen));
    }
    let searches = |seen: &Seen<'_>| {
        let inner = seen.inner().expect("a frame in a tunnel");
        (seen.outer.searches.get(), inner.searches.get())
    };
    // Of the outer one ends, connection and tunnel; of the inner one ends and connection.
    assert_eq!(searches(&seen), (3, 2));
    // Another zone may have another connection.
    assert!(!of(1000, 6).passes(&seen) && !of(1001, 6).passes(&seen));
    assert_eq!(searches(&seen), (4, 3));
    assert!(of(80, 6).passes(&seen));
}
