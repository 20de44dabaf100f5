// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Expectations of control planes (`ctnetlink_create_expect`, `ctnetlink_del_expect`).

use std::time::Duration;

use crate::bits::ExpectFlags;
use crate::expect::{ExpectError, ExpectNat, Expectation, Limits, SourceMask};
use crate::helper::Helper;
use crate::table::ConnectionRef;
use crate::time::Time;
use crate::tracker::Tracker;
use crate::tuple::{Direction, Family, Tuple};

/// The most expectations of a class of a master without a helper (`NF_CT_EXPECT_MAX_CNT`).
const MAX_OF_CLASS: usize = 255;

/// An expectation that a control plane creates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewExpectation {
    /// The connection that is to have announced it.
    pub master: ConnectionRef,
    /// The tuple of the expected connection's first packet, where `mask` has ones.
    pub tuple: Tuple,
    /// The bits of the source that the connection must have.
    pub mask: SourceMask,
    /// The time for which it is expected.
    pub timeout: Duration,
    /// The class of the helper's expectations.
    pub class: u8,
    /// Its properties; those of a control plane get USERSPACE, too.
    pub flags: ExpectFlags,
    /// The helper that the expected connection gets.
    pub assigned: Option<Helper>,
    /// Its translation.
    pub nat: Option<ExpectNat>,
}

impl Tracker {
    /// Creates an expectation, and returns its number.
    ///
    /// # Errors
    ///
    /// An [`ExpectError`].
    pub fn create_expectation(&self, new: &NewExpectation, now: Time) -> Result<u64, ExpectError> {
        let new = NewExpectation {
            flags: new.flags | ExpectFlags::USERSPACE,
            ..new.clone()
        };
        self.restore_expectation(&new, now)
    }

    /// Creates an expectation that is the copy of another tracker's, with its flags as they are.
    ///
    /// # Errors
    ///
    /// As [`create_expectation`](Self::create_expectation).
    pub fn restore_expectation(&self, new: &NewExpectation, now: Time) -> Result<u64, ExpectError> {
        let master = self.get(new.master, now).ok_or(ExpectError::NoMaster)?;
        // What follows from the master's addresses is written into the expected connection's tuple.
        let family = new.tuple.family();
        let target = new.nat.map(|nat| Family::of(nat.target.address));
        if master.original.family() != family
            || Family::of(new.mask.address) != family
            || target.is_some_and(|target| target != family)
        {
            return Err(ExpectError::Family);
        }
        let max = master
            .helper
            .map_or(MAX_OF_CLASS, |helper| helper.class(new.class).max);
        let expectation = Expectation {
            id: 0,
            master: new.master,
            master_tuple: master.original,
            zone: master.zone.id(),
            tuple: new.tuple,
            mask: new.mask,
            deadline: now + new.timeout,
            class: new.class,
            flags: new.flags,
            helper: master.helper,
            assigned: new.assigned,
            nat: new.nat,
        };
        let limits = Limits {
            of_class: max,
            finds_known: false,
        };
        let [id] = self.add_expectations([expectation], &limits, now)?;
        Ok(id)
    }

    /// Deletes an expectation. Returns whether it was there.
    pub fn delete_expectation(&self, id: u64) -> bool {
        self.remove_expectation(id)
    }

    /// Copies of at most `count` expectations whose numbers are at least `first`, in the order of
    /// these, and the number from which the next call goes on; absent at the end.
    pub fn expectations(
        &self,
        first: u64,
        count: usize,
        now: Time,
    ) -> (Vec<Expectation>, Option<u64>) {
        self.expectations.dump(first, count, now)
    }

    /// A copy of the expectation that a connection of this tuple, in the zone with number `zone`,
    /// fulfils or would fulfil if it were active.
    pub fn find_expectation(&self, tuple: &Tuple, zone: u16, now: Time) -> Option<Expectation> {
        self.expectations.peek(tuple, zone, now, |_| true)
    }

    /// A copy of the newest expectation of a connection's.
    pub fn expectation_of(&self, master: &Tuple, zone: u16, now: Time) -> Option<Expectation> {
        let connection = self.find(master, crate::zone::Zone::new(zone), now);
        let (connection, direction) = connection?;
        if direction != Direction::Original {
            return None;
        }
        self.expectations.newest_of(connection, now, |_| true)
    }

    /// Deletes at most `count` expectations, the oldest first. Returns their number.
    pub fn flush_expectations(&self, count: usize, now: Time) -> usize {
        let (all, _) = self.expectations.dump(0, count, now);
        all.iter()
            .filter(|one| self.remove_expectation(one.id))
            .count()
    }

    /// The number of expectations. Those whose time has passed count until they are removed.
    pub fn expectation_count(&self) -> usize {
        self.expectations.len()
    }
}
