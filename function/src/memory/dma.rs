// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The accesses that a queue makes to memory, independent of the translation of its addresses.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{DmaFault, GuestMemory};

/// Memory as seen by a queue.
pub trait Dma {
    /// Copies from memory.
    ///
    /// # Errors
    /// Fails when a byte of it cannot be read; the buffer's content is then unspecified.
    fn read(&self, iova: u64, buf: &mut [u8]) -> Result<(), DmaFault>;

    /// Copies to memory.
    ///
    /// # Errors
    /// Fails when a byte of it cannot be written.
    fn write(&self, iova: u64, buf: &[u8]) -> Result<(), DmaFault>;

    /// Stores eight bytes atomically, after all earlier writes.
    ///
    /// # Errors
    /// Fails when they cannot be written, or the address is not a multiple of 8.
    fn publish_u64(&self, iova: u64, value: u64) -> Result<(), DmaFault>;

    /// Stores four bytes atomically, after all earlier writes.
    ///
    /// # Errors
    /// Fails when they cannot be written, or the address is not a multiple of 4.
    fn publish_u32(&self, iova: u64, value: u32) -> Result<(), DmaFault>;

    /// Reads a plain value.
    ///
    /// # Errors
    /// Fails like [`read`](Self::read).
    fn read_obj<T: FromBytes + IntoBytes>(&self, iova: u64) -> Result<T, DmaFault> {
        let mut value = T::new_zeroed();
        self.read(iova, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Writes a plain value.
    ///
    /// # Errors
    /// Fails like [`write`](Self::write).
    fn write_obj<T: IntoBytes + Immutable>(&self, iova: u64, value: &T) -> Result<(), DmaFault> {
        self.write(iova, value.as_bytes())
    }
}

impl Dma for GuestMemory {
    fn read(&self, iova: u64, buf: &mut [u8]) -> Result<(), DmaFault> {
        GuestMemory::read(self, iova, buf)
    }

    fn write(&self, iova: u64, buf: &[u8]) -> Result<(), DmaFault> {
        GuestMemory::write(self, iova, buf)
    }

    fn publish_u64(&self, iova: u64, value: u64) -> Result<(), DmaFault> {
        GuestMemory::publish_u64(self, iova, value)
    }

    fn publish_u32(&self, iova: u64, value: u32) -> Result<(), DmaFault> {
        GuestMemory::publish_u32(self, iova, value)
    }
}
