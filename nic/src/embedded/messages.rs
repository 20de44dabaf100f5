// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The messages that create an ADI and that its owner sends.

use adit_uapi::regs::adi::{FRAMES, PAGES_PER_PAIR};
use adit_uapi::virtchnl2::adi::{
    op as adi_op, CreateAdiExt, NonFlexCreateAdi, CREATE_ADI_EXT_MAGIC,
};
use adit_uapi::virtchnl2::{op, QueueRegChunk};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, IntoBytes};

use super::AdiSpec;
use crate::dataplane::QueueKind;
use crate::ids::{AdiId, VportId};
use crate::pasid::Pasid;

/// An ADI as the control plane has created it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Its id.
    pub id: AdiId,
    /// Its virtual port.
    pub vport: VportId,
    /// The PASID of its queues.
    pub pasid: Pasid,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Its VLAN; 0 for none.
    pub vlan: u16,
    /// The number of queue pairs, and of vectors.
    pub pairs: u16,
    /// The largest MTU in bytes.
    pub max_mtu: u16,
    /// Its first queue of each kind, in the order of [`QueueKind::ALL`].
    pub first_queues: [u32; QueueKind::ALL.len()],
    /// Its first queue pair among those of all ADIs, which is its first vector, too.
    pub(super) first_pair: u32,
}

impl Created {
    /// The first page of its frame, and the number of pages.
    pub(super) fn frame(&self) -> (u32, u32) {
        let pages = u32::from(self.pairs) * PAGES_PER_PAIR;
        (self.first_pair * PAGES_PER_PAIR, pages)
    }
}

/// The message that creates an ADI.
pub(super) fn create(spec: &AdiSpec, pasid: Pasid) -> Vec<u8> {
    let pairs = U16::new(spec.pairs);
    let request = NonFlexCreateAdi {
        pasid: U32::new(pasid.get()),
        ..NonFlexCreateAdi::default()
    };
    let ext = CreateAdiExt {
        num_tx_q: pairs,
        num_tx_complq: pairs,
        num_rx_q: pairs,
        num_rx_bufq: U16::new(spec.pairs.saturating_mul(2)),
        num_vectors: pairs,
        port: U16::new(spec.port),
        vlan: U16::new(spec.vlan),
        mac: spec.mac.unwrap_or_default(),
        magic: U32::new(CREATE_ADI_EXT_MAGIC),
        ..CreateAdiExt::default()
    };
    [request.as_bytes(), ext.as_bytes()].concat()
}

/// Reads the reply to [`create`]; `None` if it is not one.
pub(super) fn created(pasid: Pasid, reply: &[u8]) -> Option<Created> {
    let (adi, rest) = NonFlexCreateAdi::ref_from_prefix(reply).ok()?;
    let (ext, rest) = CreateAdiExt::ref_from_prefix(rest).ok()?;
    let count = usize::from(ext.num_chunks.get());
    let (chunks, _) = <[QueueRegChunk]>::ref_from_prefix_with_elems(rest, count).ok()?;
    let mut first_queues = [0; QueueKind::ALL.len()];
    for (first, kind) in first_queues.iter_mut().zip(QueueKind::ALL) {
        let chunk = chunks.iter().find(|c| c.type_.get() == kind as u32)?;
        *first = chunk.start_queue_id.get();
    }
    Some(Created {
        id: AdiId(adi.adi_id.get()),
        vport: VportId(ext.vport_id.get()),
        pasid,
        mac: ext.mac,
        vlan: ext.vlan.get(),
        pairs: ext.num_tx_q.get(),
        max_mtu: ext.max_mtu.get(),
        first_queues,
        first_pair: FRAMES.index(ext.frame_offset.get())? / PAGES_PER_PAIR,
    })
}

/// Returns whether the owner of an ADI may send a message: those that `adit_uapi::vfio` lists.
pub(super) fn is_for_owners(opcode: u32) -> bool {
    matches!(
        opcode,
        op::CONFIG_TX_QUEUES
            | op::CONFIG_RX_QUEUES
            | op::ENABLE_QUEUES
            | op::DISABLE_QUEUES
            | op::MAP_QUEUE_VECTOR
            | op::UNMAP_QUEUE_VECTOR
            | op::ENABLE_VPORT
            | op::DISABLE_VPORT
            | op::GET_STATS
            | op::GET_RSS_KEY
            | op::SET_RSS_KEY
            | op::GET_RSS_LUT
            | op::SET_RSS_LUT
            | op::GET_RSS_HASH
            | op::SET_RSS_HASH
            | op::ADD_MAC_ADDR
            | op::DEL_MAC_ADDR
            | op::CONFIG_PROMISCUOUS_MODE
            | adi_op::GET_ADI_FAULT
            | adi_op::SUSPEND_ADI
            | adi_op::RESUME_ADI
            | adi_op::GET_ADI_QUEUE_STATE
            | adi_op::SET_ADI_QUEUE_STATE
            | adi_op::GET_ADI_VECTOR_STATE
            | adi_op::SET_ADI_VECTOR_STATE
    )
}
