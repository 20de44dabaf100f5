// SPDX-License-Identifier: GPL-2.0

//! The link from a devlink port to the device of its ADI: `port.INDEX` in the sysfs directory of
//! the function, since devlink knows no device of a port without a netdev. The reverse link is the
//! attribute `port` of the device ([`crate::sysfs`]).

use adit_bindings as bindings;
use kernel::{
    device::Device,
    error::to_result,
    prelude::*,
    str::CString,
    sync::aref::ARef, //
};

use crate::{
    ids::PortIndex,
    raw::Raw, //
};

/// A sysfs link, removed on drop.
pub(crate) struct PortLink {
    parent: ARef<Device>,
    name: CString,
}

impl PortLink {
    /// Creates the link from port `index` of `parent` to `device`; both are registered.
    pub(crate) fn new(parent: &Device, device: &Device, index: PortIndex) -> Result<Self> {
        let name = CString::try_from_fmt(fmt!("port.{}", index.0))?;
        // SAFETY: Both devices are valid while they are borrowed, and the name is a string.
        to_result(unsafe {
            bindings::sysfs_create_link(
                &raw mut (*parent.raw()).kobj,
                &raw mut (*device.raw()).kobj,
                name.as_char_ptr(),
            )
        })?;
        let parent = parent.into();
        Ok(Self { parent, name })
    }
}

impl Drop for PortLink {
    fn drop(&mut self) {
        // SAFETY: The reference keeps the device valid; `new()` created the link.
        unsafe {
            bindings::sysfs_remove_link(&raw mut (*self.parent.raw()).kobj, self.name.as_char_ptr())
        };
    }
}
