// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The times at which connections are to be looked at again.
//!
//! A connection's time mostly moves to later, with each of its frames. Such a move costs nothing: the
//! entry stays where it is, and is entered again at the later time when it comes up, or before a sleep
//! that it would end.

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
        let first = self.first().filter(|(at, _)| *at <= now)?;
        self.heap.pop();
        Some(first)
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

    /// Returns the first entry, before whose time no connection is due.
    pub(crate) fn first(&self) -> Option<(Instant, u32)> {
        self.heap.peek().map(|Reverse(entry)| *entry)
    }

    /// Moves the first entry to the time of its connection. Returns whether it was at another one.
    pub(crate) fn move_first(&mut self, due: &mut Due) -> bool {
        let Some((at, index)) = self.first() else {
            return false;
        };
        let is_current = due.entered == Some(at);
        if is_current && due.at == Some(at) {
            return false;
        }
        self.heap.pop();
        if is_current {
            due.entered = None;
            let at = due.at;
            self.set(index, due, at);
        }
        true
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
        /// Each connection comes up at its last time, once, and the heap stays small. A sleep lasts until
        /// one does.
        #[test]
        fn connections_come_up_at_their_last_time(
            moves in proptest::collection::vec((0..8_u32, 0..200_u64), 1..300),
            sleeps: bool,
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
                while let Some((_, index)) = timers.first().filter(|_| sleeps) {
                    if !timers.move_first(&mut due[index as usize]) {
                        break;
                    }
                }
                if sleeps {
                    let left = (0..8).filter(|&n| seen[n].is_none());
                    let next = left.filter_map(|n| wanted[n]).min();
                    prop_assert_eq!(timers.first().map(|first| first.0), next.map(at));
                }
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
