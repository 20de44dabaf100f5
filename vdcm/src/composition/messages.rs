// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The messages to an ADI, made from the typed calls of the control plane.
//!
//! Nothing of a client's message is copied: fields that the control plane does not know are 0.

mod state;

use adit_function::dataplane::{QueueConfig, QueueId, QueueKind, Ring, SchedMode, VportCounters};
use adit_function::vport::RSS_KEY_LEN;
use adit_uapi::desc::ids::rxdid_m;
use adit_uapi::virtchnl2::adi::{fault_flags, op as adi_op, AdiFault};
use adit_uapi::virtchnl2::{
    mac_addr_type, op, queue_model, queue_type, rxq_flags, sched_mode, ConfigRxQueues,
    ConfigTxQueues, DelEnaDisQueues, MacAddr, MacAddrList, QueueChunk, QueueVector,
    QueueVectorMaps, RssHash, RssKey, RssLut, RxqInfo, TxqInfo, Vport, VportStats,
};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::backend::Ids;

pub(super) use state::{causes, positions};

/// The length of the FCS in bytes, which messages include in the longest packet.
const FCS_LEN: u32 = 4;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) opcode: u32,
    pub(super) payload: Vec<u8>,
}

/// Makes the messages to one ADI. Queues are numbered within the ADI, from 0.
#[derive(Clone, Copy)]
pub(super) struct Encoder(pub(super) Ids);

impl Encoder {
    fn queue(self, kind: QueueKind, own: u32) -> U32 {
        U32::new(self.0.first_queues[kind as usize] + own)
    }

    /// The number of a queue in a field of 16 bits.
    fn queue16(self, kind: QueueKind, own: u32) -> Option<U16> {
        u16::try_from(self.queue(kind, own).get())
            .ok()
            .map(U16::new)
    }

    fn vport(self) -> U32 {
        U32::new(self.0.vport)
    }

    /// The configuration of a queue. The queues that it refers to are numbered within the ADI, too;
    /// `None` if one has no number that a message can carry, or the single queue model is used.
    pub(super) fn configure(self, own: u32, config: &QueueConfig) -> Option<Message> {
        let pasid = U32::new(self.0.pasid);
        let queue_id = self.queue(config.kind(), own);
        let tx = |type_, ring: Ring, sched| TxqInfo {
            dma_ring_addr: U64::new(ring.base),
            type_: U32::new(type_),
            queue_id,
            model: U16::new(queue_model::SPLIT),
            sched_mode: U16::new(match sched {
                SchedMode::Queue => sched_mode::QUEUE,
                SchedMode::Flow => sched_mode::FLOW,
            }),
            ring_len: U16::new(ring.len),
            egress_pasid: pasid,
            egress_hdr_pasid: pasid,
            egress_buf_pasid: pasid,
            ..TxqInfo::default()
        };
        let rx = |type_, ring: Ring, flags| RxqInfo {
            desc_ids: U64::new(rxdid_m::FLEX_SPLITQ),
            dma_ring_addr: U64::new(ring.base),
            type_: U32::new(type_),
            queue_id,
            model: U16::new(queue_model::SPLIT),
            ring_len: U16::new(ring.len),
            qflags: U16::new(rxq_flags::DESC_SIZE_32BYTE | flags),
            ingress_pasid: pasid,
            ingress_hdr_pasid: pasid,
            ingress_buf_pasid: pasid,
            ..RxqInfo::default()
        };
        let flag = |set: bool, flag| if set { flag } else { 0 };
        Some(match *config {
            QueueConfig::Tx {
                ring,
                sched,
                completion_queue,
                relative_id,
            } => self.config_tx(TxqInfo {
                tx_compl_queue_id: self.queue16(QueueKind::TxCompletion, completion_queue)?,
                relative_queue_id: U16::new(relative_id),
                ..tx(queue_type::TX, ring, sched)
            }),
            QueueConfig::TxCompletion { ring, sched } => {
                self.config_tx(tx(queue_type::TX_COMPLETION, ring, sched))
            }
            QueueConfig::Rx {
                ring,
                buffer_queue,
                buffer_queue_2,
                rsc,
                header_split,
                max_packet_len,
            } => {
                let flags = flag(rsc, rxq_flags::RSC) | flag(header_split, rxq_flags::HDR_SPLIT);
                let second = match buffer_queue_2 {
                    Some(queue) => self.queue16(QueueKind::RxBuffer, queue)?,
                    None => U16::ZERO,
                };
                self.config_rx(RxqInfo {
                    rx_bufq1_id: self.queue16(QueueKind::RxBuffer, buffer_queue)?,
                    rx_bufq2_id: second,
                    bufq2_ena: buffer_queue_2.is_some().into(),
                    max_pkt_size: U32::new(max_packet_len.checked_add(FCS_LEN)?),
                    ..rx(queue_type::RX, ring, flags)
                })
            }
            QueueConfig::RxBuffer {
                ring,
                buffer_len,
                header_len,
            } => self.config_rx(RxqInfo {
                data_buffer_size: U32::new(buffer_len),
                hdr_buffer_size: U16::new(header_len),
                ..rx(
                    queue_type::RX_BUFFER,
                    ring,
                    flag(header_len != 0, rxq_flags::HDR_SPLIT),
                )
            }),
            QueueConfig::SingleTx { .. } | QueueConfig::SingleRx { .. } => return None,
        })
    }

