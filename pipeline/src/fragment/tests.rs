// SPDX-License-Identifier: Apache-2.0 OR MIT
use adit_conntrack::testing::{split, V4, V6};
use adit_conntrack::{Datagram, FragmentLimits, Reassembly, Time, Zone};
use proptest::prelude::*;

use super::*;

const ETHERNET_V4: [u8; 14] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
const ETHERNET_V6: [u8; 14] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd];

/// A frame with an IP packet.
fn frame(packet: &[u8]) -> Vec<u8> {
    let ethernet = match packet[0] >> 4 {
        4 => ETHERNET_V4,
        _ => ETHERNET_V6,
    };
    [&ethernet[..], packet].concat()
}

/// The fragments of a frame.
fn divided(frame: &[u8], division: impl Into<Division>) -> Option<Vec<Vec<u8>>> {
    let mut fragmenter = Fragmenter::new(frame, division.into())?;
    let mut out = vec![0; 70_000];
    let next = || {
        fragmenter
            .next_into(&mut out)
            .map(|len| out[..len].to_vec())
    };
    Some(std::iter::from_fn(next).collect())
}

/// Puts the fragments in frames together again.
fn united(frames: &[Vec<u8>]) -> Option<Datagram> {
    let mut store = adit_conntrack::Fragments::new(FragmentLimits {
        fragments: 10_000,
        ..FragmentLimits::default()
    });
    let mut whole = None;
    for frame in frames {
        assert!(is_fragment(frame));
        let inserted = store.insert(&frame[14..], Zone::DEFAULT, Time::from_secs(1));
        if let Reassembly::Complete(datagram) = inserted.unwrap() {
            whole = Some(datagram);
        }
    }
    whole
}

proptest! {
    #[test]
    fn fragments_make_the_datagram_again(
        is_v4 in any::<bool>(), payload in prop::collection::vec(any::<u8>(), 20..4000),
        largest in 0u16..1600, padding in 0usize..9,
    ) {
        let packet = if is_v4 { V4 } else { V6 }.udp(&payload);
        let mut whole = frame(&packet);
        whole.extend(vec![0; padding]);
        let frames = divided(&whole, Fragments { largest, id: 9 });
        prop_assert_eq!(frames.is_none(), packet.len() <= usize::from(largest));
        let Some(frames) = frames else { return Ok(()) };
        let least = if is_v4 { 28 } else { 56 };
        for frame in &frames {
            prop_assert!(frame.len() - 14 <= usize::from(largest).max(least));
        }
        let datagram = united(&frames).unwrap();
        prop_assert_eq!(datagram.packet(), &packet[..]);
    }

    /// Fragments are those that the datagram came in, if they were of one size. A whole datagram of IPv6 has no
    /// fragment header, so that one may fit where its fragments were two.
    #[test]
    fn fragments_are_those_that_came(
        is_v4 in any::<bool>(), payload in prop::collection::vec(any::<u8>(), 60..4000),
        size in 1usize..200,
    ) {
        let packet = if is_v4 { V4 } else { V6 }.udp(&payload);
        let sent: Vec<_> = split(&packet, size * 8).iter().map(|p| frame(p)).collect();
        prop_assume!(sent.len() > 1 && sent.len() < 10_000);
        let datagram = united(&sent).unwrap();
        let fragments = Fragments {
            largest: datagram.largest() as u16,
            id: datagram.id(),
        };
        let expected = (packet.len() > datagram.largest()).then_some(sent);
        prop_assert_eq!(divided(&frame(datagram.packet()), fragments), expected);
    }

    #[test]
    fn no_bytes_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0usize..4,
        next in any::<u8>(), largest in 0u16..150, offset in 0u16..200,
    ) {
        let mut bytes = bytes;
        if let Some(front) = bytes.get_mut(12..21) {
            let kinds = [[8, 0, 0x45], [8, 0, 0x4f], [0x86, 0xdd, 0x60], [0x81, 0, 0]];
            front[..3].copy_from_slice(&kinds[kind]);
            front[8] = [0, 43, 44, 60, next][usize::from(next) % 5];
        }
        is_fragment(&bytes);
        let came = Fragments { largest, id: 1 };
        let _ = divided(&bytes, came);
        let asked = Fragmentation { mtu: largest, offset };
        let _ = divided(&bytes, Division::new(Some(asked), Some(came)).unwrap());
    }
}

