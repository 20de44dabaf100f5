// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Descriptor rings in guest memory for frames.
//!
//! In the split queue model, a TX queue holds descriptors and reports to a completion queue; an RX
//! queue holds completions and takes its buffers from one or two buffer queues. Ownership is passed
//! to the device by tails (doorbells) and to the driver by generation bits (IDPF, split queues).

mod buffer;
mod completion;
mod rx;
mod single_rx;
mod tx;

pub use buffer::BufferQueue;
pub use completion::CompletionQueue;
pub use rx::{RxInfo, RxQueue, RxRefusal};
pub use single_rx::SingleRing;
pub use tx::{Completion, Segmentation, TxOffload, TxOutcome, TxQueue};

pub use adit_function::dataplane::QueueFault;

/// The number of entries from `head` on that the device owns, given the driver's tail.
pub(crate) fn owned(head: u16, tail: u32, len: u16) -> Result<u16, QueueFault> {
    if tail >= u32::from(len) {
        return Err(QueueFault::Tail { tail, len });
    }
    let tail = tail as u16; // below `len`
    Ok(if tail >= head {
        tail - head
    } else {
        len - head + tail
    })
}

/// The index of the entry `n` after `at`, modulo the ring's length.
pub(crate) fn advance(at: u16, n: u16, len: u16) -> u16 {
    ((u32::from(at) + u32::from(n)) % u32::from(len.max(1))) as u16
}

#[cfg(test)]
mod tests;
