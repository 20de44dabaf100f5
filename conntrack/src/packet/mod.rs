// SPDX-License-Identifier: Apache-2.0 OR MIT
//! IP packets: where their headers are, and the tuples in them.
//!
//! A packet is the bytes from its IP header on. What follows the datagram (padding of a frame) is
//! ignored. No field is trusted: every length is checked against the bytes that are there.

mod ipv4;
mod ipv6;
pub(crate) mod sctp;
pub(crate) mod tcp;

pub(crate) use ipv6::fragment_link;
use thiserror::Error;

use crate::tuple::{Family, Protocol, Tuple};

/// A defect for which a packet is not tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The version is neither 4 nor 6, or no byte is there.
    #[error("IP version is neither 4 nor 6")]
    Version,
    /// The IP header is longer than the packet, or shorter than 20 bytes.
    #[error("IPv4 header length is below 20 bytes or beyond the packet")]
    HeaderLength,
    /// The length in the IP header is beyond the bytes that are there, or below the header's.
    #[error("IP length is beyond the received bytes or below the header's length")]
    Length,
    /// The checksum of the IPv4 header is wrong.
    #[error("IPv4 header checksum is wrong")]
    HeaderChecksum,
    /// An IPv6 extension header is beyond the packet, the next header is 59 (none), or there are
    /// two fragment headers.
    #[error("IPv6 extension headers are truncated, end without a transport header, or have two fragment headers")]
    Extension,
    /// The transport header is beyond the packet.
    #[error("transport header is truncated")]
    Transport,
    /// The packet is a fragment; datagrams are tracked whole.
    #[error("fragment of a datagram, which must be reassembled before it is tracked")]
    Fragment,
}

/// The part of a datagram that a fragment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FragmentHeader {
    /// The datagram's identification; 16 bits in IPv4.
    pub id: u32,
    /// The offset of the payload in the datagram's, in bytes.
    pub offset: u16,
    /// Further fragments follow.
    pub more: bool,
}

impl FragmentHeader {
    /// Reports whether the fragment begins with the transport header.
    pub fn is_first(&self) -> bool {
        self.offset == 0
    }

    /// Reports whether the fragment holds the whole datagram.
    pub fn is_whole(&self) -> bool {
        self.offset == 0 && !self.more
    }
}

/// The positions and values of the headers of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// The address family.
    pub family: Family,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The offset of the transport header; at most `end`.
    pub transport: usize,
    /// The end of the datagram; bytes beyond are padding.
    pub end: usize,
    /// Present in fragments, even if one holds the whole datagram.
    pub fragment: Option<FragmentHeader>,
    /// The time to live, or hop limit.
    pub hop_limit: u8,
}

impl Headers {
    /// Finds the headers of the IP packet that begins at `packet[0]`.
    ///
    /// # Errors
    ///
    /// A [`Malformed`] for what `ip_rcv` and `ip6_rcv` of Linux drop, but for the header checksum,
    /// and for what `get_l4proto` (`nf_conntrack_core.c`) does not track.
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<Self, Malformed> {
        match packet.first().map(|first| first >> 4) {
            Some(4) => ipv4::parse(packet),
            Some(6) => ipv6::parse(packet),
            _ => Err(Malformed::Version),
        }
    }

    /// Finds the headers of a packet that an ICMP error quotes. The end of the quote may be
    /// missing, and with it any part of what its length fields count.
    pub(crate) fn parse_quoted(family: Family, quote: &[u8]) -> Result<Self, Malformed> {
        match family {
            Family::V4 => ipv4::parse_quoted(quote),
            Family::V6 => ipv6::parse_quoted(quote),
        }
    }

    /// The bytes of source and destination address, source first.
    #[inline]
    pub(crate) fn addresses<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        match self.family {
            Family::V4 => &packet[12..20],
            Family::V6 => &packet[8..40],
        }
    }

    /// The addresses of source and destination. `packet` is what was parsed.
    pub fn hosts(&self, packet: &[u8]) -> (std::net::IpAddr, std::net::IpAddr) {
        let addresses = self.addresses(packet);
        let (src, dst) = addresses.split_at(addresses.len() / 2);
        (address(src), address(dst))
    }

    /// The transport header and its payload.
    #[inline]
    pub(crate) fn message<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        &packet[self.transport..self.end]
    }

    /// The tuple of the packet. The source part of GRE version 1 is zero: no packet holds it.
    ///
    /// # Errors
    ///
    /// [`Malformed::Fragment`] and [`Malformed::Transport`].
    #[inline(always)]
    pub fn tuple(&self, packet: &[u8]) -> Result<Tuple, Malformed> {
        if self.fragment.is_some_and(|fragment| !fragment.is_first()) {
            return Err(Malformed::Fragment);
        }
        let message = self.message(packet);
        let (src_part, dst_part) = parts(self.protocol, message).ok_or(Malformed::Transport)?;
        let addresses = self.addresses(packet);
        let (src, dst) = addresses.split_at(addresses.len() / 2);
        Ok(Tuple::from_octets(
            self.protocol,
            self.family,
            [src, dst],
            [src_part, dst_part],
        ))
    }
}