/// The outer headers of a tunnel over UDP in front of a frame, with or without a checksum.
fn encapsulated(flow: adit_conntrack::testing::Flow, inner: &[u8], has_checksum: bool) -> Vec<u8> {
    let flow = adit_conntrack::testing::Flow {
        dst_port: 4789,
        ..flow
    };
    let mut packet = flow.udp(&[&[8, 0, 0, 0, 0, 0, 7, 0], inner].concat());
    let udp = packet.len() - inner.len() - 16;
    if !has_checksum {
        packet[udp + 6..udp + 8].fill(0);
    }
    frame(&packet)
}

/// The sum of an outer UDP header that has one is over the final destination, of which the outer IPv6
/// header says nothing: fragments would have a wrong one.
#[test]
fn a_datagram_in_a_rerouted_tunnel_is_not_divided() {
    let inner = frame(&V4.udp(&[0; 400]));
    for (segments_left, has_checksum) in [(0, true), (1, true), (1, false)] {
        let mut outer = encapsulated(V6, &inner, has_checksum);
        let at = outer.len() - inner.len() + 14;
        outer[20] = proto::ROUTING;
        outer[19] += 8;
        outer.splice(54..54, [proto::UDP, 0, 4, segments_left, 0, 0, 0, 0]);
        let is_divided = divided(&outer, asked(200, at + 8)).is_some();
        assert_eq!(is_divided, segments_left == 0 || !has_checksum);
    }
}

fn asked(mtu: u16, offset: usize) -> Division {
    let offset = offset as u16;
    let asked = Fragmentation { mtu, offset };
    Division::new(Some(asked), None).expect("a division")
}

#[test]
fn a_datagram_in_a_tunnel_is_divided_in_there() {
    let inner = frame(&V4.udp(&[7; 1000]));
    for (flow, has_checksum) in [(V4, false), (V4, true), (V6, false), (V6, true)] {
        let whole = encapsulated(flow, &inner, has_checksum);
        let at = whole.len() - inner.len();
        let frames = divided(&whole, asked(600, at + 14)).unwrap();
        assert_eq!(frames.len(), 2);
        for fragment in &frames {
            let p = Parsed::new(fragment, fragment.len()).unwrap();
            assert_eq!((p.defect, p.l3_end()), (None, fragment.len()));
            let udp = usize::from(p.l4_offset);
            assert_eq!(be16(fragment, udp + 4), Some((fragment.len() - udp) as u16));
            assert_eq!(be16(fragment, udp + 6) != Some(0), has_checksum);
            let verdict = crate::checksum::verify::verify(&p, &[fragment]);
            assert_ne!(verdict.ip, crate::checksum::verify::Check::Bad);
            if has_checksum {
                assert_eq!(verdict.l4, crate::checksum::verify::Check::Ok);
            }
            assert_eq!(fragment[..14], whole[..14]);
        }
        let inside: Vec<_> = frames.iter().map(|it| it[at..].to_vec()).collect();
        assert_eq!(united(&inside).unwrap().packet(), &inner[14..]);
    }
}

#[test]
fn the_last_fragment_need_not_be_a_multiple_of_eight() {
    // 1,380 bytes beside a header; the payload of the others is 1,376.
    let lengths = |payload: usize| {
        let frames = divided(&frame(&V4.udp(&vec![1; payload - 8])), asked(1400, 14));
        let payload = |it: Vec<u8>| it.len() - 34;
        frames.map(|all| all.into_iter().map(payload).collect::<Vec<_>>())
    };
    assert_eq!(lengths(1380), None);
    assert_eq!(lengths(1381), Some(vec![1376, 5]));
    assert_eq!(lengths(1376 + 1380), Some(vec![1376, 1380]));
    assert_eq!(lengths(1376 + 1381), Some(vec![1376, 1376, 5]));
}

#[test]
fn fragments_are_no_larger_than_the_next_hop_takes_and_than_they_came() {
    let came = |largest| Some(Fragments { largest, id: 9 });
    let to = |mtu| Some(Fragmentation { mtu, offset: 14 });
    let whole = frame(&V6.udp(&[1; 3000]));
    let largest = |asked, came| {
        let frames = divided(&whole, Division::new(asked, came)?)?;
        frames.iter().map(|it| it.len() - 14).max()
    };
    assert_eq!(largest(to(1400), came(1304)), Some(1304));
    assert_eq!(largest(to(1304), came(1400)), Some(1304));
    assert_eq!(largest(None, came(1304)), Some(1304));
    // No router divides what came whole.
    assert_eq!(largest(to(1400), None), None);
    assert_eq!(Division::new(None, None), None);
    // An offset that no IP header is behind.
    for offset in [0, 13, 15, 18, 3100] {
        let asked = Fragmentation { mtu: 600, offset };
        let division = Division::new(Some(asked), came(600)).unwrap();
        assert!(divided(&whole, division).is_none(), "{offset}");
    }
}

