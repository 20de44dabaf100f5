// SPDX-License-Identifier: Apache-2.0 OR MIT
//! DMA with a PASID: the device as its own translation agent.
//!
//! vfio-user carries no PASID, so for a request with one the device walks the tables that the
//! guest's IOMMU driver has written, in guest memory, as the IOMMU would: root table → context
//! entry → PASID directory → PASID entry → first- or second-stage page table (Intel VT-d 5.0,
//! chapters 3, 7 and 9, scalable mode). Where the root table is comes from QEMU's monitor.
//!
//! The tables are the guest's, and so hostile: every read is of one entry and checked, and a walk
//! is as long as the table is deep, whatever leads where.
//!
//! Guest-physical addresses are reached through the map that the client sends for requests
//! without a PASID, which is the identity while the guest's IOMMU passes the function through
//! (`iommu=pt`). [`walk::resolve`] makes sure of that.
//!
//! There is no message for invalidation. What was translated is kept in a [`cache`] for one burst
//! and no longer; whoever unmaps quiesces the queues first.

pub mod cache;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzz;
pub mod qmp;
pub mod root;
pub mod space;
#[cfg(any(test, feature = "fuzzing"))]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod vtd;
pub mod walk;

use adit_uapi::virtchnl2::adi::PASID_MAX;
use thiserror::Error;

pub use cache::Translator;
#[cfg(any(test, feature = "fuzzing"))]
pub use fuzz::fuzz_walk;
pub use root::{Root, RootQuery, Tables};
pub use space::{AddressSpace, Dma};

/// A PASID that an ADI can have: 20 bits, and not 0, which is the function's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pasid(u32);

impl Pasid {
    /// Checks that a number can be one.
    #[must_use]
    pub fn new(value: u32) -> Option<Self> {
        (1..=PASID_MAX).contains(&value).then_some(Self(value))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

/// Why an address is not translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum TranslationFault {
    /// The root table has not been found yet, or is out of date after a reset.
    #[error("it is not known where the IOMMU's tables are")]
    NoRootTable,
    /// A table is where there is no memory.
    #[error("the {0} cannot be read")]
    Unreadable(Table),
    /// An entry on the way is not present.
    #[error("the entry of the {0} is not present")]
    NotPresent(Table),
    /// The context entry does not allow requests with a PASID.
    #[error("the context entry does not enable PASIDs")]
    PasidDisabled,
    /// The PASID directory is too small for it.
    #[error("the PASID is beyond the directory")]
    PasidRange,
    /// Neither first nor second stage alone.
    #[error("translation type {0} is not one for an ADI")]
    TranslationType(u8),
    /// Tables deeper or shallower than there are.
    #[error("address width {0} is none")]
    AddressWidth(u8),
    /// The function itself is not passed through, so that guest memory cannot be reached by its
    /// physical address.
    #[error("the IOMMU does not pass the function through: boot the guest with iommu=pt")]
    NotPassedThrough,
    /// The address is wider than the page table.
    #[error("the address is wider than its page table")]
    AddressRange,
    /// Nothing is mapped there.
    #[error("no page is mapped")]
    NotMapped,
    /// What is mapped there may not be used so.
    #[error("the page is mapped without the permission")]
    Permission,
    /// The page is somewhere without memory, or with memory that is not the guest's to write.
    #[error("the page is not in guest memory")]
    NoMemory,
}

/// The tables of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Table {
    /// By bus and half of the bus.
    #[error("root table")]
    Root,
    /// By device and function.
    #[error("context table")]
    Context,
    /// By the upper bits of the PASID.
    #[error("PASID directory")]
    PasidDirectory,
    /// By the lower bits of the PASID.
    #[error("PASID table")]
    Pasid,
    /// By address.
    #[error("page table")]
    Page,
}
