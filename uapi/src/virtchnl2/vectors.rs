// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Interrupt vectors and their mapping to queues.

use zerocopy::little_endian::{U16, U32};

named! {
    /// Values of [`QueueVector::itr_idx`] (virtchnl2_itr_idx).
    pub mod itr_idx: u32 {
        /// The first throttling interval; Linux: receive.
        IDX_0 = 0;
        /// The second throttling interval; Linux: transmit.
        IDX_1 = 1;
    }
}

wire! {
    /// Consecutive vectors, with their registers (virtchnl2_vector_chunk). Offsets are in BAR0.
    pub struct VectorChunk [32] {
        /// The first vector.
        0 => start_vector_id: U16,
        /// The first event vector.
        2 => start_evv_id: U16,
        /// Number of vectors.
        4 => num_vectors: U16,
        /// Padding.
        6 => pad: U16,
        /// Offset of the first control register (DYN_CTL).
        8 => dynctl_reg_start: U32,
        /// Distance from one vector's control register to the next in bytes.
        12 => dynctl_reg_spacing: U32,
        /// Offset of the first throttling register (ITRN).
        16 => itrn_reg_start: U32,
        /// Distance from one vector's throttling registers to the next in bytes.
        20 => itrn_reg_spacing: U32,
        /// Distance from one throttling register of a vector to the next in bytes.
        24 => itrn_index_spacing: U32,
        /// Padding.
        28 => pad1: [u8; 4],
    }

    /// Vectors to free, followed by `num_vchunks` × [`VectorChunk`] (virtchnl2_vector_chunks).
    /// [`super::op::DEALLOC_VECTORS`].
    pub struct VectorChunks [16] {
        /// Number of chunks.
        0 => num_vchunks: U16,
        /// Padding.
        2 => pad: [u8; 14],
    }

    /// Vectors besides the mailbox's (virtchnl2_alloc_vectors): requested, then allocated; followed
    /// in the reply by `vchunks.num_vchunks` × [`VectorChunk`]. [`super::op::ALLOC_VECTORS`].
    pub struct AllocVectors [32] {
        /// Number of vectors.
        0 => num_vectors: U16,
        /// Padding.
        2 => pad: [u8; 14],
        /// The vectors (reply).
        16 => vchunks: VectorChunks,
    }

    /// A queue and its vector (virtchnl2_queue_vector).
    pub struct QueueVector [24] {
        /// Id of the queue.
        0 => queue_id: U32,
        /// Id of the vector.
        4 => vector_id: U16,
        /// Padding.
        6 => pad: [u8; 2],
        /// Index of the vector's throttling interval, see [`itr_idx`].
        8 => itr_idx: U32,
        /// See [`super::queue_type`].
        12 => queue_type: U32,
        /// Padding.
        16 => pad1: [u8; 8],
    }

    /// Header, followed by `num_qv_maps` × [`QueueVector`] (virtchnl2_queue_vector_maps).
    /// [`super::op::MAP_QUEUE_VECTOR`], [`super::op::UNMAP_QUEUE_VECTOR`].
    pub struct QueueVectorMaps [16] {
        /// Id of the vport.
        0 => vport_id: U32,
        /// Number of mappings.
        4 => num_qv_maps: U16,
        /// Padding.
        6 => pad: [u8; 10],
    }
}
