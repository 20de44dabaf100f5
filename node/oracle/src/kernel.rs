// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel with kube-proxy's rules, in a network namespace of this process.

use std::path::{Path, PathBuf};
use std::process::Command;

use adit_conntrack::{Family, Protocol, Settings};
use adit_conntrack_oracle::ctnetlink::Conntrack;
use adit_conntrack_oracle::links::Links;
use adit_conntrack_oracle::log::Log;
use adit_conntrack_oracle::observation::Entry;
use adit_conntrack_oracle::router::{self, LINKS, LOG_GROUP};
use adit_conntrack_oracle::trace::Packet;
use adit_node::model::Services;
use anyhow::Result;

use crate::layout;
use crate::observation::{Observation, Place};
use crate::proxy::{udp_frontends, Proxy};

/// The prefix of messages about packets for the node's own stack.
const TO_HOST: &str = "host";

/// The kernel.
pub(crate) struct Kernel {
    links: Links,
    conntrack: Conntrack,
    log: Log,
    /// nft(8).
    nft: PathBuf,
    proxy: Proxy,
    family: Family,
    /// The services before the last change.
    services: Services,
}

impl Kernel {
    /// Makes the thread's network namespace a node. [`router::enter`] comes before.
    pub(crate) fn start(nft: &Path) -> Result<Self> {
        let links = Links::create()?;
        let log = Log::open()?;
        router::configure(nft)?;
        let mut addresses = String::new();
        for family in [Family::V4, Family::V6] {
            let bits = if family == Family::V4 { 32 } else { 128 };
            let flag = if family == Family::V4 { "" } else { "nodad" };
            let [left, right] = layout::own(family);
            let places = [
                (left, LINKS[0]),
                (right, LINKS[1]),
                (layout::node_address(family), "lo"),
            ];
            for (address, link) in places {
                addresses += &format!("address add {address}/{bits} dev {link} {flag}\n");
            }
            let everything = if family == Family::V4 {
                "0.0.0.0/0"
            } else {
                "::/0"
            };
            addresses += &format!(
                "route add {} dev {} mtu {}\n",
                layout::others_network(family),
                LINKS[0],
                layout::OTHERS_MTU
            );
            addresses += &format!("route add {everything} dev {}\n", LINKS[0]);
        }
        router::feed(Command::new("ip").args(["-batch", "-"]), &addresses)?;
        // No error is held back, and none has a flow label of its own.
        for (name, value) in [
            ("ipv4/icmp_ratemask", "0"),
            ("ipv6/icmp/ratelimit", "0"),
            ("ipv6/icmp/ratemask", "128"),
            ("ipv6/auto_flowlabels", "0"),
        ] {
            router::set(name, value)?;
        }
        router::apply(&Settings::default())?;
        router::feed(Command::new(nft).args(["-f", "-"]), &node_rules())?;
        Ok(Self {
            links,
            conntrack: Conntrack::open()?,
            log,
            nft: nft.to_owned(),
            proxy: Proxy::new(Family::V4, false),
            family: Family::V4,
            services: Services::default(),
        })
    }

    /// Deletes all connections and services.
    pub(crate) fn reset(&mut self, family: Family, is_literal: bool) -> Result<()> {
        let old = self.proxy.table();
        self.nft(&format!("add table {old}\ndelete table {old}\n"))?;
        self.proxy = Proxy::new(family, is_literal);
        self.family = family;
        self.services = Services::default();
        let transaction = self.proxy.transaction(&Services::default());
        self.nft(&transaction)?;
        self.conntrack.flush()
    }

    fn nft(&self, commands: &str) -> Result<()> {
        router::feed(Command::new(&self.nft).args(["-f", "-"]), commands)
    }

    /// Makes the services these, as kube-proxy does.
    pub(crate) fn apply(&mut self, services: &Services) -> Result<()> {
        let transaction = self.proxy.transaction(services);
        self.nft(&transaction)?;
        // Connections of UDP whose endpoint does not serve any more, and of services that are gone.
        let frontends = udp_frontends(services, self.family);
        let before = udp_frontends(&self.services, self.family);
        let is_stale = |entry: &Entry| {
            let [original, reply] = &entry.tuples;
            let to = original.dst();
            let is_here = |at: &(std::net::IpAddr, u16)| *at == (to.address, to.part);
            let frontend = frontends.iter().find(|(at, _)| is_here(at));
            let was = before.iter().any(|(at, _)| is_here(at));
            original.protocol() == Protocol::UDP
                && frontend.map_or(was, |(_, all)| !all.contains(&reply.src().address))
        };
        self.conntrack.delete(is_stale)?;
        self.services = services.clone();
        Ok(())
    }

    /// Lets a packet arrive.
    pub(crate) fn feed(&self, packet: &Packet) -> Result<Observation> {
        self.log.prefixes()?;
        let leaving = self.links.pass(packet.from, &packet.bytes)?;
        let leaving = leaving.into_iter();
        let mut leaving: Vec<_> = leaving
            .map(|(side, bytes)| (Place::Link(side), bytes))
            .collect();
        if self.log.prefixes()?.iter().any(|it| it == TO_HOST) {
            leaving.push((Place::Host, Vec::new()));
        }
        Ok(Observation { leaving })
    }
}

/// The rules of a node that are not kube-proxy's: packets without a connection are dropped, pods are
/// masqueraded on their way out of the cluster, and the node's own stack answers nothing.
fn node_rules() -> String {
    let mut rules = String::from(
        "table inet node {\n\
         chain invalid {\ntype filter hook forward priority -10\nct state invalid drop\n}\n\
         chain own {\ntype filter hook input priority 10\n",
    );
    for link in LINKS {
        rules += &format!(
            "iifname {link} log prefix \"{TO_HOST}\" group {LOG_GROUP} queue-threshold 1\n\
             iifname {link} drop\n"
        );
    }
    rules += "}\nchain egress {\ntype nat hook postrouting priority srcnat\n";
    for (family, ip) in [(Family::V4, "ip"), (Family::V6, "ip6")] {
        let pods = layout::pod_networks(family).join(", ");
        rules += &format!("{ip} saddr {{ {pods} }} {ip} daddr != {{ {pods} }} masquerade\n");
    }
    rules + "}\n}\n"
}
