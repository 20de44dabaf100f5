// SPDX-License-Identifier: GPL-2.0

//! Adit: an IDPF physical function divided into Assignable Device Interfaces (ADIs).
//!
//! The driver binds to the PCI function of an IDPF device on request (`driver_override`; idpf
//! matches the class), talks to its control plane through the mailbox, and creates ADIs: each has
//! its own queues and vectors, and its own PASID, which all of its DMA carries.

use kernel::{
    auxiliary,
    driver::Registration,
    prelude::*,
    InPlaceModule, //
};

mod adi;
mod auxdev;
mod cause_reader;
mod causes;
mod control;
mod devlink;
mod driver;
mod errno;
mod eventfd;
mod ids;
mod instance;
mod irq;
mod irq_lock;
mod listener;
mod mailbox;
mod mdev;
mod mediated;
mod messages;
mod pasid;
mod pf;
mod port_link;
mod raw;
mod registers;
mod reset;
mod sysfs;
mod vfio;

use auxdev::ADI_NAME;

const MODULE_NAME: &CStr = <LocalModule as kernel::ModuleMetadata>::NAME;

#[pin_data]
struct AditModule {
    // Registered and dropped before the functions, so that ADIs find their driver, and their users
    // are waited for.
    #[pin]
    _vfio: Registration<auxiliary::Adapter<crate::vfio::VfioDriver>>,
    #[pin]
    _pci: Registration<reset::Adapter>,
    _mdev: mdev::DriverRegistration,
}

impl InPlaceModule for AditModule {
    fn init(module: &'static kernel::ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _vfio <- Registration::new(MODULE_NAME, module),
            // Before the functions, which are its parents.
            _mdev: mdev::DriverRegistration::new(module)?,
            _pci <- Registration::new(MODULE_NAME, module),
        })
    }
}

module! {
    type: AditModule,
    name: "adit",
    authors: ["The Adit authors"],
    description: "IDPF physical function with Assignable Device Interfaces",
    license: "GPL v2",
}
