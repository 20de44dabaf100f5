// SPDX-License-Identifier: Apache-2.0 OR MIT

mod single;

use adit_pipeline::checksum::verify::{Check, Verdict};
use adit_uapi::desc::tx_compl::comp_type;
use adit_uapi::desc::tx_flex::{cmd, sched_cmd};
use adit_uapi::desc::{
    FlexTxDesc, FlexTxSchedDesc, FlexTxTsoCtxDesc, RxFlexDescAdvNic3, SplitqRxBufDesc,
    SplitqTxComplDesc4b,
};
use zerocopy::little_endian::{U16, U64};

use super::*;
use crate::dataplane::{Ring, SchedMode};
use crate::frame::Frame;
use crate::memory::{Dma, FaultCause, GuestMemory};
use crate::testing::{ram, RAM, RAM_LEN};

const RING: u64 = RAM;
const BUFFERS: u64 = RAM + 0x8_0000;

fn ring(len: u16) -> Ring {
    Ring { base: RING, len }
}

fn flow(addr: u64, len: u16, last: bool, more: u8, tag: u16) -> FlexTxSchedDesc {
    FlexTxSchedDesc::new(addr, if last { sched_cmd::EOP } else { 0 } | more, tag, len)
}

fn put<T: zerocopy::IntoBytes + zerocopy::Immutable>(mem: &GuestMemory, entry: u64, desc: &T) {
    mem.write_obj(RING + entry * 16, desc).unwrap();
}

fn frame_of(queue: &mut TxQueue, mem: &GuestMemory, tail: u32) -> (TxOutcome, Vec<u8>) {
    let mut frame = Frame::default();
    let outcome = queue.peek(mem, tail, &mut frame).unwrap();
    (outcome, frame.to_vec())
}

#[test]
fn a_packet_is_gathered_around_the_rings_end_and_reports_tag_and_head() {
    let mem = ram();
    mem.write(BUFFERS, b"hello, ").unwrap();
    mem.write(BUFFERS + 0x1000, b"world").unwrap();
    let mut queue = TxQueue::new(ring(4), SchedMode::Flow, 0, 0);
    for entry in 0..3 {
        put(&mem, entry, &flow(BUFFERS, 7, true, 0, entry as u16));
    }
    for tag in 0..3 {
        let (outcome, frame) = frame_of(&mut queue, &mem, 3);
        assert_eq!(
            (outcome, &frame[..]),
            (TxOutcome::Frame(TxOffload::default()), &b"hello, "[..])
        );
        let rs = Completion {
            comp_type: comp_type::RS,
            value: tag,
        };
        assert_eq!(queue.consume(), [None, Some(rs)]);
    }
    assert_eq!(queue.has_work(3), Ok(false));
    put(&mem, 3, &flow(BUFFERS, 7, false, sched_cmd::CS_EN, 9));
    put(
        &mem,
        0,
        &flow(
            BUFFERS + 0x1000,
            5,
            true,
            sched_cmd::CS_EN | sched_cmd::RE,
            9,
        ),
    );
    assert_eq!(
        frame_of(&mut queue, &mem, 0).0,
        TxOutcome::Idle,
        "its end is not there yet"
    );
    let (outcome, frame) = frame_of(&mut queue, &mem, 1);
    let offload = TxOffload {
        checksum: true,
        ..TxOffload::default()
    };
    assert_eq!(
        (outcome, &frame[..]),
        (TxOutcome::Frame(offload), &b"hello, world"[..])
    );
    let re = Completion {
        comp_type: comp_type::RE,
        value: 1,
    };
    let rs = Completion {
        comp_type: comp_type::RS,
        value: 9,
    };
    assert_eq!(queue.consume(), [Some(re), Some(rs)]);
}

#[test]
fn a_context_descriptor_asks_for_segmentation_of_the_packet_behind_it() {
    let mem = ram();
    let mut queue = TxQueue::new(ring(8), SchedMode::Flow, 0, 0);
    put(&mem, 0, &FlexTxTsoCtxDesc::new(3000, 1448, 54));
    put(&mem, 1, &flow(BUFFERS, 3054, true, sched_cmd::CS_EN, 1));
    let (outcome, frame) = frame_of(&mut queue, &mem, 2);
    let segmentation = Some(Segmentation {
        mss: 1448,
        payload_len: 3000,
        header_len: 54,
    });
    let offload = TxOffload {
        checksum: true,
        segmentation,
        vlan_tci: None,
    };
    assert_eq!((outcome, frame.len()), (TxOutcome::Frame(offload), 3054));
}

