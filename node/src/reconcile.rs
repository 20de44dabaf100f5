// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Two states of a device's tables, and the updates that lead from one to the other.
//!
//! What entries refer to is written before them and deleted after them, and all writes come before
//! the deletions: a packet meets the old state or the new one, never an entry without what it leads
//! to.

use std::collections::BTreeMap;

use adit_p4runtime::bytes::shortest;
use adit_p4runtime::proto::v1::{
    self, entity::Entity, field_match::FieldMatchType, table_action, update::Type,
    ActionProfileGroup, ActionProfileMember, FieldMatch, TableEntry, Update,
};

/// The key of an entity on the device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A member of an action profile.
    Member {
        /// The id of the profile.
        profile: u32,
        /// The id of the member.
        id: u32,
    },
    /// A group of an action profile.
    Group {
        /// The id of the profile.
        profile: u32,
        /// The id of the group.
        id: u32,
    },
    /// An entry of a table.
    Entry {
        /// The id of the table.
        table: u32,
        /// Its matches: ids of fields with the values that P4Runtime has for them, in order.
        matches: Vec<(u32, Vec<Vec<u8>>, i32)>,
        /// Its priority.
        priority: i32,
    },
}

fn short(bytes: &[u8]) -> Vec<u8> {
    shortest(bytes).to_vec()
}

fn parts(given: &FieldMatch) -> (u32, Vec<Vec<u8>>, i32) {
    let (values, length) = match &given.field_match_type {
        Some(FieldMatchType::Exact(it)) => (vec![short(&it.value)], 0),
        Some(FieldMatchType::Ternary(it)) => (vec![short(&it.value), short(&it.mask)], 1),
        Some(FieldMatchType::Lpm(it)) => (vec![short(&it.value)], it.prefix_len),
        Some(FieldMatchType::Range(it)) => (vec![short(&it.low), short(&it.high)], 2),
        Some(FieldMatchType::Optional(it)) => (vec![short(&it.value)], 3),
        Some(FieldMatchType::Other(_)) | None => (Vec::new(), 0),
    };
    (given.field_id, values, length)
}

impl Key {
    /// The key of an entity; `None` for other kinds of entities.
    pub fn of(entity: &Entity) -> Option<Key> {
        match entity {
            Entity::TableEntry(entry) => {
                let mut matches: Vec<_> = entry.r#match.iter().map(parts).collect();
                matches.sort();
                Some(Key::Entry {
                    table: entry.table_id,
                    matches,
                    priority: entry.priority,
                })
            }
            Entity::ActionProfileMember(member) => Some(Key::Member {
                profile: member.action_profile_id,
                id: member.member_id,
            }),
            Entity::ActionProfileGroup(group) => Some(Key::Group {
                profile: group.action_profile_id,
                id: group.group_id,
            }),
            _ => None,
        }
    }
}

fn plain_action(action: &v1::Action) -> v1::Action {
    let mut params: Vec<_> = action
        .params
        .iter()
        .map(|param| v1::action::Param {
            param_id: param.param_id,
            value: short(&param.value),
        })
        .collect();
    params.sort_by_key(|param| param.param_id);
    v1::Action {
        action_id: action.action_id,
        params,
    }
}

fn plain_match(given: &FieldMatch) -> FieldMatch {
    let mut plain = given.clone();
    let shorten = |bytes: &mut Vec<u8>| *bytes = short(bytes);
    match &mut plain.field_match_type {
        Some(FieldMatchType::Exact(it)) => shorten(&mut it.value),
        Some(FieldMatchType::Optional(it)) => shorten(&mut it.value),
        Some(FieldMatchType::Lpm(it)) => shorten(&mut it.value),
        Some(FieldMatchType::Ternary(it)) => {
            shorten(&mut it.value);
            shorten(&mut it.mask);
        }
        Some(FieldMatchType::Range(it)) => {
            shorten(&mut it.low);
            shorten(&mut it.high);
        }
        Some(FieldMatchType::Other(_)) | None => {}
    }
    plain
}

