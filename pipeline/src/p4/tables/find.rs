// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The data path of a table: build the key, find the record, copy its arguments into the frame.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use super::key::{hash, mix, mixed};
use super::lookup::{Found, Hit, SelectedAction};
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
        self.key_words
    }

    /// Packs the key, of [`Table::key_words`] words, from a frame.
    #[inline]
    pub(in crate::p4) fn gather(&self, frame: &[u64], key: &mut [u64]) {
        self.shape.plan.gather(frame, key);
    }

    /// Finds the record for a packed key.
    #[inline(always)]
    pub(in crate::p4) fn look_up(&self, key: &[u64], pin: &Pin<'_>) -> Option<u32> {
        // A table without keys has no entries.
        if self.count.load(Acquire) == 0 {
            return None;
        }
        match &self.search {
            Search::Exact => self.look_up_hashed(key, self.hash(key), pin),
            Search::Tuples { dir: Some(dir), .. } if !dir.has_overflowed() => dir.find(key[0]),
            Search::Tuples { .. } => self.look_up_tuples(key, pin),
        }
    }

    /// Finds the record for a packed key of a table with exact keys.
    #[inline(always)]
    pub(in crate::p4) fn look_up_hashed(
        &self,
        key: &[u64],
        hash: u64,
        pin: &Pin<'_>,
    ) -> Option<u32> {
        let index = self.index.read(pin);
        index.find(hash, |record| self.record_has(record, key))
    }

    /// Hashes an exact key; the usual widths are specialised as constants.
    #[inline(always)]
    pub(super) fn hash(&self, key: &[u64]) -> u64 {
        match *key {
            [word] => hash(self.seed, 1, |_| word),
            [first, second] => hash(self.seed, 2, |n| [first, second][n]),
            [first, second, third] => hash(self.seed, 3, |n| [first, second, third][n]),
            _ => hash(self.seed, key.len(), |n| key[n]),
        }
    }

    /// Returns whether a record of a table with exact keys has this key.
    #[inline(always)]
    pub(super) fn record_has(&self, record: u32, key: &[u64]) -> bool {
        let words = &self.records.record(record)[self.records.layout.key..][..key.len()];
        match (words, key) {
            ([word], [wanted]) => word.load(Relaxed) == *wanted,
            _ => words
                .iter()
                .zip(key)
                .all(|(word, wanted)| word.load(Relaxed) == *wanted),
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

    /// Looks up a packed key and records a hit, with what `hit` returns. Returns the entry and its
    /// action, or the default action on a miss. Copies the arguments of a direct action into the
    /// frame.
    #[inline(always)]
    pub(in crate::p4) fn find(
        &self,
        frame: &mut [u64],
        key: &[u64],
        pin: &Pin<'_>,
        hit: impl FnOnce() -> Hit,
    ) -> Found {
        self.complete(self.look_up(key, pin), frame, hit)
    }

    /// The same for a lookup whose stages have run.
    #[inline(always)]
    pub(in crate::p4) fn find_staged(
        &self,
        frame: &mut [u64],
        key: &[u64],
        staged: StagedLookup,
        pin: &Pin<'_>,
        hit: impl FnOnce() -> Hit,
    ) -> Found {
        let record = match staged.known() {
            Some(record) => record,
            None => self.look_up(key, pin),
        };
        self.complete(record, frame, hit)
    }

    /// The default action of a table whose number of entries ([`Table::COUNT`]) was 0.
    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    #[inline(always)]
    pub(in crate::p4) fn miss(&self, frame: &mut [u64], hit: impl FnOnce() -> Hit) -> Found {
        self.complete(None, frame, hit)
    }

    #[inline(always)]
    fn complete(&self, record: Option<u32>, frame: &mut [u64], hit: impl FnOnce() -> Hit) -> Found {
        let reached = record.unwrap_or_else(|| self.default.load(Acquire));
        let words = self.records.record(reached);
        let head = Head::of(words[0].load(Relaxed));
        if self.records_hits && record.is_some() {
            self.record_hit(head, hit());
        }
        Found {
            entry: record.map(|_| EntryId(head.id)),
            action: self.select_action(words, head, frame),
        }
    }

    /// Records a hit of an entry.
    fn record_hit(&self, head: Head, hit: Hit) {
        let id = head.id as usize;
        if let Some(counts) = self.counts.as_ref().filter(|_| self.counts_hits) {
            counts.add(hit.worker, id, hit.weight);
        }
        if let Some(timers) = &self.timers {
            timers.hit(id, hit.now_ns);
        }
    }

    /// Copies the default action's arguments into the frame. Returns the action.
    pub(super) fn reach_default(&self, frame: &mut [u64]) -> u32 {
        let record = self.default.load(Acquire);
        let words = self.records.record(record);
        let head = Head::of(words[0].load(Relaxed));
        self.select_action(words, head, frame);
        head.action.into()
    }

    #[inline(always)]
    fn select_action(&self, words: &[AtomicU64], head: Head, frame: &mut [u64]) -> SelectedAction {
        let arguments = &words[self.records.layout.arguments..];
        if head.kind != 0 {
            let number = arguments[0].load(Relaxed) as u32;
            return match head.kind {
                1 => SelectedAction::Member(number),
                _ => SelectedAction::Group(number),
            };
        }
        let slots = &self.argument_slots[head.action as usize];
        for (slot, word) in slots.iter().zip(arguments) {
            frame[*slot as usize] = word.load(Relaxed);
        }
        SelectedAction::Direct(head.action.into())
    }

    /// The time at which the entry's timer was last restarted; 0 if the table has no timers.
    pub(super) fn last_hit_ns(&self, id: u32) -> u64 {
        let timers = self.timers.as_ref();
        timers.map_or(0, |t| t.since[id as usize].load(Relaxed))
    }
}
