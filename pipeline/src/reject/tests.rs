// SPDX-License-Identifier: Apache-2.0 OR MIT
use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::testing::{ip_frame, l4, l4_sum, ones_sum, MACS};

const V4: (&str, &str) = ("10.0.0.1", "10.0.0.2");
const V6: (&str, &str) = ("2001:db8::1", "2001:db8::2");

fn ips((source, destination): (&str, &str)) -> (IpAddr, IpAddr) {
    (source.parse().unwrap(), destination.parse().unwrap())
}

/// Writes a transport checksum at `field`.
fn summed(of: (&str, &str), protocol: u8, mut packet: Vec<u8>, field: usize) -> Vec<u8> {
    let sum = match (protocol, of == V4) {
        (1, _) => ones_sum(&packet),
        _ => l4_sum(ips(of), protocol, &packet),
    };
    packet[field..field + 2].copy_from_slice(&(!sum).to_be_bytes());
    packet
}

fn tcp(of: (&str, &str), flags: u8, data: &[u8]) -> Vec<u8> {
    let mut segment = l4(6, 1000, 80, data);
    segment[13] = flags;
    ip_frame(ips(of), 6, &summed(of, 6, segment, 16))
}

fn udp(of: (&str, &str), data: &[u8]) -> Vec<u8> {
    ip_frame(ips(of), 17, &summed(of, 17, l4(17, 1000, 53, data), 6))
}

fn icmp(kind: u8) -> Vec<u8> {
    let message = vec![kind, 0, 0, 0, 0, 1, 0, 1, 9];
    ip_frame(ips(V4), 1, &summed(V4, 1, message, 2))
}

fn icmpv6(kind: u8) -> Vec<u8> {
    let message = vec![kind, 0, 0, 0, 0, 1, 0, 1, 9];
    ip_frame(ips(V6), 58, &summed(V6, 58, message, 2))
}

fn answered(frame: &[u8]) -> Result<Vec<u8>, Unanswered> {
    rejected(frame, Reason::Refused, "").map(|(_, out)| out)
}

/// The answer to a frame, from `source`, or from the frame's destination.
fn rejected(frame: &[u8], reason: Reason, source: &str) -> Result<(Answer, Vec<u8>), Unanswered> {
    let source = match source.parse() {
        Ok(IpAddr::V4(it)) => u32::from(it).into(),
        Ok(IpAddr::V6(it)) => it.into(),
        Err(_) => 0,
    };
    // It is written behind what is there.
    let mut out = vec![7];
    let rejection = Rejection { reason, source };
    let made = answer(frame, frame.len(), false, &rejection, &mut out)?;
    assert_eq!(out.remove(0), 7);
    Ok((made.answer, out))
}

const ROUTERS: (&str, &str) = ("192.0.2.9", "2001:db8:ffff::9");

#[test]
fn a_router_tells_that_hops_are_used_up_or_that_a_packet_is_too_big() {
    let mtu = Reason::TooBig(1450);
    for (frame, reason, answer, kind) in [
        (
            tcp(V4, 2, b""),
            Reason::HopsExceeded,
            Answer::HopsExceeded,
            [11, 0, 0, 0],
        ),
        (
            tcp(V4, 4, b""),
            Reason::HopsExceeded,
            Answer::HopsExceeded,
            [11, 0, 0, 0],
        ),
        (udp(V4, &[3; 1400]), mtu, Answer::TooBig, [3, 4, 5, 170]),
        (
            tcp(V6, 4, b""),
            Reason::HopsExceeded,
            Answer::HopsExceeded,
            [3, 0, 0, 0],
        ),
        (udp(V6, &[3; 1400]), mtu, Answer::TooBig, [2, 0, 5, 170]),
    ] {
        let is_v4 = frame[12] == 8;
        let (router, client) = if is_v4 {
            (ROUTERS.0, V4.0)
        } else {
            (ROUTERS.1, V6.0)
        };
        let (made_kind, made) = rejected(&frame, reason, router).unwrap();
        assert_eq!(made_kind, answer);
        let protocol = if is_v4 { 1 } else { 58 };
        // As the answer to a packet that was for the router.
        let message = transport(&made, (client, router), protocol);
        assert_eq!(message[..2], kind[..2]);
        assert_eq!(message[4..8], [0, 0, kind[2], kind[3]]);
        let quoted = message.len() - 8;
        assert_eq!(message[8..], frame[14..14 + quoted]);
        assert_eq!(
            quoted,
            (frame.len() - 14).min(if is_v4 { 548 } else { 1232 })
        );
    }
}

