// SPDX-License-Identifier: GPL-2.0

//! Errors that [`kernel::error::code`] does not name.

use adit_bindings as bindings;
use kernel::prelude::*;

/// Returns the error for an operation that this device, or its IOMMU, does not support.
pub(crate) fn eopnotsupp() -> Error {
    // CAST: a small number.
    Error::from_errno(-(bindings::EOPNOTSUPP as c_int))
}

/// Returns the error for a device that violates the protocol.
pub(crate) fn eproto() -> Error {
    // CAST: a small number.
    Error::from_errno(-(bindings::EPROTO as c_int))
}
