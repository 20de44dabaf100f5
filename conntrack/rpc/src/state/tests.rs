// SPDX-License-Identifier: Apache-2.0 OR MIT

use std::time::Duration;

use adit_conntrack::{
    Direction, Endpoint, ExpectFlags, ExpectNat, Expectation, NewConnection, NewExpectation,
    NewProto, Protocol, ReservedPorts, Seed, Settings, SourceMask, Status, TcpFlags, TcpState,
    Time, Tuple, Update,
};

use adit_conntrack::testing::{Flow, Tcp, V4};
use adit_conntrack::{
    Commit, Connection, ConnectionRef, CtState, Cursor, ExpectFunction, Input, SequenceAdjustment,
    Tracker,
};

use super::*;
use crate::Clock;

mod damaged;
mod expected;

struct At(u64);

impl Clock for At {
    fn now(&self) -> Time {
        Time::from_nanos(self.0)
    }

    fn start_date(&self) -> Duration {
        Duration::from_secs(1_700_000_000)
    }
}

fn tracker() -> Tracker {
    Tracker::new(64, Seed::new([7; 16]), Settings::default())
}

fn tuple(port: u16, server: u16) -> Tuple {
    let end = |address: &str, part| Endpoint {
        address: address.parse().unwrap(),
        part,
    };
    Tuple::new(
        Protocol::TCP,
        end("10.0.0.1", port),
        end("10.0.0.2", server),
    )
    .unwrap()
}

/// All connections, without their numbers.
fn all(tracker: &Tracker, now: Time) -> Vec<Connection> {
    let (mut found, next) = tracker.dump(Cursor::default(), 64, now);
    assert!(next.is_none());
    found.sort_by_key(|one| one.original.src().part);
    found
}

#[test]
fn connections_are_restored_with_their_masters_adjustments_and_counters() {
    let (old, new) = (tracker(), tracker());
    let clock = At(5_000_000_000);
    let connection = |port: u16| {
        let original = tuple(port, 21);
        let timeout = Duration::from_secs(100);
        let mut one = NewConnection::new(original, original.invert().unwrap(), timeout);
        one.status = Status::ASSURED | Status::SEEN_REPLY;
        one.proto = NewProto::Tcp {
            state: Some(TcpState::Established),
            scales: Some([7, 8]),
            flags: [TcpFlags {
                bits: 1,
                mask: 0xFF,
            }; 2],
        };
        one.counters[0].packets = port.into();
        one.mark = 9;
        one.start = Some(Time::from_nanos(1_000_000_000));
        one
    };
    let master = old
        .create_connection(&connection(1000), clock.now())
        .unwrap();
    let mut data = connection(1001);
    data.master = Some(master);
    let data = old.create_connection(&data, clock.now()).unwrap();
    let mut third = connection(1002);
    third.master = Some(data);
    let one = SequenceAdjustment {
        position: 5,
        before: -3,
        after: 4,
    };
    third.adjustments = Some([one, SequenceAdjustment::default()]);
    old.create_connection(&third, clock.now()).unwrap();

    let bytes = save(&old, &clock, None);
    let restored = restore(&new, &clock, &bytes).unwrap();
    assert_eq!(restored.connections, 3);
    let (before, after) = (all(&old, clock.now()), all(&new, clock.now()));
    assert_eq!(before.len(), 3);
    for (before, after) in before.iter().zip(&after) {
        let master = |tracker: &Tracker, one: &Connection| {
            let master = one
                .master
                .and_then(|master| tracker.get(master, clock.now()));
            master.map(|master| master.original)
        };
        assert_eq!(master(&old, before), master(&new, after));
        let mut alike = after.clone();
        (alike.id, alike.master) = (before.id, before.master);
        assert_eq!(alike, *before);
    }
}

