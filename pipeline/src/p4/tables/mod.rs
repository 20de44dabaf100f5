// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tables at run time: entries are checked when they come, so that looking up need not.

mod aging;
mod lookup;

use std::fmt;

use adit_p4_frontend::ir::{self, limbs_of, Chosen, Match};

use lookup::{Lookup, Rule};

/// How an entry is known while it is in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(u32);

/// What is wrong with an entry or an operation on a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Not as many keys as the table has.
    #[error("the table `{table}` has {expected} keys, not {given}")]
    Keys {
        /// The table.
        table: String,
        /// How many it has.
        expected: usize,
        /// How many came.
        given: usize,
    },
    /// A kind of match that the key does not take.
    #[error("the key `{key}` is matched {kind}: it takes {takes}")]
    Kind {
        /// The key.
        key: String,
        /// How it is matched.
        kind: String,
        /// What it takes.
        takes: &'static str,
    },
    /// A value wider than its key or parameter.
    #[error("the value for `{name}` does not fit into {width} bits")]
    Width {
        /// The key or parameter.
        name: String,
        /// How wide it is.
        width: u32,
    },
    /// A range whose end comes before its beginning.
    #[error("the range for `{0}` ends before it begins")]
    Range(String),
    /// An action that entries cannot have.
    #[error("the table `{table}` has no action for this use: {action}")]
    Action {
        /// The table.
        table: String,
        /// The action.
        action: String,
    },
    /// Not as many arguments as the action has parameters.
    #[error("the action `{action}` has {expected} parameters, not {given}")]
    Arguments {
        /// The action.
        action: String,
        /// How many it has.
        expected: usize,
        /// How many came.
        given: usize,
    },
    /// The program's own entries or default action cannot be changed.
    #[error("the {what} of the table `{table}` are the program's own")]
    Constant {
        /// The table.
        table: String,
        /// What it is.
        what: &'static str,
    },
    /// The same key again.
    #[error("the table `{0}` has an entry with this key already")]
    Exists(String),
    /// No such entry.
    #[error("the table `{0}` has no such entry")]
    Unknown(String),
    /// No room.
    #[error("the table `{table}` is full: it has room for {size} entries")]
    Full {
        /// The table.
        table: String,
        /// Its size.
        size: usize,
    },
    /// A match that the engine does not have.
    #[error("the table `{table}` cannot be run: {why}")]
    Unsupported {
        /// The table.
        table: String,
        /// Why.
        why: String,
    },
}

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

/// The most entries of a table that asks for no size, or for more.
const MAX_ENTRIES: usize = 4 << 20;

/// A table with its entries.
pub struct Table {
    spec: ir::Table,
    kinds: Vec<MatchKind>,
    /// The first limb of each key in what is looked up, and of what would follow the last.
    offsets: Vec<usize>,
    lookup: Lookup,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    default: Chosen,
    capacity: usize,
    /// The key that was looked up last.
    key: Vec<u64>,
    timers: aging::Timers,
}

struct Entry {
    rule: Rule,
    chosen: Chosen,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries.iter().flatten().count();
        write!(f, "table {} with {entries} entries", self.spec.name)
    }
}

