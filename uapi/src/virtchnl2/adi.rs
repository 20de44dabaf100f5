// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Assignable Device Interfaces (ADIs): slices of a function whose DMA carries a PASID.
//!
//! A PF asks for an ADI with [`NON_FLEX_CREATE_ADI`](super::op::NON_FLEX_CREATE_ADI) and gives it
//! back with [`NON_FLEX_DESTROY_ADI`](super::op::NON_FLEX_DESTROY_ADI), as published in DPDK's
//! virtchnl2.h. The published reply has room for one chunk of queues, and a split-queue ADI has
//! four kinds: [`CreateAdiExt`] follows the published message, whose length its number of vector
//! chunks determines, in the request with what is wanted, in the reply with what is given. It is
//! recognised by its [`CREATE_ADI_EXT_MAGIC`], so that a published message is read as such, however
//! long it is. That, the messages of [`op`] and the cause ring are an extension of Adit's own.
//!
//! **An ADI is a virtual port.** From its creation on the ordinary messages serve it by the
//! `vport_id` of the reply: CONFIG_TX_QUEUES, CONFIG_RX_QUEUES, ENABLE_QUEUES, DISABLE_QUEUES,
//! MAP_QUEUE_VECTOR, UNMAP_QUEUE_VECTOR, ENABLE_VPORT, DISABLE_VPORT, ADD_MAC_ADDR, DEL_MAC_ADDR,
//! CONFIG_PROMISCUOUS_MODE, GET_STATS and those of RSS. It has all its queues from the beginning:
//! ADD_QUEUES and DEL_QUEUES are refused, and so are DESTROY_VPORT, LOOPBACK and flow rules. Its
//! queue ids are device-wide, those of the chunks; its vectors are numbered from 0 and are its
//! own, in MAP_QUEUE_VECTOR too. No EVENT is sent for it: its link is that of its port.
//!
//! **PASID.** Every PASID field of its queues is the one that the ADI was created with, or the
//! message is refused. All DMA of the queues is translated with it.
//!
//! **Faults.** An access that fails, or a descriptor that cannot be, stops the queue: it does
//! nothing more until it is disabled and enabled again. The device latches a cause of reason
//! [`cause_reason::FAULT`] for the ADI and keeps a record, [`AdiFault`].
//!
//! **Addresses.** An ADI sends from its own addresses only and without VLAN tags, or the frame is
//! dropped and counted (source check); the device puts the tag of its VLAN on what leaves by the
//! wire and takes it off what arrives. A unicast address belongs to one vport of a port and VLAN:
//! giving it to a second one is refused with EEXIST.

mod cause;
mod fault;

pub use cause::{cause_reason, CauseEntry, ConfigAdiCauseRing};
pub use fault::{fault_flags, fault_reason, AdiFault};

use super::{QueueRegChunk, QueueRegChunks, VectorChunk, VectorChunks};
use zerocopy::little_endian::{U16, U32, U64};

named! {
    /// Opcodes of the extension, in a range of their own: 28 bits is what a descriptor carries.
    pub mod op: u32 {
        /// [`super::AdiCaps`]
        GET_ADI_CAPS = 0x0AD1_0001;
        /// [`super::ConfigAdiCauseRing`]
        CONFIG_ADI_CAUSE_RING = 0x0AD1_0002;
        /// [`super::AdiFault`]
        GET_ADI_FAULT = 0x0AD1_0003;
        /// [`super::ResetAdi`]
        RESET_ADI = 0x0AD1_0004;
    }
}

/// [`NonFlexCreateAdi::mbx_id`] and `mbx_vec_id`: the ADI has no mailbox of its own. (0, as
/// published, says so too; 1 asks for one and is refused.)
pub const NO_MAILBOX: u16 = 0xFFFF;
/// [`CreateAdiExt::magic`].
pub const CREATE_ADI_EXT_MAGIC: u32 = 0x0AD1_0532;
/// PASIDs have 20 bits (PCI Express, PASID extended capability).
pub const PASID_MAX: u32 = (1 << 20) - 1;
/// The last VLAN id (IEEE 802.1Q); 0 stands for none.
pub const VLAN_MAX: u16 = 4094;

