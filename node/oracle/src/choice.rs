// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Endpoints that each side chooses for itself: traces name one of a service's, and each side's
//! packets are from and to the one that it has chosen.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;

use adit_conntrack::packet::Headers;
use adit_conntrack::testing::fill_checksums;
use adit_conntrack::{Endpoint, Protocol};
use adit_node::model::{Name, Services};
use anyhow::{bail, ensure, Result};

/// A service's endpoints: the one that traces name, and those that new connections may get.
#[derive(Clone)]
struct Pool {
    named: SocketAddr,
    all: BTreeSet<SocketAddr>,
    /// Those that had a chance to be chosen.
    known: BTreeSet<SocketAddr>,
    /// Those that keep their connections of UDP.
    serving: BTreeSet<SocketAddr>,
}

/// The choices of one side.
#[derive(Default)]
pub(crate) struct Choices {
    pools: HashMap<Name, Pool>,
    /// By protocol and client.
    chosen: HashMap<(u8, SocketAddr), SocketAddr>,
}

const SYN: u8 = 2;
const ACK: u8 = 16;

impl Choices {
    /// Takes the services whose endpoints are chosen.
    pub(crate) fn apply(&mut self, services: &Services, choices: &BTreeSet<Name>) {
        for name in choices {
            let mut endpoints = services.endpoints.iter();
            let Some((_, endpoints)) = endpoints.rfind(|(of, _)| of.service == *name) else {
                self.pools.remove(name);
                continue;
            };
            let at = |it: &adit_node::model::Endpoint| SocketAddr::new(it.address, it.port);
            let ready = endpoints.iter().filter(|it| it.conditions.ready).map(at);
            let all: BTreeSet<_> = ready.collect();
            let Some(named) = endpoints.iter().map(at).min() else {
                self.pools.remove(name);
                continue;
            };
            let known = self
                .pools
                .remove(name)
                .map_or_else(BTreeSet::new, |it| it.known);
            let known = known.into_iter().chain(all.iter().copied()).collect();
            let serving = endpoints.iter().filter(|it| it.conditions.serving).map(at);
            let pool = Pool {
                named,
                all,
                known,
                serving: serving.collect(),
            };
            self.pools.insert(name.clone(), pool);
        }
        // Connections of UDP to others are deleted.
        let pools = &self.pools;
        let lasts = |at: &SocketAddr| pools.values().any(|it| it.serving.contains(at));
        self.chosen
            .retain(|(protocol, _), at| *protocol != Protocol::UDP.0 || lasts(at));
    }

    /// The packet of a trace as this side's endpoint sends it.
    pub(crate) fn arriving(&self, packet: &[u8]) -> Vec<u8> {
        let Some(ends) = Ends::of(packet) else {
            return packet.to_vec();
        };
        match self.chosen.get(&(ends.protocol, ends.dst)) {
            Some(endpoint) if self.pools.values().any(|it| it.named == ends.src) => {
                ends.with(packet, *endpoint, ends.dst)
            }
            _ => packet.to_vec(),
        }
    }

    /// A packet that has left, as if it were to the endpoint that traces name.
    ///
    /// # Errors
    ///
    /// Fails if the endpoint may not be chosen, or is another one than that of the connection so far.
    pub(crate) fn leaving(&mut self, packet: &[u8], received: &[u8]) -> Result<Vec<u8>> {
        let Some(ends) = Ends::of(packet) else {
            return Ok(packet.to_vec());
        };
        let to = |it: &&Pool| it.known.contains(&ends.dst);
        let Some(pool) = self.pools.values().find(to) else {
            return Ok(packet.to_vec());
        };
        ensure!(
            ends.with(packet, ends.src, ends.dst) == packet,
            "a wrong checksum"
        );
        let key = (ends.protocol, ends.src);
        let begins = Ends::of(received).is_some_and(|it| it.begins);
        match self.chosen.get(&key) {
            Some(known) if *known == ends.dst => {}
            Some(known) if !begins => {
                bail!("a connection with {known} goes on with {}", ends.dst)
            }
            _ if !pool.all.contains(&ends.dst) => {
                bail!("{} gets a new connection, and is not ready", ends.dst)
            }
            _ => {
                self.chosen.insert(key, ends.dst);
            }
        }
        Ok(ends.with(packet, ends.src, pool.named))
    }
}

/// Source and destination of a segment or a datagram.
struct Ends {
    protocol: u8,
    src: SocketAddr,
    dst: SocketAddr,
    /// It is a segment that begins a connection.
    begins: bool,
    transport: usize,
}

impl Ends {
    fn of(packet: &[u8]) -> Option<Ends> {
        let headers = Headers::parse(packet).ok()?;
        if ![Protocol::TCP, Protocol::UDP].contains(&headers.protocol) {
            return None;
        }
        let tuple = headers.tuple(packet).ok()?;
        let socket = |it: Endpoint| SocketAddr::new(it.address, it.part);
        let flags = packet
            .get(headers.transport + 13)
            .copied()
            .unwrap_or_default();
        Some(Ends {
            protocol: headers.protocol.0,
            src: socket(tuple.src()),
            dst: socket(tuple.dst()),
            begins: headers.protocol == Protocol::TCP && flags & (SYN | ACK) == SYN,
            transport: headers.transport,
        })
    }

    /// The packet with other ends.
    fn with(&self, packet: &[u8], src: SocketAddr, dst: SocketAddr) -> Vec<u8> {
        let mut packet = packet.to_vec();
        let mut at = if packet[0] >> 4 == 4 { 12 } else { 8 };
        for end in [src, dst] {
            let octets = match end.ip() {
                std::net::IpAddr::V4(it) => it.octets().to_vec(),
                std::net::IpAddr::V6(it) => it.octets().to_vec(),
            };
            packet[at..at + octets.len()].copy_from_slice(&octets);
            at += octets.len();
        }
        let ports = &mut packet[self.transport..self.transport + 4];
        ports[..2].copy_from_slice(&src.port().to_be_bytes());
        ports[2..].copy_from_slice(&dst.port().to_be_bytes());
        fill_checksums(&mut packet);
        packet
    }
}
