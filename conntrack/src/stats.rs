// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Statistics, as `conntrack -S` shows them, and packets without a connection by reason.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

use crate::expect::ExpectError;
use crate::packet::Malformed;
use crate::proto::Invalid;
use crate::tracker::CommitError;

/// A counter that threads share.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters since the tracker was made; their names are those of `conntrack -S`
/// (`struct ip_conntrack_stat`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Translated tuples that were in use.
    pub found: u64,
    /// Packets without a connection, but for those in `error` and those that are not tracked.
    pub invalid: u64,
    /// Connections that were inserted.
    pub insert: u64,
    /// Connections that were not inserted.
    pub insert_failed: u64,
    /// Packets that are to be dropped, because their connection was not inserted.
    pub drop: u64,
    /// Connections that made place for others.
    pub early_drop: u64,
    /// ICMP messages that are malformed, and ICMP errors that are related to no connection.
    pub error: u64,
    /// Connections that were inserted by another core first; the packet belongs to that one.
    pub clash_resolve: u64,
    /// Connections whose buckets were full.
    pub chaintoolong: u64,
    /// Connections that exceeded their zone's limit.
    pub zone_limit: u64,
    /// Connections for whose translation no tuple was free.
    pub nat_exhausted: u64,
    /// Connections that were removed because their timeout had passed.
    pub expired: u64,
    /// Connections that were expected.
    pub expect_new: u64,
    /// Expectations that were added.
    pub expect_create: u64,
    /// Expectations that were removed, fulfilled or not.
    pub expect_delete: u64,
    /// Packets without a connection by reason, those that occurred: the ones in
    /// [`Statistics::invalid`], in [`Statistics::error`], and those that are not tracked.
    pub invalid_by_reason: BTreeMap<String, u64>,
    /// Packets that the tracker has its caller drop, by reason, those that occurred: beside those
    /// in [`Statistics::drop`] the ones that a helper or the translation does not let pass.
    pub drop_by_reason: BTreeMap<String, u64>,
}

impl Statistics {
    /// The counters that `conntrack -S` shows, by name and in its order. A lookup never starts again.
    pub fn of_linux(&self) -> [(&'static str, u64); 10] {
        [
            ("found", self.found),
            ("invalid", self.invalid),
            ("insert", self.insert),
            ("insert_failed", self.insert_failed),
            ("drop", self.drop),
            ("early_drop", self.early_drop),
            ("error", self.error),
            ("search_restart", 0),
            ("clash_resolve", self.clash_resolve),
            ("chaintoolong", self.chaintoolong),
        ]
    }
}

/// A packet without a connection, by the counter of Linux in which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// `error`: `nf_conntrack_handle_icmp` has refused it.
    Icmp(Invalid),
    /// `invalid`.
    Packet(Invalid),
}

impl Refused {
    pub(crate) fn reason(self) -> Invalid {
        let (Refused::Icmp(reason) | Refused::Packet(reason)) = self;
        reason
    }
}

impl From<Invalid> for Refused {
    fn from(reason: Invalid) -> Self {
        Refused::Packet(reason)
    }
}

/// The cause for which the tracker has its caller drop a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum DropReason {
    /// Its connection was not committed.
    #[error(transparent)]
    Commit(CommitError),
    /// It has the beginning of an announcement.
    #[error("packet has a part of a helper's announcement")]
    Announcement,
    /// Its message is malformed, or cannot be rewritten.
    #[error("helper cannot read or rewrite the packet's message")]
    Message,
    /// The connection that it announces cannot be expected.
    #[error(transparent)]
    Expectation(ExpectError),
    /// It cannot be rewritten.
    #[error("packet cannot be translated")]
    Translation,
}

