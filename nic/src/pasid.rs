// SPDX-License-Identifier: Apache-2.0 OR MIT
//! DMA with a PASID: the device as its own translation agent.
//!
//! vfio-user carries no PASID, so for a request with one the device walks the tables in guest
//! memory that the guest's IOMMU driver has written, as the IOMMU would: root table → context entry
//! → PASID directory → PASID entry → first- or second-stage page table (Intel VT-d 5.0, chapters 3,
//! 7 and 9, scalable mode). The address of the root table comes from QEMU's monitor.
//!
//! The tables belong to the guest, and so are untrusted: every read is of one entry and validated,
//! and the length of a walk is bounded by the depth of the table, whatever the entries point to.
//!
//! Guest-physical addresses are accessed through the map that the client sends for requests without
//! a PASID, which is the identity while the guest's IOMMU passes the function through (`iommu=pt`).
//! [`walk::resolve`] verifies that.
//!
//! There is no message for invalidation. Translations are kept in a [`cache`] for one burst and no
//! longer; software that unmaps quiesces the queues first.
//!
//! A NIC without a guest of its own ([`crate::embedded`]) has no tables: memory is [`registered`] for
//! each PASID by the process that it runs in.

pub mod cache;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzz;
pub mod qmp;
pub mod registered;
pub mod root;
pub mod space;
#[cfg(any(test, feature = "fuzzing"))]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod vtd;
pub mod walk;

pub use cache::Translator;
#[cfg(any(test, feature = "fuzzing"))]
pub use fuzz::fuzz_walk;
pub use root::{Root, RootQuery, Tables};
pub use space::AddressSpace;

pub use adit_function::memory::Dma;
pub use adit_function::pasid::{Pasid, Readiness, Table, TranslationFault};
