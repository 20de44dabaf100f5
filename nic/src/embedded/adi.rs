// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An open ADI of an embedded NIC.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use adit_uapi::virtchnl2::adi::{
    doorbell_flags, op as adi_op, AdiGroup, ConfigAdiDoorbells, NonFlexDestroyAdi, ResetAdi,
};
use adit_uapi::virtchnl2::{op, status};
use adit_vfio_user::EventFd;
use parking_lot::MutexGuard;
use zerocopy::little_endian::U16;
use zerocopy::IntoBytes;

use super::{event, failed, messages, set, AdiSpec, Created, Error, Inner};
use crate::dataplane::DataPlane;
use crate::doorbells::Run;
use crate::function::Function;
use crate::ids::AdiId;
use crate::logging::warn_throttled;
use crate::memory::{Access, WriteLog, PAGE_LEN};
use crate::pasid::Pasid;

/// The maximum number of registrations of an ADI.
pub const MAX_REGISTRATIONS: usize = 1 << 16;
/// The maximum number of bytes of all registrations of an ADI.
pub const MAX_REGISTERED_LEN: u64 = 1 << 40;

/// The NIC's state of an open ADI.
pub(super) struct Open {
    created: Created,
    /// Readable once it has gone.
    gone: OwnedFd,
    /// Set once it has gone; changed with the function locked.
    ended: AtomicBool,
}

/// An open ADI, which is destroyed when this is dropped.
pub struct Adi {
    inner: Arc<Inner>,
    open: Arc<Open>,
    /// Readable after a fault.
    fault: Arc<EventFd>,
    pages: File,
    /// The eventfds of its vectors, which survive a reset.
    triggers: Vec<Option<Arc<EventFd>>>,
    /// The length of each registration, by its first address.
    registrations: BTreeMap<u64, u64>,
    /// The number of registered bytes.
    registered: u64,
}

impl Adi {
    /// Creates an ADI, whose doorbell pages are `inherited` if there is a file of them.
    pub(super) fn create(
        inner: &Arc<Inner>,
        spec: &AdiSpec,
        inherited: Option<OwnedFd>,
    ) -> Result<Self, Error> {
        let (gone, fault) = (event()?, event()?);
        let fault = EventFd::from_client(fault).map_err(failed("making an eventfd"))?;
        let fault = Arc::new(fault);
        let mut function = inner.shared.lock();
        if inner.shared.stopping() {
            return Err(Error::Gone);
        }
        let created = create(&mut function, inner, spec)?;
        let vectors = usize::from(created.pairs);
        let open = Arc::new(Open {
            created,
            gone,
            ended: AtomicBool::new(false),
        });
        let (first, pages) = open.created.frame();
        let doorbells = &mut function.datapath_mut().queues_mut().doorbells;
        let pages = doorbells.separate_frame(first, pages, inherited);
        let pages = pages.map_err(failed("making a file of doorbell pages"));
        match pages.and_then(|pages| start(&mut function, &open.created, &fault).map(|()| pages)) {
            Ok(pages) => {
                inner.open.lock().insert(open.created.id, open.clone());
                Ok(Self {
                    inner: inner.clone(),
                    open,
                    fault,
                    pages: pages.into(),
                    triggers: vec![None; vectors],
                    registrations: BTreeMap::new(),
                    registered: 0,
                })
            }
            Err(error) => {
                open.end(&mut function);
                Err(error)
            }
        }
    }

    /// Its ids and resources.
    #[must_use]
    pub fn created(&self) -> &Created {
        &self.open.created
    }

