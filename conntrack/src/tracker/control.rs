// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Operations of control planes: expiry, dumps, deletion, limits, statistics.

use std::ops::Range;
use std::time::Duration;

use super::{CommitError, Pending, Tracker};
use crate::bits::Status;
use crate::entry::{Connection, Data, Label};
use crate::events::{EventMask, Listener, TooManyListeners};
use crate::expect::Expectation;
use crate::proto::sctp::Sctp;
use crate::proto::tcp::{Tcp, TcpState};
use crate::proto::ProtoState;
use crate::settings::PolicyId;
use crate::stats::Statistics;
use crate::table::{ConnectionRef, RemovalReason};
use crate::time::Time;
use crate::tuple::{Direction, Protocol, Tuple};
use crate::zone::Zone;

/// The most slots of the table that a call of a dump or flush visits.
const SLOTS_PER_CALL: usize = 1 << 14;

/// A place in a dump or flush, from which it continues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cursor(usize);

impl Cursor {
    /// The cursor as a number, such as a control plane's protocol carries.
    pub const fn to_bits(self) -> u64 {
        self.0 as u64
    }

    /// The cursor with this number. Behind the last connection, a dump ends.
    pub const fn from_bits(bits: u64) -> Self {
        // Slots have numbers of 24 bits.
        Cursor(if bits > u32::MAX as u64 {
            u32::MAX as usize
        } else {
            bits as usize
        })
    }
}

/// A connection that a control plane creates (`ctnetlink_create_conntrack`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewConnection {
    /// The tuple of the original direction.
    pub original: Tuple,
    /// The tuple of the reply direction. What is not the inverse of the original one is translated.
    pub reply: Tuple,
    /// The zone.
    pub zone: Zone,
    /// Bits of the status; those in [`Status::UNCHANGEABLE`] are ignored.
    pub status: Status,
    /// The time until the timeout.
    pub timeout: Duration,
    /// The mark.
    pub mark: u32,
    /// The label.
    pub label: Label,
    /// The state of a TCP connection.
    pub tcp: TcpState,
    /// The timeout policy.
    pub policy: PolicyId,
}

impl Tracker {
    /// Creates a connection.
    ///
    /// # Errors
    ///
    /// A [`CommitError`]; [`CommitError::Clash`] if a connection with one of the tuples is there.
    pub fn create_connection(
        &self,
        new: &NewConnection,
        now: Time,
    ) -> Result<ConnectionRef, CommitError> {
        let kind = |tuple: &Tuple| (tuple.protocol(), tuple.family());
        if kind(&new.original) != kind(&new.reply) {
            return Err(CommitError::Tuples);
        }
        let mut status = new.status.without(Status::UNCHANGEABLE);
        if let Some(plain) = new.original.invert() {
            // The reply goes to another address than the request's source, or comes from another one
            // than its destination.
            for (differs, bit) in [
                (
                    plain.dst() != new.reply.dst(),
                    Status::SRC_NAT | Status::SRC_NAT_DONE,
                ),
                (
                    plain.src() != new.reply.src(),
                    Status::DST_NAT | Status::DST_NAT_DONE,
                ),
            ] {
                if differs {
                    status |= bit;
                }
            }
        }
        let proto = match new.original.protocol() {
            Protocol::TCP => ProtoState::Tcp(Tcp::with_state(new.tcp)),
            Protocol::SCTP => ProtoState::Sctp(Sctp::default()),
            _ => ProtoState::None,
        };
        let pending = Pending {
            original: new.original,
            reply: new.reply,
            zone: new.zone,
            status,
            policy: new.policy,
            mark: new.mark,
            timeout: new.timeout,
            data: Data {
                start: now,
                label: new.label,
                proto,
                ..Data::default()
            },
            is_exhausted: false,
        };
        Ok(self.insert_new(pending, now)?)
    }

    /// Removes connections whose timeout has passed. To be called several times a second: a removal
    /// is at most 134 ms late then. `budget` bounds the work of a call, in steps of well below a
    /// microsecond. Returns whether work is left. Expectations whose time has passed go as well.
    pub fn expire(&self, now: Time, budget: usize) -> bool {
        let gone = self.expectations.expire(now, budget);
        self.stats.expect_delete.add(gone as u64);
        self.table.expire(now, budget, &mut |removed| {
            self.report_removal(&removed, now)
        })
    }

