// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Time synchronisation.

use zerocopy::little_endian::{U16, U32, U64};

/// Bits of [`PtpGetCaps::caps`] (virtchnl2_ptp_caps). `_MB` is by mailbox message, the others by
/// register.
pub mod cap {
    /// Read the clock by register.
    pub const GET_DEVICE_CLK_TIME: u32 = 1 << 0;
    /// Read the clock by message.
    pub const GET_DEVICE_CLK_TIME_MB: u32 = 1 << 1;
    /// Read the clock and the system time together, by register.
    pub const GET_CROSS_TIME: u32 = 1 << 2;
    /// Read the clock and the system time together, by message.
    pub const GET_CROSS_TIME_MB: u32 = 1 << 3;
    /// Set the clock by register.
    pub const SET_DEVICE_CLK_TIME: u32 = 1 << 4;
    /// Set the clock by message.
    pub const SET_DEVICE_CLK_TIME_MB: u32 = 1 << 5;
    /// Adjust the clock by register.
    pub const ADJ_DEVICE_CLK: u32 = 1 << 6;
    /// Adjust the clock by message.
    pub const ADJ_DEVICE_CLK_MB: u32 = 1 << 7;
    /// Transmit timestamps by register.
    pub const TX_TSTAMPS: u32 = 1 << 8;
    /// Transmit timestamps by message.
    pub const TX_TSTAMPS_MB: u32 = 1 << 9;
}

/// [`PtpGetCaps::peer_mbx_q_id`] when there is no peer to communicate with.
pub const PEER_MBX_Q_ID_NONE: u16 = 0xFFFF;

