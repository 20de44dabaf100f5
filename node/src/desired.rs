// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Services as a data path has them: addresses and ports where connections arrive, and the
//! endpoints that each of these distributes them over.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::Serialize;

use crate::model::{
    Conditions, Endpoint, Family, Name, Policy, Port, PortName, Protocol, Service, Services,
};
use crate::select::{has_any, usable};

/// The most endpoints that connections of a pool are distributed over.
pub const MAX_POOL: usize = 256;

/// The node that the data path is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name, as endpoints have it. Without one, no endpoint is local.
    pub name: Option<String>,
    /// Its addresses, which node ports are ports of.
    pub addresses: Vec<IpAddr>,
}

/// A kind of address of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Kind {
    /// `spec.clusterIP`: for clients in the cluster.
    ClusterIP,
    /// `spec.externalIPs`.
    ExternalIP,
    /// `status.loadBalancer.ingress`.
    LoadBalancer,
    /// A port of the node's addresses.
    NodePort,
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(text: &str) -> Result<Kind, ()> {
        let all = [
            Kind::ClusterIP,
            Kind::ExternalIP,
            Kind::LoadBalancer,
            Kind::NodePort,
        ];
        let mut all = all.into_iter();
        all.find(|it| format!("{it:?}") == text).ok_or(())
    }
}

/// An address, port and protocol where connections arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let socket = SocketAddr::new(self.address, self.port);
        write!(f, "{socket}/{}", self.protocol)
    }
}

/// The endpoints that a policy admits to a service's port, in one family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolKey {
    /// The service's port.
    pub of: PortName,
    /// The family of the endpoints' addresses.
    pub family: Family,
    /// The policy.
    pub policy: Policy,
}

/// Endpoints that connections are distributed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Those that take new connections, in order.
    pub endpoints: BTreeSet<EndpointKey>,
    /// Set if clients get the endpoint of their earlier connections.
    pub is_sticky: bool,
}

/// An endpoint of a service's port. One with the same address and another owner is another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointKey {
    /// The service's port.
    pub of: PortName,
    /// The address and port.
    pub at: SocketAddr,
    /// The UID of the pod that it is, empty if it is not known.
    pub uid: String,
}

/// Which sources of clients that are not on this node are translated, so that replies come back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masquerade {
    /// None: endpoints are on this node.
    Never,
    /// Of connections to endpoints on other nodes.
    Away,
    /// All.
    Always,
}

/// The destinations of a frontend's connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The kind of the frontend's address.
    pub kind: Kind,
    /// The pool for clients on this node.
    pub inside: PoolKey,
    /// The pool for other clients.
    pub outside: PoolKey,
    /// The translation of sources of clients that are not on this node.
    pub masquerade: Masquerade,
    /// Set if packets of clients inside are dropped when their pool is empty: other nodes have
    /// endpoints. They are refused otherwise.
    pub drops_inside: bool,
    /// The same for clients outside.
    pub drops_outside: bool,
    /// Seconds of silence after which a client may be sent to another endpoint; 0 without affinity.
    pub affinity: u32,
}

/// All frontends, pools and endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// The pools.
    pub pools: BTreeMap<PoolKey, Pool>,
    /// The frontends.
    pub frontends: BTreeMap<Frontend, Route>,
    /// All endpoints, also those that take no new connections.
    pub endpoints: BTreeMap<EndpointKey, Conditions>,
}

/// A part of a service that has no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Skipped {
    /// A frontend that another service has.
    #[error("{frontend} of the service {of} is the service {has}'s already: skipped")]
    Claimed {
        /// The frontend.
        frontend: Frontend,
        /// The service that does not have it.
        of: Name,
        /// The service that has it.
        has: Name,
    },
    /// A frontend whose entry is not of services.
    #[error(
        "{frontend} of the service {of} has an entry that `adit svc` has not written: skipped"
    )]
    Foreign {
        /// The frontend.
        frontend: Frontend,
        /// The service.
        of: Name,
    },
    /// More endpoints than a pool may have.
    #[error(
        "the port `{}` of the service {} has {count} endpoints: connections are distributed over \
         {MAX_POOL} of them", of.port, of.service
    )]
    Endpoints {
        /// The service's port.
        of: PortName,
        /// The number of endpoints that would take connections.
        count: usize,
    },
}

