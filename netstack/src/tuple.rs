// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The addresses and ports of a received frame, which lead to its connection.

use std::net::IpAddr;

use adit_adi::Checksum;
use smoltcp::wire::{
    ArpPacket, EthernetAddress, EthernetFrame, EthernetProtocol, Icmpv6Message, Icmpv6Packet,
    IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket,
};

/// The identity of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tuple {
    pub(crate) local: (IpAddr, u16),
    pub(crate) remote: (IpAddr, u16),
}

/// The content of a frame, as far as the stack decides by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A TCP segment.
    Segment {
        /// Its addresses and ports.
        tuple: Tuple,
        /// Set if it asks for a connection: SYN without ACK and RST.
        opens: bool,
    },
    /// An ARP packet or an ICMPv6 message of neighbour discovery.
    Neighbour {
        /// The address that it asks for, or for which it is an answer.
        target: IpAddr,
    },
    /// Another packet, such as an ICMP echo request.
    Other,
    /// A frame to drop.
    Drop(Drop),
}

/// The reason to drop a received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drop {
    /// Its headers are cut or inconsistent.
    Malformed,
    /// A checksum is wrong.
    Checksum,
    /// It is a fragment of an IP packet.
    Fragment,
    /// It is a TCP segment for another host, or for several.
    NotOurs,
}

/// Reads the headers of a frame; `checksum` is the device's verdict on it, `mac` the station's address.
pub(crate) fn read(frame: &[u8], checksum: Checksum, mac: EthernetAddress) -> Content {
    let Ok(ethernet) = EthernetFrame::new_checked(frame) else {
        return Content::Drop(Drop::Malformed);
    };
    if matches!(checksum, Checksum::BadIp | Checksum::BadTransport) {
        return Content::Drop(Drop::Checksum);
    }
    let unchecked = checksum != Checksum::Good;
    let content = match ethernet.ethertype() {
        EthernetProtocol::Arp => arp(ethernet.payload()),
        EthernetProtocol::Ipv4 => ipv4(ethernet.payload(), unchecked),
        EthernetProtocol::Ipv6 => ipv6(ethernet.payload(), unchecked),
        _ => Content::Other,
    };
    match content {
        Content::Segment { .. } if ethernet.dst_addr() != mac => Content::Drop(Drop::NotOurs),
        content => content,
    }
}

fn arp(packet: &[u8]) -> Content {
    let arp = ArpPacket::new_checked(packet);
    // Other hardware or protocols than Ethernet and IPv4 have addresses of other lengths.
    let target = arp.ok().and_then(|arp| {
        let target = <[u8; 4]>::try_from(arp.target_protocol_addr()).ok()?;
        Some(IpAddr::from(target))
    });
    target.map_or(Content::Drop(Drop::Malformed), |target| {
        Content::Neighbour { target }
    })
}

fn icmpv6(message: &[u8], to: IpAddr) -> Content {
    let Ok(icmp) = Icmpv6Packet::new_checked(message) else {
        return Content::Drop(Drop::Malformed);
    };
    match icmp.msg_type() {
        Icmpv6Message::NeighborSolicit => Content::Neighbour {
            target: icmp.target_addr().into(),
        },
        Icmpv6Message::NeighborAdvert => Content::Neighbour { target: to },
        _ => Content::Other,
    }
}

fn ipv4(packet: &[u8], unchecked: bool) -> Content {
    let Ok(ip) = Ipv4Packet::new_checked(packet) else {
        return Content::Drop(Drop::Malformed);
    };
    if unchecked && !ip.verify_checksum() {
        return Content::Drop(Drop::Checksum);
    }
    if ip.more_frags() || ip.frag_offset() != 0 {
        return Content::Drop(Drop::Fragment);
    }
    if ip.next_header() != IpProtocol::Tcp {
        return Content::Other;
    }
    segment(
        ip.payload(),
        ip.src_addr().into(),
        ip.dst_addr().into(),
        unchecked,
    )
}

fn ipv6(packet: &[u8], unchecked: bool) -> Content {
    let Ok(ip) = Ipv6Packet::new_checked(packet) else {
        return Content::Drop(Drop::Malformed);
    };
    match ip.next_header() {
        IpProtocol::Tcp => segment(
            ip.payload(),
            ip.src_addr().into(),
            ip.dst_addr().into(),
            unchecked,
        ),
        IpProtocol::Icmpv6 => icmpv6(ip.payload(), ip.dst_addr().into()),
        IpProtocol::Ipv6Frag => Content::Drop(Drop::Fragment),
        _ => Content::Other,
    }
}

fn segment(payload: &[u8], from: IpAddress, to: IpAddress, unchecked: bool) -> Content {
    let Ok(tcp) = TcpPacket::new_checked(payload) else {
        return Content::Drop(Drop::Malformed);
    };
    if unchecked && !tcp.verify_checksum(&from, &to) {
        return Content::Drop(Drop::Checksum);
    }
    Content::Segment {
        tuple: Tuple {
            local: (to.into(), tcp.dst_port()),
            remote: (from.into(), tcp.src_port()),
        },
        opens: tcp.syn() && !tcp.ack() && !tcp.rst() && !tcp.fin(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_frame_makes_it_panic(mut frame in proptest::collection::vec(any::<u8>(), 0..120), kind in 0..5) {
            // Most frames shall get past the Ethernet header.
            if frame.len() > 24 {
                match kind {
                    0 => { frame[12..15].copy_from_slice(&[8, 0, 0x45]); frame[23] = 6; }
                    1 => { frame[12..15].copy_from_slice(&[0x86, 0xDD, 0x60]); frame[20] = 6; }
                    3 => {
                        frame[12..15].copy_from_slice(&[0x86, 0xDD, 0x60]);
                        frame[20] = 58;
                    }
                    2 => frame[12..14].copy_from_slice(&[8, 6]),
                    _ => {}
                }
            }
            for verdict in [Checksum::Good, Checksum::Unchecked, Checksum::BadIp] {
                read(&frame, verdict, EthernetAddress([2, 0, 0, 0, 0, 1]));
            }
        }
    }
}
