// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The TX queues that are polled. The function's own always are; one of an ADI is polled while it
//! has work and for [`SLEEP_AFTER_NS`] longer, so that idle ADIs cost nothing.

use super::{Queues, MAX_STALL_NS};
use crate::ids::QueueIndex;
use crate::interrupts::SLEEP_AFTER_NS;

impl Queues {
    /// The number of TX queues that are polled.
    pub(in crate::datapath) fn polled(&self) -> usize {
        self.active_tx.len()
    }

    /// The number of TX queues of ADIs that are polled.
    pub(in crate::datapath) fn polled_of_adis(&self) -> u32 {
        let own = self.limits.tx;
        let queues = (0..self.active_tx.len()).filter_map(|i| self.active_tx.get(i));
        queues.filter(|&q| q >= own).count() as u32
    }

    /// The TX queue to be polled next.
    pub(in crate::datapath) fn next_polled(&mut self) -> Option<QueueIndex> {
        if self.next_tx >= self.active_tx.len() {
            self.next_tx = 0;
        }
        self.active_tx.get(self.next_tx).map(QueueIndex)
    }

    /// Records the result of polling the TX queue of [`next_polled`](Self::next_polled), and
    /// proceeds to the next one. `tail` is the tail's value before the poll.
    pub(in crate::datapath) fn polled_one(
        &mut self,
        queue: QueueIndex,
        tail: u32,
        had_work: bool,
        now: u64,
    ) {
        if had_work {
            self.touch(queue, now);
            self.next_tx += 1;
        } else if !self.may_sleep(queue, tail, now) {
            self.next_tx += 1;
        }
    }

    /// Starts to poll a TX queue.
    pub(super) fn wake_tx(&mut self, queue: QueueIndex, now: u64) {
        self.active_tx.insert(queue.0);
        self.touch(queue, now);
        if let Some(word) = self.doorbells.tx_tail.asleep(queue.0) {
            word.set(false);
        }
    }

    /// Polls the queues and vectors of an ADI that have been enabled: the doorbells may have been
    /// written while they were not polled.
    pub(in crate::datapath) fn kick(&mut self, first_pair: u32, pairs: u16, now: u64) {
        for pair in first_pair..first_pair + u32::from(pairs) {
            let tx = QueueIndex(self.limits.tx + pair);
            if self.tx.get(tx.index()).is_some_and(|s| s.is_enabled()) {
                self.wake_tx(tx, now);
            }
            self.interrupts.adi.wake(pair);
        }
    }

    /// Records that a TX queue has work.
    fn touch(&mut self, queue: QueueIndex, now: u64) {
        let pair = queue.0.checked_sub(self.limits.tx);
        let active_at = pair.and_then(|pair| self.active_at.get_mut(pair as usize));
        if let Some(active_at) = active_at {
            *active_at = now;
        }
    }

    /// Stops polling a TX queue of an ADI that has been idle for long; `tail` is its value before
    /// the last poll.
    fn may_sleep(&mut self, queue: QueueIndex, tail: u32, now: u64) -> bool {
        let pair = queue.0.checked_sub(self.limits.tx);
        let Some(&active_at) = pair.and_then(|p| self.active_at.get(p as usize)) else {
            return false;
        };
        if now.saturating_sub(active_at) < SLEEP_AFTER_NS
            || self.stalled_since[queue.index()].is_some()
        {
            return false;
        }
        let Some(word) = self.doorbells.tx_tail.asleep(queue.0) else {
            return false;
        };
        word.set(true);
        // The write of a driver that rang before it read the word has not been polled yet.
        if self.doorbells.tx_tail.load(queue.0) != tail {
            word.set(false);
            self.touch(queue, now);
            return false;
        }
        self.active_tx.remove(queue.0);
        self.interrupts.adi.count_sleep();
        true
    }

    /// Returns whether a TX queue whose wire is full may wait for it; records the start of the wait.
    pub(in crate::datapath) fn may_stall(&mut self, queue: QueueIndex, now: u64) -> bool {
        match self.stalled_since.get_mut(queue.index()) {
            Some(since) => now.saturating_sub(*since.get_or_insert(now)) < MAX_STALL_NS,
            None => false,
        }
    }

    /// Records that a TX queue does not wait for its wire.
    pub(in crate::datapath) fn end_stall(&mut self, queue: QueueIndex) {
        if let Some(since) = self.stalled_since.get_mut(queue.index()) {
            *since = None;
        }
    }
}
