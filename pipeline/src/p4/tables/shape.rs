// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The program's declaration of a table, and validation of entries against it.

use adit_p4_frontend::ir::{self, limbs_of, Chosen, Match};

use super::key::{is_selector, MatchKind, Plan};
use super::TableError;
use crate::p4::bits;

/// The match of an entry: all keys, packed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rule {
    pub(super) value: Vec<u64>,
    pub(super) mask: Vec<u64>,
    /// The lower and upper bound of each range.
    pub(super) ranges: Vec<u64>,
    /// The largest wins: the prefix length, or the control plane's priority.
    pub(super) rank: i64,
}

/// The part of a table that never changes.
#[derive(Debug)]
pub(super) struct Shape {
    /// The program's declaration, without the entries.
    pub(super) spec: ir::Table,
    pub(super) kinds: Vec<MatchKind>,
    /// Selector keys, which are not looked up: they select a group's member.
    pub(super) selector: Vec<ir::Key>,
    pub(super) plan: Plan,
    /// The slot and number of limbs of each action's arguments.
    pub(super) arguments: Vec<Vec<(u32, u32)>>,
}

impl Shape {
    pub(super) fn new(mut spec: ir::Table) -> Result<Shape, TableError> {
        let keys = std::mem::take(&mut spec.keys);
        let (selector, keys) = keys.into_iter().partition(is_selector);
        spec.keys = keys;
        let unsupported = |why: String| TableError::Unsupported {
            table: spec.name.clone(),
            why,
        };
        let mut kinds = Vec::new();
        for key in &spec.keys {
            let kind = MatchKind::named(&key.kind);
            let why = || unsupported(format!("there is no match `{}`", key.kind));
            kinds.push(kind.ok_or_else(why)?);
        }
        if kinds.iter().filter(|k| **k == MatchKind::Lpm).count() > 1 {
            return Err(unsupported("more than one key is matched lpm".into()));
        }
        if spec.actions.len() > usize::from(u16::MAX) {
            return Err(unsupported("it has too many actions".into()));
        }
        let places = |action: &ir::TableAction| {
            let parameters = action.parameters.iter();
            parameters.map(|p| (p.slot, limbs_of(p.width))).collect()
        };
        let arguments: Vec<Vec<_>> = spec.actions.iter().map(places).collect();
        Ok(Shape {
            plan: Plan::new(&spec.keys, &kinds),
            arguments,
            spec,
            selector,
            kinds,
        })
    }

    /// The slots of each action's arguments, limb by limb.
    pub(super) fn argument_slots(&self) -> Vec<Vec<u32>> {
        let slots = |list: &Vec<(u32, u32)>| {
            let each = list.iter();
            each.flat_map(|(slot, limbs)| *slot..slot + limbs).collect()
        };
        self.arguments.iter().map(slots).collect()
    }

    /// Returns the number of words of the longest argument list.
    pub(super) fn argument_words(&self) -> usize {
        let words = |list: &Vec<(u32, u32)>| list.iter().map(|(_, limbs)| *limbs as usize).sum();
        // A member's or group's number takes one word.
        self.arguments.iter().map(words).max().unwrap_or(0).max(1)
    }

    /// Returns whether a single hash lookup finds every key.
    pub(super) fn is_exact(&self) -> bool {
        self.kinds.iter().all(|k| *k == MatchKind::Exact)
    }

    /// Returns whether entries need a priority, which also makes a prefix a mask.
    pub(super) fn has_priorities(&self) -> bool {
        let simple = |k: &MatchKind| matches!(k, MatchKind::Exact | MatchKind::Lpm);
        !self.kinds.iter().all(simple)
    }

    pub(super) fn check_action(&self, chosen: &Chosen, is_default: bool) -> Result<(), TableError> {
        let action = self.spec.actions.get(chosen.action as usize);
        let action = action.filter(|a| {
            !(if is_default {
                a.table_only
            } else {
                a.default_only
            })
        });
        let Some(action) = action else {
            let named = self.spec.actions.get(chosen.action as usize);
            return Err(TableError::Action {
                table: self.spec.name.clone(),
                action: named.map_or_else(|| chosen.action.to_string(), |a| a.name.clone()),
            });
        };
        if chosen.arguments.len() != action.parameters.len() {
            return Err(TableError::Arguments {
                action: action.name.clone(),
                expected: action.parameters.len(),
                given: chosen.arguments.len(),
            });
        }
        for (parameter, value) in action.parameters.iter().zip(&chosen.arguments) {
            fits(&parameter.name, parameter.width, value)?;
        }
        Ok(())
    }

