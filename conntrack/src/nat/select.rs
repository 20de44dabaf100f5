// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The choice of a translated tuple that no other connection has (`get_unique_tuple`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::jhash::jhash2;
use super::reserved::OpenPorts;
use super::{Manip, NatRange};
use crate::bits::Status;
use crate::hash::scale;
use crate::proto::tcp::TcpState;
use crate::proto::ProtoState;
use crate::table::RemovalReason;
use crate::time::Time;
use crate::tracker::{Pending, Tracker};
use crate::tuple::{Direction, Endpoint, Protocol, Tuple};
use crate::zone::Zone;

/// The most ports that are tried from one on (`NF_NAT_MAX_ATTEMPTS`).
const MAX_ATTEMPTS: u32 = 128;
/// The last attempts, in which a closed connection may lose its port (`NF_NAT_HARDER_THRESH`).
const HARD_ATTEMPTS: u32 = MAX_ATTEMPTS / 4;
/// Fewer attempts than these are not repeated from another port.
const MIN_ATTEMPTS: u32 = 16;

impl Manip {
    pub(super) fn endpoint(self, tuple: &Tuple) -> Endpoint {
        match self {
            Manip::Source => tuple.src(),
            Manip::Destination => tuple.dst(),
        }
    }

    fn with(self, tuple: Tuple, endpoint: Endpoint) -> Tuple {
        match self {
            Manip::Source => tuple.with_src(endpoint),
            Manip::Destination => tuple.with_dst(endpoint),
        }
    }

    /// The end of a tuple whose part is replaced: ICMP has one identifier, which is the source's.
    fn of_part(self, protocol: Protocol) -> Manip {
        match protocol {
            Protocol::ICMP | Protocol::ICMPV6 => Manip::Source,
            _ => self,
        }
    }
}

impl NatRange {
    /// Reports whether a tuple's end is in the range already (`nf_in_range`).
    fn contains(&self, tuple: &Tuple, manip: Manip) -> bool {
        let address = manip.endpoint(tuple).address;
        let in_addresses = self
            .addresses
            .is_none_or(|(min, max)| (min..=max).contains(&address));
        in_addresses && self.contains_part(tuple, manip)
    }

    /// `l4proto_in_range`.
    fn contains_part(&self, tuple: &Tuple, manip: Manip) -> bool {
        let Some((min, max)) = self.ports else {
            return true;
        };
        let protocol = tuple.protocol();
        match protocol {
            Protocol::ICMP | Protocol::ICMPV6 | Protocol::GRE => {}
            _ if protocol.has_ports() => {}
            _ => return true,
        }
        (min..=max).contains(&manip.of_part(protocol).endpoint(tuple).part)
    }
}

/// A translated tuple.
pub(super) struct Choice {
    pub(super) tuple: Tuple,
    /// No other connection had the tuple when it was chosen.
    pub(super) is_free: bool,
}

impl Choice {
    fn free(tuple: Tuple) -> Self {
        Choice {
            tuple,
            is_free: true,
        }
    }
}

impl Tracker {
    /// The tuple to which `current` is translated. It is in use if no free one was found.
    pub(super) fn unique_tuple(
        &self,
        current: &Tuple,
        range: &NatRange,
        manip: Manip,
        pending: &Pending,
        now: Time,
    ) -> Choice {
        let reserved = self.reserved.load();
        let is_reserved = |tuple: &Tuple| {
            let source = tuple.src();
            manip == Manip::Source
                && source != current.src()
                && reserved.contains(tuple.protocol(), source.part)
        };
        let is_free = |tuple: &Tuple| !is_reserved(tuple) && !self.is_taken(tuple, pending, now);
        if manip == Manip::Source && !range.random {
            if range.contains(current, manip) {
                if is_free(current) {
                    return Choice::free(*current);
                }
            } else if let Some(tuple) = self.translated_before(current, range, pending) {
                if is_free(&tuple) {
                    return Choice::free(tuple);
                }
            }
        }
        let tuple = choose_address(*current, range, manip, pending.zone);
        if !range.random {
            let may_keep_part = range.contains_part(&tuple, manip);
            if may_keep_part && is_free(&tuple) {
                return Choice::free(tuple);
            }
            if may_keep_part && range.ports.is_some_and(|(min, max)| min == max) {
                return Choice {
                    tuple,
                    is_free: false,
                };
            }
        }
        let open = match manip {
            Manip::Source => reserved.open(tuple.protocol()),
            Manip::Destination => None,
        };
        self.choose_part(tuple, range, (manip, open), pending, now)
    }

