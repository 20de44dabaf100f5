// SPDX-License-Identifier: GPL-2.0

//! The ADIs of a function, by the device's ids and by PASID.

use kernel::{
    new_mutex,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        lock::{
            mutex::MutexBackend,
            Guard, //
        },
        Arc,
        Mutex, //
    }, //
};

use super::{
    groups::Groups,
    Adi,
    Trigger, //
};
use crate::{
    errno::eproto,
    ids::{
        AdiId,
        AdiVector,
        Pasid, //
    },
    irq_lock::{
        new_irq_lock,
        IrqLock, //
    },
    listener::Listener, //
};

/// The ADIs of a function.
#[pin_data]
pub(crate) struct AdiTable {
    /// ADIs that the device has, by id: for looking up the ADI of a cause entry.
    #[pin]
    present: IrqLock<RBTree<AdiId, Arc<Adi>>>,
    /// ADIs that have an owner, by PASID: a reset removes none of them.
    #[pin]
    owned: Mutex<RBTree<Pasid, Arc<Adi>>>,
    #[pin]
    creation: Mutex<()>,
    /// Locked while ADIs are marked as lost, so that callers waiting for that continue only
    /// afterwards.
    #[pin]
    loss: Mutex<()>,
    /// Restarts of the function that have restored ADIs.
    restarts: Atomic<u64>,
    #[pin]
    groups: Groups,
    #[pin]
    listener: Mutex<Option<Arc<dyn Listener>>>,
}

