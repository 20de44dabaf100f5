// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tunnels to another node: fragments, and what a tunnel's headers have in common with those inside.

use std::net::{IpAddr, Ipv6Addr};

use adit_conntrack::testing::{split, Flow};
use adit_conntrack::{FragmentLimits, Reassembly, Time, Zone};
use adit_p4_frontend::ir::Match;
use adit_pipeline::fragment::{is_fragment, Fragments};
use adit_pipeline::parse::Parsed;

use super::node::{exact, number, Node, GATEWAY, GATEWAY_NUMBER, WIRE};
use super::{flow, ip, pod, port};

const ETHERNET: usize = 14;
/// The outer addresses of this node and of the other one, and their MAC addresses.
const HERE: [u8; 4] = [192, 0, 2, 10];
const THERE: [u8; 4] = [192, 0, 2, 20];
const HERE_MAC: u128 = 0x0200_0000_0010;
const THERE_MAC: u128 = 0x0288_0000_0002;
const OTHER_GATEWAY: u128 = 0x0200_0000_0201;
const VNI: u128 = 7;

/// Kinds of tunnels: the action of a next hop, and the length of the outer headers.
const KINDS: [(&str, usize); 4] = [
    ("vxlan", 50),
    ("geneve", 50),
    ("vxlan6", 70),
    ("geneve6", 70),
];

fn over_ipv6(address: [u8; 4]) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, address[3].into()).into()
}

/// Pods of other nodes, and their addresses of IPv6.
fn other(n: u8) -> IpAddr {
    ip([10, 244, 2, n])
}

fn v6(network: u16, n: u8) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, 0, n.into()).into()
}

/// A node with a pod, and a tunnel of a kind to pods of another node.
fn node(kind: &str) -> Node {
    let mut node = Node::new();
    node.add_pod(pod(1), 1);
    node.add_pod(v6(1, 1), 1);
    let [here, there] = match kind.ends_with('6') {
        true => [HERE, THERE].map(|it| number(over_ipv6(it))),
        false => [HERE, THERE].map(|it| u32::from_be_bytes(it).into()),
    };
    let arguments = [
        GATEWAY_NUMBER,
        OTHER_GATEWAY,
        VNI,
        here,
        there,
        HERE_MAC,
        THERE_MAC,
        WIRE.into(),
    ];
    node.add("nexthops", &[2], kind, &arguments);
    let network = u32::from_be_bytes([10, 244, 2, 0]).into();
    let keys = vec![exact(0), Match::Ternary(vec![network], vec![0xffff_ff00])];
    node.add_matches("ipv4_routes", keys, 0, "set_nexthop", &[2]);
    let keys = vec![exact(0), super::node::prefix(number(v6(2, 0)), 64)];
    node.add_matches("ipv6_routes", keys, 0, "set_nexthop", &[2]);
    node.add("routers", &[0, HERE_MAC], "NoAction", &[]);
    for outer in [ip, over_ipv6] as [fn([u8; 4]) -> IpAddr; 2] {
        let keys = [0, number(outer(THERE)), number(outer(HERE)), VNI];
        node.add("tunnels", &keys, "inner", &[0, 1]);
    }
    node
}

/// A frame with an IP packet.
fn frame(dst: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let kind: [u8; 2] = match packet[0] >> 4 {
        4 => [8, 0],
        _ => [0x86, 0xdd],
    };
    [&dst[..], &[2, 0, 0, 0, 9, 9], &kind, packet].concat()
}

fn mac(number: u128) -> [u8; 6] {
    let [.., a, b, c, d, e, f] = number.to_be_bytes();
    [a, b, c, d, e, f]
}

/// A frame in a VXLAN tunnel from the other node.
fn tunnelled(is_ipv6: bool, inner: &[u8]) -> Vec<u8> {
    let outer = if is_ipv6 { over_ipv6 } else { ip };
    let flow = flow(outer(THERE), 50_000, outer(HERE), 4789);
    let payload = [&[8, 0, 0, 0, 0, 0, VNI as u8, 0], inner].concat();
    frame(mac(HERE_MAC), &flow.udp(&payload))
}

/// The datagram that IP packets are fragments of.
fn united(packets: &[&[u8]]) -> Option<Vec<u8>> {
    let mut store = adit_conntrack::Fragments::new(FragmentLimits::default());
    let mut whole = None;
    for packet in packets {
        let inserted = store.insert(packet, Zone::DEFAULT, Time::from_secs(1));
        if let Ok(Reassembly::Complete(datagram)) = inserted {
            whole = Some(datagram.packet().to_vec());
        }
    }
    whole
}