fn expectation(master: ConnectionRef, port: u16, function: ExpectFunction) -> NewExpectation {
    let tuple = tuple(port, 90);
    NewExpectation {
        master,
        tuple,
        mask: SourceMask {
            address: "255.255.255.255".parse().unwrap(),
            part: u16::MAX,
        },
        timeout: Duration::from_secs(60),
        class: 0,
        flags: ExpectFlags::NONE,
        assigned: None,
        nat: Some(ExpectNat {
            direction: Direction::Reply,
            target: tuple.dst(),
            function,
        }),
    }
}

/// All expectations, without their numbers, as if they were of one master.
fn all_expected(tracker: &Tracker, master: ConnectionRef, now: Time) -> Vec<Expectation> {
    let (mut all, next) = tracker.expectations(0, 100, now);
    assert_eq!(next, None);
    for one in &mut all {
        (one.id, one.master) = (0, master);
    }
    all
}

#[test]
fn expectations_are_those_of_before_except_of_masters_that_have_expired() {
    let clock = At(0);
    let (old, new) = (tracker(), tracker());
    let master = |port, timeout| {
        let original = tuple(port, 21);
        let timeout = Duration::from_secs(timeout);
        let one = NewConnection::new(original, original.invert().unwrap(), timeout);
        old.create_connection(&one, clock.now()).unwrap()
    };
    let (lasting, ending) = (master(1, 100), master(2, 10));
    let expect = |master, port, function| {
        let new = expectation(master, port, function);
        old.restore_expectation(&new, clock.now()).unwrap()
    };
    for (n, function) in (10..).zip(ExpectFunction::ALL) {
        expect(lasting, n, function);
    }
    let orphan = expect(ending, 20, ExpectFunction::Sip);
    // The master has expired, but nothing has removed it yet.
    let later = At(11_000_000_000);
    let bytes = save(&old, &later, None);
    let restored = restore(&new, &later, &bytes).unwrap();
    let expected = Restored {
        connections: 1,
        expectations: 3,
        without_master: 1,
        ..Restored::default()
    };
    assert_eq!(restored, expected);
    assert!(old.delete_expectation(orphan));
    let [before, after] = [&old, &new].map(|one| all_expected(one, lasting, later.now()));
    assert_eq!(before, after);
}

#[test]
fn reserved_ports_are_those_of_before() {
    let clock = At(1);
    let (old, new) = (tracker(), tracker());
    let ports = |text: &str| ReservedPorts::new(vec![text.parse().unwrap()]).unwrap();
    new.set_reserved_ports(ports("udp:4789"));
    old.set_reserved_ports(ports("tcp:30000-32767"));
    restore(&new, &clock, &save(&old, &clock, None)).unwrap();
    assert_eq!(new.reserved_ports().ranges(), old.reserved_ports().ranges());
    // Also if there are none any more.
    old.set_reserved_ports(ReservedPorts::default());
    restore(&new, &clock, &save(&old, &clock, None)).unwrap();
    assert!(new.reserved_ports().ranges().is_empty());
}

/// A connection from a port.
fn connection(port: u16) -> NewConnection {
    let original = tuple(port, 80);
    NewConnection::new(
        original,
        original.invert().unwrap(),
        Duration::from_secs(100),
    )
}

#[test]
fn a_copy_and_the_changes_since_are_the_whole() {
    let (old, new) = (tracker(), tracker());
    let (early, late) = (At(1_000_000_000), At(3_000_000_000));
    let create = |one: &NewConnection, at: &At| old.create_connection(one, at.now()).unwrap();
    let [kept, marked, renewed, ended] = [1, 2, 3, 4].map(|port| create(&connection(port), &early));
    let (copy, copied) = precopy(&old, &early);

    let mark = Update {
        mark: Some((7, u32::MAX)),
        ..Update::default()
    };
    old.change(marked, &mark, late.now()).unwrap();
    assert!(old.set_timeout(renewed, Duration::from_secs(500), late.now()));
    assert!(old.delete(ended, late.now()));
    // Another one has its tuple, and perhaps its slot.
    create(&connection(4), &late);
    let mut expected = connection(5);
    expected.master = Some(kept);
    create(&expected, &late);
    let rest = save(&old, &late, Some(&copied));
    assert!(rest.len() < save(&old, &late, None).len());

    let mut restoring = Restoring::default();
    restoring.add(&new, &early, &copy).unwrap();
    // Restoring takes its time, which no connection gets.
    let later = At(4_000_000_000);
    let restored = restoring.finish(&new, &later, &rest).unwrap();
    assert_eq!(restored.connections, 5);
    let alike = |tracker: &Tracker| {
        let mut all = all(tracker, later.now());
        for one in &mut all {
            (one.id, one.master) = (kept, one.master.map(|_| kept));
        }
        all
    };
    assert_eq!(alike(&new), alike(&old));
    assert_eq!(alike(&new)[0].timeout, Duration::from_secs(97));
}

