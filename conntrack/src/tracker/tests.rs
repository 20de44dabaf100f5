// SPDX-License-Identifier: Apache-2.0 OR MIT
use std::time::Duration;

use super::*;
use crate::bits::CtState;
use crate::entry::ProtoInfo;
use crate::events::EventMask;
use crate::packet::sctp::chunk;
use crate::packet::tcp::flag::{ACK, FIN, RST, SYN};
use crate::proto::sctp::SctpState;
use crate::proto::tcp::TcpState;
use crate::testing::{fill_checksums, Flow, Tcp, V4, V6};
use crate::tuple::Endpoint;

const NEW: CtState = CtState::NEW;
const EST: CtState = CtState::ESTABLISHED;
const RPL: CtState = CtState::from_bits(CtState::ESTABLISHED.bits() | CtState::REPLY.bits());

/// A tracker with a clock.
struct Bench {
    tracker: Tracker,
    now: Time,
}

impl Bench {
    fn new() -> Self {
        Bench::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        Bench {
            tracker: Tracker::new(1024, Seed::new([9; 16]), settings),
            now: Time::from_secs(1000),
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        self.tracker.expire(self.now, usize::MAX);
    }

    /// Tracks and commits a packet.
    fn send(&mut self, packet: &[u8]) -> Tracked {
        let input = Input::new(packet);
        let mut tracked = self.tracker.track(&input, self.now);
        self.tracker
            .commit(&mut tracked, &input, &Commit::default(), self.now)
            .unwrap();
        tracked
    }

    /// Sends a packet and checks its state.
    #[track_caller]
    fn expect(&mut self, packet: &[u8], state: CtState) -> Tracked {
        let tracked = self.send(packet);
        assert_eq!(
            tracked.state(),
            CtState::TRACKED | state,
            "{:?}",
            tracked.invalid_reason()
        );
        tracked
    }

    #[track_caller]
    fn expect_invalid(&mut self, packet: &[u8], reason: Invalid) {
        let tracked = self.send(packet);
        assert_eq!(tracked.invalid_reason(), Some(reason));
        assert_eq!(tracked.state(), CtState::TRACKED | CtState::INVALID);
    }

    /// The only connection.
    #[track_caller]
    fn only(&self) -> Connection {
        let (connections, _) = self.tracker.dump(Default::default(), 10, self.now);
        assert_eq!(connections.len(), 1);
        connections.into_iter().next().unwrap()
    }

    #[track_caller]
    fn expect_tcp(&self, state: TcpState, timeout: u64) {
        let connection = self.only();
        let ProtoInfo::Tcp { state: found, .. } = connection.proto else {
            panic!("not TCP")
        };
        assert_eq!((found, connection.timeout.as_secs()), (state, timeout));
    }

    fn handshake(&mut self) {
        self.expect(&V4.tcp(SYN, 100, 0, &[]), NEW);
        self.expect_tcp(TcpState::SynSent, 120);
        self.expect(&V4.reverse().tcp(SYN | ACK, 500, 101, &[]), RPL);
        self.expect_tcp(TcpState::SynRecv, 60);
        self.expect(&V4.tcp(ACK, 101, 501, &[]), EST);
        self.expect_tcp(TcpState::Established, 432_000);
        assert!(self
            .only()
            .status
            .contains(Status::ASSURED | Status::SEEN_REPLY));
    }
}

#[test]
fn tcp_from_open_to_close() {
    let mut bench = Bench::new();
    bench.handshake();
    bench.expect(&V4.tcp(ACK, 101, 501, b"hello"), EST);
    bench.expect_tcp(TcpState::Established, 300);
    bench.expect(&V4.reverse().tcp(ACK, 501, 106, &[]), RPL);
    bench.expect_tcp(TcpState::Established, 432_000);
    bench.expect(&V4.tcp(FIN | ACK, 106, 501, &[]), EST);
    bench.expect_tcp(TcpState::FinWait, 120);
    bench.expect(&V4.reverse().tcp(ACK, 501, 107, &[]), RPL);
    bench.expect_tcp(TcpState::CloseWait, 60);
    bench.expect(&V4.reverse().tcp(FIN | ACK, 501, 107, &[]), RPL);
    bench.expect_tcp(TcpState::LastAck, 30);
    bench.expect(&V4.tcp(ACK, 107, 502, &[]), EST);
    bench.expect_tcp(TcpState::TimeWait, 120);
    let counters = bench.only().counters;
    assert_eq!((counters[0].packets, counters[1].packets), (5, 4));
    assert_eq!(counters[0].bytes, 5 * 40 + 5);
    bench.pass(119);
    assert_eq!(bench.tracker.len(), 1);
    bench.pass(2);
    assert_eq!(bench.tracker.len(), 0);
}

#[test]
fn the_tuple_of_a_closed_connection_is_used_again() {
    let mut bench = Bench::new();
    bench.handshake();
    bench.expect(&V4.tcp(FIN | ACK, 101, 501, &[]), EST);
    bench.expect(&V4.reverse().tcp(FIN | ACK, 501, 102, &[]), RPL);
    bench.expect(&V4.tcp(ACK, 102, 502, &[]), EST);
    let first = bench.only().id;
    bench.expect_tcp(TcpState::TimeWait, 120);
    bench.expect(&V4.tcp(SYN, 5000, 0, &[]), NEW);
    bench.expect_tcp(TcpState::SynSent, 120);
    assert_ne!(bench.only().id, first);
}

#[test]
fn a_reset_in_answer_to_a_syn_removes_the_connection() {
    let mut bench = Bench::new();
    bench.expect(&V4.tcp(SYN, 100, 0, &[]), NEW);
    bench.expect(&V4.reverse().tcp(RST | ACK, 0, 101, &[]), RPL);
    assert_eq!(bench.tracker.len(), 0);
}

#[test]
fn resets_are_checked() {
    let mut bench = Bench::new();
    bench.handshake();
    bench.expect(&V4.reverse().tcp(ACK, 501, 101, b"data"), RPL);
    bench.expect(&V4.tcp(ACK, 101, 505, &[]), EST);
    // Before what was acknowledged.
    bench.expect_invalid(&V4.reverse().tcp(RST, 504, 0, &[]), Invalid::TcpReset);
    // Beyond it, in the window: the peer may answer with a challenge ACK.
    bench.expect(&V4.reverse().tcp(RST, 600, 0, &[]), RPL);
    bench.expect_tcp(TcpState::Established, 10);
    bench.expect(&V4.tcp(ACK, 101, 505, &[]), EST);
    bench.expect(&V4.reverse().tcp(RST, 505, 0, &[]), RPL);
    bench.expect_tcp(TcpState::Close, 10);
}

#[test]
fn windows_are_checked_and_scaled() {
    let mut bench = Bench::new();
    let syn = Tcp {
        flags: SYN,
        seq: 100,
        ack: 0,
        window: 1000,
        options: &[1, 3, 3, 7],
        payload: &[],
    };
    bench.expect(&syn.packet(V4), NEW);
    let syn_ack = Tcp {
        flags: SYN | ACK,
        seq: 500,
        ack: 101,
        options: &[1, 3, 3, 2],
        ..syn
    };
    bench.expect(&syn_ack.packet(V4.reverse()), RPL);
    bench.expect(&V4.tcp(ACK, 101, 501, &[]), EST);
    let ProtoInfo::Tcp { scales, .. } = bench.only().proto else {
        panic!("not TCP")
    };
    assert_eq!(scales, [7, 2]);
    // 1000 << 7 octets may be sent to the initiator.
    bench.expect(
        &V4.reverse().tcp(ACK, 501 + 128_000 - 10, 101, &[0; 10]),
        RPL,
    );
    bench.expect_invalid(
        &V4.reverse().tcp(ACK, 501 + 300_000, 101, &[0; 10]),
        Invalid::TcpWindow,
    );
    // Data that was never sent is acknowledged.
    bench.expect_invalid(&V4.tcp(ACK, 101, 501 + 128_001, &[]), Invalid::TcpWindow);
    bench.expect(&V4.tcp(ACK, 101, 501 + 128_000, &[]), EST);
}

#[test]
fn a_liberal_tracker_accepts_what_is_out_of_window() {
    let mut bench = Bench::with(Settings {
        tcp_be_liberal: true,
        ..Settings::default()
    });
    bench.handshake();
    bench.expect(&V4.reverse().tcp(ACK, 300_000, 101, &[0; 10]), RPL);
}

#[test]
fn connections_are_picked_up() {
    let mut bench = Bench::new();
    bench.expect(&V4.tcp(ACK, 100, 900, b"x"), NEW);
    bench.expect_tcp(TcpState::Established, 300);
    bench.expect(&V4.reverse().tcp(ACK, 900, 101, &[]), RPL);
    bench.expect(&V4.tcp(ACK, 101, 900, &[]), EST);
    assert!(bench.only().status.contains(Status::ASSURED));
    let mut strict = Bench::with(Settings {
        tcp_loose: false,
        ..Settings::default()
    });
    strict.expect_invalid(&V4.tcp(ACK, 100, 900, b"x"), Invalid::TcpPickup);
    strict.expect_invalid(&V4.tcp(FIN | ACK, 100, 900, b"x"), Invalid::TcpState);
    assert_eq!(strict.tracker.len(), 0);
}

#[test]
fn retransmissions_reduce_the_timeout() {
    let mut bench = Bench::new();
    bench.handshake();
    for _ in 0..3 {
        bench.expect(&V4.tcp(ACK, 101, 501, &[]), EST);
        bench.pass(1);
    }
    bench.expect_tcp(TcpState::Established, 299);
}

#[test]
fn peers_open_simultaneously() {
    let mut bench = Bench::new();
    bench.expect(&V4.tcp(SYN, 100, 0, &[]), NEW);
    bench.expect(&V4.reverse().tcp(SYN, 500, 0, &[]), RPL);
    bench.expect_tcp(TcpState::SynSent2, 120);
    bench.expect(&V4.tcp(SYN | ACK, 100, 501, &[]), EST);
    bench.expect_tcp(TcpState::SynRecv, 60);
    bench.expect(&V4.reverse().tcp(SYN | ACK, 500, 101, &[]), RPL);
    bench.expect(&V4.reverse().tcp(ACK, 501, 101, &[]), RPL);
    bench.expect_tcp(TcpState::Established, 432_000);
}

#[test]
fn a_challenge_ack_is_no_last_ack() {
    let mut bench = Bench::new();
    bench.handshake();
    bench.expect(&V4.reverse().tcp(FIN | ACK, 501, 101, &[]), RPL);
    bench.expect(&V4.tcp(FIN | ACK, 101, 502, &[]), EST);
    bench.expect_tcp(TcpState::LastAck, 30);
    bench.expect(&V4.tcp(SYN, 9000, 0, &[]), EST);
    bench.expect(&V4.reverse().tcp(ACK, 502, 102, &[]), RPL);
    bench.expect_tcp(TcpState::LastAck, 30);
    bench.expect(&V4.reverse().tcp(ACK, 502, 102, &[]), RPL);
    bench.expect_tcp(TcpState::TimeWait, 120);
}

#[test]
fn the_tracker_falls_in_step_with_the_peers() {
    let mut bench = Bench::new();
    bench.handshake();
    // The initiator has crashed and begins again.
    bench.expect(&V4.tcp(SYN, 70_000, 0, &[]), EST);
    bench.expect_tcp(TcpState::Established, 432_000);
    bench.expect(&V4.reverse().tcp(SYN | ACK, 90_000, 70_001, &[]), RPL);
    bench.expect_tcp(TcpState::SynRecv, 60);
    bench.expect(&V4.tcp(ACK, 70_001, 90_001, &[]), EST);
    bench.expect_tcp(TcpState::Established, 432_000);
}

#[test]
fn repeated_syns_do_not_keep_a_connection() {
    let mut bench = Bench::new();
    bench.expect(&V4.tcp(SYN, 100, 0, &[]), NEW);
    bench.pass(50);
    bench.expect(&V4.tcp(SYN, 100, 0, &[]), NEW);
    bench.expect_tcp(TcpState::SynSent, 70);
    assert_eq!(bench.only().counters[0].packets, 1);
}

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

#[test]
fn what_is_not_committed_is_not_there() {
    let mut bench = Bench::new();
    let packet = V4.udp(b"a");
    let tracked = bench.tracker.track(&Input::new(&packet), bench.now);
    assert_eq!(tracked.state(), CtState::TRACKED | NEW);
    assert_eq!((tracked.connection(), bench.tracker.len()), (None, 0));
    bench.expect(&V4.reverse().udp(b"b"), NEW);
}

#[test]
fn a_commit_sets_mark_and_label_and_direction() {
    let bench = Bench::new();
    let commit = Commit {
        mark: Some((0xff, 0x0f)),
        label: Some((u128::MAX, 1 << 100)),
        ..Commit::default()
    };
    let packet = V4.udp(b"a");
    let input = Input::new(&packet);
    let mut tracked = bench.tracker.track(&input, bench.now);
    bench
        .tracker
        .commit(&mut tracked, &input, &commit, bench.now)
        .unwrap();
    assert_eq!(
        (bench.only().mark, bench.only().label.bits()),
        (0x0f, 1 << 100)
    );
    let listener = bench.tracker.listen(EventMask::ALL, 10).unwrap();
    let answer = V4.reverse().udp(b"b");
    let input = Input::new(&answer);
    let mut tracked = bench.tracker.track(&input, bench.now);
    assert_eq!(tracked.state(), CtState::TRACKED | RPL);
    assert_eq!((tracked.mark(), tracked.label().bits()), (0x0f, 1 << 100));
    let commit = Commit {
        mark: Some((0x30, 0xf0)),
        ..Commit::default()
    };
    bench
        .tracker
        .commit(&mut tracked, &input, &commit, bench.now)
        .unwrap();
    assert_eq!(bench.only().mark, 0x3f);
    assert_eq!(tracked.mark(), 0x3f);
    let commit = Commit {
        force: true,
        ..Commit::default()
    };
    bench
        .tracker
        .commit(&mut tracked, &input, &commit, bench.now)
        .unwrap();
    assert_eq!(tracked.state(), CtState::TRACKED | NEW);
    assert_eq!(
        bench.only().original.src(),
        Endpoint {
            address: V4.dst,
            part: 80
        }
    );
    let events: Vec<_> = std::iter::from_fn(|| listener.next()).collect();
    assert!(matches!(
        events[0],
        Event::Update(_, Changes { reply: true, .. })
    ));
    assert!(matches!(
        events[1],
        Event::Update(_, Changes { mark: true, .. })
    ));
    assert!(
        matches!(&events[2], Event::Destroy(gone) if gone.end == Some((bench.now, RemovalReason::Deleted)))
    );
    assert!(matches!(events[3], Event::New(_)));
    assert_eq!(events.len(), 4);
}

#[test]
fn slow_listeners_lose_events() {
    let mut bench = Bench::new();
    let (slow, deaf) = (
        bench.tracker.listen(EventMask::ALL, 1).unwrap(),
        EventMask {
            new: false,
            ..EventMask::ALL
        },
    );
    let deaf = bench.tracker.listen(deaf, 1).unwrap();
    bench.send(&V4.udp(b"a"));
    bench.send(&V4.packet(Protocol(33), b"a"));
    assert_eq!((slow.lost(), deaf.lost()), (1, 0));
    assert!(matches!(slow.next(), Some(Event::New(_))));
    assert_eq!((slow.next(), deaf.next()), (None, None));
}

#[test]
fn zones_are_apart() {
    let bench = Bench::new();
    let packet = V4.udp(b"a");
    let answer = V4.reverse().udp(b"a");
    for id in [1, 2] {
        let input = Input {
            zone: Zone::new(id),
            ..Input::new(&packet)
        };
        let mut tracked = bench.tracker.track(&input, bench.now);
        assert_eq!(tracked.state(), CtState::TRACKED | NEW);
        bench
            .tracker
            .commit(&mut tracked, &input, &Commit::default(), bench.now)
            .unwrap();
    }
    let input = Input {
        zone: Zone::new(3),
        ..Input::new(&answer)
    };
    assert_eq!(
        bench.tracker.track(&input, bench.now).state(),
        CtState::TRACKED | NEW
    );
    assert_eq!((bench.tracker.len(), bench.tracker.zone_count(1)), (2, 1));
    let flushed = bench.tracker.flush(Cursor::default(), bench.now);
    assert_eq!(flushed, (2, None));
}

#[test]
fn packets_of_one_new_connection_are_merged() {
    let bench = Bench::new();
    let packet = V4.udp(b"a");
    let input = Input::new(&packet);
    let mut tracked = [0; 2].map(|_| bench.tracker.track(&input, bench.now));
    for tracked in &mut tracked {
        bench
            .tracker
            .commit(tracked, &input, &Commit::default(), bench.now)
            .unwrap();
    }
    assert_eq!(bench.only().counters[0].packets, 2);
    assert_eq!(bench.tracker.statistics().clash_resolve, 1);
    let syn = V4.tcp(SYN, 1, 0, &[]);
    let input = Input::new(&syn);
    let mut tracked = [0; 2].map(|_| bench.tracker.track(&input, bench.now));
    let results = tracked.each_mut().map(|tracked| {
        bench
            .tracker
            .commit(tracked, &input, &Commit::default(), bench.now)
    });
    assert_eq!(results, [Ok(()), Err(CommitError::Clash)]);
    assert_eq!(bench.tracker.statistics().insert_failed, 1);
}

#[test]
fn policies_set_timeouts() {
    let mut short = crate::settings::Timeouts::default();
    short.udp.unreplied = Duration::from_secs(5);
    let settings = Settings {
        policies: vec![short],
        ..Settings::default()
    };
    let bench = Bench::with(settings);
    let packet = V4.udp(b"a");
    let input = Input {
        policy: PolicyId(1),
        ..Input::new(&packet)
    };
    let mut tracked = bench.tracker.track(&input, bench.now);
    bench
        .tracker
        .commit(&mut tracked, &input, &Commit::default(), bench.now)
        .unwrap();
    assert_eq!(bench.only().timeout.as_secs(), 5);
    bench.tracker.track(&Input::new(&packet), bench.now);
    assert_eq!(bench.only().timeout.as_secs(), 5);
}

#[test]
fn events_show_the_connection_at_its_beginning_and_its_end() {
    let mut bench = Bench::new();
    let listener = bench.tracker.listen(EventMask::ALL, 10).unwrap();
    let packet = V4.udp(b"a");
    let input = Input {
        policy: PolicyId(3),
        ..Input::new(&packet)
    };
    let commit = Commit {
        mark: Some((7, u32::MAX)),
        ..Commit::default()
    };
    let mut tracked = bench.tracker.track(&input, bench.now);
    bench
        .tracker
        .commit(&mut tracked, &input, &commit, bench.now)
        .unwrap();
    let at_beginning = bench.only();
    bench.pass(60);
    assert_eq!(listener.next(), Some(Event::New(at_beginning.clone())));
    let Some(Event::Destroy(gone)) = listener.next() else {
        panic!("no end");
    };
    assert_eq!(gone.id, at_beginning.id);
    assert_eq!((gone.policy, gone.mark), (PolicyId(3), 7));
}

/// A call visits a bounded part of a table, whatever is in it.
#[test]
fn dumps_and_flushes_have_steps() {
    let now = Time::from_secs(1000);
    let tracker = Tracker::new(100_000, Seed::new([9; 16]), Settings::default());
    let count = 20_000u32;
    for number in 0..count {
        let [_, a, b, c] = number.to_be_bytes();
        let packet = Flow {
            src: [10, a, b, c].into(),
            ..V4
        }
        .udp(b"a");
        let input = Input::new(&packet);
        let mut tracked = tracker.track(&input, now);
        tracker
            .commit(&mut tracked, &input, &Commit::default(), now)
            .unwrap();
    }
    let (mut cursor, mut seen, mut calls) = (Some(Cursor::default()), 0, 0);
    while let Some(from) = cursor {
        let (found, next) = tracker.dump(from, 15_000, now);
        assert!(found.len() <= 15_000);
        (cursor, seen, calls) = (next, seen + found.len(), calls + 1);
    }
    assert_eq!((seen, calls), (count as usize, 7));
    let (mut cursor, mut gone, mut calls) = (Some(Cursor::default()), 0, 0);
    while let Some(from) = cursor {
        let (deleted, next) = tracker.flush(from, now);
        (cursor, gone, calls) = (next, gone + deleted, calls + 1);
    }
    assert_eq!((gone, calls), (count as usize, 7));
    assert!(tracker.is_empty());
}

#[test]
fn references_that_were_made_up_find_nothing() {
    let mut bench = Bench::new();
    bench.send(&V4.udp(b"a"));
    let only = bench.only();
    assert_eq!(ConnectionRef::from_bits(only.id.to_bits()), Some(only.id));
    let index = only.id.to_bits() & 0xffff_ffff;
    let generations = [0, 1, 2, 3, 0x7fff_ffff, 0xffff_ffff];
    let indexes = [index, 1023, 1024, 1 << 24, 0xffff_ffff];
    let bits = generations
        .iter()
        .flat_map(|generation| indexes.map(|index| generation << 32 | index));
    for bits in bits.filter(|&bits| bits != only.id.to_bits()) {
        let Some(forged) = ConnectionRef::from_bits(bits) else {
            assert_eq!(bits >> 32 & 1, 0);
            continue;
        };
        let tracker = &bench.tracker;
        assert_eq!(tracker.get(forged, bench.now), None);
        assert!(!tracker.delete(forged, bench.now));
        assert!(!tracker.set_timeout(forged, Duration::ZERO, bench.now));
        let commit = Commit {
            mark: Some((1, 1)),
            ..Commit::default()
        };
        tracker.update(forged, &commit, bench.now);
    }
    assert_eq!(bench.only(), only);
    for bits in [1024, 1 << 24, u64::MAX] {
        let cursor = Cursor::from_bits(bits);
        let (found, next) = bench.tracker.dump(cursor, 10, bench.now);
        assert_eq!((found.len(), next), (0, None));
    }
}

#[test]
fn control_planes_create_connections() {
    let mut bench = Bench::new();
    let tuple = |flow: Flow| {
        let packet = flow.tcp(ACK, 1, 1, &[]);
        Headers::parse(&packet).unwrap().tuple(&packet).unwrap()
    };
    let translated = Flow {
        src: "192.0.2.1".parse().unwrap(),
        ..V4
    };
    let new = NewConnection {
        original: tuple(V4),
        reply: tuple(translated.reverse()),
        zone: Zone::DEFAULT,
        status: Status::ASSURED | Status::SEEN_REPLY | Status::DYING,
        timeout: Duration::from_secs(77),
        mark: 5,
        label: crate::entry::Label::new(6),
        tcp: TcpState::Established,
        policy: PolicyId::default(),
    };
    bench.tracker.create_connection(&new, bench.now).unwrap();
    bench.expect_tcp(TcpState::Established, 77);
    let again = bench.tracker.create_connection(&new, bench.now);
    assert_eq!(again, Err(CommitError::Clash));
    let status = bench.only().status;
    assert!(status.contains(Status::ASSURED | Status::SRC_NAT | Status::CONFIRMED));
    assert!(!status.intersects(Status::DYING | Status::DST_NAT));
    bench.expect(&V4.tcp(ACK, 100, 500, &[]), EST | CtState::SRC_NAT);
    bench.expect(
        &translated.reverse().tcp(ACK, 500, 100, &[]),
        RPL | CtState::DST_NAT,
    );
    let mixed = NewConnection {
        reply: tuple(V6.reverse()),
        ..new
    };
    assert_eq!(
        bench.tracker.create_connection(&mixed, bench.now),
        Err(CommitError::Tuples)
    );
}
