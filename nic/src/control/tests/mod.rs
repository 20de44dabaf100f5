// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A driver that exchanges messages with the control plane, for the tests.

mod flow_rules;
mod hostile;
mod linux;
mod refusals;
mod single;

use adit_uapi::virtchnl2::{
    op, queue_model, queue_type, sched_mode, ConfigRxQueues, ConfigTxQueues, CreateVport,
    DelEnaDisQueues, QueueChunk, QueueRegChunk, QueueVector, QueueVectorMaps, RxqInfo, TxqInfo,
    Vport as VportName,
};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::mock::MockDataPlane;
use super::*;
use crate::memory::GuestMemory;

pub(super) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A driver that uses only a control plane.
pub(super) struct Driver {
    pub(super) control: Control,
    pub(super) dp: MockDataPlane,
    pub(super) reply: Vec<u8>,
}

impl Driver {
    pub(super) fn new(vports: u8, queues: u16) -> Self {
        let macs = (0..vports).map(|n| [2, 0, 0, 0, n, 1]).collect();
        let profile = Profile::new(macs, queues).unwrap();
        let dp = MockDataPlane::new(&profile, GuestMemory::new());
        Self {
            control: Control::new(profile),
            dp,
            reply: Vec::new(),
        }
    }

    /// Sends a request and returns its status.
    pub(super) fn send(&mut self, opcode: u32, payload: &[u8]) -> u32 {
        self.control
            .handle(opcode, payload, &mut self.dp, &mut self.reply)
    }

    /// Sends a request that must succeed.
    #[track_caller]
    pub(super) fn ok(&mut self, opcode: u32, payload: &[u8]) -> &[u8] {
        let status = self.send(opcode, payload);
        assert_eq!(status, 0, "{:?}", op::name(opcode));
        &self.reply
    }

    /// The struct at the start of the last reply, and the bytes that follow it.
    pub(super) fn answer<T: FromBytes>(&self) -> (T, &[u8]) {
        T::read_from_prefix(&self.reply).expect("a reply as long as its struct")
    }

    /// The queue chunks in the last reply.
    pub(super) fn chunks(&self, skip: usize, count: U16) -> Vec<QueueRegChunk> {
        let bytes = &self.reply[skip..];
        assert_eq!(bytes.len(), usize::from(count.get()) * QueueRegChunk::LEN);
        bytes
            .chunks(QueueRegChunk::LEN)
            .map(|c| QueueRegChunk::read_from_bytes(c).unwrap())
            .collect()
    }

    pub(super) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.control.take_event(&self.dp)).collect()
    }

    /// Creates a vport with `n` queues of each kind (`2 * n` buffer queues), as Linux does.
    pub(super) fn create(&mut self, index: u16, n: u16) -> CreateVport {
        let asked = CreateVport {
            txq_model: U16::new(queue_model::SPLIT),
            rxq_model: U16::new(queue_model::SPLIT),
            num_tx_q: U16::new(n),
            num_tx_complq: U16::new(n),
            num_rx_q: U16::new(n),
            num_rx_bufq: U16::new(2 * n),
            vport_index: U16::new(index),
            ..CreateVport::default()
        };
        self.ok(op::CREATE_VPORT, asked.as_bytes());
        self.answer::<CreateVport>().0
    }
}

/// A message with elements after its header.
pub(super) fn message<H, E>(header: &H, elements: &[E]) -> Vec<u8>
where
    H: IntoBytes + Immutable,
    E: IntoBytes + Immutable,
{
    [header.as_bytes(), elements.as_bytes()].concat()
}

pub(super) fn name(vport: u32) -> VportName {
    VportName {
        vport_id: U32::new(vport),
        ..VportName::default()
    }
}

