// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The program, with entries that `adit svc` writes.

use std::path::Path;
use std::time::Duration;

use adit_conntrack::packet::Headers;
use adit_conntrack::{Cursor, Family, Time};
use adit_conntrack_oracle::observation::comparable;
use adit_conntrack_oracle::trace::{Packet, Side};
use adit_node::device::Scope;
use adit_node::model::Services;
use adit_node::nic::Nic;
use adit_node_oracle::nic::{TestNic, WIRE};
use anyhow::{ensure, Context, Result};

use crate::layout;
use crate::observation::{Observation, Place};

/// `ADIT_PORT_SWITCH`: the layer 2 stage, which leads to the host's own stack.
const SWITCH: u32 = 0xfff0;

/// The node.
pub(crate) struct Node {
    nic: TestNic,
    client: Nic,
}

impl Node {
    /// Starts a NIC with the program in a file.
    pub(crate) fn start(program: &Path) -> Result<Self> {
        let nic = TestNic::start(program, layout::entries)?;
        let client = nic.client(layout::setup())?;
        Ok(Node { nic, client })
    }

    /// Deletes all connections and services.
    pub(crate) fn reset(&mut self, now: Duration) -> Result<()> {
        self.nic.set_time(now);
        self.apply(&Services::default())?;
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            cursor = self.nic.tracker.flush(from, Time::ZERO + now).1;
        }
        Ok(())
    }

    /// Makes the services these.
    pub(crate) fn apply(&mut self, services: &Services) -> Result<()> {
        let report = self.client.apply(&Scope::All, services)?;
        ensure!(report.skipped.is_empty(), "skipped: {:?}", report.skipped);
        Ok(())
    }

    /// Lets a packet arrive. Returns what leaves, and whether it is an answer.
    pub(crate) fn feed(&mut self, packet: &Packet, now: Duration) -> Result<(Observation, bool)> {
        self.nic.set_time(now);
        let source = source(&packet.bytes)?;
        let left = self
            .nic
            .pass(layout::port_of(packet.from, source), &packet.bytes);
        let is_answer = left.iter().any(|it| it.is_answer);
        let mut leaving = Vec::new();
        for it in left {
            leaving.push(match it.port {
                WIRE => (Place::Link(Side::Left), comparable(it.packet)),
                SWITCH => (Place::Host, Vec::new()),
                port => match layout::pod(port) {
                    None => (Place::Control, it.packet),
                    // An answer goes where the packet came from.
                    Some(_) if it.is_answer => (Place::Link(Side::Right), it.packet),
                    Some(pod) => {
                        let to = Headers::parse(&it.packet)
                            .ok()
                            .context("a malformed packet leaves")?;
                        let (_, to) = to.hosts(&it.packet);
                        let wanted = layout::pod_address(Family::of(to), pod);
                        ensure!(
                            to == wanted,
                            "a packet to {to} leaves by the port of {wanted}"
                        );
                        (Place::Link(Side::Right), comparable(it.packet))
                    }
                },
            });
        }
        // The host's own stack puts fragments together, and the kernel's rule sees the datagram.
        leaving.dedup_by(|a, b| (a.0, b.0) == (Place::Host, Place::Host));
        Ok((Observation { leaving }, is_answer))
    }
}

/// The source of a packet, also of one whose transport header is malformed.
fn source(packet: &[u8]) -> Result<std::net::IpAddr> {
    let octets = match packet.first().map(|octet| octet >> 4) {
        Some(4) => packet
            .get(12..16)
            .map(|it| <[u8; 4]>::try_from(it).map(Into::into)),
        _ => packet
            .get(8..24)
            .map(|it| <[u8; 16]>::try_from(it).map(Into::into)),
    };
    Ok(octets.context("a packet without addresses")??)
}
