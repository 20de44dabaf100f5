// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Timeouts: deadlines that change, and the removal of connections whose deadline has passed.

use std::sync::atomic::Ordering;

use super::slot::Index;
use super::wheel::Step;
use super::{ConnectionRef, RemovalReason, Removed, Table};
use crate::sync::unlock_fairly;
use crate::time::Time;

/// The most steps of a timer wheel for which the lock of its shard is held: a packet that waits for it waits
/// for some microseconds, however many connections expire.
pub(super) const STEPS_PER_LOCK: usize = 16;

impl Table {
    /// Sets the deadline of a connection. Returns whether it is there. To be called without the
    /// lock of its slot.
    pub(crate) fn set_deadline(
        &self,
        connection: ConnectionRef,
        deadline: Time,
        now: Time,
    ) -> bool {
        let Some(slot) = self.slots.get(connection.index.0 as usize) else {
            return false;
        };
        let Some(data) = slot.lock(connection.generation) else {
            return false;
        };
        let must_move = slot.postpone(deadline, now);
        drop(data);
        if must_move {
            self.rearm(connection);
        }
        true
    }

    /// Moves the timer of a connection whose deadline has become earlier. To be called without the
    /// lock of its slot.
    pub(crate) fn rearm(&self, connection: ConnectionRef) {
        let Some(keys) = self.keys(connection) else {
            return;
        };
        let [original, reply] = self.hashes(&keys);
        let mut locked = self.lock(original, reply);
        if self.slot(connection).live_generation() == Some(connection.generation) {
            locked
                .of_original()
                .wheel
                .rearm(&self.slots, connection.index);
        }
    }

    /// Removes connections whose timeout has passed. `budget` bounds the steps of the timer wheels;
    /// where it ends, the next call begins. Returns whether work is left. No lock is held for more than
    /// [`STEPS_PER_LOCK`] steps.
    pub(crate) fn expire(
        &self,
        now: Time,
        mut budget: usize,
        removed: &mut dyn FnMut(Removed),
    ) -> bool {
        let count = self.shards.len();
        let first = self.first_shard.load(Ordering::Relaxed);
        for number in (first..first + count).map(|number| number % count) {
            loop {
                let steps = budget.min(STEPS_PER_LOCK);
                let mut left = steps;
                let mut shard = self.shards[number].lock();
                let step = shard.wheel.advance(&self.slots, now, &mut left);
                unlock_fairly(shard);
                budget -= steps - left;
                match step {
                    Step::Done => break,
                    Step::Exhausted if budget == 0 => {
                        self.first_shard.store(number, Ordering::Relaxed);
                        return true;
                    }
                    // Packets that wait for the lock have it first.
                    Step::Exhausted => {}
                    Step::Due(index) => self.expire_slot(index, now, removed),
                }
            }
        }
        false
    }

    fn expire_slot(&self, index: Index, now: Time, removed: &mut dyn FnMut(Removed)) {
        let slot = &self.slots[index.0 as usize];
        let Some(generation) = slot.live_generation() else {
            return;
        };
        let connection = ConnectionRef { index, generation };
        if slot.deadline() <= now {
            self.remove(connection, RemovalReason::Expired)
                .into_iter()
                .for_each(removed);
            return;
        }
        // A packet that was found before the deadline has refreshed the timeout.
        let Some(keys) = self.keys(connection) else {
            return;
        };
        let [original, reply] = self.hashes(&keys);
        let mut locked = self.lock(original, reply);
        if slot.live_generation() == Some(generation) {
            let wheel = &mut locked.of_original().wheel;
            wheel.disarm(&self.slots, index);
            wheel.arm(&self.slots, index, now);
        }
    }
}
