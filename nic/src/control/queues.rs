// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Queues: configured, enabled, disabled, added, given back, mapped to vectors.

use adit_uapi::desc::ids::rxdid_m;
use adit_uapi::virtchnl2::{
    queue_model, queue_type, rxq_flags, sched_mode, AddQueues, ConfigRxQueues, ConfigTxQueues,
    DelEnaDisQueues, QueueChunk, QueueRegChunks, QueueVector, QueueVectorMaps, RxqInfo, TxqInfo,
};
use zerocopy::little_endian::{U16, U32};
use zerocopy::IntoBytes;

use super::queue_set::{kind_of, Counts, QueueSet, State};
use super::vport::Vport;
use super::{wire, Control, Refusal};
use crate::dataplane::{DataPlane, QueueConfig, QueueError, QueueId, QueueKind, Ring, SchedMode};

/// Entries of a ring: Linux asks for 64 to 8160 in steps of 32, DPDK's completion rings are twice
/// as long as its TX rings.
const RING_LEN: std::ops::RangeInclusive<u16> = 32..=16384;
/// Entries of a ring come in multiples of this.
const RING_LEN_MULTIPLE: u16 = 8;
/// Bytes that a ring's address is a multiple of.
const RING_ALIGN: u64 = 128;
/// Bytes of a packet buffer: what a completion's length field can say (14 bits).
const BUFFER_LEN: std::ops::RangeInclusive<u32> = 64..=0x3FFF;
/// Names of a TX queue in completions (10 bits).
const MAX_RELATIVE_ID: u16 = 0x3FF;
/// Throttling intervals of a vector.
const ITR_INDEXES: u32 = 3;
/// Bytes of FCS, which drivers count in the longest packet and the data plane does not.
const FCS_LEN: u32 = 4;
/// The shortest longest packet, FCS included.
const MIN_PACKET_LEN: u32 = 64;

impl Control {
    pub(super) fn config_tx_queues(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
    ) -> Result<(), Refusal> {
        let (header, rest) = wire::header::<ConfigTxQueues>(payload)?;
        let infos = wire::elements::<TxqInfo>(rest, header.num_qinfo.get())?;
        let id = header.vport_id.get();
        let vport = self.vport(id)?;
        let pasids = |i: &TxqInfo| [i.egress_pasid, i.egress_hdr_pasid, i.egress_buf_pasid];
        vport.check_pasids(infos.iter().flat_map(pasids))?;
        let queues = &mut vport.queues;
        let configs = infos.iter().map(|info| tx_config(queues, info));
        let configs = configs.collect::<Result<Vec<_>, _>>()?;
        configure(queues, id, &configs, dp)
    }

    pub(super) fn config_rx_queues(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
    ) -> Result<(), Refusal> {
        let (header, rest) = wire::header::<ConfigRxQueues>(payload)?;
        let infos = wire::elements::<RxqInfo>(rest, header.num_qinfo.get())?;
        let id = header.vport_id.get();
        let vport = self.vport(id)?;
        let pasids = |i: &RxqInfo| [i.ingress_pasid, i.ingress_hdr_pasid, i.ingress_buf_pasid];
        vport.check_pasids(infos.iter().flat_map(pasids))?;
        let queues = &mut vport.queues;
        let configs = infos.iter().map(|info| rx_config(queues, info));
        let configs = configs.collect::<Result<Vec<_>, _>>()?;
        configure(queues, id, &configs, dp)
    }

    pub(super) fn enable_queues(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
    ) -> Result<(), Refusal> {
        let (_, named, queues) = self.named_queues(payload)?;
        for &queue in &named {
            if queues.slot(queue)?.state < State::Configured {
                return Err(Refusal::OutOfOrder);
            }
        }
        for queue in named {
            dp.enable(queue).map_err(refusal)?;
            queues.slot(queue)?.state = State::Enabled;
        }
        Ok(())
    }

    pub(super) fn disable_queues(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
    ) -> Result<(), Refusal> {
        let (_, named, queues) = self.named_queues(payload)?;
        let mut running = Vec::with_capacity(named.len());
        for queue in named {
            let slot = queues.slot(queue)?;
            // A queue named twice stops once.
            if slot.state == State::Enabled {
                slot.state = State::Configured;
                running.push(queue);
            }
        }
        dp.disable(&running);
        Ok(())
    }