    /// Locks the function, if the ADI is still one of it.
    fn lock(&self) -> Result<MutexGuard<'_, Function>, Error> {
        let function = self.inner.shared.lock();
        match self.open.ended.load(Ordering::Acquire) {
            false => Ok(function),
            true => Err(Error::Gone),
        }
    }

    /// The link of its port: whether it is up, and its speed in Mbit/s.
    ///
    /// # Errors
    /// Fails when it is gone.
    pub fn link(&self) -> Result<(bool, u32), Error> {
        Ok(self.lock()?.datapath().link(self.open.created.vport))
    }

    /// Sends a message to the control plane, with the ids of [`created`](Self::created), and replaces
    /// `reply` by the reply's payload.
    ///
    /// # Errors
    /// Fails when the message is refused or is not one for owners, or the ADI is gone.
    pub fn request(
        &mut self,
        opcode: u32,
        payload: &[u8],
        reply: &mut Vec<u8>,
    ) -> Result<(), Error> {
        if !messages::is_for_owners(opcode) {
            return Err(Error::NotForOwners(opcode));
        }
        let mut function = self.lock()?;
        let answered = request(&mut function, opcode, payload, reply);
        drop(function);
        // Queues may have been started.
        self.inner.shared.wake();
        answered
    }

    /// Makes `len` bytes of a file from `offset` on accessible to the queues at `iova`: whole pages
    /// of 4 KiB. The file must be sealed against shrinking.
    ///
    /// # Errors
    /// Fails when the range overlaps another one, a limit is reached, the file cannot be mapped, or
    /// the ADI is gone.
    pub fn map(
        &mut self,
        iova: u64,
        len: u64,
        access: Access,
        file: OwnedFd,
        offset: u64,
    ) -> Result<(), Error> {
        if (iova | len | offset) % PAGE_LEN as u64 != 0 {
            return Err(Error::Unaligned { iova, len, offset });
        }
        if self.registrations.len() >= MAX_REGISTRATIONS {
            return Err(Error::TooMany);
        }
        let registered = self.registered;
        let total = registered.checked_add(len);
        let total = total.filter(|&total| total <= MAX_REGISTERED_LEN);
        let total = total.ok_or(Error::TooLarge { len, registered })?;
        let mut function = self.lock()?;
        let translator = &mut function.datapath_mut().queues_mut().translator;
        let memory = translator.registered_mut(self.open.created.pasid);
        let memory = memory.ok_or(Error::Gone)?;
        memory.map(iova, len, access, Some((file, offset)))?;
        drop(function);
        self.registrations.insert(iova, len);
        self.registered = total;
        Ok(())
    }

    /// Ends a registration that was made with exactly this address and length. No access to it is
    /// in progress when this returns, and none will be made: a queue that uses it faults.
    ///
    /// # Errors
    /// Fails when there is no such registration.
    pub fn unmap(&mut self, iova: u64, len: u64) -> Result<(), Error> {
        if self.registrations.get(&iova) != Some(&len) {
            return Err(Error::NotRegistered { iova, len });
        }
        // The memory of an ADI that is gone was released when it went.
        if let Ok(mut function) = self.lock() {
            let translator = &mut function.datapath_mut().queues_mut().translator;
            if let Some(memory) = translator.registered_mut(self.open.created.pasid) {
                memory.unmap(iova, len)?;
            }
        }
        self.registrations.remove(&iova);
        self.registered -= len;
        Ok(())
    }

    /// Logs what its queues write from now on; `None` ends that. One that is gone writes nothing.
    pub fn log_writes(&mut self, log: Option<Arc<WriteLog>>) {
        if let Ok(mut function) = self.lock() {
            let translator = &mut function.datapath_mut().queues_mut().translator;
            if let Some(memory) = translator.registered_mut(self.open.created.pasid) {
                memory.set_log(log);
            }
        }
    }

    /// Waits until the turn of the engine in which its queues may be writing has ended: what was
    /// taken from a log may be copied then ([`WriteLog::take`]).
    pub fn settle_writes(&self) {
        drop(self.inner.shared.lock());
    }

    /// Sets the eventfd that a vector signals, also after a reset; `None` for none, which keeps
    /// causes latched.
    ///
    /// # Errors
    /// Fails when there is no such vector, the ADI is gone, or the process has no descriptor left.
    pub fn set_vector(&mut self, vector: u16, trigger: Option<&EventFd>) -> Result<(), Error> {
        let count = self.open.created.pairs;
        if vector >= count {
            return Err(Error::NoSuchVector { vector, count });
        }
        let trigger = match trigger {
            Some(trigger) => {
                let duplicate = trigger.as_fd().try_clone_to_owned();
                let duplicate = duplicate.map_err(failed("duplicating an eventfd"))?;
                let trigger = EventFd::from_client(duplicate);
                Some(Arc::new(trigger.map_err(failed("using an eventfd"))?))
            }
            None => None,
        };
        let mut function = self.lock()?;
        set_trigger(&mut function, &self.open.created, vector, trigger.clone());
        drop(function);
        self.triggers[usize::from(vector)] = trigger;
        // A cause may be latched.
        self.inner.shared.wake();
        Ok(())
    }

    /// The file of its doorbell pages, and nothing else: page 0 is at offset 0. The tails of the TX
    /// queues come first, then those of the buffer queues, then the registers of the vectors.
    #[must_use]
    pub fn pages(&self) -> &File {
        &self.pages
    }

    /// The number of its doorbell pages.
    #[must_use]
    pub fn page_count(&self) -> u32 {
        self.open.created.frame().1
    }

    /// Replaces the file of its doorbell pages by a new one, and resets it: a process that has the old
    /// one mapped reaches it no longer.
    ///
    /// # Errors
    /// Fails when it is gone, or the system has no resources for a file.
    pub fn renew_pages(&mut self) -> Result<(), Error> {
        let (first, pages) = self.open.created.frame();
        let mut function = self.lock()?;
        let doorbells = &mut function.datapath_mut().queues_mut().doorbells;
        let file = doorbells.renew_frame(first, pages);
        drop(function);
        self.pages = file
            .map_err(failed("making a file of doorbell pages"))?
            .into();
        self.reset()
    }

    /// Replaces the file of its doorbell pages by that of a process whose driver goes on here. Their
    /// content stays.
    ///
    /// # Errors
    /// Fails when it is gone, or the file has other pages.
    pub fn adopt_pages(&mut self, file: OwnedFd) -> Result<(), Error> {
        let (first, pages) = self.open.created.frame();
        let mut function = self.lock()?;
        let doorbells = &mut function.datapath_mut().queues_mut().doorbells;
        let file = doorbells.adopt_frame(first, pages, file);
        drop(function);
        self.pages = file
            .map_err(failed("taking over a file of doorbell pages"))?
            .into();
        Ok(())
    }

    /// Makes this ADI the leader of a group with these members, whose queues are those of its virtual
    /// port then ([`AdiGroup`]). It replaces the group that it has led.
    ///
    /// # Errors
    /// Fails when the control plane refuses it: ADIs that are in use, on another port or VLAN, or in
    /// another group. When it is gone.
    pub fn lead(&mut self, members: &[AdiId]) -> Result<(), Error> {
        let header = AdiGroup {
            adi_id: U16::new(self.open.created.id.0),
            num_members: U16::new(members.len().try_into().unwrap_or(u16::MAX)),
        };
        let ids: Vec<_> = members.iter().map(|id| U16::new(id.0)).collect();
        let message = [header.as_bytes(), ids.as_bytes()].concat();
        let mut function = self.lock()?;
        let opcode = adi_op::SET_ADI_GROUP;
        request(&mut function, opcode, &message, &mut Vec::new())
    }

    /// Replaces the file of its doorbell pages by runs of pages of one that has those of other ADIs,
    /// too ([`shared_file`](crate::doorbells::shared_file)), in their order. Their content stays.
    ///
    /// # Errors
    /// Fails when it is gone, the runs are other pages or not in the file, or the system refuses it.
    pub fn place_pages(&mut self, file: OwnedFd, runs: &[Run]) -> Result<(), Error> {
        let what = "mapping a shared file of doorbell pages";
        let given = file.try_clone().map_err(failed(what))?;
        let (first, pages) = self.open.created.frame();
        let mut function = self.lock()?;
        let doorbells = &mut function.datapath_mut().queues_mut().doorbells;
        let placed = doorbells.place_frame(first, pages, given, runs);
        drop(function);
        placed.map_err(failed(what))?;
        self.pages = file.into();
        Ok(())
    }

    /// Stops all queues and restores the state after creation. Registrations and eventfds of vectors
    /// are kept; the doorbell pages are zero.
    ///
    /// # Errors
    /// Fails when it is gone.
    pub fn reset(&mut self) -> Result<(), Error> {
        let created = &self.open.created;
        let message = ResetAdi {
            adi_id: U16::new(created.id.0),
            ..ResetAdi::default()
        };
        let mut function = self.lock()?;
        request(
            &mut function,
            adi_op::RESET_ADI,
            message.as_bytes(),
            &mut Vec::new(),
        )?;
        for (vector, trigger) in (0..).zip(&self.triggers) {
            set_trigger(&mut function, created, vector, trigger.clone());
        }
        start(&mut function, created, &self.fault)
    }

    /// An eventfd that is readable once the ADI has gone: it was destroyed, or the NIC has stopped.
    /// It accesses no memory then.
    #[must_use]
    pub fn gone(&self) -> BorrowedFd<'_> {
        self.open.gone.as_fd()
    }

    /// An eventfd that is readable after a fault has stopped a queue, until it is read.
    #[must_use]
    pub fn fault(&self) -> BorrowedFd<'_> {
        self.fault.as_fd()
    }
}

