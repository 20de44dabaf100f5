// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A NIC on loopback: a P4Runtime server and the tracker's service over an engine with the node's
//! program, and frames through it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Duration;

use adit_conntrack::testing::Flow;
use adit_conntrack::{Seed, Settings, Time, Tracker};
use adit_conntrack_rpc::{service, Gate};
use adit_node::desired::Node;
use adit_node::device::Setup;
use adit_node::manifest::Manifest;
use adit_node::model::Services;
use adit_node::nic::Nic;
use adit_p4_frontend::files::{self, Folders};
use adit_p4runtime::client::Target;
use adit_p4runtime::program::Package;
use adit_p4runtime::proto::config::{match_field::MatchType, P4Info};
use adit_p4runtime::proto::v1::{
    self, entity::Entity, field_match as matched, update::Type, FieldMatch, TableAction,
    TableEntry, Update,
};
use adit_p4runtime::server::{
    listen_with, Limits, Listening, Pipeline, PipelineHandle, Routes, Server,
};
use adit_pipeline::p4::{Engine, Input, Output, Worker};

/// The MAC address of frames that are routed.
const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The port of the wire, and that of the pod 1.
pub(crate) const WIRE: u32 = 0;
const PODS: u32 = 0x1010;
/// The pods of the node, 10.244.0.1 and so on.
const NUM_PODS: u8 = 16;

#[derive(Clone, Default)]
struct Clock(Arc<AtomicU64>);

impl adit_conntrack_rpc::Clock for Clock {
    fn now(&self) -> Time {
        Time::ZERO + Duration::from_nanos(self.0.load(Relaxed))
    }

    fn start_date(&self) -> Duration {
        Duration::from_secs(1_700_000_000)
    }
}

impl PipelineHandle for Clock {
    fn commit(&self, _: Arc<Engine>) -> Result<(), String> {
        Err("the test has one program".to_owned())
    }

    fn now_ns(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A NIC.
pub(crate) struct TestNic {
    pub(crate) tracker: Arc<Tracker>,
    worker: Worker,
    clock: Clock,
    listening: Listening,
}

fn info_entry(
    info: &P4Info,
    table: &str,
    values: &[&[u8]],
    prefix: i32,
    action: &str,
    arguments: &[&[u8]],
) -> Update {
    let is = |preamble: &Option<adit_p4runtime::proto::config::Preamble>, name: &str| {
        let preamble = preamble.as_ref().expect("a preamble");
        preamble.name.rsplit('.').next() == Some(name)
    };
    let mut tables = info.tables.iter();
    let table = tables.find(|it| is(&it.preamble, table)).expect("a table");
    let mut actions = info.actions.iter();
    let action = actions
        .find(|it| is(&it.preamble, action))
        .expect("an action");
    let short = |bytes: &[u8]| adit_p4runtime::bytes::shortest(bytes).to_vec();
    let fields = table.match_fields.iter().zip(values).map(|(field, value)| {
        let value = short(value);
        let is = match field.r#match {
            Some(adit_p4runtime::proto::config::match_field::Match::MatchType(kind))
                if kind == MatchType::Lpm as i32 =>
            {
                matched::FieldMatchType::Lpm(matched::Lpm {
                    value,
                    prefix_len: prefix,
                })
            }
            _ => matched::FieldMatchType::Exact(matched::Exact { value }),
        };
        FieldMatch {
            field_id: field.id,
            field_match_type: Some(is),
        }
    });
    // A prefix of no bits is no match.
    let fields = fields.filter(|it| {
        !matches!(&it.field_match_type, Some(matched::FieldMatchType::Lpm(lpm)) if lpm.prefix_len == 0)
    });
    let params = action
        .params
        .iter()
        .zip(arguments)
        .map(|(param, value)| v1::action::Param {
            param_id: param.id,
            value: short(value),
        });
    let entry = TableEntry {
        table_id: table.preamble.as_ref().expect("a preamble").id,
        r#match: fields.collect(),
        action: Some(TableAction {
            r#type: Some(v1::table_action::Type::Action(v1::Action {
                action_id: action.preamble.as_ref().expect("a preamble").id,
                params: params.collect(),
            })),
        }),
        ..TableEntry::default()
    };
    Update {
        r#type: Type::Insert as i32,
        entity: Some(v1::Entity {
            entity: Some(Entity::TableEntry(entry)),
        }),
    }
}

fn pod_mac(pod: u8) -> [u8; 6] {
    [2, 0xAA, 0, 0, 0, pod]
}

/// The node: pods, and a gateway on the wire.
fn node_entries(info: &P4Info) -> Vec<Update> {
    let zone = &[0, 0][..];
    let mapped = |last: u8| {
        std::net::Ipv4Addr::new(10, 244, 0, last)
            .to_ipv6_mapped()
            .octets()
    };
    let mut updates = vec![
        info_entry(info, "routers", &[zone, &ROUTER], 0, "NoAction", &[]),
        info_entry(
            info,
            "ipv4_routes",
            &[zone, &[0; 4]],
            0,
            "set_nexthop",
            &[&[1]],
        ),
        info_entry(
            info,
            "nexthops",
            &[&[1]],
            0,
            "forward",
            &[&ROUTER, &[2, 0x99, 0, 0, 0, 1], &[0], &WIRE.to_be_bytes()],
        ),
        info_entry(info, "networks", &[zone, &mapped(0)], 120, "cluster", &[]),
    ];
    updates.extend((1..=NUM_PODS).map(|pod| {
        let port = (PODS + u32::from(pod)).to_be_bytes();
        let arguments: [&[u8]; 3] = [&port, &pod_mac(pod), &ROUTER];
        info_entry(
            info,
            "local",
            &[zone, &mapped(pod)],
            0,
            "deliver",
            &arguments,
        )
    }));
    updates
}

