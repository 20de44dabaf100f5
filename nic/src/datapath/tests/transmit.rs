// SPDX-License-Identifier: Apache-2.0 OR MIT

use adit_pipeline::checksum::verify::{verify, Check};
use adit_pipeline::offload::{Checksum, GsoKind};
use adit_uapi::desc::tx_compl::comp_type;
use adit_uapi::desc::tx_flex::{cmd, sched_cmd};
use adit_uapi::desc::FlexTxDesc;

use super::*;

const ALL: PortCaps = PortCaps {
    checksum: true,
    tso4: true,
    tso6: true,
    uso: true,
};

fn right(frame: &[u8]) -> bool {
    let parsed = Parsed::new(frame, frame.len()).unwrap();
    let verdict = verify(&parsed, &[frame]);
    (verdict.ip, verdict.l4) == (Check::Ok, Check::Ok)
}

/// Prepares a frame whose checksum the device completes, as Linux does: with the pseudo-header sum.
pub(super) fn unfinished(mut frame: Vec<u8>) -> Vec<u8> {
    let parsed = Parsed::new(&frame, frame.len()).unwrap();
    let l4_len = (frame.len() - 34) as u32;
    let sum = adit_pipeline::checksum::pseudo_header(&parsed, &frame, l4_len).unwrap();
    frame[50..52].copy_from_slice(&sum.folded().to_be_bytes());
    frame
}

#[test]
fn frames_leave_as_they_are_and_are_reported_by_tag_and_head() {
    let mut driver = Driver::new(Setup::default());
    let (a, b) = (tcp(1, 10), tcp(2, 1400));
    driver.send(&a, None, 0, 11);
    driver.send(&b, None, sched_cmd::RE, 12);
    driver.poll();
    assert_eq!(driver.far.recv(), Some((a, plain())));
    assert_eq!(driver.far.recv(), Some((b, plain())));
    assert_eq!(driver.far.recv(), None);
    assert_eq!(driver.completion(), Some((comp_type::RS, 11)));
    assert_eq!(driver.completion(), Some((comp_type::RE, 2)));
    assert_eq!(driver.completion(), Some((comp_type::RS, 12)));
    assert_eq!(driver.completion(), None);
}

#[test]
fn rings_go_round() {
    let mut driver = Driver::new(Setup::default());
    for tag in 0..3 * LEN {
        driver.send(&tcp(tag, 0), None, 0, tag);
        driver.poll();
        assert_eq!(driver.far.recv(), Some((tcp(tag, 0), plain())));
        assert_eq!(driver.completion(), Some((comp_type::RS, tag)));
    }
}

#[test]
fn a_checksum_is_finished_here_or_by_a_wire_that_can() {
    let mut driver = Driver::new(Setup::default());
    driver.send(&unfinished(tcp(1, 99)), None, sched_cmd::CS_EN, 0);
    driver.poll();
    assert_eq!(driver.far.recv(), Some((tcp(1, 99), plain())));

    let mut driver = Driver::new(Setup {
        caps: ALL,
        ..Setup::default()
    });
    driver.send(&unfinished(tcp(1, 99)), None, sched_cmd::CS_EN, 0);
    driver.poll();
    let (frame, meta) = driver.far.recv().unwrap();
    assert_eq!(frame, unfinished(tcp(1, 99)));
    let partial = Checksum::Partial {
        start: 34,
        offset: 16,
    };
    assert_eq!(meta.checksum, partial);
}

#[test]
fn a_large_frame_is_cut_here_or_by_a_wire_that_can() {
    let large = tcp(1, 20_000);
    let tso = Some((1448, TCP_HEADERS as u8));
    let mut driver = Driver::new(Setup::default());
    driver.send(&large, tso, sched_cmd::CS_EN, 5);
    driver.poll();
    let mut payload = Vec::new();
    while let Some((segment, meta)) = driver.far.recv() {
        assert_eq!(meta, plain());
        assert!(segment.len() <= TCP_HEADERS + 1448 && right(&segment));
        payload.extend_from_slice(&segment[TCP_HEADERS..]);
    }
    assert_eq!(payload, large[TCP_HEADERS..]);
    assert_eq!(driver.completion(), Some((comp_type::RS, 5)));
    assert_eq!(driver.completion(), None, "one packet, one completion");

    let mut driver = Driver::new(Setup {
        caps: ALL,
        ..Setup::default()
    });
    driver.send(&large, tso, sched_cmd::CS_EN, 5);
    driver.poll();
    let (frame, meta) = driver.far.recv().unwrap();
    assert_eq!(frame[TCP_HEADERS..], large[TCP_HEADERS..]);
    let gso = meta.gso.unwrap();
    assert_eq!(
        (gso.kind, gso.segment_size, gso.header_len),
        (GsoKind::Tcp4, 1448, 54)
    );
    assert_eq!(driver.far.recv(), None);
}