    fn config_tx(self, info: TxqInfo) -> Message {
        let header = ConfigTxQueues {
            vport_id: self.vport(),
            num_qinfo: U16::new(1),
            ..ConfigTxQueues::default()
        };
        message(op::CONFIG_TX_QUEUES, &header, &[info])
    }

    fn config_rx(self, info: RxqInfo) -> Message {
        let header = ConfigRxQueues {
            vport_id: self.vport(),
            num_qinfo: U16::new(1),
            ..ConfigRxQueues::default()
        };
        message(op::CONFIG_RX_QUEUES, &header, &[info])
    }

    /// Starts a queue.
    pub(super) fn enable(self, queue: QueueId) -> Message {
        self.queues(op::ENABLE_QUEUES, &[queue])
    }

    /// Stops queues, all in one message: a TX queue and its completion queue stop together, after
    /// the marker in the latter.
    pub(super) fn disable(self, queues: &[QueueId]) -> Message {
        self.queues(op::DISABLE_QUEUES, queues)
    }

    fn queues(self, opcode: u32, queues: &[QueueId]) -> Message {
        let mut sorted = queues.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let runs = sorted.chunk_by(|a, b| a.kind == b.kind && a.index + 1 == b.index);
        let chunks: Vec<_> = runs
            .map(|run| QueueChunk {
                type_: U32::new(type_of(run[0].kind)),
                start_queue_id: self.queue(run[0].kind, run[0].index),
                num_queues: U32::new(run.len() as u32),
                ..QueueChunk::default()
            })
            .collect();
        let mut header = DelEnaDisQueues {
            vport_id: self.vport(),
            ..DelEnaDisQueues::default()
        };
        header.chunks.num_chunks = U16::new(chunks.len() as u16);
        message(opcode, &header, &chunks)
    }

    /// Maps a queue to a vector of the ADI, or unmaps it from that.
    pub(super) fn map_vector(self, queue: QueueId, vector: u16, itr: u32, map: bool) -> Message {
        let entry = QueueVector {
            queue_id: self.queue(queue.kind, queue.index),
            vector_id: U16::new(vector),
            itr_idx: U32::new(itr),
            queue_type: U32::new(type_of(queue.kind)),
            ..QueueVector::default()
        };
        let header = QueueVectorMaps {
            vport_id: self.vport(),
            num_qv_maps: U16::new(1),
            ..QueueVectorMaps::default()
        };
        let opcode = match map {
            true => op::MAP_QUEUE_VECTOR,
            false => op::UNMAP_QUEUE_VECTOR,
        };
        message(opcode, &header, &[entry])
    }

    /// Enables or disables the vport.
    pub(super) fn enable_vport(self, enable: bool) -> Message {
        let opcode = match enable {
            true => op::ENABLE_VPORT,
            false => op::DISABLE_VPORT,
        };
        let header = Vport {
            vport_id: self.vport(),
            ..Vport::default()
        };
        message::<_, u8>(opcode, &header, &[])
    }

    /// Adds or removes an address.
    pub(super) fn address(self, address: [u8; 6], own: bool, add: bool) -> Message {
        let header = MacAddrList {
            vport_id: self.vport(),
            num_mac_addr: U16::new(1),
            ..MacAddrList::default()
        };
        let entry = MacAddr {
            addr: address,
            type_: match own {
                true => mac_addr_type::PRIMARY,
                false => mac_addr_type::EXTRA,
            },
            pad: 0,
        };
        let opcode = match add {
            true => op::ADD_MAC_ADDR,
            false => op::DEL_MAC_ADDR,
        };
        message(opcode, &header, &[entry])
    }

    /// Sets the key of the hash.
    pub(super) fn rss_key(self, key: &[u8; RSS_KEY_LEN]) -> Message {
        let header = RssKey {
            vport_id: self.vport(),
            key_len: U16::new(RSS_KEY_LEN as u16),
            pad: 0,
        };
        message(op::SET_RSS_KEY, &header, key)
    }

    /// Sets the whole look-up table; entries are RX queues of the ADI.
    pub(super) fn rss_lut(self, entries: &[U32]) -> Message {
        let header = RssLut {
            vport_id: self.vport(),
            lut_entries: U16::new(entries.len() as u16),
            ..RssLut::default()
        };
        message(op::SET_RSS_LUT, &header, entries)
    }

    /// Sets the types of packets that are hashed.
    pub(super) fn rss_hash(self, groups: u64) -> Message {
        let header = RssHash {
            ptype_groups: U64::new(groups),
            vport_id: self.vport(),
            ..RssHash::default()
        };
        message::<_, u8>(op::SET_RSS_HASH, &header, &[])
    }

