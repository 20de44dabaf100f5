// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The first packet of a client's connection.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};

use adit_node::model::Protocol;
use adit_pipeline::checksum::fill::{fill_ipv4, fill_l4};
use adit_pipeline::parse::Parsed;

/// The MAC address of a client that is no pod: a locally administered one, since a frame with a
/// neighbour's could be taken for it.
pub(super) const CLIENT: [u8; 6] = [0x02, 0xad, 0x17, 0xc1, 0x1e, 0x47];
/// The first of the ports that clients use (Linux's net.ipv4.ip_local_port_range).
const FIRST_PORT: u16 = 32768;
const NUM_PORTS: u64 = 28232;
/// The hops of a packet from its host.
const HOPS: u8 = 64;

fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// A port that a client may have.
pub(super) fn any_port() -> u16 {
    FIRST_PORT + (random() % NUM_PORTS) as u16
}

/// A frame between MAC addresses, with the first packet of a connection between sockets: a SYN, an
/// INIT, or a datagram without payload. The sockets are of one family.
pub(super) fn first(
    (from_mac, to_mac): ([u8; 6], [u8; 6]),
    (from, to): (SocketAddr, SocketAddr),
    protocol: Protocol,
) -> Vec<u8> {
    let segment = segment(from.port(), to.port(), protocol);
    let mut frame = [to_mac, from_mac].concat();
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let length = (20 + segment.len()) as u16;
            frame.extend([0x08, 0x00, 0x45, 0]);
            frame.extend(length.to_be_bytes());
            // Not to be fragmented.
            frame.extend([0, 0, 0x40, 0, HOPS, protocol.number(), 0, 0]);
            frame.extend([from.octets(), to.octets()].concat());
        }
        (from, to) => {
            let octets = |address: IpAddr| match address {
                IpAddr::V4(it) => it.to_ipv6_mapped().octets(),
                IpAddr::V6(it) => it.octets(),
            };
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((segment.len() as u16).to_be_bytes());
            frame.extend([protocol.number(), HOPS]);
            frame.extend([octets(from), octets(to)].concat());
        }
    }
    frame.extend(segment);
    if let Ok(parsed) = Parsed::new(&frame, frame.len()) {
        // Both succeed: the frame is whole. IPv6 has no checksum of its header.
        let _ = fill_ipv4(&mut frame, &parsed);
        let _ = fill_l4(&mut frame, &parsed);
    }
    frame
}

/// The transport header and what follows it, without a checksum.
fn segment(from: u16, to: u16, protocol: Protocol) -> Vec<u8> {
    let mut bytes = [from.to_be_bytes(), to.to_be_bytes()].concat();
    let number = (random() as u32).max(1).to_be_bytes();
    match protocol {
        // A SYN (RFC 9293, 3.1).
        Protocol::Tcp => {
            bytes.extend(number);
            bytes.extend([0, 0, 0, 0, 0x50, 0x02, 0xfa, 0xf0, 0, 0, 0, 0]);
        }
        Protocol::Udp => bytes.extend([0, 8, 0, 0]),
        // An INIT without a verification tag (RFC 9260, 3.3.2): tag, window, streams, first number.
        Protocol::Sctp => {
            bytes.extend([0; 8]);
            bytes.extend([1, 0, 0, 20]);
            bytes.extend(number);
            bytes.extend([0, 1, 0, 0, 0, 10, 0, 10]);
            bytes.extend(number);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use adit_pipeline::checksum::verify::{verify, Check};

    use super::*;

    #[test]
    fn packets_are_those_of_the_client_with_right_checksums() {
        let v4 = ["10.244.0.7:40000", "10.96.0.1:80"];
        let v6 = ["[fd00::7]:40000", "[fd00:96::1]:80"];
        for sockets in [v4, v6] {
            let [from, to] = sockets.map(|it| it.parse::<SocketAddr>().expect("a socket"));
            for protocol in Protocol::ALL {
                let frame = first((CLIENT, [2, 0, 0, 0, 0, 1]), (from, to), protocol);
                let parsed = Parsed::new(&frame, frame.len()).expect("a frame");
                assert_eq!(parsed.defect, None, "{protocol} {from}");
                let verdict = verify(&parsed, &[&frame]);
                assert_eq!(verdict.l4, Check::Ok, "{protocol} {from}");
                assert_ne!(verdict.ip, Check::Bad, "{protocol} {from}");
                let text = crate::trace::text::flow(&frame, frame.len());
                let flags = if protocol == Protocol::Tcp {
                    " [syn]"
                } else {
                    ""
                };
                let name = protocol.to_string().to_lowercase();
                assert_eq!(text, format!("{from} > {to} {name}{flags}"));
            }
        }
        assert!((0..100).all(|_| (32768..61000).contains(&any_port())));
    }
}
