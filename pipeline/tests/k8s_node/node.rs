// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A node that runs `p4/k8s_node.p4`: entries by the names of tables and actions, and frames with a
//! clock.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use adit_conntrack::testing::Flow;
use adit_p4_frontend::files::Folders;
use adit_p4_frontend::ir::{Chosen, Match};
use adit_p4_frontend::{compile, Options};
use adit_pipeline::fragment::Fragments;
use adit_pipeline::p4::objects::{GroupMember, Object, Profile};
use adit_pipeline::p4::tables::{Action, Entry, Table};
use adit_pipeline::p4::{
    Direction, DropReason, Engine, Input, Output, Sent, Worker, FIRST_HOST_PORT, NO_QUEUE,
};

/// The MAC address of the node's gateway, as bytes and as a number.
pub(crate) const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const GATEWAY_NUMBER: u128 = 0x0200_0000_0001;
/// The wire, and the next hop behind it.
pub(crate) const WIRE: u32 = 0;
const NEXT_HOP: u128 = 1;

/// An address as keys and arguments have it.
pub(crate) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn limbs(value: u128) -> Vec<u64> {
    vec![value as u64, (value >> 64) as u64]
}

/// The fate of a frame: the port, and the IP packet that was sent.
pub(crate) type Passed = Option<(u32, Vec<u8>)>;

/// The fates of the frames of a burst.
pub(crate) type Fates = Vec<Result<(u32, Vec<u8>), DropReason>>;

pub(crate) struct Node {
    engine: Arc<Engine>,
    worker: Worker,
    now_ns: u64,
}

