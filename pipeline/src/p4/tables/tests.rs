// SPDX-License-Identifier: Apache-2.0 OR MIT

use adit_p4_frontend::ir::{Key, TableAction};
use proptest::prelude::*;

use super::*;
use crate::p4::objects::Count;

fn table(kinds: &[&str]) -> Table {
    let keys = kinds.iter().enumerate().map(|(n, kind)| Key {
        name: format!("k{n}"),
        slot: n as u32,
        width: 8,
        kind: (*kind).to_owned(),
        signed: false,
    });
    let action = |name: &str| TableAction {
        name: name.to_owned(),
        parameters: vec![ir::ActionParameter {
            name: "x".to_owned(),
            slot: 0,
            width: 16,
        }],
        function: 0,
        default_only: false,
        table_only: false,
    };
    Table::new(
        ir::Table {
            place: String::new(),
            name: "t".to_owned(),
            keys: keys.collect(),
            actions: vec![action("a"), action("b")],
            default: chosen(999),
            const_default: false,
            entries: Vec::new(),
            const_entries: false,
            size: Some(64),
            properties: vec![("add_on_miss".to_owned(), ir::Constant::Bool(true))],
        },
        Arc::new(Epochs::new()),
    )
    .unwrap()
}

fn chosen(value: u64) -> Chosen {
    Chosen {
        action: 0,
        arguments: vec![vec![value]],
    }
}

fn entry(keys: &[Match], priority: i64, chosen: Chosen) -> Entry {
    Entry {
        keys: keys.to_vec(),
        priority,
        action: Action::Direct(chosen),
        idle_timeout_ns: None,
        opaque: Vec::new(),
    }
}

/// Returns the argument of the action for a key; it replaces the first key in the frame.
fn found(table: &Table, key: &[u64]) -> u64 {
    let mut frame = key.to_vec();
    let worker = table.epochs.join().unwrap();
    let pin = table.epochs.pin(worker);
    let hit = Hit {
        worker,
        weight: Count::default(),
        now_ns: 0,
    };
    let mut packed = vec![0; table.key_words()];
    table.gather(&frame, &mut packed);
    table.find(&mut frame, &packed, &pin, || hit);
    drop(pin);
    table.epochs.leave(worker);
    frame[0]
}

#[test]
fn the_longest_prefix_wins() {
    let t = table(&["exact", "lpm"]);
    let keys = |k: u64, v: u64, m: u64| [Match::Exact(vec![k]), Match::Ternary(vec![v], vec![m])];
    t.insert(&entry(&keys(1, 0x10, 0xf0), 0, chosen(1)), 0)
        .unwrap();
    t.insert(&entry(&keys(1, 0x12, 0xff), 0, chosen(2)), 0)
        .unwrap();
    t.insert(&entry(&keys(1, 0, 0), 0, chosen(3)), 0).unwrap();
    assert_eq!(found(&t, &[1, 0x12]), 2);
    assert_eq!(found(&t, &[1, 0x13]), 1);
    assert_eq!(found(&t, &[1, 0x20]), 3);
    assert_eq!(found(&t, &[2, 0x12]), 999);
    t.delete(&keys(1, 0, 0), 0).unwrap();
    assert_eq!(found(&t, &[1, 0x20]), 999);
    let error = t
        .insert(&entry(&keys(1, 0, 0x0f), 0, chosen(1)), 0)
        .unwrap_err();
    assert!(matches!(
        error,
        TableError::Kind {
            takes: "a prefix",
            ..
        }
    ));
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let t = table(&["exact"]);
    let exact = |v: u64| [Match::Exact(vec![v])];
    assert!(matches!(
        t.insert(&entry(&exact(256), 0, chosen(1)), 0),
        Err(TableError::Width { .. })
    ));
    assert!(matches!(
        t.insert(&entry(&[], 0, chosen(1)), 0),
        Err(TableError::Keys { .. })
    ));
    assert!(matches!(
        t.insert(&entry(&[Match::Any], 0, chosen(1)), 0),
        Err(TableError::Kind { .. })
    ));
    assert!(matches!(
        t.insert(&entry(&exact(1), 0, chosen(1 << 16)), 0),
        Err(TableError::Width { .. })
    ));
    let none = Chosen {
        action: 7,
        arguments: vec![],
    };
    assert!(matches!(
        t.insert(&entry(&exact(1), 0, none), 0),
        Err(TableError::Action { .. })
    ));
    assert_eq!(found(&t, &[1]), 999);
    t.insert(&entry(&exact(1), 0, chosen(1)), 0).unwrap();
    assert!(matches!(
        t.insert(&entry(&exact(1), 0, chosen(2)), 0),
        Err(TableError::Exists(_))
    ));
    assert_eq!(found(&t, &[1]), 1);
    for n in 2..65 {
        t.insert(&entry(&exact(n), 0, chosen(n)), 0).unwrap();
    }
    assert!(matches!(
        t.insert(&entry(&exact(65), 0, chosen(1)), 0),
        Err(TableError::Full { .. })
    ));
}

