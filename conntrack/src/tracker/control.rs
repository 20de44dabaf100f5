// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What control planes do: expiry, dumps, deletion, limits, statistics.

use std::time::Duration;

use super::Tracker;
use crate::entry::Connection;
use crate::events::{EventMask, Listener};
use crate::expect::Expectation;
use crate::stats::Statistics;
use crate::table::{ConnectionRef, RemovalReason};
use crate::time::Time;
use crate::tuple::{Direction, Tuple};
use crate::zone::Zone;

/// A place in a dump, from which it continues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cursor(usize);

impl Tracker {
    /// Removes connections whose timeout has passed. To be called several times a second: a removal
    /// is at most 134 ms late then. `budget` bounds the work of a call, in steps of well below a
    /// microsecond. Returns whether work is left.
    pub fn expire(&self, now: Time, budget: usize) -> bool {
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
    /// absent at the end. A dump has every connection once that is there from its beginning to its end.
    pub fn dump(
        &self,
        cursor: Cursor,
        count: usize,
        now: Time,
    ) -> (Vec<Connection>, Option<Cursor>) {
        let mut found = Vec::new();
        let mut next = cursor.0;
        while found.len() < count {
            let Some(connection) = self.table.next_from(next) else {
                return (found, None);
            };
            next = connection.index.0 as usize + 1;
            found.extend(self.get(connection, now));
        }
        (found, Some(Cursor(next)))
    }

    /// Deletes a connection. Returns whether it was there.
    pub fn delete(&self, connection: ConnectionRef, now: Time) -> bool {
        self.remove(connection, RemovalReason::Deleted, now)
    }

    /// Deletes all connections that are there at the beginning. Returns their number.
    pub fn flush(&self, now: Time) -> usize {
        let mut next = 0;
        let mut deleted = 0;
        while let Some(connection) = self.table.next_from(next) {
            next = connection.index.0 as usize + 1;
            deleted += usize::from(self.delete(connection, now));
        }
        deleted
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

    /// Adds a listener for events of the kinds in `mask`, whose queue holds `capacity` of them.
    pub fn listen(&self, mask: EventMask, capacity: usize) -> Listener {
        self.events.listen(mask, capacity)
    }
}