impl Node {
    /// Creates a node with a gateway, a default route to the wire, and 10.244.0.0/16 as network of
    /// the cluster.
    pub(crate) fn new() -> Node {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../p4/k8s_node.p4");
        let text = std::fs::read_to_string(&path).unwrap();
        let options = Options {
            defines: vec![("CONNECTIONS".to_owned(), "65536".to_owned())],
            ..Options::default()
        };
        let name = path.display().to_string();
        let compiled = compile(&name, &text, &Folders(Vec::new()), &options);
        let rendered = compiled.diagnostics.render(&compiled.sources);
        let program = compiled.program.unwrap_or_else(|| panic!("{rendered}"));
        let engine = Arc::new(Engine::load(program).unwrap());
        // It is not too large for machine code.
        let untranslated = engine.is_interpreted();
        assert!(untranslated.is_none(), "{untranslated:?}");
        let mut node = Node {
            worker: Engine::worker(&engine),
            engine,
            now_ns: 1_000_000_000,
        };
        node.add("routers", &[0, GATEWAY_NUMBER], "NoAction", &[]);
        let cluster = number([10, 244, 0, 0].into());
        let keys = vec![exact(0), prefix(cluster, 112)];
        node.add_matches("networks", keys, 0, "cluster", &[]);
        for routes in ["ipv4_routes", "ipv6_routes"] {
            let keys = vec![exact(0), Match::Any];
            node.add_matches(routes, keys, 0, "set_nexthop", &[NEXT_HOP]);
        }
        let hop = [GATEWAY_NUMBER, 0x0299_0000_0001, 0, WIRE.into()];
        node.add("nexthops", &[NEXT_HOP], "forward", &hop);
        node
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn table(&self, name: &str) -> &Table {
        self.engine.table(&format!("NodeControl.{name}")).unwrap()
    }

    pub(crate) fn selector(&self, name: &str) -> &Profile {
        match self.engine.object(&format!("NodeControl.{name}")) {
            Some(Object::Profile(profile, _)) => profile,
            other => panic!("{name}: {other:?}"),
        }
    }

    pub(crate) fn count(&self, counter: &str, index: u64) -> u64 {
        match self.engine.object(&format!("NodeControl.{counter}")) {
            Some(Object::Counter(counter)) => counter.get(index).unwrap().packets,
            other => panic!("{counter}: {other:?}"),
        }
    }

    /// The number of packets whose senders are told.
    pub(crate) fn rejected(&self) -> u64 {
        self.engine.dropped(DropReason::Rejected)
    }

    /// Adds an entry with exact keys.
    pub(crate) fn add(&mut self, table: &str, keys: &[u128], action: &str, arguments: &[u128]) {
        let keys = keys.iter().map(|key| exact(*key)).collect();
        self.add_matches(table, keys, 0, action, arguments);
    }

    pub(crate) fn add_matches(
        &mut self,
        table: &str,
        keys: Vec<Match>,
        priority: i64,
        action: &str,
        arguments: &[u128],
    ) {
        let entry = self.entry(table, keys, priority, action, arguments);
        self.table(table).insert(&entry, self.now_ns).unwrap();
    }

    pub(crate) fn delete(&mut self, table: &str, keys: &[u128]) {
        let keys: Vec<Match> = keys.iter().map(|key| exact(*key)).collect();
        self.table(table).delete(&keys, 0).unwrap();
    }

    fn entry(
        &self,
        table: &str,
        keys: Vec<Match>,
        priority: i64,
        action: &str,
        arguments: &[u128],
    ) -> Entry {
        let spec = self.table(table).spec();
        // Values have the words of their width.
        let sized = |value: Vec<u64>, width: u32| value[..width.div_ceil(64) as usize].to_vec();
        let keys = keys
            .into_iter()
            .zip(&spec.keys)
            .map(|(key, spec)| match key {
                Match::Exact(value) => Match::Exact(sized(value, spec.width)),
                other => other,
            });
        let named = |full: &str| full == action || full.ends_with(&format!(".{action}"));
        let at = spec.actions.iter().position(|a| named(&a.name)).unwrap();
        let parameters = &spec.actions[at].parameters;
        assert_eq!(parameters.len(), arguments.len(), "{action}");
        let arguments = arguments.iter().zip(parameters);
        Entry {
            keys: keys.collect(),
            priority,
            action: Action::Direct(Chosen {
                action: at as u32,
                arguments: arguments.map(|(v, p)| sized(limbs(*v), p.width)).collect(),
            }),
            idle_timeout_ns: None,
            opaque: Vec::new(),
        }
    }

    /// Adds a pod: its address leads to the virtual port, by which it sends.
    pub(crate) fn add_pod(&mut self, address: IpAddr, vport: u32) {
        self.add_pod_in(0, address, vport);
    }

    pub(crate) fn add_pod_in(&mut self, zone: u128, address: IpAddr, vport: u32) {
        let port = u128::from(FIRST_HOST_PORT + vport);
        let arguments = [port, 0x0200_0000_1000 + u128::from(vport), GATEWAY_NUMBER];
        self.add("local", &[zone, number(address)], "deliver", &arguments);
    }

    /// Adds an endpoint, in no group yet.
    pub(crate) fn add_endpoint(&mut self, id: u32, address: IpAddr, port: u16) {
        let member = Chosen {
            action: 0,
            arguments: vec![vec![id.into()], limbs(number(address)), vec![port.into()]],
        };
        self.selector("members").insert_member(id, member).unwrap();
        self.add("endpoints", &[id.into()], "NoAction", &[]);
    }

    /// Lets a group have affinity to an endpoint.
    pub(crate) fn add_sticky(&mut self, group: u32, id: u32, address: IpAddr, port: u16) {
        let arguments = [id.into(), number(address), port.into()];
        self.add(
            "sticky_members",
            &[group.into(), id.into()],
            "endpoint",
            &arguments,
        );
    }

    /// Adds a group.
    pub(crate) fn add_group(&mut self, group: u32, members: &[u32]) {
        let selector = self.selector("members");
        selector
            .insert_group(group, &of_equal_weight(members))
            .unwrap();
        let entry = Entry {
            keys: vec![Match::Exact(vec![group.into()])],
            priority: 0,
            action: Action::Group(group),
            idle_timeout_ns: None,
            opaque: Vec::new(),
        };
        self.table("backends").insert(&entry, self.now_ns).unwrap();
    }

    pub(crate) fn set_group(&mut self, group: u32, members: &[u32]) {
        let members = of_equal_weight(members);
        self.selector("members")
            .modify_group(group, &members)
            .unwrap();
    }

    /// Adds a frontend that leads to a group, with the number of that group as service.
    pub(crate) fn add_frontend(
        &mut self,
        address: IpAddr,
        protocol: u8,
        port: u16,
        group: u32,
        s: u32,
    ) {
        self.add_frontend_in(0, address, protocol, port, [group, group], s, 0);
    }

    #[allow(clippy::too_many_arguments, reason = "the arguments of one entry")]
    pub(crate) fn add_frontend_in(
        &mut self,
        zone: u128,
        address: IpAddr,
        protocol: u8,
        port: u16,
        groups: [u32; 2],
        affinity_s: u32,
        flags: u8,
    ) {
        let keys = [zone, number(address), protocol.into(), port.into()];
        let [inside, outside] = groups.map(u128::from);
        let arguments = [inside, inside, outside, affinity_s.into(), flags.into()];
        self.add("services", &keys, "balance", &arguments);
    }

    /// Has sources translated to an address: of hairpins (1), services' clients (2), egress (3).
    pub(crate) fn masquerade(&mut self, reason: u128, address: IpAddr, ports: [u16; 2]) {
        let keys = vec![
            Match::Any,
            Match::Ternary(vec![reason as u64], vec![3]),
            Match::Any,
            Match::Any,
        ];
        let arguments = [number(address), 0, ports[0].into(), ports[1].into()];
        self.add_matches("snat", keys, 10, "masquerade", &arguments);
    }

    /// Lets time pass.
    pub(crate) fn wait(&mut self, ms: u64) {
        self.now_ns += ms * 1_000_000;
        self.engine.expire(self.now_ns);
    }

    /// Processes an IP packet that a port sends to the gateway.
    pub(crate) fn pass(&mut self, port: u32, packet: &[u8]) -> Passed {
        let (port, _, packet) = self.pass_from(port, NO_QUEUE, packet)?;
        Some((port, packet))
    }

    /// Processes an IP packet that a queue of a port sends to the gateway. Returns also the receive queue
    /// that the program has set.
    pub(crate) fn pass_from(
        &mut self,
        port: u32,
        queue: u16,
        packet: &[u8],
    ) -> Option<(u32, Option<u16>, Vec<u8>)> {
        let ty: [u8; 2] = if packet[0] >> 4 == 4 {
            [8, 0]
        } else {
            [0x86, 0xdd]
        };
        let frame = [&GATEWAY[..], &[2, 0, 0, 0, 9, 9], &ty, packet].concat();
        let direction = match port < FIRST_HOST_PORT {
            true => Direction::NetToHost,
            false => Direction::HostToNet,
        };
        let input = Input {
            direction,
            queue,
            ..Input::new(port, &frame)
        };
        let mut passed = None;
        self.worker
            .process(self.now_ns, &[input], &mut |_, output| {
                if let Output::Sent(sent) = output {
                    passed = Some((sent.port, sent.receive.queue, bytes(&sent, &frame)));
                }
            });
        passed
    }

    /// Processes a frame that a port sends, whose datagram came in fragments, or whole. Returns the frames that
    /// leave, with their ports.
    pub(crate) fn pass_frame(
        &mut self,
        port: u32,
        frame: &[u8],
        came: Option<Fragments>,
    ) -> Vec<(u32, Vec<u8>)> {
        let direction = match port < FIRST_HOST_PORT {
            true => Direction::NetToHost,
            false => Direction::HostToNet,
        };
        let input = Input {
            direction,
            fragment_size: came.map_or(0, |came| came.largest),
            ..Input::new(port, frame)
        };
        let mut left = Vec::new();
        let out = &mut |_, output: Output<'_>| {
            if let Output::Sent(sent) = output {
                let frames = sent.frames_of(frame, came).into_iter();
                left.extend(frames.map(|frame| (sent.port, frame)));
            }
        };
        self.worker.process(self.now_ns, &[input], out);
        left
    }