#[test]
fn queue_scheduling_reports_heads_where_asked() {
    let mem = ram();
    let mut queue = TxQueue::new(ring(8), SchedMode::Queue, 0, 0);
    put(&mem, 0, &FlexTxDesc::new(BUFFERS, cmd::EOP, 60));
    put(
        &mem,
        1,
        &FlexTxDesc::new(BUFFERS, cmd::EOP | cmd::RS | cmd::CS_EN, 60),
    );
    assert!(matches!(
        frame_of(&mut queue, &mem, 2).0,
        TxOutcome::Frame(_)
    ));
    assert_eq!(queue.consume(), [None, None]);
    assert!(matches!(frame_of(&mut queue, &mem, 2).0, TxOutcome::Frame(o) if o.checksum));
    assert_eq!(
        queue.consume(),
        [
            Some(Completion {
                comp_type: comp_type::RS,
                value: 2
            }),
            None
        ]
    );
}

#[test]
fn malformed_rings_are_faults_and_never_loops() {
    let mem = ram();
    let mut frame = Frame::default();
    let mut peek = |queue: &mut TxQueue, tail| queue.peek(&mem, tail, &mut frame).unwrap_err();

    let mut queue = TxQueue::new(ring(8), SchedMode::Flow, 0, 0);
    assert_eq!(peek(&mut queue, 8), QueueFault::Tail { tail: 8, len: 8 });
    put(&mem, 0, &FlexTxDesc::new(BUFFERS, cmd::EOP, 60));
    let foreign = QueueFault::DescriptorType { dtype: 7, entry: 0 };
    assert_eq!(peek(&mut queue, 1), foreign, "of the other scheduling mode");

    put(&mem, 0, &flow(RAM + RAM_LEN - 1, 60, true, 0, 0));
    let mut queue = TxQueue::new(ring(8), SchedMode::Flow, 0, 0);
    assert!(matches!(peek(&mut queue, 1), QueueFault::Dma(f) if f.cause == FaultCause::Unmapped));

    let outside = Ring {
        base: u64::MAX - 15,
        len: 8,
    };
    let mut queue = TxQueue::new(outside, SchedMode::Flow, 0, 0);
    assert!(matches!(peek(&mut queue, 1), QueueFault::Dma(_)));

    for entry in 0..512 {
        put(&mem, entry, &flow(BUFFERS, 1, false, 0, 0));
    }
    let mut queue = TxQueue::new(ring(512), SchedMode::Flow, 0, 0);
    assert!(matches!(
        peek(&mut queue, 511),
        QueueFault::EndlessPacket { .. }
    ));
}

#[test]
fn packets_without_bytes_or_with_too_many_are_given_up_and_reported() {
    let mem = ram();
    let mut queue = TxQueue::new(ring(16), SchedMode::Flow, 0, 0);
    put(&mem, 0, &flow(BUFFERS, 0, true, 0, 4));
    assert_eq!(frame_of(&mut queue, &mem, 1).0, TxOutcome::BadLength);
    assert_eq!(
        queue.consume()[1],
        Some(Completion {
            comp_type: comp_type::RS,
            value: 4
        })
    );
    for entry in 1..8 {
        put(&mem, entry, &flow(BUFFERS, 0x3FFF, entry == 7, 0, 5));
    }
    assert_eq!(frame_of(&mut queue, &mem, 8).0, TxOutcome::BadLength);
    assert_eq!(
        queue.consume()[1],
        Some(Completion {
            comp_type: comp_type::RS,
            value: 5
        })
    );
    assert_eq!(queue.has_work(8), Ok(false));
}

