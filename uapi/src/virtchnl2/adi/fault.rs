// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Faults of an ADI's queues.

use zerocopy::little_endian::{U16, U32, U64};

named! {
    /// Values of [`AdiFault::reason`].
    pub mod fault_reason: u32 {
        /// No fault has occurred.
        NONE = 0;
        /// No page is mapped at the address.
        NOT_MAPPED = 1;
        /// The page is mapped without the required permission.
        PERMISSION = 2;
        /// The address does not have the alignment of a ring.
        ALIGNMENT = 3;
        /// The IOMMU's tables have no entry for the PASID.
        PASID = 4;
        /// The tables are invalid, or point outside memory.
        TABLES = 5;
        /// A descriptor of a type that is not valid there, or a packet without an end.
        DESCRIPTOR = 6;
        /// A tail is beyond its ring.
        TAIL = 7;
        /// A transmit queue's completion queue is not running.
        NO_COMPLETION_QUEUE = 8;
    }
}

/// Bits of [`AdiFault::flags`].
pub mod fault_flags {
    /// In the request: clear the record after returning it, so that the next fault is recorded.
    pub const CLEAR: u16 = 1 << 0;
    /// In the reply: the access was a write.
    pub const WRITE: u16 = 1 << 1;
}

wire! {
    /// The first fault of an ADI since its record was cleared. The request requires only the first
    /// four bytes. [`super::op::GET_ADI_FAULT`].
    pub struct AdiFault [48] {
        /// Id of the ADI.
        0 => adi_id: U16,
        /// See [`fault_flags`].
        2 => flags: U16,
        /// See [`fault_reason`] (reply, like all that follow).
        4 => reason: U32,
        /// Faults since the ADI was created or reset; each stopped a queue.
        8 => count: U64,
        /// The type of the queue that was stopped, see [`crate::virtchnl2::queue_type`].
        16 => queue_type: U32,
        /// Its device-wide id.
        20 => queue_id: U32,
        /// The address, for the first four reasons and [`fault_reason::TABLES`].
        24 => address: U64,
        /// Length of the access in bytes.
        32 => len: U32,
        /// The ADI's PASID.
        36 => pasid: U32,
        /// Reserved, 0.
        40 => reserved: [u8; 8],
    }
}
