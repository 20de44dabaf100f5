// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The packets that a client wants.

use adit_pipeline::parse::{Parsed, L4};

use crate::proto;

/// The offset of the flags in a TCP header (RFC 9293, 3.1).
const TCP_FLAGS: usize = 13;

/// A filter that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFilter {
    /// An address of neither family.
    #[error("`{field}` has an address of {bytes} bytes: IPv4 has 4, IPv6 has 16")]
    Address {
        /// The field.
        field: &'static str,
        /// The number of bytes.
        bytes: usize,
    },
    /// A prefix that is longer than its address.
    #[error("`{field}` has a prefix of {length} bits, its address has {most}")]
    Length {
        /// The field.
        field: &'static str,
        /// The length.
        length: u32,
        /// The number of bits of the address.
        most: u32,
    },
    /// A number that no packet has.
    #[error("`{field}` is {value}, the largest is {most}")]
    Value {
        /// The field.
        field: &'static str,
        /// The value.
        value: u32,
        /// The largest value.
        most: u32,
    },
}

/// An address of either family, and the number of its bits that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Prefix {
    /// From the left.
    address: u128,
    mask: u128,
    is_v6: bool,
}

impl Prefix {
    fn new(field: &'static str, prefix: &proto::Prefix) -> Result<Prefix, BadFilter> {
        let bytes = prefix.address.len();
        let is_v6 = match bytes {
            4 => false,
            16 => true,
            _ => return Err(BadFilter::Address { field, bytes }),
        };
        let (length, most) = (prefix.length, bytes as u32 * 8);
        if length > most {
            return Err(BadFilter::Length {
                field,
                length,
                most,
            });
        }
        let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
        Ok(Prefix {
            address: from_left(&prefix.address) & mask,
            mask,
            is_v6,
        })
    }

    fn has(&self, address: &[u8]) -> bool {
        self.is_v6 == (address.len() == 16) && from_left(address) & self.mask == self.address
    }
}

fn from_left(address: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    bytes[..address.len()].copy_from_slice(address);
    u128::from_be_bytes(bytes)
}

/// The packets that a client wants: all fields that are set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    port: Option<u32>,
    ether_type: Option<u16>,
    protocol: Option<u8>,
    source: Option<Prefix>,
    destination: Option<Prefix>,
    either: Option<Prefix>,
    source_port: Option<u16>,
    destination_port: Option<u16>,
    either_port: Option<u16>,
    /// Mask and value.
    tcp_flags: (u8, u8),
}

impl TryFrom<&proto::Filter> for Filter {
    type Error = BadFilter;

    fn try_from(message: &proto::Filter) -> Result<Filter, BadFilter> {
        let prefix = |field, prefix: &Option<proto::Prefix>| {
            let prefix = prefix.as_ref();
            prefix.map(|p| Prefix::new(field, p)).transpose()
        };
        let two = |field, value: Option<u32>| value.map(|v| within(field, v)).transpose();
        let one = |field, value: u32| -> Result<u8, BadFilter> { within(field, value) };
        let flags = one("tcp_flags", message.tcp_flags)?;
        let mask = one("tcp_flags_mask", message.tcp_flags_mask)?;
        let protocol = message.protocol.map(|p| within("protocol", p));
        Ok(Filter {
            port: message.port,
            ether_type: two("ether_type", message.ether_type)?,
            protocol: protocol.transpose()?,
            source: prefix("source", &message.source)?,
            destination: prefix("destination", &message.destination)?,
            either: prefix("either", &message.either)?,
            source_port: two("source_port", message.source_port)?,
            destination_port: two("destination_port", message.destination_port)?,
            either_port: two("either_port", message.either_port)?,
            tcp_flags: (mask, flags & mask),
        })
    }
}

fn within<T: TryFrom<u32>>(field: &'static str, value: u32) -> Result<T, BadFilter> {
    let most = u32::MAX >> (32 - 8 * size_of::<T>());
    T::try_from(value).map_err(|_| BadFilter::Value { field, value, most })
}

impl Filter {
    /// Returns whether a frame that enters at `port` is wanted.
    #[must_use]
    pub fn passes(&self, port: u32, parsed: &Parsed, frame: &[u8]) -> bool {
        let is = |wanted: Option<u16>, value| wanted.is_none_or(|wanted| wanted == value);
        if self.port.is_some_and(|wanted| wanted != port) {
            return false;
        }
        if !is(self.ether_type, parsed.ethertype)
            || self.protocol.is_some_and(|p| p != parsed.ip_proto)
        {
            return false;
        }
        self.has_ends(parsed, frame) && self.has_flags(parsed, frame)
    }

