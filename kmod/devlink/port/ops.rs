// SPDX-License-Identifier: GPL-2.0

//! devlink's operations of a port: its removal, and `devlink port function`.

use adit_bindings as bindings;
use kernel::{
    error::from_result,
    prelude::*, //
};

use super::{
    Extack,
    Instance,
    Port,
    MAC_LEN, //
};

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
/// The operations.
pub(super) static PORT_OPS: bindings::devlink_port_ops = OPS;

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
