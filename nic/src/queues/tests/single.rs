// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Queues of the single queue model.

use adit_uapi::desc::ids::dtype;
use adit_uapi::desc::rx_flex_nic::status0;
use adit_uapi::desc::tx_base::{cmd, offset};
use adit_uapi::desc::{BaseTxCtxDesc, BaseTxDesc, RxFlexDescNic, SingleqRxBufDesc, TxDesc};

use super::*;

fn data(len: u16, cmd: u16) -> BaseTxDesc {
    BaseTxDesc::new(BUFFERS, cmd, offset(14, 20, 20), len, 0x123)
}

fn type_of(mem: &GuestMemory, entry: u64) -> u8 {
    mem.read_obj::<TxDesc>(RING + entry * 16).unwrap().dtype()
}

#[test]
fn a_packet_that_asks_for_it_is_written_back_when_it_is_done() {
    let mem = ram();
    mem.write(BUFFERS, b"hello, world").unwrap();
    let mut queue = TxQueue::new_single(ring(8));
    put(&mem, 0, &data(7, 0));
    put(&mem, 1, &data(5, cmd::EOP | cmd::RS));
    put(&mem, 2, &data(5, cmd::EOP));
    let (outcome, frame) = frame_of(&mut queue, &mem, 3);
    assert_eq!(
        (outcome, &frame[..]),
        (TxOutcome::Frame(TxOffload::default()), &b"hello, hello"[..])
    );
    assert_eq!(queue.consume(), [None, None]);
    assert_eq!(
        (type_of(&mem, 0), type_of(&mem, 1)),
        (dtype::DATA, dtype::DATA)
    );
    queue.write_back(&mem).unwrap();
    assert_eq!(
        (type_of(&mem, 0), type_of(&mem, 1)),
        (dtype::DATA, dtype::DESC_DONE)
    );
    // The next packet does not request it.
    frame_of(&mut queue, &mem, 3);
    queue.consume();
    queue.write_back(&mem).unwrap();
    assert_eq!(type_of(&mem, 2), dtype::DATA);
    assert_eq!(queue.has_work(3), Ok(false));
}

#[test]
fn offloads_are_read_from_base_descriptors() {
    // DPDK requests a checksum with the flex descriptor's bit.
    for (asks, checksum) in [
        (cmd::L4T_EOFT_TCP | cmd::IIPT_IPV4, true),
        (cmd::L4T_EOFT_UDP, true),
        (1 << 5, true),
        (cmd::IIPT_IPV4, false),
        (0, false),
    ] {
        let mem = ram();
        let mut queue = TxQueue::new_single(ring(8));
        put(&mem, 0, &data(60, cmd::EOP | cmd::IL2TAG1 | asks));
        let expected = TxOffload {
            checksum,
            segmentation: None,
            vlan_tci: Some(0x123),
        };
        assert_eq!(
            frame_of(&mut queue, &mem, 1).0,
            TxOutcome::Frame(expected),
            "{asks:#x}"
        );
    }
    let requests: [TxDesc; 2] = [
        zerocopy::transmute!(BaseTxCtxDesc::new_tso(100, 40)),
        zerocopy::transmute!(FlexTxTsoCtxDesc::new(100, 40, 54)),
    ];
    for context in requests {
        let mem = ram();
        let mut queue = TxQueue::new_single(ring(8));
        put(&mem, 0, &context);
        put(&mem, 1, &data(154, cmd::EOP | cmd::L4T_EOFT_TCP));
        let expected = TxOffload {
            checksum: true,
            segmentation: Some(Segmentation {
                mss: 40,
                payload_len: 100,
                header_len: 54,
            }),
            vlan_tci: None,
        };
        assert_eq!(frame_of(&mut queue, &mem, 2).0, TxOutcome::Frame(expected));
    }
}

#[test]
fn the_other_models_descriptors_stop_a_queue() {
    let mem = ram();
    let mut single = TxQueue::new_single(ring(8));
    put(&mem, 0, &flow(BUFFERS, 60, true, 0, 1));
    let fault = single.peek(&mem, 1, &mut Frame::default()).unwrap_err();
    assert!(matches!(
        fault,
        QueueFault::DescriptorType { dtype: 12, .. }
    ));
    put(&mem, 0, &data(60, cmd::EOP));
    let mut split = TxQueue::new(ring(8), SchedMode::Queue, 0, 0);
    let fault = split.peek(&mem, 1, &mut Frame::default()).unwrap_err();
    assert!(matches!(fault, QueueFault::DescriptorType { dtype: 0, .. }));
}

/// A ring of four entries with buffers of 100 bytes.
fn receiver() -> (GuestMemory, SingleRing) {
    let mem = ram();
    for entry in 0..4 {
        post(&mem, entry);
    }
    (mem, SingleRing::new(ring(4), 100))
}

fn post(mem: &GuestMemory, entry: u64) {
    let buffer = SingleqRxBufDesc {
        pkt_addr: U64::new(BUFFERS + entry * 0x1000),
        ..SingleqRxBufDesc::default()
    };
    mem.write_obj(RING + entry * 32, &buffer).unwrap();
}

fn done(mem: &GuestMemory, entry: u64) -> RxFlexDescNic {
    mem.read_obj(RING + entry * 32).unwrap()
}

#[test]
fn a_frame_is_reported_where_its_buffers_were_posted() {
    let (mem, mut ring) = receiver();
    let frame: Vec<u8> = (0..=249).collect();
    ring.deliver(&mem, 3, &frame, &info(54)).unwrap();
    let common = status0::DD | status0::L3L4P | status0::XSUM_L4E | status0::RSS_VALID;
    for (entry, len, end) in [(0, 100, 0), (1, 100, 0), (2, 50, status0::EOF)] {
        let d = done(&mem, entry);
        assert_eq!(
            (d.len(), d.ptype(), d.rss_hash.get()),
            (len, 27, 0x1234_5678)
        );
        assert_eq!(d.status_error0.get(), common | end);
        let mut piece = vec![0; usize::from(len)];
        mem.read(BUFFERS + entry * 0x1000, &mut piece).unwrap();
        let from = entry as usize * 100;
        assert_eq!(piece, frame[from..from + usize::from(len)]);
    }
    assert_eq!(
        ring.deliver(&mem, 3, &frame[..60], &info(54)),
        Err(RxRefusal::NoBuffer),
        "the entry before the tail is the last"
    );
    // Past the end of the ring.
    post(&mem, 0);
    ring.deliver(&mem, 1, &frame[..120], &info(54)).unwrap();
    assert_eq!((done(&mem, 3).len(), done(&mem, 0).len()), (100, 20));
}

#[test]
fn a_frame_that_does_not_fit_leaves_the_ring_as_it_was() {
    let (mem, mut ring) = receiver();
    assert_eq!(
        ring.deliver(&mem, 2, &[0; 201], &info(54)),
        Err(RxRefusal::NoBuffer)
    );
    assert_eq!(done(&mem, 0).status_error0.get() & status0::DD, 0);
    ring.deliver(&mem, 2, &[0; 200], &info(54)).unwrap();
    assert!(matches!(
        ring.deliver(&mem, 9, &[0; 60], &info(54)),
        Err(RxRefusal::Fault(QueueFault::Tail { tail: 9, len: 4 }))
    ));
}