    pub(super) fn add_queues(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
        reply: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let (asked, _) = wire::header::<AddQueues>(payload)?;
        let id = asked.vport_id.get();
        let counts = Counts {
            tx: asked.num_tx_q.get(),
            tx_completion: asked.num_tx_complq.get(),
            rx: asked.num_rx_q.get(),
            rx_buffer: asked.num_rx_bufq.get(),
        };
        if counts == Counts::default() {
            return Err(Refusal::BadField);
        }
        let queues = &mut self.own_vport(id)?.queues;
        let chunks = queues.allocate(counts)?;
        dp.forwarding(id).rx_queues = queues.allocated(QueueKind::Rx);
        let given = AddQueues {
            chunks: QueueRegChunks {
                num_chunks: U16::new(chunks.len() as u16),
                ..QueueRegChunks::default()
            },
            ..*asked
        };
        reply.extend_from_slice(given.as_bytes());
        reply.extend_from_slice(chunks.as_bytes());
        Ok(())
    }

    pub(super) fn del_queues(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
    ) -> Result<(), Refusal> {
        let (id, named, _) = self.named_queues(payload)?;
        let queues = &mut self.own_vport(id)?.queues;
        for queue in named {
            queues.remove(queue, dp);
        }
        dp.forwarding(id).rx_queues = queues.allocated(QueueKind::Rx);
        Ok(())
    }

    /// MAP_QUEUE_VECTOR and UNMAP_QUEUE_VECTOR. Only TX and RX queues interrupt: what their
    /// completion and buffer queues do shows in them.
    pub(super) fn map_queue_vector(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
        map: bool,
    ) -> Result<(), Refusal> {
        let (header, rest) = wire::header::<QueueVectorMaps>(payload)?;
        let maps = wire::elements::<QueueVector>(rest, header.num_qv_maps.get())?;
        let id = header.vport_id.get();
        self.vport(id)?;
        for entry in maps {
            let queue = interrupting(entry)?;
            self.vport(id)?.queues.slot(queue)?;
            let vector = entry.vector_id.get();
            if map && self.device_vector(id, vector)?.is_none() {
                return Err(Refusal::NotAllocated);
            }
            if map && entry.itr_idx.get() >= ITR_INDEXES {
                return Err(Refusal::OutOfRange);
            }
        }
        for entry in maps {
            let queue = interrupting(entry)?;
            let vector = map.then(|| entry.vector_id.get());
            let device = match vector {
                Some(vector) => self.device_vector(id, vector)?,
                None => None,
            };
            self.vport(id)?.queues.slot(queue)?.vector = vector;
            dp.map_vector(queue, device.map(|v| (v, entry.itr_idx.get())));
        }
        Ok(())
    }

    /// What the data plane calls a vector of a vport: an ADI's own, or one that was allocated.
    fn device_vector(&mut self, vport: u32, vector: u16) -> Result<Option<u32>, Refusal> {
        let own = self.vport(vport)?.adi;
        Ok(match own {
            Some(adi) => (vector < adi.vectors).then(|| adi.first_vector + u32::from(vector)),
            None => self.vectors.allocated(vector).then(|| u32::from(vector)),
        })
    }

    /// The queues that ENABLE_QUEUES, DISABLE_QUEUES or DEL_QUEUES name, all of which the vport
    /// has.
    fn named_queues(
        &mut self,
        payload: &[u8],
    ) -> Result<(u32, Vec<QueueId>, &mut QueueSet), Refusal> {
        let (header, rest) = wire::header::<DelEnaDisQueues>(payload)?;
        let chunks = wire::elements::<QueueChunk>(rest, header.chunks.num_chunks.get())?;
        let id = header.vport_id.get();
        let queues = &mut self.vport(id)?.queues;
        let mut named = Vec::new();
        for chunk in chunks {
            let (start, count) = (chunk.start_queue_id.get(), chunk.num_queues.get());
            named.extend(queues.range(chunk.type_.get(), start, count)?);
        }
        Ok((id, named, queues))
    }
}

impl Vport {
    /// A queue names the PASID of its ADI, and none outside of one.
    fn check_pasids(&self, mut pasids: impl Iterator<Item = U32>) -> Result<(), Refusal> {
        let own = self.adi.map_or(0, |adi| adi.pasid);
        match pasids.all(|pasid| pasid.get() == own) {
            true => Ok(()),
            false => Err(Refusal::NotYours),
        }
    }
}

fn interrupting(entry: &QueueVector) -> Result<QueueId, Refusal> {
    match kind_of(entry.queue_type.get())? {
        kind @ (QueueKind::Tx | QueueKind::Rx) => Ok(QueueId {
            kind,
            index: entry.queue_id.get(),
        }),
        QueueKind::TxCompletion | QueueKind::RxBuffer => Err(Refusal::BadField),
    }
}

/// Sets up queues, all of which have been checked. Their doorbells are left alone: Linux rings
/// those of buffer queues before it says where the rings are.
fn configure(
    queues: &mut QueueSet,
    vport: u32,
    configs: &[(QueueId, QueueConfig)],
    dp: &mut impl DataPlane,
) -> Result<(), Refusal> {
    for &(queue, _) in configs {
        if queues.slot(queue)?.state == State::Enabled {
            return Err(Refusal::Busy);
        }
    }
    for &(queue, config) in configs {
        dp.configure(vport, queue.index, config).map_err(refusal)?;
        queues.slot(queue)?.state = State::Configured;
    }
    Ok(())
}

