// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A complete datagram: one packet for the tracker, and fragments again for the wire.

use super::Fragment;
use crate::checksum::Sum;
use crate::packet::fragment_link;
use crate::tuple::Family;

/// A datagram whose fragments have all been received.
#[derive(Debug)]
pub struct Datagram {
    family: Family,
    packet: Vec<u8>,
    /// The length of the headers before the payload in `packet`.
    header: usize,
    fragments: Vec<Fragment>,
}

impl Datagram {
    /// The datagram of fragments that cover it, in the order of their offsets. Absent if it is longer than
    /// its length field can express: the first fragment's headers may be longer than the others'.
    pub(super) fn new(family: Family, fragments: Vec<Fragment>) -> Option<Self> {
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
                packet[6..8].fill(0);
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
        })
    }

    /// The datagram as one packet, to be tracked.
    pub fn packet(&self) -> &[u8] {
        &self.packet
    }

    /// The datagram as one packet, to be translated.
    pub fn packet_mut(&mut self) -> &mut [u8] {
        &mut self.packet
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
                // The payload of a fragment may have been shortened to a multiple of eight octets.
                let length = out.len() as u16;
                out[2..4].copy_from_slice(&length.to_be_bytes());
                out[12..20].copy_from_slice(&self.packet[12..20]);
                fill_header_checksum(&mut out[..fragment.header.len()]);
            }
            Family::V6 => out[8..40].copy_from_slice(&self.packet[8..40]),
        }
    }
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
