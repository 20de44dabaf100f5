// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bodies of fuzz targets: any bytes are packets, in an order and with answers that the bytes choose.

mod helpers;
pub(crate) mod successor;

use std::time::Duration;

use crate::nat::{Nat, NatRange};
use crate::packet::tcp::flag::SYN;
use crate::packet::Headers;
use crate::testing::{fill_checksums, V4, V6};
use crate::{
    Commit, Cursor, Datagram, EventMask, FragmentLimits, Fragments, Helper, Input, PacketBuffer,
    Protocol, Reassembly, Seed, Settings, Time, Tracker, Zone,
};

pub use helpers::{fuzz_helper, helper_corpus};

/// The most packets of an input.
const MAX_PACKETS: usize = 64;

/// Takes bytes off an input.
struct Octets<'a>(&'a [u8]);

impl<'a> Octets<'a> {
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// Takes as many bytes as the first one states.
    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.next()?.into();
        Some(self.take(length))
    }

    /// Takes as many bytes as the first two state.
    fn long_text(&mut self) -> Option<&'a [u8]> {
        let length = u16::from_be_bytes([self.next()?, self.next()?]);
        Some(self.take(length.into()))
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (text, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        text
    }
}

pub(crate) fn tracker() -> Tracker {
    Tracker::new(256, Seed::new([1; 16]), Settings::default())
}

fn nat(family_v4: bool) -> Nat {
    let address = if family_v4 {
        std::net::IpAddr::from([192, 0, 2, 200])
    } else {
        std::net::IpAddr::from([0xfd; 16])
    };
    Nat {
        source: Some(NatRange::to_address(address)),
        destination: None,
    }
}

/// Tracks, commits and translates a packet, and checks what must hold of any.
fn pass<B: PacketBuffer>(
    tracker: &Tracker,
    received: &[u8],
    buffer: &mut B,
    commit: &Commit,
    now: Time,
) {
    let input = Input {
        zone: Zone::new(u16::from(received.len() % 3 == 0)),
        ..Input::new(received)
    };
    let mut tracked = tracker.track(&input, now);
    let _ = tracker.commit(&mut tracked, &input, commit, now);
    let _ = tracker.translate(&tracked, buffer);
    assert!(tracker.len() <= tracker.capacity());
}

/// Any bytes as packets: each is a length, choices and as many bytes. Fragments are put together.
pub fn fuzz_packets(input: &[u8]) {
    let tracker = tracker();
    let mut fragments = Fragments::new(FragmentLimits::default());
    let mut octets = Octets(input);
    let mut now = Time::from_secs(1);
    let Ok(listener) = tracker.listen(EventMask::ALL, 32) else {
        return;
    };
    for _ in 0..MAX_PACKETS {
        let (Some(choice), Some(packet)) = (octets.next(), octets.text()) else {
            break;
        };
        let is_v4 = packet.first().is_none_or(|first| first >> 4 == 4);
        let commit = Commit {
            force: choice & 1 != 0,
            nat: (choice & 2 != 0).then(|| nat(is_v4)),
            helper: Helper::ALL.get(usize::from(choice >> 4)).copied(),
            ..Commit::default()
        };
        now = now + Duration::from_secs(u64::from(choice & 4));
        let mut packet = packet.to_vec();
        if choice & 8 != 0 && Headers::parse(&packet).is_ok() {
            // Most checksums of random bytes are wrong, and nothing is found behind them.
            fix_checksums(&mut packet);
        }
        match fragments.insert(&packet, Zone::DEFAULT, now) {
            Ok(Reassembly::Complete(mut datagram)) => {
                let received = datagram.packet().to_vec();
                pass(&tracker, &received, &mut datagram, &commit, now);
                write_fragments(&datagram);
            }
            Ok(Reassembly::Whole) => {
                let mut buffer = packet.clone();
                pass(&tracker, &packet, &mut buffer, &commit, now);
            }
            Ok(Reassembly::Kept) | Err(_) => {}
        }
        tracker.expire(now, 64);
        while listener.next().is_some() {}
    }
    let _ = tracker.dump(Cursor::default(), 1000, now);
    let _ = tracker.expectations(0, 1000, now);
}

fn write_fragments(datagram: &Datagram) {
    let mut out = Vec::new();
    for number in 0..datagram.fragments() {
        datagram.write_fragment(number, &mut out);
        assert!(out.len() >= 20);
    }
}

/// Fills in the checksums of a packet whose transport header is whole.
fn fix_checksums(packet: &mut [u8]) {
    let Ok(headers) = Headers::parse(packet) else {
        return;
    };
    let least = match headers.protocol {
        Protocol::TCP => 20,
        Protocol::UDP | Protocol::ICMP | Protocol::ICMPV6 => 8,
        Protocol::SCTP => 12,
        _ => 0,
    };
    if headers.message(packet).len() >= least {
        fill_checksums(packet);
    }
}

/// Inputs with which [`fuzz_packets`] starts: a packet of each kind.
pub fn packets_corpus() -> Vec<Vec<u8>> {
    let packets = [
        V4.udp(b"payload"),
        V6.udp(b"payload"),
        V4.tcp(SYN, 1, 0, b""),
        V6.icmp(128, 0, [0, 1, 0, 1], b"echo"),
        V4.icmp(3, 1, [0; 4], &V4.udp(b"payload")),
        V4.sctp(0, &[&[1, 0, 0, 20], &[7; 16]]),
    ];
    let inputs = packets.map(|packet| {
        let mut input = vec![8, packet.len() as u8];
        input.extend(packet);
        input
    });
    inputs.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_corpus_passes() {
        packets_corpus()
            .iter()
            .for_each(|input| fuzz_packets(input));
        for helper in Helper::ALL {
            let corpus = helper_corpus(helper);
            assert!(!corpus.is_empty(), "{helper:?}");
            corpus.iter().for_each(|input| fuzz_helper(helper, input));
        }
    }

    /// A start with bytes exchanged.
    fn mutated(corpus: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
        let change = (any::<prop::sample::Index>(), any::<u8>());
        let changes = proptest::collection::vec(change, 0..12);
        (proptest::sample::select(corpus), changes).prop_map(|(mut input, changes)| {
            for (at, octet) in changes {
                let at = at.index(input.len());
                input[at] = octet;
            }
            input
        })
    }

    proptest! {
        #[test]
        fn any_octets_pass(input in proptest::collection::vec(any::<u8>(), 0..300)) {
            fuzz_packets(&input);
            for helper in Helper::ALL {
                fuzz_helper(helper, &input);
            }
        }

        #[test]
        fn mutations_of_packets_pass(input in mutated(packets_corpus())) {
            fuzz_packets(&input);
        }

        #[test]
        fn mutations_of_announcements_pass(
            (helper, input) in proptest::sample::select(&Helper::ALL[..]).prop_flat_map(|helper| {
                (Just(helper), mutated(helper_corpus(helper)))
            })
        ) {
            fuzz_helper(helper, &input);
        }
    }
}