/// An entry of a table with a ternary, a range and an optional key.
fn rule() -> impl Strategy<Value = ([Match; 3], i64)> {
    let small = 0u64..16;
    let ternary =
        (small.clone(), small.clone()).prop_map(|(v, m)| Match::Ternary(vec![v & m], vec![m]));
    let range = (small.clone(), small.clone())
        .prop_map(|(a, b)| Match::Range(vec![a.min(b)], vec![a.max(b)]));
    let optional = prop_oneof![Just(Match::Any), small.prop_map(|v| Match::Exact(vec![v]))];
    (
        (ternary, range, optional).prop_map(|(a, b, c)| [a, b, c]),
        0i64..4,
    )
}

fn naive(rule: &[Match; 3], key: &[u64; 3]) -> bool {
    rule.iter().zip(key).all(|(m, k)| match m {
        Match::Any => true,
        Match::Exact(v) => v[0] == *k,
        Match::Ternary(v, m) => k & m[0] == v[0],
        Match::Range(a, b) => (a[0]..=b[0]).contains(k),
    })
}

proptest! {
    #[test]
    fn the_largest_priority_wins(
        rules in prop::collection::vec(rule(), 0..60),
        keys in prop::collection::vec(prop::array::uniform3(0u64..16), 1..20),
    ) {
        let t = table(&["ternary", "range", "optional"]);
        let mut model: Vec<([Match; 3], i64, u64)> = Vec::new();
        for (n, (rule, priority)) in rules.into_iter().enumerate() {
            let new = !model.iter().any(|(r, p, _)| *r == rule && *p == priority);
            prop_assert_eq!(t.insert(&entry(&rule, priority, chosen(n as u64)), 0).is_ok(), new);
            if new {
                model.push((rule, priority, n as u64));
            }
        }
        for key in keys {
            // The first of the entries with the largest priority.
            let best = model.iter().filter(|(r, _, _)| naive(r, &key)).rev().max_by_key(|r| r.1);
            prop_assert_eq!(found(&t, &key), best.map_or(999, |r| r.2));
        }
    }
}

/// Keys of any number of words, which differ only in their last part.
#[test]
fn keys_may_have_any_number_of_words() {
    for kind in ["exact", "ternary"] {
        for count in [1, 8, 9, 16, 17, 24, 25, 40] {
            let t = table(&vec![kind; count]);
            let key = |last: u64| [vec![7; count - 1], vec![last]].concat();
            for last in 0..20 {
                let keys: Vec<_> = key(last).iter().map(|k| Match::Exact(vec![*k])).collect();
                t.insert(&entry(&keys, 0, chosen(last)), 0).unwrap();
            }
            for last in 0..30 {
                let expected = if last < 20 { last } else { 999 };
                assert_eq!(found(&t, &key(last)), expected, "{count} keys, {kind}");
            }
        }
    }
}

#[test]
fn ranges_alone_are_keys() {
    let t = table(&["range", "range"]);
    let range = |low: u64, high: u64| Match::Range(vec![low], vec![high]);
    for n in 0..20 {
        let keys = [range(n * 10, n * 10 + 9), range(n, n + 1)];
        t.insert(&entry(&keys, n as i64, chosen(n)), 0).unwrap();
    }
    assert_eq!(found(&t, &[123, 12]), 12);
    assert_eq!(found(&t, &[123, 13]), 12);
    assert_eq!(found(&t, &[123, 14]), 999);
    assert_eq!(found(&t, &[133, 13]), 13);
}

