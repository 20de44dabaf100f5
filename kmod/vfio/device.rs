// SPDX-License-Identifier: GPL-2.0

//! The VFIO device: its registration for an ADI, open, ioctls and close.

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

/// The VFIO core's structure followed by ours, as `_vfio_alloc_device()` requires.
#[repr(C)]
struct VfioAdi {
    vdev: bindings::vfio_device,
    /// Null until the structure is set up; dropped with the last reference to the device.
    state: *mut State,
}

/// State of an ADI that is a VFIO device.
#[pin_data]
pub(super) struct State {
    pub(super) adi: Arc<Adi>,
    /// Its queues and vectors, by their ids in messages.
    pub(super) ids: Ids,
    /// State that the owner has set up; empty while the device is closed.
    #[pin]
    pub(super) owner: Mutex<Owner>,
    /// Set while pages may be mapped. Held while one is being mapped, so that none is mapped after
    /// it was cleared.
    #[pin]
    pub(super) mappable: Mutex<bool>,
    /// Page that is mapped instead of registers once access to them is revoked, so that an owner
    /// that is just accessing them gets an error from its next call and no SIGBUS. Present while
    /// the device is open.
    #[pin]
    pub(super) nowhere: Mutex<Option<Page>>,
    /// Grant for pages, present while the device is open and in service.
    #[pin]
    grant: Mutex<Option<Arc<Grant>>>,
    since: Instant<Monotonic>,
    /// Nonzero while the driver of the parent is being unbound.
    closing: Atomic<u32>,
    /// Nonzero once the ADI was taken away from the owner that has it open: until that one closes
    /// it, calls fail even when the ADI has been restored.
    ended: Atomic<u32>,
    /// Faults of earlier owners.
    faults_before: Atomic<u64>,
    /// Worker that removes memory that is unmapped while it is registered.
    pub(super) unmapping: Arc<Unmapping>,
    /// The driver's own memory, once it is first mapped. Not part of `owner`, whose lock is held
    /// while memory is pinned: this one is taken in `mmap()`.
    #[pin]
    pub(super) dma: Mutex<Option<DmaPages>>,
}

/// State of the owner that has the device open.
pub(super) struct Owner {
    pub(super) memory: Memory,
    /// Delays registration while memory is being unmapped.
    pub(super) retreat: Retreat,
    pub(super) mailbox: Mailbox,
}

impl Owner {
    /// Removes all registrations that overlap a range, once no queue can use them.
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

    /// Returns the context for pinning memory and mapping it for the device.
    pub(super) fn reach(&self, vdev: *mut bindings::vfio_device) -> Reach<'_> {
        Reach {
            vdev,
            space: self.adi.space(),
            unmapping: &self.unmapping,
        }
    }

    /// Returns the age of the device in milliseconds.
    pub(super) fn now(&self) -> u64 {
        // CAST: the clock is monotonic.
        self.since.elapsed().as_millis() as u64
    }

    /// Fails when the device or its driver is being removed.
    pub(super) fn check_alive(&self) -> Result {
        match self.is_alive() {
            true => Ok(()),
            false => Err(EIO),
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        self.adi.is_alive() && self.closing.load(Acquire) == 0 && self.ended.load(Acquire) == 0
    }

    /// Returns the grant for pages; `None` when no pages can be granted.
    pub(super) fn grant(&self) -> Option<Arc<Grant>> {
        self.grant.lock().clone()
    }

    /// Revokes the granted pages; further ones are granted under `next`.
    pub(super) fn revoke(&self, next: Option<Arc<Grant>>) {
        let old = core::mem::replace(&mut *self.grant.lock(), next);
        if let Some(old) = old {
            old.revoke();
        }
    }

    /// Opens the device for the first owner. Fails with `EIO` when it is being removed.
    fn open(&self) -> Result {
        *self.nowhere.lock() = Some(Page::alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO)?);
        let grant = Grant::new()?;
        // Under the lock: a concurrent removal has not reached this point yet, and finds the grant.
        let mut mappable = self.mappable.lock();
        self.ended.store(0, Release);
        if !self.is_alive() {
            return Err(EIO);
        }
        *mappable = true;
        self.revoke(Some(grant));
        Ok(())
    }

    /// Handles VFIO_DEVICE_RESET: besides [`Self::reset()`], granted pages are revoked.
    fn reset_by_owner(&self) -> Result {
        self.check_alive()?;
        let next = Grant::new()?;
        {
            let mappable = self.mappable.lock();
            self.revoke((*mappable).then_some(next));
        }
        self.reset()
    }

    /// Resets the ADI to the state in which an owner opens it. Eventfds and registered memory stay.
    fn reset(&self) -> Result {
        let mut owner = self.owner.lock();
        owner.mailbox.reset(self)?;
        self.faults_before.store(self.adi.faults(), Relaxed);
        Ok(())
    }

    /// Returns the number of faults that have stopped queues of this owner.
    pub(super) fn faults(&self) -> u64 {
        let before = self.faults_before.load(Relaxed);
        self.adi.faults().saturating_sub(before)
    }
}

/// Returns the ids that messages about an ADI may refer to.
fn ids(adi: &Adi) -> Ids {
    Ids {
        layout: *adi.layout(),
        pasid: adi.pasid(),
    }
}

/// Returns the state of a device in a callback of the VFIO core.
///
/// # Safety
///
/// `vdev` was allocated by [`Registration::new()`] and is set up, and the caller has a reference
/// to it for as long as the result is used.
pub(super) unsafe fn state<'a>(vdev: *mut bindings::vfio_device) -> &'a State {
    // SAFETY: `vdev` is the first member of a `VfioAdi`, whose state is set before the device is
    // registered and stays until `release()`, by the function's requirement.
    unsafe { &*(*vdev.cast::<VfioAdi>()).state }
}

