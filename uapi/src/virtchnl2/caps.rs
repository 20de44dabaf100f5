// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Capabilities of a device.

use zerocopy::little_endian::{U16, U32, U64};

/// Bits of [`GetCapabilities`], a module for each of its words.
pub mod cap {
    /// Checksum offload: `csum_caps` (virtchnl2_cap_txrx_csum).
    pub mod csum {
        /// Send: IPv4 header.
        pub const TX_L3_IPV4: u32 = 1 << 0;
        /// Send: TCP over IPv4.
        pub const TX_L4_IPV4_TCP: u32 = 1 << 1;
        /// Send: UDP over IPv4.
        pub const TX_L4_IPV4_UDP: u32 = 1 << 2;
        /// Send: SCTP over IPv4.
        pub const TX_L4_IPV4_SCTP: u32 = 1 << 3;
        /// Send: TCP over IPv6.
        pub const TX_L4_IPV6_TCP: u32 = 1 << 4;
        /// Send: UDP over IPv6.
        pub const TX_L4_IPV6_UDP: u32 = 1 << 5;
        /// Send: SCTP over IPv6.
        pub const TX_L4_IPV6_SCTP: u32 = 1 << 6;
        /// Send: any checksum with a start and an offset given by the driver.
        pub const TX_GENERIC: u32 = 1 << 7;
        /// Receive: IPv4 header.
        pub const RX_L3_IPV4: u32 = 1 << 8;
        /// Receive: TCP over IPv4.
        pub const RX_L4_IPV4_TCP: u32 = 1 << 9;
        /// Receive: UDP over IPv4.
        pub const RX_L4_IPV4_UDP: u32 = 1 << 10;
        /// Receive: SCTP over IPv4.
        pub const RX_L4_IPV4_SCTP: u32 = 1 << 11;
        /// Receive: TCP over IPv6.
        pub const RX_L4_IPV6_TCP: u32 = 1 << 12;
        /// Receive: UDP over IPv6.
        pub const RX_L4_IPV6_UDP: u32 = 1 << 13;
        /// Receive: SCTP over IPv6.
        pub const RX_L4_IPV6_SCTP: u32 = 1 << 14;
        /// Receive: the raw checksum over the packet.
        pub const RX_GENERIC: u32 = 1 << 15;
        /// Send: network header inside of one tunnel.
        pub const TX_L3_SINGLE_TUNNEL: u32 = 1 << 16;
        /// Send: network header inside of two tunnels.
        pub const TX_L3_DOUBLE_TUNNEL: u32 = 1 << 17;
        /// Receive: network header inside of one tunnel.
        pub const RX_L3_SINGLE_TUNNEL: u32 = 1 << 18;
        /// Receive: network header inside of two tunnels.
        pub const RX_L3_DOUBLE_TUNNEL: u32 = 1 << 19;
        /// Send: transport header inside of one tunnel.
        pub const TX_L4_SINGLE_TUNNEL: u32 = 1 << 20;
        /// Send: transport header inside of two tunnels.
        pub const TX_L4_DOUBLE_TUNNEL: u32 = 1 << 21;
        /// Receive: transport header inside of one tunnel.
        pub const RX_L4_SINGLE_TUNNEL: u32 = 1 << 22;
        /// Receive: transport header inside of two tunnels.
        pub const RX_L4_DOUBLE_TUNNEL: u32 = 1 << 23;
    }

    /// Segmentation offload: `seg_caps` (virtchnl2_cap_seg).
    pub mod seg {
        /// TCP over IPv4.
        pub const IPV4_TCP: u32 = 1 << 0;
        /// UDP over IPv4.
        pub const IPV4_UDP: u32 = 1 << 1;
        /// SCTP over IPv4.
        pub const IPV4_SCTP: u32 = 1 << 2;
        /// TCP over IPv6.
        pub const IPV6_TCP: u32 = 1 << 3;
        /// UDP over IPv6.
        pub const IPV6_UDP: u32 = 1 << 4;
        /// SCTP over IPv6.
        pub const IPV6_SCTP: u32 = 1 << 5;
        /// Any protocol.
        pub const GENERIC: u32 = 1 << 6;
        /// Inside of one tunnel.
        pub const TX_SINGLE_TUNNEL: u32 = 1 << 7;
        /// Inside of two tunnels.
        pub const TX_DOUBLE_TUNNEL: u32 = 1 << 8;
    }