/// The fragments that a datagram came in: of that many bytes of payload each.
fn came(packet: &[u8], size: usize) -> Fragments {
    let sizes = split(packet, size).into_iter().map(|it| it.len());
    let largest = sizes.max().unwrap_or_default() as u16;
    Fragments { largest, id: 77 }
}

/// The packet with a hop less.
fn aged(mut packet: Vec<u8>) -> Vec<u8> {
    match packet[0] >> 4 {
        4 => super::aged(packet),
        _ => {
            packet[7] -= 1;
            packet
        }
    }
}

fn flows() -> [Flow; 2] {
    [
        flow(pod(1), 1000, other(7), 2000),
        flow(v6(1, 1), 1000, v6(2, 7), 2000),
    ]
}

#[test]
fn what_came_in_fragments_goes_into_a_tunnel_in_such() {
    for (kind, outer) in KINDS {
        let mut node = node(kind);
        // Without a limit of the next hop, with one that its fragments fit, and with one that it fits.
        for (mtu, lengths) in [
            (None, &[3000, 900][..]),
            (Some(1400), &[3000]),
            (Some(4000), &[3000]),
        ] {
            if let Some(mtu) = mtu {
                node.add("mtus", &[2], "mtu", &[mtu]);
            }
            for (length, flow) in lengths
                .iter()
                .flat_map(|it| flows().map(|flow| (*it, flow)))
            {
                let packet = flow.udp(&vec![0x5a; length]);
                let came = came(&packet, 800);
                let sent = node.pass_frame(port(1), &frame(GATEWAY, &packet), Some(came));
                let what = format!("{kind}, {mtu:?}, {length}, {}", flow.src);
                let mut inner = Vec::new();
                for (to, frame) in &sent {
                    assert_eq!(*to, WIRE, "{what}");
                    assert!(
                        !is_fragment(frame),
                        "{what}: the outer packet is a fragment"
                    );
                    let p = Parsed::new(frame, frame.len()).unwrap();
                    assert_eq!((p.defect, p.l3_end()), (None, frame.len()), "{what}");
                    let packet = &frame[outer + ETHERNET..];
                    assert!(
                        packet.len() <= came.largest.into(),
                        "{what}: larger than it came"
                    );
                    inner.push(packet);
                }
                assert!(inner.len() > 1, "{what}");
                assert_eq!(united(&inner), Some(aged(packet)), "{what}");
            }
            if mtu.is_some() {
                node.delete("mtus", &[2]);
            }
        }
    }
}

#[test]
fn what_came_whole_goes_into_a_tunnel_whole() {
    for (kind, outer) in KINDS {
        let mut node = node(kind);
        for flow in flows() {
            let packet = flow.udp(&[0x5a; 3000]);
            let sent = node.pass_frame(port(1), &frame(GATEWAY, &packet), None);
            let [(WIRE, sent)] = &sent[..] else {
                panic!("{kind}: {sent:?}");
            };
            assert_eq!(sent[outer + ETHERNET..], aged(packet));
        }
    }
}

/// The fragments are those of the tunnel's packet: a kernel takes what is inside out of the datagram that they
/// make.
#[test]
fn what_was_whole_inside_of_a_tunnels_fragments_leaves_whole() {
    let mut node = node("vxlan");
    for is_ipv6 in [false, true] {
        for flow in flows() {
            let packet = flow.reverse().udp(&[0x5a; 1400]);
            let outer = tunnelled(is_ipv6, &frame(GATEWAY, &packet));
            let came = came(&outer[ETHERNET..], 800);
            let sent = node.pass_frame(WIRE, &outer, Some(came));
            let [(to, sent)] = &sent[..] else {
                panic!("{} frames", sent.len());
            };
            assert_eq!(*to, port(1));
            assert_eq!(sent[ETHERNET..], aged(packet));
        }
    }
}

