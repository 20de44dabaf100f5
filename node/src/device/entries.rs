// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Entries of services.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use adit_p4runtime::proto::v1::{
    self, action_profile_group::Member, entity::Entity, table_action, update::Type,
    ActionProfileGroup, ActionProfileMember, CounterData, CounterEntry, Index, TableAction,
    TableEntry, Update,
};

use super::{Device, Owner, Scope};
use crate::desired::{Desired, EndpointKey, Frontend, Kind, Masquerade, Route};
use crate::model::Name;
use crate::numbers::Exhausted;
use crate::program::{address, address_of, number, Table};
use crate::reconcile::{Key, State};
use crate::tag::Tag;

/// Flags of `balance` (`p4/node/types.p4`).
const MASQUERADE: u8 = 0x01;
const INSIDE_LOCAL: u8 = 0x02;
const OUTSIDE_LOCAL: u8 = 0x04;
const MASQUERADE_AWAY: u8 = 0x08;

/// The key of an entry.
pub(super) fn key(table: &Table, values: &[&[u8]]) -> Key {
    let entry = Entity::TableEntry(table.entry(values, None));
    Key::of(&entry).expect("entries have keys")
}

/// Entities that a device should have, with the services that they are of.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) state: State,
    owners: HashMap<Key, Name>,
}

impl Wanted {
    fn add(&mut self, entity: &Entity, owner: &Name) {
        self.state.insert(entity);
        if let Some(key) = Key::of(entity) {
            self.owners.insert(key, owner.clone());
        }
    }

    fn entry(&mut self, mut entry: TableEntry, tag: &Tag, owner: Option<&Name>) {
        entry.metadata = tag.bytes();
        let entity = Entity::TableEntry(entry);
        match owner {
            Some(owner) => self.add(&entity, owner),
            None => self.state.insert(&entity),
        }
    }

    pub(super) fn owner(&self, update: &Update) -> Option<Name> {
        let entity = update.entity.as_ref()?.entity.as_ref()?;
        self.owners.get(&Key::of(entity)?).cloned()
    }
}

impl Device {
    fn zone(&self) -> [u8; 2] {
        self.setup.zone.to_be_bytes()
    }

    pub(super) fn frontend_key(&self, frontend: &Frontend) -> Key {
        self.key_in(self.setup.zone, frontend)
    }

    pub(super) fn key_in(&self, zone: u16, frontend: &Frontend) -> Key {
        let (at, port) = (address(frontend.address), frontend.port.to_be_bytes());
        let protocol = [frontend.protocol.number()];
        key(
            &self.program.services,
            &[&zone.to_be_bytes(), &at, &protocol, &port],
        )
    }

    /// The entities of a state, but for addresses, which several services may share.
    pub(super) fn build(&mut self, desired: &Desired) -> Result<Wanted, Exhausted> {
        let mut wanted = Wanted::default();
        for (endpoint, conditions) in &desired.endpoints {
            let id = self.numbers.endpoint(endpoint).to_be_bytes();
            let program = &self.program;
            let entry = program
                .endpoints
                .entry(&[&id], program.no_action.of_entry(&[]));
            let tag = Tag::Endpoint(endpoint.clone(), *conditions);
            wanted.entry(entry, &tag, Some(&endpoint.of.service));
        }
        for (key, pool) in &desired.pools {
            let group_id = self.numbers.pool(key)?;
            let mut members = Vec::new();
            for endpoint in &pool.endpoints {
                members.push(self.member(endpoint, &mut wanted));
                if pool.is_sticky {
                    self.sticky(group_id, endpoint, &mut wanted);
                }
            }
            let members = members.into_iter().map(|member_id| Member {
                member_id,
                weight: 1,
                watch_kind: None,
            });
            let group = Entity::ActionProfileGroup(ActionProfileGroup {
                action_profile_id: self.program.members,
                group_id,
                members: members.collect(),
                max_size: 0,
            });
            wanted.add(&group, &key.of.service);
            let group = Some(TableAction {
                r#type: Some(table_action::Type::ActionProfileGroupId(group_id)),
            });
            let entry = self
                .program
                .backends
                .entry(&[&group_id.to_be_bytes()], group);
            wanted.entry(entry, &Tag::Pool(key.clone()), Some(&key.of.service));
        }
        for (frontend, route) in &desired.frontends {
            self.frontend(frontend, route, &mut wanted)?;
        }
        Ok(wanted)
    }

    fn call(&mut self, endpoint: &EndpointKey) -> (u32, v1::Action) {
        let id = self.numbers.endpoint(endpoint);
        let (at, port) = (address(endpoint.at.ip()), endpoint.at.port().to_be_bytes());
        let call = self.program.endpoint.call(&[&id.to_be_bytes(), &at, &port]);
        (id, call)
    }

    fn member(&mut self, endpoint: &EndpointKey, wanted: &mut Wanted) -> u32 {
        let (id, call) = self.call(endpoint);
        let member = Entity::ActionProfileMember(ActionProfileMember {
            action_profile_id: self.program.members,
            member_id: id,
            action: Some(call),
        });
        wanted.add(&member, &endpoint.of.service);
        id
    }

    fn sticky(&mut self, group: u32, endpoint: &EndpointKey, wanted: &mut Wanted) {
        let (id, call) = self.call(endpoint);
        let action = Some(TableAction {
            r#type: Some(table_action::Type::Action(call)),
        });
        let values: [&[u8]; 2] = [&group.to_be_bytes(), &id.to_be_bytes()];
        let entry = self.program.sticky_members.entry(&values, action);
        let service = &endpoint.of.service;
        wanted.entry(entry, &Tag::Sticky(service.clone()), Some(service));
    }

