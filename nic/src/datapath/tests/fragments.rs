// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fragments between a driver and a wire, through `p4/conntrack.p4`.

use adit_conntrack::testing::{split, Flow};
use adit_conntrack::Protocol;
use adit_pipeline::offload::Checksum;
use adit_trace::{Fate, Filter, MAX_RATE};

use super::conntrack::{tracked, INSIDE, OUTSIDE, PUBLIC};
use super::*;
use crate::connections::tracker;

/// Bytes of payload in each fragment.
const PIECE: usize = 800;

fn flow(source: [u8; 4], source_port: u16, destination: [u8; 4], port: u16) -> Flow {
    Flow {
        src: source.into(),
        src_port: source_port,
        dst: destination.into(),
        dst_port: port,
    }
}

/// The frames of a datagram's fragments.
fn frames(packet: &[u8]) -> Vec<Vec<u8>> {
    let kind = if packet[0] >> 4 == 4 {
        [8, 0]
    } else {
        [0x86, 0xdd]
    };
    let link = [&MAC[..], &[2, 0, 0, 0, 0, 2], &kind].concat();
    let fragments = split(packet, PIECE).into_iter();
    fragments.map(|f| [&link[..], &f].concat()).collect()
}

fn payload() -> Vec<u8> {
    (0..2000u32).map(|n| (n % 251) as u8).collect()
}

/// The frames that have reached the wire.
fn on_wire(driver: &mut Driver) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| driver.far.recv().map(|(frame, _)| frame)).collect()
}

/// The frames that have reached the driver.
fn delivered(driver: &mut Driver) -> Vec<Vec<u8>> {
    let next = || {
        let got = driver.recv(0).or_else(|| driver.recv(1))?;
        Some(got.frame)
    };
    std::iter::from_fn(next).collect()
}

#[test]
fn three_fragments_in_every_order_are_translated_there_and_back() {
    let mut driver = tracked(&tracker(64).unwrap());
    let orders = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    for (order, port) in orders.into_iter().zip(1000..) {
        let sent = frames(&flow(INSIDE, port, OUTSIDE, 53).udp(&payload()));
        assert_eq!(sent.len(), 3);
        for (n, at) in order.into_iter().enumerate() {
            driver.send(&sent[at], None, 0, 0);
            driver.poll();
            let held = if n < 2 { 1 } else { 0 };
            assert_eq!(driver.dp.held_fragments().0, held);
        }
        let translated = frames(&flow(PUBLIC, port, OUTSIDE, 53).udp(&payload()));
        assert_eq!(on_wire(&mut driver), translated);

        let answer = frames(&flow(OUTSIDE, 53, PUBLIC, port).udp(&payload()));
        for at in order {
            driver.far.send(&answer[at], plain());
            driver.poll();
        }
        let translated = frames(&flow(OUTSIDE, 53, INSIDE, port).udp(&payload()));
        assert_eq!(delivered(&mut driver), translated);
        driver.post(0, 3);
        driver.post(1, 3);
    }
    assert_eq!(driver.dp.fragment_statistics().complete, 12);
    assert_eq!(driver.dp.held_fragments(), (0, 0));
}

#[test]
fn fragments_of_ipv6_leave_as_they_came() {
    let mut driver = tracked(&tracker(64).unwrap());
    let there = adit_conntrack::testing::V6;
    let sent = frames(&there.udp(&payload()));
    for frame in sent.iter().rev() {
        driver.send(frame, None, 0, 0);
    }
    driver.poll();
    assert_eq!(on_wire(&mut driver), sent);
    let sent = frames(&there.reverse().udp(&payload()));
    for frame in sent.iter().rev() {
        driver.far.send(frame, plain());
    }
    driver.poll();
    assert_eq!(delivered(&mut driver), sent);
}

#[test]
fn what_overlaps_or_has_a_wrong_sum_does_not_pass() {
    let mut driver = tracked(&tracker(64).unwrap());
    let mut packet = flow(INSIDE, 1000, OUTSIDE, 53).udp(&payload());
    let sent = frames(&packet);
    // The second fragment once more, of other data: where the first is.
    let mut overlap = sent[1].clone();
    overlap[21] -= 1;
    overlap[24..26].fill(0);
    let sum = adit_pipeline::checksum::checksum(&overlap[14..34]);
    overlap[24..26].copy_from_slice(&sum.to_be_bytes());
    for frame in [&sent[0], &overlap, &sent[1], &sent[2]] {
        driver.send(frame, None, 0, 0);
    }
    driver.poll();
    assert_eq!(driver.dp.fragment_statistics().inconsistent, 1);
    assert_eq!(on_wire(&mut driver), Vec::<Vec<u8>>::new());
    driver.dp.reset();
    assert_eq!(driver.dp.fragment_statistics().discarded, 1);
    driver.up(Setup::default());

    packet[1500] ^= 1;
    for frame in frames(&packet) {
        driver.far.send(&frame, plain());
    }
    driver.poll();
    assert_eq!(driver.dp.fragment_statistics().complete, 1);
    // All fragments of the datagram are counted.
    assert_eq!(driver.dropped(DropReason::Program), (3, 0));
}

