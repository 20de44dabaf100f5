// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Services, their ports and endpoints, as a node uses them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A transport protocol of services.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// The Transmission Control Protocol (6).
    #[default]
    Tcp,
    /// The User Datagram Protocol (17).
    Udp,
    /// The Stream Control Transmission Protocol (132).
    Sctp,
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

    /// IANA's number.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    /// The protocol with that number.
    pub fn of_number(number: u8) -> Option<Protocol> {
        Protocol::ALL.into_iter().find(|it| it.number() == number)
    }

    fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no protocol of services.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no protocol of services: TCP, UDP or SCTP")]
pub struct UnknownProtocol(String);

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(text: &str) -> Result<Protocol, UnknownProtocol> {
        let mut all = Protocol::ALL.into_iter();
        let found = all.find(|it| it.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| UnknownProtocol(text.to_owned()))
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Family {
    /// IPv4.
    #[serde(rename = "IPv4")]
    V4,
    /// IPv6.
    #[serde(rename = "IPv6")]
    V6,
}

impl Family {
    /// Both families.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Family {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }
}

/// The name of an object in its namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Name {
    /// A name in a namespace.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Name {
        Name {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A text that cannot be the name of a service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no name of a service: NAME or NAMESPACE/NAME, of letters a-z, digits, `-` and `.`, each at most 253")]
pub struct BadName(pub(crate) String);

/// Returns whether a text can be a name: a DNS subdomain (RFC 1123).
pub(crate) fn is_name(text: &str) -> bool {
    let is_part = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-.".contains(&c);
    (1..=253).contains(&text.len()) && text.bytes().all(is_part)
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Name, BadName> {
        let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
        match is_name(namespace) && is_name(name) {
            true => Ok(Name::new(namespace, name)),
            false => Err(BadName(text.to_owned())),
        }
    }
}

/// The endpoints that a traffic policy admits.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub enum Policy {
    /// Those of all nodes.
    #[default]
    Cluster,
    /// Those of this node.
    Local,
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name; empty if the service has only one.
    pub name: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The port of the service's addresses.
    pub port: u16,
    /// The port of the node's addresses.
    pub node_port: Option<u16>,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: Name,
    /// Its addresses in the cluster, at most one of each family.
    pub cluster_ips: Vec<IpAddr>,
    /// Addresses of `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// Addresses of the load balancer that deliver packets with this destination.
    pub ingress_ips: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<Port>,
    /// Seconds of silence after which a client may be sent to another endpoint. `None`: each
    /// connection may have another one.
    pub affinity: Option<u32>,
    /// The policy for packets to the service's addresses in the cluster.
    pub internal_policy: Policy,
    /// The policy for packets to all its other addresses.
    pub external_policy: Policy,
}

/// An endpoint of a service's port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// The node that it runs on.
    pub node: Option<String>,
    /// The UID of the pod that it is, empty if it is not known.
    pub uid: String,
    /// Its conditions.
    pub conditions: Conditions,
}

/// The conditions of an endpoint (discovery.k8s.io/v1, EndpointConditions).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conditions {
    /// It takes new connections.
    pub ready: bool,
    /// It answers; unlike `ready` also while it terminates.
    pub serving: bool,
    /// It is about to end.
    pub terminating: bool,
}

impl Default for Conditions {
    fn default() -> Self {
        Conditions {
            ready: true,
            serving: true,
            terminating: false,
        }
    }
}

/// The port of a service that endpoints belong to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortName {
    /// The service.
    pub service: Name,
    /// The port's name.
    pub port: String,
    /// Its protocol.
    pub protocol: Protocol,
}

/// All services, and the endpoints of their ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// The services.
    pub services: BTreeMap<Name, Service>,
    /// The endpoints.
    pub endpoints: BTreeMap<PortName, Vec<Endpoint>>,
}

impl Services {
    /// The endpoints of a service's port.
    pub fn endpoints_of(&self, service: &Name, port: &Port) -> &[Endpoint] {
        let name = PortName {
            service: service.clone(),
            port: port.name.clone(),
            protocol: port.protocol,
        };
        self.endpoints.get(&name).map_or(&[], |all| all)
    }

    /// The services of these names, with their endpoints.
    pub fn only<'n>(&self, names: impl IntoIterator<Item = &'n Name>) -> Services {
        let mut some = Services::default();
        for service in names.into_iter().filter_map(|name| self.services.get(name)) {
            some.services.insert(service.name.clone(), service.clone());
            for port in &service.ports {
                let of = PortName {
                    service: service.name.clone(),
                    port: port.name.clone(),
                    protocol: port.protocol,
                };
                if let Some(endpoints) = self.endpoints.get(&of) {
                    some.endpoints.insert(of, endpoints.clone());
                }
            }
        }
        some
    }

    /// The services that another state has otherwise, or not, or alone.
    pub fn changed(&self, other: &Services) -> BTreeSet<Name> {
        let names = self.services.keys().chain(other.services.keys());
        let service = names.filter(|name| self.services.get(name) != other.services.get(name));
        let of = self.endpoints.keys().chain(other.endpoints.keys());
        let endpoints = of.filter(|of| self.endpoints.get(of) != other.endpoints.get(of));
        service
            .chain(endpoints.map(|of| &of.service))
            .cloned()
            .collect()
    }

    /// Adds an endpoint. One that is there already, since it moves from one slice to another, has
    /// the better conditions of both.
    pub fn add_endpoint(&mut self, of: PortName, endpoint: Endpoint) {
        let all = self.endpoints.entry(of).or_default();
        let is_it = |it: &&mut Endpoint| (it.address, it.port) == (endpoint.address, endpoint.port);
        match all.iter_mut().find(is_it) {
            None => all.push(endpoint),
            Some(known) => {
                let rank = |it: &Endpoint| (it.conditions.ready, it.conditions.serving);
                if rank(&endpoint) > rank(known) {
                    *known = endpoint;
                }
            }
        }
    }
}
