// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! The flex descriptor of a received packet on a split queue: profile 2, "advanced NIC 3" (IDPF,
//! virtchnl2_lan_desc.h).
//!
//! A packet in several buffers has one descriptor each; the last has [`status0_qw1::EOF`], and only
//! there are the other fields about the packet valid. The generation bit is 1 in the device's first
//! pass over the ring and toggles with every further one.

use crate::bits::{mask16, mask8, set16, set8};
use zerocopy::little_endian::{U16, U32};

/// [`RxFlexDescAdvNic3::rxdid_ucast`]: profile, see [`super::ids::rxdid`].
pub const RXDID_M: u8 = mask8(3, 0);
/// [`RxFlexDescAdvNic3::rxdid_ucast`]: unicast, multicast or broadcast.
pub const UMBCAST_M: u8 = mask8(7, 6);
/// [`RxFlexDescAdvNic3::ptype_err_fflags0`]: packet type.
pub const PTYPE_M: u16 = mask16(9, 0);
/// [`RxFlexDescAdvNic3::ptype_err_fflags0`]: the IP header is malformed.
pub const IP_HDR_ERR_M: u16 = 1 << 10;
/// [`RxFlexDescAdvNic3::ptype_err_fflags0`]: the UDP length is wrong.
pub const UDP_LEN_ERR_M: u16 = 1 << 11;
/// [`RxFlexDescAdvNic3::ptype_err_fflags0`]: the raw checksum is not valid.
pub const RAW_CSUM_INV_M: u16 = 1 << 12;
/// [`RxFlexDescAdvNic3::ptype_err_fflags0`]: flexible flags 0.
pub const FF0_M: u16 = mask16(15, 13);
/// [`RxFlexDescAdvNic3::pktlen_gen_bufq_id`]: bytes in the packet buffer.
pub const LEN_PBUF_M: u16 = mask16(13, 0);
/// [`RxFlexDescAdvNic3::pktlen_gen_bufq_id`]: the generation.
pub const GEN_M: u16 = 1 << 14;
/// [`RxFlexDescAdvNic3::pktlen_gen_bufq_id`]: the buffer queue that the buffer is from, of the two.
pub const BUFQ_ID_M: u16 = 1 << 15;
/// [`RxFlexDescAdvNic3::hdrlen_flags`]: bytes in the header buffer.
pub const LEN_HDR_M: u16 = mask16(9, 0);
/// [`RxFlexDescAdvNic3::hdrlen_flags`]: the packet was coalesced.
pub const RSC_M: u16 = 1 << 10;
/// [`RxFlexDescAdvNic3::hdrlen_flags`]: the header was split off.
pub const SPH_M: u16 = 1 << 11;
/// [`RxFlexDescAdvNic3::hdrlen_flags`]: flexible flags 1.
pub const FF1_M: u16 = mask16(14, 12);
/// [`RxFlexDescAdvNic3::hdrlen_flags`]: the outer UDP checksum was 0.
pub const EXT_UDP_0_M: u16 = 1 << 12;
/// [`RxFlexDescAdvNic3::hdrlen_flags`]: the inner UDP checksum was 0.
pub const INT_UDP_0_M: u16 = 1 << 13;
/// [`RxFlexDescAdvNic3::hdrlen_flags`]: a mirrored packet was truncated.
pub const TRUNC_MIRR_M: u16 = 1 << 14;
/// [`RxFlexDescAdvNic3::hdrlen_flags`]: metadata was prepended to the packet on a miss.
pub const MISS_M: u16 = 1 << 15;
/// [`RxFlexDescAdvNic3::ts_low`]: the timestamp is valid (VIRTCHNL2_RX_FLEX_TSTAMP_VALID).
pub const TSTAMP_VALID: u8 = 1 << 0;

