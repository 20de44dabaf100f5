// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Early drop: in a full table, connections that are not assured make room for new ones
//! (`early_drop` and `gc_worker_can_early_drop` in `nf_conntrack_core.c`).

use super::{ConnectionRef, InsertError, RemovalReason, Removed, Table};
use crate::bits::Status;
use crate::table::slot::Index;
use crate::time::Time;

impl Table {
    /// Takes a free slot, or one of a connection in the buckets of `hash` that is not assured.
    pub(super) fn allocate(
        &self,
        hash: u64,
        now: Time,
        removed: &mut dyn FnMut(Removed),
    ) -> Result<Index, InsertError> {
        loop {
            if let Some(index) = self.free.take(&self.slots) {
                return Ok(index);
            }
            if !self.make_place(hash, now, removed) {
                return Err(InsertError::Full);
            }
        }
    }

    /// Removes the expired connections and those that are not assured from the first bucket of `hash`
    /// that has some; if none has, connections that are closing. Returns whether any was removed.
    ///
    /// The two buckets of a hash have 21 entries in a full table, some of them two of one connection: as
    /// many as 10 to 21 of Linux's chains, of which it searches `NF_CT_EVICTION_RANGE`, 8.
    pub(super) fn make_place(
        &self,
        hash: u64,
        now: Time,
        removed: &mut dyn FnMut(Removed),
    ) -> bool {
        let may_go: [fn(&Table, ConnectionRef) -> bool; 2] = [
            |table, connection| !table.slot(connection).status().contains(Status::ASSURED),
            |table, connection| {
                let slot = table.slot(connection);
                slot.lock(connection.generation)
                    .is_some_and(|data| data.proto.is_closing())
            },
        ];
        may_go
            .into_iter()
            .any(|may_go| self.drop_near(hash, now, may_go, removed))
    }

    fn drop_near(
        &self,
        hash: u64,
        now: Time,
        may_go: fn(&Table, ConnectionRef) -> bool,
        removed: &mut dyn FnMut(Removed),
    ) -> bool {
        for (bucket, entries) in self.buckets.entries_of(hash) {
            let mut any = false;
            for index in entries {
                let slot = self.slots.get(index.0 as usize);
                let Some((slot, generation)) =
                    slot.and_then(|it| Some((it, it.live_generation()?)))
                else {
                    continue;
                };
                let connection = ConnectionRef { index, generation };
                let reason = if slot.deadline() <= now {
                    RemovalReason::Expired
                } else if may_go(self, connection) {
                    RemovalReason::EarlyDrop
                } else {
                    continue;
                };
                if !self.is_in(bucket, connection) {
                    continue;
                }
                if let Some(gone) = self.remove(connection, reason) {
                    any = true;
                    removed(gone);
                }
            }
            if any {
                return true;
            }
        }
        false
    }

    /// Reports whether a connection is in a bucket of the index: what was read of an entry may be of two.
    fn is_in(&self, bucket: usize, connection: ConnectionRef) -> bool {
        let keys = self.keys(connection);
        keys.is_some_and(|keys| {
            let mut hashes = self.hashes(&keys).into_iter();
            hashes.any(|hash| self.buckets.may_have(bucket, hash))
        })
    }
}
