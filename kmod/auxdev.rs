// SPDX-License-Identifier: GPL-2.0

//! An ADI on the auxiliary bus: `adit.adi.N`, for the driver that shows it to user space.
//!
//! Its driver finds the ADI with `adev.registration_data::<ForLt!(Arc<Adi>)>()`.

use kernel::{
    auxiliary,
    device::{
        Bound,
        Device, //
    },
    prelude::*,
    sync::Arc,
    types::ForLt, //
};

use crate::{
    adi::Adi,
    ids::UniqueId,
    sysfs, //
};

/// The part of the device's name behind the module's.
pub(crate) const ADI_NAME: &CStr = c"adi";

/// An auxiliary device. Dropping it unbinds the ADI's driver, which waits for its users.
pub(crate) struct AuxDevice {
    _registration: auxiliary::Registration<'static, ForLt!(Arc<Adi>)>,
    id: UniqueId,
}

impl AuxDevice {
    /// Puts an ADI on the bus.
    ///
    /// # Safety
    ///
    /// It is dropped before `parent` is unbound.
    pub(crate) unsafe fn new(parent: &Device<Bound>, adi: Arc<Adi>) -> Result<Self> {
        // SAFETY: The registration, which this reference is for, ends before the device is
        // unbound, by the function's requirement; until then the device is there.
        let parent: &'static Device<Bound> = unsafe { &*core::ptr::from_ref(parent) };
        let id = UniqueId::new()?;
        let registration =
            auxiliary::Registration::new(parent, ADI_NAME, id.get(), crate::MODULE_NAME, adi)?;
        sysfs::add_attributes(parent, id.get())?;
        Ok(Self {
            _registration: registration,
            id,
        })
    }

    /// The `N` of its name.
    pub(crate) fn id(&self) -> u32 {
        self.id.get()
    }
}