/// [`RxFlexDescAdvNic3::status_err0_qw0`]
/// (virtchnl2_rx_flex_desc_adv_status_error_0_qw0_bits).
pub mod status0_qw0 {
    /// The packet was received by loopback.
    pub const LPBK: u8 = 1 << 0;
    /// The packet has IPv6 extension headers with an address.
    pub const IPV6EXADD: u8 = 1 << 1;
    /// The link reported an error.
    pub const RXE: u8 = 1 << 2;
    /// The frame's CRC is in the buffer.
    pub const CRCP: u8 = 1 << 3;
    /// The hash is valid.
    pub const RSS_VALID: u8 = 1 << 4;
    /// L2TAG1 is valid.
    pub const L2TAG1P: u8 = 1 << 5;
    /// Extracted metadata 0 is valid.
    pub const XTRMD0_VALID: u8 = 1 << 6;
    /// Extracted metadata 1 is valid.
    pub const XTRMD1_VALID: u8 = 1 << 7;
}

/// [`RxFlexDescAdvNic3::status_err0_qw1`]
/// (virtchl2_rx_flex_desc_adv_status_error_0_qw1_bits).
pub mod status0_qw1 {
    /// The descriptor is written.
    pub const DD: u8 = 1 << 0;
    /// End of packet.
    pub const EOF: u8 = 1 << 1;
    /// The header buffer overflowed.
    pub const HBO: u8 = 1 << 2;
    /// The checksums of layers 3 and 4 were checked.
    pub const L3L4P: u8 = 1 << 3;
    /// IP checksum wrong.
    pub const XSUM_IPE: u8 = 1 << 4;
    /// Layer 4 checksum wrong.
    pub const XSUM_L4E: u8 = 1 << 5;
    /// Outer IP checksum wrong.
    pub const XSUM_EIPE: u8 = 1 << 6;
    /// Outer UDP checksum wrong.
    pub const XSUM_EUDPE: u8 = 1 << 7;
}

/// [`RxFlexDescAdvNic3::status_err1`] (virtchnl2_rx_flex_desc_adv_status_error_1_bits).
pub mod status1 {
    /// Reserved.
    pub const RSVD_M: u8 = 3;
    /// A filter for the flow could not be created.
    pub const ATRAEFAIL: u8 = 1 << 2;
    /// L2TAG2 is valid.
    pub const L2TAG2P: u8 = 1 << 3;
    /// Extracted metadata 2 is valid.
    pub const XTRMD2_VALID: u8 = 1 << 4;
    /// Extracted metadata 3 is valid.
    pub const XTRMD3_VALID: u8 = 1 << 5;
    /// Extracted metadata 4 is valid.
    pub const XTRMD4_VALID: u8 = 1 << 6;
    /// Extracted metadata 5 is valid.
    pub const XTRMD5_VALID: u8 = 1 << 7;
}

wire! {
    /// A received packet, or one buffer of it (virtchnl2_rx_flex_desc_adv_nic_3).
    pub struct RxFlexDescAdvNic3 [32] {
        /// See [`RXDID_M`] and [`UMBCAST_M`].
        0 => rxdid_ucast: u8,
        /// See [`status0_qw0`].
        1 => status_err0_qw0: u8,
        /// See [`PTYPE_M`] to [`FF0_M`].
        2 => ptype_err_fflags0: U16,
        /// See [`LEN_PBUF_M`], [`GEN_M`] and [`BUFQ_ID_M`].
        4 => pktlen_gen_bufq_id: U16,
        /// See [`LEN_HDR_M`] to [`MISS_M`].
        6 => hdrlen_flags: U16,
        /// See [`status0_qw1`].
        8 => status_err0_qw1: u8,
        /// See [`status1`].
        9 => status_err1: u8,
        /// Flexible flags 1.
        10 => fflags1: u8,
        /// Low bits of the receive timestamp, see [`TSTAMP_VALID`].
        11 => ts_low: u8,
        /// Identifier of the buffer from its [`super::SplitqRxBufDesc`].
        12 => buf_id: U16,
        /// Raw checksum; with [`RSC_M`] the payload of a coalesced segment in bytes
        /// (`rscseglen`); or a VLAN tag (`l2tag1`).
        14 => misc: U16,
        /// Hash, bits 15:0.
        16 => hash1: U16,
        /// Hash, bits 23:16; or flexible flags 2 or the mirror id.
        18 => ff2_mirrid_hash2: u8,
        /// Hash, bits 31:24.
        19 => hash3: u8,
        /// The second stripped VLAN tag, with [`status1::L2TAG2P`].
        20 => l2tag2: U16,
        /// Flexible metadata 4.
        22 => fmd4: U16,
        /// The stripped VLAN tag, with [`status0_qw0::L2TAG1P`].
        24 => l2tag1: U16,
        /// Flexible metadata 6.
        26 => fmd6: U16,
        /// Receive timestamp in nanoseconds, lower 32 bits.
        28 => ts_high: U32,
    }
}

