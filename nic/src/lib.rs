// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The NIC model: a device process that stock QEMU attaches over vfio-user.

pub mod awake;
pub mod control;
pub mod datapath;
pub mod dataplane;
pub mod device;
pub mod doorbells;
pub mod drops;
pub mod egress;
pub mod engine;
pub mod forwarding;
pub mod frame;
pub mod function;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod interrupts;
pub mod mailbox;
pub mod metrics;
pub mod p4rt;
pub mod pasid;
pub mod pci;
pub mod program;
pub mod queues;
pub mod report;
#[cfg(any(test, feature = "fuzzing"))]
pub mod testing;
pub mod wire;

pub use adit_function::{logging, mac, memory};
