// SPDX-License-Identifier: Apache-2.0 OR MIT
use super::*;

#[test]
fn udp_becomes_a_stream() {
    for flow in [V4, V6] {
        let mut bench = Bench::new();
        bench.expect(&flow.udp(b"a"), NEW);
        assert_eq!(bench.only().timeout.as_secs(), 30);
        bench.expect(&flow.udp(b"a"), NEW);
        bench.expect(&flow.reverse().udp(b"b"), RPL);
        bench.expect(&flow.udp(b"c"), EST);
        assert_eq!(bench.only().timeout.as_secs(), 30);
        assert!(!bench.only().status.contains(Status::ASSURED));
        bench.pass(3);
        bench.expect(&flow.udp(b"c"), EST);
        assert_eq!(bench.only().timeout.as_secs(), 120);
        assert!(bench.only().status.contains(Status::ASSURED));
    }
}

#[test]
fn udp_without_a_checksum_is_valid() {
    let mut bench = Bench::new();
    let mut packet = V4.udp(b"a");
    packet[26..28].fill(0);
    bench.expect(&packet, NEW);
    packet[26..28].copy_from_slice(&[1, 1]);
    bench.expect_invalid(&packet, Invalid::Checksum);
    packet[25] = 200;
    fill_checksums(&mut packet);
    bench.expect_invalid(&packet, Invalid::Truncated);
    assert_eq!(bench.tracker.statistics().invalid, 2);
    assert_eq!(bench.tracker.statistics().invalid_by_reason.len(), 2);
}

#[test]
fn queries_and_their_answers() {
    for (flow, query, answer) in [(V4, 8, 0), (V6, 128, 129)] {
        let mut bench = Bench::new();
        bench.expect(&flow.icmp(query, 0, [0, 7, 0, 1], b"x"), NEW);
        bench.expect(&flow.icmp(query, 0, [0, 7, 0, 2], b"x"), NEW);
        bench.expect(&flow.reverse().icmp(answer, 0, [0, 7, 0, 1], b"x"), RPL);
        assert_eq!(bench.only().timeout.as_secs(), 30);
        // An answer without a query.
        let lone = flow.reverse().icmp(answer, 0, [0, 9, 0, 1], b"x");
        bench.expect_invalid(&lone, Invalid::IcmpType);
    }
}

#[test]
fn errors_are_related_to_what_they_quote() {
    for (flow, kind) in [(V4, 3), (V6, 1)] {
        let mut bench = Bench::new();
        let packet = flow.udp(b"payload");
        bench.expect(&packet, NEW);
        let router = Flow {
            src: flow.dst,
            ..flow.reverse()
        };
        let rel = CtState::RELATED | CtState::REPLY;
        for length in [packet.len() - 7, packet.len()] {
            bench.expect(&router.icmp(kind, 1, [0; 4], &packet[..length]), rel);
        }
        let short = router.icmp(kind, 1, [0; 4], &packet[..packet.len() - 12]);
        bench.expect_invalid(&short, Invalid::IcmpUnrelated);
        let to_another = Flow {
            dst: flow.dst,
            ..router
        };
        bench.expect_invalid(
            &to_another.icmp(kind, 1, [0; 4], &packet),
            Invalid::IcmpUnrelated,
        );
        // As in Linux, these are not `invalid', nor is a message with a wrong checksum.
        let mut spoilt = router.icmp(kind, 1, [0; 4], &packet);
        let last = spoilt.len() - 1;
        spoilt[last] ^= 1;
        assert_eq!(bench.tracker.statistics().error, 2);
        bench.expect_invalid(&spoilt, Invalid::Checksum);
        let statistics = bench.tracker.statistics();
        assert_eq!((statistics.error, statistics.invalid), (3, 0));
        assert_eq!(bench.only().counters[1].packets, 0);
    }
}

