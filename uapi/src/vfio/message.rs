// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Messages through the software mailbox, [`super::region::MAILBOX`].
//!
//! One `pwrite` at offset 0 carries a whole request: [`MailboxRequest`] and its payload. It
//! returns when the request is done. `pread` at offset 0 then gives the reply, [`MailboxReply`]
//! and its payload, until the next request takes its place. A request that is refused makes
//! `pwrite` fail with the errno that [`MailboxReply::status`] also says, with EREMOTEIO for the
//! statuses above 200; the reply then has no payload. A `pwrite` that is no whole request fails
//! with EINVAL, and leaves the last reply where it is.
//!
//! Besides those of [`op`], the messages are virtchnl2's: CONFIG_TX_QUEUES, CONFIG_RX_QUEUES,
//! ENABLE_QUEUES, DISABLE_QUEUES, MAP_QUEUE_VECTOR, UNMAP_QUEUE_VECTOR, ENABLE_VPORT,
//! DISABLE_VPORT, GET_STATS, GET_RSS_KEY, SET_RSS_KEY, GET_RSS_LUT, SET_RSS_LUT, GET_RSS_HASH,
//! SET_RSS_HASH, ADD_MAC_ADDR, DEL_MAC_ADDR (multicast addresses, and the ADI's own) and
//! CONFIG_PROMISCUOUS_MODE (to switch it off), and GET_ADI_FAULT. Others are refused with
//! EOPNOTSUPP. What of a request the reply would only repeat is not in it.

use zerocopy::little_endian::{U32, U64};

/// Longest payload of a message in bytes, as long as the device's mailbox takes.
pub const MAX_PAYLOAD_LEN: usize = 4096;

named! {
    /// Messages to the driver itself, outside of the range of virtchnl2's.
    pub mod op: u32 {
        /// [`super::RegisterMemory`]
        REGISTER_MEMORY = 0x8000_0001;
        /// [`super::RegisterMemory`] without flags: a whole registration. Queues that are enabled
        /// are stopped if their memory may be in it.
        UNREGISTER_MEMORY = 0x8000_0002;
    }
}

/// Bits of [`RegisterMemory::flags`].
pub mod memory_flags {
    /// The device may read.
    pub const READ: u32 = 1 << 0;
    /// The device may write.
    pub const WRITE: u32 = 1 << 1;
}

wire! {
    /// What a request begins with.
    pub struct MailboxRequest [24] {
        /// What it is about: [`op`], or [`crate::virtchnl2::op`].
        0 => opcode: U32,
        /// Bytes of payload that follow.
        4 => payload_len: U32,
        /// The sender's, for the reply to repeat.
        8 => cookie: U64,
        /// Reserved, 0.
        16 => reserved: U64,
    }

    /// What a reply begins with.
    pub struct MailboxReply [24] {
        /// The request's.
        0 => opcode: U32,
        /// Bytes of payload that follow.
        4 => payload_len: U32,
        /// The request's.
        8 => cookie: U64,
        /// 0, or why the request was refused: see [`crate::virtchnl2::status`].
        16 => status: U32,
        /// Reserved, 0.
        20 => reserved: U32,
    }

    /// Memory of the owner that the ADI may reach at the address that it has in the VFIO
    /// container. All of it must be mapped there, writable if the device may write. Registrations
    /// must not overlap. Memory that is unmapped in the container ends to be registered; who does
    /// that without UNREGISTER_MEMORY waits for a moment at the next registration, and longer each
    /// time. Memory that is being unmapped is refused (EAGAIN). [`op::REGISTER_MEMORY`], [`op::UNREGISTER_MEMORY`].
    pub struct RegisterMemory [24] {
        /// First IOVA; a multiple of the page size.
        0 => iova: U64,
        /// Bytes; a multiple of the page size.
        8 => len: U64,
        /// See [`memory_flags`]; at least one.
        16 => flags: U32,
        /// Reserved, 0.
        20 => reserved: U32,
    }
}
