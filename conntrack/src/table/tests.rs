// SPDX-License-Identifier: Apache-2.0 OR MIT
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;

use super::expiry::STEPS_PER_LOCK;
use super::*;
use crate::tuple::{Endpoint, Protocol};

fn endpoint(number: u32, part: u16) -> Endpoint {
    Endpoint {
        address: Ipv4Addr::from(number).into(),
        part,
    }
}

fn tuple(number: u32) -> Tuple {
    Tuple::new(Protocol::UDP, endpoint(number, 1), endpoint(!number, 2)).unwrap()
}

fn insertion(tuple: &Tuple, zone: Zone, status: Status, deadline: Time) -> Insertion {
    Insertion {
        keys: Keys::new(tuple, &tuple.invert().unwrap(), zone),
        status,
        deadline,
        mark: 0,
        policy: 0,
        data: Data::default(),
    }
}

fn table(capacity: usize) -> Table {
    Table::new(capacity, Seed::new([3; 16]))
}

fn add(table: &Table, number: u32, status: Status) -> Result<ConnectionRef, InsertError> {
    let insertion = insertion(&tuple(number), Zone::DEFAULT, status, Time::from_secs(100));
    table.insert(
        table.hashes(&insertion.keys),
        insertion,
        Time::ZERO,
        &mut |_, _| {},
        &mut |_| {},
    )
}

#[test]
fn a_connection_takes_at_most_256_octets() {
    for capacity in [1 << 10, 10_000, 1 << 17] {
        let table = table(capacity);
        assert!(
            table.size() <= 256 * capacity,
            "{} for {capacity}",
            table.size() / capacity
        );
    }
}

#[test]
fn both_directions_are_found() {
    let table = table(16);
    let id = add(&table, 1, Status::NONE).unwrap();
    let now = Time::from_secs(99);
    assert_eq!(
        table.lookup(&tuple(1).key(0), now),
        Some((id, Direction::Original))
    );
    let reply = tuple(1).invert().unwrap();
    assert_eq!(
        table.lookup(&reply.key(0), now),
        Some((id, Direction::Reply))
    );
    assert_eq!(table.lookup(&reply.key(1), now), None);
    assert_eq!(table.lookup(&reply.key(0), Time::from_secs(100)), None);
    assert!(table.slot(id).status().contains(Status::CONFIRMED));
    assert_eq!(
        add(&table, 1, Status::NONE),
        Err(InsertError::Clash(id, Direction::Original))
    );
    assert!(add(&table, !1, Status::NONE).is_ok());
    assert!(table.remove(id, RemovalReason::Deleted).is_some());
    assert!(table.remove(id, RemovalReason::Deleted).is_none());
    assert_eq!(table.lookup(&tuple(1).key(0), now), None);
    assert_eq!(table.len(), 1);
}

#[test]
fn a_zone_may_differ_by_direction() {
    let table = table(16);
    for id in [1, 2] {
        let zone = Zone::in_direction(id, Direction::Original);
        let mut insertion = insertion(&tuple(1), zone, Status::NONE, Time::from_secs(1));
        let reply = tuple(1).invert().unwrap().with_dst(endpoint(9, 1000 + id));
        insertion.keys = Keys::new(&tuple(1), &reply, zone);
        let connection = table
            .insert(
                table.hashes(&insertion.keys),
                insertion,
                Time::ZERO,
                &mut |_, _| {},
                &mut |_| {},
            )
            .unwrap();
        assert_eq!(table.keys(connection).unwrap().zone(), zone);
        assert_eq!(
            table.lookup(&reply.key(0), Time::ZERO),
            Some((connection, Direction::Reply))
        );
    }
    assert_eq!(
        (
            table.zones.count(1),
            table.zones.count(2),
            table.zones.count(0)
        ),
        (1, 1, 0)
    );
}

#[test]
fn a_full_table_keeps_what_is_assured() {
    let table = table(2048);
    for number in 0..1024 {
        add(&table, number, Status::ASSURED).unwrap();
    }
    let mut early = 0;
    let mut refused = 0;
    for number in 10_000..60_000 {
        let insertion = insertion(
            &tuple(number),
            Zone::DEFAULT,
            Status::NONE,
            Time::from_secs(9),
        );
        let result = table.insert(
            table.hashes(&insertion.keys),
            insertion,
            Time::ZERO,
            &mut |_, _| {},
            &mut |gone| {
                assert_eq!(gone.reason, RemovalReason::EarlyDrop);
                assert!(!gone.status.contains(Status::ASSURED));
                early += 1;
            },
        );
        refused += usize::from(result.is_err());
    }
    assert!(table.len() <= 2048);
    assert!(
        early > 40_000 && refused < 500,
        "{early} dropped, {refused} refused"
    );
    for number in 0..1024 {
        assert!(table.lookup(&tuple(number).key(0), Time::ZERO).is_some());
    }
}

