// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The messages for ADIs.

use adit_uapi::regs::adi::{ASLEEP_OFFSET, FRAMES, KICK};
use adit_uapi::regs::pf;
use adit_uapi::virtchnl2::adi::{
    doorbell_flags, fault_flags, AdiCaps, AdiFault, ConfigAdiCauseRing, ConfigAdiDoorbells,
    CreateAdiExt, NonFlexCreateAdi, NonFlexDestroyAdi, ResetAdi, CREATE_ADI_EXT_MAGIC,
};
use adit_uapi::virtchnl2::{QueueRegChunk, QueueRegChunks, VectorChunk, VectorChunks};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use super::super::filters::MAX_ADI_ADDRESSES;
use super::super::queue_set::type_of;
use super::super::{wire, Control, Refusal};
use super::{frame, Adi, CAUSE_RINGS, MAX_GROUP, MAX_PAIRS};
use crate::dataplane::QueueFault;
use crate::dataplane::{AdiConfig, DataPlane, QueueKind};
use crate::ids::AdiId;
use crate::interrupts::{CauseRingConfig, CauseRingError, MAX_CAUSE_RING_LEN};

/// The length of the Ethernet header and of the FCS in bytes, which are not part of an MTU.
const OVERHEAD: u16 = 14 + 4;

impl Control {
    pub(in super::super) fn create_adi(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
        reply: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let request = *wire::header::<NonFlexCreateAdi>(payload)?.0;
        let ext = extension(&request, payload)?;
        let id = self.make_adi(&request, ext, dp)?;
        let max_mtu = self.profile.max_frame() - OVERHEAD;
        let adi = self.adis.get_mut(id).ok_or(Refusal::DataPlane)?;
        describe(adi, &request, max_mtu, reply);
        Ok(())
    }

    pub(in super::super) fn destroy_adi(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
    ) -> Result<(), Refusal> {
        let id = AdiId(wire::header::<NonFlexDestroyAdi>(payload)?.0.adi_id.get());
        self.end_adi(id, dp)
    }

    pub(in super::super) fn reset_adi(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
    ) -> Result<(), Refusal> {
        let id = AdiId(wire::header::<ResetAdi>(payload)?.0.adi_id.get());
        self.renew_adi(id, dp)
    }

    pub(in super::super) fn config_adi_doorbells(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
    ) -> Result<(), Refusal> {
        let (request, _) = wire::header::<ConfigAdiDoorbells>(payload)?;
        let adi = self.adis.get_mut(AdiId(request.adi_id.get()));
        let vport = adi.ok_or(Refusal::NoSuchVport)?.config.vport;
        let flags = request.flags.get();
        if flags & !doorbell_flags::NO_KICK != 0 {
            return Err(Refusal::BadField);
        }
        dp.set_no_kick(vport, flags & doorbell_flags::NO_KICK != 0);
        Ok(())
    }

    pub(in super::super) fn get_adi_caps(&self, reply: &mut Vec<u8>) -> Result<(), Refusal> {
        let [(adis, max_adis), (pairs, max_pairs)] = self.adis.occupancy();
        let caps = AdiCaps {
            max_adis: U32::new(max_adis),
            adis: U32::new(adis),
            max_queue_pairs: U32::new(max_pairs),
            queue_pairs: U32::new(pairs),
            max_queue_pairs_per_adi: U16::new(MAX_PAIRS),
            vectors_per_queue_pair: U16::new(1),
            num_cause_rings: U16::new(CAUSE_RINGS),
            num_ports: U16::new(self.profile.vports()),
            max_cause_ring_len: U32::new(MAX_CAUSE_RING_LEN),
            max_addresses: U32::new(MAX_ADI_ADDRESSES as u32),
            frames_offset: U64::new(FRAMES.base.into()),
            frames_len: U64::new(FRAMES.end() - u64::from(FRAMES.base)),
            kick_offset: U64::new(KICK.base.into()),
            max_group: U16::new(MAX_GROUP),
            ..AdiCaps::default()
        };
        reply.extend_from_slice(caps.as_bytes());
        Ok(())
    }

