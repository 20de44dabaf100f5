// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The node of all traces: clients on the left (L), pods of this node on the right (R), pods of
//! other nodes behind the left link (O), and addresses of services (S, X) and of the node (N).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_conntrack::Family;
use adit_conntrack_oracle::trace::{Network, Side};
use adit_node::desired::Node;
use adit_node::device::Setup;
use adit_node_oracle::entries::Key;
use adit_node_oracle::nic::WIRE;
use adit_node_oracle::setup::NodeSetup;
use adit_p4runtime::proto::config::P4Info;
use adit_p4runtime::proto::v1::Update;
use adit_pipeline::p4::FIRST_HOST_PORT;

/// The names of this node and of another one.
pub(crate) const HERE: &str = "here";
pub(crate) const THERE: &str = "there";
/// The pods of this node are R1 to R16.
const PODS: u8 = 16;
/// The MTU on the way to pods of other nodes.
pub(crate) const OTHERS_MTU: u16 = 1400;
/// The host of each link that is the node's own stack: what is masqueraded comes from it.
const OWN: u8 = 200;

const LEFT: Network = Network(1);
const RIGHT: Network = Network(2);
const OTHERS: Network = Network(3);
const SERVICES: Network = Network(4);
const NODE: Network = Network(6);

/// Families, with the bits of a network's prefix.
const FAMILIES: [(Family, i32); 2] = [(Family::V4, 24), (Family::V6, 64)];

/// The port of a pod.
fn port(pod: u8) -> u32 {
    FIRST_HOST_PORT + u32::from(pod)
}

/// The pod that has a port.
pub(crate) fn pod(port: u32) -> Option<u8> {
    let pod = u8::try_from(port.checked_sub(FIRST_HOST_PORT)?).ok()?;
    (1..=PODS).contains(&pod).then_some(pod)
}

/// The address of a pod.
pub(crate) fn pod_address(family: Family, pod: u8) -> IpAddr {
    RIGHT.host(family, pod)
}

/// The port by which a packet with that source comes from a side. What no pod has sent, such as the
/// error of a router, comes from the first one.
pub(crate) fn port_of(side: Side, source: IpAddr) -> u32 {
    let is_source = |pod: &u8| pod_address(Family::of(source), *pod) == source;
    match side {
        Side::Left => WIRE,
        Side::Right => port((1..=PODS).find(is_source).unwrap_or(1)),
    }
}

/// The address of the node, at which node ports are.
pub(crate) fn node_address(family: Family) -> IpAddr {
    NODE.host(family, 1)
}

/// The addresses of the node's own stack: on the left, and on the right.
pub(crate) fn own(family: Family) -> [IpAddr; 2] {
    [LEFT, RIGHT].map(|network| network.host(family, OWN))
}

/// The network of services' addresses in the cluster.
pub(crate) fn service_network(family: Family) -> String {
    prefix(SERVICES, family)
}

/// The networks of pods: of this node, and of others.
pub(crate) fn pod_networks(family: Family) -> [String; 2] {
    [RIGHT, OTHERS].map(|network| prefix(network, family))
}

/// The networks behind the left link, beside that of its hosts.
pub(crate) fn others_network(family: Family) -> String {
    prefix(OTHERS, family)
}

fn prefix(network: Network, family: Family) -> String {
    let bits = match family {
        Family::V4 => 24,
        Family::V6 => 64,
    };
    format!("{}/{bits}", network.host(family, 0))
}

/// The settings of `adit svc`.
pub(crate) fn setup() -> Setup {
    Setup {
        node: Node {
            name: Some(HERE.to_owned()),
            addresses: FAMILIES
                .iter()
                .map(|(family, _)| node_address(*family))
                .collect(),
        },
        ..Setup::default()
    }
}

/// The entries of node setup.
pub(crate) fn entries(info: &P4Info) -> Vec<Update> {
    let mut node = NodeSetup::new(info);
    // The other side may open connections, as it may where nothing filters.
    let trusted: [&[u8]; 4] = [&[0], &[1], &[0], &[0]];
    node.entry("ports", &[Key::number(WIRE.into())], 0, "port", &trusted);
    // The way to pods of other nodes carries less than the links.
    node.gateway(2);
    let mtu = OTHERS_MTU.to_be_bytes();
    node.entry("mtus", &[Key::number(2)], 0, "mtu", &[&mtu]);
    for (family, bits) in FAMILIES {
        for pod in 1..=PODS {
            node.pod(pod, pod_address(family, pod), port(pod));
        }
        for address in own(family).into_iter().chain([node_address(family)]) {
            node.host(address);
        }
        for network in [RIGHT, OTHERS] {
            node.cluster(network.host(family, 0), bits);
        }
        node.route(OTHERS.host(family, 0), bits, 2);
        // Addresses of the cluster that no service has.
        let mut keys = vec![Key::Any; 8];
        keys[5] = Key::masked(SERVICES.host(family, 0), bits as u32);
        node.entry("firewall", &keys, 10, "deny", &[]);
        // A router's errors come from the address on the link by which they leave.
        let [left, right] = own(family);
        let all = match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        let receivers = [(all, 0, left), (RIGHT.host(family, 0), bits, right)];
        for (receivers, bits, own) in receivers {
            let keys = [Key::number(0), Key::network(receivers, bits)];
            let own = adit_node::program::address(own);
            node.entry("error_sources", &keys, 0, "error_source", &[&own]);
        }
        let any = Key::masked(RIGHT.host(family, 0), 8);
        let pods = Key::masked(RIGHT.host(family, 0), bits as u32);
        for (to, own, priority) in [(pods, right, 20), (any, left, 10)] {
            // Translation keeps the family: that of the source is the destination's.
            node.masquerade([Key::Any, Key::Any, to], priority, own);
        }
    }
    node.updates()
}