/// Of a new connection only the reply's buckets are full: connections of those make room.
#[test]
fn place_is_made_in_the_buckets_that_are_full() {
    let table = table(64);
    let reply_to = endpoint(7, 7);
    let with_reply = |number: u32| {
        let original = tuple(number);
        let reply = Tuple::new(Protocol::UDP, endpoint(number, 3), reply_to).unwrap();
        let mut new = insertion(&original, Zone::DEFAULT, Status::NONE, Time::from_secs(9));
        new.keys = Keys::new(&original, &reply, Zone::DEFAULT);
        new
    };
    // Connections of which the replies have the same two buckets, the originals other ones.
    let buckets = |new: &Insertion| new.keys.0.map(|key| table.buckets.pair(table.hash(&key)));
    let wanted = [0, 1];
    let mut in_buckets = (1..).map(with_reply).filter(|new| {
        let [original, reply] = buckets(new);
        reply == wanted && original.iter().all(|bucket| !wanted.contains(bucket))
    });
    for _ in 0..32 {
        let new = in_buckets.next().unwrap();
        table
            .insert(
                table.hashes(&new.keys),
                new,
                Time::ZERO,
                &mut |_, _| {},
                &mut |gone| panic!("{:?}", gone.id),
            )
            .unwrap();
    }
    let mut gone = Vec::new();
    let new = in_buckets.next().unwrap();
    table
        .insert(
            table.hashes(&new.keys),
            new,
            Time::ZERO,
            &mut |_, _| {},
            &mut |removed| gone.push(removed.keys.0[1]),
        )
        .unwrap();
    assert!(!gone.is_empty());
    for key in gone {
        assert_eq!(table.buckets.pair(table.hash(&key)), wanted);
    }
}

/// Places that a reader may see while one changes: the number of no slot, or of one whose connection is in
/// other buckets. It finds nothing, and that connection does not make room.
#[test]
fn an_entry_of_two_connections_is_none() {
    let table = table(64);
    let id = add(&table, 1, Status::NONE).unwrap();
    let pair_of = |number: u32| table.buckets.pair(table.hash(&tuple(number).key(0)));
    let others = table.hashes(&Keys::new(
        &tuple(1),
        &tuple(1).invert().unwrap(),
        Zone::DEFAULT,
    ));
    let others = others.map(|hash| table.buckets.pair(hash)).concat();
    let apart = (2..).find(|&number| pair_of(number).iter().all(|it| !others.contains(it)));
    let key = tuple(apart.unwrap()).key(0);
    let hash = table.hash(&key);
    for index in [Index(MAX_SLOTS as u32), id.index] {
        let Search::Free(place) = table.buckets.find_or_place(hash, |_, _| None::<()>) else {
            panic!("no place");
        };
        place.take(index, Direction::Original);
    }
    assert!(table.prefetch_slots(hash).is_some());
    assert_eq!(table.lookup(&key, Time::ZERO), None);
    let mut removed = |gone: Removed| panic!("{:?} made room", gone.id);
    assert!(!table.make_place(hash, Time::ZERO, &mut removed));
}

#[test]
fn a_clash_takes_no_place() {
    let table = table(1);
    let id = add(&table, 1, Status::NONE).unwrap();
    let clash = add(&table, 1, Status::NONE);
    assert_eq!(clash, Err(InsertError::Clash(id, Direction::Original)));
    assert!(table.keys(id).is_some());
    // One whose buckets are others takes no place either.
    assert!((2..100).any(|number| add(&table, number, Status::NONE).is_ok()));
    assert!(table.keys(id).is_none());
}

#[test]
fn zones_are_limited() {
    let table = table(100);
    table.zones.set_limit(0, Some(2));
    let first = add(&table, 1, Status::NONE).unwrap();
    add(&table, 2, Status::NONE).unwrap();
    assert_eq!(add(&table, 3, Status::NONE), Err(InsertError::ZoneLimit));
    assert_eq!(table.zones.count(0), 2);
    table.remove(first, RemovalReason::Deleted);
    assert!(add(&table, 3, Status::NONE).is_ok());
    assert_eq!(
        (table.zones.limit(0), table.zones.limit(1)),
        (Some(2), None)
    );
}

