// SPDX-License-Identifier: Apache-2.0 OR MIT
use super::*;

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
    let listener = bench.tracker.listen(EventMask::ALL, 8).unwrap();
    bench.expect(&V4.tcp(SYN, 100, 0, &[]), NEW);
    bench.expect(&V4.reverse().tcp(RST | ACK, 0, 101, &[]), RPL);
    assert_eq!(bench.tracker.len(), 0);
    assert!(matches!(listener.next(), Some(Event::New(..))));
    let Some(Event::Destroy(gone)) = listener.next() else {
        panic!("the last event is about the end");
    };
    assert!(
        !gone.status.contains(Status::SEEN_REPLY),
        "as the kernel reports it"
    );
    let ProtoInfo::Tcp { state, .. } = gone.proto else {
        panic!("not TCP")
    };
    assert_eq!(state, TcpState::Close);
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
    // 1000 << 7 bytes may be sent to the initiator.
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
