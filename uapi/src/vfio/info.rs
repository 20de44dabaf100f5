// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! What an ADI tells about itself.

use zerocopy::little_endian::{U16, U32, U64};

/// [`AdiInfo::magic`]: "ADIT" in memory.
pub const INFO_MAGIC: u32 = u32::from_le_bytes(*b"ADIT");
/// [`AdiInfo::version`]: raised when a field changes its meaning. New fields take reserved bytes,
/// in which 0 means what was so before.
pub const INFO_VERSION: u16 = 1;

named! {
    /// Values of [`AdiInfo::state`].
    pub mod adi_state: u32 {
        /// In service.
        ACTIVE = 1;
        /// The device or its driver is gone: only closing is left.
        DEAD = 2;
    }
}

wire! {
    /// The information region ([`super::region::INFO`]). All but `state` and `faults` stay as they
    /// are while the device is open.
    pub struct AdiInfo [160] {
        /// [`INFO_MAGIC`].
        0 => magic: U32,
        /// [`INFO_VERSION`].
        4 => version: U16,
        /// Bytes of this struct that are filled in.
        6 => len: U16,
        /// The ADI's number on its function, as in the name of its auxiliary device.
        8 => adi_id: U32,
        /// See [`adi_state`].
        12 => state: U32,
        /// The address that frames for the ADI carry.
        16 => mac: [u8; 6],
        /// VLAN that the ADI is on, 0 for none. Tags are the device's business: the ADI sees none.
        22 => vlan: U16,
        /// Queue pairs.
        24 => num_queue_pairs: U16,
        /// Interrupt vectors.
        26 => num_vectors: U16,
        /// Largest MTU in bytes; a frame has 14 bytes of Ethernet header besides.
        28 => max_mtu: U16,
        /// Longest ring, in entries.
        30 => max_ring_len: U16,
        /// Rings have a multiple of this many entries.
        32 => ring_len_multiple: U16,
        /// Rings begin at a multiple of this many bytes.
        34 => ring_align: U16,
        /// Longest payload of a mailbox message, in bytes.
        36 => max_payload_len: U32,
        /// Registrations of memory that the ADI may have at a time.
        40 => max_registrations: U32,
        /// Offset of the asleep word in a doorbell page, in bytes.
        44 => asleep_offset: U32,
        /// Offset in the kick page of the word to write, in bytes.
        48 => kick_offset: U32,
        /// Padding.
        52 => pad: [u8; 12],
        /// Bytes that the ADI may have registered at a time.
        64 => max_registered_len: U64,
        /// First IOVA that can be registered.
        72 => iova_first: U64,
        /// Last IOVA that can be registered.
        80 => iova_last: U64,
        /// Where the ADI finds the memory of [`super::region::DMA`].
        88 => dma_iova: U64,
        /// Bytes of that memory; 0 when there is none.
        96 => dma_len: U64,
        /// Queues that were stopped by a fault since the device was opened or reset.
        104 => faults: U64,
        /// Reserved, 0.
        112 => reserved: [u8; 48],
    }
}
