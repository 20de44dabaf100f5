// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Longest prefix match on up to 32 bits in one or two reads: the record for each value of the
//! upper 24 bits, and groups of 256 for longer prefixes (DIR-24-8).

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::p4::memory::{prefetch, Arena, Epochs, Limbo};

/// Maximum number of groups; beyond it, lookups use the tuples instead.
const MAX_GROUPS: u32 = 1 << 17;
/// Marks a group's number among records.
const IS_GROUP: u32 = 1 << 31;

/// The lookup structure. Cells hold record numbers plus one; 0 is none.
pub(super) struct Dir {
    /// The key's width.
    width: u32,
    upper: Arena<AtomicU32>,
    groups: Arena<AtomicU32>,
    /// The record of the zero-length prefix.
    all: AtomicU32,
    overflowed: AtomicBool,
}

/// The writer's state.
#[derive(Default)]
pub(super) struct Groups {
    next: u32,
    free: Vec<u32>,
    limbo: Limbo<u32>,
}

impl Dir {
    pub(super) fn new(width: u32) -> Option<Dir> {
        Some(Dir {
            width,
            upper: Arena::new(1 << 24)?,
            groups: Arena::new(MAX_GROUPS as usize * 256)?,
            all: AtomicU32::new(0),
            overflowed: AtomicBool::new(false),
        })
    }

    /// Returns whether there was not enough space for all prefixes.
    #[inline]
    pub(super) fn has_overflowed(&self) -> bool {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// Extends a value to 32 bits.
    #[inline]
    fn wide(&self, value: u64) -> u32 {
        (value << (32 - self.width)) as u32
    }

    /// Finds the record of the longest prefix.
    #[inline]
    pub(super) fn find(&self, value: u64) -> Option<u32> {
        let value = self.wide(value);
        let mut found = self.upper[value as usize >> 8].load(Ordering::Acquire);
        if found & IS_GROUP != 0 {
            let group = (found & !IS_GROUP) as usize * 256;
            found = self.groups[group + (value & 0xff) as usize].load(Ordering::Acquire);
        }
        if found == 0 {
            found = self.all.load(Ordering::Acquire);
        }
        found.checked_sub(1)
    }

    /// Prefetches the cell that [`Dir::find`] reads first.
    #[inline]
    pub(super) fn prefetch(&self, value: u64) {
        prefetch(&self.upper[self.wide(value) as usize >> 8]);
    }

    /// Updates the cells of all values with a prefix. `change` maps the old content to the new one.
    pub(super) fn change(
        &self,
        value: u64,
        length: u32,
        writer: &mut Groups,
        epochs: &Epochs,
        change: impl Fn(u32) -> u32,
    ) {
        let update = |place: &AtomicU32| {
            let old = place.load(Ordering::Relaxed);
            let new = change(old);
            if new != old {
                place.store(new, Ordering::Release);
            }
        };
        if length == 0 {
            return update(&self.all);
        }
        if self.has_overflowed() {
            return;
        }
        let value = self.wide(value);
        let first = value as usize >> 8;
        if length <= 24 {
            for place in &self.upper[first..first + (1 << (24 - length))] {
                match place.load(Ordering::Relaxed) {
                    group if group & IS_GROUP != 0 => self.group(group).iter().for_each(update),
                    _ => update(place),
                }
            }
            return;
        }
        let place = &self.upper[first];
        let mut group = place.load(Ordering::Relaxed);
        if group & IS_GROUP == 0 {
            let Some(new) = writer.take(epochs) else {
                self.overflowed.store(true, Ordering::Relaxed);
                return;
            };
            for cell in self.group(new) {
                cell.store(group, Ordering::Relaxed);
            }
            group = new | IS_GROUP;
            place.store(group, Ordering::Release);
        }
        let cells = self.group(group);
        let from = (value & 0xff) as usize;
        cells[from..from + (1 << (32 - length))]
            .iter()
            .for_each(update);
        let only = cells[0].load(Ordering::Relaxed);
        if cells.iter().all(|c| c.load(Ordering::Relaxed) == only) {
            place.store(only, Ordering::Release);
            writer.limbo.add(group & !IS_GROUP, epochs);
        }
    }

    fn group(&self, group: u32) -> &[AtomicU32] {
        &self.groups[(group & !IS_GROUP) as usize * 256..][..256]
    }
}

impl Groups {
    fn take(&mut self, epochs: &Epochs) -> Option<u32> {
        let free = &mut self.free;
        self.limbo.free(epochs, |group| free.push(group));
        if let Some(group) = free.pop() {
            return Some(group);
        }
        let new = self.next;
        self.next += u32::from(new < MAX_GROUPS);
        (new < MAX_GROUPS).then_some(new)
    }
}
