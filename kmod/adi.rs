// SPDX-License-Identifier: GPL-2.0

//! An ADI: a slice of the function with a PASID of its own.
//!
//! Whoever made it, a devlink port or a mediated device, has the [`OwnedAdi`]; those who use it
//! have references to the [`Adi`], which get errors once the owner has let it go.

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

/// What a user of an ADI can have signalled to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// A vector of the ADI, from 0.
    Vector(u16),
    /// A queue was stopped by a fault.
    Fault,
    /// The ADI is wanted back.
    Request,
}

/// Who uses an ADI, and has to know when it ends.
pub(crate) trait AdiUser: Send + Sync {
    /// The ADI is dead: what is mapped of it must go. Called in process context, once, perhaps
    /// while other calls are under way.
    fn dead(&self);
}

/// Who made an ADI, and calls it what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    /// A devlink port: its `sfnum`.
    Port(u32),
    /// A mediated device: its UUID, as text.
    Mediated([u8; UUID_LEN]),
}

/// Characters of a UUID's text.
pub(crate) const UUID_LEN: usize = 36;

/// What an ADI is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdiSpec {
    /// Who made it.
    pub(crate) maker: Maker,
    /// Queue pairs, each with a vector.
    pub(crate) queue_pairs: u16,
    /// Its address; all zeros for one of the device's choice.
    pub(crate) mac: [u8; 6],
    /// Tells it from all others that there are, were and will be.
    pub(crate) instance: InstanceId,
}

/// Values of [`Adi::life`].
mod life {
    /// It ends, or has: for good.
    pub(super) const ENDED: u32 = 0;
    /// Its users may use it.
    pub(super) const ACTIVE: u32 = 1;
    /// A reset has taken it from the device, which is to give it back.
    pub(super) const LOST: u32 = 2;
}

