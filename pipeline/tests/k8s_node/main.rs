// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `p4/k8s_node.p4` where it takes many packets, time, and changes by the control plane: what others
//! got wrong, each as a test.

mod bursts;
mod neighbors;
mod node;
mod queues;
mod tunnels;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use adit_conntrack::testing::Flow;
use adit_pipeline::p4::FIRST_HOST_PORT;

use node::{aged, flow_of, number, Node, GATEWAY_NUMBER, WIRE};

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;
/// Verdicts (p4/node/types.p4).
const NO_ENDPOINT: u64 = 25;
const ENDPOINT_GONE: u64 = 28;
const NOT_COMMITTED: u64 = 32;

fn ip(last: [u8; 4]) -> IpAddr {
    last.into()
}

fn service() -> IpAddr {
    ip([10, 3, 241, 122])
}

fn pod(n: u8) -> IpAddr {
    ip([10, 244, 1, n])
}

fn client(n: u16) -> IpAddr {
    ip([198, 51, (n >> 8) as u8, n as u8])
}

fn flow(src: IpAddr, src_port: u16, dst: IpAddr, dst_port: u16) -> Flow {
    Flow {
        src,
        src_port,
        dst,
        dst_port,
    }
}

fn call(src_port: u16) -> Flow {
    flow(client(1), src_port, service(), 80)
}

/// The port of the pod's ADI.
fn port(n: u8) -> u32 {
    FIRST_HOST_PORT + u32::from(n)
}

/// A node with pods 1 to `pods`, each an endpoint with its number, in group 1 behind the service's
/// port 80 for both protocols.
fn node(pods: u8, affinity_s: u32) -> Node {
    let mut node = Node::new();
    let ids: Vec<u32> = (1..=pods.into()).collect();
    for n in 1..=pods {
        node.add_pod(pod(n), n.into());
        node.add_endpoint(n.into(), pod(n), 8080);
        node.add_sticky(1, n.into(), pod(n), 8080);
    }
    node.add_group(1, &ids);
    for protocol in [TCP, UDP] {
        node.add_frontend(service(), protocol, 80, 1, affinity_s);
    }
    node
}

/// The pod that a first packet reaches.
fn opened(node: &mut Node, packet: &[u8]) -> Option<u8> {
    let (to, _) = node.reached(packet)?;
    (1..=250).find(|n| pod(*n) == to)
}

/// A TCP connection from the first segment to the last one. Returns the endpoint's view of it.
fn converse(node: &mut Node, from: u32, flow: Flow, seq: u32) -> Option<Flow> {
    let (to, packet) = node.pass(from, &flow.tcp(SYN, seq, 0, b""))?;
    let seen = flow_of(&packet);
    let back = seen.reverse();
    let answer = |node: &mut Node, packet: Vec<u8>| {
        let (port, packet) = node.pass(to, &packet)?;
        let answered = flow_of(&packet);
        let wanted = flow.reverse();
        let is_right = port == from && format!("{answered:?}") == format!("{wanted:?}");
        is_right.then_some(())
    };
    answer(node, back.tcp(SYN | ACK, 900, seq + 1, b""))?;
    node.pass(from, &flow.tcp(ACK, seq + 1, 901, b"GET"))?;
    answer(node, back.tcp(ACK, 901, seq + 4, b"200"))?;
    node.pass(from, &flow.tcp(FIN | ACK, seq + 4, 904, b""))?;
    answer(node, back.tcp(FIN | ACK, 904, seq + 5, b""))?;
    let (last, _) = node.pass(from, &flow.tcp(ACK, seq + 5, 905, b""))?;
    assert_eq!(last, to);
    Some(seen)
}

/// Returns whether a packet of IPv4 is answered, where it came from, with a reset or with port unreachable.
fn is_refused(node: &mut Node, from: u32, packet: &[u8]) -> bool {
    let Some((to, answer)) = node.pass(from, packet) else {
        return false;
    };
    let is_answer = match packet[9] {
        6 => answer[9] == 6 && answer[33] & 4 != 0,
        _ => answer[9] == 1 && answer[20..22] == [3, 3],
    };
    let goes_back = answer[12..16] == packet[16..20] && answer[16..20] == packet[12..16];
    to == from && is_answer && goes_back
}