/// A frame with 20,000 bytes of payload in segments of 1,448 is 14 frames, each with its headers.
#[test]
fn a_large_frame_counts_as_its_segments_whoever_segments_it() {
    for caps in [PortCaps::default(), ALL] {
        let mut driver = Driver::new(Setup {
            caps,
            ..Setup::default()
        });
        let tso = Some((1448, TCP_HEADERS as u8));
        driver.send(&tcp(1, 20_000), tso, sched_cmd::CS_EN, 5);
        driver.poll();
        let expected = (14, 20_000 + 14 * TCP_HEADERS as u64);
        let vport = driver.dp.counters(VportId(0));
        assert_eq!((vport.tx_unicast, vport.tx_bytes), expected);
        let wire = driver.dp.wire(VportId(0)).unwrap().counters();
        assert_eq!((wire.tx_frames, wire.tx_bytes), expected);
        assert_eq!(wire.tx_calls, if caps == ALL { 1 } else { 14 });

        driver.far.set_up(false);
        driver.send(&tcp(1, 20_000), tso, sched_cmd::CS_EN, 6);
        driver.poll();
        assert_eq!(
            driver
                .dp
                .drops(VportId(0))
                .unwrap()
                .tx
                .get(DropReason::Wire),
            14
        );
        assert_eq!(driver.dp.counters(VportId(0)).tx_discards, 14);
        let wire = driver.dp.wire(VportId(0)).unwrap().counters();
        assert_eq!(wire.tx_dropped(crate::wire::TxDrop::Down), 14);
    }
}

#[test]
fn of_a_large_frame_that_a_wire_takes_in_part_each_segment_is_counted() {
    let mut driver = Driver::new(Setup::default());
    driver.far.set_room(Some(5));
    driver.send(&tcp(1, 20_000), Some((1448, TCP_HEADERS as u8)), 0, 5);
    driver.poll();
    assert_eq!(driver.dp.counters(VportId(0)).tx_unicast, 5);
    assert_eq!(
        driver
            .dp
            .drops(VportId(0))
            .unwrap()
            .tx
            .get(DropReason::Wire),
        9
    );
    let wire = driver.dp.wire(VportId(0)).unwrap().counters();
    assert_eq!(wire.tx_frames, 5);
    assert_eq!(wire.tx_dropped(crate::wire::TxDrop::Full), 9);
}

#[test]
fn a_queue_whose_frames_are_cut_to_pieces_does_not_keep_its_neighbours_waiting() {
    let mut driver = Driver::new(Setup::default());
    for tag in 0..3 {
        driver.send(&tcp(tag, 2400), Some((8, TCP_HEADERS as u8)), 0, tag);
    }
    for tag in 0..3 {
        driver.poll();
        assert_eq!(std::iter::from_fn(|| driver.far.recv()).count(), 300);
        assert_eq!(driver.completion(), Some((comp_type::RS, tag)));
        assert_eq!(driver.completion(), None);
    }
}

#[test]
fn each_queue_that_is_disabled_says_so_on_a_queue_that_goes_with_it() {
    let mut driver = Driver::new(Setup::default());
    driver.send(&tcp(1, 0), None, 0, 1);
    driver.poll();
    let all: Vec<_> = KINDS
        .into_iter()
        .flat_map(|kind| [queue(kind, 0), queue(kind, 1)])
        .rev()
        .collect();
    driver.arm(1);
    driver.poll();
    driver.interrupts(1);
    driver.arm(1);
    driver.dp.disable(&all);
    driver.poll();
    assert_eq!(driver.interrupts(1), 0, "Linux polls for the marker");
    assert_eq!(driver.completion(), Some((comp_type::RS, 1)));
    assert!(matches!(
        driver.completion(),
        Some((comp_type::SW_MARKER, _))
    ));
    assert_eq!(driver.completion(), None);
    assert_eq!(driver.dp.queues().doorbells.tx_tail.load(0), 0);
    driver.ring_tx(0);
    driver.poll();
    assert!(driver.far.recv().is_some());
    assert!(
        driver.far.recv().is_none(),
        "nothing moves after the marker"
    );
}

#[test]
fn an_xdp_queue_is_told_heads_in_four_bytes() {
    let mut driver = Driver::new(Setup::default());
    driver
        .dp
        .queues()
        .memory
        .write(TX_BUFFERS, &tcp(1, 6))
        .unwrap();
    for n in 0..3 {
        let report = if n == 1 { cmd::RS } else { 0 };
        driver.describe(1, &FlexTxDesc::new(TX_BUFFERS, cmd::EOP | report, 60));
    }
    driver.ring_tx(1);
    driver.poll();
    assert_eq!(std::iter::from_fn(|| driver.far.recv()).count(), 3);
    let at = ring(QueueKind::TxCompletion, 1).base;
    let [first, second]: [SplitqTxComplDesc4b; 2] = driver.dp.queues().memory.read_obj(at).unwrap();
    assert!(first.generation() && !second.generation());
    assert_eq!(first.comp_type(), comp_type::RS);
    assert_eq!(first.q_head_compl_tag.get(), 2);
}

