// SPDX-License-Identifier: GPL-2.0

//! An ADI: a slice of the function with its own PASID.
//!
//! Its creator, a devlink port or a mediated device, holds the [`OwnedAdi`]. Users hold references
//! to the [`Adi`], whose operations fail once the owner has dropped it.

use adit_uapi::virtchnl2::{
    adi,
    op, //
};
use kernel::{
    device::Bound,
    new_mutex,
    pci,
    prelude::*,
    rbtree::RBTree,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        lock::{
            mutex::MutexBackend,
            Guard, //
        },
        Arc,
        Mutex, //
    }, //
};
use zerocopy::IntoBytes;

use crate::{
    errno::eproto,
    eventfd::EventFd,
    ids::InstanceId,
    messages::{
        self,
        AdiLayout,
        AdiRequest, //
    },
    pasid::{
        AddressSpace,
        Attachment, //
    },
    pf::Pf, //
};

/// Event of an ADI that its user can attach an eventfd to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// An interrupt of a vector of the ADI, from 0.
    Vector(u16),
    /// A fault that stopped a queue.
    Fault,
    /// A request to release the ADI.
    Request,
}

/// User of an ADI, to be notified when the ADI dies.
pub(crate) trait AdiUser: Send + Sync {
    /// Handles the death of the ADI: its mappings must be removed. Called in process context, once,
    /// perhaps while other calls are in progress.
    fn dead(&self);
}

/// Creator of an ADI, with its identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    /// A devlink port: its `sfnum`.
    Port(u32),
    /// A mediated device: its UUID as text.
    Mediated([u8; UUID_LEN]),
}

/// Length of a UUID in text form.
pub(crate) const UUID_LEN: usize = 36;

/// Parameters of a new ADI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdiSpec {
    /// The creator.
    pub(crate) maker: Maker,
    /// Queue pairs, each with its own vector.
    pub(crate) queue_pairs: u16,
    /// MAC address; all zeros lets the device choose.
    pub(crate) mac: [u8; 6],
    /// Identifier that no other ADI ever has: past, present or future.
    pub(crate) instance: InstanceId,
}

/// Values of [`Adi::life`].
mod life {
    /// The ADI is ending or has ended, permanently.
    pub(super) const ENDED: u32 = 0;
    /// Its users may use it.
    pub(super) const ACTIVE: u32 = 1;
    /// A reset has removed it from the device; it is to be created again.
    pub(super) const LOST: u32 = 2;
}

/// Eventfds, by trigger.
struct Triggers {
    vectors: KVec<Option<EventFd>>,
    fault: Option<EventFd>,
    request: Option<EventFd>,
}

impl Triggers {
    fn slot(&mut self, trigger: Trigger) -> Option<&mut Option<EventFd>> {
        match trigger {
            Trigger::Vector(vector) => self.vectors.get_mut(usize::from(vector)),
            Trigger::Fault => Some(&mut self.fault),
            Trigger::Request => Some(&mut self.request),
        }
    }
}

/// An ADI.
#[pin_data]
pub(crate) struct Adi {
    pf: Arc<Pf>,
    spec: AdiSpec,
    request: AdiRequest,
    layout: AdiLayout,
    space: Arc<AddressSpace>,
    /// Index of the devlink port.
    port: Atomic<u32>,
    /// See [`mod@life`].
    life: Atomic<u32>,
    /// Nonzero while the device has this ADI.
    known: Atomic<u32>,
    /// Set once it is destroyed. Held during destruction and during restoration by the device.
    #[pin]
    destroyed: Mutex<bool>,
    faults: Atomic<u64>,
    acknowledged: Atomic<u64>,
    #[pin]
    attachment: Mutex<Option<Attachment>>,
    #[pin]
    triggers: Mutex<Triggers>,
    #[pin]
    user: Mutex<Option<Arc<dyn AdiUser>>>,
}

impl Adi {
    /// Returns the function that this is a slice of.
    pub(crate) fn pf(&self) -> &Arc<Pf> {
        &self.pf
    }

    /// Returns the parameters that it was created with.
    pub(crate) fn spec(&self) -> &AdiSpec {
        &self.spec
    }

