// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Seed inputs: a well-behaved driver, for a fuzzer to mutate.

use adit_function::testing::driver::message;
use adit_uapi::desc::ids::rxdid_m;
use adit_uapi::virtchnl2::{
    op, queue_model, queue_type, rxq_flags, sched_mode, AllocVectors, ConfigRxQueues,
    ConfigTxQueues, CreateVport, DelEnaDisQueues, GetCapabilities, QueueChunk, QueueVector,
    QueueVectorMaps, RssLut, RxqInfo, TxqInfo, VersionInfo, Vport, VportStats,
};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::IntoBytes;

/// The numbers of actions of [`Client::act`](super::client::Client::act).
const MESSAGE: u8 = 7;
const WINDOW: u8 = 11;
const INTERRUPTS: u8 = 13;
const LOAD: u8 = 14;
const EVENT: u8 = 15;

/// Seeds for [`vdev`](super::vdev): a driver that starts a queue pair, for each register layout and
/// number of ADIs; then its memory goes, it comes back, and it stops.
#[must_use]
pub fn vdev_corpus() -> Vec<Vec<u8>> {
    (0..8).map(seed).collect()
}

fn seed(kind: u8) -> Vec<u8> {
    let mut input = vec![kind];
    // Eventfds for the first three vectors.
    input.extend([INTERRUPTS, 2, 0, 2, LOAD, 0]);
    for (opcode, payload) in start() {
        send(&mut input, opcode, &payload);
    }
    // The windows of rings and requests go, a message comes, and they are back.
    for n in [0, 1] {
        input.extend([WINDOW, n]);
    }
    send(&mut input, op::GET_STATS, VportStats::default().as_bytes());
    for n in [0, 1] {
        input.extend([WINDOW, n]);
    }
    // Back to the start.
    input.extend([EVENT, 0, LOAD, 0]);
    for (opcode, payload) in start() {
        send(&mut input, opcode, &payload);
    }
    for (opcode, payload) in stop() {
        send(&mut input, opcode, &payload);
    }
    input.extend([EVENT, 4]);
    input
}

fn send(input: &mut Vec<u8>, opcode: u32, payload: &[u8]) {
    let len = payload.len() as u16;
    let number = opcode.saturating_sub(op::GET_CAPS - 1) as u8;
    input.extend([MESSAGE, u8::MAX, number]);
    input.extend(len.to_le_bytes());
    input.extend_from_slice(payload);
}

/// The messages of a driver's start, to the first virtual port.
fn start() -> Vec<(u32, Vec<u8>)> {
    let version = VersionInfo {
        major: U32::new(2),
        minor: U32::new(0),
    };
    let vectors = AllocVectors {
        num_vectors: U16::new(1),
        ..AllocVectors::default()
    };
    let vport = CreateVport {
        txq_model: U16::new(queue_model::SPLIT),
        rxq_model: U16::new(queue_model::SPLIT),
        num_tx_q: U16::new(1),
        num_tx_complq: U16::new(1),
        num_rx_q: U16::new(1),
        num_rx_bufq: U16::new(2),
        ..CreateVport::default()
    };
    let map = |queue_type| QueueVector {
        vector_id: U16::new(1),
        queue_type: U32::new(queue_type),
        ..QueueVector::default()
    };
    let maps = QueueVectorMaps {
        num_qv_maps: U16::new(2),
        ..QueueVectorMaps::default()
    };
    let lut = RssLut {
        lut_entries: U16::new(4),
        ..RssLut::default()
    };
    vec![
        (op::VERSION, version.as_bytes().to_vec()),
        (op::GET_CAPS, GetCapabilities::default().as_bytes().to_vec()),
        (op::ALLOC_VECTORS, vectors.as_bytes().to_vec()),
        (op::CREATE_VPORT, vport.as_bytes().to_vec()),
        (op::CONFIG_TX_QUEUES, tx_queues()),
        (op::CONFIG_RX_QUEUES, rx_queues()),
        (
            op::MAP_QUEUE_VECTOR,
            message(&maps, &[map(queue_type::TX), map(queue_type::RX)]),
        ),
        (op::SET_RSS_LUT, message(&lut, &[U32::ZERO; 4])),
        (op::ENABLE_QUEUES, queues()),
        (op::ENABLE_VPORT, Vport::default().as_bytes().to_vec()),
        (op::GET_STATS, VportStats::default().as_bytes().to_vec()),
    ]
}

/// The messages of a driver's shutdown.
fn stop() -> Vec<(u32, Vec<u8>)> {
    let vport = Vport::default().as_bytes().to_vec();
    vec![
        (op::DISABLE_VPORT, vport.clone()),
        (op::DISABLE_QUEUES, queues()),
        (op::DESTROY_VPORT, vport),
    ]
}

fn tx_queues() -> Vec<u8> {
    let info = |type_, ring| TxqInfo {
        dma_ring_addr: U64::new(ring),
        type_: U32::new(type_),
        model: U16::new(queue_model::SPLIT),
        sched_mode: U16::new(sched_mode::FLOW),
        ring_len: U16::new(64),
        ..TxqInfo::default()
    };
    let header = ConfigTxQueues {
        num_qinfo: U16::new(2),
        ..ConfigTxQueues::default()
    };
    let infos = [
        info(queue_type::TX, 0x15_0000),
        info(queue_type::TX_COMPLETION, 0x15_1000),
    ];
    message(&header, &infos)
}

fn rx_queues() -> Vec<u8> {
    let info = |type_, id, ring| RxqInfo {
        desc_ids: U64::new(rxdid_m::FLEX_SPLITQ),
        dma_ring_addr: U64::new(ring),
        type_: U32::new(type_),
        queue_id: U32::new(id),
        model: U16::new(queue_model::SPLIT),
        ring_len: U16::new(64),
        qflags: U16::new(rxq_flags::DESC_SIZE_32BYTE),
        rx_bufq2_id: U16::new(1),
        bufq2_ena: 1,
        data_buffer_size: U32::new(2048),
        max_pkt_size: U32::new(1522),
        ..RxqInfo::default()
    };
    let header = ConfigRxQueues {
        num_qinfo: U16::new(3),
        ..ConfigRxQueues::default()
    };
    let infos = [
        info(queue_type::RX, 0, 0x15_2000),
        info(queue_type::RX_BUFFER, 0, 0x15_3000),
        info(queue_type::RX_BUFFER, 1, 0x15_4000),
    ];
    message(&header, &infos)
}

fn queues() -> Vec<u8> {
    let chunk = |type_, num| QueueChunk {
        type_: U32::new(type_),
        num_queues: U32::new(num),
        ..QueueChunk::default()
    };
    let mut header = DelEnaDisQueues::default();
    header.chunks.num_chunks = U16::new(4);
    let chunks = [
        chunk(queue_type::TX, 1),
        chunk(queue_type::TX_COMPLETION, 1),
        chunk(queue_type::RX, 1),
        chunk(queue_type::RX_BUFFER, 2),
    ];
    message(&header, &chunks)
}
