// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! The flex descriptor of a received packet on a single queue: profile 2 (IDPF,
//! virtchnl2_lan_desc.h).

use crate::bits::{mask16, mask8, set16};
use zerocopy::little_endian::{U16, U32};

/// [`RxFlexDescNic::ptype_flex_flags0`]: packet type.
pub const PTYPE_M: u16 = mask16(9, 0);
/// [`RxFlexDescNic::ptype_flex_flags0`]: flexible flags 0.
pub const FLEX_FLAGS0_M: u16 = mask16(15, 10);
/// [`RxFlexDescNic::pkt_len`]: bytes in the packet buffer.
pub const PKT_LEN_M: u16 = mask16(13, 0);
/// [`RxFlexDescNic::hdr_len_sph_flex_flags1`]: bytes in the header buffer.
pub const HDR_LEN_M: u16 = mask16(10, 0);
/// [`RxFlexDescNic::hdr_len_sph_flex_flags1`]: the header was split off.
pub const SPH_M: u16 = 1 << 11;
/// [`RxFlexDescNic::hdr_len_sph_flex_flags1`]: flexible flags 1.
pub const FLEX_FLAGS1_M: u16 = mask16(15, 12);
/// [`RxFlexDescNic::mir_id_umb_cast`]: unicast, multicast or broadcast.
pub const UMBCAST_M: u8 = mask8(7, 6);
/// [`RxFlexDescNic::mir_id_umb_cast`]: mirror.
pub const MIRROR_M: u8 = mask8(5, 0);
/// [`RxFlexDescNic::ts_low`]: the timestamp is valid.
pub const TSTAMP_VALID: u8 = 1 << 0;

/// [`RxFlexDescNic::status_error0`] (virtchnl2_rx_flex_desc_status_error_0_bits).
pub mod status0 {
    /// The descriptor is written.
    pub const DD: u16 = 1 << 0;
    /// End of packet.
    pub const EOF: u16 = 1 << 1;
    /// The header buffer overflowed.
    pub const HBO: u16 = 1 << 2;
    /// The checksums of layers 3 and 4 were checked.
    pub const L3L4P: u16 = 1 << 3;
    /// IP checksum wrong.
    pub const XSUM_IPE: u16 = 1 << 4;
    /// Layer 4 checksum wrong.
    pub const XSUM_L4E: u16 = 1 << 5;
    /// Outer IP checksum wrong.
    pub const XSUM_EIPE: u16 = 1 << 6;
    /// Outer UDP checksum wrong.
    pub const XSUM_EUDPE: u16 = 1 << 7;
    /// The packet was received by loopback.
    pub const LPBK: u16 = 1 << 8;
    /// The packet has IPv6 extension headers with an address.
    pub const IPV6EXADD: u16 = 1 << 9;
    /// The link reported an error.
    pub const RXE: u16 = 1 << 10;
    /// The frame's CRC is in the buffer.
    pub const CRCP: u16 = 1 << 11;
    /// The RSS hash is valid.
    pub const RSS_VALID: u16 = 1 << 12;
    /// L2TAG1 is valid.
    pub const L2TAG1P: u16 = 1 << 13;
    /// Extracted metadata 0 is valid.
    pub const XTRMD0_VALID: u16 = 1 << 14;
    /// Extracted metadata 1 is valid.
    pub const XTRMD1_VALID: u16 = 1 << 15;
}

/// [`RxFlexDescNic::status_error1`] (virtchnl2_rx_flex_desc_status_error_1_bits).
pub mod status1 {
    /// State of inline cryptography.
    pub const CPM_M: u16 = 0xF;
    /// The packet is in a UDP tunnel.
    pub const NAT: u16 = 1 << 4;
    /// The packet was processed by inline cryptography.
    pub const CRYPTO: u16 = 1 << 5;
    /// L2TAG2 is valid.
    pub const L2TAG2P: u16 = 1 << 11;
    /// Extracted metadata 2 is valid.
    pub const XTRMD2_VALID: u16 = 1 << 12;
    /// Extracted metadata 3 is valid.
    pub const XTRMD3_VALID: u16 = 1 << 13;
    /// Extracted metadata 4 is valid.
    pub const XTRMD4_VALID: u16 = 1 << 14;
    /// Extracted metadata 5 is valid.
    pub const XTRMD5_VALID: u16 = 1 << 15;
}

wire! {
    /// A received packet (virtchnl2_rx_flex_desc_nic).
    pub struct RxFlexDescNic [32] {
        /// Profile, see [`super::ids::rxdid`].
        0 => rxdid: u8,
        /// See [`UMBCAST_M`] and [`MIRROR_M`].
        1 => mir_id_umb_cast: u8,
        /// See [`PTYPE_M`] and [`FLEX_FLAGS0_M`].
        2 => ptype_flex_flags0: U16,
        /// See [`PKT_LEN_M`].
        4 => pkt_len: U16,
        /// See [`HDR_LEN_M`], [`SPH_M`] and [`FLEX_FLAGS1_M`].
        6 => hdr_len_sph_flex_flags1: U16,
        /// See [`status0`].
        8 => status_error0: U16,
        /// The stripped VLAN tag, with [`status0::L2TAG1P`].
        10 => l2tag1: U16,
        /// RSS hash, with [`status0::RSS_VALID`].
        12 => rss_hash: U32,
        /// See [`status1`].
        16 => status_error1: U16,
        /// Flexible flags 2.
        18 => flexi_flags2: u8,
        /// Low bits of the receive timestamp, see [`TSTAMP_VALID`].
        19 => ts_low: u8,
        /// The second stripped VLAN tag, first half.
        20 => l2tag2_1st: U16,
        /// The second stripped VLAN tag, with [`status1::L2TAG2P`].
        22 => l2tag2_2nd: U16,
        /// Flow id.
        24 => flow_id: U32,
        /// Receive timestamp in nanoseconds, lower 32 bits; or an IPv6 flow id in bits 31:16.
        28 => ts_high: U32,
    }
}

impl RxFlexDescNic {
    /// Returns the packet type, 10 bits.
    #[must_use]
    pub const fn ptype(&self) -> u16 {
        self.ptype_flex_flags0.get() & PTYPE_M
    }

    /// Sets the packet type.
    pub const fn set_ptype(&mut self, ptype: u16) {
        self.ptype_flex_flags0 = U16::new(set16(self.ptype_flex_flags0.get(), PTYPE_M, ptype));
    }

    /// Returns the number of bytes in the packet buffer.
    #[must_use]
    pub const fn len(&self) -> u16 {
        self.pkt_len.get() & PKT_LEN_M
    }

    /// Returns whether the packet buffer is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ptype_and_flags_share_a_word() {
        let mut d = RxFlexDescNic {
            ptype_flex_flags0: U16::new(0xFC00),
            ..Default::default()
        };
        d.set_ptype(0x3FF);
        assert_eq!((d.ptype(), d.ptype_flex_flags0.get()), (0x3FF, 0xFFFF));
        d.pkt_len = U16::new(0xC000);
        assert!(d.is_empty());
    }
}