    pub(in super::super) fn config_adi_cause_ring(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
    ) -> Result<(), Refusal> {
        let (request, _) = wire::header::<ConfigAdiCauseRing>(payload)?;
        let (ring, len) = (request.ring_id.get(), request.ring_len.get());
        if ring >= CAUSE_RINGS {
            return Err(Refusal::OutOfRange);
        }
        if len == 0 {
            self.adis.rings.remove(&ring);
            dp.set_cause_ring(ring, None);
            return Ok(());
        }
        let vector = request.vector_id.get();
        let config = CauseRingConfig {
            base: request.ring_addr.get(),
            len,
            head: request.head_addr.get(),
            vector: vector.into(),
        };
        config.check().map_err(|error| match error {
            CauseRingError::Len(_) => Refusal::OutOfRange,
            CauseRingError::Address { .. } => Refusal::BadField,
        })?;
        if !self.vectors.allocated(vector) {
            return Err(Refusal::NotAllocated);
        }
        self.adis.rings.insert(ring, vector);
        dp.set_cause_ring(ring, Some(config));
        Ok(())
    }

    pub(in super::super) fn get_adi_fault(
        &mut self,
        payload: &[u8],
        dp: &mut impl DataPlane,
        reply: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        // Only the fields of the request are required, not the whole struct.
        let fields = <[U16; 2]>::ref_from_prefix(payload);
        let (&[id, flags], _) = fields.map_err(|_| Refusal::Truncated)?;
        let adi = self.adis.get_mut(AdiId(id.get()));
        let config = &adi.ok_or(Refusal::NoSuchVport)?.config;
        if flags.get() & !fault_flags::CLEAR != 0 {
            return Err(Refusal::BadField);
        }
        let clear = flags.get() & fault_flags::CLEAR != 0;
        let record = dp.adi_faults(config.vport, clear);
        let mut report = AdiFault {
            adi_id: id,
            count: U64::new(record.count),
            pasid: U32::new(config.pasid.get()),
            ..AdiFault::default()
        };
        if let Some((queue, fault)) = record.first {
            report.reason = U32::new(fault.reason());
            report.queue_type = U32::new(type_of(queue.kind));
            report.queue_id = U32::new(queue.index);
            if let QueueFault::Dma(fault) = fault {
                let write = if fault.write { fault_flags::WRITE } else { 0 };
                report.flags = U16::new(write);
                report.address = U64::new(fault.iova);
                report.len = U32::new(fault.len as u32);
            }
        }
        reply.extend_from_slice(report.as_bytes());
        Ok(())
    }
}

/// The extension that follows the published message with all its vector chunks, if there is one.
/// ADIs may not have vectors of the PF.
fn extension<'a>(
    request: &NonFlexCreateAdi,
    payload: &'a [u8],
) -> Result<Option<&'a CreateAdiExt>, Refusal> {
    let count = request.vchunks.num_vchunks.get();
    let behind = payload.get(NonFlexCreateAdi::published_len(count)..);
    let behind = behind.ok_or(Refusal::Truncated)?;
    if count > 0 {
        let chunks = &payload[NonFlexCreateAdi::LEN - VectorChunk::LEN..];
        let chunks = wire::elements::<VectorChunk>(chunks, count)?;
        if chunks.iter().any(|chunk| chunk.num_vectors.get() != 0) {
            return Err(Refusal::NotForAdis);
        }
    }
    let ext = CreateAdiExt::ref_from_prefix(behind).ok();
    let ext = ext.map(|(ext, _)| ext);
    Ok(ext.filter(|ext| ext.magic.get() == CREATE_ADI_EXT_MAGIC))
}