#[test]
fn no_fragments_below_the_least_mtu_are_asked_for() {
    let whole = frame(&V4.udp(&[1; 3000]));
    for mtu in [0, 20, 28, 67, 68] {
        let frames = divided(&whole, asked(mtu, 14)).unwrap();
        let lengths: Vec<_> = frames.iter().map(|it| it.len() - 14).collect();
        assert_eq!(lengths[..2], [68, 68], "{mtu}");
        // Those that came smaller leave so.
        let asked = Some(Fragmentation { mtu, offset: 14 });
        let came = Fragments { largest: 36, id: 9 };
        let frames = divided(&whole, Division::new(asked, Some(came)).unwrap()).unwrap();
        assert_eq!(frames[0].len() - 14, 36, "{mtu}");
    }
}

#[test]
fn options_are_in_each_fragment_if_they_are_to_be() {
    let mut packet = V4.udp(&[1; 100]);
    // Record route (7), router alert (148, copied), and the end of the list.
    packet.splice(20..20, [7, 3, 4, 148, 4, 0, 0, 0]);
    packet[0] = 0x47;
    packet[3] += 8;
    packet[6] = 0x40;
    let frames = divided(&frame(&packet), Fragments { largest: 76, id: 0 }).unwrap();
    assert_eq!(frames.len(), 3);
    for (number, fragment) in frames.iter().enumerate() {
        let first = [7, 3, 4, 148, 4, 0, 0, 0];
        let later = [1, 1, 1, 148, 4, 0, 0, 0];
        assert_eq!(fragment[34..42], if number == 0 { first } else { later });
        assert_eq!(fragment[20], if number == 2 { 0x40 } else { 0x60 });
        assert_eq!(checksum(&fragment[14..42]), 0);
    }
    assert_eq!(frames[1][14 + 3], 28 + 48);
}

#[test]
fn extension_headers_stay_in_front_of_the_fragment_header() {
    let mut packet = V6.udp(&[1; 100]);
    // Hop-by-hop options and destination options; the latter are part of the payload.
    packet.splice(40..40, [60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0]);
    packet[6] = 0;
    packet[5] += 16;
    let frames = divided(
        &frame(&packet),
        Fragments {
            largest: 104,
            id: 7,
        },
    )
    .unwrap();
    for fragment in &frames {
        assert_eq!((fragment[20], fragment[54]), (0, 44));
        assert_eq!((fragment[62], &fragment[66..70]), (60, &[0, 0, 0, 7][..]));
    }
    assert_eq!(united(&frames).unwrap().packet(), &packet[..]);
}

#[test]
fn what_is_in_front_of_a_fragment_header_does_not_hide_it() {
    // The first bytes of each: the kind of the next header, and its own length.
    for (kind, length, bytes) in [
        (proto::HOP_BY_HOP, 0, 8),
        (proto::ROUTING, 2, 24),
        (proto::DEST_OPTIONS, 0, 8),
        (proto::AUTHENTICATION, 1, 12),
    ] {
        for (next, is_one) in [(proto::FRAGMENT, true), (proto::UDP, false)] {
            let mut packet = V6.udp(&[1; 100]);
            let mut front = vec![0; bytes];
            front[..2].copy_from_slice(&[next, length]);
            front.extend([proto::UDP, 0, 0, 1, 0, 0, 0, 7]);
            packet[5] += front.len() as u8;
            packet[6] = kind;
            packet.splice(40..40, front);
            assert_eq!(is_fragment(&frame(&packet)), is_one, "{kind} {next}");
        }
    }
}

#[test]
fn what_is_whole_is_no_fragment() {
    for flow in [V4, V6] {
        let whole = frame(&flow.udp(&[0; 100]));
        assert!(!is_fragment(&whole));
        let mut tagged = frame(&split(&flow.udp(&[0; 100]), 64)[1]);
        assert_eq!(divided(&tagged, Fragments { largest: 30, id: 0 }), None);
        tagged.splice(12..12, [0x81, 0, 0, 5]);
        assert!(is_fragment(&tagged));
    }
    let arp = [&ETHERNET_V4[..12], &[8, 6], &[0; 28]].concat();
    assert!(!is_fragment(&arp) && divided(&arp, Fragments { largest: 1, id: 0 }).is_none());
}
