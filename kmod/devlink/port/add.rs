// SPDX-License-Identifier: GPL-2.0

//! Creation of ports, by `devlink port add` and for mediated devices.

use adit_bindings as bindings;
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    rbtree::RBTreeNodeReservation,
    str::CString,
    sync::Arc, //
};

use super::{
    ops::PORT_OPS,
    Active,
    Extack,
    Instance,
    Port, //
};
use crate::{
    adi::Adi,
    ids::{
        PortIndex,
        SfNum, //
    }, //
};

/// First `sfnum` of mediated devices' ports, counted by index (at most 16,384). Within 16 bits,
/// which is what devlink(8) shows.
const MEDIATED_SFNUM: u32 = 1 << 15;

/// Handles `devlink port add`.
///
/// # Safety
///
/// Called by devlink, with an instance of ours, whose lock is held.
pub(in crate::devlink) unsafe extern "C" fn new(
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
pub(in crate::devlink) fn add_mediated(
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
