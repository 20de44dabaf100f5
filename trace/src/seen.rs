// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A packet that filters look at: as it enters, and as it is in a tunnel. What one filter has asked for is known
//! to the next ones: a client may have hundreds.

use std::cell::{Cell, OnceCell};
use std::net::IpAddr;

use adit_conntrack::{Input, Known, Time, Tracker, Zone};
use adit_pipeline::p4::FIRST_HOST_PORT;
use adit_pipeline::parse::{Parsed, L3, L4};
use adit_pipeline::tunnel;

/// The offset of the flags in a TCP header (RFC 9293, 3.1).
const TCP_FLAGS: usize = 13;

/// A frame that enters.
pub struct Seen<'a> {
    /// The port at which it enters.
    pub(crate) port: u32,
    /// The frame itself.
    pub(crate) outer: Frame<'a>,
    inner: OnceCell<Option<Frame<'a>>>,
    connections: Option<(&'a Tracker, Time)>,
}

/// A frame, and its headers.
pub(crate) struct Frame<'a> {
    bytes: &'a [u8],
    pub(crate) parsed: Parsed,
    ends: OnceCell<Ends>,
    /// The zone that was asked for last, and its connection there.
    known: Cell<Option<(u16, Option<Known>)>>,
    /// The number of times that something was looked for.
    #[cfg(test)]
    pub(crate) searches: Cell<u32>,
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
            inner: OnceCell::new(),
            connections,
        })
    }

    /// Returns whether a wire has received it.
    pub(crate) fn is_from_wire(&self) -> bool {
        self.port < FIRST_HOST_PORT
    }

    /// The frame in its tunnel. What a virtual port sends is payload to programs.
    pub(crate) fn inner(&self) -> Option<&Frame<'a>> {
        let inner = self.inner.get_or_init(|| {
            self.outer.search();
            let tunnelled = tunnel::inner(self.outer.bytes, &self.outer.parsed)?;
            let frame = self.outer.bytes.get(tunnelled.at..)?;
            self.is_from_wire().then(|| Frame::new(frame))?
        });
        inner.as_ref()
    }

    /// The connection of a frame of it, in a zone.
    pub(crate) fn connection(&self, frame: &Frame<'_>, zone: u16) -> Option<Known> {
        let (tracker, now) = self.connections?;
        match frame.known.get() {
            Some((of, known)) if of == zone => known,
            _ => {
                let known = frame.connection(tracker, now, zone);
                frame.known.set(Some((zone, known)));
                known
            }
        }
    }
}

impl<'a> Frame<'a> {
    fn new(bytes: &'a [u8]) -> Option<Frame<'a>> {
        Some(Frame {
            bytes,
            parsed: Parsed::new(bytes, bytes.len()).ok()?,
            ends: OnceCell::new(),
            known: Cell::new(None),
            #[cfg(test)]
            searches: Cell::new(0),
        })
    }

    /// Counts something that is looked for, in tests.
    fn search(&self) {
        #[cfg(test)]
        self.searches.set(self.searches.get() + 1);
    }

    fn connection(&self, tracker: &Tracker, now: Time, zone: u16) -> Option<Known> {
        self.search();
        let packet = self.bytes.get(usize::from(self.parsed.l2_len)..)?;
        let is_ip = matches!(self.parsed.l3, L3::Ipv4 | L3::Ipv6);
        let input = Input {
            zone: Zone::new(zone),
            ..Input::new(packet)
        };
        is_ip.then(|| tracker.known(&input, now))?
    }

    pub(crate) fn ends(&self) -> &Ends {
        self.ends.get_or_init(|| {
            self.search();
            let addresses = self.parsed.addresses(self.bytes).unwrap_or_default();
            let (source, destination) = addresses.split_at(addresses.len() / 2);
            let ports = self.parsed.ports(self.bytes);
            Ends {
                source: address(source),
                destination: address(destination),
                ports: ports
                    .map(|&[a, b, c, d]| (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))),
            }
        })
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