#[test]
fn completions_flip_their_generation_with_each_pass() {
    for (sched, size) in [(SchedMode::Queue, 4), (SchedMode::Flow, 8)] {
        let mem = ram();
        let mut queue = CompletionQueue::new(ring(2), sched);
        for pass in 0..3_u16 {
            for entry in 0..2 {
                let value = pass * 2 + entry;
                queue.push(&mem, 0, comp_type::RS, value).unwrap();
                let at = RING + u64::from(entry) * size;
                let seen: SplitqTxComplDesc4b = mem.read_obj(at).unwrap();
                assert_eq!(
                    seen,
                    SplitqTxComplDesc4b::new(0, comp_type::RS, pass % 2 == 0, value)
                );
            }
        }
    }
    let mem = ram();
    let outside = Ring {
        base: RAM + RAM_LEN,
        len: 2,
    };
    assert!(CompletionQueue::new(outside, SchedMode::Flow)
        .push(&mem, 0, 2, 0)
        .is_err());
}

/// The driver's side of an RX queue with two buffer queues of 8 entries.
struct Receiver {
    mem: GuestMemory,
    queue: RxQueue,
    pools: [BufferQueue; 2],
}

const POOLS: [u64; 2] = [RAM + 0x1000, RAM + 0x2000];

impl Receiver {
    fn new(buffer_len: u32, header_len: u16, header_split: bool) -> Self {
        Self::with_sizes([buffer_len; 2], header_len, header_split)
    }

    fn with_sizes(buffer_len: [u32; 2], header_len: u16, header_split: bool) -> Self {
        let mem = ram();
        let pools = [0, 1].map(|p: u64| {
            for entry in 0..8 {
                let desc = SplitqRxBufDesc {
                    buf_id: U16::new(100 * p as u16 + entry as u16),
                    pkt_addr: U64::new(BUFFERS + (p * 8 + entry) * 0x1000),
                    hdr_addr: U64::new(BUFFERS + (p * 8 + entry) * 0x1000 + 0x800),
                    ..SplitqRxBufDesc::default()
                };
                mem.write_obj(POOLS[p as usize] + entry * 32, &desc)
                    .unwrap();
            }
            BufferQueue::new(
                Ring {
                    base: POOLS[p as usize],
                    len: 8,
                },
                buffer_len[p as usize],
                header_len,
            )
        });
        let queue = RxQueue::new(ring(4), [Some(0), Some(1)], false, header_split, 9000);
        Self { mem, queue, pools }
    }

    fn deliver(&mut self, frame: &[u8], info: &RxInfo, tails: [u32; 2]) -> Result<(), RxRefusal> {
        let [a, b] = &mut self.pools;
        self.queue.deliver(
            &self.mem,
            [Some((a, tails[0])), Some((b, tails[1]))],
            frame,
            info,
        )
    }

    fn done(&self, entry: u64) -> RxFlexDescAdvNic3 {
        self.mem.read_obj(RING + entry * 32).unwrap()
    }

    fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.mem.read(at, &mut bytes).unwrap();
        bytes
    }
}

fn info(header_len: usize) -> RxInfo {
    RxInfo {
        flow_id: None,
        ptype: 27,
        hash: Some(0x1234_5678),
        verdict: Verdict {
            ip: Check::Ok,
            l4: Check::Bad,
        },
        header_len,
        rsc_segment_len: None,
        cast: 0,
    }
}

#[test]
fn a_frame_fills_buffers_and_its_last_completion_ends_it() {
    let mut r = Receiver::new(100, 0, false);
    let frame: Vec<u8> = (0..=249).collect();
    r.deliver(&frame, &info(54), [4, 0]).unwrap();
    for (entry, (len, id)) in [(100, 0), (100, 1), (50, 2)].into_iter().enumerate() {
        let d = r.done(entry as u64);
        assert_eq!((d.len_pbuf(), d.buf_id.get()), (len, id));
        assert!(d.generation() && !d.bufq_id() && d.rxdid() == 2 && d.ptype() == 27);
        assert_eq!(
            (d.hash(), d.sph(), d.raw_csum_inv()),
            (0x1234_5678, false, true)
        );
        assert_eq!(
            d.status_err0_qw1 & 0x2B,
            if entry == 2 { 0x2B } else { 0x29 }
        );
        let at = BUFFERS + entry as u64 * 0x1000;
        let piece = &frame[entry * 100..entry * 100 + usize::from(len)];
        assert_eq!(r.bytes(at, usize::from(len)), piece);
    }
    assert!(!r.done(3).generation());
    r.deliver(&frame[..60], &info(54), [4, 0]).unwrap();
    assert!(r.done(3).generation());
    assert_eq!(
        r.deliver(&frame[..60], &info(54), [4, 0]),
        Err(RxRefusal::NoBuffer)
    );
    r.deliver(&frame[..60], &info(54), [4, 1]).unwrap();
    let d = r.done(0);
    assert!(
        !d.generation() && d.bufq_id(),
        "second pass, second buffer queue"
    );
    assert_eq!(d.buf_id.get(), 100);
}

