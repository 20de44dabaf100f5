// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Network address translation (`nf_nat_core.c`, `nf_nat_proto.c`).
//!
//! Translation is decided when a connection is committed: it changes the reply tuple. Packets are
//! then rewritten so that they are the inverse of the other direction's tuple.

mod exhausted;
mod icmp;
mod jhash;
mod payload;
mod reserved;
mod rewrite;
mod select;
mod sequence;
mod sources;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use thiserror::Error;

use crate::bits::Status;
use crate::packet::Headers;
use crate::stats::DropReason;
use crate::time::Time;
use crate::tracker::{Association, Pending, Reading, Tracked, Tracker};
use crate::tuple::{Direction, Family};

pub(crate) use exhausted::Exhausted;
pub use payload::PacketBuffer;
pub use reserved::{InvalidReservation, ReservedPorts, ReservedRange, MAX_RESERVED};
pub(crate) use sequence::Adjustments;
pub use sequence::SequenceAdjustment;
pub(crate) use sources::Sources;

/// The addresses and ports to which one end of a connection is translated
/// (`struct nf_nat_range2`). The default is any: what is in use is changed, and nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatRange {
    /// The first and last address, of one family, in this order.
    addresses: Option<(IpAddr, IpAddr)>,
    /// The first and last port, in this order.
    ports: Option<(u16, u16)>,
    random: bool,
    persistent: bool,
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
        if Family::of(first) != Family::of(last) || first > last {
            return Err(InvalidRange { first, last });
        }
        Ok(NatRange {
            addresses: Some((first, last)),
            ..NatRange::default()
        })
    }

    /// The range with these ports, or ICMP identifiers, in either order. Without ports, a packet's
    /// own stays if the tuple is free; otherwise a source's is replaced by one of its class: below
    /// 512, from 600 to 1023, or from 1024 on.
    pub fn with_ports(self, first: u16, last: u16) -> Self {
        NatRange {
            ports: Some((first.min(last), first.max(last))),
            ..self
        }
    }

    /// The range from which ports are chosen at random even if the packet's own is free
    /// (`NF_NAT_RANGE_PROTO_RANDOM_FULLY`).
    pub fn with_random_ports(self) -> Self {
        NatRange {
            random: true,
            ..self
        }
    }

    /// The range of which the address depends on the packet's source only, not on its destination
    /// (`NF_NAT_RANGE_PERSISTENT`).
    pub fn with_persistent_address(self) -> Self {
        NatRange {
            persistent: true,
            ..self
        }
    }

    /// The first and last address. Absent: the address stays.
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        self.addresses
    }

    /// The first and last port.
    pub fn ports(&self) -> Option<(u16, u16)> {
        self.ports
    }

    /// Reports whether ports are chosen at random.
    pub fn has_random_ports(&self) -> bool {
        self.random
    }

    /// Reports whether the address depends on the source only.
    pub fn has_persistent_address(&self) -> bool {
        self.persistent
    }

    /// Reports whether the addresses are of a family.
    fn fits(&self, family: Family) -> bool {
        self.addresses
            .is_none_or(|(first, _)| Family::of(first) == family)
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
    /// Reports whether the addresses are of a family.
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

/// Other connections have all tuples to which a connection may be translated, or their ports are
/// reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NatExhausted;

impl Tracker {
    /// Rewrites a packet as its connection's translation demands: addresses, ports and checksums,
    /// of ICMP errors also those of the packet that they quote. To be called after
    /// [`Tracker::commit`]; `packet` is what [`Tracker::track`] took. It gets another length if a helper
    /// has rewritten its payload.
    pub fn translate<B: PacketBuffer + ?Sized>(
        &self,
        tracked: &Tracked,
        packet: &mut B,
    ) -> Translation {
        let headers = Headers::parse(packet.octets());
        self.translate_parsed(tracked, packet, headers.as_ref().ok())
    }

    /// As [`Tracker::translate`], of a packet whose headers are known: those that [`Headers::parse`] finds
    /// in it now.
    pub fn translate_parsed<B: PacketBuffer + ?Sized>(
        &self,
        tracked: &Tracked,
        packet: &mut B,
        headers: Option<&Headers>,
    ) -> Translation {
        let translation = apply(tracked, packet, headers);
        if translation == Translation::Drop {
            self.stats.count_drop(DropReason::Translation);
        }
        translation
    }

    /// The ports that no source is translated to.
    pub fn reserved_ports(&self) -> Arc<ReservedPorts> {
        self.reserved.load_full()
    }

    /// Replaces the ports that no source is translated to. A source that is not translated keeps its
    /// port; so does a connection that has one of them already.
    pub fn set_reserved_ports(&self, ports: ReservedPorts) {
        self.reserved.store(Arc::new(ports));
    }

    /// The number of connections that could not be translated, by the address whose ports were in
    /// use or reserved; `None` is for all addresses above 256.
    pub fn exhausted(&self) -> BTreeMap<Option<IpAddr>, u64> {
        self.exhausted.counts()
    }

    /// Decides the translation of a connection that is not in the table yet (`nf_nat_setup_info`).
    ///
    /// # Errors
    ///
    /// [`NatExhausted`] if other connections have all tuples of the ranges that were tried, or their
    /// ports are reserved.
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
        let mut exhausted = None;
        for (manip, range, bit, done) in plan {
            pending.status |= done;
            let Some(current) = pending.keys.tuple(Direction::Reply).invert() else {
                return Ok(());
            };
            let range = range.unwrap_or_default();
            let choice = self.unique_tuple(&current, &range, manip, pending, now);
            // A destination that another connection has can be free with another source.
            exhausted = (!choice.is_free).then(|| manip.endpoint(&choice.tuple).address);
            if choice.tuple == current {
                continue;
            }
            if let Some(reply) = choice.tuple.invert() {
                self.set_reply(pending, reply);
                pending.status |= bit;
            }
        }
        match exhausted {
            None => Ok(()),
            Some(address) => {
                self.exhausted.count(address);
                Err(NatExhausted)
            }
        }
    }
}

