// SPDX-License-Identifier: Apache-2.0 OR MIT
use super::index::{Change, Limits, MAX_IN_ZONE, MAX_OF_DESTINATION, MAX_OF_MASTER};
use super::*;
use crate::tuple::Protocol;

const NOW: Time = Time::from_secs(10);
const ONE: Limits = Limits {
    of_class: 1,
    finds_known: false,
};
const MANY: Limits = Limits {
    of_class: 1000,
    finds_known: false,
};

fn no_report(_: Change, _: &Expectation) {}

fn end(host: u8, part: u16) -> Endpoint {
    Endpoint {
        address: IpAddr::from([10, 0, 0, host]),
        part,
    }
}

/// An expectation of a master and zone, to a port, for a number of seconds.
fn expectation(master: u32, zone: u16, port: u16, seconds: u64) -> Expectation {
    let tuple = Tuple::new(Protocol::TCP, end(1, 0), end(2, port)).unwrap();
    Expectation {
        id: 0,
        // Generations of connections are odd.
        master: ConnectionRef::from_bits(1 << 32 | u64::from(master)).unwrap(),
        master_tuple: tuple,
        zone,
        tuple,
        mask: SourceMask::new(Family::V4, true, false),
        deadline: NOW + Duration::from_secs(seconds),
        class: 0,
        flags: ExpectFlags::NONE,
        helper: None,
        assigned: None,
        nat: None,
    }
}

fn tuple(port: u16) -> Tuple {
    Tuple::new(Protocol::TCP, end(1, 7), end(2, port)).unwrap()
}

/// Expectations that may be in any order and number of classes.
fn add(all: &Expectations, new: Expectation, limits: &Limits) -> Result<(), ExpectError> {
    all.add([new], limits, NOW, &no_report).map(|_| ())
}

fn count(all: &Expectations) -> usize {
    all.dump(0, usize::MAX, NOW).0.len()
}

#[test]
fn a_class_of_a_master_is_limited() {
    let all = Expectations::default();
    assert_eq!(add(&all, expectation(1, 0, 80, 5), &ONE), Ok(()));
    assert_eq!(add(&all, expectation(1, 0, 81, 5), &ONE), Ok(()));
    let busy = add(&all, expectation(2, 0, 81, 5), &ONE);
    assert_eq!(busy, Err(ExpectError::Busy));
    assert_eq!(all.find(&tuple(80), 0, NOW), None);
    assert!(all.find(&tuple(81), 0, NOW).is_some());
    let other_class = Expectation {
        class: 1,
        ..expectation(1, 0, 83, 5)
    };
    assert_eq!(add(&all, other_class, &ONE), Ok(()));
    assert_eq!(count(&all), 2);
    let master = expectation(1, 0, 81, 5).master;
    let taken = all.take(&tuple(81), 0, master, NOW).unwrap();
    assert_eq!(all.take(&tuple(81), 0, master, NOW), None);
    // A later announcement holds.
    add(&all, expectation(1, 0, 82, 5), &ONE).unwrap();
    assert!(!all.put_back(&taken, NOW));
    all.remove_of_master(master, usize::MAX, |_| true, &no_report);
    assert_eq!(count(&all), 0);
    assert!(all.put_back(&taken, NOW));
    assert_eq!(count(&all), 1);
}

#[test]
fn sources_are_compared_where_the_mask_has_ones() {
    let all = Expectations::default();
    let any_source = |master, port| Expectation {
        mask: SourceMask::new(Family::V4, false, false),
        ..expectation(master, 0, port, 5)
    };
    let exact = |master, part, port| Expectation {
        tuple: Tuple::new(Protocol::TCP, end(1, part), end(2, port)).unwrap(),
        mask: SourceMask::new(Family::V4, true, true),
        ..expectation(master, 0, port, 5)
    };
    add(&all, any_source(1, 80), &MANY).unwrap();
    let from_elsewhere = Tuple::new(Protocol::TCP, end(9, 9), end(2, 80)).unwrap();
    assert!(all.find(&from_elsewhere, 0, NOW).is_some());
    assert_eq!(all.find(&from_elsewhere, 1, NOW), None);
    assert_eq!(add(&all, exact(2, 7, 80), &MANY), Err(ExpectError::Busy));
    add(&all, exact(2, 7, 81), &MANY).unwrap();
    add(&all, exact(3, 8, 81), &MANY).unwrap();
    assert_eq!(add(&all, any_source(4, 81), &MANY), Err(ExpectError::Busy));
    let found = all.find(&tuple(81), 0, NOW).unwrap();
    assert_eq!(found.tuple.src().part, 7);
    // The same one of another master.
    let known = Limits {
        finds_known: true,
        ..MANY
    };
    assert_eq!(add(&all, exact(4, 8, 81), &MANY), Err(ExpectError::Busy));
    assert_eq!(add(&all, exact(4, 8, 81), &known), Err(ExpectError::Known));
}