#[test]
fn a_router_looks_at_headers_only_and_has_an_address() {
    // A wrong checksum of the transport header is the receiver's affair, that of the IP header is not.
    let mut frame = udp(V4, b"data");
    frame[45] ^= 1;
    assert_eq!(answered(&frame), Err(Unanswered::Checksum));
    assert!(rejected(&frame, Reason::HopsExceeded, ROUTERS.0).is_ok());
    frame[22] ^= 1;
    let refused = rejected(&frame, Reason::HopsExceeded, ROUTERS.0);
    assert_eq!(refused, Err(Unanswered::Checksum));
    // Errors are not answered, whoever answers.
    for frame in [icmp(3), icmp(11), icmpv6(1), icmpv6(2), icmpv6(137)] {
        let refused = rejected(&frame, Reason::HopsExceeded, "");
        assert_eq!(refused, Err(Unanswered::Error));
    }
    // Its address is of the packet's family, and a host's.
    let (v4, v6) = (udp(V4, b""), udp(V6, b""));
    for (frame, source) in [
        (&v4, ROUTERS.1),
        (&v4, "127.0.0.1"),
        (&v6, "ff02::1"),
        (&v6, "::1"),
    ] {
        let refused = rejected(frame, Reason::HopsExceeded, source);
        assert_eq!(refused, Err(Unanswered::Address), "{source}");
    }
}

/// An answer's transport packet, after a check of what is in front of it.
fn transport(made: &[u8], of: (&str, &str), protocol: u8) -> Vec<u8> {
    let (source, destination) = ips(of);
    assert_eq!(made[..6], MACS[6..]);
    assert_eq!(made[6..12], MACS[..6]);
    let at = 14 + if source.is_ipv4() { 20 } else { 40 };
    let packet = made[at..].to_vec();
    let expected = ip_frame((destination, source), protocol, &packet);
    let addresses = if source.is_ipv4() { 26..34 } else { 22..54 };
    assert_eq!(made[addresses.clone()], expected[addresses]);
    if source.is_ipv4() {
        assert_eq!(ones_sum(&made[14..34]), 0xffff);
        assert_eq!(made[16..18], expected[16..18]);
        assert_eq!((made[22], made[23]), (64, protocol));
    } else {
        assert_eq!(made[18..22], expected[18..22]);
    }
    let sum = match protocol {
        1 => ones_sum(&packet),
        _ => l4_sum((destination, source), protocol, &packet),
    };
    assert_eq!(sum, 0xffff);
    packet
}

#[test]
fn a_segment_is_answered_with_a_reset() {
    for of in [V4, V6] {
        // Of a SYN and of one with data and FIN the reset acknowledges all; l4 has the sequence 1.
        for (flags, data, next) in [(2, &b""[..], 2), (0, b"abc", 4), (3, b"abc", 6)] {
            let made = answered(&tcp(of, flags, data)).unwrap();
            let segment = transport(&made, of, 6);
            assert_eq!(segment[..12], [0, 80, 3, 0xe8, 0, 0, 0, 0, 0, 0, 0, next]);
            assert_eq!(segment[12..16], [0x50, 0x14, 0, 0]);
        }
        // It has the sequence that the segment acknowledges.
        let made = answered(&tcp(of, 0x18, b"data")).unwrap();
        let segment = transport(&made, of, 6);
        assert_eq!(segment[4..14], [0, 0, 0, 2, 0, 0, 0, 0, 0x50, 4]);
        assert_eq!(answered(&tcp(of, 4, b"")), Err(Unanswered::Reset));
        assert_eq!(answered(&tcp(of, 0x14, b"")), Err(Unanswered::Reset));
    }
}

