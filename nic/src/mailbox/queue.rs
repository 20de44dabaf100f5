// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One ring of the mailbox: its registers and where its next descriptor is.

use adit_uapi::mailbox::CtlqDesc;
use adit_uapi::regs::queue_len::{CRIT_M, ENABLE_M, OVFL_M, VFE_M};
use thiserror::Error;

use crate::memory::{DmaFault, GuestMemory};

/// The registers of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Register {
    /// Address, bits 31:0.
    Bal,
    /// Address, bits 63:32.
    Bah,
    /// Length and state.
    Len,
    /// The device's next descriptor.
    Head,
    /// Behind the driver's last one.
    Tail,
}

/// Why a ring cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum QueueFault {
    /// It is enabled with a length of 0.
    #[error("it is enabled with a length of 0")]
    Empty,
    /// Head or tail are outside of it.
    #[error("head {head} or tail {tail} is outside of the ring of {len}")]
    Index {
        /// The head register.
        head: u32,
        /// The tail register.
        tail: u32,
        /// The ring's length.
        len: u32,
    },
    /// A descriptor is not accessible.
    #[error(transparent)]
    Dma(#[from] DmaFault),
}

/// The registers. Whatever the driver writes, they hold; it is judged when the ring is used.
#[derive(Debug)]
pub(super) struct Queue {
    bal: u32,
    bah: u32,
    len: u32,
    head: u32,
    tail: u32,
    /// Where the length is in its register, which is also how wide head and tail are.
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

    pub(super) fn reset(&mut self) {
        *self = Self::new(self.len_mask);
    }

    pub(super) fn read(&self, at: Register) -> u32 {
        match at {
            Register::Bal => self.bal,
            Register::Bah => self.bah,
            Register::Len => self.len,
            Register::Head => self.head,
            Register::Tail => self.tail,
        }
    }

    /// Whether there may be something to do now.
    pub(super) fn write(&mut self, at: Register, value: u32) -> bool {
        match at {
            Register::Bal => self.bal = value,
            Register::Bah => self.bah = value,
            Register::Head => self.head = value & self.len_mask,
            Register::Tail => {
                self.tail = value & self.len_mask;
                return self.enabled();
            }
            Register::Len => {
                self.len = value & (self.len_mask | VFE_M | OVFL_M | CRIT_M | ENABLE_M);
                return self.enabled();
            }
        }
        false
    }

    fn enabled(&self) -> bool {
        self.len & ENABLE_M != 0
    }

    /// Stops the ring. Its length stays: a length of 0 would say that the function was reset.
    pub(super) fn stop(&mut self) {
        self.len = (self.len & !ENABLE_M) | CRIT_M;
    }

    /// The descriptor at the head and its address, if the ring is enabled and has one.
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

    /// Steps over the descriptor at the head.
    pub(super) fn advance(&mut self) {
        let len = self.len & self.len_mask;
        self.head = if self.head + 1 >= len {
            0
        } else {
            self.head + 1
        };
    }
}
