// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Computation of checksums in frames to be sent.

use super::{checksum, pseudo_header, Sum};
use crate::headers::{be16, put_be16, UDP_LEN};
use crate::parse::{Parsed, L3, L4};

/// Reasons why a checksum could not be stored. The frame is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FillError {
    /// A [`Checksum::Partial`](crate::offload::Checksum::Partial) that points outside of the frame.
    #[error("checksum from byte {start}, stored at {at}, in a frame of {len} bytes")]
    OutOfFrame {
        /// First summed byte.
        start: usize,
        /// Offset at which the checksum is stored.
        at: usize,
        /// The frame's length.
        len: usize,
    },
    /// The frame has no such header.
    #[error("no {0} header to put a checksum in")]
    NoHeader(&'static str),
    /// The length stated by the IP or UDP header does not fit in the frame.
    #[error("transport packet of {stated} bytes stated where {room} are in the frame")]
    Length {
        /// The length stated by the headers.
        stated: usize,
        /// The bytes available.
        room: usize,
    },
    /// A routing header with segments left, or a home address, hides an address of the pseudo header
    /// (RFC 8200, 8.1; RFC 6275, 11.3.1).
    #[error("transport checksum requested behind a routing header or home address")]
    Rerouted,
    /// A transport checksum covers the whole datagram; a fragment is only part of one.
    #[error("transport checksum requested in a fragment")]
    Fragment,
}

/// Completes a partial checksum: the sum of all bytes from `start`, including the pseudo-header sum
/// that the field holds, is stored at `start + offset`.
///
/// Zero is stored as 0xffff, its other representation: UDP reserves zero (RFC 768), and TCP
/// receivers treat the two alike.
pub fn complete_partial(frame: &mut [u8], start: u16, offset: u16) -> Result<(), FillError> {
    let start = usize::from(start);
    let at = start + usize::from(offset);
    let len = frame.len();
    match frame.get(start..) {
        Some(bytes) if at + 2 <= len => {
            let check = nonzero(checksum(bytes));
            frame[at..at + 2].copy_from_slice(&check.to_be_bytes());
            Ok(())
        }
        _ => Err(FillError::OutOfFrame { start, at, len }),
    }
}

/// Computes and stores the IPv4 header checksum; the field's old value is ignored.
pub fn fill_ipv4(frame: &mut [u8], p: &Parsed) -> Result<(), FillError> {
    const NO: FillError = FillError::NoHeader("IPv4");
    if p.l3 != L3::Ipv4 {
        return Err(NO);
    }
    let header = frame
        .get_mut(usize::from(p.l2_len)..usize::from(p.l4_offset))
        .ok_or(NO)?;
    put_be16(header, 10, 0).ok_or(NO)?;
    let check = checksum(header);
    put_be16(header, 10, check).ok_or(NO)
}

/// Computes and stores the TCP, UDP or SCTP checksum; the field's old value is ignored.
///
/// The packet ends as stated by its IP header; if that length is zero, at the frame's end.
pub fn fill_l4(frame: &mut [u8], p: &Parsed) -> Result<(), FillError> {
    if p.is_fragment() {
        return Err(FillError::Fragment);
    }
    let at = usize::from(p.l4_offset);
    let field = match p.l4 {
        L4::Tcp => 16,
        L4::Udp => 6,
        L4::Sctp => 8,
        _ => return Err(FillError::NoHeader("TCP, UDP or SCTP")),
    };
    if p.rerouted && p.l4 != L4::Sctp {
        return Err(FillError::Rerouted);
    }
    let end = match p.l3_len {
        0 => frame.len(),
        n => usize::from(p.l2_len) + n as usize,
    };
    let mut len = end.saturating_sub(at);
    let room = frame.len().saturating_sub(at);
    if p.l4 == L4::Udp {
        // A length of zero means a jumbogram (RFC 2675, 4) or a segmentation request.
        len = match be16(frame, at + 4) {
            Some(0) | None => len,
            Some(stated) if usize::from(stated) >= UDP_LEN && usize::from(stated) <= len => {
                usize::from(stated)
            }
            Some(stated) => {
                return Err(FillError::Length {
                    stated: stated.into(),
                    room: len,
                })
            }
        };
    }
    if len > room || len < field + if p.l4 == L4::Sctp { 4 } else { 2 } {
        return Err(FillError::Length { stated: len, room });
    }
    if p.l4 == L4::Sctp {
        let packet = &mut frame[at..at + len];
        packet[field..field + 4].fill(0);
        let crc = crc32c::crc32c(packet);
        packet[field..field + 4].copy_from_slice(&crc.to_le_bytes());
        return Ok(());
    }
    let mut sum = pseudo_header(p, frame, len as u32).ok_or(FillError::NoHeader("IP"))?;
    let packet = &mut frame[at..at + len];
    let check = finish_l4(&mut sum, packet, field);
    packet[field..field + 2].copy_from_slice(&check.to_be_bytes());
    Ok(())
}

/// Sums a packet as if its checksum field (at an even offset) were zero.
fn finish_l4(sum: &mut Sum, packet: &[u8], field: usize) -> u16 {
    nonzero(
        sum.add(&packet[..field])
            .add(&packet[field + 2..])
            .checksum(),
    )
}

/// Replaces zero, which UDP reserves, by its other representation.
fn nonzero(check: u16) -> u16 {
    if check == 0 {
        0xffff
    } else {
        check
    }
}
