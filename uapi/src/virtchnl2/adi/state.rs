// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Suspension of an ADI, and the state of its queues and vectors that no other message sets.
//!
//! An owner migrates to another ADI in this order: it suspends the one that it has and reads the states;
//! it suspends the other one, configures and enables the queues there with the usual messages, sets
//! the states, writes the doorbell pages, and resumes it.

use zerocopy::little_endian::{U16, U32};

/// Bits of [`AdiQueueState::flags`].
pub mod queue_state_flags {
    /// The queue is enabled. Without this bit, there is no other state.
    pub const ENABLED: u16 = 1 << 0;
    /// The generation bit of the next entry that the device writes: of a completion queue, and of a
    /// receive queue of the split model.
    pub const GENERATION: u16 = 1 << 1;
    /// A fault has stopped the queue.
    pub const STOPPED: u16 = 1 << 2;
}

/// Bits of [`AdiVectorState::flags`].
pub mod vector_state_flags {
    /// A cause is latched: the vector signals when it is armed.
    pub const PENDING: u16 = 1 << 0;
}

wire! {
    /// Suspends or resumes an ADI; repeating either has no effect. After the reply to
    /// SUSPEND_ADI, and until RESUME_ADI or a reset of the ADI, it accesses no memory, signals no
    /// vector, and does not poll its pages. Frames for it are dropped. Messages are executed, which
    /// clear tails as usual: queues that are enabled start when it is resumed, and those that are
    /// disabled write no SW_MARKER. After RESUME_ADI, all its pages are polled as if they had been
    /// written.
    /// [`super::op::SUSPEND_ADI`], [`super::op::RESUME_ADI`].
    pub struct SuspendAdi [4] {
        /// Id of the ADI.
        0 => adi_id: U16,
        /// Padding.
        2 => pad: [u8; 2],
    }

    /// The states of queues of one type of a suspended ADI; refused with ESM unless it is suspended.
    /// The request of [`super::op::GET_ADI_QUEUE_STATE`] has no elements, its reply and
    /// [`super::op::SET_ADI_QUEUE_STATE`] have `num_states` × [`AdiQueueState`], one for each queue
    /// from `start_queue_id` on.
    pub struct AdiQueueStates [16] {
        /// Id of the ADI.
        0 => adi_id: U16,
        /// Number of queues, at least 1.
        2 => num_states: U16,
        /// See [`crate::virtchnl2::queue_type`].
        4 => type_: U32,
        /// Id of the first queue.
        8 => start_queue_id: U32,
        /// Reserved, 0.
        12 => reserved: [u8; 4],
    }

    /// The state of a queue. To be set, `ENABLED` must be that of the queue (ESM), `next` below the
    /// length of its ring (ERANGE), and unknown bits 0 (EINVAL).
    pub struct AdiQueueState [8] {
        /// Index of the next entry of its ring that the device reads or writes.
        0 => next: U16,
        /// See [`queue_state_flags`].
        2 => flags: U16,
        /// Reserved, 0.
        4 => reserved: [u8; 4],
    }

    /// The states of vectors of a suspended ADI; as [`AdiQueueStates`], with `num_states` ×
    /// [`AdiVectorState`]. [`super::op::GET_ADI_VECTOR_STATE`],
    /// [`super::op::SET_ADI_VECTOR_STATE`].
    pub struct AdiVectorStates [8] {
        /// Id of the ADI.
        0 => adi_id: U16,
        /// Number of vectors, at least 1.
        2 => num_states: U16,
        /// The first vector.
        4 => start_vector_id: U16,
        /// Reserved, 0.
        6 => reserved: [u8; 2],
    }

    /// The state of a vector. What the driver has set is in its registers.
    pub struct AdiVectorState [4] {
        /// See [`vector_state_flags`].
        0 => flags: U16,
        /// Reserved, 0.
        2 => reserved: [u8; 2],
    }
}