impl Drop for Adi {
    fn drop(&mut self) {
        let mut function = self.inner.shared.lock();
        if !self.open.ended.load(Ordering::Acquire) {
            self.inner.open.lock().remove(&self.open.created.id);
            self.open.end(&mut function);
        }
    }
}

impl Open {
    /// Destroys the ADI. It is no longer among those that are open.
    pub(super) fn end(&self, function: &mut Function) {
        let created = &self.created;
        self.ended.store(true, Ordering::Release);
        let message = NonFlexDestroyAdi {
            adi_id: U16::new(created.id.0),
            ..NonFlexDestroyAdi::default()
        };
        let opcode = op::NON_FLEX_DESTROY_ADI;
        if let Err(error) = request(function, opcode, message.as_bytes(), &mut Vec::new()) {
            warn_throttled!(adi = created.id.0, %error, "an ADI was not destroyed");
        }
        let queues = function.datapath_mut().queues_mut();
        queues.translator.unregister(created.pasid);
        if let Err(error) = queues.doorbells.rejoin_frame(created.frame().0) {
            // The next ADI at this place cannot be created before it succeeds.
            warn_throttled!(adi = created.id.0, %error, "doorbell pages were not released");
        }
        set(&self.gone);
    }

    fn pasid(&self) -> Pasid {
        self.created.pasid
    }
}