    fn has_ends(&self, parsed: &Parsed, frame: &[u8]) -> bool {
        let addresses = parsed.addresses(frame).unwrap_or_default();
        let (source, destination) = addresses.split_at(addresses.len() / 2);
        let ports = parsed
            .ports(frame)
            .map(|&[a, b, c, d]| (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])));
        let at = |wanted: &Option<Prefix>, address: &[u8]| {
            let wanted = wanted.as_ref();
            wanted.is_none_or(|prefix| !address.is_empty() && prefix.has(address))
        };
        let on = |wanted: Option<u16>, port: Option<u16>| {
            wanted.is_none_or(|wanted| port == Some(wanted))
        };
        let (from, to) = (ports.map(|p| p.0), ports.map(|p| p.1));
        at(&self.source, source)
            && at(&self.destination, destination)
            && on(self.source_port, from)
            && on(self.destination_port, to)
            && ((at(&self.either, source) && on(self.either_port, from))
                || (at(&self.either, destination) && on(self.either_port, to)))
    }

    fn has_flags(&self, parsed: &Parsed, frame: &[u8]) -> bool {
        let (mask, wanted) = self.tcp_flags;
        if mask == 0 {
            return true;
        }
        let at = usize::from(parsed.l4_offset) + TCP_FLAGS;
        parsed.l4 == L4::Tcp && frame.get(at).is_some_and(|flags| flags & mask == wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A SYN from 10.0.0.1 port 1000 to 10.0.0.2 port 80.
    fn syn() -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        frame.extend([
            0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
        frame.extend([
            3, 0xe8, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 1, 0, 0, 0, 0, 0,
        ]);
        frame
    }

    fn passes(message: proto::Filter) -> bool {
        let (filter, frame) = (Filter::try_from(&message).unwrap(), syn());
        filter.passes(7, &Parsed::new(&frame, frame.len()).unwrap(), &frame)
    }

    fn net(address: &[u8], length: u32) -> Option<proto::Prefix> {
        let address = address.to_vec();
        Some(proto::Prefix { address, length })
    }

    #[test]
    fn each_field_selects() {
        type Set = fn(&mut proto::Filter);
        let all: [(Set, bool); 22] = [
            (|_| {}, true),
            (|f| f.port = Some(7), true),
            (|f| f.port = Some(8), false),
            (|f| f.ether_type = Some(0x800), true),
            (|f| f.ether_type = Some(0x86dd), false),
            (|f| f.protocol = Some(6), true),
            (|f| f.protocol = Some(17), false),
            (|f| f.source = net(&[10, 0, 0, 0], 24), true),
            (|f| f.source = net(&[10, 0, 0, 2], 32), false),
            (|f| f.source = net(&[10, 0, 0, 2], 0), true),
            (|f| f.source = net(&[0; 16], 0), false),
            (|f| f.destination = net(&[10, 0, 0, 2], 32), true),
            (|f| f.either = net(&[10, 0, 0, 2], 32), true),
            (|f| f.either = net(&[10, 0, 0, 3], 32), false),
            (|f| f.source_port = Some(1000), true),
            (|f| f.destination_port = Some(1000), false),
            (|f| f.either_port = Some(80), true),
            (|f| f.either_port = Some(81), false),
            (
                |f| (f.either, f.either_port) = (net(&[10, 0, 0, 2], 32), Some(80)),
                true,
            ),
            (
                |f| (f.either, f.either_port) = (net(&[10, 0, 0, 2], 32), Some(1000)),
                false,
            ),
            (|f| (f.tcp_flags_mask, f.tcp_flags) = (0x12, 2), true),
            (|f| (f.tcp_flags_mask, f.tcp_flags) = (0x12, 0x12), false),
        ];
        for (n, (set, wanted)) in all.into_iter().enumerate() {
            let mut message = proto::Filter::default();
            set(&mut message);
            assert_eq!(passes(message.clone()), wanted, "{n}: {message:?}");
        }
    }

    #[test]
    fn what_has_no_ports_or_addresses_passes_none_of_them() {
        let mut arp = syn();
        arp[13] = 6;
        let parsed = Parsed::new(&arp, arp.len()).unwrap();
        let passes =
            |message: proto::Filter| Filter::try_from(&message).unwrap().passes(0, &parsed, &arp);
        assert!(passes(proto::Filter::default()));
        let any = net(&[0; 4], 0);
        let either = proto::Filter {
            either: any.clone(),
            ..proto::Filter::default()
        };
        let source = proto::Filter {
            source: any,
            ..proto::Filter::default()
        };
        let port = proto::Filter {
            either_port: Some(0),
            ..proto::Filter::default()
        };
        let flags = proto::Filter {
            tcp_flags_mask: 1,
            ..proto::Filter::default()
        };
        for message in [either, source, port, flags] {
            assert!(!passes(message.clone()), "{message:?}");
        }
    }

    #[test]
    fn what_no_packet_has_is_refused_by_name() {
        let refused = |message: proto::Filter| Filter::try_from(&message).unwrap_err().to_string();
        let of = |source| proto::Filter {
            source,
            ..proto::Filter::default()
        };
        assert_eq!(
            refused(of(net(&[1, 2, 3], 8))),
            "`source` has an address of 3 bytes: IPv4 has 4, IPv6 has 16"
        );
        assert_eq!(
            refused(of(net(&[1, 2, 3, 4], 33))),
            "`source` has a prefix of 33 bits, its address has 32"
        );
        let port = proto::Filter {
            source_port: Some(65536),
            ..proto::Filter::default()
        };
        assert_eq!(
            refused(port),
            "`source_port` is 65536, the largest is 65535"
        );
        let protocol = proto::Filter {
            protocol: Some(256),
            ..proto::Filter::default()
        };
        assert_eq!(refused(protocol), "`protocol` is 256, the largest is 255");
    }
}
