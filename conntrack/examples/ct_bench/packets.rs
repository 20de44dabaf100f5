// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The packets of the flows. Their checksums are not filled in.

use adit_conntrack::{Endpoint, Protocol, Tuple};

/// The offset of the UDP header in a packet.
const UDP: usize = 20;

/// A UDP packet of a flow.
pub(super) fn packet(flow: u32) -> [u8; 28] {
    let mut packet = [0; 28];
    packet[..12].copy_from_slice(&[0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0]);
    packet[12..16].copy_from_slice(&(0x0a00_0000 | flow >> 8).to_be_bytes());
    packet[16..20].copy_from_slice(&[192, 0, 2, 1]);
    packet[UDP..UDP + 2].copy_from_slice(&(1024 + (flow as u16 & 0xff)).to_be_bytes());
    packet[UDP + 2..UDP + 6].copy_from_slice(&[0, 53, 0, 8]);
    packet
}

pub(super) fn tuple(flow: u32) -> Tuple {
    let src = std::net::Ipv4Addr::from(0x0a00_0000 | flow >> 8).into();
    let src = Endpoint {
        address: src,
        part: 1024 + (flow as u16 & 0xff),
    };
    let dst = Endpoint {
        address: std::net::IpAddr::from([192, 0, 2, 1]),
        part: 53,
    };
    Tuple::new(Protocol::UDP, src, dst).expect("both are of IPv4")
}

/// The bytes of data in a segment.
pub(super) const DATA: usize = 8;
pub(super) const SYN: u8 = 0x02;
pub(super) const ACK: u8 = 0x10;

/// A TCP segment of a connection, from its first or its second side, with `D` bytes: those of its
/// headers, and of its data.
pub(super) fn segment<const D: usize>(
    connection: u32,
    second: bool,
    flags: u8,
    seq: u32,
    ack: u32,
) -> [u8; D] {
    let mut packet = [0; D];
    packet[..12].copy_from_slice(&[0x45, 0, 0, D as u8, 0, 1, 0, 0, 64, 6, 0, 0]);
    let client = (0x0a00_0000 | connection).to_be_bytes();
    let server = [192, 0, 2, 1];
    let ports = [[4, 0], [0, 80]];
    let [(src, src_port), (dst, dst_port)] = match second {
        false => [(client, ports[0]), (server, ports[1])],
        true => [(server, ports[1]), (client, ports[0])],
    };
    packet[12..16].copy_from_slice(&src);
    packet[16..20].copy_from_slice(&dst);
    packet[20..22].copy_from_slice(&src_port);
    packet[22..24].copy_from_slice(&dst_port);
    packet[24..28].copy_from_slice(&seq.to_be_bytes());
    packet[28..32].copy_from_slice(&ack.to_be_bytes());
    packet[32..36].copy_from_slice(&[0x50, flags, 0xff, 0xff]);
    packet
}

pub(super) fn data(connection: u32, seq: u32) -> [u8; 40 + DATA] {
    segment(connection, false, ACK, 1u32.wrapping_add(seq), 1)
}

pub(super) fn acknowledgement(connection: u32, ack: u32) -> [u8; 40] {
    segment(connection, true, ACK, 1, 1u32.wrapping_add(ack))
}
