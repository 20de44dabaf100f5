// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The timer wheel of a shard: four levels of 64 lists.
//!
//! Refreshing a timeout only changes the slot's deadline; the slot stays in its list, and moves on
//! when the list is due. So a connection with many packets costs the wheel as much as an idle one.
//! Work per call is bounded: what is left is done by the next call, and lookups check deadlines
//! themselves, so that it does not matter to packets.

use std::sync::atomic::Ordering;

use super::slot::{Index, Slot, NO_LIST, NO_SLOT};
use crate::time::Time;

/// Nanoseconds of a tick as a power of two: 134 ms.
const TICK_SHIFT: u32 = 27;
const LEVEL_BITS: u32 = 6;
const LISTS: usize = 1 << LEVEL_BITS;
const LEVELS: u32 = 4;

pub(super) struct Wheel {
    heads: [u32; LISTS * LEVELS as usize],
    /// The tick whose list is processed next.
    cursor: u64,
    /// The lists of upper levels that begin at the cursor have been distributed.
    distributed: bool,
    armed: usize,
    /// The most steps of a call of [`Wheel::advance`], during which the lock of the shard is held.
    #[cfg(test)]
    pub(super) longest_call: usize,
}

/// The result of [`Wheel::advance`].
pub(super) enum Step {
    /// A slot whose deadline has passed; it is in no list now.
    Due(Index),
    /// Nothing is due before `now`.
    Done,
    /// The budget is used up.
    Exhausted,
}

/// The tick by whose beginning a deadline has passed.
fn tick_of(deadline: Time) -> u64 {
    deadline.as_nanos().div_ceil(1 << TICK_SHIFT)
}

/// Reports whether a list is processed by a deadline, so that a slot in it need not move. In doubt it
/// is not: the cursor is near `now`, which this does without the lock of.
pub(super) fn is_processed_by(list: u16, deadline: Time, now: Time) -> bool {
    if list == NO_LIST {
        return false;
    }
    let (level, place) = (
        u32::from(list) / LISTS as u32,
        u64::from(list) % LISTS as u64,
    );
    let shift = level * LEVEL_BITS;
    let current = (now.as_nanos() >> TICK_SHIFT) >> shift;
    let ahead = place.wrapping_sub(current) % LISTS as u64;
    // The list of now, or the one after it, may have been processed: then it is that of the next
    // revolution.
    ahead > 1 && (current + ahead) << shift <= tick_of(deadline)
}

impl Wheel {
    pub(super) fn new() -> Self {
        Wheel {
            heads: [NO_SLOT; LISTS * LEVELS as usize],
            cursor: 0,
            distributed: true,
            armed: 0,
            #[cfg(test)]
            longest_call: 0,
        }
    }

    /// Puts a slot that is in no list into that of its deadline.
    pub(super) fn arm(&mut self, slots: &[Slot], index: Index, now: Time) {
        self.begin(now);
        self.link(slots, index);
    }

    /// As [`Wheel::arm`], of a connection that nobody can find yet: nobody changes its deadline meanwhile.
    pub(super) fn arm_new(&mut self, slots: &[Slot], index: Index, now: Time) {
        self.begin(now);
        let slot = &slots[index.0 as usize];
        let list = self.list_of(tick_of(slot.deadline()));
        slot.list.store(list as u16, Ordering::Relaxed);
        self.push(slots, index, list);
    }

    /// Counts a slot that will be linked.
    fn begin(&mut self, now: Time) {
        if self.armed == 0 {
            // Nothing waits, so no tick until now needs to be processed.
            self.cursor = self.cursor.max(now.as_nanos() >> TICK_SHIFT);
            self.distributed = true;
        }
        self.armed += 1;
    }

    fn link(&mut self, slots: &[Slot], index: Index) {
        let slot = &slots[index.0 as usize];
        let mut deadline = slot.deadline_in_order();
        let list = loop {
            let list = self.list_of(tick_of(deadline));
            slot.list.store(list as u16, Ordering::SeqCst);
            // Who sets an earlier deadline reads the list afterwards, and this reads the deadline: one of
            // both sees what the other has stored.
            let current = slot.deadline_in_order();
            if current >= deadline {
                break list;
            }
            deadline = current;
        };
        self.push(slots, index, list);
    }

    /// Puts a slot at the head of a list.
    fn push(&mut self, slots: &[Slot], index: Index, list: usize) {
        let slot = &slots[index.0 as usize];
        let head = self.heads[list];
        slot.next.store(head, Ordering::Relaxed);
        slot.previous.store(NO_SLOT, Ordering::Relaxed);
        if head != NO_SLOT {
            slots[head as usize]
                .previous
                .store(index.0, Ordering::Relaxed);
        }
        self.heads[list] = index.0;
    }