    /// Flow types, of RSS and of flow steering: `rss_caps`, and `inline_flow_caps` and
    /// `sideband_flow_caps` of [`super::super::CreateVport`] (virtchnl2_flow_types).
    pub mod flow {
        /// TCP over IPv4.
        pub const IPV4_TCP: u64 = 1 << 0;
        /// UDP over IPv4.
        pub const IPV4_UDP: u64 = 1 << 1;
        /// SCTP over IPv4.
        pub const IPV4_SCTP: u64 = 1 << 2;
        /// Other IPv4.
        pub const IPV4_OTHER: u64 = 1 << 3;
        /// TCP over IPv6.
        pub const IPV6_TCP: u64 = 1 << 4;
        /// UDP over IPv6.
        pub const IPV6_UDP: u64 = 1 << 5;
        /// SCTP over IPv6.
        pub const IPV6_SCTP: u64 = 1 << 6;
        /// Other IPv6.
        pub const IPV6_OTHER: u64 = 1 << 7;
        /// IPsec AH over IPv4.
        pub const IPV4_AH: u64 = 1 << 8;
        /// IPsec ESP over IPv4.
        pub const IPV4_ESP: u64 = 1 << 9;
        /// IPsec AH and ESP over IPv4.
        pub const IPV4_AH_ESP: u64 = 1 << 10;
        /// IPsec AH over IPv6.
        pub const IPV6_AH: u64 = 1 << 11;
        /// IPsec ESP over IPv6.
        pub const IPV6_ESP: u64 = 1 << 12;
        /// IPsec AH and ESP over IPv6.
        pub const IPV6_AH_ESP: u64 = 1 << 13;
    }

    /// Header split positions: `hsplit_caps`, and `rx_split_pos` of [`super::super::CreateVport`]
    /// (virtchnl2_cap_rx_hsplit_at).
    pub mod hsplit {
        /// Before the link header: metadata prepended to the packet.
        pub const AT_L2: u32 = 1 << 0;
        /// Before the network header; all VLAN tags stay with the header.
        pub const AT_L3: u32 = 1 << 1;
        /// Before the payload of IPv4's transport.
        pub const AT_L4V4: u32 = 1 << 2;
        /// Before the payload of IPv6's transport.
        pub const AT_L4V6: u32 = 1 << 3;
    }

    /// Receive-side coalescing: `rsc_caps` (virtchnl2_cap_rsc).
    pub mod rsc {
        /// TCP over IPv4.
        pub const IPV4_TCP: u32 = 1 << 0;
        /// SCTP over IPv4.
        pub const IPV4_SCTP: u32 = 1 << 1;
        /// TCP over IPv6.
        pub const IPV6_TCP: u32 = 1 << 2;
        /// SCTP over IPv6.
        pub const IPV6_SCTP: u32 = 1 << 3;
    }

