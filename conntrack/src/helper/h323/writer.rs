// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Messages for tests and seeds of fuzzing.

use std::net::{IpAddr, SocketAddr};

/// The object identifier of H.225, version 4.
const VERSION: [u8; 6] = [0, 8, 0x91, 0x4a, 0, 4];

/// A writer of the packed encoding rules.
#[derive(Clone, Default)]
struct Writer {
    octets: Vec<u8>,
    /// The free bits of the last octet.
    free: u32,
}

impl Writer {
    fn bits(mut self, count: u32, value: u32) -> Self {
        for bit in (0..count).rev() {
            if self.free == 0 {
                self.octets.push(0);
                self.free = 8;
            }
            self.free -= 1;
            if let Some(last) = self.octets.last_mut() {
                *last |= ((value >> bit & 1) << self.free) as u8;
            }
        }
        self
    }

    fn octets(mut self, octets: &[u8]) -> Self {
        self.octets.extend(octets);
        self.free = 0;
        self
    }

    fn word(self, value: u16) -> Self {
        self.octets(&value.to_be_bytes())
    }

    /// Octets with their length before them.
    fn open(self, octets: &[u8]) -> Self {
        let length = octets.len() as u16;
        match length {
            0..128 => self.octets(&[length as u8]).octets(octets),
            _ => self.word(length | 0x8000).octets(octets),
        }
    }

    /// An address of H.225.
    fn address(self, address: SocketAddr) -> Self {
        let octets = match address.ip() {
            IpAddr::V4(ip) => (self.bits(4, 0), ip.octets().to_vec()),
            IpAddr::V6(ip) => (self.bits(4, 3).bits(1, 0), ip.octets().to_vec()),
        };
        octets.0.octets(&octets.1).word(address.port())
    }

    /// An address of H.245.
    fn media_address(self, address: SocketAddr) -> Self {
        let begun = self.bits(2, 0);
        let (begun, octets) = match address.ip() {
            IpAddr::V4(ip) => (begun.bits(4, 0).bits(1, 0), ip.octets().to_vec()),
            IpAddr::V6(ip) => (begun.bits(4, 2).bits(1, 0), ip.octets().to_vec()),
        };
        begun.octets(&octets).word(address.port())
    }

    fn version(self) -> Self {
        self.open(&VERSION)
    }

    /// An endpoint of which nothing is known.
    fn endpoint(self) -> Self {
        self.bits(9, 0)
    }

    /// Additions: those that are there have a value.
    fn additions(self, values: &[Option<Vec<u8>>]) -> Self {
        let mut writer = self.bits(7, values.len() as u32 - 1);
        for value in values {
            writer = writer.bits(1, value.is_some().into());
        }
        for value in values.iter().flatten() {
            writer = writer.open(value);
        }
        writer
    }

    /// Addresses of a list.
    fn addresses(self, addresses: &[SocketAddr]) -> Self {
        let begun = self.octets(&[addresses.len() as u8]);
        addresses
            .iter()
            .fold(begun, |writer, one| writer.address(*one))
    }

    /// An identifier of one character.
    fn identifier(self) -> Self {
        self.bits(7, 0).word(b'g'.into())
    }
}

/// A list of values with their lengths.
fn list(values: &[Vec<u8>]) -> Vec<u8> {
    let begun = Writer::default().octets(&[values.len() as u8]);
    values
        .iter()
        .fold(begun, |writer, value| writer.open(value))
        .octets
}

/// A message in a segment.
pub(crate) fn tpkt(message: &[u8]) -> Vec<u8> {
    let length = (message.len() + 4) as u16;
    [&[3, 0][..], &length.to_be_bytes(), message].concat()
}

/// A message of call signalling of a kind, with a body and messages of H.245 beside it.
fn signal(kind: u8, body: Writer, tunnelled: &[Vec<u8>]) -> Vec<u8> {
    let mut information = body;
    if !tunnelled.is_empty() {
        information = information.additions(&[None, None, Some(list(tunnelled))]);
    }
    let information = information.octets;
    let length = (information.len() + 1) as u16;
    let element = [&[0x7e][..], &length.to_be_bytes(), &[5], &information].concat();
    tpkt(&[&[8, 2, 0, 1, kind, 4, 1, 0x88][..], &element].concat())
}

