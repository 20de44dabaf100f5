// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Expectations: connections that another one, their master, has announced
//! (`nf_conntrack_expect.c`).
//!
//! They are looked up when a connection is created, under a lock, if there are any at all.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use thiserror::Error;

use crate::table::ConnectionRef;
use crate::time::Time;
use crate::tuple::{Direction, Endpoint, Protocol, Tuple};

/// The most expectations of all masters (`nf_ct_expect_max` of a small hash table).
const MAX: usize = 4096;
/// The most expectations of a zone: no tenant takes those of all.
const MAX_IN_ZONE: usize = MAX / 4;
/// The expectations whose time has passed that an addition removes at most.
const EXPIRED_PER_ADDITION: usize = 8;

/// An expected connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Expectation {
    /// The connection that announced it.
    pub master: ConnectionRef,
    /// The zone's number.
    pub zone: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// The address from which it comes.
    pub src: IpAddr,
    /// The address and port to which it goes.
    pub dst: Endpoint,
    /// The time until which it is expected.
    pub deadline: Time,
    /// Its translation, if its master is translated.
    pub(crate) follow: Option<Follow>,
}

/// The translation of an expected connection, which follows its master's (`nf_nat_follow_master`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Follow {
    /// The direction of the master in which the connection flows.
    pub(crate) direction: Direction,
    /// The port to which the connection is to go.
    pub(crate) port: u16,
}

/// The part of an expectation by which it is found: destination, protocol, zone and source.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key(IpAddr, u16, Protocol, u16, IpAddr);

impl Key {
    fn new(src: IpAddr, dst: Endpoint, protocol: Protocol, zone: u16) -> Self {
        Key(dst.address, dst.part, protocol, zone, src)
    }

    fn of_tuple(tuple: &Tuple, zone: u16) -> Self {
        Key::new(tuple.src().address, tuple.dst(), tuple.protocol(), zone)
    }

    fn of(expectation: &Expectation) -> Self {
        let Expectation {
            src,
            dst,
            protocol,
            zone,
            ..
        } = *expectation;
        Key::new(src, dst, protocol, zone)
    }
}

#[derive(Default)]
pub(crate) struct Expectations {
    /// The number of expectations, which is read without the lock.
    count: AtomicUsize,
    index: Mutex<ExpectationIndex>,
}

/// The expectations. Each key and each master has at most one.
#[derive(Default)]
struct ExpectationIndex {
    by_key: BTreeMap<Key, Expectation>,
    by_master: BTreeMap<u64, Key>,
    by_deadline: BTreeSet<(Time, Key)>,
    /// The number of each zone's.
    zones: BTreeMap<u16, usize>,
}

impl ExpectationIndex {
    fn insert(&mut self, new: Expectation) {
        let key = Key::of(&new);
        self.by_master.insert(new.master.to_bits(), key);
        self.by_deadline.insert((new.deadline, key));
        *self.zones.entry(new.zone).or_default() += 1;
        self.by_key.insert(key, new);
    }

    fn remove(&mut self, key: &Key) -> Option<Expectation> {
        let gone = self.by_key.remove(key)?;
        self.by_master.remove(&gone.master.to_bits());
        self.by_deadline.remove(&(gone.deadline, *key));
        if let Some(count) = self.zones.get_mut(&gone.zone) {
            *count -= 1;
            if *count == 0 {
                self.zones.remove(&gone.zone);
            }
        }
        Some(gone)
    }

    /// Removes at most `limit` expectations whose time has passed, and returns their number.
    fn expire(&mut self, now: Time, limit: usize) -> usize {
        let due = self.by_deadline.iter().take(limit);
        let keys: Vec<_> = due
            .take_while(|(deadline, _)| *deadline <= now)
            .map(|&(_, key)| key)
            .collect();
        keys.iter().filter_map(|key| self.remove(key)).count()
    }

    fn remove_master(&mut self, master: ConnectionRef) -> usize {
        let key = self.by_master.get(&master.to_bits()).copied();
        key.and_then(|key| self.remove(&key)).map_or(0, |_| 1)
    }
}

/// The cause for which an expectation is not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum ExpectError {
    /// Another master expects the same connection.
    #[error("another connection expects what a packet announces")]
    Busy,
    /// There are too many.
    #[error("too many expectations for what a packet announces")]
    Full,
}

impl Expectations {
    /// Runs `change` on the index, and updates the number.
    fn with<T>(&self, change: impl FnOnce(&mut ExpectationIndex) -> T) -> T {
        let mut index = self.index.lock();
        let result = change(&mut index);
        self.count.store(index.by_key.len(), Ordering::Relaxed);
        result
    }

    /// Adds an expectation. Its master has at most one: a former one goes. Returns the number of
    /// those that went.
    pub(crate) fn add(&self, new: Expectation, now: Time) -> Result<usize, ExpectError> {
        self.with(|index| {
            let key = Key::of(&new);
            let mut gone = index.expire(now, EXPIRED_PER_ADDITION);
            let other = index.by_key.get(&key);
            match other.map(|other| other.deadline <= now || other.master == new.master) {
                Some(true) => gone += index.remove(&key).map_or(0, |_| 1),
                Some(false) => return Err(ExpectError::Busy),
                None => {}
            }
            gone += index.remove_master(new.master);
            let of_zone = index.zones.get(&new.zone).copied().unwrap_or(0);
            if index.by_key.len() >= MAX || of_zone >= MAX_IN_ZONE {
                return Err(ExpectError::Full);
            }
            index.insert(new);
            Ok(gone)
        })
    }

