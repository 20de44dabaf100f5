// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of what a program of the NIC and an owner of queues tell each other: the flow's mark and
//! hash in the receive descriptor, and the queue that a flow is sent from.

mod common;

use std::time::{Duration, Instant};

use adit_adi::{Adi, Buffer, Config, QueuePair};
use adit_nic::wire::mock::FarEnd;
use adit_pipeline::offload::FrameMeta;
use common::{Model, MAC};

const PEER: [u8; 6] = [2, 0, 0, 0, 0, 9];
/// The EtherTypes of frames whose first byte of payload is a flow; the program marks the first kind.
const MARKED: u16 = 0x88b5;
const PLAIN: u16 = 0x88b6;
/// A timeout that is long enough for a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A flow is kept with the queue that sends its first frame, and its replies go there.
const PROGRAM: &str = r#"
    #include <adit.p4>
    header ethernet_h { bit<48> dst; bit<48> src; bit<16> type; bit<8> flow; }
    struct headers_t { ethernet_h e; }
    struct metadata_t {}
    parser P(packet_in pkt, out headers_t h, inout metadata_t m,
             in pna_main_parser_input_metadata_t i) {
        state start { pkt.extract(h.e); transition accept; }
    }
    control C(inout headers_t h, inout metadata_t m, in pna_main_input_metadata_t i,
              inout pna_main_output_metadata_t o) {
        action sent_from(bit<16> queue) { set_queue(queue); }
        action learn() {
            add_entry("sent_from", { input_queue() }, (ExpireTimeProfileId_t) 0);
        }
        table flows {
            key = { h.e.flow: exact; }
            actions = { @tableonly sent_from; @defaultonly learn; }
            add_on_miss = true;
            default_action = learn();
        }
        apply {
            flows.apply();
            if (h.e.type == 0x88b5) {
                set_flow_id((FlowId_t) 0x89abcdef);
                set_hash(0xcafef00d);
            }
            send_to_port(ADIT_PORT_SWITCH);
        }
    }
    control D(packet_out pkt, in headers_t h, in metadata_t m, in pna_main_output_metadata_t o) {
        apply { pkt.emit(h); }
    }
    PNA_NIC(P(), C(), D()) main;
"#;

fn start(pairs: u16) -> (Adi, Vec<QueuePair>, FarEnd) {
    let (model, far) = Model::new(pairs, false);
    model.set_program(PROGRAM);
    let adi = Adi::new(Box::new(model)).unwrap();
    let pairs = adi.start(&Config::default()).unwrap();
    (adi, pairs, far)
}

fn frame(to: [u8; 6], from: [u8; 6], kind: u16, flow: u8) -> Vec<u8> {
    let mut frame = [&to[..], &from[..], &kind.to_be_bytes(), &[flow]].concat();
    frame.resize(60, 0);
    frame
}

/// Receives a frame, and returns the pair that has received it.
fn receive(pairs: &mut [QueuePair]) -> (usize, Buffer) {
    let start = Instant::now();
    let mut frames = Vec::new();
    while start.elapsed() < TIMEOUT {
        for (n, pair) in pairs.iter_mut().enumerate() {
            pair.rx.receive(&mut frames, 1).unwrap();
            if let Some(frame) = frames.pop() {
                return (n, frame);
            }
        }
        std::thread::yield_now();
    }
    panic!("no frame arrives");
}

#[test]
fn mark_and_hash_of_the_program_arrive_with_the_frame() {
    let (_adi, mut pairs, far) = start(1);
    far.send(&frame(MAC, PEER, MARKED, 1), FrameMeta::default());
    let (_, got) = receive(&mut pairs);
    let info = got.info();
    assert_eq!(
        (info.mark, info.hash),
        (Some(0x89ab_cdef), Some(0xcafe_f00d))
    );
    // A frame that is not IP has no hash of RSS.
    far.send(&frame(MAC, PEER, PLAIN, 1), FrameMeta::default());
    let (_, got) = receive(&mut pairs);
    assert_eq!((got.info().mark, got.info().hash), (None, None));
}

#[test]
fn replies_arrive_at_the_queue_that_sends_the_flow() {
    let (_adi, mut pairs, far) = start(4);
    for (flow, queue) in [(1, 3), (2, 0), (3, 2), (4, 1)] {
        let pair = &mut pairs[queue];
        let sent = pair.pool().copy(&frame(PEER, MAC, PLAIN, flow)).unwrap();
        assert_eq!(pair.tx.send(&mut std::iter::once(sent)).unwrap(), 1);
        let start = Instant::now();
        while far.recv().is_none() {
            assert!(start.elapsed() < TIMEOUT, "the frame does not leave");
            std::thread::yield_now();
        }
        for _ in 0..3 {
            far.send(&frame(MAC, PEER, PLAIN, flow), FrameMeta::default());
            assert_eq!(receive(&mut pairs).0, queue, "flow {flow}");
        }
    }
    // Without a frame of its own, a flow is RSS's: the first queue for what is not IP.
    far.send(&frame(MAC, PEER, PLAIN, 9), FrameMeta::default());
    assert_eq!(receive(&mut pairs).0, 0);
}
