// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of each kind of table against a linear search, and of lookups during concurrent changes.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use adit_p4_frontend::ir::{ActionParameter, Key, TableAction};
use proptest::prelude::*;

use super::*;
use crate::p4::objects::Count;

const MISS: u64 = 9999;

/// A table with keys of these kinds and widths, each in one slot or, if wide, two; it has one
/// action, whose three arguments follow them.
fn table(keys: &[(&str, u32)], size: u64) -> Table {
    let mut slot = 0;
    let keys = keys.iter().map(|(kind, width)| {
        let key = Key {
            name: format!("k{slot}"),
            slot,
            width: *width,
            kind: (*kind).to_owned(),
            signed: false,
        };
        slot += limbs_of(*width);
        key
    });
    let keys: Vec<_> = keys.collect();
    let parameter = |n: u32| ActionParameter {
        name: format!("x{n}"),
        slot: 8 + n,
        width: 64,
    };
    let action = TableAction {
        name: "a".to_owned(),
        parameters: (0..3).map(parameter).collect(),
        function: 0,
        default_only: false,
        table_only: false,
    };
    let spec = ir::Table {
        place: String::new(),
        name: "t".to_owned(),
        keys,
        actions: vec![action],
        default: chosen(MISS),
        const_default: false,
        entries: Vec::new(),
        const_entries: false,
        size: Some(size),
        properties: Vec::new(),
    };
    Table::new(spec, Arc::new(Epochs::new())).unwrap()
}

fn chosen(value: u64) -> Chosen {
    Chosen {
        action: 0,
        arguments: vec![vec![value], vec![value.wrapping_mul(3)], vec![!value]],
    }
}

fn entry(keys: Vec<Match>, priority: i64, value: u64) -> Entry {
    Entry {
        keys,
        priority,
        action: Action::Direct(chosen(value)),
        idle_timeout_ns: None,
        opaque: Vec::new(),
    }
}

/// A reader that performs many lookups under one worker number.
struct Reader<'a>(&'a Table, usize);

impl Reader<'_> {
    fn new(table: &Table) -> Reader<'_> {
        Reader(table, table.epochs.join().unwrap())
    }

    fn find(&self, key: &[u64]) -> u64 {
        let mut frame = [0; 11];
        frame[..key.len()].copy_from_slice(key);
        let pin = self.0.epochs.pin(self.1);
        let mut packed = vec![0; self.0.key_words()];
        self.0.gather(&frame, &mut packed);
        let hit = Hit {
            worker: self.1,
            weight: Count::default(),
            now_ns: 0,
        };
        self.0.find(&mut frame, &packed, &pin, || hit);
        let value = frame[8];
        let whole = [value, value.wrapping_mul(3), !value];
        assert_eq!(frame[8..], whole, "half an entry");
        value
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        self.0.epochs.leave(self.1);
    }
}

fn matches(rule: &[Match], key: &[u64]) -> bool {
    rule.iter().zip(key).all(|(m, k)| match m {
        Match::Any => true,
        Match::Exact(v) => v[0] == *k,
        Match::Ternary(v, m) => k & m[0] == v[0] & m[0],
        Match::Range(a, b) => (a[0]..=b[0]).contains(k),
    })
}

/// A step of a test: insert, modify or delete.
type Step = (u8, Vec<Match>, i64);

fn steps(keys: Vec<BoxedStrategy<Match>>) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0u8..4, keys, 0i64..4), 1..80)
}

/// Runs the steps on a table and on a list, and compares lookups after each.
fn compare(table: &Table, rank: impl Fn(&Step) -> i64, steps: &[Step], probes: &[Vec<u64>]) {
    let reader = Reader::new(table);
    // Canonical keys, rank and value, in the order of insertion.
    let mut model: Vec<(Vec<Match>, i64, u64)> = Vec::new();
    for (n, step) in steps.iter().enumerate() {
        let (what, keys, priority) = step;
        let (rank, value) = (rank(step), n as u64);
        let at = model.iter().position(|m| m.0 == *keys && m.1 == rank);
        let entry = entry(keys.clone(), *priority, value);
        match what {
            0 | 1 => {
                assert_eq!(table.insert(&entry, 0).is_ok(), at.is_none());
                if at.is_none() {
                    model.push((keys.clone(), rank, value));
                }
            }
            2 => {
                assert_eq!(table.modify(&entry, 0).is_ok(), at.is_some());
                if let Some(at) = at {
                    model[at].2 = value;
                }
            }
            _ => {
                assert_eq!(table.delete(keys, *priority).is_ok(), at.is_some());
                if let Some(at) = at {
                    model.remove(at);
                }
            }
        }
        assert_eq!(table.len(), model.len());
        for probe in probes {
            let hits = model.iter().filter(|m| matches(&m.0, probe));
            let best = hits.rev().max_by_key(|m| m.1);
            let wanted = best.map_or(MISS, |m| m.2);
            assert_eq!(reader.find(probe), wanted, "{probe:?} in {model:?}");
        }
    }
}

fn probes(keys: usize, below: u64) -> impl Strategy<Value = Vec<Vec<u64>>> {
    prop::collection::vec(prop::collection::vec(0..below, keys), 1..20)
}