#[test]
fn errors_reach_the_endpoint_with_quotes_of_every_length() {
    let mut node = node(1, 0);
    let seen = flow(client(1), 5000, pod(1), 8080);
    for (there, data) in [(SYN, &b""[..]), (ACK, b"GET /")] {
        let packet = call(5000).tcp(there, 100 + u32::from(there == ACK), 901, data);
        assert!(node.pass(WIRE, &packet).is_some());
        if there == SYN {
            let answer = seen.reverse().tcp(SYN | ACK, 900, 101, b"");
            assert!(node.pass(port(1), &answer).is_some());
        }
    }
    // What a router on the way to the client quotes is what left the node.
    let data = [0x5a; 600];
    let sent = call(5000).reverse().tcp(ACK, 901, 106, &data);
    let own = seen.reverse().tcp(ACK, 901, 106, &data);
    let router = flow(ip([203, 0, 113, 9]), 0, service(), 0);
    for length in 0..=sent.len() {
        let error = router.icmp(3, 4, [0, 0, 5, 0], &sent[..length]);
        let passed = node.pass(WIRE, &error);
        // RFC 792: the header and eight bytes at least.
        if length < 28 {
            assert_eq!(passed, None, "{length} bytes of the packet");
            continue;
        }
        let to_pod = flow(router.src, 0, pod(1), 0);
        let mut quote = own[..length].to_vec();
        if (37..40).contains(&length) {
            // As in Linux, the checksum of a segment is adjusted if its whole header is there.
            let has = 36..length.min(38);
            quote[has.clone()].copy_from_slice(&sent[has]);
        }
        let wanted = aged(to_pod.icmp(3, 4, [0, 0, 5, 0], &quote));
        assert_eq!(
            passed,
            Some((port(1), wanted)),
            "{length} bytes of the packet"
        );
    }
}

#[test]
fn a_terminating_endpoint_keeps_its_connections_and_gets_no_new_one() {
    for affinity_s in [0, 10_800] {
        let mut node = node(2, affinity_s);
        node.set_group(1, &[1]);
        let first = call(5000);
        assert_eq!(opened(&mut node, &first.tcp(SYN, 1, 0, b"")), Some(1));
        let back = flow(client(1), 5000, pod(1), 8080).reverse();
        assert!(node
            .pass(port(1), &back.tcp(SYN | ACK, 1, 2, b""))
            .is_some());
        node.set_group(1, &[1, 2]);
        // It terminates: the order of K8S_NODE.md.
        node.delete("sticky_members", &[1, 1]);
        node.set_group(1, &[2]);
        for src_port in 5001..5200 {
            assert_eq!(
                opened(&mut node, &call(src_port).tcp(SYN, 1, 0, b"")),
                Some(2)
            );
            assert_eq!(opened(&mut node, &call(src_port).udp(b"?")), Some(2));
        }
        for n in 0..20 {
            let data = first.tcp(ACK, 2 + n, 2, b"x");
            assert_eq!(opened(&mut node, &data), Some(1), "segment {n}");
        }
        // It is gone: a reset for what is still there.
        let refused = node.count("verdicts", ENDPOINT_GONE);
        node.delete("endpoints", &[1]);
        assert!(is_refused(&mut node, WIRE, &first.tcp(ACK, 22, 2, b"x")));
        assert_eq!(node.count("verdicts", ENDPOINT_GONE), refused + 1);
        assert_eq!(node.rejected(), 1);
    }
}

#[test]
fn an_address_that_others_get_is_not_reached_by_old_connections() {
    let mut node = node(1, 0);
    let first = call(5000);
    assert_eq!(opened(&mut node, &first.tcp(SYN, 1, 0, b"")), Some(1));
    assert_eq!(opened(&mut node, &first.udp(b"?")), Some(1));
    node.set_group(1, &[]);
    node.delete("endpoints", &[1]);
    // The next owner of the address is no endpoint of the service.
    for _ in 0..3 {
        // A segment that does not fit a half-open connection is dropped.
        assert_eq!(node.pass(WIRE, &first.tcp(ACK, 2, 1, b"x")), None);
        assert!(is_refused(&mut node, WIRE, &first.udp(b"?")));
    }
}