/// A message that lists queues, one chunk each, as Linux sends it.
pub(super) fn named(vport: u32, queues: &[(u32, u32)]) -> Vec<u8> {
    let chunks: Vec<_> = queues
        .iter()
        .map(|&(type_, id)| QueueChunk {
            type_: U32::new(type_),
            start_queue_id: U32::new(id),
            num_queues: U32::new(1),
            ..QueueChunk::default()
        })
        .collect();
    let mut header = DelEnaDisQueues {
        vport_id: U32::new(vport),
        ..DelEnaDisQueues::default()
    };
    header.chunks.num_chunks = U16::new(chunks.len() as u16);
    message(&header, &chunks)
}

pub(super) fn txq(id: u32, completion: u16, relative: u16) -> TxqInfo {
    TxqInfo {
        dma_ring_addr: U64::new(0x10_0000 + u64::from(id) * 0x1_0000),
        type_: U32::new(queue_type::TX),
        queue_id: U32::new(id),
        relative_queue_id: U16::new(relative),
        model: U16::new(queue_model::SPLIT),
        sched_mode: U16::new(sched_mode::FLOW),
        ring_len: U16::new(512),
        tx_compl_queue_id: U16::new(completion),
        ..TxqInfo::default()
    }
}

pub(super) fn complq(id: u32) -> TxqInfo {
    TxqInfo {
        type_: U32::new(queue_type::TX_COMPLETION),
        ..txq(id, 0, 0)
    }
}

pub(super) fn rxq(id: u32, bufqs: [u16; 2]) -> RxqInfo {
    RxqInfo {
        desc_ids: U64::new(1 << 2),
        dma_ring_addr: U64::new(0x100_0000 + u64::from(id) * 0x1_0000),
        type_: U32::new(queue_type::RX),
        queue_id: U32::new(id),
        model: U16::new(queue_model::SPLIT),
        data_buffer_size: U32::new(2048),
        max_pkt_size: U32::new(1526),
        ring_len: U16::new(512),
        hdr_buffer_size: U16::new(256),
        // Header split, 32-byte descriptors.
        qflags: U16::new(1 << 1 | 1 << 4),
        rx_bufq1_id: U16::new(bufqs[0]),
        rx_bufq2_id: U16::new(bufqs[1]),
        bufq2_ena: 1,
        ..RxqInfo::default()
    }
}

pub(super) fn bufq(id: u32) -> RxqInfo {
    RxqInfo {
        type_: U32::new(queue_type::RX_BUFFER),
        ring_len: U16::new(256),
        ..rxq(id, [0, 0])
    }
}

pub(super) fn config_tx(vport: u32, infos: &[TxqInfo]) -> Vec<u8> {
    let num_qinfo = U16::new(infos.len() as u16);
    let vport_id = U32::new(vport);
    message(
        &ConfigTxQueues {
            vport_id,
            num_qinfo,
            ..ConfigTxQueues::default()
        },
        infos,
    )
}

pub(super) fn config_rx(vport: u32, infos: &[RxqInfo]) -> Vec<u8> {
    let num_qinfo = U16::new(infos.len() as u16);
    let vport_id = U32::new(vport);
    message(
        &ConfigRxQueues {
            vport_id,
            num_qinfo,
            ..ConfigRxQueues::default()
        },
        infos,
    )
}

/// A MAP or UNMAP message with entries of (type, queue, vector, ITR index).
pub(super) fn maps(vport: u32, entries: &[(u32, u32, u16, u32)]) -> Vec<u8> {
    let entries: Vec<_> = entries
        .iter()
        .map(|&(type_, queue, vector, itr)| QueueVector {
            queue_id: U32::new(queue),
            vector_id: U16::new(vector),
            itr_idx: U32::new(itr),
            queue_type: U32::new(type_),
            ..QueueVector::default()
        })
        .collect();
    let num_qv_maps = U16::new(entries.len() as u16);
    let vport_id = U32::new(vport);
    message(
        &QueueVectorMaps {
            vport_id,
            num_qv_maps,
            ..QueueVectorMaps::default()
        },
        &entries,
    )
}
