// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One ring of the mailbox: its registers and the address of its next descriptor.

use adit_uapi::mailbox::CtlqDesc;
use adit_uapi::regs::queue_len::{CRIT_M, ENABLE_M, OVFL_M, VFE_M};
use thiserror::Error;

use crate::layout::RingRegister;
use crate::memory::{Dma, DmaFault, GuestMemory};
use crate::snapshot::RingSnapshot;

/// The reason that a ring cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum QueueFault {
    /// The ring is enabled with a length of 0.
    #[error("it is enabled with a length of 0")]
    Empty,
    /// The head or the tail is outside of the ring.
    #[error("head {head} or tail {tail} is outside of the ring of {len}")]
    Index {
        /// The head register.
        head: u32,
        /// The tail register.
        tail: u32,
        /// The ring's length.
        len: u32,
    },
    /// A descriptor is not accessible by DMA.
    #[error(transparent)]
    Dma(#[from] DmaFault),
}

/// The registers of a ring. They accept any value from the driver; values are validated when the
/// ring is used.
#[derive(Debug)]
pub(super) struct Queue {
    bal: u32,
    bah: u32,
    len: u32,
    head: u32,
    tail: u32,
    /// The mask of the length field, which is also the width of head and tail.
    len_mask: u32,
}

impl Queue {
    pub(super) fn new(len_mask: u32) -> Self {
        Self {
            bal: 0,
            bah: 0,
            len: 0,
            head: 0,
            tail: 0,
            len_mask,
        }
    }

    /// The registers.
    pub(super) fn save(&self) -> RingSnapshot {
        RingSnapshot {
            base: u64::from(self.bah) << 32 | u64::from(self.bal),
            len: self.len,
            head: self.head,
            tail: self.tail,
        }
    }

    /// A ring with saved registers; `None` if one of them has bits that it cannot have.
    pub(super) fn restored(&self, saved: &RingSnapshot) -> Option<Self> {
        let mut restored = Self::new(self.len_mask);
        restored.write(RingRegister::Bal, saved.base as u32);
        restored.write(RingRegister::Bah, (saved.base >> 32) as u32);
        restored.write(RingRegister::Len, saved.len);
        restored.write(RingRegister::Head, saved.head);
        restored.write(RingRegister::Tail, saved.tail);
        (restored.save() == *saved).then_some(restored)
    }

    pub(super) fn reset(&mut self) {
        *self = Self::new(self.len_mask);
    }

    pub(super) fn read(&self, at: RingRegister) -> u32 {
        match at {
            RingRegister::Bal => self.bal,
            RingRegister::Bah => self.bah,
            RingRegister::Len => self.len,
            RingRegister::Head => self.head,
            RingRegister::Tail => self.tail,
        }
    }

    /// Writes a register and returns `true` if there may be work to do now.
    pub(super) fn write(&mut self, at: RingRegister, value: u32) -> bool {
        match at {
            RingRegister::Bal => self.bal = value,
            RingRegister::Bah => self.bah = value,
            RingRegister::Head => self.head = value & self.len_mask,
            RingRegister::Tail => {
                self.tail = value & self.len_mask;
                return self.enabled();
            }
            RingRegister::Len => {
                self.len = value & (self.len_mask | VFE_M | OVFL_M | CRIT_M | ENABLE_M);
                return self.enabled();
            }
        }
        false
    }

    fn enabled(&self) -> bool {
        self.len & ENABLE_M != 0
    }

    /// Stops the ring. Its length is kept: a length of 0 would signal a function reset.
    pub(super) fn stop(&mut self) {
        self.len = (self.len & !ENABLE_M) | CRIT_M;
    }

    /// Returns the descriptor at the head and its address, if the ring is enabled and not empty.
    pub(super) fn head(&self, mem: &GuestMemory) -> Result<Option<(u64, CtlqDesc)>, QueueFault> {
        if !self.enabled() {
            return Ok(None);
        }
        let (head, tail, len) = (self.head, self.tail, self.len & self.len_mask);
        if len == 0 {
            return Err(QueueFault::Empty);
        }
        if head >= len || tail >= len {
            return Err(QueueFault::Index { head, tail, len });
        }
        if head == tail {
            return Ok(None);
        }
        let base = u64::from(self.bah) << 32 | u64::from(self.bal);
        // A ring that wraps around the address space ends in a DMA fault: nothing is mapped there.
        let at = base.wrapping_add(u64::from(head) * CtlqDesc::LEN as u64);
        Ok(Some((at, mem.read_obj(at)?)))
    }

    /// Advances the head by one descriptor.
    pub(super) fn advance(&mut self) {
        let len = self.len & self.len_mask;
        self.head = if self.head + 1 >= len {
            0
        } else {
            self.head + 1
        };
    }
}
