// SPDX-License-Identifier: GPL-2.0

//! Resets of the function that were requested elsewhere (sysfs, VFIO of another function): before
//! one, ADIs are taken away from their users; after it, the control plane is set up again, and so
//! are the ADIs, which must be opened again.
//!
//! [`pci::Driver`] has no callbacks for this, so they are set in the C structure before it is
//! registered.
//!
//! C header: [`include/linux/pci.h`](srctree/include/linux/pci.h)

use adit_bindings as bindings;
use core::mem::offset_of;
use kernel::{
    device::Bound,
    driver::{
        DriverLayout,
        RegistrationOps, //
    },
    pci,
    prelude::*,
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
};

use crate::{
    driver::{
        PfData,
        PfDriver, //
    },
    raw::Raw, //
};

static ERROR_HANDLERS: bindings::pci_error_handlers = bindings::pci_error_handlers {
    reset_prepare: Some(prepare),
    reset_done: Some(done),
    error_detected: None,
    mmio_enabled: None,
    slot_reset: None,
    resume: None,
    cor_error_detected: None,
};

/// [`pci::Adapter`], with callbacks for resets.
pub(crate) struct Adapter(());

// SAFETY: As for `pci::Adapter<PfDriver>`, which has the same types.
unsafe impl DriverLayout for Adapter {
    type DriverType = bindings::pci_driver;
    type DriverData<'bound> = PfData;
    const DEVICE_DRIVER_OFFSET: usize = offset_of!(bindings::pci_driver, driver);
}

// SAFETY: Both functions are those of `pci::Adapter`.
unsafe impl RegistrationOps for Adapter {
    unsafe fn register(
        driver: &Opaque<bindings::pci_driver>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        // SAFETY: The driver is not registered yet, and nothing else accesses it; the handlers are
        // static.
        unsafe { (*driver.get()).err_handler = &ERROR_HANDLERS };
        // SAFETY: By the function's requirement.
        unsafe { pci::Adapter::<PfDriver>::register(driver, name, module) }
    }

    unsafe fn unregister(driver: &Opaque<bindings::pci_driver>) {
        // SAFETY: By the function's requirement.
        unsafe { pci::Adapter::<PfDriver>::unregister(driver) }
    }
}

/// # Safety
///
/// Called by the PCI core for a function of this driver, with its device lock held.
unsafe extern "C" fn prepare(pdev: *mut bindings::pci_dev) {
    // SAFETY: By the function's requirement.
    if let Some((_, data)) = unsafe { bound(pdev) } {
        data.before_reset();
    }
}

/// # Safety
///
/// Called by the PCI core for a function of this driver, with its device lock held.
unsafe extern "C" fn done(pdev: *mut bindings::pci_dev) {
    // SAFETY: By the function's requirement.
    let Some((pdev, data)) = (unsafe { bound(pdev) }) else {
        return;
    };
    if let Err(error) = data.after_reset(pdev) {
        dev_err!(pdev, "failed to restart after reset: {error:?}\n");
    }
}

/// Returns the function and its driver data, if it is bound.
///
/// # Safety
///
/// `pdev` is a function of this driver, whose device lock is held until `'a` ends.
unsafe fn bound<'a>(
    pdev: *mut bindings::pci_dev,
) -> Option<(&'a pci::Device<Bound>, Pin<&'a PfData>)> {
    // SAFETY: The wrapper is transparent, and the lock keeps the function bound if it is.
    let pdev: &pci::Device<Bound> = unsafe { &*pdev.cast() };
    // SAFETY: The device is valid.
    let data = unsafe { bindings::dev_get_drvdata(pdev.as_ref().raw()) };
    if data.is_null() {
        return None;
    }
    // SAFETY: The PCI abstraction stores the driver's data in a pinned box, which it reclaims under
    // the device lock.
    Some((pdev, unsafe {
        <Pin<KBox<PfData>> as ForeignOwnable>::borrow(data)
    }))
}
