// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ICMP and ICMPv6 messages of scripts.

use std::net::IpAddr;

use adit_conntrack::packet::Headers;
use adit_conntrack::testing::{fill_checksums, fill_header_checksum, Flow};
use adit_conntrack::Family;
use anyhow::{bail, Context, Result};

use super::line::Line;
use super::Script;
use crate::trace::Side;

/// The host that sends errors, if no other is named: a router.
const ROUTER: u8 = 254;

/// Type and code of a message, by name or as `TYPE/CODE`.
fn kind(family: Family, name: &str) -> Result<(u8, u8)> {
    let [v4, v6] = match name {
        "echo" => [(8, 0), (128, 0)],
        "reply" => [(0, 0), (129, 0)],
        "unreachable" => [(3, 1), (1, 0)],
        "port" => [(3, 3), (1, 4)],
        "too-big" => [(3, 4), (2, 0)],
        "exceeded" => [(11, 0), (3, 0)],
        "parameter" => [(12, 0), (4, 0)],
        other => {
            let (kind, code) = other
                .split_once('/')
                .context("neither a name nor TYPE/CODE")?;
            let kind = (kind.parse().context("type")?, code.parse().context("code")?);
            [kind, kind]
        }
    };
    Ok(match family {
        Family::V4 => v4,
        Family::V6 => v6,
    })
}

impl Script {
    /// A query or its answer: `KIND [id=N] [seq=N] [len=N]`.
    pub(super) fn icmp(&self, from: Side, line: &Line<'_>) -> Result<Vec<u8>> {
        let (kind, code) = kind(self.family, line.word(2))?;
        let id: u16 = line.number("id", 1)?;
        let sequence: u16 = line.number("seq", 1)?;
        let mut word = [0; 4];
        word[..2].copy_from_slice(&id.to_be_bytes());
        word[2..].copy_from_slice(&sequence.to_be_bytes());
        let payload = vec![0x77; line.number("len", 0)?];
        Ok(self.flow(from, line)?.icmp(kind, code, word, &payload))
    }

    /// An error about a packet that was sent before: `KIND [of=N] [quote=N] [host=N]`. `of`
    /// counts from the last packet back, `quote` has the number of its bytes, `host` is the sender. The
    /// receiver is the packet's sender, if there is no other.
    pub(super) fn icmp_error(&self, from: Side, line: &Line<'_>) -> Result<Vec<u8>> {
        let (kind, code) = kind(self.family, line.word(2))?;
        let packet = &self.quoted(line)?;
        let (source, usual): (IpAddr, usize) = match self.family {
            Family::V4 => (address::<4>(packet, 12)?.into(), 28),
            Family::V6 => (address::<16>(packet, 8)?.into(), packet.len()),
        };
        let flow = Flow {
            src: from.host(self.family, line.number("host", ROUTER)?),
            src_port: 0,
            dst: source,
            dst_port: 0,
        };
        let flow = self.named(flow, line)?;
        if flow.src.is_ipv4() != flow.dst.is_ipv4() {
            bail!("addresses of two families");
        }
        let length = line.number("quote", usual)?.min(packet.len());
        Ok(flow.icmp(kind, code, [0, 0, 5, 0], &packet[..length]))
    }

    /// The packet that an error quotes, as another router has seen it: with the addresses `qfrom=HOST`
    /// and `qto=HOST`, and the ports `qsport=N` and `qdport=N`.
    fn quoted(&self, line: &Line<'_>) -> Result<Vec<u8>> {
        let back = line.number("of", 0)?;
        let packet = self.sent(back).context("no packet that could be quoted")?;
        let mut packet = packet.to_vec();
        let (addresses, length, header) = match self.family {
            Family::V4 => (12, 4, 20),
            Family::V6 => (8, 16, 40),
        };
        for (name, at) in [("qfrom", addresses), ("qto", addresses + length)] {
            if let Some(host) = line.value(name) {
                let octets = match self.host(host)? {
                    IpAddr::V4(address) => address.octets().to_vec(),
                    IpAddr::V6(address) => address.octets().to_vec(),
                };
                packet[at..at + length].copy_from_slice(&octets);
            }
        }
        for (name, at) in [("qsport", header), ("qdport", header + 2)] {
            if line.value(name).is_some() {
                let port: u16 = line.number(name, 0)?;
                packet[at..at + 2].copy_from_slice(&port.to_be_bytes());
            }
        }
        let has_changed = line.has_any(&["qfrom", "qto", "qsport", "qdport"]);
        match has_changed.then(|| Headers::parse(&packet)) {
            None => {}
            Some(Ok(headers)) if headers.fragment.is_none() => fill_checksums(&mut packet),
            // The transport header of a fragment is not all of it, or is elsewhere.
            Some(_) if self.family == Family::V4 => fill_header_checksum(&mut packet),
            Some(_) => {}
        }
        Ok(packet)
    }
}

/// The bytes of an address in a packet.
fn address<const N: usize>(packet: &[u8], at: usize) -> Result<[u8; N]> {
    let octets = packet.get(at..at + N).context("packet without addresses")?;
    Ok(octets.try_into()?)
}