/// A reference to a VFIO device.
///
/// # Invariants
///
/// The pointer is to the first member of a `VfioAdi` whose state is set, and a reference to it is
/// held.
pub(super) struct VfioRef(NonNull<bindings::vfio_device>);

// SAFETY: A reference may be used and released in any thread; the state it leads to is `Sync`.
unsafe impl Send for VfioRef {}
// SAFETY: As above.
unsafe impl Sync for VfioRef {}

impl VfioRef {
    /// Allocates a device with the parent `dev`, not registered yet.
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
        // SAFETY: The allocation has the size of `VfioAdi`, and nothing else has access to it yet.
        unsafe { (*vdev.cast::<VfioAdi>()).state = state };
        // INVARIANT: The state is set, and the allocation is the reference.
        NonNull::new(vdev).map(Self).ok_or(ENOMEM)
    }

    /// Takes another reference to a device.
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
    /// Unmaps the registers. Calls fail already, and the owner is requested to close the device.
    fn dead(&self) {
        self.state().ended.store(1, Release);
        regions::zap(self.0.as_ptr(), self.state());
    }
}

/// A registered VFIO device. Must be dropped while its parent device is bound; the drop blocks
/// until its owners have closed it.
pub(crate) struct Registration(VfioRef);

impl Registration {
    /// Creates a VFIO device for `adi` with the parent `dev`.
    pub(crate) fn new(dev: &Device<Bound>, adi: Arc<Adi>) -> Result<Self> {
        let vfio = VfioRef::new(dev, adi)?;
        // SAFETY: The device is set up.
        to_result(unsafe { bindings::vfio_register_emulated_iommu_dev(vfio.0.as_ptr()) })?;
        // SAFETY: The device is registered, so it has a group.
        unsafe { bindings::adit_vfio_keep_group(vfio.0.as_ptr()) };
        Ok(Self(vfio))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let state = self.0.state();
        // This owner's use of the ADI ends, whether or not the ADI continues to exist.
        state.closing.store(1, Release);
        regions::zap(self.0 .0.as_ptr(), state);
        state.adi.trigger(Trigger::Request);
        // SAFETY: The device is registered. This waits until it is closed; then there are no more
        // calls for it.
        unsafe { bindings::vfio_unregister_group_dev(self.0 .0.as_ptr()) };
    }
}

/// The operations, which the VFIO core only reads.
struct Ops(bindings::vfio_device_ops);

// SAFETY: They are never written to.
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
    // SAFETY: Null pointers and absent operations.
    ..unsafe { core::mem::zeroed() }
});

/// Frees the state when the last reference to the device is dropped.
unsafe extern "C" fn release(vdev: *mut bindings::vfio_device) {
    // SAFETY: Called once, for a device of `Registration::new()`, whose state came out of a box. It
    // is not null: every path that drops the last reference has set it.
    drop(unsafe { KBox::from_raw((*vdev.cast::<VfioAdi>()).state) });
}

/// Opens the device for the first owner. The VFIO core holds a lock over this and `close_device()`.
unsafe extern "C" fn open_device(vdev: *mut bindings::vfio_device) -> c_int {
    from_result(|| {
        // SAFETY: The VFIO core calls for a registered device.
        let state = unsafe { state(vdev) };
        state.open()?;
        // SAFETY: The VFIO core calls with a reference; the state is set.
        let user = unsafe { VfioRef::from_raw(vdev) }?;
        let user = Arc::new(user, GFP_KERNEL)?;
        // No owner may see what the previous one left. This fails when the device is gone.
        state
            .reset()
            .and_then(|()| state.adi.set_user(Some(user)))
            .inspect_err(|_| state.revoke(None))?;
        state.unmapping.open();
        Ok(0)
    })
}

/// Closes the device after the last owner: nothing that it set up remains.
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
    // Last, since the ADI may end once it has no user. Removing a user does not fail.
    let _ = state.adi.set_user(None);
}

/// Requests that the owner close the device, since the driver of the parent is to be unbound;
/// `_count` is the number of earlier requests.
unsafe extern "C" fn request(vdev: *mut bindings::vfio_device, _count: c_uint) {
    // SAFETY: The VFIO core calls for a registered device.
    unsafe { state(vdev) }.adi.trigger(Trigger::Request);
}

/// Handles the unmapping of memory from the owner's address space. All pinned parts of it are
/// unpinned when this returns, or the container's code calls again ([`super::unmapping`]).
unsafe extern "C" fn dma_unmap(vdev: *mut bindings::vfio_device, iova: u64, len: u64) {
    // SAFETY: The VFIO core calls for an open device, whose state is set, with a reference.
    let Ok(device) = (unsafe { VfioRef::from_raw(vdev) }) else {
        return;
    };
    // SAFETY: As above.
    let state = unsafe { state(vdev) };
    // Every device in a container is called, including those that have nothing of the range pinned.
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

/// Computes `_IO(VFIO_TYPE, VFIO_BASE + n)`; bindgen omits macros that call macros.
const fn vfio_io(n: u32) -> c_uint {
    // CAST: `VFIO_TYPE` is a character.
    (bindings::VFIO_TYPE as c_uint) << 8 | (bindings::VFIO_BASE as c_uint + n)
}
const GET_INFO: c_uint = vfio_io(7);
const GET_IRQ_INFO: c_uint = vfio_io(9);
const SET_IRQS: c_uint = vfio_io(10);
const RESET: c_uint = vfio_io(11);

/// Handles VFIO_DEVICE_GET_INFO.
fn get_info(arg: UserPtr) -> Result {
    /// `struct vfio_device_info` without the fields that later kernels have added at its end.
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
