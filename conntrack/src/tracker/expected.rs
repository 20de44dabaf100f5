// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Expected connections, and the packets that announce them.

use std::sync::atomic::Ordering;

use super::{CommitError, Pending, Tracker};
use crate::bits::Status;
use crate::entry::{Data, Extension};
use crate::expect::Expectation;
use crate::helper::{self, Finding, Helper, Packet};
use crate::nat::{Nat, NatRange};
use crate::packet::Headers;
use crate::stats::DropReason;
use crate::table::{ConnectionRef, Keys};
use crate::time::Time;
use crate::tuple::Direction;

/// Lets the connection's helper, if it has one, read a packet.
pub(super) fn read(
    data: &mut Data,
    keys: &Keys,
    status: Status,
    direction: Direction,
    message: &[u8],
) -> Finding {
    let Some(extension) = &mut data.extension else {
        return Finding::Nothing;
    };
    let Some(state) = &mut extension.helper else {
        return Finding::Nothing;
    };
    let packet = Packet {
        keys,
        direction,
        is_established: direction == Direction::Reply || status.contains(Status::SEEN_REPLY),
        is_translated: status.intersects(Status::NAT),
        message,
    };
    helper::read(state, &packet)
}

impl Pending {
    fn extension(&mut self) -> &mut Extension {
        self.data.extension.get_or_insert_with(Box::default)
    }

    /// Assigns a helper, if it is one for the connection's protocol.
    pub(super) fn assign(&mut self, helper: Helper) {
        if helper.protocol() == self.original.protocol() {
            self.extension().helper = Some(helper.into());
            self.status |= Status::HELPER;
        }
    }
}

impl Tracker {
    /// Makes a new connection an expected one, if it is (`init_conntrack`). The expectation stays until
    /// the connection is committed: the packet may be dropped before.
    pub(super) fn apply_expectation(&self, pending: &mut Pending, now: Time) {
        let zone = pending.zone.id();
        let Some(expectation) = self.expectations.find(&pending.original, zone, now) else {
            return;
        };
        let master = expectation.master;
        let Some(keys) = self.table.keys(master) else {
            return;
        };
        pending.status |= Status::EXPECTED;
        // As in Open vSwitch, the label is the master's, too (`ovs_ct_init_labels`).
        let slot = self.table.slot(master);
        pending.mark = slot.mark.load(Ordering::Relaxed);
        if let Some(data) = slot.lock(master.generation) {
            pending.data.label = data.label;
        }
        pending.extension().master = Some(master);
        if let Some(follow) = expectation.follow {
            let masters = keys.tuple(follow.direction.opposite());
            let port = follow.port;
            let nat = Nat {
                source: Some(NatRange::to_address(masters.dst().address)),
                destination: Some(
                    NatRange::to_address(masters.src().address).with_ports(port, port),
                ),
            };
            pending.is_exhausted = self.set_up_nat(pending, &nat, now).is_err();
        }
    }

    /// Inserts a connection, and takes its expectation if it is an expected one. If another packet has
    /// taken it, the connection clashes with that packet's.
    pub(super) fn insert_expected(
        &self,
        pending: Pending,
        now: Time,
    ) -> Result<(ConnectionRef, Keys, Status), CommitError> {
        let Some(master) = pending.data.master() else {
            return self.insert(pending, now);
        };
        let (original, zone) = (pending.original, pending.zone);
        let Some(taken) = self.expectations.take(&original, zone.id(), master, now) else {
            // A packet of the same connection may have taken it, on another core.
            return match self.find(&original, zone, now) {
                Some(_) => self.insert(pending, now),
                None => Err(CommitError::Clash),
            };
        };
        let result = self.insert(pending, now);
        match result {
            Ok(_) => {
                self.stats.expect_new.add(1);
                self.stats.expect_delete.add(1);
            }
            // The sender may try again. If there is another one meanwhile, that one holds.
            Err(_) => {
                if !self.expectations.put_back(taken) {
                    self.stats.expect_delete.add(1);
                }
            }
        }
        result
    }

