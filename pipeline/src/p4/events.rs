// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What packets leave for control planes: bounded queues, whose losses are counted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam_queue::ArrayQueue;

use super::tables::EntryState;

/// How much of each kind waits to be taken.
pub const MAX_EVENTS: usize = 4096;

/// A digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The `Digest` object, by its index among the program's externs; v1model has none.
    pub object: Option<u32>,
    /// v1model's receiver.
    pub receiver: u64,
    /// The data as a packet holds it, filled up to whole bytes.
    pub data: Vec<u8>,
}

/// An entry that no packet has hit for its idle timeout.
#[derive(Clone, Debug, PartialEq)]
pub struct Idle {
    /// The table.
    pub table: u32,
    /// The entry.
    pub entry: EntryState,
    /// When that was noticed.
    pub at_ns: u64,
}

/// A packet for or from a control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlPacket {
    /// The bytes, a controller header first if the program has one.
    pub data: Vec<u8>,
}

/// A message of `log_msg`, or of an assertion that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogMessage {
    /// The call in the source: file, line and column.
    pub place: String,
    /// The text, with values in place.
    pub text: String,
}

/// A bounded queue.
#[derive(Debug)]
pub struct Events<T> {
    queue: ArrayQueue<T>,
    lost: AtomicU64,
}

impl<T> Default for Events<T> {
    fn default() -> Events<T> {
        Events {
            queue: ArrayQueue::new(MAX_EVENTS),
            lost: AtomicU64::new(0),
        }
    }
}

impl<T> Events<T> {
    /// Adds one, which is made only if there is room; else it is counted.
    pub(super) fn push(&self, event: impl FnOnce() -> T) -> bool {
        let pushed = !self.queue.is_full() && self.queue.push(event()).is_ok();
        if !pushed {
            self.lost.fetch_add(1, Relaxed);
        }
        pushed
    }

    /// Takes the oldest one.
    pub fn take(&self) -> Option<T> {
        self.queue.pop()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// How many found no room.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}
