// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Rules of nftables as kube-proxy writes them in its mode of that name, with the pods of this node as
//! local traffic (its detect-local mode `InterfaceNamePrefix`).
//!
//! Endpoints are selected here on their own: nothing of `adit_node::desired` is used.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use adit_conntrack::Family;
use adit_node::model::{Endpoint, Policy, Port, Service, Services};

use crate::layout::{node_address, service_network, HERE};

/// The beginning of the names of the links behind which this node's pods are.
const LOCAL: &str = "right*";
/// The bit of a packet's mark that has its source translated.
const MASQUERADE: &str = "0x4000";

/// The table, as far as it outlives a transaction.
pub(crate) struct Proxy {
    family: Family,
    /// Set if differences by intent are left in.
    is_literal: bool,
    /// Sets of clients.
    affinities: BTreeSet<String>,
}

/// The endpoints of a service's port, as kube-proxy categorizes them.
struct Categories<'e> {
    cluster: Vec<&'e Endpoint>,
    local: Vec<&'e Endpoint>,
    /// Some node has one that could take a connection.
    has_any: bool,
}

fn categories(endpoints: &[Endpoint]) -> Categories<'_> {
    let preferred = |all: Vec<&'_ Endpoint>| -> BTreeSet<SocketAddr> {
        let at = |it: &&Endpoint| SocketAddr::new(it.address, it.port);
        let ready: BTreeSet<_> = all
            .iter()
            .filter(|it| it.conditions.ready)
            .map(at)
            .collect();
        match ready.is_empty() {
            false => ready,
            true => {
                let last = all
                    .iter()
                    .filter(|it| it.conditions.serving && it.conditions.terminating);
                last.map(at).collect()
            }
        }
    };
    let of = |chosen: BTreeSet<SocketAddr>| {
        let all = endpoints.iter();
        all.filter(|it| chosen.contains(&SocketAddr::new(it.address, it.port)))
            .collect::<Vec<_>>()
    };
    let cluster = of(preferred(endpoints.iter().collect()));
    let here = endpoints
        .iter()
        .filter(|it| it.node.as_deref() == Some(HERE));
    Categories {
        has_any: !cluster.is_empty(),
        local: of(preferred(here.collect())),
        cluster,
    }
}

impl Proxy {
    /// A table that is not there yet.
    pub(crate) fn new(family: Family, is_literal: bool) -> Self {
        Proxy {
            family,
            is_literal,
            affinities: BTreeSet::new(),
        }
    }

    fn ip(&self) -> &'static str {
        match self.family {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        }
    }

    /// The name of the table.
    pub(crate) fn table(&self) -> String {
        format!("{} kube-proxy", self.ip())
    }

    /// The commands of nft(8) that make the table that of these services. Clients of endpoints that
    /// stay keep them.
    pub(crate) fn transaction(&mut self, services: &Services) -> String {
        let mut out = Transaction {
            table: self.table(),
            sets: String::new(),
            text: String::new(),
        };
        let address = match self.family {
            Family::V4 => "ipv4_addr",
            Family::V6 => "ipv6_addr",
        };
        out.begin(address, self.ip(), self.family, self.is_literal);
        let mut kept = BTreeSet::new();
        for service in services.services.values() {
            for port in &service.ports {
                let of = OfPort {
                    service,
                    port,
                    name: format!("{}-{}", service.name.name, port.protocol).to_lowercase(),
                    ip: self.ip(),
                    is_literal: self.is_literal,
                };
                let all = categories(services.endpoints_of(&service.name, port));
                kept.extend(of.write(&all, address, &mut out));
            }
        }
        for set in self.affinities.difference(&kept) {
            out.line(format_args!("delete set {{table}} {set}"));
        }
        self.affinities = kept;
        let table = &out.table;
        format!(
            "add table {table}\nflush table {table}\n{}{}",
            out.sets, out.text
        )
    }
}

struct Transaction {
    table: String,
    /// Sets of clients, which are there before the rules that have them.
    sets: String,
    text: String,
}

impl Transaction {
    /// Adds a command, in which `{table}` is the table.
    fn line(&mut self, command: std::fmt::Arguments<'_>) {
        let command = command.to_string().replace("{table}", &self.table);
        let _ = writeln!(self.text, "{command}");
    }

    fn chain(&mut self, name: &str) {
        self.line(format_args!("add chain {{table}} {name}"));
    }

    fn rule(&mut self, chain: &str, rule: std::fmt::Arguments<'_>) {
        self.line(format_args!("add rule {{table}} {chain} {rule}"));
    }

    fn element(&mut self, of: &str, element: std::fmt::Arguments<'_>) {
        self.line(format_args!("add element {{table}} {of} {{ {element} }}"));
    }

