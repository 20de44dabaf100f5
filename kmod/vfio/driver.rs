// SPDX-License-Identifier: GPL-2.0

//! The driver of the ADIs on the auxiliary bus: it registers VFIO devices for them.

use kernel::{
    auxiliary,
    device::Core,
    prelude::*,
    sync::Arc,
    types::ForLt, //
};

use super::callbacks::Registration;
use crate::adi::Adi;

/// The driver.
pub(crate) struct VfioDriver;

kernel::auxiliary_device_table!(
    ID_TABLE,
    MODULE_ID_TABLE,
    <VfioDriver as auxiliary::Driver>::IdInfo,
    [(
        auxiliary::DeviceId::new(crate::MODULE_NAME, crate::ADI_NAME),
        ()
    )]
);

impl auxiliary::Driver for VfioDriver {
    type IdInfo = ();
    type Data<'bound> = Registration;

    const ID_TABLE: auxiliary::IdTable<Self::IdInfo> = &ID_TABLE;

    fn probe<'bound>(
        adev: &'bound auxiliary::Device<Core<'_>>,
        _info: &'bound Self::IdInfo,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        let adi = adev.registration_data::<ForLt!(Arc<Adi>)>()?;
        Registration::new(adev.as_ref(), Arc::clone(&adi))
    }
}
