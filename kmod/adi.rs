// SPDX-License-Identifier: GPL-2.0

//! An ADI: a slice of the function with its own PASID.
//!
//! Its creator, a devlink port or a mediated device, holds the [`OwnedAdi`]. Users hold references
//! to the [`Adi`], whose operations fail once the owner has dropped it.
//!
//! - [`life`]: the stages of its life
//! - [`group`], [`groups`]: groups of ADIs, and how they are formed and ended
//! - [`triggers`]: eventfds of its user
//! - [`table`]: the ADIs of a function
//! - [`owned`]: creation, restoration after a reset, and destruction

pub(crate) mod group;
mod groups;
mod life;
mod owned;
mod table;
mod triggers;

use adit_uapi::virtchnl2::adi::{
    op,
    AdiFault, //
};
use kernel::{
    fs::LocalFile,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed, //
        },
        Arc,
        Mutex, //
    }, //
};
use zerocopy::IntoBytes;

pub(crate) use self::{
    groups::{
        Candidate,
        Groups, //
    },
    owned::{
        restore,
        OwnedAdi, //
    },
    table::AdiTable,
    triggers::Trigger, //
};

use self::{
    life::Life,
    triggers::Triggers, //
};
use crate::{
    control::ControlPlane,
    eventfd::EventFd,
    ids::{
        AdiId,
        Pasid,
        PortIndex,
        SfNum, //
    },
    instance::InstanceId,
    messages::{
        self,
        AdiLayout,
        AdiRequest, //
    },
    pasid::{
        AddressSpace,
        Attachment, //
    }, //
};

/// User of an ADI, to be notified when the ADI dies.
pub(crate) trait AdiUser: Send + Sync {
    /// Handles the loss of the ADI: its mappings must be removed. Called in process context, perhaps
    /// more than once, and while other calls are in progress.
    fn dead(&self);

    /// Returns whether `file` is one through which it has the ADI open, and has not lost it.
    fn is_open_as(&self, file: &LocalFile) -> bool;
}

/// Creator of an ADI, with its identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Creator {
    /// A devlink port.
    Port(SfNum),
    /// A mediated device: its UUID as text.
    Mediated([u8; UUID_LEN]),
}

/// Length of a UUID in text form.
pub(crate) const UUID_LEN: usize = 36;

/// Parameters of a new ADI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdiSpec {
    /// The creator.
    pub(crate) creator: Creator,
    /// Queue pairs, each with its own vector.
    pub(crate) queue_pairs: u16,
    /// MAC address; all zeros lets the device choose.
    pub(crate) mac: [u8; 6],
    /// Identifier that no other ADI ever has: past, present or future.
    pub(crate) instance: InstanceId,
}

/// An ADI.
#[pin_data]
pub(crate) struct Adi {
    control: Arc<ControlPlane>,
    /// The ADIs of the function, this one among them until it is destroyed.
    table: Arc<AdiTable>,
    spec: AdiSpec,
    request: AdiRequest,
    layout: AdiLayout,
    space: Arc<AddressSpace>,
    /// Index of the devlink port.
    port: Atomic<u32>,
    /// See [`Life`].
    life: Atomic<u32>,
    /// Nonzero while the device has this ADI.
    present: Atomic<u32>,
    /// The restart of the function ([`AdiTable`]) since which, or in which, the device last had it.
    last_present: Atomic<u64>,
    /// Set once it is destroyed. Locked during destruction and during restoration.
    #[pin]
    destroyed: Mutex<bool>,
    faults: Atomic<u64>,
    acknowledged: Atomic<u64>,
    #[pin]
    attachment: Mutex<Option<Attachment>>,
    triggers: Arc<Triggers>,
    #[pin]
    user: Mutex<Option<Arc<dyn AdiUser>>>,
}

