// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Models of the table for loom: `cargo test -p adit-conntrack --features loom --lib model`.
//!
//! loom runs all orders of the threads' steps up to a number of preemptions, and gives loads every
//! value that their memory order permits. It takes `SeqCst` for `AcqRel`, so that the wheel's reading of
//! a deadline that becomes earlier is not modelled. All models are shown to fail if a step that they are
//! about is weaker than it has to be (`model/faults.rs`).

mod faults;

use std::net::Ipv4Addr;
use std::sync::Arc;

use loom::thread;

use super::*;
use crate::table::slot::{Generation, NO_SLOT};
use crate::tuple::{Endpoint, Protocol};

/// The maximum number of preemptions of an order.
const PREEMPTIONS: usize = 2;
const NEVER: Time = Time::from_secs(1000);

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.max_branches = 10_000;
    builder.check(model);
}

fn tuple(number: u32) -> Tuple {
    let endpoint = |address: u32, part| Endpoint {
        address: Ipv4Addr::from(address).into(),
        part,
    };
    Tuple::new(Protocol::UDP, endpoint(number, 1), endpoint(!number, 2)).unwrap()
}

fn keys(number: u32) -> Keys {
    let tuple = tuple(number);
    Keys::new(&tuple, &tuple.invert().unwrap(), Zone::DEFAULT)
}

fn insert(table: &Table, number: u32) -> Result<ConnectionRef, InsertError> {
    let insertion = Insertion {
        keys: keys(number),
        status: Status::ASSURED,
        deadline: NEVER,
        mark: 0,
        policy: 0,
        data: Data::default(),
    };
    let hashes = table.hashes(&insertion.keys);
    table.insert(hashes, insertion, Time::ZERO, &mut |_, _| {}, &mut |_| {})
}

fn table(slots: usize) -> Arc<Table> {
    Arc::new(Table::new(slots, Seed::new([3; 16])))
}

/// Finds a connection by one of its keys, and checks that what was found is it.
fn lookup(table: &Table, number: u32, direction: Direction) -> bool {
    let wanted = keys(number);
    let key = &wanted.0[direction as usize];
    let Some((connection, found)) = table.lookup(key, Time::ZERO) else {
        return false;
    };
    assert_eq!(found, direction);
    // It may be gone meanwhile; another one never has its reference.
    let keys = table.keys(connection);
    assert!(keys.is_none_or(|keys| keys == wanted), "another's keys");
    true
}

/// Runs `read` beside a thread that ends the connection of a slot and puts another one, with the keys of
/// number 2, into it. `read` gets the generation of the former one, with the keys of number 1; its result
/// is passed to `verify` with the generation of the later one.
fn beside_reuse<T: 'static>(
    read: impl Fn(&Slot, Generation) -> T + Send + Sync + 'static,
    verify: impl Fn(T, Generation, Generation) + Send + Sync + 'static,
) {
    check(move || {
        let slot = Arc::new(Slot::new(NO_SLOT));
        let occupy = |slot: &Slot, number: u32| {
            let generation = slot.next_generation();
            let Keys(keys) = keys(number);
            slot.occupy(&keys, Status::NONE, NEVER, &mut Data::default());
            slot.publish(generation);
            generation
        };
        let first = occupy(&slot, 1);
        let writer = {
            let slot = slot.clone();
            thread::spawn(move || {
                slot.vacate(first);
                occupy(&slot, 2)
            })
        };
        let seen = read(&slot, first);
        let second = writer.join().unwrap();
        verify(seen, first, second);
        assert_eq!(slot.keys(second), Some(keys(2).0));
    });
}

/// A slot that is reused is found by the former key, the later one, or not; never with the other one's
/// generation.
#[test]
fn reused_slots_are_found_by_their_keys() {
    for number in [1, 2] {
        beside_reuse(
            move |slot, _| slot.find(Direction::Original, &keys(number).0[0]),
            move |found, first, second| {
                let own = if number == 1 { first } else { second };
                let is_own = found.is_none_or(|generation| generation == own);
                assert!(is_own, "the generation of the other connection");
            },
        );
    }
}

