// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Filters of dumps and deletions.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use crate::bits::Status;
use crate::entry::{Connection, ProtoInfo};
use crate::proto::tcp::TcpState;
use crate::table::ConnectionRef;
use crate::time::Time;
use crate::tracker::Tracker;
use crate::tuple::{to_bits, Direction, Endpoint, Family, Protocol, Tuple};

/// The values that a connection must have. What is absent is any. The order in which they are checked is
/// that of their cost: most connections that do not pass are not copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The address family.
    pub family: Option<Family>,
    /// The protocol.
    pub protocol: Option<Protocol>,
    /// The zone's number in any direction.
    pub zone: Option<u16>,
    /// The number of the zone that applies to one direction only.
    pub zone_of: Option<(Direction, u16)>,
    /// The mark's bits behind a mask, and the mask. With bits outside of it, no mark passes.
    pub mark: Option<(u32, u32)>,
    /// Bits of the status that are set, and bits that are not.
    pub status: (Status, Status),
    /// Bits of the label that are set.
    pub label: u128,
    /// The state of TCP.
    pub tcp_state: Option<TcpState>,
    /// Both directions' tuples.
    pub tuples: [TupleFilter; 2],
}

/// The values that a tuple must have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TupleFilter {
    /// The source's address: the address, and a mask of the bits that are compared.
    pub src: Option<(IpAddr, IpAddr)>,
    /// The destination's address.
    pub dst: Option<(IpAddr, IpAddr)>,
    /// The source's port, identifier or call id.
    pub src_part: Option<u16>,
    /// The destination's port, call id, or type and code.
    pub dst_part: Option<u16>,
}

impl TupleFilter {
    /// Reports whether a tuple passes.
    pub fn passes(&self, tuple: &Tuple) -> bool {
        let end = |endpoint: Endpoint, address: Option<(IpAddr, IpAddr)>, part: Option<u16>| {
            let has_address = address.is_none_or(|(wanted, mask)| {
                Family::of(wanted) == tuple.family()
                    && (to_bits(endpoint.address) ^ to_bits(wanted)) & to_bits(mask) == 0
            });
            has_address && part.is_none_or(|part| part == endpoint.part)
        };
        end(tuple.src(), self.src, self.src_part) && end(tuple.dst(), self.dst, self.dst_part)
    }
}

impl Filter {
    /// Reports whether every connection passes.
    pub fn is_any(&self) -> bool {
        *self == Filter::default()
    }

    /// Reports whether a connection passes.
    pub fn passes(&self, connection: &Connection) -> bool {
        let Connection {
            original,
            reply,
            zone,
            status,
            mark,
            ..
        } = connection;
        self.passes_status(*status, *mark)
            && self.passes_tuples(original, reply, *zone)
            && self.passes_state(connection)
    }

    fn passes_status(&self, status: Status, mark: u32) -> bool {
        let (set, clear) = self.status;
        status.contains(set)
            && !status.intersects(clear)
            && self.mark.is_none_or(|(wanted, mask)| mark & mask == wanted)
    }

    fn passes_tuples(&self, original: &Tuple, reply: &Tuple, zone: crate::zone::Zone) -> bool {
        self.family.is_none_or(|family| family == original.family())
            && self
                .protocol
                .is_none_or(|protocol| protocol == original.protocol())
            && self.zone.is_none_or(|id| id == zone.id())
            && self.zone_of.is_none_or(|(direction, id)| {
                (zone.only_direction(), zone.id()) == (Some(direction), id)
            })
            && self.tuples[0].passes(original)
            && self.tuples[1].passes(reply)
    }

    fn passes_state(&self, connection: &Connection) -> bool {
        let has_state = self.tcp_state.is_none_or(
            |wanted| matches!(connection.proto, ProtoInfo::Tcp { state, .. } if state == wanted),
        );
        has_state && connection.label.bits() & self.label == self.label
    }
}

impl Tracker {
    /// A copy of a connection, if it is there, its timeout has not passed, and it passes a filter.
    pub(super) fn get_matching(
        &self,
        connection: ConnectionRef,
        filter: &Filter,
        now: Time,
    ) -> Option<Connection> {
        let slot = self.table.slot(connection);
        if !filter.passes_status(slot.status(), slot.mark.load(Ordering::Relaxed)) {
            return None;
        }
        let keys = self.table.keys(connection)?;
        let (original, reply) = (
            keys.tuple(Direction::Original),
            keys.tuple(Direction::Reply),
        );
        if !filter.passes_tuples(&original, &reply, keys.zone()) {
            return None;
        }
        self.get(connection, now).filter(|one| filter.passes(one))
    }
}
