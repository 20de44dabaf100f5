// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ids of a program's entities: the kind in the upper 8 bits; in the lower bits the program's `@id`
//! or a hash of the name, computed as p4c does, so that ids do not depend on the compiler.

use std::collections::{BTreeMap, BTreeSet};

use adit_p4_frontend::control::{number, Annotation};

use crate::proto::config::p4_ids::Prefix;

/// The error for an `@id` that is used twice or belongs to another kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// An id that two entities have.
    #[error("`{name}` has an `@id` that something else has: {id:#x}")]
    Twice {
        /// The second entity with the id.
        name: String,
        /// The id.
        id: u32,
    },
    /// An id with the upper 8 bits of another kind, or a number that is not an id.
    #[error("`{name}` cannot have the `@id` {id:#x}: its upper 8 bits are {prefix:#x} or 0")]
    Prefix {
        /// The entity.
        name: String,
        /// The number.
        id: i64,
        /// The value that the upper 8 bits must have.
        prefix: u32,
    },
}

/// Names that ids are assigned to.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    wanted: BTreeMap<u32, BTreeMap<String, Option<u32>>>,
    assigned: BTreeSet<u32>,
    /// The number of names with each suffix.
    suffixes: BTreeMap<String, u32>,
    names: BTreeSet<String>,
}

impl Symbols {
    /// Adds a name. The same name again is the same entity.
    pub(super) fn add(
        &mut self,
        prefix: Prefix,
        name: &str,
        annotations: &[Annotation],
    ) -> Result<(), IdError> {
        let prefix = prefix as u32;
        let kind = self.wanted.entry(prefix).or_default();
        if kind.contains_key(name) {
            return Ok(());
        }
        let given = match number(annotations, "id") {
            None => None,
            Some(id) => match u32::try_from(id) {
                Ok(id) if id != 0 && (id >> 24 == 0 || id >> 24 == prefix) => {
                    Some(id | prefix << 24)
                }
                _ => {
                    return Err(IdError::Prefix {
                        name: name.to_owned(),
                        id,
                        prefix,
                    })
                }
            },
        };
        if let Some(id) = given {
            if !self.assigned.insert(id) {
                return Err(IdError::Twice {
                    name: name.to_owned(),
                    id,
                });
            }
        }
        kind.insert(name.to_owned(), given);
        if self.names.insert(name.to_owned()) {
            for suffix in suffixes(name) {
                *self.suffixes.entry(suffix.to_owned()).or_default() += 1;
            }
        }
        Ok(())
    }

    /// Assigns ids to the remaining names, in the order of the names, so that they do not depend on
    /// the order of declarations when hashes collide.
    pub(super) fn assign(&mut self) {
        for (prefix, kind) in &mut self.wanted {
            for (name, id) in kind.iter_mut().filter(|(_, id)| id.is_none()) {
                let mut hash = one_at_a_time(name.as_bytes());
                while !self.assigned.insert(prefix << 24 | hash & 0xFF_FFFF) {
                    hash = hash.wrapping_add(1);
                }
                *id = Some(prefix << 24 | hash & 0xFF_FFFF);
            }
        }
    }

    /// Returns the id of a name that has been added; 0 for others.
    pub(super) fn id(&self, prefix: Prefix, name: &str) -> u32 {
        let kind = self.wanted.get(&(prefix as u32));
        kind.and_then(|k| k.get(name).copied().flatten())
            .unwrap_or(0)
    }

    /// Returns the shortest suffix of a name, in whole components, that no other name has.
    pub(super) fn alias<'n>(&self, name: &'n str) -> &'n str {
        suffixes(name)
            .find(|suffix| self.suffixes.get(*suffix) == Some(&1))
            .unwrap_or(name)
    }
}

/// Returns the suffixes of a name after each dot, shortest first.
fn suffixes(name: &str) -> impl Iterator<Item = &str> {
    let dots = name.rmatch_indices('.').map(|(at, _)| at + 1);
    dots.chain([0]).map(|at| &name[at..])
}

/// Bob Jenkins' one-at-a-time hash.
fn one_at_a_time(bytes: &[u8]) -> u32 {
    let mut hash = 0u32;
    for byte in bytes {
        hash = hash.wrapping_add(u32::from(*byte));
        hash = hash.wrapping_add(hash << 10);
        hash ^= hash >> 6;
    }
    hash = hash.wrapping_add(hash << 3);
    hash ^= hash >> 11;
    hash.wrapping_add(hash << 15)
}

/// Assigns ids to fields and parameters: an `@id` is used as given, the others get the next unused
/// ids, in order.
pub(super) fn local_ids<'a>(items: impl Iterator<Item = &'a [Annotation]>) -> Vec<u32> {
    let given: Vec<Option<u32>> = items
        .map(|a| number(a, "id").and_then(|id| u32::try_from(id).ok()))
        .collect();
    let mut assigned: BTreeSet<u32> = given.iter().flatten().copied().collect();
    let mut next = 1;
    given
        .into_iter()
        .map(|id| {
            if let Some(id) = id {
                next += 1;
                return id;
            }
            while !assigned.insert(next) {
                next += 1;
            }
            next
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_public_compilers() {
        let mut symbols = Symbols::default();
        symbols.add(Prefix::Action, "NoAction", &[]).unwrap();
        symbols
            .add(Prefix::Table, "IngressI.indirect_ws", &[])
            .unwrap();
        symbols.assign();
        assert_eq!(symbols.id(Prefix::Action, "NoAction"), 21257015);
        assert_eq!(symbols.id(Prefix::Table, "IngressI.indirect_ws"), 38116258);
        assert_eq!(symbols.alias("IngressI.indirect_ws"), "indirect_ws");
    }

    #[test]
    fn an_alias_is_as_long_as_it_has_to_be() {
        let mut symbols = Symbols::default();
        for name in ["d.a.c", "e.b.c", "c"] {
            symbols.add(Prefix::Table, name, &[]).unwrap();
        }
        assert_eq!(symbols.alias("d.a.c"), "a.c");
        assert_eq!(symbols.alias("c"), "c");
    }
}
