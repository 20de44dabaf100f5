// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The table of connections: bounded, concurrent, found by either direction's key.
//!
//! All memory is allocated with the table. Lookups take no lock. Insertion and removal lock the
//! shards of both keys, the lower one first; then, if needed, the lock of a slot.

mod early_drop;
mod expiry;
mod free;
mod index;
mod shard;
mod slot;
mod wheel;
mod zones;

use std::sync::atomic::Ordering;

use crate::bits::Status;
use crate::entry::Data;
use crate::hash::{mirrored, Seed};
use crate::memory::prefetch_all;
use crate::sync::{AtomicUsize, Mutex};
use crate::time::Time;
use crate::tuple::{Direction, Key, Tuple};
use crate::zone::Zone;

use free::FreeList;
use index::{Buckets, Search, MAX_SLOTS};
use shard::{Locked, Shard};
pub use slot::ConnectionRef;
use slot::Index;
pub(crate) use slot::Slot;
use zones::Zones;

/// The maximum number of times that an insertion starts again because connections that were in its
/// way have been removed.
const MAX_INSERT_TRIES: usize = 8;

/// A place of a key: a slot and a direction. By the time that it is looked at, the slot may have another
/// connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate(Index, Direction);

/// The keys of a connection, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keys(pub(crate) [Key; 2]);

impl Keys {
    pub(crate) fn new(original: &Tuple, reply: &Tuple, zone: Zone) -> Self {
        Keys([
            original.key(zone.id_in(Direction::Original)),
            reply.key(zone.id_in(Direction::Reply)),
        ])
    }

    pub(crate) fn tuple(&self, direction: Direction) -> Tuple {
        Tuple::from_key(&self.0[direction as usize])
    }

    pub(crate) fn zone(&self) -> Zone {
        let [original, reply] = self.0.map(|key| (key[4] >> 32) as u16);
        match (original, reply) {
            (id, 0) if id != 0 => Zone::in_direction(id, Direction::Original),
            (0, id) if id != 0 => Zone::in_direction(id, Direction::Reply),
            (id, _) => Zone::new(id),
        }
    }
}

/// A connection to be inserted.
pub(crate) struct Insertion {
    pub(crate) keys: Keys,
    pub(crate) status: Status,
    pub(crate) deadline: Time,
    pub(crate) mark: u32,
    pub(crate) policy: u16,
    /// Taken by the insertion.
    pub(crate) data: Data,
}

/// A connection that has been removed.
pub(crate) struct Removed {
    pub(crate) id: ConnectionRef,
    pub(crate) keys: Keys,
    pub(crate) status: Status,
    pub(crate) deadline: Time,
    pub(crate) mark: u32,
    pub(crate) policy: u16,
    pub(crate) data: Data,
    pub(crate) reason: RemovalReason,
}

/// The cause of a connection's removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemovalReason {
    /// Its timeout has passed.
    Expired,
    /// It made place for another one.
    EarlyDrop,
    /// A packet ended it: a reset in answer to the first packet, a new connection with its
    /// tuple, or a program for a packet.
    Packet,
    /// A control plane deleted it.
    Deleted,
    /// The connection that expected it has ended.
    Master,
}

/// The cause for which a connection was not inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InsertError {
    /// A connection with one of the keys is there.
    Clash(ConnectionRef, Direction),
    /// No slot is free, and none could be freed.
    Full,
    /// Both buckets of a key are full.
    ChainTooLong,
    /// The zone has as many connections as its limit permits.
    ZoneLimit,
}

pub(crate) struct Table {
    slots: Box<[Slot]>,
    buckets: Buckets,
    shards: Box<[Mutex<Shard>]>,
    /// The shard with which the next expiry begins.
    first_shard: AtomicUsize,
    free: FreeList,
    pub(crate) zones: Zones,
    seed: Seed,
}

impl Table {
    /// A table for `capacity` connections, at most [`MAX_SLOTS`].
    pub(crate) fn new(capacity: usize, seed: Seed) -> Self {
        let capacity = capacity.clamp(1, MAX_SLOTS);
        let buckets = Buckets::new(capacity);
        Table {
            slots: FreeList::link(capacity),
            shards: (0..buckets.shards())
                .map(|_| Mutex::new(Shard::new()))
                .collect(),
            first_shard: AtomicUsize::new(0),
            buckets,
            free: FreeList::new(),
            zones: Zones::new(),
            seed,
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// The number of connections.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().count).sum()
    }

    /// The number of connections that were inserted since the table was made.
    pub(crate) fn inserted(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lock().inserted).sum()
    }

    /// The memory of the table without what does not depend on its capacity, in bytes.
    pub(crate) fn size(&self) -> usize {
        size_of_val(&*self.slots) + self.buckets.size()
    }

