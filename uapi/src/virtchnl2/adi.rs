// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Assignable Device Interfaces (ADIs): slices of a function whose DMA carries a PASID.
//!
//! A PF creates an ADI with [`NON_FLEX_CREATE_ADI`](super::op::NON_FLEX_CREATE_ADI) and destroys it
//! with [`NON_FLEX_DESTROY_ADI`](super::op::NON_FLEX_DESTROY_ADI), as published in DPDK's
//! virtchnl2.h. The published reply has space for one chunk of queues, and a split-queue ADI has
//! four types: [`CreateAdiExt`] follows the published message, whose length depends on its number
//! of vector chunks. In the request it has the resources requested, in the reply those assigned. It
//! is identified by its [`CREATE_ADI_EXT_MAGIC`], so that a published message is read as such,
//! however long it is. That, the messages of [`op`] and the cause ring are an extension specific to
//! Adit.
//!
//! **An ADI is a virtual port.** From its creation on, the ordinary messages apply to it by the
//! `vport_id` of the reply: CONFIG_TX_QUEUES, CONFIG_RX_QUEUES, ENABLE_QUEUES, DISABLE_QUEUES,
//! MAP_QUEUE_VECTOR, UNMAP_QUEUE_VECTOR, ENABLE_VPORT, DISABLE_VPORT, ADD_MAC_ADDR, DEL_MAC_ADDR,
//! CONFIG_PROMISCUOUS_MODE, GET_STATS and those of RSS. It has all its queues from the beginning:
//! ADD_QUEUES and DEL_QUEUES are refused, and so are DESTROY_VPORT, LOOPBACK and flow rules. Its
//! queue ids are device-wide, those of the chunks; its vectors are its own and numbered from 0, in
//! MAP_QUEUE_VECTOR too. No EVENT is sent for it: its link is that of its port.
//!
//! **PASID.** Every PASID field of its queues must be the PASID that the ADI was created with, or
//! the message is refused. All DMA of the queues is translated with it. After the reply to a message
//! that names the ADI or its vport, no access is in progress, or will be made, with a translation
//! from before the message: a driver that unmaps memory under running queues sends one.
//!
//! **Faults.** An access that fails, or an invalid descriptor, stops the queue: it does nothing
//! more until it is disabled and enabled again. The device latches a cause of reason
//! [`cause_reason::FAULT`] for the ADI and keeps a record, [`AdiFault`].
//!
//! **Suspension.** A suspended ADI keeps its state and changes nothing: see [`SuspendAdi`]. The
//! positions of its queues can be read then and set in another ADI, whose owner continues there.
//!
//! **Log of writes.** The device can log the pages that an ADI writes: see [`StartAdiLog`].
//!
//! **Groups.** ADIs can share the virtual port of one of them, so that it has the queues of all: see
//! [`AdiGroup`].
//!
//! **Addresses.** An ADI sends from its own addresses only and without VLAN tags, or the frame is
//! dropped and counted (source check); the device inserts the tag of its VLAN into frames sent to
//! the wire and strips it from received frames. A unicast address belongs to one vport of a port
//! and VLAN: assigning it to a second one is refused with EEXIST.

mod cause;
mod doorbells;
mod fault;
mod group;
mod log;
mod state;

pub use cause::{cause_reason, CauseEntry, ConfigAdiCauseRing};
pub use doorbells::{doorbell_flags, ConfigAdiDoorbells};
pub use fault::{fault_flags, fault_reason, AdiFault};
pub use group::{AdiGroup, GROUP_VECTOR};
pub use log::{
    AdiLogRange, AdiLogWord, ReadAdiLog, StartAdiLog, StopAdiLog, MAX_LOG_RANGES, MAX_LOG_WORDS,
    MIN_LOG_PAGE,
};
pub use state::{
    queue_state_flags, vector_state_flags, AdiQueueState, AdiQueueStates, AdiVectorState,
    AdiVectorStates, SuspendAdi,
};

use super::{QueueRegChunk, QueueRegChunks, VectorChunk, VectorChunks};
use zerocopy::little_endian::{U16, U32, U64};

