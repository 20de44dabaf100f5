// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a table's program says of it: checks of what is to become an entry.

use adit_p4_frontend::ir::{self, limbs_of, Chosen, Match};

use super::{Rule, TableError};
use crate::p4::bits;

/// How a key is matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchKind {
    /// The value.
    Exact,
    /// The longest prefix.
    Lpm,
    /// Value and mask.
    Ternary,
    /// From one value to another.
    Range,
    /// The value, or anything.
    Optional,
}

/// The part of a table that never changes.
#[derive(Debug)]
pub(super) struct Shape {
    /// The program's words, without the entries.
    pub(super) spec: ir::Table,
    pub(super) kinds: Vec<MatchKind>,
    /// Keys that do not look anything up: they choose a group's member.
    pub(super) selector: Vec<ir::Key>,
    /// The first limb of each key in what is looked up, and of what would follow the last.
    pub(super) offsets: Vec<usize>,
}

impl Shape {
    pub(super) fn new(mut spec: ir::Table) -> Result<Shape, TableError> {
        let keys = std::mem::take(&mut spec.keys);
        let (selector, keys) = keys.into_iter().partition(|k| k.kind == "selector");
        spec.keys = keys;
        let unsupported = |why: String| TableError::Unsupported {
            table: spec.name.clone(),
            why,
        };
        let (mut kinds, mut offsets) = (Vec::new(), vec![0]);
        for key in &spec.keys {
            kinds.push(match key.kind.as_str() {
                "exact" => MatchKind::Exact,
                "lpm" => MatchKind::Lpm,
                "ternary" => MatchKind::Ternary,
                "range" => MatchKind::Range,
                "optional" => MatchKind::Optional,
                other => return Err(unsupported(format!("there is no match `{other}`"))),
            });
            offsets.push(offsets[offsets.len() - 1] + limbs_of(key.width) as usize);
        }
        if kinds.iter().filter(|k| **k == MatchKind::Lpm).count() > 1 {
            return Err(unsupported("more than one key is matched lpm".into()));
        }
        Ok(Shape {
            spec,
            selector,
            kinds,
            offsets,
        })
    }

    pub(super) fn limbs(&self) -> usize {
        self.offsets[self.offsets.len() - 1]
    }

    /// Whether entries need a priority, which also makes a prefix a mask.
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

    /// Keys as the lookup wants them.
    pub(super) fn rule(&self, keys: &[Match], priority: i64) -> Result<Rule, TableError> {
        if keys.len() != self.spec.keys.len() {
            return Err(TableError::Keys {
                table: self.spec.name.clone(),
                expected: self.spec.keys.len(),
                given: keys.len(),
            });
        }
        let mut rule = Rule {
            // Without priorities there is one entry for a key, whatever its number.
            priority: if self.has_priorities() { priority } else { 0 },
            ..Rule::default()
        };
        for ((key, kind), given) in self.spec.keys.iter().zip(&self.kinds).zip(keys) {
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
            let full = ones(key.width);
            let (value, mask) = match (kind, given) {
                (MatchKind::Range, Match::Range(low, high)) => {
                    let (low, high) = (sized(low)?, sized(high)?);
                    if low.iter().rev().gt(high.iter().rev()) {
                        return Err(TableError::Range(key.name.clone()));
                    }
                    rule.ranges.push((rule.value.len(), low, high));
                    (vec![0; limbs], vec![0; limbs])
                }
                (_, Match::Exact(value)) => (sized(value)?, full),
                (MatchKind::Exact, Match::Ternary(value, mask)) if sized(mask)? == full => {
                    (sized(value)?, full)
                }
                (MatchKind::Exact, _) => return Err(wrong("a value")),
                (_, Match::Any) => (vec![0; limbs], vec![0; limbs]),
                (MatchKind::Ternary | MatchKind::Lpm, Match::Ternary(value, mask)) => {
                    let (mut value, mask) = (sized(value)?, sized(mask)?);
                    if *kind == MatchKind::Lpm {
                        rule.prefix = prefix(&mask, key.width).ok_or(wrong("a prefix"))?;
                    }
                    value.iter_mut().zip(&mask).for_each(|(v, m)| *v &= m);
                    (value, mask)
                }
                (MatchKind::Lpm, _) => return Err(wrong("a value and a prefix")),
                (MatchKind::Ternary, _) => return Err(wrong("a value and a mask")),
                (MatchKind::Range, _) => return Err(wrong("a range")),
                (MatchKind::Optional, _) => return Err(wrong("a value or nothing")),
            };
            if let (MatchKind::Lpm, Match::Exact(_)) = (kind, given) {
                rule.prefix = key.width;
            }
            rule.value.extend(value);
            rule.mask.extend(mask);
        }
        Ok(rule)
    }

    /// The keys of a rule, each in one form: what matches everything is [`Match::Any`].
    pub(super) fn keys(&self, rule: &Rule) -> Vec<Match> {
        let parts = self.kinds.iter().zip(self.offsets.windows(2));
        let key = |(kind, ends): (&MatchKind, &[usize])| {
            let value = rule.value[ends[0]..ends[1]].to_vec();
            let mask = rule.mask[ends[0]..ends[1]].to_vec();
            let range = rule.ranges.iter().find(|(at, _, _)| *at == ends[0]);
            match (kind, range) {
                (MatchKind::Exact, _) => Match::Exact(value),
                (_, Some((_, low, high))) => Match::Range(low.clone(), high.clone()),
                _ if mask.iter().all(|limb| *limb == 0) => Match::Any,
                (MatchKind::Lpm | MatchKind::Ternary, _) => Match::Ternary(value, mask),
                _ => Match::Exact(value),
            }
        };
        parts.map(key).collect()
    }
}

/// All ones of a width.
fn ones(width: u32) -> Vec<u64> {
    let mut value = vec![u64::MAX; limbs_of(width) as usize];
    bits::trim(&mut value, width);
    value
}

/// The length of the prefix that a mask is, if it is one.
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
