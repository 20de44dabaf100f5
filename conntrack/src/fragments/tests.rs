// SPDX-License-Identifier: Apache-2.0 OR MIT
use proptest::prelude::*;

use super::*;
use crate::bits::CtState;
use crate::hash::Seed;
use crate::nat::{Nat, NatRange, Translation};
use crate::settings::Settings;
use crate::testing::{fill_checksums, split, Flow, V4, V6};
use crate::tracker::{Commit, Input, Tracker};

const NOW: Time = Time::from_secs(1000);

fn fragments() -> Fragments {
    Fragments::new(FragmentLimits::default())
}

fn insert(fragments: &mut Fragments, packet: &[u8]) -> Option<Datagram> {
    match fragments.insert(packet, Zone::DEFAULT, NOW).unwrap() {
        Reassembly::Complete(datagram) => Some(datagram),
        Reassembly::Kept => None,
        Reassembly::Whole => panic!("not a fragment"),
    }
}

fn written(datagram: &Datagram) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let mut all = Vec::new();
    for number in 0..datagram.fragments() {
        datagram.write_fragment(number, &mut out);
        all.push(out.clone());
    }
    all
}

proptest! {
    #[test]
    fn fragments_come_in_every_order(
        is_v4 in any::<bool>(),
        payload in proptest::collection::vec(any::<u8>(), 40..400),
        size in 1usize..6,
        order in any::<u64>(),
    ) {
        let whole = if is_v4 { V4 } else { V6 }.udp(&payload);
        let sent = split(&whole, size * 8);
        let mut shuffled: Vec<_> = sent.iter().collect();
        let mut state = order | 1;
        for at in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(at, (state >> 33) as usize % (at + 1));
        }
        let mut fragments = fragments();
        for (number, fragment) in shuffled.iter().enumerate() {
            match insert(&mut fragments, fragment) {
                Some(datagram) => {
                    prop_assert_eq!(number, sent.len() - 1);
                    prop_assert_eq!(datagram.packet(), &whole[..]);
                    prop_assert_eq!(written(&datagram), sent.clone());
                }
                None => prop_assert!(number < sent.len() - 1),
            }
            // Repetitions do no harm.
            prop_assert!(number == sent.len() - 1 || insert(&mut fragments, fragment).is_none());
        }
        prop_assert_eq!((fragments.len(), fragments.bytes()), (0, 0));
    }

    #[test]
    fn no_octets_panic(packets in proptest::collection::vec(
        (any::<bool>(), proptest::collection::vec(any::<u8>(), 40..80)), 1..40,
    )) {
        let limits = FragmentLimits { datagrams: 4, bytes: 200, fragments: 3, ..FragmentLimits::default() };
        let mut fragments = Fragments::new(limits);
        for (is_v4, mut packet) in packets {
            let length = packet.len() as u16;
            if is_v4 {
                packet[0] = 0x45;
                packet[2..4].copy_from_slice(&length.to_be_bytes());
                packet[6] &= 0x20;
                packet[12..20].fill(1);
                fill_header(&mut packet);
            } else {
                packet[0] = 0x60;
                packet[4..6].copy_from_slice(&(length - 40).to_be_bytes());
                packet[6] = 44;
                packet[8..40].fill(1);
            }
            let _ = fragments.insert(&packet, Zone::DEFAULT, NOW);
            prop_assert!(fragments.len() <= 4 && fragments.bytes() <= 200);
        }
    }
}

#[test]
fn fragments_are_translated_once() {
    for (flow, address) in [(V4, "192.0.2.1"), (V6, "2001:db8::1")] {
        let tracker = Tracker::new(16, Seed::new([1; 16]), Settings::default());
        let address = address.parse().unwrap();
        let range = NatRange::to_address(address).with_ports(7000, 7000);
        let commit = Commit {
            nat: Some(Nat {
                source: Some(range),
                destination: None,
            }),
            ..Commit::default()
        };
        let payload: Vec<u8> = (0..=255).collect();
        let mut fragments = fragments();
        let mut sent = split(&flow.udp(&payload), 64);
        sent.reverse();
        let mut datagram = sent
            .iter()
            .find_map(|fragment| insert(&mut fragments, fragment))
            .unwrap();
        let packet = datagram.packet().to_vec();
        let input = Input::new(&packet);
        let mut tracked = tracker.track(&input, NOW);
        assert_eq!(tracked.state(), CtState::TRACKED | CtState::NEW);
        tracker.commit(&mut tracked, &input, &commit, NOW).unwrap();
        assert_eq!(
            tracker.translate(&tracked, &mut datagram),
            Translation::Rewritten
        );
        let translated = Flow {
            src: address,
            src_port: 7000,
            ..flow
        }
        .udp(&payload);
        let mut again = translated.clone();
        fill_checksums(&mut again);
        assert_eq!(again, translated);
        assert_eq!(datagram.packet(), &translated[..]);
        assert_eq!(written(&datagram), split(&translated, 64));
    }
}

