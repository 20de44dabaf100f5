// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A packet that filters look at: as it enters, and as it is in a tunnel.

use std::net::IpAddr;

use adit_conntrack::{Input, Known, Time, Tracker, Zone};
use adit_pipeline::p4::FIRST_HOST_PORT;
use adit_pipeline::parse::{Parsed, L3, L4};
use adit_pipeline::tunnel;

/// The offset of the flags in a TCP header (RFC 9293, 3.1).
const TCP_FLAGS: usize = 13;

/// A frame that enters.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// The port at which it enters.
    pub(crate) port: u32,
    /// The frame itself.
    pub(crate) outer: Frame<'a>,
    connections: Option<(&'a Tracker, Time)>,
}

/// A frame, and its headers.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'a> {
    bytes: &'a [u8],
    pub(crate) parsed: Parsed,
}

/// The ends of a packet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ends {
    pub(crate) source: Option<IpAddr>,
    pub(crate) destination: Option<IpAddr>,
    pub(crate) ports: Option<(u16, u16)>,
}

impl<'a> Seen<'a> {
    /// A frame that enters at `port`, and the tracker that knows its connection. `None` without an
    /// Ethernet header.
    #[must_use]
    pub fn new(
        port: u32,
        frame: &'a [u8],
        connections: Option<(&'a Tracker, Time)>,
    ) -> Option<Seen<'a>> {
        Some(Seen {
            port,
            outer: Frame::new(frame)?,
            connections,
        })
    }

    /// Returns whether a wire has received it.
    pub(crate) fn is_from_wire(&self) -> bool {
        self.port < FIRST_HOST_PORT
    }

    /// The frame in its tunnel. What a virtual port sends is payload to programs.
    pub(crate) fn inner(&self) -> Option<Frame<'a>> {
        let tunnelled = tunnel::inner(self.outer.bytes, &self.outer.parsed)?;
        let frame = self.outer.bytes.get(tunnelled.at..)?;
        self.is_from_wire().then(|| Frame::new(frame))?
    }

    /// The connection of a frame of it, in a zone.
    pub(crate) fn connection(&self, frame: &Frame<'_>, zone: u16) -> Option<Known> {
        let (tracker, now) = self.connections?;
        let packet = frame.bytes.get(usize::from(frame.parsed.l2_len)..)?;
        let is_ip = matches!(frame.parsed.l3, L3::Ipv4 | L3::Ipv6);
        let input = Input {
            zone: Zone::new(zone),
            ..Input::new(packet)
        };
        is_ip.then(|| tracker.known(&input, now))?
    }
}

impl<'a> Frame<'a> {
    fn new(bytes: &'a [u8]) -> Option<Frame<'a>> {
        let parsed = Parsed::new(bytes, bytes.len()).ok()?;
        Some(Frame { bytes, parsed })
    }

    pub(crate) fn ends(&self) -> Ends {
        let addresses = self.parsed.addresses(self.bytes).unwrap_or_default();
        let (source, destination) = addresses.split_at(addresses.len() / 2);
        let ports = self.parsed.ports(self.bytes);
        Ends {
            source: address(source),
            destination: address(destination),
            ports: ports
                .map(|&[a, b, c, d]| (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))),
        }
    }

    /// The flags of TCP.
    pub(crate) fn tcp_flags(&self) -> Option<u8> {
        let at = usize::from(self.parsed.l4_offset) + TCP_FLAGS;
        let flags = self.bytes.get(at).copied();
        flags.filter(|_| self.parsed.l4 == L4::Tcp)
    }
}

/// An address in network byte order.
pub(crate) fn address(bytes: &[u8]) -> Option<IpAddr> {
    match <[u8; 4]>::try_from(bytes) {
        Ok(four) => Some(four.into()),
        Err(_) => Some(<[u8; 16]>::try_from(bytes).ok()?.into()),
    }
}
