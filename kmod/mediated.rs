// SPDX-License-Identifier: GPL-2.0

//! Driver data of a mediated device: its ADI.

use adit_bindings as bindings;
use kernel::{
    prelude::*,
    sync::Arc,
    types::ForeignOwnable, //
};

use crate::adi::{
    Adi,
    OwnedAdi, //
};

/// Driver data of a mediated device; dropped in this order.
pub(crate) struct Mediated {
    _interfaces: KBox<dyn Send + Sync>,
    owned: OwnedAdi,
}

impl Mediated {
    /// Makes an ADI, and the interfaces that represent it elsewhere, the driver data of `dev`.
    ///
    /// # Safety
    ///
    /// `dev` is a mediated device that is being bound. [`Self::take()`] is called when it is
    /// unbound.
    pub(crate) unsafe fn set(
        dev: *mut bindings::device,
        owned: OwnedAdi,
        interfaces: KBox<dyn Send + Sync>,
    ) -> Result {
        let data = Self {
            _interfaces: interfaces,
            owned,
        };
        let data = KBox::new(data, GFP_KERNEL)?;
        // SAFETY: By the function's requirement the device is valid, and its driver data is ours.
        unsafe { bindings::dev_set_drvdata(dev, data.into_foreign()) };
        Ok(())
    }

    /// Returns the ADI of a mediated device.
    ///
    /// # Safety
    ///
    /// [`Self::set()`] has succeeded for the device, and [`Self::take()`] is not called before this
    /// returns.
    pub(crate) unsafe fn adi(dev: *mut bindings::device) -> Arc<Adi> {
        // SAFETY: By the function's requirement it is the pointer that `set()` stored, and still
        // valid.
        let data =
            unsafe { <KBox<Self> as ForeignOwnable>::borrow(bindings::dev_get_drvdata(dev)) };
        data.owned.adi().clone()
    }

    /// Takes the driver data of a mediated device.
    ///
    /// # Safety
    ///
    /// [`Self::set()`] has succeeded for the device, and this is called once.
    pub(crate) unsafe fn take(dev: *mut bindings::device) -> KBox<Self> {
        // SAFETY: By the function's requirement it is the pointer that `set()` stored.
        unsafe { <KBox<Self> as ForeignOwnable>::from_foreign(bindings::dev_get_drvdata(dev)) }
    }
}