/// The beginning of a message of H.225: its number, and whether messages of H.245 follow.
fn begin(number: u32, tunnels: bool) -> Writer {
    let user_information = Writer::default().bits(2, 0);
    user_information
        .bits(1, tunnels.into())
        .bits(1, 0)
        .bits(4, number)
}

/// The addresses of a Setup.
#[derive(Clone, Copy, Default)]
pub(crate) struct Parties {
    pub(crate) h245: Option<SocketAddr>,
    pub(crate) called: Option<SocketAddr>,
    pub(crate) calling: Option<SocketAddr>,
}

pub(crate) fn setup(parties: Parties, fast_start: &[Vec<u8>], tunnelled: &[Vec<u8>]) -> Vec<u8> {
    let has_additions = parties.calling.is_some() || !fast_start.is_empty();
    let flags = [
        parties.h245.is_some(),
        false,
        false,
        parties.called.is_some(),
        false,
        false,
        false,
    ];
    let mut writer = begin(0, !tunnelled.is_empty()).bits(1, has_additions.into());
    for flag in flags {
        writer = writer.bits(1, flag.into());
    }
    writer = writer.version();
    if let Some(address) = parties.h245 {
        writer = writer.address(address);
    }
    writer = writer.endpoint();
    if let Some(address) = parties.called {
        writer = writer.address(address);
    }
    // No multipoint controller, a conference, its goal, and a call of two parties.
    writer = writer.bits(1, 0).octets(&[7; 16]).bits(3, 0).bits(3, 0);
    if has_additions {
        let calling = parties
            .calling
            .map(|one| Writer::default().address(one).octets);
        let mut additions = vec![calling];
        if !fast_start.is_empty() {
            additions.extend([None, None, None, None, None, Some(list(fast_start))]);
        }
        writer = writer.additions(&additions);
    }
    signal(5, writer, tunnelled)
}

pub(crate) fn connect(h245: SocketAddr) -> Vec<u8> {
    let writer = begin(2, false).bits(1, 0).bits(1, 1).version();
    let writer = writer.address(h245).endpoint().octets(&[7; 16]);
    signal(7, writer, &[])
}

pub(crate) fn facility(forwarded: Option<SocketAddr>, h245: Option<SocketAddr>) -> Vec<u8> {
    let mut writer = begin(6, false)
        .bits(1, h245.is_some().into())
        .bits(1, forwarded.is_some().into())
        .bits(2, 0)
        .version();
    if let Some(address) = forwarded {
        writer = writer.address(address);
    }
    writer = writer.bits(1, 0).bits(2, forwarded.is_some().into());
    if let Some(address) = h245 {
        let address = Writer::default().address(address).octets;
        writer = writer.additions(&[None, None, None, None, None, None, Some(address)]);
    }
    signal(0x62, writer, &[])
}

/// An OpenLogicalChannel with its parameters, without the choice of a message.
fn open_parameters(writer: Writer, media: Option<SocketAddr>, control: SocketAddr) -> Writer {
    let channel = channel(media, control);
    // No additions and no reverse channel; audio: 20 frames of G.711; H.225's multiplex.
    writer
        .bits(2, 0)
        .word(100)
        .bits(2, 0)
        .bits(4, 3)
        .bits(5, 1)
        .octets(&[19])
        .bits(1, 1)
        .bits(7, 0)
        .open(&channel)
}

fn channel(media: Option<SocketAddr>, control: SocketAddr) -> Vec<u8> {
    let mut writer = Writer::default().bits(1, 0);
    let present = [
        false,
        false,
        media.is_some(),
        false,
        true,
        false,
        false,
        false,
        false,
        false,
    ];
    for flag in present {
        writer = writer.bits(1, flag.into());
    }
    writer = writer.octets(&[1]);
    if let Some(address) = media {
        writer = writer.media_address(address);
    }
    writer.media_address(control).octets
}

/// A channel as a fast start has it.
pub(crate) fn fast_channel(media: Option<SocketAddr>, control: SocketAddr) -> Vec<u8> {
    open_parameters(Writer::default(), media, control).octets
}

/// A message of H.245 that opens a channel.
pub(crate) fn open_channel(media: Option<SocketAddr>, control: SocketAddr) -> Vec<u8> {
    let writer = Writer::default().bits(3, 0).bits(5, 3);
    open_parameters(writer, media, control).octets
}

