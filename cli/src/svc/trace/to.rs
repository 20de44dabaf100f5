// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The service that a packet belongs to, its direction and its translation.

use std::net::SocketAddr;

use adit_node::desired::Frontend;
use adit_node::device::Device;
use adit_node::model::{Name, PortName, Protocol};
use adit_trace::proto::{ConnectionStep, FlowTuple};

use super::explain::{By, Chosen, Direction, Service};
use super::steps::{ends, Steps};

/// Bits of `ConntrackState_t` (`adit.p4`).
const RELATED: u32 = 0x04;
const REPLY: u32 = 0x08;
const SRC_NAT: u32 = 0x40;
const DST_NAT: u32 = 0x80;

/// A packet, as it came and as the tracker has found it.
#[derive(Clone, Copy, Debug)]
pub(super) struct To<'p> {
    /// Its ends, if it has ports.
    pub(super) came: Option<[SocketAddr; 2]>,
    /// The number of its protocol.
    pub(super) protocol: u8,
    pub(super) tracked: Option<&'p ConnectionStep>,
}

/// The service of a packet.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) direction: Direction,
    pub(super) service: Option<Service>,
    /// The endpoint, unless the packet is one to the service.
    pub(super) endpoint: Option<Chosen>,
}

/// An end of a tuple, with the tuple's protocol.
fn end(tuple: &FlowTuple, n: usize) -> Option<(SocketAddr, Protocol)> {
    let protocol = Protocol::of_number(u8::try_from(tuple.protocol).ok()?)?;
    Some((ends(tuple)?[n], protocol))
}

impl To<'_> {
    fn has(&self, bit: u32) -> bool {
        self.tracked.is_some_and(|it| it.state & bit != 0)
    }

    /// Set if it is an ICMP error: others that are related have ports of their own.
    fn is_error(&self) -> bool {
        self.has(RELATED) && self.came.is_none()
    }

    /// Set if it flows to the client.
    fn is_reply(&self) -> bool {
        self.has(REPLY) && !self.is_error()
    }

    /// The destination of its connection's first packet.
    fn first(&self) -> Option<(SocketAddr, Protocol)> {
        let original = self.tracked.and_then(|it| it.original.as_ref());
        original.and_then(|it| end(it, 1)).or_else(|| {
            // A connection may have ended with it.
            let translated = self.tracked.and_then(|it| it.translated.as_ref());
            match self.is_reply() {
                true => end(translated?, 0).or_else(|| self.own(0)),
                false => self.own(1),
            }
        })
    }

    fn own(&self, n: usize) -> Option<(SocketAddr, Protocol)> {
        Some((self.came?[n], Protocol::of_number(self.protocol)?))
    }

    /// Its connection's endpoint.
    fn endpoint(&self) -> Option<(SocketAddr, Protocol)> {
        let reply = self.tracked.and_then(|it| it.reply.as_ref());
        let known = reply.and_then(|it| end(it, 0));
        known.or_else(|| self.own(if self.is_reply() { 0 } else { 1 }))
    }

    /// Finds the service that it belongs to.
    pub(super) fn find(&self, name: &Name, device: &Device) -> Found {
        let zone = self.tracked.map_or(0, |it| it.zone as u16);
        let first = self.first();
        let frontend = first.and_then(|(at, protocol)| frontend(device, zone, at, protocol));
        let endpoint = self.endpoint();
        let known = endpoint.and_then(|(at, protocol)| device.endpoint_at(name, protocol, at));
        let direction = match () {
            () if self.is_error() => Direction::Error,
            () if self.is_reply() => Direction::Reply,
            () if frontend.is_none() && known.is_some() => Direction::ToEndpoint,
            () => Direction::ToService,
        };
        let by = match direction {
            Direction::ToEndpoint => By::Arrival,
            _ => By::Connection,
        };
        let chosen = endpoint.map(|(at, _)| {
            let id = known.map(|(id, _)| id);
            let conditions = id.and_then(|id| device.endpoint(id)).map(|(_, it)| it);
            Chosen {
                id,
                address: Some(at),
                ready: conditions.is_some_and(|it| it.ready),
                serving: conditions.is_some_and(|it| it.serving),
                terminating: conditions.is_some_and(|it| it.terminating),
                by,
                before: None,
            }
        });
        Found {
            direction,
            service: frontend.or_else(|| Some(behind(known?.1))),
            endpoint: chosen,
        }
    }

    /// Its source and destination with which it leaves, where translation changes them.
    pub(super) fn translated(&self, steps: Steps, direction: Direction) -> [Option<SocketAddr>; 2] {
        let Some(tracked) = self.tracked else {
            return [None; 2];
        };
        let translated = steps.committed().unwrap_or(tracked);
        let Some(leaves) = translated.translated.as_ref().and_then(ends) else {
            return [None; 2];
        };
        if direction == Direction::Error {
            // It takes the addresses of the ends that its state names.
            let [source, destination] = leaves;
            return [
                self.has(SRC_NAT).then_some(source),
                self.has(DST_NAT).then_some(destination),
            ];
        }
        let changed = |n: usize| {
            let before = self.came.map(|came| came[n]);
            Some(leaves[n]).filter(|it| Some(*it) != before)
        };
        [changed(0), changed(1)]
    }
}

fn frontend(device: &Device, zone: u16, at: SocketAddr, protocol: Protocol) -> Option<Service> {
    let key = Frontend {
        address: at.ip(),
        port: at.port(),
        protocol,
    };
    let found = device.service_at(zone, &key)?;
    Some(Service {
        namespace: found.of.service.namespace,
        name: found.of.service.name,
        port: found.of.port,
        protocol,
        kind: Some(found.kind),
        address: Some(at),
        affinity_s: found.affinity_s,
    })
}

/// A service's port whose endpoint was reached by its own address.
fn behind(port: &PortName) -> Service {
    Service {
        namespace: port.service.namespace.clone(),
        name: port.service.name.clone(),
        port: port.port.clone(),
        protocol: port.protocol,
        kind: None,
        address: None,
        affinity_s: 0,
    }
}