    /// Requests the counters; see [`counters`].
    pub(super) fn stats(self) -> Message {
        let header = VportStats {
            vport_id: self.vport(),
            ..VportStats::default()
        };
        message::<_, u8>(op::GET_STATS, &header, &[])
    }

    /// Requests the first fault, and clears the record.
    pub(super) fn fault(self) -> Message {
        let header = AdiFault {
            adi_id: U16::new(self.0.adi),
            flags: U16::new(fault_flags::CLEAR),
            ..AdiFault::default()
        };
        message::<_, u8>(adi_op::GET_ADI_FAULT, &header, &[])
    }
}

/// The counters in the reply to [`Encoder::stats`]; `None` if it is too short.
pub(super) fn counters(reply: &[u8]) -> Option<VportCounters> {
    let (stats, _) = VportStats::read_from_prefix(reply).ok()?;
    Some(VportCounters {
        rx_bytes: stats.rx_bytes.get(),
        rx_unicast: stats.rx_unicast.get(),
        rx_multicast: stats.rx_multicast.get(),
        rx_broadcast: stats.rx_broadcast.get(),
        rx_discards: stats.rx_discards.get(),
        rx_errors: stats.rx_errors.get(),
        rx_filtered: 0,
        rx_no_buffer: stats.rx_overflow_drop.get(),
        tx_bytes: stats.tx_bytes.get(),
        tx_unicast: stats.tx_unicast.get(),
        tx_multicast: stats.tx_multicast.get(),
        tx_broadcast: stats.tx_broadcast.get(),
        tx_discards: stats.tx_discards.get(),
        tx_errors: stats.tx_errors.get(),
    })
}

fn type_of(kind: QueueKind) -> u32 {
    match kind {
        QueueKind::Tx => queue_type::TX,
        QueueKind::Rx => queue_type::RX,
        QueueKind::TxCompletion => queue_type::TX_COMPLETION,
        QueueKind::RxBuffer => queue_type::RX_BUFFER,
    }
}

fn message<H, E>(opcode: u32, header: &H, elements: &[E]) -> Message
where
    H: IntoBytes + Immutable,
    E: IntoBytes + Immutable,
{
    Message {
        opcode,
        payload: [header.as_bytes(), elements.as_bytes()].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: Ids = Ids {
        vport: 9,
        adi: 3,
        pasid: 77,
        first_queues: [10, 20, 30, 40],
    };

    const RING: Ring = Ring {
        base: 0x1000,
        len: 512,
    };

    #[test]
    fn a_tx_queue_has_the_ids_and_the_pasid_of_the_adi() {
        let config = QueueConfig::Tx {
            ring: RING,
            sched: SchedMode::Flow,
            completion_queue: 1,
            relative_id: 5,
        };
        let message = Encoder(IDS).configure(2, &config).unwrap();
        assert_eq!(message.opcode, op::CONFIG_TX_QUEUES);
        let (header, rest) = ConfigTxQueues::read_from_prefix(&message.payload).unwrap();
        assert_eq!((header.vport_id.get(), header.num_qinfo.get()), (9, 1));
        let info = TxqInfo::read_from_bytes(rest).unwrap();
        let ids = (info.queue_id.get(), info.tx_compl_queue_id.get());
        assert_eq!(ids, (12, 31));
        assert_eq!(info.relative_queue_id.get(), 5);
        let pasids = [
            info.egress_pasid,
            info.egress_hdr_pasid,
            info.egress_buf_pasid,
        ];
        assert_eq!(pasids.map(U32::get), [77; 3]);
    }

    #[test]
    fn queues_of_one_message_are_in_runs() {
        let queue = |kind, index| QueueId { kind, index };
        let queues = [
            queue(QueueKind::Tx, 1),
            queue(QueueKind::TxCompletion, 0),
            queue(QueueKind::Tx, 0),
            queue(QueueKind::Tx, 3),
        ];
        let message = Encoder(IDS).disable(&queues);
        let (header, rest) = DelEnaDisQueues::read_from_prefix(&message.payload).unwrap();
        assert_eq!(header.chunks.num_chunks.get(), 3);
        let chunks: Vec<_> = rest
            .chunks(QueueChunk::LEN)
            .map(|bytes| QueueChunk::read_from_bytes(bytes).unwrap())
            .map(|c| (c.type_.get(), c.start_queue_id.get(), c.num_queues.get()))
            .collect();
        assert_eq!(chunks, [(0, 10, 2), (0, 13, 1), (2, 30, 1)]);
    }

    #[test]
    fn an_id_that_no_message_can_carry_is_refused() {
        let mut ids = IDS;
        ids.first_queues = [0x1_0000; 4];
        let config = QueueConfig::Tx {
            ring: RING,
            sched: SchedMode::Queue,
            completion_queue: 0,
            relative_id: 0,
        };
        assert_eq!(Encoder(ids).configure(0, &config), None);
    }
}