    fn frontend(
        &mut self,
        frontend: &Frontend,
        route: &Route,
        wanted: &mut Wanted,
    ) -> Result<(), Exhausted> {
        let of = &route.inside.of;
        let service = self.numbers.service(of)?.to_be_bytes();
        let inside = self.numbers.pool(&route.inside)?.to_be_bytes();
        let outside = self.numbers.pool(&route.outside)?.to_be_bytes();
        let flag = |is, flag| if is { flag } else { 0 };
        let masquerade = match route.masquerade {
            Masquerade::Never => 0,
            Masquerade::Away => MASQUERADE_AWAY,
            Masquerade::Always => MASQUERADE,
        };
        let flags = masquerade
            | flag(route.drops_inside, INSIDE_LOCAL)
            | flag(route.drops_outside, OUTSIDE_LOCAL);
        let affinity = route.affinity.to_be_bytes();
        let values: [&[u8]; 5] = [&service, &inside, &outside, &affinity, &[flags]];
        let action = self.program.balance.of_entry(&values);
        let (at, port) = (address(frontend.address), frontend.port.to_be_bytes());
        let protocol = [frontend.protocol.number()];
        let values: [&[u8]; 4] = [&self.zone(), &at, &protocol, &port];
        let entry = self.program.services.entry(&values, action);
        wanted.entry(
            entry,
            &Tag::Frontend(of.clone(), route.kind),
            Some(&of.service),
        );
        Ok(())
    }

    /// Adds the addresses of the frontends of a scope, unless other services have them too, to both
    /// states.
    pub(super) fn share_addresses(
        &self,
        desired: &Desired,
        scope: &Scope,
        actual: &mut State,
        wanted: &mut Wanted,
    ) {
        let own = desired.frontends.iter();
        // The node's own addresses are those of the host's stack, at all ports without a service.
        let of_node = &self.setup.node.addresses;
        let own = own.filter(|(frontend, route)| {
            route.kind != Kind::NodePort && !of_node.contains(&frontend.address)
        });
        let own: BTreeSet<_> = own
            .map(|(frontend, _)| (self.setup.zone, frontend.address))
            .collect();
        // The numbers of frontends that the scope has now at addresses.
        let mut before: HashMap<(u16, IpAddr), u32> = HashMap::new();
        for (_, entity) in actual.iter() {
            let Entity::TableEntry(entry) = entity else {
                continue;
            };
            if let Some(at) = self.address_of(entry) {
                *before.entry(at).or_default() += 1;
            }
        }
        let touched: BTreeSet<_> = own.iter().chain(before.keys()).copied().collect();
        for at in touched {
            let entry = self.address(at);
            let Some(key) = Key::of(&Entity::TableEntry(entry.clone())) else {
                continue;
            };
            let known = self.state.get(&key);
            known.into_iter().for_each(|it| actual.insert(it));
            let count = |counts: &HashMap<_, u32>| counts.get(&at).copied().unwrap_or(0);
            // One of a pod or of the host stays what it is.
            if own.contains(&at) && !self.foreign.contains(&key) {
                wanted.entry(entry, &Tag::Address, None);
            } else if count(&self.addresses) > count(&before) {
                known.into_iter().for_each(|it| wanted.state.insert(it));
            }
        }
        if let (Scope::All, Some(keys)) = (scope, self.owned.get(&Owner::Shared)) {
            let all = keys.iter().filter_map(|key| self.state.get(key));
            all.for_each(|it| actual.insert(it));
        }
    }

    /// The zone and the address of a frontend's entry, unless it is the node's.
    pub(super) fn address_of(&self, entry: &TableEntry) -> Option<(u16, IpAddr)> {
        match Tag::read(&entry.metadata)? {
            Tag::Frontend(_, kind) if kind != Kind::NodePort => {
                let value = |place| self.program.services.value(entry, place);
                Some((number(value(0)) as u16, address_of(value(1))))
            }
            _ => None,
        }
    }

    fn address(&self, (zone, given): (u16, IpAddr)) -> TableEntry {
        let action = match self.setup.mac {
            Some(mac) => self.program.service_address.of_entry(&[&mac]),
            None => self.program.silent_service_address.of_entry(&[]),
        };
        let values: [&[u8]; 2] = [&zone.to_be_bytes(), &address(given)];
        self.program.addresses.entry(&values, action)
    }

    /// Adds the entry that keeps numbers of endpoints from being used again.
    pub(super) fn claim(&mut self, wanted: &mut Wanted) {
        // An endpoint's number is never 0.
        let entry = self
            .program
            .endpoints
            .entry(&[&[0]], self.program.no_action.of_entry(&[]));
        let tag = Tag::Next(self.numbers.claim());
        wanted.entry(entry, &tag, None);
    }

    /// Updates that clear the counters of services that are new.
    pub(super) fn resets(&mut self, desired: &Desired) -> Vec<Update> {
        let routes = desired.frontends.values();
        let new: BTreeSet<_> = routes
            .map(|route| &route.inside.of)
            .filter(|of| !self.ports.contains_key(of))
            .collect();
        let mut updates = Vec::new();
        for of in new {
            let Ok(service) = self.numbers.service(of) else {
                continue;
            };
            updates.extend(self.program.counters.iter().map(|counter| Update {
                r#type: Type::Modify as i32,
                entity: Some(v1::Entity {
                    entity: Some(Entity::CounterEntry(CounterEntry {
                        counter_id: *counter,
                        index: Some(Index {
                            index: service.into(),
                        }),
                        data: Some(CounterData::default()),
                    })),
                }),
            }));
        }
        updates
    }
}
