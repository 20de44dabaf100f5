// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Receive queues of pods: inline filters, which what a pod sends leaves for its replies.

use std::net::IpAddr;

use adit_conntrack::testing::Flow;

use super::{call, client, flow, ip, node, pod, port, service, ACK, SYN, TCP};
use crate::node::{flow_of, number, Node, WIRE};

/// Sends a packet from a pod's queue. Returns the IP packet that leaves.
fn send(node: &mut Node, n: u8, queue: u16, packet: &[u8]) -> Vec<u8> {
    let (_, _, packet) = node.pass_from(port(n), queue, packet).expect("it leaves");
    packet
}

/// The receive queue of a packet from the wire.
fn queue(node: &mut Node, packet: &[u8]) -> Option<u16> {
    let no_queue = adit_pipeline::p4::NO_QUEUE;
    let (_, queue, _) = node.pass_from(WIRE, no_queue, packet).expect("it leaves");
    queue
}

/// A flow of a pod to a server outside, whose address is masqueraded.
fn outgoing(n: u8) -> Flow {
    flow(pod(n), 40_000, ip([203, 0, 113, 80]), 443)
}

#[test]
fn replies_reach_the_queue_that_a_client_sends_from() {
    let mut node = node(2, 0);
    node.masquerade(3, ip([192, 0, 2, 10]), [0, 0]);
    for (n, from) in [(1, 3), (2, 5)] {
        let left = send(&mut node, n, from, &outgoing(n).tcp(SYN, 1, 0, b""));
        let back = flow_of(&left).reverse();
        assert_eq!(
            queue(&mut node, &back.tcp(SYN | ACK, 9, 2, b"")),
            Some(from)
        );
        assert_eq!(queue(&mut node, &back.tcp(ACK, 10, 2, b"x")), Some(from));
    }
    assert_eq!(node.table("inline_filters").len(), 2);
    // Datagrams, and IPv6.
    let resolver = ip([203, 0, 113, 53]);
    let left = send(&mut node, 1, 7, &flow(pod(1), 5353, resolver, 53).udp(b"?"));
    assert_eq!(
        queue(&mut node, &flow_of(&left).reverse().udp(b"!")),
        Some(7)
    );
    let [own, other]: [IpAddr; 2] = ["fd00::1", "2001:db8::1"].map(|it| it.parse().unwrap());
    node.add_pod(own, 1);
    let there = flow(own, 40_000, other, 443);
    send(&mut node, 1, 6, &there.udp(b"?"));
    assert_eq!(queue(&mut node, &there.reverse().udp(b"!")), Some(6));
}

#[test]
fn a_server_gets_what_follows_on_the_queue_that_it_answers_from() {
    let mut node = node(1, 0);
    assert_eq!(queue(&mut node, &call(5000).tcp(SYN, 1, 0, b"")), None);
    let back = flow(client(1), 5000, pod(1), 8080).reverse();
    send(&mut node, 1, 2, &back.tcp(SYN | ACK, 7, 2, b""));
    assert_eq!(
        queue(&mut node, &call(5000).tcp(ACK, 2, 8, b"GET")),
        Some(2)
    );
    // Not those of another connection.
    assert_eq!(queue(&mut node, &call(5001).tcp(SYN, 1, 0, b"")), None);
    // A pod that calls its own service: what it sends as a client, and as a server.
    node.masquerade(1, ip([10, 244, 1, 254]), [0, 0]);
    let own = flow(pod(1), 40_000, service(), 80);
    let (_, to, seen) = node
        .pass_from(port(1), 4, &own.tcp(SYN, 1, 0, b""))
        .unwrap();
    assert_eq!(to, None);
    let answer = flow_of(&seen).reverse().tcp(SYN | ACK, 7, 2, b"");
    let (_, to, _) = node.pass_from(port(1), 1, &answer).unwrap();
    assert_eq!(to, Some(4), "the answer to the client");
    let (_, to, _) = node
        .pass_from(port(1), 4, &own.tcp(ACK, 2, 8, b""))
        .unwrap();
    assert_eq!(to, Some(1), "and the segment to the server");
}

#[test]
fn filters_end_by_silence_and_follow_a_flow_to_another_queue() {
    let mut node = node(1, 0);
    node.masquerade(3, ip([192, 0, 2, 10]), [0, 0]);
    let there = outgoing(1);
    let left = send(&mut node, 1, 3, &there.tcp(SYN, 1, 0, b""));
    let back = flow_of(&left).reverse();
    assert_eq!(queue(&mut node, &back.tcp(SYN | ACK, 9, 2, b"")), Some(3));
    // Segments that are sent again and again, of a connection that outlasts its filters.
    let query = there.tcp(ACK, 2, 10, b"?");
    let answer = back.tcp(ACK, 10, 3, b"!");
    send(&mut node, 1, 3, &query);
    for _ in 0..3 {
        node.wait(50_000);
        assert_eq!(queue(&mut node, &answer), Some(3));
        send(&mut node, 1, 3, &query);
    }
    // It moves: the old filter ends at once, the next packet leaves another one.
    send(&mut node, 1, 8, &query);
    node.wait(250);
    assert_eq!(queue(&mut node, &answer), None);
    send(&mut node, 1, 8, &query);
    assert_eq!(queue(&mut node, &answer), Some(8));
    // What comes from outside does not keep it.
    node.wait(40_000);
    assert_eq!(queue(&mut node, &answer), Some(8));
    node.wait(25_000);
    assert_eq!(queue(&mut node, &answer), None);
    assert_eq!(node.table("inline_filters").len(), 0);
}

#[test]
fn explicit_flows_come_first_and_what_has_no_ports_leaves_no_filter() {
    let mut node = node(1, 0);
    node.masquerade(3, ip([192, 0, 2, 10]), [0, 0]);
    let there = outgoing(1);
    let left = send(&mut node, 1, 3, &there.tcp(SYN, 1, 0, b""));
    let back = flow_of(&left).reverse();
    let keys = [
        port(1).into(),
        number(there.dst),
        number(there.src),
        TCP.into(),
        there.dst_port.into(),
        there.src_port.into(),
    ];
    node.add("flows", &keys, "to_queue", &[9]);
    assert_eq!(queue(&mut node, &back.tcp(SYN | ACK, 9, 2, b"")), Some(9));
    node.delete("flows", &keys);
    assert_eq!(queue(&mut node, &back.tcp(SYN | ACK, 9, 2, b"")), Some(3));
    assert_eq!(node.table("inline_filters").len(), 1);
    let echo = there.icmp(8, 0, [0, 1, 0, 1], b"ping");
    send(&mut node, 1, 3, &echo);
    // Nor does what comes from a wire, or is refused.
    assert_eq!(queue(&mut node, &call(5000).tcp(SYN, 1, 0, b"")), None);
    node.set_group(1, &[]);
    let refused = flow(pod(1), 1, service(), 80).tcp(SYN, 1, 0, b"");
    assert!(
        node.pass_from(port(1), 3, &refused).is_some(),
        "it is answered"
    );
    assert_eq!(node.table("inline_filters").len(), 1);
}
