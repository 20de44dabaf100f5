// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The rules of a trace for connections from the left, for both trackers.

use adit_conntrack::{Commit, Direction, Family, Helper, Nat, NatRange, Protocol, Zone};

use crate::trace::{Packet, Side};

/// The table of nftables with the rules of a trace.
const TABLE: &str = "inet oracle_policy";

/// The rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The translation. Absent: there is none, also if its tuple is in use.
    pub nat: Option<Nat>,
    /// The helper of connections to the server's port, and that port.
    pub helper: Option<(Helper, u16)>,
    /// The zone: of all packets or, if it applies to one direction, of those from the left.
    pub zone: Zone,
    /// The mark.
    pub mark: Option<u32>,
}

impl Policy {
    /// The zone of a packet.
    pub fn zone(&self, packet: &Packet) -> Zone {
        match packet.from {
            Side::Right if self.zone.only_direction().is_some() => Zone::DEFAULT,
            _ => self.zone,
        }
    }

    /// The settings of a packet's connection for the library.
    pub fn commit(&self, packet: &Packet) -> Commit {
        let is_left = packet.from == Side::Left;
        let nat = self.nat.map(|nat| match is_left {
            true => nat,
            false => Nat::default(),
        });
        Commit {
            nat,
            helper: self
                .helper
                .filter(|_| is_left && packet.to_server)
                .map(|(helper, _)| helper),
            mark: self.mark.filter(|_| is_left).map(|mark| (mark, u32::MAX)),
            ..Commit::default()
        }
    }

    /// The commands of nft(8) that make the kernel do the same. Without a translation there is no hook
    /// that could translate.
    pub fn rules(&self) -> String {
        let mut rules = format!("table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{\n");
        rules += &self.helper_rules();
        rules += "chain zones {\ntype filter hook prerouting priority raw\n";
        let id = self.zone.id();
        rules += &match self.zone.only_direction() {
            None if id == 0 => String::new(),
            None => format!("ct zone set {id}\n"),
            Some(Direction::Original) => format!("iifname left ct original zone set {id}\n"),
            Some(Direction::Reply) => format!("iifname left ct reply zone set {id}\n"),
        };
        rules += "}\n";
        if let Some(mark) = self.mark {
            rules += "chain marks {\ntype filter hook prerouting priority mangle\n";
            rules += &format!("iifname left ct mark set {mark}\n}}\n");
        }
        if let Some(nat) = self.nat {
            let [destination, source] = [("dnat", nat.destination), ("snat", nat.source)]
                .map(|(verb, range)| range.map_or_else(String::new, |it| nat_rule(verb, &it)));
            rules += &format!(
                "chain destinations {{\ntype nat hook prerouting priority dstnat\n\
                 iifname left {destination}\n}}\n\
                 chain sources {{\ntype nat hook postrouting priority srcnat\n\
                 iifname left {source}\n}}\n"
            );
        }
        rules + "}\n"
    }

    fn helper_rules(&self) -> String {
        let Some((helper, port)) = self.helper else {
            return String::new();
        };
        let protocols = [("tcp", Protocol::TCP), ("udp", Protocol::UDP)];
        let applicable = protocols.iter().filter(|(_, protocol)| {
            [Family::V4, Family::V6]
                .iter()
                .any(|&family| helper.applies_to(*protocol, family))
        });
        let (mut objects, mut rules) = (String::new(), String::new());
        for (protocol, _) in applicable {
            let kind = helper.name();
            objects +=
                &format!("ct helper h_{protocol} {{\ntype \"{kind}\" protocol {protocol}\n}}\n");
            rules +=
                &format!("iifname left {protocol} dport {port} ct helper set \"h_{protocol}\"\n");
        }
        let hook = "type filter hook prerouting priority mangle";
        format!("{objects}chain helpers {{\n{hook}\n{rules}}}\n")
    }
}

/// The end of a rule that translates to a range.
fn nat_rule(verb: &str, range: &NatRange) -> String {
    let mut to = String::new();
    let mut family = "";
    if let Some((first, last)) = range.addresses() {
        family = if first.is_ipv4() { "ip" } else { "ip6" };
        let bracketed = |address: std::net::IpAddr| match address {
            std::net::IpAddr::V4(address) => address.to_string(),
            std::net::IpAddr::V6(address) => format!("[{address}]"),
        };
        to = bracketed(first);
        if last != first {
            to += &format!("-{}", bracketed(last));
        }
    }
    let mut protocols = "";
    if let Some((first, last)) = range.ports() {
        protocols = "meta l4proto { tcp, udp, sctp }";
        to += &format!(":{first}-{last}");
    }
    let persistent = if range.has_persistent_address() {
        "persistent"
    } else {
        ""
    };
    format!("{protocols} {verb} {family} to {to} {persistent}")
}