#[test]
fn zones_destinations_and_masters_are_limited() {
    let all = Expectations::default();
    let many = MAX_IN_ZONE as u32;
    for master in 0..many {
        add(&all, expectation(master, 1, master as u16, 5), &ONE).unwrap();
    }
    let more = expectation(many, 1, many as u16, 5);
    assert_eq!(add(&all, more.clone(), &ONE), Err(ExpectError::Full));
    assert_eq!(add(&all, expectation(many, 2, 0, 5), &ONE), Ok(()));
    let first = expectation(0, 1, 0, 5).master;
    all.remove_of_master(first, usize::MAX, |_| true, &no_report);
    assert_eq!(add(&all, more, &ONE), Ok(()));

    let all = Expectations::default();
    let from = |host: usize| Expectation {
        tuple: Tuple::new(Protocol::TCP, end(host as u8, 0), end(2, 80)).unwrap(),
        ..expectation(host as u32, 0, 80, 5)
    };
    for host in 0..MAX_OF_DESTINATION {
        add(&all, from(host), &ONE).unwrap();
    }
    let more = add(&all, from(MAX_OF_DESTINATION), &ONE);
    assert_eq!(more, Err(ExpectError::Full));

    let all = Expectations::default();
    for port in 0..MAX_OF_MASTER as u16 {
        add(&all, expectation(1, 0, port, 5), &MANY).unwrap();
    }
    let more = add(&all, expectation(1, 0, 9999, 5), &MANY);
    assert_eq!(more, Err(ExpectError::Full));
}

#[test]
fn expiry_removes_what_is_due() {
    let all = Expectations::default();
    for number in 0..10u16 {
        let one = expectation(number.into(), 0, number, u64::from(number) + 1);
        add(&all, one, &ONE).unwrap();
    }
    let later = NOW + Duration::from_secs(5);
    let removed = std::cell::Cell::new(0);
    let report = |change, _: &Expectation| {
        assert_eq!(change, Change::Removed);
        removed.set(removed.get() + 1);
    };
    for (limit, total) in [(2, 2), (100, 5), (100, 5)] {
        all.expire(later, limit, &report);
        assert_eq!(removed.get(), total);
    }
    assert_eq!(count(&all), 5);
    assert_eq!(all.len(), 5);
}

#[test]
fn dumps_go_on_where_they_ended() {
    let all = Expectations::default();
    for number in 0..10u16 {
        add(&all, expectation(number.into(), 0, number, 5), &ONE).unwrap();
    }
    let (mut from, mut ports) = (Some(0), Vec::new());
    while let Some(first) = from {
        let (page, next) = all.dump(first, 3, NOW);
        assert!(page.len() <= 3);
        ports.extend(page.iter().map(|one| one.tuple.dst().part));
        from = next;
    }
    assert_eq!(ports, (0..10).collect::<Vec<_>>());
}

/// Expired expectations go in parts: packets that create connections have the lock between them.
#[test]
fn many_expectations_expire_in_parts() {
    let all = Expectations::default();
    for master in 0..10 {
        for port in 0..50 {
            let new = expectation(master, 0, 1000 + 50 * master as u16 + port, 5);
            add(&all, new, &MANY).unwrap();
        }
    }
    let later = NOW + Duration::from_secs(6);
    let locked = std::cell::Cell::new(0);
    all.expire(later, 100, &|_, _| {
        // The number is stored with the lock of each part.
        locked.set(locked.get().max(500 - all.len()));
    });
    assert_eq!(all.len(), 400);
    assert_eq!(locked.get(), 96, "parts of 16");
    all.expire(later, usize::MAX, &no_report);
    assert_eq!(all.len(), 0);
}
