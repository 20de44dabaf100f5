// SPDX-License-Identifier: GPL-2.0

//! The VFIO device of an ADI: its registration, and the callbacks of the VFIO core, which call
//! functions of safe Rust.

use adit_bindings as bindings;
use adit_uapi::vfio::{
    GROUP,
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
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

use super::{
    access,
    device::VfioDevice,
    groups,
    irqs,
    pages,
    state::{
        Opened,
        Owner,
        State, //
    },
    unmapping::UnmapWorker, //
};
use crate::{
    adi::{
        Adi,
        Trigger, //
    },
    raw::Raw, //
};

/// The VFIO core's structure followed by ours, as `_vfio_alloc_device()` requires.
#[repr(C)]
struct VfioAdi {
    vdev: bindings::vfio_device,
    /// Out of a box; null until the structure is set up. Dropped with the last reference to the
    /// device.
    data: *mut Data,
}

/// Data of a device.
struct Data {
    state: Arc<State>,
    unmap_worker: Arc<UnmapWorker>,
}

/// A device with its data.
struct AdiDevice<'a> {
    device: &'a VfioDevice,
    state: &'a Arc<State>,
    unmap_worker: &'a Arc<UnmapWorker>,
}

impl<'a> AdiDevice<'a> {
    /// Returns a device in a callback of the VFIO core.
    ///
    /// # Safety
    ///
    /// `vdev` was allocated by [`Registration::new()`] and its data is set. It is not freed before
    /// `'a` ends.
    unsafe fn of(vdev: *mut bindings::vfio_device) -> Self {
        // SAFETY: By the function's requirement `vdev` is the first member of a `VfioAdi`, whose
        // data is not dropped before the device is freed. The wrapper is transparent.
        let (device, data) = unsafe {
            (
                &*vdev.cast::<VfioDevice>(),
                &*(*vdev.cast::<VfioAdi>()).data,
            )
        };
        Self {
            device,
            state: &data.state,
            unmap_worker: &data.unmap_worker,
        }
    }

    /// Opens the device for the first owner.
    fn open(&self) -> Result {
        let state = self.state;
        state.open()?;
        let user = Opened {
            device: self.device.into(),
            state: state.clone(),
        };
        let user = Arc::new(user, GFP_KERNEL)?;
        // No owner may see what the previous one left. This fails when the ADI is dead.
        state
            .reset()
            .and_then(|()| state.adi.set_user(Some(user)))
            .inspect_err(|_| state.revoke_grant(None))?;
        state.unmap_requests.open();
        Ok(())
    }

    /// Closes the device after the last owner: nothing that it set up remains.
    fn close(&self) {
        let state = self.state;
        state.revoke_grant(None);
        irqs::clear(state);
        state.adi.leave_group();
        state.owner.lock().close(state, self.device);
        state.unmap_requests.close();
        self.unmap_worker.flush();
        state.release();
        // Last, since the ADI may end once it has no user. Removing a user does not fail.
        let _ = state.adi.set_user(None);
    }

    /// Handles the unmapping of memory from the owner's address space. All pinned parts of it are
    /// unpinned when this returns, or the container's code calls again ([`super::unmapping`]).
    fn unmap(&self, iova: u64, len: u64) {
        // Every device in a container is called, including those that have nothing of the range
        // pinned.
        let unaffected = |owner: &Owner| !owner.memory.overlaps(iova, len);
        let owner = self.state.owner.try_lock();
        if owner.is_some_and(|owner| unaffected(&owner)) {
            return;
        }
        UnmapWorker::remove(self.unmap_worker, self.device, iova, len);
    }

    /// Handles an ioctl.
    fn ioctl(&self, cmd: c_uint, arg: UserPtr) -> Result<u32> {
        let state = self.state;
        match cmd {
            GET_INFO => get_info(arg).map(|()| 0),
            GET_IRQ_INFO => irqs::get_info(state, arg).map(|()| 0),
            SET_IRQS => irqs::set(state, arg).map(|()| 0),
            RESET => state.reset_by_owner().map(|()| 0),
            PAGES_FD => pages::create(state, arg),
            GROUP => groups::form(state, arg).map(|()| 0),
            _ => Err(ENOTTY),
        }
    }
}

/// A registered VFIO device. Must be dropped while its parent device is bound; the drop blocks
/// until its owners have closed it.
pub(crate) struct Registration {
    device: ARef<VfioDevice>,
    state: Arc<State>,
    unmap_worker: Arc<UnmapWorker>,
}

