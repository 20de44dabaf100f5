// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A packet as it enters, or as it was in its tunnel.

use std::net::{IpAddr, SocketAddr};

use adit_pipeline::p4::FIRST_HOST_PORT;
use adit_pipeline::parse::Parsed;
use adit_pipeline::tunnel::{self, Kind};
use adit_trace::proto::Packet;
use serde::Serialize;

use super::steps::Steps;
use crate::trace::text;

/// The tunnel that a packet has come in.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Tunnel {
    pub(super) kind: &'static str,
    pub(super) vni: u32,
    /// The node that has sent it.
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    /// Unset if the program has left it in the tunnel.
    pub(super) taken_out: bool,
    /// Set if `tunnels` has an entry for it.
    pub(super) known: bool,
}

/// A packet.
#[derive(Debug)]
pub(super) struct Arrival {
    /// Its addresses, ports and protocol.
    pub(super) flow: String,
    pub(super) tunnel: Option<Tunnel>,
    /// Its ends, if it has ports.
    pub(super) ends: Option<[SocketAddr; 2]>,
    /// The number of its protocol.
    pub(super) protocol: u8,
}

fn hosts(front: &[u8], parsed: &Parsed) -> Option<[IpAddr; 2]> {
    let addresses = parsed.addresses(front)?;
    let (from, to) = addresses.split_at(addresses.len() / 2);
    let ip = |bytes: &[u8]| -> Option<IpAddr> {
        match <[u8; 4]>::try_from(bytes) {
            Ok(four) => Some(four.into()),
            Err(_) => Some(<[u8; 16]>::try_from(bytes).ok()?.into()),
        }
    };
    Some([ip(from)?, ip(to)?])
}

/// The tunnel, and the offset of the packet in it. What a virtual port sends is payload to the program.
fn tunnel(packet: &Packet) -> Option<(Tunnel, usize)> {
    let parsed = Parsed::new(&packet.data, packet.length as usize).ok()?;
    let found = tunnel::inner(&packet.data, &parsed)?;
    // Of long options, the packet behind them is not in a trace.
    packet.data.get(found.at..).filter(|it| !it.is_empty())?;
    let [from, to] = hosts(&packet.data, &parsed)?;
    let earlier = Steps::before_last(packet);
    let tunnels = earlier.unwrap_or_else(|| Steps::new(packet));
    let it = Tunnel {
        kind: match found.kind {
            Kind::Vxlan => "vxlan",
            Kind::Geneve => "geneve",
        },
        vni: found.vni,
        from,
        to,
        taken_out: earlier.is_some(),
        known: tunnels.table("tunnels").is_some_and(|it| it.hit),
    };
    (packet.port < FIRST_HOST_PORT).then_some((it, found.at))
}

impl Arrival {
    pub(super) fn new(packet: &Packet) -> Arrival {
        let (tunnel, at) = tunnel(packet).unzip();
        let at = at.unwrap_or(0);
        let front = packet.data.get(at..).unwrap_or_default();
        let length = packet.length as usize - at.min(packet.length as usize);
        let parsed = Parsed::new(front, length).ok();
        let ends = parsed.as_ref().and_then(|parsed| {
            let [from, to] = hosts(front, parsed)?;
            let &[a, b, c, d] = parsed.ports(front)?;
            Some([
                SocketAddr::new(from, u16::from_be_bytes([a, b])),
                SocketAddr::new(to, u16::from_be_bytes([c, d])),
            ])
        });
        Arrival {
            flow: text::flow(front, length),
            tunnel,
            ends,
            protocol: parsed.map_or(0, |it| it.ip_proto),
        }
    }
}