/// The offset of a fragment's payload.
pub(crate) fn fragment_start(packet: &[u8], headers: &Headers) -> usize {
    match headers.family {
        Family::V4 => headers.transport,
        Family::V6 => fragment_link(packet).map_or(headers.transport, |(_, at)| at + 8),
    }
}

pub(crate) fn address(octets: &[u8]) -> std::net::IpAddr {
    match (<[u8; 4]>::try_from(octets), <[u8; 16]>::try_from(octets)) {
        (Ok(octets), _) => octets.into(),
        (_, Ok(octets)) => octets.into(),
        _ => unreachable!("an address has 4 or 16 bytes"),
    }
}

/// The parts that a transport header adds to the tuple's source and destination (`nf_ct_get_tuple`
/// and the functions that it calls). Absent if the header is truncated.
#[inline]
fn parts(protocol: Protocol, message: &[u8]) -> Option<(u16, u16)> {
    let word = |at: usize| {
        Some(u16::from_be_bytes([
            *message.get(at)?,
            *message.get(at + 1)?,
        ]))
    };
    match protocol {
        Protocol::TCP | Protocol::UDP | Protocol::SCTP => Some((word(0)?, word(2)?)),
        Protocol::ICMP | Protocol::ICMPV6 => {
            message.get(..8)?;
            Some((word(4)?, word(0)?))
        }
        Protocol::GRE => gre_parts(message),
        _ => Some((0, 0)),
    }
}

/// The version of a GRE header, in its flags.
const GRE_VERSION: u16 = 0x0007;
/// The protocol of GRE version 1 (RFC 2637, 4.1): PPP.
const GRE_PPP: u16 = 0x880b;

fn gre_parts(message: &[u8]) -> Option<(u16, u16)> {
    let word = |at: usize| {
        Some(u16::from_be_bytes([
            *message.get(at)?,
            *message.get(at + 1)?,
        ]))
    };
    match (word(0), word(2)) {
        (Some(flags), Some(protocol)) if flags & GRE_VERSION == 1 => {
            if message.len() < 8 {
                return Some((0, 0));
            }
            // The call id is the receiver's: it is the destination's part.
            (protocol == GRE_PPP).then_some((0, word(6)?))
        }
        _ => Some((0, 0)),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_octets_panic(bytes in proptest::collection::vec(any::<u8>(), 0..128), first in 0u8..16) {
            let mut bytes = bytes;
            if let Some(octet) = bytes.first_mut() {
                *octet = if first & 1 == 0 { 0x40 | *octet & 0xf } else { 0x60 };
            }
            for family in [Family::V4, Family::V6] {
                if let Ok(headers) = Headers::parse_quoted(family, &bytes) {
                    prop_assert!(headers.transport <= headers.end && headers.end <= bytes.len());
                    let _ = headers.tuple(&bytes);
                }
            }
            if let Ok(headers) = Headers::parse(&bytes) {
                prop_assert!(headers.transport <= headers.end && headers.end <= bytes.len());
                let _ = headers.tuple(&bytes);
                let _ = headers.message(&bytes);
            }
        }
    }

    #[test]
    fn parts_of_gre() {
        let version_1 = [0x30, 0x01, 0x88, 0x0b, 0, 4, 0x12, 0x34];
        assert_eq!(parts(Protocol::GRE, &version_1), Some((0, 0x1234)));
        assert_eq!(parts(Protocol::GRE, &version_1[..7]), Some((0, 0)));
        let other = [0x30, 0x01, 0x08, 0x00, 0, 4, 0x12, 0x34];
        assert_eq!(parts(Protocol::GRE, &other), None);
        assert_eq!(parts(Protocol::GRE, &[0, 0, 8, 0]), Some((0, 0)));
        assert_eq!(parts(Protocol::GRE, &[]), Some((0, 0)));
    }

    #[test]
    fn parts_need_their_octets() {
        assert_eq!(parts(Protocol::TCP, &[0, 80, 1]), None);
        assert_eq!(parts(Protocol::UDP, &[0, 80, 1, 0]), Some((80, 256)));
        assert_eq!(parts(Protocol::ICMP, &[8, 0, 0, 0, 0, 7, 0]), None);
        assert_eq!(
            parts(Protocol::ICMP, &[8, 1, 0, 0, 0, 7, 0, 0]),
            Some((7, 0x0801))
        );
        assert_eq!(parts(Protocol(33), &[]), Some((0, 0)));
    }
}
