// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the device models of IDPF functions have in common, physical and virtual ones.

pub mod logging;
pub mod mac;
pub mod memory;
pub mod pasid;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