#[test]
fn who_watches_learns_the_connection_and_changes_nothing() {
    for (flow, kind) in [(V4, 3), (V6, 1)] {
        let mut bench = Bench::new();
        let known = |bench: &Bench, packet: &[u8]| {
            let found = bench.tracker.known(&Input::new(packet), bench.now);
            found.map(|it| (it.original.dst().part, it.direction, it.is_error))
        };
        let (packet, reply) = (flow.udp(b"a"), flow.reverse().udp(b"b"));
        assert_eq!(known(&bench, &packet), None);
        bench.expect(&packet, NEW);
        let to = flow.dst_port;
        assert_eq!(
            known(&bench, &packet),
            Some((to, Direction::Original, false))
        );
        assert_eq!(known(&bench, &reply), Some((to, Direction::Reply, false)));
        let error = flow.reverse().icmp(kind, 1, [0; 4], &packet);
        assert_eq!(known(&bench, &error), Some((to, Direction::Reply, true)));
        let forged = Flow {
            dst: flow.dst,
            ..flow.reverse()
        };
        assert_eq!(known(&bench, &forged.icmp(kind, 1, [0; 4], &packet)), None);
        assert_eq!(known(&bench, &packet[..12]), None);
        assert_eq!(known(&bench, &[]), None);
        assert!(!bench.only().status.contains(Status::SEEN_REPLY));
        assert_eq!(bench.tracker.statistics().invalid, 0);
        bench.pass(31);
        assert_eq!(known(&bench, &reply), None);
    }
}

#[test]
fn neighbour_discovery_is_untracked() {
    let mut bench = Bench::new();
    bench.expect_invalid(&V6.icmp(135, 0, [0; 4], &[0; 16]), Invalid::Untracked);
    assert_eq!(bench.tracker.statistics().invalid, 0);
}

#[test]
fn sctp_from_init_to_shutdown() {
    let mut bench = Bench::new();
    let mut init = vec![chunk::INIT, 0, 0, 20, 0, 0, 0, 1];
    init.extend([0; 12]);
    let mut init_ack = vec![chunk::INIT_ACK, 0, 0, 20, 0, 0, 0, 2];
    init_ack.extend([0; 12]);
    let simple = |kind| vec![kind, 0, 0, 4];
    let state = |bench: &Bench| match bench.only().proto {
        ProtoInfo::Sctp { state, .. } => (state, bench.only().timeout.as_secs()),
        _ => panic!("not SCTP"),
    };
    bench.expect(&V4.sctp(0, &[&init]), NEW);
    assert_eq!(state(&bench), (SctpState::Closed, 10));
    bench.expect(&V4.reverse().sctp(1, &[&init_ack]), RPL);
    assert_eq!(state(&bench), (SctpState::CookieWait, 3));
    bench.expect_invalid(
        &V4.sctp(9, &[&simple(chunk::COOKIE_ECHO)]),
        Invalid::SctpTag,
    );
    bench.expect(&V4.sctp(2, &[&simple(chunk::COOKIE_ECHO)]), EST);
    bench.expect(&V4.reverse().sctp(1, &[&simple(chunk::COOKIE_ACK)]), RPL);
    assert_eq!(state(&bench), (SctpState::Established, 210));
    assert!(bench.only().status.contains(Status::ASSURED));
    bench.expect_invalid(&V4.sctp(1, &[&simple(chunk::DATA)]), Invalid::SctpTag);
    bench.expect(&V4.sctp(2, &[&simple(chunk::SHUTDOWN)]), EST);
    assert_eq!(state(&bench), (SctpState::ShutdownSent, 3));
    bench.expect(&V4.reverse().sctp(1, &[&simple(chunk::SHUTDOWN_ACK)]), RPL);
    bench.expect(&V4.sctp(2, &[&simple(chunk::SHUTDOWN_COMPLETE)]), EST);
    assert_eq!(state(&bench), (SctpState::Closed, 10));
}

#[test]
fn other_protocols_are_generic() {
    let mut bench = Bench::new();
    bench.expect(&V4.packet(Protocol(33), b"datagram"), NEW);
    assert_eq!(bench.only().timeout.as_secs(), 600);
    bench.expect(&V4.reverse().packet(Protocol(33), b"datagram"), RPL);
    let mut bench = Bench::new();
    bench.expect(&V4.packet(Protocol::GRE, &[0, 0, 8, 0]), NEW);
    bench.expect(&V4.reverse().packet(Protocol::GRE, &[0, 0, 8, 0]), RPL);
    bench.expect(&V4.packet(Protocol::GRE, &[0, 0, 8, 0]), EST);
    assert_eq!(bench.only().timeout.as_secs(), 180);
}