wire! {
    /// An ADI (virtchnl2_non_flex_create_adi): the driver says its PASID, the device gives its
    /// id. The struct has room for one vector chunk; if `vchunks` counts more, the others follow
    /// ([`NonFlexCreateAdi::published_len`]). Behind them is [`CreateAdiExt`]; without it in the
    /// request, the ADI is a queue pair with a vector on port 0.
    /// [`super::op::NON_FLEX_CREATE_ADI`].
    ///
    /// Statuses besides the usual: EEXIST when an ADI has the PASID or a vport the address,
    /// ENOSPC when there is no room, EIO when the device cannot learn where the IOMMU's tables
    /// are, ERANGE for a PASID that is 0 or too large, ESRCH when it asks for a mailbox, or for
    /// vectors of the PF.
    pub struct NonFlexCreateAdi [168] {
        /// Its PASID, 1 to [`PASID_MAX`].
        0 => pasid: U32,
        /// [`NO_MAILBOX`].
        4 => mbx_id: U16,
        /// [`NO_MAILBOX`].
        6 => mbx_vec_id: U16,
        /// The driver's own number for it; the reply repeats it.
        8 => adi_index: U16,
        /// Name of the ADI in later messages (reply).
        10 => adi_id: U16,
        /// Padding.
        12 => pad: [u8; 68],
        /// One chunk (reply), the transmit queues; all are behind [`CreateAdiExt`].
        80 => chunks: QueueRegChunks,
        /// The chunk.
        88 => chunk: QueueRegChunk,
        /// One chunk (reply): the ADI's vectors, from 0. As published, the request gives an ADI
        /// vectors of the PF here, which is not offered: chunks have to be empty.
        120 => vchunks: VectorChunks,
        /// The chunk.
        136 => vchunk: VectorChunk,
    }

    /// Behind [`NonFlexCreateAdi`] and its vector chunks; in the reply followed by `num_chunks` ×
    /// [`QueueRegChunk`], one for each kind of queue, with the offsets of their tails.
    pub struct CreateAdiExt [72] {
        /// Transmit queues; wanted, then given, as the next four.
        0 => num_tx_q: U16,
        /// Completion queues.
        2 => num_tx_complq: U16,
        /// Receive queues.
        4 => num_rx_q: U16,
        /// Buffer queues, two for each receive queue at most.
        6 => num_rx_bufq: U16,
        /// Vectors.
        8 => num_vectors: U16,
        /// Which wire: the index of the PF's vport that is on it.
        10 => port: U16,
        /// Which VLAN, 0 for none.
        12 => vlan: U16,
        /// Its first address, 0 for one of the device's choice; the reply says which it is.
        14 => mac: [u8; 6],
        /// Which cause ring its vectors and faults report through.
        20 => cause_ring: U16,
        /// Largest MTU in bytes (reply).
        22 => max_mtu: U16,
        /// Name of its vport (reply). In a request 0, or with `frame_offset` the place that an ADI
        /// had before a reset of the function: it is that one, or the request is refused (EEXIST
        /// if something has it, ERANGE if there is no such place).
        24 => vport_id: U32,
        /// Chunks that follow (reply).
        28 => num_chunks: U16,
        /// Padding.
        30 => pad: [u8; 2],
        /// Offset in BAR0 of its frame (reply, and with `vport_id` in a request):
        /// [`crate::regs::adi`].
        32 => frame_offset: U64,
        /// Pages of its frame (reply).
        40 => frame_pages: U32,
        /// Offset in each page of the asleep word (reply).
        44 => asleep_offset: U32,
        /// Offset in BAR0 of its kick page (reply).
        48 => kick_offset: U64,
        /// [`CREATE_ADI_EXT_MAGIC`]: what does not have it is not an extension.
        56 => magic: U32,
        /// Reserved, 0.
        60 => reserved: [u8; 12],
    }

    /// An ADI's name (virtchnl2_non_flex_destroy_adi). Once the reply is there, no DMA of the
    /// ADI is under way or will be, and nothing of it is left.
    /// [`super::op::NON_FLEX_DESTROY_ADI`].
    pub struct NonFlexDestroyAdi [4] {
        /// Which one.
        0 => adi_id: U16,
        /// Padding.
        2 => pad: [u8; 2],
    }

    /// Puts an ADI back to how its creation left it, under the same names: queues stopped and not
    /// configured, vectors unmapped and disarmed, its first address alone, RSS, filters, counters
    /// and fault records as in the beginning, zeros in the pages of its frame. For an ADI that gets
    /// another owner. Once the reply is there, no DMA of the ADI is under way.
    /// [`op::RESET_ADI`].
    pub struct ResetAdi [4] {
        /// Which one.
        0 => adi_id: U16,
        /// Padding.
        2 => pad: [u8; 2],
    }

    /// How many ADIs there can be; all of it the reply, the request may be empty.
    /// [`op::GET_ADI_CAPS`].
    pub struct AdiCaps [64] {
        /// ADIs at a time.
        0 => max_adis: U32,
        /// ADIs now.
        4 => adis: U32,
        /// Queue pairs of all ADIs at a time.
        8 => max_queue_pairs: U32,
        /// Queue pairs of all ADIs now.
        12 => queue_pairs: U32,
        /// Queue pairs of one ADI.
        16 => max_queue_pairs_per_adi: U16,
        /// Vectors of one ADI for each of its queue pairs.
        18 => vectors_per_queue_pair: U16,
        /// Cause rings: ids are below.
        20 => num_cause_rings: U16,
        /// Ports: numbers are below.
        22 => num_ports: U16,
        /// Entries of a cause ring, at most.
        24 => max_cause_ring_len: U32,
        /// Addresses of one ADI, its first included.
        28 => max_addresses: U32,
        /// Offset in BAR0 of the frames.
        32 => frames_offset: U64,
        /// Bytes of the frames.
        40 => frames_len: U64,
        /// Offset in BAR0 of the kick pages.
        48 => kick_offset: U64,
        /// Reserved, 0.
        56 => reserved: [u8; 8],
    }
}

impl NonFlexCreateAdi {
    /// Bytes of the published message with `num_vchunks` vector chunks, of which the struct has
    /// one.
    #[must_use]
    pub const fn published_len(num_vchunks: u16) -> usize {
        let more = (num_vchunks as usize).saturating_sub(1);
        Self::LEN + more * VectorChunk::LEN
    }
}