/// The parts of an entity that a client writes, in one form: what devices add when they are read, and
/// orders that have no meaning, are gone.
fn plain(entity: &Entity) -> Option<Entity> {
    Some(match entity {
        Entity::TableEntry(entry) => {
            let mut r#match: Vec<_> = entry.r#match.iter().map(plain_match).collect();
            r#match.sort_by_key(|it| it.field_id);
            let action = entry.action.as_ref().map(|action| v1::TableAction {
                r#type: match &action.r#type {
                    Some(table_action::Type::Action(it)) => {
                        Some(table_action::Type::Action(plain_action(it)))
                    }
                    other => other.clone(),
                },
            });
            Entity::TableEntry(TableEntry {
                table_id: entry.table_id,
                r#match,
                action,
                priority: entry.priority,
                idle_timeout_ns: entry.idle_timeout_ns,
                metadata: entry.metadata.clone(),
                ..TableEntry::default()
            })
        }
        Entity::ActionProfileMember(member) => Entity::ActionProfileMember(ActionProfileMember {
            action: member.action.as_ref().map(plain_action),
            ..member.clone()
        }),
        Entity::ActionProfileGroup(group) => {
            let mut members = group.members.clone();
            members.sort_by_key(|member| member.member_id);
            Entity::ActionProfileGroup(ActionProfileGroup {
                members,
                max_size: 0,
                ..group.clone()
            })
        }
        _ => return None,
    })
}

/// Entries, members and groups by their keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    entities: BTreeMap<Key, Entity>,
}

impl State {
    /// Adds an entity, in place of one with the same key. Other kinds of entities are ignored.
    pub fn insert(&mut self, entity: &Entity) {
        if let (Some(key), Some(entity)) = (Key::of(entity), plain(entity)) {
            self.entities.insert(key, entity);
        }
    }

    /// The entity with a key.
    pub fn get(&self, key: &Key) -> Option<&Entity> {
        self.entities.get(key)
    }

    /// All entities, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Entity)> {
        self.entities.iter()
    }

    /// The number of entities.
    pub fn len(&self) -> usize {
        self.entities.len()
    }

    /// Returns whether it has no entities.
    pub fn is_empty(&self) -> bool {
        self.entities.is_empty()
    }

    /// Applies an update that the device has applied.
    pub fn apply(&mut self, update: &Update) {
        let entity = update.entity.as_ref().and_then(|it| it.entity.as_ref());
        let Some(entity) = entity else { return };
        match update.r#type() {
            Type::Delete => {
                if let Some(key) = Key::of(entity) {
                    self.entities.remove(&key);
                }
            }
            _ => self.insert(entity),
        }
    }
}

fn update(kind: Type, entity: &Entity) -> Update {
    Update {
        r#type: kind as i32,
        entity: Some(v1::Entity {
            entity: Some(entity.clone()),
        }),
    }
}

/// The places of an entity among writes and among deletions, the lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Among writes: behind what it refers to.
    pub write: u32,
    /// Among deletions: behind what refers to it.
    pub delete: u32,
}

