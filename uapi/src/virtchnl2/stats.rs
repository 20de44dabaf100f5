// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Statistics of a vport.

use zerocopy::little_endian::{U32, U64};

wire! {
    /// What went through a vport (virtchnl2_vport_stats): the request names the vport, the reply
    /// has the numbers. All but the bytes are packets. [`super::op::GET_STATS`].
    pub struct VportStats [128] {
        /// Whose.
        0 => vport_id: U32,
        /// Padding.
        4 => pad: [u8; 4],
        /// Bytes received.
        8 => rx_bytes: U64,
        /// Received, unicast.
        16 => rx_unicast: U64,
        /// Received, multicast.
        24 => rx_multicast: U64,
        /// Received, broadcast.
        32 => rx_broadcast: U64,
        /// Dropped on the way in.
        40 => rx_discards: U64,
        /// Broken on arrival.
        48 => rx_errors: U64,
        /// Of a protocol that nobody takes.
        56 => rx_unknown_protocol: U64,
        /// Bytes sent.
        64 => tx_bytes: U64,
        /// Sent, unicast.
        72 => tx_unicast: U64,
        /// Sent, multicast.
        80 => tx_multicast: U64,
        /// Sent, broadcast.
        88 => tx_broadcast: U64,
        /// Dropped on the way out.
        96 => tx_discards: U64,
        /// Failed to be sent.
        104 => tx_errors: U64,
        /// Too short or too long on arrival.
        112 => rx_invalid_frame_length: U64,
        /// Dropped because no buffer was there.
        120 => rx_overflow_drop: U64,
    }
}
