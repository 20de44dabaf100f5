// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What an ADI is reached through.

use std::os::fd::BorrowedFd;

use adit_uapi::vfio::AdiInfo;
use memmap2::MmapRaw;

use crate::{Error, Memory};

/// An ADI as `adit_vfio` shows it (`adit_uapi::vfio`). The seam between rings and VFIO: tests put
/// the device model right behind it.
pub trait Device: Send + Sync {
    /// Reads the information region.
    ///
    /// # Errors
    /// When the device is gone.
    fn info(&self) -> Result<AdiInfo, Error>;

    /// Sends a message through the software mailbox and returns the reply's payload.
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason.
    fn request(&self, opcode: u32, payload: &[u8]) -> Result<Vec<u8>, Error>;

    /// Maps a page of a region.
    ///
    /// # Errors
    /// When there is no such page.
    fn map_page(&self, region: u32, page: u32) -> Result<MmapRaw, Error>;

    /// Maps the memory that the driver allocated for the ADI.
    ///
    /// # Errors
    /// When there is none.
    fn map_dma_region(&self, len: u64) -> Result<MmapRaw, Error>;

    /// Gives `memory` its place in the device's address space; it is not reachable before it is
    /// registered by a message.
    ///
    /// # Safety
    /// From its registration on the device may write all of `memory` at any time, until
    /// [`unmap_memory`](Self::unmap_memory) has returned or the device is closed. Until then it
    /// must stay mapped, and what the device may write must not be borrowed.
    ///
    /// # Errors
    /// When the system refuses.
    unsafe fn map_memory(&self, memory: &Memory) -> Result<(), Error>;

    /// Takes memory away from the device, registered or not: no access is under way when this
    /// returns.
    ///
    /// # Errors
    /// When it was not mapped.
    fn unmap_memory(&self, memory: &Memory) -> Result<(), Error>;

    /// Sets the eventfds of an interrupt index, from its first vector on.
    ///
    /// # Errors
    /// When the index has fewer vectors.
    fn set_eventfds(&self, index: u32, eventfds: &[BorrowedFd<'_>]) -> Result<(), Error>;
}
