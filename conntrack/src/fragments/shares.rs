// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The shares that ports, and sources behind them, have of the store.

use std::collections::{BTreeMap, BTreeSet};

/// The most that one port, or one source, may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Incomplete datagrams.
    pub datagrams: usize,
    /// Bytes of kept fragments.
    pub bytes: usize,
}

/// The holders of one kind, and what each holds.
#[derive(Debug)]
pub(super) struct Holders<K> {
    share: Share,
    held: BTreeMap<K, Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// The ages of its datagrams, the oldest first.
    ages: BTreeSet<u64>,
    bytes: usize,
}

impl<K: Ord + Copy> Holders<K> {
    pub(super) fn new(share: Share) -> Self {
        Holders {
            share,
            held: BTreeMap::new(),
        }
    }

    /// Adds a datagram.
    pub(super) fn add(&mut self, holder: K, age: u64) {
        self.held.entry(holder).or_default().ages.insert(age);
    }

    /// Adds bytes to those of a holder's datagrams.
    pub(super) fn grow(&mut self, holder: K, bytes: usize) {
        if let Some(held) = self.held.get_mut(&holder) {
            held.bytes += bytes;
        }
    }

    /// Removes a datagram of that many bytes.
    pub(super) fn remove(&mut self, holder: K, age: u64, bytes: usize) {
        let Some(held) = self.held.get_mut(&holder) else {
            return;
        };
        held.ages.remove(&age);
        held.bytes -= bytes;
        if held.ages.is_empty() {
            self.held.remove(&holder);
        }
    }

    /// The age of the oldest datagram of a holder that has more than its share.
    pub(super) fn excess(&self, holder: K) -> Option<u64> {
        let held = self.held.get(&holder)?;
        let is_over = held.ages.len() > self.share.datagrams || held.bytes > self.share.bytes;
        held.ages.first().copied().filter(|_| is_over)
    }

    pub(super) fn clear(&mut self) {
        self.held.clear();
    }

    /// The age of a holder's oldest datagram.
    pub(super) fn oldest(&self, holder: K) -> Option<u64> {
        self.held.get(&holder)?.ages.first().copied()
    }
}
