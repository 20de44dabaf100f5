// SPDX-License-Identifier: GPL-2.0

//! Ports of flavour pcisf: each has an ADI once it is active.
//!
//! - [`add`]: creation of ports
//! - [`ops`]: devlink's operations of a port

mod add;
mod ops;

use adit_bindings as bindings;
use kernel::{
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        Arc,
        Mutex, //
    },
    types::Opaque, //
};

pub(super) use self::add::{
    add_mediated,
    new, //
};

use super::{
    bound,
    Extack,
    Instance, //
};
use crate::{
    adi::{
        Adi,
        AdiSpec,
        Creator,
        OwnedAdi, //
    },
    auxdev::AuxDevice,
    ids::{
        PortIndex,
        SfNum, //
    },
    instance::InstanceId, //
};

/// Octets of an Ethernet address.
const MAC_LEN: usize = 6;

/// A port. devlink holds its address while it is registered.
#[pin_data]
pub(super) struct Port {
    #[pin]
    raw: Opaque<bindings::devlink_port>,
    #[pin]
    state: Mutex<State>,
    sfnum: SfNum,
    /// Instance id shared by its successive ADIs: a port that is deactivated and activated again
    /// keeps it.
    instance: InstanceId,
}

// SAFETY: devlink uses the raw port under its lock.
unsafe impl Send for Port {}
// SAFETY: As above; everything else is protected by its own lock or constant.
unsafe impl Sync for Port {}

/// Configuration of a port, and its ADI.
struct State {
    queue_pairs: u16,
    mac: [u8; MAC_LEN],
    active: Option<Active>,
}

/// A live ADI.
enum Active {
    /// The port's own; the fields are dropped in this order.
    Own { device: AuxDevice, owned: OwnedAdi },
    /// One that a mediated device owns, with its UUID: read-only here.
    Mediated { adi: Arc<Adi>, uuid: CString },
}

impl Active {
    fn adi(&self) -> &Arc<Adi> {
        match self {
            Self::Own { owned, .. } => owned.adi(),
            Self::Mediated { adi, .. } => adi,
        }
    }

    /// Calls `f` with the port's own ADI, and refuses with the reason if that fails, or if the ADI is
    /// a mediated device's.
    fn if_own(&self, extack: Extack, f: impl FnOnce(&Adi) -> Result) -> Result {
        match self {
            Self::Mediated { uuid, .. } => {
                Err(extack.refuse(EBUSY, fmt!("owned by mdev {}", &**uuid)))
            }
            Self::Own { device, owned } => f(owned.adi()).map_err(|error| {
                let id = device.id().0;
                extack.refuse(
                    error,
                    fmt!("adit.adi.{id} is in use: close its VFIO device first"),
                )
            }),
        }
    }
}

impl Port {
    fn new(sfnum: SfNum, active: Option<Active>) -> Result<Pin<KBox<Self>>> {
        let queue_pairs = match &active {
            Some(active) => active.adi().spec().queue_pairs,
            None => 1,
        };
        KBox::try_pin_init(
            try_pin_init!(Self {
                // Zeroed, as devlink requires of a port to be registered.
                raw: Opaque::zeroed(),
                state <- new_mutex!(State {
                    queue_pairs,
                    mac: [0; MAC_LEN],
                    active,
                }),
                sfnum,
                instance: InstanceId::new(),
            }? Error),
            GFP_KERNEL,
        )
    }

    /// Returns the port that embeds devlink's.
    ///
    /// # Safety
    ///
    /// `raw` is a port of this driver, and is not unregistered before `'a` ends.
    unsafe fn of<'a>(raw: *mut bindings::devlink_port) -> &'a Self {
        // SAFETY: By the function's requirement it is the field of a `Port`.
        unsafe { &*kernel::container_of!(Opaque::cast_from(raw), Self, raw) }
    }

    /// Returns the index of this port, as shown by devlink.
    fn index(&self) -> PortIndex {
        // SAFETY: devlink sets it once, when the port is registered.
        PortIndex(unsafe { (*self.raw.get()).index })
    }

    /// Creates the ADI.
    fn activate(&self, instance: &Instance, extack: Extack) -> Result {
        let mut state = self.state.lock();
        if state.active.is_some() {
            return Ok(());
        }
        // SAFETY: This is called from a devlink callback.
        let pdev = unsafe { bound(&instance.pf) };
        let spec = AdiSpec {
            creator: Creator::Port(self.sfnum),
            queue_pairs: state.queue_pairs,
            mac: state.mac,
            instance: self.instance,
        };
        let owned = instance.pf.create_adi(pdev, spec).map_err(|error| {
            let why = match error {
                ENOSPC => "out of PASIDs or device resources",
                EEXIST => "MAC address is in use",
                EIO => "device does not respond or cannot read IOMMU tables",
                EBUSY => "device is being reset",
                ENOMEM => "out of memory",
                _ => "refused by the IOMMU or the device",
            };
            extack.refuse(error, fmt!("failed to create ADI: {why}"))
        })?;
        owned.adi().set_port(self.index());
        // SAFETY: `Devlink::unregister()` deactivates all ports before the function is unbound.
        let device = unsafe { AuxDevice::new(pdev.as_ref(), owned.adi().clone()) }
            .map_err(|error| extack.refuse(error, fmt!("failed to register auxiliary device")))?;
        state.active = Some(Active::Own { device, owned });
        Ok(())
    }

    /// Refuses if the ADI is in use, or a mediated device's.
    pub(super) fn check_idle(&self, extack: Extack) -> Result {
        match &self.state.lock().active {
            None => Ok(()),
            Some(active) => active.if_own(extack, |adi| match adi.is_used() {
                true => Err(EBUSY),
                false => Ok(()),
            }),
        }
    }

    /// Returns whether the device has an ADI of the port's own.
    pub(super) fn has_own_adi(&self) -> bool {
        let state = self.state.lock();
        matches!(&state.active, Some(Active::Own { owned, .. }) if owned.adi().is_alive())
    }

    /// Destroys the ADI, unless it is in use.
    pub(super) fn try_deactivate(&self, extack: Extack) -> Result {
        let active = {
            let mut state = self.state.lock();
            match &state.active {
                None => return Ok(()),
                Some(active) => active.if_own(extack, |adi| adi.retire())?,
            }
            state.active.take()
        };
        drop(active);
        Ok(())
    }

    /// Destroys the ADI, and waits for its users to release it.
    pub(super) fn deactivate(&self) {
        let active = {
            let mut state = self.state.lock();
            if let Some(active) = &state.active {
                active.adi().die();
            }
            state.active.take()
        };
        drop(active);
    }

    /// Unregisters the port from devlink. The instance lock is held.
    pub(super) fn unregister(&self) {
        // SAFETY: The port is registered, and its instance is locked.
        unsafe { bindings::devl_port_unregister(self.raw.get()) };
    }
}