#[test]
fn a_fragment_alone_is_not_tracked() {
    let tracker = Tracker::new(16, Seed::new([1; 16]), Settings::default());
    for fragment in split(&V4.udp(&[0; 100]), 64) {
        let reason = tracker.track(&Input::new(&fragment), NOW).invalid_reason();
        assert_eq!(reason, Some(crate::Invalid::Malformed(Malformed::Fragment)));
    }
}

#[test]
fn overlaps_spoil_a_datagram() {
    let mut fragments = fragments();
    let sent = split(&V4.udp(&[0; 100]), 64);
    assert!(insert(&mut fragments, &sent[0]).is_none());
    let mut overlap = split(&V4.udp(&[0; 100]), 32).remove(1);
    overlap[3] += 8;
    overlap.extend([0; 8]);
    overlap[7] += 1;
    overlap[7] += 1;
    fill_header(&mut overlap);
    assert!(insert(&mut fragments, &overlap).is_none());
    assert_eq!(
        (fragments.statistics().inconsistent, fragments.len()),
        (1, 0)
    );
    assert!(insert(&mut fragments, &sent[1]).is_none());
}

fn fill_header(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let sum = crate::checksum::Sum::default()
        .bytes(&packet[..20])
        .checksum();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// A fragment whose payload is no multiple of eight bytes is shortened, and leaves with that length.
#[test]
fn a_shortened_fragment_has_its_length() {
    let mut fragments = fragments();
    let whole = V4.udp(&[7; 56]);
    let mut sent = split(&whole, 32);
    let expected = sent.clone();
    sent[0].extend([9; 5]);
    sent[0][3] += 5;
    fill_header(&mut sent[0]);
    assert!(insert(&mut fragments, &sent[0]).is_none());
    let datagram = insert(&mut fragments, &sent[1]).unwrap();
    assert_eq!(datagram.packet(), &whole[..]);
    assert_eq!(written(&datagram), expected);
}

/// Each fragment is short enough for its own header, but not for the first one's options.
#[test]
fn a_datagram_that_is_too_long_with_its_options_is_dropped() {
    let mut fragments = fragments();
    let mut packet = V4.udp(&vec![0; 65_535 - 20 - 8]);
    packet[2..4].copy_from_slice(&[0xff, 0xff]);
    let mut sent = split(&packet, 32_000);
    let first = &mut sent[0];
    // No operation, 40 times.
    first.splice(20..20, [1; 40]);
    first[0] = 0x4f;
    let length = (first.len() as u16).to_be_bytes();
    first[2..4].copy_from_slice(&length);
    first[10..12].fill(0);
    let sum = crate::checksum::Sum::default()
        .bytes(&first[..60])
        .checksum();
    first[10..12].copy_from_slice(&sum.to_be_bytes());
    for fragment in &sent {
        assert!(insert(&mut fragments, fragment).is_none());
    }
    let statistics = fragments.statistics();
    assert_eq!((statistics.complete, statistics.malformed), (0, 1));
    assert!(fragments.is_empty());
}

#[test]
fn the_oldest_goes_first() {
    let limits = FragmentLimits {
        datagrams: 2,
        ..FragmentLimits::default()
    };
    let mut fragments = Fragments::new(limits);
    let of = |id: u8| {
        let mut packet = V4.udp(&[0; 100]);
        packet[5] = id;
        split(&packet, 64)
    };
    for id in 1..=3 {
        assert!(insert(&mut fragments, &of(id)[0]).is_none());
    }
    assert_eq!((fragments.len(), fragments.statistics().evicted), (2, 1));
    assert!(insert(&mut fragments, &of(3)[1]).is_some());
    assert!(insert(&mut fragments, &of(2)[1]).is_some());
    assert!(insert(&mut fragments, &of(1)[1]).is_none());
    fragments.expire(NOW + Duration::from_secs(30));
    assert_eq!((fragments.len(), fragments.statistics().timed_out), (0, 1));
}

fn of_port(fragments: &mut Fragments, packet: &[u8], port: u32) -> Option<Datagram> {
    let origin = Origin { port, network: 0 };
    match fragments.insert_from(packet, origin, NOW).unwrap() {
        Reassembly::Complete(datagram) => Some(datagram),
        _ => None,
    }
}

/// A port or source that has more than its share loses its own oldest, not those of others.
#[test]
fn shares_are_kept() {
    let share = |datagrams, bytes| Share { datagrams, bytes };
    let limits = FragmentLimits {
        of_port: share(8, 1 << 20),
        of_source: share(4, 1 << 20),
        ..FragmentLimits::default()
    };
    let of = |source: u8, id: u8| {
        let mut packet = V4.udp(&[0; 100]);
        packet[15] = source;
        packet[5] = id;
        fill_checksums(&mut packet);
        split(&packet, 64)
    };
    let mut fragments = Fragments::new(limits);
    of_port(&mut fragments, &of(1, 0)[0], 7);
    of_port(&mut fragments, &of(9, 0)[0], 8);
    for id in 0..20 {
        of_port(&mut fragments, &of(2, id)[0], 8);
    }
    let statistics = fragments.statistics();
    assert_eq!((fragments.len(), statistics.evicted_of_source), (6, 16));
    for source in 10..30 {
        of_port(&mut fragments, &of(source, 0)[0], 8);
    }
    let statistics = fragments.statistics();
    assert_eq!((fragments.len(), statistics.evicted_of_port), (9, 17));
    assert_eq!(statistics.evicted, 0);
    // Fragments of different ports do not mix.
    assert!(of_port(&mut fragments, &of(1, 0)[1], 8).is_none());
    assert!(of_port(&mut fragments, &of(1, 0)[1], 7).is_some());
    fragments.discard(8);
    assert!(fragments.is_empty() && fragments.bytes() == 0);
    assert!(of_port(&mut fragments, &of(29, 0)[1], 8).is_none());

    let limits = FragmentLimits {
        of_source: share(9, 200),
        ..FragmentLimits::default()
    };
    let mut fragments = Fragments::new(limits);
    for id in 0..3 {
        of_port(&mut fragments, &of(2, id)[0], 1);
    }
    assert_eq!((fragments.len(), fragments.bytes()), (2, 2 * 84));
}

#[test]
fn a_datagram_has_what_its_fragments_had() {
    for (flags, is_kept) in [
        ([0, 0], false),
        ([0x40, 0x40], true),
        ([0, 0x40], false),
        ([0x40, 0], true),
    ] {
        let mut sent = split(&V4.udp(&[0; 100]), 64);
        for (fragment, flag) in sent.iter_mut().zip(flags) {
            fragment[6] |= flag;
            fill_header(fragment);
        }
        let mut fragments = fragments();
        insert(&mut fragments, &sent[1]);
        let datagram = insert(&mut fragments, &sent[0]).unwrap();
        assert_eq!((datagram.largest(), datagram.id()), (84, 1));
        assert_eq!(datagram.packet()[6..8], [if is_kept { 0x40 } else { 0 }, 0]);
        assert_eq!(written(&datagram), sent);
    }
    let mut fragments = fragments();
    let sent = split(&V6.udp(&[0; 100]), 64);
    insert(&mut fragments, &sent[0]);
    let datagram = insert(&mut fragments, &sent[1]).unwrap();
    assert_eq!((datagram.largest(), datagram.id()), (112, 9));
}

#[test]
fn a_fragment_with_a_wrong_header_is_not_kept() {
    let mut fragments = fragments();
    let mut sent = split(&V4.udp(&[0; 100]), 64).remove(0);
    sent[8] ^= 1;
    let refused = fragments.insert(&sent, Zone::DEFAULT, NOW);
    assert_eq!(refused.unwrap_err(), Malformed::HeaderChecksum);
}
