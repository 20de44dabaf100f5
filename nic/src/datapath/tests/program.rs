// SPDX-License-Identifier: Apache-2.0 OR MIT

use adit_pipeline::checksum::verify::{verify, Check};
use adit_pipeline::offload::{Checksum, Gso, GsoKind};
use adit_pipeline::p4::objects::{Count, Object};
use adit_pipeline::p4::{self, SentKind, NO_QUEUE};
use adit_pipeline::reject::{Answer, Unanswered};
use adit_trace::{Dropped, Fate, Filter, MAX_RATE};
use adit_uapi::desc::tx_flex::{cmd, sched_cmd};
use adit_uapi::desc::FlexTxDesc;

use super::transmit::unfinished;
use super::*;
use crate::ids::P4Port;
use crate::program::Program;

fn programmed(setup: Setup) -> Driver {
    let mut driver = without_buffers(setup);
    driver.post(0, LEN - 1);
    driver.post(1, LEN - 1);
    driver
}

fn without_buffers(setup: Setup) -> Driver {
    let mut driver = Driver::new(setup);
    let text = include_str!("program.p4");
    driver
        .dp
        .set_program(Program::from_text("program.p4", text).unwrap());
    driver
}

/// A frame that triggers an operation of the program.
fn op(op: u8, mut frame: Vec<u8>) -> Vec<u8> {
    frame[11] = op;
    frame
}

fn transport_is_right(frame: &[u8]) -> bool {
    let parsed = Parsed::new(frame, frame.len()).unwrap();
    verify(&parsed, &[frame]).l4 == Check::Ok
}

#[test]
fn a_queue_and_a_flow_are_named() {
    let mut driver = programmed(Setup::default());
    for port in 0..20 {
        driver.far.send(&op(1, tcp(port, 60)), plain());
    }
    driver.poll();
    for port in 0..20 {
        let got = driver.recv(1).unwrap();
        assert_eq!(got.frame, op(1, tcp(port, 60)));
        assert_eq!(got.last.flow_id(), Some(0x1234_5678));
    }
    assert!(driver.recv(0).is_none());
    // The driver has no queue 99: the hash selects the queue, and the program sets the hash.
    driver.far.send(&op(9, tcp(0, 60)), plain());
    driver.poll();
    let got = driver.recv(1).unwrap();
    assert_eq!((got.last.flow_id(), got.last.hash()), (None, 1));
}

#[test]
fn the_program_sees_the_queue_that_sends() {
    let mut driver = programmed(Setup::default());
    let queue = |driver: &mut Driver| {
        driver.poll();
        let (frame, _) = driver.far.recv().unwrap();
        u16::from_be_bytes([frame[18], frame[19]])
    };
    let send_from_1 = |driver: &mut Driver| {
        let frame = op(11, tcp(1, 6));
        let memory = &driver.dp.queues().memory;
        memory.write(TX_BUFFERS, &frame).unwrap();
        let desc = FlexTxDesc::new(TX_BUFFERS, cmd::EOP, frame.len() as u16);
        driver.describe(1, &desc);
        driver.ring_tx(1);
    };
    driver.send(&op(11, tcp(1, 6)), None, 0, 0);
    assert_eq!(queue(&mut driver), 0);
    send_from_1(&mut driver);
    assert_eq!(queue(&mut driver), 1);
    // The index is that among the queues that the virtual port has by now.
    driver.dp.set_tx_queues(VportId(0), &[1]);
    send_from_1(&mut driver);
    assert_eq!(queue(&mut driver), 0);
    // From a wire there is none, and a virtual port has no queue of that number.
    driver.far.send(&op(11, tcp(1, 60)), plain());
    driver.poll();
    let got = driver.recv(0).or_else(|| driver.recv(1)).unwrap();
    assert_eq!(&got.frame[18..20], &NO_QUEUE.to_be_bytes());
}

