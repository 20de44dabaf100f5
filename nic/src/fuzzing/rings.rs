// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Descriptor rings: arbitrary descriptors and tails while traffic flows.

use adit_pipeline::offload::{Checksum, FrameMeta, Gso, GsoKind};
use adit_uapi::desc::tx_flex::{cmd, sched_cmd};
use adit_uapi::desc::{FlexTxDesc, FlexTxSchedDesc, FlexTxTsoCtxDesc, SplitqRxBufDesc};
use zerocopy::little_endian::{U16, U64};
use zerocopy::IntoBytes;

use super::Choices;
use crate::datapath::{Datapath, Limits};
use crate::dataplane::{DataPlane, QueueConfig, QueueId, QueueKind, Ring, SchedMode};
use crate::forwarding::Forwarding;
use crate::ids::{VectorId, VectorMapping, VportId};
use crate::layout::RegisterLayout;
use crate::memory::Dma;
use crate::testing::{ram, RAM, RAM_LEN};
use crate::wire::mock::{FarEnd, MockPort};
use crate::wire::{Port, PortCaps};

const KINDS: [QueueKind; 4] = [
    QueueKind::Tx,
    QueueKind::TxCompletion,
    QueueKind::Rx,
    QueueKind::RxBuffer,
];
/// The number of queues of each kind.
const QUEUES: u32 = 2;
/// The distance between two rings in bytes.
const RING_SPACING: u64 = 0x4000;
/// The first address of the buffers.
const BUFFERS: u64 = RAM + 0x4_0000;

/// Runs the actions encoded in `data` on behalf of a driver: writes descriptors, rings doorbells,
/// and disables and enables queues while frames of all kinds arrive. A panic is a bug, and so is a
/// frame that is not accounted for.
pub fn rings(data: &[u8]) {
    run(data);
}

/// Returns the data plane after the actions in `data`.
pub(super) fn run(data: &[u8]) -> Option<Datapath> {
    let mut choices = Choices(data);
    let (mut dp, far) = set_up(choices.u8(), choices.u8())?;
    let merged = choices.u8() & 1 != 0;
    let (mut now, mut sent) = (1, 0);
    while choices.more() {
        let [what, which] = choices.bytes();
        match what % 8 {
            0 | 1 => tx_descriptor(&dp, which, &mut choices),
            2 => rx_buffer(&dp, which, &mut choices),
            3 => {
                // Up to twice the ring's length.
                let tail = u32::from(choices.u8()) << (which >> 6);
                let bell = if which & 1 == 0 {
                    &dp.queues().doorbells.tx_tail
                } else {
                    &dp.queues().doorbells.bufq_tail
                };
                bell.store(u32::from(which >> 1 & 1), tail);
            }
            4 => {
                let meta = meta(choices.bytes(), merged);
                far.send(choices.slice(usize::from(which)), meta);
                sent += 1;
            }
            5 => {
                let kind = KINDS[usize::from(which >> 1 & 3)];
                let index = u32::from(which & 1);
                if which & 0x80 == 0 {
                    dp.disable(&[QueueId { kind, index }]);
                } else {
                    // Fails only for a queue that is not configured, and this one is.
                    let _ = dp.enable(QueueId { kind, index });
                }
            }
            6 => far.set_room(Some(usize::from(which))),
            _ => {
                now += u64::from(choices.u16()) << (which & 0xF);
                dp.poll(now, true);
                while far.recv().is_some() {}
            }
        }
    }
    let taken = sent - far.waiting() as u64;
    accounts(&dp, VportId(0), taken);
    let counters = dp.counters(VportId(0));
    if !dp.forwarding(VportId(0)).loopback {
        let delivered = counters.rx_unicast + counters.rx_multicast + counters.rx_broadcast;
        let dropped = dp.drops(VportId(0)).map_or(0, |drops| drops.rx.total());
        let held = dp.waiting_frames();
        let received = dp
            .wire(VportId(0))
            .map_or(0, |wire| wire.counters().rx_frames);
        assert_eq!(delivered + dropped + held, received, "frames to the driver");
    }
    Some(dp)
}

/// Panics unless a port's counters account for each of the `taken` frames that it received from its
/// wire.
pub fn accounts(dp: &Datapath, vport: VportId, taken: u64) {
    let (Some(wire), Some(drops)) = (dp.wire(vport), dp.drops(vport)) else {
        return;
    };
    let (port, seen) = (wire.counters(), dp.counters(vport));
    // A coalesced frame counts as several.
    assert!(
        port.rx_frames + port.rx_dropped_total() >= taken,
        "{port:?}"
    );
    let delivered = seen.rx_unicast + seen.rx_multicast + seen.rx_broadcast;
    // Frames that are looped back add to the sum.
    let known = delivered + drops.rx.total() + dp.waiting_frames();
    assert!(known >= port.rx_frames, "{known} of {}", port.rx_frames);
    let left = seen.tx_unicast + seen.tx_multicast + seen.tx_broadcast;
    assert!(
        left > 0 || port.tx_frames == 0 || drops.tx.total() > 0,
        "{port:?}"
    );
}

