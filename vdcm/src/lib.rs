// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The Virtual Device Composition Module: virtual IDPF functions out of ADIs.
//!
//! An ADI is queues, doorbells and vectors. A composed device adds what makes a PCI function of
//! them: configuration space, mailbox and the virtchnl2 control plane of a VF, which this crate
//! emulates. The fast path does not pass through here: doorbell pages are mapped, interrupts are
//! eventfds, and the ADI accesses the client's memory itself.

pub mod backend;
pub mod composition;
#[cfg(feature = "daemon")]
pub mod config;
pub mod control;
#[cfg(feature = "embedded")]
pub mod embedded;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod group;
pub mod manager;
pub mod protocol;
pub mod snapshot;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod trace;
pub mod vdev;
#[cfg(feature = "vfio")]
pub mod vfio;
