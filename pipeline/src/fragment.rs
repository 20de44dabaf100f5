// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Division of an IP datagram into fragments (RFC 791, 2.3; RFC 8200, 4.5).

use crate::checksum::checksum;
use crate::headers::{be16, ethertype, proto, put_be16, ETH_LEN, IPV4_LEN, IPV6_LEN, VLAN_LEN};
use crate::parse::{Parsed, L3, MAX_VLAN_TAGS};

/// Length of IPv6's fragment header.
const FRAGMENT_LEN: usize = 8;
/// Payloads of all fragments but the last are multiples of this.
const UNIT: usize = 8;
/// IPv4's flag for further fragments, in the word with the offset.
const MORE_V4: u16 = 0x2000;
/// IPv4's offset, in units of eight bytes.
const OFFSET_V4: u16 = 0x1fff;
/// IPv4's flag not to fragment; a datagram that came in fragments may have it in each.
const DONT_FRAGMENT: u16 = 0x4000;
/// The flag for further fragments of IPv6's fragment header, in the word with the offset.
const MORE_V6: u16 = 1;
/// IPv4 options (RFC 791, 3.1): the end of the list, a filler, and the flag of those that every
/// fragment has.
const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const COPIED: u8 = 0x80;

/// Returns whether the outermost IP packet of a frame is a fragment, or has IPv6's fragment header.
#[inline]
pub fn is_fragment(frame: &[u8]) -> bool {
    let (mut at, mut kind) = (ETH_LEN, be16(frame, ETH_LEN - 2));
    for _ in 0..MAX_VLAN_TAGS {
        if matches!(kind, Some(ethertype::VLAN | ethertype::SVLAN)) {
            (at, kind) = (at + VLAN_LEN, be16(frame, at + 2));
        }
    }
    match kind {
        Some(ethertype::IPV4) => {
            be16(frame, at + 6).is_some_and(|word| word & (MORE_V4 | OFFSET_V4) != 0)
        }
        Some(ethertype::IPV6) => {
            let next = frame.get(at + 6).copied();
            // The others may be in front of a fragment header.
            let may_be = matches!(
                next,
                Some(proto::FRAGMENT | proto::HOP_BY_HOP | proto::ROUTING | proto::DEST_OPTIONS)
            );
            may_be && Parsed::new(frame, frame.len()).is_ok_and(|p| p.fragment_offset != 0)
        }
        _ => false,
    }
}

/// The fragments that a datagram came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragments {
    /// Length of the largest from its IP header on.
    pub largest: u16,
    /// The identification, for IPv6; IPv4 has it in each datagram.
    pub id: u32,
}

/// A frame with a datagram that is being divided.
#[derive(Debug)]
pub struct Fragmenter<'a> {
    frame: &'a [u8],
    l3: L3,
    /// Start of the IP header.
    at: usize,
    /// End of the headers that each fragment has.
    headers: usize,
    /// End of the datagram.
    end: usize,
    /// Offset in the frame of the byte that announces the first header of the payload.
    link: usize,
    /// Bytes of payload in each fragment but the last.
    piece: usize,
    id: u32,
    /// Start of the next fragment's payload.
    next: usize,
}

