// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The way of a packet to a service, in the service's terms.

use std::net::{IpAddr, SocketAddr};

use adit_node::desired::Kind;
use adit_node::device::{Device, GroupView};
use adit_node::model::{Conditions, Name, Protocol};
use adit_node::verdict::Verdict;
use adit_pipeline::p4::FIRST_HOST_PORT;
use adit_trace::proto::{ConnectionStep, Packet, TableStep};
use serde::Serialize;

use super::arrival::{Arrival, Tunnel};
use super::steps::{address_argument, argument, key, Steps};
use super::to::To;
use crate::trace::record::Sent;
use crate::trace::text;

/// Bits of `ConntrackState_t` (`adit.p4`).
const NEW: u32 = 0x01;
const ESTABLISHED: u32 = 0x02;
const RELATED: u32 = 0x04;
const REPLY: u32 = 0x08;
const INVALID: u32 = 0x10;
/// The tables that filter, and their actions that drop.
const FILTERS: [&str; 4] = ["acl", "decisions", "firewall", "ingress_acl"];
const DENIALS: [&str; 5] = ["deny", "refuse", "police", "by_trust", "to_control"];
/// The reason of a drop that is answered, in the engine's terms.
const REJECTED: &str = "rejected";

/// A packet to a service, or from it.
#[derive(Debug, Serialize)]
pub(super) struct Explanation {
    /// Its number, from 1.
    pub(super) packet: u64,
    pub(super) time: String,
    /// The port at which it has entered.
    pub(super) port: u32,
    pub(super) bytes: usize,
    /// Its addresses, ports and protocol; those in its tunnel, if it came in one.
    pub(super) flow: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tunnel: Option<Tunnel>,
    pub(super) direction: Direction,
    /// The service that its connection is to. `None` if there is none any more.
    pub(super) service: Option<Service>,
    /// `None` if it was dropped before the connection tracker.
    pub(super) connection: Option<Connection>,
    /// The endpoints that a new connection may get.
    pub(super) group: Option<Group>,
    pub(super) endpoint: Option<Chosen>,
    /// Its destination after translation.
    pub(super) destination: Option<SocketAddr>,
    /// Its source after translation.
    pub(super) source: Option<Source>,
    pub(super) way: Option<Way>,
    pub(super) outcome: Outcome,
    pub(super) sent: Vec<Sent>,
}

/// The direction of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Direction {
    /// From a client to an address of the service.
    ToService,
    /// From a client to an endpoint, which it has, or another node has chosen for it.
    ToEndpoint,
    /// From an endpoint to a client.
    Reply,
    /// An ICMP error about a packet of either.
    Error,
}

/// The service's port, and its address.
#[derive(Debug, Serialize)]
pub(super) struct Service {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) port: String,
    pub(super) protocol: Protocol,
    /// `None` if clients know the endpoint's address.
    pub(super) kind: Option<Kind>,
    pub(super) address: Option<SocketAddr>,
    pub(super) affinity_s: u32,
}

/// The packet's connection, as the tracker has found it.
#[derive(Debug, Serialize)]
pub(super) struct Connection {
    pub(super) state: State,
    /// The reason why it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) invalid: Option<String>,
    /// The state of its protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) protocol_state: Option<String>,
    /// Set if it has ended with this packet, since its endpoint is gone.
    pub(super) forgotten: bool,
}

/// The state of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    New,
    /// Known, without packets of the other side.
    Unreplied,
    Established,
    Reply,
    Related,
    Invalid,
}

/// The group of endpoints.
#[derive(Debug, Serialize)]
pub(super) struct Group {
    #[serde(flatten)]
    pub(super) group: GroupView,
    /// Set if the client is on this node.
    pub(super) inside: bool,
}

/// An endpoint.
#[derive(Debug, Serialize)]
pub(super) struct Chosen {
    /// `None` if it is known by its address only.
    pub(super) id: Option<u32>,
    /// `None` if the endpoint does not exist any more.
    pub(super) address: Option<SocketAddr>,
    pub(super) ready: bool,
    pub(super) serving: bool,
    pub(super) terminating: bool,
    pub(super) by: By,
    /// The client's earlier endpoint, which takes no new connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<u32>,
}

/// The reason for which an endpoint was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum By {
    /// The packet's connection has it.
    Connection,
    /// The client's earlier connections had it.
    Affinity,
    /// A hash of the client's address and ports.
    Hash,
    /// A hash of the client's address: with affinity.
    HashOfClient,
    /// The packet came with its address.
    Arrival,
}

/// A translated source.
#[derive(Debug, Serialize)]
pub(super) struct Source {
    pub(super) address: SocketAddr,
    /// Of a new connection, why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'static str>,
}

