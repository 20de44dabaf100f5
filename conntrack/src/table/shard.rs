// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Shards: parts of the index, each with a lock, a timer wheel and counters.

use super::wheel::Wheel;
use crate::sync::{Mutex, MutexGuard};

/// State that the lock of a shard protects. A connection's timer and count are in the shard of its original
/// direction's key.
pub(super) struct Shard {
    pub(super) wheel: Wheel,
    /// The number of connections.
    pub(super) count: usize,
    /// The number of connections that were inserted.
    pub(super) inserted: u64,
}

impl Shard {
    pub(super) fn new() -> Self {
        Shard {
            wheel: Wheel::new(),
            count: 0,
            inserted: 0,
        }
    }
}

/// The locks of the shards of two keys.
pub(super) struct Locked<'a> {
    lower: MutexGuard<'a, Shard>,
    upper: Option<MutexGuard<'a, Shard>>,
    original_is_lower: bool,
}

impl<'a> Locked<'a> {
    /// Locks two shards, or the one that both are.
    pub(super) fn new(shards: &'a [Mutex<Shard>], original: usize, reply: usize) -> Self {
        let lower = shards[original.min(reply)].lock();
        let upper = (original != reply).then(|| shards[original.max(reply)].lock());
        Locked {
            lower,
            upper,
            original_is_lower: original <= reply,
        }
    }

    /// The shard of the original direction.
    pub(super) fn of_original(&mut self) -> &mut Shard {
        match &mut self.upper {
            Some(upper) if !self.original_is_lower => upper,
            _ => &mut self.lower,
        }
    }
}
