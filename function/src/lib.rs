// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Parts that the device models of IDPF functions share, physical and virtual ones.

pub mod access;
pub mod adi;
pub mod awake;
pub mod control;
pub mod dataplane;
pub mod doorbells;
pub mod ids;
pub mod interrupts;
pub mod layout;
pub mod logging;
pub mod mac;
pub mod mailbox;
pub mod memory;
pub mod pasid;
pub mod pci;
pub mod slow_path;
pub mod snapshot;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod vport;
