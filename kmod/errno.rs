// SPDX-License-Identifier: GPL-2.0

//! Errors that [`kernel::error::code`] has no names for.

use adit_bindings as bindings;
use kernel::prelude::*;

/// Not what this device, or its IOMMU, can do.
pub(crate) fn eopnotsupp() -> Error {
    // CAST: a small number.
    Error::from_errno(-(bindings::EOPNOTSUPP as c_int))
}

/// The device broke the contract.
pub(crate) fn eproto() -> Error {
    // CAST: a small number.
    Error::from_errno(-(bindings::EPROTO as c_int))
}