impl TestNic {
    pub(crate) fn start() -> TestNic {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../p4/k8s_node.p4");
        let mut package = Package {
            name: path.display().to_string(),
            text: files::read(&path).expect("the program"),
            defines: vec!["CONNECTIONS=8192".to_owned()],
            ..Package::default()
        };
        let made = package.gather(&Folders(Vec::new()), &Default::default());
        let (program, _) = made.unwrap_or_else(|error| panic!("{error}"));
        let engine = Arc::new(Engine::load(program).expect("an engine"));
        let tracker = Tracker::new(8192, Seed::new([5; 16]), Settings::default());
        let tracker = Arc::new(tracker);
        engine
            .set_tracker(tracker.clone())
            .expect("it is large enough");
        let pipeline = Pipeline::of_engine(engine.clone()).expect("a pipeline");
        let entries = node_entries(pipeline.p4info());
        let errors = pipeline.write(&entries, 0);
        assert!(errors.is_empty(), "{errors:?}");
        let clock = Clock::default();
        clock.0.store(1_000_000_000, Relaxed);
        let further =
            Routes::default().add_service(service(tracker.clone(), clock.clone(), Gate::default()));
        let server = Server::new(1, Arc::new(clock.clone()), Some(pipeline));
        let address = "127.0.0.1:0".parse().expect("an address");
        let listening = listen_with(server, &address, None, Limits::default(), further);
        TestNic {
            tracker,
            worker: Engine::worker(&engine),
            clock,
            listening: listening.expect("the kernel has a port"),
        }
    }

    pub(crate) fn target(&self) -> Target {
        Target {
            address: self.listening.address.clone(),
            device_id: 1,
            role: "svc".to_owned(),
            tls: None,
        }
    }

    /// A client that has read the device.
    pub(crate) fn client(&self) -> Nic {
        let setup = Setup {
            node: Node {
                name: Some("node-1".to_owned()),
                addresses: vec![[192, 0, 2, 10].into()],
            },
            ..Setup::default()
        };
        let mut nic = Nic::connect(self.target(), setup).expect("it is there");
        nic.claim().expect("no other writes");
        nic.read().expect("it can be read");
        nic
    }

    /// Sends an IP packet from a port. Returns the port and the IP packet that leave, if one does.
    pub(crate) fn send(&mut self, port: u32, packet: &[u8]) -> Option<(u32, Vec<u8>)> {
        let now = self.clock.0.fetch_add(1000, Relaxed);
        let mut frame = ROUTER.to_vec();
        frame.extend([2, 0x99, 0, 0, 0, 1]);
        frame.extend([8, 0]);
        frame.extend(packet);
        let mut sent = Vec::new();
        self.worker
            .process(now, &[Input::new(port, &frame)], &mut |_, output| {
                if let Output::Sent(leaves) = output {
                    let mut bytes = Vec::new();
                    leaves.copy_to(&frame, &mut bytes);
                    sent.push((leaves.port, bytes[14..].to_vec()));
                }
            });
        assert!(sent.len() <= 1, "{sent:?}");
        sent.pop()
    }

    /// Sends a packet from the wire. Returns the pod that gets it.
    pub(crate) fn pod(&mut self, packet: &[u8]) -> Option<u8> {
        let (port, out) = self.send(WIRE, packet)?;
        let pod = u8::try_from(port.checked_sub(PODS)?).ok()?;
        assert_eq!(
            out[16..20],
            [10, 244, 0, pod],
            "the address follows the port"
        );
        Some(pod)
    }

    /// Sends a packet from a pod. Returns what leaves on the wire.
    pub(crate) fn pod_sends(&mut self, pod: u8, packet: &[u8]) -> Option<Vec<u8>> {
        let (port, out) = self.send(PODS + u32::from(pod), packet)?;
        assert_eq!(port, WIRE);
        Some(out)
    }
}

/// A flow between sockets of IPv4.
pub(crate) fn flow(src: &str, dst: &str) -> Flow {
    let [src, dst] = [src, dst].map(|it| it.parse::<SocketAddr>().expect("an address"));
    Flow {
        src: src.ip(),
        src_port: src.port(),
        dst: dst.ip(),
        dst_port: dst.port(),
    }
}

/// The services of documents.
pub(crate) fn services(texts: &[&str]) -> Services {
    let mut manifest = Manifest::default();
    texts
        .iter()
        .for_each(|text| manifest.read("test", text, "default"));
    manifest.finish().expect("nothing is wrong").0
}

/// The services of an example.
pub(crate) fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(name);
    std::fs::read_to_string(path).expect("the example")
}
