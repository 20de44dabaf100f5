// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Receive-side scaling: key, lookup table, and the packet types to hash.

use zerocopy::little_endian::{U16, U32, U64};

named! {
    /// Algorithms (virtchnl2_rss_alg).
    pub mod alg: u32 {
        /// Toeplitz over source and destination.
        TOEPLITZ_ASYMMETRIC = 0;
        /// "R" over source and destination.
        R_ASYMMETRIC = 1;
        /// Toeplitz, the same for both directions of a flow.
        TOEPLITZ_SYMMETRIC = 2;
        /// Exclusive or, the same for both directions of a flow.
        XOR_SYMMETRIC = 3;
    }

    /// Bit numbers in [`RssHash::ptype_groups`] (idpf_rss_hash in idpf_lan_txrx.h). "Non-F" is
    /// not fragmented.
    pub mod ptype_group: u32 {
        /// Unicast UDP over IPv4, not fragmented.
        NONF_UNICAST_IPV4_UDP = 29;
        /// Multicast UDP over IPv4, not fragmented.
        NONF_MULTICAST_IPV4_UDP = 30;
        /// UDP over IPv4, not fragmented.
        NONF_IPV4_UDP = 31;
        /// TCP over IPv4, SYN without ACK, not fragmented.
        NONF_IPV4_TCP_SYN_NO_ACK = 32;
        /// TCP over IPv4, not fragmented.
        NONF_IPV4_TCP = 33;
        /// SCTP over IPv4, not fragmented.
        NONF_IPV4_SCTP = 34;
        /// Other IPv4, not fragmented.
        NONF_IPV4_OTHER = 35;
        /// A fragment of IPv4.
        FRAG_IPV4 = 36;
        /// Unicast UDP over IPv6, not fragmented.
        NONF_UNICAST_IPV6_UDP = 39;
        /// Multicast UDP over IPv6, not fragmented.
        NONF_MULTICAST_IPV6_UDP = 40;
        /// UDP over IPv6, not fragmented.
        NONF_IPV6_UDP = 41;
        /// TCP over IPv6, SYN without ACK, not fragmented.
        NONF_IPV6_TCP_SYN_NO_ACK = 42;
        /// TCP over IPv6, not fragmented.
        NONF_IPV6_TCP = 43;
        /// SCTP over IPv6, not fragmented.
        NONF_IPV6_SCTP = 44;
        /// Other IPv6, not fragmented.
        NONF_IPV6_OTHER = 45;
        /// A fragment of IPv6.
        FRAG_IPV6 = 46;
        /// Reserved.
        NONF_RSVD47 = 47;
        /// Fibre Channel over Ethernet, by originator.
        NONF_FCOE_OX = 48;
        /// Fibre Channel over Ethernet, by responder.
        NONF_FCOE_RX = 49;
        /// Other Fibre Channel over Ethernet.
        NONF_FCOE_OTHER = 50;
        /// Link layer only.
        L2_PAYLOAD = 63;
    }
}

/// Packet types hashed by default in drivers (IDPF_DEFAULT_RSS_HASH).
pub const DEFAULT_HASH: u64 = 1 << ptype_group::NONF_IPV4_UDP
    | 1 << ptype_group::NONF_IPV4_SCTP
    | 1 << ptype_group::NONF_IPV4_TCP
    | 1 << ptype_group::NONF_IPV4_OTHER
    | 1 << ptype_group::FRAG_IPV4
    | 1 << ptype_group::NONF_IPV6_UDP
    | 1 << ptype_group::NONF_IPV6_TCP
    | 1 << ptype_group::NONF_IPV6_SCTP
    | 1 << ptype_group::NONF_IPV6_OTHER
    | 1 << ptype_group::FRAG_IPV6
    | 1 << ptype_group::L2_PAYLOAD;

/// [`DEFAULT_HASH`] with the more specific types (IDPF_DEFAULT_RSS_HASH_EXPANDED).
pub const DEFAULT_HASH_EXPANDED: u64 = DEFAULT_HASH
    | 1 << ptype_group::NONF_IPV4_TCP_SYN_NO_ACK
    | 1 << ptype_group::NONF_UNICAST_IPV4_UDP
    | 1 << ptype_group::NONF_MULTICAST_IPV4_UDP
    | 1 << ptype_group::NONF_IPV6_TCP_SYN_NO_ACK
    | 1 << ptype_group::NONF_UNICAST_IPV6_UDP
    | 1 << ptype_group::NONF_MULTICAST_IPV6_UDP;

wire! {
    /// The key, followed by its `key_len` bytes directly after byte 7 (virtchnl2_rss_key).
    /// [`super::op::GET_RSS_KEY`], [`super::op::SET_RSS_KEY`].
    pub struct RssKey [7] {
        /// Id of the vport.
        0 => vport_id: U32,
        /// Length of the key in bytes.
        4 => key_len: U16,
        /// Padding.
        6 => pad: u8,
    }

    /// A part of the lookup table, followed by `lut_entries` × U32, each a relative receive queue
    /// (virtchnl2_rss_lut). [`super::op::GET_RSS_LUT`], [`super::op::SET_RSS_LUT`].
    pub struct RssLut [12] {
        /// Id of the vport.
        0 => vport_id: U32,
        /// The first entry.
        4 => lut_entries_start: U16,
        /// Number of entries.
        6 => lut_entries: U16,
        /// Padding.
        8 => pad: [u8; 4],
    }

    /// Packet types to hash (virtchnl2_rss_hash). [`super::op::GET_RSS_HASH`],
    /// [`super::op::SET_RSS_HASH`].
    pub struct RssHash [16] {
        /// One bit for each of [`ptype_group`].
        0 => ptype_groups: U64,
        /// Id of the vport.
        8 => vport_id: U32,
        /// Padding.
        12 => pad: [u8; 4],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_drivers_numbers() {
        assert_eq!(DEFAULT_HASH, 0x8000_7A1E_8000_0000);
        assert_eq!(DEFAULT_HASH_EXPANDED, 0x8000_7F9F_E000_0000);
    }
}