#[test]
fn a_part_is_refused_without_the_other_one() {
    let clock = At(1);
    let old = tracker();
    old.create_connection(&connection(1), clock.now()).unwrap();
    let (copy, copied) = precopy(&old, &clock);
    let (whole, rest) = (save(&old, &clock, None), save(&old, &clock, Some(&copied)));
    let added = |tracker: &Tracker| {
        let mut restoring = Restoring::default();
        restoring.add(tracker, &clock, &copy).unwrap();
        restoring
    };
    for wrong in [&whole, &copy, &Vec::new()] {
        let new = tracker();
        let finished = added(&new).finish(&new, &clock, wrong);
        assert!(matches!(finished, Err(StateError::Part(1))));
    }
    let alone = restore(&tracker(), &clock, &rest);
    assert!(matches!(alone, Err(StateError::Part(0))));
    let new = tracker();
    assert_eq!(
        added(&new).finish(&new, &clock, &rest).unwrap().connections,
        1
    );
}

/// A tracker to which all packets are passed on, and committed.
fn pass(tracker: &Tracker, clock: &impl Clock, segment: Tcp<'_>, flow: Flow) -> CtState {
    let packet = segment.packet(flow);
    let input = Input::new(&packet);
    let mut tracked = tracker.track(&input, clock.now());
    let committed = tracker.commit(&mut tracked, &input, &Commit::default(), clock.now());
    committed.unwrap();
    tracked.state()
}

/// The segment that fills a hole does not show how far the data behind it goes. If the tracker did not know,
/// the acknowledgement of all would be invalid, and the server would repeat the segment for ever.
#[test]
fn a_connection_with_a_hole_goes_on_after_an_update() {
    const SYN: u8 = 2;
    const ACK: u8 = 16;
    let clock = At(1_000_000_000);
    let (client, server) = (V4, V4.reverse());
    let data = [7; 500];
    let (start, selective) = ([4, 2, 1, 1], [1, 1, 5, 10, 0, 0, 3, 0xe9, 0, 0, 5, 0xdd]);
    let segment = |flags, seq, ack| Tcp {
        flags,
        seq,
        ack,
        window: 60_000,
        options: &[],
        payload: &[],
    };
    for has_copy in [false, true] {
        let (old, new) = (tracker(), tracker());
        let mut copied = None;
        let syn = |flags, seq, ack| Tcp {
            options: &start,
            ..segment(flags, seq, ack)
        };
        let server_data = |seq| Tcp {
            payload: &data,
            ..segment(ACK, seq, 101)
        };
        pass(&old, &clock, syn(SYN, 100, 0), client);
        pass(&old, &clock, syn(SYN | ACK, 500, 101), server);
        if has_copy {
            copied = Some(precopy(&old, &clock));
        }
        pass(&old, &clock, segment(ACK, 101, 501), client);
        // The first 500 bytes, from 501 on, are lost.
        pass(&old, &clock, server_data(1001), server);
        let selective = Tcp {
            options: &selective,
            ..segment(ACK, 101, 501)
        };
        pass(&old, &clock, selective, client);

        let mut restoring = Restoring::default();
        if let Some((copy, _)) = &copied {
            restoring.add(&new, &clock, copy).unwrap();
        }
        let copied = copied.as_ref().map(|(_, copied)| copied);
        let rest = save(&old, &clock, copied);
        restoring.finish(&new, &clock, &rest).unwrap();
        let replied = CtState::TRACKED | CtState::ESTABLISHED | CtState::REPLY;
        assert_eq!(pass(&new, &clock, server_data(501), server), replied);
        let all = segment(ACK, 101, 1501);
        let established = CtState::TRACKED | CtState::ESTABLISHED;
        assert_eq!(pass(&new, &clock, all, client), established);
    }
}

