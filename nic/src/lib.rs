// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The NIC model: a device process that stock QEMU attaches over vfio-user.

pub mod cli;
pub mod clock;
pub mod connections;
pub mod datapath;
pub(crate) mod device;
pub mod drops;
pub mod egress;
pub mod embedded;
pub mod engine;
pub mod forwarding;
pub mod frame;
pub(crate) mod freezer;
pub mod function;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod handover;
pub mod ids;
pub mod metrics;
pub mod p4rt;
pub mod pasid;
pub mod program;
pub mod queues;
pub mod report;
pub mod runtime;
pub mod service;
#[cfg(any(test, feature = "fuzzing"))]
pub mod testing;
pub mod wire;

// Named here for this crate's own modules.
#[doc(no_inline)]
pub use adit_function::{
    awake, control, dataplane, doorbells, interrupts, layout, logging, mac, mailbox, memory, pci,
};
