// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! What went wrong with an ADI's queues.

use zerocopy::little_endian::{U16, U32, U64};

named! {
    /// Values of [`AdiFault::reason`].
    pub mod fault_reason: u32 {
        /// There has been none.
        NONE = 0;
        /// No page is mapped at the address.
        NOT_MAPPED = 1;
        /// The page is mapped without the permission that it takes.
        PERMISSION = 2;
        /// The address is not aligned as a ring must be.
        ALIGNMENT = 3;
        /// The IOMMU's tables have nothing for the PASID.
        PASID = 4;
        /// The tables make no sense, or lead to where there is no memory.
        TABLES = 5;
        /// A descriptor of no type that belongs there, or a packet without an end.
        DESCRIPTOR = 6;
        /// A tail is beyond its ring.
        TAIL = 7;
        /// A transmit queue's completion queue does not run.
        NO_COMPLETION_QUEUE = 8;
    }
}

/// Bits of [`AdiFault::flags`].
pub mod fault_flags {
    /// In the request: the record is forgotten once it is told, so that the next fault is kept.
    pub const CLEAR: u16 = 1 << 0;
    /// In the reply: the access was to write.
    pub const WRITE: u16 = 1 << 1;
}

wire! {
    /// The first fault of an ADI since its record was cleared. The request needs no more than the
    /// first four bytes. [`super::op::GET_ADI_FAULT`].
    pub struct AdiFault [48] {
        /// Which ADI.
        0 => adi_id: U16,
        /// See [`fault_flags`].
        2 => flags: U16,
        /// See [`fault_reason`] (reply, as all that follows).
        4 => reason: U32,
        /// Faults since the ADI was created or reset; each stopped a queue.
        8 => count: U64,
        /// The kind of queue that was stopped, see [`crate::virtchnl2::queue_type`].
        16 => queue_type: U32,
        /// Which, device-wide.
        20 => queue_id: U32,
        /// The address, of the first four reasons and [`fault_reason::TABLES`].
        24 => address: U64,
        /// Bytes of the access.
        32 => len: U32,
        /// The ADI's PASID.
        36 => pasid: U32,
        /// Reserved, 0.
        40 => reserved: [u8; 8],
    }
}