    /// Returns its queues, vectors and pages, as created by the device.
    pub(crate) fn layout(&self) -> &AdiLayout {
        &self.layout
    }

    /// Returns the index of its devlink port.
    pub(crate) fn port(&self) -> u32 {
        self.port.load(Relaxed)
    }

    /// Records the index of its devlink port.
    pub(crate) fn set_port(&self, index: u32) {
        self.port.store(index, Relaxed);
    }

    /// Returns its id in ADI messages.
    pub(crate) fn id(&self) -> u16 {
        self.layout.adi_id
    }

    /// Returns the address space of its DMA.
    pub(crate) fn space(&self) -> &Arc<AddressSpace> {
        &self.space
    }

    /// Returns its PASID.
    pub(crate) fn pasid(&self) -> u32 {
        self.space.pasid()
    }

    /// Returns whether users may use it.
    pub(crate) fn is_alive(&self) -> bool {
        self.life.load(Acquire) == life::ACTIVE
    }

    /// Returns the number of faults that have stopped one of its queues.
    pub(crate) fn faults(&self) -> u64 {
        self.faults.load(Relaxed)
    }

    /// Returns the page frame number of page `index` of its frame, to be mapped to its user.
    pub(crate) fn frame_page(&self, index: u32) -> Option<u64> {
        let offset = self.layout.frame_offset + u64::from(index) * messages::PAGE;
        (index < self.layout.frame_pages).then(|| self.pf.page_frame(offset))
    }

    /// Returns the page frame number of its kick page.
    pub(crate) fn kick_page(&self) -> u64 {
        self.pf.page_frame(self.layout.kick_offset)
    }

    /// Sends a request about this ADI; the caller has checked that it concerns no other ADI. Fails
    /// with `EIO` once the ADI is dead.
    pub(crate) fn request(&self, op: u32, payload: &[u8]) -> Result<KVVec<u8>> {
        self.request_if(|| true, op, payload)
    }

    /// Sends a [`Self::request()`] if `still` returns true when its turn comes; fails with `EIO`
    /// otherwise.
    pub(crate) fn request_if(
        &self,
        still: impl FnOnce() -> bool,
        op: u32,
        payload: &[u8],
    ) -> Result<KVVec<u8>> {
        let still = || self.is_alive() && still();
        self.pf.request_if(still, op, payload)
    }

    /// Sends a request that makes this ADI release a resource. It may be dead already: its queues
    /// run until it is destroyed. Fails with `EIO` once the device no longer has it or was reset;
    /// then it does no DMA, either.
    pub(crate) fn quiesce(&self, op: u32, payload: &[u8]) -> Result<KVVec<u8>> {
        self.pf.request_if(|| self.is_known(), op, payload)
    }

    /// Resets it to its state after creation: no state that its user set up remains when this
    /// returns.
    pub(crate) fn reset(&self) -> Result {
        let message = messages::reset_adi(self.id());
        self.quiesce(adi::op::RESET_ADI, message.as_bytes())?;
        Ok(())
    }

    /// Returns whether the device has it.
    fn is_known(&self) -> bool {
        self.known.load(Relaxed) != 0
    }

    /// Sets the eventfd of a trigger; `None` removes it. Fails with `EINVAL` if there is no such
    /// vector.
    pub(crate) fn set_trigger(&self, trigger: Trigger, eventfd: Option<EventFd>) -> Result {
        let old = {
            let mut triggers = self.triggers.lock();
            let slot = triggers.slot(trigger).ok_or(EINVAL)?;
            core::mem::replace(slot, eventfd)
        };
        // The last reference to an eventfd is not dropped under the lock.
        drop(old);
        Ok(())
    }

    /// Signals the eventfd of `trigger`, if any.
    pub(crate) fn trigger(&self, trigger: Trigger) {
        if let Some(Some(eventfd)) = self.triggers.lock().slot(trigger) {
            eventfd.signal();
        }
    }

    /// Handles an interrupt of vector `vector`.
    pub(crate) fn signal(&self, vector: u16) {
        self.trigger(Trigger::Vector(vector));
    }

    /// Handles a fault that has stopped a queue.
    pub(crate) fn faulted(&self) {
        self.faults.fetch_add(1, Relaxed);
        self.trigger(Trigger::Fault);
        self.pf.tell(|listener| listener.fault());
    }

