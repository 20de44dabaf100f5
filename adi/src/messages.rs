// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The messages that set up an ADI's queues.
//!
//! IDs are relative to the ADI, from 0; the vport is 0, and the driver fills in the PASIDs
//! (`adit_uapi::vfio`).

use std::hash::{BuildHasher, RandomState};

use adit_uapi::desc::ids::rxdid_m;
use adit_uapi::vfio::BUFFER_QUEUES_PER_PAIR;
use adit_uapi::virtchnl2::adi::{self, fault_flags, AdiFault};
use adit_uapi::virtchnl2::{
    itr_idx, mac_addr_type, op, queue_model, queue_type, rss, rxq_flags, sched_mode,
    ConfigRxQueues, ConfigTxQueues, DelEnaDisQueues, MacAddr, MacAddrList, QueueChunk, QueueChunks,
    QueueVector, QueueVectorMaps, RssHash, RssKey, RssLut, RxqInfo, TxqInfo, Vport, VportStats,
};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use crate::{Device, Error, RxQueue, TxQueue};

/// The length of an Ethernet header with a VLAN tag and of the FCS, which the device includes in
/// the packet size.
const FRAME_OVERHEAD: u32 = 14 + 4 + 4;

fn send(device: &dyn Device, opcode: u32, parts: &[&[u8]]) -> Result<Vec<u8>, Error> {
    device.request(opcode, &parts.concat())
}

/// Configures the rings of queue pair `pair`.
pub(crate) fn configure(
    device: &dyn Device,
    pair: u16,
    tx: &TxQueue,
    rx: &RxQueue,
    buffer_len: u32,
    max_mtu: u16,
) -> Result<(), Error> {
    let id = U32::new(pair.into());
    let tx_info = |type_, iova, len| TxqInfo {
        dma_ring_addr: U64::new(iova),
        type_: U32::new(type_),
        queue_id: id,
        model: U16::new(queue_model::SPLIT),
        sched_mode: U16::new(sched_mode::QUEUE),
        ring_len: U16::new(len),
        tx_compl_queue_id: U16::new(pair),
        ..TxqInfo::default()
    };
    let infos = [
        tx_info(queue_type::TX, tx.ring().iova(), tx.ring().len()),
        tx_info(
            queue_type::TX_COMPLETION,
            tx.completions().iova(),
            tx.completions().len(),
        ),
    ];
    let header = ConfigTxQueues {
        num_qinfo: U16::new(infos.len() as u16),
        ..ConfigTxQueues::default()
    };
    let parts = [header.as_bytes(), infos.as_bytes()];
    send(device, op::CONFIG_TX_QUEUES, &parts)?;

    let buffers = |n: u16| pair * BUFFER_QUEUES_PER_PAIR as u16 + n;
    // A frame must fit into one buffer, or it is not delivered.
    let max_packet = (u32::from(max_mtu) + FRAME_OVERHEAD).min(buffer_len);
    let rx_info = |type_, id: u16, iova, len| RxqInfo {
        desc_ids: U64::new(rxdid_m::FLEX_SPLITQ),
        dma_ring_addr: U64::new(iova),
        type_: U32::new(type_),
        queue_id: U32::new(id.into()),
        model: U16::new(queue_model::SPLIT),
        data_buffer_size: U32::new(buffer_len),
        max_pkt_size: U32::new(max_packet),
        ring_len: U16::new(len),
        qflags: U16::new(rxq_flags::DESC_SIZE_32BYTE),
        rx_bufq1_id: U16::new(buffers(0)),
        rx_bufq2_id: U16::new(buffers(1)),
        bufq2_ena: 1,
        ..RxqInfo::default()
    };
    let [first, second] = rx.buffers().each_ref().map(|b| b.ring());
    let infos = [
        rx_info(queue_type::RX, pair, rx.ring().iova(), rx.ring().len()),
        rx_info(queue_type::RX_BUFFER, buffers(0), first.iova(), first.len()),
        rx_info(
            queue_type::RX_BUFFER,
            buffers(1),
            second.iova(),
            second.len(),
        ),
    ];
    let header = ConfigRxQueues {
        num_qinfo: U16::new(infos.len() as u16),
        ..ConfigRxQueues::default()
    };
    let parts = [header.as_bytes(), infos.as_bytes()];
    send(device, op::CONFIG_RX_QUEUES, &parts)?;
    Ok(())
}

/// Maps both queues of a pair to `vector`.
pub(crate) fn map_vector(device: &dyn Device, pair: u16, vector: u16) -> Result<(), Error> {
    let map = |queue_type, itr| QueueVector {
        queue_id: U32::new(pair.into()),
        vector_id: U16::new(vector),
        itr_idx: U32::new(itr),
        queue_type: U32::new(queue_type),
        ..QueueVector::default()
    };
    let maps = [
        map(queue_type::RX, itr_idx::IDX_0),
        map(queue_type::TX, itr_idx::IDX_1),
    ];
    let header = QueueVectorMaps {
        num_qv_maps: U16::new(maps.len() as u16),
        ..QueueVectorMaps::default()
    };
    let parts = [header.as_bytes(), maps.as_bytes()];
    send(device, op::MAP_QUEUE_VECTOR, &parts)?;
    Ok(())
}

