// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tuple space search: entries with the same mask form one tuple, which is looked up by hash.
//! Tuples are searched in the order of their largest priority, until none can have a better entry.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::Arc;

/// A filter for the hashes of a tuple's entries: most tuples have no entry for a packet, and the
/// filter is closer in the cache hierarchy than the hash table. A bit stays set after its entry is
/// removed; that costs only time, until the tuple is removed.
#[derive(Debug)]
pub(super) struct Filter([AtomicU64; Filter::WORDS]);

impl Default for Filter {
    fn default() -> Filter {
        Filter([const { AtomicU64::new(0) }; Filter::WORDS])
    }
}

impl Filter {
    const WORDS: usize = 32;

    /// The bit of a key, by the first half of its hash.
    #[inline]
    fn place(mix: u64) -> (usize, u32) {
        let bits = (mix >> 20) as usize;
        (bits / 64 % Filter::WORDS, (bits % 64) as u32)
    }

    /// Sets the bit of a key; must precede the first entry with it.
    pub(super) fn add(&self, mix: u64) {
        let (word, bit) = Filter::place(mix);
        // Packets keep the cache line while nothing in it changes.
        if self.0[word].load(Acquire) >> bit & 1 == 0 {
            self.0[word].fetch_or(1 << bit, Release);
        }
    }

    /// Returns 1 if there may be an entry, 0 if not.
    #[inline]
    pub(super) fn may_have(&self, mix: u64) -> u64 {
        let (word, bit) = Filter::place(mix);
        self.0[word].load(Acquire) >> bit & 1
    }
}

/// The hash seed of a tuple's keys, so that equal keys of two tuples differ.
#[inline]
pub(super) fn tuple_seed(seed: u64, tuple: u32) -> u64 {
    seed ^ u64::from(tuple).wrapping_mul(0x9fb2_1c65_1e98_df25)
}

/// A tuple as seen by packets.
#[derive(Clone, Debug)]
pub(super) struct Tuple {
    pub(super) id: u32,
    /// The hash seed of its keys.
    pub(super) seed: u64,
    pub(super) largest: i64,
    pub(super) filter: Arc<Filter>,
}

/// All tuples, the largest priority first, and their masks, concatenated.
#[derive(Clone, Debug, Default)]
pub(super) struct Tuples {
    pub(super) list: Vec<Tuple>,
    pub(super) masks: Vec<u64>,
}

/// The writer's state of a tuple.
#[derive(Clone, Debug)]
pub(super) struct Info {
    pub(super) mask: Box<[u64]>,
    pub(super) largest: i64,
    pub(super) count: u64,
    pub(super) filter: Arc<Filter>,
}

/// The writer's state of all tuples.
#[derive(Default)]
pub(super) struct Masks {
    ids: HashMap<Box<[u64]>, u32>,
    infos: HashMap<u32, Info>,
    next: u32,
}

impl Masks {
    pub(super) fn id(&self, mask: &[u64]) -> Option<u32> {
        self.ids.get(mask).copied()
    }

    pub(super) fn info(&self, id: u32) -> Option<&Info> {
        self.infos.get(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.infos.len()
    }

    /// Counts an entry. Returns its tuple, and whether the change must be published to packets.
    /// Tuple numbers are never reused, so that records of an old tuple are not mistaken for those
    /// of a new one.
    pub(super) fn add(&mut self, mask: &[u64], priority: i64) -> (u32, bool) {
        if let Some(id) = self.ids.get(mask) {
            if let Some(info) = self.infos.get_mut(id) {
                info.count += 1;
                let is_larger = priority > info.largest;
                info.largest = info.largest.max(priority);
                return (*id, is_larger);
            }
        }
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        let info = Info {
            mask: mask.into(),
            largest: priority,
            count: 1,
            filter: Arc::default(),
        };
        self.ids.insert(mask.into(), id);
        self.infos.insert(id, info);
        (id, true)
    }

    /// Uncounts an entry. Returns whether its tuple is empty.
    pub(super) fn remove(&mut self, id: u32) -> bool {
        let Some(info) = self.infos.get_mut(&id) else {
            return false;
        };
        info.count -= 1;
        let is_empty = info.count == 0;
        if is_empty {
            if let Some(info) = self.infos.remove(&id) {
                self.ids.remove(&info.mask);
            }
        }
        is_empty
    }

    /// The tuples as seen by packets; `seed` is the table's.
    pub(super) fn tuples(&self, seed: u64) -> Tuples {
        let mut all: Vec<_> = self.infos.iter().collect();
        all.sort_by_key(|(id, info)| (std::cmp::Reverse(info.largest), **id));
        let list = all.iter().map(|(id, info)| Tuple {
            id: **id,
            seed: tuple_seed(seed, **id),
            largest: info.largest,
            filter: info.filter.clone(),
        });
        Tuples {
            list: list.collect(),
            masks: all
                .iter()
                .flat_map(|(_, info)| info.mask.iter().copied())
                .collect(),
        }
    }
}
