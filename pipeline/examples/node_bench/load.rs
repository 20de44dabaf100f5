// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The node that is measured: services with their endpoints, routes and local pods.

use std::path::Path;
use std::sync::Arc;

use adit_p4_frontend::files::Folders;
use adit_p4_frontend::ir::{Chosen, Match};
use adit_p4_frontend::{compile, Options};
use adit_pipeline::p4::objects::{GroupMember, Object, Profile};
use adit_pipeline::p4::tables::{Action, Entry, Table};
use adit_pipeline::p4::{Engine, FIRST_HOST_PORT};

/// Endpoints of a service.
pub(super) const ENDPOINTS: u32 = 8;
/// Pods of this node; the first endpoint of each service is at one of them.
const PODS: u32 = 250;
/// Other nodes, with a network of pods each.
const NODES: u32 = 200;
/// The port of all services.
pub(super) const SERVICE_PORT: u16 = 80;
/// The MAC address of the gateway.
pub(super) const GATEWAY: u64 = 0x0200_0000_0001;

/// The address of a service.
pub(super) fn service(n: u32) -> u32 {
    0x0a60_0000 + n
}

/// The address and port of an endpoint of a service.
fn endpoint(service: u32, n: u32) -> (u32, u16) {
    let port = 8000 + (service / PODS) as u16;
    match n {
        0 => (0x0af4_0001 + service % PODS, port),
        _ => {
            let n = service * ENDPOINTS + n;
            (0x0af4_0101 + ((n % NODES) << 8) + n / NODES % 250, port)
        }
    }
}

/// The ingress port of what an endpoint sends: its virtual port, or the wire.
pub(super) fn port_of(endpoint: u32) -> u32 {
    match endpoint.wrapping_sub(0x0af4_0001) {
        n @ 0..PODS => FIRST_HOST_PORT + 1 + n,
        _ => 0,
    }
}

/// The node's engine.
pub(super) struct Node {
    pub(super) engine: Arc<Engine>,
    pub(super) services: u32,
}

impl Node {
    /// Loads the program, and fills its tables.
    pub(super) fn new(services: u32, connections: u32) -> Node {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../p4/k8s_node.p4");
        let text = std::fs::read_to_string(&path).expect("k8s_node.p4 cannot be read");
        let options = Options {
            defines: vec![("CONNECTIONS".to_owned(), connections.to_string())],
            ..Options::default()
        };
        let name = path.display().to_string();
        let compiled = compile(&name, &text, &Folders(Vec::new()), &options);
        let diagnostics = compiled.diagnostics.render(&compiled.sources);
        let program = compiled.program.unwrap_or_else(|| panic!("{diagnostics}"));
        let node = Node {
            engine: Arc::new(Engine::load(program).expect("it cannot be loaded")),
            services,
        };
        node.fill();
        node
    }

    fn fill(&self) {
        self.add("routers", &[0, GATEWAY.into()], "NoAction", &[]);
        for n in 0..PODS {
            let port = u128::from(FIRST_HOST_PORT + 1 + n);
            let mac = 0x0200_0000_1000 + u128::from(n);
            let keys = [0, mapped(0x0af4_0001 + n)];
            self.add("local", &keys, "deliver", &[port, mac, GATEWAY.into()]);
        }
        let cluster = [limbs(mapped(0x0af4_0000)), limbs(u128::MAX << 16)];
        let [value, mask] = cluster;
        let keys = vec![exact(0), Match::Ternary(value, mask)];
        self.add_matches("networks", keys, "cluster", &[]);
        let route = |network: u32, length: u32, hop: u32| {
            let prefix = match length {
                0 => Match::Any,
                _ => Match::Ternary(
                    vec![network.into()],
                    vec![u64::from(u32::MAX << (32 - length))],
                ),
            };
            self.add_matches(
                "ipv4_routes",
                vec![exact(0), prefix],
                "set_nexthop",
                &[hop.into()],
            );
            let macs = [GATEWAY.into(), 0x0299_0000_0000 + u128::from(hop)];
            self.add(
                "nexthops",
                &[hop.into()],
                "forward",
                &[macs[0], macs[1], 0, 0],
            );
        };
        route(0, 0, 1);
        for n in 0..NODES {
            route(0x0af4_0100 + (n << 8), 24, 2 + n);
        }
        for service in 0..self.services {
            let mut members = Vec::new();
            for n in 0..ENDPOINTS {
                let id = service * ENDPOINTS + n + 1;
                self.add_endpoint(id, service, n);
                members.push(member(id));
            }
            let group = service + 1;
            self.members()
                .insert_group(group, &members)
                .expect("a new group");
            self.add_group(group);
            let address = mapped(self::service(service));
            let keys = [0, address, 6, SERVICE_PORT.into()];
            let (number, group) = (u128::from(service % 65536), u128::from(group));
            self.add("services", &keys, "balance", &[number, group, group, 0, 0]);
            let owner = [GATEWAY.into()];
            self.add("addresses", &[0, address], "service_address", &owner);
        }
    }

