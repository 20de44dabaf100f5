// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Verification of received frames and computation for sent frames, against sums by definition.

use super::fill::{complete_partial, fill_ipv4, fill_l4, FillError};
use super::verify::{verify, Check, Verdict};
use super::{checksum, update, Sum};
use crate::headers::proto;
use crate::parse::Parsed;
use crate::testing::{ip_frame, l4, l4_sum, ones_sum};
use proptest::prelude::*;
use std::net::IpAddr;

fn v4() -> (IpAddr, IpAddr) {
    (
        "192.0.2.1".parse().unwrap(),
        "198.51.100.7".parse().unwrap(),
    )
}

fn v6() -> (IpAddr, IpAddr) {
    (
        "2001:db8::1".parse().unwrap(),
        "2001:db8:0:ff::7".parse().unwrap(),
    )
}

fn judge(frame: &[u8]) -> Verdict {
    verify(&Parsed::new(frame, frame.len()).unwrap(), &[frame])
}

/// An ICMP echo as Linux sends it: its header checksum is correct, its transport is not checked.
#[test]
fn icmp_is_left_alone() {
    let frame = ip_frame(v4(), proto::ICMP, &[8, 0, 0xf7, 0xfe, 0, 1, 0, 0]);
    assert_eq!(
        judge(&frame),
        Verdict {
            ip: Check::Ok,
            l4: Check::Unchecked
        }
    );
}

#[test]
fn udp_without_a_checksum() {
    let packet = l4(proto::UDP, 1, 2, b"data");
    let v4 = ip_frame(v4(), proto::UDP, &packet);
    assert_eq!(judge(&v4).l4, Check::NotPresent);
    let v6 = ip_frame(v6(), proto::UDP, &packet);
    assert_eq!(
        judge(&v6),
        Verdict {
            ip: Check::NotPresent,
            l4: Check::Bad
        }
    );
}

#[test]
fn fragments_are_not_judged() {
    let mut frame = ip_frame(v4(), proto::TCP, &l4(proto::TCP, 1, 2, b"data"));
    frame[20] = 0x20;
    assert_eq!(
        judge(&frame),
        Verdict {
            ip: Check::Bad,
            l4: Check::Unchecked
        }
    );
    let p = Parsed::new(&frame, frame.len()).unwrap();
    assert_eq!(fill_l4(&mut frame, &p), Err(FillError::Fragment));
    fill_ipv4(&mut frame, &p).unwrap();
    assert_eq!(judge(&frame).ip, Check::Ok);
}

#[test]
fn what_is_rerouted_is_not_filled() {
    // A routing header with a segment left: the pseudo header has another destination.
    for protocol in [proto::TCP, proto::UDP, proto::SCTP] {
        let mut packet = vec![protocol, 0, 4, 1, 0, 0, 0, 0];
        packet.extend(l4(protocol, 1, 2, b"data"));
        let mut frame = ip_frame(v6(), proto::ROUTING, &packet);
        let p = Parsed::new(&frame, frame.len()).unwrap();
        let before = frame.clone();
        let filled = fill_l4(&mut frame, &p);
        // SCTP's covers no addresses.
        let expected = match protocol {
            proto::SCTP => Ok(()),
            _ => Err(FillError::Rerouted),
        };
        assert_eq!(filled, expected);
        assert_eq!(frame == before, filled.is_err());
    }
}

#[test]
fn lengths_that_lie_are_not_judged() {
    let mut frame = ip_frame(v4(), proto::TCP, &l4(proto::TCP, 1, 2, b"data"));
    frame.pop();
    assert_eq!(judge(&frame).l4, Check::Unchecked);
    let mut frame = ip_frame(v4(), proto::UDP, &l4(proto::UDP, 1, 2, b"data"));
    frame[39] = 200; // UDP length
    frame[40] = 1; // a checksum
    assert_eq!(judge(&frame).l4, Check::Unchecked);
    let p = Parsed::new(&frame, frame.len()).unwrap();
    assert_eq!(
        fill_l4(&mut frame, &p),
        Err(FillError::Length {
            stated: 200,
            room: 12
        })
    );
}

#[test]
fn ethernet_padding_is_not_summed() {
    let mut frame = ip_frame(v4(), proto::TCP, &l4(proto::TCP, 1, 2, b"x"));
    frame.extend([0xaa; 5]);
    let p = Parsed::new(&frame, frame.len()).unwrap();
    fill_l4(&mut frame, &p).unwrap();
    assert_eq!(l4_sum(v4(), proto::TCP, &frame[34..55]), 0xffff);
    assert_eq!(
        judge(&frame),
        Verdict {
            ip: Check::Ok,
            l4: Check::Ok
        }
    );
}

/// The pseudo header's destination is not the IPv6 header's if there is a routing header (RFC 8200,
/// 8.1).
#[test]
fn packets_under_way_through_a_routing_header_are_not_judged() {
    for kind in [proto::TCP, proto::UDP] {
        let packet = |segments_left| {
            let mut b = vec![kind, 0, 4, segments_left, 0, 0, 0, 0];
            b.extend(l4(kind, 1, 2, b"data"));
            *b.get_mut(if kind == proto::TCP { 24 } else { 14 }).unwrap() = 0x55;
            judge(&ip_frame(v6(), proto::ROUTING, &b)).l4
        };
        assert_eq!(packet(0), Check::Bad);
        assert_eq!(packet(1), Check::Unchecked);
    }
}

