// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Packets for tests, with the feature `testing` also for those of other crates.

use std::net::IpAddr;

use crate::checksum::{pseudo_header, sctp, Sum};
use crate::packet::Headers;
use crate::tuple::Protocol;

/// Source and destination of a flow.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// The source's address.
    pub src: IpAddr,
    /// The source's port.
    pub src_port: u16,
    /// The destination's address, of the source's family.
    pub dst: IpAddr,
    /// The destination's port.
    pub dst_port: u16,
}

/// 10.0.0.1 port 1234 to 10.0.0.2 port 80.
pub const V4: Flow = Flow {
    src: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)),
    src_port: 1234,
    dst: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2)),
    dst_port: 80,
};

/// fd00::1 port 1234 to fd00::2 port 80.
pub const V6: Flow = Flow {
    src: IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
    src_port: 1234,
    dst: IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2)),
    dst_port: 80,
};

impl Flow {
    /// The opposite direction.
    pub fn reverse(self) -> Self {
        Flow {
            src: self.dst,
            src_port: self.dst_port,
            dst: self.src,
            dst_port: self.src_port,
        }
    }

    fn ports(self) -> Vec<u8> {
        [self.src_port.to_be_bytes(), self.dst_port.to_be_bytes()].concat()
    }

    /// An IP packet with a transport message, whose checksum is filled in.
    pub fn packet(self, protocol: Protocol, message: &[u8]) -> Vec<u8> {
        let mut packet = match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let length = (20 + message.len()) as u16;
                let mut header = vec![0x45, 0, 0, 0, 0, 1, 0, 0, 64, protocol.0, 0, 0];
                header[2..4].copy_from_slice(&length.to_be_bytes());
                header.extend(src.octets());
                header.extend(dst.octets());
                header
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let mut header = vec![0x60, 0, 0, 0, 0, 0, protocol.0, 64];
                header[4..6].copy_from_slice(&(message.len() as u16).to_be_bytes());
                header.extend(src.octets());
                header.extend(dst.octets());
                header
            }
            _ => panic!("addresses of two families"),
        };
        packet.extend(message);
        fill_checksums(&mut packet);
        packet
    }

    /// A UDP datagram.
    pub fn udp(self, payload: &[u8]) -> Vec<u8> {
        let mut message = self.ports();
        message.extend((8 + payload.len() as u16).to_be_bytes());
        message.extend([0, 0]);
        message.extend(payload);
        self.packet(Protocol::UDP, &message)
    }

    /// An SCTP packet with chunks.
    pub fn sctp(self, tag: u32, chunks: &[&[u8]]) -> Vec<u8> {
        let mut message = self.ports();
        message.extend(tag.to_be_bytes());
        message.extend([0; 4]);
        message.extend(chunks.concat());
        self.packet(Protocol::SCTP, &message)
    }

    /// An ICMP or ICMPv6 message with the second word of its header and what follows.
    pub fn icmp(self, kind: u8, code: u8, word: [u8; 4], rest: &[u8]) -> Vec<u8> {
        let protocol = if self.src.is_ipv4() {
            Protocol::ICMP
        } else {
            Protocol::ICMPV6
        };
        let mut message = vec![kind, code, 0, 0];
        message.extend(word);
        message.extend(rest);
        self.packet(protocol, &message)
    }

    /// A TCP segment with a window of 1000.
    pub fn tcp(self, flags: u8, seq: u32, ack: u32, payload: &[u8]) -> Vec<u8> {
        Tcp {
            flags,
            seq,
            ack,
            window: 1000,
            options: &[],
            payload,
        }
        .packet(self)
    }
}

/// A TCP segment.
#[derive(Clone, Copy, Debug)]
pub struct Tcp<'a> {
    /// The flags, as the header has them: FIN is 1.
    pub flags: u8,
    /// The sequence number.
    pub seq: u32,
    /// The acknowledgement number.
    pub ack: u32,
    /// The window, not scaled.
    pub window: u16,
    /// The options, padded to words.
    pub options: &'a [u8],
    /// The data.
    pub payload: &'a [u8],
}

impl Tcp<'_> {
    /// The segment in an IP packet.
    pub fn packet(self, flow: Flow) -> Vec<u8> {
        let mut message = flow.ports();
        message.extend(self.seq.to_be_bytes());
        message.extend(self.ack.to_be_bytes());
        message.extend([((20 + self.options.len()) / 4 * 16) as u8, self.flags]);
        message.extend(self.window.to_be_bytes());
        message.extend([0; 4]);
        message.extend(self.options);
        message.extend(self.payload);
        flow.packet(Protocol::TCP, &message)
    }
}

/// Writes the checksum of an IPv4 header anew.
pub fn fill_header_checksum(packet: &mut [u8]) {
    let header = usize::from(packet[0] & 0xf) * 4;
    packet[10..12].fill(0);
    let checksum = !Sum::default().bytes(&packet[..header]).fold();
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// Writes the checksums of a packet anew.
pub fn fill_checksums(packet: &mut [u8]) {
    if packet[0] >> 4 == 4 {
        fill_header_checksum(packet);
    }
    let headers = Headers::parse(packet).unwrap();
    let at = headers.transport;
    let field = match headers.protocol {
        Protocol::TCP => 16,
        Protocol::UDP => 6,
        Protocol::ICMP | Protocol::ICMPV6 => 2,
        Protocol::SCTP => {
            let crc = sctp(headers.message(packet));
            packet[at + 8..at + 12].copy_from_slice(&crc.to_le_bytes());
            return;
        }
        _ => return,
    };
    packet[at + field..at + field + 2].fill(0);
    let message = headers.message(packet);
    let sum = match headers.protocol {
        Protocol::ICMP => Sum::default(),
        protocol => pseudo_header(headers.addresses(packet), protocol, message.len()),
    };
    let checksum = match !sum.bytes(message).fold() {
        0 if headers.protocol == Protocol::UDP => 0xffff,
        checksum => checksum,
    };
    packet[at + field..at + field + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// The fragments of a packet without extension headers: `size` bytes of payload, a multiple of eight,
/// in each.
pub fn split(packet: &[u8], size: usize) -> Vec<Vec<u8>> {
    let is_v4 = packet[0] >> 4 == 4;
    let header = if is_v4 { 20 } else { 40 };
    let payload = &packet[header..];
    let mut fragments = Vec::new();
    for (number, part) in payload.chunks(size).enumerate() {
        let offset = number * size;
        let more = offset + part.len() < payload.len();
        let mut fragment = packet[..header].to_vec();
        if is_v4 {
            fragment[2..4].copy_from_slice(&((header + part.len()) as u16).to_be_bytes());
            let word = (offset / 8) as u16 | if more { 0x2000 } else { 0 };
            fragment[6..8].copy_from_slice(&word.to_be_bytes());
            fill_header_checksum(&mut fragment);
        } else {
            let next = std::mem::replace(&mut fragment[6], 44);
            fragment[4..6].copy_from_slice(&((8 + part.len()) as u16).to_be_bytes());
            fragment.extend([next, 0]);
            fragment.extend((offset as u16 | u16::from(more)).to_be_bytes());
            fragment.extend([0, 0, 0, 9]);
        }
        fragment.extend(part);
        fragments.push(fragment);
    }
    fragments
}
