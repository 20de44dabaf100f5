// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Services as rows of tables.

use adit_node::desired::Kind;
use adit_node::device::{EndpointView, FrontendView, PortView};
use adit_node::nic::Count;
use serde::Serialize;

use crate::output::Row;

/// A frontend with its count.
#[derive(Serialize)]
pub(super) struct FrontendRow {
    #[serde(flatten)]
    pub(super) frontend: FrontendView,
    pub(super) opened: u64,
}

/// An endpoint with its connections.
#[derive(Serialize)]
pub(super) struct EndpointRow {
    #[serde(flatten)]
    pub(super) endpoint: EndpointView,
    /// `None` if the server has no tracker.
    pub(super) connections: Option<u64>,
}

/// A service's port with its counts.
#[derive(Serialize)]
pub(super) struct PortRow {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) port: String,
    pub(super) protocol: String,
    pub(super) affinity_s: u32,
    pub(super) frontends: Vec<FrontendRow>,
    pub(super) endpoints: Vec<EndpointRow>,
    pub(super) packets_to_endpoints: u64,
    pub(super) bytes_to_endpoints: u64,
    pub(super) packets_from_endpoints: u64,
    pub(super) bytes_from_endpoints: u64,
    pub(super) packets_refused: u64,
}

impl PortRow {
    pub(super) fn new(
        port: PortView,
        counts: [Count; 3],
        opened: impl Fn(&FrontendView) -> u64,
        connections: impl Fn(u32) -> Option<u64>,
    ) -> PortRow {
        let frontends = port.frontends.into_iter().map(|frontend| FrontendRow {
            opened: opened(&frontend),
            frontend,
        });
        let endpoints = port.endpoints.into_iter().map(|endpoint| EndpointRow {
            connections: connections(endpoint.id),
            endpoint,
        });
        let [to, from, refused] = counts;
        PortRow {
            namespace: port.namespace,
            name: port.name,
            port: port.port,
            protocol: port.protocol.to_string(),
            affinity_s: port.affinity_s,
            frontends: frontends.collect(),
            endpoints: endpoints.collect(),
            packets_to_endpoints: to.packets,
            bytes_to_endpoints: to.bytes,
            packets_from_endpoints: from.packets,
            bytes_from_endpoints: from.bytes,
            packets_refused: refused.packets,
        }
    }

    pub(super) fn service(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    fn port_name(&self) -> String {
        match self.port.is_empty() {
            true => "-".to_owned(),
            false => self.port.clone(),
        }
    }

    fn affinity(&self) -> String {
        match self.affinity_s {
            0 => "-".to_owned(),
            seconds => format!("{seconds} s"),
        }
    }

    fn opened(&self) -> u64 {
        self.frontends.iter().map(|it| it.opened).sum()
    }

    /// Endpoints that take connections, and all.
    fn share(&self) -> String {
        let used = self.endpoints.iter().filter(|it| it.endpoint.is_used);
        format!("{}/{}", used.count(), self.endpoints.len())
    }
}

fn kind(kind: Kind) -> String {
    format!("{kind:?}")
}

impl Row for PortRow {
    const HEAD: &'static [&'static str] = &[
        "SERVICE",
        "PORT",
        "PROTOCOL",
        "ADDRESS",
        "ENDPOINTS",
        "AFFINITY",
        "OPENED",
        "TO",
        "FROM",
        "REFUSED",
    ];

    fn cells(&self) -> Vec<String> {
        let addresses = self.frontends.iter();
        let addresses: Vec<_> = addresses
            .map(|it| it.frontend.address.to_string())
            .collect();
        vec![
            self.service(),
            self.port_name(),
            self.protocol.clone(),
            addresses.join("\n"),
            self.share(),
            self.affinity(),
            self.opened().to_string(),
            self.packets_to_endpoints.to_string(),
            self.packets_from_endpoints.to_string(),
            self.packets_refused.to_string(),
        ]
    }
}

/// A service's port on its own.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Details<'r>(pub(super) &'r PortRow);

impl Row for Details<'_> {
    const HEAD: &'static [&'static str] = &[
        "SERVICE",
        "PORT",
        "PROTOCOL",
        "AFFINITY",
        "ENDPOINTS",
        "TO ENDPOINTS",
        "FROM ENDPOINTS",
        "REFUSED",
    ];

    fn cells(&self) -> Vec<String> {
        let it = self.0;
        let traffic = |packets, bytes| format!("{packets} packets, {bytes} bytes");
        vec![
            it.service(),
            it.port_name(),
            it.protocol.clone(),
            it.affinity(),
            it.share(),
            traffic(it.packets_to_endpoints, it.bytes_to_endpoints),
            traffic(it.packets_from_endpoints, it.bytes_from_endpoints),
            format!("{} packets", it.packets_refused),
        ]
    }
}

impl Row for FrontendRow {
    const HEAD: &'static [&'static str] = &["ADDRESS", "KIND", "OPENED"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.frontend.address.to_string(),
            kind(self.frontend.kind),
            self.opened.to_string(),
        ]
    }
}

impl Row for EndpointRow {
    const HEAD: &'static [&'static str] = &["ENDPOINT", "ID", "CONDITIONS", "NEW", "CONNECTIONS"];

    fn cells(&self) -> Vec<String> {
        let it = &self.endpoint;
        let conditions = [
            (it.ready, "ready"),
            (it.serving, "serving"),
            (it.terminating, "terminating"),
        ];
        let conditions = conditions.iter().filter(|(is, _)| *is);
        let conditions: Vec<_> = conditions.map(|(_, name)| *name).collect();
        vec![
            it.address.to_string(),
            it.id.to_string(),
            match conditions.is_empty() {
                true => "-".to_owned(),
                false => conditions.join(","),
            },
            if it.is_used { "yes" } else { "no" }.to_owned(),
            self.connections
                .map_or_else(|| "-".to_owned(), |count| count.to_string()),
        ]
    }
}