    /// The lowest level at which the tick is less than a revolution ahead. Above the first level that
    /// is never the list that is being distributed.
    fn list_of(&self, tick: u64) -> usize {
        let mut tick = tick.max(self.cursor);
        for level in 0..LEVELS {
            let shift = level * LEVEL_BITS;
            let ahead = (tick >> shift) - (self.cursor >> shift);
            if ahead >= LISTS as u64 {
                if level + 1 < LEVELS {
                    continue;
                }
                // Beyond the last level: the farthest list, and again from there.
                tick = ((self.cursor >> shift) + LISTS as u64 - 1) << shift;
            }
            return level as usize * LISTS + (tick >> shift) as usize % LISTS;
        }
        unreachable!("the last level takes every tick")
    }

    fn unlink(&mut self, slots: &[Slot], index: Index) {
        let slot = &slots[index.0 as usize];
        let list = usize::from(slot.list.load(Ordering::Relaxed));
        let (next, previous) = (
            slot.next.load(Ordering::Relaxed),
            slot.previous.load(Ordering::Relaxed),
        );
        if next != NO_SLOT {
            slots[next as usize]
                .previous
                .store(previous, Ordering::Relaxed);
        }
        if previous == NO_SLOT {
            self.heads[list] = next;
        } else {
            slots[previous as usize].next.store(next, Ordering::Relaxed);
        }
        slot.list.store(NO_LIST, Ordering::Relaxed);
    }

    /// Takes a slot out of its list, if it is in one.
    pub(super) fn disarm(&mut self, slots: &[Slot], index: Index) {
        if slots[index.0 as usize].list.load(Ordering::Relaxed) != NO_LIST {
            self.unlink(slots, index);
            self.armed -= 1;
        }
    }

    /// Puts a slot whose deadline has become earlier into the list of that, if it is in one.
    pub(super) fn rearm(&mut self, slots: &[Slot], index: Index) {
        if slots[index.0 as usize].list.load(Ordering::Relaxed) != NO_LIST {
            self.unlink(slots, index);
            self.link(slots, index);
        }
    }

    /// Processes ticks up to `now` until a slot is due. Each tick and each slot that moves on takes one
    /// from `budget`.
    pub(super) fn advance(&mut self, slots: &[Slot], now: Time, budget: &mut usize) -> Step {
        #[cfg(test)]
        let before = *budget;
        let step = self.advance_to(slots, now, budget);
        #[cfg(test)]
        {
            self.longest_call = self.longest_call.max(before - *budget);
        }
        step
    }

    fn advance_to(&mut self, slots: &[Slot], now: Time, budget: &mut usize) -> Step {
        let until = now.as_nanos() >> TICK_SHIFT;
        while self.armed != 0 && self.cursor <= until {
            if *budget == 0 {
                return Step::Exhausted;
            }
            *budget -= 1;
            if !self.distributed {
                self.distributed = self.distribute_one(slots);
                continue;
            }
            let head = self.heads[self.cursor as usize % LISTS];
            if head == NO_SLOT {
                self.cursor += 1;
                self.distributed = self.cursor % LISTS as u64 != 0;
                continue;
            }
            let index = Index(head);
            self.unlink(slots, index);
            if slots[head as usize].deadline() <= now {
                self.armed -= 1;
                return Step::Due(index);
            }
            self.link(slots, index);
        }
        Step::Done
    }

