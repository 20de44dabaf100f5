// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Frames in tunnels over UDP: VXLAN (RFC 7348) and GENEVE (RFC 8926).

use crate::headers::be16;
use crate::parse::{Parsed, L4};

/// The UDP ports of tunnels (IANA).
const VXLAN_PORT: u16 = 4789;
const GENEVE_PORT: u16 = 6081;
/// Length of VXLAN's header, and of GENEVE's without options.
const HEADER: usize = 8;
/// VXLAN's flag for a valid VNI (RFC 7348, 5).
const HAS_VNI: u8 = 0x08;
/// GENEVE's version and length of options, and its flag for control packets (RFC 8926, 3.4).
const VERSION: u8 = 0xc0;
const OPTIONS: u8 = 0x3f;
const CONTROL: u8 = 0x80;
/// GENEVE's protocol type of Ethernet frames.
const ETHERNET: u16 = 0x6558;

/// The kind of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RFC 7348.
    Vxlan,
    /// RFC 8926.
    Geneve,
}

/// A frame in a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnelled {
    /// The kind of the tunnel.
    pub kind: Kind,
    /// The virtual network.
    pub vni: u32,
    /// The offset of the frame's Ethernet header.
    pub at: usize,
}

/// Finds the frame that is in a tunnel, by the UDP port and the tunnel's header. `parsed` is of the
/// frame that begins with `front`; of that at hand the inner frame may have the beginning, or nothing.
pub fn inner(front: &[u8], parsed: &Parsed) -> Option<Tunnelled> {
    if parsed.l4 != L4::Udp || parsed.is_fragment() {
        return None;
    }
    let at = usize::from(parsed.payload_offset);
    let port = be16(front, usize::from(parsed.l4_offset) + 2)?;
    let header: &[u8; HEADER] = front.get(at..)?.first_chunk()?;
    let vni = u32::from_be_bytes([0, header[4], header[5], header[6]]);
    let (kind, options) = match port {
        VXLAN_PORT if header[0] & HAS_VNI != 0 => (Kind::Vxlan, 0),
        GENEVE_PORT
            if header[0] & VERSION == 0
                && header[1] & CONTROL == 0
                && be16(header, 2) == Some(ETHERNET) =>
        {
            (Kind::Geneve, usize::from(header[0] & OPTIONS) * 4)
        }
        _ => return None,
    };
    Some(Tunnelled {
        kind,
        vni,
        at: at + HEADER + options,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A datagram from 192.0.2.1 to 192.0.2.2, to that port.
    fn datagram(port: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        let length = 20 + 8 + payload.len() as u16;
        frame.extend([0x45, 0]);
        frame.extend(length.to_be_bytes());
        frame.extend([0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        frame.extend([0xc0, 0]);
        frame.extend(port.to_be_bytes());
        frame.extend((length - 20).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(payload);
        frame
    }

    fn found(port: u16, payload: &[u8]) -> Option<Tunnelled> {
        let frame = datagram(port, payload);
        inner(&frame, &Parsed::new(&frame, frame.len()).unwrap())
    }

    #[test]
    fn frames_are_found_behind_the_tunnels_header() {
        let vxlan = [8, 0, 0, 0, 0, 1, 2, 0, 0xaa];
        let it = found(4789, &vxlan).unwrap();
        assert_eq!((it.kind, it.vni, it.at), (Kind::Vxlan, 0x102, 50));
        let geneve = [2, 0, 0x65, 0x58, 0, 0, 7, 0, 1, 1, 1, 1, 2, 2, 2, 2];
        let it = found(6081, &geneve).unwrap();
        assert_eq!((it.kind, it.vni, it.at), (Kind::Geneve, 7, 58));
    }

    #[test]
    fn others_are_no_tunnels() {
        let vxlan = [8, 0, 0, 0, 0, 1, 2, 0];
        let geneve = [0, 0, 0x65, 0x58, 0, 0, 7, 0];
        assert_eq!(found(4790, &vxlan), None);
        assert_eq!(found(4789, &vxlan[..7]), None);
        assert_eq!(found(4789, &[0; 8]), None);
        for (at, value) in [(0, 0x40), (1, 0x80), (2, 0x08)] {
            let mut other = geneve;
            other[at] = value;
            assert_eq!(found(6081, &other), None, "{at}");
        }
        assert!(found(6081, &geneve).is_some());
        let mut fragment = datagram(4789, &vxlan);
        fragment[20] = 0x20;
        let parsed = Parsed::new(&fragment, fragment.len()).unwrap();
        assert_eq!(inner(&fragment, &parsed), None);
    }
}