    /// Returns the number of faults not yet recovered from.
    pub(crate) fn new_faults(&self) -> u64 {
        self.faults()
            .saturating_sub(self.acknowledged.load(Relaxed))
    }

    /// Marks all faults so far as seen.
    pub(crate) fn acknowledge_faults(&self) {
        self.acknowledged.store(self.faults(), Relaxed);
    }

    /// Registers the user, from opening the ADI until closing it (`None`). The user is notified
    /// when the ADI dies. Fails with `EIO` if it is dead already.
    pub(crate) fn set_user(&self, user: Option<Arc<dyn AdiUser>>) -> Result {
        let mut slot = self.user.lock();
        if user.is_some() && !self.is_alive() {
            return Err(EIO);
        }
        let old = core::mem::replace(&mut *slot, user);
        drop(slot);
        drop(old);
        Ok(())
    }

    /// Returns whether it has a user.
    pub(crate) fn is_used(&self) -> bool {
        self.user.lock().is_some()
    }

    /// Ends it if it has no user; fails with `EBUSY` otherwise.
    pub(crate) fn retire(&self) -> Result {
        // Under the lock, so that no user registers in between.
        let slot = self.user.lock();
        if slot.is_some() {
            return Err(EBUSY);
        }
        self.life.store(life::ENDED, Release);
        Ok(())
    }

    /// Ends it even if it is in use: requests fail from here on, and its user is notified.
    pub(crate) fn die(&self) {
        // Under the lock, so that no user registers in between and waits in vain.
        let (before, user) = {
            let slot = self.user.lock();
            (self.life.xchg(life::ENDED, Full), slot.clone())
        };
        if before == life::ACTIVE {
            self.end_use(user);
        }
    }

    /// Handles a reset that has removed it from the device: its user must open it again after
    /// [`Self::restore()`] has recreated it.
    pub(crate) fn lost(&self) {
        self.known.store(0, Relaxed);
        let (lost, user) = {
            let slot = self.user.lock();
            let lost = self.life.cmpxchg(life::ACTIVE, life::LOST, Full).is_ok();
            (lost, slot.clone())
        };
        if lost {
            self.end_use(user);
        }
    }

    /// Revokes the user's access to its registers and requests that the user close it.
    fn end_use(&self, user: Option<Arc<dyn AdiUser>>) {
        if let Some(user) = user {
            user.dead();
        }
        self.trigger(Trigger::Request);
        self.trigger(Trigger::Fault);
    }

    /// Creates it on the device again after a reset, unchanged: with its PASID, whose I/O page
    /// table is still attached, its MAC address and its place, so that it gets the same queues,
    /// pages and vport as before, and no other ADI does. Nothing that its user had set up remains.
    ///
    /// Does nothing for an ADI that was not lost. If the device creates a different one, or none,
    /// this ADI stays lost.
    pub(crate) fn restore(self: &Arc<Self>) -> Result {
        let destroyed = self.destroyed.lock();
        if *destroyed || self.life.load(Acquire) != life::LOST {
            return Ok(());
        }
        let request = AdiRequest {
            mac: self.layout.mac,
            place: Some(self.layout.place()),
            ..self.request
        };
        let layout = create(&self.pf, &request)?;
        if layout != self.layout {
            destroy(&self.pf, layout.adi_id);
            return Err(eproto());
        }
        self.pf
            .adis()
            .insert(self)
            .inspect_err(|_| destroy(&self.pf, layout.adi_id))?;
        self.known.store(1, Relaxed);
        // Unless it was ended in the meantime.
        let _ = self.life.cmpxchg(life::LOST, life::ACTIVE, Full);
        Ok(())
    }
}

/// Creates an ADI on the device.
fn create(pf: &Pf, request: &AdiRequest) -> Result<AdiLayout> {
    let reply = pf.request(op::NON_FLEX_CREATE_ADI, &request.encode())?;
    AdiLayout::decode(request, &reply, pf.bar_len()).map_err(|error| {
        // The device may have created one. Its id, if the reply has one, is at its usual offset.
        if let Some(&[low, high]) = reply.get(10..12) {
            destroy(pf, u16::from_le_bytes([low, high]));
        }
        pf.malformed(op::NON_FLEX_CREATE_ADI, error)
    })
}