#[test]
fn what_is_dropped_is_counted_by_reason() {
    let mut driver = programmed(Setup::default());
    for n in [2, 6, 7, 7] {
        driver.far.send(&op(n, tcp(1, 9)), plain());
        driver.send(&op(n, tcp(1, 9)), None, 0, 0);
    }
    driver.poll();
    assert_eq!(driver.dropped(DropReason::Program), (1, 1));
    assert_eq!(driver.dropped(DropReason::NotForwarded), (1, 1));
    assert_eq!(driver.dropped(DropReason::NoSuchPort), (2, 2));
    assert!(driver.recv(0).is_none() && driver.recv(1).is_none());
    assert_eq!(driver.far.recv(), None);
    let done = std::iter::from_fn(|| driver.completion()).count();
    assert_eq!(done, 4, "its descriptors are done all the same");
}

#[test]
fn what_is_rejected_is_answered_where_it_came_from() {
    let mut driver = programmed(Setup::default());
    let frame = op(12, tcp(7, 9));
    let is_answer = |answer: &[u8]| {
        assert_eq!((&answer[..6], &answer[6..12]), (&frame[6..12], &frame[..6]));
        assert_eq!(answer[26..34], [10, 0, 0, 2, 10, 0, 0, 1]);
        // To port 7 from port 80; the segment acknowledged 0.
        assert_eq!(answer[34..47], [0, 80, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0x50]);
        assert_eq!((answer.len(), answer[47]), (54, 4));
        assert!(transport_is_right(answer));
    };
    driver.far.send(&frame, plain());
    driver.poll();
    let (answer, meta) = driver.far.recv().unwrap();
    is_answer(&answer);
    assert_eq!(meta, plain());
    assert!(driver.recv(0).is_none() && driver.recv(1).is_none());
    // The driver has not computed the checksum. Its answer passes no filters.
    driver.send(&unfinished(frame.clone()), None, sched_cmd::CS_EN, 0);
    driver.poll();
    let got = driver.recv(0).or_else(|| driver.recv(1)).unwrap();
    is_answer(&got.frame);
    assert_eq!(driver.far.recv(), None);
    assert_eq!(driver.dropped(DropReason::Rejected), (1, 1));
    // A source that sends any number gets a number of answers.
    let rejections = driver.dp.engine().unwrap().clone();
    for _ in 0..40 {
        for _ in 0..50 {
            driver.far.send(&frame, plain());
        }
        driver.poll();
    }
    let answered = std::iter::from_fn(|| driver.far.recv()).count() as u64;
    let rejections = rejections.rejections();
    assert_eq!(rejections.answers(Answer::Reset), answered + 2);
    assert_eq!(
        rejections.answers(Answer::Reset) + rejections.unanswered(Unanswered::SourceRate),
        2002
    );
    assert!((180..=300).contains(&answered), "{answered}");
}

/// The trace of a packet that is rejected has its answer, and the end of both.
#[test]
fn what_is_rejected_is_traced_with_its_answer() {
    let mut driver = programmed(Setup::default());
    let injection = Injection {
        port: 0,
        queue: 0,
        data: op(12, tcp(7, 9)),
    };
    let record = driver.dp.inject(driver.now, &injection).unwrap();
    let (answer, _) = driver.far.recv().unwrap();
    let [output] = &record.outputs[..] else {
        panic!("{record:?}");
    };
    assert_eq!((output.kind, output.length), (SentKind::Answer, 54));
    assert_eq!((&output.data, output.fate), (&answer, Some(Fate::Sent(0))));
    let reason = p4::DropReason::Rejected;
    assert_eq!(record.dropped, Some(Dropped::Engine(reason)));
    // As that of any packet, its drop is counted.
    assert_eq!(driver.dropped(DropReason::Rejected), (1, 0));
}

