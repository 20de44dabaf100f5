// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The expectations of a tracker: bounded in number for all, a zone, a master's class and a
//! destination.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::index::{Index, Limits, Report};
use super::{ExpectError, Expectation};
use crate::bits::ExpectFlags;
use crate::table::ConnectionRef;
use crate::time::Time;
use crate::tuple::Tuple;

/// The most expectations that are removed before packets that wait for the lock have it.
const EXPIRED_PER_LOCK: usize = 16;

#[derive(Default)]
pub(crate) struct Expectations {
    /// The number of expectations, which is read without the lock.
    count: AtomicUsize,
    index: Mutex<Index>,
}

impl Expectations {
    /// Runs `change` on the index, and updates the number.
    fn with<T>(&self, change: impl FnOnce(&mut Index) -> T) -> T {
        let mut index = self.index.lock();
        let result = change(&mut index);
        self.count.store(index.by_id.len(), Ordering::Relaxed);
        result
    }

    /// Reports whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Adds expectations of one master and class, all of them or none, under numbers of their own,
    /// which are returned.
    pub(crate) fn add<const N: usize>(
        &self,
        new: [Expectation; N],
        limits: &Limits,
        now: Time,
        report: Report<'_>,
    ) -> Result<[u64; N], ExpectError> {
        self.with(|index| index.add(new, limits, now, report))
    }

    /// Puts back an expectation that was taken, unless there is another one for such connections, or
    /// of its class, meanwhile. Returns whether it is there again; nothing is reported.
    pub(crate) fn put_back(&self, taken: &Expectation, now: Time) -> bool {
        self.with(|index| {
            let is_replaced = index.oldest_of_class(taken).is_some()
                || index
                    .of_destination(&taken.tuple, taken.zone, now)
                    .any(|other| taken.clashes(other));
            if !is_replaced {
                index.insert(taken.clone(), &|_, _| {});
            }
            !is_replaced
        })
    }

    /// A copy of the expectation that a new connection fulfils.
    pub(crate) fn find(&self, tuple: &Tuple, zone: u16, now: Time) -> Option<Expectation> {
        self.peek(tuple, zone, now, |one| {
            !one.flags.contains(ExpectFlags::INACTIVE)
        })
    }

    /// A copy of the newest expectation of a tuple, active or not, that `is_wanted`.
    pub(crate) fn peek(
        &self,
        tuple: &Tuple,
        zone: u16,
        now: Time,
        is_wanted: impl Fn(&Expectation) -> bool,
    ) -> Option<Expectation> {
        if self.is_empty() {
            return None;
        }
        let index = self.index.lock();
        let mut of_destination = index.of_destination(tuple, zone, now);
        of_destination
            .find(|one| one.has_source_of(tuple) && is_wanted(one))
            .cloned()
    }

    /// Takes the expectation of `master` that a connection fulfils, if it is still there. A permanent
    /// one stays. Nothing is reported: it may be put back.
    pub(crate) fn take(
        &self,
        tuple: &Tuple,
        zone: u16,
        master: ConnectionRef,
        now: Time,
    ) -> Option<Expectation> {
        self.with(|index| {
            let found = index.of_destination(tuple, zone, now).find(|one| {
                one.master == master
                    && one.has_source_of(tuple)
                    && !one.flags.contains(ExpectFlags::INACTIVE)
            })?;
            if found.flags.contains(ExpectFlags::PERMANENT) {
                return Some(found.clone());
            }
            index.remove(found.id, &|_, _| {})
        })
    }

    /// Removes an expectation, if it is there.
    pub(crate) fn remove(&self, id: u64, report: Report<'_>) -> Option<Expectation> {
        self.with(|index| index.remove(id, report))
    }

    /// Removes the expectations of a master that `is_wanted`, the newest first, at most `limit`.
    pub(crate) fn remove_of_master(
        &self,
        master: ConnectionRef,
        limit: usize,
        is_wanted: impl Fn(&Expectation) -> bool,
        report: Report<'_>,
    ) {
        if self.is_empty() {
            return;
        }
        self.with(|index| {
            let wanted = |id: &&u64| index.by_id.get(*id).is_some_and(&is_wanted);
            let ids = index.of_master(master).iter().rev().filter(wanted);
            let ids: Vec<_> = ids.take(limit).copied().collect();
            for id in ids {
                index.remove(id, report);
            }
        });
    }

    /// Activates the newest expectation of a master that `is_wanted`, and gives it another deadline.
    /// Returns whether there is one.
    pub(crate) fn activate(
        &self,
        master: ConnectionRef,
        deadline: Time,
        is_wanted: impl Fn(&Expectation) -> bool,
    ) -> bool {
        self.with(|index| {
            let wanted = |id: &&u64| index.by_id.get(*id).is_some_and(&is_wanted);
            let found = index.of_master(master).iter().rev().find(wanted).copied();
            if let Some(id) = found {
                index.activate(id, deadline);
            }
            found.is_some()
        })
    }

    /// Removes at most `limit` expectations whose time has passed, some under each lock.
    pub(crate) fn expire(&self, now: Time, limit: usize, report: Report<'_>) {
        let mut left = limit;
        while left > 0 && !self.is_empty() {
            let count = left.min(EXPIRED_PER_LOCK);
            let mut index = self.index.lock();
            let expired = index.expire(now, count, report);
            self.count.store(index.by_id.len(), Ordering::Relaxed);
            MutexGuard::unlock_fair(index);
            if expired < count {
                return;
            }
            left -= count;
        }
    }

    /// Copies of at most `count` expectations whose numbers are at least `first`, in their order, and
    /// the number from which to go on; absent at the end.
    pub(crate) fn dump(
        &self,
        first: u64,
        count: usize,
        now: Time,
    ) -> (Vec<Expectation>, Option<u64>) {
        let index = self.index.lock();
        let mut all = index.by_id.range(first..).map(|(_, one)| one);
        let found: Vec<_> = all
            .by_ref()
            .filter(|one| one.deadline > now)
            .take(count)
            .cloned()
            .collect();
        (found, all.next().map(|one| one.id))
    }

    /// A copy of the newest expectation of a master that `is_wanted`.
    pub(crate) fn newest_of(
        &self,
        master: ConnectionRef,
        now: Time,
        is_wanted: impl Fn(&Expectation) -> bool,
    ) -> Option<Expectation> {
        let index = self.index.lock();
        let ids = index.of_master(master).iter().rev();
        ids.filter_map(|id| index.by_id.get(id))
            .find(|one| one.deadline > now && is_wanted(one))
            .cloned()
    }

    /// The number of expectations.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}