fn refusal(error: QueueError) -> Refusal {
    match error {
        QueueError::NoSuchQueue(_) => Refusal::DataPlane,
        QueueError::NotConfigured(_) => Refusal::OutOfOrder,
        QueueError::Enabled(_) => Refusal::Busy,
    }
}

fn ring(base: u64, len: u16, entry: u64) -> Result<Ring, Refusal> {
    if !RING_LEN.contains(&len) || len % RING_LEN_MULTIPLE != 0 {
        return Err(Refusal::OutOfRange);
    }
    if base % RING_ALIGN != 0 || base.checked_add(u64::from(len) * entry).is_none() {
        return Err(Refusal::BadField);
    }
    Ok(Ring { base, len })
}

fn tx_config(queues: &mut QueueSet, info: &TxqInfo) -> Result<(QueueId, QueueConfig), Refusal> {
    if info.model.get() != queue_model::SPLIT {
        return Err(Refusal::BadField);
    }
    let sched = match info.sched_mode.get() {
        sched_mode::QUEUE => SchedMode::Queue,
        sched_mode::FLOW => SchedMode::Flow,
        _ => return Err(Refusal::BadField),
    };
    let (base, len) = (info.dma_ring_addr.get(), info.ring_len.get());
    let (kind, config) = match info.type_.get() {
        queue_type::TX => {
            let completion_queue = u32::from(info.tx_compl_queue_id.get());
            queues.slot(QueueId {
                kind: QueueKind::TxCompletion,
                index: completion_queue,
            })?;
            let relative_id = info.relative_queue_id.get();
            if relative_id > MAX_RELATIVE_ID {
                return Err(Refusal::OutOfRange);
            }
            let ring = ring(base, len, 16)?;
            (
                QueueKind::Tx,
                QueueConfig::Tx {
                    ring,
                    sched,
                    completion_queue,
                    relative_id,
                },
            )
        }
        queue_type::TX_COMPLETION => {
            let ring = ring(base, len, 8)?;
            (
                QueueKind::TxCompletion,
                QueueConfig::TxCompletion { ring, sched },
            )
        }
        _ => return Err(Refusal::BadField),
    };
    let queue = QueueId {
        kind,
        index: info.queue_id.get(),
    };
    queues.slot(queue)?;
    Ok((queue, config))
}

fn rx_config(queues: &mut QueueSet, info: &RxqInfo) -> Result<(QueueId, QueueConfig), Refusal> {
    let flags = info.qflags.get();
    if info.model.get() != queue_model::SPLIT || flags & rxq_flags::DESC_SIZE_16BYTE != 0 {
        return Err(Refusal::BadField);
    }
    let header_split = flags & rxq_flags::HDR_SPLIT != 0;
    let ring = ring(info.dma_ring_addr.get(), info.ring_len.get(), 32)?;
    let (kind, config) = match info.type_.get() {
        queue_type::RX => {
            if info.desc_ids.get() & rxdid_m::FLEX_SPLITQ == 0 {
                return Err(Refusal::BadField);
            }
            let max_packet_len = info.max_pkt_size.get();
            if max_packet_len < MIN_PACKET_LEN {
                return Err(Refusal::OutOfRange);
            }
            let mut buffers = |id: U16| {
                let index = u32::from(id.get());
                queues
                    .slot(QueueId {
                        kind: QueueKind::RxBuffer,
                        index,
                    })
                    .map(|_| index)
            };
            let second = (info.bufq2_ena != 0)
                .then(|| buffers(info.rx_bufq2_id))
                .transpose()?;
            let config = QueueConfig::Rx {
                ring,
                buffer_queue: buffers(info.rx_bufq1_id)?,
                buffer_queue_2: second,
                rsc: flags & rxq_flags::RSC != 0,
                header_split,
                max_packet_len: max_packet_len - FCS_LEN,
            };
            (QueueKind::Rx, config)
        }
        queue_type::RX_BUFFER => {
            let buffer_len = info.data_buffer_size.get();
            let header_len = if header_split {
                info.hdr_buffer_size.get()
            } else {
                0
            };
            if !BUFFER_LEN.contains(&buffer_len) || (header_split && header_len == 0) {
                return Err(Refusal::OutOfRange);
            }
            (
                QueueKind::RxBuffer,
                QueueConfig::RxBuffer {
                    ring,
                    buffer_len,
                    header_len,
                },
            )
        }
        _ => return Err(Refusal::BadField),
    };
    let queue = QueueId {
        kind,
        index: info.queue_id.get(),
    };
    queues.slot(queue)?;
    Ok((queue, config))
}