/// Writes the reply: the resources that are allocated to the ADI.
fn describe(adi: &Adi, request: &NonFlexCreateAdi, max_mtu: u16, reply: &mut Vec<u8>) {
    let config = &adi.config;
    let counts = adi.vport.queues.counts();
    let chunks: Vec<_> = QueueKind::ALL
        .into_iter()
        .filter_map(|kind| chunk(adi, kind))
        .collect();
    let (page, pages) = frame(config);
    let vectors = adi.vport.adi.map_or(0, |adi| adi.vectors);
    let created = NonFlexCreateAdi {
        adi_id: U16::new(config.adi.0),
        chunks: QueueRegChunks {
            num_chunks: U16::new(chunks.len().min(1) as u16),
            ..QueueRegChunks::default()
        },
        chunk: chunks.first().copied().unwrap_or_default(),
        vchunks: VectorChunks {
            num_vchunks: U16::new((vectors != 0).into()),
            ..VectorChunks::default()
        },
        vchunk: vector_chunk(config, vectors),
        ..*request
    };
    let ext = CreateAdiExt {
        num_tx_q: U16::new(counts.tx),
        num_tx_complq: U16::new(counts.tx_completion),
        num_rx_q: U16::new(counts.rx),
        num_rx_bufq: U16::new(counts.rx_buffer),
        num_vectors: U16::new(vectors),
        port: U16::new(config.port.0 as u16),
        vlan: U16::new(config.vlan),
        mac: config.mac,
        cause_ring: U16::new(config.ring),
        max_mtu: U16::new(max_mtu),
        vport_id: U32::new(config.vport.0),
        num_chunks: U16::new(chunks.len() as u16),
        frame_offset: U64::new(offset(page).into()),
        frame_pages: U32::new(pages),
        asleep_offset: U32::new(ASLEEP_OFFSET),
        kick_offset: U64::new(KICK.offset(config.adi.0.into()).unwrap_or_default().into()),
        magic: U32::new(CREATE_ADI_EXT_MAGIC),
        ..CreateAdiExt::default()
    };
    reply.extend_from_slice(created.as_bytes());
    reply.extend_from_slice(ext.as_bytes());
    reply.extend_from_slice(chunks.as_bytes());
}

/// The offset of a page of the frames in BAR0.
fn offset(page: u32) -> u32 {
    FRAMES.offset(page).unwrap_or_default()
}

/// The queues of a kind, and the offsets of their tails.
fn chunk(adi: &Adi, kind: QueueKind) -> Option<QueueRegChunk> {
    let queues = adi.vport.queues.allocated(kind);
    let pairs = u32::from(adi.config.pairs);
    let (first, _) = frame(&adi.config);
    let tails = match kind {
        QueueKind::Tx => offset(first),
        QueueKind::RxBuffer => offset(first + pairs),
        // Drivers never write the tails of completion rings.
        QueueKind::Rx | QueueKind::TxCompletion => 0,
    };
    Some(QueueRegChunk {
        type_: U32::new(type_of(kind)),
        start_queue_id: U32::new(*queues.first()?),
        num_queues: U32::new(queues.len() as u32),
        qtail_reg_start: U64::new(tails.into()),
        qtail_reg_spacing: U32::new(if tails == 0 { 0 } else { FRAMES.stride }),
        ..QueueRegChunk::default()
    })
}

/// The ADI's vectors, numbered within the ADI.
fn vector_chunk(config: &AdiConfig, vectors: u16) -> VectorChunk {
    if vectors == 0 {
        return VectorChunk::default();
    }
    let (first, _) = frame(config);
    let dyn_ctl = offset(first + 3 * u32::from(config.pairs));
    VectorChunk {
        num_vectors: U16::new(vectors),
        dynctl_reg_start: U32::new(dyn_ctl),
        dynctl_reg_spacing: U32::new(FRAMES.stride),
        itrn_reg_start: U32::new(dyn_ctl + pf::GLINT_ITR_INDEX_SPACING),
        itrn_reg_spacing: U32::new(FRAMES.stride),
        itrn_index_spacing: U32::new(pf::GLINT_ITR_INDEX_SPACING),
        ..VectorChunk::default()
    }
}