named! {
    /// Opcodes of the extension, in a separate range: a descriptor carries 28 bits.
    pub mod op: u32 {
        /// [`super::AdiCaps`]
        GET_ADI_CAPS = 0x0AD1_0001;
        /// [`super::ConfigAdiCauseRing`]
        CONFIG_ADI_CAUSE_RING = 0x0AD1_0002;
        /// [`super::AdiFault`]
        GET_ADI_FAULT = 0x0AD1_0003;
        /// [`super::ResetAdi`]
        RESET_ADI = 0x0AD1_0004;
        /// [`super::ConfigAdiDoorbells`]
        CONFIG_ADI_DOORBELLS = 0x0AD1_0005;
        /// [`super::SuspendAdi`]
        SUSPEND_ADI = 0x0AD1_0006;
        /// [`super::SuspendAdi`]: the end of the suspension.
        RESUME_ADI = 0x0AD1_0007;
        /// [`super::AdiQueueStates`]
        GET_ADI_QUEUE_STATE = 0x0AD1_0008;
        /// [`super::AdiQueueStates`]
        SET_ADI_QUEUE_STATE = 0x0AD1_0009;
        /// [`super::AdiVectorStates`]
        GET_ADI_VECTOR_STATE = 0x0AD1_000A;
        /// [`super::AdiVectorStates`]
        SET_ADI_VECTOR_STATE = 0x0AD1_000B;
        /// [`super::AdiGroup`]
        SET_ADI_GROUP = 0x0AD1_000C;
        /// [`super::StartAdiLog`]
        START_ADI_LOG = 0x0AD1_000D;
        /// [`super::StopAdiLog`]
        STOP_ADI_LOG = 0x0AD1_000E;
        /// [`super::ReadAdiLog`]
        READ_ADI_LOG = 0x0AD1_000F;
    }
}

/// [`NonFlexCreateAdi::mbx_id`] and `mbx_vec_id`: the ADI has no mailbox of its own. (0, as
/// published, means the same; 1 requests one and is refused.)
pub const NO_MAILBOX: u16 = 0xFFFF;
/// [`CreateAdiExt::magic`].
pub const CREATE_ADI_EXT_MAGIC: u32 = 0x0AD1_0532;
/// PASIDs have 20 bits (PCI Express, PASID extended capability).
pub const PASID_MAX: u32 = (1 << 20) - 1;
/// The last VLAN id (IEEE 802.1Q); 0 stands for none.
pub const VLAN_MAX: u16 = 4094;

