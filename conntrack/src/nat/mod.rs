// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Network address translation (`nf_nat_core.c`, `nf_nat_proto.c`).
//!
//! Translation is decided when a connection is committed: it changes the reply tuple. Packets are
//! then rewritten so that they are the inverse of the other direction's tuple.

mod icmp;
mod jhash;
mod rewrite;
mod select;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use thiserror::Error;

use crate::bits::Status;
use crate::packet::Headers;
use crate::stats::DropReason;
use crate::time::Time;
use crate::tracker::{Association, Pending, Rewrite, Tracked, Tracker};
use crate::tuple::{Direction, Family};

/// The addresses and ports to which one end of a connection is translated
/// (`struct nf_nat_range2`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatRange {
    /// The first and last address. Absent: the address stays.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// The first and last port, or ICMP identifier. Absent: the port stays if the tuple is free.
    /// Otherwise a source's is replaced by one of its class: below 512, from 600 to 1023, or from
    /// 1024 on.
    pub ports: Option<(u16, u16)>,
    /// Ports are chosen at random even if the packet's own is free
    /// (`NF_NAT_RANGE_PROTO_RANDOM_FULLY`).
    pub random: bool,
    /// The address depends on the packet's source only, not on its destination
    /// (`NF_NAT_RANGE_PERSISTENT`).
    pub persistent: bool,
}

impl NatRange {
    /// One address.
    pub fn to_address(address: IpAddr) -> Self {
        NatRange {
            addresses: Some((address, address)),
            ..NatRange::default()
        }
    }

    /// The addresses from `first` to `last`.
    ///
    /// # Errors
    ///
    /// [`InvalidRange`] if the addresses are of two families, or `first` is greater than `last`.
    pub fn to_addresses(first: IpAddr, last: IpAddr) -> Result<Self, InvalidRange> {
        let range = NatRange {
            addresses: Some((first, last)),
            ..NatRange::default()
        };
        let family = Family::of(first);
        range
            .fits(family)
            .then_some(range)
            .ok_or(InvalidRange { first, last })
    }

    /// Reports whether the addresses are a range of a family.
    fn fits(&self, family: Family) -> bool {
        self.addresses.is_none_or(|(first, last)| {
            [first, last].map(Family::of) == [family; 2] && first <= last
        })
    }

    /// The range with these ports, in either order.
    pub fn with_ports(self, first: u16, last: u16) -> Self {
        NatRange {
            ports: Some((first, last)),
            ..self
        }
    }
}

/// Two addresses that are no range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{first} to {last} is no range: a range has addresses of one family, the lowest first")]
pub struct InvalidRange {
    /// The first address.
    pub first: IpAddr,
    /// The last address.
    pub last: IpAddr,
}

/// The translation of a new connection. The destination is translated first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nat {
    /// The translation of the source. If it is absent, and the tuple is in use, only the port is
    /// changed.
    pub source: Option<NatRange>,
    /// The translation of the destination.
    pub destination: Option<NatRange>,
}

impl Nat {
    /// Reports whether the addresses are ranges of a family.
    pub(crate) fn fits(&self, family: Family) -> bool {
        let mut ranges = [&self.source, &self.destination].into_iter().flatten();
        ranges.all(|range| range.fits(family))
    }
}

/// The end of a packet that is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manip {
    Source,
    Destination,
}

impl Manip {
    fn opposite(self) -> Self {
        match self {
            Manip::Source => Manip::Destination,
            Manip::Destination => Manip::Source,
        }
    }

    /// The bit of a connection's status that demands this of packets in `direction`.
    pub(crate) fn status(self, direction: Direction) -> Status {
        match (self, direction) {
            (Manip::Source, Direction::Original) | (Manip::Destination, Direction::Reply) => {
                Status::SRC_NAT
            }
            (Manip::Destination, Direction::Original) | (Manip::Source, Direction::Reply) => {
                Status::DST_NAT
            }
        }
    }
}

/// The result of [`Tracker::translate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translation {
    /// The packet is not to be translated, or not any more.
    Unchanged,
    /// The packet has been rewritten.
    Rewritten,
    /// The packet is to be dropped: it cannot be translated.
    Drop,
}

/// Other connections have all tuples to which a connection may be translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NatExhausted;

impl Tracker {
    /// Rewrites a packet as its connection's translation demands: addresses, ports and checksums,
    /// of ICMP errors also those of the packet that they quote. To be called after
    /// [`Tracker::commit`]; `packet` is what [`Tracker::track`] took.
    pub fn translate(&self, tracked: &Tracked, packet: &mut [u8]) -> Translation {
        let translation = apply(tracked, packet);
        if translation == Translation::Drop {
            self.stats.count_drop(DropReason::Translation);
        }
        translation
    }

    /// Decides the translation of a connection that is not in the table yet (`nf_nat_setup_info`).
    ///
    /// # Errors
    ///
    /// [`NatExhausted`] if other connections have all tuples of the ranges that were tried.
    pub(crate) fn set_up_nat(
        &self,
        pending: &mut Pending,
        nat: &Nat,
        now: Time,
    ) -> Result<(), NatExhausted> {
        let plan = [
            (
                Manip::Destination,
                nat.destination,
                Status::DST_NAT,
                Status::DST_NAT_DONE,
            ),
            (
                Manip::Source,
                nat.source,
                Status::SRC_NAT,
                Status::SRC_NAT_DONE,
            ),
        ];
        let mut is_free = true;
        for (manip, range, bit, done) in plan {
            pending.status |= done;
            let Some(current) = pending.reply.invert() else {
                return Ok(());
            };
            let range = range.unwrap_or_default();
            let choice = self.unique_tuple(&current, &range, manip, pending, now);
            // A destination that another connection has can be free with another source.
            is_free = choice.is_free;
            if choice.tuple == current {
                continue;
            }
            if let Some(reply) = choice.tuple.invert() {
                pending.reply = reply;
                pending.status |= bit;
            }
        }
        is_free.then_some(()).ok_or(NatExhausted)
    }
}

/// Rewrites a packet as its connection's translation demands.
fn apply(tracked: &Tracked, packet: &mut [u8]) -> Translation {
    let (direction, is_error) = match tracked.association {
        Association::Known(_, direction) | Association::Ended(direction) => (direction, false),
        Association::Related(_, direction) => (direction, true),
        Association::None | Association::New(_) => return Translation::Unchanged,
    };
    let Some(Rewrite { keys, status }) = tracked.rewrite else {
        return Translation::Unchanged;
    };
    let Ok(headers) = Headers::parse(packet) else {
        return Translation::Drop;
    };
    let other = keys.tuple(direction.opposite());
    if is_error {
        return icmp::translate(packet, &headers, &other, status, direction);
    }
    let Some(target) = other.invert() else {
        return Translation::Drop;
    };
    for manip in [Manip::Destination, Manip::Source] {
        if status.contains(manip.status(direction))
            && !rewrite::datagram(packet, &headers, &target, manip)
        {
            return Translation::Drop;
        }
    }
    Translation::Rewritten
}
