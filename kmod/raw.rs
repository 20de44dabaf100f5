// SPDX-License-Identifier: GPL-2.0

//! The C structures of the kernel crate's wrappers, for calls that it does not abstract.

use adit_bindings as bindings;
use kernel::{
    auxiliary,
    device::{
        Device,
        DeviceContext, //
    },
    pci, //
};

/// A transparent wrapper: its address is that of the C structure.
pub(crate) trait Raw {
    /// The C structure.
    type C;

    /// Returns its address. By the wrapper's invariants it is valid while the wrapper is borrowed.
    fn raw(&self) -> *mut Self::C;
}

macro_rules! transparent {
    ($($wrapper:ident in $module:ident => $c:ident),* $(,)?) => {$(
        impl<Ctx: DeviceContext> Raw for $module::$wrapper<Ctx> {
            type C = bindings::$c;

            fn raw(&self) -> *mut Self::C {
                core::ptr::from_ref(self).cast_mut().cast()
            }
        }
    )*};
}

transparent! {
    Device in auxiliary => auxiliary_device,
    Device in pci => pci_dev,
}

impl<Ctx: DeviceContext> Raw for Device<Ctx> {
    type C = bindings::device;

    fn raw(&self) -> *mut Self::C {
        core::ptr::from_ref(self).cast_mut().cast()
    }
}
