// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The expectations of a tracker by all that they are found by, and what limits their number.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{ExpectError, Expectation};
use crate::bits::ExpectFlags;
use crate::table::ConnectionRef;
use crate::time::Time;
use crate::tuple::{Protocol, Tuple};

/// The maximum number of expectations of all masters (`nf_ct_expect_max` of a small hash table).
const MAX: usize = 4096;
/// The maximum number of expectations of a zone: no tenant uses up those of all.
pub(super) const MAX_IN_ZONE: usize = MAX / 4;
/// The maximum number of expectations of a destination, which are searched linearly.
pub(super) const MAX_OF_DESTINATION: usize = 64;
/// The maximum number of expectations of a master in all classes.
pub(super) const MAX_OF_MASTER: usize = 64;
/// The maximum number of expired expectations that an addition removes.
const EXPIRED_PER_ADDITION: usize = 8;

/// The part of an expectation that is never masked: destination, protocol and zone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Destination(IpAddr, u16, Protocol, u16);

impl Destination {
    fn of(tuple: &Tuple, zone: u16) -> Self {
        let dst = tuple.dst();
        Destination(dst.address, dst.part, tuple.protocol(), zone)
    }
}

/// A change of the expectations. It is reported under their lock: the report must not use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Removed,
}

/// A receiver of reports of changes.
pub(crate) type Report<'a> = &'a dyn Fn(Change, &Expectation);

/// The rules for an addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The maximum number of expectations of the master's class: the oldest one is removed.
    pub(crate) of_class: usize,
    /// An equal expectation of another master is [`ExpectError::Known`], not [`ExpectError::Busy`]
    /// (`NF_CT_EXP_F_SKIP_MASTER`).
    pub(crate) finds_known: bool,
}

#[derive(Default)]
pub(super) struct Index {
    last_id: u64,
    pub(super) by_id: BTreeMap<u64, Expectation>,
    /// The oldest first.
    by_destination: BTreeMap<Destination, Vec<u64>>,
    /// The oldest first.
    by_master: BTreeMap<u64, Vec<u64>>,
    by_deadline: BTreeSet<(Time, u64)>,
    /// The number of expectations of each zone.
    zones: BTreeMap<u16, usize>,
}

/// Takes a number out of a list, and the list, if it is empty then, out of a map.
fn remove_from<K: Ord>(lists: &mut BTreeMap<K, Vec<u64>>, key: &K, id: u64) {
    if let Some(list) = lists.get_mut(key) {
        list.retain(|&other| other != id);
        if list.is_empty() {
            lists.remove(key);
        }
    }
}

impl Index {
    pub(super) fn insert(&mut self, new: Expectation, report: Report<'_>) {
        report(Change::Added, &new);
        let destination = Destination::of(&new.tuple, new.zone);
        let id = new.id;
        self.by_destination.entry(destination).or_default().push(id);
        let of_master = self.by_master.entry(new.master.to_bits()).or_default();
        of_master.push(id);
        self.by_deadline.insert((new.deadline, id));
        *self.zones.entry(new.zone).or_default() += 1;
        self.by_id.insert(id, new);
    }

    pub(super) fn remove(&mut self, id: u64, report: Report<'_>) -> Option<Expectation> {
        let gone = self.by_id.remove(&id)?;
        let destination = Destination::of(&gone.tuple, gone.zone);
        remove_from(&mut self.by_destination, &destination, id);
        remove_from(&mut self.by_master, &gone.master.to_bits(), id);
        self.by_deadline.remove(&(gone.deadline, id));
        if let Some(count) = self.zones.get_mut(&gone.zone) {
            *count -= 1;
            if *count == 0 {
                self.zones.remove(&gone.zone);
            }
        }
        report(Change::Removed, &gone);
        Some(gone)
    }

    /// Removes at most `limit` expectations whose time has passed, and returns their number.
    pub(super) fn expire(&mut self, now: Time, limit: usize, report: Report<'_>) -> usize {
        let due = self.by_deadline.iter().take(limit);
        let ids: Vec<_> = due
            .take_while(|(deadline, _)| *deadline <= now)
            .map(|&(_, id)| id)
            .collect();
        for id in &ids {
            self.remove(*id, report);
        }
        ids.len()
    }

