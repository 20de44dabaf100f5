// SPDX-License-Identifier: GPL-2.0

//! The PCI driver: from a function that it is given to a [`Pf`](crate::pf::Pf), and back.

use adit_uapi::regs::pf;
use kernel::{
    device::Core,
    device_id::IdArray,
    io::Io,
    pci,
    prelude::*, //
};

/// The driver of the physical function.
pub(crate) struct PfDriver;

/// What the driver keeps for a function while it is bound.
#[pin_data]
pub(crate) struct PfData<'bound> {
    bar: pci::Bar<'bound>,
}

/// Bits above the 24 of a class code: an entry that no device matches.
const NO_CLASS: u32 = 1 << 24;

/// Matches nothing, and no alias is made of it: IDPF's class is idpf's, so that this driver binds
/// only to what `driver_override` names.
const ID_TABLE: IdArray<pci::DeviceId, (), 1> =
    IdArray::new([(pci::DeviceId::from_class(NO_CLASS, u32::MAX), ())]);

impl pci::Driver for PfDriver {
    type IdInfo = ();
    type Data<'bound> = PfData<'bound>;
    const ID_TABLE: pci::IdTable<Self::IdInfo> = &ID_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: &'bound Self::IdInfo,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            pdev.enable_device_mem()?;
            pdev.set_master();
            let bar = pdev.iomap_region(0, c"adit")?;
            let state = bar.try_read32(pf::GEN_RSTAT as usize)?;
            dev_info!(pdev, "reset state {state:#x}\n");
            Ok(try_pin_init!(PfData { bar }))
        })
    }
}