fn exact(below: u64) -> BoxedStrategy<Match> {
    (0..below).prop_map(|v| Match::Exact(vec![v])).boxed()
}

/// A prefix, in the form that the table returns.
fn prefix(width: u32) -> BoxedStrategy<Match> {
    let full = super::super::bits::mask(width);
    (any::<u64>(), 0..=width)
        .prop_map(move |(value, length)| match length {
            0 => Match::Any,
            _ => {
                let mask = full & !super::super::bits::mask(width - length);
                Match::Ternary(vec![value & mask], vec![mask])
            }
        })
        .boxed()
}

fn ternary(below: u64) -> BoxedStrategy<Match> {
    (0..below, 0..below)
        .prop_map(|(v, m)| match m {
            0 => Match::Any,
            _ => Match::Ternary(vec![v & m], vec![m]),
        })
        .boxed()
}

fn range(below: u64) -> BoxedStrategy<Match> {
    (0..below, 0..below)
        .prop_map(|(a, b)| Match::Range(vec![a.min(b)], vec![a.max(b)]))
        .boxed()
}

fn length_of(rule: &Match) -> i64 {
    match rule {
        Match::Ternary(_, mask) => mask[0].count_ones().into(),
        _ => 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn exact_is_as_a_list(s in steps(vec![exact(6), exact(6)]), p in probes(2, 6)) {
        compare(&table(&[("exact", 13), ("exact", 59)], 1000), |_| 0, &s, &p);
    }

    #[test]
    fn short_prefixes_are_as_a_list(
        s in steps(vec![prefix(9)]),
        p in probes(1, 1 << 9),
    ) {
        compare(&table(&[("lpm", 9)], 1000), |s| length_of(&s.1[0]), &s, &p);
    }

    #[test]
    fn prefixes_of_addresses_are_as_a_list(
        lengths in prop::collection::vec((0u8..4, 20u32..=32, 0u64..8, 0i64..1), 1..60),
        probes in prop::collection::vec(0u64..2048, 1..20),
    ) {
        // Values are close together, so that prefixes nest.
        let steps: Vec<Step> = lengths.into_iter().map(|(what, length, value, priority)| {
            let mask = 0xffff_ffff & !super::super::bits::mask(32 - length);
            let value = (value << 8 | value << 2) & mask;
            (what, vec![Match::Ternary(vec![value], vec![mask])], priority)
        }).collect();
        let probes: Vec<_> = probes.into_iter().map(|p| vec![p]).collect();
        compare(&table(&[("lpm", 32)], 1000), |s| length_of(&s.1[0]), &steps, &probes);
    }

    #[test]
    fn prefixes_beside_exact_keys_are_as_a_list(
        s in steps(vec![exact(3), prefix(6)]),
        p in probes(2, 64),
    ) {
        compare(&table(&[("exact", 70 - 62), ("lpm", 6)], 1000), |s| length_of(&s.1[1]), &s, &p);
    }

    #[test]
    fn priorities_are_as_a_list(
        s in steps(vec![ternary(8), range(8), ternary(8)]),
        p in probes(3, 8),
    ) {
        let t = table(&[("ternary", 33), ("range", 16), ("ternary", 40)], 1000);
        compare(&t, |s| s.2, &s, &p);
    }
}

/// Readers on one core while a writer makes changes on the other: each lookup returns one of the
/// values that the key has had, never a mixture; keys that never change are always found.
#[test]
fn readers_never_see_half_an_entry() {
    let kinds: [&[(&str, u32)]; 3] = [&[("exact", 32)], &[("lpm", 32)], &[("ternary", 32)]];
    for keys in kinds {
        let table = table(keys, 5000);
        let rule = |n: u64| match keys[0].0 {
            "exact" => Match::Exact(vec![n << 8]),
            _ => Match::Ternary(vec![n << 8], vec![0xffff_ff00]),
        };
        for n in 0..2000 {
            table.insert(&entry(vec![rule(n)], 1, n << 32), 0).unwrap();
        }
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let reader = Reader::new(&table);
                let mut n = 1u64;
                while !done.load(Relaxed) {
                    n = n.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(11);
                    let key = (n >> 33) % 2000;
                    let value = reader.find(&[key << 8]);
                    let is_steady = key % 2 == 0;
                    assert!(
                        value >> 32 == key || !is_steady && value == MISS,
                        "{key}: {value}"
                    );
                }
            });
            for round in 0..15u64 {
                for n in (1..2000).step_by(2) {
                    let keys = vec![rule(n)];
                    match (round + n / 2) % 3 {
                        0 => drop(table.delete(&keys, 1)),
                        1 => drop(table.insert(&entry(keys, 1, n << 32 | round), 0)),
                        _ => drop(table.modify(&entry(keys, 1, n << 32 | round), 0)),
                    }
                }
                for n in (0..2000).step_by(2) {
                    table
                        .modify(&entry(vec![rule(n)], 1, n << 32 | round), 0)
                        .unwrap();
                }
            }
            done.store(true, Relaxed);
        });
    }
}
