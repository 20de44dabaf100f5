// SPDX-License-Identifier: GPL-2.0

//! The VFIO device: registered for an ADI, opened, asked, closed.

use adit_bindings as bindings;
use adit_uapi::vfio::{
    region,
    NUM_IRQS,
    NUM_REGIONS,
    PAGES_FD, //
};
use core::{
    mem::{
        offset_of,
        size_of, //
    },
    ptr::NonNull,
};
use kernel::{
    device::{
        Bound,
        Device, //
    },
    error::{
        from_err_ptr,
        from_result,
        to_result, //
    },
    new_mutex,
    page::Page,
    prelude::*,
    sync::{
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
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

use super::{
    irqs,
    mailbox::Mailbox,
    memory::{
        DmaPages,
        Memory,
        Reach, //
    },
    messages::Ids,
    pages::{
        self,
        Grant, //
    },
    regions,
    retreat::Retreat,
    unmapping::Unmapping, //
};
use crate::{
    adi::{
        Adi,
        AdiUser,
        Trigger, //
    },
    raw::Raw, //
};

/// The VFIO core's structure with ours behind it, as `_vfio_alloc_device()` wants it.
#[repr(C)]
struct VfioAdi {
    vdev: bindings::vfio_device,
    /// Null until the structure is set up; dropped when the last reference to the device is gone.
    state: *mut State,
}

/// What is kept for an ADI that is a VFIO device.
#[pin_data]
pub(super) struct State {
    pub(super) adi: Arc<Adi>,
    /// Its queues and vectors, as messages name them.
    pub(super) ids: Ids,
    /// What the owner has set up; nothing while the device is closed.
    #[pin]
    pub(super) owner: Mutex<Owner>,
    /// Whether pages may be mapped. Held while one is, so that none is after it was cleared.
    #[pin]
    pub(super) mappable: Mutex<bool>,
    /// What is mapped instead of registers once they are gone, so that an owner who is just about
    /// to touch them gets an error from its next call and no SIGBUS. There while it is open.
    #[pin]
    pub(super) nowhere: Mutex<Option<Page>>,
    /// What pages are given away under while it is open and in service.
    #[pin]
    grant: Mutex<Option<Arc<Grant>>>,
    since: Instant<Monotonic>,
    /// Not 0 when the driver of the parent is being unbound.
    closing: Atomic<u32>,
    /// Not 0 when the ADI was taken from who has it open: until that one has closed it, calls fail
    /// also when the ADI is there again.
    ended: Atomic<u32>,
    /// Faults that others had before.
    faults_before: Atomic<u64>,
    /// Takes memory away that is unmapped while it is registered.
    pub(super) unmapping: Arc<Unmapping>,
    /// The driver's memory, from when it is first mapped. Not among `owner`, whose lock is held
    /// while memory is pinned: this one is taken in `mmap()`.
    #[pin]
    pub(super) dma: Mutex<Option<DmaPages>>,
}

/// What belongs to who has the device open.
pub(super) struct Owner {
    pub(super) memory: Memory,
    /// Keeps memory from being registered while it is being unmapped.
    pub(super) retreat: Retreat,
    pub(super) mailbox: Mailbox,
}

impl Owner {
    /// Takes everything away that is registered of a range, once no queue can use it any more.
    pub(super) fn remove_overlapping(&mut self, device: &VfioRef, iova: u64, len: u64) {
        if !self.memory.overlaps(iova, len) {
            return;
        }
        let state = device.state();
        let reach = state.reach(device.0.as_ptr());
        self.retreat.begin(state.now());
        self.mailbox.stop_queues(state);
        state.unmapping.step();
        self.memory.remove_overlapping(&reach, iova, len);
    }
}

impl State {
    fn new(adi: Arc<Adi>, unmapping: Arc<Unmapping>) -> impl PinInit<Self> {
        let ids = ids(&adi);
        pin_init!(Self {
            adi,
            ids,
            owner <- new_mutex!(Owner {
                memory: Memory::new(),
                retreat: Retreat::new(),
                mailbox: Mailbox::new(),
            }),
            mappable <- new_mutex!(true),
            nowhere <- new_mutex!(None),
            grant <- new_mutex!(None),
            since: Instant::now(),
            closing: Atomic::new(0),
            ended: Atomic::new(0),
            faults_before: Atomic::new(0),
            unmapping,
            dma <- new_mutex!(None),
        })
    }

    /// What pinning and mapping for the device takes.
    pub(super) fn reach(&self, vdev: *mut bindings::vfio_device) -> Reach<'_> {
        Reach {
            vdev,
            space: self.adi.space(),
            unmapping: &self.unmapping,
        }
    }

    /// Milliseconds of the device's life.
    pub(super) fn now(&self) -> u64 {
        // CAST: time does not go back.
        self.since.elapsed().as_millis() as u64
    }

    /// Fails when the device or its driver is gone.
    pub(super) fn check_alive(&self) -> Result {
        match self.is_alive() {
            true => Ok(()),
            false => Err(EIO),
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        self.adi.is_alive() && self.closing.load(Acquire) == 0 && self.ended.load(Acquire) == 0
    }

    /// What pages are given away under; `None` when there is nothing to give.
    pub(super) fn grant(&self) -> Option<Arc<Grant>> {
        self.grant.lock().clone()
    }

    /// Takes back what was given away; from now on it is done under `next`.
    pub(super) fn revoke(&self, next: Option<Arc<Grant>>) {
        let old = core::mem::replace(&mut *self.grant.lock(), next);
        if let Some(old) = old {
            old.revoke();
        }
    }

    /// The first owner opens the device. `EIO` when it is being taken away.
    fn open(&self) -> Result {
        *self.nowhere.lock() = Some(Page::alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO)?);
        let grant = Grant::new()?;
        // Under the lock: whoever takes the device away has not been here yet, and finds the grant.
        let mut mappable = self.mappable.lock();
        self.ended.store(0, Release);
        if !self.is_alive() {
            return Err(EIO);
        }
        *mappable = true;
        self.revoke(Some(grant));
        Ok(())
    }

    /// VFIO_DEVICE_RESET: besides [`Self::reset()`], pages that were given away are taken back.
    fn reset_by_owner(&self) -> Result {
        self.check_alive()?;
        let next = Grant::new()?;
        {
            let mappable = self.mappable.lock();
            self.revoke((*mappable).then_some(next));
        }
        self.reset()
    }

    /// Puts the ADI back to how an owner finds it. Eventfds and registered memory stay.
    fn reset(&self) -> Result {
        let mut owner = self.owner.lock();
        owner.mailbox.reset(self)?;
        self.faults_before.store(self.adi.faults(), Relaxed);
        Ok(())
    }

    /// How often a fault has stopped a queue of this owner's.
    pub(super) fn faults(&self) -> u64 {
        let before = self.faults_before.load(Relaxed);
        self.adi.faults().saturating_sub(before)
    }
}

/// What messages about an ADI may name.
fn ids(adi: &Adi) -> Ids {
    let layout = adi.layout();
    Ids {
        adi_id: layout.adi_id,
        vport_id: layout.vport_id,
        pasid: adi.pasid(),
        pairs: layout.queue_pairs,
        vectors: layout.queue_pairs,
        tx: layout.tx.start,
        tx_completion: layout.tx_completion.start,
        rx: layout.rx.start,
        rx_buffer: layout.rx_buffer.start,
        mac: layout.mac,
    }
}

/// The state of a device that the VFIO core calls us for.
///
/// # Safety
///
/// `vdev` was allocated by [`Registration::new()`] and is set up, and the caller has a reference
/// to it for as long as the result is used.
pub(super) unsafe fn state<'a>(vdev: *mut bindings::vfio_device) -> &'a State {
    // SAFETY: `vdev` is the first member of a `VfioAdi`, whose state is set before the device is
    // registered and stays until `release()`, by the caller's promise.
    unsafe { &*(*vdev.cast::<VfioAdi>()).state }
}

/// A reference to a VFIO device.
///
/// # Invariants
///
/// The pointer is to the first member of a `VfioAdi` whose state is set, and a reference to it is
/// held.
pub(super) struct VfioRef(NonNull<bindings::vfio_device>);

// SAFETY: A reference may be used and given back from any thread; the state behind it is `Sync`.
unsafe impl Send for VfioRef {}
// SAFETY: As above.
unsafe impl Sync for VfioRef {}

impl VfioRef {
    /// A device with the parent `dev` that is not registered yet.
    fn new(dev: &Device<Bound>, adi: Arc<Adi>) -> Result<Self> {
        const { assert!(offset_of!(VfioAdi, vdev) == 0) };
        let state = KBox::pin_init(State::new(adi, Unmapping::new()?), GFP_KERNEL)?;
        // SAFETY: `dev` is valid and bound; the operations live as long as the module, which the
        // VFIO core keeps loaded through the driver of `dev`.
        let vdev = from_err_ptr(unsafe {
            bindings::_vfio_alloc_device(size_of::<VfioAdi>(), dev.raw(), &OPS.0)
        })?;
        // SAFETY: The state is not moved out of its box before `release()` puts it back into one.
        let state = KBox::into_raw(unsafe { Pin::into_inner_unchecked(state) });
        // SAFETY: The allocation has the size of `VfioAdi`, and nobody else knows it yet.
        unsafe { (*vdev.cast::<VfioAdi>()).state = state };
        // INVARIANT: The state is set, and the allocation is the reference.
        NonNull::new(vdev).map(Self).ok_or(ENOMEM)
    }

    /// Another reference to a device.
    ///
    /// # Safety
    ///
    /// `vdev` is the first member of a `VfioAdi` whose state is set, and the caller has a
    /// reference to it.
    unsafe fn from_raw(vdev: *mut bindings::vfio_device) -> Result<Self> {
        let vdev = NonNull::new(vdev).ok_or(EINVAL)?;
        // SAFETY: By the function's requirement.
        unsafe { bindings::get_device(&mut (*vdev.as_ptr()).device) };
        // INVARIANT: `get_device()` took the reference.
        Ok(Self(vdev))
    }

    pub(super) fn state(&self) -> &State {
        // SAFETY: By the type invariant.
        unsafe { state(self.0.as_ptr()) }
    }
}

impl Clone for VfioRef {
    fn clone(&self) -> Self {
        // SAFETY: By the type invariant there is a reference.
        unsafe { bindings::get_device(&mut (*self.0.as_ptr()).device) };
        // INVARIANT: `get_device()` took the reference, to the same device.
        Self(self.0)
    }
}

impl Drop for VfioRef {
    fn drop(&mut self) {
        // SAFETY: The reference is ours by the type invariant.
        unsafe { bindings::put_device(&mut (*self.0.as_ptr()).device) };
    }
}

impl AdiUser for VfioRef {
    /// Registers are unmapped; calls fail already, and the owner is asked to close the device.
    fn dead(&self) {
        self.state().ended.store(1, Release);
        regions::zap(self.0.as_ptr(), self.state());
    }
}

/// A registered VFIO device. Must be dropped while the device that it was made for is bound, and
/// then blocks until its owners have closed it.
pub(crate) struct Registration(VfioRef);

impl Registration {
    /// Makes a VFIO device of `adi` with the parent `dev`.
    pub(crate) fn new(dev: &Device<Bound>, adi: Arc<Adi>) -> Result<Self> {
        let vfio = VfioRef::new(dev, adi)?;
        // SAFETY: The device is set up.
        to_result(unsafe { bindings::vfio_register_emulated_iommu_dev(vfio.0.as_ptr()) })?;
        // SAFETY: The device is registered, so that it has a group.
        unsafe { bindings::adit_vfio_keep_group(vfio.0.as_ptr()) };
        Ok(Self(vfio))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let state = self.0.state();
        // Whether the ADI goes on or not, this owner's use of it ends.
        state.closing.store(1, Release);
        regions::zap(self.0 .0.as_ptr(), state);
        state.adi.trigger(Trigger::Request);
        // SAFETY: The device is registered. This waits until it is closed; then nobody is called
        // for it any more.
        unsafe { bindings::vfio_unregister_group_dev(self.0 .0.as_ptr()) };
    }
}

/// The operations, which the VFIO core only reads.
struct Ops(bindings::vfio_device_ops);

// SAFETY: Nobody writes them.
unsafe impl Sync for Ops {}

static OPS: Ops = Ops(bindings::vfio_device_ops {
    // CAST: the field lacks a `const`.
    name: c"adit_vfio".as_ptr().cast_mut().cast(),
    release: Some(release),
    open_device: Some(open_device),
    close_device: Some(close_device),
    read: Some(regions::read),
    write: Some(regions::write),
    ioctl: Some(ioctl),
    get_region_info_caps: Some(regions::info),
    mmap: Some(regions::mmap),
    request: Some(request),
    dma_unmap: Some(dma_unmap),
    #[cfg(CONFIG_IOMMUFD)]
    bind_iommufd: Some(bindings::vfio_iommufd_emulated_bind),
    #[cfg(CONFIG_IOMMUFD)]
    unbind_iommufd: Some(bindings::vfio_iommufd_emulated_unbind),
    #[cfg(CONFIG_IOMMUFD)]
    attach_ioas: Some(bindings::vfio_iommufd_emulated_attach_ioas),
    #[cfg(CONFIG_IOMMUFD)]
    detach_ioas: Some(bindings::vfio_iommufd_emulated_detach_ioas),
    // SAFETY: Null pointers and operations that are not there.
    ..unsafe { core::mem::zeroed() }
});

/// The last reference to the device is gone.
unsafe extern "C" fn release(vdev: *mut bindings::vfio_device) {
    // SAFETY: Called once, for a device of `Registration::new()`, whose state came out of a box.
    // It is not null: every path that puts the last reference has set it.
    drop(unsafe { KBox::from_raw((*vdev.cast::<VfioAdi>()).state) });
}

/// The first owner opens the device. The VFIO core holds a lock over this and `close_device()`.
unsafe extern "C" fn open_device(vdev: *mut bindings::vfio_device) -> c_int {
    from_result(|| {
        // SAFETY: The VFIO core calls for a registered device.
        let state = unsafe { state(vdev) };
        state.open()?;
        // SAFETY: The VFIO core calls with a reference; the state is set.
        let user = unsafe { VfioRef::from_raw(vdev) }?;
        let user = Arc::new(user, GFP_KERNEL)?;
        // What the last owner has left is for nobody to find. It fails when the device is gone.
        state
            .reset()
            .and_then(|()| state.adi.set_user(Some(user)))
            .inspect_err(|_| state.revoke(None))?;
        state.unmapping.open();
        Ok(0)
    })
}

/// The last owner has closed the device: nothing of what it set up is left.
unsafe extern "C" fn close_device(vdev: *mut bindings::vfio_device) {
    // SAFETY: The VFIO core calls for a registered device.
    let state = unsafe { state(vdev) };
    state.revoke(None);
    irqs::clear(state);
    let mut owner = state.owner.lock();
    owner.mailbox.stop(state);
    owner.memory.clear(&state.reach(vdev));
    owner.mailbox.forget_reply();
    if let Some(pages) = state.dma.lock().take() {
        pages.release(state.adi.space());
    }
    drop(owner);
    state.unmapping.close();
    // Mappings keep the device's file open, so there is none left.
    *state.nowhere.lock() = None;
    // Last, since the ADI may end once it has no user. Taking one away does not fail.
    let _ = state.adi.set_user(None);
}

/// The driver of the parent is to be unbound, or has been asked `_count` times before.
unsafe extern "C" fn request(vdev: *mut bindings::vfio_device, _count: c_uint) {
    // SAFETY: The VFIO core calls for a registered device.
    unsafe { state(vdev) }.adi.trigger(Trigger::Request);
}

/// Memory leaves the owner's address space. Whatever of it is pinned is not when this returns, or
/// the container's code calls again ([`super::unmapping`]).
unsafe extern "C" fn dma_unmap(vdev: *mut bindings::vfio_device, iova: u64, len: u64) {
    // SAFETY: The VFIO core calls for an open device, whose state is set, with a reference.
    let Ok(device) = (unsafe { VfioRef::from_raw(vdev) }) else {
        return;
    };
    // SAFETY: As above.
    let state = unsafe { state(vdev) };
    // Every device in a container is called, also those that have nothing of it.
    let spared = |owner: &Owner| !owner.memory.overlaps(iova, len);
    if state.owner.try_lock().is_some_and(|it| spared(&it)) {
        return;
    }
    Unmapping::run(&state.unmapping, device, iova, len);
}

unsafe extern "C" fn ioctl(vdev: *mut bindings::vfio_device, cmd: c_uint, arg: c_ulong) -> c_long {
    // SAFETY: The VFIO core calls for an open device.
    let state = unsafe { state(vdev) };
    let arg = UserPtr::from_addr(arg);
    let result = match cmd {
        GET_INFO => get_info(arg).map(|()| 0),
        GET_IRQ_INFO => irqs::get_info(state, arg).map(|()| 0),
        SET_IRQS => irqs::set(state, arg).map(|()| 0),
        RESET => state.reset_by_owner().map(|()| 0),
        PAGES_FD => pages::create(state, arg),
        _ => Err(ENOTTY),
    };
    match result {
        // CAST: 0, or a file descriptor.
        Ok(value) => value as c_long,
        // CAST: small.
        Err(error) => error.to_errno() as c_long,
    }
}

/// Numbers of `_IO(VFIO_TYPE, VFIO_BASE + n)`; bindgen leaves macros that call macros out.
const fn vfio_io(n: u32) -> c_uint {
    // CAST: `VFIO_TYPE` is a character.
    (bindings::VFIO_TYPE as c_uint) << 8 | (bindings::VFIO_BASE as c_uint + n)
}
const GET_INFO: c_uint = vfio_io(7);
const GET_IRQ_INFO: c_uint = vfio_io(9);
const SET_IRQS: c_uint = vfio_io(10);
const RESET: c_uint = vfio_io(11);

/// VFIO_DEVICE_GET_INFO
fn get_info(arg: UserPtr) -> Result {
    /// `struct vfio_device_info` without what newer users may have behind it.
    const LEN: usize = offset_of!(bindings::vfio_device_info, cap_offset);
    let mut head = [0; LEN];
    UserSlice::new(arg, LEN).reader().read_slice(&mut head)?;
    let argsz = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]);
    if (argsz as usize) < LEN {
        return Err(EINVAL);
    }
    let flags = bindings::VFIO_DEVICE_FLAGS_PLATFORM | bindings::VFIO_DEVICE_FLAGS_RESET;
    let words = [LEN as u32, flags, NUM_REGIONS, NUM_IRQS];
    let mut writer = UserSlice::new(arg, LEN).writer();
    for word in words {
        writer.write(&word)?;
    }
    Ok(())
}

const _: () = assert!(region::DMA + 1 == NUM_REGIONS);
