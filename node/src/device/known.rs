// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The known state of a device: entries that were read, and those written since.

use std::collections::HashMap;

use adit_p4runtime::proto::v1::{entity::Entity, update::Type, TableEntry};

use super::{entries, Device, Owner, Planned};
use crate::model::Name;
use crate::program::number;
use crate::reconcile::Key;
use crate::tag::Tag;

impl Device {
    /// Takes what was read from the device, in place of what was known.
    pub fn take(&mut self, entities: &[Entity]) {
        let claimed = self.is_read.then(|| self.numbers.claim());
        *self = Device::new(self.program.clone(), self.setup.clone());
        self.is_read = true;
        let on_device = entities.iter().find_map(|entity| match entity {
            Entity::TableEntry(entry) => match Tag::read(&entry.metadata)? {
                Tag::Next(number) => Some(number),
                _ => None,
            },
            _ => None,
        });
        // A device that has lost its tables may still have connections.
        self.numbers.resume(claimed, on_device);
        let table = |entity: &&Entity| match entity {
            Entity::TableEntry(entry) => Some(entry.table_id),
            _ => None,
        };
        let (first, rest): (Vec<_>, Vec<_>) = entities.iter().partition(|it| {
            let names_others = [self.program.endpoints.id, self.program.backends.id];
            table(it).is_some_and(|id| names_others.contains(&id))
        });
        for entity in first.into_iter().chain(rest) {
            self.take_one(entity);
        }
    }

    fn take_one(&mut self, entity: &Entity) {
        let owner = match entity {
            Entity::TableEntry(entry) => match Tag::read(&entry.metadata) {
                Some(tag) => tag.service().cloned(),
                None => return self.avoid(entity, entry),
            },
            Entity::ActionProfileMember(member) => {
                if self.foreign_endpoints.contains(&member.member_id) {
                    return;
                }
                let of = self.endpoints.get(&member.member_id);
                of.map(|(key, _)| key.of.service.clone())
            }
            Entity::ActionProfileGroup(group) => {
                let key = self.pool_entry(group.group_id);
                if self.foreign.contains(&key) {
                    return;
                }
                match self.owners.get(&key) {
                    Some(Owner::Service(name)) => Some(name.clone()),
                    _ => None,
                }
            }
            _ => return,
        };
        self.add(entity, owner);
    }

    fn pool_entry(&self, group: u32) -> Key {
        entries::key(&self.program.backends, &[&group.to_be_bytes()])
    }

    /// Notes an entry that is not of services.
    fn avoid(&mut self, entity: &Entity, entry: &TableEntry) {
        let program = &self.program;
        let id = number(program.endpoints.value(entry, 0)) as u32;
        if entry.table_id == program.services.id {
            let service = program.balance.argument_of(entry, 0);
            let service = service.map(|it| number(it) as u16);
            self.numbers.avoid(service, None, None);
        } else if entry.table_id == program.backends.id {
            let group = number(program.backends.value(entry, 0)) as u32;
            self.numbers.avoid(None, Some(group), None);
        } else if entry.table_id == program.endpoints.id {
            self.numbers.avoid(None, None, Some(id));
            self.foreign_endpoints.insert(id);
        }
        self.foreign.extend(Key::of(entity));
    }

    /// Adds an entity that the device has.
    fn add(&mut self, entity: &Entity, owner: Option<Name>) {
        let Some(key) = Key::of(entity) else { return };
        let mut owner = owner.map_or(Owner::Nobody, Owner::Service);
        if let Entity::TableEntry(entry) = entity {
            self.count(entry, &key);
            if Tag::read(&entry.metadata) == Some(Tag::Address) {
                owner = Owner::Shared;
            }
        }
        self.state.insert(entity);
        if let Some(before) = self.owners.insert(key.clone(), owner.clone()) {
            if before != owner {
                self.owned.entry(before).or_default().remove(&key);
            }
        }
        self.owned.entry(owner).or_default().insert(key);
    }

    /// Updates what follows from an entry that was written.
    fn count(&mut self, entry: &TableEntry, key: &Key) {
        let before = match self.state.get(key) {
            Some(Entity::TableEntry(before)) => Some(before.clone()),
            _ => None,
        };
        if let Some(before) = before {
            self.uncount(&before);
        }
        match Tag::read(&entry.metadata) {
            Some(Tag::Frontend(of, _)) => {
                if let Some(service) = self.program.balance.argument_of(entry, 0) {
                    self.numbers.put_service(of.clone(), number(service) as u16);
                }
                *self.ports.entry(of).or_default() += 1;
                if let Some(at) = self.address_of(entry) {
                    *self.addresses.entry(at).or_default() += 1;
                }
            }
            Some(Tag::Pool(pool)) => {
                let group = number(self.program.backends.value(entry, 0)) as u32;
                self.numbers.put_pool(pool, group);
            }
            Some(Tag::Endpoint(of, conditions)) => {
                let id = number(self.program.endpoints.value(entry, 0)) as u32;
                self.numbers.put_endpoint(of.clone(), id);
                self.endpoints.insert(id, (of, conditions));
            }
            Some(Tag::Sticky(_) | Tag::Address | Tag::Next(_)) | None => {}
        }
    }

    /// Takes back what followed from an entry.
    fn uncount(&mut self, entry: &TableEntry) {
        match Tag::read(&entry.metadata) {
            Some(Tag::Frontend(of, _)) => {
                if take_one(&mut self.ports, &of) {
                    self.numbers.free_service(&of);
                }
                if let Some(at) = self.address_of(entry) {
                    take_one(&mut self.addresses, &at);
                }
            }
            Some(Tag::Pool(pool)) => self.numbers.free_pool(&pool),
            Some(Tag::Endpoint(of, _)) => {
                let id = number(self.program.endpoints.value(entry, 0)) as u32;
                self.numbers.forget_endpoint(&of);
                self.endpoints.remove(&id);
            }
            _ => {}
        }
    }

    /// Notes that the device has applied an update.
    pub fn applied(&mut self, planned: &Planned) {
        let update = &planned.update;
        let entity = update.entity.as_ref().and_then(|it| it.entity.as_ref());
        let Some((entity, key)) = entity.and_then(|it| Some((it, Key::of(it)?))) else {
            return;
        };
        if update.r#type() != Type::Delete {
            return self.add(entity, planned.owner.clone());
        }
        if let Some(Entity::TableEntry(entry)) = self.state.get(&key).cloned() {
            self.uncount(&entry);
        }
        self.state.apply(update);
        if let Some(owner) = self.owners.remove(&key) {
            if let Some(keys) = self.owned.get_mut(&owner) {
                keys.remove(&key);
                if keys.is_empty() {
                    self.owned.remove(&owner);
                }
            }
        }
    }
}

/// Takes one off a count. Returns whether none is left.
pub(super) fn take_one<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, u32>, key: &K) -> bool {
    let Some(count) = counts.get_mut(key) else {
        return false;
    };
    *count -= 1;
    let is_last = *count == 0;
    if is_last {
        counts.remove(key);
    }
    is_last
}