    /// Writes the part that does not depend on services.
    fn begin(&mut self, address: &str, ip: &str, family: Family, is_literal: bool) {
        let at_port = format!("{address} . inet_proto . inet_service");
        for (name, kind) in [("cluster-ips", address), ("nodeport-ips", address)] {
            self.line(format_args!("add set {{table}} {name} {{ type {kind} ; }}"));
            self.line(format_args!("flush set {{table}} {name}"));
        }
        for (name, kind) in [
            ("no-endpoint-nodeports", "inet_proto . inet_service"),
            ("no-endpoint-services", &at_port),
            ("service-ips", &at_port),
            ("service-nodeports", "inet_proto . inet_service"),
        ] {
            self.line(format_args!(
                "add map {{table}} {name} {{ type {kind} : verdict ; }}"
            ));
            self.line(format_args!("flush map {{table}} {name}"));
        }
        for (name, hook) in [
            ("filter-forward", "filter hook forward priority 0"),
            ("filter-input", "filter hook input priority 0"),
            ("nat-postrouting", "nat hook postrouting priority 100"),
            ("nat-prerouting", "nat hook prerouting priority -100"),
        ] {
            self.line(format_args!(
                "add chain {{table}} {name} {{ type {hook} ; }}"
            ));
        }
        for name in [
            "cluster-ips-check",
            "mark-for-masquerade",
            "masquerading",
            "nodeport-endpoints-check",
            "reject-chain",
            "services",
            "service-endpoints-check",
        ] {
            self.chain(name);
        }
        // The program resets what kube-proxy answers with an ICMP error.
        let rejects: &[&str] = match is_literal {
            true => &["reject"],
            false => &["meta l4proto tcp reject with tcp reset", "reject"],
        };
        let unused = service_network(family);
        for reject in rejects {
            self.rule(
                "cluster-ips-check",
                format_args!("{ip} daddr @cluster-ips {reject}"),
            );
            self.rule("reject-chain", format_args!("{reject}"));
        }
        self.rule(
            "cluster-ips-check",
            format_args!("{ip} daddr {unused} drop"),
        );
        for (chain, rule) in [
            (
                "filter-forward",
                "ct state new jump service-endpoints-check",
            ),
            ("filter-forward", "ct state new jump cluster-ips-check"),
            ("filter-input", "ct state new jump nodeport-endpoints-check"),
            ("filter-input", "ct state new jump service-endpoints-check"),
            (
                "mark-for-masquerade",
                &format!("mark set mark or {MASQUERADE}"),
            ),
            (
                "masquerading",
                &format!("mark and {MASQUERADE} == 0 return"),
            ),
            ("masquerading", &format!("mark set mark xor {MASQUERADE}")),
            // kube-proxy's is fully-random: no comparison can depend on the port.
            ("masquerading", "masquerade"),
            ("nat-postrouting", "jump masquerading"),
            ("nat-prerouting", "jump services"),
            (
                "nodeport-endpoints-check",
                &format!(
                    "{ip} daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports"
                ),
            ),
            (
                "services",
                &format!("{ip} daddr . meta l4proto . th dport vmap @service-ips"),
            ),
            (
                "services",
                &format!(
                    "{ip} daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports"
                ),
            ),
            (
                "service-endpoints-check",
                &format!("{ip} daddr . meta l4proto . th dport vmap @no-endpoint-services"),
            ),
        ] {
            self.rule(chain, format_args!("{rule}"));
        }
        self.element("nodeport-ips", format_args!("{}", node_address(family)));
    }
}

/// A port of a service.
struct OfPort<'s> {
    service: &'s Service,
    port: &'s Port,
    name: String,
    ip: &'static str,
    is_literal: bool,
}