impl Desired {
    /// The state for these services on that node.
    pub fn new(services: &Services, node: &Node) -> (Desired, Vec<Skipped>) {
        let mut desired = Desired::default();
        let mut skipped = Vec::new();
        for service in services.services.values() {
            for port in &service.ports {
                desired.port(service, port, services, node, &mut skipped);
            }
        }
        (desired, skipped)
    }

    fn port(
        &mut self,
        service: &Service,
        port: &Port,
        services: &Services,
        node: &Node,
        skipped: &mut Vec<Skipped>,
    ) {
        let of = PortName {
            service: service.name.clone(),
            port: port.name.clone(),
            protocol: port.protocol,
        };
        let all = services.endpoints_of(&service.name, port);
        let key = |it: &Endpoint| EndpointKey {
            of: of.clone(),
            at: SocketAddr::new(it.address, it.port),
            uid: it.uid.clone(),
        };
        self.endpoints
            .extend(all.iter().map(|it| (key(it), it.conditions)));
        for (kind, address, number) in addresses(service, port, node) {
            let frontend = Frontend {
                address,
                port: number,
                protocol: port.protocol,
            };
            if let Some(first) = self.frontends.get(&frontend) {
                let has = first.inside.of.service.clone();
                // An address that is in two lists of one service is one.
                if has != service.name {
                    let of = service.name.clone();
                    skipped.push(Skipped::Claimed { frontend, of, has });
                }
                continue;
            }
            let family = Family::of(address);
            let of_family: Vec<_> = all
                .iter()
                .filter(|it| Family::of(it.address) == family)
                .cloned()
                .collect();
            let mut pool = |policy| {
                let pool = PoolKey {
                    of: of.clone(),
                    family,
                    policy,
                };
                self.pools.entry(pool.clone()).or_insert_with(|| {
                    let usable = usable(&of_family, policy, node.name.as_deref());
                    let count = usable.len();
                    if count > MAX_POOL {
                        let of = of.clone();
                        skipped.push(Skipped::Endpoints { of, count });
                    }
                    Pool {
                        endpoints: usable.into_iter().take(MAX_POOL).map(key).collect(),
                        is_sticky: service.affinity.is_some(),
                    }
                });
                pool
            };
            // Clients on this node reach the endpoints of all nodes at external addresses, too.
            let (inside, outside) = match kind {
                Kind::ClusterIP => (service.internal_policy, service.internal_policy),
                _ => (Policy::Cluster, service.external_policy),
            };
            let drops = |policy| policy == Policy::Local && has_any(&of_family);
            let route = Route {
                kind,
                inside: pool(inside),
                outside: pool(outside),
                masquerade: match (kind, outside) {
                    (_, Policy::Local) => Masquerade::Never,
                    (Kind::ClusterIP, Policy::Cluster) => Masquerade::Away,
                    (_, Policy::Cluster) => Masquerade::Always,
                },
                drops_inside: drops(inside),
                drops_outside: drops(outside),
                affinity: service.affinity.unwrap_or(0),
            };
            self.frontends.insert(frontend, route);
        }
    }
}

