// SPDX-License-Identifier: GPL-2.0

//! An ADI on the auxiliary bus: `adit.adi.N`, for the driver that exposes it to user space.
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
    ids::AuxId,
    instance,
    port_link::PortLink,
    sysfs, //
};

/// Part of the device's name after the module's.
pub(crate) const ADI_NAME: &CStr = c"adi";

/// An auxiliary device. Dropping it unbinds the ADI's driver, which waits for its users.
pub(crate) struct AuxDevice {
    _link: PortLink,
    _registration: auxiliary::Registration<'static, ForLt!(Arc<Adi>)>,
    id: AuxId,
}

impl AuxDevice {
    /// Registers an ADI on the bus.
    ///
    /// # Safety
    ///
    /// It is dropped before `parent` is unbound.
    pub(crate) unsafe fn new(parent: &Device<Bound>, adi: Arc<Adi>) -> Result<Self> {
        // SAFETY: This reference is for the registration, which ends before the device is unbound,
        // by the function's requirement; until then the device exists.
        let parent: &'static Device<Bound> = unsafe { &*core::ptr::from_ref(parent) };
        let id = instance::next_device()?;
        let port = adi.port();
        let registration =
            auxiliary::Registration::new(parent, ADI_NAME, id.0, crate::MODULE_NAME, adi)?;
        let device = sysfs::add_attributes(parent, id)?;
        Ok(Self {
            _link: PortLink::new(parent, &device, port)?,
            _registration: registration,
            id,
        })
    }

    /// Returns the `N` of its name.
    pub(crate) fn id(&self) -> AuxId {
        self.id
    }
}