#[test]
fn a_sender_of_datagrams_is_refused_until_an_endpoint_comes_back() {
    let mut node = node(2, 0);
    node.set_group(1, &[1]);
    let sender = call(5353);
    assert_eq!(opened(&mut node, &sender.udp(b"1")), Some(1));
    let back = flow(client(1), 5353, pod(1), 8080).reverse().udp(b"!");
    assert!(node.pass(port(1), &back).is_some());
    // While it terminates, its datagrams reach it.
    node.set_group(1, &[]);
    assert_eq!(opened(&mut node, &sender.udp(b"2")), Some(1));
    node.delete("endpoints", &[1]);
    // The sender does not pause, so its connection would never time out.
    let before = node.count("verdicts", NO_ENDPOINT);
    let rejected = node.rejected();
    for n in 0..200 {
        assert!(
            is_refused(&mut node, WIRE, &sender.udp(b"3")),
            "datagram {n}"
        );
        node.wait(100);
    }
    assert_eq!(node.count("verdicts", NO_ENDPOINT), before + 200);
    assert_eq!(node.rejected(), rejected + 200);
    node.set_group(1, &[2]);
    assert_eq!(opened(&mut node, &sender.udp(b"4")), Some(2));
    // The whole service goes: there is nothing that a new flow would find.
    node.delete("services", &[0, number(service()), UDP.into(), 80]);
    node.add(
        "addresses",
        &[0, number(service())],
        "service_address",
        &[GATEWAY_NUMBER],
    );
    node.set_group(1, &[]);
    node.delete("endpoints", &[2]);
    let rejected = node.rejected();
    assert!(is_refused(&mut node, WIRE, &sender.udp(b"5")));
    assert_eq!(node.rejected(), rejected + 1);
}

#[test]
fn a_pod_calls_its_own_service() {
    let mut node = node(1, 0);
    node.masquerade(1, ip([10, 244, 1, 254]), [0, 0]);
    for n in 0..5000u32 {
        let src_port = 40_000 + (n % 100) as u16;
        let own = flow(pod(1), src_port, service(), 80);
        // Each call begins behind the last one's numbers.
        let seen = converse(&mut node, port(1), own, 1000 * n + 1);
        let seen = seen.unwrap_or_else(|| panic!("call {n}"));
        assert_eq!((seen.src, seen.dst), (ip([10, 244, 1, 254]), pod(1)));
        node.wait(5);
    }
}

#[test]
fn a_segment_that_reuses_a_tuple_begins_a_connection_of_its_own() {
    let mut node = node(2, 0);
    node.set_group(1, &[1]);
    let seen = converse(&mut node, WIRE, call(5000), 1).unwrap();
    assert_eq!(seen.dst, pod(1));
    // TIME_WAIT lasts two minutes; the endpoint leaves meanwhile.
    node.wait(1000);
    node.set_group(1, &[2]);
    let again = call(5000);
    let first = again.tcp(SYN, 5_000_000, 0, b"");
    assert_eq!(opened(&mut node, &first), Some(2));
    let back = flow(client(1), 5000, pod(2), 8080).reverse();
    let answer = back.tcp(SYN | ACK, 7, 5_000_001, b"");
    let answered = node.pass(port(2), &answer).map(|(port, _)| port);
    assert_eq!(answered, Some(WIRE));
    // A reset does so, too.
    assert!(node
        .pass(WIRE, &again.tcp(ACK, 5_000_001, 8, b""))
        .is_some());
    assert!(node
        .pass(WIRE, &again.tcp(RST, 5_000_001, 8, b""))
        .is_some());
    node.set_group(1, &[1]);
    assert_eq!(
        opened(&mut node, &again.tcp(SYN, 9_000_000, 0, b"")),
        Some(1)
    );
}

#[test]
fn zones_keep_equal_tuples_apart() {
    let mut node = node(1, 0);
    // Another tenant, with the same addresses, behind another wire.
    let other = 7;
    node.add("ports", &[5], "port", &[other, 1, 0, 0]);
    node.add("ports", &[port(9).into()], "port", &[other, 1, 0, 0]);
    node.add("routers", &[other, GATEWAY_NUMBER], "NoAction", &[]);
    node.add_pod_in(other, pod(1), 9);
    node.add_pod_in(other, client(1), 10);
    node.add_endpoint(101, pod(1), 8080);
    node.add_group(101, &[101]);
    node.add_frontend_in(other, service(), TCP, 80, [101, 101], 0, 0);
    let seen = flow(client(1), 5000, pod(1), 8080);
    for (wire, pod) in [(WIRE, 1), (5, 9)] {
        let first = call(5000).tcp(SYN, 100 * wire, 0, b"");
        let to = node.pass(wire, &first).map(|(port, _)| port);
        assert_eq!(to, Some(port(pod)));
    }
    // The answers go back within their zones, with the numbers of their own connections.
    let answer = |seq: u32| seen.reverse().tcp(SYN | ACK, 9, seq + 1, b"");
    assert_eq!(
        node.pass(port(1), &answer(0)).map(|(port, _)| port),
        Some(WIRE)
    );
    assert_eq!(
        node.pass(port(9), &answer(500)).map(|(to, _)| to),
        Some(port(10))
    );
    assert_eq!(node.engine().tracker().unwrap().len(), 2);
}

