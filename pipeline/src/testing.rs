// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Test frames, built from the specifications without this crate's own code.

use std::net::IpAddr;

/// Destination and source address of all frames built here.
pub(crate) const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

/// Builds a frame with one IP packet in it, with a correct IPv4 header checksum.
pub(crate) fn ip_frame(ips: (IpAddr, IpAddr), proto: u8, payload: &[u8]) -> Vec<u8> {
    let mut f = MACS.to_vec();
    let len = payload.len() as u16;
    match ips {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            f.extend([8, 0, 0x45, 0]);
            f.extend((len + 20).to_be_bytes());
            f.extend([0x12, 0x34, 0, 0, 64, proto, 0, 0]);
            f.extend(src.octets());
            f.extend(dst.octets());
            let check = !ones_sum(&f[14..34]);
            f[24..26].copy_from_slice(&check.to_be_bytes());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            f.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            f.extend(len.to_be_bytes());
            f.extend([proto, 64]);
            f.extend(src.octets());
            f.extend(dst.octets());
        }
        mixed => panic!("addresses of two families: {mixed:?}"),
    }
    f.extend(payload);
    f
}

/// Builds a transport packet with a zero checksum.
pub(crate) fn l4(proto: u8, sport: u16, dport: u16, data: &[u8]) -> Vec<u8> {
    let mut p = Vec::new();
    p.extend(sport.to_be_bytes());
    p.extend(dport.to_be_bytes());
    match proto {
        6 => p.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 0x10, 0, 0, 0, 0, 0]),
        17 => {
            p.extend((data.len() as u16 + 8).to_be_bytes());
            p.extend([0, 0]);
        }
        132 => p.extend([0; 8]),
        other => panic!("no transport header for protocol {other}"),
    }
    p.extend(data);
    p
}

/// Computes the ones' complement sum by definition.
pub(crate) fn ones_sum(bytes: &[u8]) -> u16 {
    let mut acc = 0u32;
    for c in bytes.chunks(2) {
        acc += u32::from(c[0]) << 8 | u32::from(*c.get(1).unwrap_or(&0));
        acc = (acc & 0xffff) + (acc >> 16);
    }
    acc as u16
}

/// Computes the transport sum over the pseudo header and the packet: 0xffff if it is correct.
pub(crate) fn l4_sum(ips: (IpAddr, IpAddr), proto: u8, packet: &[u8]) -> u16 {
    let mut b = Vec::new();
    for ip in [ips.0, ips.1] {
        match ip {
            IpAddr::V4(a) => b.extend(a.octets()),
            IpAddr::V6(a) => b.extend(a.octets()),
        }
    }
    b.extend((packet.len() as u32).to_be_bytes());
    b.extend([0, 0, 0, proto]);
    b.extend(packet);
    ones_sum(&b)
}
