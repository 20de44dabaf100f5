// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Operations of control planes: expiry, dumps, deletion, limits, statistics.

mod create;
mod expectation;
mod filter;
mod update;

use std::ops::Range;
use std::time::Duration;

use super::Tracker;
use crate::entry::{Connection, Data};
use crate::events::{EventMask, Listener, TooManyListeners};
use crate::internals::Internals;
use crate::stats::Statistics;
use crate::table::{ConnectionRef, RemovalReason};
use crate::time::Time;
use crate::tuple::{Direction, Tuple};
use crate::zone::Zone;

pub use create::{NewConnection, NewProto, TcpFlags};
pub use expectation::NewExpectation;
pub use filter::{Filter, TupleFilter};
pub use update::{Update, UpdateError};

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

impl Tracker {
    /// Removes connections whose timeout has passed. To be called several times a second: a removal
    /// is at most 134 ms late then. `budget` bounds the work of a call, in steps of well below a
    /// microsecond. Returns whether work is left. Expectations whose time has passed go as well.
    pub fn expire(&self, now: Time, budget: usize) -> bool {
        self.expire_expectations(now, budget);
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

    /// The memory of the table, in bytes, without what does not depend on its capacity.
    pub fn memory(&self) -> usize {
        self.table.size() + self.sources.size()
    }

    /// A copy of a connection, if it is there and its timeout has not passed.
    pub fn get(&self, connection: ConnectionRef, now: Time) -> Option<Connection> {
        self.get_with(connection, now, |copy, _| copy)
    }

    /// Calls a function with a copy of a connection and its data, which are locked meanwhile.
    fn get_with<T>(
        &self,
        connection: ConnectionRef,
        now: Time,
        act: impl FnOnce(Connection, &Data) -> T,
    ) -> Option<T> {
        let keys = self.table.keys(connection)?;
        let slot = self.table.slot(connection);
        let data = slot.lock(connection.generation)?;
        let is_there = slot.deadline() > now;
        is_there.then(|| act(Connection::new(connection, &keys, slot, &data, now), &data))
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
    /// them. A dump has every connection once that is there from its beginning to its end. No lock is
    /// held but that of the connection which is copied.
    pub fn dump(
        &self,
        cursor: Cursor,
        count: usize,
        now: Time,
    ) -> (Vec<Connection>, Option<Cursor>) {
        self.dump_matching(cursor, count, &Filter::default(), now)
    }

    /// As [`Tracker::dump`], of the connections that pass a filter.
    pub fn dump_matching(
        &self,
        cursor: Cursor,
        count: usize,
        filter: &Filter,
        now: Time,
    ) -> (Vec<Connection>, Option<Cursor>) {
        self.dump_slots(cursor, count, |one| self.get_matching(one, filter, now))
    }

    /// As [`Tracker::dump`], with the state that control planes do not see, for a tracker that takes this
    /// one's place ([`NewConnection::internals`]).
    pub fn dump_whole(
        &self,
        cursor: Cursor,
        count: usize,
        now: Time,
    ) -> (Vec<(Connection, Option<Internals>)>, Option<Cursor>) {
        self.dump_slots(cursor, count, |one| {
            let tunnel = || self.gre_keys.of(one);
            self.get_with(one, now, |copy, data| (copy, Internals::new(data, tunnel)))
        })
    }

    /// Calls a function with the connections from a cursor on, as [`Tracker::dump`] visits them, and returns
    /// the results.
    fn dump_slots<T>(
        &self,
        cursor: Cursor,
        count: usize,
        act: impl Fn(ConnectionRef) -> Option<T>,
    ) -> (Vec<T>, Option<Cursor>) {
        let mut found = Vec::new();
        let (slots, next) = self.slots_from(cursor);
        for number in slots {
            if found.len() >= count {
                return (found, Some(Cursor(number)));
            }
            found.extend(self.table.in_slot(number).and_then(&act));
        }
        (found, next)
    }

    /// As [`Tracker::dump_matching`]; the counters of the connections are zero afterwards
    /// (`IPCTNL_MSG_CT_GET_CTRZERO`).
    pub fn dump_and_zero(
        &self,
        cursor: Cursor,
        count: usize,
        filter: &Filter,
        now: Time,
    ) -> (Vec<Connection>, Option<Cursor>) {
        let (mut found, next) = self.dump_matching(cursor, count, filter, now);
        found.retain_mut(|one| match self.get_and_zero(one.id, now) {
            Some(current) => {
                *one = current;
                true
            }
            None => false,
        });
        (found, next)
    }

    /// The slots that a call visits from a cursor on, and the cursor behind them, if slots follow.
    fn slots_from(&self, Cursor(first): Cursor) -> (Range<usize>, Option<Cursor>) {
        let capacity = self.table.capacity();
        let end = first.saturating_add(SLOTS_PER_CALL).min(capacity);
        (first..end, (end < capacity).then_some(Cursor(end)))
    }

    /// Ends a connection for a packet, which begins another one or has none. Returns whether it was there.
    pub fn end(&self, connection: ConnectionRef, now: Time) -> bool {
        self.remove(connection, RemovalReason::Packet, now)
    }

    /// Deletes a connection for a control plane. Returns whether it was there.
    pub fn delete(&self, connection: ConnectionRef, now: Time) -> bool {
        self.remove(connection, RemovalReason::Deleted, now)
    }

    /// Deletes the connections in the 16,384 slots of the table from `cursor` on. Returns their
    /// number, and the cursor of the slots that follow; absent at the end.
    pub fn flush(&self, cursor: Cursor, now: Time) -> (usize, Option<Cursor>) {
        self.delete_matching(cursor, &Filter::default(), now)
    }

    /// As [`Tracker::flush`], but only the connections that pass a filter.
    pub fn delete_matching(
        &self,
        cursor: Cursor,
        filter: &Filter,
        now: Time,
    ) -> (usize, Option<Cursor>) {
        let (slots, next) = self.slots_from(cursor);
        let connections = slots.filter_map(|number| self.table.in_slot(number));
        let deleted = connections
            .filter(|&one| filter.is_any() || self.get_matching(one, filter, now).is_some())
            .filter(|&one| self.delete(one, now));
        (deleted.count(), next)
    }

    /// Sets the time until a connection's timeout. Returns whether it was there.
    pub fn set_timeout(&self, connection: ConnectionRef, timeout: Duration, now: Time) -> bool {
        self.table.set_deadline(connection, now + timeout, now)
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

    /// The statistics.
    pub fn statistics(&self) -> Statistics {
        self.stats.read(self.table.inserted())
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

    /// The number of listeners.
    pub fn listeners(&self) -> usize {
        self.events.listeners()
    }
}
