// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Expectations: connections that another one, their master, has announced
//! (`nf_conntrack_expect.c`).
//!
//! They are looked up when a connection is created, under a lock, if there are any at all.

use std::collections::BTreeMap;
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
    /// How it is translated, if its master is.
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

/// The part of an expectation by which it is found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key(IpAddr, u16, Protocol, u16);

impl Key {
    fn new(dst: Endpoint, protocol: Protocol, zone: u16) -> Self {
        Key(dst.address, dst.part, protocol, zone)
    }
}

#[derive(Default)]
pub(crate) struct Expectations {
    count: AtomicUsize,
    by_destination: Mutex<BTreeMap<Key, Vec<Expectation>>>,
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
    /// Removes the expectations of which `gone` holds, and returns their number.
    fn remove_if(
        &self,
        all: &mut BTreeMap<Key, Vec<Expectation>>,
        gone: impl Fn(&Expectation) -> bool,
    ) -> usize {
        let mut removed = 0;
        all.retain(|_, expectations| {
            let before = expectations.len();
            expectations.retain(|expectation| !gone(expectation));
            removed += before - expectations.len();
            !expectations.is_empty()
        });
        self.count.fetch_sub(removed, Ordering::Relaxed);
        removed
    }

    /// Adds an expectation. Its master has at most one: a former one goes. Returns the number of those
    /// that went.
    pub(crate) fn add(&self, new: Expectation, now: Time) -> Result<usize, ExpectError> {
        let mut all = self.by_destination.lock();
        let key = Key::new(new.dst, new.protocol, new.zone);
        let clashes = all.get(&key).is_some_and(|others| {
            others.iter().any(|other| {
                other.deadline > now && other.src == new.src && other.master != new.master
            })
        });
        if clashes {
            return Err(ExpectError::Busy);
        }
        let gone = self.remove_if(&mut all, |other| {
            other.master == new.master || other.deadline <= now
        });
        if self.count.load(Ordering::Relaxed) >= MAX {
            return Err(ExpectError::Full);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        all.entry(key).or_default().push(new);
        Ok(gone)
    }

    /// A copy of the expectation that a new connection fulfils.
    pub(crate) fn find(&self, tuple: &Tuple, zone: u16, now: Time) -> Option<Expectation> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let all = self.by_destination.lock();
        let key = Key::new(tuple.dst(), tuple.protocol(), zone);
        let src = tuple.src().address;
        let mut expectations = all.get(&key)?.iter();
        expectations
            .find(|one| one.deadline > now && one.src == src)
            .cloned()
    }

    /// Takes the expectation of `master` that a connection fulfils, if it is still there.
    pub(crate) fn take(
        &self,
        tuple: &Tuple,
        zone: u16,
        master: ConnectionRef,
        now: Time,
    ) -> Option<Expectation> {
        let mut all = self.by_destination.lock();
        let key = Key::new(tuple.dst(), tuple.protocol(), zone);
        let expectations = all.get_mut(&key)?;
        let src = tuple.src().address;
        let at = expectations
            .iter()
            .position(|one| one.deadline > now && one.src == src && one.master == master)?;
        let taken = expectations.swap_remove(at);
        if expectations.is_empty() {
            all.remove(&key);
        }
        self.count.fetch_sub(1, Ordering::Relaxed);
        Some(taken)
    }

    /// Removes the expectations of a connection that has ended. Returns their number.
    pub(crate) fn remove_master(&self, master: ConnectionRef) -> usize {
        if self.count.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        self.remove_if(&mut self.by_destination.lock(), |one| one.master == master)
    }

    /// Copies of all expectations.
    pub(crate) fn dump(&self, now: Time) -> Vec<Expectation> {
        let all = self.by_destination.lock();
        all.values()
            .flatten()
            .filter(|one| one.deadline > now)
            .cloned()
            .collect()
    }
}

impl Expectation {
    /// The time until it is expected no more.
    pub fn timeout(&self, now: Time) -> Duration {
        self.deadline.since(now)
    }
}
