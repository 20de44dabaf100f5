// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Free slots: a stack that is linked through the slots, without a lock.

use std::sync::atomic::Ordering;

use super::slot::{Index, Slot, NO_SLOT};
use crate::memory::{array, prefetch_all};
use crate::sync::AtomicU64;

pub(super) struct FreeList {
    /// The number of the first slot in the low half; the high half changes with each operation, so
    /// that a comparison does not mistake a slot that was taken and given back.
    head: AtomicU64,
}

fn next_head(old: u64, first: u32) -> u64 {
    (old >> 32).wrapping_add(1) << 32 | u64::from(first)
}

impl FreeList {
    /// Slots that are linked in their order.
    pub(super) fn link(count: usize) -> Box<[Slot]> {
        let last = count as u32 - 1;
        array(count, |index| {
            let index = index as u32;
            Slot::new(if index == last { NO_SLOT } else { index + 1 })
        })
    }

    /// The list of slots that [`FreeList::link`] made.
    pub(super) fn new() -> Self {
        FreeList {
            head: AtomicU64::new(0),
        }
    }

    /// Takes a slot.
    pub(super) fn take(&self, slots: &[Slot]) -> Option<Index> {
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            let first = head as u32;
            if first == NO_SLOT {
                return None;
            }
            let next = slots[first as usize].next.load(Ordering::Relaxed);
            let new = next_head(head, next);
            match self
                .head
                .compare_exchange_weak(head, new, Ordering::Acquire, Ordering::Acquire)
            {
                Ok(_) => {
                    // It is the one that the next connection gets.
                    if let Some(next) = slots.get(next as usize) {
                        prefetch_all(next);
                    }
                    return Some(Index(first));
                }
                Err(current) => head = current,
            }
        }
    }

    /// Gives a slot back.
    pub(super) fn give(&self, slots: &[Slot], index: Index) {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            slots[index.0 as usize]
                .next
                .store(head as u32, Ordering::Relaxed);
            let new = next_head(head, index.0);
            match self
                .head
                .compare_exchange_weak(head, new, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(current) => head = current,
            }
        }
    }
}
