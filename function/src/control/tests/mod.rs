// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The messages that drivers send, and the control plane's answers.

mod hostile;
mod linux;
mod log;
mod refusals;
mod single;

use adit_uapi::virtchnl2::{
    op, queue_model, queue_type, sched_mode, ConfigRxQueues, ConfigTxQueues, CreateVport,
    QueueRegChunk, QueueVector, QueueVectorMaps, RxqInfo, TxqInfo, Vport as VportName,
};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use super::mock::MockDataPlane;
use super::*;
use crate::memory::GuestMemory;
use crate::testing::driver::{self, message, named};

pub(super) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A driver of a control plane whose data plane is the mock.
pub(super) type Driver = driver::Driver<MockDataPlane>;

impl Driver {
    pub(super) fn new(vports: u8, queues: u16) -> Self {
        let profile = driver::profile(vports, queues);
        let dp = MockDataPlane::new(&profile, GuestMemory::new());
        Self::with(profile, dp)
    }
}

pub(super) fn name(vport: u32) -> VportName {
    VportName {
        vport_id: U32::new(vport),
        ..VportName::default()
    }
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