impl OfPort<'_> {
    fn protocol(&self) -> String {
        self.port.protocol.to_string().to_lowercase()
    }

    fn endpoint(&self, kind: &str, endpoint: &Endpoint) -> String {
        let address = endpoint.address.to_string().replace(':', ".");
        format!("{kind}-{}-{address}-{}", self.name, endpoint.port)
    }

    /// Writes the rules. Returns the sets of clients.
    fn write(
        &self,
        all: &Categories<'_>,
        address: &str,
        out: &mut Transaction,
    ) -> BTreeSet<String> {
        let service = self.service;
        let (cluster, local) = (
            format!("service-{}", self.name),
            format!("local-{}", self.name),
        );
        let external = format!("external-{}", self.name);
        let mut reached: Vec<&Endpoint> = Vec::new();
        for endpoint in all.cluster.iter().chain(&all.local) {
            if !reached.contains(endpoint) {
                reached.push(endpoint);
            }
        }
        out.chain(&cluster);
        out.chain(&local);
        out.chain(&external);
        reached
            .iter()
            .for_each(|it| out.chain(&self.endpoint("endpoint", it)));
        let of_policy = |policy| match policy {
            Policy::Cluster => (&cluster, all.has_any),
            Policy::Local => (&local, !all.local.is_empty()),
        };
        let (internal_chain, has_internal) = of_policy(service.internal_policy);
        let (external_chain, has_external) = of_policy(service.external_policy);
        let without = if all.has_any {
            "drop"
        } else {
            "goto reject-chain"
        };
        let (protocol, number) = (self.protocol(), self.port.port);
        for cluster_ip in &service.cluster_ips {
            let at = format!("{cluster_ip} . {protocol} . {number}");
            out.element("cluster-ips", format_args!("{cluster_ip}"));
            match has_internal {
                true => out.element("service-ips", format_args!("{at} : goto {internal_chain}")),
                false => out.element("no-endpoint-services", format_args!("{at} : {without}")),
            }
            if has_internal && self.masquerades(all) {
                out.rule(
                    internal_chain,
                    format_args!(
                        "{} daddr {cluster_ip} {protocol} dport {number} iifname != \"{LOCAL}\" \
                         jump mark-for-masquerade",
                        self.ip
                    ),
                );
            }
        }
        for at in service.external_ips.iter().chain(&service.ingress_ips) {
            let at = format!("{at} . {protocol} . {number}");
            if all.has_any {
                out.element("service-ips", format_args!("{at} : goto {external}"));
            }
            if !has_external {
                out.element("no-endpoint-services", format_args!("{at} : {without}"));
            }
        }
        if let Some(node_port) = self.port.node_port {
            let at = format!("{protocol} . {node_port}");
            if all.has_any {
                out.element("service-nodeports", format_args!("{at} : goto {external}"));
            }
            if !has_external {
                out.element("no-endpoint-nodeports", format_args!("{at} : {without}"));
            }
        }
        if all.has_any {
            match service.external_policy {
                // The program leaves pods of this node their addresses.
                Policy::Cluster if self.is_literal => {
                    out.rule(&external, format_args!("jump mark-for-masquerade"));
                }
                Policy::Cluster => out.rule(
                    &external,
                    format_args!("iifname != \"{LOCAL}\" jump mark-for-masquerade"),
                ),
                Policy::Local => out.rule(
                    &external,
                    format_args!("iifname \"{LOCAL}\" goto {cluster}"),
                ),
            }
            if has_external {
                out.rule(&external, format_args!("goto {external_chain}"));
            }
        }
        self.choices(&cluster, &all.cluster, out);
        self.choices(&local, &all.local, out);
        let mut affinities = BTreeSet::new();
        for endpoint in reached {
            let chain = self.endpoint("endpoint", endpoint);
            let (ip, at) = (self.ip, SocketAddr::new(endpoint.address, endpoint.port));
            out.rule(
                &chain,
                format_args!("{ip} saddr {} jump mark-for-masquerade", endpoint.address),
            );
            if let Some(seconds) = service.affinity {
                let set = self.endpoint("affinity", endpoint);
                let _ = writeln!(
                    out.sets,
                    "add set {} {set} {{ type {address} ; flags dynamic,timeout ; timeout {seconds}s ; }}",
                    out.table
                );
                out.rule(&chain, format_args!("update @{set} {{ {ip} saddr }}"));
                affinities.insert(set);
            }
            out.rule(&chain, format_args!("meta l4proto {protocol} dnat to {at}"));
        }
        affinities
    }

    /// Returns whether sources of clients from elsewhere are translated at cluster addresses. The
    /// program does so if the endpoint is not on this node, kube-proxy in any case.
    fn masquerades(&self, all: &Categories<'_>) -> bool {
        let is_here = |it: &&Endpoint| it.node.as_deref() == Some(HERE);
        let is_local = self.service.internal_policy == Policy::Local;
        self.is_literal || !(is_local || all.cluster.iter().all(is_here))
    }

    /// The rules that choose an endpoint.
    fn choices(&self, chain: &str, endpoints: &[&Endpoint], out: &mut Transaction) {
        if endpoints.is_empty() {
            return;
        }
        if self.service.affinity.is_some() {
            for endpoint in endpoints {
                let set = self.endpoint("affinity", endpoint);
                let to = self.endpoint("endpoint", endpoint);
                out.rule(chain, format_args!("{} saddr @{set} goto {to}", self.ip));
            }
        }
        let verdicts = endpoints.iter().enumerate();
        let verdicts =
            verdicts.map(|(n, it)| format!("{n} : goto {}", self.endpoint("endpoint", it)));
        let verdicts: Vec<_> = verdicts.collect();
        out.rule(
            chain,
            format_args!(
                "numgen random mod {} vmap {{ {} }}",
                endpoints.len(),
                verdicts.join(" , ")
            ),
        );
    }
}

/// The address and port of a frontend of UDP, with the addresses of the endpoints that serve it:
/// kube-proxy deletes connections of UDP to others.
pub(crate) fn udp_frontends(
    services: &Services,
    family: Family,
) -> Vec<((IpAddr, u16), BTreeSet<IpAddr>)> {
    let mut all = Vec::new();
    for service in services.services.values() {
        let of_udp = service.ports.iter().filter(|it| it.protocol.number() == 17);
        for port in of_udp {
            let endpoints = services.endpoints_of(&service.name, port).iter();
            let serving = endpoints.filter(|it| it.conditions.serving);
            let serving: BTreeSet<_> = serving.map(|it| it.address).collect();
            let own = [
                &service.cluster_ips,
                &service.external_ips,
                &service.ingress_ips,
            ];
            let own = own.into_iter().flatten().map(|it| (*it, port.port));
            let of_node = port.node_port.map(|it| (node_address(family), it));
            all.extend(own.chain(of_node).map(|at| (at, serving.clone())));
        }
    }
    all
}
