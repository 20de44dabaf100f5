// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Entries as read by packets: records of words. A record is immutable while it is reachable,
//! except for its link to the next one. A modified entry is a new record.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::shape::Shape;
use crate::p4::memory::{prefetch, Words};

/// The layout of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Set if records have a tuple, a priority and a successor.
    pub(super) chained: bool,
    pub(super) key: usize,
    pub(super) ranges: usize,
    pub(super) arguments: usize,
    /// Words from one record to the next.
    stride: usize,
}

/// The word with id, action and kind; the other words exist only in chained records.
const HEAD: usize = 0;
const NEXT: usize = 1;
const PRIORITY: usize = 2;
const SEQUENCE: usize = 3;

impl Layout {
    /// The layout of the records of a table.
    pub(super) fn of(shape: &Shape) -> Layout {
        let plan = &shape.plan;
        let arguments = shape.argument_words();
        Layout::new(!shape.is_exact(), plan.words, plan.range_words, arguments)
    }

    fn new(chained: bool, key: usize, ranges: usize, arguments: usize) -> Layout {
        let first = if chained { 4 } else { 1 };
        let used = first + key + 2 * ranges + arguments;
        Layout {
            chained,
            key: first,
            ranges: first + key,
            arguments: first + key + 2 * ranges,
            // Avoids records that straddle cache lines.
            stride: match used {
                0..=8 => used.next_power_of_two(),
                _ => used.next_multiple_of(8),
            },
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.stride * 8
    }
}

/// The first word of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) id: u32,
    pub(super) action: u16,
    /// 0: the action with its arguments; 1: a member, 2: a group, whose number is the argument.
    pub(super) kind: u16,
}

impl Head {
    /// The head that the first word of a record has.
    #[inline]
    pub(super) fn of(word: u64) -> Head {
        Head {
            id: word as u32,
            action: (word >> 32) as u16,
            kind: (word >> 48) as u16,
        }
    }

    fn word(self) -> u64 {
        u64::from(self.id) | u64::from(self.action) << 32 | u64::from(self.kind) << 48
    }
}

/// All records of a table.
pub(super) struct Records {
    words: Words,
    pub(super) layout: Layout,
}

impl Records {
    /// The offset of the address of its words.
    #[cfg(feature = "jit")]
    pub(super) const START: usize = std::mem::offset_of!(Records, words) + Words::START;

    pub(super) fn new(count: usize, layout: Layout) -> Option<Records> {
        Some(Records {
            words: Words::new(count.checked_mul(layout.stride)?)?,
            layout,
        })
    }

    #[inline]
    fn at(&self, record: u32, n: usize) -> &AtomicU64 {
        &self.words[record as usize * self.layout.stride + n]
    }

    /// The words of a record; the first one is its head.
    #[inline]
    pub(super) fn record(&self, record: u32) -> &[AtomicU64] {
        let stride = self.layout.stride;
        &self.words[record as usize * stride..][..stride]
    }

    /// Prefetches a record.
    #[inline]
    pub(super) fn prefetch(&self, record: u32) {
        prefetch(self.at(record, 0));
        if self.layout.stride > 8 {
            prefetch(self.at(record, 8));
        }
    }

    #[inline]
    pub(super) fn head(&self, record: u32) -> Head {
        Head::of(self.at(record, HEAD).load(Relaxed))
    }

    /// An iterator over words starting at `from`.
    #[inline]
    pub(super) fn words(
        &self,
        record: u32,
        from: usize,
        count: usize,
    ) -> impl Iterator<Item = u64> + '_ {
        let start = record as usize * self.layout.stride + from;
        self.words[start..][..count].iter().map(|w| w.load(Relaxed))
    }

    #[inline]
    pub(super) fn word(&self, record: u32, n: usize) -> u64 {
        self.at(record, n).load(Relaxed)
    }

    /// The tuple of a chained record.
    #[inline]
    pub(super) fn tuple(&self, record: u32) -> u32 {
        (self.at(record, NEXT).load(Relaxed) >> 32) as u32
    }

    #[inline]
    pub(super) fn next(&self, record: u32) -> Option<u32> {
        (self.at(record, NEXT).load(Acquire) as u32).checked_sub(1)
    }

    pub(super) fn set_next(&self, record: u32, next: Option<u32>) {
        let place = self.at(record, NEXT);
        let low = next.map_or(0, |n| u64::from(n) + 1);
        let high = place.load(Relaxed) & !u64::from(u32::MAX);
        place.store(high | low, Release);
    }

    #[inline]
    pub(super) fn priority(&self, record: u32) -> i64 {
        self.at(record, PRIORITY).load(Relaxed) as i64
    }

    #[inline]
    pub(super) fn sequence(&self, record: u32) -> u64 {
        self.at(record, SEQUENCE).load(Relaxed)
    }

    /// Writes the first word of an unreachable record.
    pub(super) fn set_head(&self, record: u32, head: Head) {
        self.at(record, HEAD).store(head.word(), Relaxed);
    }

    /// Writes the fields that only chained records have.
    pub(super) fn write_chained(&self, record: u32, tuple: u32, priority: i64, sequence: u64) {
        let tuple = u64::from(tuple) << 32;
        self.store(record, NEXT, &[tuple, priority as u64, sequence]);
    }

    pub(super) fn store(&self, record: u32, from: usize, words: &[u64]) {
        for (n, word) in words.iter().enumerate() {
            self.at(record, from + n).store(*word, Relaxed);
        }
    }
}
