// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The packets of a service, as filters of the NIC.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use adit_node::device::PortView;
use adit_node::model::{Family, Protocol};
use adit_trace::proto::{Filter, Prefix, Socket};
use adit_trace::MAX_SOCKETS;
use anyhow::{ensure, Result};

use super::{list, At, Trace};
use crate::output::counted;

/// The bits of TCP's flags (RFC 9293, 3.1) that tell a connection's first packet: SYN without ACK.
const SYN: u32 = 0x02;
const ACK: u32 = 0x10;

/// The packets to follow.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) filters: Vec<Filter>,
    /// The destinations of clients, for people.
    pub(super) text: String,
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(it) => it.octets().to_vec(),
        IpAddr::V6(it) => it.octets().to_vec(),
    }
}

impl Wanted {
    /// Packets to frontends, plain or in tunnels; packets from other nodes to the endpoints, unless the
    /// address of the service is to be one; and the replies to both.
    pub(super) fn new(trace: &Trace, ports: &[PortView], frontends: &[At]) -> Result<Wanted> {
        let mut sockets: BTreeMap<(u16, Protocol), Vec<SocketAddr>> = BTreeMap::new();
        for at in frontends {
            let key = (at.frontend.zone, at.protocol);
            sockets.entry(key).or_default().push(at.frontend.address);
        }
        let mut filters = Vec::new();
        for ((zone, protocol), sockets) in &sockets {
            filters.push(trace.wanted(*zone, *protocol, sockets, false)?);
        }
        let mut text = list(frontends);
        let mut endpoints: BTreeMap<(u16, Protocol), Vec<SocketAddr>> = BTreeMap::new();
        for port in ports.iter().filter(|_| trace.at.is_none()) {
            let mut selected = frontends.iter();
            let addresses = |at: &&At| port.frontends.iter().any(|it| it.key == at.frontend.key);
            let Some(at) = selected.find(addresses) else {
                continue;
            };
            let client = trace.client.map(|it| Family::of(it.address));
            let all = port.endpoints.iter().map(|it| it.address);
            let all = all.filter(|it| client.is_none_or(|family| Family::of(it.ip()) == family));
            let key = (at.frontend.zone, port.protocol);
            endpoints.entry(key).or_default().extend(all);
        }
        endpoints.retain(|_, sockets| !sockets.is_empty());
        let mut count = 0;
        for ((zone, protocol), sockets) in &endpoints {
            for part in sockets.chunks(MAX_SOCKETS) {
                filters.push(trace.wanted(*zone, *protocol, part, true)?);
            }
            count += sockets.len() as u64;
        }
        if count > 0 {
            let count = counted(count, "endpoint");
            text.push_str(&format!(", and from other nodes to {count}"));
        }
        if trace.has_replies() {
            text.push_str(", and replies");
        }
        Ok(Wanted { filters, text })
    }
}

impl Trace {
    fn has_replies(&self) -> bool {
        !self.new && !self.requests
    }

    /// The filter for packets to destinations.
    fn wanted(
        &self,
        zone: u16,
        protocol: Protocol,
        sockets: &[SocketAddr],
        from_wires: bool,
    ) -> Result<Filter> {
        ensure!(
            sockets.len() <= MAX_SOCKETS,
            "the service {} has {} addresses of {protocol}, and {MAX_SOCKETS} can be followed at a time: \
             name some with --port or --at",
            self.service,
            sockets.len()
        );
        let is_syn = self.new && protocol == Protocol::Tcp;
        Ok(Filter {
            port: self.from,
            protocol: Some(protocol.number().into()),
            source: self.client.map(|client| {
                let address = octets(client.address);
                let length = address.len() as u32 * 8;
                Prefix { address, length }
            }),
            source_port: self.client.and_then(|it| it.port).map(u32::from),
            destinations: sockets
                .iter()
                .map(|it| Socket {
                    address: octets(it.ip()),
                    port: it.port().into(),
                })
                .collect(),
            tcp_flags_mask: if is_syn { SYN | ACK } else { 0 },
            tcp_flags: if is_syn { SYN } else { 0 },
            in_tunnels: true,
            from_wires,
            replies_in_zone: self.has_replies().then_some(zone.into()),
            ..Filter::default()
        })
    }
}