/// The addresses of a service's port, with the number that the port has there.
fn addresses<'s>(
    service: &'s Service,
    port: &'s Port,
    node: &'s Node,
) -> impl Iterator<Item = (Kind, IpAddr, u16)> + 's {
    let own = [
        (Kind::ClusterIP, &service.cluster_ips),
        (Kind::ExternalIP, &service.external_ips),
        (Kind::LoadBalancer, &service.ingress_ips),
    ];
    let own = own.into_iter().flat_map(move |(kind, all)| {
        let all = all.iter().copied();
        all.map(move |address| (kind, address, port.port))
    });
    let of_node = port.node_port.into_iter().flat_map(move |number| {
        let all = node.addresses.iter().copied();
        all.map(move |address| (Kind::NodePort, address, number))
    });
    own.chain(of_node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services(list: &[(&str, &str)]) -> Services {
        let mut services = Services::default();
        for (name, address) in list {
            let name = Name::new("default", *name);
            services.services.insert(
                name.clone(),
                Service {
                    name,
                    cluster_ips: vec![address.parse().expect("an address")],
                    external_ips: vec!["192.0.2.1".parse().expect("an address")],
                    ingress_ips: vec!["192.0.2.1".parse().expect("an address")],
                    ports: vec![Port {
                        name: String::new(),
                        protocol: Protocol::Tcp,
                        port: 80,
                        node_port: Some(30080),
                    }],
                    affinity: None,
                    internal_policy: Policy::Cluster,
                    external_policy: Policy::Local,
                },
            );
        }
        services
    }

    fn endpoint(services: &mut Services, address: &str, node: &str, conditions: Conditions) {
        let of = PortName {
            service: Name::new("default", "a"),
            port: String::new(),
            protocol: Protocol::Tcp,
        };
        let endpoint = Endpoint {
            address: address.parse().expect("an address"),
            port: 8080,
            node: Some(node.to_owned()),
            uid: String::new(),
            conditions,
        };
        services.add_endpoint(of, endpoint);
    }

    #[test]
    fn policies_and_families_have_pools_of_their_own() {
        let mut services = services(&[("a", "10.96.0.1"), ("b", "10.96.0.2")]);
        let ips = &mut services.services.get_mut(&Name::new("default", "a"));
        let ips = &mut ips.as_mut().expect("a service").cluster_ips;
        ips.push("fd00::1".parse().expect("an address"));
        endpoint(&mut services, "10.0.0.1", "here", Conditions::default());
        endpoint(&mut services, "10.0.0.2", "there", Conditions::default());
        let node = Node {
            name: Some("here".into()),
            addresses: vec!["10.9.9.9".parse().expect("an address")],
        };
        let (desired, skipped) = Desired::new(&services, &node);
        let shown: Vec<_> = desired
            .frontends
            .iter()
            .map(|(at, to)| {
                let count = |pool| desired.pools[pool].endpoints.len();
                let (inside, outside) = (count(&to.inside), count(&to.outside));
                format!("{at} {:?} {inside} {outside} {}", to.kind, to.drops_outside)
            })
            .collect();
        assert_eq!(
            shown,
            [
                "10.9.9.9:30080/TCP NodePort 2 1 true",
                "10.96.0.1:80/TCP ClusterIP 2 2 false",
                "10.96.0.2:80/TCP ClusterIP 0 0 false",
                "192.0.2.1:80/TCP ExternalIP 2 1 true",
                "[fd00::1]:80/TCP ClusterIP 0 0 false",
            ]
        );
        let skipped: Vec<_> = skipped.iter().map(Skipped::to_string).collect();
        assert_eq!(
            skipped[0],
            "192.0.2.1:80/TCP of the service default/b is the service default/a's already: skipped"
        );
        assert_eq!(
            skipped.len(),
            3,
            "its node port is claimed, too: {skipped:?}"
        );
    }

    #[test]
    fn sources_are_translated_for_endpoints_of_all_nodes() {
        let mut services = services(&[("a", "10.96.0.1")]);
        let masquerade = |services: &Services| {
            let (desired, _) = Desired::new(services, &Node::default());
            let all = desired.frontends.values();
            all.map(|it| it.masquerade).collect::<Vec<_>>()
        };
        use Masquerade::{Always, Away, Never};
        // The address in the cluster is the first.
        assert_eq!(masquerade(&services), [Away, Never]);
        let service = services.services.values_mut().next().expect("a service");
        service.external_policy = Policy::Cluster;
        assert_eq!(masquerade(&services), [Away, Always]);
        let service = services.services.values_mut().next().expect("a service");
        service.internal_policy = Policy::Local;
        assert_eq!(masquerade(&services), [Never, Always]);
    }

    #[test]
    fn an_endpoint_that_terminates_is_no_choice() {
        let mut services = services(&[("a", "10.96.0.1")]);
        let ends = Conditions {
            ready: false,
            serving: true,
            terminating: true,
        };
        endpoint(&mut services, "10.0.0.1", "here", Conditions::default());
        endpoint(&mut services, "10.0.0.2", "here", ends);
        let (desired, _) = Desired::new(&services, &Node::default());
        let pool = desired.pools.values().next().expect("a pool");
        assert_eq!((pool.endpoints.len(), desired.endpoints.len()), (1, 2));
    }
}
