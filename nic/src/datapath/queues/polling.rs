// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The TX queues that are polled. The function's own always are; one of an ADI is polled while it
//! has work and for [`SLEEP_AFTER_NS`] longer, so that idle ADIs cost nothing. Then its driver has to
//! kick; one of an ADI without kicks is looked at about once a millisecond instead ([`Drowsy`]).
//!
//! [`Drowsy`]: crate::awake::Drowsy

use super::{Queues, MAX_STALL_NS};
use crate::dataplane::QueueKind;
use crate::ids::QueueIndex;
use crate::interrupts::SLEEP_AFTER_NS;

/// The polling of a TX queue of an ADI.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Polling {
    /// The time at which it last had work.
    active_at: u64,
    /// Set if its driver does not kick.
    no_kick: bool,
    /// Set while the ADI is suspended: its queues are not polled.
    suspended: bool,
}

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

    /// Starts to poll a TX queue, unless its ADI is suspended.
    pub(super) fn wake_tx(&mut self, queue: QueueIndex, now: u64) {
        let pair = queue.0.checked_sub(self.limits.tx);
        let polling = pair.and_then(|pair| self.polling.get(pair as usize));
        if polling.is_some_and(|polling| polling.suspended) {
            return;
        }
        self.active_tx.insert(queue.0);
        self.drowsy_tx.remove(queue.0);
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

    /// Sets whether the queues and vectors of an ADI are polled without kicks.
    pub(in crate::datapath) fn set_no_kick(
        &mut self,
        first_pair: u32,
        pairs: u16,
        no_kick: bool,
        now: u64,
    ) {
        for pair in first_pair..first_pair + u32::from(pairs) {
            if let Some(polling) = self.polling.get_mut(pair as usize) {
                polling.no_kick = no_kick;
            }
            let tx = QueueIndex(self.limits.tx + pair);
            // It goes back to sleep in the way that applies now.
            if self.tx.get(tx.index()).is_some_and(|s| s.is_enabled()) {
                self.wake_tx(tx, now);
            }
            self.interrupts.adi.set_no_kick(pair, no_kick);
        }
    }

    /// Returns whether a queue pair is polled without kicks.
    pub(in crate::datapath) fn has_no_kick(&self, pair: u32) -> bool {
        let polling = self.polling.get(pair as usize);
        polling.is_some_and(|polling| polling.no_kick)
    }

    /// Polls all queues of ADIs that have been enabled, and all their vectors, and tells their drivers so;
    /// not those of suspended ADIs.
    pub(in crate::datapath) fn wake_adis(&mut self, now: u64) {
        for tx in (self.limits.tx..self.count(QueueKind::Tx)).map(QueueIndex) {
            if self.tx.get(tx.index()).is_some_and(|s| s.is_enabled()) {
                self.wake_tx(tx, now);
            }
        }
        self.interrupts.adi.wake_all();
    }

    /// Suspends the queues and vectors of an ADI, or resumes them: their pages may have been written
    /// meanwhile.
    pub(in crate::datapath) fn set_suspended(
        &mut self,
        first_pair: u32,
        pairs: u16,
        suspended: bool,
        now: u64,
    ) {
        for pair in first_pair..first_pair + u32::from(pairs) {
            if let Some(polling) = self.polling.get_mut(pair as usize) {
                polling.suspended = suspended;
            }
            self.interrupts.adi.set_suspended(pair, suspended);
            if suspended {
                self.stop_polling(self.limits.tx + pair);
            }
        }
        if !suspended {
            self.kick(first_pair, pairs, now);
        }
    }

    /// Starts to poll the idle TX queues of ADIs without kicks whose doorbells were written.
    pub(in crate::datapath) fn look_at_drowsy(&mut self, now: u64) {
        for _ in 0..self.drowsy_tx.round(now) {
            let Some(queue) = self.drowsy_tx.next_of_round().map(QueueIndex) else {
                break;
            };
            let tail = self.doorbells.tx_tail.load(queue.0);
            // A tail beyond the ring is found again when the queue is polled, which stops it.
            if self.has_packet(queue, tail) != Ok(false) {
                self.wake_tx(queue, now);
            }
        }
    }

    /// Stops polling a TX queue that has stopped.
    pub(super) fn stop_polling(&mut self, queue: u32) {
        self.active_tx.remove(queue);
        self.drowsy_tx.remove(queue);
    }

    /// Records that a TX queue has work.
    fn touch(&mut self, queue: QueueIndex, now: u64) {
        let pair = queue.0.checked_sub(self.limits.tx);
        let polling = pair.and_then(|pair| self.polling.get_mut(pair as usize));
        if let Some(polling) = polling {
            polling.active_at = now;
        }
    }

    /// Stops polling a TX queue of an ADI that has been idle for long; `tail` is its value before
    /// the last poll.
    fn may_sleep(&mut self, queue: QueueIndex, tail: u32, now: u64) -> bool {
        let pair = queue.0.checked_sub(self.limits.tx);
        let Some(&polling) = pair.and_then(|p| self.polling.get(p as usize)) else {
            return false;
        };
        if now.saturating_sub(polling.active_at) < SLEEP_AFTER_NS
            || self.stalled_since[queue.index()].is_some()
        {
            return false;
        }
        if polling.no_kick {
            self.active_tx.remove(queue.0);
            self.drowsy_tx.insert(queue.0);
            return true;
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
