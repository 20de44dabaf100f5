// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A driver with rings in memory and a mock wire; tests check the frames at both ends.

mod accounts;
mod conntrack;
mod fragments;
mod program;
mod receive;
mod transmit;

use adit_pipeline::checksum::fill::{fill_ipv4, fill_l4};
use adit_pipeline::offload::FrameMeta;
use adit_pipeline::parse::Parsed;
use adit_uapi::desc::{
    FlexTxSchedDesc, FlexTxTsoCtxDesc, RxFlexDescAdvNic3, SplitqRxBufDesc, SplitqTxComplDesc,
    SplitqTxComplDesc4b,
};
use adit_uapi::regs::dyn_ctl;
use adit_vfio_user::EventFd;
use rustix::event::{eventfd, EventfdFlags};
use std::os::fd::OwnedFd;
use zerocopy::little_endian::{U16, U64};

use super::*;
use crate::dataplane::{DataPlane, QueueConfig, QueueId, QueueKind, Ring, SchedMode};
use crate::drops::DropReason;
use crate::ids::{VectorId, VectorMapping, VportId};
use crate::memory::Dma;
use crate::testing::{ram, RAM};
use crate::wire::mock::{FarEnd, MockPort};
use crate::wire::PortCaps;

/// The port's MAC address.
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The number of entries of each ring.
const LEN: u16 = 64;
/// The size of each RX buffer in bytes.
const BUFFER: u32 = 2048;
/// The address of the TX buffers.
const TX_BUFFERS: u64 = RAM + 0x4_0000;
/// The address of the RX buffers: `BUFFER` bytes for each buffer of each queue.
const RX_BUFFERS: u64 = RAM + 0x8_0000;
/// The address of the header buffers, which follow the packet buffers.
const HEADERS: u64 = RX_BUFFERS + 2 * LEN as u64 * BUFFER as u64;
/// The size of each header buffer in bytes.
const HEADER: u16 = 256;
const KINDS: [QueueKind; 4] = [
    QueueKind::Tx,
    QueueKind::TxCompletion,
    QueueKind::Rx,
    QueueKind::RxBuffer,
];

fn queue(kind: QueueKind, index: u32) -> QueueId {
    QueueId { kind, index }
}

fn ring(kind: QueueKind, index: u32) -> Ring {
    let base = RAM + kind as u64 * 0x8000 + u64::from(index) * 0x2000;
    Ring { base, len: LEN }
}

/// A received frame, reassembled, and its last descriptor.
struct Delivery {
    frame: Vec<u8>,
    /// The number of bytes in a header buffer.
    header: usize,
    /// The number of buffers that it used.
    pieces: usize,
    last: RxFlexDescAdvNic3,
}

/// The configuration of RX queues.
#[derive(Clone, Copy, Default)]
struct Setup {
    caps: PortCaps,
    rsc: bool,
    header_split: bool,
}

/// Two queues of each kind: pair 0 as netdev queues, pair 1 as an XDP queue sends (queue
/// scheduling). Vector 1 belongs to TX and RX queue 0, vector 2 to TX and RX queue 1.
struct Driver {
    dp: Datapath,
    far: FarEnd,
    now: u64,
    tx_tail: [u16; 2],
    /// The index of the next completion to read, without wrapping.
    completed: [u64; 2],
    delivered: [u64; 2],
    posted: [u64; 2],
    events: Vec<OwnedFd>,
}

impl Driver {
    fn new(setup: Setup) -> Self {
        let (port, far) = MockPort::new(setup.caps);
        let limits = Limits {
            rx: 2,
            tx: 2,
            buffer: 2,
            vectors: 3,
            layout: RegisterLayout::Pf,
        };
        let mut dp = Datapath::new(limits, vec![Some(Box::new(port))]).unwrap();
        dp.queues_mut().memory = ram();
        let events: Vec<_> = (0..3)
            .map(|_| eventfd(0, EventfdFlags::NONBLOCK).unwrap())
            .collect();
        for (vector, event) in (0..).zip(&events) {
            let trigger = EventFd::from_client(event.try_clone().unwrap()).unwrap();
            assert!(dp
                .queues_mut()
                .interrupts
                .set_trigger(VectorId(vector), Some(trigger)));
        }
        let mut driver = Self {
            dp,
            far,
            now: 1,
            tx_tail: [0; 2],
            completed: [0; 2],
            delivered: [0; 2],
            posted: [0; 2],
            events,
        };
        driver.up(setup);
        driver
    }

