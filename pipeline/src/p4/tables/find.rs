// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The data path of a table: build the key, find the record, copy its arguments into the frame.

use std::sync::atomic::Ordering::{Acquire, Relaxed};

use super::key::{hash, mix, mixed};
use super::lookup::{Found, Lookup, SelectedAction};
use super::record::Head;
use super::staged::StagedLookup;
use super::{EntryId, Search, Table};
use crate::p4::memory::Pin;

/// Number of tuples whose filters are tested in one batch.
const TUPLES: usize = 16;

impl Table {
    /// The number of words of a packed key.
    #[inline]
    pub(in crate::p4) fn key_words(&self) -> usize {
        self.shape.plan.length()
    }

    /// Packs the key, of [`Table::key_words`] words, from a frame.
    #[inline]
    pub(in crate::p4) fn gather(&self, frame: &[u64], key: &mut [u64]) {
        self.shape.plan.gather(frame, key);
    }

    /// Finds the record for a packed key.
    #[inline]
    pub(super) fn look_up(&self, key: &[u64], lookup: Lookup<'_>) -> Option<u32> {
        if self.is_keyless || self.count.load(Acquire) == 0 {
            return None;
        }
        match &self.search {
            Search::Exact => {
                let index = self.index.read(lookup.pin);
                index.find(self.hash(key), |record| self.record_has(record, key))
            }
            Search::Tuples { dir: Some(dir), .. } if !dir.has_overflowed() => dir.find(key[0]),
            Search::Tuples { .. } => self.look_up_tuples(key, lookup.pin),
        }
    }

    /// Hashes an exact key; the usual widths are specialised as constants.
    #[inline(always)]
    pub(super) fn hash(&self, key: &[u64]) -> u64 {
        match *key {
            [word] => hash(self.seed, 1, |_| word),
            [first, second] => hash(self.seed, 2, |n| [first, second][n]),
            _ => hash(self.seed, key.len(), |n| key[n]),
        }
    }

    /// Returns whether a record of a table with exact keys has this key.
    #[inline(always)]
    pub(super) fn record_has(&self, record: u32, key: &[u64]) -> bool {
        let from = self.records.layout.key;
        match *key {
            [word] => self.records.word(record, from) == word,
            [first, second] => {
                let mut words = self.records.words(record, from, 2);
                words.next() == Some(first) && words.next() == Some(second)
            }
            _ => self
                .records
                .words(record, from, key.len())
                .eq(key.iter().copied()),
        }
    }

    #[inline(never)]
    fn look_up_tuples(&self, key: &[u64], pin: &Pin<'_>) -> Option<u32> {
        match self.shape.plan.words {
            1 => self.look_up_masked(key, 1, pin),
            2 => self.look_up_masked(key, 2, pin),
            width => self.look_up_masked(key, width, pin),
        }
    }

    #[inline(always)]
    fn look_up_masked(&self, key: &[u64], width: usize, pin: &Pin<'_>) -> Option<u32> {
        let Search::Tuples { tuples, .. } = &self.search else {
            return None;
        };
        let (tuples, index) = (tuples.read(pin), self.index.read(pin));
        let (bits, ranges) = key.split_at(width);
        let (mut best, mut priority, mut sequence) = (None, i64::MIN, u64::MAX);
        for (n, some) in tuples.list.chunks(TUPLES).enumerate() {
            if best.is_some() && priority > some[0].largest {
                break;
            }
            let masks = &tuples.masks[n * TUPLES * width..][..some.len() * width];
            // First, without branches, the set of tuples whose filter matches: this set is
            // unpredictable.
            let (mut mixes, mut likely) = ([0; TUPLES], 0u64);
            let (mut at, mut bit) = (0, 0u32);
            for (tuple, mixed) in some.iter().zip(&mut mixes) {
                let mask = &masks[at..][..width];
                *mixed = mix(tuple.seed, width, |n| bits[n] & mask[n]);
                likely |= tuple.filter.may_have(*mixed) << bit;
                (at, bit) = (at + width, bit + 1);
            }
            while likely != 0 {
                let n = likely.trailing_zeros() as usize;
                likely &= likely - 1;
                let (tuple, mask) = (&some[n], &masks[n * width..][..width]);
                if best.is_some() && priority > tuple.largest {
                    break;
                }
                let masked = || bits.iter().zip(mask).map(|(b, m)| b & m);
                let from = self.records.layout.key;
                let mut next = index.find(mixed(tuple.seed, mixes[n]), |record| {
                    self.records.tuple(record) == tuple.id
                        && self.records.words(record, from, width).eq(masked())
                });
                // Entries of the same value, in order of priority.
                while let Some(record) = next {
                    let (its, order) =
                        (self.records.priority(record), self.records.sequence(record));
                    let is_better = its > priority || its == priority && order < sequence;
                    if best.is_some() && !is_better {
                        break;
                    }
                    if self.is_in_ranges(record, ranges) {
                        (best, priority, sequence) = (next, its, order);
                        break;
                    }
                    next = self.records.next(record);
                }
            }
        }
        best
    }

