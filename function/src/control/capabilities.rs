// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The capabilities that a function offers, and the messages that each of them permits.

use adit_uapi::virtchnl2::cap::{csum, flow, hsplit, other, rsc, seg};
use adit_uapi::virtchnl2::op;

/// The capabilities that a function offers: the fields of GET_CAPS of the same names (bits of
/// `virtchnl2::cap`). A driver gets those that it requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Checksum offloads: filled in on transmit and verified on receive.
    pub csum: u32,
    /// Packet types with segmentation offload.
    pub seg: u32,
    /// Split points of the header split.
    pub hsplit: u32,
    /// Packet types with receive coalescing (RSC).
    pub rsc: u32,
    /// Packet types with RSS.
    pub rss: u64,
    /// The other capabilities. Never SPLITQ_QSCHED: Linux would then allocate its completion rings
    /// for entries of 4 bytes and walk them in steps of 8.
    pub other: u64,
}

impl Capabilities {
    /// Everything that the control plane implements.
    pub const ALL: Self = Self {
        csum: csum::TX_L3_IPV4
            | csum::TX_L4_IPV4_TCP
            | csum::TX_L4_IPV4_UDP
            | csum::TX_L4_IPV4_SCTP
            | csum::TX_L4_IPV6_TCP
            | csum::TX_L4_IPV6_UDP
            | csum::TX_L4_IPV6_SCTP
            | csum::RX_L3_IPV4
            | csum::RX_L4_IPV4_TCP
            | csum::RX_L4_IPV4_UDP
            | csum::RX_L4_IPV4_SCTP
            | csum::RX_L4_IPV6_TCP
            | csum::RX_L4_IPV6_UDP
            | csum::RX_L4_IPV6_SCTP,
        seg: seg::IPV4_TCP | seg::IPV6_TCP | seg::IPV4_UDP | seg::IPV6_UDP,
        hsplit: hsplit::AT_L4V4 | hsplit::AT_L4V6,
        rsc: rsc::IPV4_TCP | rsc::IPV6_TCP,
        rss: flow::IPV4_TCP
            | flow::IPV4_UDP
            | flow::IPV4_SCTP
            | flow::IPV4_OTHER
            | flow::IPV6_TCP
            | flow::IPV6_UDP
            | flow::IPV6_SCTP
            | flow::IPV6_OTHER,
        other: other::MACFILTER
            | other::PROMISC
            | other::LOOPBACK
            | other::LINK_SPEED
            | other::WB_ON_ITR
            | other::RX_FLEX_DESC
            | other::PTYPE
            | other::FLOW_STEER,
    };

    /// Those of a device composed out of ADIs: what the owner of an ADI may ask it for. Owners have
    /// no flow rules, no loopback, and see no frames for others.
    pub const OF_ADIS: Self = Self {
        other: other::MACFILTER
            | other::LINK_SPEED
            | other::WB_ON_ITR
            | other::RX_FLEX_DESC
            | other::PTYPE,
        ..Self::ALL
    };

    /// The capabilities that both sets have.
    #[must_use]
    pub const fn intersection(self, with: &Self) -> Self {
        Self {
            csum: self.csum & with.csum,
            seg: self.seg & with.seg,
            hsplit: self.hsplit & with.hsplit,
            rsc: self.rsc & with.rsc,
            rss: self.rss & with.rss,
            other: self.other & with.other,
        }
    }

    /// Returns whether flow rules are offered.
    #[must_use]
    pub const fn flow_steering(&self) -> bool {
        self.other & other::FLOW_STEER != 0
    }

    /// Returns whether a message may be sent: its opcode belongs to no capability, or to one that
    /// is offered.
    #[must_use]
    pub const fn permits(&self, v_opcode: u32) -> bool {
        let needed = match v_opcode {
            op::ADD_MAC_ADDR | op::DEL_MAC_ADDR => other::MACFILTER,
            op::CONFIG_PROMISCUOUS_MODE => other::PROMISC,
            op::LOOPBACK => other::LOOPBACK,
            op::GET_PTYPE_INFO => other::PTYPE,
            op::ADD_FLOW_RULE | op::GET_FLOW_RULE | op::DEL_FLOW_RULE => other::FLOW_STEER,
            // Not SET_RSS_KEY and SET_RSS_LUT: Linux sends both for each vport that it opens, with
            // the sizes that it was given, which are 0 without RSS.
            op::GET_RSS_KEY | op::GET_RSS_LUT | op::GET_RSS_HASH | op::SET_RSS_HASH => {
                return self.rss != 0
            }
            _ => 0,
        };
        self.other & needed == needed
    }
}