    /// Puts back an expectation that was taken, unless there is one of its key or its master
    /// meanwhile. Returns whether it is there again.
    pub(crate) fn put_back(&self, taken: Expectation) -> bool {
        self.with(|index| {
            let master = taken.master.to_bits();
            let is_replaced = index.by_master.contains_key(&master)
                || index.by_key.contains_key(&Key::of(&taken));
            if !is_replaced {
                index.insert(taken);
            }
            !is_replaced
        })
    }

    /// A copy of the expectation that a new connection fulfils.
    pub(crate) fn find(&self, tuple: &Tuple, zone: u16, now: Time) -> Option<Expectation> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let index = self.index.lock();
        let found = index.by_key.get(&Key::of_tuple(tuple, zone))?;
        (found.deadline > now).then(|| found.clone())
    }

    /// Takes the expectation of `master` that a connection fulfils, if it is still there.
    pub(crate) fn take(
        &self,
        tuple: &Tuple,
        zone: u16,
        master: ConnectionRef,
        now: Time,
    ) -> Option<Expectation> {
        let key = Key::of_tuple(tuple, zone);
        self.with(|index| {
            let found = index.by_key.get(&key)?;
            if found.deadline <= now || found.master != master {
                return None;
            }
            index.remove(&key)
        })
    }

    /// Removes the expectation of a connection that has ended. Returns their number.
    pub(crate) fn remove_master(&self, master: ConnectionRef) -> usize {
        if self.count.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        self.with(|index| index.remove_master(master))
    }

    /// Removes at most `limit` expectations whose time has passed. Returns their number.
    pub(crate) fn expire(&self, now: Time, limit: usize) -> usize {
        if self.count.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        self.with(|index| index.expire(now, limit))
    }

    /// Copies of all expectations.
    pub(crate) fn dump(&self, now: Time) -> Vec<Expectation> {
        let index = self.index.lock();
        let all = index.by_key.values();
        all.filter(|one| one.deadline > now).cloned().collect()
    }
}

impl Expectation {
    /// The time until it is expected no more.
    pub fn timeout(&self, now: Time) -> Duration {
        self.deadline.since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_secs(10);

    /// An expectation of a master and zone, to a port, for a number of seconds.
    fn expectation(master: u32, zone: u16, port: u16, seconds: u64) -> Expectation {
        Expectation {
            // Generations of connections are odd.
            master: ConnectionRef::from_bits(1 << 32 | u64::from(master)).unwrap(),
            zone,
            protocol: Protocol::TCP,
            src: IpAddr::from([10, 0, 0, 1]),
            dst: Endpoint {
                address: IpAddr::from([10, 0, 0, 2]),
                part: port,
            },
            deadline: NOW + Duration::from_secs(seconds),
            follow: None,
        }
    }

    fn tuple(port: u16) -> Tuple {
        let one = expectation(1, 0, port, 1);
        let src = Endpoint {
            address: one.src,
            part: 7,
        };
        Tuple::new(one.protocol, src, one.dst)
    }

    #[test]
    fn a_master_has_one() {
        let all = Expectations::default();
        assert_eq!(all.add(expectation(1, 0, 80, 5), NOW), Ok(0));
        assert_eq!(all.add(expectation(1, 0, 81, 5), NOW), Ok(1));
        assert_eq!(
            all.add(expectation(2, 0, 81, 5), NOW),
            Err(ExpectError::Busy)
        );
        assert_eq!(all.find(&tuple(80), 0, NOW), None);
        assert!(all.find(&tuple(81), 0, NOW).is_some());
        let master = expectation(1, 0, 81, 5).master;
        let taken = all.take(&tuple(81), 0, master, NOW).unwrap();
        assert_eq!(all.take(&tuple(81), 0, master, NOW), None);
        // A later announcement holds.
        all.add(expectation(1, 0, 82, 5), NOW).unwrap();
        assert!(!all.put_back(taken.clone()));
        assert_eq!(all.remove_master(master), 1);
        assert!(all.put_back(taken));
        assert_eq!(all.dump(NOW).len(), 1);
    }

    #[test]
    fn zones_are_limited() {
        let all = Expectations::default();
        let many = MAX_IN_ZONE as u32;
        for master in 0..many {
            assert_eq!(
                all.add(expectation(master, 1, master as u16, 5), NOW),
                Ok(0)
            );
        }
        let more = expectation(many, 1, many as u16, 5);
        assert_eq!(all.add(more.clone(), NOW), Err(ExpectError::Full));
        assert_eq!(all.add(expectation(many, 2, many as u16, 5), NOW), Ok(0));
        all.remove_master(expectation(0, 1, 0, 5).master);
        all.remove_master(more.master);
        assert_eq!(all.add(more, NOW), Ok(0));
    }

    #[test]
    fn expiry_removes_what_is_due() {
        let all = Expectations::default();
        for number in 0..10u16 {
            let one = expectation(number.into(), 0, number, u64::from(number) + 1);
            all.add(one, NOW).unwrap();
        }
        let later = NOW + Duration::from_secs(5);
        assert_eq!(all.expire(later, 2), 2);
        assert_eq!(all.expire(later, 100), 3);
        assert_eq!(all.expire(later, 100), 0);
        assert_eq!(all.dump(NOW).len(), 5);
    }
}
