// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The translations of sources, so that a source keeps its translation towards other destinations
//! (`find_appropriate_src`).
//!
//! Linux chains all connections of a source. Here a set of four places has the latest ones of the
//! sources that share it: a fixed amount of memory, and no lock. What is in the way of others is
//! forgotten; then the translation is chosen anew.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::hash::Seed;
use crate::table::ConnectionRef;
use crate::tuple::{Protocol, Tuple};

const PLACES: usize = 4;
/// Connections of the table for each set.
const CONNECTIONS_PER_SET: usize = 16;

/// The latest connections with a translated source, in sets by source.
pub(crate) struct Sources {
    sets: Box<[[AtomicU64; PLACES]]>,
    seed: Seed,
}

impl Sources {
    /// No connections yet, of a table for `capacity` of them.
    pub(crate) fn new(capacity: usize, seed: Seed) -> Self {
        let sets = (capacity / CONNECTIONS_PER_SET).max(1).next_power_of_two();
        Sources {
            sets: (0..sets).map(|_| Default::default()).collect(),
            seed,
        }
    }

    /// The memory of the sets, in bytes.
    pub(crate) fn size(&self) -> usize {
        size_of_val(&*self.sets)
    }

    fn set(&self, tuple: &Tuple, zone: u16) -> &[AtomicU64; PLACES] {
        let bits = tuple.src_bits();
        let Protocol(protocol) = tuple.protocol();
        let rest = u64::from(tuple.src().part) | u64::from(zone) << 16 | u64::from(protocol) << 32;
        let hash = self.seed.hash(&[bits as u64, (bits >> 64) as u64, rest]);
        &self.sets[hash as usize & (self.sets.len() - 1)]
    }

    /// Adds a connection, before the others, by the original tuple's source. With two at a time, one may
    /// be lost.
    pub(crate) fn add(&self, original: &Tuple, zone: u16, connection: ConnectionRef) {
        let mut moved = connection.to_bits();
        for place in self.set(original, zone) {
            moved = place.swap(moved, Ordering::Relaxed);
            if moved == 0 {
                return;
            }
        }
    }

    /// The connections in the set of a source, the latest first. They may be of other sources, and gone.
    pub(crate) fn of(&self, tuple: &Tuple, zone: u16) -> impl Iterator<Item = ConnectionRef> + '_ {
        let places = self.set(tuple, zone).iter();
        places.filter_map(|place| ConnectionRef::from_bits(place.load(Ordering::Relaxed)))
    }
}
