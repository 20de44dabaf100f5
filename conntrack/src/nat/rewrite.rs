// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Rewriting of packets (`nf_nat_proto.c`): an address, a port or identifier, and checksums, which are
//! updated incrementally.

use super::Manip;
use crate::checksum::{self, Sum};
use crate::packet::{sctp, Headers};
use crate::proto::{icmp, icmpv6};
use crate::tuple::{Family, Protocol, Tuple};

/// The shortest TCP header, whose end is the shortest message with a checksum.
pub(super) const TCP_HEADER: usize = 20;

pub(super) fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn set_word(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// Replaces a word and returns what that adds to a sum over it.
pub(super) fn replace_word(bytes: &mut [u8], at: usize, value: u16) -> Sum {
    let delta = Sum::default().minus_word(word(bytes, at)).word(value);
    set_word(bytes, at, value);
    delta
}

pub(super) fn update_checksum(bytes: &mut [u8], at: usize, delta: Sum) {
    let checksum = checksum::update(word(bytes, at), delta);
    set_word(bytes, at, checksum);
}

/// Rewrites one end of a packet to that of `target`. The packet may be the quote of an ICMP error, of
/// which the end is missing. Returns false if it is too short, of another family, or of a kind that is not
/// translated.
pub(super) fn datagram(packet: &mut [u8], headers: &Headers, target: &Tuple, manip: Manip) -> bool {
    let bits = match manip {
        Manip::Source => target.src_bits(),
        Manip::Destination => target.dst_bits(),
    };
    match (headers.family, target.family()) {
        (Family::V4, Family::V4) => {
            let at = if manip == Manip::Source { 12 } else { 16 };
            let address = (bits as u32).to_be_bytes();
            let delta = end(packet, headers, target, manip, (at, address));
            if let Some(delta) = delta {
                update_checksum(packet, 10, delta);
            }
            delta.is_some()
        }
        (Family::V6, Family::V6) => {
            let at = if manip == Manip::Source { 8 } else { 24 };
            end(packet, headers, target, manip, (at, bits.to_be_bytes())).is_some()
        }
        _ => false,
    }
}

/// Rewrites an address at its offset, and the transport header. Returns what that adds to a sum over the
/// address; absent if the packet cannot be rewritten, and is as it was.
#[inline]
fn end<const N: usize>(
    packet: &mut [u8],
    headers: &Headers,
    target: &Tuple,
    manip: Manip,
    (at, address): (usize, [u8; N]),
) -> Option<Sum> {
    let old: [u8; N] = *packet.get(at..)?.first_chunk()?;
    let delta = Sum::default().minus_bytes(&old).bytes(&address);
    let message = packet.get_mut(headers.transport..headers.end)?;
    if !transport(message, headers.protocol, target, manip, delta) {
        return None;
    }
    *packet.get_mut(at..)?.first_chunk_mut()? = address;
    Some(delta)
}

/// Rewrites a transport header; `delta` is what the new address adds to its pseudo-header.
fn transport(
    message: &mut [u8],
    protocol: Protocol,
    target: &Tuple,
    manip: Manip,
    delta: Sum,
) -> bool {
    let part = match manip {
        Manip::Source => target.src_part(),
        Manip::Destination => target.dst_part(),
    };
    let port_at = match manip {
        Manip::Source => 0,
        Manip::Destination => 2,
    };
    match protocol {
        Protocol::TCP if message.len() >= 8 => {
            let delta = delta.plus(replace_word(message, port_at, part));
            if message.len() >= TCP_HEADER {
                update_checksum(message, 16, delta);
            }
            true
        }
        Protocol::UDP if message.len() >= 8 => {
            let delta = delta.plus(replace_word(message, port_at, part));
            if word(message, 6) != 0 {
                update_checksum(message, 6, delta);
                if word(message, 6) == 0 {
                    // Zero would mean that there is none.
                    set_word(message, 6, 0xffff);
                }
            }
            true
        }
        Protocol::SCTP if message.len() >= 8 => {
            set_word(message, port_at, part);
            if message.len() >= sctp::HEADER {
                let crc = checksum::sctp(message);
                message[8..12].copy_from_slice(&crc.to_le_bytes());
            }
            true
        }
        Protocol::ICMP if message.len() >= 8 => {
            if icmp::answer(message[0]).is_some() {
                let delta = replace_word(message, 4, target.src_part());
                update_checksum(message, 2, delta);
            }
            true
        }
        Protocol::ICMPV6 if message.len() >= 8 => {
            let mut delta = delta;
            if matches!(message[0], icmpv6::ECHO | icmpv6::ECHO_REPLY) {
                delta = delta.plus(replace_word(message, 4, target.src_part()));
            }
            update_checksum(message, 2, delta);
            true
        }
        Protocol::TCP | Protocol::UDP | Protocol::SCTP | Protocol::ICMP | Protocol::ICMPV6 => false,
        Protocol::GRE => {
            if message.len() < 8 {
                return false;
            }
            match (manip, word(message, 0) & 7) {
                (Manip::Source, _) | (Manip::Destination, 0) => true,
                (Manip::Destination, 1) => {
                    set_word(message, 6, part);
                    true
                }
                (Manip::Destination, _) => false,
            }
        }
        _ => true,
    }
}