impl AdiTable {
    /// Creates an empty table.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                present <- new_irq_lock!(RBTree::new()),
                owned <- new_mutex!(RBTree::new()),
                creation <- new_mutex!(()),
                loss <- new_mutex!(()),
                restarts: Atomic::new(0),
                groups <- Groups::new(),
                listener <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )
    }

    /// Returns the ADI with the device's id `id`.
    pub(crate) fn get(&self, id: AdiId) -> Option<Arc<Adi>> {
        self.present.lock().get(&id).cloned()
    }

    /// Handles an interrupt of an ADI, also in interrupt context; returns false without such an ADI.
    pub(crate) fn signal(&self, id: AdiId, vector: AdiVector) -> bool {
        // Not the ADI, whose last reference must not be dropped here: that sleeps. Not under the lock,
        // which handlers of all ADIs take: an owner determines how long it takes to wake those that wait
        // for its eventfd.
        let triggers = self.present.lock().get(&id).map(|adi| adi.triggers.clone());
        triggers
            .inspect(|triggers| triggers.signal(Trigger::Vector(vector)))
            .is_some()
    }

    /// Returns the groups of ADIs.
    pub(crate) fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Returns the number of ADIs and the total number of their queue pairs.
    pub(crate) fn usage(&self) -> (u64, u64) {
        let (mut count, mut pairs) = (0, 0);
        self.for_each(|adi| {
            count += 1;
            pairs += u64::from(adi.layout().queue_pairs);
        });
        (count, pairs)
    }

    /// Sets or removes the listener to faults and to the loss of the device. One that is removed is
    /// not notified after this returns.
    pub(crate) fn set_listener(&self, listener: Option<Arc<dyn Listener>>) {
        let old = core::mem::replace(&mut *self.listener.lock(), listener);
        drop(old);
    }

    /// Notifies the listener, if there is one. The lock is held meanwhile, so that none is notified
    /// after it was removed.
    fn notify(&self, event: impl FnOnce(&dyn Listener)) {
        if let Some(listener) = &*self.listener.lock() {
            event(&**listener);
        }
    }

    /// Handles a fault that has stopped a queue of `adi`.
    pub(crate) fn handle_fault(&self, adi: &Adi) {
        adi.record_fault();
        self.notify(|listener| listener.fault());
    }

    /// Prevents the creation of ADIs while the guard is held.
    pub(crate) fn lock_creation(&self) -> Guard<'_, (), MutexBackend> {
        self.creation.lock()
    }

    /// Returns the number of restarts of the function so far.
    pub(super) fn restarts(&self) -> u64 {
        self.restarts.load(Relaxed)
    }

    /// Counts a restart of the function and returns its number. Creation is locked.
    pub(super) fn count_restart(&self) -> u64 {
        let restart = self.restarts() + 1;
        self.restarts.store(restart, Relaxed);
        restart
    }

    /// Handles a reset that has removed all ADIs from the device: their users are notified.
    pub(crate) fn mark_lost(&self) {
        let _loss = self.loss.lock();
        // Not those in `present`: one that is being restored or destroyed may be missing there.
        self.for_each_owned(|adi| {
            self.remove(adi);
            adi.mark_lost();
        });
    }

    /// Calls `visit` for each ADI that has an owner. No lock is held meanwhile, so ADIs may be
    /// added and removed.
    pub(super) fn for_each_owned(&self, mut visit: impl FnMut(&Arc<Adi>)) {
        let mut next = Some(0);
        while let Some(pasid) = next {
            let found = {
                let owned = self.owned.lock();
                owned
                    .cursor_lower_bound(&Pasid(pasid))
                    .map(|cursor| cursor.current().1.clone())
            };
            let Some(adi) = found else { break };
            next = adi.pasid().0.checked_add(1);
            visit(&adi);
        }
    }

    /// Calls `visit` for each ADI that the device has. No lock is held meanwhile, so ADIs may be
    /// added and removed.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&Arc<Adi>)) {
        let mut next = Some(0);
        while let Some(id) = next {
            let found = {
                let adis = self.present.lock();
                adis.cursor_lower_bound(&AdiId(id))
                    .map(|cursor| cursor.current().1.clone())
            };
            let Some(adi) = found else { break };
            next = adi.id().0.checked_add(1);
            visit(&adi);
        }
    }

    /// Adds an ADI that the device has. Fails with `EPROTO` if the device has assigned its id
    /// twice: one owner would receive the events of another.
    pub(super) fn insert(&self, adi: &Arc<Adi>) -> Result {
        let node = RBTreeNode::new(adi.id(), adi.clone(), GFP_KERNEL)?;
        let mut adis = self.present.lock();
        let is_taken = adis.get(&adi.id()).is_some();
        // Nothing is replaced.
        let unused = match is_taken {
            true => Some(node),
            false => adis.insert(node),
        };
        drop(adis);
        drop(unused);
        match is_taken {
            true => Err(eproto()),
            false => Ok(()),
        }
    }

    /// Adds an ADI that has an owner now.
    pub(super) fn add_owned(&self, adi: &Arc<Adi>) -> Result {
        let mut owned = self.owned.lock();
        let before = owned.try_create_and_insert(adi.pasid(), adi.clone(), GFP_KERNEL)?;
        drop(owned);
        // A PASID belongs to one ADI, which keeps it until it is removed here.
        drop(before);
        Ok(())
    }

    /// Removes an ADI that no longer has an owner.
    pub(super) fn remove_owned(&self, adi: &Arc<Adi>) {
        let removed = self.owned.lock().remove(&adi.pasid());
        drop(removed);
    }

    /// Removes an ADI that the device no longer has, if it is in the table.
    pub(super) fn remove(&self, adi: &Arc<Adi>) {
        let removed = {
            let mut adis = self.present.lock();
            let same = adis
                .get(&adi.id())
                .is_some_and(|other| Arc::ptr_eq(other, adi));
            same.then(|| adis.remove_node(&adi.id())).flatten()
        };
        drop(removed);
    }
}

/// The control plane notifies the table, and the table its own listener.
impl Listener for AdiTable {
    fn lost(&self) {
        self.mark_lost();
        self.notify(|listener| listener.lost());
    }

    fn fault(&self) {
        self.notify(|listener| listener.fault());
    }
}