    /// The tuple with the source to which another connection of the same source is translated, if that is
    /// in the range (`find_appropriate_src`).
    fn translated_before(
        &self,
        current: &Tuple,
        range: &NatRange,
        pending: &Pending,
    ) -> Option<Tuple> {
        let zone = pending.zone.id_in(Direction::Original);
        let mut others = self.sources.of(current, zone);
        others.find_map(|connection| {
            let keys = self.table.keys(connection)?;
            let original = keys.tuple(Direction::Original);
            let is_same = original.protocol() == current.protocol()
                && original.src() == current.src()
                && keys.zone().id_in(Direction::Original) == zone;
            let translated = keys.tuple(Direction::Reply).invert()?;
            let tuple = current.with_src(translated.src());
            (is_same && range.contains(&tuple, Manip::Source)).then_some(tuple)
        })
    }

    /// Reports whether another connection has the tuple's answer as one of its tuples
    /// (`nf_conntrack_tuple_taken`).
    fn is_taken(&self, tuple: &Tuple, pending: &Pending, now: Time) -> bool {
        let Some(reply) = tuple.invert() else {
            return true;
        };
        let key = reply.key(pending.zone.id_in(Direction::Reply));
        let Some((connection, _)) = self.table.lookup(&key, now) else {
            return false;
        };
        let original = pending
            .original
            .key(pending.zone.id_in(Direction::Original));
        let is_same = self
            .table
            .keys(connection)
            .is_some_and(|keys| keys.0[0] == original);
        if !is_same {
            self.stats.found.add(1);
        }
        !is_same
    }

    /// Replaces the port or identifier so that the tuple is free, if possible
    /// (`nf_nat_l4proto_unique_tuple`): by one of the open ports, if not all are open.
    fn choose_part(
        &self,
        tuple: Tuple,
        range: &NatRange,
        (manip, open): (Manip, Option<&OpenPorts>),
        pending: &Pending,
        now: Time,
    ) -> Choice {
        let protocol = tuple.protocol();
        let mut offset = match manip {
            Manip::Destination if !range.random => 0,
            _ => u32::from(self.random_port()),
        };
        let manip = manip.of_part(protocol);
        let endpoint = manip.endpoint(&tuple);
        // Tunnels have call ids of their own if PPTP has announced them.
        let has_parts = protocol != Protocol::GRE || pending.data.master().is_some();
        let parts = part_range(protocol, endpoint.part, range, manip).filter(|_| has_parts);
        let Some((min, size)) = parts else {
            let is_free = !self.is_taken(&tuple, pending, now);
            return Choice { tuple, is_free };
        };
        let size = open.map_or(size, |open| open.count(min, size));
        if size == 0 {
            return Choice {
                tuple,
                is_free: false,
            };
        }
        let mut tuple = tuple;
        let mut attempts = size.min(MAX_ATTEMPTS);
        loop {
            for attempt in 0..attempts {
                let n = (offset & 0xffff) % size;
                let part = open.map_or(min + n, |open| open.nth(min, n)) as u16;
                tuple = manip.with(tuple, Endpoint { part, ..endpoint });
                if !self.is_taken_after_eviction(&tuple, pending, attempts - attempt, now) {
                    return Choice::free(tuple);
                }
                offset += 1;
            }
            if attempts >= size || attempts < MIN_ATTEMPTS {
                return Choice {
                    tuple,
                    is_free: false,
                };
            }
            attempts /= 2;
            offset = self.random_port().into();
        }
    }

    /// As [`Tracker::is_taken`]; but in the last attempts a closed TCP connection with smaller
    /// sequence numbers is removed, if it is in the way (`nf_nat_used_tuple_harder`).
    fn is_taken_after_eviction(
        &self,
        tuple: &Tuple,
        pending: &Pending,
        attempts_left: u32,
        now: Time,
    ) -> bool {
        let ProtoState::Tcp(new) = &pending.data.proto else {
            return self.is_taken(tuple, pending, now);
        };
        if attempts_left > HARD_ATTEMPTS || new.state != TcpState::SynSent {
            return self.is_taken(tuple, pending, now);
        }
        let Some(reply) = tuple.invert() else {
            return true;
        };
        let key = reply.key(pending.zone.id_in(Direction::Reply));
        let Some((connection, direction)) = self.table.lookup(&key, now) else {
            return false;
        };
        let slot = self.table.slot(connection);
        let status = slot.status();
        let may_go = direction == Direction::Reply
            && status.contains(Status::SRC_NAT)
            && !status.contains(Status::FIXED_TIMEOUT)
            && slot
                .lock(connection.generation)
                .is_some_and(|data| match &data.proto {
                    ProtoState::Tcp(old) => {
                        let advance = new.original_end().wrapping_sub(old.original_end()) as i32;
                        old.state >= TcpState::TimeWait && advance > 0
                    }
                    _ => false,
                });
        !(may_go && self.remove(connection, RemovalReason::EarlyDrop, now))
    }
}