/// Every cause, in the order of the counters.
const DROPS: [DropReason; 14] = [
    DropReason::Commit(CommitError::TableFull),
    DropReason::Commit(CommitError::ChainTooLong),
    DropReason::Commit(CommitError::ZoneLimit),
    DropReason::Commit(CommitError::Clash),
    DropReason::Commit(CommitError::NatExhausted),
    DropReason::Commit(CommitError::Family),
    DropReason::Commit(CommitError::Tuples),
    DropReason::Announcement,
    DropReason::Expectation(ExpectError::Busy),
    DropReason::Expectation(ExpectError::Full),
    DropReason::Expectation(ExpectError::Known),
    DropReason::Expectation(ExpectError::NoMaster),
    DropReason::Message,
    DropReason::Translation,
];

#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) found: Counter,
    pub(crate) insert_failed: Counter,
    pub(crate) drop: Counter,
    pub(crate) early_drop: Counter,
    pub(crate) error: Counter,
    pub(crate) clash_resolve: Counter,
    pub(crate) chaintoolong: Counter,
    pub(crate) zone_limit: Counter,
    pub(crate) nat_exhausted: Counter,
    pub(crate) expired: Counter,
    pub(crate) expect_new: Counter,
    pub(crate) expect_create: Counter,
    pub(crate) expect_delete: Counter,
    invalid: Counter,
    reasons: [Counter; REASONS.len()],
    drops: [Counter; DROPS.len()],
}

/// Every reason, in the order of the counters.
const REASONS: [Invalid; 21] = [
    Invalid::Malformed(Malformed::Version),
    Invalid::Malformed(Malformed::HeaderLength),
    Invalid::Malformed(Malformed::Length),
    Invalid::Malformed(Malformed::HeaderChecksum),
    Invalid::Malformed(Malformed::Extension),
    Invalid::Malformed(Malformed::Transport),
    Invalid::Malformed(Malformed::Fragment),
    Invalid::Truncated,
    Invalid::Checksum,
    Invalid::TcpFlags,
    Invalid::TcpState,
    Invalid::TcpPickup,
    Invalid::TcpWindow,
    Invalid::TcpReset,
    Invalid::IcmpType,
    Invalid::IcmpUnrelated,
    Invalid::IcmpRedirect,
    Invalid::Untracked,
    Invalid::SctpChunks,
    Invalid::SctpTag,
    Invalid::SctpState,
];

impl Stats {
    pub(crate) fn count_refused(&self, refused: Refused) {
        match refused {
            Refused::Icmp(Invalid::Untracked) => {}
            Refused::Icmp(_) => self.error.add(1),
            Refused::Packet(_) => self.invalid.add(1),
        }
        let reason = refused.reason();
        if let Some(at) = REASONS.iter().position(|&known| known == reason) {
            self.reasons[at].add(1);
        }
    }

    pub(crate) fn count_drop(&self, reason: DropReason) {
        if let Some(at) = DROPS.iter().position(|&known| known == reason) {
            self.drops[at].add(1);
        }
    }

    /// The statistics; the table counts the connections that were inserted.
    pub(crate) fn read(&self, inserted: u64) -> Statistics {
        let reasons = REASONS.iter().zip(&self.reasons);
        Statistics {
            found: self.found.get(),
            invalid: self.invalid.get(),
            insert: inserted,
            insert_failed: self.insert_failed.get(),
            drop: self.drop.get(),
            early_drop: self.early_drop.get(),
            error: self.error.get(),
            clash_resolve: self.clash_resolve.get(),
            chaintoolong: self.chaintoolong.get(),
            zone_limit: self.zone_limit.get(),
            nat_exhausted: self.nat_exhausted.get(),
            expired: self.expired.get(),
            expect_new: self.expect_new.get(),
            expect_create: self.expect_create.get(),
            expect_delete: self.expect_delete.get(),
            invalid_by_reason: reasons
                .filter(|(_, count)| count.get() != 0)
                .map(|(reason, count)| (reason.to_string(), count.get()))
                .collect(),
            drop_by_reason: DROPS
                .iter()
                .zip(&self.drops)
                .filter(|(_, count)| count.get() != 0)
                .map(|(reason, count)| (reason.to_string(), count.get()))
                .collect(),
        }
    }
}