    /// Moves one slot from a list of an upper level that begins at the cursor, the highest level's
    /// first. Returns whether none was left.
    fn distribute_one(&mut self, slots: &[Slot]) -> bool {
        for level in (1..LEVELS).rev() {
            let shift = level * LEVEL_BITS;
            if self.cursor & ((1 << shift) - 1) != 0 {
                continue;
            }
            let list = level as usize * LISTS + (self.cursor >> shift) as usize % LISTS;
            let head = self.heads[list];
            if head != NO_SLOT {
                self.unlink(slots, Index(head));
                self.link(slots, Index(head));
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn slots(count: usize) -> Vec<Slot> {
        (0..count).map(|_| Slot::new(NO_SLOT)).collect()
    }

    fn run(wheel: &mut Wheel, slots: &[Slot], now: Time, mut budget: usize) -> (Vec<u32>, bool) {
        let mut due = Vec::new();
        loop {
            match wheel.advance(slots, now, &mut budget) {
                Step::Due(index) => due.push(index.0),
                Step::Done => return (due, false),
                Step::Exhausted => return (due, true),
            }
        }
    }

    #[test]
    fn a_refreshed_deadline_is_kept() {
        let slots = slots(1);
        let mut wheel = Wheel::new();
        slots[0].set_deadline(Time::from_secs(10));
        wheel.arm(&slots, Index(0), Time::from_secs(1));
        slots[0].set_deadline(Time::from_secs(1000));
        assert_eq!(
            run(&mut wheel, &slots, Time::from_secs(999), usize::MAX),
            (vec![], false)
        );
        assert_eq!(
            run(&mut wheel, &slots, Time::from_secs(1001), usize::MAX),
            (vec![0], false)
        );
    }

    proptest! {
        /// Of a list that is processed by a deadline, the slot is looked at by then.
        #[test]
        fn slots_that_need_not_move_are_due_on_time(
            start in 0u64..4_000_000_000,
            first in 0u64..4_000_000,
            steps in proptest::collection::vec((0u64..3_000_000, 0u64..600_000), 1..40),
        ) {
            let slots = slots(1);
            let mut wheel = Wheel::new();
            let mut now = Time::from_secs(start);
            slots[0].set_deadline(now + Duration::from_millis(first));
            wheel.arm(&slots, Index(0), now);
            for (timeout, pause) in steps {
                let deadline = now + Duration::from_millis(timeout);
                if slots[0].postpone(deadline, now) {
                    wheel.rearm(&slots, Index(0));
                }
                now = now + Duration::from_millis(pause);
                let (due, _) = run(&mut wheel, &slots, now, usize::MAX);
                if due.is_empty() {
                    let late = now.since(deadline);
                    prop_assert!(late <= Duration::from_nanos(1 << TICK_SHIFT), "{late:?}");
                } else {
                    prop_assert!(deadline <= now);
                    slots[0].set_deadline(now + Duration::from_millis(first));
                    wheel.arm(&slots, Index(0), now);
                }
            }
        }
    }

    /// The timeouts of bulk TCP: short while data is not acknowledged, long otherwise.
    #[test]
    fn alternating_timeouts_hardly_move_a_slot() {
        let slots = slots(1);
        let mut wheel = Wheel::new();
        let mut now = Time::from_secs(1000);
        slots[0].set_deadline(now + Duration::from_secs(120));
        wheel.arm(&slots, Index(0), now);
        let mut moves = 0;
        for _ in 0..10_000 {
            for timeout in [300, 432_000] {
                now = now + Duration::from_millis(50);
                let deadline = now + Duration::from_secs(timeout);
                if slots[0].postpone(deadline, now) {
                    wheel.rearm(&slots, Index(0));
                    moves += 1;
                }
                assert_eq!(run(&mut wheel, &slots, now, usize::MAX).0, []);
            }
        }
        assert!(moves <= 5, "{moves}");
    }

    #[test]
    fn work_is_bounded() {
        let slots = slots(100);
        let mut wheel = Wheel::new();
        for (index, slot) in slots.iter().enumerate() {
            slot.set_deadline(Time::from_secs(600));
            wheel.arm(&slots, Index(index as u32), Time::from_secs(500));
        }
        let mut expired = 0;
        let mut calls = 0;
        loop {
            let (due, more) = run(&mut wheel, &slots, Time::from_secs(601), 16);
            assert!(due.len() <= 16);
            expired += due.len();
            calls += 1;
            if !more {
                break;
            }
        }
        assert_eq!(expired, 100);
        assert!(calls < 200, "{calls}");
    }

    proptest! {
        #[test]
        fn slots_are_due_on_time(
            start in 0u64..4_000_000_000,
            timeouts in proptest::collection::vec(0u64..6_000_000, 1..50),
            steps in proptest::collection::vec(1u64..400_000_000, 1..50),
        ) {
            let mut now = Time::from_secs(start);
            let slots = slots(timeouts.len());
            let mut wheel = Wheel::new();
            for (index, &timeout) in timeouts.iter().enumerate() {
                slots[index].set_deadline(now + Duration::from_millis(timeout));
                wheel.arm(&slots, Index(index as u32), now);
            }
            let mut seen = vec![false; slots.len()];
            for step in steps {
                now = now + Duration::from_micros(step * 100);
                for index in run(&mut wheel, &slots, now, usize::MAX).0 {
                    prop_assert!(!std::mem::replace(&mut seen[index as usize], true));
                    prop_assert!(slots[index as usize].deadline() <= now);
                }
                for (slot, &seen) in slots.iter().zip(&seen) {
                    let late = now.since(slot.deadline());
                    prop_assert!(seen || late <= Duration::from_nanos(1 << TICK_SHIFT), "{late:?}");
                }
            }
        }
    }
}
