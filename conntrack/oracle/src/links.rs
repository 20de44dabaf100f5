// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The links of a router in the thread's network namespace: packets that arrive, and packets that leave.

use anyhow::{Context, Result};

use crate::router::LINKS;
use crate::trace::Side;
use crate::tun::Tun;

/// The links on the left and on the right.
pub struct Links([Tun; 2]);

impl Links {
    /// Creates the devices.
    ///
    /// # Errors
    ///
    /// Fails without /dev/net/tun, or the right to create a device.
    pub fn create() -> Result<Self> {
        let [left, right] = LINKS.map(Tun::create);
        Ok(Links([left?, right?]))
    }

    /// Lets a packet arrive. Returns the packets that leave, each with its link: a packet may leave by
    /// the link by which it has come.
    ///
    /// # Errors
    ///
    /// Fails if a device does.
    pub fn pass(&self, from: Side, packet: &[u8]) -> Result<Vec<(Side, Vec<u8>)>> {
        let Links(tuns) = self;
        for tun in tuns {
            tun.receive()?;
        }
        let [left, right] = tuns;
        let tun = match from {
            Side::Left => left,
            Side::Right => right,
        };
        tun.send(packet).context("packet")?;
        let mut leaving = Vec::new();
        for (side, tun) in [(Side::Left, left), (Side::Right, right)] {
            let packets = tun.receive()?.into_iter().filter(|it| !is_routers(it));
            leaving.extend(packets.map(|it| (side, it)));
        }
        Ok(leaving)
    }
}

/// Reports whether a packet is one of the router itself, such as a report of its multicast groups: it
/// has no IPv6 address, or one of the link.
fn is_routers(packet: &[u8]) -> bool {
    let source = packet.get(8..24).unwrap_or_default();
    let is_link_local = source.starts_with(&[0xfe, 0x80]);
    packet.first().is_some_and(|octet| octet >> 4 == 6)
        && (is_link_local || source.iter().all(|&octet| octet == 0))
}
