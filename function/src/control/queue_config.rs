// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Validation of queue configurations: CONFIG_TX_QUEUES and CONFIG_RX_QUEUES, queue by queue.

use adit_uapi::desc::ids::rxdid_m;
use adit_uapi::virtchnl2::{queue_model, queue_type, rxq_flags, sched_mode, RxqInfo, TxqInfo};
use zerocopy::little_endian::{U16, U32};

use super::queue_set::QueueSet;
use super::Refusal;
use crate::dataplane::{QueueConfig, QueueId, QueueKind, Ring, SchedMode};

/// The number of entries of a ring: Linux requests 64 to 8160 in steps of 32, and DPDK's completion
/// rings are twice as long as its TX rings.
const RING_LEN: std::ops::RangeInclusive<u16> = 32..=16384;
/// The number of entries of a ring must be a multiple of this.
const RING_LEN_MULTIPLE: u16 = 8;
/// The alignment of a ring's address in bytes.
const RING_ALIGN: u64 = 128;
/// The size of a packet buffer in bytes: the range of a completion's length field (14 bits).
const BUFFER_LEN: std::ops::RangeInclusive<u32> = 64..=0x3FFF;
/// The largest id of a TX queue in completions (10 bits).
const MAX_RELATIVE_ID: u16 = 0x3FF;
/// The length of the FCS in bytes, which drivers include in the longest packet and the data plane
/// does not.
const FCS_LEN: u32 = 4;
/// The smallest value for the longest packet, FCS included.
const MIN_PACKET_LEN: u32 = 64;

/// The part of a message for one queue.
pub(super) trait QueueInfo {
    /// The PASIDs that it contains.
    fn pasids(&self) -> [U32; 3];

    /// Validates it; returns the queue and its configuration.
    fn config(&self, queues: &mut QueueSet) -> Result<(QueueId, QueueConfig), Refusal>;
}

impl QueueInfo for TxqInfo {
    fn pasids(&self) -> [U32; 3] {
        [
            self.egress_pasid,
            self.egress_hdr_pasid,
            self.egress_buf_pasid,
        ]
    }

    fn config(&self, queues: &mut QueueSet) -> Result<(QueueId, QueueConfig), Refusal> {
        if is_single(self.model)? != queues.single.tx {
            return Err(Refusal::BadField);
        }
        let sched = match self.sched_mode.get() {
            sched_mode::QUEUE => SchedMode::Queue,
            sched_mode::FLOW => SchedMode::Flow,
            _ => return Err(Refusal::BadField),
        };
        let (base, len) = (self.dma_ring_addr.get(), self.ring_len.get());
        let (kind, config) = match self.type_.get() {
            queue_type::TX if queues.single.tx => {
                let ring = ring(base, len, 16)?;
                (QueueKind::Tx, QueueConfig::SingleTx { ring })
            }
            queue_type::TX => {
                let completion_queue = u32::from(self.tx_compl_queue_id.get());
                queues.slot(QueueId {
                    kind: QueueKind::TxCompletion,
                    index: completion_queue,
                })?;
                let relative_id = self.relative_queue_id.get();
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
            index: self.queue_id.get(),
        };
        queues.slot(queue)?;
        Ok((queue, config))
    }
}

impl QueueInfo for RxqInfo {
    fn pasids(&self) -> [U32; 3] {
        [
            self.ingress_pasid,
            self.ingress_hdr_pasid,
            self.ingress_buf_pasid,
        ]
    }

    fn config(&self, queues: &mut QueueSet) -> Result<(QueueId, QueueConfig), Refusal> {
        let flags = self.qflags.get();
        if is_single(self.model)? != queues.single.rx || flags & rxq_flags::DESC_SIZE_16BYTE != 0 {
            return Err(Refusal::BadField);
        }
        // Both models use the bit FLEX_SPLITQ for their descriptor profile.
        let rx = self.type_.get() == queue_type::RX;
        if rx && self.desc_ids.get() & rxdid_m::FLEX_SPLITQ == 0 {
            return Err(Refusal::BadField);
        }
        let header_split = flags & rxq_flags::HDR_SPLIT != 0;
        let rsc = flags & rxq_flags::RSC != 0;
        if (header_split && queues.offered.hsplit == 0) || (rsc && queues.offered.rsc == 0) {
            return Err(Refusal::NotOffered);
        }
        let ring = ring(self.dma_ring_addr.get(), self.ring_len.get(), 32)?;
        let (kind, config) = match self.type_.get() {
            queue_type::RX if queues.single.rx => {
                let buffer_len = self.data_buffer_size.get();
                if !BUFFER_LEN.contains(&buffer_len) {
                    return Err(Refusal::OutOfRange);
                }
                let max_packet_len = max_packet_len(self)?;
                let config = QueueConfig::SingleRx {
                    ring,
                    buffer_len,
                    max_packet_len,
                };
                (QueueKind::Rx, config)
            }
            queue_type::RX => {
                let max_packet_len = max_packet_len(self)?;
                let mut buffers = |id: U16| {
                    let index = u32::from(id.get());
                    queues
                        .slot(QueueId {
                            kind: QueueKind::RxBuffer,
                            index,
                        })
                        .map(|_| index)
                };
                let second = (self.bufq2_ena != 0)
                    .then(|| buffers(self.rx_bufq2_id))
                    .transpose()?;
                let config = QueueConfig::Rx {
                    ring,
                    buffer_queue: buffers(self.rx_bufq1_id)?,
                    buffer_queue_2: second,
                    rsc,
                    header_split,
                    max_packet_len,
                };
                (QueueKind::Rx, config)
            }
            queue_type::RX_BUFFER => {
                let buffer_len = self.data_buffer_size.get();
                let header_len = if header_split {
                    self.hdr_buffer_size.get()
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
            index: self.queue_id.get(),
        };
        queues.slot(queue)?;
        Ok((queue, config))
    }
}

/// The longest frame that an RX queue accepts, without FCS.
fn max_packet_len(info: &RxqInfo) -> Result<u32, Refusal> {
    let len = info.max_pkt_size.get();
    if len < MIN_PACKET_LEN {
        return Err(Refusal::OutOfRange);
    }
    Ok(len - FCS_LEN)
}

/// Returns whether a queue model is the single one.
pub(super) fn is_single(model: U16) -> Result<bool, Refusal> {
    match model.get() {
        queue_model::SINGLE => Ok(true),
        queue_model::SPLIT => Ok(false),
        _ => Err(Refusal::BadField),
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
