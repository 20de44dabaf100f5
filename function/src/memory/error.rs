// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The errors of accesses to guest memory, and of changes to its map.

use std::io;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use vm_memory::{GuestAddress, GuestMemoryError};

use super::file::FileMappingError;
use super::MAX_REGIONS;
use crate::pasid::TranslationFault;

/// A failed access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[error("DMA {} of {len} bytes at IOVA {iova:#x}: {cause}", if *.write { "write" } else { "read" })]
pub struct DmaFault {
    /// The IOVA at which the access began.
    pub iova: u64,
    /// Its length in bytes.
    pub len: usize,
    /// `true` for a write.
    pub write: bool,
    /// The cause.
    pub cause: FaultCause,
}

/// The cause of a failed access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultCause {
    /// No region covers all of it.
    #[error("not mapped")]
    Unmapped,
    /// A region covers it, but does not permit the access.
    #[error("not permitted")]
    Permission,
    /// The address is not aligned as the access requires.
    #[error("not aligned")]
    Misaligned,
    /// The IOMMU's tables do not translate the address.
    #[error(transparent)]
    Translation(#[from] TranslationFault),
}

/// The fault is the source of the error, except for an address without memory, for which `vm-memory`
/// has an error of its own.
impl From<DmaFault> for GuestMemoryError {
    fn from(fault: DmaFault) -> Self {
        match fault.cause {
            FaultCause::Unmapped => Self::InvalidGuestAddress(GuestAddress(fault.iova)),
            _ => Self::IOError(io::Error::other(fault)),
        }
    }
}

/// An error of mapping or unmapping a region.
#[derive(Debug, Error)]
pub enum MapError {
    /// The range is empty or wraps around the address space.
    #[error("the range {iova:#x}+{len:#x} is empty or wraps around")]
    Range {
        /// First address.
        iova: u64,
        /// Length in bytes.
        len: u64,
    },
    /// It overlaps another region.
    #[error("the range {iova:#x}+{len:#x} overlaps the region at {other:#x}")]
    Overlap {
        /// First address.
        iova: u64,
        /// Length in bytes.
        len: u64,
        /// First address of the existing region.
        other: u64,
    },
    /// The range to unmap splits a region.
    #[error("the range {iova:#x}+{len:#x} cuts the region at {other:#x} in two")]
    Partial {
        /// First address.
        iova: u64,
        /// Length in bytes.
        len: u64,
        /// First address of the region that would be split.
        other: u64,
    },
    /// The table is full.
    #[error("{MAX_REGIONS} regions are mapped: the limit is reached")]
    Full,
    /// The file cannot back the region.
    #[error(transparent)]
    File(#[from] FileMappingError),
}
