// SPDX-License-Identifier: Apache-2.0 OR MIT
use super::*;

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
    assert!(matches!(slow.next(), Some(Event::New(..))));
    assert_eq!((slow.next(), deaf.next()), (None, None));
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
    let changes = Changes {
        mark: true,
        ..Changes::default()
    };
    let begins = Event::New(at_beginning.clone(), changes);
    assert_eq!(listener.next(), Some(begins));
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
        status: Status::ASSURED | Status::SEEN_REPLY | Status::DYING,
        mark: 5,
        label: crate::entry::Label::new(6),
        proto: NewProto::Tcp {
            state: Some(TcpState::Established),
            scales: Some([7, 2]),
            flags: [TcpFlags {
                bits: 0x09,
                mask: 0xff,
            }; 2],
        },
        helper: Some(Helper::Ftp),
        counters: [
            Counters {
                packets: 3,
                bytes: 99,
            },
            Counters::default(),
        ],
        adjustments: Some([
            SequenceAdjustment {
                position: 90,
                before: 0,
                after: 5,
            },
            SequenceAdjustment::default(),
        ]),
        ..NewConnection::new(
            tuple(V4),
            tuple(translated.reverse()),
            Duration::from_secs(77),
        )
    };
    bench.tracker.create_connection(&new, bench.now).unwrap();
    bench.expect_tcp(TcpState::Established, 77);
    let again = bench.tracker.create_connection(&new, bench.now);
    assert_eq!(again, Err(CommitError::Clash));
    let found = bench.only();
    assert!(found
        .status
        .contains(Status::ASSURED | Status::SRC_NAT | Status::CONFIRMED | Status::HELPER));
    assert!(!found.status.intersects(Status::DYING | Status::DST_NAT));
    let ProtoInfo::Tcp { scales, flags, .. } = found.proto else {
        panic!("not TCP")
    };
    assert_eq!((scales, flags), ([7, 2], [9, 9]));
    assert_eq!((found.helper, found.counters), (new.helper, new.counters));
    assert_eq!(found.adjustments, new.adjustments);
    let packet = V4.tcp(ACK, 100, 500, &[]);
    let tracked = bench.expect(&packet, EST | CtState::SRC_NAT);
    let mut adjusted = packet;
    bench.tracker.translate(&tracked, &mut adjusted);
    assert_eq!(adjusted, translated.tcp(ACK, 105, 500, &[]));
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

/// The only connection's reference.
fn only(bench: &Bench) -> ConnectionRef {
    bench.only().id
}

#[test]
fn control_planes_change_connections() {
    let mut bench = Bench::new();
    bench.expect(&V4.tcp(SYN, 1, 0, &[]), NEW);
    let id = only(&bench);
    let (tracker, now) = (&bench.tracker, bench.now);
    let listener = tracker.listen(EventMask::ALL, 8).unwrap();
    let update = Update {
        status: Some(Status::CONFIRMED | Status::ASSURED | Status::FIXED_TIMEOUT),
        timeout: Some(Duration::from_secs(7)),
        mark: Some((0xff, 0x0f)),
        label: Some((6, 7)),
        proto: NewProto::Tcp {
            state: Some(TcpState::Established),
            scales: None,
            flags: Default::default(),
        },
        helper: Some(Some(Helper::Ftp)),
    };
    tracker.change(id, &update, now).unwrap();
    let found = bench.only();
    assert!(found
        .status
        .contains(Status::ASSURED | Status::FIXED_TIMEOUT));
    assert_eq!((found.mark, found.label.bits()), (0x0f, 6));
    assert_eq!(found.helper, Some(Helper::Ftp));
    bench.expect_tcp(TcpState::Established, 7);
    let Some(crate::events::Event::Update(_, changes)) = listener.next() else {
        panic!("no event")
    };
    assert_eq!(changes, Changes::ALL);
    // A request is an event, also if it changes nothing.
    tracker.change(id, &Update::default(), now).unwrap();
    let event = listener.next();
    assert!(matches!(event, Some(Event::Update(_, Changes::ALL))));
    let refused = |update: Update| tracker.change(id, &update, now);
    let status = |bits| Update {
        status: Some(bits),
        ..Update::default()
    };
    assert_eq!(
        refused(status(Status::ASSURED)),
        Err(UpdateError::Status(Status::CONFIRMED))
    );
    assert_eq!(
        refused(status(Status::CONFIRMED)),
        Err(UpdateError::Status(Status::ASSURED))
    );
    let helper = |helper| Update {
        helper: Some(helper),
        ..Update::default()
    };
    assert_eq!(
        refused(helper(Some(Helper::Tftp))),
        Err(UpdateError::Helper(Helper::Tftp))
    );
    assert_eq!(
        refused(helper(Some(Helper::Irc))),
        Err(UpdateError::HelperBusy(Helper::Ftp))
    );
    let sctp = Update {
        proto: NewProto::Sctp {
            state: SctpState::Established,
            tags: [1, 2],
        },
        ..Update::default()
    };
    assert_eq!(refused(sctp), Err(UpdateError::Proto));
    refused(helper(None)).unwrap();
    assert_eq!(bench.only().helper, None);
    bench.pass(8);
    assert_eq!(
        bench.tracker.change(id, &Update::default(), bench.now),
        Err(UpdateError::Missing)
    );
}