wire! {
    /// Registers of the clocks (virtchnl2_ptp_clk_reg_offsets). All are offsets in BAR0.
    pub struct PtpClkRegOffsets [24] {
        /// Device clock in nanoseconds, bits 31:0.
        0 => dev_clk_ns_l: U32,
        /// Device clock in nanoseconds, bits 63:32.
        4 => dev_clk_ns_h: U32,
        /// PHY's clock in nanoseconds, bits 31:0.
        8 => phy_clk_ns_l: U32,
        /// PHY's clock in nanoseconds, bits 63:32.
        12 => phy_clk_ns_h: U32,
        /// Trigger for a command.
        16 => cmd_sync_trigger: U32,
        /// Padding.
        20 => pad: [u8; 4],
    }

    /// Registers of the system time, latched with the device's
    /// (virtchnl2_ptp_cross_time_reg_offsets). All are offsets in BAR0.
    pub struct PtpCrossTimeRegOffsets [16] {
        /// System time in nanoseconds, bits 31:0.
        0 => sys_time_ns_l: U32,
        /// System time in nanoseconds, bits 63:32.
        4 => sys_time_ns_h: U32,
        /// Trigger for a command.
        8 => cmd_sync_trigger: U32,
        /// Padding.
        12 => pad: [u8; 4],
    }

    /// Registers that adjust the clocks (virtchnl2_ptp_clk_adj_reg_offsets). All are offsets in
    /// BAR0.
    pub struct PtpClkAdjRegOffsets [40] {
        /// Device clock, command.
        0 => dev_clk_cmd_type: U32,
        /// Device clock, increment per cycle, bits 31:0.
        4 => dev_clk_incval_l: U32,
        /// Device clock, increment per cycle, bits 63:32.
        8 => dev_clk_incval_h: U32,
        /// Device clock, shadow adjustment, bits 31:0.
        12 => dev_clk_shadj_l: U32,
        /// Device clock, shadow adjustment, bits 63:32.
        16 => dev_clk_shadj_h: U32,
        /// PHY's clock, command.
        20 => phy_clk_cmd_type: U32,
        /// PHY's clock, increment per cycle, bits 31:0.
        24 => phy_clk_incval_l: U32,
        /// PHY's clock, increment per cycle, bits 63:32.
        28 => phy_clk_incval_h: U32,
        /// PHY's clock, shadow adjustment, bits 31:0.
        32 => phy_clk_shadj_l: U32,
        /// PHY's clock, shadow adjustment, bits 63:32.
        36 => phy_clk_shadj_h: U32,
    }

    /// Capabilities: requested, then granted (virtchnl2_ptp_get_caps). [`super::op::PTP_GET_CAPS`].
    pub struct PtpGetCaps [104] {
        /// See [`cap`].
        0 => caps: U32,
        /// Maximum adjustment of the frequency, in parts per billion.
        4 => max_adj: U32,
        /// Increment per cycle at the nominal frequency.
        8 => base_incval: U64,
        /// Queue of the peer that controls the clock, or [`PEER_MBX_Q_ID_NONE`].
        16 => peer_mbx_q_id: U16,
        /// Id of the peer.
        18 => peer_id: u8,
        /// 1 if the driver is to create a separate mailbox for the clock.
        19 => secondary_mbx: u8,
        /// Padding.
        20 => pad: [u8; 4],
        /// Offsets of the clocks.
        24 => clk_offsets: PtpClkRegOffsets,
        /// Offsets of the system time.
        48 => cross_time_offsets: PtpCrossTimeRegOffsets,
        /// Offsets of the clock adjustment registers.
        64 => clk_adj_offsets: PtpClkAdjRegOffsets,
    }

    /// A latch for a transmit timestamp (virtchnl2_ptp_tx_tstamp_latch_caps).
    pub struct PtpTxTstampLatchCaps [16] {
        /// Offset in BAR0 of bits 31:0.
        0 => tx_latch_reg_offset_l: U32,
        /// Offset in BAR0 of bits 63:32.
        4 => tx_latch_reg_offset_h: U32,
        /// Its index in descriptors.
        8 => index: u8,
        /// Padding.
        9 => pad: [u8; 7],
    }

    /// A vport's latches, followed by `num_latches` × [`PtpTxTstampLatchCaps`]
    /// (virtchnl2_ptp_get_vport_tx_tstamp_caps). [`super::op::PTP_GET_VPORT_TX_TSTAMP_CAPS`].
    pub struct PtpGetVportTxTstampCaps [16] {
        /// Id of the vport.
        0 => vport_id: U32,
        /// Number of latches.
        4 => num_latches: U16,
        /// First bit of the nanoseconds in a timestamp.
        6 => tstamp_ns_lo_bit: u8,
        /// Last bit of the nanoseconds in a timestamp.
        7 => tstamp_ns_hi_bit: u8,
        /// Padding.
        8 => pad: [u8; 8],
    }

    /// Contents of a latch (virtchnl2_ptp_tx_tstamp_latch).
    pub struct PtpTxTstampLatch [16] {
        /// The transmit timestamp.
        0 => tstamp: U64,
        /// Index of the latch.
        8 => index: u8,
        /// 1 if the timestamp is valid.
        9 => valid: u8,
        /// Padding.
        10 => pad: [u8; 6],
    }

    /// Contents of a vport's latches, followed by `num_latches` × [`PtpTxTstampLatch`]
    /// (virtchnl2_ptp_get_vport_tx_tstamp_latches). [`super::op::PTP_GET_VPORT_TX_TSTAMP`].
    pub struct PtpGetVportTxTstampLatches [16] {
        /// Id of the vport.
        0 => vport_id: U32,
        /// Number of latches.
        4 => num_latches: U16,
        /// 1 if the device clock is requested as well.
        6 => get_devtime_with_txtstmp: u8,
        /// Padding.
        7 => pad: u8,
        /// The device clock, if requested.
        8 => device_time: U64,
    }

    /// The clock (virtchnl2_ptp_get_dev_clk_time). [`super::op::PTP_GET_DEV_CLK_TIME`].
    pub struct PtpGetDevClkTime [16] {
        /// Time in nanoseconds.
        0 => dev_time_ns: U64,
        /// Padding.
        8 => pad: [u8; 8],
    }

    /// The clock and the system time, read together (virtchnl2_ptp_get_cross_time).
    /// [`super::op::PTP_GET_CROSS_TIME`].
    pub struct PtpGetCrossTime [24] {
        /// The system time in nanoseconds.
        0 => sys_time_ns: U64,
        /// The device's time in nanoseconds.
        8 => dev_time_ns: U64,
        /// Padding.
        16 => pad: [u8; 8],
    }

    /// The new time of the clock (virtchnl2_ptp_set_dev_clk_time).
    /// [`super::op::PTP_SET_DEV_CLK_TIME`].
    pub struct PtpSetDevClkTime [16] {
        /// Time in nanoseconds.
        0 => dev_time_ns: U64,
        /// Padding.
        8 => pad: [u8; 8],
    }

    /// The clock's frequency (virtchnl2_ptp_adj_dev_clk_fine).
    /// [`super::op::PTP_ADJ_DEV_CLK_FINE`].
    pub struct PtpAdjDevClkFine [8] {
        /// Increment per cycle.
        0 => incval: U64,
    }

    /// Adjustment of the clock's time (virtchnl2_ptp_adj_dev_clk_time).
    /// [`super::op::PTP_ADJ_DEV_CLK_TIME`].
    pub struct PtpAdjDevClkTime [8] {
        /// Difference in nanoseconds, in two's complement.
        0 => delta: U64,
    }
}
