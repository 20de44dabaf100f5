// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Packets in bursts have the results of packets one by one.

use proptest::prelude::*;

use super::*;
use crate::nat::{Nat, NatRange};
use crate::zone::Zone;

/// A packet of one of a few connections, in either direction; some are invalid.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    (0..4u16, any::<bool>(), any::<bool>(), 0..7u8).prop_map(|(number, is_v4, is_reply, kind)| {
        let mut flow = if is_v4 { V4 } else { V6 };
        flow.src_port += number;
        if is_reply {
            flow = flow.reverse();
        }
        let reset = flow.tcp(RST, 101, 0, &[]);
        match kind {
            0 => flow.udp(b"data"),
            1 => flow.tcp(SYN, 100, 0, &[]),
            2 => flow.tcp(SYN | ACK, 100, 101, &[]),
            3 => reset,
            4 => flow.packet(Protocol::GRE, &[0x30, 1, 0x88, 0x0b, 0, 0, 0, number as u8]),
            // An error, which quotes a packet.
            5 if is_v4 => flow.reverse().icmp(3, 1, [0; 4], &reset[..28]),
            5 => flow.reverse().icmp(1, 0, [0; 4], &reset),
            _ => reset[..reset.len() - 1].to_vec(),
        }
    })
}

proptest! {
    #[test]
    fn bursts_are_packets_one_by_one(
        packets in prop::collection::vec(packet(), 0..100),
        is_translated in any::<bool>(),
        zone in 0..2u16,
    ) {
        let to = NatRange::to_address([192, 0, 2, 99].into());
        let nat = is_translated.then(|| Nat { source: Some(to), ..Nat::default() });
        // A translation to IPv4 is refused for IPv6, in both ways alike.
        let commit = Commit { nat, ..Commit::default() };
        let zone = Zone::in_direction(zone, Direction::Original);
        let inputs: Vec<_> = packets.iter().map(|p| Input { zone, ..Input::new(p) }).collect();
        let now = Time::from_secs(1000);
        let [single, bursts] = [(); 2].map(|()| Bench::new().tracker);
        let end = |tracker: &Tracker, mut tracked: Tracked, input: &Input<'_>| {
            let result = tracker.commit(&mut tracked, input, &commit, now);
            (result, tracked.state(), tracked.invalid_reason(), tracked.connection(), tracked.translated())
        };
        let expected: Vec<_> =
            inputs.iter().map(|input| end(&single, single.track(input, now), input)).collect();
        let mut found = Vec::new();
        bursts.track_burst(&inputs, now, |at, tracked| {
            assert_eq!(at, found.len());
            found.push(end(&bursts, tracked, &inputs[at]));
        });
        prop_assert_eq!(found, expected);
        prop_assert_eq!(bursts.statistics(), single.statistics());
        let dump = |tracker: &Tracker| tracker.dump(Default::default(), 1000, now).0;
        prop_assert_eq!(dump(&bursts), dump(&single));
    }
}
