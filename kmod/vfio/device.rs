// SPDX-License-Identifier: GPL-2.0

//! The VFIO core's structure of a device: references, pinning of the owner's memory, and removal of
//! mappings. It is independent of what the device is.

use adit_bindings as bindings;
use core::{
    ops::Range,
    ptr::NonNull, //
};
use kernel::{
    fs::LocalFile,
    prelude::*,
    sync::aref::AlwaysRefCounted,
    types::Opaque, //
};

/// A VFIO device.
///
/// # Invariants
///
/// It was returned by `_vfio_alloc_device()`, and is not freed before its reference count is 0.
#[repr(transparent)]
pub(super) struct VfioDevice(Opaque<bindings::vfio_device>);

// SAFETY: A reference may be used and dropped in any thread; the VFIO core does its own locking.
unsafe impl Send for VfioDevice {}
// SAFETY: As above.
unsafe impl Sync for VfioDevice {}

// SAFETY: By the type invariant the device is kept by its reference count, which these functions
// change.
unsafe impl AlwaysRefCounted for VfioDevice {
    fn inc_ref(&self) {
        // SAFETY: The device is valid by the type invariant, and borrowed.
        unsafe { bindings::get_device(&raw mut (*self.as_ptr()).device) };
    }

    unsafe fn dec_ref(device: NonNull<Self>) {
        // SAFETY: By the function's requirement there is a reference to be dropped. The wrapper is
        // transparent.
        unsafe {
            bindings::put_device(&raw mut (*device.cast::<bindings::vfio_device>().as_ptr()).device)
        };
    }
}

impl VfioDevice {
    /// Returns the address of the C structure, which is valid while this is borrowed.
    pub(super) fn as_ptr(&self) -> *mut bindings::vfio_device {
        self.0.get()
    }

    /// Pins pages of the owner's memory from `iova` on, one for each element of `pages`, which it
    /// fills in; returns how many were pinned. Fails with `EINVAL` if the device is not open.
    pub(super) fn pin(
        &self,
        iova: u64,
        writable: bool,
        pages: &mut [*mut bindings::page],
    ) -> Result<usize> {
        let prot = match writable {
            true => bindings::IOMMU_READ | bindings::IOMMU_WRITE,
            false => bindings::IOMMU_READ,
        };
        let count = c_int::try_from(pages.len()).map_err(|_| EINVAL)?;
        // SAFETY: The device is valid by the type invariant, and `pages` has space for `count`
        // entries. The VFIO core checks that the device is open.
        // CAST: small flags.
        let pinned = unsafe {
            bindings::vfio_pin_pages(
                self.as_ptr(),
                iova,
                count,
                prot as c_int,
                pages.as_mut_ptr(),
            )
        };
        usize::try_from(pinned).map_err(|_| Error::from_errno(pinned))
    }

    /// Unpins `count` pages from `iova` on.
    ///
    /// # Safety
    ///
    /// The pages were pinned at `iova` by [`Self::pin()`], and nothing accesses them any longer.
    pub(super) unsafe fn unpin(&self, iova: u64, count: c_int) {
        // SAFETY: The device is valid by the type invariant; the rest is by the function's
        // requirement. The VFIO core checks that the device is open.
        unsafe { bindings::vfio_unpin_pages(self.as_ptr(), iova, count) };
    }

    /// Returns whether the device was opened through `file`. A file of its group is none of these,
    /// nor is one of its node that is not bound.
    pub(super) fn is_open_as(&self, file: &LocalFile) -> bool {
        // SAFETY: The device is valid by the type invariant, and the file is borrowed.
        unsafe { bindings::adit_vfio_is_open_as(self.as_ptr(), file.as_ptr()) }
    }

    /// Returns whether the owner's memory is that of an iommufd, not of a container. For the callback
    /// of its unmapping.
    pub(super) fn has_iommufd(&self) -> bool {
        // SAFETY: The device is valid by the type invariant.
        unsafe { bindings::adit_vfio_has_iommufd(self.as_ptr()) }
    }

    /// Removes all mappings of a range of offsets in the device's file. They are mapped again when
    /// they are accessed.
    pub(super) fn unmap(&self, range: Range<u64>) {
        let len = range.end.saturating_sub(range.start);
        // SAFETY: The device is valid by the type invariant, and has its own inode from its
        // allocation to its release.
        // CAST: offsets are far below 2^63.
        unsafe {
            bindings::unmap_mapping_range(
                (*(*self.as_ptr()).inode).i_mapping,
                range.start as i64,
                len as i64,
                1,
            )
        };
    }
}
