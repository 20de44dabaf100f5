// SPDX-License-Identifier: Apache-2.0 OR MIT
use super::*;
use crate::expect::Expectation;
use crate::nat::{Nat, NatRange, Translation};

const NOW: Time = Time::from_secs(1000);

fn tracker() -> Tracker {
    Tracker::new(64, Seed::new([2; 16]), Settings::default())
}

fn pass(tracker: &Tracker, packet: &[u8], commit: &Commit) -> (Tracked, Vec<u8>) {
    let input = Input::new(packet);
    let mut tracked = tracker.track(&input, NOW);
    tracker.commit(&mut tracked, &input, commit, NOW).unwrap();
    let mut packet = packet.to_vec();
    assert_ne!(tracker.translate(&tracked, &mut packet), Translation::Drop);
    (tracked, packet)
}

fn expectations(tracker: &Tracker) -> Vec<Expectation> {
    tracker.expectations(0, 100, NOW).0
}

fn with(helper: Helper) -> Commit {
    Commit {
        helper: Some(helper),
        mark: Some((7, 7)),
        label: Some((1 << 100, 1 << 100)),
        ..Commit::default()
    }
}

/// A control connection after its greeting and the client's name.
fn log_in(tracker: &Tracker, control: Flow) {
    let commit = with(Helper::Ftp);
    pass(tracker, &control.tcp(SYN, 99, 0, &[]), &commit);
    pass(
        tracker,
        &control.reverse().tcp(SYN | ACK, 499, 100, &[]),
        &commit,
    );
    pass(tracker, &control.tcp(ACK, 100, 500, &[]), &commit);
    pass(
        tracker,
        &control.reverse().tcp(ACK, 500, 100, b"220 hello\r\n"),
        &commit,
    );
    pass(
        tracker,
        &control.tcp(ACK, 100, 511, b"USER me\r\n"),
        &commit,
    );
}

#[test]
fn data_connections_of_ftp_are_related() {
    let commit = Commit::default();
    for (flow, port) in [
        (V4, "PORT 10,0,0,1,4,1\r\n"),
        (V6, "EPRT |2|fd00::1|1025|\r\n"),
    ] {
        let tracker = tracker();
        let control = Flow {
            dst_port: 21,
            ..flow
        };
        log_in(&tracker, control);
        pass(
            &tracker,
            &control.tcp(ACK, 109, 511, port.as_bytes()),
            &commit,
        );
        assert_eq!(expectations(&tracker).len(), 1);
        assert_eq!(expectations(&tracker)[0].timeout(NOW).as_secs(), 300);
        let data = Flow {
            src: flow.dst,
            src_port: 20,
            dst: flow.src,
            dst_port: 1025,
        };
        let (first, _) = pass(&tracker, &data.tcp(SYN, 1, 0, &[]), &commit);
        assert_eq!(
            first.state(),
            CtState::TRACKED | CtState::NEW | CtState::RELATED
        );
        let child = tracker.get(first.connection().unwrap(), NOW).unwrap();
        assert!(child.status.contains(Status::EXPECTED));
        assert_eq!((child.mark, child.label.bits()), (7, 1 << 100));
        assert_eq!((first.mark(), first.label()), (7, child.label));
        let master = tracker.get(child.master.unwrap(), NOW).unwrap();
        assert_eq!(master.helper, Some(Helper::Ftp));
        let (reply, _) = pass(&tracker, &data.reverse().tcp(SYN | ACK, 5, 2, &[]), &commit);
        let expected = CtState::ESTABLISHED | CtState::REPLY | CtState::RELATED;
        assert_eq!(reply.state(), CtState::TRACKED | expected);
        assert!(expectations(&tracker).is_empty());
        let statistics = tracker.statistics();
        assert_eq!((statistics.expect_new, statistics.expect_create), (1, 1));
        assert_eq!(statistics.expect_delete, 1);
    }
}

#[test]
fn passive_data_connections_are_related() {
    let commit = Commit::default();
    let answers = [
        "227 Passive (10,0,0,2,4,1).\r\n",
        "229 Extended (|||1025|)\r\n",
    ];
    for answer in answers {
        let tracker = tracker();
        let control = Flow { dst_port: 21, ..V4 };
        log_in(&tracker, control);
        pass(
            &tracker,
            &control.reverse().tcp(ACK, 511, 109, answer.as_bytes()),
            &commit,
        );
        let data = Flow {
            src_port: 40_000,
            dst_port: 1025,
            ..V4
        };
        let (first, _) = pass(&tracker, &data.tcp(SYN, 1, 0, &[]), &commit);
        assert_eq!(
            first.state(),
            CtState::TRACKED | CtState::NEW | CtState::RELATED
        );
    }
}

