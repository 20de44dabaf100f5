// SPDX-License-Identifier: GPL-2.0

//! Identifiers that no other ADI has or had: the number of its auxiliary device, and its instance.
//!
//! A user that was granted an ADI by name must not find another owner's ADI under that name later,
//! so numbers are not reused. They restart when the module is loaded or the machine is booted;
//! instances do not repeat even then.

use adit_bindings as bindings;
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

use crate::ids::AuxId;

/// The number of the next auxiliary device.
static NEXT: Atomic<u32> = Atomic::new(0);

/// Allocates a number for an auxiliary device: their names are system-wide, while ids of ADIs are
/// per function. Fails with `ENOSPC` when all 2^32 have been used.
pub(crate) fn next_device() -> Result<AuxId> {
    let id = NEXT.fetch_add(1, Relaxed);
    if id == u32::MAX {
        // So that later calls fail, too.
        NEXT.fetch_sub(1, Relaxed);
        return Err(ENOSPC);
    }
    Ok(AuxId(id))
}

/// The instance of an ADI: a random UUID (RFC 9562, version 4), which no other ADI gets in this
/// boot or any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InstanceId([u8; 16]);

impl InstanceId {
    /// Generates a new one.
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
