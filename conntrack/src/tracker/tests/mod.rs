// SPDX-License-Identifier: Apache-2.0 OR MIT
mod bursts;
mod commit;
mod control;
mod expected;
mod floods;
mod other_protocols;
mod successor;
mod tcp;

use std::time::Duration;

use super::*;
use crate::bits::CtState;
use crate::entry::{Counters, ProtoInfo};
use crate::events::{Changes, Event, EventMask};
use crate::helper::Helper;
use crate::nat::SequenceAdjustment;
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