impl Table {
    /// A table as the program declares it, with its entries.
    pub fn new(spec: ir::Table) -> Result<Table, TableError> {
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
                "selector" => return Err(unsupported("action selectors are not there yet".into())),
                other => return Err(unsupported(format!("there is no match `{other}`"))),
            });
            offsets.push(offsets[offsets.len() - 1] + limbs_of(key.width) as usize);
        }
        if kinds.iter().filter(|k| **k == MatchKind::Lpm).count() > 1 {
            return Err(unsupported("more than one key is matched lpm".into()));
        }
        let limbs = offsets[offsets.len() - 1];
        let mut table = Table {
            lookup: Lookup::new(&kinds),
            default: spec.default.clone(),
            capacity: spec
                .size
                .map_or(MAX_ENTRIES, |s| s as usize)
                .min(MAX_ENTRIES),
            key: Vec::with_capacity(limbs),
            timers: aging::Timers::default(),
            kinds,
            offsets,
            entries: Vec::new(),
            free: Vec::new(),
            spec,
        };
        for entry in std::mem::take(&mut table.spec.entries) {
            match table.insert(&entry.keys, entry.priority, entry.chosen) {
                // The first of equal ones wins, as everywhere.
                Ok(_) | Err(TableError::Exists(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(table)
    }

    /// What the program says of the table. Its entries are not there, but in the table.
    pub fn spec(&self) -> &ir::Table {
        &self.spec
    }

    /// How a key is matched.
    pub fn kind(&self, key: usize) -> Option<MatchKind> {
        self.kinds.get(key).copied()
    }

    /// Whether entries need a priority, which also makes a prefix a mask.
    pub fn has_priorities(&self) -> bool {
        self.lookup.has_priorities()
    }

    /// Adds an entry. Of two that match, the one with the larger priority wins.
    pub fn add(
        &mut self,
        keys: &[Match],
        priority: i64,
        chosen: Chosen,
    ) -> Result<EntryId, TableError> {
        if self.spec.const_entries {
            return Err(self.constant("entries"));
        }
        self.insert(keys, priority, chosen)
    }

    fn insert(
        &mut self,
        keys: &[Match],
        priority: i64,
        chosen: Chosen,
    ) -> Result<EntryId, TableError> {
        self.check_action(&chosen, false)?;
        let rule = self.rule(keys, priority)?;
        if self.entries.len() - self.free.len() >= self.capacity {
            return Err(TableError::Full {
                table: self.spec.name.clone(),
                size: self.capacity,
            });
        }
        let id = self
            .free
            .last()
            .copied()
            .unwrap_or(self.entries.len() as u32);
        if !self.lookup.insert(&rule, id) {
            return Err(TableError::Exists(self.spec.name.clone()));
        }
        let entry = Some(Entry { rule, chosen });
        match self.free.pop() {
            Some(id) => self.entries[id as usize] = entry,
            None => self.entries.push(entry),
        }
        Ok(EntryId(id))
    }

    /// Removes an entry.
    pub fn remove(&mut self, id: EntryId) -> Result<(), TableError> {
        if self.spec.const_entries {
            return Err(self.constant("entries"));
        }
        self.timers.forget(id);
        let entry = self.entries.get_mut(id.0 as usize).and_then(Option::take);
        let Some(entry) = entry else {
            return Err(TableError::Unknown(self.spec.name.clone()));
        };
        self.lookup.remove(&entry.rule, id.0);
        self.free.push(id.0);
        Ok(())
    }

    /// Sets the action for packets that match no entry.
    pub fn set_default(&mut self, chosen: Chosen) -> Result<(), TableError> {
        if self.spec.const_default {
            return Err(self.constant("default action"));
        }
        self.check_action(&chosen, true)?;
        self.default = chosen;
        Ok(())
    }

    fn constant(&self, what: &'static str) -> TableError {
        TableError::Constant {
            table: self.spec.name.clone(),
            what,
        }
    }

    fn check_action(&self, chosen: &Chosen, is_default: bool) -> Result<(), TableError> {
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
    fn rule(&self, keys: &[Match], priority: i64) -> Result<Rule, TableError> {
        if keys.len() != self.spec.keys.len() {
            return Err(TableError::Keys {
                table: self.spec.name.clone(),
                expected: self.spec.keys.len(),
                given: keys.len(),
            });
        }
        let mut rule = Rule {
            priority,
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

    /// Looks up the keys in a frame: the entry and what it says; without entry, the default action.
    pub(super) fn find(&mut self, frame: &[u64]) -> (Option<EntryId>, &Chosen) {
        self.key.clear();
        for (key, ends) in self.spec.keys.iter().zip(self.offsets.windows(2)) {
            let limbs = ends[1] - ends[0];
            self.key
                .extend_from_slice(&frame[key.slot as usize..][..limbs]);
        }
        let found = match self.spec.keys.is_empty() {
            true => None,
            false => self.lookup.find(&self.key),
        };
        match found.and_then(|id| Some((id, self.entries.get(id as usize)?.as_ref()?))) {
            Some((id, entry)) => (Some(EntryId(id)), &entry.chosen),
            None => (None, &self.default),
        }
    }
}

/// All ones of a width.
fn ones(width: u32) -> Vec<u64> {
    let mut value = vec![u64::MAX; limbs_of(width) as usize];
    super::bits::trim(&mut value, width);
    value
}

/// The length of the prefix that a mask is, if it is one.
fn prefix(mask: &[u64], width: u32) -> Option<u32> {
    let length = mask.iter().map(|limb| limb.count_ones()).sum();
    let mut wanted = vec![0; mask.len()];
    super::bits::set_ones(&mut wanted, width.checked_sub(length)?, width);
    (wanted == mask).then_some(length)
}

fn fits(name: &str, width: u32, value: &[u64]) -> Result<(), TableError> {
    let limbs = limbs_of(width) as usize;
    let high = value.iter().skip(limbs).any(|limb| *limb != 0);
    let top = value.get(limbs - 1).copied().unwrap_or(0);
    if high || top & !super::bits::top_mask(width) != 0 {
        return Err(TableError::Width {
            name: name.to_owned(),
            width,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
