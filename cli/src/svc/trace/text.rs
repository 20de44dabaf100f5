// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The way of a packet to a service as lines of text.

use std::fmt::Display;
use std::io::Write;
use std::net::SocketAddr;

use adit_node::model::Policy;
use adit_pipeline::p4::events::escape;
use anyhow::Result;

use super::arrival::Tunnel;
use super::explain::{
    By, Chosen, Connection, Direction, Explanation, Group, Outcome, Service, State, Way,
};
use crate::output::counted;
use crate::trace::text::port;

/// Writes a packet: a line for each thing that was decided on it.
pub(super) fn write(packet: &Explanation, out: &mut impl Write) -> Result<()> {
    let (number, at) = (packet.packet, port(packet.port));
    writeln!(
        out,
        "packet {number}: {} at port {at}, {}",
        packet.flow, packet.time
    )?;
    let mut line = |label: &str, text: String| writeln!(out, "  {label:<12} {}", escape(&text));
    if let Some(tunnel) = &packet.tunnel {
        line("tunnel", of_tunnel(tunnel))?;
    }
    match &packet.service {
        Some(service) => line("service", of_service(service))?,
        None => line("service", "none any more".to_owned())?,
    }
    if let Some(direction) = of_direction(packet.direction) {
        line("direction", direction.to_owned())?;
    }
    if let Some(connection) = &packet.connection {
        line("connection", of_connection(connection))?;
    }
    if let Some(group) = &packet.group {
        line("endpoints", of_group(group))?;
    }
    if let Some(endpoint) = &packet.endpoint {
        line("endpoint", of_endpoint(endpoint))?;
        let affinity = packet.service.as_ref().map_or(0, |it| it.affinity_s);
        let is_choice = !matches!(endpoint.by, By::Connection | By::Arrival);
        if affinity != 0 && is_choice {
            let text =
                format!("the client keeps the endpoint until it was silent for {affinity} s");
            line("affinity", text)?;
        }
    }
    if let Some(to) = packet.destination {
        line("destination", of_destination(to, packet))?;
    }
    let back = matches!(packet.direction, Direction::Reply | Direction::Error);
    if let Some(source) = packet.source.as_ref().filter(|_| back) {
        line("source", of_restored(source.address, packet))?;
    } else if let Some(source) = &packet.source {
        let why = match source.reason {
            Some("hairpin") => ": the client is its own endpoint",
            Some("service") => ": replies have to come back to this node",
            Some("egress") => ": it leaves the cluster",
            _ => "",
        };
        line("source", format!("masqueraded as {}{why}", source.address))?;
    }
    if let Some(way) = &packet.way {
        line("way", of_way(way))?;
    }
    line("outcome", of_outcome(&packet.outcome))?;
    packet.sent.iter().try_for_each(|sent| sent.write(out))
}

fn of_tunnel(it: &Tunnel) -> String {
    let Tunnel {
        kind,
        vni,
        from,
        to,
        ..
    } = it;
    let then = match (it.taken_out, it.known) {
        (true, _) => "taken out of it",
        (false, true) => "left in it",
        (false, false) => {
            "left in it, as `tunnels` has no entry for it, or its outer packet is none that a peer sends"
        }
    };
    format!("{kind} from {from} to {to}, VNI {vni}: {then}")
}

fn of_direction(it: Direction) -> Option<&'static str> {
    Some(match it {
        Direction::ToService => return None,
        Direction::ToEndpoint => "to an endpoint, past this node's addresses of the service",
        Direction::Reply => "a reply, from the endpoint to the client",
        Direction::Error => "an ICMP error about a packet of the connection",
    })
}

fn of_destination(to: SocketAddr, packet: &Explanation) -> String {
    match packet.direction {
        Direction::Reply => format!("masquerade undone: to the client {to}"),
        Direction::Error => format!("translated to {}", to.ip()),
        _ => format!("translated to {to}"),
    }
}

/// A source that a client knows.
fn of_restored(from: SocketAddr, packet: &Explanation) -> String {
    match packet.direction {
        Direction::Error => format!("translated to {}", from.ip()),
        _ => format!("translated back to the service's {from}"),
    }
}

fn of_service(it: &Service) -> String {
    let port = match it.port.is_empty() {
        true => String::new(),
        false => format!(", port {}", it.port),
    };
    let Service {
        namespace,
        name,
        kind,
        address,
        protocol,
        ..
    } = it;
    match (kind, address) {
        (Some(kind), Some(address)) => {
            format!("{namespace}/{name}{port}, at its {kind:?} {address}/{protocol}")
        }
        _ => format!("{namespace}/{name}{port}, {protocol}, behind its addresses"),
    }
}