#[test]
fn a_full_wire_keeps_frames_waiting_but_not_for_ever() {
    let mut driver = Driver::new(Setup::default());
    driver.far.set_room(Some(0));
    let tso = Some((1000, TCP_HEADERS as u8));
    driver.send(&tcp(1, 0), None, 0, 1);
    driver.send(&tcp(2, 3000), tso, sched_cmd::CS_EN, 2);
    driver.poll();
    assert_eq!(driver.completion(), None);
    driver.far.set_room(Some(1));
    driver.poll();
    assert_eq!(driver.completion(), Some((comp_type::RS, 1)));
    assert_eq!(driver.completion(), None, "not a segment of it has left");
    driver.now += MAX_STALL_NS / 2;
    driver.poll();
    assert_eq!(driver.completion(), None);
    driver.far.set_room(None);
    driver.poll();
    assert_eq!(driver.completion(), Some((comp_type::RS, 2)));
    assert_eq!(std::iter::from_fn(|| driver.far.recv()).count(), 4);

    driver.far.set_room(Some(0));
    driver.send(&tcp(3, 0), None, 0, 3);
    driver.poll();
    driver.now += MAX_STALL_NS;
    driver.poll();
    assert_eq!(driver.completion(), Some((comp_type::RS, 3)));
    assert_eq!(driver.dropped(DropReason::Wire), (0, 1));
    assert_eq!(driver.dp.counters(VportId(0)).tx_discards, 1);
}

#[test]
fn what_cannot_be_done_with_a_frame_is_counted_and_reported_all_the_same() {
    let mut driver = Driver::new(Setup::default());
    let wrong_length = Some((1448, 20));
    driver.send(&tcp(1, 3000), wrong_length, 0, 1);
    driver.send(&[0; 13], None, 0, 2);
    driver.poll();
    assert_eq!(driver.completion(), Some((comp_type::RS, 1)));
    assert_eq!(driver.completion(), Some((comp_type::RS, 2)));
    assert_eq!(driver.dropped(DropReason::BadOffload), (0, 1));
    assert_eq!(driver.dropped(DropReason::Runt), (0, 1));
    assert_eq!(driver.far.recv(), None);
}

#[test]
fn a_fault_stops_one_queue_and_its_neighbour_goes_on() {
    let mut driver = Driver::new(Setup::default());
    driver.describe(0, &FlexTxSchedDesc::new(0xBAD0_0000, sched_cmd::EOP, 0, 60));
    driver.ring_tx(0);
    driver.poll();
    assert_eq!(driver.dp.faults().0, 1);
    assert_eq!(driver.dropped(DropReason::QueueFault), (0, 1));
    driver
        .dp
        .queues()
        .memory
        .write(TX_BUFFERS, &tcp(1, 6))
        .unwrap();
    for _ in 0..2 {
        driver.describe(1, &FlexTxDesc::new(TX_BUFFERS, cmd::EOP | cmd::RS, 60));
        driver.ring_tx(1);
        driver.poll();
        assert!(driver.far.recv().is_some());
    }
    driver.send(&tcp(1, 0), None, 0, 1);
    driver.poll();
    assert_eq!(driver.far.recv(), None, "stopped for good");
    driver.dp.disable(&[queue(QueueKind::Tx, 0)]);
    let marker = driver.completion();
    assert!(matches!(marker, Some((comp_type::SW_MARKER, _))));
    driver.tx_tail[0] = 0;
    driver.dp.enable(queue(QueueKind::Tx, 0)).unwrap();
    driver.send(&tcp(1, 0), None, 0, 9);
    driver.poll();
    assert_eq!(driver.far.recv(), Some((tcp(1, 0), plain())));
    assert_eq!(driver.dp.faults().0, 1);
}

#[test]
fn a_doorbell_from_before_a_queue_was_configured_says_nothing() {
    let mut driver = Driver::new(Setup::default());
    driver.dp.reset();
    driver.dp.queues().doorbells.tx_tail.store(0, 5);
    driver.up(Setup::default());
    driver.poll();
    assert_eq!(driver.dp.faults().0, 0);
    driver.send(&tcp(1, 0), None, 0, 1);
    driver.poll();
    assert_eq!(driver.far.recv(), Some((tcp(1, 0), plain())));
}

#[test]
fn a_frame_does_not_leave_when_nobody_would_hear_of_it() {
    let mut driver = Driver::new(Setup::default());
    driver.dp.disable(&[queue(QueueKind::TxCompletion, 0)]);
    driver.send(&tcp(1, 0), None, 0, 1);
    driver.poll();
    assert_eq!(driver.far.recv(), None);
    assert_eq!(driver.dp.faults(), (1, Some(QueueFault::NoCompletionQueue)));
    assert_eq!(driver.dp.drops(VportId(0)).unwrap().tx.total(), 0);
}

#[test]
fn what_is_sent_comes_back_in_loopback() {
    let mut driver = Driver::new(Setup::default());
    driver.dp.forwarding(VportId(0)).set_loopback(true);
    driver.post(0, 8);
    driver.post(1, 8);
    driver.send(&tcp(1, 100), None, 0, 1);
    driver.poll();
    assert_eq!(driver.far.recv(), None);
    let back = driver.recv(0).or_else(|| driver.recv(1)).unwrap();
    assert_eq!(back.frame, tcp(1, 100));
    assert_eq!(driver.completion(), Some((comp_type::RS, 1)));
}