impl<'a> Fragmenter<'a> {
    /// Begins to divide the outermost IP datagram of a frame. Returns `None` if there is none, if it
    /// is a fragment, or if it is not longer than the largest fragment.
    pub fn new(frame: &'a [u8], fragments: Fragments) -> Option<Fragmenter<'a>> {
        let p = Parsed::new(frame, frame.len()).ok()?;
        let (at, largest) = (usize::from(p.l2_len), usize::from(fragments.largest));
        let end = p.l3_end();
        if p.is_fragment() || p.fragment_offset != 0 {
            return None;
        }
        let (headers, link, added) = match p.l3 {
            L3::Ipv4 => (at + usize::from(frame[at] & 0xf) * 4, at + 9, 0),
            L3::Ipv6 => {
                let (headers, link) = unfragmentable(frame, at);
                (headers, link, FRAGMENT_LEN)
            }
            L3::Arp | L3::None => return None,
        };
        if headers >= end || end - at <= largest {
            return None;
        }
        let room = largest.saturating_sub(headers - at + added);
        let piece = (room / UNIT * UNIT).max(UNIT);
        if piece >= end - headers {
            return None;
        }
        Some(Fragmenter {
            frame,
            l3: p.l3,
            at,
            headers,
            end,
            link,
            piece,
            id: fragments.id,
            next: headers,
        })
    }

    /// Writes the next fragment to the start of `out`. Returns its length, or `None` after the last
    /// one, or if `out` is too short.
    pub fn next_into(&mut self, out: &mut [u8]) -> Option<usize> {
        let rest = self.frame.get(self.next..self.end)?;
        if rest.is_empty() {
            return None;
        }
        let piece = &rest[..rest.len().min(self.piece)];
        let offset = self.next - self.headers;
        let more = piece.len() < rest.len();
        let added = if self.l3 == L3::Ipv6 { FRAGMENT_LEN } else { 0 };
        let start = self.headers + added;
        let len = start + piece.len();
        let out = out.get_mut(..len)?;
        out[..self.headers].copy_from_slice(&self.frame[..self.headers]);
        out[start..].copy_from_slice(piece);
        match self.l3 {
            L3::Ipv4 => self.finish_v4(out, offset, more),
            _ => self.finish_v6(out, offset, more),
        }?;
        self.next += piece.len();
        Some(len)
    }

    fn finish_v4(&self, out: &mut [u8], offset: usize, more: bool) -> Option<()> {
        let at = self.at;
        let length = (out.len() - at) as u16;
        put_be16(out, at + 2, length)?;
        let flags = u16::from_be_bytes([out[at + 6], out[at + 7]]) & DONT_FRAGMENT;
        let more = if more { MORE_V4 } else { 0 };
        put_be16(out, at + 6, flags | more | (offset / UNIT) as u16)?;
        let header = out.get_mut(at..self.headers)?;
        if offset != 0 {
            clear_options(&mut header[IPV4_LEN..]);
        }
        put_be16(header, 10, 0)?;
        let check = checksum(header);
        put_be16(header, 10, check)
    }

    fn finish_v6(&self, out: &mut [u8], offset: usize, more: bool) -> Option<()> {
        let length = (out.len() - self.at - IPV6_LEN) as u16;
        put_be16(out, self.at + 4, length)?;
        let next = std::mem::replace(&mut out[self.link], proto::FRAGMENT);
        let header = out.get_mut(self.headers..self.headers + FRAGMENT_LEN)?;
        let more = if more { MORE_V6 } else { 0 };
        header[..2].copy_from_slice(&[next, 0]);
        put_be16(header, 2, offset as u16 | more)?;
        header[4..].copy_from_slice(&self.id.to_be_bytes());
        Some(())
    }
}

/// The end of the headers that each fragment of an IPv6 datagram has, and the offset of the byte
/// that announces the next one: hop-by-hop options, and what is in front of a routing header, with
/// it (RFC 8200, 4.5).
fn unfragmentable(frame: &[u8], at: usize) -> (usize, usize) {
    let (mut link, mut end) = (at + 6, at + IPV6_LEN);
    let (mut found, mut is_first) = ((end, link), true);
    while let Some(&[_, length]) = frame.get(end..).and_then(<[u8]>::first_chunk) {
        let kind = frame[link];
        if !matches!(
            kind,
            proto::HOP_BY_HOP | proto::ROUTING | proto::DEST_OPTIONS
        ) {
            break;
        }
        (link, end) = (end, end + (usize::from(length) + 1) * 8);
        if kind == proto::ROUTING || kind == proto::HOP_BY_HOP && is_first {
            found = (end, link);
        }
        is_first = false;
    }
    found
}

/// Replaces the options that only the first fragment has.
fn clear_options(options: &mut [u8]) {
    let mut at = 0;
    while let Some(&kind) = options.get(at) {
        let length = match kind {
            END_OF_OPTIONS => return,
            NO_OPERATION => 1,
            _ => options.get(at + 1).copied().map_or(0, usize::from),
        };
        let Some(option) = options.get_mut(at..at + length).filter(|o| !o.is_empty()) else {
            return;
        };
        if kind & COPIED == 0 {
            option.fill(NO_OPERATION);
        }
        at += length;
    }
}

#[cfg(test)]
mod tests;
