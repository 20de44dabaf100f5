// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Finding entries: a hash table if all keys are exact, one for each prefix length if one is lpm,
//! and a list in order of priority otherwise.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use super::MatchKind;

/// What an entry matches: all keys one after the other, as limbs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Rule {
    pub(super) value: Vec<u64>,
    pub(super) mask: Vec<u64>,
    /// Keys with a range: the first limb, and from where to where.
    pub(super) ranges: Vec<(usize, Vec<u64>, Vec<u64>)>,
    /// The length of the prefix, if a key has one.
    pub(super) prefix: u32,
    pub(super) priority: i64,
}

impl Rule {
    fn matches(&self, key: &[u64]) -> bool {
        let masked = key.iter().zip(&self.mask).map(|(k, m)| k & m);
        masked.eq(self.value.iter().copied())
            && self.ranges.iter().all(|(at, low, high)| {
                let key = &key[*at..at + low.len()];
                key.iter().rev().ge(low.iter().rev()) && key.iter().rev().le(high.iter().rev())
            })
    }
}

pub(super) enum Lookup {
    Exact(HashMap<Box<[u64]>, u32>),
    /// By prefix length, the longest first: the mask and what is there under it.
    Lpm(BTreeMap<Reverse<u32>, Prefixes>),
    /// The largest priority first, and the oldest of those with the same.
    Ordered(Vec<(Rule, u32)>),
}

pub(super) struct Prefixes {
    mask: Vec<u64>,
    entries: HashMap<Box<[u64]>, u32>,
}

impl Lookup {
    pub(super) fn new(kinds: &[MatchKind]) -> Lookup {
        if kinds.iter().all(|k| *k == MatchKind::Exact) {
            Lookup::Exact(HashMap::new())
        } else if kinds
            .iter()
            .all(|k| matches!(k, MatchKind::Exact | MatchKind::Lpm))
        {
            Lookup::Lpm(BTreeMap::new())
        } else {
            Lookup::Ordered(Vec::new())
        }
    }

    /// Adds an entry; false if there is one with the same keys.
    pub(super) fn insert(&mut self, rule: &Rule, id: u32) -> bool {
        match self {
            Lookup::Exact(map) => insert_new(map, &rule.value, id),
            Lookup::Lpm(lengths) => {
                let prefixes = lengths
                    .entry(Reverse(rule.prefix))
                    .or_insert_with(|| Prefixes {
                        mask: rule.mask.clone(),
                        entries: HashMap::new(),
                    });
                insert_new(&mut prefixes.entries, &rule.value, id)
            }
            Lookup::Ordered(list) => {
                if list.iter().any(|(other, _)| other == rule) {
                    return false;
                }
                let at = list.partition_point(|(other, _)| other.priority >= rule.priority);
                list.insert(at, (rule.clone(), id));
                true
            }
        }
    }

    pub(super) fn remove(&mut self, rule: &Rule, id: u32) {
        match self {
            Lookup::Exact(map) => {
                map.remove(&rule.value[..]);
            }
            Lookup::Lpm(lengths) => {
                if let Some(prefixes) = lengths.get_mut(&Reverse(rule.prefix)) {
                    prefixes.entries.remove(&rule.value[..]);
                    if prefixes.entries.is_empty() {
                        lengths.remove(&Reverse(rule.prefix));
                    }
                }
            }
            Lookup::Ordered(list) => list.retain(|(_, other)| *other != id),
        }
    }

    pub(super) fn find(&self, key: &[u64]) -> Option<u32> {
        match self {
            Lookup::Exact(map) => map.get(key).copied(),
            Lookup::Lpm(lengths) => lengths.values().find_map(|prefixes| {
                let masked = key.iter().zip(&prefixes.mask).map(|(k, m)| k & m);
                let masked: Vec<u64> = masked.collect();
                prefixes.entries.get(&masked[..]).copied()
            }),
            Lookup::Ordered(list) => {
                let found = list.iter().find(|(rule, _)| rule.matches(key));
                found.map(|(_, id)| *id)
            }
        }
    }
}

fn insert_new(map: &mut HashMap<Box<[u64]>, u32>, key: &[u64], id: u32) -> bool {
    if map.contains_key(key) {
        return false;
    }
    map.insert(key.into(), id);
    true
}