    pub(crate) fn hash(&self, key: &Key) -> u64 {
        self.seed.hash_key(key)
    }

    /// The hashes of both keys of a connection.
    pub(crate) fn hashes(&self, keys: &Keys) -> [u64; 2] {
        let [original, reply] = &keys.0;
        let hash = self.hash(original);
        [hash, self.hash_reply((original, hash), reply)]
    }

    /// The hash of a connection's reply key; that of the original one is known.
    pub(crate) fn hash_reply(&self, original: (&Key, u64), reply: &Key) -> u64 {
        self.seed.hash_reply(original, reply)
    }

    /// Prefetches the buckets of a hash.
    pub(crate) fn prefetch(&self, hash: u64) {
        self.buckets.prefetch(hash);
    }

    /// Prefetches the slots that may have the key with a hash. Returns the first of them.
    pub(crate) fn prefetch_slots(&self, hash: u64) -> Option<Candidate> {
        let mut first = None;
        self.buckets.find(hash, |index, direction| {
            first = first.or(Some(Candidate(index, direction)));
            self.slots.get(index.0 as usize).map(prefetch_all);
            None::<()>
        });
        if first.is_none() {
            // A packet that begins a connection, most likely: its reply's key will be inserted, too.
            self.prefetch(mirrored(hash));
        }
        first
    }

    /// The slot of a connection that was found in this table, if only once.
    pub(crate) fn slot(&self, connection: ConnectionRef) -> &Slot {
        &self.slots[connection.index.0 as usize]
    }

    /// The keys of a connection, if it is there. Any reference may be asked for, one of another
    /// table included; one that has keys has a slot.
    pub(crate) fn keys(&self, connection: ConnectionRef) -> Option<Keys> {
        let slot = self.slots.get(connection.index.0 as usize)?;
        slot.keys(connection.generation).map(Keys)
    }

    /// Finds the connection with a key, expired or not.
    fn find(&self, key: &Key, hash: u64) -> Option<(ConnectionRef, Direction)> {
        self.buckets.find(hash, |index, direction| {
            // Its cache lines arrive at the same time: the packet of the connection needs all of them.
            prefetch_all(self.slots.get(index.0 as usize)?);
            self.find_at(Candidate(index, direction), key)
        })
    }

    /// The connection with a key, if it is in a place.
    fn find_at(&self, place: Candidate, key: &Key) -> Option<(ConnectionRef, Direction)> {
        let Candidate(index, direction) = place;
        let generation = self.slots.get(index.0 as usize)?.find(direction, key)?;
        Some((ConnectionRef { index, generation }, direction))
    }

    /// Finds the connection with a key whose timeout has not passed.
    pub(crate) fn lookup(&self, key: &Key, now: Time) -> Option<(ConnectionRef, Direction)> {
        self.lookup_hashed(key, self.hash(key), None, now)
    }

    /// As [`Table::lookup`], of a key whose hash is known. A place where it was seen before is looked at
    /// first.
    #[inline]
    pub(crate) fn lookup_hashed(
        &self,
        key: &Key,
        hash: u64,
        seen: Option<Candidate>,
        now: Time,
    ) -> Option<(ConnectionRef, Direction)> {
        let seen = seen.and_then(|place| self.find_at(place, key));
        let found = seen.or_else(|| self.find(key, hash))?;
        (self.slot(found.0).deadline() > now).then_some(found)
    }