#[test]
fn ports_are_reached_from_both_sides() {
    let mut driver = programmed(Setup::default());
    let stranger = to([2, 9, 9, 9, 9, 9], op(4, tcp(1, 9)));
    driver.far.send(&stranger, plain());
    driver.far.send(&op(3, tcp(2, 9)), plain());
    driver.send(&stranger, None, 0, 1);
    driver.send(&op(3, tcp(3, 9)), None, 0, 2);
    driver.poll();
    for _ in 0..2 {
        let got = driver.recv(0).or_else(|| driver.recv(1)).unwrap();
        assert_eq!(got.frame, stranger, "its filters are not asked");
    }
    assert_eq!(driver.far.recv(), Some((op(3, tcp(2, 9)), plain())));
    assert_eq!(driver.far.recv(), Some((op(3, tcp(3, 9)), plain())));
    assert_eq!(driver.far.recv(), None);
}

#[test]
fn a_checksum_that_is_left_to_the_device_is_that_of_the_frame_that_leaves() {
    let mut driver = programmed(Setup::default());
    driver.send(&op(8, unfinished(tcp(1, 99))), None, sched_cmd::CS_EN, 0);
    driver.poll();
    let (frame, meta) = driver.far.recv().unwrap();
    assert_eq!((&frame[30..34], meta), (&[192, 0, 2, 7][..], plain()));
    assert!(transport_is_right(&frame));
    // A checksum that was valid before the change is not reported as valid afterwards.
    let valid = FrameMeta {
        checksum: Checksum::Valid,
        gso: None,
    };
    driver.far.send(&op(8, tcp(1, 99)), valid);
    driver.poll();
    let got = driver.recv(0).or_else(|| driver.recv(1)).unwrap();
    let bad = adit_uapi::desc::rx_flex_adv::status0_qw1::XSUM_L4E;
    assert_ne!(got.last.status_err0_qw1 & bad, 0);
}

/// 3,000 bytes of payload to be segmented into three.
fn large(n: u8) -> (Vec<u8>, FrameMeta) {
    let meta = FrameMeta {
        checksum: Checksum::Partial {
            start: 34,
            offset: 16,
        },
        gso: Some(Gso {
            kind: GsoKind::Tcp4,
            segment_size: 1000,
            header_len: TCP_HEADERS as u16,
        }),
    };
    (op(n, unfinished(tcp(1, 3000))), meta)
}

#[test]
fn large_frames_stay_whole_where_headers_stay_in_number() {
    let caps = PortCaps {
        checksum: true,
        tso4: true,
        ..PortCaps::default()
    };
    let mut driver = programmed(Setup {
        caps,
        rsc: true,
        ..Setup::default()
    });
    let (frame, meta) = large(8);
    let request = Some((1000, TCP_HEADERS as u8));
    driver.send(&frame, request, sched_cmd::CS_EN, 0);
    driver.far.send(&frame, meta);
    driver.poll();
    let (left, left_meta) = driver.far.recv().unwrap();
    assert_eq!((left.len(), left_meta), (frame.len(), meta));
    let mut segments = adit_pipeline::segment::Segmenter::new(&left, &left_meta).unwrap();
    let mut segment = [0; 2000];
    while let Some(n) = segments.next_into(&mut segment) {
        assert!(transport_is_right(&segment[..n]));
    }
    let got = driver.recv(0).or_else(|| driver.recv(1)).unwrap();
    assert_eq!(got.frame.len(), frame.len());
    // Three segments in each direction, which the program's counter counts.
    let engine = driver.dp.engine().unwrap();
    let Some(Object::Counter(seen)) = engine.object("C.seen") else {
        panic!("no counter");
    };
    let on_wire = meta.on_wire(frame.len());
    let both = Count {
        packets: 2 * on_wire.frames,
        bytes: 2 * on_wire.bytes,
    };
    assert_eq!((on_wire.frames, seen.get(0)), (3, Ok(both)));
}

