// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tuple space: entries with the same mask are one tuple, which is looked up by hash. Tuples are
//! asked in the order of their largest priority, until none can have a better entry.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::Arc;

/// Which hashes a tuple may have entries for: most tuples have none for a packet, and this is nearer
/// than the hash table. A bit stays when its entry goes; that costs time only, and ends when the
/// tuple does.
#[derive(Debug)]
pub(super) struct Filter([AtomicU64; Filter::WORDS]);

impl Default for Filter {
    fn default() -> Filter {
        Filter([const { AtomicU64::new(0) }; Filter::WORDS])
    }
}

impl Filter {
    const WORDS: usize = 32;

    /// Where a key is, by the first half of its hash.
    #[inline]
    fn place(mix: u64) -> (usize, u32) {
        let bits = (mix >> 20) as usize;
        (bits / 64 % Filter::WORDS, (bits % 64) as u32)
    }

    /// Before the first entry with that key is there.
    pub(super) fn add(&self, mix: u64) {
        let (word, bit) = Filter::place(mix);
        // Packets keep the line while nothing in it changes.
        if self.0[word].load(Acquire) >> bit & 1 == 0 {
            self.0[word].fetch_or(1 << bit, Release);
        }
    }

    /// 1 if there may be one, or 0.
    #[inline]
    pub(super) fn may_have(&self, mix: u64) -> u64 {
        let (word, bit) = Filter::place(mix);
        self.0[word].load(Acquire) >> bit & 1
    }
}

/// What keys of a tuple are hashed with, so that equal ones of two are apart.
#[inline]
pub(super) fn tuple_seed(seed: u64, tuple: u32) -> u64 {
    seed ^ u64::from(tuple).wrapping_mul(0x9fb2_1c65_1e98_df25)
}

/// A tuple as packets see it.
#[derive(Clone, Debug)]
pub(super) struct Tuple {
    pub(super) id: u32,
    /// What its keys are hashed with.
    pub(super) seed: u64,
    pub(super) largest: i64,
    pub(super) filter: Arc<Filter>,
}

/// All tuples, the largest priority first, and their masks one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Tuples {
    pub(super) list: Vec<Tuple>,
    pub(super) masks: Vec<u64>,
}

/// What the writer knows of a tuple.
#[derive(Clone, Debug)]
pub(super) struct Info {
    pub(super) mask: Box<[u64]>,
    pub(super) largest: i64,
    pub(super) count: u64,
    pub(super) filter: Arc<Filter>,
}

/// The writer's part.
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

    /// Counts an entry; gives its tuple, and whether packets have to be told of a change. Numbers
    /// are never used again, so that records of an old tuple are not taken for those of a new one.
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

    /// An entry is gone; tells whether its tuple is empty.
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

    /// As packets see it; `seed` is the table's.
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
