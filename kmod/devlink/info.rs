// SPDX-License-Identifier: GPL-2.0

//! `devlink dev info`: versions.

use adit_bindings as bindings;
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    str::CString, //
};

use super::Instance;

/// # Safety
///
/// Called by devlink, with an instance of ours and a request that is being answered.
pub(super) unsafe extern "C" fn get(
    devlink: *mut bindings::devlink,
    req: *mut bindings::devlink_info_req,
    _extack: *mut bindings::netlink_ext_ack,
) -> c_int {
    from_result(|| {
        // SAFETY: By the function's requirement.
        let control = unsafe { Instance::of(devlink).pf.control() };
        let (major, minor) = control.version();
        let version = CString::try_from_fmt(fmt!("{major}.{minor}"))?;
        // SAFETY: By the function's requirement; the strings are copied.
        to_result(unsafe {
            // The name in devlink-info(7) for the interface between driver and firmware.
            bindings::devlink_info_version_running_put(
                req,
                c"fw.mgmt.api".as_char_ptr(),
                version.as_char_ptr(),
            )
        })?;
        let pdev = control.pdev();
        let id = CString::try_from_fmt(fmt!(
            "{:04x}:{:04x}",
            pdev.vendor_id().as_raw(),
            pdev.device_id()
        ))?;
        let revision = CString::try_from_fmt(fmt!("{:02x}", pdev.revision_id()))?;
        // SAFETY: As above.
        to_result(unsafe {
            bindings::devlink_info_version_fixed_put(
                req,
                c"asic.id".as_char_ptr(),
                id.as_char_ptr(),
            )
        })?;
        // SAFETY: As above.
        to_result(unsafe {
            bindings::devlink_info_version_fixed_put(
                req,
                c"asic.rev".as_char_ptr(),
                revision.as_char_ptr(),
            )
        })?;
        Ok(0)
    })
}
