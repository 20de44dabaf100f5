// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Validation of queue configurations: CONFIG_TX_QUEUES and CONFIG_RX_QUEUES, queue by queue.

use adit_uapi::desc::ids::rxdid_m;
use adit_uapi::virtchnl2::{queue_model, queue_type, rxq_flags, sched_mode, RxqInfo, TxqInfo};
use zerocopy::little_endian::{U16, U32};

use super::queue_set::QueueSet;
use super::{Capabilities, Refusal};
use crate::dataplane::{QueueConfig, QueueId, QueueKind, Ring, SchedMode};

/// The number of entries of a ring: Linux requests 64 to 8160 in steps of 32, and DPDK's completion
/// rings are twice as long as its TX rings.
const RING_LEN: std::ops::RangeInclusive<u16> = 32..=MAX_RING_LEN;
/// The maximum number of entries of a ring.
pub const MAX_RING_LEN: u16 = 16384;
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
        let single = is_single(self.model)?;
        let sched = match self.sched_mode.get() {
            sched_mode::QUEUE => SchedMode::Queue,
            sched_mode::FLOW => SchedMode::Flow,
            _ => return Err(Refusal::BadField),
        };
        let ring = Ring {
            base: self.dma_ring_addr.get(),
            len: self.ring_len.get(),
        };
        let config = match self.type_.get() {
            queue_type::TX if single => QueueConfig::SingleTx { ring },
            queue_type::TX => QueueConfig::Tx {
                ring,
                sched,
                completion_queue: self.tx_compl_queue_id.get().into(),
                relative_id: self.relative_queue_id.get(),
            },
            queue_type::TX_COMPLETION => QueueConfig::TxCompletion { ring, sched },
            _ => return Err(Refusal::BadField),
        };
        if single != queues.single.tx {
            return Err(Refusal::BadField);
        }
        checked(self.queue_id, config, queues)
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
        let single = is_single(self.model)?;
        if single != queues.single.rx || flags & rxq_flags::DESC_SIZE_16BYTE != 0 {
            return Err(Refusal::BadField);
        }
        let ring = Ring {
            base: self.dma_ring_addr.get(),
            len: self.ring_len.get(),
        };
        let header_split = flags & rxq_flags::HDR_SPLIT != 0;
        let rsc = flags & rxq_flags::RSC != 0;
        if (header_split && queues.offered.hsplit == 0) || (rsc && queues.offered.rsc == 0) {
            return Err(Refusal::NotOffered);
        }
        let config = match self.type_.get() {
            // Both models use the bit FLEX_SPLITQ for their descriptor profile.
            queue_type::RX if self.desc_ids.get() & rxdid_m::FLEX_SPLITQ == 0 => {
                return Err(Refusal::BadField)
            }
            queue_type::RX if single => QueueConfig::SingleRx {
                ring,
                buffer_len: self.data_buffer_size.get(),
                max_packet_len: max_packet_len(self)?,
            },
            queue_type::RX => QueueConfig::Rx {
                ring,
                buffer_queue: self.rx_bufq1_id.get().into(),
                buffer_queue_2: (self.bufq2_ena != 0).then(|| self.rx_bufq2_id.get().into()),
                rsc,
                header_split,
                max_packet_len: max_packet_len(self)?,
            },
            queue_type::RX_BUFFER => {
                let header_len = match header_split {
                    true if self.hdr_buffer_size.get() == 0 => return Err(Refusal::OutOfRange),
                    true => self.hdr_buffer_size.get(),
                    false => 0,
                };
                QueueConfig::RxBuffer {
                    ring,
                    buffer_len: self.data_buffer_size.get(),
                    header_len,
                }
            }
            _ => return Err(Refusal::BadField),
        };
        checked(self.queue_id, config, queues)
    }
}

/// Checks a configuration from a message: the queue and those that it refers to must be allocated.
fn checked(
    queue_id: U32,
    config: QueueConfig,
    queues: &mut QueueSet,
) -> Result<(QueueId, QueueConfig), Refusal> {
    check(&config, &queues.offered)?;
    for queue in references(&config).into_iter().flatten() {
        queues.slot(queue)?;
    }
    let queue = QueueId {
        kind: config.kind(),
        index: queue_id.get(),
    };
    queues.slot(queue)?;
    Ok((queue, config))
}

