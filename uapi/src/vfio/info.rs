// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! The information region: the properties of an ADI.

use zerocopy::little_endian::{U16, U32, U64};

/// [`AdiInfo::magic`]: "ADIT" in memory.
pub const INFO_MAGIC: u32 = u32::from_le_bytes(*b"ADIT");
/// [`AdiInfo::version`]: raised when a field changes its meaning. New fields use reserved bytes,
/// where 0 stands for the earlier behaviour.
pub const INFO_VERSION: u16 = 1;

named! {
    /// Values of [`AdiInfo::state`].
    pub mod adi_state: u32 {
        /// In service.
        ACTIVE = 1;
        /// The device or its driver is gone: the owner can only close it.
        DEAD = 2;
    }
}

wire! {
    /// The information region ([`super::region::INFO`]). All fields but `state` and `faults` are
    /// constant while the device is open.
    pub struct AdiInfo [160] {
        /// [`INFO_MAGIC`].
        0 => magic: U32,
        /// [`INFO_VERSION`].
        4 => version: U16,
        /// Bytes of this struct that are filled in.
        6 => len: U16,
        /// The ADI's id in messages to the device and in devlink's fault reports (`id`); not the `N` of
        /// `adit.adi.N`.
        8 => device_adi_id: U32,
        /// See [`adi_state`].
        12 => state: U32,
        /// The ADI's MAC address.
        16 => mac: [u8; 6],
        /// VLAN that the ADI is on, 0 for none. The device inserts and strips the tags: the ADI
        /// sees none.
        22 => vlan: U16,
        /// Queue pairs.
        24 => num_queue_pairs: U16,
        /// Interrupt vectors.
        26 => num_vectors: U16,
        /// Maximum MTU in bytes; a frame has 14 bytes of Ethernet header in addition.
        28 => max_mtu: U16,
        /// Maximum length of a ring, in entries.
        30 => max_ring_len: U16,
        /// Granularity of ring lengths, in entries.
        32 => ring_len_multiple: U16,
        /// Alignment of rings, in bytes.
        34 => ring_align: U16,
        /// Maximum payload of a mailbox message, in bytes.
        36 => max_payload_len: U32,
        /// Maximum number of memory registrations of the ADI at a time.
        40 => max_registrations: U32,
        /// Offset of the asleep word in a doorbell page, in bytes.
        44 => asleep_offset: U32,
        /// Offset in the kick page of the word to write, in bytes.
        48 => kick_offset: U32,
        /// Padding.
        52 => pad: [u8; 12],
        /// Maximum number of bytes that the ADI may have registered at a time.
        64 => max_registered_len: U64,
        /// First IOVA that can be registered.
        72 => iova_first: U64,
        /// Last IOVA that can be registered.
        80 => iova_last: U64,
        /// IOVA of the memory of [`super::region::DMA`].
        88 => dma_iova: U64,
        /// Length of that memory in bytes; 0 when there is none.
        96 => dma_len: U64,
        /// Queues that were stopped by a fault since the device was opened or reset.
        104 => faults: U64,
        /// Reserved, 0.
        112 => reserved: [u8; 48],
    }
}
