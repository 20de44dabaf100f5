// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Services as they are on a device, for people.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use adit_p4runtime::proto::v1::{entity::Entity, TableEntry};
use serde::Serialize;

use super::entries::key;
use super::Device;
use crate::desired::{EndpointKey, Frontend, Kind};
use crate::model::{Conditions, Name, Policy, PortName, Protocol};
use crate::program::{address_of, number};
use crate::reconcile::Key;
use crate::tag::Tag;

/// A frontend of a service's port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FrontendView {
    /// The address and port.
    pub address: SocketAddr,
    /// The kind of the address.
    pub kind: Kind,
    /// The zone of the address.
    #[serde(skip)]
    pub zone: u16,
    /// The key of its entry.
    #[serde(skip)]
    pub key: Key,
}

/// An endpoint of a service's port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndpointView {
    /// Its number.
    pub id: u32,
    /// The address and port.
    pub address: SocketAddr,
    /// `ready`.
    pub ready: bool,
    /// `serving`.
    pub serving: bool,
    /// `terminating`.
    pub terminating: bool,
    /// Set if it gets new connections, from clients somewhere.
    pub is_used: bool,
}

/// A service's port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PortView {
    /// The service's namespace.
    pub namespace: String,
    /// The service's name.
    pub name: String,
    /// The port's name, empty if it has none.
    pub port: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The number of the port in the program's counters.
    pub service: u16,
    /// Seconds of silence after which a client may be sent to another endpoint; 0 without affinity.
    pub affinity_s: u32,
    /// The address and port at which connections arrive.
    pub frontends: Vec<FrontendView>,
    /// Its endpoints.
    pub endpoints: Vec<EndpointView>,
}

/// A group of endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct GroupView {
    /// Its number.
    pub group: u32,
    /// The traffic policy that admits its endpoints.
    pub policy: Policy,
    /// The number of its endpoints.
    pub endpoints: usize,
}

/// The service's port that an address and port belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAt {
    /// The service's port.
    pub of: PortName,
    /// The kind of the address.
    pub kind: Kind,
    /// Seconds of silence after which a client may be sent to another endpoint; 0 without affinity.
    pub affinity_s: u32,
}

impl Device {
    /// The service's port that has a frontend in a zone; `None` if none has it.
    pub fn service_at(&self, zone: u16, frontend: &Frontend) -> Option<ServiceAt> {
        let Entity::TableEntry(entry) = self.state.get(&self.key_in(zone, frontend))? else {
            return None;
        };
        let Some(Tag::Frontend(of, kind)) = Tag::read(&entry.metadata) else {
            return None;
        };
        let affinity = self.program.balance.argument_of(entry, 3);
        Some(ServiceAt {
            of,
            kind,
            affinity_s: affinity.map_or(0, number) as u32,
        })
    }

    /// The address and the conditions of an endpoint, by its number; `None` if no service has it.
    pub fn endpoint(&self, id: u32) -> Option<(SocketAddr, Conditions)> {
        let (key, conditions) = self.endpoints.get(&id)?;
        Some((key.at, *conditions))
    }

    /// The number of an endpoint of a service's ports of a protocol, by its address, and the port; `None` if
    /// the service has no such endpoint.
    pub fn endpoint_at(
        &self,
        service: &Name,
        protocol: Protocol,
        at: SocketAddr,
    ) -> Option<(u32, &PortName)> {
        let is_it = |key: &EndpointKey| {
            key.at == at && key.of.protocol == protocol && key.of.service == *service
        };
        let mut endpoints = self.endpoints.iter();
        let (id, (key, _)) = endpoints.find(|(_, (key, _))| is_it(key))?;
        Some((*id, &key.of))
    }

    /// A group of endpoints, by its number; `None` if no service has it.
    pub fn group(&self, number: u32) -> Option<GroupView> {
        let value = number.to_be_bytes();
        let backend = self.state.get(&key(&self.program.backends, &[&value]))?;
        let Entity::TableEntry(entry) = backend else {
            return None;
        };
        let Some(Tag::Pool(pool)) = Tag::read(&entry.metadata) else {
            return None;
        };
        let members = self.state.get(&Key::Group {
            profile: self.program.members,
            id: number,
        });
        Some(GroupView {
            group: number,
            policy: pool.policy,
            endpoints: match members {
                Some(Entity::ActionProfileGroup(group)) => group.members.len(),
                _ => 0,
            },
        })
    }

    /// The ports of all services, in the order of their names.
    pub fn ports(&self) -> Vec<PortView> {
        let mut ports: BTreeMap<PortName, PortView> = BTreeMap::new();
        for (key, entity) in self.state.iter() {
            let Entity::TableEntry(entry) = entity else {
                continue;
            };
            let Some(Tag::Frontend(of, kind)) = Tag::read(&entry.metadata) else {
                continue;
            };
            let port = ports
                .entry(of.clone())
                .or_insert_with(|| PortView::new(&of));
            let balance = |place| {
                let argument = self.program.balance.argument_of(entry, place);
                argument.map_or(0, number)
            };
            port.service = balance(0) as u16;
            port.affinity_s = balance(3) as u32;
            let at = self.frontend_of(entry);
            port.frontends.push(FrontendView {
                address: SocketAddr::new(at.address, at.port),
                kind,
                zone: number(self.program.services.value(entry, 0)) as u16,
                key: key.clone(),
            });
        }
        let used = self.used();
        for (id, (key, conditions)) in &self.endpoints {
            let of = &key.of;
            let port = ports.entry(of.clone()).or_insert_with(|| PortView::new(of));
            port.endpoints.push(EndpointView::new(
                *id,
                key.at,
                *conditions,
                used.contains(id),
            ));
        }
        for port in ports.values_mut() {
            port.frontends.sort_by_key(|it| (it.kind, it.address));
            port.endpoints.sort_by_key(|it| it.address);
        }
        ports.into_values().collect()
    }

    fn frontend_of(&self, entry: &TableEntry) -> Frontend {
        let value = |place| self.program.services.value(entry, place);
        Frontend {
            address: address_of(value(1)),
            port: number(value(3)) as u16,
            protocol: Protocol::of_number(number(value(2)) as u8).unwrap_or_default(),
        }
    }

    /// The endpoints that are in a group.
    fn used(&self) -> BTreeSet<u32> {
        let groups = self.state.iter().filter_map(|(_, entity)| match entity {
            Entity::ActionProfileGroup(group) => Some(group),
            _ => None,
        });
        let members = groups.flat_map(|group| &group.members);
        members.map(|member| member.member_id).collect()
    }
}

impl PortView {
    fn new(of: &PortName) -> PortView {
        PortView {
            namespace: of.service.namespace.clone(),
            name: of.service.name.clone(),
            port: of.port.clone(),
            protocol: of.protocol,
            service: 0,
            affinity_s: 0,
            frontends: Vec::new(),
            endpoints: Vec::new(),
        }
    }
}

impl EndpointView {
    fn new(id: u32, address: SocketAddr, conditions: Conditions, is_used: bool) -> EndpointView {
        EndpointView {
            id,
            address,
            ready: conditions.ready,
            serving: conditions.serving,
            terminating: conditions.terminating,
            is_used,
        }
    }
}
