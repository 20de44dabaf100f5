// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A ring in the function's memory that reports the vectors and ADIs with events.

use adit_uapi::virtchnl2::adi::CauseEntry;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zerocopy::little_endian::U32;

use crate::ids::{AdiId, VectorId};
use crate::memory::{Dma, DmaFault, GuestMemory};

/// The minimum number of entries of a cause ring.
const MIN_LEN: u32 = 8;
/// The maximum number of entries of a cause ring: more than there are vectors.
pub const MAX_CAUSE_RING_LEN: u32 = 1 << 16;

/// The reason why there is no cause ring with a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CauseRingError {
    /// The number of entries.
    #[error("{0} entries: a power of two from {MIN_LEN} to {MAX_CAUSE_RING_LEN}")]
    Len(u32),
    /// The address of the ring or of the head.
    #[error(
        "entries at {base:#x} and a head at {head:#x}: multiples of 8 and of 4, and the ring does not \
         wrap around"
    )]
    Address {
        /// That of the first entry.
        base: u64,
        /// That of the head.
        head: u64,
    },
}

/// The configuration of a cause ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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

impl CauseRingConfig {
    /// Checks the length and the addresses; not the vector.
    ///
    /// # Errors
    /// With what is impossible.
    pub fn check(&self) -> Result<(), CauseRingError> {
        let &Self {
            base, len, head, ..
        } = self;
        if !(MIN_LEN..=MAX_CAUSE_RING_LEN).contains(&len) || !len.is_power_of_two() {
            return Err(CauseRingError::Len(len));
        }
        let end = base.checked_add(u64::from(len) * CauseEntry::LEN as u64);
        match base % 8 == 0 && head % 4 == 0 && end.is_some() {
            true => Ok(()),
            false => Err(CauseRingError::Address { base, head }),
        }
    }
}

/// The state of a cause ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CauseRingState {
    /// Its configuration.
    pub config: CauseRingConfig,
    /// The index of the next entry that the device writes.
    pub next: u32,
    /// The generation bit of that entry.
    pub generation: bool,
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

    /// The state.
    pub(super) fn save(&self) -> CauseRingState {
        CauseRingState {
            config: self.config,
            next: self.next,
            generation: self.generation,
        }
    }

    /// A ring with a state, whose `next` is below its length. The driver's head is read again before
    /// anything is written.
    pub(super) fn restored(state: CauseRingState) -> Self {
        let CauseRingState {
            config,
            next,
            generation,
        } = state;
        Self {
            config,
            next,
            generation,
            head: (next + 1) % config.len,
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
