// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The packets that a client wants.

use std::net::IpAddr;

use adit_conntrack::Direction;

use crate::proto;
use crate::seen::{address, Ends, Frame, Seen};

/// The most destinations of a filter.
pub const MAX_SOCKETS: usize = 1024;

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
    /// More addresses and ports than a filter may have.
    #[error("`{field}` has {given} addresses and ports, the most are {MAX_SOCKETS}")]
    Sockets {
        /// The field.
        field: &'static str,
        /// The number of them.
        given: usize,
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
        let address = address(&prefix.address).ok_or(BadFilter::Address { field, bytes })?;
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
            address: from_left(address) & mask,
            mask,
            is_v6: address.is_ipv6(),
        })
    }

    fn has(&self, address: IpAddr) -> bool {
        self.is_v6 == address.is_ipv6() && from_left(address) & self.mask == self.address
    }
}

fn from_left(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(four) => u128::from(u32::from(four)) << 96,
        IpAddr::V6(six) => six.into(),
    }
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
    /// In order; any if there is none.
    destinations: Vec<(IpAddr, u16)>,
    is_in_tunnels: bool,
    is_from_wires: bool,
    /// The zone of connections whose replies are wanted.
    replies: Option<u16>,
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
            destinations: sockets("destinations", &message.destinations)?,
            is_in_tunnels: message.in_tunnels,
            is_from_wires: message.from_wires,
            replies: two("replies_in_zone", message.replies_in_zone)?,
        })
    }
}

fn within<T: TryFrom<u32>>(field: &'static str, value: u32) -> Result<T, BadFilter> {
    let most = u32::MAX >> (32 - 8 * size_of::<T>());
    T::try_from(value).map_err(|_| BadFilter::Value { field, value, most })
}

/// Addresses with ports, in order.
fn sockets(
    field: &'static str,
    sockets: &[proto::Socket],
) -> Result<Vec<(IpAddr, u16)>, BadFilter> {
    if sockets.len() > MAX_SOCKETS {
        return Err(BadFilter::Sockets {
            field,
            given: sockets.len(),
        });
    }
    let read = |socket: &proto::Socket| {
        let bytes = socket.address.len();
        let address = address(&socket.address).ok_or(BadFilter::Address { field, bytes })?;
        Ok((address, within(field, socket.port)?))
    };
    let mut all = sockets.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    all.sort_unstable();
    Ok(all)
}

impl Filter {
    /// Returns whether a frame is wanted.
    #[must_use]
    pub fn passes(&self, seen: &Seen<'_>) -> bool {
        if self.port.is_some_and(|wanted| wanted != seen.port) {
            return false;
        }
        if (!self.is_from_wires || seen.is_from_wire()) && self.has(&seen.outer)
            || self.is_reply(seen, &seen.outer)
        {
            return true;
        }
        self.is_in_tunnels
            && seen
                .inner()
                .is_some_and(|inner| self.has(inner) || self.is_reply(seen, inner))
    }

    /// Returns whether the fields about a packet hold for it.
    fn has(&self, frame: &Frame<'_>) -> bool {
        let is_kind = self
            .ether_type
            .is_none_or(|wanted| wanted == frame.parsed.ethertype);
        is_kind && self.is_flow(frame.parsed.ip_proto, frame.ends()) && self.has_flags(frame)
    }

    /// Returns whether a packet belongs to a connection whose first packet has passed, and flows
    /// opposite to it or is an ICMP error about it.
    fn is_reply(&self, seen: &Seen<'_>, frame: &Frame<'_>) -> bool {
        let Some(known) = self.replies.and_then(|zone| seen.connection(frame, zone)) else {
            return false;
        };
        let original = &known.original;
        let protocol = original.protocol();
        let (source, destination) = (original.src(), original.dst());
        let ends = Ends {
            source: Some(source.address),
            destination: Some(destination.address),
            ports: protocol
                .has_ports()
                .then_some((source.part, destination.part)),
        };
        (known.is_error || known.direction == Direction::Reply) && self.is_flow(protocol.0, &ends)
    }

    fn is_flow(&self, protocol: u8, ends: &Ends) -> bool {
        let at = |wanted: &Option<Prefix>, address: Option<IpAddr>| {
            let wanted = wanted.as_ref();
            wanted.is_none_or(|prefix| address.is_some_and(|address| prefix.has(address)))
        };
        let on = |wanted: Option<u16>, port: Option<u16>| {
            wanted.is_none_or(|wanted| port == Some(wanted))
        };
        let (from, to) = (ends.ports.map(|it| it.0), ends.ports.map(|it| it.1));
        let (source, destination) = (ends.source, ends.destination);
        let is_one = |wanted: &[(IpAddr, u16)]| {
            let socket = destination.zip(to);
            wanted.is_empty() || socket.is_some_and(|it| wanted.binary_search(&it).is_ok())
        };
        self.protocol.is_none_or(|wanted| wanted == protocol)
            && at(&self.source, source)
            && at(&self.destination, destination)
            && on(self.source_port, from)
            && on(self.destination_port, to)
            && is_one(&self.destinations)
            && ((at(&self.either, source) && on(self.either_port, from))
                || (at(&self.either, destination) && on(self.either_port, to)))
    }

    fn has_flags(&self, frame: &Frame<'_>) -> bool {
        let (mask, wanted) = self.tcp_flags;
        mask == 0
            || frame
                .tcp_flags()
                .is_some_and(|flags| flags & mask == wanted)
    }
}

#[cfg(test)]
mod tests;
