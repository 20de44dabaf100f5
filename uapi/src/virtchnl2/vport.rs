// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Virtual ports: the queues of one network interface.

use super::QueueRegChunks;
use zerocopy::little_endian::{U16, U32, U64};

named! {
    /// Values of [`CreateVport::vport_type`] (virtchnl2_vport_type).
    pub mod vport_type: u16 {
        /// The default type.
        DEFAULT = 0;
    }
}

/// Bits of [`CreateVport::vport_flags`] (virtchnl2_vport_flags).
pub mod vport_flags {
    /// The vport represents a physical port.
    pub const UPLINK_PORT: u16 = 1 << 0;
    /// Inline flow steering.
    pub const INLINE_FLOW_STEER: u16 = 1 << 1;
    /// Inline flow steering with an explicit receive queue.
    pub const INLINE_FLOW_STEER_RXQ: u16 = 1 << 2;
    /// Side-band flow steering: rules by message.
    pub const SIDEBAND_FLOW_STEER: u16 = 1 << 3;
    /// RDMA.
    pub const ENABLE_RDMA: u16 = 1 << 4;
}

wire! {
    /// A new vport (virtchnl2_create_vport): the driver requests numbers of queues, the device
    /// replies with those allocated, followed by `chunks.num_chunks` × [`super::QueueRegChunk`].
    /// [`super::op::CREATE_VPORT`].
    pub struct CreateVport [160] {
        /// See [`vport_type`].
        0 => vport_type: U16,
        /// See [`super::queue_model`].
        2 => txq_model: U16,
        /// See [`super::queue_model`].
        4 => rxq_model: U16,
        /// Transmit queues.
        6 => num_tx_q: U16,
        /// Completion queues of the split model.
        8 => num_tx_complq: U16,
        /// Receive queues.
        10 => num_rx_q: U16,
        /// Buffer queues of the split model.
        12 => num_rx_bufq: U16,
        /// Relative index of the receive queue for packets that no rule directs.
        14 => default_rx_q: U16,
        /// The driver's value to match the reply with its request; the reply repeats it.
        16 => vport_index: U16,
        /// Maximum MTU in bytes (reply).
        18 => max_mtu: U16,
        /// Id of the vport in later messages (reply).
        20 => vport_id: U32,
        /// MAC address (reply).
        24 => default_mac_addr: [u8; 6],
        /// See [`vport_flags`].
        30 => vport_flags: U16,
        /// See [`crate::desc::ids::rxdid_m`].
        32 => rx_desc_ids: U64,
        /// See [`crate::desc::ids::txdid`].
        40 => tx_desc_ids: U64,
        /// Padding.
        48 => pad1: [u8; 48],
        /// Flow types of inline flow steering, see [`super::cap::flow`].
        96 => inline_flow_caps: U64,
        /// Flow types of side-band flow steering, see [`super::cap::flow`].
        104 => sideband_flow_caps: U64,
        /// Actions of side-band flow steering, see [`super::flow_action`].
        112 => sideband_flow_actions: U32,
        /// Maximum number of rules, inline and side-band together.
        116 => flow_steer_max_rules: U32,
        /// See [`super::rss::alg`].
        120 => rss_algorithm: U32,
        /// Length of the RSS key in bytes.
        124 => rss_key_size: U16,
        /// Number of entries of the RSS lookup table.
        126 => rss_lut_size: U16,
        /// Header split position, see [`super::cap::hsplit`].
        128 => rx_split_pos: U32,
        /// Padding.
        132 => pad2: [u8; 20],
        /// The queues (reply).
        152 => chunks: QueueRegChunks,
    }

    /// A vport's id (virtchnl2_vport). [`super::op::ENABLE_VPORT`], [`super::op::DISABLE_VPORT`],
    /// [`super::op::DESTROY_VPORT`].
    pub struct Vport [8] {
        /// Id of the vport.
        0 => vport_id: U32,
        /// Padding.
        4 => pad: [u8; 4],
    }
}
