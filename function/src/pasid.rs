// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The number of a process address space, and the reasons why its addresses are not translated.

use adit_uapi::virtchnl2::adi::PASID_MAX;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A PASID for an ADI: 20 bits, and not 0, which is the function's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pasid(u32);

impl Pasid {
    /// Converts a number; `None` if it is out of range.
    #[must_use]
    pub fn new(value: u32) -> Option<Self> {
        (1..=PASID_MAX).contains(&value).then_some(Self(value))
    }

    /// The numeric value.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

/// The reason why an address is not translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TranslationFault {
    /// The root table has not been found yet, or is out of date after a reset.
    #[error("the location of the IOMMU's tables is unknown")]
    NoRootTable,
    /// A table is at an address without memory.
    #[error("the {0} cannot be read")]
    Unreadable(Table),
    /// An entry on the path is not present.
    #[error("the entry of the {0} is not present")]
    NotPresent(Table),
    /// The context entry does not allow requests with a PASID.
    #[error("the context entry does not enable PASIDs")]
    PasidDisabled,
    /// The PASID is beyond the end of the PASID directory.
    #[error("the PASID is beyond the directory")]
    PasidRange,
    /// The translation is neither first-stage nor second-stage only.
    #[error("translation type {0} is not one for an ADI")]
    TranslationType(u8),
    /// The page table has a number of levels that does not exist.
    #[error("address width {0} is not defined")]
    AddressWidth(u8),
    /// The function itself is not passed through, so that guest memory cannot be accessed by
    /// physical address.
    #[error("the IOMMU does not pass the function through: boot the guest with iommu=pt")]
    NotPassedThrough,
    /// The address is wider than the page table.
    #[error("the address is wider than its page table")]
    AddressRange,
    /// No page is mapped there.
    #[error("no page is mapped")]
    NotMapped,
    /// The mapping does not permit the access.
    #[error("the page's mapping does not permit the access")]
    Permission,
    /// The page has no memory, or memory that the guest may not write.
    #[error("the page is not in guest memory")]
    NoMemory,
}

/// The tables of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// Indexed by bus and half of the bus.
    #[error("root table")]
    Root,
    /// Indexed by device and function.
    #[error("context table")]
    Context,
    /// Indexed by the upper bits of the PASID.
    #[error("PASID directory")]
    PasidDirectory,
    /// Indexed by the lower bits of the PASID.
    #[error("PASID table")]
    Pasid,
    /// Indexed by address.
    #[error("page table")]
    Page,
}

/// The availability of the IOMMU's tables, without which no ADI can be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The location of the tables is known.
    Ready,
    /// A lookup is pending.
    Pending,
    /// The lookup failed. Another one may succeed.
    Failed,
}