/// So a router between two tunnels tells the sender of what it may not divide, and divides the rest to what the
/// next link takes.
#[test]
fn the_next_hop_behind_a_tunnel_has_its_own_limit() {
    let transit = flow(other(7), 2000, ip([172, 16, 0, 5]), 1000);
    let mut packet = transit.udp(&[0x5a; 3000]);
    for may_be_divided in [true, false] {
        packet[6] = if may_be_divided { 0 } else { 0x40 };
        adit_conntrack::testing::fill_header_checksum(&mut packet);
        let mut node = node("vxlan");
        node.add("mtus", &[1], "mtu", &[1400]);
        let all = vec![exact(0), Match::Any];
        let own = [number(ip([10, 244, 1, 254]))];
        node.add_matches("error_sources", all, 0, "error_source", &own);
        let plain = vec![
            exact(0),
            super::node::prefix(number(ip([172, 16, 0, 0])), 112),
        ];
        node.add_matches("networks", plain, 0, "plain", &[]);
        let outer = tunnelled(false, &frame(GATEWAY, &packet));
        let came = came(&outer[ETHERNET..], 800);
        let sent = node.pass_frame(WIRE, &outer, Some(came));
        if may_be_divided {
            let lengths: Vec<_> = sent.iter().map(|(_, it)| it.len() - ETHERNET).collect();
            assert_eq!(lengths, [1396, 1396, 276]);
        } else {
            let [(WIRE, error)] = &sent[..] else {
                panic!("{} frames", sent.len());
            };
            // In the tunnel: fragmentation needed, for 1,400 bytes.
            let error = &error[50 + ETHERNET..];
            assert_eq!(
                (error[9], &error[20..22], &error[26..28]),
                (1, &[3, 4][..], &[5, 120][..])
            );
        }
    }
}

/// The byte with the DSCP and the marks of congestion of the IP packet in a frame.
fn traffic_class(packet: &[u8]) -> u8 {
    match packet[0] >> 4 {
        4 => packet[1],
        _ => packet[0] << 4 | packet[1] >> 4,
    }
}

fn with_traffic_class(mut packet: Vec<u8>, class: u8) -> Vec<u8> {
    match packet[0] >> 4 {
        4 => {
            packet[1] = class;
            adit_conntrack::testing::fill_header_checksum(&mut packet);
        }
        _ => {
            packet[0] = 0x60 | class >> 4;
            packet[1] = class << 4 | packet[1] & 0xf;
        }
    }
    packet
}

/// RFC 6040, 4.1 (normal mode).
#[test]
fn routers_may_mark_a_tunnels_packet_if_they_may_mark_what_is_inside() {
    for (kind, outer) in KINDS {
        let mut node = node(kind);
        for flow in flows() {
            for ecn in 0..4 {
                let packet = with_traffic_class(flow.udp(b"data"), 0xb8 | ecn);
                let sent = node.pass_frame(port(1), &frame(GATEWAY, &packet), None);
                let [(WIRE, sent)] = &sent[..] else {
                    panic!("{kind}: {sent:?}");
                };
                assert_eq!(traffic_class(&sent[ETHERNET..]), ecn, "{kind}");
                assert_eq!(sent[outer + ETHERNET..], aged(packet), "{kind}");
                let p = Parsed::new(sent, sent.len()).unwrap();
                let verdict = adit_pipeline::checksum::verify::verify(&p, &[sent]);
                assert_ne!(verdict.ip, adit_pipeline::checksum::verify::Check::Bad);
            }
        }
    }
}

/// RFC 6040, 4.2.
#[test]
fn what_routers_mark_in_a_tunnel_is_marked_behind_it() {
    const NONE: u8 = 0;
    const ECT1: u8 = 1;
    const ECT0: u8 = 2;
    const MARKED: u8 = 3;
    const CONGESTED: u64 = 35;
    // By the tunnel's: what leaves.
    let wanted = [
        (NONE, [Some(NONE), Some(NONE), Some(NONE), None]),
        (ECT1, [Some(ECT1), Some(ECT1), Some(ECT1), Some(MARKED)]),
        (ECT0, [Some(ECT0), Some(ECT1), Some(ECT0), Some(MARKED)]),
        (MARKED, [Some(MARKED); 4]),
    ];
    let mut node = node("vxlan");
    for is_ipv6 in [false, true] {
        for flow in flows() {
            let before = node.count("verdicts", CONGESTED);
            for (inner, wanted) in wanted {
                for (outer, wanted) in [NONE, ECT1, ECT0, MARKED].into_iter().zip(wanted) {
                    let packet = |ecn| with_traffic_class(flow.reverse().udp(b"data"), 0x48 | ecn);
                    let mut tunnelled = tunnelled(is_ipv6, &frame(GATEWAY, &packet(inner)));
                    let marked = with_traffic_class(tunnelled.split_off(ETHERNET), 0x20 | outer);
                    tunnelled.extend(marked);
                    let sent = node.pass_frame(WIRE, &tunnelled, None);
                    let sent = sent.first().map(|(_, frame)| frame[ETHERNET..].to_vec());
                    let wanted = wanted.map(|ecn| aged(packet(ecn)));
                    assert_eq!(sent, wanted, "{inner} in {outer}");
                }
            }
            assert_eq!(node.count("verdicts", CONGESTED), before + 1);
        }
    }
}
