// SPDX-License-Identifier: GPL-2.0

//! Ports of flavour pcisf: each has an ADI once it is active.

use adit_bindings as bindings;
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    new_mutex,
    prelude::*,
    rbtree::RBTreeNodeReservation,
    str::CString,
    sync::{
        Arc,
        Mutex, //
    },
    types::Opaque, //
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

/// First `sfnum` of mediated devices' ports, counted by index (at most 16,384). Within 16 bits,
/// which is what devlink(8) shows.
const MEDIATED_SFNUM: u32 = 1 << 15;
/// Octets of an Ethernet address.
const MAC_LEN: usize = 6;

const OPS: bindings::devlink_port_ops = bindings::devlink_port_ops {
    port_del: Some(del),
    port_fn_hw_addr_get: Some(hw_addr_get),
    port_fn_hw_addr_set: Some(hw_addr_set),
    port_fn_state_get: Some(state_get),
    port_fn_state_set: Some(state_set),
    port_fn_max_io_eqs_get: Some(max_io_eqs_get),
    port_fn_max_io_eqs_set: Some(max_io_eqs_set),
    // SAFETY: All zeros is a value of this structure: no operations.
    ..unsafe { core::mem::zeroed() }
};
static PORT_OPS: bindings::devlink_port_ops = OPS;

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

    /// Destroys the ADI, unless it is in use.
    pub(super) fn try_deactivate(&self, extack: Extack) -> Result {
        let active = {
            let mut state = self.state.lock();
            match &state.active {
                None => return Ok(()),
                Some(Active::Mediated { uuid, .. }) => {
                    return Err(extack.refuse(EBUSY, fmt!("owned by mdev {}", &**uuid)));
                }
                Some(Active::Own { device, owned }) => owned.adi().retire().map_err(|error| {
                    let id = device.id().0;
                    extack.refuse(
                        error,
                        fmt!("adit.adi.{id} is in use: close its VFIO device first"),
                    )
                })?,
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

/// Handles `devlink port add`.
///
/// # Safety
///
/// Called by devlink, with an instance of ours, whose lock is held.
pub(super) unsafe extern "C" fn new(
    devlink: *mut bindings::devlink,
    attrs: *const bindings::devlink_port_new_attrs,
    extack: *mut bindings::netlink_ext_ack,
    port: *mut *mut bindings::devlink_port,
) -> c_int {
    from_result(|| {
        // SAFETY: By the function's requirement.
        let (instance, attrs, extack) =
            unsafe { (Instance::of(devlink), &*attrs, Extack::new(extack)) };
        let sfnum = checked(attrs, extack)?;
        let raw = add(devlink, instance, Some(sfnum), None, extack)?;
        // SAFETY: By the function's requirement it points to storage for the port.
        unsafe { *port = raw };
        Ok(0)
    })
}

/// Checks whether a port with these attributes is possible, and returns its `sfnum`.
fn checked(attrs: &bindings::devlink_port_new_attrs, extack: Extack) -> Result<SfNum> {
    let refuse = |error, why: &str| Err(extack.refuse(error, fmt!("{why}")));
    if attrs.flavour != bindings::devlink_port_flavour_DEVLINK_PORT_FLAVOUR_PCI_SF {
        return refuse(
            crate::errno::eopnotsupp(),
            "only ports of flavour pcisf are supported",
        );
    }
    if attrs.port_index_valid() != 0 {
        return refuse(
            crate::errno::eopnotsupp(),
            "port index is assigned by the driver",
        );
    }
    if attrs.controller_valid() != 0 && attrs.controller != 0 {
        return refuse(EINVAL, "only controller 0 is supported");
    }
    if attrs.pfnum != 0 {
        return refuse(EINVAL, "pfnum must be 0");
    }
    if attrs.sfnum_valid() == 0 {
        return refuse(EINVAL, "sfnum is required");
    }
    if attrs.sfnum >= MEDIATED_SFNUM {
        return refuse(
            EINVAL,
            "sfnum must be below 32768: higher numbers are reserved for mediated devices",
        );
    }
    Ok(SfNum(attrs.sfnum))
}

/// Adds a port that shows a mediated device's ADI; returns its index. The instance lock is held.
pub(super) fn add_mediated(
    devlink: *mut bindings::devlink,
    instance: &Instance,
    adi: Arc<Adi>,
    uuid: CString,
) -> Result<PortIndex> {
    // SAFETY: There is no request to acknowledge.
    let extack = unsafe { Extack::new(core::ptr::null_mut()) };
    let active = Active::Mediated {
        adi: adi.clone(),
        uuid,
    };
    let raw = add(devlink, instance, None, Some(active), extack)?;
    // SAFETY: The port is registered, and the instance lock keeps it so.
    let index = PortIndex(unsafe { (*raw).index });
    adi.set_port(index);
    Ok(index)
}

/// Creates and registers a port, and chooses an `sfnum` if none is given. The instance lock is
/// held.
fn add(
    devlink: *mut bindings::devlink,
    instance: &Instance,
    sfnum: Option<SfNum>,
    active: Option<Active>,
    extack: Extack,
) -> Result<*mut bindings::devlink_port> {
    let max = instance.pf.control().caps().max_adis.get();
    let (index, sfnum) = {
        let ports = instance.ports.lock();
        if max == 0 {
            return Err(extack.refuse(
                crate::errno::eopnotsupp(),
                fmt!("device does not support ADIs"),
            ));
        }
        // The lowest free index.
        let low = ports
            .keys()
            .zip(0..)
            .take_while(|(key, index)| key.0 == *index);
        // CAST: there are at most `max` ports.
        let index = low.count() as u32;
        let sfnum = sfnum.unwrap_or(SfNum(MEDIATED_SFNUM + index));
        if ports.values().any(|port| port.sfnum == sfnum) {
            return Err(extack.refuse(EEXIST, fmt!("sfnum {} is in use", sfnum.0)));
        }
        (index, sfnum)
    };
    if index >= max {
        return Err(extack.refuse(ENOSPC, fmt!("limit of {max} ports reached")));
    }
    let reservation = RBTreeNodeReservation::new(GFP_KERNEL)?;
    let port = Port::new(sfnum, active)?;
    let raw = port.raw.get();
    // SAFETY: The port is new, and the instance is locked. The port is pinned, and unregistered
    // before it is freed.
    to_result(unsafe {
        bindings::devlink_port_attrs_pci_sf_set(raw, 0, 0, sfnum.0, false);
        bindings::devl_port_register_with_ops(devlink, raw, index, &PORT_OPS)
    })?;
    // An ADI has no netdev in this kernel, so its port has no type; this stops devlink from warning
    // about that after an hour.
    // SAFETY: devlink has initialised the work.
    unsafe { bindings::cancel_delayed_work_sync(&raw mut (*raw).type_warn_dw) };
    let node = reservation.into_node(PortIndex(index), port);
    instance.ports.lock().insert(node);
    Ok(raw)
}

/// Handles `devlink port del`.
///
/// # Safety
///
/// Called by devlink, with a port and an instance of ours, whose lock is held.
unsafe extern "C" fn del(
    devlink: *mut bindings::devlink,
    port: *mut bindings::devlink_port,
    extack: *mut bindings::netlink_ext_ack,
) -> c_int {
    from_result(|| {
        // SAFETY: By the function's requirement; the port is not used after it was removed.
        let (instance, port, extack) =
            unsafe { (Instance::of(devlink), Port::of(port), Extack::new(extack)) };
        port.try_deactivate(extack)?;
        let removed = instance.ports.lock().remove(&port.index());
        if let Some(port) = removed {
            port.unregister();
        }
        Ok(0)
    })
}

/// # Safety
///
/// Called by devlink, with a port of ours, whose instance is locked, and space for [`MAC_LEN`]
/// octets (`MAX_ADDR_LEN` is more).
unsafe extern "C" fn hw_addr_get(
    port: *mut bindings::devlink_port,
    hw_addr: *mut u8,
    hw_addr_len: *mut c_int,
    _extack: *mut bindings::netlink_ext_ack,
) -> c_int {
    // SAFETY: By the function's requirement.
    let port = unsafe { Port::of(port) };
    let state = port.state.lock();
    let mac = match &state.active {
        Some(active) => active.adi().layout().mac,
        None => state.mac,
    };
    // SAFETY: By the function's requirement.
    unsafe {
        hw_addr.cast::<[u8; MAC_LEN]>().write(mac);
        *hw_addr_len = MAC_LEN as c_int;
    }
    0
}

/// # Safety
///
/// Called by devlink, with a port of ours, whose instance is locked, and `hw_addr_len` octets.
unsafe extern "C" fn hw_addr_set(
    port: *mut bindings::devlink_port,
    hw_addr: *const u8,
    hw_addr_len: c_int,
    extack: *mut bindings::netlink_ext_ack,
) -> c_int {
    from_result(|| {
        // SAFETY: By the function's requirement.
        let (port, extack) = unsafe { (Port::of(port), Extack::new(extack)) };
        if hw_addr_len != MAC_LEN as c_int {
            return Err(extack.refuse(
                EINVAL,
                fmt!("hw_addr must have 6 octets, not {hw_addr_len}"),
            ));
        }
        // SAFETY: By the function's requirement; the length was checked above.
        let mac = unsafe { hw_addr.cast::<[u8; MAC_LEN]>().read() };
        // Bit 0 of the first octet marks a group address (IEEE 802).
        if mac[0] & 1 != 0 {
            return Err(extack.refuse(EINVAL, fmt!("hw_addr must not be a multicast address")));
        }
        let mut state = port.state.lock();
        if state.active.is_some() {
            return Err(extack.refuse(EBUSY, fmt!("port is active")));
        }
        state.mac = mac;
        Ok(0)
    })
}

/// # Safety
///
/// Called by devlink, with a port of ours, whose instance is locked.
unsafe extern "C" fn state_get(
    port: *mut bindings::devlink_port,
    state: *mut bindings::devlink_port_fn_state,
    opstate: *mut bindings::devlink_port_fn_opstate,
    _extack: *mut bindings::netlink_ext_ack,
) -> c_int {
    // SAFETY: By the function's requirement.
    let port = unsafe { Port::of(port) };
    let guard = port.state.lock();
    let active = guard.active.as_ref();
    let alive = active.is_some_and(|active| active.adi().is_alive());
    // SAFETY: By the function's requirement both point to storage for the results.
    unsafe {
        *state = match active {
            Some(_) => bindings::devlink_port_fn_state_DEVLINK_PORT_FN_STATE_ACTIVE,
            None => bindings::devlink_port_fn_state_DEVLINK_PORT_FN_STATE_INACTIVE,
        };
        *opstate = match alive {
            true => bindings::devlink_port_fn_opstate_DEVLINK_PORT_FN_OPSTATE_ATTACHED,
            false => bindings::devlink_port_fn_opstate_DEVLINK_PORT_FN_OPSTATE_DETACHED,
        };
    }
    0
}

/// # Safety
///
/// Called by devlink, with a port of ours, whose instance is locked.
unsafe extern "C" fn state_set(
    port: *mut bindings::devlink_port,
    state: bindings::devlink_port_fn_state,
    extack: *mut bindings::netlink_ext_ack,
) -> c_int {
    from_result(|| {
        // SAFETY: By the function's requirement; a registered port has an instance.
        let (instance, port, extack) = unsafe {
            let devlink = (*port).devlink;
            (Instance::of(devlink), Port::of(port), Extack::new(extack))
        };
        match state {
            bindings::devlink_port_fn_state_DEVLINK_PORT_FN_STATE_ACTIVE => {
                port.activate(instance, extack)?
            }
            bindings::devlink_port_fn_state_DEVLINK_PORT_FN_STATE_INACTIVE => {
                port.try_deactivate(extack)?
            }
            _ => return Err(extack.refuse(EINVAL, fmt!("unknown port state {state}"))),
        }
        Ok(0)
    })
}

/// # Safety
///
/// Called by devlink, with a port of ours, whose instance is locked.
unsafe extern "C" fn max_io_eqs_get(
    port: *mut bindings::devlink_port,
    max_eqs: *mut u32,
    _extack: *mut bindings::netlink_ext_ack,
) -> c_int {
    // SAFETY: By the function's requirement.
    let port = unsafe { Port::of(port) };
    // SAFETY: By the function's requirement it points to storage for the result.
    unsafe { *max_eqs = port.state.lock().queue_pairs.into() };
    0
}

/// # Safety
///
/// Called by devlink, with a port of ours, whose instance is locked.
unsafe extern "C" fn max_io_eqs_set(
    port: *mut bindings::devlink_port,
    max_eqs: u32,
    extack: *mut bindings::netlink_ext_ack,
) -> c_int {
    from_result(|| {
        // SAFETY: By the function's requirement; a registered port has an instance.
        let (instance, port, extack) = unsafe {
            let devlink = (*port).devlink;
            (Instance::of(devlink), Port::of(port), Extack::new(extack))
        };
        let most = instance.pf.control().caps().max_queue_pairs_per_adi.get();
        let mut state = port.state.lock();
        if state.active.is_some() {
            return Err(extack.refuse(EBUSY, fmt!("port is active")));
        }
        match u16::try_from(max_eqs) {
            Ok(pairs) if (1..=most).contains(&pairs) => state.queue_pairs = pairs,
            _ => {
                return Err(extack.refuse(
                    EINVAL,
                    fmt!("max_io_eqs must be 1 to {most}, the number of queue pairs"),
                ));
            }
        }
        Ok(0)
    })
}