    /// Converts keys to the packed form used by lookups.
    pub(super) fn rule(&self, keys: &[Match], priority: i64) -> Result<Rule, TableError> {
        if keys.len() != self.spec.keys.len() {
            return Err(TableError::Keys {
                table: self.spec.name.clone(),
                expected: self.spec.keys.len(),
                given: keys.len(),
            });
        }
        let mut rule = Rule {
            value: vec![0; self.plan.words],
            mask: vec![0; self.plan.words],
            ranges: Vec::new(),
            // Without priorities there is one entry for a key, so the given number is ignored.
            rank: if self.has_priorities() { priority } else { 0 },
        };
        let each = self.spec.keys.iter().zip(&self.kinds).zip(keys);
        for (n, ((key, kind), given)) in each.enumerate() {
            let limbs = limbs_of(key.width) as usize;
            let sized = |value: &[u64]| -> Result<Vec<u64>, TableError> {
                fits(&key.name, key.width, value)?;
                let mut value = value.to_vec();
                value.resize(limbs, 0);
                Ok(value)
            };
            let wrong = |takes| TableError::Kind {
                key: key.name.clone(),
                kind: key.kind.clone(),
                takes,
            };
            if *kind == MatchKind::Range {
                let (low, high) = match given {
                    Match::Range(low, high) => (sized(low)?, sized(high)?),
                    Match::Exact(value) => (sized(value)?, sized(value)?),
                    Match::Any => (vec![0; limbs], ones(key.width)),
                    Match::Ternary(..) => return Err(wrong("a range")),
                };
                if low.iter().rev().gt(high.iter().rev()) {
                    return Err(TableError::Range(key.name.clone()));
                }
                rule.ranges.extend(low);
                rule.ranges.extend(high);
                continue;
            }
            let full = ones(key.width);
            let (value, mask) = match (kind, given) {
                (_, Match::Exact(value)) => (sized(value)?, full),
                (MatchKind::Exact, Match::Ternary(value, mask)) if sized(mask)? == full => {
                    (sized(value)?, full)
                }
                (MatchKind::Exact, _) => return Err(wrong("a value")),
                (_, Match::Any) => (vec![0; limbs], vec![0; limbs]),
                (MatchKind::Ternary | MatchKind::Lpm, Match::Ternary(value, mask)) => {
                    let (mut value, mask) = (sized(value)?, sized(mask)?);
                    if *kind == MatchKind::Lpm && prefix(&mask, key.width).is_none() {
                        return Err(wrong("a prefix"));
                    }
                    value.iter_mut().zip(&mask).for_each(|(v, m)| *v &= m);
                    (value, mask)
                }
                (MatchKind::Lpm, _) => return Err(wrong("a value and a prefix")),
                (MatchKind::Ternary, _) => return Err(wrong("a value and a mask")),
                (MatchKind::Range | MatchKind::Optional, _) => {
                    return Err(wrong("a value or nothing"))
                }
            };
            if *kind == MatchKind::Lpm && !self.has_priorities() {
                rule.rank = prefix(&mask, key.width).unwrap_or(0).into();
            }
            self.plan.pack(n, key.width, &value, &mut rule.value);
            self.plan.pack(n, key.width, &mask, &mut rule.mask);
        }
        Ok(rule)
    }

    /// The keys of a rule in canonical form: a match of all values is [`Match::Any`].
    pub(super) fn keys(&self, rule: &Rule) -> Vec<Match> {
        let mut ranges = &rule.ranges[..];
        let mut keys = Vec::new();
        for (n, (key, kind)) in self.spec.keys.iter().zip(&self.kinds).enumerate() {
            if *kind == MatchKind::Range {
                let limbs = limbs_of(key.width) as usize;
                let (low, rest) = ranges.split_at(limbs);
                let (high, rest) = rest.split_at(limbs);
                ranges = rest;
                let is_any = low.iter().all(|limb| *limb == 0) && high == ones(key.width);
                keys.push(match is_any {
                    true => Match::Any,
                    false => Match::Range(low.to_vec(), high.to_vec()),
                });
                continue;
            }
            let value = self.plan.unpack(n, key.width, &rule.value);
            let mask = self.plan.unpack(n, key.width, &rule.mask);
            keys.push(match kind {
                MatchKind::Exact => Match::Exact(value),
                _ if mask.iter().all(|limb| *limb == 0) => Match::Any,
                MatchKind::Lpm | MatchKind::Ternary => Match::Ternary(value, mask),
                _ => Match::Exact(value),
            });
        }
        keys
    }
}

/// A value of all ones.
fn ones(width: u32) -> Vec<u64> {
    let mut value = vec![u64::MAX; limbs_of(width) as usize];
    bits::trim(&mut value, width);
    value
}

/// The prefix length of a mask, if it is a prefix.
fn prefix(mask: &[u64], width: u32) -> Option<u32> {
    let length = mask.iter().map(|limb| limb.count_ones()).sum();
    let mut wanted = vec![0; mask.len()];
    bits::set_ones(&mut wanted, width.checked_sub(length)?, width);
    (wanted == mask).then_some(length)
}

fn fits(name: &str, width: u32, value: &[u64]) -> Result<(), TableError> {
    let limbs = limbs_of(width) as usize;
    let high = value.iter().skip(limbs).any(|limb| *limb != 0);
    let top = value.get(limbs - 1).copied().unwrap_or(0);
    if high || top & !bits::top_mask(width) != 0 {
        return Err(TableError::Width {
            name: name.to_owned(),
            width,
        });
    }
    Ok(())
}
