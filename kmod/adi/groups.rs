// SPDX-License-Identifier: GPL-2.0

//! The groups of a function's ADIs: formed by a user that has all of them open, ended when one of
//! them is closed.
//!
//! Owners are protected from each other:
//!
//! - An ADI becomes a member only by a file through which it is open ([`AdiUser::is_open_as()`]).
//!   The caller refers to these files, so that no member is closed, and opened by another, before
//!   the group is recorded.
//! - An ADI is closed only after it has left its group ([`Adi::leave_group()`]), which ends the
//!   group: so the next owner of an ADI neither receives for nor sends as the leader. As the others
//!   cannot go on without its queues, their users lose them.
//! - A group that the device does not end makes its ADIs unusable until they are destroyed.
//!
//! A reset of the function ends all groups on the device, and its users have lost their ADIs by
//! then; [`Groups::forget()`] is called before another ADI can have the id of one of them.
//!
//! The lock of the groups is taken before the mailbox's and before those of ADIs and their users;
//! the loss of the device, which is noticed under the mailbox's, therefore takes no part in it.

use adit_uapi::virtchnl2::adi::op;
use kernel::{
    fs::LocalFile,
    new_mutex,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
};
use zerocopy::IntoBytes;

use super::{
    group::{
        Group,
        FORM_LEN,
        MAX_ADIS, //
    },
    Adi,
    AdiUser, //
};
use crate::{
    errno::eopnotsupp,
    ids::AdiId, //
};

/// An ADI that is to be a member, and a file through which it is open.
pub(crate) struct Candidate {
    /// Its id in messages to the device.
    pub(crate) id: AdiId,
    /// The file.
    pub(crate) file: ARef<LocalFile>,
}

/// The groups of a function's ADIs.
#[pin_data]
pub(crate) struct Groups {
    /// The group of each ADI that is in one. Locked while groups are formed and ended.
    #[pin]
    by_adi: Mutex<RBTree<AdiId, Group>>,
    formed: Atomic<u64>,
    refused: Atomic<u64>,
    ended: Atomic<u64>,
}

impl Groups {
    /// Creates an empty set.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            by_adi <- new_mutex!(RBTree::new()),
            formed: Atomic::new(0),
            refused: Atomic::new(0),
            ended: Atomic::new(0),
        })
    }

    /// Forgets all groups: a reset of the function has ended them, and no ADI is in use.
    pub(crate) fn forget(&self) {
        let groups = core::mem::replace(&mut *self.by_adi.lock(), RBTree::new());
        drop(groups);
    }

    /// Counts a request for a group that was refused.
    pub(crate) fn count_refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// Returns the numbers of groups that were formed, of requests that were refused, and of groups
    /// that ended because one of their ADIs was closed.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        (
            self.formed.load(Relaxed),
            self.refused.load(Relaxed),
            self.ended.load(Relaxed),
        )
    }
}

impl Adi {
    /// Makes the queues of other ADIs those of this one's virtual port, if `alive` returns true when
    /// the request's turn comes; returns the number of RX queues of the group.
    ///
    /// Fails with `EOPNOTSUPP` if the device has no groups, `E2BIG` if it has smaller ones, `ENXIO`
    /// if there is no such ADI, `EINVAL` if one is given twice or is not open as the file given,
    /// `EEXIST` if one is in a group; with `EBUSY` if one is at work, `EINVAL` if one is elsewhere
    /// (by the device's reply), and `EIO` if one is gone.
    pub(crate) fn lead(&self, candidates: &[Candidate], alive: impl Fn() -> bool) -> Result<u32> {
        let max = usize::from(self.control.caps().max_group.get()).min(MAX_ADIS);
        if max < 2 {
            return Err(eopnotsupp());
        }
        if candidates.len() >= max {
            return Err(E2BIG);
        }
        let mut groups = self.table.groups().by_adi.lock();
        let mut group = Group::led_by(self.id());
        let mut users: KVec<(Arc<dyn AdiUser>, &LocalFile)> =
            KVec::with_capacity(candidates.len(), GFP_KERNEL)?;
        let mut rx_queues = self.layout.rx.count;
        for Candidate { id, file } in candidates {
            let adi = self.table.get(*id).ok_or(ENXIO)?;
            let user = adi.user.lock().clone();
            let user = user.filter(|user| user.is_open_as(file)).ok_or(EINVAL)?;
            group
                .add(*id)
                .map_err(|refusal| Error::from_errno(-refusal.errno()))?;
            rx_queues = rx_queues.saturating_add(adi.layout.rx.count);
            users.push((user, &**file), GFP_KERNEL)?;
        }
        if group.adis().iter().any(|id| groups.get(id).is_some()) {
            return Err(EEXIST);
        }
        // Recorded first: a record without a group does no harm, a group without a record would.
        let mut nodes = KVec::with_capacity(group.adis().len(), GFP_KERNEL)?;
        for id in group.adis() {
            nodes.push(RBTreeNode::new(*id, group, GFP_KERNEL)?, GFP_KERNEL)?;
        }
        for node in nodes {
            groups.insert(node);
        }
        let still = || alive() && users.iter().all(|(user, file)| user.is_open_as(file));
        let mut payload = [0; FORM_LEN];
        let message = group.form(&mut payload);
        if let Err(error) = self.control.request_if(still, op::SET_ADI_GROUP, message) {
            remove(&mut groups, &group);
            return Err(error);
        }
        self.table.groups().formed.fetch_add(1, Relaxed);
        Ok(rx_queues)
    }

    /// Ends its group, if it is in one: for an ADI that is being closed, before it can be opened
    /// again. All ADIs of the group are reset, and the users of the others lose theirs.
    pub(crate) fn leave_group(&self) {
        let table = &self.table;
        let mut groups = table.groups().by_adi.lock();
        // By identity: if this one was not restored after a reset, its id may be another ADI's.
        if !table.get(self.id()).is_some_and(|adi| self.is(&adi)) {
            return;
        }
        let Some(group) = groups.get(&self.id()).copied() else {
            return;
        };
        // The device has those that are in the table; of others it has no group, either.
        let adis = || group.adis().iter().filter_map(|id| table.get(*id));
        // From here on, requests of their users fail: nothing is enabled again after the resets.
        for other in adis().filter(|adi| !self.is(adi)) {
            other.revoke_user();
        }
        // The leader first: while it is suspended, so are the members.
        for adi in adis() {
            let _ = adi.reset();
        }
        if let Some(leader) = table.get(group.leader()) {
            let ended = leader.quiesce(op::SET_ADI_GROUP, group.end().as_bytes());
            if let Some(error) = ended.err().filter(|_| leader.is_present()) {
                dev_err!(
                    self.control.pdev(),
                    "the group of ADI {} was not ended: {error:?}; its ADIs must be recreated\n",
                    group.leader().0
                );
                adis().for_each(|adi| adi.die());
            }
            // Otherwise a reset has ended it.
            if leader.is_present() {
                table.groups().ended.fetch_add(1, Relaxed);
            }
        }
        remove(&mut groups, &group);
    }
}

/// Removes the record of a group.
fn remove(groups: &mut RBTree<AdiId, Group>, group: &Group) {
    for id in group.adis() {
        let _ = groups.remove(id);
    }
}