    /// Configures and enables the queues, as a driver does when its interface goes up.
    fn up(&mut self, setup: Setup) {
        for index in 0..2 {
            let sched = [SchedMode::Flow, SchedMode::Queue][index as usize];
            for kind in KINDS {
                let ring = ring(kind, index);
                self.dp
                    .queues()
                    .memory
                    .write(ring.base, &[0; LEN as usize * 32])
                    .unwrap();
                let config = match kind {
                    QueueKind::Tx => QueueConfig::Tx {
                        ring,
                        sched,
                        completion_queue: index,
                        relative_id: 7,
                    },
                    QueueKind::TxCompletion => QueueConfig::TxCompletion { ring, sched },
                    QueueKind::Rx => QueueConfig::Rx {
                        ring,
                        buffer_queue: index,
                        buffer_queue_2: None,
                        rsc: setup.rsc,
                        header_split: setup.header_split,
                        max_packet_len: 9018,
                    },
                    QueueKind::RxBuffer => QueueConfig::RxBuffer {
                        ring,
                        buffer_len: BUFFER,
                        header_len: if setup.header_split { HEADER } else { 0 },
                    },
                };
                self.dp.configure(VportId(0), index, config).unwrap();
            }
            for kind in KINDS {
                self.dp.enable(queue(kind, index)).unwrap();
            }
            for kind in [QueueKind::Tx, QueueKind::Rx] {
                let mapping = VectorMapping {
                    vector: VectorId(index + 1),
                    itr: 3,
                };
                self.dp.map_vector(queue(kind, index), Some(mapping));
            }
        }
        self.dp.set_tx_queues(VportId(0), &[0, 1]);
        let forwarding = self.dp.forwarding(VportId(0));
        *forwarding = Forwarding::new(MAC, vec![0, 1]);
        forwarding.set_enabled(true);
        (self.tx_tail, self.completed) = ([0; 2], [0; 2]);
        (self.delivered, self.posted) = ([0; 2], [0; 2]);
    }

    fn poll(&mut self) {
        self.now += 1000;
        self.dp.poll(self.now, true);
    }

    /// Writes a descriptor to a TX ring, without ringing the doorbell.
    fn describe<T: zerocopy::IntoBytes + zerocopy::Immutable>(&mut self, index: usize, desc: &T) {
        let tail = &mut self.tx_tail[index];
        let at = ring(QueueKind::Tx, index as u32).base + u64::from(*tail) * 16;
        self.dp.queues().memory.write_obj(at, desc).unwrap();
        *tail = (*tail + 1) % LEN;
    }

    fn ring_tx(&self, index: usize) {
        let tail = u32::from(self.tx_tail[index]);
        self.dp.queues().doorbells.tx_tail.store(index as u32, tail);
    }

    /// Sends a frame on queue 0 as the netdev does; `more` are bits of `sched_cmd`.
    fn send(&mut self, frame: &[u8], tso: Option<(u16, u8)>, more: u8, tag: u16) {
        let at = TX_BUFFERS + u64::from(self.tx_tail[0]) * 2048;
        self.dp.queues().memory.write(at, frame).unwrap();
        if let Some((mss, header)) = tso {
            let payload = (frame.len() - usize::from(header)) as u32;
            self.describe(0, &FlexTxTsoCtxDesc::new(payload, mss, header));
        }
        let pieces: Vec<_> = frame.chunks(8000).map(<[u8]>::len).collect();
        for (n, len) in pieces.iter().enumerate() {
            let last = n + 1 == pieces.len();
            let end = adit_uapi::desc::tx_flex::sched_cmd::EOP;
            let cmd = if last { end | more } else { more };
            let at = at + n as u64 * 8000;
            self.describe(0, &FlexTxSchedDesc::new(at, cmd, tag, *len as u16));
        }
        self.ring_tx(0);
    }

    /// The next completion of queue 0: type, and tag or head.
    fn completion(&mut self) -> Option<(u16, u16)> {
        let n = self.completed[0];
        let at = ring(QueueKind::TxCompletion, 0).base + n % u64::from(LEN) * 8;
        let desc: SplitqTxComplDesc = self.dp.queues().memory.read_obj(at).unwrap();
        let first_pass = n / u64::from(LEN) % 2 == 0;
        let done: SplitqTxComplDesc4b = desc.common;
        if done.generation() != first_pass {
            return None;
        }
        assert_eq!(done.qid(), 7);
        self.completed[0] += 1;
        Some((done.comp_type(), done.q_head_compl_tag.get()))
    }