/// A data plane with two queues of each kind, all enabled; `shape` and `sizes` select their
/// configuration.
fn set_up(shape: u8, sizes: u8) -> Option<(Datapath, FarEnd)> {
    let bit = |n: u8| shape & (1 << n) != 0;
    let (port, far) = MockPort::new(PortCaps {
        checksum: bit(0),
        tso4: bit(0),
        tso6: bit(1),
        uso: bit(1),
    });
    let limits = Limits {
        rx: QUEUES,
        tx: QUEUES,
        buffer: QUEUES,
        vectors: 2,
        layout: RegisterLayout::Pf,
    };
    let port: Box<dyn Port> = Box::new(port);
    let mut dp = Datapath::new(limits, vec![Some(port)]).ok()?;
    dp.queues_mut().memory = ram();
    let forwarding = dp.forwarding(VportId(0));
    *forwarding = Forwarding::new([2, 0, 0, 0, 0, 1], vec![0, 1]);
    forwarding.set_enabled(true);
    forwarding.set_loopback(bit(2));
    forwarding.set_promiscuous(bit(3), bit(3));
    for (at, kind) in (0..).zip(KINDS) {
        for index in 0..QUEUES {
            let ring = Ring {
                base: ring_at(at, index),
                len: 32 << (sizes & 3),
            };
            // One pair in each scheduling mode, unless both use flow scheduling.
            let sched = if index == 0 || bit(4) {
                SchedMode::Flow
            } else {
                SchedMode::Queue
            };
            let config = match kind {
                QueueKind::Tx if index == 0 && sizes & 4 != 0 => QueueConfig::SingleTx { ring },
                QueueKind::Rx if index == 0 && sizes & 8 != 0 => QueueConfig::SingleRx {
                    ring,
                    buffer_len: 128 << (sizes >> 6),
                    max_packet_len: 1514,
                },
                QueueKind::Tx => QueueConfig::Tx {
                    ring,
                    sched,
                    completion_queue: if bit(5) { index } else { 0 },
                    relative_id: index as u16,
                },
                QueueKind::TxCompletion => QueueConfig::TxCompletion { ring, sched },
                QueueKind::Rx => QueueConfig::Rx {
                    ring,
                    buffer_queue: index,
                    buffer_queue_2: bit(5).then_some(1 - index),
                    rsc: bit(6),
                    header_split: bit(7),
                    max_packet_len: 1514,
                },
                QueueKind::RxBuffer => QueueConfig::RxBuffer {
                    ring,
                    buffer_len: 128 << (index + u32::from(sizes >> 6)),
                    header_len: if bit(7) { 256 } else { 0 },
                },
            };
            dp.configure(VportId(0), index, config).ok()?;
            dp.enable(QueueId { kind, index }).ok()?;
            let mapping = VectorMapping {
                vector: VectorId(index),
                itr: index,
            };
            dp.map_vector(QueueId { kind, index }, Some(mapping));
        }
    }
    Some((dp, far))
}

/// The address of a queue's ring, by the index of its kind in [`KINDS`].
fn ring_at(kind: u64, index: u32) -> u64 {
    RAM + (kind * u64::from(QUEUES) + u64::from(index)) * RING_SPACING
}

/// An address within the buffers or, rarely, an arbitrary one.
fn address(choices: &mut Choices<'_>) -> u64 {
    let at = choices.u16();
    match at {
        0xFF00.. => u64::from(choices.u32()) << (at & 0x1F),
        _ => BUFFERS + u64::from(at) * 8 % (RAM_LEN - 0x4_0000),
    }
}

fn tx_descriptor(dp: &Datapath, which: u8, choices: &mut Choices<'_>) {
    let at = ring_at(0, u32::from(which & 1)) + u64::from(choices.u8()) * 16;
    let (addr, len) = (address(choices), choices.u16() >> (which >> 4 & 7));
    let flags = choices.u8();
    let bytes: [u8; 16] = match which >> 1 & 7 {
        0..=2 => {
            let bits = sched_cmd::EOP | sched_cmd::CS_EN | sched_cmd::RE;
            zerocopy::transmute!(FlexTxSchedDesc::new(addr, flags & bits, len, len & 0x3FFF))
        }
        3 | 4 => {
            let bits = cmd::EOP | cmd::RS | cmd::RE | cmd::IL2TAG1 | cmd::CS_EN;
            zerocopy::transmute!(FlexTxDesc::new(addr, u16::from(flags) & bits, len))
        }
        5 => zerocopy::transmute!(FlexTxTsoCtxDesc::new(
            u32::from(len),
            choices.u16() & 0x3FFF,
            flags
        )),
        6 => choices.bytes(),
        _ => {
            // No descriptor: data that a descriptor may point to.
            let len = usize::from(flags);
            let _ = dp.queues().memory.write(addr, choices.slice(len));
            return;
        }
    };
    // All rings are within memory.
    let _ = dp.queues().memory.write(at, &bytes);
}

fn rx_buffer(dp: &Datapath, which: u8, choices: &mut Choices<'_>) {
    let buffer = SplitqRxBufDesc {
        buf_id: U16::new(u16::from(which)),
        pkt_addr: U64::new(address(choices)),
        hdr_addr: U64::new(address(choices)),
        ..SplitqRxBufDesc::default()
    };
    let at = ring_at(3, u32::from(which & 1)) + u64::from(which >> 1) * 32;
    let _ = dp.queues().memory.write(at, buffer.as_bytes());
}

/// The pending offloads of a frame from the wire.
fn meta([kind, start, size, header]: [u8; 4], merged: bool) -> FrameMeta {
    let checksum = match kind & 3 {
        0 => Checksum::Valid,
        1 => Checksum::Partial {
            start: u16::from(start),
            offset: u16::from(kind >> 4),
        },
        _ => Checksum::Unknown,
    };
    let gso = (merged && kind & 4 != 0).then(|| Gso {
        kind: match kind >> 4 & 3 {
            0 | 1 => GsoKind::Tcp4,
            2 => GsoKind::Tcp6,
            _ => GsoKind::Udp,
        },
        segment_size: u16::from(size),
        header_len: u16::from(header),
    });
    FrameMeta { checksum, gso }
}
