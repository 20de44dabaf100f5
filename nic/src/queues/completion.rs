// SPDX-License-Identifier: Apache-2.0 OR MIT
//! TX completion queues.

use adit_uapi::desc::SplitqTxComplDesc4b;
use zerocopy::IntoBytes;

use crate::dataplane::{Ring, SchedMode};
use crate::memory::DmaFault;
use crate::pasid::Dma;

/// A ring that the device writes and the driver reads. The driver's read position is not reported to
/// the device: the driver must prevent overflow by bounding its outstanding packets.
pub struct CompletionQueue {
    ring: Ring,
    sched: SchedMode,
    next: u16,
    generation: bool,
}

impl CompletionQueue {
    /// An empty queue. The first pass is written with generation 1, over zeroed memory.
    #[must_use]
    pub fn new(ring: Ring, sched: SchedMode) -> Self {
        Self {
            ring,
            sched,
            next: 0,
            generation: true,
        }
    }

    /// Adds a completion: its type (`tx_compl::comp_type`), the TX queue that it is for, and the
    /// head or tag, depending on the type.
    ///
    /// # Errors
    /// Fails when the ring's memory cannot be written.
    pub fn push(
        &mut self,
        mem: &impl Dma,
        queue: u16,
        comp_type: u16,
        value: u16,
    ) -> Result<(), DmaFault> {
        let entry = SplitqTxComplDesc4b::new(queue, comp_type, self.generation, value);
        let mut word = [0; 4];
        word.copy_from_slice(entry.as_bytes());
        let word = u32::from_le_bytes(word);
        let next = u64::from(self.next);
        match self.sched {
            SchedMode::Queue => mem.publish_u32(self.ring.base.wrapping_add(next * 4), word)?,
            SchedMode::Flow => {
                mem.publish_u64(self.ring.base.wrapping_add(next * 8), u64::from(word))?;
            }
        }
        self.next += 1;
        if self.next >= self.ring.len {
            self.next = 0;
            self.generation = !self.generation;
        }
        Ok(())
    }

    /// The index of the next entry, and the generation bit that is written there.
    #[must_use]
    pub fn position(&self) -> (u16, bool) {
        (self.next, self.generation)
    }

    /// Continues at another entry, which is below the length of the ring.
    pub fn set_position(&mut self, next: u16, generation: bool) {
        (self.next, self.generation) = (next, generation);
    }
}