/// The way to the endpoint.
#[derive(Debug, Serialize)]
#[serde(tag = "to", rename_all = "snake_case")]
pub(super) enum Way {
    /// A pod of this node.
    Pod { port: u32 },
    /// The host's own stack.
    Host,
    /// A next hop of a route, by its number.
    NextHop {
        route: Option<String>,
        nexthop: Option<u64>,
        port: Option<u64>,
    },
    /// A tunnel to another node.
    Tunnel {
        route: Option<String>,
        kind: String,
        vni: Option<u64>,
        peer: Option<IpAddr>,
    },
    /// A route that leads nowhere, or none.
    Nowhere { route: Option<String> },
}

/// The packet's end in the program.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    /// The program's verdict; `None` if the packet has not got one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) verdict: Option<&'static str>,
    pub(super) dropped: bool,
    /// Set if the sender is to get an answer, a reset or an ICMP error.
    pub(super) refused: bool,
    /// Set if the answer was sent.
    pub(super) answered: bool,
    pub(super) why: String,
}

impl Explanation {
    /// Explains a packet that belongs to the service `name`.
    pub(super) fn new(packet: &Packet, name: &Name, device: &Device) -> Explanation {
        let Arrival {
            flow,
            tunnel,
            ends: came,
            protocol,
        } = Arrival::new(packet);
        let steps = Steps::new(packet);
        // Of a packet that was left in its tunnel, the steps are those of the tunnel's.
        let inner = tunnel.as_ref().is_none_or(|it| it.taken_out);
        let tracked = steps.tracked().filter(|_| inner);
        let to = To {
            came,
            protocol,
            tracked,
        };
        let found = to.find(name, device);
        let direction = found.direction;
        let [source, destination] = to.translated(steps, direction);
        let sent: Vec<_> = packet
            .outputs
            .iter()
            .map(|it| Sent::new(it, &flow))
            .collect();
        let endpoint = match direction {
            Direction::ToService => endpoint(steps, found.service.as_ref(), device),
            _ => found.endpoint,
        };
        Explanation {
            packet: packet.number,
            time: text::time(packet.time_ns),
            port: packet.port,
            bytes: packet.length as usize,
            connection: tracked.map(|it| connection(steps, it)),
            group: group(steps, packet.port, device).filter(|_| inner),
            endpoint: endpoint.filter(|_| inner),
            destination,
            source: source.map(|address| {
                let snat = steps.table("snat");
                Source {
                    address,
                    reason: snat.and_then(|it| masquerade(key(it, "reason")?)),
                }
            }),
            way: way(steps),
            outcome: outcome(packet, steps, &sent),
            service: found.service,
            direction,
            tunnel,
            sent,
            flow,
        }
    }

    /// Returns whether it belongs to a connection within this node that is none of a service: to the
    /// address of an endpoint.
    pub(super) fn is_direct(&self) -> bool {
        let of_service = self.service.as_ref().is_some_and(|it| it.kind.is_some());
        let answers = matches!(self.direction, Direction::Reply | Direction::Error);
        answers && !of_service && matches!(self.way, Some(Way::Pod { .. } | Way::Host))
    }
}

fn connection(steps: Steps, tracked: &ConnectionStep) -> Connection {
    let has = |bit| tracked.state & bit != 0;
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    let state = if has(INVALID) {
        State::Invalid
    } else if has(RELATED) {
        State::Related
    } else if has(REPLY) {
        State::Reply
    } else if has(ESTABLISHED) {
        State::Established
    } else if has(NEW) && tracked.id == 0 {
        State::New
    } else {
        State::Unreplied
    };
    Connection {
        state,
        invalid: some(&tracked.invalid),
        protocol_state: some(&tracked.protocol_state),
        forgotten: steps.has_forgotten(),
    }
}

fn group(steps: Steps, port: u32, device: &Device) -> Option<Group> {
    let inside = port >= FIRST_HOST_PORT;
    let services = steps.table("services").filter(|it| it.hit)?;
    let name = if inside {
        "inside_group"
    } else {
        "outside_group"
    };
    let number = argument(services, name)? as u32;
    let unknown = || GroupView {
        group: number,
        policy: Default::default(),
        endpoints: 0,
    };
    Some(Group {
        group: device.group(number).unwrap_or_else(unknown),
        inside,
    })
}

fn endpoint(steps: Steps, service: Option<&Service>, device: &Device) -> Option<Chosen> {
    let chosen = |id: u64, by| {
        let known = device.endpoint(id as u32);
        let gone = Conditions {
            ready: false,
            serving: false,
            terminating: false,
        };
        let conditions = known.map_or(gone, |(_, conditions)| conditions);
        Chosen {
            id: Some(id as u32),
            address: known.map(|(at, _)| at),
            ready: conditions.ready,
            serving: conditions.serving,
            terminating: conditions.terminating,
            by,
            before: None,
        }
    };
    let backends = steps.table("backends").filter(|it| it.member.is_some());
    let Some(backends) = backends else {
        let known = steps.table("endpoints")?;
        return Some(chosen(key(known, "id")?, By::Connection));
    };
    let sticky = steps.table("sticky_members");
    if let Some(id) = sticky.filter(|it| it.hit).and_then(|it| argument(it, "id")) {
        return Some(chosen(id, By::Affinity));
    }
    let has_affinity = service.is_some_and(|it| it.affinity_s != 0) || sticky.is_some();
    let by = if has_affinity {
        By::HashOfClient
    } else {
        By::Hash
    };
    let before = sticky.and_then(|it| key(it, "id")).map(|id| id as u32);
    Some(Chosen {
        before,
        ..chosen(argument(backends, "id")?, by)
    })
}

