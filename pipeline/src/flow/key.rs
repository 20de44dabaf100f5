// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Lookup keys of rules: the bytes of a frame's headers, each layer at a fixed offset.

use super::FlowError;
use crate::headers::{ETH_LEN, IPV4_LEN, IPV6_LEN, SCTP_LEN, TCP_LEN, UDP_LEN};
use crate::parse::{Parsed, L3, L4};

/// Bytes of a header's value and mask, as in virtchnl2 (`virtchnl2_proto_hdr`).
pub const HEADER_BYTES: usize = 64;

/// Offset of each layer in a key.
const PLACES: [usize; 3] = [0, 16, 56];
/// Bytes of a key: Ethernet, IPv6 and TCP, the longest of each layer, rounded up.
const KEY_BYTES: usize = 80;

/// A header that rules can match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proto {
    /// Destination, source, EtherType. The EtherType is the one after VLAN tags.
    Ethernet,
    /// RFC 791, without options.
    Ipv4,
    /// RFC 8200, without extension headers.
    Ipv6,
    /// RFC 9293, without options.
    Tcp,
    /// RFC 768.
    Udp,
    /// RFC 9260, the common header.
    Sctp,
}

impl Proto {
    /// Bytes of this header that can be matched.
    pub fn header_len(self) -> usize {
        match self {
            Proto::Ethernet => ETH_LEN,
            Proto::Ipv4 => IPV4_LEN,
            Proto::Ipv6 => IPV6_LEN,
            Proto::Tcp => TCP_LEN,
            Proto::Udp => UDP_LEN,
            Proto::Sctp => SCTP_LEN,
        }
    }

    fn layer(self) -> usize {
        match self {
            Proto::Ethernet => 0,
            Proto::Ipv4 | Proto::Ipv6 => 1,
            Proto::Tcp | Proto::Udp | Proto::Sctp => 2,
        }
    }

    /// Returns whether a frame has this header. A fragment counts as having no transport header, so
    /// that all fragments of a packet are steered alike.
    fn is_in(self, p: &Parsed) -> bool {
        match self {
            Proto::Ethernet => true,
            Proto::Ipv4 => p.l3 == L3::Ipv4,
            Proto::Ipv6 => p.l3 == L3::Ipv6,
            Proto::Tcp => p.l4 == L4::Tcp && !p.is_fragment(),
            Proto::Udp => p.l4 == L4::Udp && !p.is_fragment(),
            Proto::Sctp => p.l4 == L4::Sctp && !p.is_fragment(),
        }
    }
}

/// One header of a rule: its bytes as on the wire, and a mask of the bits that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The protocol.
    pub proto: Proto,
    /// Its bytes.
    pub spec: [u8; HEADER_BYTES],
    /// Ones for the bits that must equal those of the frame.
    pub mask: [u8; HEADER_BYTES],
}

/// Header bytes, each layer at its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key([u64; KEY_BYTES / 8]);

impl Key {
    fn new(bytes: &[u8; KEY_BYTES]) -> Key {
        let mut words = [0; KEY_BYTES / 8];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = bytes.iter().fold(0, |acc, b| acc << 8 | u64::from(*b));
        }
        Key(words)
    }

    /// Builds the key of a frame. Returns `None` if `front` is not the slice that was parsed.
    pub(super) fn of_frame(p: &Parsed, front: &[u8]) -> Option<Key> {
        let mut key = [0; KEY_BYTES];
        let mut put = |place: usize, at: usize, len: usize| {
            key.get_mut(place..place + len)?
                .copy_from_slice(front.get(at..at + len)?);
            Some(())
        };
        put(PLACES[0], 0, 12)?;
        match p.l3 {
            L3::Ipv4 => put(PLACES[1], p.l2_len.into(), IPV4_LEN)?,
            L3::Ipv6 => put(PLACES[1], p.l2_len.into(), IPV6_LEN)?,
            L3::Arp | L3::None => {}
        }
        match p.l4 {
            L4::Tcp => put(PLACES[2], p.l4_offset.into(), TCP_LEN)?,
            L4::Udp => put(PLACES[2], p.l4_offset.into(), UDP_LEN)?,
            L4::Sctp => put(PLACES[2], p.l4_offset.into(), SCTP_LEN)?,
            L4::Icmp | L4::Icmpv6 | L4::None => {}
        }
        key[12..14].copy_from_slice(&p.ethertype.to_be_bytes());
        Some(Key::new(&key))
    }
}

/// The headers and mask that the rules of a group share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// The header that must be present, for each layer.
    protos: [Option<Proto>; 3],
    mask: Key,
}

impl Shape {
    /// Returns the shape of a rule, and the masked key that it matches.
    pub(super) fn of(headers: &[Header]) -> Result<(Shape, Key), FlowError> {
        let (mut spec, mut mask) = ([0; KEY_BYTES], [0; KEY_BYTES]);
        let mut protos = [None; 3];
        let mut outer: Option<Proto> = None;
        for h in headers {
            let (proto, layer) = (h.proto, h.proto.layer());
            match outer.replace(proto) {
                Some(outer) if outer.layer() >= layer => {
                    return Err(FlowError::Order {
                        outer,
                        inner: proto,
                    })
                }
                _ => {}
            }
            let len = proto.header_len();
            if let Some(beyond) = h.mask[len..].iter().position(|b| *b != 0) {
                return Err(FlowError::Mask {
                    proto,
                    at: len + beyond,
                });
            }
            let place = PLACES[layer];
            mask[place..place + len].copy_from_slice(&h.mask[..len]);
            spec[place..place + len].copy_from_slice(&h.spec[..len]);
            protos[layer] = Some(proto);
        }
        if outer.is_none() {
            return Err(FlowError::NoHeaders);
        }
        let shape = Shape {
            protos,
            mask: Key::new(&mask),
        };
        Ok((shape, shape.mask(&Key::new(&spec))))
    }

    /// Returns whether a frame has the headers.
    pub(super) fn fits(&self, p: &Parsed) -> bool {
        self.protos.iter().flatten().all(|proto| proto.is_in(p))
    }

    /// Returns the bits of `key` that are compared.
    pub(super) fn mask(&self, key: &Key) -> Key {
        let mut masked = *key;
        for (word, mask) in masked.0.iter_mut().zip(self.mask.0) {
            *word &= mask;
        }
        masked
    }
}