#[test]
fn counters_are_zeroed_when_they_are_read() {
    let mut bench = Bench::new();
    bench.expect(&V4.udp(b"a"), NEW);
    let id = only(&bench);
    let read = |bench: &Bench| bench.tracker.get_and_zero(id, bench.now).unwrap().counters[0];
    assert_eq!(read(&bench).packets, 1);
    assert_eq!(read(&bench), Counters::default());
    bench.expect(&V4.udp(b"a"), NEW);
    let (found, _) =
        bench
            .tracker
            .dump_and_zero(Cursor::default(), 9, &Filter::default(), bench.now);
    assert_eq!(found[0].counters[0].packets, 1);
    assert_eq!(read(&bench), Counters::default());
}

#[test]
fn filters_select_connections() {
    let mut bench = Bench::new();
    bench.expect(&V4.udp(b"a"), NEW);
    bench.expect(&V6.udp(b"a"), NEW);
    bench.expect(&V4.tcp(SYN, 1, 0, &[]), NEW);
    let marked = Commit {
        mark: Some((6, 7)),
        ..Commit::default()
    };
    let packet = V4.udp(b"a");
    let input = Input {
        zone: Zone::new(3),
        ..Input::new(&packet)
    };
    let mut tracked = bench.tracker.track(&input, bench.now);
    bench
        .tracker
        .commit(&mut tracked, &input, &marked, bench.now)
        .unwrap();
    let count = |filter: Filter| {
        let (found, _) = bench
            .tracker
            .dump_matching(Cursor::default(), 9, &filter, bench.now);
        assert!(found.iter().all(|one| filter.passes(one)));
        found.len()
    };
    let any = Filter::default;
    assert_eq!(count(any()), 4);
    let of_family = Filter {
        family: Some(Family::V6),
        ..any()
    };
    assert_eq!(count(of_family), 1);
    let udp = Filter {
        protocol: Some(Protocol::UDP),
        ..any()
    };
    assert_eq!(count(udp.clone()), 3);
    let in_zone = |id| Filter {
        zone: Some(id),
        ..any()
    };
    assert_eq!([0, 3, 4].map(|id| count(in_zone(id))), [3, 1, 0]);
    let with_mark = |mark, mask| Filter {
        mark: Some((mark, mask)),
        ..any()
    };
    assert_eq!(count(with_mark(2, 2)), 1);
    // As the kernel compares it.
    assert_eq!(count(with_mark(6, 2)), 0);
    let with_status = |set, clear| Filter {
        status: (set, clear),
        ..any()
    };
    assert_eq!(count(with_status(Status::CONFIRMED, Status::ASSURED)), 4);
    assert_eq!(count(with_status(Status::ASSURED, Status::NONE)), 0);
    let in_state = Filter {
        tcp_state: Some(TcpState::SynSent),
        ..any()
    };
    assert_eq!(count(in_state), 1);
    let from = |address: &str, mask: &str, port| {
        let network = (address.parse().unwrap(), mask.parse().unwrap());
        let tuple = TupleFilter {
            src: Some(network),
            src_part: port,
            ..TupleFilter::default()
        };
        Filter {
            tuples: [tuple, TupleFilter::default()],
            ..any()
        }
    };
    assert_eq!(count(from("10.0.0.9", "255.255.255.0", None)), 3);
    assert_eq!(count(from("10.0.0.9", "255.255.255.255", None)), 0);
    assert_eq!(count(from("10.0.0.1", "255.255.255.255", Some(1234))), 3);
    assert_eq!(count(from("10.0.0.1", "255.255.255.255", Some(9))), 0);
    let deleted = bench
        .tracker
        .delete_matching(Cursor::default(), &udp, bench.now);
    assert_eq!((deleted.0, bench.tracker.len()), (3, 1));
}

