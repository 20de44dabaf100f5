// SPDX-License-Identifier: GPL-2.0

//! The state of an ADI that is a VFIO device, and of the owner that has it open. The callbacks of
//! the VFIO core ([`super::callbacks`]) and everything that they use operate on it.

use adit_bindings as bindings;
use adit_uapi::virtchnl2::{
    op,
    Vport, //
};
use kernel::{
    fs::LocalFile,
    new_mutex,
    page::{
        Page,
        PAGE_SHIFT, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc,
        Mutex, //
    },
    time::{
        Instant,
        Monotonic, //
    },
};
use zerocopy::IntoBytes;

use super::{
    backoff::Backoff,
    device::VfioDevice,
    grant::Grant,
    mapping::PageSource,
    memory::{
        DmaPages,
        Memory,
        PinContext, //
    },
    messages::{
        self,
        Ids,
        DISABLE_ALL_LEN, //
    },
    regions::{
        self,
        Region,
        RegisterPages, //
    },
    unmap_requests::UnmapRequests, //
};
use crate::adi::{
    Adi,
    AdiUser, //
};

/// State of an ADI that is a VFIO device.
#[pin_data]
pub(super) struct State {
    pub(super) adi: Arc<Adi>,
    /// Its queues and vectors, by their ids in messages.
    pub(super) ids: Ids,
    /// State that the owner has set up; empty while the device is closed.
    #[pin]
    pub(super) owner: Mutex<Owner>,
    /// Set while registers may be mapped. Locked while a page is being mapped, so that none is
    /// mapped after it was cleared.
    #[pin]
    mappable: Mutex<bool>,
    /// Page that is mapped instead of registers once access to them is revoked, so that an owner
    /// that is just accessing them gets an error from its next call and no SIGBUS. Present while
    /// the device is open.
    #[pin]
    dummy: Mutex<Option<Page>>,
    /// Grant for pages, present while the device is open and in service.
    #[pin]
    grant: Mutex<Option<Arc<Grant>>>,
    created: Instant<Monotonic>,
    /// Nonzero while the driver of the parent is being unbound.
    closing: Atomic<u32>,
    /// Nonzero once the ADI was taken away from the owner that has it open: until that one closes
    /// it, calls fail even when the ADI has been restored.
    ended: Atomic<u32>,
    /// RX queues of its virtual port: its own, and those of the members of the group that it leads.
    vport_rx_queues: Atomic<u32>,
    /// Faults of earlier owners.
    faults_before: Atomic<u64>,
    /// Requests to remove memory that is unmapped while it is registered.
    #[pin]
    pub(super) unmap_requests: UnmapRequests,
    /// The driver's own memory, once it is first mapped. Not part of `owner`, whose lock is held
    /// while memory is pinned: this one is taken in `mmap()`.
    #[pin]
    pub(super) dma: Mutex<Option<DmaPages>>,
}

impl State {
    /// Creates the state of a device that is closed.
    pub(super) fn new(adi: Arc<Adi>) -> impl PinInit<Self> {
        let ids = Ids {
            layout: *adi.layout(),
            vport_rx_queues: adi.layout().rx.count,
            pasid: adi.pasid(),
        };
        pin_init!(Self {
            adi,
            ids,
            owner <- new_mutex!(Owner::new()),
            mappable <- new_mutex!(true),
            dummy <- new_mutex!(None),
            grant <- new_mutex!(None),
            created: Instant::now(),
            closing: Atomic::new(0),
            ended: Atomic::new(0),
            vport_rx_queues: Atomic::new(0),
            faults_before: Atomic::new(0),
            unmap_requests <- UnmapRequests::new(),
            dma <- new_mutex!(None),
        })
    }

    /// Returns the context for pinning memory and mapping it for the ADI.
    pub(super) fn pin_context<'a>(&'a self, device: &'a VfioDevice) -> PinContext<'a> {
        PinContext {
            device,
            space: self.adi.space(),
            requests: &self.unmap_requests,
            running: None,
        }
    }

    /// Returns the age of the device in milliseconds.
    pub(super) fn age(&self) -> u64 {
        // CAST: the clock is monotonic.
        self.created.elapsed().as_millis() as u64
    }

    /// Fails with `EIO` when the device or its driver is being removed.
    pub(super) fn check_alive(&self) -> Result {
        match self.is_alive() {
            true => Ok(()),
            false => Err(EIO),
        }
    }

