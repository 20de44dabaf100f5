// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A tracker that takes another one's place handles packets as that one would.

use proptest::prelude::*;

use super::*;
use crate::entry::Connection;
use crate::fuzzing::successor::successor;
use crate::fuzzing::tracker;
use crate::internals::Internals;

const NOW: Time = Time::from_secs(1000);

/// A segment of a connection between a client (side 0) and a server, whose numbers are near each other.
#[derive(Clone, Debug)]
struct Step {
    side: usize,
    flags: u8,
    /// The distances from the side's first number, and from the other one's.
    seq: u32,
    ack: u32,
    sack: Option<u32>,
    window: u16,
    len: usize,
    seconds: u64,
}

fn step() -> impl Strategy<Value = Step> {
    let flags = prop_oneof![
        8 => Just(ACK),
        1 => Just(ACK | FIN),
        1 => Just(RST),
        1 => Just(RST | ACK),
        1 => Just(SYN),
        1 => Just(SYN | ACK),
    ];
    // Few values, so that segments are repeated and acknowledged.
    let number = || prop_oneof![0..4u32, (0..8u32).prop_map(|n| 1 + n * 50_000)];
    let sizes = (prop_oneof![Just(0u16), Just(1000)], 0..3usize, 0..2u64);
    (
        0..2usize,
        flags,
        number(),
        number(),
        prop::option::of(number()),
        sizes,
    )
        .prop_map(
            |(side, flags, seq, ack, sack, (window, len, seconds))| Step {
                side,
                flags,
                seq,
                ack,
                sack,
                window,
                len: len * 700,
                seconds,
            },
        )
}

const FIRST: [u32; 2] = [100, 0xffff_0000];

impl Step {
    fn packet(&self) -> Vec<u8> {
        let flow = [V4, V4.reverse()][self.side];
        let [seq, ack] = [(self.side, self.seq), (1 - self.side, self.ack)]
            .map(|(side, distance)| FIRST[side].wrapping_add(distance));
        let end = FIRST[1 - self.side].wrapping_add(self.sack.unwrap_or(0));
        let [first, last] = [end.wrapping_sub(10), end].map(u32::to_be_bytes);
        let sack = [&[1, 1, 5, 10][..], &first, &last].concat();
        let options = match (self.flags & SYN != 0, self.sack) {
            // The window's shift count, and selective acknowledgements.
            (true, _) => &[3, 3, 6, 4, 2, 0, 0, 0][..],
            (false, Some(_)) => &sack,
            (false, None) => &[],
        };
        Tcp {
            flags: self.flags,
            seq,
            ack,
            window: self.window,
            options,
            payload: &vec![7; self.len],
        }
        .packet(flow)
    }
}

fn handshake() -> [Step; 3] {
    let step = |side, flags, seq, ack| Step {
        side,
        flags,
        seq,
        ack,
        sack: None,
        window: 1000,
        len: 0,
        seconds: 0,
    };
    [
        step(0, SYN, 0, 0),
        step(1, SYN | ACK, 0, 1),
        step(0, ACK, 1, 1),
    ]
}

/// A packet of an association of SCTP: the side that sends it, and seconds before it.
fn chunks() -> impl Strategy<Value = (Vec<u8>, u64)> {
    // From DATA to COOKIE ACK, and the end of a shutdown.
    let kinds = prop_oneof![0..12u8, Just(14)];
    let tag = || prop_oneof![Just(0u32), Just(7), Just(8)];
    (0..2usize, kinds, tag(), tag(), 0..2u64).prop_map(|(side, kind, tag, first, seconds)| {
        let flow = [V4, V4.reverse()][side];
        let body = [&first.to_be_bytes()[..], &[1; 12]].concat();
        (flow.sctp(tag, &[&[kind, 0, 0, 20], &body]), seconds)
    })
}

/// Passes packets through a tracker, and through one that another takes the place of after each.
fn compare(packets: impl IntoIterator<Item = (Vec<u8>, u64)>) -> Result<(), TestCaseError> {
    let (kept, mut replaced) = (tracker(), tracker());
    let mut now = NOW;
    for (packet, seconds) in packets {
        now = now + Duration::from_secs(seconds);
        let [found, expected] = [&replaced, &kept].map(|tracker| {
            let tracked = pass(tracker, &packet, now);
            let mut all = tracker.dump(Cursor::default(), 10, now).0;
            // The numbers of connections are others in a successor.
            all.iter_mut().for_each(|one| one.id = id());
            (tracked, all)
        });
        prop_assert_eq!(found, expected);
        replaced = successor(&replaced, now);
    }
    Ok(())
}

type Passed = (Result<(), CommitError>, CtState, Option<Invalid>);

fn pass(tracker: &Tracker, packet: &[u8], now: Time) -> Passed {
    let input = Input::new(packet);
    let mut tracked = tracker.track(&input, now);
    let committed = tracker.commit(&mut tracked, &input, &Commit::default(), now);
    (committed, tracked.state(), tracked.invalid_reason())
}

fn id() -> ConnectionRef {
    ConnectionRef::from_bits(1 << 32).unwrap()
}

proptest! {
    #[test]
    fn no_segment_of_tcp_makes_a_difference(steps in prop::collection::vec(step(), 0..40)) {
        let steps = handshake().into_iter().chain(steps);
        compare(steps.map(|step| (step.packet(), step.seconds)))?;
    }

    #[test]
    fn no_chunk_of_sctp_makes_a_difference(packets in prop::collection::vec(chunks(), 0..40)) {
        compare(packets)?;
    }
}

/// An established connection, and its internals.
fn established() -> (Connection, Internals) {
    let tracker = tracker();
    for step in handshake() {
        let (committed, ..) = pass(&tracker, &step.packet(), NOW);
        committed.unwrap();
    }
    let (only, internals) = tracker.dump_whole(Cursor::default(), 1, NOW).0.remove(0);
    (only, internals.unwrap())
}

#[test]
fn shift_counts_are_limited() {
    let (copy, internals) = established();
    let mut bytes = internals.to_bytes();
    let at = bytes.windows(2).position(|two| two == [6, 6]).unwrap();
    bytes[at] = 0xff;
    let mut new = NewConnection::new(copy.original, copy.reply, copy.timeout);
    new.internals = Internals::from_bytes(&bytes).unwrap();
    let tracker = tracker();
    let created = tracker.create_connection(&new, NOW).unwrap();
    let proto = tracker.get(created, NOW).unwrap().proto;
    assert!(
        matches!(
            proto,
            ProtoInfo::Tcp {
                scales: [14, 6],
                ..
            }
        ),
        "{proto:?}"
    );
}