/// RFC 768: a checksum computed as zero is sent as all ones.
#[test]
fn zero_is_sent_as_all_ones() {
    let mut packet = l4(proto::UDP, 7, 9, &[0, 0]);
    let rest = !l4_sum(v4(), proto::UDP, &packet);
    packet[8..].copy_from_slice(&rest.to_be_bytes());
    let mut frame = ip_frame(v4(), proto::UDP, &packet);
    let p = Parsed::new(&frame, frame.len()).unwrap();
    fill_l4(&mut frame, &p).unwrap();
    assert_eq!(frame[40..42], [0xff, 0xff]);
    assert_eq!(judge(&frame).l4, Check::Ok);
    let mut bytes = [0xff, 0xff, 0, 0];
    complete_partial(&mut bytes, 0, 2).unwrap();
    assert_eq!(bytes, [0xff; 4]);
}

/// CRC-32C of the nine digits is 0xe3069283 (RFC 3720's check value for the polynomial).
#[test]
fn crc32c_check_value() {
    assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
}

#[test]
fn partial_refuses_to_leave_the_frame() {
    let mut frame = [0; 20];
    assert!(complete_partial(&mut frame, 10, 8).is_ok());
    for (start, offset) in [(10, 9), (20, 0), (21, 0), (u16::MAX, u16::MAX)] {
        let e = complete_partial(&mut frame, start, offset).unwrap_err();
        assert!(matches!(e, FillError::OutOfFrame { len: 20, .. }), "{e}");
    }
}

proptest! {
    /// Fills, compares with the definition, verifies in pieces, flips one bit, verifies again.
    #[test]
    fn filled_frames_are_right(
        data in proptest::collection::vec(any::<u8>(), 0..3000),
        is_v6 in any::<bool>(),
        kind in proptest::sample::select(vec![proto::TCP, proto::UDP, proto::SCTP]),
        garbage in any::<u8>(),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..4),
        flip in any::<proptest::sample::Index>(),
    ) {
        let ips = if is_v6 { v6() } else { v4() };
        let mut frame = ip_frame(ips, kind, &l4(kind, 1000, 53, &data));
        let p = Parsed::new(&frame, frame.len()).unwrap();
        let at = usize::from(p.l4_offset);
        let field = match kind { proto::TCP => 16, proto::UDP => 6, _ => 8 };
        frame[at + field] = garbage;
        fill_l4(&mut frame, &p).unwrap();
        if kind != proto::SCTP {
            prop_assert_eq!(l4_sum(ips, kind, &frame[at..]), 0xffff);
        }
        // The first piece holds the headers, as it does in the NIC.
        let front = at + 20;
        let mut ends: Vec<usize> =
            cuts.iter().map(|c| c.index(frame.len() + 1).max(front).min(frame.len())).collect();
        ends.push(frame.len());
        ends.sort_unstable();
        let pieces = |frame: &[u8]| {
            let mut start = 0;
            let slices: Vec<&[u8]> = ends
                .iter()
                .map(|e| &frame[std::mem::replace(&mut start, *e)..*e])
                .collect();
            verify(&p, &slices)
        };
        let ip = if is_v6 { Check::NotPresent } else { Check::Ok };
        prop_assert_eq!(pieces(&frame), Verdict { ip, l4: Check::Ok });
        if !data.is_empty() {
            let n = frame.len() - 1 - flip.index(data.len());
            frame[n] ^= 0x10;
            prop_assert_eq!(pieces(&frame).l4, Check::Bad);
        }
    }

    /// A partial checksum as the kernel requests it: the field holds the pseudo-header sum.
    #[test]
    fn partial_is_finished(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut packet = l4(proto::UDP, 7, 9, &data);
        let pseudo = l4_sum(v4(), proto::UDP, &[]);
        let pseudo = u32::from(pseudo) + packet.len() as u32;
        let pseudo = (pseudo & 0xffff) + (pseudo >> 16);
        packet[6..8].copy_from_slice(&(pseudo as u16).to_be_bytes());
        let mut frame = ip_frame(v4(), proto::UDP, &packet);
        complete_partial(&mut frame, 34, 6).unwrap();
        prop_assert_eq!(l4_sum(v4(), proto::UDP, &frame[34..]), 0xffff);
        prop_assert_ne!(ones_sum(&frame[40..42]), 0);
        prop_assert_eq!(judge(&frame).l4, Check::Ok);
    }
}

/// RFC 1071, section 3: the example's sum is 0xddf2.
#[test]
fn rfc_1071_example() {
    let mut sum = Sum::new();
    sum.add(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
    assert_eq!(sum.folded(), 0xddf2);
}

/// RFC 1624, section 4: 0xdd2f with 0x5555 changed to 0x3285 becomes 0x0000.
#[test]
fn rfc_1624_example() {
    assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
}

proptest! {
    #[test]
    fn same_as_naive_however_it_is_cut(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
    ) {
        let mut at: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let mut sum = Sum::new();
        for w in at.windows(2) {
            sum.add(&bytes[w[0]..w[1]]);
        }
        prop_assert_eq!(sum.checksum(), !ones_sum(&bytes));
        prop_assert_eq!(checksum(&bytes), !ones_sum(&bytes));
    }

    #[test]
    fn update_is_recomputing(
        mut bytes in proptest::collection::vec(any::<u8>(), 4..64),
        new in any::<u16>(),
    ) {
        bytes[2] |= 1; // all-zero data has two representations of zero
        let before = checksum(&bytes);
        let old = u16::from_be_bytes([bytes[0], bytes[1]]);
        bytes[..2].copy_from_slice(&new.to_be_bytes());
        prop_assert_eq!(update(before, old, new), checksum(&bytes));
    }
}
