// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tuples: what identifies a connection in one direction.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::proto::{icmp, icmpv6};

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Direction {
    /// The direction of the packet that created the connection.
    Original = 0,
    /// The opposite direction.
    Reply = 1,
}

impl Direction {
    /// The opposite direction.
    pub const fn opposite(self) -> Self {
        match self {
            Direction::Original => Direction::Reply,
            Direction::Reply => Direction::Original,
        }
    }

    /// The direction with this number; any other number than 0 is the reply's.
    pub(crate) const fn from_bit(bit: u32) -> Self {
        if bit == 0 {
            Direction::Original
        } else {
            Direction::Reply
        }
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Family {
    /// IPv4.
    V4 = 0,
    /// IPv6.
    V6 = 1,
}

/// A transport protocol's number (IANA protocol numbers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// Internet Control Message Protocol.
    pub const ICMP: Protocol = Protocol(1);
    /// Transmission Control Protocol.
    pub const TCP: Protocol = Protocol(6);
    /// User Datagram Protocol.
    pub const UDP: Protocol = Protocol(17);
    /// Generic Routing Encapsulation.
    pub const GRE: Protocol = Protocol(47);
    /// ICMP for IPv6.
    pub const ICMPV6: Protocol = Protocol(58);
    /// Stream Control Transmission Protocol.
    pub const SCTP: Protocol = Protocol(132);

    /// The protocol of a key's tuple.
    pub(crate) fn of_key(key: &Key) -> Self {
        Protocol((key[4] >> 48) as u8)
    }

    /// Reports whether tuples of this protocol hold ports.
    pub const fn has_ports(self) -> bool {
        matches!(self, Protocol::TCP | Protocol::UDP | Protocol::SCTP)
    }
}

/// A source or destination: an address, and what the protocol adds to it.
///
/// `part` is a port (TCP, UDP, SCTP), a call id (GRE version 1), or zero. Of ICMP and ICMPv6 the
/// source's is the identifier, the destination's the type in the high and the code in the low byte
/// (`include/net/netfilter/nf_conntrack_tuple.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// The protocol's part, in host byte order.
    pub part: u16,
}

/// The fields that identify a connection in one direction.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// The address in the low bits, an IPv4 address in the lowest 32.
    src: u128,
    dst: u128,
    src_part: u16,
    dst_part: u16,
    protocol: Protocol,
    family: Family,
}

/// A tuple and the zone in which it is found, as the words that are compared and hashed.
pub(crate) type Key = [u64; 5];

/// The type of an ICMP or ICMPv6 message in the last word of its tuple's key.
pub(crate) const fn icmp_type_in(rest: u64) -> u8 {
    (rest >> 24) as u8
}

pub(crate) fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn from_bits(family: Family, bits: u128) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from(bits as u32).into(),
        Family::V6 => Ipv6Addr::from(bits).into(),
    }
}

impl Family {
    /// The family of a key's tuple.
    pub(crate) fn of_key(key: &Key) -> Self {
        if key[4] >> 56 & 1 == 0 {
            Family::V4
        } else {
            Family::V6
        }
    }

    /// The family of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }
}

/// The addresses of two families that were to be the source and destination of one tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "source {src} and destination {dst} are of two address families; a tuple has addresses of one"
)]
pub struct MixedFamilies {
    /// The source's address.
    pub src: IpAddr,
    /// The destination's address.
    pub dst: IpAddr,
}

impl Tuple {
    /// The tuple from `src` to `dst`.
    ///
    /// # Errors
    ///
    /// [`MixedFamilies`] if their addresses are of two families.
    pub fn new(protocol: Protocol, src: Endpoint, dst: Endpoint) -> Result<Self, MixedFamilies> {
        let family = Family::of(src.address);
        if family != Family::of(dst.address) {
            return Err(MixedFamilies {
                src: src.address,
                dst: dst.address,
            });
        }
        Ok(Tuple {
            src: to_bits(src.address),
            dst: to_bits(dst.address),
            src_part: src.part,
            dst_part: dst.part,
            protocol,
            family,
        })
    }

    /// The tuple of addresses as they are in the header of a packet, source and destination, and of their
    /// parts.
    #[inline]
    pub(crate) fn from_octets(
        protocol: Protocol,
        family: Family,
        addresses: [&[u8]; 2],
        parts: [u16; 2],
    ) -> Self {
        let [src, dst] = addresses.map(|address| match (family, address) {
            (Family::V4, &[a, b, c, d]) => u32::from_be_bytes([a, b, c, d]).into(),
            (Family::V6, address) if address.len() == 16 => address
                .first_chunk()
                .map_or(0, |&all| u128::from_be_bytes(all)),
            _ => unreachable!("an address has 4 or 16 bytes, by its family"),
        });
        Tuple {
            src,
            dst,
            src_part: parts[0],
            dst_part: parts[1],
            protocol,
            family,
        }
    }

    /// The tuple from any source, for expectations, to `dst`.
    pub(crate) fn to(protocol: Protocol, dst: Endpoint) -> Self {
        Tuple {
            src: 0,
            dst: to_bits(dst.address),
            src_part: 0,
            dst_part: dst.part,
            protocol,
            family: Family::of(dst.address),
        }
    }

    /// The bits of the source's address: those of an IPv4 address are the lowest 32.
    pub(crate) fn src_bits(&self) -> u128 {
        self.src
    }

    /// The bits of the destination's address.
    pub(crate) fn dst_bits(&self) -> u128 {
        self.dst
    }

    /// The source's part.
    pub(crate) fn src_part(&self) -> u16 {
        self.src_part
    }