    fn lock(&self, original: u64, reply: u64) -> Locked<'_> {
        Locked::new(
            &self.shards,
            self.buckets.shard(original),
            self.buckets.shard(reply),
        )
    }

    /// Inserts a connection, whose keys have these hashes, unless one of its keys is there. Connections
    /// that had to go are passed to `removed`. `inserted` is called before the connection can be found,
    /// under the locks of its shards: it must neither wait nor call the table.
    pub(crate) fn insert(
        &self,
        hashes: [u64; 2],
        mut insertion: Insertion,
        now: Time,
        inserted: &mut dyn FnMut(ConnectionRef, &Insertion),
        removed: &mut dyn FnMut(Removed),
    ) -> Result<ConnectionRef, InsertError> {
        let zone = insertion.keys.zone().id();
        if !self.zones.enter(zone) {
            return Err(InsertError::ZoneLimit);
        }
        let result = self.insert_counted(hashes, &mut insertion, now, inserted, removed);
        if result.is_err() {
            self.zones.leave(zone);
        }
        result
    }

    fn insert_counted(
        &self,
        hashes: [u64; 2],
        insertion: &mut Insertion,
        now: Time,
        inserted: &mut dyn FnMut(ConnectionRef, &Insertion),
        removed: &mut dyn FnMut(Removed),
    ) -> Result<ConnectionRef, InsertError> {
        insertion.status |= Status::CONFIRMED;
        debug_assert_eq!(hashes, self.hashes(&insertion.keys));
        let keys = insertion.keys.0;
        let find = || {
            let mut keys = keys.iter().zip(hashes);
            keys.find_map(|(key, hash)| self.find(key, hash))
        };
        let index = match self.free.take(&self.slots) {
            Some(index) => index,
            None => {
                // A connection that clashes takes no other one's place.
                if let Some((connection, direction)) = find() {
                    if self.slot(connection).deadline() > now {
                        return Err(InsertError::Clash(connection, direction));
                    }
                }
                self.allocate(hashes[0], now, removed)?
            }
        };
        let place = |at: usize| {
            let check = |index, direction| self.find_at(Candidate(index, direction), &keys[at]);
            self.buckets.find_or_place(hashes[at], check)
        };
        let mut error = InsertError::ChainTooLong;
        for _ in 0..MAX_INSERT_TRIES {
            let mut locked = self.lock(hashes[0], hashes[1]);
            let (obstacle, full) = match place(0) {
                Search::Free(free) => {
                    free.take(index, Direction::Original);
                    let obstacle = match place(1) {
                        Search::Free(free) => {
                            free.take(index, Direction::Reply);
                            let shard = locked.of_original();
                            return Ok(self.fill(index, shard, insertion, now, inserted));
                        }
                        Search::Found(found) => Some(found),
                        Search::Full => None,
                    };
                    self.buckets.remove(hashes[0], index, Direction::Original);
                    (obstacle, hashes[1])
                }
                Search::Found(found) => (Some(found), hashes[0]),
                Search::Full => (None, hashes[0]),
            };
            drop(locked);
            if let Some((connection, direction)) = obstacle {
                error = InsertError::Clash(connection, direction);
                if self.slot(connection).deadline() > now {
                    break;
                }
                self.remove(connection, RemovalReason::Expired)
                    .into_iter()
                    .for_each(&mut *removed);
                continue;
            }
            error = InsertError::ChainTooLong;
            if !self.make_place(full, now, removed) {
                break;
            }
        }
        self.free.give(&self.slots, index);
        Err(error)
    }

    /// Puts a connection, which the index has, into its slot, under the lock of its shard.
    #[inline]
    fn fill(
        &self,
        index: Index,
        shard: &mut Shard,
        insertion: &mut Insertion,
        now: Time,
        inserted: &mut dyn FnMut(ConnectionRef, &Insertion),
    ) -> ConnectionRef {
        let slot = &self.slots[index.0 as usize];
        slot.mark.store(insertion.mark, Ordering::Relaxed);
        slot.policy.store(insertion.policy, Ordering::Relaxed);
        let generation = slot.next_generation();
        let connection = ConnectionRef { index, generation };
        inserted(connection, insertion);
        let (status, deadline) = (insertion.status, insertion.deadline);
        slot.occupy(&insertion.keys.0, status, deadline, &mut insertion.data);
        shard.wheel.arm_new(&self.slots, index, now);
        shard.count += 1;
        shard.inserted += 1;
        slot.publish(generation);
        connection
    }

    /// Removes a connection, if it is there.
    pub(crate) fn remove(
        &self,
        connection: ConnectionRef,
        reason: RemovalReason,
    ) -> Option<Removed> {
        let keys = self.keys(connection)?;
        let hashes = self.hashes(&keys);
        hashes.iter().for_each(|&hash| self.buckets.prefetch(hash));
        let mut locked = self.lock(hashes[0], hashes[1]);
        let slot = self.slot(connection);
        // Under the locks of its shards, a connection that is still there stays there.
        if slot.live_generation() != Some(connection.generation) {
            return None;
        }
        let shard = locked.of_original();
        shard.wheel.disarm(&self.slots, connection.index);
        shard.count -= 1;
        self.buckets
            .remove(hashes[0], connection.index, Direction::Original);
        self.buckets
            .remove(hashes[1], connection.index, Direction::Reply);
        let data = slot.vacate(connection.generation);
        drop(locked);
        let removed = Removed {
            id: connection,
            keys,
            status: slot.set_status(Status::DYING) | Status::DYING,
            deadline: slot.deadline(),
            mark: slot.mark.load(Ordering::Relaxed),
            policy: slot.policy.load(Ordering::Relaxed),
            data,
            reason,
        };
        self.zones.leave(keys.zone().id());
        self.free.give(&self.slots, connection.index);
        Some(removed)
    }

    /// The connection in the slot with this number, if there is one.
    pub(crate) fn in_slot(&self, number: usize) -> Option<ConnectionRef> {
        let generation = self.slots.get(number)?.live_generation()?;
        Some(ConnectionRef {
            index: Index(number as u32),
            generation,
        })
    }
}

#[cfg(all(test, feature = "loom"))]
mod model;
#[cfg(test)]
mod tests;