#[test]
fn too_few_buffers_take_none() {
    let mut r = Receiver::new(100, 0, false);
    assert_eq!(
        r.deliver(&[7; 301], &info(0), [2, 1]),
        Err(RxRefusal::NoBuffer)
    );
    assert!(!r.done(0).generation());
    r.deliver(&[7; 300], &info(0), [2, 1]).unwrap();
    let ids = [0, 1, 2].map(|e| r.done(e).buf_id.get());
    assert_eq!(ids, [0, 1, 100], "taken from where more are left");
}

/// Checks buffers of different sizes: Linux gives the second queue buffers of half the size.
#[test]
fn no_buffer_is_filled_beyond_its_own_size() {
    let mut r = Receiver::with_sizes([100, 40], 0, false);
    r.deliver(&[7; 330], &info(0), [4, 7]).unwrap();
    let pieces = [0, 1, 2, 3].map(|e| (r.done(e).bufq_id(), r.done(e).len_pbuf()));
    assert_eq!(
        pieces,
        [(false, 100), (false, 100), (false, 100), (true, 30)]
    );
    r.deliver(&[7; 150], &info(0), [4, 7]).unwrap();
    let pieces = [0, 1, 2].map(|e| (r.done(e).bufq_id(), r.done(e).len_pbuf()));
    assert_eq!(pieces, [(false, 100), (true, 40), (true, 10)]);
    assert_eq!(
        r.deliver(&[7; 161], &info(0), [4, 7]),
        Err(RxRefusal::NoBuffer)
    );
    r.deliver(&[7; 160], &info(0), [4, 7]).unwrap();
}

#[test]
fn headers_are_split_off_when_they_fit() {
    let mut r = Receiver::new(2048, 256, true);
    let frame: Vec<u8> = (0..=199).collect();
    r.deliver(&frame, &info(54), [7, 0]).unwrap();
    let d = r.done(0);
    assert_eq!((d.len_hdr(), d.len_pbuf(), d.sph()), (54, 146, true));
    assert_eq!(r.bytes(BUFFERS + 0x800, 54), frame[..54]);
    assert_eq!(r.bytes(BUFFERS, 146), frame[54..]);
    r.deliver(&frame[..54], &info(54), [7, 0]).unwrap();
    let d = r.done(1);
    assert_eq!(
        (d.len_hdr(), d.len_pbuf(), d.sph()),
        (54, 0, true),
        "nothing but headers"
    );
    r.deliver(&[1; 400], &info(300), [7, 0]).unwrap();
    let d = r.done(2);
    assert_eq!((d.len_hdr(), d.len_pbuf(), d.sph()), (0, 400, false));
    assert_eq!(d.status_err0_qw1 & 4, 4, "header buffer overflow");
}

#[test]
fn merged_frames_say_what_they_were_merged_from() {
    let mut r = Receiver::new(2048, 0, false);
    let merged = RxInfo {
        rsc_segment_len: Some(1448),
        ..info(54)
    };
    r.deliver(&[0; 5000], &merged, [7, 7]).unwrap();
    assert!((0..3).all(|e| r.done(e).rsc() && r.done(e).misc.get() == 1448));
}

#[test]
fn bad_tails_and_addresses_are_faults() {
    let mut r = Receiver::new(2048, 0, false);
    let bad = r.deliver(&[0; 60], &info(0), [8, 0]);
    assert_eq!(
        bad,
        Err(RxRefusal::Fault(QueueFault::Tail { tail: 8, len: 8 }))
    );
    let desc = SplitqRxBufDesc {
        pkt_addr: U64::new(1),
        ..SplitqRxBufDesc::default()
    };
    r.mem.write_obj(POOLS[0], &desc).unwrap();
    let bad = r.deliver(&[0; 60], &info(0), [1, 0]);
    assert!(matches!(bad, Err(RxRefusal::Fault(QueueFault::Dma(_)))));
}