    /// Returns whether the owner may use the device.
    pub(super) fn is_alive(&self) -> bool {
        self.adi.is_alive() && self.closing.load(Acquire) == 0 && self.ended.load(Acquire) == 0
    }

    /// Returns the number of RX queues of its virtual port.
    pub(super) fn vport_rx_queues(&self) -> u32 {
        self.vport_rx_queues.load(Relaxed)
    }

    /// Sets the number of RX queues of its virtual port.
    pub(super) fn set_vport_rx_queues(&self, count: u32) {
        self.vport_rx_queues.store(count, Relaxed);
    }

    /// Returns the number of faults that have stopped queues of this owner.
    pub(super) fn faults(&self) -> u64 {
        let before = self.faults_before.load(Relaxed);
        self.adi.faults().saturating_sub(before)
    }

    /// Opens the device for the first owner. Fails with `EIO` when it is being removed.
    pub(super) fn open(&self) -> Result {
        *self.dummy.lock() = Some(Page::alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO)?);
        let grant = Grant::new()?;
        // Under the lock: a concurrent removal has not reached this point yet, and finds the grant.
        let mut mappable = self.mappable.lock();
        self.ended.store(0, Release);
        self.set_vport_rx_queues(self.ids.layout.rx.count);
        if !self.is_alive() {
            return Err(EIO);
        }
        *mappable = true;
        self.revoke_grant(Some(grant));
        Ok(())
    }

    /// Releases what [`Self::open()`] has allocated, when the device is closed: mappings keep its
    /// file open, so there is none left.
    pub(super) fn release(&self) {
        *self.dummy.lock() = None;
    }

    /// Handles VFIO_DEVICE_RESET: besides [`Self::reset()`], granted pages are revoked.
    pub(super) fn reset_by_owner(&self) -> Result {
        self.check_alive()?;
        let next = Grant::new()?;
        {
            let mappable = self.mappable.lock();
            self.revoke_grant((*mappable).then_some(next));
        }
        self.reset()
    }

    /// Resets the ADI to the state in which an owner opens it. Eventfds and registered memory stay.
    pub(super) fn reset(&self) -> Result {
        let mut owner = self.owner.lock();
        self.adi.reset()?;
        owner.was_reset(self);
        Ok(())
    }

    /// Returns the grant for pages; `None` when no pages can be granted.
    pub(super) fn grant(&self) -> Option<Arc<Grant>> {
        self.grant.lock().clone()
    }

    /// Revokes the granted pages; further ones are granted under `next`.
    pub(super) fn revoke_grant(&self, next: Option<Arc<Grant>>) {
        let old = core::mem::replace(&mut *self.grant.lock(), next);
        if let Some(old) = old {
            old.revoke();
        }
    }

    /// Marks the driver of the parent as being unbound, and revokes the owner's access.
    pub(super) fn begin_unbind(&self, device: &VfioDevice) {
        self.closing.store(1, Release);
        self.revoke_registers(device);
    }

    /// Revokes access to the registers: their mappings are replaced by the dummy page. Granted
    /// pages are revoked, too.
    fn revoke_registers(&self, device: &VfioDevice) {
        *self.mappable.lock() = false;
        self.revoke_grant(None);
        regions::register_ranges(&self.ids.layout).for_each(|range| device.unmap(range));
    }

    /// Returns the pages of a region of registers; `None` if the region does not exist or is none
    /// of registers.
    pub(super) fn registers(&self, index: u32) -> Option<RegisterPages> {
        Region::new(index, &self.ids.layout)?.registers()
    }

    /// Returns the page frame number of page `page` of `pages`, if there is one.
    pub(super) fn register_frame(&self, pages: RegisterPages, page: u64) -> Option<u64> {
        let page = u32::try_from(page)
            .ok()
            .filter(|page| *page < pages.count())?;
        match pages {
            RegisterPages::Frame(first, _) => self.adi.frame_page(first + page),
            RegisterPages::Kick => Some(self.adi.kick_page()),
        }
    }
}

// SAFETY: The frames are register pages of this ADI, or the dummy page, which is freed when the
// device is closed.
unsafe impl PageSource for State {
    fn map_page<R>(&self, page: u64, map: impl FnOnce(u64) -> R) -> Option<R> {
        let (index, page) = regions::split_page(page);
        let mappable = self.mappable.lock();
        let frame = match *mappable && self.is_alive() {
            true => self.register_frame(self.registers(index)?, page),
            false => self.dummy.lock().as_ref().map(page_frame),
        };
        frame.map(map)
    }
}