/// The keys of a connection are whole, or it is gone.
#[test]
fn keys_are_read_whole() {
    beside_reuse(
        |slot, first| slot.keys(first),
        |found, _, _| {
            let is_whole = found.is_none_or(|found| found == keys(1).0);
            assert!(is_whole, "keys of two connections");
        },
    );
}

/// Takes a slot, and checks that nobody else has it.
fn take(free: &FreeList, slots: &[Slot]) -> Index {
    let index = free.take(slots).expect("a slot is free");
    let taken = slots[index.0 as usize].mark.swap(1, Ordering::Relaxed);
    assert_eq!(taken, 0, "a slot that is taken twice");
    index
}

fn give(free: &FreeList, slots: &[Slot], index: Index) {
    slots[index.0 as usize].mark.store(0, Ordering::Relaxed);
    free.give(slots, index);
}

/// A slot is never taken by two threads, though one comes back meanwhile: it is the head of the list again, but
/// before another slot than it was.
#[test]
fn free_slots_are_taken_once() {
    check(|| {
        let slots: Arc<[Slot]> = FreeList::link(4).into();
        let free = Arc::new(FreeList::new());
        let other = {
            let (free, slots) = (free.clone(), slots.clone());
            thread::spawn(move || {
                let first = take(&free, &slots);
                take(&free, &slots);
                give(&free, &slots, first);
            })
        };
        take(&free, &slots);
        take(&free, &slots);
        other.join().unwrap();
        take(&free, &slots);
        assert!(free.take(&slots).is_none());
    });
}

/// Lookups without a lock while another thread removes a connection and reuses its slot.
///
/// The reader is the thread that starts later. loom runs the first one up to where it waits, and goes back
/// only to a step that conflicts with a later one; of an atomic word it compares a store with the last access
/// alone. A writer that starts later loads a word of tags before it stores it, which hides the lookup's load:
/// loom would see no conflict, and run one order.
#[test]
fn lookups_find_what_is_there() {
    check(|| {
        let table = table(2);
        insert(&table, 1).unwrap();
        let gone = insert(&table, 2).unwrap();
        let reader = {
            let table = table.clone();
            thread::spawn(move || {
                assert!(lookup(&table, 1, Direction::Original));
                let is_new = lookup(&table, 3, Direction::Reply);
                // What has been seen stays.
                let stays = !is_new || lookup(&table, 3, Direction::Original);
                assert!(stays, "a connection that was found is lost");
            })
        };
        assert!(table.remove(gone, RemovalReason::Deleted).is_some());
        insert(&table, 3).unwrap();
        reader.join().unwrap();
        assert!(!lookup(&table, 2, Direction::Original));
        assert!(lookup(&table, 3, Direction::Reply));
    });
}

/// Of two threads with a packet of one new connection, one inserts it.
#[test]
fn a_connection_is_inserted_once() {
    check(|| {
        let table = table(2);
        let other = {
            let table = table.clone();
            thread::spawn(move || insert(&table, 1))
        };
        let results = [insert(&table, 1), other.join().unwrap()];
        let inserted = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(inserted, 1, "inserted so many times: {results:?}");
        assert!(results
            .iter()
            .any(|result| matches!(result, Err(InsertError::Clash(..)))));
        assert_eq!(table.len(), 1);
    });
}

/// A connection that two threads remove is removed once.
#[test]
fn a_connection_is_removed_once() {
    check(|| {
        let table = table(1);
        let connection = insert(&table, 1).unwrap();
        let other = {
            let table = table.clone();
            thread::spawn(move || table.remove(connection, RemovalReason::Deleted).is_some())
        };
        let mine = table.remove(connection, RemovalReason::Deleted).is_some();
        assert!(mine != other.join().unwrap(), "removed twice or not at all");
        assert_eq!(table.len(), 0);
    });
}
