// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Queues: allocation, configuration, enabling and release.

use zerocopy::little_endian::{U16, U32, U64};

named! {
    /// Queue models (virtchnl2_queue_model).
    pub mod queue_model: u16 {
        /// Descriptors and completions share a ring.
        SINGLE = 0;
        /// Completions have separate rings, and so have receive buffers.
        SPLIT = 1;
    }

    /// Queue types (virtchnl2_queue_type).
    pub mod queue_type: u32 {
        /// Transmit.
        TX = 0;
        /// Receive; in the split model the completions from the device.
        RX = 1;
        /// Transmit completions.
        TX_COMPLETION = 2;
        /// Receive buffers.
        RX_BUFFER = 3;
        /// Configuration to the device.
        CONFIG_TX = 4;
        /// Configuration to the driver.
        CONFIG_RX = 5;
        /// Mailbox to the device.
        MBX_TX = 10;
        /// Mailbox to the driver.
        MBX_RX = 11;
    }

    /// Values of [`TxqInfo::sched_mode`] (virtchnl2_txq_sched_mode).
    pub mod sched_mode: u16 {
        /// Packets and descriptors complete together, in order.
        QUEUE = 0;
        /// Descriptors complete in order, packets by their tags in any order.
        FLOW = 1;
    }
}

/// Bits of [`RxqInfo::qflags`] (virtchnl2_rxq_flags).
pub mod rxq_flags {
    /// Coalesce packets.
    pub const RSC: u16 = 1 << 0;
    /// Split headers off.
    pub const HDR_SPLIT: u16 = 1 << 1;
    /// Write each descriptor back at once.
    pub const IMMEDIATE_WRITE_BACK: u16 = 1 << 2;
    /// Descriptors of 16 bytes.
    pub const DESC_SIZE_16BYTE: u16 = 1 << 3;
    /// Descriptors of 32 bytes.
    pub const DESC_SIZE_32BYTE: u16 = 1 << 4;
}

