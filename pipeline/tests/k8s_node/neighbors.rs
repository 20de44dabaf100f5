// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Questions for neighbors, and addresses that no router passes on.

use std::net::{IpAddr, Ipv6Addr};

use adit_conntrack::testing::fill_checksums;
use adit_conntrack::testing::Flow;
use adit_p4_frontend::ir::Match;

use super::node::{exact, number, Node, GATEWAY_NUMBER, WIRE};
use super::{flow, ip, pod, port};

/// Verdicts (p4/node/types.p4).
const ANSWERED: u64 = 5;
const MARTIAN: u64 = 17;
/// The address of the gateway, of each family.
const OWN: [u8; 4] = [10, 244, 1, 254];
const OWN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
const POD6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 10);
const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 1);
const POD_MAC: [u8; 6] = [2, 0, 0, 0, 0x10, 1];

fn node() -> Node {
    let mut node = Node::new();
    node.add_pod(pod(1), 1);
    node.add_pod(POD6.into(), 1);
    for own in [ip(OWN), OWN6.into()] {
        node.add("addresses", &[0, number(own)], "answer", &[GATEWAY_NUMBER]);
    }
    node
}

/// Returns whether the node answers a frame of its pod.
fn is_answered(node: &mut Node, frame: &[u8]) -> bool {
    let before = node.count("verdicts", ANSWERED);
    let sent = node.pass_frame(port(1), frame, None);
    let is_answered = node.count("verdicts", ANSWERED) > before;
    assert_eq!(is_answered, sent[0].0 == port(1), "{sent:?}");
    is_answered
}

#[test]
fn questions_of_arp_are_those_for_ethernet_and_ipv4() {
    let mut node = node();
    let question = |changed: Option<(usize, u8)>| {
        let mut arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &POD_MAC, &[10, 244, 1, 1]].concat();
        arp.extend([[0; 6].as_slice(), &OWN].concat());
        if let Some((at, value)) = changed {
            arp[at] = value;
        }
        [&[0xff; 6][..], &POD_MAC, &[8, 6], &arp].concat()
    };
    assert!(is_answered(&mut node, &question(None)));
    // Of another kind of link, of another protocol, with other lengths, a reply.
    for changed in [(1, 6), (2, 0x86), (4, 8), (4, 0), (5, 16), (5, 0), (7, 2)] {
        assert!(
            !is_answered(&mut node, &question(Some(changed))),
            "{changed:?}"
        );
    }
}

/// A neighbor solicitation for the gateway, with options.
fn solicitation(src: Ipv6Addr, dst: Ipv6Addr, target: Ipv6Addr, options: &[u8]) -> Vec<u8> {
    let ends = Flow {
        src: src.into(),
        src_port: 0,
        dst: dst.into(),
        dst_port: 0,
    };
    let mut packet = ends.icmp(135, 0, [0; 4], &[&target.octets(), options].concat());
    packet[7] = 255;
    packet
}

fn framed(packet: &[u8]) -> Vec<u8> {
    [
        &[0x33, 0x33, 0xff, 0, 0, 1][..],
        &POD_MAC,
        &[0x86, 0xdd],
        packet,
    ]
    .concat()
}

#[test]
fn solicitations_come_from_the_link_and_are_whole() {
    let mut node = node();
    let unknown = Ipv6Addr::UNSPECIFIED;
    let address = [&[1, 1][..], &POD_MAC].concat();
    let nonce = [14, 1, 1, 2, 3, 4, 5, 6];
    for (src, dst, options) in [
        (POD6, GROUP, &[][..]),
        (POD6, GROUP, &address),
        (POD6, OWN6, &address),
        (POD6, GROUP, &nonce),
        (unknown, GROUP, &[]),
        // The probe of a Linux host (RFC 7527).
        (unknown, GROUP, &nonce),
    ] {
        let asked = framed(&solicitation(src, dst, OWN6, options));
        assert!(is_answered(&mut node, &asked), "{src} {dst} {options:?}");
    }
    let right = solicitation(POD6, GROUP, OWN6, &address);
    let mut routed = right.clone();
    routed[7] = 254;
    let mut damaged = right.clone();
    damaged[42] ^= 1;
    let mut coded = right.clone();
    coded[41] = 1;
    fill_checksums(&mut coded);
    let mut endless = right.clone();
    endless[65] = 0;
    fill_checksums(&mut endless);
    for (what, packet) in [
        ("passed on by a router", routed),
        ("with a wrong checksum", damaged),
        ("with a code", coded),
        ("with an option of no length", endless),
        (
            "a probe that tells an address",
            solicitation(unknown, GROUP, OWN6, &address),
        ),
        (
            "a probe to one host",
            solicitation(unknown, OWN6, OWN6, &[]),
        ),
        ("for another", solicitation(POD6, GROUP, GROUP, &[])),
    ] {
        assert!(!is_answered(&mut node, &framed(&packet)), "{what}");
    }
}

#[test]
fn addresses_of_a_link_or_a_group_are_not_passed_on() {
    let to = |dst: IpAddr| (pod(1), dst);
    let from = |src: IpAddr| (src, ip([203, 0, 113, 9]));
    let v6 = |text: &str| -> IpAddr { text.parse::<Ipv6Addr>().unwrap().into() };
    let out: IpAddr = v6("2001:db8:99::5");
    let mut node = node();
    for (src, dst) in [
        to(ip([0; 4])),
        to(ip([255; 4])),
        to(ip([224, 0, 0, 5])),
        to(ip([239, 1, 2, 3])),
        from(ip([0; 4])),
        from(ip([255; 4])),
        (POD6.into(), v6("fe80::1")),
        (POD6.into(), v6("febf::1")),
        (POD6.into(), v6("ff02::1")),
        (POD6.into(), v6("ff0e::5")),
        (POD6.into(), v6("::1")),
        (POD6.into(), v6("::")),
        (v6("fe80::5"), out),
        (v6("::1"), out),
        (v6("::"), out),
        // To a pod of this node, too.
        (v6("fe80::5"), POD6.into()),
    ] {
        for from in [port(1), WIRE] {
            let before = node.count("verdicts", MARTIAN);
            assert_eq!(
                node.pass(from, &flow(src, 1, dst, 2).udp(b"?")),
                None,
                "{src} {dst}"
            );
            assert_eq!(node.count("verdicts", MARTIAN), before + 1, "{src} {dst}");
        }
    }
    // Those of the host's own stack, and what is next to them.
    node.add_matches("networks", vec![exact(0), Match::Any], 0, "plain", &[]);
    node.add(
        "local",
        &[0, number(v6("fe80::1"))],
        "host",
        &[GATEWAY_NUMBER],
    );
    for (src, dst) in [
        (v6("fe80::5"), v6("fe80::1")),
        (POD6.into(), v6("fec0::1")),
        (POD6.into(), out),
        to(ip([240, 0, 0, 1])),
        to(ip([223, 255, 255, 255])),
        to(ip([169, 254, 169, 254])),
    ] {
        let sent = node.pass(port(1), &flow(src, 1, dst, 2).udp(b"?"));
        assert!(sent.is_some(), "{src} {dst}");
    }
}