    /// Other capabilities: `other_caps` (virtchnl2_cap_other).
    pub mod other {
        /// RDMA.
        pub const RDMA: u64 = 1 << 0;
        /// Virtual functions.
        pub const SRIOV: u64 = 1 << 1;
        /// Filters for MAC addresses.
        pub const MACFILTER: u64 = 1 << 2;
        /// Queue scheduling on split queues.
        pub const SPLITQ_QSCHED: u64 = 1 << 4;
        /// The frame's CRC can be kept.
        pub const CRC: u64 = 1 << 5;
        /// Application device queues.
        pub const ADQ: u64 = 1 << 6;
        /// Write-back on the throttling interval, without an interrupt.
        pub const WB_ON_ITR: u64 = 1 << 7;
        /// Promiscuous mode.
        pub const PROMISC: u64 = 1 << 8;
        /// Events carry the link's speed.
        pub const LINK_SPEED: u64 = 1 << 9;
        /// Inline IPsec.
        pub const INLINE_IPSEC: u64 = 1 << 10;
        /// More than 256 queues.
        pub const LARGE_NUM_QUEUES: u64 = 1 << 11;
        /// VLAN tag insertion and stripping.
        pub const VLAN: u64 = 1 << 12;
        /// Time synchronisation.
        pub const PTP: u64 = 1 << 13;
        /// Earliest departure time.
        pub const EDT: u64 = 1 << 14;
        /// RSS by fields that the driver chooses.
        pub const ADV_RSS: u64 = 1 << 15;
        /// Flex receive descriptors.
        pub const RX_FLEX_DESC: u64 = 1 << 17;
        /// Packet types are reported by message.
        pub const PTYPE: u64 = 1 << 18;
        /// Loopback.
        pub const LOOPBACK: u64 = 1 << 19;
        /// Flow steering by rules.
        pub const FLOW_STEER: u64 = 1 << 21;
        /// The device reports the parts of BAR0 to map.
        pub const LAN_MEMORY_REGIONS: u64 = 1 << 22;
        /// Vendor-specific extensions.
        pub const OEM: u64 = 1 << 63;
    }
}

named! {
    /// Values of [`GetCapabilities::device_type`] (virtchl2_device_type).
    pub mod device_type: u32 {
        /// The first type of device.
        MEV_DEVICE = 0;
    }
}

wire! {
    /// Capabilities (virtchnl2_get_capabilities): the driver's request, and the device's reply with
    /// those granted. [`super::op::GET_CAPS`].
    pub struct GetCapabilities [80] {
        /// See [`cap::csum`].
        0 => csum_caps: U32,
        /// See [`cap::seg`].
        4 => seg_caps: U32,
        /// See [`cap::hsplit`].
        8 => hsplit_caps: U32,
        /// See [`cap::rsc`].
        12 => rsc_caps: U32,
        /// See [`cap::flow`].
        16 => rss_caps: U64,
        /// See [`cap::other`].
        24 => other_caps: U64,
        /// Offset in BAR0 of the mailbox vector's control register.
        32 => mailbox_dyn_ctl: U32,
        /// The mailbox's vector.
        36 => mailbox_vector_id: U16,
        /// Vectors requested and granted, including the mailbox's; 0 requests only that one.
        38 => num_allocated_vectors: U16,
        /// Maximum number of receive queues.
        40 => max_rx_q: U16,
        /// Maximum number of transmit queues.
        42 => max_tx_q: U16,
        /// Maximum number of buffer queues.
        44 => max_rx_bufq: U16,
        /// Maximum number of completion queues.
        46 => max_tx_complq: U16,
        /// VFs requested and granted; 0 requests as many as possible.
        48 => max_sriov_vfs: U16,
        /// Maximum number of vports.
        50 => max_vports: U16,
        /// Number of vports that the driver is to create when it is loaded.
        52 => default_num_vports: U16,
        /// Maximum number of header bytes that the device can parse.
        54 => max_tx_hdr_size: U16,
        /// Maximum number of buffers of one packet, or of one segment, to send.
        56 => max_sg_bufs_per_tx_pkt: u8,
        /// Padding.
        57 => pad: [u8; 3],
        /// Reserved.
        60 => reserved: [u8; 4],
        /// See [`device_type`].
        64 => device_type: U32,
        /// Minimum packet length in bytes for single-segment offloads.
        68 => min_sso_packet_len: u8,
        /// Maximum number of header buffers of a packet to be segmented.
        69 => max_hdr_buf_per_lso: u8,
        /// Vectors for RDMA.
        70 => num_rdma_allocated_vectors: U16,
        /// Padding.
        72 => pad1: [u8; 8],
    }
}
