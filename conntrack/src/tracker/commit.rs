// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Commit: a new connection enters the table (`__nf_conntrack_confirm`, and `ovs_ct_commit` in
//! `net/openvswitch/conntrack.c`).

use std::sync::atomic::Ordering;

use thiserror::Error;

use super::{nat_state, spare, Association, Input, Marks, Pending, Rewrite, Tracked, Tracker};
use crate::bits::Status;
use crate::entry::Connection;
use crate::events::{Changes, Event};
use crate::helper::Helper;
use crate::nat::{Nat, NatExhausted};
use crate::stats::DropReason;
use crate::table::{ConnectionRef, InsertError, Insertion, Keys, RemovalReason};
use crate::time::Time;
use crate::tuple::{Direction, Protocol};

/// The number of times that a translation is chosen, if others take the tuple meanwhile.
const MAX_NAT_TRIES: usize = 4;

/// The values that a commit sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// The mark: the bits, and a mask of those that are set.
    pub mark: Option<(u32, u32)>,
    /// The label: the bits, and a mask of those that are set.
    pub label: Option<(u128, u128)>,
    /// The packet's direction becomes the original one: a connection in which it is the reply's is
    /// removed, and the packet begins a new one.
    pub force: bool,
    /// The translation of a new connection. An expected one is translated as its master is.
    pub nat: Option<Nat>,
    /// The helper of a new connection, if its protocol is the helper's.
    pub helper: Option<Helper>,
}

/// The reason for which a connection was not committed. The packet is to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The table is full, and no connection could make room.
    #[error("connection table is full")]
    TableFull,
    /// The index has no place for the connection's tuples.
    #[error("connection table's buckets for the tuples are full")]
    ChainTooLong,
    /// The zone has as many connections as its limit permits.
    #[error("zone has as many connections as its limit permits")]
    ZoneLimit,
    /// Another connection has one of the tuples.
    #[error("another connection has one of the tuples")]
    Clash,
    /// Other connections have all tuples of the translation's range that were tried.
    #[error("no free address and port in the range of the translation")]
    NatExhausted,
    /// Addresses of the translation are of another family than the connection's.
    #[error("translation's addresses are of another address family than the connection's")]
    Family,
    /// The tuples of a connection that a control plane creates are of two protocols or families.
    #[error("original and reply tuple are of different protocols or address families")]
    Tuples,
}

impl From<NatExhausted> for CommitError {
    fn from(NatExhausted: NatExhausted) -> Self {
        CommitError::NatExhausted
    }
}

impl From<InsertError> for CommitError {
    fn from(error: InsertError) -> Self {
        match error {
            InsertError::Clash(..) => CommitError::Clash,
            InsertError::Full => CommitError::TableFull,
            InsertError::ChainTooLong => CommitError::ChainTooLong,
            InsertError::ZoneLimit => CommitError::ZoneLimit,
        }
    }
}

/// A connection that was inserted, or another core's that the packet belongs to.
pub(super) struct Inserted {
    connection: ConnectionRef,
    /// The keys and status with which it was inserted.
    keys: Keys,
    status: Status,
    /// No helper is to read its first packet.
    is_plain: bool,
}

impl Tracker {
    /// Puts the connection that a packet has created into the table, and sets what `commit` demands
    /// of it. `input` is the packet that [`Tracker::track`] took. Of an invalid packet, nothing is
    /// done.
    ///
    /// # Errors
    ///
    /// A [`CommitError`], with which the packet is to be dropped.
    pub fn commit(
        &self,
        tracked: &mut Tracked,
        input: &Input<'_>,
        commit: &Commit,
        now: Time,
    ) -> Result<(), CommitError> {
        if commit.force {
            if let Association::Known(connection, Direction::Reply) = tracked.association {
                self.remove(connection, RemovalReason::Packet, now);
                *tracked = self.track(input, now);
            }
        }
        match tracked.take_association() {
            Association::New(mut pending) => {
                if let Some((value, mask)) = commit.mark {
                    pending.mark = pending.mark & !mask | value & mask;
                }
                if let Some((value, mask)) = commit.label {
                    pending.data.label = pending.data.label.replace(value, mask);
                }
                // That of an expectation stays, as with nftables and Open vSwitch.
                let has_helper = pending.status.contains(Status::HELPER);
                if let Some(helper) = commit.helper.filter(|_| !has_helper) {
                    pending.assign(helper);
                }
                let marks = Marks {
                    mark: pending.mark,
                    label: pending.data.label,
                };
                let result = self.translate_and_insert(&mut pending, commit, now);
                spare::keep(pending);
                let Inserted {
                    connection,
                    keys,
                    status,
                    is_plain,
                } = result.inspect_err(|&error| self.count_failure(error))?;
                tracked.association = Association::Known(connection, Direction::Original);
                tracked.marks = marks;
                tracked.state |= nat_state(status, Direction::Original);
                tracked.rewrite = Rewrite::of(|| keys.0[Direction::Reply as usize], status);
                if is_plain {
                    return Ok(());
                }
                let mut reading = self.read_first(connection, input.packet, now);
                self.end_expected(&mut reading, input.zone, now);
                if reading.must_drop {
                    // As if it had never been: Linux reads the packet before it inserts the connection.
                    self.remove(connection, RemovalReason::Packet, now);
                    tracked.association = Association::Ended(Direction::Original);
                }
                tracked.reading = reading.of_packet();
            }
            association => {
                let sets_marks = commit.mark.is_some() || commit.label.is_some();
                if let Association::Known(connection, _) = association {
                    let marks = sets_marks.then(|| self.set_marks(connection, commit, now));
                    tracked.marks = marks.flatten().unwrap_or(tracked.marks);
                }
                tracked.association = association;
            }
        }
        Ok(())
    }

