// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The tables and actions of `p4/k8s_node.p4`, by their names in P4Info: see `p4/K8S_NODE.md`.

use std::net::IpAddr;

use adit_p4runtime::bytes::shortest;
use adit_p4runtime::proto::config::{P4Info, Preamble};
use adit_p4runtime::proto::v1::{
    self, action::Param, field_match::Exact, field_match::FieldMatchType, table_action, FieldMatch,
    TableAction, TableEntry,
};

/// The program of a device is another one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the device's program has no {what} `{name}`: it is not p4/k8s_node.p4")]
pub struct OtherProgram {
    what: &'static str,
    name: String,
}

/// A table: its id, and the ids of its fields in a known order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The id.
    pub id: u32,
    fields: Vec<u32>,
}

/// An action: its id, and the ids of its parameters in a known order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    id: u32,
    parameters: Vec<u32>,
}

/// The entities that services and flows need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Frontends: zone, address, protocol, port.
    pub services: Table,
    /// Groups: group.
    pub backends: Table,
    /// Members of groups with affinity: group, id.
    pub sticky_members: Table,
    /// Clients' endpoints: group, client.
    pub affinity: Table,
    /// Endpoints: id.
    pub endpoints: Table,
    /// Addresses of the node: zone, address.
    pub addresses: Table,
    /// Addresses of pods and of the host: zone, address.
    pub local: Table,
    /// MAC addresses of frames that are routed: zone, mac.
    pub routers: Table,
    /// Flows: port, src, dst, protocol, src_port, dst_port.
    pub flows: Table,
    /// QUIC connections: port, quic_id, quic_id_end, quic_id_len.
    pub quic: Table,
    /// The selector of endpoints.
    pub members: u32,
    /// `service, inside_group, outside_group, affinity_s, flags`.
    pub balance: Action,
    /// `id, address, port`.
    pub endpoint: Action,
    /// `id`.
    pub stick: Action,
    /// `mac`.
    pub service_address: Action,
    /// An address that others announce.
    pub silent_service_address: Action,
    /// `port, mac, gateway_mac`.
    pub deliver: Action,
    /// Nothing.
    pub no_action: Action,
    /// `queue`.
    pub to_queue: Action,
    /// `flow_id`.
    pub to_flow: Action,
    /// `queue, flow_id`.
    pub classify: Action,
    /// Counters of packets to endpoints, from endpoints and of refused packets, by service.
    pub counters: [u32; 3],
}

/// Finds an entity by the last part of its name.
fn find<'p, T>(
    all: &'p [T],
    preamble: impl Fn(&T) -> Option<&Preamble>,
    what: &'static str,
    name: &str,
) -> Result<(u32, &'p T), OtherProgram> {
    let is_it = |full: &str| match full.strip_suffix(name) {
        Some(rest) => rest.is_empty() || rest.ends_with('.'),
        None => false,
    };
    let mut found = all.iter().filter_map(|it| {
        let preamble = preamble(it)?;
        is_it(&preamble.name).then_some((preamble.id, it))
    });
    found.next().ok_or_else(|| OtherProgram {
        what,
        name: name.to_owned(),
    })
}

/// The ids of named parts, in the order of the names.
fn parts(
    has: &[(&str, u32)],
    what: &'static str,
    of: &str,
    names: &[&str],
) -> Result<Vec<u32>, OtherProgram> {
    let ids = names.iter().map(|name| {
        let found = has.iter().find(|(has, _)| has == name);
        found.map(|(_, id)| *id).ok_or_else(|| OtherProgram {
            what,
            name: format!("{of}.{name}"),
        })
    });
    ids.collect()
}

fn table(info: &P4Info, name: &str, fields: &[&str]) -> Result<Table, OtherProgram> {
    let (id, found) = find(&info.tables, |it| it.preamble.as_ref(), "table", name)?;
    let has = found.match_fields.iter();
    let has: Vec<_> = has.map(|it| (&*it.name, it.id)).collect();
    let fields = parts(&has, "match field", name, fields)?;
    Ok(Table { id, fields })
}

fn action(info: &P4Info, name: &str, parameters: &[&str]) -> Result<Action, OtherProgram> {
    let (id, found) = find(&info.actions, |it| it.preamble.as_ref(), "action", name)?;
    let has = found.params.iter();
    let has: Vec<_> = has.map(|it| (&*it.name, it.id)).collect();
    let parameters = parts(&has, "parameter", name, parameters)?;
    Ok(Action { id, parameters })
}