#[test]
fn learnt_entries_go_when_their_time_is_over() {
    let second = 1_000_000_000;
    let t = table(&["exact"]);
    assert_eq!(found(&t, &[5]), 999);
    assert_eq!(
        t.learn(&[5], || chosen(7), Lifetime::Profile(0), 0),
        Learn::Done
    );
    let again = t.learn(&[5], || chosen(8), Lifetime::Profile(0), 0);
    assert_eq!(again, Learn::Done, "there already: as good as new");
    assert_eq!(found(&t, &[5]), 7);
    assert_eq!(t.expire(9 * second).removed, 0);
    let id = t.get(&[Match::Exact(vec![5])], 0).unwrap().id;
    t.restart_timer(id, 9 * second);
    assert_eq!(t.expire(18 * second).removed, 0);
    t.set_lifetime(id, Lifetime::Profile(1), 18 * second);
    assert_eq!(t.expire(47 * second).removed, 0);
    assert_eq!(t.expire(48 * second).removed, 1);
    assert_eq!(found(&t, &[5]), 999);
    assert_eq!(
        t.learn(&[5], || chosen(7), Lifetime::Profile(8), 0),
        Learn::NotDone,
        "no such profile"
    );
    assert_eq!(
        t.learn(&[5], || chosen(1 << 16), Lifetime::Profile(0), 0),
        Learn::NotDone,
        "too wide"
    );
    // In seconds; with none left, the entry goes.
    let hour = 3600;
    assert_eq!(
        t.learn(&[6], || chosen(7), Lifetime::Seconds(0), 0),
        Learn::NotDone
    );
    assert_eq!(
        t.learn(&[6], || chosen(7), Lifetime::Seconds(3 * hour), 0),
        Learn::Done
    );
    assert_eq!(t.expire((3 * hour - 1) * second).removed, 0);
    let id = t.get(&[Match::Exact(vec![6])], 0).unwrap().id;
    t.set_lifetime(id, Lifetime::Seconds(2 * hour), 2 * hour * second);
    assert_eq!(t.expire((4 * hour - 1) * second).removed, 0);
    t.set_lifetime(id, Lifetime::Seconds(0), (4 * hour - 1) * second);
    assert_eq!(t.expire((4 * hour - 1) * second).removed, 1);
}

#[test]
fn entries_are_known_by_keys_and_priority() {
    let t = table(&["ternary", "exact"]);
    let keys = |v: u64, m: u64| [Match::Ternary(vec![v], vec![m]), Match::Exact(vec![1])];
    t.insert(&entry(&keys(0x1f, 0xf0), 3, chosen(1)), 0)
        .unwrap();
    let same = t.insert(&entry(&keys(0x10, 0xf0), 3, chosen(2)), 0);
    assert!(matches!(same, Err(TableError::Exists(_))));
    t.insert(&entry(&keys(0x10, 0xf0), 4, chosen(2)), 0)
        .unwrap();
    assert_eq!(found(&t, &[0x15, 1]), 2);
    let unknown = t.modify(&entry(&keys(0x10, 0xf0), 5, chosen(3)), 0);
    assert!(matches!(unknown, Err(TableError::Unknown(_))));
    t.modify(&entry(&keys(0x10, 0xf0), 4, chosen(3)), 0)
        .unwrap();
    assert_eq!(found(&t, &[0x15, 1]), 3);
    assert_eq!(t.len(), 2);
    t.delete(&keys(0x10, 0xf0), 4).unwrap();
    assert_eq!(found(&t, &[0x15, 1]), 1);
    let shown = t.all();
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0].entry, entry(&keys(0x10, 0xf0), 3, chosen(1)));
    t.set_default(chosen(5)).unwrap();
    assert!(t.default_is_set());
    assert_eq!(found(&t, &[0x15, 2]), 5);
    t.reset_default().unwrap();
    assert_eq!(found(&t, &[0x15, 2]), 999);
}