#[test]
fn only_the_share_of_a_changed_member_moves() {
    const FLOWS: u16 = 4000;
    let mut node = node(8, 0);
    // Each look is at new connections, as all of a look before have expired.
    let choices = |node: &mut Node| -> Vec<u8> {
        let all = (0..FLOWS).map(|n| {
            let packet = flow(client(n), 5000, service(), 80).udp(b"?");
            opened(node, &packet).unwrap()
        });
        let all = all.collect();
        node.wait(31_000);
        all
    };
    let before = choices(&mut node);
    let share = |n: u8, choices: &[u8]| choices.iter().filter(|one| **one == n).count();
    for n in 1..=8 {
        let share = share(n, &before);
        assert!(
            (350..650).contains(&share),
            "pod {n} has {share} of {FLOWS}"
        );
    }
    assert_eq!(choices(&mut node), before, "nothing has changed");
    node.set_group(1, &[1, 2, 3, 4, 5, 6, 7]);
    let without = choices(&mut node);
    for (old, new) in before.iter().zip(&without) {
        assert!(old == new || *old == 8, "{old} became {new}");
    }
    assert_eq!(share(8, &without), 0);
    node.set_group(1, &[1, 2, 3, 4, 5, 6, 7, 8]);
    let back = choices(&mut node);
    let moved = without.iter().zip(&back).filter(|(old, new)| old != new);
    let moved: Vec<_> = moved.collect();
    assert!(moved.iter().all(|(_, new)| **new == 8));
    assert!((350..650).contains(&moved.len()), "{} moved", moved.len());
}

#[test]
fn a_client_gets_its_endpoint_until_it_is_silent() {
    let mut node = node(8, 600);
    let mut of = HashMap::new();
    for n in 0..200 {
        let first = flow(client(n), 5000, service(), 80).tcp(SYN, 1, 0, b"");
        of.insert(n, opened(&mut node, &first).unwrap());
    }
    // All members but those with the flows of few change; the clients' endpoints stay.
    node.set_group(1, &[1]);
    for round in 1..5 {
        node.wait(500_000);
        for n in 0..200 {
            let first = flow(client(n), 5000 + round, service(), 80).tcp(SYN, 1, 0, b"");
            assert_eq!(opened(&mut node, &first), Some(of[&n]), "client {n}");
        }
    }
    assert_eq!(node.table("affinity").len(), 200);
    node.wait(600_000);
    assert_eq!(node.table("affinity").len(), 0);
    let first = flow(client(7), 6000, service(), 80).tcp(SYN, 1, 0, b"");
    assert_eq!(opened(&mut node, &first), Some(1));
}

#[test]
fn egress_is_masqueraded_and_says_when_no_port_is_left() {
    let mut node = node(3, 0);
    let public = ip([192, 0, 2, 10]);
    node.masquerade(3, public, [2000, 2001]);
    let server = ip([203, 0, 113, 50]);
    let mut seen = HashSet::new();
    for n in 1..=2 {
        let query = flow(pod(n), 1000, server, 53);
        let (to, packet) = node.pass(port(n), &query.udp(b"?")).unwrap();
        let flow = flow_of(&packet);
        assert_eq!((to, flow.src), (WIRE, public));
        assert!((2000..=2001).contains(&flow.src_port));
        assert!(seen.insert(flow.src_port));
        let answered = node.pass(WIRE, &flow.reverse().udp(b"!"));
        let wanted = aged(query.reverse().udp(b"!"));
        assert_eq!(answered, Some((port(n), wanted)));
    }
    let third = flow(pod(3), 1000, server, 53);
    assert!(is_refused(&mut node, port(3), &third.udp(b"?")));
    assert_eq!(node.count("verdicts", NOT_COMMITTED), 1);
    assert_eq!(node.rejected(), 1);
    // Another server's ports are others.
    let other = flow(pod(3), 1000, ip([203, 0, 113, 51]), 53);
    assert!(node.pass(port(3), &other.udp(b"?")).is_some());
}
