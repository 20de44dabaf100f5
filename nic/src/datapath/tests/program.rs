// SPDX-License-Identifier: Apache-2.0 OR MIT

use adit_pipeline::checksum::verify::{verify, Check};
use adit_pipeline::offload::{Checksum, Gso, GsoKind};
use adit_pipeline::p4::objects::{Count, Object};
use adit_uapi::desc::tx_flex::sched_cmd;

use super::transmit::unfinished;
use super::*;
use crate::ids::P4Port;
use crate::program::Program;

fn programmed(setup: Setup) -> Driver {
    let mut driver = Driver::new(setup);
    let text = include_str!("program.p4");
    driver
        .dp
        .set_program(Program::from_text("program.p4", text).unwrap());
    driver.post(0, LEN - 1);
    driver.post(1, LEN - 1);
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
