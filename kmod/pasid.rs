// SPDX-License-Identifier: GPL-2.0

//! The address space of an ADI: a PASID, and the I/O page table that the IOMMU uses for it.
//!
//! C header: [`include/linux/iommu.h`](srctree/include/linux/iommu.h)

use adit_bindings as bindings;
use core::ptr::NonNull;
use kernel::{
    device::{
        Bound,
        Device, //
    },
    error::{
        from_err_ptr,
        to_result, //
    },
    pci,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

use crate::{
    errno::eopnotsupp,
    ids::Pasid,
    raw::Raw, //
};

/// A PASID that no other device and no process uses.
struct GlobalPasid(Pasid);

impl GlobalPasid {
    fn alloc(dev: &Device<Bound>) -> Result<Self> {
        // SAFETY: `dev` is a valid device that stays bound for the call.
        let pasid = unsafe { bindings::iommu_alloc_global_pasid(dev.raw()) };
        // CAST: how the C header defines the constant, -1 as an `ioasid_t`.
        if pasid == bindings::IOMMU_PASID_INVALID as u32 {
            return Err(ENOSPC);
        }
        Ok(Self(Pasid(pasid)))
    }
}

impl Drop for GlobalPasid {
    fn drop(&mut self) {
        // SAFETY: The PASID was allocated in `alloc()` and is freed once, here; only an
        // `Attachment` attaches it, which holds a reference to the `AddressSpace` around it and has
        // detached it.
        unsafe { bindings::iommu_free_global_pasid(self.0 .0) };
    }
}

/// A PASID and its I/O page table, initially with no mappings.
///
/// # Invariants
///
/// `domain` is a paging domain that is freed by `drop()` and not before.
pub(crate) struct AddressSpace {
    domain: NonNull<bindings::iommu_domain>,
    pasid: GlobalPasid,
}

// SAFETY: The IOMMU API locks domains itself, or requires that ranges do not overlap, see `map()`.
unsafe impl Send for AddressSpace {}
// SAFETY: As above.
unsafe impl Sync for AddressSpace {}

impl AddressSpace {
    /// Allocates a PASID and a page table for `dev`. Fails with `EOPNOTSUPP` if its IOMMU has no
    /// PASIDs.
    pub(crate) fn new(dev: &Device<Bound>) -> Result<Arc<Self>> {
        let pasid = GlobalPasid::alloc(dev)?;
        let flags = bindings::iommufd_hwpt_alloc_flags_IOMMU_HWPT_ALLOC_PASID;
        // SAFETY: `dev` is a valid device that stays bound for the call.
        let domain =
            from_err_ptr(unsafe { bindings::iommu_paging_domain_alloc_flags(dev.raw(), flags) })?;
        let domain = NonNull::new(domain).ok_or(ENOMEM)?;
        // INVARIANT: The domain was just allocated, and this is the only pointer to it. If the
        // allocation of the `Arc` fails, `drop()` runs.
        Ok(Arc::new(Self { domain, pasid }, GFP_KERNEL)?)
    }

    /// Returns the PASID.
    pub(crate) fn pasid(&self) -> Pasid {
        self.pasid.0
    }

    /// Maps `len` bytes of physical memory from `phys` at `iova` for the device.
    ///
    /// # Safety
    ///
    /// The memory stays allocated and may be read, and written if `writable`, by the device until
    /// [`Self::unmap()`] has returned. No other call works on the same range at the same time.
    pub(crate) unsafe fn map(
        &self,
        iova: usize,
        phys: bindings::phys_addr_t,
        len: usize,
        writable: bool,
    ) -> Result {
        let prot = if writable {
            bindings::IOMMU_READ | bindings::IOMMU_WRITE
        } else {
            bindings::IOMMU_READ
        };
        // SAFETY: The domain is valid by the type invariant; the rest is by the function's
        // requirement.
        to_result(unsafe {
            bindings::iommu_map(
                self.domain.as_ptr(),
                iova,
                phys,
                len,
                // CAST: small flags.
                prot as c_int,
                bindings::GFP_KERNEL_ACCOUNT,
            )
        })
    }

    /// Unmaps `len` bytes from `iova` on, and waits until the device no longer uses them; returns
    /// the number of bytes that were mapped.
    pub(crate) fn unmap(&self, iova: usize, len: usize) -> usize {
        // SAFETY: The domain is valid by the type invariant. A range that is not mapped, or only in
        // part, shows in the return value.
        unsafe { bindings::iommu_unmap(self.domain.as_ptr(), iova, len) }
    }
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        // SAFETY: The domain is valid by the type invariant, and not attached: an `Attachment`
        // holds a reference to this.
        unsafe { bindings::iommu_domain_free(self.domain.as_ptr()) };
    }
}

/// The attachment of an address space to a device's PASID. Must be dropped before the device is
/// unbound.
pub(crate) struct Attachment {
    pdev: ARef<pci::Device>,
    space: Arc<AddressSpace>,
}

impl Attachment {
    /// Makes the IOMMU use `space` for requests of `pdev` with its PASID.
    pub(crate) fn new(pdev: &pci::Device<Bound>, space: Arc<AddressSpace>) -> Result<Self> {
        // SAFETY: `pdev` is valid; the bit changes only while it is not bound.
        if unsafe { (*pdev.raw()).pasid_enabled() } == 0 {
            return Err(eopnotsupp());
        }
        // SAFETY: The domain is valid by the type invariant of `AddressSpace`, and stays so until
        // `drop()`; the device is bound.
        to_result(unsafe {
            bindings::iommu_attach_device_pasid(
                space.domain.as_ptr(),
                pdev.as_ref().raw(),
                space.pasid().0,
                core::ptr::null_mut(),
            )
        })?;
        Ok(Self {
            pdev: pdev.into(),
            space,
        })
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let dev: &Device = (*self.pdev).as_ref();
        // During a reset of the function (`pci_dev_reset_iommu_prepare()`) the IOMMU core has moved
        // the PASID to the blocking domain already; detaching then removes it from those that are
        // attached again afterwards, under the same lock.
        // SAFETY: `new()` attached this domain to this PASID of this device.
        unsafe {
            bindings::iommu_detach_device_pasid(
                self.space.domain.as_ptr(),
                dev.raw(),
                self.space.pasid().0,
            )
        };
    }
}