#[test]
fn control_planes_expect_connections() {
    let mut bench = Bench::new();
    bench.expect(&V4.tcp(SYN, 1, 0, &[]), NEW);
    let master = bench.only();
    let (tracker, now) = (&bench.tracker, bench.now);
    let listener = tracker.listen(EventMask::ALL, 8).unwrap();
    let ends = |src_port, dst_port| {
        let end = |address, part| Endpoint { address, part };
        let (src, dst) = (end(V4.dst, src_port), end(V4.src, dst_port));
        Tuple::new(Protocol::UDP, src, dst).unwrap()
    };
    let new = NewExpectation {
        master: master.id,
        tuple: ends(0, 7),
        mask: crate::expect::SourceMask::new(Family::V4, true, false),
        timeout: Duration::from_secs(9),
        class: 0,
        flags: crate::bits::ExpectFlags::NONE,
        assigned: None,
        nat: None,
    };
    let id = tracker.create_expectation(&new, now).unwrap();
    let found = tracker.find_expectation(&ends(5, 7), 0, now).unwrap();
    assert_eq!((found.id, found.master_tuple), (id, master.original));
    assert_eq!(
        tracker.expectation_of(&master.original, 0, now),
        Some(found.clone())
    );
    use crate::events::Event;
    assert_eq!(listener.next(), Some(Event::ExpectNew(found.clone())));
    assert!(tracker.delete_expectation(id));
    assert!(!tracker.delete_expectation(id));
    assert_eq!(listener.next(), Some(Event::ExpectDestroy(found)));
    tracker.create_expectation(&new, now).unwrap();
    assert_eq!(tracker.expectation_count(), 1);
    assert_eq!(tracker.flush_expectations(9, now), 1);
    // It is fulfilled, and goes with its master.
    tracker.create_expectation(&new, now).unwrap();
    let data = Flow {
        src_port: 5,
        dst_port: 7,
        ..V4.reverse()
    };
    bench.expect(&data.udp(b"x"), NEW | CtState::RELATED);
    let (tracker, now) = (&bench.tracker, bench.now);
    assert_eq!(tracker.expectation_count(), 0);
    tracker.create_expectation(&new, now).unwrap();
    assert!(tracker.delete(master.id, now));
    assert_eq!(tracker.expectation_count(), 0);
    assert_eq!(
        tracker.create_expectation(&new, now),
        Err(crate::expect::ExpectError::NoMaster)
    );
}

#[test]
fn counters_of_a_control_plane_wrap() {
    let mut bench = Bench::new();
    let end = |address, part| Endpoint { address, part };
    let ends = (end(V4.src, V4.src_port), end(V4.dst, V4.dst_port));
    let original = Tuple::new(Protocol::UDP, ends.0, ends.1).unwrap();
    let most = Counters {
        packets: u64::MAX,
        bytes: u64::MAX,
    };
    let reply = original.invert().unwrap();
    let new = NewConnection {
        counters: [most; 2],
        ..NewConnection::new(original, reply, Duration::from_secs(60))
    };
    bench.tracker.create_connection(&new, bench.now).unwrap();
    let packet = V4.udp(b"x");
    bench.expect(&packet, NEW);
    let counted = Counters {
        packets: 0,
        bytes: packet.len() as u64 - 1,
    };
    assert_eq!(bench.only().counters, [counted, most]);
}

#[test]
fn an_expected_connection_has_no_helper_of_another_protocol() {
    for (assigned, helper) in [
        (Helper::Tftp, Some(Helper::Tftp)),
        (Helper::Ftp, None),
        (Helper::Pptp, None),
    ] {
        let mut bench = Bench::new();
        bench.expect(&V4.tcp(SYN, 1, 0, &[]), NEW);
        let master = bench.only();
        let end = |address, part| Endpoint { address, part };
        let ends = (end(V4.dst, 0), end(V4.src, 7));
        let new = NewExpectation {
            master: master.id,
            tuple: Tuple::new(Protocol::UDP, ends.0, ends.1).unwrap(),
            mask: crate::expect::SourceMask::new(Family::V4, true, false),
            timeout: Duration::from_secs(9),
            class: 0,
            flags: crate::bits::ExpectFlags::NONE,
            assigned: Some(assigned),
            nat: None,
        };
        bench.tracker.create_expectation(&new, bench.now).unwrap();
        let data = Flow {
            dst_port: 7,
            ..V4.reverse()
        };
        bench.expect(&data.udp(b"x"), NEW | CtState::RELATED);
        let (all, _) = bench.tracker.dump(Default::default(), 10, bench.now);
        let expected = all.iter().find(|one| one.master.is_some()).unwrap();
        assert_eq!(expected.helper, helper, "{assigned:?}");
    }
}

#[test]
fn an_expectation_is_of_one_address_family() {
    use crate::expect::{ExpectError, ExpectFunction, ExpectNat, SourceMask};
    let mut bench = Bench::new();
    bench.expect(&V4.tcp(SYN, 1, 0, &[]), NEW);
    let (master, tracker, now) = (bench.only().id, &bench.tracker, bench.now);
    let new = |flow: Flow, mask, target: std::net::IpAddr| {
        let end = |address, part| Endpoint { address, part };
        let ends = (end(flow.dst, 0), end(flow.src, 7));
        let target = end(target, 7);
        let new = NewExpectation {
            master,
            tuple: Tuple::new(Protocol::UDP, ends.0, ends.1).unwrap(),
            mask: SourceMask::new(mask, true, false),
            timeout: Duration::from_secs(9),
            class: 0,
            flags: crate::bits::ExpectFlags::NONE,
            assigned: None,
            nat: Some(ExpectNat {
                direction: Direction::Original,
                target,
                function: ExpectFunction::FollowMaster,
            }),
        };
        tracker.create_expectation(&new, now)
    };
    let refused = Err(ExpectError::Family);
    assert_eq!(new(V6, Family::V6, V6.src), refused);
    assert_eq!(new(V4, Family::V6, V4.src), refused);
    assert_eq!(new(V4, Family::V4, V6.src), refused);
    assert!(new(V4, Family::V4, V4.src).is_ok());
}
