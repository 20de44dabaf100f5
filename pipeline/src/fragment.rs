// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Division of an IP datagram into fragments (RFC 791, 2.3; RFC 8200, 4.5).

use crate::checksum::checksum;
use crate::checksum::fill::{fill_ipv4, fill_l4};
use crate::headers::{
    be16, ethertype, proto, put_be16, ETH_LEN, IPV4_LEN, IPV6_LEN, UDP_LEN, VLAN_LEN,
};
use crate::parse::{is_extension, Parsed, L3, L4, MAX_VLAN_TAGS};

/// Length of IPv6's fragment header.
const FRAGMENT_LEN: usize = 8;
/// Payloads of all fragments but the last are multiples of this.
const UNIT: usize = 8;
/// The least MTU of a link (RFC 791, 3.2): no smaller fragments are asked for.
const LEAST_MTU: u16 = 68;
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
            // The others may be in front of a fragment header.
            let may_be = frame.get(at + 6).is_some_and(|next| is_extension(*next));
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

/// The fragments that a datagram is to leave in (`fragment_packet` in `adit.p4`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragmentation {
    /// The maximum length of each, from its IP header on; that of 68 bytes at least.
    pub mtu: u16,
    /// The offset of that header in the frame.
    pub offset: u16,
}

/// The way in which a datagram is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Division {
    /// Offset of its IP header in the frame, behind an Ethernet header; that of the outermost one if absent.
    at: Option<u16>,
    largest: u16,
    /// Absent if it came whole: routers do not divide those of IPv6 (RFC 8200, 4.5).
    id: Option<u32>,
}

impl From<Fragments> for Division {
    fn from(came: Fragments) -> Division {
        Division {
            at: None,
            largest: came.largest,
            id: Some(came.id),
        }
    }
}

impl Division {
    /// The division of a datagram of which `asked` was asked for, and that `came` in fragments: these are
    /// not put together (`ip_do_fragment`). `None` if it is to leave as it came, whole.
    pub fn new(asked: Option<Fragmentation>, came: Option<Fragments>) -> Option<Division> {
        let (asked, came) = match (asked, came) {
            (None, None) => return None,
            (None, Some(came)) => return Some(came.into()),
            (Some(asked), came) => (asked, came),
        };
        let mtu = asked.mtu.max(LEAST_MTU);
        Some(Division {
            at: Some(asked.offset),
            largest: came.map_or(mtu, |came| came.largest.min(mtu)),
            id: came.map(|came| came.id),
        })
    }
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
    /// Maximum bytes of payload in a fragment, and in each but the last.
    room: usize,
    piece: usize,
    id: u32,
    /// Start of the next fragment's payload.
    next: usize,
}

impl<'a> Fragmenter<'a> {
    /// Begins to divide an IP datagram of a frame. Returns `None` if there is none, if it is a fragment, if
    /// it is not longer than a fragment may be, or if it must not be divided, which is so, too, in a tunnel over
    /// UDP with a checksum that is behind a routing header with segments left or a home address.
    pub fn new(frame: &'a [u8], division: Division) -> Option<Fragmenter<'a>> {
        let largest = usize::from(division.largest);
        // What is in front of an Ethernet header is not looked at.
        let base = match division.at {
            None => 0,
            Some(at) => usize::from(at).checked_sub(ETH_LEN)?,
        };
        let front = frame.get(base..)?;
        let p = Parsed::new(front, front.len()).ok()?;
        let at = usize::from(p.l2_len);
        let is_there = division.at.is_none() || at == ETH_LEN;
        if !is_there || p.is_fragment() || p.fragment_offset != 0 {
            return None;
        }
        if base != 0 && !may_finish_outer(frame) {
            return None;
        }
        let end = p.l3_end();
        let (headers, link, added) = match p.l3 {
            L3::Ipv4 => (at + usize::from(front[at] & 0xf) * 4, at + 9, 0),
            L3::Ipv6 => {
                let (headers, link) = unfragmentable(front, at);
                (headers, link, FRAGMENT_LEN)
            }
            L3::Arp | L3::None => return None,
        };
        if headers >= end || end - at <= largest {
            return None;
        }
        let room = largest.saturating_sub(headers - at + added).max(UNIT);
        if room >= end - headers {
            return None;
        }
        let id = match p.l3 {
            L3::Ipv6 => division.id?,
            _ => 0,
        };
        Some(Fragmenter {
            frame,
            l3: p.l3,
            at: base + at,
            headers: base + headers,
            end: base + end,
            link: base + link,
            room,
            piece: room / UNIT * UNIT,
            id,
            next: base + headers,
        })
    }

    /// Writes the next fragment to the start of `out`. Returns its length, or `None` after the last
    /// one, or if `out` is too short.
    pub fn next_into(&mut self, out: &mut [u8]) -> Option<usize> {
        let rest = self.frame.get(self.next..self.end)?;
        if rest.is_empty() {
            return None;
        }
        // The last one need not be a multiple.
        let piece = match rest.len() <= self.room {
            true => rest,
            false => &rest[..self.piece],
        };
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
        finish_outer(out, self.at)?;
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

/// Returns whether the checksum of the outermost UDP header, if it has one, can be computed: the frame
/// must show the addresses of its pseudo header.
fn may_finish_outer(frame: &[u8]) -> bool {
    Parsed::new(frame, frame.len()).is_ok_and(|p| {
        let has_sum = p.l4 == L4::Udp && be16(frame, usize::from(p.l4_offset) + 6) != Some(0);
        !(p.rerouted && has_sum)
    })
}

/// Corrects lengths and checksums of the outermost IP and UDP headers of a frame, if they are in front of
/// the datagram at `inner`.
fn finish_outer(frame: &mut [u8], inner: usize) -> Option<()> {
    let p = Parsed::new(frame, frame.len()).ok()?;
    let (at, l4) = (usize::from(p.l2_len), usize::from(p.l4_offset));
    if at >= inner {
        return Some(());
    }
    let end = frame.len();
    match p.l3 {
        L3::Ipv4 => put_be16(frame, at + 2, (end - at) as u16)?,
        L3::Ipv6 => put_be16(frame, at + 4, (end - at - IPV6_LEN) as u16)?,
        L3::Arp | L3::None => return Some(()),
    }
    let has_udp = p.ip_proto == proto::UDP && !p.is_fragment() && l4 + UDP_LEN <= inner;
    if has_udp {
        put_be16(frame, l4 + 4, (end - l4) as u16)?;
    }
    let p = Parsed::new(frame, end).ok()?;
    if p.l3 == L3::Ipv4 {
        fill_ipv4(frame, &p).ok()?;
    }
    // 0 is no checksum (RFC 768, RFC 6935).
    if has_udp && be16(frame, l4 + 6)? != 0 {
        fill_l4(frame, &p).ok()?;
    }
    Some(())
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
