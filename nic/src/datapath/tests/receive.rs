// SPDX-License-Identifier: Apache-2.0 OR MIT

use adit_pipeline::offload::{Checksum, Gso, GsoKind};
use adit_pipeline::p4::Receive;
use adit_uapi::desc::rx_flex_adv::{status0_qw0, status0_qw1, RSC_M};

use super::*;

const VERDICT: u8 = status0_qw1::L3L4P | status0_qw1::XSUM_IPE | status0_qw1::XSUM_L4E;

fn up(setup: Setup) -> Driver {
    let mut driver = Driver::new(setup);
    driver.post(0, 32);
    driver.post(1, 32);
    driver
}

fn any(driver: &mut Driver) -> Option<Delivery> {
    driver.recv(0).or_else(|| driver.recv(1))
}

fn merged(segment_size: u16) -> FrameMeta {
    FrameMeta {
        checksum: Checksum::Partial {
            start: 34,
            offset: 16,
        },
        gso: Some(Gso {
            kind: GsoKind::Tcp4,
            segment_size,
            header_len: TCP_HEADERS as u16,
        }),
    }
}

#[test]
fn flows_are_spread_over_queues_by_the_hash_that_is_reported() {
    let mut driver = up(Setup::default());
    let mut key = [0; 52];
    key.iter_mut().zip(1..).for_each(|(k, n)| *k = n);
    driver.dp.forwarding(VportId(0)).set_rss_key(key);
    for port in 0..40 {
        driver.far.send(&tcp(port, 0), plain());
    }
    driver.poll();
    let mut seen = [0, 0];
    for (index, seen) in seen.iter_mut().enumerate() {
        while let Some(delivery) = driver.recv(index) {
            assert_ne!(delivery.last.status_err0_qw0 & status0_qw0::RSS_VALID, 0);
            let led = driver
                .dp
                .forwarding(VportId(0))
                .rx_queue(delivery.last.hash());
            assert_eq!(led, Some(index as u32));
            *seen += 1;
        }
    }
    assert_eq!(seen[0] + seen[1], 40);
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

#[test]
fn checksums_are_judged_and_wrong_ones_are_still_delivered() {
    let mut driver = up(Setup::default());
    let good = tcp(1, 50);
    let (mut bad_l4, mut bad_ip) = (good.clone(), good.clone());
    bad_l4[60] ^= 1;
    bad_ip[22] ^= 1;
    let mut arp = good.clone();
    arp[12..14].copy_from_slice(&[8, 6]);
    let expected = [
        (good, status0_qw1::L3L4P),
        (bad_l4, status0_qw1::L3L4P | status0_qw1::XSUM_L4E),
        (bad_ip, status0_qw1::L3L4P | status0_qw1::XSUM_IPE),
        (arp, 0),
    ];
    for (frame, bits) in expected {
        driver.far.send(&frame, plain());
        driver.poll();
        let delivery = any(&mut driver).unwrap();
        assert_eq!(delivery.frame, frame);
        assert_eq!(delivery.last.status_err0_qw1 & VERDICT, bits);
    }
}

#[test]
fn headers_go_to_buffers_of_their_own() {
    let mut driver = up(Setup {
        header_split: true,
        ..Setup::default()
    });
    driver.far.send(&tcp(1, 700), plain());
    driver.poll();
    let delivery = any(&mut driver).unwrap();
    assert_eq!(
        (delivery.header, delivery.frame),
        (TCP_HEADERS, tcp(1, 700))
    );
}

#[test]
fn a_long_frame_takes_several_buffers_or_none() {
    let mut driver = Driver::new(Setup::default());
    driver.post(0, 4);
    driver.post(1, 4);
    let long = tcp(1, 8900);
    driver.far.send(&long, plain());
    driver.poll();
    assert!(any(&mut driver).is_none(), "five buffers are needed");
    driver.post(0, 1);
    driver.post(1, 1);
    driver.poll();
    let delivery = any(&mut driver).unwrap();
    assert_eq!((delivery.pieces, delivery.frame), (5, long));
    driver.far.send(&tcp(1, 9018), plain());
    driver.poll();
    assert_eq!(driver.dropped(DropReason::TooLong), (1, 0));
}

#[test]
fn merged_segments_go_whole_to_queues_that_take_them_and_cut_to_others() {
    let large = tcp(1, 5000);
    let mut driver = up(Setup {
        rsc: true,
        ..Setup::default()
    });
    driver.far.send(&large, merged(1448));
    driver.poll();
    let delivery = any(&mut driver).unwrap();
    assert_eq!(delivery.frame, large);
    assert_ne!(delivery.last.hdrlen_flags.get() & RSC_M, 0);
    assert_eq!(delivery.last.misc.get(), 1448);
    // The same as in a NIC, which counts before it merges.
    let on_wire = (4, 5000 + 4 * TCP_HEADERS as u64);
    let counted = driver.dp.counters(VportId(0));
    assert_eq!((counted.rx_unicast, counted.rx_bytes), on_wire);
    let wire = driver.dp.wire(VportId(0)).unwrap().counters();
    assert_eq!((wire.rx_frames, wire.rx_bytes), on_wire);

    let mut driver = up(Setup::default());
    driver.far.send(&large, merged(1448));
    driver.poll();
    let mut payload = Vec::new();
    while let Some(delivery) = any(&mut driver) {
        assert!(delivery.frame.len() <= TCP_HEADERS + 1448);
        assert_eq!(delivery.last.status_err0_qw1 & VERDICT, status0_qw1::L3L4P);
        payload.extend_from_slice(&delivery.frame[TCP_HEADERS..]);
    }
    assert_eq!(payload, large[TCP_HEADERS..]);
    let counted = driver.dp.counters(VportId(0));
    assert_eq!((counted.rx_unicast, counted.rx_bytes), on_wire);
    let wire = driver.dp.wire(VportId(0)).unwrap().counters();
    assert_eq!((wire.rx_frames, wire.rx_bytes), on_wire);

    // A disabled port: all of its segments are dropped.
    let mut driver = Driver::new(Setup {
        rsc: true,
        ..Setup::default()
    });
    driver.dp.forwarding(VportId(0)).set_enabled(false);
    driver.far.send(&large, merged(1448));
    driver.poll();
    assert_eq!(driver.dropped(DropReason::PortDisabled), (4, 0));
}

#[test]
fn a_frame_waits_for_buffers_for_a_while_and_the_next_ones_do_not() {
    let mut driver = Driver::new(Setup::default());
    // The key is zero: every flow goes to queue 0.
    driver.far.send(&tcp(1, 0), plain());
    driver.poll();
    assert!(driver.dp.has_waiting_frames());
    driver.post(0, 1);
    driver.poll();
    assert!(driver.recv(0).is_some(), "it has waited");

    for port in 0..40 {
        driver.far.send(&tcp(port, 0), plain());
    }
    driver.poll();
    assert!(driver.dp.has_waiting_frames());
    assert_eq!(driver.far.waiting(), 39, "those behind it wait too");
    driver.now += LONGER_THAN_ANY_FRAME_WAITS;
    driver.poll();
    assert!(!driver.dp.has_waiting_frames());
    assert_eq!(driver.far.waiting(), 0, "once it is known to be in vain");
    assert_eq!(driver.dropped(DropReason::NoBuffer), (40, 0));
    assert_eq!(driver.dp.counters(VportId(0)).rx_no_buffer, 40);

    driver.post(0, 1);
    driver.far.send(&tcp(9, 0), plain());
    driver.far.send(&tcp(10, 0), plain());
    driver.poll();
    assert_eq!(driver.recv(0).unwrap().frame, tcp(9, 0));
    assert!(
        driver.dp.has_waiting_frames(),
        "a driver that posts again is worth waiting for"
    );
}

#[test]
fn a_frame_that_waits_does_not_outlive_a_reset() {
    let mut driver = Driver::new(Setup::default());
    driver.far.send(&tcp(1, 0), plain());
    driver.poll();
    assert!(driver.dp.has_waiting_frames());
    driver.dp.reset();
    assert!(!driver.dp.has_waiting_frames());
    assert_eq!(driver.dropped(DropReason::PortDisabled), (1, 0));
}

/// A time longer than any frame waits, in nanoseconds.
const LONGER_THAN_ANY_FRAME_WAITS: u64 = 1_000_000_000;

#[test]
fn filters_decide_by_destination() {
    let mut driver = up(Setup::default());
    let stranger = [2, 0, 0, 0, 0, 99];
    let group = [0x33, 0x33, 0, 0, 0, 1];
    let delivered = |driver: &mut Driver, mac| {
        driver.far.send(&to(mac, tcp(1, 0)), plain());
        driver.poll();
        any(driver).is_some()
    };
    assert!(delivered(&mut driver, MAC));
    assert!(delivered(&mut driver, [0xFF; 6]));
    assert!(!delivered(&mut driver, stranger));
    assert!(!delivered(&mut driver, group));
    driver.dp.forwarding(VportId(0)).add_address(group);
    assert!(delivered(&mut driver, group));
    driver
        .dp
        .forwarding(VportId(0))
        .set_promiscuous(true, false);
    assert!(delivered(&mut driver, stranger));
    assert!(!delivered(&mut driver, [0x33, 0x33, 0, 0, 0, 2]));
    driver.dp.forwarding(VportId(0)).set_promiscuous(true, true);
    assert!(delivered(&mut driver, [0x33, 0x33, 0, 0, 0, 2]));
    driver.dp.forwarding(VportId(0)).set_enabled(false);
    assert!(!delivered(&mut driver, MAC));
    assert_eq!(driver.dropped(DropReason::Filtered), (3, 0));
    assert_eq!(driver.dropped(DropReason::PortDisabled), (1, 0));
    let counters = driver.dp.counters(VportId(0));
    assert_eq!((counters.rx_unicast, counters.rx_multicast), (2, 2));
    assert_eq!((counters.rx_broadcast, counters.rx_filtered), (1, 3));
}

#[test]
fn a_fault_of_one_queue_leaves_the_other_alone() {
    let mut driver = Driver::new(Setup::default());
    driver.post(1, 16);
    driver
        .dp
        .queues()
        .doorbells
        .bufq_tail
        .store(0, u32::from(LEN));
    let forwarding = driver.dp.forwarding(VportId(0));
    let by_port = |f: &Forwarding, port| {
        let frame = tcp(port, 0);
        let parsed = Parsed::new(&frame, frame.len()).unwrap();
        f.steer(&parsed, &frame, &Receive::default())
    };
    forwarding.set_rss_key([0x6D; 52]);
    let (mut faulty, mut fine) = (0, 0);
    let ports: Vec<u16> = (0..16).collect();
    for &port in &ports {
        match by_port(forwarding, port) {
            crate::forwarding::Steering::Queue { queue: 0, .. } => faulty += 1,
            _ => fine += 1,
        }
    }
    for &port in &ports {
        driver.far.send(&tcp(port, 0), plain());
    }
    driver.poll();
    assert_eq!(std::iter::from_fn(|| driver.recv(1)).count(), fine);
    assert!(driver.recv(0).is_none());
    let dropped =
        driver.dropped(DropReason::QueueFault).0 + driver.dropped(DropReason::QueueDisabled).0;
    assert_eq!(dropped, faulty);
    assert_eq!(driver.dp.faults().0, u64::from(faulty > 0));
}

#[test]
fn a_reset_in_the_middle_stops_all_dma_and_a_new_start_works() {
    let mut driver = up(Setup::default());
    for port in 0..200 {
        driver.far.send(&tcp(port, 0), plain());
    }
    driver.send(&tcp(1, 0), None, 0, 1);
    driver.poll();
    driver.dp.reset();
    driver.dp.queues_mut().memory.clear();
    while driver.far.waiting() > 0 {
        driver.poll();
    }
    driver.poll();
    assert_eq!(driver.dp.faults().0, 0, "nothing was touched");
    driver.dp.queues_mut().memory = ram();
    driver.up(Setup::default());
    driver.post(0, 4);
    driver.post(1, 4);
    driver.far.send(&tcp(1, 0), plain());
    driver.send(&tcp(2, 0), None, 0, 2);
    driver.poll();
    assert_eq!(any(&mut driver).unwrap().frame, tcp(1, 0));
    assert_eq!(driver.completion().map(|c| c.1), Some(2));
}

#[test]
fn traffic_interrupts_the_vector_of_its_queue_once_it_is_armed() {
    let mut driver = up(Setup::default());
    driver.send(&tcp(1, 0), None, 0, 1);
    driver.poll();
    assert_eq!(driver.interrupts(1), 0, "not armed");
    driver.arm(1);
    driver.poll();
    assert_eq!((driver.interrupts(1), driver.interrupts(2)), (1, 0));
    driver.arm(1);
    driver.arm(2);
    driver.poll();
    assert_eq!((driver.interrupts(1), driver.interrupts(2)), (0, 0));
    for port in 0..40 {
        driver.far.send(&tcp(port, 0), plain());
    }
    driver.dp.forwarding(VportId(0)).set_rss_key([0x6D; 52]);
    driver.poll();
    for index in 0..2 {
        let frames = std::iter::from_fn(|| driver.recv(index)).count();
        assert_eq!(driver.interrupts(index + 1), u64::from(frames > 0));
    }
}