#[test]
fn an_insertion_is_reported_before_it_can_be_found() {
    let table = table(16);
    let first = insertion(
        &tuple(1),
        Zone::DEFAULT,
        Status::ASSURED,
        Time::from_secs(7),
    );
    let mut reported = Vec::new();
    let mut inserted = |connection, insertion: &Insertion| {
        let found = table.lookup(&tuple(1).key(0), Time::ZERO);
        reported.push((connection, found, insertion.status, insertion.deadline));
    };
    let connection = table
        .insert(
            table.hashes(&first.keys),
            first,
            Time::ZERO,
            &mut inserted,
            &mut |_| {},
        )
        .unwrap();
    let status = Status::ASSURED | Status::CONFIRMED;
    assert_eq!(reported, [(connection, None, status, Time::from_secs(7))]);
    assert_eq!(
        table.lookup(&tuple(1).key(0), Time::ZERO).unwrap().0,
        connection
    );
}

#[test]
fn an_expired_connection_does_not_clash() {
    let table = table(100);
    add(&table, 1, Status::NONE).unwrap();
    let mut gone = Vec::new();
    let later = Time::from_secs(100);
    let again = insertion(&tuple(1), Zone::DEFAULT, Status::NONE, Time::from_secs(200));
    table
        .insert(
            table.hashes(&again.keys),
            again,
            later,
            &mut |_, _| {},
            &mut |removed| gone.push(removed.reason),
        )
        .unwrap();
    assert_eq!(gone, [RemovalReason::Expired]);
    assert_eq!(table.len(), 1);
}

#[test]
fn a_shorter_timeout_is_on_time() {
    let table = table(100);
    let id = add(&table, 1, Status::NONE).unwrap();
    table.set_deadline(id, Time::from_secs(5), Time::ZERO);
    let mut gone = 0;
    assert!(!table.expire(Time::from_secs(4), usize::MAX, &mut |_| gone += 1));
    assert_eq!(gone, 0);
    assert!(!table.expire(Time::from_secs(6), usize::MAX, &mut |_| gone += 1));
    assert_eq!((gone, table.len()), (1, 0));
}

/// A budget that one shard uses up in each call leaves none behind.
#[test]
fn every_shard_expires_in_turn() {
    let table = table(64 * 1024);
    let shards = table.shards.len();
    assert!(shards > 1);
    let end = Time::from_secs(2);
    for number in 0..1000 {
        let new = insertion(&tuple(number), Zone::DEFAULT, Status::NONE, end);
        table
            .insert(
                table.hashes(&new.keys),
                new,
                Time::from_secs(1),
                &mut |_, _| {},
                &mut |_| {},
            )
            .unwrap();
    }
    // Each call has work left in the shard in which it begins: more connections arrive.
    let mut gone = 0;
    let mut next = 1000;
    let now = Time::from_secs(3);
    for _ in 0..1000 {
        table.expire(now, 20, &mut |removed| {
            gone += usize::from(removed.keys.tuple(Direction::Original).src().part == 1);
        });
        let busy = loop {
            next += 1;
            let hash = table.hash(&tuple(next).key(0));
            if table.buckets.shard(hash) == 0 {
                break insertion(&tuple(next), Zone::DEFAULT, Status::NONE, end);
            }
        };
        let _ = table.insert(
            table.hashes(&busy.keys),
            busy,
            now,
            &mut |_, _| {},
            &mut |_| {},
        );
    }
    let left = (0..1000).filter(|&number| {
        let key = tuple(number).key(0);
        table.find(&key, table.hash(&key)).is_some()
    });
    assert_eq!((left.count(), gone >= 1000), (0, true));
}

#[test]
fn threads_share_the_table() {
    let table = table(4096);
    let rounds = 200u32;
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let table = &table;
            scope.spawn(move || {
                for round in 0..rounds {
                    let base = (thread * 1000 + round % 7) * 16;
                    let ids: Vec<_> = (0..16)
                        .filter_map(|n| add(table, base + n, Status::ASSURED).ok())
                        .collect();
                    assert_eq!(ids.len(), 16);
                    for n in 0..16 {
                        let found = table.lookup(&tuple(base + n).key(0), Time::ZERO);
                        assert_eq!(found, Some((ids[n as usize], Direction::Original)));
                    }
                    for id in ids {
                        let gone = table.remove(id, RemovalReason::Deleted).unwrap();
                        assert_eq!(gone.id, id);
                    }
                }
            });
        }
        // A reader finds each tuple whole, or not at all.
        let table = &table;
        scope.spawn(move || {
            for number in (0..64_000).cycle().take(200_000) {
                if let Some((found, _)) = table.lookup(&tuple(number).key(0), Time::ZERO) {
                    if let Some(keys) = table.keys(found) {
                        assert_eq!(
                            keys.tuple(Direction::Original).invert(),
                            Some(keys.tuple(Direction::Reply))
                        );
                    }
                }
            }
        });
    });
    assert_eq!(table.len(), 0);
}

