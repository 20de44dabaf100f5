// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Statistics of a vport.

use zerocopy::little_endian::{U32, U64};

wire! {
    /// Counters of a vport (virtchnl2_vport_stats): the request has the vport, the reply the
    /// counters. All but the bytes are packets. [`super::op::GET_STATS`].
    pub struct VportStats [128] {
        /// Id of the vport.
        0 => vport_id: U32,
        /// Padding.
        4 => pad: [u8; 4],
        /// Bytes received.
        8 => rx_bytes: U64,
        /// Unicast packets received.
        16 => rx_unicast: U64,
        /// Multicast packets received.
        24 => rx_multicast: U64,
        /// Broadcast packets received.
        32 => rx_broadcast: U64,
        /// Packets dropped on reception.
        40 => rx_discards: U64,
        /// Packets received with errors.
        48 => rx_errors: U64,
        /// Packets of an unknown protocol.
        56 => rx_unknown_protocol: U64,
        /// Bytes sent.
        64 => tx_bytes: U64,
        /// Unicast packets sent.
        72 => tx_unicast: U64,
        /// Multicast packets sent.
        80 => tx_multicast: U64,
        /// Broadcast packets sent.
        88 => tx_broadcast: U64,
        /// Packets dropped on transmission.
        96 => tx_discards: U64,
        /// Packets that could not be sent because of errors.
        104 => tx_errors: U64,
        /// Packets received that were too short or too long.
        112 => rx_invalid_frame_length: U64,
        /// Packets dropped because no buffer was available.
        120 => rx_overflow_drop: U64,
    }
}