    /// The expectations of a destination whose time has not passed, the newest first.
    pub(super) fn of_destination(
        &self,
        tuple: &Tuple,
        zone: u16,
        now: Time,
    ) -> impl Iterator<Item = &Expectation> {
        let list = self.by_destination.get(&Destination::of(tuple, zone));
        let ids = list.map_or(&[][..], Vec::as_slice);
        ids.iter()
            .rev()
            .filter_map(|id| self.by_id.get(id))
            .filter(move |one| one.deadline > now)
    }

    pub(super) fn of_master(&self, master: ConnectionRef) -> &[u64] {
        let ids = self.by_master.get(&master.to_bits());
        ids.map_or(&[], Vec::as_slice)
    }

    /// The oldest expectation of a master's class, and the number of that class.
    pub(super) fn oldest_of_class(&self, new: &Expectation) -> Option<(u64, usize)> {
        let mut of_class = self
            .of_master(new.master)
            .iter()
            .filter_map(|id| self.by_id.get(id))
            .filter(|one| one.class == new.class);
        let oldest = of_class.next()?;
        Some((oldest.id, 1 + of_class.count()))
    }

    /// Makes room for an expectation, beside `reserved` of its class that are to be inserted before it
    /// (`__nf_ct_expect_check`).
    fn make_place(
        &mut self,
        new: &Expectation,
        reserved: usize,
        limits: &Limits,
        now: Time,
        report: Report<'_>,
    ) -> Result<(), ExpectError> {
        self.expire(now, EXPIRED_PER_ADDITION, report);
        let mut same = None;
        for other in self.of_destination(&new.tuple, new.zone, now) {
            let is_same = new.mask == other.mask && new.has_source_of(&other.tuple);
            match (is_same, other.master == new.master) {
                (true, true) if other.class == new.class => {
                    same = Some(other.id);
                    break;
                }
                (true, false) if !limits.finds_known => {}
                (true, _) => return Err(ExpectError::Known),
                (false, _) => {}
            }
            if new.clashes(other) {
                return Err(ExpectError::Busy);
            }
        }
        if let Some(id) = same {
            self.remove(id, report);
        }
        if let Some((oldest, count)) = self.oldest_of_class(new) {
            if count + reserved >= limits.of_class {
                self.remove(oldest, report);
            }
        }
        let destination = Destination::of(&new.tuple, new.zone);
        let of_destination = self.by_destination.get(&destination).map_or(0, Vec::len);
        let of_zone = self.zones.get(&new.zone).copied().unwrap_or(0);
        if self.by_id.len() + reserved >= MAX
            || of_zone + reserved >= MAX_IN_ZONE
            || of_destination >= MAX_OF_DESTINATION
            || self.of_master(new.master).len() + reserved >= MAX_OF_MASTER
        {
            return Err(ExpectError::Full);
        }
        Ok(())
    }

    /// Adds expectations of one master and class, of different destinations: all of them, or none.
    pub(super) fn add<const N: usize>(
        &mut self,
        new: [Expectation; N],
        limits: &Limits,
        now: Time,
        report: Report<'_>,
    ) -> Result<[u64; N], ExpectError> {
        for (reserved, one) in new.iter().enumerate() {
            self.make_place(one, reserved, limits, now, report)?;
        }
        Ok(new.map(|mut one| {
            self.last_id += 1;
            one.id = self.last_id;
            self.insert(one, report);
            self.last_id
        }))
    }

    /// Gives an expectation another deadline, and activates it.
    pub(super) fn activate(&mut self, id: u64, deadline: Time) {
        if let Some(one) = self.by_id.get_mut(&id) {
            self.by_deadline.remove(&(one.deadline, id));
            self.by_deadline.insert((deadline, id));
            one.deadline = deadline;
            one.flags = one.flags.without(ExpectFlags::INACTIVE);
        }
    }
}