/// The reason for which a source is translated (`snat_reason_t` in `p4/node/types.p4`).
fn masquerade(reason: u64) -> Option<&'static str> {
    match reason {
        1 => Some("hairpin"),
        2 => Some("service"),
        3 => Some("egress"),
        _ => None,
    }
}

fn way(steps: Steps) -> Option<Way> {
    let local = steps.table("local");
    match local.filter(|it| it.hit) {
        Some(it) if it.action == "deliver" => {
            let port = argument(it, "port")? as u32;
            return Some(Way::Pod { port });
        }
        Some(_) => return Some(Way::Host),
        None => {}
    }
    let routed = steps.table("ipv4_routes").or(steps.table("ipv6_routes"))?;
    let route = prefix(routed);
    if routed.action == "host" {
        return Some(Way::Host);
    }
    let Some(hop) = steps.table("nexthops") else {
        return Some(Way::Nowhere { route });
    };
    Some(match &*hop.action {
        kind @ ("vxlan" | "geneve" | "vxlan6" | "geneve6") => Way::Tunnel {
            route,
            // What it goes over is seen by the peer's address.
            kind: kind.trim_end_matches('6').to_owned(),
            vni: argument(hop, "vni"),
            peer: address_argument(hop, "outer_dst"),
        },
        _ => Way::NextHop {
            route,
            nexthop: key(hop, "id"),
            port: argument(hop, "port"),
        },
    })
}

/// The prefix of a route.
fn prefix(table: &TableStep) -> Option<String> {
    use adit_p4runtime::proto::v1::field_match::FieldMatchType;
    let entry = table.entry.as_ref()?;
    let is_v4 = table.name == "ipv4_routes";
    let mut matches = entry
        .r#match
        .iter()
        .filter_map(|it| it.field_match_type.as_ref());
    let lpm = matches.find_map(|it| match it {
        FieldMatchType::Lpm(lpm) => Some(lpm),
        _ => None,
    });
    let (value, length) = lpm.map_or((&[][..], 0), |it| (&*it.value, it.prefix_len));
    // Leading zeros are left out.
    let mut octets = [0; 16];
    let shown = value.len().min(16);
    octets[16 - shown..].copy_from_slice(&value[value.len() - shown..]);
    let address: IpAddr = match is_v4 {
        true => [octets[12], octets[13], octets[14], octets[15]].into(),
        false => octets.into(),
    };
    Some(format!("{address}/{length}"))
}

fn outcome(packet: &Packet, steps: Steps, sent: &[Sent]) -> Outcome {
    let verdict = steps.counted("verdicts").and_then(Verdict::of);
    let drop = packet.drop.as_ref();
    let answered = sent.iter().any(Sent::is_answer);
    // A packet that the NIC drops behind the program has its reason there.
    let drops = verdict.is_none_or(Verdict::drops);
    let why = match (verdict, drop) {
        (Some(verdict), _) if drops => match details(verdict, steps) {
            Some(more) => format!("{}: {more}", verdict.text),
            None => verdict.text.to_owned(),
        },
        (_, Some(drop)) => drop.text.clone(),
        (Some(verdict), None) => verdict.text.to_owned(),
        (None, None) => "the program has not judged it".to_owned(),
    };
    Outcome {
        verdict: verdict.map(|it| it.name),
        dropped: drop.is_some(),
        refused: drop.is_some_and(|it| it.reason == REJECTED),
        answered,
        why,
    }
}

/// Returns details that the program's verdict does not contain.
fn details(verdict: &Verdict, steps: Steps) -> Option<String> {
    match verdict.name {
        "ACL" | "POLICED" | "FIREWALL" | "INGRESS" => {
            let table = steps.acted(&FILTERS, &DENIALS)?;
            Some(match table.handle {
                Some(handle) => format!(
                    "the action `{}` of the entry {handle} of `{}`",
                    table.action, table.name
                ),
                None => format!("the default action `{}` of `{}`", table.action, table.name),
            })
        }
        "INVALID" => Some(steps.tracked()?.invalid.clone()).filter(|it| !it.is_empty()),
        "NOT_COMMITTED" => Some(format!("`commit` returned {}", steps.committed()?.status)),
        _ => None,
    }
}
