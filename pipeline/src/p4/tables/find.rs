// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What packets do with a table: gather the key, find the record, put its arguments in place.

use std::sync::atomic::Ordering::{Acquire, Relaxed};

use super::key::hash;
use super::record::Head;
use super::{EntryId, Search, Table};
use crate::p4::memory::Pin;

/// A packet's way to a table.
#[derive(Clone, Copy)]
pub(in crate::p4) struct Visit<'a> {
    pub(in crate::p4) pin: &'a Pin<'a>,
    pub(in crate::p4) worker: usize,
    /// How long the packet is.
    pub(in crate::p4) bytes: u64,
    pub(in crate::p4) now_ns: u64,
}

/// What a lookup came to.
pub(in crate::p4) struct Found {
    pub(in crate::p4) entry: Option<EntryId>,
    pub(in crate::p4) action: Reached,
}

/// The action that a lookup came to: the table's own, or one that its profile knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::p4) enum Reached {
    Direct(u32),
    Member(u32),
    Group(u32),
}

impl Table {
    /// Packs the key that is in a frame.
    #[inline]
    pub(in crate::p4) fn gather(&self, frame: &[u64], key: &mut Vec<u64>) {
        self.shape.plan.gather(frame, key);
    }

    /// The record for a packed key.
    #[inline]
    pub(super) fn look_up(&self, key: &[u64], pin: &Pin<'_>) -> Option<u32> {
        if self.is_keyless {
            return None;
        }
        match &self.search {
            Search::Exact => {
                let hash = hash(self.seed, key.iter().copied());
                let from = self.records.layout.key;
                self.index.read(pin).find(hash, |record| {
                    let words = self.records.words(record, from, key.len());
                    words.zip(key).all(|(a, b)| a == *b)
                })
            }
            Search::Tuples { dir: Some(dir), .. } if !dir.has_overflowed() => dir.find(key[0]),
            Search::Tuples { .. } => self.look_up_tuples(key, pin),
        }
    }

    fn look_up_tuples(&self, key: &[u64], pin: &Pin<'_>) -> Option<u32> {
        let Search::Tuples { tuples, .. } = &self.search else {
            return None;
        };
        let (tuples, index) = (tuples.read(pin), self.index.read(pin));
        let width = self.shape.plan.words;
        let (bits, ranges) = key.split_at(width);
        let mut best: Option<(i64, u64, u32)> = None;
        for (n, tuple) in tuples.list.iter().enumerate() {
            if best.is_some_and(|best| best.0 > tuple.largest) {
                break;
            }
            let mask = &tuples.masks[n * width..][..width];
            let masked = || bits.iter().zip(mask).map(|(b, m)| b & m);
            let hash = hash(self.tuple_seed(tuple.id), masked());
            if !tuple.filter.may_have(hash) {
                continue;
            }
            let from = self.records.layout.key;
            let mut next = index.find(hash, |record| {
                self.records.tuple(record) == tuple.id
                    && self.records.words(record, from, width).eq(masked())
            });
            // Those of the same value, the best first.
            while let Some(record) = next {
                let rank = (self.records.priority(record), self.records.sequence(record));
                let is_better = best.is_none_or(|b| rank.0 > b.0 || rank.0 == b.0 && rank.1 < b.1);
                if !is_better {
                    break;
                }
                if self.is_in_ranges(record, ranges) {
                    best = Some((rank.0, rank.1, record));
                    break;
                }
                next = self.records.next(record);
            }
        }
        best.map(|best| best.2)
    }

    #[inline]
    pub(super) fn tuple_seed(&self, tuple: u32) -> u64 {
        self.seed ^ u64::from(tuple).wrapping_mul(0x9fb2_1c65_1e98_df25)
    }

    fn is_in_ranges(&self, record: u32, key: &[u64]) -> bool {
        let mut at = self.records.layout.ranges;
        let mut rest = key;
        for limbs in &self.range_limbs {
            let (value, behind) = rest.split_at(*limbs);
            rest = behind;
            let bound = |from: usize| {
                // From the most significant limb down.
                let limbs = value.iter().enumerate().rev();
                let mut orders =
                    limbs.map(|(n, limb)| limb.cmp(&self.records.word(record, from + n)));
                orders
                    .find(|order| order.is_ne())
                    .unwrap_or(std::cmp::Ordering::Equal)
            };
            if bound(at).is_lt() || bound(at + limbs).is_gt() {
                return false;
            }
            at += 2 * limbs;
        }
        true
    }

    /// Looks up a packed key and counts: the entry, and what it does; without entry, the default
    /// action. Puts the arguments of an action into the frame.
    pub(in crate::p4) fn find(&self, frame: &mut [u64], key: &[u64], visit: Visit<'_>) -> Found {
        let record = self.look_up(key, visit.pin);
        let reached = record.unwrap_or_else(|| self.default.load(Acquire));
        let head = self.records.head(reached);
        if record.is_some() {
            self.note(head, visit);
        }
        Found {
            entry: record.map(|_| EntryId(head.id)),
            action: self.reach(reached, head, frame),
        }
    }

    /// An entry was hit.
    #[inline]
    fn note(&self, head: Head, visit: Visit<'_>) {
        let id = head.id as usize;
        if let Some(counts) = self.counts.as_ref().filter(|_| self.counts_hits) {
            counts.add(visit.worker, id, visit.bytes);
        }
        if let Some(timers) = &self.timers {
            timers.hit(id, visit.now_ns);
        }
    }

    /// Puts the default action's arguments into the frame; which action it is.
    pub(super) fn reach_default(&self, frame: &mut [u64]) -> u32 {
        let record = self.default.load(Acquire);
        let head = self.records.head(record);
        self.reach(record, head, frame);
        head.action.into()
    }

    #[inline]
    fn reach(&self, record: u32, head: Head, frame: &mut [u64]) -> Reached {
        let from = self.records.layout.arguments;
        if head.kind != 0 {
            let number = self.records.word(record, from) as u32;
            return match head.kind {
                1 => Reached::Member(number),
                _ => Reached::Group(number),
            };
        }
        let mut at = from;
        for (slot, limbs) in &self.shape.arguments[head.action as usize] {
            if *limbs == 1 {
                frame[*slot as usize] = self.records.word(record, at);
            } else {
                let words = self.records.words(record, at, *limbs as usize);
                let slots = &mut frame[*slot as usize..][..*limbs as usize];
                slots.iter_mut().zip(words).for_each(|(s, w)| *s = w);
            }
            at += *limbs as usize;
        }
        Reached::Direct(head.action.into())
    }

    /// How often an entry is told to have been hit, at the least.
    pub(super) fn last_hit_ns(&self, id: u32) -> u64 {
        let timers = self.timers.as_ref();
        timers.map_or(0, |t| t.since[id as usize].load(Relaxed))
    }
}
