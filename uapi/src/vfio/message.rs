// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Messages through the software mailbox, [`super::region::MAILBOX`].
//!
//! One `pwrite` at offset 0 carries a whole request: [`MailboxRequest`] and its payload. It returns
//! when the request has completed. `pread` at offset 0 then returns the reply, [`MailboxReply`] and
//! its payload, until the next request replaces it. If a request is refused, `pwrite` fails with
//! the errno that is also in [`MailboxReply::status`], and with EREMOTEIO for statuses above 200;
//! the reply then has no payload. A `pwrite` that is not a whole request fails with EINVAL, and
//! leaves the last reply unchanged.
//!
//! Besides those of [`op`], the messages are virtchnl2's: CONFIG_TX_QUEUES, CONFIG_RX_QUEUES,
//! ENABLE_QUEUES, DISABLE_QUEUES, MAP_QUEUE_VECTOR, UNMAP_QUEUE_VECTOR, ENABLE_VPORT,
//! DISABLE_VPORT, GET_STATS, GET_RSS_KEY, SET_RSS_KEY, GET_RSS_LUT, SET_RSS_LUT, GET_RSS_HASH,
//! SET_RSS_HASH, ADD_MAC_ADDR, DEL_MAC_ADDR (multicast addresses, and the ADI's own) and
//! CONFIG_PROMISCUOUS_MODE (to switch it off), and of the extension for ADIs GET_ADI_FAULT,
//! RESET_ADI, CONFIG_ADI_DOORBELLS, SUSPEND_ADI, RESUME_ADI, GET_ADI_QUEUE_STATE,
//! SET_ADI_QUEUE_STATE, GET_ADI_VECTOR_STATE, SET_ADI_VECTOR_STATE, START_ADI_LOG, STOP_ADI_LOG and
//! READ_ADI_LOG, with the ADI's id 0. A log ends when the device is closed. RESET_ADI does what
//! VFIO_DEVICE_RESET does, but granted pages ([`super::PAGES_FD`]) stay valid.
//! Others are refused with EOPNOTSUPP. A reply does not contain fields that would only repeat the
//! request.

use zerocopy::little_endian::{U32, U64};

/// Maximum payload of a message in bytes, the same as that of the device's mailbox.
pub const MAX_PAYLOAD_LEN: usize = 4096;

named! {
    /// Messages to the driver itself, outside virtchnl2's range.
    pub mod op: u32 {
        /// [`super::RegisterMemory`]
        REGISTER_MEMORY = 0x8000_0001;
        /// [`super::RegisterMemory`]: a whole registration. Without flags, enabled queues are stopped.
        /// With [`super::memory_flags::KEEP_QUEUES`] they are not; when the message has completed,
        /// an access to that memory fails, which stops the queue with a fault.
        UNREGISTER_MEMORY = 0x8000_0002;
    }
}

/// Bits of [`RegisterMemory::flags`].
pub mod memory_flags {
    /// The device may read the memory.
    pub const READ: u32 = 1 << 0;
    /// The device may write the memory.
    pub const WRITE: u32 = 1 << 1;
    /// Queues that are enabled continue (UNREGISTER_MEMORY only).
    pub const KEEP_QUEUES: u32 = 1 << 2;
}

wire! {
    /// Header of a request.
    pub struct MailboxRequest [24] {
        /// The message: [`op`], or [`crate::virtchnl2::op`].
        0 => opcode: U32,
        /// Bytes of payload that follow.
        4 => payload_len: U32,
        /// The sender's value, repeated in the reply.
        8 => cookie: U64,
        /// Reserved, 0.
        16 => reserved: U64,
    }

    /// Header of a reply.
    pub struct MailboxReply [24] {
        /// The request's opcode.
        0 => opcode: U32,
        /// Bytes of payload that follow.
        4 => payload_len: U32,
        /// The request's cookie.
        8 => cookie: U64,
        /// 0, or the reason for the refusal: see [`crate::virtchnl2::status`].
        16 => status: U32,
        /// Reserved, 0.
        20 => reserved: U32,
    }

    /// Memory of the owner that the ADI may access at its address in the VFIO container. All of it
    /// must be mapped there, writable if the device may write. Registrations must not overlap.
    /// Memory that is unmapped in the container is unregistered; an owner that unmaps it without
    /// UNREGISTER_MEMORY has its next registration delayed, longer each time. Memory that is being
    /// unmapped is refused (EAGAIN), as is any other whose pages take long to pin while something is being
    /// unmapped in the container: it can be registered again. [`op::REGISTER_MEMORY`],
    /// [`op::UNREGISTER_MEMORY`].
    pub struct RegisterMemory [24] {
        /// First IOVA; a multiple of the page size.
        0 => iova: U64,
        /// Length in bytes; a multiple of the page size.
        8 => len: U64,
        /// See [`memory_flags`]; READ, WRITE or both to register.
        16 => flags: U32,
        /// Reserved, 0.
        20 => reserved: U32,
    }
}