#[test]
fn large_frames_are_cut_before_a_program_that_adds_headers() {
    let mut driver = programmed(Setup::default());
    let (frame, meta) = large(5);
    let inner = [0, 14, 14 + 1000 + TCP_HEADERS];
    for _ in 0..2 {
        driver.send(&frame, Some((1000, TCP_HEADERS as u8)), sched_cmd::CS_EN, 0);
        driver.far.send(&frame, meta);
        driver.poll();
        for _ in 0..3 {
            let (left, left_meta) = driver.far.recv().unwrap();
            assert_eq!((left.len(), left_meta), (inner[2], plain()));
            assert_eq!(left[12..14], [0x65, 0x58]);
            assert!(transport_is_right(&left[inner[1]..]));
            let got = driver.recv(0).or_else(|| driver.recv(1)).unwrap();
            assert!(transport_is_right(&got.frame[inner[1]..]));
        }
        assert_eq!(driver.far.recv(), None);
    }
}

#[test]
fn a_wire_that_takes_no_more_gets_the_frame_later_and_once() {
    let mut driver = programmed(Setup::default());
    driver.far.set_room(Some(1));
    for n in 0..5 {
        driver.send(&op(1, tcp(n, 9)), None, 0, n);
    }
    for _ in 0..3 {
        driver.poll();
    }
    let done = std::iter::from_fn(|| driver.completion()).count();
    assert_eq!(done, 2, "one has left, one is kept");
    driver.far.set_room(None);
    driver.poll();
    for n in 0..5 {
        assert_eq!(driver.far.recv(), Some((op(1, tcp(n, 9)), plain())));
    }
    assert_eq!(driver.far.recv(), None);
}

#[test]
fn frames_that_a_successor_does_not_get_are_counted_there() {
    let mut driver = without_buffers(Setup::default());
    driver.far.set_room(Some(0));
    driver.send(&op(1, tcp(1, 9)), None, 0, 1);
    driver.far.send(&op(1, tcp(2, 9)), plain());
    driver.poll();
    assert!(driver.dp.has_waiting_frames());
    assert_eq!(driver.dp.frames_on_their_way(), 2);
    let saved = driver.dp.save_ports();
    assert_eq!(driver.dropped(DropReason::Update), (0, 0), "not here");
    driver.dp.restore_ports(&saved);
    assert_eq!(driver.dropped(DropReason::Update), (1, 1));
    let counters = driver.dp.counters(VportId(0));
    assert_eq!((counters.rx_discards, counters.tx_discards), (1, 1));
}

#[test]
fn a_frame_that_waits_for_its_wire_needs_no_other_behind_it() {
    let mut driver = programmed(Setup::default());
    driver.far.set_room(Some(0));
    driver.send(&op(1, tcp(1, 9)), None, 0, 1);
    driver.poll();
    assert!(driver.completion().is_some(), "its descriptor is done");
    driver.poll();
    assert_eq!(driver.far.recv(), None);
    driver.far.set_room(None);
    driver.poll();
    assert_eq!(driver.far.recv(), Some((op(1, tcp(1, 9)), plain())));
    driver.poll();
    assert_eq!(driver.far.recv(), None, "it leaves once");

    driver.far.set_room(Some(0));
    driver.send(&op(1, tcp(2, 9)), None, 0, 2);
    driver.poll();
    driver.now += MAX_STALL_NS;
    driver.poll();
    assert_eq!(driver.dropped(DropReason::Wire), (0, 1), "not for ever");
}

