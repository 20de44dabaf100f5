// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! MAC addresses and promiscuous mode of a vport.

use zerocopy::little_endian::{U16, U32};

named! {
    /// Values of [`MacAddr::type_`] (virtchnl2_mac_addr_type).
    pub mod mac_addr_type: u8 {
        /// The vport's own address.
        PRIMARY = 1;
        /// A further unicast or multicast address.
        EXTRA = 2;
    }
}

/// Bits of [`PromiscInfo::flags`] (virtchnl2_promisc_flags).
pub mod promisc {
    /// Accept all unicast frames.
    pub const UNICAST: u16 = 1 << 0;
    /// Accept all multicast frames.
    pub const MULTICAST: u16 = 1 << 1;
}

wire! {
    /// An address (virtchnl2_mac_addr).
    pub struct MacAddr [8] {
        /// The address.
        0 => addr: [u8; 6],
        /// See [`mac_addr_type`].
        6 => type_: u8,
        /// Padding.
        7 => pad: u8,
    }

    /// Header, followed by `num_mac_addr` × [`MacAddr`] (virtchnl2_mac_addr_list).
    /// [`super::op::ADD_MAC_ADDR`], [`super::op::DEL_MAC_ADDR`].
    pub struct MacAddrList [8] {
        /// Id of the vport.
        0 => vport_id: U32,
        /// Number of addresses.
        4 => num_mac_addr: U16,
        /// Padding.
        6 => pad: [u8; 2],
    }

    /// Promiscuous mode (virtchnl2_promisc_info). [`super::op::CONFIG_PROMISCUOUS_MODE`].
    pub struct PromiscInfo [8] {
        /// Id of the vport.
        0 => vport_id: U32,
        /// See [`promisc`].
        4 => flags: U16,
        /// Padding.
        6 => pad: [u8; 2],
    }
}
