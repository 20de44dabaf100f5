// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The keys of tunnels that PPTP has announced (`nf_ct_gre_keymap_add`): a packet of GRE has the
//! receiver's call id only, the sender's follows from it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

use crate::table::ConnectionRef;
use crate::tuple::{Endpoint, Protocol, Tuple};

/// The maximum number of control connections with keys.
const MAX: usize = 16_384;
/// The maximum number of control connections with keys in a zone: no tenant uses up those of all.
const MAX_IN_ZONE: usize = MAX / 4;
/// The maximum number of keys of a destination; the oldest one is used.
const MAX_OF_DESTINATION: usize = 64;

/// The part of a tuple that a packet has: both addresses, the destination's call id, and the zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Destination(IpAddr, IpAddr, u16, u16);

impl Destination {
    fn of(tuple: &Tuple, zone: u16) -> Self {
        let (src, dst) = (tuple.src(), tuple.dst());
        Destination(src.address, dst.address, dst.part, zone)
    }
}

/// The tuples of a control connection's tunnel, and its place in the order in which tunnels were announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tunnel {
    pub(crate) tuples: [Tuple; 2],
    pub(crate) number: u64,
}

/// A key: its owner, the number of the owner's tunnel, and the source's call id.
struct GreKey {
    owner: ConnectionRef,
    number: u64,
    part: u16,
}

/// The keys of all tunnels.
#[derive(Default)]
pub(crate) struct GreKeys {
    /// The number of control connections with keys, which is read without the lock.
    count: AtomicUsize,
    index: RwLock<Index>,
}

#[derive(Default)]
struct Index {
    /// The oldest key of a destination first.
    keys: BTreeMap<Destination, Vec<GreKey>>,
    /// The number of the next tunnel that is announced.
    next: u64,
    by_owner: BTreeMap<u64, [Destination; 2]>,
    /// The number of owners in each zone.
    zones: BTreeMap<u16, usize>,
}

impl Index {
    /// The tuple of a way whose destination is an owner's, and the number of the tunnel.
    fn tuple(&self, owner: ConnectionRef, destination: &Destination) -> Option<(Tuple, u64)> {
        let Destination(src, dst, call, _) = *destination;
        let keys = self.keys.get(destination)?;
        let key = keys.iter().find(|key| key.owner == owner)?;
        let end = |address, part| Endpoint { address, part };
        let tuple = Tuple::new(Protocol::GRE, end(src, key.part), end(dst, call));
        Some((tuple.ok()?, key.number))
    }
}

impl GreKeys {
    /// The tuple with the source's call id, if it is one of a known tunnel. No packet of another
    /// protocol waits.
    pub(crate) fn complete(&self, tuple: Tuple, zone: u16) -> Tuple {
        if tuple.protocol() != Protocol::GRE || self.count.load(Ordering::Relaxed) == 0 {
            return tuple;
        }
        let mut src = tuple.src();
        let index = self.index.read();
        let keys = index.keys.get(&Destination::of(&tuple, zone));
        match keys.and_then(|keys| keys.first()) {
            Some(key) if tuple.dst().part != 0 => {
                src.part = key.part;
                tuple.with_src(src)
            }
            _ => tuple,
        }
    }

    /// Adds the tuples of a tunnel that is announced. Returns whether they are there: a control connection has
    /// one tunnel, and the number is limited.
    pub(crate) fn add(&self, owner: ConnectionRef, zone: u16, tuples: [Tuple; 2]) -> bool {
        self.insert(owner, zone, tuples, None)
    }

    /// As [`GreKeys::add`], of a tunnel that another tracker knew, in that one's order.
    pub(crate) fn restore(&self, owner: ConnectionRef, zone: u16, tunnel: Tunnel) -> bool {
        self.insert(owner, zone, tunnel.tuples, Some(tunnel.number))
    }