#[derive(Clone, Debug)]
enum Operation {
    Insert(u32, u64),
    Remove(u32),
    Refresh(u32, u64),
    Pass(u64, usize),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        (0u32..40, 1u64..100_000).prop_map(|(number, timeout)| Operation::Insert(number, timeout)),
        (0u32..40).prop_map(Operation::Remove),
        (0u32..40, 1u64..100_000).prop_map(|(number, timeout)| Operation::Refresh(number, timeout)),
        (1u64..60_000, 0usize..300).prop_map(|(time, budget)| Operation::Pass(time, budget)),
    ]
}

proptest! {
    /// The table is a map whose entries end at their deadlines.
    #[test]
    fn the_table_is_a_map(operations in proptest::collection::vec(operation(), 1..200)) {
        let table = table(64);
        let mut model: HashMap<u32, (ConnectionRef, Time)> = HashMap::new();
        let mut now = Time::from_secs(1000);
        for operation in operations {
            match operation {
                Operation::Insert(number, timeout) => {
                    let deadline = now + Duration::from_millis(timeout);
                    let new = insertion(&tuple(number), Zone::DEFAULT, Status::ASSURED, deadline);
                    let result = table.insert(table.hashes(&new.keys), new, now, &mut |_, _| {}, &mut |_| {});
                    match model.get(&number) {
                        Some(&(id, _)) => {
                            prop_assert_eq!(result, Err(InsertError::Clash(id, Direction::Original)));
                        }
                        None => {
                            model.insert(number, (result.unwrap(), deadline));
                        }
                    }
                }
                Operation::Remove(number) => {
                    if let Some((id, _)) = model.remove(&number) {
                        prop_assert!(table.remove(id, RemovalReason::Deleted).is_some());
                    }
                }
                Operation::Refresh(number, timeout) => {
                    if let Some((id, deadline)) = model.get_mut(&number) {
                        *deadline = now + Duration::from_millis(timeout);
                        table.set_deadline(*id, *deadline, now);
                    }
                }
                Operation::Pass(time, budget) => {
                    now = now + Duration::from_millis(time);
                    table.expire(now, budget, &mut |gone| assert!(gone.deadline <= now));
                }
            }
            model.retain(|_, (_, deadline)| *deadline > now);
            for number in 0..40 {
                let expected = model.get(&number).map(|&(id, _)| (id, Direction::Original));
                prop_assert_eq!(table.lookup(&tuple(number).key(0), now), expected);
            }
        }
        while table.expire(now + Duration::from_millis(200), 10, &mut |_| {}) {}
        let live = model.values().filter(|(_, end)| *end > now + Duration::from_millis(200)).count();
        prop_assert!(table.len() <= model.len() && table.len() >= live);
    }
}

/// Packets wait for a lock for a bounded number of steps, whether connections expire or their timers move
/// on because packets have refreshed them.
#[test]
fn expiry_holds_a_lock_for_a_bounded_number_of_steps() {
    const COUNT: u32 = 20_000;
    let longest = |table: &Table| {
        let shards = table.shards.iter();
        shards.map(|shard| shard.lock().wheel.longest_call).max()
    };
    let filled = || {
        let table = table(COUNT as usize);
        let all: Vec<_> = (0..COUNT)
            .map(|number| add(&table, number, Status::ASSURED).unwrap())
            .collect();
        (table, all)
    };
    let mut expired = 0;
    let (table, _) = filled();
    while table.expire(Time::from_secs(101), 1 << 12, &mut |_| expired += 1) {}
    assert_eq!((expired, table.len()), (COUNT, 0));
    assert!(longest(&table) <= Some(STEPS_PER_LOCK));
    let (table, all) = filled();
    for connection in all {
        table.set_deadline(connection, Time::from_secs(1000), Time::from_secs(50));
    }
    let mut calls = 1;
    while table.expire(Time::from_secs(101), 1 << 12, &mut |_| {
        unreachable!("refreshed")
    }) {
        calls += 1;
    }
    // Each call has used up its budget.
    assert!((COUNT >> 12..=COUNT >> 10).contains(&calls), "{calls}");
    assert_eq!(longest(&table), Some(STEPS_PER_LOCK));
}