#[test]
fn a_packet_leaves_in_fragments_of_the_programs_size() {
    let mut driver = programmed(Setup::default());
    let divided = |driver: &mut Driver, inner: usize, whole: &[u8]| {
        driver.poll();
        let mut payload = Vec::new();
        let mut lengths = Vec::new();
        while let Some((frame, meta)) = driver.far.recv() {
            assert_eq!(meta, plain());
            assert_eq!(frame[inner..inner + 12], whole[..12]);
            lengths.push(frame.len() - inner);
            payload.extend_from_slice(&frame[inner + 34..]);
        }
        // The checksum is that of the whole, in the first one.
        assert_eq!(payload, whole[34..]);
        lengths
    };
    let whole = op(13, tcp(1, 1200));
    driver.send(&whole, None, 0, 0);
    assert_eq!(divided(&mut driver, 0, &whole), [610, 610, 102]);
    driver.send(&op(13, unfinished(tcp(1, 1200))), None, sched_cmd::CS_EN, 0);
    assert_eq!(divided(&mut driver, 0, &whole), [610, 610, 102]);
    let whole = op(14, tcp(1, 1000));
    driver.send(&whole, None, 0, 0);
    assert_eq!(divided(&mut driver, 14, &whole), [610, 478]);
    // One that is not longer leaves whole, also behind one that was dropped.
    driver.send(&op(15, tcp(1, 1000)), None, 0, 0);
    driver.send(&op(13, tcp(1, 560)), None, 0, 0);
    driver.send(&op(3, tcp(1, 1000)), None, 0, 0);
    driver.poll();
    assert_eq!(driver.far.recv(), Some((op(13, tcp(1, 560)), plain())));
    assert_eq!(driver.far.recv(), Some((op(3, tcp(1, 1000)), plain())));
    let done = std::iter::from_fn(|| driver.completion()).count();
    assert_eq!(
        done, 6,
        "a packet is done, however many fragments it leaves in"
    );
    // What stands for several packets is segmented, not divided.
    let (frame, meta) = large(13);
    driver.far.send(&frame, meta);
    driver.poll();
    let next = || driver.recv(0).or_else(|| driver.recv(1));
    let got = std::iter::from_fn(next).map(|it| it.frame.len());
    assert_eq!(got.collect::<Vec<_>>(), [1054; 3]);
}

#[test]
fn a_traced_packet_has_the_fate_of_its_first_fragment() {
    let mut driver = programmed(Setup::default());
    let (watcher, mut received) = Watcher::new(Filter::default(), 0, MAX_RATE);
    driver.dp.engine().unwrap().prepare_trace();
    driver.dp.add_watcher(watcher).unwrap();
    driver.send(&op(13, tcp(1, 1000)), None, 0, 0);
    driver.poll();
    assert_eq!(std::iter::from_fn(|| driver.far.recv()).count(), 2);
    let record = received.queue.try_recv().expect("a trace");
    let [sent] = &record.outputs[..] else {
        panic!("{record:?}");
    };
    assert_eq!((sent.length, sent.fate), (1054, Some(Fate::Sent(0))));
}

#[test]
fn the_control_plane_takes_part() {
    let mut driver = programmed(Setup::default());
    driver.far.send(&op(10, tcp(1, 9)), plain());
    driver.poll();
    let engine = driver.dp.engine().unwrap().clone();
    assert_eq!(engine.cpu_port(), Some(P4Port::CPU.0));
    let mut packet = engine.packets_in().take().unwrap();
    assert_eq!(packet.data, op(10, tcp(1, 9)));
    packet.data[11] = 3;
    assert!(engine.packet_out(packet));
    driver.poll();
    assert_eq!(driver.far.recv(), Some((op(3, tcp(1, 9)), plain())));
}

#[test]
fn programs_are_swapped_between_two_frames() {
    let mut driver = programmed(Setup::default());
    driver.far.send(&op(2, tcp(1, 9)), plain());
    driver.poll();
    assert_eq!(driver.dropped(DropReason::Program), (1, 0));
    driver.dp.set_program(Program::standard().unwrap());
    driver.far.send(&op(2, tcp(1, 9)), plain());
    driver.poll();
    let got = driver.recv(0).or_else(|| driver.recv(1)).unwrap();
    assert_eq!(got.frame, op(2, tcp(1, 9)));
}