impl Registration {
    /// Creates a VFIO device for `adi` with the parent `dev`.
    pub(crate) fn new(dev: &Device<Bound>, adi: Arc<Adi>) -> Result<Self> {
        const { assert!(offset_of!(VfioAdi, vdev) == 0) };
        let state = Arc::pin_init(State::new(adi), GFP_KERNEL)?;
        let unmap_worker = UnmapWorker::new(state.clone())?;
        let data = Data {
            state: state.clone(),
            unmap_worker: unmap_worker.clone(),
        };
        let data = KBox::new(data, GFP_KERNEL)?;
        // SAFETY: `dev` is valid and bound; the operations live as long as the module, which the
        // VFIO core keeps loaded through the driver of `dev`.
        let vdev = from_err_ptr(unsafe {
            bindings::_vfio_alloc_device(size_of::<VfioAdi>(), dev.raw(), &OPS.0)
        })?;
        let vdev = NonNull::new(vdev).ok_or(ENOMEM)?;
        // SAFETY: The allocation has the size of `VfioAdi`, and nothing else has access to it yet.
        // From here on `release()` drops the data.
        unsafe { (*vdev.cast::<VfioAdi>().as_ptr()).data = KBox::into_raw(data) };
        // SAFETY: The allocation is a reference, which is ours. The wrapper is transparent.
        let device: ARef<VfioDevice> = unsafe { ARef::from_raw(vdev.cast()) };
        // SAFETY: The device is set up.
        to_result(unsafe { bindings::vfio_register_emulated_iommu_dev(device.as_ptr()) })?;
        // SAFETY: The device is registered, so it has a group.
        unsafe { bindings::adit_vfio_keep_group(device.as_ptr()) };
        Ok(Self {
            device,
            state,
            unmap_worker,
        })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // This owner's use of the ADI ends, whether or not the ADI continues to exist.
        self.state.begin_unbind(&self.device);
        self.state.adi.trigger(Trigger::Request);
        // SAFETY: The device is registered. This waits until it is closed; then there are no more
        // calls for it.
        unsafe { bindings::vfio_unregister_group_dev(self.device.as_ptr()) };
        // A call that came while the device was being closed may have queued the work item since.
        self.unmap_worker.flush();
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
    read: Some(read),
    write: Some(write),
    ioctl: Some(ioctl),
    get_region_info_caps: Some(get_region_info),
    mmap: Some(mmap),
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

/// Frees the data when the last reference to the device is dropped.
///
/// # Safety
///
/// Called by the VFIO core once, for a device of `Registration::new()`.
unsafe extern "C" fn release(vdev: *mut bindings::vfio_device) {
    // SAFETY: By the function's requirement the data came out of a box. It is not null: every path
    // that drops the last reference has set it.
    drop(unsafe { KBox::from_raw((*vdev.cast::<VfioAdi>()).data) });
}

/// Defines callbacks of the VFIO core for registered devices: their arguments after the device, and
/// what they do with it.
macro_rules! callbacks {
    ($($(#[$meta:meta])* fn $name:ident($adi:ident $(, $arg:ident: $ty:ty)*) $(-> $ret:ty)? $body:block)*) => {$(
        $(#[$meta])*
        ///
        /// # Safety
        ///
        /// Called by the VFIO core for a registered device, with valid arguments.
        unsafe extern "C" fn $name(vdev: *mut bindings::vfio_device $(, $arg: $ty)*) $(-> $ret)? {
            // SAFETY: By the function's requirement; the VFIO core holds a reference meanwhile.
            let $adi = unsafe { AdiDevice::of(vdev) };
            $body
        }
    )*};
}

callbacks! {
    /// Opens the device for the first owner. The VFIO core holds a lock over this and
    /// `close_device()`.
    fn open_device(adi) -> c_int {
        from_result(|| adi.open().map(|()| 0))
    }

    /// Closes the device after the last owner.
    fn close_device(adi) {
        adi.close();
    }

    /// Requests that the owner close the device, since the driver of the parent is to be unbound;
    /// `_count` is the number of earlier requests.
    fn request(adi, _count: c_uint) {
        adi.state.adi.trigger(Trigger::Request);
    }

    /// Handles the unmapping of memory from the owner's address space.
    fn dma_unmap(adi, iova: u64, len: u64) {
        adi.unmap(iova, len);
    }

    /// Handles an ioctl that the VFIO core does not handle itself.
    fn ioctl(adi, cmd: c_uint, arg: c_ulong) -> c_long {
        match adi.ioctl(cmd, UserPtr::from_addr(arg)) {
            // CAST: 0, or a file descriptor.
            Ok(value) => value as c_long,
            // CAST: small.
            Err(error) => error.to_errno() as c_long,
        }
    }

    /// Handles VFIO_DEVICE_GET_REGION_INFO.
    fn get_region_info(
        adi,
        info: *mut bindings::vfio_region_info,
        _caps: *mut bindings::vfio_info_cap
    ) -> c_int {
        // SAFETY: By the function's requirement; it is a structure of the VFIO core's.
        let info = unsafe { &mut *info };
        from_result(|| access::region_info(adi.state, info).map(|()| 0))
    }

    /// Reads from a region.
    fn read(adi, buf: *mut c_char, len: usize, pos: *mut bindings::loff_t) -> isize {
        // SAFETY: By the function's requirement; the position is the VFIO core's.
        let pos = unsafe { &mut *pos };
        let result = access::read(adi.state, *pos, UserPtr::from_ptr(buf.cast()), len);
        advance(result, pos)
    }

    /// Writes to a region.
    fn write(adi, buf: *const c_char, len: usize, pos: *mut bindings::loff_t) -> isize {
        // SAFETY: By the function's requirement; the position is the VFIO core's.
        let pos = unsafe { &mut *pos };
        let from = UserPtr::from_ptr(buf.cast_mut().cast());
        let result = access::write(adi.device, adi.state, *pos, from, len);
        advance(result, pos)
    }

    /// Maps a region.
    fn mmap(adi, vma: *mut bindings::vm_area_struct) -> c_int {
        // SAFETY: By the function's requirement `mmap()` is setting `vma` up. Its file keeps the
        // device open, and the device its data.
        from_result(|| unsafe { access::map(adi.state, vma) }.map(|()| 0))
    }
}

/// Returns the result of `read()` or `write()`, and advances the position.
fn advance(result: Result<usize>, pos: &mut bindings::loff_t) -> isize {
    match result {
        // CAST: bounded by a region's length.
        Ok(count) => {
            *pos += count as i64;
            count as isize
        }
        // CAST: small.
        Err(error) => error.to_errno() as isize,
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