    /// Lets the helper of a connection that was just inserted read its first packet. Returns whether
    /// the packet may pass.
    pub(super) fn read_first(&self, connection: ConnectionRef, packet: &[u8], now: Time) -> bool {
        let Some(keys) = self.table.keys(connection) else {
            return true;
        };
        let slot = self.table.slot(connection);
        if !slot.status().contains(Status::HELPER) {
            return true;
        }
        let Ok(headers) = Headers::parse(packet) else {
            return true;
        };
        let Some(mut data) = slot.lock(connection.generation) else {
            return true;
        };
        let message = headers.message(packet);
        let finding = read(
            &mut data,
            &keys,
            slot.status(),
            Direction::Original,
            message,
        );
        drop(data);
        self.follow(finding, connection, &keys, now)
    }

    /// Adds the expectation that a packet announces. Returns whether the packet may pass.
    pub(super) fn follow(
        &self,
        finding: Finding,
        master: ConnectionRef,
        keys: &Keys,
        now: Time,
    ) -> bool {
        let announced = match finding {
            Finding::Nothing => return true,
            Finding::Partial => {
                self.stats.count_drop(DropReason::Announcement);
                return false;
            }
            Finding::Expect(announced) => announced,
        };
        let expectation = Expectation {
            master,
            zone: keys.zone().id(),
            protocol: announced.protocol,
            src: announced.src,
            dst: announced.dst,
            deadline: now + announced.timeout,
            follow: announced.follow,
        };
        match self.expectations.add(expectation, now) {
            Ok(gone) => {
                self.stats.expect_create.add(1);
                self.stats.expect_delete.add(gone as u64);
                true
            }
            Err(error) => {
                self.stats.count_drop(DropReason::Expectation(error));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::CtState;
    use crate::hash::Seed;
    use crate::nat::Translation;
    use crate::packet::tcp::flag::{ACK, SYN};
    use crate::settings::Settings;
    use crate::testing::{Flow, V4, V6};
    use crate::tracker::{Commit, Cursor, Input, Tracked};

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
            assert_eq!(tracker.expectations(NOW).len(), 1);
            assert_eq!(tracker.expectations(NOW)[0].timeout(NOW).as_secs(), 300);
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
            assert!(tracker.expectations(NOW).is_empty());
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

    /// A packet that is tracked, but not let in, leaves the expectation for the next one.
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
        assert_eq!(tracker.expectations(NOW).len(), 1);
        assert_eq!(tracker.statistics().expect_new, 0);
        // An insertion that fails leaves it as well.
        tracker.set_zone_limit(0, Some(1));
        let commit = Commit::default();
        let mut again = tracker.track(&inputs[0], NOW);
        let failed = tracker.commit(&mut again, &inputs[0], &commit, NOW);
        assert_eq!(failed, Err(CommitError::ZoneLimit));
        assert_eq!(tracker.expectations(NOW).len(), 1);
        tracker.set_zone_limit(0, None);
        let results: Vec<_> = tracked
            .iter_mut()
            .zip(&inputs)
            .map(|(tracked, input)| tracker.commit(tracked, input, &commit, NOW))
            .collect();
        assert_eq!(results, [Ok(()), Err(CommitError::Clash)]);
        assert!(tracker.expectations(NOW).is_empty());
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
        assert!(tracker.expectations(NOW).is_empty());
        // The beginning of a command is dropped, and comes again whole.
        let (part, _) = pass(&tracker, &control.tcp(ACK, 128, 511, b"PORT 10,0"), &commit);
        assert!(part.must_drop());
        assert_eq!(tracker.statistics().drop_by_reason.values().sum::<u64>(), 1);
        let again = control.tcp(ACK, 128, 511, b"PORT 10,0,0,1,4,1\r\n");
        assert!(!pass(&tracker, &again, &commit).0.must_drop());
        assert_eq!(tracker.expectations(NOW).len(), 1);
        // With the control connection, what it has announced goes.
        tracker.flush(Cursor::default(), NOW);
        assert!(tracker.expectations(NOW).is_empty());
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
}