/// Enables (ENABLE_QUEUES) or disables (DISABLE_QUEUES) a pair's queues.
pub(crate) fn switch_queues(device: &dyn Device, opcode: u32, pair: u16) -> Result<(), Error> {
    let pair = u32::from(pair);
    let chunk = |type_, start, count| QueueChunk {
        type_: U32::new(type_),
        start_queue_id: U32::new(start),
        num_queues: U32::new(count),
        ..QueueChunk::default()
    };
    let chunks = [
        chunk(queue_type::TX, pair, 1),
        chunk(queue_type::TX_COMPLETION, pair, 1),
        chunk(queue_type::RX, pair, 1),
        chunk(
            queue_type::RX_BUFFER,
            pair * BUFFER_QUEUES_PER_PAIR,
            BUFFER_QUEUES_PER_PAIR,
        ),
    ];
    let header = DelEnaDisQueues {
        chunks: QueueChunks {
            num_chunks: U16::new(chunks.len() as u16),
            ..QueueChunks::default()
        },
        ..DelEnaDisQueues::default()
    };
    send(device, opcode, &[header.as_bytes(), chunks.as_bytes()])?;
    Ok(())
}

/// Distributes received flows evenly over `pairs` queue pairs.
pub(crate) fn spread(device: &dyn Device, pairs: u16) -> Result<(), Error> {
    // A request for no entries returns all entries of the device.
    let reply = send(device, op::GET_RSS_LUT, &[RssLut::default().as_bytes()])?;
    let wrong = |_| Error::Reply {
        opcode: op::GET_RSS_LUT,
        got: reply.len(),
        want: RssLut::LEN,
    };
    let (header, _) = RssLut::read_from_prefix(&reply).map_err(wrong)?;
    let entries = 0..header.lut_entries.get();
    let lut: Vec<U32> = entries.map(|n| U32::new((n % pairs).into())).collect();
    let parts = [header.as_bytes(), lut.as_bytes()];
    send(device, op::SET_RSS_LUT, &parts)?;
    // Without a key every hash is 0. A random one keeps clients from choosing their queue.
    let reply = send(device, op::GET_RSS_KEY, &[RssKey::default().as_bytes()])?;
    let wrong = |_| Error::Reply {
        opcode: op::GET_RSS_KEY,
        got: reply.len(),
        want: RssKey::LEN,
    };
    let (header, _) = RssKey::read_from_prefix(&reply).map_err(wrong)?;
    let key = random(header.key_len.get().into());
    send(device, op::SET_RSS_KEY, &[header.as_bytes(), &key])?;
    let hash = RssHash {
        ptype_groups: U64::new(rss::DEFAULT_HASH),
        ..RssHash::default()
    };
    send(device, op::SET_RSS_HASH, &[hash.as_bytes()])?;
    Ok(())
}

/// Returns random bytes, from the seed that the system gives to hash tables.
fn random(len: usize) -> Vec<u8> {
    let state = RandomState::new();
    let words = (0..len.div_ceil(8)).flat_map(|word| state.hash_one(word).to_ne_bytes());
    words.take(len).collect()
}

/// Adds a multicast address to those that the vport receives.
pub(crate) fn add_multicast(device: &dyn Device, addr: [u8; 6]) -> Result<(), Error> {
    let list = MacAddrList {
        num_mac_addr: U16::new(1),
        ..MacAddrList::default()
    };
    let addr = MacAddr {
        addr,
        type_: mac_addr_type::EXTRA,
        ..MacAddr::default()
    };
    send(
        device,
        op::ADD_MAC_ADDR,
        &[list.as_bytes(), addr.as_bytes()],
    )?;
    Ok(())
}

/// Enables (ENABLE_VPORT) or disables (DISABLE_VPORT) the vport.
pub(crate) fn switch_vport(device: &dyn Device, opcode: u32) -> Result<(), Error> {
    send(device, opcode, &[Vport::default().as_bytes()])?;
    Ok(())
}

/// Returns the first fault of a queue since the last call.
pub(crate) fn fault(device: &dyn Device) -> Result<AdiFault, Error> {
    let opcode = adi::op::GET_ADI_FAULT;
    let request = AdiFault {
        flags: U16::new(fault_flags::CLEAR),
        ..AdiFault::default()
    };
    let reply = send(device, opcode, &[request.as_bytes()])?;
    let wrong = |_| Error::Reply {
        opcode,
        got: reply.len(),
        want: AdiFault::LEN,
    };
    AdiFault::read_from_bytes(&reply).map_err(wrong)
}

/// Returns the device's counters.
pub(crate) fn stats(device: &dyn Device) -> Result<VportStats, Error> {
    let reply = send(device, op::GET_STATS, &[VportStats::default().as_bytes()])?;
    let wrong = |_| Error::Reply {
        opcode: op::GET_STATS,
        got: reply.len(),
        want: VportStats::LEN,
    };
    VportStats::read_from_bytes(&reply).map_err(wrong)
}
