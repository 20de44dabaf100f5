// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Counters of a server's connections, messages and rejections.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Reason;

/// The counters of one server; they only increase.
#[derive(Debug, Default)]
pub struct Stats {
    connections: AtomicU64,
    messages: AtomicU64,
    stray_replies: AtomicU64,
    fds_closed: AtomicU64,
    accept_failures: AtomicU64,
    handed_over: AtomicU64,
    resumed: AtomicU64,
    introduced: AtomicU64,
    workers_lost: AtomicU64,
    answered_in_reset: AtomicU64,
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
        /// The number of connections accepted.
        connections, count_connections;
        /// The number of messages whose header was read, including rejected ones.
        messages, count_messages;
        /// The number of replies, which are ignored: the server sends no commands.
        stray_replies, count_stray_replies;
        /// The number of file descriptors that were closed because their message has no use for
        /// them.
        fds_closed, count_fds_closed;
        /// The number of failures of accept(2), for example for lack of file descriptors; the
        /// server tries again.
        accept_failures, count_accept_failures;
        /// The number of clients handed over to another process.
        handed_over, count_handed_over;
        /// The number of clients taken over.
        resumed, count_resumed;
        /// The number of times that a relay has introduced its client to a new worker.
        introduced, count_introduced;
        /// The number of workers that a relay has given up.
        workers_lost, count_workers_lost;
        /// The number of messages that a relay has answered without a worker.
        answered_in_reset, count_answered_in_reset;
    }

    /// Returns the number of messages rejected for `reason`.
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
