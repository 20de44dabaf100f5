// SPDX-License-Identifier: GPL-2.0

//! `devlink dev reload`: the function is reset and set up again. Its ports are removed, as devlink
//! requires.

use adit_bindings as bindings;
use kernel::{
    error::from_result,
    prelude::*, //
};

use super::{
    bound,
    Extack,
    Instance, //
};
use crate::errno::eopnotsupp;

/// Supported reload actions.
pub(super) const ACTIONS: usize =
    1 << bindings::devlink_reload_action_DEVLINK_RELOAD_ACTION_DRIVER_REINIT;

impl Instance {
    /// Refuses if there are more ADIs than the ports' `own`: those without a port are mediated devices.
    fn refuse_mediated(&self, own: usize, extack: Extack) -> Result {
        let (all, _) = self.pf.adis().usage();
        // CAST: widens.
        match all.saturating_sub(own as u64) {
            0 => Ok(()),
            left => Err(extack.refuse(
                EBUSY,
                fmt!("{left} ADIs are mediated devices: remove them first"),
            )),
        }
    }
}

/// # Safety
///
/// Called by devlink, with an instance of ours, whose lock is held.
pub(super) unsafe extern "C" fn down(
    devlink: *mut bindings::devlink,
    netns_change: bool,
    _action: bindings::devlink_reload_action,
    _limit: bindings::devlink_reload_limit,
    extack: *mut bindings::netlink_ext_ack,
) -> c_int {
    from_result(|| {
        // SAFETY: By the function's requirement.
        let (instance, extack) = unsafe { (Instance::of(devlink), Extack::new(extack)) };
        if netns_change {
            let why = "change of the network namespace is not supported";
            return Err(extack.refuse(eopnotsupp(), fmt!("{why}")));
        }
        // All of them first: a refusal changes nothing.
        for port in instance.ports.lock().values() {
            port.check_idle(extack)?;
        }
        let own = {
            let ports = instance.ports.lock();
            ports.values().filter(|port| port.has_own_adi()).count()
        };
        instance.refuse_mediated(own, extack)?;
        for port in instance.ports.lock().values() {
            // Fails if a user has opened it since.
            port.try_deactivate(extack)?;
        }
        // One may have been created since.
        instance.refuse_mediated(0, extack)?;
        while let Some(port) = instance.take_port() {
            port.unregister();
        }
        // Also marks ADIs that were created meanwhile as lost.
        instance.pf.stop();
        Ok(0)
    })
}

/// # Safety
///
/// Called by devlink after [`down()`], with an instance of ours, whose lock is held, and a pointer
/// to storage for the actions performed.
pub(super) unsafe extern "C" fn up(
    devlink: *mut bindings::devlink,
    _action: bindings::devlink_reload_action,
    _limit: bindings::devlink_reload_limit,
    actions_performed: *mut u32,
    extack: *mut bindings::netlink_ext_ack,
) -> c_int {
    from_result(|| {
        // SAFETY: By the function's requirement.
        let (instance, extack) = unsafe { (Instance::of(devlink), Extack::new(extack)) };
        // SAFETY: This is a devlink callback.
        let pdev = unsafe { bound(&instance.pf) };
        instance
            .pf
            .restart(pdev.as_ref())
            .map_err(|error| extack.refuse(error, fmt!("function reset failed")))?;
        // SAFETY: By the function's requirement.
        // CAST: one small bit.
        unsafe { *actions_performed = ACTIONS as u32 };
        Ok(0)
    })
}