/// Destroys an ADI on the device.
fn destroy(pf: &Pf, id: u16) {
    destroy_if(pf, || true, id);
}

/// Destroys an ADI on the device if `known` returns true when the request's turn comes: after a
/// reset, its id may be another ADI's.
fn destroy_if(pf: &Pf, known: impl Fn() -> bool, id: u16) {
    let message = messages::destroy_adi(id);
    let result = pf.request_if(&known, op::NON_FLEX_DESTROY_ADI, message.as_bytes());
    if let Err(error) = result {
        if known() {
            dev_warn!(pf.pdev(), "ADI {id} was not destroyed: {error:?}\n");
        }
    }
}

/// Owner of an ADI, which must be dropped, destroying the ADI, before the function is unbound.
pub(crate) struct OwnedAdi(Arc<Adi>);

impl OwnedAdi {
    /// Creates an ADI: a PASID, an I/O page table attached to it, and the queues in the device. If
    /// a step fails, the earlier ones are undone.
    pub(crate) fn new(pf: &Arc<Pf>, pdev: &pci::Device<Bound>, spec: AdiSpec) -> Result<Self> {
        let (index, cause_ring) = pf.next_adi()?;
        let space = AddressSpace::new(pdev.as_ref())?;
        let attachment = Attachment::new(pdev, space.clone())?;
        let mut vectors = KVec::with_capacity(spec.queue_pairs.into(), GFP_KERNEL)?;
        for _ in 0..spec.queue_pairs {
            vectors.push(None, GFP_KERNEL)?;
        }
        let request = AdiRequest {
            pasid: space.pasid(),
            index,
            queue_pairs: spec.queue_pairs,
            mac: spec.mac,
            cause_ring,
            place: None,
        };
        // Until it is in the table: a reset restores the ADIs of the table, and must not miss this
        // one, nor find its place taken.
        let _making = pf.adis().making();
        let layout = create(pf, &request)?;
        let adi = Arc::pin_init(
            try_pin_init!(Adi {
                pf: pf.clone(),
                spec,
                request,
                layout,
                space,
                port: Atomic::new(u32::MAX),
                life: Atomic::new(life::ACTIVE),
                known: Atomic::new(1),
                destroyed <- new_mutex!(false),
                faults: Atomic::new(0),
                acknowledged: Atomic::new(0),
                attachment <- new_mutex!(Some(attachment)),
                triggers <- new_mutex!(Triggers {
                    vectors,
                    fault: None,
                    request: None,
                }),
                user <- new_mutex!(None),
            }? Error),
            GFP_KERNEL,
        )
        .inspect_err(|_| destroy(pf, layout.adi_id))?;
        // From here on, dropping it undoes everything.
        let owned = Self(adi);
        pf.adis().own(&owned.0)?;
        pf.adis().insert(&owned.0)?;
        Ok(owned)
    }

    /// Returns the ADI, for use.
    pub(crate) fn adi(&self) -> &Arc<Adi> {
        &self.0
    }
}

impl Drop for OwnedAdi {
    fn drop(&mut self) {
        let adi = &self.0;
        adi.die();
        {
            let mut destroyed = adi.destroyed.lock();
            *destroyed = true;
            adi.pf.adis().remove(adi);
            destroy_if(&adi.pf, || adi.is_known(), adi.id());
        }
        // Only now: until then, a reset must find it to report that the device no longer has it.
        adi.pf.adis().disown(adi);
        // The device has released the PASID; if not, all its accesses fail from here on.
        drop(adi.attachment.lock().take());
    }
}

/// The ADIs of a function.
#[pin_data]
pub(crate) struct AdiTable {
    /// ADIs that the device has, by id: for looking up the ADI of a cause entry.
    #[pin]
    adis: Mutex<RBTree<u16, Arc<Adi>>>,
    /// ADIs that have an owner, by PASID: a reset removes none of them.
    #[pin]
    owned: Mutex<RBTree<u32, Arc<Adi>>>,
    #[pin]
    making: Mutex<()>,
    /// Held while ADIs are marked as lost, so that callers waiting for that continue only
    /// afterwards.
    #[pin]
    losing: Mutex<()>,
}