/// Returns the page frame number of a page of memory.
pub(super) fn page_frame(page: &Page) -> u64 {
    // SAFETY: The page is valid while it is borrowed.
    let phys = unsafe { bindings::adit_page_to_phys(page.as_ptr()) };
    phys >> PAGE_SHIFT
}

/// State of the owner that has the device open.
pub(super) struct Owner {
    pub(super) memory: Memory,
    /// Delays registration while memory is being unmapped.
    pub(super) backoff: Backoff,
    /// The last reply of the software mailbox, with its header; empty when there is none.
    pub(super) reply: KVec<u8>,
    /// `true` while queues may be running.
    pub(super) queues_enabled: bool,
    /// `true` while the device may have a log of what the ADI writes.
    pub(super) is_logged: bool,
}

impl Owner {
    const fn new() -> Self {
        Self {
            memory: Memory::new(),
            backoff: Backoff::new(),
            reply: KVec::new(),
            queues_enabled: false,
            is_logged: false,
        }
    }

    /// Handles a reset of the ADI: its queues are stopped, its log has ended, and its faults are
    /// forgotten.
    pub(super) fn was_reset(&mut self, state: &State) {
        self.queues_enabled = false;
        self.is_logged = false;
        state.faults_before.store(state.adi.faults(), Relaxed);
    }

    /// Removes a registration. Queues that are running stay so: a later access to this memory
    /// stops the queue with a fault.
    pub(super) fn remove(&mut self, state: &State, device: &VfioDevice, index: usize) {
        let context = PinContext {
            running: self.queues_enabled.then_some(&*state.adi),
            ..state.pin_context(device)
        };
        self.memory.remove(&context, index);
    }

    /// Removes all registrations that overlap a range, once no queue can use them.
    pub(super) fn remove_overlapping(
        &mut self,
        state: &State,
        device: &VfioDevice,
        iova: u64,
        len: u64,
    ) {
        if !self.memory.overlaps(iova, len) {
            return;
        }
        self.backoff.start(state.age());
        self.disable_queues(state);
        state.unmap_requests.step();
        self.memory
            .remove_overlapping(&state.pin_context(device), iova, len);
    }

    /// Disables all queues of the ADI: none of their DMA is in progress when this returns, so the
    /// memory they accessed may be unmapped and unpinned. (Unmapping alone is not enough: a device
    /// may still use a translation that it requested, as this one does for the length of a burst.)
    ///
    /// An ADI that is dead may be running until it is destroyed, and gets the message, too. If the
    /// device does not reply, see [`Adi::quiesce()`].
    pub(super) fn disable_queues(&mut self, state: &State) {
        if !self.queues_enabled {
            return;
        }
        let mut payload = [0; DISABLE_ALL_LEN];
        messages::disable_all(&mut payload, &state.ids);
        let _ = state.adi.quiesce(op::DISABLE_QUEUES, &payload);
        self.queues_enabled = false;
    }

    /// Ends the log of what the ADI writes: the memory for it is the device's, and its owners share it.
    fn end_log(&mut self, state: &State) {
        if core::mem::take(&mut self.is_logged) {
            state.adi.end_log();
        }
    }

    /// Quiesces the ADI and releases everything that the owner has set up, when it closes the
    /// device. Its other changes, including counters and faults, stay until the next owner opens
    /// it.
    pub(super) fn close(&mut self, state: &State, device: &VfioDevice) {
        let mut vport = Vport::default();
        vport.vport_id.set(state.ids.layout.vport_id.0);
        // If the device refuses, there was nothing to stop.
        let _ = state.adi.quiesce(op::DISABLE_VPORT, vport.as_bytes());
        self.disable_queues(state);
        self.end_log(state);
        self.memory.clear(&state.pin_context(device));
        self.reply = KVec::new();
        if let Some(pages) = state.dma.lock().take() {
            pages.release(state.adi.space());
        }
    }
}

/// The owner that has the device open, to be notified when it loses the ADI.
pub(super) struct Opened {
    pub(super) device: ARef<VfioDevice>,
    pub(super) state: Arc<State>,
}

impl AdiUser for Opened {
    /// Revokes access to the registers. Calls fail from here on, and the owner is requested to
    /// close the device.
    fn dead(&self) {
        self.state.ended.store(1, Release);
        self.state.revoke_registers(&self.device);
    }

    fn is_open_as(&self, file: &LocalFile) -> bool {
        self.state.is_alive() && self.device.is_open_as(file)
    }
}
