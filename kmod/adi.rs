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
        Arc,
        Mutex, //
    }, //
};
use zerocopy::IntoBytes;

use crate::{
    errno::eproto,
    eventfd::EventFd,
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
    layout: AdiLayout,
    space: Arc<AddressSpace>,
    /// Users may use it.
    alive: Atomic<u32>,
    /// The device has it.
    known: Atomic<u32>,
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

    /// Whether the device still knows it.
    pub(crate) fn is_alive(&self) -> bool {
        self.alive.load(Acquire) != 0
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
        self.pf.request_if(|| self.is_alive(), op, payload)
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
        self.alive.store(0, Release);
        Ok(())
    }

    /// Ends it whoever uses it: requests fail from here on and its user is told.
    pub(crate) fn die(&self) {
        // Under the lock, so that nobody registers in between and waits in vain.
        let user = {
            let slot = self.user.lock();
            if self.alive.xchg(0, Full) == 0 {
                return;
            }
            slot.clone()
        };
        if let Some(user) = user {
            user.dead();
        }
        self.trigger(Trigger::Request);
        self.trigger(Trigger::Fault);
    }

    /// A reset has taken it from the device: it ends, and there is nothing left to destroy.
    pub(crate) fn lost(&self) {
        self.known.store(0, Relaxed);
        self.die();
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
        };
        let reply = pf.request(op::NON_FLEX_CREATE_ADI, &request.encode())?;
        let layout = AdiLayout::decode(&request, &reply, pf.bar_len()).map_err(|error| {
            // The device may have made one. Its id, if it said one, is where it should be.
            if let Some(&[low, high]) = reply.get(10..12) {
                let message = messages::destroy_adi(u16::from_le_bytes([low, high]));
                let _ = pf.request(op::NON_FLEX_DESTROY_ADI, message.as_bytes());
            }
            pf.malformed(op::NON_FLEX_CREATE_ADI, error)
        })?;
        let destroy = messages::destroy_adi(layout.adi_id);
        let adi = Arc::pin_init(
            try_pin_init!(Adi {
                pf: pf.clone(),
                spec,
                layout,
                space,
                alive: Atomic::new(1),
                known: Atomic::new(1),
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
        .inspect_err(|_| {
            let _ = pf.request(op::NON_FLEX_DESTROY_ADI, destroy.as_bytes());
        })?;
        // From here on, dropping it undoes everything.
        let owned = Self(adi);
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
        adi.pf.adis().remove(adi);
        if adi.is_known() {
            let message = messages::destroy_adi(adi.id());
            let result = adi.pf.request(op::NON_FLEX_DESTROY_ADI, message.as_bytes());
            if let Err(error) = result {
                dev_warn!(
                    adi.pf.pdev(),
                    "ADI {} was not destroyed: {error:?}\n",
                    adi.id()
                );
            }
        }
        // The device has let go of the PASID, or has to live with every access failing.
        drop(adi.attachment.lock().take());
    }
}

/// The ADIs of a function, by their ids: where causes find theirs.
#[pin_data]
pub(crate) struct AdiTable {
    #[pin]
    adis: Mutex<RBTree<u16, Arc<Adi>>>,
}

impl AdiTable {
    /// An empty one.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                adis <- new_mutex!(RBTree::new()),
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

    /// Calls `visit` for each; no lock is held meanwhile, so that ADIs may come and go.
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