#[test]
fn a_flood_of_halves_does_not_stop_a_flow() {
    let mut driver = tracked(&tracker(64).unwrap());
    let mut number = 0u32;
    for port in 1000..1010 {
        let sent = frames(&flow(INSIDE, port, OUTSIDE, 53).udp(&payload()));
        for (n, frame) in sent.iter().enumerate() {
            driver.send(frame, None, 0, 0);
            driver.poll();
            for _ in 0..if n == 2 { 0 } else { 2000 } {
                // Of ever new sources, from the wire.
                number += 1;
                let [_, source @ ..] = number.to_be_bytes();
                let source = [11, source[0], source[1], source[2]];
                let half = &frames(&flow(source, 1, PUBLIC, 1).udp(&payload()))[0];
                driver.far.send(half, plain());
                if number % 50 == 0 {
                    driver.poll();
                }
            }
        }
        assert_eq!(on_wire(&mut driver).len(), 3, "{port}");
    }
    let statistics = driver.dp.fragment_statistics();
    assert_eq!(statistics.complete, 10);
    assert!(statistics.evicted_of_port > 30_000 && statistics.evicted == 0);
}

#[test]
fn without_connections_a_program_gets_fragments() {
    let mut driver = Driver::new(Setup::default());
    let text = include_str!("program.p4");
    let program = crate::program::Program::from_text("program.p4", text).unwrap();
    driver.dp.set_program(program);
    let mut fragment = frames(&flow(INSIDE, 1, OUTSIDE, 2).udp(&payload())).remove(1);
    fragment[11] = 3;
    driver.far.send(&fragment, plain());
    driver.poll();
    assert_eq!(on_wire(&mut driver), [fragment]);
}

#[test]
fn a_datagram_is_traced_once_and_leaves_in_fragments() {
    let mut driver = tracked(&tracker(64).unwrap());
    driver.dp.engine().unwrap().prepare_trace();
    let (watcher, mut traced) = Watcher::new(Filter::default(), 0, MAX_RATE);
    let client = driver.dp.add_watcher(watcher).unwrap();
    let datagram = flow(INSIDE, 1000, OUTSIDE, 53).udp(&payload());
    let sent = frames(&datagram);
    let translated = frames(&flow(PUBLIC, 1000, OUTSIDE, 53).udp(&payload()));
    for frame in &sent {
        driver.send(frame, None, 0, 0);
    }
    driver.poll();
    assert_eq!(on_wire(&mut driver), translated);
    let record = traced.queue.try_recv().unwrap();
    assert_eq!(record.length, 14 + datagram.len());
    assert_eq!(record.outputs.len(), 1);
    assert_eq!(record.outputs[0].fate, Some(Fate::Sent(0)));
    assert!(traced.queue.try_recv().is_err());

    // The same if they are injected: the trace is that of the last.
    driver.dp.remove_watcher(client);
    let records: Vec<_> = sent
        .iter()
        .map(|frame| {
            let injection = Injection {
                port: P4Port::of_vport(VportId(0)).0,
                queue: 0,
                data: frame.clone(),
            };
            driver.dp.inject(driver.now, &injection).unwrap()
        })
        .collect();
    assert_eq!(on_wire(&mut driver), translated);
    let [first, second, last] = &records[..] else {
        panic!("{records:?}");
    };
    for (record, frame) in [first, second].into_iter().zip(&sent) {
        assert_eq!((record.length, record.events.len()), (frame.len(), 0));
        assert!(record.outputs.is_empty() && record.dropped.is_none());
    }
    assert_eq!(last.length, 14 + datagram.len());
    assert_eq!(last.outputs[0].fate, Some(Fate::Sent(0)));
}

#[test]
fn what_was_in_a_tunnel_whose_packet_came_in_fragments_leaves_whole() {
    let mut driver = Driver::new(Setup::default());
    let program = crate::program::Program::from_text("tunnel.p4", include_str!("tunnel.p4"));
    driver.dp.set_program(program.unwrap());
    let inner = flow(INSIDE, 1000, OUTSIDE, 53).udp(&payload());
    let inner = [&MAC[..], &[2, 0, 0, 0, 0, 2, 8, 0], &inner].concat();
    let outer = adit_conntrack::testing::V4.packet(Protocol(97), &inner);
    let sent = frames(&outer);
    assert_eq!(sent.len(), 3);
    for frame in &sent {
        driver.far.send(frame, plain());
    }
    driver.poll();
    assert_eq!(on_wire(&mut driver), [inner]);
}

#[test]
fn what_was_in_a_tunnel_is_valid_though_its_checksum_is_to_be_computed() {
    let mut driver = Driver::new(Setup::default());
    let program = crate::program::Program::from_text("tunnel.p4", include_str!("tunnel.p4"));
    driver.dp.set_program(program.unwrap());
    let inner = flow(INSIDE, 1000, OUTSIDE, 53).udp(b"query");
    let inner = [&MAC[..], &[2, 0, 0, 0, 0, 2, 8, 0], &inner].concat();
    let mut unfinished = inner;
    unfinished[34 + 6] ^= 0x55;
    let outer = adit_conntrack::testing::V4.packet(Protocol(97), &unfinished);
    let outer = [&MAC[..], &[2, 0, 0, 0, 0, 2, 8, 0], &outer].concat();
    // That of the inner packet; one that ends in a header which the program takes off.
    for (start, is_sent) in [(34 + 34, true), (30, false)] {
        let checksum = Checksum::Partial { start, offset: 6 };
        let meta = FrameMeta {
            checksum,
            ..plain()
        };
        driver.far.send(&outer, meta);
        driver.poll();
        assert_eq!(driver.far.recv().is_some(), is_sent, "{start}");
    }
}