    fn is_in_ranges(&self, record: u32, key: &[u64]) -> bool {
        let mut at = self.records.layout.ranges;
        let mut rest = key;
        for limbs in &self.range_limbs {
            let (value, behind) = rest.split_at(*limbs);
            rest = behind;
            if let [value] = value {
                let (low, high) = (
                    self.records.word(record, at),
                    self.records.word(record, at + 1),
                );
                if !(low..=high).contains(value) {
                    return false;
                }
                at += 2;
                continue;
            }
            let bound = |from: usize| {
                // Compares from the most significant limb down.
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

    /// Looks up a packed key and updates counters. Returns the entry and its action, or the default
    /// action on a miss. Copies the arguments of a direct action into the frame.
    #[inline]
    pub(in crate::p4) fn find(&self, frame: &mut [u64], key: &[u64], lookup: Lookup<'_>) -> Found {
        self.complete(self.look_up(key, lookup), frame, lookup)
    }

    /// The same for a lookup whose stages have run.
    #[inline]
    pub(in crate::p4) fn find_staged(
        &self,
        frame: &mut [u64],
        key: &[u64],
        staged: StagedLookup,
        lookup: Lookup<'_>,
    ) -> Found {
        let record = match staged.known() {
            Some(record) => record,
            None => self.look_up(key, lookup),
        };
        self.complete(record, frame, lookup)
    }

    #[inline]
    fn complete(&self, record: Option<u32>, frame: &mut [u64], lookup: Lookup<'_>) -> Found {
        let reached = record.unwrap_or_else(|| self.default.load(Acquire));
        let head = self.records.head(reached);
        if record.is_some() {
            self.count_hit(head, lookup);
        }
        Found {
            entry: record.map(|_| EntryId(head.id)),
            action: self.select_action(reached, head, frame),
        }
    }

    /// Records a hit of an entry.
    #[inline]
    fn count_hit(&self, head: Head, lookup: Lookup<'_>) {
        let id = head.id as usize;
        if let Some(counts) = self.counts.as_ref().filter(|_| self.counts_hits) {
            counts.add(lookup.worker, id, lookup.weight);
        }
        if let Some(timers) = &self.timers {
            timers.hit(id, lookup.now_ns);
        }
    }

    /// Copies the default action's arguments into the frame. Returns the action.
    pub(super) fn reach_default(&self, frame: &mut [u64]) -> u32 {
        let record = self.default.load(Acquire);
        let head = self.records.head(record);
        self.select_action(record, head, frame);
        head.action.into()
    }

    #[inline]
    fn select_action(&self, record: u32, head: Head, frame: &mut [u64]) -> SelectedAction {
        let from = self.records.layout.arguments;
        if head.kind != 0 {
            let number = self.records.word(record, from) as u32;
            return match head.kind {
                1 => SelectedAction::Member(number),
                _ => SelectedAction::Group(number),
            };
        }
        let slots = &self.shape.argument_slots[head.action as usize];
        let words = self.records.words(record, from, slots.len());
        for (slot, word) in slots.iter().zip(words) {
            frame[*slot as usize] = word;
        }
        SelectedAction::Direct(head.action.into())
    }

    /// The time at which the entry's timer was last restarted; 0 if the table has no timers.
    pub(super) fn last_hit_ns(&self, id: u32) -> u64 {
        let timers = self.timers.as_ref();
        timers.map_or(0, |t| t.since[id as usize].load(Relaxed))
    }
}
