// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The interface through which an ADI is accessed.

use std::os::fd::BorrowedFd;

use adit_uapi::vfio::AdiInfo;
use memmap2::MmapRaw;

use crate::{Error, Memory};

/// An ADI as exposed by `adit_vfio` (`adit_uapi::vfio`). This is the boundary between rings and
/// VFIO: tests use the device model in place of VFIO.
pub trait Device: Send + Sync {
    /// Reads the information region.
    ///
    /// # Errors
    /// Fails when the device is gone.
    fn info(&self) -> Result<AdiInfo, Error>;

    /// Sends a message through the software mailbox and returns the reply's payload.
    ///
    /// # Errors
    /// Fails with [`Error::Refused`] and the reason.
    fn request(&self, opcode: u32, payload: &[u8]) -> Result<Vec<u8>, Error>;

    /// Maps a page of a region.
    ///
    /// # Errors
    /// Fails when there is no such page.
    fn map_page(&self, region: u32, page: u32) -> Result<MmapRaw, Error>;

    /// Maps the memory that the driver allocated for the ADI.
    ///
    /// # Errors
    /// Fails when there is none.
    fn map_dma_region(&self, len: u64) -> Result<MmapRaw, Error>;

    /// Maps `memory` into the device's address space; the device cannot access it before it is
    /// registered by a message.
    ///
    /// # Safety
    /// From its registration on, the device may write all of `memory` at any time, until
    /// [`unmap_memory`](Self::unmap_memory) has returned or the device is closed. Until then it
    /// must stay mapped, and memory that the device may write must not be borrowed.
    ///
    /// # Errors
    /// Fails when the system returns an error.
    unsafe fn map_memory(&self, memory: &Memory) -> Result<(), Error>;

    /// Unmaps memory from the device, registered or not: no access is in flight when this returns.
    ///
    /// # Errors
    /// Fails when it was not mapped.
    fn unmap_memory(&self, memory: &Memory) -> Result<(), Error>;

    /// Sets the eventfds of an interrupt index, from its first vector on.
    ///
    /// # Errors
    /// Fails when the index has fewer vectors.
    fn set_eventfds(&self, index: u32, eventfds: &[BorrowedFd<'_>]) -> Result<(), Error>;
}