    /// Sets mark and label of a connection in the table, and reports what has changed.
    pub fn update(&self, connection: ConnectionRef, commit: &Commit, now: Time) {
        self.set_marks(connection, commit, now);
    }

    /// As [`Tracker::update`]. Returns what the connection has then, if it is there.
    fn set_marks(&self, connection: ConnectionRef, commit: &Commit, now: Time) -> Option<Marks> {
        let keys = self.table.keys(connection)?;
        let slot = self.table.slot(connection);
        let mut data = slot.lock(connection.generation)?;
        let mut changes = Changes::default();
        if let Some((value, mask)) = commit.mark {
            let old = slot.mark.load(Ordering::Relaxed);
            let new = old & !mask | value & mask;
            slot.mark.store(new, Ordering::Relaxed);
            changes.mark = old != new;
        }
        if let Some((value, mask)) = commit.label {
            let old = data.label;
            data.label = old.replace(value, mask);
            changes.label = old != data.label;
        }
        if changes.any() {
            self.events.send(
                |mask| mask.update,
                || {
                    Event::Update(
                        Connection::new(connection, &keys, slot, &data, now),
                        changes,
                    )
                },
            );
        }
        Some(Marks {
            mark: slot.mark.load(Ordering::Relaxed),
            label: data.label,
        })
    }

    /// Inserts a connection with a translation that is free. Another core may take the tuple
    /// meanwhile; then another one is chosen.
    fn translate_and_insert(
        &self,
        pending: &mut Pending,
        commit: &Commit,
        now: Time,
    ) -> Result<Inserted, CommitError> {
        let is_decided = pending.status.intersects(Status::NAT_DONE);
        if pending.is_exhausted {
            return Err(CommitError::NatExhausted);
        }
        let Some(nat) = commit.nat.as_ref().filter(|_| !is_decided) else {
            return self.insert_expected(pending, now);
        };
        if !nat.fits(pending.original.family()) {
            return Err(CommitError::Family);
        }
        let mut result = Err(CommitError::Clash);
        for _ in 0..MAX_NAT_TRIES {
            let mut translated = pending.clone();
            self.set_up_nat(&mut translated, nat, now)?;
            result = self.insert_expected(&mut translated, now);
            if !matches!(result, Err(CommitError::Clash)) {
                break;
            }
        }
        result
    }

    pub(super) fn insert(&self, pending: &mut Pending, now: Time) -> Result<Inserted, CommitError> {
        let keys = pending.keys;
        let first = pending.data.counters[Direction::Original as usize];
        let mut is_plain = pending.data.extension.is_none();
        let protocol = pending.original.protocol();
        let connection = match self.insert_new(pending, keys, None, now) {
            // Another core was faster with a packet of the same connection.
            Err(InsertError::Clash(winner, _)) if self.may_merge(winner, &keys, protocol) => {
                self.stats.clash_resolve.add(1);
                let slot = self.table.slot(winner);
                if let Some(mut data) = slot.lock(winner.generation) {
                    data.counters[Direction::Original as usize].add(first);
                }
                is_plain = false;
                winner
            }
            result => result?,
        };
        Ok(Inserted {
            connection,
            keys,
            status: pending.status,
            is_plain,
        })
    }

    /// Inserts a connection with its keys, and counts and reports it: with `reported` values, or those of
    /// a packet's. Its data is taken.
    pub(super) fn insert_new(
        &self,
        pending: &mut Pending,
        keys: Keys,
        reported: Option<Changes>,
        now: Time,
    ) -> Result<ConnectionRef, InsertError> {
        let insertion = Insertion {
            keys,
            status: pending.status,
            deadline: now + pending.timeout,
            mark: pending.mark,
            policy: pending.policy.0,
            data: std::mem::take(&mut pending.data),
        };
        let mut removed = |removed| self.report_removal(&removed, now);
        // Packets can find the connection once it is in the table: its beginning is reported before.
        let mut inserted = |connection, insertion: &Insertion| {
            self.events.send(
                |mask| mask.new,
                || {
                    let changes = reported.unwrap_or_else(|| Changes::of_new(insertion));
                    Event::New(Connection::inserted(connection, insertion, now), changes)
                },
            );
        };
        let connection =
            self.table
                .insert(pending.hashes, insertion, now, &mut inserted, &mut removed)?;
        if pending.status.contains(Status::SRC_NAT) {
            let zone = pending.zone.id_in(Direction::Original);
            self.sources.add(&pending.original, zone, connection);
        }
        Ok(connection)
    }

    fn count_failure(&self, error: CommitError) {
        self.stats.drop.add(1);
        self.stats.count_drop(DropReason::Commit(error));
        match error {
            // As in Linux, where no connection was made.
            CommitError::TableFull => return,
            CommitError::ChainTooLong => self.stats.chaintoolong.add(1),
            CommitError::ZoneLimit => self.stats.zone_limit.add(1),
            CommitError::NatExhausted => self.stats.nat_exhausted.add(1),
            CommitError::Clash | CommitError::Family | CommitError::Tuples => {}
        }
        self.stats.insert_failed.add(1);
    }

    /// Reports whether a packet belongs to the connection that was inserted before its own, because
    /// both are the same (`nf_ct_can_merge`) and the protocol permits it.
    fn may_merge(&self, winner: ConnectionRef, keys: &Keys, protocol: Protocol) -> bool {
        if matches!(protocol, Protocol::TCP | Protocol::SCTP) {
            return false;
        }
        let [original, reply] = keys.0;
        self.table
            .keys(winner)
            .is_some_and(|found| found == *keys || found.0 == [reply, original])
    }
}