    /// Adds an endpoint with an id to no group: the `n`th address of a service.
    pub(super) fn add_endpoint(&self, id: u32, service: u32, n: u32) {
        let (address, port) = endpoint(service, n);
        let chosen = Chosen {
            action: 0,
            arguments: vec![vec![id.into()], limbs(mapped(address)), vec![port.into()]],
        };
        self.members()
            .insert_member(id, chosen)
            .expect("a new member");
        self.add("endpoints", &[id.into()], "NoAction", &[]);
    }

    /// Removes an endpoint that is in no group.
    pub(super) fn remove_endpoint(&self, id: u32) {
        self.members()
            .delete_member(id)
            .expect("a member in no group");
        let key = [Match::Exact(vec![id.into()])];
        self.table("endpoints")
            .delete(&key, 0)
            .expect("an endpoint");
    }

    /// The selector of services.
    pub(super) fn members(&self) -> &Profile {
        match self.engine.object("NodeControl.members") {
            Some(Object::Profile(profile, _)) => profile,
            _ => panic!("k8s_node.p4 has no selector `members`"),
        }
    }

    fn add_group(&self, group: u32) {
        let entry = Entry {
            keys: vec![Match::Exact(vec![group.into()])],
            priority: 0,
            action: Action::Group(group),
            idle_timeout_ns: None,
            opaque: Vec::new(),
        };
        self.table("backends")
            .insert(&entry, 0)
            .expect("a new entry");
    }

    fn table(&self, name: &str) -> &Table {
        let table = self.engine.table(&format!("NodeControl.{name}"));
        table.unwrap_or_else(|| panic!("k8s_node.p4 has no table {name}"))
    }

    fn add(&self, table: &str, keys: &[u128], action: &str, arguments: &[u128]) {
        let keys = keys.iter().map(|key| exact(*key)).collect();
        self.add_matches(table, keys, action, arguments);
    }

    fn add_matches(&self, table: &str, keys: Vec<Match>, action: &str, arguments: &[u128]) {
        let table = self.table(table);
        let spec = table.spec();
        // A value has the words of its width.
        let sized = |value: &[u64], width: u32| value[..width.div_ceil(64) as usize].to_vec();
        let keys = keys.iter().zip(&spec.keys).map(|(key, spec)| match key {
            Match::Exact(value) => Match::Exact(sized(value, spec.width)),
            other => other.clone(),
        });
        let named = |full: &str| {
            full.strip_suffix(action)
                .is_some_and(|p| p.is_empty() || p.ends_with('.'))
        };
        let at = spec.actions.iter().position(|a| named(&a.name));
        let at = at.unwrap_or_else(|| panic!("{} has no action {action}", spec.name));
        let parameters = spec.actions[at].parameters.iter();
        let arguments = arguments.iter().zip(parameters);
        let entry = Entry {
            keys: keys.collect(),
            priority: 0,
            action: Action::Direct(Chosen {
                action: at as u32,
                arguments: arguments.map(|(v, p)| sized(&limbs(*v), p.width)).collect(),
            }),
            idle_timeout_ns: None,
            opaque: Vec::new(),
        };
        table.insert(&entry, 0).expect("a new entry");
    }
}

/// A member of a group with the weight 1.
pub(super) fn member(id: u32) -> GroupMember {
    GroupMember {
        member: id,
        weight: 1,
        watch_port: None,
    }
}

fn mapped(address: u32) -> u128 {
    0xffff << 32 | u128::from(address)
}

fn limbs(value: u128) -> Vec<u64> {
    vec![value as u64, (value >> 64) as u64]
}

fn exact(value: u128) -> Match {
    Match::Exact(limbs(value))
}
