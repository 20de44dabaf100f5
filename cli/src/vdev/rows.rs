// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Composed devices as rows of tables.

use std::collections::BTreeMap;

use adit_vdcm::control::message::Status;
use adit_vdcm::protocol::{AdiInfo, VdevInfo, VdevStats};
use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{json, Value};

use crate::output::Row;

/// A device in a list.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Summary(pub(super) VdevInfo);

impl Row for Summary {
    const HEAD: &'static [&'static str] = &[
        "NAME", "STATE", "LAYOUT", "ID", "ADIS", "QUEUES", "MAC", "SOCKET",
    ];

    fn cells(&self) -> Vec<String> {
        let it = &self.0;
        vec![
            it.name.clone(),
            state(it),
            name(&it.layout),
            it.pci_id.to_string(),
            adis(it),
            it.queues.to_string(),
            first_mac(it),
            it.socket.display().to_string(),
        ]
    }
}

/// The state of a device, and whether it is suspended.
fn state(device: &VdevInfo) -> String {
    let name = device.state.name();
    match device.suspended {
        true => format!("{name}, suspended"),
        false => name.into(),
    }
}

/// A device on its own.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Details(pub(super) VdevInfo);

impl Row for Details {
    const HEAD: &'static [&'static str] = &[
        "NAME",
        "STATE",
        "SOCKET",
        "LAYOUT",
        "ID",
        "RX QUEUES",
        "TX QUEUES",
        "VECTORS",
        "WINDOWS",
        "REGISTERED",
        "LIMITS",
    ];

    fn cells(&self) -> Vec<String> {
        let it = &self.0;
        vec![
            it.name.clone(),
            state(it),
            it.socket.display().to_string(),
            name(&it.layout),
            it.pci_id.to_string(),
            it.queues.to_string(),
            it.tx_queues.to_string(),
            it.vectors.to_string(),
            it.windows.to_string(),
            format!("{} bytes", it.registered_bytes),
            fields(&it.limits),
        ]
    }
}

/// A device that was created, with the option for QEMU.
#[derive(Serialize)]
pub(super) struct Created {
    #[serde(flatten)]
    pub(super) device: VdevInfo,
    pub(super) qemu_device: String,
}

impl Created {
    /// # Errors
    /// Fails when the path of the socket is not UTF-8.
    pub(super) fn new(device: VdevInfo) -> Result<Self> {
        let path = device.socket.to_str();
        let path = path.context("QEMU takes no path of a socket that is not UTF-8")?;
        let option = json!({
            "driver": "vfio-user-pci",
            "socket": { "path": path, "type": "unix" },
            "x-no-posted-writes": true,
        });
        Ok(Self {
            qemu_device: option.to_string(),
            device,
        })
    }
}

impl Row for Created {
    const HEAD: &'static [&'static str] = &["NAME", "SOCKET", "LAYOUT", "ID", "ADIS", "MAC"];

    fn cells(&self) -> Vec<String> {
        let it = &self.device;
        vec![
            it.name.clone(),
            it.socket.display().to_string(),
            name(&it.layout),
            it.pci_id.to_string(),
            adis(it),
            first_mac(it),
        ]
    }
}

/// An ADI of a device.
#[derive(Serialize)]
pub(super) struct AdiRow {
    port: u16,
    #[serde(flatten)]
    adi: AdiInfo,
}

impl AdiRow {
    pub(super) fn new(port: u16, adi: &AdiInfo) -> Self {
        Self {
            port,
            adi: adi.clone(),
        }
    }
}

impl Row for AdiRow {
    const HEAD: &'static [&'static str] = &[
        "PORT", "ADI", "STATE", "MAC", "VLAN", "PAIRS", "VECTORS", "SPEED",
    ];

    fn cells(&self) -> Vec<String> {
        let it = &self.adi;
        vec![
            self.port.to_string(),
            it.name.clone(),
            it.state.name().into(),
            it.mac.to_string(),
            match it.vlan {
                0 => "-".into(),
                vlan => vlan.to_string(),
            },
            it.pairs.to_string(),
            it.vectors.to_string(),
            match it.speed_mbps {
                0 => "-".into(),
                speed => format!("{speed} Mbit/s"),
            },
        ]
    }
}

/// An ADI that can be opened.
#[derive(Serialize)]
pub(super) struct NameRow {
    name: String,
}

impl NameRow {
    pub(super) fn new(name: String) -> Self {
        Self { name }
    }
}

impl Row for NameRow {
    const HEAD: &'static [&'static str] = &["NAME"];

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone()]
    }
}

/// The state of the daemon.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct StatusRow(pub(super) Status);

impl Row for StatusRow {
    const HEAD: &'static [&'static str] = &[
        "RELEASE",
        "PID",
        "DEVICES",
        "CONNECTIONS",
        "ACCEPTED",
        "REQUESTS",
        "REFUSED",
    ];

    fn cells(&self) -> Vec<String> {
        let it = &self.0;
        let numbers = [it.devices, it.connections, it.accepted, it.requests];
        let mut cells = vec![it.release.clone(), it.pid.to_string()];
        cells.extend(numbers.map(|n| n.to_string()));
        cells.push(fields(&it.refused));
        cells
    }
}

/// The counters of a device by name, those that are 0 and optional ones left out: what the protocol
/// nests is joined by dots.
pub(super) fn counters(stats: &VdevStats) -> Result<BTreeMap<String, u64>> {
    let mut found = BTreeMap::new();
    collect(&serde_json::to_value(stats)?, String::new(), &mut found);
    Ok(found)
}

fn collect(value: &Value, path: String, found: &mut BTreeMap<String, u64>) {
    let below = |part: &str| match path.is_empty() {
        true => part.to_owned(),
        false => format!("{path}.{part}"),
    };
    match value {
        Value::Number(number) => {
            if let Some(count) = number.as_u64().filter(|count| *count > 0) {
                found.insert(path, count);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                collect(value, below(name), found);
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                let name = item["name"].as_str().map(str::to_owned);
                collect(item, below(&name.unwrap_or_else(|| n.to_string())), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// The name of a value as the protocol writes it.
fn name(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

/// Numbers with their names: `a=1 b=2`; `-` for none.
fn fields(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    let fields = value.as_object().into_iter().flatten();
    let texts: Vec<_> = fields.map(|(name, n)| format!("{name}={n}")).collect();
    match texts.is_empty() {
        true => "-".into(),
        false => texts.join(" "),
    }
}

fn adis(device: &VdevInfo) -> String {
    let names: Vec<_> = device.adis.iter().map(|adi| &*adi.name).collect();
    names.join(",")
}

fn first_mac(device: &VdevInfo) -> String {
    let first = device.adis.first();
    first.map_or_else(|| "-".into(), |adi| adi.mac.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_vdcm::protocol::AdiStats;

    #[test]
    fn counters_are_named_by_their_place() {
        let mut stats = VdevStats {
            requests: 3,
            adis: vec![AdiStats {
                name: "web".into(),
                requests: 4,
                ..AdiStats::default()
            }],
            ..VdevStats::default()
        };
        stats.resets.insert("driver".into(), 2);
        let found: Vec<_> = counters(&stats).unwrap().into_iter().collect();
        let expected = [
            ("adis.web.requests", 4),
            ("requests", 3),
            ("resets.driver", 2),
        ];
        assert_eq!(found, expected.map(|(name, n)| (name.to_owned(), n)));
    }

    #[test]
    fn fields_are_pairs() {
        assert_eq!(fields(&json!({"a": 1, "b": 2})), "a=1 b=2");
        assert_eq!(fields(&json!({})), "-");
    }
}
