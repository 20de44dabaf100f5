// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a device has of services, as far as it is known, and the updates that make it what it should
//! be.

mod entries;
mod known;
mod order;
#[cfg(test)]
pub(crate) mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use adit_p4runtime::proto::v1::{entity::Entity, TableEntry, Update};

use crate::desired::{Desired, EndpointKey, Frontend, Node, Skipped};
use crate::model::{Conditions, Name, PortName, Protocol, Services};
use crate::numbers::{Exhausted, Numbers};
use crate::program::Program;
use crate::reconcile::{updates, Key, State};
use crate::tag::Tag;
pub use view::{EndpointView, FrontendView, GroupView, PortView, ServiceAt};

/// The settings that all services of a device share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// The node.
    pub node: Node,
    /// The zone of the services' addresses.
    pub zone: u16,
    /// The MAC address with which ARP and neighbor discovery for addresses of services are answered.
    /// Without one, routes lead to them.
    pub mac: Option<[u8; 6]>,
}

/// The services that a change is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All, also those that only the device has.
    All,
    /// These. Others stay as they are.
    Only(BTreeSet<Name>),
}

impl Scope {
    fn has(&self, name: &Name) -> bool {
        match self {
            Scope::All => true,
            Scope::Only(names) => names.contains(name),
        }
    }
}

/// An update, and the service that it is of.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The update.
    pub update: Update,
    owner: Option<Name>,
}

/// The updates of a change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The updates, in the order in which they have to be written.
    pub updates: Vec<Planned>,
    /// Notes of objects without effect.
    pub skipped: Vec<Skipped>,
}

/// The owner of an entity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Service(Name),
    /// Several services: an address.
    Shared,
    /// Nobody: left by a run that did not end, or about all services.
    Nobody,
}

/// The entries of services on a device.
#[derive(Clone, Debug)]
pub struct Device {
    program: Program,
    setup: Setup,
    state: State,
    owners: HashMap<Key, Owner>,
    owned: BTreeMap<Owner, BTreeSet<Key>>,
    numbers: Numbers,
    /// Entries in these tables that are not of services.
    foreign: HashSet<Key>,
    /// The numbers of frontends of a port, and at an address.
    ports: HashMap<PortName, u32>,
    addresses: HashMap<(u16, IpAddr), u32>,
    endpoints: HashMap<u32, (EndpointKey, Conditions)>,
    foreign_endpoints: HashSet<u32>,
    /// Set once the device has been read.
    is_read: bool,
}

impl Device {
    /// A device that has nothing.
    pub fn new(program: Program, setup: Setup) -> Device {
        Device {
            program,
            setup,
            state: State::default(),
            owners: HashMap::new(),
            owned: BTreeMap::new(),
            numbers: Numbers::default(),
            foreign: HashSet::new(),
            ports: HashMap::new(),
            addresses: HashMap::new(),
            endpoints: HashMap::new(),
            foreign_endpoints: HashSet::new(),
            is_read: false,
        }
    }

    /// The updates that make the services of a scope what they should be. Those that `services` does
    /// not have are removed.
    ///
    /// # Errors
    /// Fails when the program has no number for a service.
    pub fn plan(&mut self, scope: &Scope, services: &Services) -> Result<Plan, Exhausted> {
        let some;
        let services = match scope {
            Scope::All => services,
            Scope::Only(names) => {
                some = services.only(names);
                &some
            }
        };
        let (mut desired, mut skipped) = Desired::new(services, &self.setup.node);
        self.leave_to_others(&mut desired, scope, &mut skipped);
        let mut wanted = self.build(&desired)?;
        let mut actual = State::default();
        for keys in self.keys_of(scope) {
            let entities = keys.iter().filter_map(|key| self.state.get(key));
            entities.for_each(|it| actual.insert(it));
        }
        self.share_addresses(&desired, scope, &mut actual, &mut wanted);
        self.claim(&mut wanted);
        let resets = self.resets(&desired);
        let order = |key: &Key| order::of(&self.program, key);
        let mut all: Vec<_> = updates(&actual, &wanted.state, order)
            .into_iter()
            .map(|update| Planned {
                owner: wanted.owner(&update),
                update,
            })
            .collect();
        let counters = resets.into_iter().map(|update| Planned {
            update,
            owner: None,
        });
        all.splice(0..0, counters);
        Ok(Plan {
            updates: all,
            skipped,
        })
    }

