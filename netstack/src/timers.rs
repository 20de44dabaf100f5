// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The times at which connections are to be looked at again.
//!
//! A connection's time mostly moves to later, with each of its frames. Such a move costs nothing: the
//! entry stays where it is, and is entered again at the later time when it comes up.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// The time of a connection, as the connection keeps it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Due {
    /// The time at which it is to be looked at.
    at: Option<Instant>,
    /// The time of its earliest entry in the heap.
    entered: Option<Instant>,
}

/// A heap of entries: time, and index of the connection.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, u32)>>,
}

impl Timers {
    /// Sets the time of a connection.
    pub(crate) fn set(&mut self, index: u32, due: &mut Due, at: Option<Instant>) {
        due.at = at;
        let Some(at) = at else { return };
        if due.entered.is_none_or(|entered| at < entered) {
            due.entered = Some(at);
            self.heap.push(Reverse((at, index)));
        }
    }

    /// Removes the next entry whose time has come. Its connection decides with [`is_due`](Self::is_due).
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Instant, u32)> {
        let first = self.first().filter(|at| *at <= now)?;
        let Reverse(entry) = self.heap.pop()?;
        debug_assert_eq!(entry.0, first);
        Some(entry)
    }

    /// Returns whether the connection of an entry is to be looked at now; if its time has moved, it is
    /// entered again.
    pub(crate) fn is_due(&mut self, entry: (Instant, u32), due: &mut Due, now: Instant) -> bool {
        let (at, index) = entry;
        // Another entry was earlier.
        if due.entered != Some(at) {
            return false;
        }
        due.entered = None;
        let is_due = due.at.is_some_and(|at| at <= now);
        let at = due.at.filter(|_| !is_due);
        self.set(index, due, at);
        is_due
    }

    /// Returns the time of the first entry, at or before which no connection is due.
    pub(crate) fn first(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Removes all entries, when they have become many: their connections are then to be set again.
    pub(crate) fn clear_if_over(&mut self, limit: usize) -> bool {
        let over = self.heap.len() > limit;
        if over {
            self.heap.clear();
        }
        over
    }
}

impl Due {
    /// Enters the time again after [`Timers::clear_if_over`].
    pub(crate) fn enter_again(&mut self, index: u32, timers: &mut Timers) {
        self.entered = None;
        let at = self.at;
        timers.set(index, self, at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    proptest! {
        /// Each connection comes up at its last time, once, and the heap stays small.
        #[test]
        fn connections_come_up_at_their_last_time(
            moves in proptest::collection::vec((0..8_u32, 0..200_u64), 1..300)
        ) {
            let start = Instant::now();
            let at = |ms| start + Duration::from_millis(ms);
            let mut timers = Timers::default();
            let mut due = [Due::default(); 8];
            let mut wanted = [None; 8];
            for (index, ms) in moves {
                timers.set(index, &mut due[index as usize], Some(at(ms)));
                wanted[index as usize] = Some(ms);
                if timers.clear_if_over(32) {
                    for (index, due) in (0..).zip(&mut due) {
                        due.enter_again(index, &mut timers);
                    }
                }
                prop_assert!(timers.heap.len() <= 33);
            }
            let mut seen = [None; 8];
            for ms in 0..=200 {
                while let Some(entry) = timers.pop(at(ms)) {
                    if timers.is_due(entry, &mut due[entry.1 as usize], at(ms)) {
                        prop_assert!(seen[entry.1 as usize].replace(ms).is_none());
                    }
                }
            }
            prop_assert_eq!(seen, wanted);
        }
    }
}