impl RxFlexDescAdvNic3 {
    /// Returns the profile.
    #[must_use]
    pub const fn rxdid(&self) -> u8 {
        self.rxdid_ucast & RXDID_M
    }

    /// Sets the profile.
    pub const fn set_rxdid(&mut self, rxdid: u8) {
        self.rxdid_ucast = set8(self.rxdid_ucast, RXDID_M, rxdid);
    }

    /// Returns the packet type, 10 bits.
    #[must_use]
    pub const fn ptype(&self) -> u16 {
        self.ptype_err_fflags0.get() & PTYPE_M
    }

    /// Sets the packet type.
    pub const fn set_ptype(&mut self, ptype: u16) {
        self.ptype_err_fflags0 = U16::new(set16(self.ptype_err_fflags0.get(), PTYPE_M, ptype));
    }

    /// Returns whether the raw checksum is invalid.
    #[must_use]
    pub const fn raw_csum_inv(&self) -> bool {
        self.ptype_err_fflags0.get() & RAW_CSUM_INV_M != 0
    }

    /// Sets whether the raw checksum is invalid.
    pub const fn set_raw_csum_inv(&mut self, invalid: bool) {
        let v = self.ptype_err_fflags0.get();
        self.ptype_err_fflags0 = U16::new(set16(v, RAW_CSUM_INV_M, invalid as u16));
    }

    /// Returns the flow id assigned by the device's program, if there is one.
    #[must_use]
    pub const fn flow_id(&self) -> Option<u32> {
        let valid = status1::XTRMD4_VALID;
        if self.status_err1 & valid == 0 {
            return None;
        }
        Some(self.fmd4.get() as u32 | (self.fmd6.get() as u32) << 16)
    }

    /// Sets the flow id assigned by the device's program. The specification leaves the contents of
    /// the flexible metadata to the device; here, 4 has the lower and 6 the upper 16 bits, and both
    /// are valid if [`status1::XTRMD4_VALID`] is set.
    pub const fn set_flow_id(&mut self, id: u32) {
        self.fmd4 = U16::new(id as u16);
        self.fmd6 = U16::new((id >> 16) as u16);
        self.status_err1 |= status1::XTRMD4_VALID;
    }

    /// Returns the number of bytes in the packet buffer.
    #[must_use]
    pub const fn len_pbuf(&self) -> u16 {
        self.pktlen_gen_bufq_id.get() & LEN_PBUF_M
    }

    /// Returns the generation bit.
    #[must_use]
    pub const fn generation(&self) -> bool {
        self.pktlen_gen_bufq_id.get() & GEN_M != 0
    }

    /// Returns whether the buffer is from the second buffer queue.
    #[must_use]
    pub const fn bufq_id(&self) -> bool {
        self.pktlen_gen_bufq_id.get() & BUFQ_ID_M != 0
    }