    fn insert(
        &self,
        owner: ConnectionRef,
        zone: u16,
        tuples: [Tuple; 2],
        number: Option<u64>,
    ) -> bool {
        let destinations = tuples.map(|tuple| Destination::of(&tuple, zone));
        let mut index = self.index.write();
        if let Some(known) = index.by_owner.get(&owner.to_bits()) {
            return *known == destinations;
        }
        let of_zone = index.zones.get(&zone).copied().unwrap_or(0);
        let is_full = |it: &Destination| {
            let keys = index.keys.get(it);
            keys.is_some_and(|keys| keys.len() >= MAX_OF_DESTINATION)
        };
        if index.by_owner.len() >= MAX || of_zone >= MAX_IN_ZONE || destinations.iter().any(is_full)
        {
            return false;
        }
        let number = number.unwrap_or(index.next);
        index.next = index.next.max(number.saturating_add(1));
        for (destination, tuple) in destinations.iter().zip(&tuples) {
            let keys = index.keys.entry(*destination).or_default();
            let part = tuple.src().part;
            let at = keys.partition_point(|key| key.number <= number);
            let key = GreKey {
                owner,
                number,
                part,
            };
            keys.insert(at, key);
        }
        index.by_owner.insert(owner.to_bits(), destinations);
        *index.zones.entry(zone).or_default() += 1;
        self.count.store(index.by_owner.len(), Ordering::Relaxed);
        true
    }

    /// The tunnel of a control connection.
    pub(crate) fn of(&self, owner: ConnectionRef) -> Option<Tunnel> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let index = self.index.read();
        let [one, other] = index.by_owner.get(&owner.to_bits())?;
        let [(one, number), (other, _)] = [index.tuple(owner, one)?, index.tuple(owner, other)?];
        let tuples = [one, other];
        Some(Tunnel { tuples, number })
    }

    /// Removes the tuples of a control connection.
    pub(crate) fn remove(&self, owner: ConnectionRef) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut index = self.index.write();
        let Some(destinations) = index.by_owner.remove(&owner.to_bits()) else {
            return;
        };
        for destination in destinations {
            if let Some(keys) = index.keys.get_mut(&destination) {
                keys.retain(|key| key.owner != owner);
                if keys.is_empty() {
                    index.keys.remove(&destination);
                }
            }
        }
        let Destination(.., zone) = destinations[0];
        if let Some(count) = index.zones.get_mut(&zone) {
            *count -= 1;
            if *count == 0 {
                index.zones.remove(&zone);
            }
        }
        self.count.store(index.by_owner.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuple::Endpoint;

    fn endpoint(host: u8, part: u16) -> Endpoint {
        Endpoint {
            address: [10, 0, 0, host].into(),
            part,
        }
    }

    fn tunnel(host: u8, call: u16) -> [Tuple; 2] {
        let to = Tuple::new(Protocol::GRE, endpoint(host, call), endpoint(200, 9)).unwrap();
        [to, to.invert().unwrap()]
    }

    fn owner(number: u32) -> ConnectionRef {
        ConnectionRef::from_bits(1 << 32 | u64::from(number)).unwrap()
    }

    fn without_source(tuple: &Tuple) -> Tuple {
        let mut src = tuple.src();
        src.part = 0;
        tuple.with_src(src)
    }

    #[test]
    fn the_source_follows_from_the_destination() {
        let all = GreKeys::default();
        let both = tunnel(1, 7);
        assert!(all.add(owner(1), 3, both));
        for tuple in both {
            assert_eq!(all.complete(without_source(&tuple), 3), tuple);
            assert_eq!(
                all.complete(without_source(&tuple), 4),
                without_source(&tuple)
            );
        }
        // One tunnel, however often it is announced.
        assert!(all.add(owner(1), 3, both));
        assert!(!all.add(owner(1), 3, tunnel(1, 8)));
        all.remove(owner(1));
        assert_eq!(
            all.complete(without_source(&both[0]), 3),
            without_source(&both[0])
        );
        let index = all.index.read();
        assert!(index.keys.is_empty() && index.by_owner.is_empty() && index.zones.is_empty());
    }

    #[test]
    fn keys_are_limited() {
        let all = GreKeys::default();
        for number in 0..MAX_OF_DESTINATION as u32 {
            assert!(all.add(owner(number), 0, tunnel(1, 7)));
        }
        assert!(!all.add(owner(1000), 0, tunnel(1, 7)));
        for number in MAX_OF_DESTINATION..MAX_IN_ZONE {
            let call = (number / 100) as u16;
            assert!(all.add(
                owner(number as u32),
                0,
                tunnel(10 + (number % 100) as u8, 1000 + call)
            ));
        }
        assert!(!all.add(owner(1 << 20), 0, tunnel(150, 1)));
        assert!(all.add(owner(1 << 20), 1, tunnel(150, 1)));
    }
}
