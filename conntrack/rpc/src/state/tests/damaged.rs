// SPDX-License-Identifier: Apache-2.0 OR MIT
//! States that are damaged: a process that is replaced may have been taken over.

use std::net::{IpAddr, Ipv4Addr};

use adit_conntrack::{Helper, Nat, NatRange};

use super::*;

const SYN: u8 = 2;
const ACK: u8 = 16;
/// The source that half of the connections get.
const TRANSLATED: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// A tracker with connections of all kinds that have internals, some of them expected, and expectations.
fn busy(clock: &impl Clock) -> Tracker {
    let tracker = tracker();
    let segment = |flags, seq, ack, payload| Tcp {
        flags,
        seq,
        ack,
        window: 60_000,
        options: &[],
        payload,
    };
    for (port, helper) in (0..).zip(Helper::ALL) {
        let flow = Flow {
            src_port: 1000 + port,
            ..V4
        };
        let target = NatRange::to_address(TRANSLATED);
        let commit = Commit {
            helper: Some(helper),
            nat: (port % 2 == 1).then_some(Nat {
                source: Some(target),
                destination: None,
            }),
            ..Commit::default()
        };
        let pass = |packet: &[u8]| {
            let input = Input::new(packet);
            let mut tracked = tracker.track(&input, clock.now());
            let committed = tracker.commit(&mut tracked, &input, &commit, clock.now());
            committed.unwrap();
            tracked.connection().unwrap()
        };
        pass(&flow.udp(b"\0\x01file\0octet\0"));
        let syn = pass(&segment(SYN, 100, 0, b"").packet(flow));
        let mut reply = flow.reverse();
        if port % 2 == 1 {
            reply.dst = TRANSLATED;
        }
        pass(&segment(SYN | ACK, 500, 101, b"").packet(reply));
        pass(&segment(ACK, 101, 501, b"PORT 10,0,0,1,4,1\r\n").packet(flow));
        let mut child = connection(2000 + port);
        child.master = Some(syn);
        tracker.create_connection(&child, clock.now()).unwrap();
        let expected = expectation(syn, 3000 + port, ExpectFunction::FollowMaster);
        tracker.create_expectation(&expected, clock.now()).unwrap();
    }
    tracker
}

/// No bytes make a successor panic, neither while it restores nor with the packets that come then.
#[test]
fn any_state_is_restored_or_refused() {
    let clock = At(1_000_000_000);
    let saved = save(&busy(&clock), &clock, None);
    let whole = restore(&tracker(), &clock, &saved).unwrap();
    assert_eq!(whole.connections, 3 * Helper::ALL.len());
    let mut random = fastrand::Rng::with_seed(1);
    let (mut restored, mut refused) = (0, 0);
    for _ in 0..4000 {
        let mut bytes = saved.clone();
        for _ in 0..random.usize(1..5) {
            let at = random.usize(..bytes.len());
            // Few lengths change, behind which the rest is not read.
            match random.u8(..64) {
                0 => bytes.truncate(at + 1),
                1 => bytes.insert(at, random.u8(..)),
                2..32 => bytes[at] = random.u8(..),
                _ => bytes[at] ^= 1 << random.u8(..8),
            }
        }
        let new = tracker();
        match restore(&new, &clock, &bytes) {
            Ok(_) => restored += 1,
            Err(_) => refused += 1,
        }
        for port in 0..Helper::ALL.len() as u16 {
            let flow = Flow {
                src_port: 1000 + port,
                ..V4
            };
            let mut translated = flow.reverse();
            translated.dst = TRANSLATED;
            for flow in [flow, flow.reverse(), translated] {
                let data = Tcp {
                    flags: ACK,
                    seq: 200,
                    ack: 600,
                    window: 60_000,
                    options: &[],
                    payload: b"PORT 10,0,0,1,4,2\r\n",
                };
                for packet in [data.packet(flow), flow.udp(b"\0\x01file\0octet\0")] {
                    let input = Input::new(&packet);
                    let mut tracked = new.track(&input, clock.now());
                    let commit = Commit::default();
                    let _ = new.commit(&mut tracked, &input, &commit, clock.now());
                    let _ = new.translate(&tracked, &mut packet.clone());
                }
            }
        }
        // What it has, its own successor gets.
        let again = save(&new, &clock, None);
        restore(&tracker(), &clock, &again).expect("a state of this release");
    }
    println!("{restored} damaged states were restored, {refused} refused");
    assert!(restored > 0 && refused > 0);
}
