// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The payload that a helper has written in place of a packet's own (`nf_nat_mangle_tcp_packet`,
//! `nf_nat_mangle_udp_packet`).

use super::rewrite::{set_word, word, TCP_HEADER};
use crate::checksum::{pseudo_header, Sum};
use crate::packet::Headers;
use crate::tuple::{Family, Protocol};

/// The memory of a packet that can get another length.
pub trait PacketBuffer {
    /// The bytes, from the IP header on.
    fn octets(&mut self) -> &mut [u8];

    /// Replaces the bytes from `at` on. Returns false, and changes nothing, if there is no space for
    /// the new ones.
    fn replace_end(&mut self, at: usize, end: &[u8]) -> bool;
}

impl PacketBuffer for Vec<u8> {
    fn octets(&mut self) -> &mut [u8] {
        self
    }

    fn replace_end(&mut self, at: usize, end: &[u8]) -> bool {
        self.truncate(at);
        self.extend_from_slice(end);
        true
    }
}

/// A packet in memory of a fixed length. It may become shorter: what follows its datagram is padding.
impl PacketBuffer for [u8] {
    fn octets(&mut self) -> &mut [u8] {
        self
    }

    fn replace_end(&mut self, at: usize, end: &[u8]) -> bool {
        let place = self.get_mut(at..at + end.len());
        place.map(|place| place.copy_from_slice(end)).is_some()
    }
}

/// The offset of the payload in a transport message, behind a whole header.
fn payload_start(protocol: Protocol, message: &[u8]) -> Option<usize> {
    match protocol {
        Protocol::TCP => {
            let start = usize::from(*message.get(12)? >> 4) * 4;
            (start >= TCP_HEADER).then_some(start)
        }
        Protocol::UDP => Some(8),
        _ => None,
    }
}

/// Gives a packet another payload. Its lengths are set; its transport checksum is to be filled in.
/// Returns false if there is no place for it.
pub(super) fn replace<B: PacketBuffer + ?Sized>(
    packet: &mut B,
    headers: &Headers,
    payload: &[u8],
) -> bool {
    let octets = packet.octets();
    let Some(start) = payload_start(headers.protocol, headers.message(octets)) else {
        return false;
    };
    let at = headers.transport + start;
    // Of IPv6 the length is that behind the header.
    let counted_from = match headers.family {
        Family::V4 => 0,
        Family::V6 => 40,
    };
    let length = u16::try_from(at + payload.len() - counted_from);
    let Ok(length) = length else {
        return false;
    };
    if at > headers.end || !packet.replace_end(at, payload) {
        return false;
    }
    let octets = packet.octets();
    match headers.family {
        Family::V4 => {
            set_word(octets, 2, length);
            set_word(octets, 10, 0);
            let header = usize::from(octets[0] & 0xf) * 4;
            let checksum = Sum::default().bytes(&octets[..header]).checksum();
            set_word(octets, 10, checksum);
        }
        Family::V6 => set_word(octets, 4, length),
    }
    if headers.protocol == Protocol::UDP {
        let message = at - headers.transport + payload.len();
        set_word(octets, headers.transport + 4, message as u16);
    }
    true
}

/// Computes the checksum of a TCP or UDP message anew; a UDP datagram without one stays so.
pub(super) fn fill_checksum(packet: &mut [u8], headers: &Headers) {
    let field = match headers.protocol {
        Protocol::TCP => headers.transport + 16,
        _ => headers.transport + 6,
    };
    if headers.protocol == Protocol::UDP && word(packet, field) == 0 {
        return;
    }
    set_word(packet, field, 0);
    let message = headers.message(packet);
    let sum = pseudo_header(headers.addresses(packet), headers.protocol, message.len());
    let checksum = match sum.bytes(message).checksum() {
        0 => 0xffff,
        checksum => checksum,
    };
    set_word(packet, field, checksum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::V4;

    /// A program may have shortened the packet, or its header, since it was tracked.
    #[test]
    fn a_payload_needs_a_whole_header_before_it() {
        let packet = V4.tcp(0x10, 1, 1, b"data");
        let replaced = |at: usize, octet: u8| {
            let mut packet = packet.clone();
            packet[at] = octet;
            let headers = Headers::parse(&packet).unwrap();
            replace(&mut packet, &headers, b"x").then_some(packet)
        };
        let whole = replaced(32, 0x50).unwrap();
        assert_eq!((whole.len(), whole[3], whole[40]), (41, 41, b'x'));
        // The data offset, and the length in the IP header.
        assert_eq!(replaced(32, 0), None);
        assert_eq!(replaced(32, 0x40), None);
        assert_eq!(replaced(3, 39), None);
    }
}