    /// Processes IP packets that ports send to the gateway, at once. Returns what becomes of each: the
    /// ports and frames that were sent, or the reasons of the drops.
    pub(crate) fn pass_burst(&mut self, packets: &[(u32, Vec<u8>)]) -> Vec<Fates> {
        let frames: Vec<Vec<u8>> = packets
            .iter()
            .map(|(_, packet)| [&GATEWAY[..], &[2, 0, 0, 0, 9, 9, 8, 0], packet].concat())
            .collect();
        let inputs = packets.iter().zip(&frames).map(|((port, _), frame)| Input {
            direction: match *port < FIRST_HOST_PORT {
                true => Direction::NetToHost,
                false => Direction::HostToNet,
            },
            ..Input::new(*port, frame)
        });
        let inputs: Vec<_> = inputs.collect();
        let mut fates = vec![Fates::new(); packets.len()];
        self.worker.process(self.now_ns, &inputs, &mut |n, output| {
            fates[n].push(match output {
                Output::Sent(sent) => Ok((sent.port, bytes(&sent, &frames[n]))),
                Output::Dropped(reason) => Err(reason),
            });
        });
        fates
    }

    /// The destination of what becomes of a packet from the wire: address and port.
    pub(crate) fn reached(&mut self, packet: &[u8]) -> Option<(IpAddr, u16)> {
        let (_, packet) = self.pass(WIRE, packet)?;
        let flow = flow_of(&packet);
        Some((flow.dst, flow.dst_port))
    }
}

fn of_equal_weight(members: &[u32]) -> Vec<GroupMember> {
    let member = |member: &u32| GroupMember {
        member: *member,
        weight: 1,
        watch_port: None,
    };
    members.iter().map(member).collect()
}

fn bytes(sent: &Sent<'_>, frame: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    sent.copy_to(frame, &mut bytes);
    bytes.split_off(14)
}

pub(crate) fn exact(value: u128) -> Match {
    Match::Exact(limbs(value))
}

pub(crate) fn prefix(value: u128, length: u32) -> Match {
    Match::Ternary(limbs(value), limbs(u128::MAX << (128 - length)))
}

/// The addresses and ports of an IPv4 packet.
pub(crate) fn flow_of(packet: &[u8]) -> Flow {
    let address = |at: usize| <[u8; 4]>::try_from(&packet[at..at + 4]).unwrap().into();
    let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    Flow {
        src: address(12),
        src_port: port(20),
        dst: address(16),
        dst_port: port(22),
    }
}

/// The packet as a router passes it on: with a hop less.
pub(crate) fn aged(mut packet: Vec<u8>) -> Vec<u8> {
    packet[8] -= 1;
    adit_conntrack::testing::fill_header_checksum(&mut packet);
    packet
}