    /// The number of connections. Those whose timeout has passed count until they are removed.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Reports whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of connections for which there is memory.
    pub fn capacity(&self) -> usize {
        self.table.capacity()
    }

    /// The memory of the table, in octets, without what does not depend on its capacity.
    pub fn memory(&self) -> usize {
        self.table.size()
    }

    /// A copy of a connection, if it is there and its timeout has not passed.
    pub fn get(&self, connection: ConnectionRef, now: Time) -> Option<Connection> {
        let keys = self.table.keys(connection)?;
        let slot = self.table.slot(connection);
        let data = slot.lock(connection.generation)?;
        (slot.deadline() > now).then(|| Connection::new(connection, &keys, slot, &data, now))
    }

    /// Finds the connection of which a tuple is one direction's.
    pub fn lookup(
        &self,
        tuple: &Tuple,
        zone: Zone,
        now: Time,
    ) -> Option<(ConnectionRef, Direction)> {
        self.find(tuple, zone, now)
    }

    /// Copies of at most `count` connections from `cursor` on, and the cursor of those that follow;
    /// absent at the end. A call visits 16,384 slots of the table at most, and may find nothing in
    /// them. A dump has every connection once that is there from its beginning to its end.
    pub fn dump(
        &self,
        cursor: Cursor,
        count: usize,
        now: Time,
    ) -> (Vec<Connection>, Option<Cursor>) {
        let mut found = Vec::new();
        let (slots, next) = self.slots_from(cursor);
        for number in slots {
            if found.len() >= count {
                return (found, Some(Cursor(number)));
            }
            let connection = self.table.in_slot(number);
            found.extend(connection.and_then(|connection| self.get(connection, now)));
        }
        (found, next)
    }

    /// The slots that a call visits from a cursor on, and the cursor behind them, if slots follow.
    fn slots_from(&self, Cursor(first): Cursor) -> (Range<usize>, Option<Cursor>) {
        let capacity = self.table.capacity();
        let end = first.saturating_add(SLOTS_PER_CALL).min(capacity);
        (first..end, (end < capacity).then_some(Cursor(end)))
    }

    /// Deletes a connection. Returns whether it was there.
    pub fn delete(&self, connection: ConnectionRef, now: Time) -> bool {
        self.remove(connection, RemovalReason::Deleted, now)
    }

    /// Deletes the connections in the 16,384 slots of the table from `cursor` on. Returns their
    /// number, and the cursor of the slots that follow; absent at the end.
    pub fn flush(&self, cursor: Cursor, now: Time) -> (usize, Option<Cursor>) {
        let (slots, next) = self.slots_from(cursor);
        let connections = slots.filter_map(|number| self.table.in_slot(number));
        let deleted = connections.filter(|&connection| self.delete(connection, now));
        (deleted.count(), next)
    }

    /// Sets the time until a connection's timeout. Returns whether it was there.
    pub fn set_timeout(&self, connection: ConnectionRef, timeout: Duration, now: Time) -> bool {
        self.table.set_deadline(connection, now + timeout)
    }

    /// The number of connections in a zone.
    pub fn zone_count(&self, zone: u16) -> u32 {
        self.table.zones.count(zone)
    }

    /// The limit of a zone.
    pub fn zone_limit(&self, zone: u16) -> Option<u32> {
        self.table.zones.limit(zone)
    }

    /// Limits the number of connections in a zone. Those above the limit remain.
    pub fn set_zone_limit(&self, zone: u16, limit: Option<u32>) {
        self.table.zones.set_limit(zone, limit);
    }

    /// Copies of the expectations.
    pub fn expectations(&self, now: Time) -> Vec<Expectation> {
        self.expectations.dump(now)
    }

    /// The statistics.
    pub fn statistics(&self) -> Statistics {
        self.stats.read()
    }

    /// Adds a listener for events of the kinds in `mask`, whose queue holds `capacity` of them. The
    /// memory of the queue is allocated with it.
    ///
    /// # Errors
    ///
    /// [`TooManyListeners`] if the tracker has 64 of them.
    pub fn listen(&self, mask: EventMask, capacity: usize) -> Result<Listener, TooManyListeners> {
        self.events.listen(mask, capacity)
    }
}