wire! {
    /// Consecutive queues of one type, with their tails (virtchnl2_queue_reg_chunk).
    pub struct QueueRegChunk [32] {
        /// See [`queue_type`].
        0 => type_: U32,
        /// The first queue.
        4 => start_queue_id: U32,
        /// Number of queues.
        8 => num_queues: U32,
        /// Padding.
        12 => pad: U32,
        /// Offset in BAR0 of the first tail.
        16 => qtail_reg_start: U64,
        /// Distance from one tail to the next in bytes.
        24 => qtail_reg_spacing: U32,
        /// Padding.
        28 => pad1: [u8; 4],
    }

    /// Header, followed by `num_chunks` × [`QueueRegChunk`] (virtchnl2_queue_reg_chunks).
    pub struct QueueRegChunks [8] {
        /// Number of chunks.
        0 => num_chunks: U16,
        /// Padding.
        2 => pad: [u8; 6],
    }

    /// Additional queues for a vport (virtchnl2_add_queues), followed in the reply by
    /// `chunks.num_chunks` × [`QueueRegChunk`]. [`super::op::ADD_QUEUES`].
    pub struct AddQueues [24] {
        /// Id of the vport.
        0 => vport_id: U32,
        /// Transmit queues.
        4 => num_tx_q: U16,
        /// Completion queues.
        6 => num_tx_complq: U16,
        /// Receive queues.
        8 => num_rx_q: U16,
        /// Buffer queues.
        10 => num_rx_bufq: U16,
        /// Padding.
        12 => pad: [u8; 4],
        /// The queues (reply).
        16 => chunks: QueueRegChunks,
    }

    /// A transmit or completion queue (virtchnl2_txq_info).
    pub struct TxqInfo [56] {
        /// Address of the ring.
        0 => dma_ring_addr: U64,
        /// See [`queue_type`].
        8 => type_: U32,
        /// Id of the queue.
        12 => queue_id: U32,
        /// Id of the queue in completions (split model, transmit queue).
        16 => relative_queue_id: U16,
        /// See [`queue_model`].
        18 => model: U16,
        /// See [`sched_mode`].
        20 => sched_mode: U16,
        /// Features.
        22 => qflags: U16,
        /// Descriptors in the ring.
        24 => ring_len: U16,
        /// The completion queue (split model, transmit queue).
        26 => tx_compl_queue_id: U16,
        /// Type of peer, for a mailbox queue.
        28 => peer_type: U16,
        /// The receive queue for replies, for a configuration queue.
        30 => peer_rx_queue_id: U16,
        /// Padding.
        32 => pad: [u8; 4],
        /// PASID of the ring.
        36 => egress_pasid: U32,
        /// PASID of header buffers.
        40 => egress_hdr_pasid: U32,
        /// PASID of packet buffers.
        44 => egress_buf_pasid: U32,
        /// Padding.
        48 => pad1: [u8; 8],
    }

    /// Header, followed by `num_qinfo` × [`TxqInfo`] (virtchnl2_config_tx_queues).
    /// [`super::op::CONFIG_TX_QUEUES`].
    pub struct ConfigTxQueues [16] {
        /// Id of the vport.
        0 => vport_id: U32,
        /// Number of queues.
        4 => num_qinfo: U16,
        /// Padding.
        6 => pad: [u8; 10],
    }

    /// A receive or buffer queue (virtchnl2_rxq_info).
    pub struct RxqInfo [88] {
        /// See [`crate::desc::ids::rxdid_m`].
        0 => desc_ids: U64,
        /// Address of the ring.
        8 => dma_ring_addr: U64,
        /// See [`queue_type`].
        16 => type_: U32,
        /// Id of the queue.
        20 => queue_id: U32,
        /// See [`queue_model`].
        24 => model: U16,
        /// Length of a header buffer in bytes.
        26 => hdr_buffer_size: U16,
        /// Length of a packet buffer in bytes.
        28 => data_buffer_size: U32,
        /// Maximum length of a packet in bytes.
        32 => max_pkt_size: U32,
        /// Descriptors in the ring.
        36 => ring_len: U16,
        /// Number of buffers after which the device reports its progress, in units of 32; a power
        /// of 2.
        38 => buffer_notif_stride: u8,
        /// Padding.
        39 => pad: u8,
        /// Write-back address of a buffer queue's head.
        40 => dma_head_wb_addr: U64,
        /// See [`rxq_flags`].
        48 => qflags: U16,
        /// Low-water mark of available buffers.
        50 => rx_buffer_low_watermark: U16,
        /// First buffer queue (split model, receive queue).
        52 => rx_bufq1_id: U16,
        /// Second buffer queue, if there is one.
        54 => rx_bufq2_id: U16,
        /// 1 if there is a second buffer queue.
        56 => bufq2_ena: u8,
        /// Padding.
        57 => pad1: [u8; 3],
        /// PASID of the ring.
        60 => ingress_pasid: U32,
        /// PASID of header buffers.
        64 => ingress_hdr_pasid: U32,
        /// PASID of packet buffers.
        68 => ingress_buf_pasid: U32,
        /// Padding.
        72 => pad2: [u8; 16],
    }

    /// Header, followed by `num_qinfo` × [`RxqInfo`] (virtchnl2_config_rx_queues).
    /// [`super::op::CONFIG_RX_QUEUES`].
    pub struct ConfigRxQueues [24] {
        /// Id of the vport.
        0 => vport_id: U32,
        /// Number of queues.
        4 => num_qinfo: U16,
        /// Padding.
        6 => pad: [u8; 18],
    }

    /// Consecutive queues of one type (virtchnl2_queue_chunk).
    pub struct QueueChunk [16] {
        /// See [`queue_type`].
        0 => type_: U32,
        /// The first queue.
        4 => start_queue_id: U32,
        /// Number of queues.
        8 => num_queues: U32,
        /// Padding.
        12 => pad: [u8; 4],
    }

    /// Header, followed by `num_chunks` × [`QueueChunk`] (virtchnl2_queue_chunks).
    pub struct QueueChunks [8] {
        /// Number of chunks.
        0 => num_chunks: U16,
        /// Padding.
        2 => pad: [u8; 6],
    }

    /// Queues to enable, disable or delete, followed by `chunks.num_chunks` × [`QueueChunk`]
    /// (virtchnl2_del_ena_dis_queues). [`super::op::ENABLE_QUEUES`], [`super::op::DISABLE_QUEUES`],
    /// [`super::op::DEL_QUEUES`].
    pub struct DelEnaDisQueues [16] {
        /// Id of the vport.
        0 => vport_id: U32,
        /// Padding.
        4 => pad: [u8; 4],
        /// The chunks.
        8 => chunks: QueueChunks,
    }
}