/// Destroys an ADI that is open; returns false if there is none.
pub(super) fn destroy(inner: &Inner, id: AdiId) -> bool {
    let mut function = inner.shared.lock();
    let open = inner.open.lock().remove(&id);
    if let Some(open) = &open {
        open.end(&mut function);
    }
    open.is_some()
}

/// Sends the message that creates an ADI.
fn create(function: &mut Function, inner: &Inner, spec: &AdiSpec) -> Result<Created, Error> {
    let open = inner.open.lock();
    let is_free = |pasid: &Pasid| open.values().all(|other| other.pasid() != *pasid);
    let pasid = (1..).map_while(Pasid::new).find(is_free);
    drop(open);
    let pasid = pasid.ok_or(Error::Gone)?; // there are more PASIDs than ADIs
    let mut reply = Vec::new();
    let opcode = op::NON_FLEX_CREATE_ADI;
    request(function, opcode, &messages::create(spec, pasid), &mut reply)?;
    let status = status::ERR_EIO;
    messages::created(pasid, &reply).ok_or(Error::Refused { opcode, status })
}

/// Sets the state of an ADI that was opened, which a reset ends: it is polled without kicks, and its
/// faults signal an eventfd.
fn start(function: &mut Function, created: &Created, fault: &Arc<EventFd>) -> Result<(), Error> {
    let message = ConfigAdiDoorbells {
        adi_id: U16::new(created.id.0),
        flags: U16::new(doorbell_flags::NO_KICK),
    };
    let vectors = &mut function.datapath_mut().queues_mut().interrupts.adi;
    vectors.set_fault_trigger(created.id, Some(fault.clone()));
    let opcode = adi_op::CONFIG_ADI_DOORBELLS;
    request(function, opcode, message.as_bytes(), &mut Vec::new())
}

fn set_trigger(
    function: &mut Function,
    created: &Created,
    vector: u16,
    trigger: Option<Arc<EventFd>>,
) {
    let vectors = &mut function.datapath_mut().queues_mut().interrupts.adi;
    vectors.set_trigger(created.first_pair + u32::from(vector), trigger);
}

/// Sends a message to the control plane.
fn request(
    function: &mut Function,
    opcode: u32,
    payload: &[u8],
    reply: &mut Vec<u8>,
) -> Result<(), Error> {
    match function.request(opcode, payload, reply) {
        status::SUCCESS => Ok(()),
        status => Err(Error::Refused { opcode, status }),
    }
}