impl Adi {
    /// Returns the control plane of the function that this is a slice of.
    pub(crate) fn control(&self) -> &Arc<ControlPlane> {
        &self.control
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
    pub(crate) fn port(&self) -> PortIndex {
        PortIndex(self.port.load(Relaxed))
    }

    /// Records the index of its devlink port.
    pub(crate) fn set_port(&self, index: PortIndex) {
        self.port.store(index.0, Relaxed);
    }

    /// Returns the groups of the function's ADIs.
    pub(crate) fn groups(&self) -> &Groups {
        self.table.groups()
    }

    /// Returns whether `other` is this ADI: two may have the same id, one after a reset of the other.
    fn is(&self, other: &Self) -> bool {
        core::ptr::eq(self, other)
    }

    /// Returns its id in messages to the device.
    pub(crate) fn id(&self) -> AdiId {
        self.layout.adi_id
    }

    /// Returns the address space of its DMA.
    pub(crate) fn space(&self) -> &Arc<AddressSpace> {
        &self.space
    }

    /// Returns its PASID.
    pub(crate) fn pasid(&self) -> Pasid {
        self.space.pasid()
    }

    /// Returns the stage of its life.
    fn life(&self) -> Life {
        Life::from_raw(self.life.load(Acquire))
    }

    /// Changes the stage of its life, and returns the stage before.
    fn change_life(&self, next: impl Fn(Life) -> Life) -> Life {
        let mut raw = self.life.load(Acquire);
        loop {
            let before = Life::from_raw(raw);
            match self.life.cmpxchg(raw, next(before).to_raw(), Full) {
                Ok(_) => return before,
                Err(current) => raw = current,
            }
        }
    }

    /// Returns whether users may use it.
    pub(crate) fn is_alive(&self) -> bool {
        self.life() == Life::Active
    }

    /// Returns the number of faults that have stopped one of its queues.
    pub(crate) fn faults(&self) -> u64 {
        self.faults.load(Relaxed)
    }

    /// Returns the page frame number of page `index` of its frame, to be mapped to its user.
    pub(crate) fn frame_page(&self, index: u32) -> Option<u64> {
        let offset = self.layout.frame_offset + u64::from(index) * messages::PAGE;
        (index < self.layout.frame_pages).then(|| self.control.page_frame(offset))
    }

    /// Returns the page frame number of its kick page.
    pub(crate) fn kick_page(&self) -> u64 {
        self.control.page_frame(self.layout.kick_offset)
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
        self.control.request_if(still, op, payload)
    }

    /// Sends a request that quiesces this ADI or part of it. It may be dead already: its queues run
    /// until it is destroyed. Fails with `EIO` once the device no longer has it or was reset; then
    /// it does no DMA, either. Nor does a device that does not reply, which is reset
    /// ([`ControlPlane::request_if()`]), unless its registers cannot be reached.
    pub(crate) fn quiesce(&self, op: u32, payload: &[u8]) -> Result<KVVec<u8>> {
        self.control.request_if(|| self.is_present(), op, payload)
    }

    /// Resets it to its state after creation: no state that its user set up remains when this
    /// returns.
    pub(crate) fn reset(&self) -> Result {
        let message = messages::reset_adi(self.id());
        self.quiesce(op::RESET_ADI, message.as_bytes())?;
        Ok(())
    }

    /// Ends the log of what it writes, if there is one.
    pub(crate) fn end_log(&self) {
        let message = messages::stop_log(self.id());
        // A device without the ADI has no log of it.
        let _ = self.quiesce(op::STOP_ADI_LOG, message.as_bytes());
    }

    /// Reads the device's fault record; `flags` ([`fault_flags`]) may request that it be cleared.
    ///
    /// [`fault_flags`]: adit_uapi::virtchnl2::adi::fault_flags
    pub(crate) fn fault_record(&self, flags: u16) -> Result<AdiFault> {
        let request = messages::get_fault(self.id(), flags);
        let reply = self
            .control
            .request(op::GET_ADI_FAULT, request.as_bytes())?;
        messages::fixed(&reply).map_err(|error| self.control.malformed(op::GET_ADI_FAULT, error))
    }

    /// Makes the device forget the translations of memory that was unmapped from this ADI while its
    /// queues were running: none of them is used for an access after this returns. (An ordinary
    /// message suffices, see `adit_uapi::virtchnl2::adi`.) If the device does not reply, see
    /// [`Self::quiesce()`].
    pub(crate) fn forget_translations(&self) {
        let message = messages::get_fault(self.id(), 0);
        let _ = self.quiesce(op::GET_ADI_FAULT, message.as_bytes());
    }

    /// Returns whether the device has it.
    fn is_present(&self) -> bool {
        self.present.load(Relaxed) != 0
    }

    /// Returns the last restart of the function in which the device had it.
    fn last_present(&self) -> u64 {
        self.last_present.load(Relaxed)
    }

    /// Sets the eventfd of a trigger; see [`Triggers::set()`].
    pub(crate) fn set_trigger(&self, trigger: Trigger, eventfd: Option<EventFd>) -> Result {
        self.triggers.set(trigger, eventfd)
    }

    /// Signals the eventfd of `trigger`, if any.
    pub(crate) fn trigger(&self, trigger: Trigger) {
        self.triggers.signal(trigger);
    }

    /// Counts a fault that has stopped a queue, and signals it to the user.
    fn record_fault(&self) {
        self.faults.fetch_add(1, Relaxed);
        self.trigger(Trigger::Fault);
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
        self.change_life(|_| Life::Ended);
        Ok(())
    }

    /// Ends it even if it is in use: requests fail from here on, and its user is notified.
    pub(crate) fn die(&self) {
        // Under the lock, so that no user registers in between and waits in vain.
        let (before, user) = {
            let slot = self.user.lock();
            (self.change_life(|_| Life::Ended), slot.clone())
        };
        if before == Life::Active {
            self.end_use(user);
        }
    }

    /// Handles a reset that has removed it from the device: its user must open it again after
    /// [`restore()`] has recreated it.
    fn mark_lost(&self) {
        self.present.store(0, Relaxed);
        let (before, user) = {
            let slot = self.user.lock();
            (self.change_life(Life::after_loss), slot.clone())
        };
        if before == Life::Active {
            self.end_use(user);
        }
    }

    /// Takes it away from its user, who must close it. The next user finds it as after creation.
    fn revoke_user(&self) {
        let user = self.user.lock().clone();
        self.end_use(user);
    }

    /// Revokes the user's access to its registers and requests that the user close it.
    fn end_use(&self, user: Option<Arc<dyn AdiUser>>) {
        if let Some(user) = user {
            user.dead();
        }
        self.trigger(Trigger::Request);
        self.trigger(Trigger::Fault);
    }
}