    /// Posts buffers on a buffer queue.
    fn post(&mut self, index: usize, buffers: u16) {
        for _ in 0..buffers {
            let entry = self.posted[index] % u64::from(LEN);
            let number = index as u64 * u64::from(LEN) + entry;
            let desc = SplitqRxBufDesc {
                buf_id: U16::new(entry as u16),
                pkt_addr: U64::new(RX_BUFFERS + number * u64::from(BUFFER)),
                hdr_addr: U64::new(HEADERS + number * u64::from(HEADER)),
                ..SplitqRxBufDesc::default()
            };
            let at = ring(QueueKind::RxBuffer, index as u32).base + entry * 32;
            self.dp.queues().memory.write_obj(at, &desc).unwrap();
            self.posted[index] += 1;
        }
        let tail = (self.posted[index] % u64::from(LEN)) as u32;
        self.dp
            .queues()
            .doorbells
            .bufq_tail
            .store(index as u32, tail);
    }

    fn rx_desc(&mut self, index: usize) -> Option<RxFlexDescAdvNic3> {
        let n = self.delivered[index];
        let at = ring(QueueKind::Rx, index as u32).base + n % u64::from(LEN) * 32;
        let desc: RxFlexDescAdvNic3 = self.dp.queues().memory.read_obj(at).unwrap();
        let first_pass = n / u64::from(LEN) % 2 == 0;
        if desc.generation() != first_pass {
            return None;
        }
        self.delivered[index] += 1;
        Some(desc)
    }

    /// The next frame of an RX queue.
    fn recv(&mut self, index: usize) -> Option<Delivery> {
        use adit_uapi::desc::rx_flex_adv::{status0_qw1, LEN_HDR_M, SPH_M};
        let (mut frame, mut header, mut pieces) = (Vec::new(), 0, 0);
        loop {
            let desc = self.rx_desc(index)?;
            let number = index as u64 * u64::from(LEN) + u64::from(desc.buf_id.get());
            let flags = desc.hdrlen_flags.get();
            let mut read = |at, len: usize| {
                let start = frame.len();
                frame.resize(start + len, 0);
                self.dp
                    .queues()
                    .memory
                    .read(at, &mut frame[start..])
                    .unwrap();
            };
            if flags & SPH_M != 0 {
                header = usize::from(flags & LEN_HDR_M);
                read(HEADERS + number * u64::from(HEADER), header);
            }
            read(
                RX_BUFFERS + number * u64::from(BUFFER),
                usize::from(desc.len_pbuf()),
            );
            pieces += 1;
            if desc.status_err0_qw1 & status0_qw1::EOF != 0 {
                return Some(Delivery {
                    frame,
                    header,
                    pieces,
                    last: desc,
                });
            }
        }
    }

    fn arm(&self, vector: u32) {
        self.dp
            .queues()
            .doorbells
            .vectors
            .store(vector, dyn_ctl::INTENA_M);
    }

    /// The number of interrupts since the last call.
    fn interrupts(&self, vector: usize) -> u64 {
        let mut count = [0; 8];
        match rustix::io::read(&self.events[vector], &mut count) {
            Ok(_) => u64::from_ne_bytes(count),
            Err(_) => 0,
        }
    }

    fn dropped(&self, reason: DropReason) -> (u64, u64) {
        let drops = self.dp.drops(VportId(0)).unwrap();
        (drops.rx.get(reason), drops.tx.get(reason))
    }
}

/// A TCP frame over IPv4 for the port, with valid checksums.
fn tcp(source_port: u16, payload: usize) -> Vec<u8> {
    let mut f = [MAC, [2, 0, 0, 0, 0, 2]].concat();
    f.extend([8, 0, 0x45, 0]);
    f.extend((payload as u16 + 40).to_be_bytes());
    f.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    f.extend(source_port.to_be_bytes());
    f.extend([0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    f.extend((0..payload).map(|n| n as u8));
    finish(&mut f);
    f
}

/// The length of the headers of [`tcp`] in bytes.
const TCP_HEADERS: usize = 54;

fn finish(frame: &mut [u8]) {
    let parsed = Parsed::new(frame, frame.len()).unwrap();
    fill_ipv4(frame, &parsed).unwrap();
    fill_l4(frame, &parsed).unwrap();
}

/// The same frame for another destination.
fn to(mac: [u8; 6], mut frame: Vec<u8>) -> Vec<u8> {
    frame[..6].copy_from_slice(&mac);
    frame
}

fn plain() -> FrameMeta {
    FrameMeta::default()
}