wire! {
    /// An ADI (virtchnl2_non_flex_create_adi): the driver sets its PASID, the device assigns its
    /// id. The struct has space for one vector chunk; if `vchunks` counts more, the others follow
    /// ([`NonFlexCreateAdi::published_len`]). They are followed by [`CreateAdiExt`]; without it in
    /// the request, the ADI has one queue pair with one vector on port 0.
    /// [`super::op::NON_FLEX_CREATE_ADI`].
    ///
    /// Statuses besides the usual: EEXIST when another ADI has the PASID or another vport the
    /// address, ENOSPC when resources are exhausted, EIO when the device cannot find the IOMMU's
    /// tables, ERANGE for a PASID that is 0 or too large, ESRCH for a request for a mailbox, or for
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
        /// Id of the ADI in later messages (reply).
        10 => adi_id: U16,
        /// Padding.
        12 => pad: [u8; 68],
        /// One chunk (reply), the transmit queues; all chunks follow [`CreateAdiExt`].
        80 => chunks: QueueRegChunks,
        /// The chunk.
        88 => chunk: QueueRegChunk,
        /// One chunk (reply): the ADI's vectors, from 0. As published, the request assigns vectors
        /// of the PF to an ADI here, which is not supported: there must be no chunks.
        120 => vchunks: VectorChunks,
        /// The chunk.
        136 => vchunk: VectorChunk,
    }

    /// Extension after [`NonFlexCreateAdi`] and its vector chunks; in the reply followed by
    /// `num_chunks` × [`QueueRegChunk`], one for each type of queue, with the offsets of their
    /// tails.
    pub struct CreateAdiExt [72] {
        /// Transmit queues; requested, then assigned, as are the next four.
        0 => num_tx_q: U16,
        /// Completion queues.
        2 => num_tx_complq: U16,
        /// Receive queues.
        4 => num_rx_q: U16,
        /// Buffer queues, at most two for each receive queue.
        6 => num_rx_bufq: U16,
        /// Vectors.
        8 => num_vectors: U16,
        /// Port: the index of the PF's vport that is on it.
        10 => port: U16,
        /// VLAN, 0 for none.
        12 => vlan: U16,
        /// Its first MAC address, 0 lets the device choose; the reply has the actual one.
        14 => mac: [u8; 6],
        /// Cause ring that its vectors and faults report through.
        20 => cause_ring: U16,
        /// Largest MTU in bytes (reply).
        22 => max_mtu: U16,
        /// Id of its vport (reply). In a request 0, or with `frame_offset` the place that an ADI
        /// had before a reset of the function: the ADI gets that place, or the request is refused
        /// (EEXIST if it is taken, ERANGE if there is no such place).
        24 => vport_id: U32,
        /// Number of chunks that follow (reply).
        28 => num_chunks: U16,
        /// Padding.
        30 => pad: [u8; 2],
        /// Offset in BAR0 of its frame (reply, and with `vport_id` in a request):
        /// [`crate::regs::adi`].
        32 => frame_offset: U64,
        /// Number of pages of its frame (reply).
        40 => frame_pages: U32,
        /// Offset of the asleep word in each page (reply).
        44 => asleep_offset: U32,
        /// Offset in BAR0 of its kick page (reply).
        48 => kick_offset: U64,
        /// [`CREATE_ADI_EXT_MAGIC`]: without it, the bytes are not an extension.
        56 => magic: U32,
        /// Reserved, 0.
        60 => reserved: [u8; 12],
    }

    /// An ADI's id (virtchnl2_non_flex_destroy_adi). After the reply, no DMA of the ADI is in
    /// progress or will be, and none of its state remains. [`super::op::NON_FLEX_DESTROY_ADI`].
    pub struct NonFlexDestroyAdi [4] {
        /// Id of the ADI.
        0 => adi_id: U16,
        /// Padding.
        2 => pad: [u8; 2],
    }

    /// Resets an ADI to its state after creation, under the same ids: queues stopped and not
    /// configured, vectors unmapped and disarmed, only its first address, initial RSS, filters,
    /// counters and fault records, zeros in the pages of its frame. For an ADI that gets another
    /// owner. After the reply, no DMA of the ADI is in progress. [`op::RESET_ADI`].
    pub struct ResetAdi [4] {
        /// Id of the ADI.
        0 => adi_id: U16,
        /// Padding.
        2 => pad: [u8; 2],
    }

    /// Limits of ADIs. All fields are in the reply; the request may be empty. [`op::GET_ADI_CAPS`].
    pub struct AdiCaps [64] {
        /// Maximum number of ADIs at a time.
        0 => max_adis: U32,
        /// Current number of ADIs.
        4 => adis: U32,
        /// Maximum number of queue pairs of all ADIs at a time.
        8 => max_queue_pairs: U32,
        /// Current number of queue pairs of all ADIs.
        12 => queue_pairs: U32,
        /// Maximum number of queue pairs of one ADI.
        16 => max_queue_pairs_per_adi: U16,
        /// Number of vectors of one ADI for each of its queue pairs.
        18 => vectors_per_queue_pair: U16,
        /// Number of cause rings: ids are below.
        20 => num_cause_rings: U16,
        /// Number of ports: port numbers are below.
        22 => num_ports: U16,
        /// Maximum number of entries of a cause ring.
        24 => max_cause_ring_len: U32,
        /// Maximum number of addresses of one ADI, including its first.
        28 => max_addresses: U32,
        /// Offset in BAR0 of the frames.
        32 => frames_offset: U64,
        /// Length of the frames in bytes.
        40 => frames_len: U64,
        /// Offset in BAR0 of the kick pages.
        48 => kick_offset: U64,
        /// Maximum number of ADIs of a group ([`AdiGroup`]), including the leader; 0 if there are no
        /// groups.
        56 => max_group: U16,
        /// Reserved, 0.
        58 => reserved: [u8; 6],
    }
}

impl NonFlexCreateAdi {
    /// Returns the length in bytes of the published message with `num_vchunks` vector chunks, of
    /// which the struct has one.
    #[must_use]
    pub const fn published_len(num_vchunks: u16) -> usize {
        let more = (num_vchunks as usize).saturating_sub(1);
        Self::LEN + more * VectorChunk::LEN
    }
}
