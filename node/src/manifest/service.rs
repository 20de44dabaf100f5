// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Services.

use std::collections::BTreeSet;
use std::net::IpAddr;

use yaml_serde::Value;

use super::object::{
    ClusterIp, ServiceObject, ServicePortObject, ServiceSpec, ServiceStatus, ServiceType,
    SessionAffinity,
};
use super::Reader;
use crate::model::{is_name, Family, Name, Port, Service};

/// The time-out of session affinity without a value, as the API server sets it.
const DEFAULT_AFFINITY: u32 = 10800;

impl Reader<'_> {
    /// Reads a service.
    pub(super) fn service(&mut self, object: &Value, name: Name) {
        let known = self.manifest.mistakes.len();
        let Some(ServiceObject { spec, status }) = self.part(object) else {
            return;
        };
        let spec = spec.unwrap_or_default();
        if spec.r#type == Some(ServiceType::ExternalName) {
            self.note("spec.type", "skipped: an ExternalName is the DNS server's");
            self.manifest.skipped.insert(name);
            return;
        }
        if spec.is_headless() {
            self.note(
                "spec.clusterIP",
                "skipped: a headless service has no address",
            );
            self.manifest.skipped.insert(name);
            return;
        }
        // The API server admits that of the two kinds above only; kube-proxy, which has nothing to
        // serve, passes over it.
        let ports = spec.ports.as_deref().unwrap_or_default();
        if ports.is_empty() {
            self.note(
                "spec.ports",
                "skipped: a service without ports has no data path",
            );
            self.manifest.skipped.insert(name);
            return;
        }
        let service = Service {
            cluster_ips: self.cluster_ips(&spec),
            external_ips: addresses(spec.external_ips.iter().flatten().map(|it| it.0)),
            ingress_ips: ingress(status),
            ports: self.ports(ports),
            affinity: affinity(&spec),
            internal_policy: spec.internal_traffic_policy.unwrap_or_default(),
            external_policy: spec.external_traffic_policy.unwrap_or_default(),
            name,
        };
        if spec
            .load_balancer_source_ranges
            .is_some_and(|it| !it.is_empty())
        {
            let path = "spec.loadBalancerSourceRanges";
            self.note(path, "not applied: a filter of the program has to");
        }
        let has_other = !service.external_ips.is_empty() || !service.ingress_ips.is_empty();
        let has_node_port = service.ports.iter().any(|it| it.node_port.is_some());
        if service.cluster_ips.is_empty() && !has_other && !has_node_port {
            let why = "missing: the API server assigns it; without one, write an address here";
            self.mistake("spec.clusterIP", why);
        }
        if self.manifest.mistakes.len() > known {
            return;
        }
        let services = &mut self.manifest.services.services;
        if let Some(twice) = services.insert(service.name.clone(), service) {
            self.mistake(
                "metadata.name",
                format!("the service {} is there twice", twice.name),
            );
        }
    }

    fn cluster_ips(&mut self, spec: &ServiceSpec) -> Vec<IpAddr> {
        let is = |ip: &ClusterIp| match ip {
            ClusterIp::Is(ip) => Some(*ip),
            _ => None,
        };
        let all: Vec<_> = spec.cluster_ips.iter().flatten().filter_map(is).collect();
        let one = spec.cluster_ip.as_ref().and_then(is);
        let (Some(one), [first, ..]) = (one, &all[..]) else {
            return all.into_iter().chain(one).collect();
        };
        if one != *first {
            let why = format!(
                "`{first}` is the first, but spec.clusterIP is `{one}`: the same is wanted"
            );
            self.mistake("spec.clusterIPs[0]", why);
        }
        let families: BTreeSet<_> = all.iter().map(|ip| Family::of(*ip)).collect();
        if families.len() < all.len() {
            self.mistake("spec.clusterIPs", "one address of each family is wanted");
        }
        all
    }

    fn ports(&mut self, given: &[ServicePortObject]) -> Vec<Port> {
        let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
        let mut ports = Vec::new();
        for (n, port) in given.iter().enumerate() {
            let at = |field: &str| format!("spec.ports[{n}].{field}");
            let name = port.name.clone().unwrap_or_default();
            let protocol = port.protocol.unwrap_or_default();
            if name.is_empty() && given.len() > 1 {
                self.mistake(&at("name"), "missing: each of several ports has a name");
            } else if !name.is_empty() && !is_name(&name) {
                let why = format!("`{name}` is no name: letters a-z, digits and `-`");
                self.mistake(&at("name"), why);
            } else if !names.insert(name.clone()) && !name.is_empty() {
                self.mistake(&at("name"), format!("`{name}` is the name of two ports"));
            }
            if !numbers.insert((protocol, port.port.0)) {
                let why = format!("{} of {protocol} is there twice", port.port.0);
                self.mistake(&at("port"), why);
            }
            ports.push(Port {
                name,
                protocol,
                port: port.port.0,
                node_port: port.node_port.map(|it| it.0).filter(|it| *it != 0),
            });
        }
        ports
    }
}

impl ServiceSpec {
    fn is_headless(&self) -> bool {
        let all = self.cluster_ips.iter().flatten();
        all.chain(&self.cluster_ip)
            .any(|ip| *ip == ClusterIp::Headless)
    }
}

fn affinity(spec: &ServiceSpec) -> Option<u32> {
    if spec.session_affinity != Some(SessionAffinity::ClientIp) {
        return None;
    }
    let config = spec.session_affinity_config.as_ref();
    let seconds = config.and_then(|it| it.client_ip.as_ref()?.timeout_seconds);
    Some(seconds.map_or(DEFAULT_AFFINITY, |it| it.0))
}

/// The addresses for which a load balancer leaves the destination as it is: of others it has
/// replaced it before packets arrive.
fn ingress(status: Option<ServiceStatus>) -> Vec<IpAddr> {
    let balancer = status.and_then(|it| it.load_balancer);
    let all = balancer.and_then(|it| it.ingress).unwrap_or_default();
    let is_kept = all
        .iter()
        .filter(|it| it.ip_mode.as_deref() != Some("Proxy"));
    addresses(is_kept.filter_map(|it| Some(it.ip?.0)))
}

/// The addresses, each once.
fn addresses(given: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = given.collect();
    all.sort();
    all.dedup();
    all
}