impl AdiTable {
    /// Creates an empty table.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                adis <- new_mutex!(RBTree::new()),
                owned <- new_mutex!(RBTree::new()),
                making <- new_mutex!(()),
                losing <- new_mutex!(()),
            }),
            GFP_KERNEL,
        )
    }

    /// Returns the ADI with the device's id `id`.
    pub(crate) fn get(&self, id: u16) -> Option<Arc<Adi>> {
        self.adis.lock().get(&id).cloned()
    }

    /// Returns the number of ADIs and the total number of their queue pairs.
    pub(crate) fn usage(&self) -> (u64, u64) {
        let adis = self.adis.lock();
        adis.values().fold((0, 0), |(count, pairs), adi| {
            (count + 1, pairs + u64::from(adi.layout().queue_pairs))
        })
    }

    /// Prevents the creation of ADIs while the guard is held.
    pub(crate) fn making(&self) -> Guard<'_, (), MutexBackend> {
        self.making.lock()
    }

    /// Handles a reset that has removed all ADIs from the device: their users are notified.
    pub(crate) fn lose(&self) {
        let _losing = self.losing.lock();
        // Not those in `adis`: one that is being created again or destroyed may be missing there.
        self.for_each_owned(|adi| {
            self.remove(adi);
            adi.lost();
        });
    }

    /// Creates all lost ADIs on the device again. No ADI may be created meanwhile: see
    /// [`Self::making()`].
    pub(crate) fn restore(&self) {
        self.for_each_owned(|adi| {
            if let Err(error) = adi.restore() {
                dev_err!(
                    adi.pf.pdev(),
                    "ADI {} does not come back from the reset: {error:?}\n",
                    adi.id()
                );
            }
        });
    }

    /// Calls `visit` for each ADI that has an owner. No lock is held meanwhile, so ADIs may be
    /// added and removed.
    fn for_each_owned(&self, mut visit: impl FnMut(&Arc<Adi>)) {
        let mut next = Some(0);
        while let Some(pasid) = next {
            let found = {
                let owned = self.owned.lock();
                owned
                    .cursor_lower_bound(&pasid)
                    .map(|cursor| cursor.current().1.clone())
            };
            let Some(adi) = found else { break };
            next = adi.pasid().checked_add(1);
            visit(&adi);
        }
    }

    /// Calls `visit` for each ADI that the device has. No lock is held meanwhile, so ADIs may be
    /// added and removed.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&Arc<Adi>)) {
        let mut next = Some(0);
        while let Some(id) = next {
            let found = {
                let adis = self.adis.lock();
                adis.cursor_lower_bound(&id)
                    .map(|cursor| cursor.current().1.clone())
            };
            let Some(adi) = found else { break };
            next = adi.id().checked_add(1);
            visit(&adi);
        }
    }

    fn insert(&self, adi: &Arc<Adi>) -> Result {
        // If a device assigned an id twice, one owner would receive the events of another.
        let mut adis = self.adis.lock();
        if adis.get(&adi.id()).is_some() {
            return Err(eproto());
        }
        adis.try_create_and_insert(adi.id(), adi.clone(), GFP_KERNEL)?;
        Ok(())
    }

    /// Adds an ADI that has an owner now.
    fn own(&self, adi: &Arc<Adi>) -> Result {
        let mut owned = self.owned.lock();
        let before = owned.try_create_and_insert(adi.pasid(), adi.clone(), GFP_KERNEL)?;
        drop(owned);
        // A PASID belongs to one ADI, which keeps it until it is disowned.
        drop(before);
        Ok(())
    }

    /// Removes an ADI that no longer has an owner.
    fn disown(&self, adi: &Arc<Adi>) {
        let removed = self.owned.lock().remove(&adi.pasid());
        drop(removed);
    }

    /// Removes an ADI, if it is in the table.
    pub(crate) fn remove(&self, adi: &Arc<Adi>) {
        let removed = {
            let mut adis = self.adis.lock();
            let same = adis
                .get(&adi.id())
                .is_some_and(|other| Arc::ptr_eq(other, adi));
            same.then(|| adis.remove(&adi.id())).flatten()
        };
        drop(removed);
    }
}