/// The answer to such a message.
pub(crate) fn acknowledge(media: SocketAddr, control: SocketAddr) -> Vec<u8> {
    let mut parameters = Writer::default().bits(1, 0).bits(1, 0);
    for flag in [false, false, true, true, false] {
        parameters = parameters.bits(1, flag.into());
    }
    let parameters = parameters
        .media_address(media)
        .media_address(control)
        .octets;
    let writer = Writer::default()
        .bits(3, 1)
        .bits(6, 5)
        .bits(1, 1)
        .bits(1, 0);
    writer.word(100).additions(&[None, Some(parameters)]).octets
}

/// A message of H.245 that opens no channel: the request to determine master and slave.
pub(crate) fn other_request() -> Vec<u8> {
    let writer = Writer::default().bits(3, 0).bits(5, 1).bits(1, 0);
    writer.octets(&[50]).bits(2, 2).octets(&[1, 2, 3]).octets
}

/// The beginning of a message of RAS: its number, additions, and its optional fields.
fn ras(number: u32, has_additions: bool, optional: u32) -> Writer {
    Writer::default()
        .bits(6, number)
        .bits(1, has_additions.into())
        .bits(optional, 0)
        .word(1)
}

fn lifetime(writer: Writer, seconds: Option<u32>) -> Writer {
    let Some(seconds) = seconds else {
        return writer;
    };
    let seconds = Writer::default()
        .bits(2, 3)
        .octets(&(seconds - 1).to_be_bytes());
    writer.additions(&[None, Some(seconds.octets)])
}

pub(crate) fn gatekeeper_request(address: SocketAddr) -> Vec<u8> {
    let writer = ras(0, false, 4).version().address(address);
    writer.endpoint().octets
}

pub(crate) fn gatekeeper_confirm(address: SocketAddr) -> Vec<u8> {
    ras(1, false, 2).version().address(address).octets
}

pub(crate) fn register(
    calls: &[SocketAddr],
    answers: &[SocketAddr],
    seconds: Option<u32>,
) -> Vec<u8> {
    let writer = ras(3, seconds.is_some(), 3).version().bits(1, 0);
    let writer = writer.addresses(calls).addresses(answers).endpoint();
    // The vendor.
    let writer = writer.bits(3, 0).bits(1, 0).octets(&[9, 0, 0, 1]);
    lifetime(writer, seconds).octets
}

pub(crate) fn registered(calls: &[SocketAddr], seconds: Option<u32>) -> Vec<u8> {
    let writer = ras(4, seconds.is_some(), 3).version();
    lifetime(writer.addresses(calls).identifier(), seconds).octets
}

pub(crate) fn unregister(calls: &[SocketAddr]) -> Vec<u8> {
    ras(6, false, 3).addresses(calls).octets
}

pub(crate) fn admit(called: Option<SocketAddr>, calling: Option<SocketAddr>) -> Vec<u8> {
    let mut writer = Writer::default().bits(6, 9).bits(1, 0);
    let present = [
        false,
        false,
        called.is_some(),
        false,
        calling.is_some(),
        false,
        false,
    ];
    for flag in present {
        writer = writer.bits(1, flag.into());
    }
    writer = writer.word(1).bits(3, 0).identifier();
    if let Some(address) = called {
        writer = writer.address(address);
    }
    // No names of the caller.
    writer = writer.octets(&[0]);
    if let Some(address) = calling {
        writer = writer.address(address);
    }
    // Bandwidth and reference.
    writer.bits(2, 1).word(1280).word(1).octets
}

pub(crate) fn admitted(called: SocketAddr) -> Vec<u8> {
    let writer = ras(10, false, 2).bits(2, 1).word(1280).bits(2, 0);
    writer.address(called).octets
}

pub(crate) fn located(calls: SocketAddr, answers: SocketAddr) -> Vec<u8> {
    ras(19, false, 1).address(calls).address(answers).octets
}

pub(crate) fn status(answers: SocketAddr, calls: &[SocketAddr]) -> Vec<u8> {
    let writer = Writer::default().bits(6, 22).bits(1, 0).bits(3, 0).word(1);
    let writer = writer.endpoint().identifier();
    writer.address(answers).addresses(calls).octets
}