/// Eventfds, by what triggers them.
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
    /// Index of its devlink port.
    port: Atomic<u32>,
    /// See [`mod@life`].
    life: Atomic<u32>,
    /// The device has it.
    known: Atomic<u32>,
    /// Whether it is destroyed. Held while it is, and while the device gives it back.
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
    /// The function that it is a slice of.
    pub(crate) fn pf(&self) -> &Arc<Pf> {
        &self.pf
    }

    /// What it was made from.
    pub(crate) fn spec(&self) -> &AdiSpec {
        &self.spec
    }

    /// Its queues, vectors and pages, as the device has made them.
    pub(crate) fn layout(&self) -> &AdiLayout {
        &self.layout
    }

    /// The index of its devlink port.
    pub(crate) fn port(&self) -> u32 {
        self.port.load(Relaxed)
    }

    /// Says which devlink port it has.
    pub(crate) fn set_port(&self, index: u32) {
        self.port.store(index, Relaxed);
    }

    /// Its name in messages about ADIs.
    pub(crate) fn id(&self) -> u16 {
        self.layout.adi_id
    }

    /// What its DMA reaches.
    pub(crate) fn space(&self) -> &Arc<AddressSpace> {
        &self.space
    }

    /// Its PASID.
    pub(crate) fn pasid(&self) -> u32 {
        self.space.pasid()
    }

    /// Whether its users may use it.
    pub(crate) fn is_alive(&self) -> bool {
        self.life.load(Acquire) == life::ACTIVE
    }

    /// How often a fault has stopped one of its queues.
    pub(crate) fn faults(&self) -> u64 {
        self.faults.load(Relaxed)
    }

    /// The number of the page of memory for page `index` of its frame, to be mapped to its owner.
    pub(crate) fn frame_page(&self, index: u32) -> Option<u64> {
        let offset = self.layout.frame_offset + u64::from(index) * messages::PAGE;
        (index < self.layout.frame_pages).then(|| self.pf.page_frame(offset))
    }

    /// The number of the page of memory for its kick page.
    pub(crate) fn kick_page(&self) -> u64 {
        self.pf.page_frame(self.layout.kick_offset)
    }

    /// Sends a request about this ADI; the caller has made sure that it is about no other. `EIO`
    /// once the ADI is dead.
    pub(crate) fn request(&self, op: u32, payload: &[u8]) -> Result<KVVec<u8>> {
        self.request_if(|| true, op, payload)
    }

    /// [`Self::request()`], if `still` says so once it is its turn, and `EIO` otherwise.
    pub(crate) fn request_if(
        &self,
        still: impl FnOnce() -> bool,
        op: u32,
        payload: &[u8],
    ) -> Result<KVVec<u8>> {
        let still = || self.is_alive() && still();
        self.pf.request_if(still, op, payload)
    }

    /// Sends a request that makes this ADI let go of something, for which it may be dead already:
    /// until it is destroyed its queues run. `EIO` once the device does not have it, or was reset;
    /// then there is no DMA of it, either.
    pub(crate) fn quiesce(&self, op: u32, payload: &[u8]) -> Result<KVVec<u8>> {
        self.pf.request_if(|| self.is_known(), op, payload)
    }

    /// Puts it back to how it was made: nothing of what its user has set up or left is there when
    /// this returns.
    pub(crate) fn reset(&self) -> Result {
        let message = messages::reset_adi(self.id());
        self.quiesce(adi::op::RESET_ADI, message.as_bytes())?;
        Ok(())
    }

    /// Whether the device has it.
    fn is_known(&self) -> bool {
        self.known.load(Relaxed) != 0
    }

    /// Has an eventfd signalled, or no longer with `None`. `EINVAL` if there is no such vector.
    pub(crate) fn set_trigger(&self, trigger: Trigger, eventfd: Option<EventFd>) -> Result {
        let old = {
            let mut triggers = self.triggers.lock();
            let slot = triggers.slot(trigger).ok_or(EINVAL)?;
            core::mem::replace(slot, eventfd)
        };
        // The last reference to an eventfd is not given back under the lock.
        drop(old);
        Ok(())
    }

    /// Signals whatever eventfd there is for `trigger`.
    pub(crate) fn trigger(&self, trigger: Trigger) {
        if let Some(Some(eventfd)) = self.triggers.lock().slot(trigger) {
            eventfd.signal();
        }
    }

    /// Vector `vector` has signalled.
    pub(crate) fn signal(&self, vector: u16) {
        self.trigger(Trigger::Vector(vector));
    }

    /// A fault has stopped a queue.
    pub(crate) fn faulted(&self) {
        self.faults.fetch_add(1, Relaxed);
        self.trigger(Trigger::Fault);
        self.pf.tell(|listener| listener.fault());
    }

    /// How many of its faults nobody has recovered from.
    pub(crate) fn new_faults(&self) -> u64 {
        self.faults()
            .saturating_sub(self.acknowledged.load(Relaxed))
    }

    /// All faults so far have been seen.
    pub(crate) fn acknowledge_faults(&self) {
        self.acknowledged.store(self.faults(), Relaxed);
    }

    /// Registers who uses it, from opening it until closing it (`None`), and is told about the
    /// end. `EIO` when that has come already.
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

    /// Whether somebody uses it.
    pub(crate) fn is_used(&self) -> bool {
        self.user.lock().is_some()
    }

    /// Ends it if nobody uses it; `EBUSY` otherwise.
    pub(crate) fn retire(&self) -> Result {
        // Under the lock, so that nobody begins to use it in between.
        let slot = self.user.lock();
        if slot.is_some() {
            return Err(EBUSY);
        }
        self.life.store(life::ENDED, Release);
        Ok(())
    }

    /// Ends it whoever uses it: requests fail from here on, and its user is notified.
    pub(crate) fn die(&self) {
        // Under the lock, so that nobody registers in between and waits in vain.
        let (before, user) = {
            let slot = self.user.lock();
            (self.life.xchg(life::ENDED, Full), slot.clone())
        };
        if before == life::ACTIVE {
            self.end_use(user);
        }
    }

    /// A reset has taken it from the device: whoever uses it has to open it anew once
    /// [`Self::restore()`] has brought it back.
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

    /// Takes its registers from its user, and says that it is to close it.
    fn end_use(&self, user: Option<Arc<dyn AdiUser>>) {
        if let Some(user) = user {
            user.dead();
        }
        self.trigger(Trigger::Request);
        self.trigger(Trigger::Fault);
    }

    /// Has the device make it again after a reset, as it was: with its PASID, whose I/O page table
    /// is still attached, its address and its place, so that the queues, pages and vport of before
    /// are this one's and no other's. Nothing of what its user had set up is there.
    ///
    /// Does nothing for one that was not lost. When the device makes another one of it, or none, it
    /// stays as it is.
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
        // Unless it was ended meanwhile.
        let _ = self.life.cmpxchg(life::LOST, life::ACTIVE, Full);
        Ok(())
    }
}

/// Asks the device for an ADI.
fn create(pf: &Pf, request: &AdiRequest) -> Result<AdiLayout> {
    let reply = pf.request(op::NON_FLEX_CREATE_ADI, &request.encode())?;
    AdiLayout::decode(request, &reply, pf.bar_len()).map_err(|error| {
        // The device may have made one. Its id, if it said one, is where it should be.
        if let Some(&[low, high]) = reply.get(10..12) {
            destroy(pf, u16::from_le_bytes([low, high]));
        }
        pf.malformed(op::NON_FLEX_CREATE_ADI, error)
    })
}

