// SPDX-License-Identifier: GPL-2.0

//! `devlink resource show`: the numbers of ADIs, queue pairs and vectors, total and in use.

use adit_bindings as bindings;
use kernel::{
    error::to_result,
    prelude::*, //
};

use super::Instance;

/// A resource: its name, size and occupancy.
struct Resource {
    name: &'static CStr,
    size: fn(&Instance) -> u64,
    occupancy: bindings::devlink_resource_occ_get_t,
}

/// Resource ids are positions in this list, from 1: 0 stands for the top of the hierarchy.
static RESOURCES: [Resource; 3] = [
    Resource {
        name: c"adis",
        size: |instance| instance.pf.control().caps().max_adis.get().into(),
        occupancy: Some(adis),
    },
    Resource {
        name: c"queue_pairs",
        size: |instance| instance.pf.control().caps().max_queue_pairs.get().into(),
        occupancy: Some(queue_pairs),
    },
    Resource {
        name: c"vectors",
        size: |instance| {
            let caps = instance.pf.control().caps();
            u64::from(caps.max_queue_pairs.get()) * u64::from(caps.vectors_per_queue_pair.get())
        },
        occupancy: Some(vectors),
    },
];

/// Registers the resources. The instance lock is held, `devlink` is not registered yet.
pub(super) fn register(devlink: *mut bindings::devlink, instance: &Instance) -> Result {
    for (id, resource) in (1..).zip(&RESOURCES) {
        let size = (resource.size)(instance);
        let params = bindings::devlink_resource_size_params {
            size_min: size,
            size_max: size,
            size_granularity: 1,
            unit: bindings::devlink_resource_unit_DEVLINK_RESOURCE_UNIT_ENTRY,
        };
        // SAFETY: The instance is valid and its lock is held; the name is static, the parameters
        // are copied.
        to_result(unsafe {
            bindings::devl_resource_register(
                devlink,
                resource.name.as_char_ptr(),
                size,
                id,
                0,
                &params,
            )
        })?;
        // SAFETY: As above. The instance exists until after `unregister()`.
        unsafe {
            bindings::devl_resource_occ_get_register(
                devlink,
                id,
                resource.occupancy,
                core::ptr::from_ref(instance).cast_mut().cast(),
            )
        };
    }
    Ok(())
}

/// Unregisters the resources. The instance lock is held, `devlink` is no longer registered.
pub(super) fn unregister(devlink: *mut bindings::devlink) {
    // SAFETY: The instance is valid and its lock is held.
    unsafe { bindings::devl_resources_unregister(devlink) };
}

/// # Safety
///
/// `instance` is the pointer that [`register()`] passed on.
unsafe extern "C" fn adis(instance: *mut c_void) -> u64 {
    // SAFETY: By the function's requirement.
    unsafe { usage(instance) }.0
}

/// # Safety
///
/// `instance` is the pointer that [`register()`] passed on.
unsafe extern "C" fn queue_pairs(instance: *mut c_void) -> u64 {
    // SAFETY: By the function's requirement.
    unsafe { usage(instance) }.1
}

/// # Safety
///
/// `instance` is the pointer that [`register()`] passed on.
unsafe extern "C" fn vectors(instance: *mut c_void) -> u64 {
    // Each queue pair has a vector.
    // SAFETY: By the function's requirement.
    unsafe { usage(instance) }.1
}

/// # Safety
///
/// `instance` is the pointer that [`register()`] passed on.
unsafe fn usage(instance: *mut c_void) -> (u64, u64) {
    // SAFETY: By the function's requirement.
    unsafe { &*instance.cast::<Instance>() }.pf.adis().usage()
}