#[test]
fn another_packet_is_answered_with_an_error() {
    for (data, quoted) in [(0, 28), (100, 128), (520, 548), (1400, 548)] {
        let frame = udp(V4, &vec![3; data]);
        let message = transport(&answered(&frame).unwrap(), V4, 1);
        assert_eq!(
            (message[..2].to_vec(), message.len()),
            (vec![3, 3], 8 + quoted)
        );
        assert_eq!(message[8..], frame[14..14 + quoted]);
    }
    for (data, quoted) in [(0, 48), (1184, 1232), (1400, 1232)] {
        let frame = udp(V6, &vec![3; data]);
        let message = transport(&answered(&frame).unwrap(), V6, 58);
        assert_eq!(
            (message[..2].to_vec(), message.len()),
            (vec![1, 4], 8 + quoted)
        );
        assert_eq!(message[8..], frame[14..14 + quoted]);
    }
    // A protocol without ports, and padding, which is not quoted.
    let mut frame = ip_frame(ips(V4), 47, &[0; 4]);
    frame.extend([0; 22]);
    assert_eq!(transport(&answered(&frame).unwrap(), V4, 1).len(), 8 + 24);
}

#[test]
fn messages_of_icmp_are_answered_unless_they_are_errors() {
    for kind in [0, 8, 13, 14, 15, 16, 17, 18] {
        assert!(answered(&icmp(kind)).is_ok(), "{kind}");
    }
    // Errors, what was never assigned, advertisements of routers, and what Linux does not know.
    for kind in [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 19, 42, 255] {
        assert_eq!(answered(&icmp(kind)), Err(Unanswered::Error), "{kind}");
    }
    for kind in [128, 129, 150, 255] {
        assert!(answered(&icmpv6(kind)).is_ok(), "{kind}");
    }
    for kind in [1, 2, 3, 4, 127, 137] {
        assert_eq!(answered(&icmpv6(kind)), Err(Unanswered::Error), "{kind}");
    }
}

#[test]
fn extension_headers_hide_neither_errors_nor_resets() {
    let behind = |kind: u8, mut extension: Vec<u8>, mut frame: Vec<u8>| {
        extension[0] = std::mem::replace(&mut frame[20], kind);
        frame[19] += extension.len() as u8;
        frame.splice(54..54, extension);
        frame
    };
    let options = vec![0, 0, 1, 4, 0, 0, 0, 0];
    let authentication = vec![0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]
        .into_iter()
        .chain([0x5a; 12])
        .collect::<Vec<u8>>();
    for (kind, extension) in [(60, options), (51, authentication)] {
        let to = |frame| answered(&behind(kind, extension.clone(), frame));
        assert_eq!(to(icmpv6(1)), Err(Unanswered::Error), "behind {kind}");
        assert_eq!(to(icmpv6(137)), Err(Unanswered::Error), "behind {kind}");
        assert_eq!(to(tcp(V6, 4, b"")), Err(Unanswered::Reset), "behind {kind}");
        // A segment's answer is a reset, without the extension header.
        let made = to(tcp(V6, 2, b"")).unwrap();
        assert_eq!(transport(&made, V6, 6)[13], 0x14, "behind {kind}");
    }
}

#[test]
fn groups_and_what_is_no_host_are_not_answered() {
    let refused = Err(Unanswered::Address);
    for (source, destination) in [
        ("10.0.0.1", "224.0.0.1"),
        ("10.0.0.1", "255.255.255.255"),
        ("0.0.0.0", "10.0.0.2"),
        ("127.0.0.1", "10.0.0.2"),
        ("239.1.1.1", "10.0.0.2"),
        ("2001:db8::1", "ff02::1"),
        ("::", "2001:db8::2"),
        ("ff02::1", "2001:db8::2"),
    ] {
        assert_eq!(answered(&udp((source, destination), b"")), refused);
    }
    for (at, value) in [(0, 0xff), (0, 1), (6, 1)] {
        let mut frame = udp(V4, b"");
        frame[at] = value;
        assert_eq!(answered(&frame), refused);
    }
}

