// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! The base descriptor of a received packet, of single queues: profile 1 (IDPF,
//! virtchnl2_lan_desc.h).

use crate::bits::{get64, set64};
use zerocopy::little_endian::{U16, U32, U64};

/// Fields of [`SingleqBaseRxDesc::qw1`].
pub mod qw1 {
    use crate::bits::mask;

    /// Status, see [`super::status`].
    pub const STATUS_M: u64 = mask(18, 0);
    /// Errors, see [`super::error`].
    pub const ERROR_M: u64 = mask(26, 19);
    /// Packet type, 8 bits.
    pub const PTYPE_M: u64 = mask(37, 30);
    /// Bytes in the packet buffer.
    pub const LEN_PBUF_M: u64 = mask(51, 38);
}

/// Status (virtchnl2_rx_base_desc_status_bits).
pub mod status {
    /// The descriptor is written.
    pub const DD: u32 = 1 << 0;
    /// End of packet.
    pub const EOF: u32 = 1 << 1;
    /// L2TAG1 is valid.
    pub const L2TAG1P: u32 = 1 << 2;
    /// The checksums of layers 3 and 4 were checked.
    pub const L3L4P: u32 = 1 << 3;
    /// The frame's CRC is in the buffer.
    pub const CRCP: u32 = 1 << 4;
    /// The outer UDP checksum was 0.
    pub const EXT_UDP_0: u32 = 1 << 8;
    /// Unicast, multicast or broadcast.
    pub const UMBCAST_M: u32 = 3 << 9;
    /// A filter matched.
    pub const FLM: u32 = 1 << 11;
    /// The meaning of the hash field: [`FLTSTAT_RSS_HASH`] or none.
    pub const FLTSTAT_M: u32 = 3 << 12;
    /// The hash field is an RSS hash.
    pub const FLTSTAT_RSS_HASH: u32 = 3 << 12;
    /// The packet was received by loopback.
    pub const LPBK: u32 = 1 << 14;
    /// The packet has IPv6 extension headers with an address.
    pub const IPV6EXADD: u32 = 1 << 15;
    /// The inner UDP checksum was 0.
    pub const INT_UDP_0: u32 = 1 << 18;
}

/// Errors (virtchnl2_rx_base_desc_error_bits).
pub mod error {
    /// The link reported an error.
    pub const RXE: u8 = 1 << 0;
    /// A filter for the flow could not be created.
    pub const ATRAEFAIL: u8 = 1 << 1;
    /// The header buffer overflowed.
    pub const HBO: u8 = 1 << 2;
    /// All checksum errors: [`IPE`], [`L4E`], [`EIPE`].
    pub const L3L4E_M: u8 = 7 << 3;
    /// IP checksum wrong.
    pub const IPE: u8 = 1 << 3;
    /// Layer 4 checksum wrong.
    pub const L4E: u8 = 1 << 4;
    /// Outer IP checksum wrong.
    pub const EIPE: u8 = 1 << 5;
    /// Too large.
    pub const OVERSIZE: u8 = 1 << 6;
    /// The packet was not parsed completely.
    pub const PPRS: u8 = 1 << 7;
}

wire! {
    /// A received packet (virtchnl2_singleq_base_rx_desc).
    pub struct SingleqBaseRxDesc [32] {
        /// Status of mirroring.
        0 => mirroring_status: U16,
        /// The stripped VLAN tag, with [`status::L2TAG1P`].
        2 => l2tag1: U16,
        /// RSS hash, with [`status::FLTSTAT_RSS_HASH`]; otherwise the filter's id.
        4 => rss: U32,
        /// Status, errors, packet type and length, see [`qw1`].
        8 => qw1: U64,
        /// Extended status.
        16 => ext_status: U16,
        /// Reserved.
        18 => rsvd: U16,
        /// The second stripped VLAN tag.
        20 => l2tag2_1: U16,
        /// Reserved.
        22 => l2tag2_2: U16,
        /// Reserved.
        24 => reserved: U32,
        /// The filter's id.
        28 => fd_id: U32,
    }
}

impl SingleqBaseRxDesc {
    /// Returns the status, see [`status`].
    #[must_use]
    pub const fn status(&self) -> u32 {
        get64(self.qw1.get(), qw1::STATUS_M) as u32
    }

    /// Returns the errors, see [`error`].
    #[must_use]
    pub const fn error(&self) -> u8 {
        get64(self.qw1.get(), qw1::ERROR_M) as u8
    }

    /// Returns the packet type.
    #[must_use]
    pub const fn ptype(&self) -> u8 {
        get64(self.qw1.get(), qw1::PTYPE_M) as u8
    }

    /// Returns the number of bytes in the packet buffer.
    #[must_use]
    pub const fn len_pbuf(&self) -> u16 {
        get64(self.qw1.get(), qw1::LEN_PBUF_M) as u16
    }

    /// Sets status, errors, packet type and length (14 bits) at once.
    pub const fn set_qw1(&mut self, status: u32, error: u8, ptype: u8, len: u16) {
        let v = set64(0, qw1::STATUS_M, status as u64);
        let v = set64(v, qw1::ERROR_M, error as u64);
        let v = set64(v, qw1::PTYPE_M, ptype as u64);
        self.qw1 = U64::new(set64(v, qw1::LEN_PBUF_M, len as u64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quadword_reads_back() {
        let mut d = SingleqBaseRxDesc::default();
        d.set_qw1(
            status::DD | status::EOF | status::INT_UDP_0,
            error::PPRS,
            0xA5,
            0x3FFF,
        );
        assert_eq!(d.status(), status::DD | status::EOF | status::INT_UDP_0);
        assert_eq!(
            (d.error(), d.ptype(), d.len_pbuf()),
            (error::PPRS, 0xA5, 0x3FFF)
        );
        assert_eq!(d.qw1.get() & !0x000F_FFFF_C7FF_FFFF, 0);
    }
}