/// A packet that is tracked, but not committed, leaves the expectation for the next one.
#[test]
fn an_expectation_is_taken_at_the_commit() {
    let tracker = tracker();
    let request = Flow { dst_port: 69, ..V4 };
    pass(
        &tracker,
        &request.udp(b"\0\x01file\0octet\0"),
        &with(Helper::Tftp),
    );
    let data = |src_port| Flow {
        src: V4.dst,
        src_port,
        dst: V4.src,
        dst_port: 1234,
    };
    let packets = [3333, 3334].map(|port| data(port).udp(b"\0\x03\0\x01data"));
    let inputs = packets.each_ref().map(|packet| Input::new(packet));
    let mut tracked = inputs.map(|input| tracker.track(&input, NOW));
    for packet in &tracked {
        assert!(packet.state().contains(CtState::NEW | CtState::RELATED));
    }
    assert_eq!(expectations(&tracker).len(), 1);
    assert_eq!(tracker.statistics().expect_new, 0);
    // An insertion that fails leaves it as well.
    tracker.set_zone_limit(0, Some(1));
    let commit = Commit::default();
    let mut again = tracker.track(&inputs[0], NOW);
    let failed = tracker.commit(&mut again, &inputs[0], &commit, NOW);
    assert_eq!(failed, Err(CommitError::ZoneLimit));
    assert_eq!(expectations(&tracker).len(), 1);
    tracker.set_zone_limit(0, None);
    let results: Vec<_> = tracked
        .iter_mut()
        .zip(&inputs)
        .map(|(tracked, input)| tracker.commit(tracked, input, &commit, NOW))
        .collect();
    assert_eq!(results, [Ok(()), Err(CommitError::Clash)]);
    assert!(expectations(&tracker).is_empty());
    let statistics = tracker.statistics();
    assert_eq!((statistics.expect_new, statistics.expect_delete), (1, 1));
}

#[test]
fn announcements_for_others_are_not_followed() {
    let commit = Commit::default();
    let tracker = tracker();
    let control = Flow { dst_port: 21, ..V4 };
    log_in(&tracker, control);
    pass(
        &tracker,
        &control.tcp(ACK, 109, 511, b"PORT 10,0,0,9,4,1\r\n"),
        &commit,
    );
    assert!(expectations(&tracker).is_empty());
    // The beginning of a command is dropped, and comes again whole.
    let (part, _) = pass(&tracker, &control.tcp(ACK, 128, 511, b"PORT 10,0"), &commit);
    assert!(part.must_drop());
    assert_eq!(tracker.statistics().drop_by_reason.values().sum::<u64>(), 1);
    let again = control.tcp(ACK, 128, 511, b"PORT 10,0,0,1,4,1\r\n");
    assert!(!pass(&tracker, &again, &commit).0.must_drop());
    assert_eq!(expectations(&tracker).len(), 1);
    // With the control connection, what it has announced goes.
    tracker.flush(Cursor::default(), NOW);
    assert!(expectations(&tracker).is_empty());
}

#[test]
fn tftp_servers_answer_from_another_port() {
    for nat in [None, Some("192.0.2.1".parse().unwrap())] {
        let tracker = tracker();
        let commit = Commit {
            nat: nat.map(|address| Nat {
                source: Some(NatRange::to_address(address).with_ports(7000, 7000)),
                destination: None,
            }),
            ..with(Helper::Tftp)
        };
        let request = Flow { dst_port: 69, ..V4 };
        pass(&tracker, &request.udp(b"\0\x01file\0octet\0"), &commit);
        let (address, port) = nat.map_or((V4.src, 1234), |address| (address, 7000));
        let data = Flow {
            src: V4.dst,
            src_port: 3333,
            dst: address,
            dst_port: port,
        };
        let (first, packet) = pass(&tracker, &data.udp(b"\0\x03\0\x01data"), &commit);
        assert!(first.state().contains(CtState::NEW | CtState::RELATED));
        // What the server sends to the translated address is translated to the client's.
        let is_translated = first.state().contains(CtState::DST_NAT);
        assert_eq!(is_translated, nat.is_some());
        assert!(!first.state().contains(CtState::SRC_NAT));
        let inside = Flow {
            dst: V4.src,
            dst_port: 1234,
            ..data
        };
        assert_eq!(packet, inside.udp(b"\0\x03\0\x01data"));
        let (_, packet) = pass(&tracker, &inside.reverse().udp(b"\0\x04\0\x01"), &commit);
        assert_eq!(packet, data.reverse().udp(b"\0\x04\0\x01"));
    }
}