/// The queues that a configuration refers to.
pub(super) fn references(config: &QueueConfig) -> [Option<QueueId>; 2] {
    let queue = |kind, index| Some(QueueId { kind, index });
    match *config {
        QueueConfig::Tx {
            completion_queue, ..
        } => [queue(QueueKind::TxCompletion, completion_queue), None],
        QueueConfig::Rx {
            buffer_queue,
            buffer_queue_2,
            ..
        } => [
            queue(QueueKind::RxBuffer, buffer_queue),
            buffer_queue_2.and_then(|index| queue(QueueKind::RxBuffer, index)),
        ],
        QueueConfig::SingleTx { .. }
        | QueueConfig::TxCompletion { .. }
        | QueueConfig::SingleRx { .. }
        | QueueConfig::RxBuffer { .. } => [None; 2],
    }
}

/// Checks the values of a configuration, of a function that offers `offered`; not the queues that it
/// refers to.
pub(super) fn check(config: &QueueConfig, offered: &Capabilities) -> Result<(), Refusal> {
    match *config {
        QueueConfig::Tx {
            ring, relative_id, ..
        } => {
            if relative_id > MAX_RELATIVE_ID {
                return Err(Refusal::OutOfRange);
            }
            check_ring(ring, 16)
        }
        QueueConfig::SingleTx { ring } => check_ring(ring, 16),
        QueueConfig::TxCompletion { ring, .. } => check_ring(ring, 8),
        QueueConfig::Rx {
            ring,
            rsc,
            header_split,
            max_packet_len,
            ..
        } => {
            if (header_split && offered.hsplit == 0) || (rsc && offered.rsc == 0) {
                return Err(Refusal::NotOffered);
            }
            check_packet_len(max_packet_len)?;
            check_ring(ring, 32)
        }
        QueueConfig::SingleRx {
            ring,
            buffer_len,
            max_packet_len,
        } => {
            check_ring(ring, 32)?;
            check_packet_len(max_packet_len)?;
            check_buffer_len(buffer_len)
        }
        QueueConfig::RxBuffer {
            ring,
            buffer_len,
            header_len,
        } => {
            if header_len != 0 && offered.hsplit == 0 {
                return Err(Refusal::NotOffered);
            }
            check_ring(ring, 32)?;
            check_buffer_len(buffer_len)
        }
    }
}

/// The longest frame that an RX queue accepts, without FCS.
fn max_packet_len(info: &RxqInfo) -> Result<u32, Refusal> {
    let len = info.max_pkt_size.get();
    len.checked_sub(FCS_LEN).ok_or(Refusal::OutOfRange)
}

fn check_packet_len(len: u32) -> Result<(), Refusal> {
    // A message has the length with FCS.
    let possible = MIN_PACKET_LEN - FCS_LEN..=u32::MAX - FCS_LEN;
    match possible.contains(&len) {
        true => Ok(()),
        false => Err(Refusal::OutOfRange),
    }
}

fn check_buffer_len(len: u32) -> Result<(), Refusal> {
    match BUFFER_LEN.contains(&len) {
        true => Ok(()),
        false => Err(Refusal::OutOfRange),
    }
}

/// Returns whether a queue model is the single one.
pub(super) fn is_single(model: U16) -> Result<bool, Refusal> {
    match model.get() {
        queue_model::SINGLE => Ok(true),
        queue_model::SPLIT => Ok(false),
        _ => Err(Refusal::BadField),
    }
}

fn check_ring(ring: Ring, entry: u64) -> Result<(), Refusal> {
    let Ring { base, len } = ring;
    if !RING_LEN.contains(&len) || len % RING_LEN_MULTIPLE != 0 {
        return Err(Refusal::OutOfRange);
    }
    if base % RING_ALIGN != 0 || base.checked_add(u64::from(len) * entry).is_none() {
        return Err(Refusal::BadField);
    }
    Ok(())
}