    /// The destination's part.
    pub(crate) fn dst_part(&self) -> u16 {
        self.dst_part
    }

    /// The source.
    pub fn src(&self) -> Endpoint {
        Endpoint {
            address: from_bits(self.family, self.src),
            part: self.src_part,
        }
    }

    /// The destination.
    pub fn dst(&self) -> Endpoint {
        Endpoint {
            address: from_bits(self.family, self.dst),
            part: self.dst_part,
        }
    }

    /// The transport protocol.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The address family.
    pub fn family(&self) -> Family {
        self.family
    }

    /// The type of an ICMP or ICMPv6 message.
    pub fn icmp_type(&self) -> u8 {
        (self.dst_part >> 8) as u8
    }

    /// The code of an ICMP or ICMPv6 message.
    pub fn icmp_code(&self) -> u8 {
        self.dst_part as u8
    }

    /// The tuple with another source, whose address is of the tuple's family.
    pub(crate) fn with_src(self, src: Endpoint) -> Self {
        debug_assert_eq!(Family::of(src.address), self.family);
        Tuple {
            src: to_bits(src.address),
            src_part: src.part,
            ..self
        }
    }

    /// The tuple with another destination, whose address is of the tuple's family.
    pub(crate) fn with_dst(self, dst: Endpoint) -> Self {
        debug_assert_eq!(Family::of(dst.address), self.family);
        Tuple {
            dst: to_bits(dst.address),
            dst_part: dst.part,
            ..self
        }
    }

    /// The tuple of a packet that answers a packet of this one; absent for ICMP messages that have
    /// no answer (`nf_ct_invert_tuple`).
    #[inline]
    pub fn invert(&self) -> Option<Tuple> {
        let (src_part, dst_part) = match self.protocol {
            Protocol::ICMP | Protocol::ICMPV6 => {
                let answer = if self.protocol == Protocol::ICMP {
                    icmp::answer(self.icmp_type())?
                } else {
                    icmpv6::answer(self.icmp_type())?
                };
                (
                    self.src_part,
                    u16::from_be_bytes([answer, self.icmp_code()]),
                )
            }
            _ => (self.dst_part, self.src_part),
        };
        Some(Tuple {
            src: self.dst,
            dst: self.src,
            src_part,
            dst_part,
            ..*self
        })
    }

    /// The words of this tuple in the zone with number `zone`.
    #[inline]
    pub(crate) fn key(&self, zone: u16) -> Key {
        let rest = u64::from(self.src_part)
            | u64::from(self.dst_part) << 16
            | u64::from(zone) << 32
            | u64::from(self.protocol.0) << 48
            | (self.family as u64) << 56;
        [
            self.src as u64,
            (self.src >> 64) as u64,
            self.dst as u64,
            (self.dst >> 64) as u64,
            rest,
        ]
    }

    /// The tuple of these words.
    #[inline]
    pub(crate) fn from_key(key: &Key) -> Self {
        let rest = key[4];
        Tuple {
            src: u128::from(key[0]) | u128::from(key[1]) << 64,
            dst: u128::from(key[2]) | u128::from(key[3]) << 64,
            src_part: rest as u16,
            dst_part: (rest >> 16) as u16,
            protocol: Protocol::of_key(key),
            family: Family::of_key(key),
        }
    }
}

impl fmt::Debug for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (src, dst) = (self.src(), self.dst());
        write!(
            f,
            "{} {}#{} > {}#{}",
            self.protocol.0, src.address, src.part, dst.address, dst.part
        )
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any tuple of a few addresses, ports and protocols.
    pub(crate) fn any_tuple() -> impl Strategy<Value = Tuple> {
        let address = prop_oneof![
            any::<[u8; 4]>().prop_map(IpAddr::from),
            any::<[u8; 16]>().prop_map(IpAddr::from),
        ];
        let protocol = prop_oneof![
            Just(Protocol::TCP),
            Just(Protocol::UDP),
            Just(Protocol::ICMP),
            Just(Protocol::ICMPV6),
            Just(Protocol::GRE),
            Just(Protocol::SCTP),
            any::<u8>().prop_map(Protocol),
        ];
        (
            address.clone(),
            address,
            protocol,
            any::<u16>(),
            any::<u16>(),
        )
            .prop_filter_map("one family", |(src, dst, protocol, src_part, dst_part)| {
                let tuple = Tuple::new(
                    protocol,
                    Endpoint {
                        address: src,
                        part: src_part,
                    },
                    Endpoint {
                        address: dst,
                        part: dst_part,
                    },
                );
                assert_eq!(tuple.is_ok(), src.is_ipv4() == dst.is_ipv4());
                tuple.ok()
            })
    }

    proptest! {
        #[test]
        fn inversion_is_its_own_inverse(tuple in any_tuple()) {
            match tuple.invert() {
                Some(inverse) => {
                    prop_assert_eq!(inverse.invert(), Some(tuple));
                    prop_assert_eq!(inverse.src().address, tuple.dst().address);
                    prop_assert_eq!(inverse.dst().address, tuple.src().address);
                }
                None => prop_assert!(matches!(tuple.protocol(), Protocol::ICMP | Protocol::ICMPV6)),
            }
        }

        #[test]
        fn keys_are_the_tuples(tuple in any_tuple(), zone in any::<u16>()) {
            prop_assert_eq!(Tuple::from_key(&tuple.key(zone)), tuple);
        }

        #[test]
        fn equal_keys_are_equal_tuples(a in any_tuple(), b in any_tuple(), zones in any::<[u16; 2]>()) {
            let same = a == b && zones[0] == zones[1];
            prop_assert_eq!(a.key(zones[0]) == b.key(zones[1]), same);
        }
    }
}