/// The updates that lead from one state to another, none if they are equal.
pub fn updates(actual: &State, desired: &State, order: impl Fn(&Key) -> Order) -> Vec<Update> {
    let mut writes = Vec::new();
    for (key, entity) in &desired.entities {
        match actual.entities.get(key) {
            None => writes.push((order(key).write, update(Type::Insert, entity))),
            Some(known) if known != entity => {
                writes.push((order(key).write, update(Type::Modify, entity)));
            }
            Some(_) => {}
        }
    }
    writes.sort_by_key(|(place, _)| *place);
    let is_gone = |key: &&Key| !desired.entities.contains_key(key);
    let mut gone: Vec<_> = actual.entities.keys().filter(is_gone).collect();
    gone.sort_by_key(|key| order(key).delete);
    let deletions = gone.into_iter().filter_map(|key| {
        let entity = actual.entities.get(key)?;
        Some(update(Type::Delete, entity))
    });
    let writes = writes.into_iter().map(|(_, update)| update);
    writes.chain(deletions).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u32, action: u32) -> Entity {
        Entity::ActionProfileMember(ActionProfileMember {
            action_profile_id: 7,
            member_id: id,
            action: Some(v1::Action {
                action_id: action,
                params: Vec::new(),
            }),
        })
    }

    fn group(id: u32, members: &[u32]) -> Entity {
        let members = members.iter().map(|id| v1::action_profile_group::Member {
            member_id: *id,
            weight: 1,
            watch_kind: None,
        });
        Entity::ActionProfileGroup(ActionProfileGroup {
            action_profile_id: 7,
            group_id: id,
            members: members.collect(),
            max_size: 9,
        })
    }

    fn entry(value: &[u8], group: u32) -> Entity {
        Entity::TableEntry(TableEntry {
            table_id: 3,
            r#match: vec![FieldMatch {
                field_id: 1,
                field_match_type: Some(FieldMatchType::Exact(v1::field_match::Exact {
                    value: value.to_vec(),
                })),
            }],
            action: Some(v1::TableAction {
                r#type: Some(table_action::Type::ActionProfileGroupId(group)),
            }),
            time_since_last_hit: Some(v1::table_entry::IdleTimeout { elapsed_ns: 5 }),
            ..TableEntry::default()
        })
    }

    fn state(entities: &[Entity]) -> State {
        let mut state = State::default();
        entities.iter().for_each(|it| state.insert(it));
        state
    }

    fn order(key: &Key) -> Order {
        let write = match key {
            Key::Member { .. } => 0,
            Key::Group { .. } => 1,
            Key::Entry { .. } => 2,
        };
        let delete = 2 - write;
        Order { write, delete }
    }

    fn shown(updates: &[Update]) -> Vec<(Type, Key)> {
        let entity = |it: &Update| it.entity.clone().and_then(|it| it.entity).expect("one");
        let shown = updates.iter();
        let shown = shown.map(|it| (it.r#type(), Key::of(&entity(it)).expect("a key")));
        shown.collect()
    }

    #[test]
    fn what_is_referred_to_is_written_first_and_deleted_last() {
        let old = state(&[
            member(1, 1),
            member(2, 1),
            group(1, &[1, 2]),
            entry(&[1], 1),
        ]);
        let new = state(&[
            member(2, 1),
            member(3, 1),
            group(1, &[2, 3]),
            entry(&[0, 1], 1),
        ]);
        let member = |id| Key::Member { profile: 7, id };
        let group = |id| Key::Group { profile: 7, id };
        assert_eq!(
            shown(&updates(&old, &new, order)),
            [
                (Type::Insert, member(3)),
                (Type::Modify, group(1)),
                (Type::Delete, member(1)),
            ],
            "a value of more bytes is the same value"
        );
        let all = shown(&updates(&new, &State::default(), order));
        let ranks: Vec<_> = all.iter().map(|(_, key)| order(key).delete).collect();
        assert_eq!(ranks, [0, 1, 2, 2]);
    }

    #[test]
    fn orders_and_times_are_no_differences() {
        let old = state(&[group(1, &[1, 2]), entry(&[1], 1)]);
        let new = state(&[group(1, &[2, 1]), entry(&[1], 1)]);
        assert!(updates(&old, &new, order).is_empty());
        assert_eq!(updates(&old, &state(&[]), order).len(), 2);
    }

    #[test]
    fn updates_lead_to_the_state() {
        let old = state(&[member(1, 1), group(1, &[1]), entry(&[1], 1)]);
        let new = state(&[member(1, 2), group(2, &[1]), entry(&[1], 2), entry(&[2], 2)]);
        let mut now = old.clone();
        updates(&old, &new, order)
            .iter()
            .for_each(|it| now.apply(it));
        assert_eq!(now, new);
    }
}