fn of_connection(it: &Connection) -> String {
    let mut text = match it.state {
        State::New => "new".to_owned(),
        State::Unreplied => "known, without a reply so far".to_owned(),
        State::Established => "established".to_owned(),
        State::Reply => "known: a reply".to_owned(),
        State::Related => "related to a known one".to_owned(),
        State::Invalid => "none".to_owned(),
    };
    if let Some(why) = &it.invalid {
        text.push_str(&format!(": {why}"));
    }
    if let Some(state) = &it.protocol_state {
        text.push_str(&format!(", {state}"));
    }
    if it.forgotten {
        text.push_str("; it ends, as its endpoint is gone");
    }
    text
}

fn of_group(it: &Group) -> String {
    let view = it.group;
    let whose = match view.policy {
        Policy::Cluster => "of all nodes",
        Policy::Local => "of this node",
    };
    let clients = match it.inside {
        true => "on this node",
        false => "elsewhere",
    };
    let count = counted(view.endpoints as u64, "endpoint");
    format!(
        "group {} for clients {clients}, policy {:?}: {count} {whose}",
        view.group, view.policy
    )
}

fn conditions(it: &Chosen) -> String {
    let all = [
        (it.ready, "ready"),
        (it.serving, "serving"),
        (it.terminating, "terminating"),
    ];
    let set: Vec<_> = all
        .iter()
        .filter(|(is, _)| *is)
        .map(|(_, name)| *name)
        .collect();
    match set.is_empty() {
        true => "neither ready nor serving".to_owned(),
        false => set.join(", "),
    }
}

fn of_endpoint(it: &Chosen) -> String {
    let (address, id) = match (it.address, it.id) {
        (Some(address), Some(id)) => (address, id),
        (Some(address), None) => return format!("{address}, which does not exist any more"),
        (None, id) => {
            let id = id.unwrap_or_default();
            return format!("id {id}, which does not exist any more");
        }
    };
    let mut by = match it.by {
        By::Connection => "its connection has it".to_owned(),
        By::Affinity => "the client has had it before".to_owned(),
        By::Hash => "by a hash of the client's address and ports".to_owned(),
        By::HashOfClient => "by a hash of the client's address".to_owned(),
        By::Arrival => "the packet has come with its address".to_owned(),
    };
    if let Some(before) = it.before {
        by.push_str(&format!(
            ", as its earlier one, id {before}, takes no new connections"
        ));
    }
    if it.terminating && !matches!(it.by, By::Connection | By::Arrival) {
        by.push_str("; none is ready");
    }
    format!("{address}, id {id}, {}: {by}", conditions(it))
}

fn by_route(route: Option<&String>) -> String {
    match route {
        Some(route) => format!(", by the route {route}"),
        None => String::new(),
    }
}

fn of_way(way: &Way) -> String {
    let shown = |value: Option<u64>| value.map_or_else(|| "?".to_owned(), |it| it.to_string());
    match way {
        Way::Pod { port: at } => format!("a pod of this node, at port {}", port(*at)),
        Way::Host => "the host's own stack".to_owned(),
        Way::NextHop {
            route,
            nexthop,
            port,
        } => {
            let at = match port {
                Some(port) => format!(" at port {port}"),
                None => String::new(),
            };
            format!(
                "next hop {}{at}{}",
                shown(*nexthop),
                by_route(route.as_ref())
            )
        }
        Way::Tunnel {
            route,
            kind,
            vni,
            peer,
        } => {
            let peer: &dyn Display = match peer {
                Some(peer) => peer,
                None => &"?",
            };
            let by = by_route(route.as_ref());
            format!("{kind} tunnel to {peer}, VNI {}{by}", shown(*vni))
        }
        Way::Nowhere { route: Some(route) } => format!("none: the route {route} leads nowhere"),
        Way::Nowhere { route: None } => "none: no route".to_owned(),
    }
}

fn of_outcome(it: &Outcome) -> String {
    let how = match (it.dropped, it.refused, it.answered) {
        (false, ..) => "passes",
        (true, false, _) => "dropped",
        (true, true, true) => "refused, and the sender is told",
        (true, true, false) => {
            "refused without an answer: a rate is exceeded, or it is never answered"
        }
    };
    format!("{how}: {}", it.why)
}
