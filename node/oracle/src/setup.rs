// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Entries of node setup in zone 0: what a node has beside its services.

use std::net::IpAddr;

use adit_node::program::address;
use adit_p4runtime::proto::config::P4Info;
use adit_p4runtime::proto::v1::Update;

use crate::entries::{entry, Key};
use crate::nic::{ROUTER, WIRE};

/// The MAC address of the gateway behind the wire.
pub const GATEWAY: [u8; 6] = [2, 0x99, 0, 0, 0, 1];

/// Entries that a node begins with.
pub struct NodeSetup<'a> {
    info: &'a P4Info,
    updates: Vec<Update>,
}

impl<'a> NodeSetup<'a> {
    /// A node that routes frames to [`ROUTER`], by default to the gateway, which is next hop 1.
    pub fn new(info: &'a P4Info) -> NodeSetup<'a> {
        let mut node = NodeSetup {
            info,
            updates: Vec::new(),
        };
        let router = [Key::number(0), Key::Exact(ROUTER.to_vec())];
        node.entry("routers", &router, 0, "NoAction", &[]);
        for table in ["ipv4_routes", "ipv6_routes"] {
            let keys = [Key::number(0), Key::Any];
            node.entry(table, &keys, 0, "set_nexthop", &[&[1]]);
        }
        node.gateway(1);
        node
    }

    /// The entries.
    pub fn updates(self) -> Vec<Update> {
        self.updates
    }

    /// Adds an entry with these keys, a priority if it is not 0, and an action's arguments.
    pub fn entry(
        &mut self,
        table: &str,
        keys: &[Key],
        priority: i32,
        action: &str,
        arguments: &[&[u8]],
    ) {
        let entry = entry(self.info, table, keys, priority, action, arguments);
        self.updates.push(entry);
    }

    /// Adds a next hop that is the gateway.
    pub fn gateway(&mut self, id: u64) {
        let arguments: [&[u8]; 4] = [&ROUTER, &GATEWAY, &[0], &WIRE.to_be_bytes()];
        self.entry("nexthops", &[Key::number(id)], 0, "forward", &arguments);
    }

    /// Routes a network, whose prefix has so many bits, to a next hop.
    pub fn route(&mut self, network: IpAddr, bits: i32, nexthop: u8) {
        let (table, octets) = match network {
            IpAddr::V4(it) => ("ipv4_routes", it.octets().to_vec()),
            IpAddr::V6(it) => ("ipv6_routes", it.octets().to_vec()),
        };
        let keys = [Key::number(0), Key::Prefix(octets, bits)];
        self.entry(table, &keys, 0, "set_nexthop", &[&[nexthop]]);
    }

    /// Adds a network of pods.
    pub fn cluster(&mut self, network: IpAddr, bits: i32) {
        let keys = [Key::number(0), Key::network(network, bits)];
        self.entry("networks", &keys, 0, "cluster", &[]);
    }

    /// Adds a pod of this node: its number, its address, and its port.
    pub fn pod(&mut self, pod: u8, at: IpAddr, port: u32) {
        let keys = [Key::number(0), Key::address(at)];
        let mac = [2, 0xaa, 0, 0, 0, pod];
        let arguments: [&[u8]; 3] = [&port.to_be_bytes(), &mac, &ROUTER];
        self.entry("local", &keys, 0, "deliver", &arguments);
    }

    /// Adds an address of the host's own stack.
    pub fn host(&mut self, at: IpAddr) {
        let keys = [Key::number(0), Key::address(at)];
        self.entry("local", &keys, 0, "host", &[&ROUTER]);
    }

    /// Has sources masqueraded with one address, whose own ports they keep: the keys of `snat` behind its zone,
    /// which are reason, source and destination.
    pub fn masquerade(&mut self, keys: [Key; 3], priority: i32, own: IpAddr) {
        let [reason, source, destination] = keys;
        let keys = [Key::Any, reason, source, destination];
        let arguments: [&[u8]; 4] = [&address(own), &[0], &[0], &[0]];
        self.entry("snat", &keys, priority, "masquerade", &arguments);
    }
}
