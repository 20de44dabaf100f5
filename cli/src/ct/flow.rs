// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The parts of connections that all formats show.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use adit_conntrack::{SctpState, Status, TcpState};
use adit_conntrack_rpc::proto::{connection::State, Connection, Direction, Tuple};

use super::protocol;

/// The part of a tuple that its protocol adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Nothing.
    None,
    Ports(u32, u32),
    /// Keys of GRE.
    Keys(u32, u32),
    Icmp {
        kind: u32,
        code: u32,
        id: u32,
    },
}

/// A direction of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) part: Part,
}

/// The address in these bytes, of which the server sends 4 or 16.
fn address(octets: &[u8]) -> IpAddr {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return octets.into();
    }
    let mut all = [0; 16];
    let len = octets.len().min(16);
    all[..len].copy_from_slice(&octets[..len]);
    all.into()
}

impl Flow {
    pub(super) fn new(tuple: &Tuple) -> Self {
        let (src, dst) = (
            tuple.src.clone().unwrap_or_default(),
            tuple.dst.clone().unwrap_or_default(),
        );
        let part = match protocol::shown_name(tuple.protocol as u8) {
            "unknown" => Part::None,
            "gre" => Part::Keys(src.part, dst.part),
            "icmp" | "icmpv6" => Part::Icmp {
                kind: dst.part >> 8,
                code: dst.part & 0xFF,
                id: src.part,
            },
            _ => Part::Ports(src.part, dst.part),
        };
        Flow {
            src: address(&src.address),
            dst: address(&dst.address),
            part,
        }
    }
}

/// A connection, with its values in the form in which they are shown.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) connection: &'a Connection,
    pub(super) original: Flow,
    pub(super) reply: Flow,
    pub(super) protocol: u8,
    pub(super) status: Status,
}

impl<'a> Entry<'a> {
    pub(super) fn new(connection: &'a Connection) -> Self {
        let original = connection.original.clone().unwrap_or_default();
        let reply = connection.reply.clone().unwrap_or_default();
        Entry {
            connection,
            original: Flow::new(&original),
            reply: Flow::new(&reply),
            protocol: original.protocol as u8,
            status: Status::from_bits(connection.status),
        }
    }

    /// The name and number of the address family.
    pub(super) fn family(&self) -> (&'static str, u8) {
        match self.original.src {
            IpAddr::V4(_) => ("ipv4", 2),
            IpAddr::V6(_) => ("ipv6", 10),
        }
    }

    /// The state of TCP or SCTP.
    pub(super) fn state(&self) -> Option<&'static str> {
        let name = match self.connection.state.as_ref()? {
            State::Tcp(tcp) => TcpState::ALL.get(tcp.state as usize)?.name(),
            State::Sctp(sctp) => SctpState::ALL.get(sctp.state as usize)?.name(),
        };
        Some(name)
    }

    /// Whole seconds until the timeout.
    pub(super) fn timeout(&self) -> u64 {
        self.connection.timeout_ns.unwrap_or_default() / 1_000_000_000
    }

    /// The zone in both directions, in the original's, and in the reply's, where it is not 0.
    pub(super) fn zones(&self) -> [Option<u32>; 3] {
        let zone = self.connection.zone.unwrap_or_default();
        let id = Some(zone.id).filter(|id| *id != 0);
        match zone.direction() {
            Direction::Unspecified => [id, None, None],
            Direction::Original => [None, id, None],
            Direction::Reply => [None, None, id],
        }
    }

    /// Packets and bytes of a direction.
    pub(super) fn counters(&self, direction: usize) -> (u64, u64) {
        let counters = self.connection.counters.get(direction);
        counters.map_or((0, 0), |one| (one.packets, one.bytes))
    }

    /// Whole seconds since the first packet, or from it to the removal.
    pub(super) fn age(&self) -> u64 {
        let end = match self.connection.stop_ns {
            0 => now_ns(),
            stop => stop,
        };
        end.saturating_sub(self.connection.start_ns) / 1_000_000_000
    }

    pub(super) fn label(&self) -> u128 {
        let octets = <[u8; 16]>::try_from(&self.connection.label[..]);
        octets.map_or(0, u128::from_le_bytes)
    }

    pub(super) fn is_unreplied(&self) -> bool {
        !self.status.contains(Status::SEEN_REPLY)
    }

    pub(super) fn is_assured(&self) -> bool {
        self.status.contains(Status::ASSURED)
    }

    /// Reports whether its source is translated.
    pub(super) fn has_src_nat(&self) -> bool {
        self.status.contains(Status::SRC_NAT)
    }

    /// Reports whether its destination is translated.
    pub(super) fn has_dst_nat(&self) -> bool {
        self.status.contains(Status::DST_NAT)
    }
}

/// The date in nanoseconds since 1970.
pub(super) fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}
