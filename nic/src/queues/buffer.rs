// SPDX-License-Identifier: Apache-2.0 OR MIT
//! RX buffer queues.

use adit_uapi::desc::SplitqRxBufDesc;
use zerocopy::FromZeros;

use super::{advance, owned, QueueFault};
use crate::dataplane::Ring;
use crate::pasid::Dma;

const ENTRY: u64 = SplitqRxBufDesc::LEN as u64;
/// The number of descriptors fetched in one read.
const PREFETCH: usize = 32;

/// A ring of empty buffers.
pub struct BufferQueue {
    ring: Ring,
    buffer_len: u32,
    header_len: u16,
    head: u16,
    fetched: [SplitqRxBufDesc; PREFETCH],
    fetched_at: usize,
    fetched_end: usize,
}

impl BufferQueue {
    /// A queue from which no buffer has been taken.
    #[must_use]
    pub fn new(ring: Ring, buffer_len: u32, header_len: u16) -> Self {
        Self {
            ring,
            buffer_len,
            header_len,
            head: 0,
            fetched: [SplitqRxBufDesc::new_zeroed(); PREFETCH],
            fetched_at: 0,
            fetched_end: 0,
        }
    }

    /// The length of each packet buffer in bytes.
    #[must_use]
    pub fn buffer_len(&self) -> u32 {
        self.buffer_len
    }

    /// The length of each header buffer in bytes; 0 for none.
    #[must_use]
    pub fn header_len(&self) -> u16 {
        self.header_len
    }

    /// The number of buffers available to the device.
    ///
    /// # Errors
    /// Fails when the tail is beyond the ring.
    pub fn available(&self, tail: u32) -> Result<u16, QueueFault> {
        owned(self.head, tail, self.ring.len)
    }

    /// The index of the next ring entry.
    #[must_use]
    pub fn head(&self) -> u16 {
        self.head
    }

    /// Takes the next buffer; the caller must have checked that one is
    /// [`available`](Self::available).
    ///
    /// # Errors
    /// Fails when its descriptor cannot be read, or no buffer is available.
    pub fn take(&mut self, mem: &impl Dma, tail: u32) -> Result<SplitqRxBufDesc, QueueFault> {
        if self.fetched_at == self.fetched_end {
            let run = owned(self.head, tail, self.ring.len)?.min(self.ring.len - self.head);
            let n = usize::from(run).min(PREFETCH);
            if n == 0 {
                return Err(QueueFault::Tail {
                    tail,
                    len: self.ring.len,
                });
            }
            let at = self.ring.base.wrapping_add(u64::from(self.head) * ENTRY);
            mem.read(
                at,
                zerocopy::IntoBytes::as_mut_bytes(&mut self.fetched[..n]),
            )?;
            (self.fetched_at, self.fetched_end) = (0, n);
        }
        let desc = self.fetched[self.fetched_at];
        self.fetched_at += 1;
        self.head = advance(self.head, 1, self.ring.len);
        Ok(desc)
    }

    /// The index of the next entry. Entries have no generation bit.
    #[must_use]
    pub fn position(&self) -> (u16, bool) {
        (self.head, false)
    }

    /// Continues at another entry, which is below the length of the ring.
    pub fn set_position(&mut self, next: u16, _generation: bool) {
        self.head = next;
        (self.fetched_at, self.fetched_end) = (0, 0);
    }
}