/// Prints the time of a step.
fn timed<T>(what: &str, step: impl FnOnce() -> T) -> T {
    let begun = std::time::Instant::now();
    let result = step();
    println!("{what}: {:?}", begun.elapsed());
    result
}

#[test]
#[ignore = "a measurement of a million connections"]
fn measures() {
    let clock = At(1);
    let big = || Tracker::new(1 << 20, Seed::new([7; 16]), Settings::default());
    let (old, new, other) = (big(), big(), big());
    for n in 0..1_000_000_u32 {
        let original = tuple((n % 50_000 + 1) as u16, (n / 50_000 + 1) as u16);
        let timeout = Duration::from_secs(900);
        let one = NewConnection::new(original, original.invert().unwrap(), timeout);
        old.create_connection(&one, clock.now()).unwrap();
    }
    let whole = timed("save", || save(&old, &clock, None));
    timed("restore", || restore(&other, &clock, &whole)).unwrap();
    let (copy, copied) = timed("copy", || precopy(&old, &clock));
    let mut restoring = Restoring::default();
    timed("restore the copy", || restoring.add(&new, &clock, &copy)).unwrap();
    let rest = timed("save the rest", || save(&old, &clock, Some(&copied)));
    timed("restore the rest", || restoring.finish(&new, &clock, &rest)).unwrap();
}

#[test]
fn damaged_states_are_refused() {
    let clock = At(1);
    let original = tuple(1, 2);
    let timeout = Duration::from_secs(9);
    let one = NewConnection::new(original, original.invert().unwrap(), timeout);
    let old = tracker();
    old.create_connection(&one, clock.now()).unwrap();
    let bytes = save(&old, &clock, None);
    let half = restore(&tracker(), &clock, &bytes[..bytes.len() - 1]);
    assert!(matches!(half, Err(StateError::Form(2, _))));
    let twice = restore(&tracker(), &clock, &[&bytes[..], &bytes].concat());
    assert!(matches!(twice, Err(StateError::Connection(5, _))));
    // The internals are the last of it.
    let mut damaged = bytes.clone();
    *damaged.last_mut().unwrap() = 0xff;
    let damaged = restore(&tracker(), &clock, &damaged);
    assert!(matches!(damaged, Err(StateError::Internals(2, _))));
}

/// Internals of a layout that is not known are left out, and counted with it.
#[test]
fn internals_that_are_not_understood_are_counted() {
    let clock = At(1);
    let (old, new) = (tracker(), tracker());
    for port in [1, 2] {
        old.create_connection(&connection(port), clock.now())
            .unwrap();
    }
    let bytes = save(&old, &clock, None);
    let known = restore(&tracker(), &clock, &bytes).unwrap();
    assert_eq!(known.not_understood, NotUnderstood::default());
    let mut left = &bytes[..];
    let mut other = Vec::new();
    while !left.is_empty() {
        let mut saved = Saved::decode_length_delimited(&mut left).unwrap();
        if let Some(layout) = saved.internals.first_mut() {
            *layout = 99;
        }
        saved.encode_length_delimited(&mut other).unwrap();
    }
    let restored = restore(&new, &clock, &other).unwrap();
    let expected = NotUnderstood {
        entries: 2,
        layout: Some(99),
    };
    assert_eq!(restored.connections, 2);
    assert_eq!(restored.not_understood, expected);
}
