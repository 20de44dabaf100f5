// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A NIC on loopback with 16 pods, and packets through it.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::Path;

use adit_conntrack::testing::Flow;
use adit_node::desired::Node;
use adit_node::device::Setup;
use adit_node::manifest::Manifest;
use adit_node::model::{
    Conditions, Endpoint, Name, Policy, Port, PortName, Protocol, Service, Services,
};
use adit_node::nic::Nic;
use adit_node_oracle::nic;
use adit_node_oracle::setup::NodeSetup;
use adit_p4runtime::proto::config::P4Info;
use adit_p4runtime::proto::v1::Update;

pub(crate) use adit_node_oracle::nic::WIRE;

/// The port before that of the pod 1.
const PODS: u32 = 0x1010;
/// The pods of the node, 10.244.0.1 and so on.
const NUM_PODS: u8 = 16;

/// A NIC.
pub(crate) struct TestNic(nic::TestNic);

impl Deref for TestNic {
    type Target = nic::TestNic;

    fn deref(&self) -> &nic::TestNic {
        &self.0
    }
}

impl DerefMut for TestNic {
    fn deref_mut(&mut self) -> &mut nic::TestNic {
        &mut self.0
    }
}

/// The port of a pod.
pub(crate) fn pod_port(pod: u8) -> u32 {
    PODS + u32::from(pod)
}

/// The pod of a port.
pub(crate) fn pod_of(port: u32) -> Option<u8> {
    u8::try_from(port.checked_sub(PODS)?).ok()
}

/// The node: pods, and a gateway on the wire.
fn node_entries(info: &P4Info) -> Vec<Update> {
    let mut node = NodeSetup::new(info);
    node.cluster([10, 244, 0, 0].into(), 24);
    for pod in 1..=NUM_PODS {
        node.pod(pod, [10, 244, 0, pod].into(), pod_port(pod));
    }
    node.updates()
}

impl TestNic {
    pub(crate) fn start() -> TestNic {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../p4/k8s_node.p4");
        TestNic(nic::TestNic::start(&path, node_entries).expect("a NIC"))
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
        self.0.client(setup).expect("no other writes")
    }

    /// Sends an IP packet from a port. Returns the port and the IP packet that leave, if one does.
    pub(crate) fn send(&mut self, port: u32, packet: &[u8]) -> Option<(u32, Vec<u8>)> {
        let mut left = self.0.pass(port, packet);
        assert!(left.len() <= 1, "{left:?}");
        left.pop().map(|it| (it.port, it.packet))
    }

    /// Sends a packet from the wire. Returns the pod that gets it.
    pub(crate) fn pod(&mut self, packet: &[u8]) -> Option<u8> {
        let (port, out) = self.send(WIRE, packet)?;
        let pod = pod_of(port)?;
        assert_eq!(
            out[16..20],
            [10, 244, 0, pod],
            "the address follows the port"
        );
        Some(pod)
    }

    /// Sends a packet from a pod. Returns what leaves on the wire.
    pub(crate) fn pod_sends(&mut self, pod: u8, packet: &[u8]) -> Option<Vec<u8>> {
        let (port, out) = self.send(pod_port(pod), packet)?;
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

/// The only port of a service.
pub(crate) fn port_of(service: &Name) -> PortName {
    PortName {
        service: service.clone(),
        port: String::new(),
        protocol: Protocol::Tcp,
    }
}

/// Adds a service of TCP port 80 at an address of the cluster, with endpoints at port 8080.
pub(crate) fn add_service(
    services: &mut Services,
    name: &Name,
    at: [u8; 4],
    endpoints: impl IntoIterator<Item = ([u8; 4], Conditions)>,
) {
    for (address, conditions) in endpoints {
        let endpoint = Endpoint {
            address: address.into(),
            port: 8080,
            node: None,
            uid: String::new(),
            conditions,
        };
        services.add_endpoint(port_of(name), endpoint);
    }
    let service = Service {
        name: name.clone(),
        cluster_ips: vec![at.into()],
        external_ips: Vec::new(),
        ingress_ips: Vec::new(),
        ports: vec![Port {
            name: String::new(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: None,
        }],
        affinity: None,
        internal_policy: Policy::Cluster,
        external_policy: Policy::Cluster,
    };
    services.services.insert(name.clone(), service);
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
