// SPDX-License-Identifier: GPL-2.0

//! Names that no other ADI has or had: the number of its auxiliary device, and its instance.
//!
//! Whoever was given an ADI by name must not find another owner's behind that name later, so that
//! numbers are not used again. They begin anew with the module and with the machine; instances do
//! not.

use adit_bindings as bindings;
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// The number of the next auxiliary device.
static NEXT: Atomic<u32> = Atomic::new(0);

/// A number for an auxiliary device: their names are the whole system's, while ids of ADIs are one
/// function's. `ENOSPC` when all 2^32 have been used.
pub(crate) fn next_device() -> Result<u32> {
    let id = NEXT.fetch_add(1, Relaxed);
    if id == u32::MAX {
        // Those after it fail, too.
        NEXT.fetch_sub(1, Relaxed);
        return Err(ENOSPC);
    }
    Ok(id)
}

/// The instance of an ADI: a random UUID (RFC 9562, version 4), which no other one gets in this boot
/// or any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InstanceId([u8; 16]);

impl InstanceId {
    /// A new one.
    pub(crate) fn new() -> Self {
        let mut uuid = bindings::uuid_t::default();
        // SAFETY: The structure is ours.
        unsafe { bindings::uuid_gen(&mut uuid) };
        Self(uuid.b)
    }
}

impl kernel::fmt::Display for InstanceId {
    fn fmt(&self, f: &mut kernel::fmt::Formatter<'_>) -> kernel::fmt::Result {
        for (n, octet) in self.0.iter().enumerate() {
            if matches!(n, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{octet:02x}")?;
        }
        Ok(())
    }
}