    /// Sets length (14 bits), generation and buffer queue, which share a word.
    pub const fn set_pktlen_gen_bufq_id(&mut self, len: u16, generation: bool, second: bool) {
        let v = set16(len & LEN_PBUF_M, GEN_M, generation as u16);
        self.pktlen_gen_bufq_id = U16::new(set16(v, BUFQ_ID_M, second as u16));
    }

    /// Returns the number of bytes in the header buffer.
    #[must_use]
    pub const fn len_hdr(&self) -> u16 {
        self.hdrlen_flags.get() & LEN_HDR_M
    }

    /// Returns whether the header was split off.
    #[must_use]
    pub const fn sph(&self) -> bool {
        self.hdrlen_flags.get() & SPH_M != 0
    }

    /// Returns whether the packet was coalesced.
    #[must_use]
    pub const fn rsc(&self) -> bool {
        self.hdrlen_flags.get() & RSC_M != 0
    }

    /// Marks the first `len` bytes of the packet (at most 1,023) as being in the header buffer.
    pub const fn set_split_header(&mut self, len: u16) {
        let v = set16(self.hdrlen_flags.get(), LEN_HDR_M, len);
        self.hdrlen_flags = U16::new(v | SPH_M);
    }

    /// Marks the packet as coalesced from segments of `len` bytes of payload.
    pub const fn set_rsc(&mut self, len: u16) {
        self.hdrlen_flags = U16::new(self.hdrlen_flags.get() | RSC_M);
        self.misc = U16::new(len);
    }

    /// Returns the hash, valid with [`status0_qw0::RSS_VALID`].
    #[must_use]
    pub const fn hash(&self) -> u32 {
        self.hash1.get() as u32 | (self.ff2_mirrid_hash2 as u32) << 16 | (self.hash3 as u32) << 24
    }

    /// Sets the hash and marks it as valid.
    pub const fn set_hash(&mut self, hash: u32) {
        self.hash1 = U16::new(hash as u16);
        self.ff2_mirrid_hash2 = (hash >> 16) as u8;
        self.hash3 = (hash >> 24) as u8;
        self.status_err0_qw0 |= status0_qw0::RSS_VALID;
    }

    /// Sets the stripped VLAN tag and marks it as valid.
    pub const fn set_l2tag1(&mut self, tci: u16) {
        self.l2tag1 = U16::new(tci);
        self.status_err0_qw0 |= status0_qw0::L2TAG1P;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::{FromBytes, IntoBytes};

    #[test]
    fn all_fields_survive_memory() {
        let mut d = RxFlexDescAdvNic3 {
            buf_id: U16::new(0x0102),
            ..Default::default()
        };
        d.set_rxdid(super::super::ids::rxdid::FLEX);
        d.set_ptype(0x3FF);
        d.set_raw_csum_inv(true);
        d.set_pktlen_gen_bufq_id(0x3FFF, true, false);
        d.set_split_header(54);
        d.set_rsc(1448);
        d.set_hash(0xDEAD_BEEF);
        d.set_l2tag1(100);
        let d = RxFlexDescAdvNic3::read_from_bytes(d.as_bytes()).unwrap();
        assert_eq!((d.rxdid(), d.ptype(), d.raw_csum_inv()), (2, 0x3FF, true));
        assert_eq!(
            (d.len_pbuf(), d.generation(), d.bufq_id()),
            (0x3FFF, true, false)
        );
        assert_eq!(
            (d.len_hdr(), d.sph(), d.rsc(), d.misc.get()),
            (54, true, true, 1448)
        );
        assert_eq!((d.hash(), d.l2tag1.get()), (0xDEAD_BEEF, 100));
        assert_eq!(
            d.status_err0_qw0,
            status0_qw0::RSS_VALID | status0_qw0::L2TAG1P
        );
        let bytes = d.as_bytes();
        assert_eq!(bytes[2..8], [0xFF, 0x13, 0xFF, 0x7F, 0x36, 0x0C]);
        assert_eq!(bytes[16..20], [0xEF, 0xBE, 0xAD, 0xDE]);
    }
}