/// Rewrites a packet as its connection's translation demands.
#[inline]
fn apply<B: PacketBuffer + ?Sized>(
    tracked: &Tracked,
    packet: &mut B,
    headers: Option<&Headers>,
) -> Translation {
    let (direction, is_error) = match tracked.association {
        Association::Known(_, direction) | Association::Ended(direction) => (direction, false),
        Association::Related(_, direction) => (direction, true),
        Association::None | Association::New(_) => return Translation::Unchanged,
    };
    let Some(rewrite) = &tracked.rewrite else {
        return Translation::Unchanged;
    };
    let (octets, Some(headers)) = (packet.octets(), headers) else {
        return Translation::Drop;
    };
    let (other, status) = (rewrite.other(), rewrite.status);
    if is_error {
        return icmp::translate(octets, headers, &other, status, direction);
    }
    let Some(target) = other.invert() else {
        return Translation::Drop;
    };
    for manip in [Manip::Destination, Manip::Source] {
        if status.contains(manip.status(direction))
            && !rewrite::datagram(octets, headers, &target, manip)
        {
            return Translation::Drop;
        }
    }
    match &tracked.reading {
        Some(reading) if !rewrite_payload(reading, packet, direction) => Translation::Drop,
        _ => Translation::Rewritten,
    }
}

/// Applies the changes of the packet's helper, or of an earlier packet's: another payload, another
/// port, other sequence numbers. Returns whether that is possible.
fn rewrite_payload<B: PacketBuffer + ?Sized>(
    reading: &Reading,
    packet: &mut B,
    direction: Direction,
) -> bool {
    let Ok(headers) = Headers::parse(packet.octets()) else {
        return false;
    };
    let new_payload = reading.payload.as_deref();
    if new_payload.is_some_and(|payload| !payload::replace(packet, &headers, payload)) {
        return false;
    }
    let octets = packet.octets();
    let Ok(headers) = Headers::parse(octets) else {
        return false;
    };
    let message = &mut octets[headers.transport..headers.end];
    let adjustments = reading.adjustments.as_ref();
    if adjustments.is_some_and(|all| !all.apply(direction, message)) {
        return false;
    }
    let port = reading.port;
    if let (Some(port), Some(place)) = (port, message.get_mut(2..4)) {
        place.copy_from_slice(&port.to_be_bytes());
    }
    if new_payload.is_some() || port.is_some() {
        payload::fill_checksum(octets, &headers);
    }
    true
}
