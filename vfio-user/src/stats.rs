// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a server has seen and refused.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Reason;

/// Counters of one server; they only grow.
#[derive(Debug, Default)]
pub struct Stats {
    connections: AtomicU64,
    messages: AtomicU64,
    stray_replies: AtomicU64,
    fds_closed: AtomicU64,
    accept_failures: AtomicU64,
    refused: [AtomicU64; Reason::ALL.len()],
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident, $count:ident;)*) => {$(
        $(#[$doc])*
        pub fn $name(&self) -> u64 {
            self.$name.load(Ordering::Relaxed)
        }

        pub(crate) fn $count(&self, n: u64) {
            self.$name.fetch_add(n, Ordering::Relaxed);
        }
    )*};
}

impl Stats {
    counters! {
        /// Connections accepted.
        connections, count_connections;
        /// Messages whose header was read, refused ones included.
        messages, count_messages;
        /// Replies that answer nothing: the server asks nothing. Ignored.
        stray_replies, count_stray_replies;
        /// File descriptors that came with a message that has no use for
        /// them, closed.
        fds_closed, count_fds_closed;
        /// Failures of accept(2), such as the process being out of file
        /// descriptors; tried again.
        accept_failures, count_accept_failures;
    }

    /// Messages refused for `reason`.
    pub fn refused(&self, reason: Reason) -> u64 {
        self.refused[reason as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn count_refused(&self, reason: Reason) {
        self.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_counter_of_its_own() {
        let stats = Stats::default();
        for (n, (reason, _)) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, n);
            stats.count_refused(reason);
            assert_eq!(stats.refused(reason), 1);
        }
    }
}
