// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A ring in the function's memory that reports the vectors and ADIs with events.

use adit_uapi::virtchnl2::adi::CauseEntry;
use zerocopy::little_endian::U32;

use crate::ids::{AdiId, VectorId};
use crate::memory::{Dma, DmaFault, GuestMemory};

/// The configuration of a cause ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CauseRingConfig {
    /// IOVA of the first entry.
    pub base: u64,
    /// Entries, a power of two.
    pub len: u32,
    /// IOVA of the word with the driver's head index.
    pub head: u64,
    /// The vector (of the function) that it signals.
    pub vector: VectorId,
}

/// A cause ring, with the device's position in it.
#[derive(Debug)]
pub(super) struct CauseRing {
    pub(super) config: CauseRingConfig,
    next: u32,
    generation: bool,
    /// The driver's head index when it was last read.
    head: u32,
}

impl CauseRing {
    pub(super) fn new(config: CauseRingConfig) -> Self {
        Self {
            config,
            next: 0,
            generation: true,
            head: 0,
        }
    }

    /// Returns whether an entry can be written. The driver's head is read only if the ring seems
    /// full.
    pub(super) fn has_space(&mut self, memory: &GuestMemory) -> Result<bool, DmaFault> {
        if self.full() {
            let head: U32 = memory.read_obj(self.config.head)?;
            // An index beyond the ring is ignored: the ring stays full.
            if head.get() < self.config.len {
                self.head = head.get();
            }
        }
        Ok(!self.full())
    }

    fn full(&self) -> bool {
        (self.next + 1) % self.config.len == self.head
    }

    /// Writes an entry; [`has_space`](Self::has_space) must have returned true.
    pub(super) fn post(
        &mut self,
        memory: &GuestMemory,
        adi: AdiId,
        vector: u16,
        reason: u8,
    ) -> Result<(), DmaFault> {
        let entry = CauseEntry::new(adi.0, vector, reason, self.generation);
        let offset = u64::from(self.next) * CauseEntry::LEN as u64;
        memory.publish_u64(self.config.base.wrapping_add(offset), entry.0)?;
        self.next += 1;
        if self.next == self.config.len {
            self.next = 0;
            self.generation = !self.generation;
        }
        Ok(())
    }
}
