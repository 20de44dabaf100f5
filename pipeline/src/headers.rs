// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Protocol constants, and bounds-checked accesses to slices.

/// Ethernet II header without a VLAN tag (IEEE 802.3, 3.1.1).
pub(crate) const ETH_LEN: usize = 14;
/// One VLAN tag (IEEE 802.1Q, 9.4).
pub(crate) const VLAN_LEN: usize = 4;
/// IPv4 header without options (RFC 791, 3.1).
pub(crate) const IPV4_LEN: usize = 20;
/// IPv6 fixed header (RFC 8200, 3).
pub(crate) const IPV6_LEN: usize = 40;
/// TCP header without options (RFC 9293, 3.1).
pub(crate) const TCP_LEN: usize = 20;
/// UDP header (RFC 768).
pub(crate) const UDP_LEN: usize = 8;
/// SCTP common header (RFC 9260, 3.1).
pub(crate) const SCTP_LEN: usize = 12;

/// EtherTypes (IEEE 802 numbers).
pub(crate) mod ethertype {
    pub(crate) const IPV4: u16 = 0x0800;
    pub(crate) const ARP: u16 = 0x0806;
    pub(crate) const VLAN: u16 = 0x8100;
    pub(crate) const IPV6: u16 = 0x86dd;
    pub(crate) const SVLAN: u16 = 0x88a8;
}

/// IP protocol numbers, which are IPv6 next-header values too (IANA).
pub(crate) mod proto {
    pub(crate) const HOP_BY_HOP: u8 = 0;
    pub(crate) const ICMP: u8 = 1;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
    pub(crate) const ROUTING: u8 = 43;
    pub(crate) const FRAGMENT: u8 = 44;
    pub(crate) const AUTHENTICATION: u8 = 51;
    pub(crate) const ICMPV6: u8 = 58;
    pub(crate) const DEST_OPTIONS: u8 = 60;
    pub(crate) const SCTP: u8 = 132;
}

/// Reads the big-endian 16-bit number at `at`, if it is within the slice.
pub(crate) fn be16(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*b.get(at..)?.first_chunk()?))
}

/// Stores a big-endian 16-bit number at `at`. Returns `None` if it does not fit.
pub(crate) fn put_be16(b: &mut [u8], at: usize, v: u16) -> Option<()> {
    *b.get_mut(at..)?.first_chunk_mut()? = v.to_be_bytes();
    Some(())
}