    /// The keys of what a scope owns, and of what nobody does.
    fn keys_of<'s>(&'s self, scope: &'s Scope) -> Vec<&'s BTreeSet<Key>> {
        let nobody = self.owned.get(&Owner::Nobody).into_iter();
        let services: Vec<_> = match scope {
            Scope::All => {
                let all = self.owned.iter();
                let all = all.filter(|(owner, _)| matches!(owner, Owner::Service(_)));
                all.map(|(_, keys)| keys).collect()
            }
            Scope::Only(names) => {
                let owners = names.iter().cloned().map(Owner::Service);
                owners.filter_map(|owner| self.owned.get(&owner)).collect()
            }
        };
        nobody.chain(services).collect()
    }

    /// Removes frontends from a state that others have on the device.
    fn leave_to_others(&self, desired: &mut Desired, scope: &Scope, skipped: &mut Vec<Skipped>) {
        desired.frontends.retain(|frontend, route| {
            let key = self.frontend_key(frontend);
            let of = route.inside.of.service.clone();
            let frontend = *frontend;
            if self.foreign.contains(&key) {
                skipped.push(Skipped::Foreign { frontend, of });
                return false;
            }
            match self.owners.get(&key) {
                Some(Owner::Service(has)) if !scope.has(has) => {
                    let has = has.clone();
                    skipped.push(Skipped::Claimed { frontend, of, has });
                    false
                }
                _ => true,
            }
        });
    }

    /// Returns whether a connection of UDP goes to an endpoint that does not answer any more.
    /// `endpoint` is that of its label, `frontend` its original destination.
    pub fn is_stale(&self, endpoint: u32, frontend: &Frontend) -> bool {
        match (endpoint, self.endpoints.get(&endpoint)) {
            // It was there before its service.
            (0, _) => self.owners.contains_key(&self.frontend_key(frontend)),
            (_, Some((_, conditions))) => !conditions.serving,
            (id, None) => !self.foreign_endpoints.contains(&id),
        }
    }

    /// Returns whether an update may leave connections of UDP without their endpoint.
    pub fn concerns_udp(&self, planned: &Planned) -> bool {
        let entity = planned.update.entity.as_ref();
        let Some(Entity::TableEntry(entry)) = entity.and_then(|it| it.entity.as_ref()) else {
            return false;
        };
        match Tag::read(&entry.metadata) {
            Some(Tag::Frontend(of, _)) => of.protocol == Protocol::Udp,
            Some(Tag::Endpoint(key, _)) => key.of.protocol == Protocol::Udp,
            _ => false,
        }
    }

    /// Returns whether a client's entry is of an endpoint that it may get back.
    pub fn is_sticky(&self, entry: &TableEntry) -> bool {
        let group = self.program.affinity.value(entry, 0);
        let id = self.program.stick.argument_of(entry, 0).unwrap_or_default();
        let key = entries::key(&self.program.sticky_members, &[group, id]);
        self.state.get(&key).is_some() || self.foreign.contains(&key)
    }

    /// The entry that a device has as long as it has what was written, and its key.
    pub fn marker(&self) -> (Key, Entity) {
        let entity = Entity::TableEntry(self.program.endpoints.entry(&[&[0]], None));
        (entries::key(&self.program.endpoints, &[&[0]]), entity)
    }

    /// The names of the services on the device.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.owned.keys().filter_map(|owner| match owner {
            Owner::Service(name) => Some(name),
            _ => None,
        })
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// All entries of services.
    pub fn state(&self) -> &State {
        &self.state
    }
}
