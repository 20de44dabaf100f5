// SPDX-License-Identifier: Apache-2.0 OR MIT

use adit_p4_frontend::ir::{Key, TableAction};
use proptest::prelude::*;

use super::*;

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
    Table::new(ir::Table {
        name: "t".to_owned(),
        keys: keys.collect(),
        actions: vec![action("a"), action("b")],
        default: chosen(999),
        const_default: false,
        entries: Vec::new(),
        const_entries: false,
        size: Some(64),
        properties: Vec::new(),
    })
    .unwrap()
}

fn chosen(value: u64) -> Chosen {
    Chosen {
        action: 0,
        arguments: vec![vec![value]],
    }
}

fn found(table: &mut Table, key: &[u64]) -> u64 {
    table.find(key).1.arguments[0][0]
}

#[test]
fn the_longest_prefix_wins() {
    let mut t = table(&["exact", "lpm"]);
    let entry = |k: u64, v: u64, m: u64| [Match::Exact(vec![k]), Match::Ternary(vec![v], vec![m])];
    t.add(&entry(1, 0x10, 0xf0), 0, chosen(1)).unwrap();
    t.add(&entry(1, 0x12, 0xff), 0, chosen(2)).unwrap();
    let any = t.add(&entry(1, 0, 0), 0, chosen(3)).unwrap();
    assert_eq!(found(&mut t, &[1, 0x12]), 2);
    assert_eq!(found(&mut t, &[1, 0x13]), 1);
    assert_eq!(found(&mut t, &[1, 0x20]), 3);
    assert_eq!(found(&mut t, &[2, 0x12]), 999);
    t.remove(any).unwrap();
    assert_eq!(found(&mut t, &[1, 0x20]), 999);
    let error = t.add(&entry(1, 0, 0x0f), 0, chosen(1)).unwrap_err();
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
    let mut t = table(&["exact"]);
    let exact = |v: u64| [Match::Exact(vec![v])];
    assert!(matches!(
        t.add(&exact(256), 0, chosen(1)),
        Err(TableError::Width { .. })
    ));
    assert!(matches!(
        t.add(&[], 0, chosen(1)),
        Err(TableError::Keys { .. })
    ));
    assert!(matches!(
        t.add(&[Match::Any], 0, chosen(1)),
        Err(TableError::Kind { .. })
    ));
    assert!(matches!(
        t.add(&exact(1), 0, chosen(1 << 16)),
        Err(TableError::Width { .. })
    ));
    let none = Chosen {
        action: 7,
        arguments: vec![],
    };
    assert!(matches!(
        t.add(&exact(1), 0, none),
        Err(TableError::Action { .. })
    ));
    assert_eq!(found(&mut t, &[1]), 999);
    t.add(&exact(1), 0, chosen(1)).unwrap();
    assert!(matches!(
        t.add(&exact(1), 0, chosen(2)),
        Err(TableError::Exists(_))
    ));
    assert_eq!(found(&mut t, &[1]), 1);
    for n in 2..65 {
        t.add(&exact(n), 0, chosen(n)).unwrap();
    }
    assert!(matches!(
        t.add(&exact(65), 0, chosen(1)),
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
        rules in prop::collection::vec(rule(), 0..20),
        keys in prop::collection::vec(prop::array::uniform3(0u64..16), 1..20),
    ) {
        let mut t = table(&["ternary", "range", "optional"]);
        let mut model: Vec<([Match; 3], i64, u64)> = Vec::new();
        for (n, (rule, priority)) in rules.into_iter().enumerate() {
            let new = !model.iter().any(|(r, p, _)| *r == rule && *p == priority);
            prop_assert_eq!(t.add(&rule, priority, chosen(n as u64)).is_ok(), new);
            if new {
                model.push((rule, priority, n as u64));
            }
        }
        for key in keys {
            // The first of those with the largest priority.
            let best = model.iter().filter(|(r, _, _)| naive(r, &key)).rev().max_by_key(|r| r.1);
            prop_assert_eq!(found(&mut t, &key), best.map_or(999, |r| r.2));
        }
    }
}

#[test]
fn learnt_entries_go_when_their_time_is_over() {
    let second = 1_000_000;
    let mut t = table(&["exact"]);
    assert_eq!(found(&mut t, &[5]), 999);
    assert!(t.learn("b", vec![vec![7]], 0, 0));
    assert!(
        t.learn("b", vec![vec![8]], 0, 0),
        "there already: as good as new"
    );
    assert_eq!(found(&mut t, &[5]), 7);
    assert_eq!(t.expire(9 * second), 0);
    let id = t.find(&[5]).0.unwrap();
    t.restart_timer(id, 9 * second);
    assert_eq!(t.expire(18 * second), 0);
    t.set_profile(id, 1, 18 * second);
    assert_eq!(t.expire(47 * second), 0);
    assert_eq!(t.expire(48 * second), 1);
    assert_eq!(found(&mut t, &[5]), 999);
    assert!(!t.learn("c", vec![vec![7]], 0, 0), "no such action");
    assert!(!t.learn("b", vec![vec![7]], 8, 0), "no such profile");
    assert!(!t.learn("b", vec![vec![1 << 16]], 0, 0), "too wide");
}
