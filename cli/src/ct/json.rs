// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Connections and expectations as JSON, one object a line, so that events are whole lines too.

use adit_conntrack_rpc::proto::{Connection, EventKind, Expectation};
use serde_json::{json, Map, Value};

use super::flow::{Entry, Flow, Part};
use super::protocol;
use super::text::{mask, Occasion};

fn flow(flow: &Flow) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("src".into(), flow.src.to_string().into());
    map.insert("dst".into(), flow.dst.to_string().into());
    let parts: &[(&str, u32)] = match flow.part {
        Part::None => &[],
        Part::Ports(src, dst) => &[("sport", src), ("dport", dst)],
        Part::Keys(src, dst) => &[("srckey", src), ("dstkey", dst)],
        Part::Icmp { kind, code, id } => &[("type", kind), ("code", code), ("id", id)],
    };
    for (name, value) in parts {
        map.insert((*name).into(), (*value).into());
    }
    map
}

/// The object of a connection.
pub(super) fn connection(connection: &Connection, occasion: Occasion) -> Value {
    let entry = Entry::new(connection);
    let direction = |index: usize, one: &Flow| {
        let mut map = flow(one);
        let (packets, bytes) = entry.counters(index);
        map.insert("packets".into(), packets.into());
        map.insert("bytes".into(), bytes.into());
        map
    };
    let [zone, zone_original, zone_reply] = entry.zones();
    let mut value = json!({
        "id": connection.id,
        "family": entry.family().0,
        "protocol": entry.protocol,
        "protocol_name": protocol::shown_name(entry.protocol),
        "timeout": entry.timeout(),
        "state": entry.state(),
        "original": direction(0, &entry.original),
        "reply": direction(1, &entry.reply),
        "status": format!("{:?}", entry.status).split('|').collect::<Vec<_>>(),
        "mark": connection.mark,
        "zone": zone.unwrap_or(0),
        "zone_original": zone_original,
        "zone_reply": zone_reply,
        "label": format!("{:#x}", entry.label()),
        "helper": Some(&connection.helper).filter(|name| !name.is_empty()),
        "start_ns": connection.start_ns,
        "stop_ns": Some(connection.stop_ns).filter(|stop| *stop != 0),
    });
    if let Occasion::Event(kind, _) = occasion {
        value["event"] = event_name(kind).into();
    }
    value
}

/// The name of a kind of event.
pub(super) fn event_name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::New => "new",
        EventKind::Update => "update",
        EventKind::Destroy => "destroy",
        EventKind::Unspecified => "unknown",
    }
}

/// The object of an expectation.
pub(super) fn expectation(one: &Expectation, occasion: Occasion) -> Value {
    let tuple = one.tuple.clone().unwrap_or_default();
    let expected = Flow::new(&tuple);
    let mut value = json!({
        "id": one.id,
        "protocol": tuple.protocol,
        "timeout": one.timeout_ns / 1_000_000_000,
        "expected": flow(&expected),
        "mask": flow(&mask(one, &expected)),
        "master": flow(&Flow::new(&one.master_tuple.clone().unwrap_or_default())),
        "zone": one.zone,
        "class": one.class,
        "flags": one.flags,
        "helper": Some(&one.helper).filter(|name| !name.is_empty()),
    });
    if let Occasion::Event(kind, _) = occasion {
        value["event"] = event_name(kind).into();
    }
    value
}