/// The first part of a range, and the number of its parts. Absent if the part is not replaced.
fn part_range(protocol: Protocol, part: u16, range: &NatRange, manip: Manip) -> Option<(u32, u32)> {
    let given = range
        .ports
        .map(|(min, max)| (u32::from(min), u32::from(max - min) + 1));
    match protocol {
        Protocol::ICMP | Protocol::ICMPV6 => Some(given.unwrap_or((0, 1 << 16))),
        Protocol::GRE => Some(given.unwrap_or((1, u16::MAX.into()))),
        _ if !protocol.has_ports() => None,
        _ if given.is_some() => given,
        _ if manip == Manip::Destination => None,
        _ => Some(match part {
            0..=511 => (1, 511),
            512..=1023 => (600, 1023 - 600 + 1),
            _ => (1024, 65535 - 1024 + 1),
        }),
    }
}

/// Chooses an address of the range by a hash of the packet's (`find_best_ips_proto`).
fn choose_address(tuple: Tuple, range: &NatRange, manip: Manip, zone: Zone) -> Tuple {
    let Some((min, max)) = range.addresses else {
        return tuple;
    };
    let endpoint = manip.endpoint(&tuple);
    if min == max {
        return manip.with(
            tuple,
            Endpoint {
                address: min,
                ..endpoint
            },
        );
    }
    let (src, dst) = (words(tuple.src().address), words(tuple.dst().address));
    let (first, last) = (words(min), words(max));
    let count = if min.is_ipv4() { 1 } else { 4 };
    // The hash is of the words as a little-endian processor has them.
    let native = |word: u32| word.swap_bytes();
    let initial = match range.persistent {
        true => 0,
        false => native(dst[count - 1]) ^ u32::from(zone.id()),
    };
    let mut hash = jhash2(&src.map(native), initial);
    let mut chosen = [0; 4];
    let mut full_range = false;
    for at in 0..count {
        let (min, size) = match full_range {
            true => (0, u32::MAX),
            false => (first[at], last[at].wrapping_sub(first[at]).wrapping_add(1)),
        };
        chosen[at] = min.wrapping_add(scale(hash, size));
        full_range |= chosen[at] != last[at];
        if !range.persistent {
            // The word of the destination, which may be the one that was just chosen.
            hash ^= native(match manip {
                Manip::Source => dst[at],
                Manip::Destination => chosen[at],
            });
        }
    }
    let address: IpAddr = if min.is_ipv4() {
        Ipv4Addr::from(chosen[0]).into()
    } else {
        let bits = chosen
            .iter()
            .fold(0, |bits: u128, &word| bits << 32 | u128::from(word));
        Ipv6Addr::from(bits).into()
    };
    manip.with(
        tuple,
        Endpoint {
            address,
            ..endpoint
        },
    )
}

/// An address as words, the most significant one first; zeros follow an IPv4 address.
fn words(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(address) => [address.into(), 0, 0, 0],
        IpAddr::V6(address) => {
            let bits = u128::from(address);
            [96, 64, 32, 0].map(|shift| (bits >> shift) as u32)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result of `find_best_ips_proto` for its in-place array of the destination's words.
    fn linux(src: [u32; 4], mut dst: [u32; 4], first: [u32; 4], last: [u32; 4]) -> [u32; 4] {
        let mut hash = jhash2(&src.map(u32::swap_bytes), dst[3].swap_bytes());
        let mut full_range = false;
        for at in 0..4 {
            let (min, size) = match full_range {
                true => (0, u32::MAX),
                false => (first[at], last[at].wrapping_sub(first[at]).wrapping_add(1)),
            };
            dst[at] = min.wrapping_add(((u64::from(hash) * u64::from(size)) >> 32) as u32);
            full_range |= dst[at] != last[at];
            hash ^= dst[at].swap_bytes();
        }
        dst
    }

    #[test]
    fn destinations_of_ipv6_ranges_are_those_of_linux() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let range = NatRange::to_addresses(address("fd00:1::"), address("fd00:1:7:9::ffff"));
        let range = range.unwrap();
        let (min, max) = range.addresses.unwrap();
        for number in 0..50u16 {
            let endpoint = |address, part| Endpoint { address, part };
            let src = endpoint(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, number).into(), 5);
            let dst = endpoint(address("fd00:2::8"), 80);
            let tuple = Tuple::new(Protocol::UDP, src, dst).unwrap();
            let chosen = choose_address(tuple, &range, Manip::Destination, Zone::DEFAULT);
            let expected = linux(
                words(src.address),
                words(dst.address),
                words(min),
                words(max),
            );
            assert_eq!(words(chosen.dst().address), expected);
            assert!((min..=max).contains(&chosen.dst().address));
        }
    }
}