impl Program {
    /// Finds the entities in a program's P4Info.
    ///
    /// # Errors
    /// Fails when the program lacks one.
    pub fn new(info: &P4Info) -> Result<Program, OtherProgram> {
        let counter = |name| {
            let found = find(&info.counters, |it| it.preamble.as_ref(), "counter", name);
            found.map(|(id, _)| id)
        };
        let profiles = &info.action_profiles;
        let (members, _) = find(profiles, |it| it.preamble.as_ref(), "selector", "members")?;
        Ok(Program {
            services: table(info, "services", &["zone", "address", "protocol", "port"])?,
            backends: table(info, "backends", &["group"])?,
            sticky_members: table(info, "sticky_members", &["group", "id"])?,
            affinity: table(info, "affinity", &["group", "client"])?,
            endpoints: table(info, "endpoints", &["id"])?,
            addresses: table(info, "addresses", &["zone", "address"])?,
            local: table(info, "local", &["zone", "address"])?,
            routers: table(info, "routers", &["zone", "mac"])?,
            flows: table(
                info,
                "flows",
                &["port", "src", "dst", "protocol", "src_port", "dst_port"],
            )?,
            quic: table(
                info,
                "quic",
                &["port", "quic_id", "quic_id_end", "quic_id_len"],
            )?,
            members,
            balance: action(
                info,
                "balance",
                &[
                    "service",
                    "inside_group",
                    "outside_group",
                    "affinity_s",
                    "flags",
                ],
            )?,
            endpoint: action(info, "endpoint", &["id", "address", "port"])?,
            stick: action(info, "stick", &["id"])?,
            service_address: action(info, "service_address", &["mac"])?,
            silent_service_address: action(info, "silent_service_address", &[])?,
            deliver: action(info, "deliver", &["port", "mac", "gateway_mac"])?,
            no_action: action(info, "NoAction", &[])?,
            to_queue: action(info, "to_queue", &["queue"])?,
            to_flow: action(info, "to_flow", &["flow_id"])?,
            classify: action(info, "classify", &["queue", "flow_id"])?,
            counters: [
                counter("to_services")?,
                counter("from_services")?,
                counter("refused_services")?,
            ],
        })
    }
}

impl Table {
    /// An entry with exact values of the fields, in their order.
    pub fn entry(&self, values: &[&[u8]], action: Option<TableAction>) -> TableEntry {
        let fields = self.fields.iter().zip(values);
        let matches = fields.map(|(id, value)| FieldMatch {
            field_id: *id,
            field_match_type: Some(FieldMatchType::Exact(Exact {
                value: shortest(value).to_vec(),
            })),
        });
        TableEntry {
            table_id: self.id,
            r#match: matches.collect(),
            action,
            ..TableEntry::default()
        }
    }

    /// The value of a field of an entry, by its place in the order; empty if it is not there.
    pub fn value<'e>(&self, entry: &'e TableEntry, place: usize) -> &'e [u8] {
        let id = self.fields.get(place);
        let mut all = entry.r#match.iter();
        let found = all.find(|it| Some(&it.field_id) == id);
        match found.and_then(|it| it.field_match_type.as_ref()) {
            Some(FieldMatchType::Exact(it)) => &it.value,
            _ => &[],
        }
    }
}

impl Action {
    /// A call with values of the parameters, in their order.
    pub fn call(&self, values: &[&[u8]]) -> v1::Action {
        let params = self.parameters.iter().zip(values);
        let params = params.map(|(id, value)| Param {
            param_id: *id,
            value: shortest(value).to_vec(),
        });
        v1::Action {
            action_id: self.id,
            params: params.collect(),
        }
    }

    /// The call as the action of an entry.
    pub fn of_entry(&self, values: &[&[u8]]) -> Option<TableAction> {
        Some(TableAction {
            r#type: Some(table_action::Type::Action(self.call(values))),
        })
    }

    /// The argument of a call of this action, by its place in the order.
    pub fn argument<'a>(&self, call: &'a v1::Action, place: usize) -> Option<&'a [u8]> {
        if call.action_id != self.id {
            return None;
        }
        let id = self.parameters.get(place)?;
        let param = call.params.iter().find(|it| it.param_id == *id)?;
        Some(&param.value)
    }

    /// The argument of an entry's action.
    pub fn argument_of<'a>(&self, entry: &'a TableEntry, place: usize) -> Option<&'a [u8]> {
        match entry.action.as_ref()?.r#type.as_ref()? {
            table_action::Type::Action(call) => self.argument(call, place),
            _ => None,
        }
    }
}

/// The number in bytes, of which there may be fewer than a number has.
pub fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// An address as the program's keys and arguments have it: IPv4's in IPv6's form.
pub fn address(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(it) => it.to_ipv6_mapped().octets(),
        IpAddr::V6(it) => it.octets(),
    }
}

/// The address of a key or an argument.
pub fn address_of(bytes: &[u8]) -> IpAddr {
    let mut octets = [0; 16];
    let shown = bytes.len().min(16);
    octets[16 - shown..].copy_from_slice(&bytes[bytes.len() - shown..]);
    IpAddr::from(octets).to_canonical()
}