/// Gives an ADI back to the device.
fn destroy(pf: &Pf, id: u16) {
    let message = messages::destroy_adi(id);
    let result = pf.request(op::NON_FLEX_DESTROY_ADI, message.as_bytes());
    if let Err(error) = result {
        dev_warn!(pf.pdev(), "ADI {id} was not destroyed: {error:?}\n");
    }
}

/// An ADI and the duty to destroy it, which must be done before the function is unbound.
pub(crate) struct OwnedAdi(Arc<Adi>);

impl OwnedAdi {
    /// Makes an ADI: a PASID, an I/O page table attached to it, and the queues in the device.
    /// What a step before has made is undone when a later one fails.
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
        // Until it is among the others: a reset gives those back that are there, and must not miss
        // this one, nor find its place taken.
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

    /// The ADI, to be used.
    pub(crate) fn adi(&self) -> &Arc<Adi> {
        &self.0
    }
}

impl Drop for OwnedAdi {
    fn drop(&mut self) {
        let adi = &self.0;
        adi.die();
        adi.pf.adis().disown(adi);
        {
            let mut destroyed = adi.destroyed.lock();
            *destroyed = true;
            adi.pf.adis().remove(adi);
            if adi.is_known() {
                destroy(&adi.pf, adi.id());
            }
        }
        // The device has let go of the PASID, or has to live with every access failing.
        drop(adi.attachment.lock().take());
    }
}

/// The ADIs of a function.
#[pin_data]
pub(crate) struct AdiTable {
    /// Those that the device has, by their ids: where causes find theirs.
    #[pin]
    adis: Mutex<RBTree<u16, Arc<Adi>>>,
    /// Those that have an owner, by their PASIDs: a reset takes none of them out.
    #[pin]
    owned: Mutex<RBTree<u32, Arc<Adi>>>,
    #[pin]
    making: Mutex<()>,
    /// Held while ADIs are lost, so that nobody who waits for that goes on before it is done.
    #[pin]
    losing: Mutex<()>,
}

impl AdiTable {
    /// An empty one.
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

    /// The ADI that the device calls `id`.
    pub(crate) fn get(&self, id: u16) -> Option<Arc<Adi>> {
        self.adis.lock().get(&id).cloned()
    }

    /// How many there are, and how many queue pairs they have.
    pub(crate) fn usage(&self) -> (u64, u64) {
        let adis = self.adis.lock();
        adis.values().fold((0, 0), |(count, pairs), adi| {
            (count + 1, pairs + u64::from(adi.layout().queue_pairs))
        })
    }

    /// Keeps ADIs from being made.
    pub(crate) fn making(&self) -> Guard<'_, (), MutexBackend> {
        self.making.lock()
    }

    /// A reset has taken all ADIs from the device: their users are notified.
    pub(crate) fn lose(&self) {
        let _losing = self.losing.lock();
        self.for_each(|adi| {
            self.remove(adi);
            adi.lost();
        });
    }

    /// Has the device give back all ADIs that were lost. No ADI is made meanwhile:
    /// [`Self::making()`].
    pub(crate) fn restore(&self) {
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
            if let Err(error) = adi.restore() {
                dev_err!(
                    adi.pf.pdev(),
                    "ADI {} does not come back from the reset: {error:?}\n",
                    adi.id()
                );
            }
        }
    }

    /// Calls `visit` for each that the device has; no lock is held meanwhile, so that ADIs may come
    /// and go.
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
        // A device that gives an id twice would let one owner hear what is another's.
        let mut adis = self.adis.lock();
        if adis.get(&adi.id()).is_some() {
            return Err(eproto());
        }
        adis.try_create_and_insert(adi.id(), adi.clone(), GFP_KERNEL)?;
        Ok(())
    }

    /// Adds one that has an owner now.
    fn own(&self, adi: &Arc<Adi>) -> Result {
        let mut owned = self.owned.lock();
        let before = owned.try_create_and_insert(adi.pasid(), adi.clone(), GFP_KERNEL)?;
        drop(owned);
        // A PASID is one ADI's, which has it until it is disowned.
        drop(before);
        Ok(())
    }

    /// Takes out one that has no owner any more.
    fn disown(&self, adi: &Arc<Adi>) {
        let removed = self.owned.lock().remove(&adi.pasid());
        drop(removed);
    }

    /// Takes one out, if it is in.
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
