// SPDX-License-Identifier: GPL-2.0

//! Resets of the function that somebody else asks for (sysfs, VFIO of a neighbour): before one,
//! ADIs are taken from their users; after it, the control plane is there again, and so are the
//! ADIs, to be opened anew.
//!
//! [`pci::Driver`] has no callbacks for this, so that they are put into the C structure before it
//! is registered.
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

// SAFETY: As `pci::Adapter<PfDriver>`, whose types these are.
unsafe impl DriverLayout for Adapter {
    type DriverType = bindings::pci_driver;
    type DriverData<'bound> = PfData;
    const DEVICE_DRIVER_OFFSET: usize = offset_of!(bindings::pci_driver, driver);
}

// SAFETY: Both are those of `pci::Adapter`.
unsafe impl RegistrationOps for Adapter {
    unsafe fn register(
        driver: &Opaque<bindings::pci_driver>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        // SAFETY: The driver is not registered yet, and nobody else's; the handlers are static.
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
        dev_err!(pdev, "no control plane after the reset: {error:?}\n");
    }
}

/// The function and what the driver keeps for it, if it is bound.
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
    // SAFETY: What the PCI abstraction stores is the driver's data in a pinned box, which it takes
    // back under the device lock.
    Some((pdev, unsafe {
        <Pin<KBox<PfData>> as ForeignOwnable>::borrow(data)
    }))
}
