// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A complete datagram: one packet for the tracker, and fragments again for the wire.

use super::Fragment;
use crate::checksum::Sum;
use crate::nat::PacketBuffer;
use crate::packet::fragment_link;
use crate::tuple::Family;

/// The flag of IPv4 not to fragment, in the byte at offset 6.
const DONT_FRAGMENT: u8 = 0x40;

/// A datagram whose fragments have all been received.
#[derive(Debug)]
pub struct Datagram {
    family: Family,
    packet: Vec<u8>,
    /// The length of the headers before the payload in `packet`.
    header: usize,
    fragments: Vec<Fragment>,
    id: u32,
}

impl Datagram {
    /// The datagram of fragments that cover it, in the order of their offsets. Absent if it is longer than
    /// its length field can express: the first fragment's headers may be longer than the others'.
    /// As in Linux (`ip_frag_reasm`), one of IPv4 is not to be fragmented if none of its fragments is
    /// larger than one that is not to be.
    pub(super) fn new(family: Family, id: u32, fragments: Vec<Fragment>) -> Option<Self> {
        let mut packet = Vec::new();
        if let Some(first) = fragments.first() {
            packet.extend(&first.header);
        }
        if family == Family::V6 {
            remove_fragment_header(&mut packet);
        }
        let header = packet.len();
        for fragment in &fragments {
            packet.extend(&fragment.payload);
        }
        match family {
            Family::V4 => {
                let length = u16::try_from(packet.len()).ok()?;
                packet[2..4].copy_from_slice(&length.to_be_bytes());
                let is_unbroken = |fragment: &&Fragment| fragment.header[6] & DONT_FRAGMENT != 0;
                let unbroken = largest(fragments.iter().filter(is_unbroken));
                let is_unbroken = unbroken == largest(fragments.iter());
                packet[6] = if is_unbroken { DONT_FRAGMENT } else { 0 };
                packet[7] = 0;
                fill_header_checksum(&mut packet[..header]);
            }
            Family::V6 => {
                let length = u16::try_from(packet.len() - 40).ok()?;
                packet[4..6].copy_from_slice(&length.to_be_bytes());
            }
        }
        Some(Datagram {
            family,
            packet,
            header,
            fragments,
            id,
        })
    }

    /// The datagram as one packet, to be tracked.
    pub fn packet(&self) -> &[u8] {
        &self.packet
    }

    /// The length of the largest fragment from its IP header on.
    pub fn largest(&self) -> usize {
        largest(self.fragments.iter())
    }

    /// The identification that the fragments have; of IPv4 16 bits.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The number of fragments.
    pub fn fragments(&self) -> usize {
        self.fragments.len()
    }

    /// Writes fragment `number` as it is after translation to `out`, which is cleared first.
    pub fn write_fragment(&self, number: usize, out: &mut Vec<u8>) {
        out.clear();
        let Some(fragment) = self.fragments.get(number) else {
            return;
        };
        out.extend(&fragment.header);
        let payload = self.header + fragment.offset..self.header + fragment.end();
        out.extend(&self.packet[payload]);
        match self.family {
            Family::V4 => {
                // The payload of a fragment may have been shortened to a multiple of eight bytes.
                let length = out.len() as u16;
                out[2..4].copy_from_slice(&length.to_be_bytes());
                out[12..20].copy_from_slice(&self.packet[12..20]);
                fill_header_checksum(&mut out[..fragment.header.len()]);
            }
            Family::V6 => {
                let length = (out.len() - 40) as u16;
                out[4..6].copy_from_slice(&length.to_be_bytes());
                out[8..40].copy_from_slice(&self.packet[8..40]);
            }
        }
    }
}

/// The datagram as one packet, to be translated. Its length is that of the last fragment, which must not
/// vanish.
impl PacketBuffer for Datagram {
    fn octets(&mut self) -> &mut [u8] {
        &mut self.packet
    }

    fn replace_end(&mut self, at: usize, end: &[u8]) -> bool {
        let Some(last) = self.fragments.last_mut() else {
            return false;
        };
        let start = self.header + last.offset;
        let new = (at + end.len()).checked_sub(start);
        let Some(length) = new.filter(|&length| length != 0 && at <= self.packet.len()) else {
            return false;
        };
        // The payload's bytes are those of `packet`; here only their number counts.
        last.payload.resize(length, 0);
        self.packet.replace_end(at, end)
    }
}

/// The length of the largest of some fragments; 0 if there is none.
fn largest<'a>(fragments: impl Iterator<Item = &'a Fragment>) -> usize {
    fragments.map(Fragment::size).max().unwrap_or(0)
}

/// Takes the fragment header off the end of the headers before the payload.
fn remove_fragment_header(headers: &mut Vec<u8>) {
    if let Some((link, at)) = fragment_link(headers) {
        headers[link] = headers[at];
        headers.truncate(at);
    }
}

fn fill_header_checksum(header: &mut [u8]) {
    header[10..12].fill(0);
    let checksum = Sum::default().bytes(header).checksum();
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
}