#[test]
fn wrong_checksums_are_not_answered() {
    for (mut frame, at) in [
        (udp(V4, b"data"), 45),
        (udp(V6, b"data"), 65),
        (tcp(V4, 2, b""), 40),
        (tcp(V6, 2, b""), 60),
        (icmp(8), 42),
        (icmpv6(128), 62),
        (udp(V4, b"data"), 22),
    ] {
        frame[at] ^= 0x40;
        assert_eq!(answered(&frame), Err(Unanswered::Checksum));
        // Those that are still to be computed are not looked at.
        let rejection = Rejection::default();
        assert!(answer(&frame, frame.len(), true, &rejection, &mut Vec::new()).is_ok());
    }
    // None was computed.
    let mut frame = udp(V4, b"data");
    frame[40..42].fill(0);
    assert!(answered(&frame).is_ok());
}

#[test]
fn of_fragments_only_a_first_one_that_can_be_verified_is_answered() {
    let fragment = |mut frame: Vec<u8>, bits: [u8; 2]| {
        frame[20..22].copy_from_slice(&bits);
        frame[24..26].fill(0);
        let check = !ones_sum(&frame[14..34]);
        frame[24..26].copy_from_slice(&check.to_be_bytes());
        answered(&frame)
    };
    let mut unsummed = udp(V4, b"data");
    unsummed[40..42].fill(0);
    assert!(fragment(unsummed.clone(), [0x20, 0]).is_ok());
    assert_eq!(fragment(unsummed, [0x20, 1]), Err(Unanswered::Fragment));
    assert_eq!(
        fragment(udp(V4, b"data"), [0, 1]),
        Err(Unanswered::Fragment)
    );
    assert_eq!(
        fragment(udp(V4, b"data"), [0x20, 0]),
        Err(Unanswered::Checksum)
    );
}

#[test]
fn tags_remain() {
    let mut frame = udp(V4, b"data");
    frame.splice(12..12, [0x88, 0xa8, 0, 5, 0x81, 0, 0x20, 9]);
    let made = answered(&frame).unwrap();
    assert_eq!(made[12..22], frame[12..22]);
    assert_eq!(made[22..24], [0x45, 0xc0]);
}

#[test]
fn what_is_no_packet_of_ip_is_not_answered() {
    let mut arp = udp(V4, b"");
    arp[12..14].copy_from_slice(&[8, 6]);
    let cut = |frame: Vec<u8>, len: usize| frame[..len].to_vec();
    for frame in [
        arp,
        vec![],
        cut(udp(V4, b"data"), 45),
        cut(tcp(V6, 2, b""), 60),
    ] {
        assert_eq!(answered(&frame), Err(Unanswered::NotIp));
    }
}

proptest! {
    /// An answer is never answered with an error or a reset again, and its length is limited.
    #[test]
    fn no_bytes_panic_and_answers_end(
        bytes in prop::collection::vec(any::<u8>(), 0..120),
        is_v6 in any::<bool>(), protocol in 0u8..64, verified in any::<bool>(), missing in 0usize..9,
    ) {
        let frame = ip_frame(ips(if is_v6 { V6 } else { V4 }), protocol, &bytes);
        for reason in [Reason::Refused, Reason::HopsExceeded, Reason::TooBig(1280)] {
            let rejection = Rejection { reason, source: 0 };
            let _ = answer(&bytes, bytes.len() + missing, verified, &rejection, &mut Vec::new());
            let mut made = Vec::new();
            if answer(&frame, frame.len(), verified, &rejection, &mut made).is_ok() {
                prop_assert!(made.len() <= 14 + 1280);
                let refused = Rejection::default();
                let again = answer(&made, made.len(), false, &refused, &mut Vec::new());
                prop_assert!(matches!(again, Err(Unanswered::Reset | Unanswered::Error)));
            }
        }
    }
}
