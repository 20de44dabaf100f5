// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT
//! Packet types: the headers that a number in a receive descriptor stands for.

use zerocopy::little_endian::{U16, U32};

/// Number of packet types of flex descriptors, 10 bits.
pub const MAX_PTYPE_10: u16 = 1024;
/// Number of packet types of base descriptors, 8 bits.
pub const MAX_PTYPE_8: u16 = 256;
/// [`Ptype::ptype_id_10`] of the entry that ends the list.
pub const PTYPE_ID_10_LAST: u16 = 0xFFFF;

wire! {
    /// A part of the packet types (virtchnl2_get_ptype_info), followed in the reply by `num_ptypes`
    /// × ([`Ptype`] + its protocols). The device replies with as many messages as necessary;
    /// [`PTYPE_ID_10_LAST`] ends the last. [`super::op::GET_PTYPE_INFO`].
    pub struct GetPtypeInfo [8] {
        /// The first packet type.
        0 => start_ptype_id: U16,
        /// Number of packet types.
        2 => num_ptypes: U16,
        /// Padding.
        4 => pad: U32,
    }

    /// A packet type, followed by `proto_id_count` × U16 of [`proto_hdr`], outermost first
    /// (virtchnl2_ptype).
    pub struct Ptype [6] {
        /// Its number in flex descriptors, or [`PTYPE_ID_10_LAST`].
        0 => ptype_id_10: U16,
        /// Its number in base descriptors.
        2 => ptype_id_8: u8,
        /// Number of protocols, at most 32.
        3 => proto_id_count: u8,
        /// Padding.
        4 => pad: U16,
    }
}

named! {
    /// Protocols (virtchnl2_proto_hdr_type). Values up to 32,767 are defined by the specification,
    /// up to 65,534 by the user.
    pub mod proto_hdr: u16 {
        /// Any packet.
        ANY = 0;
        /// Data before the link header.
        PRE_MAC = 1;
        /// Ethernet.
        MAC = 2;
        /// Data after the link header.
        POST_MAC = 3;
        /// An ethertype.
        ETHERTYPE = 4;
        /// A VLAN tag.
        VLAN = 5;
        /// A service VLAN tag.
        SVLAN = 6;
        /// A customer VLAN tag.
        CVLAN = 7;
        /// MPLS.
        MPLS = 8;
        /// MPLS, unicast.
        UMPLS = 9;
        /// MPLS, multicast.
        MMPLS = 10;
        /// Precision Time Protocol.
        PTP = 11;
        /// Control frames.
        CTRL = 12;
        /// LLDP.
        LLDP = 13;
        /// ARP.
        ARP = 14;
        /// Edge Control Protocol.
        ECP = 15;
        /// EAP over LAN.
        EAPOL = 16;
        /// PPPoE discovery.
        PPPOD = 17;
        /// PPPoE session.
        PPPOE = 18;
        /// IPv4.
        IPV4 = 19;
        /// IPv4 fragment, in addition to `IPV4`.
        IPV4_FRAG = 20;
        /// IPv6.
        IPV6 = 21;
        /// IPv6 fragment, in addition to `IPV6`.
        IPV6_FRAG = 22;
        /// IPv6 extension header.
        IPV6_EH = 23;
        /// UDP.
        UDP = 24;
        /// TCP.
        TCP = 25;
        /// SCTP.
        SCTP = 26;
        /// ICMP.
        ICMP = 27;
        /// ICMPv6.
        ICMPV6 = 28;
        /// IGMP.
        IGMP = 29;
        /// IPsec AH.
        AH = 30;
        /// IPsec ESP.
        ESP = 31;
        /// IKE.
        IKE = 32;
        /// IPsec NAT-traversal keep-alive.
        NATT_KEEP = 33;
        /// Payload.
        PAY = 34;
        /// L2TP, version 2.
        L2TPV2 = 35;
        /// L2TP, version 2, control.
        L2TPV2_CONTROL = 36;
        /// L2TP, version 3.
        L2TPV3 = 37;
        /// GTP.
        GTP = 38;
        /// GTP extension header.
        GTP_EH = 39;
        /// GTP control, version 2.
        GTPCV2 = 40;
        /// GTP control with a tunnel id.
        GTPC_TEID = 41;
        /// GTP user plane.
        GTPU = 42;
        /// GTP user plane, uplink.
        GTPU_UL = 43;
        /// GTP user plane, downlink.
        GTPU_DL = 44;
        /// eCPRI.
        ECPRI = 45;
        /// VRRP.
        VRRP = 46;
        /// OSPF.
        OSPF = 47;
        /// A tunnel.
        TUN = 48;
        /// GRE.
        GRE = 49;
        /// NVGRE.
        NVGRE = 50;
        /// VXLAN.
        VXLAN = 51;
        /// VXLAN with a protocol field.
        VXLAN_GPE = 52;
        /// Geneve.
        GENEVE = 53;
        /// Network Service Header.
        NSH = 54;
        /// QUIC.
        QUIC = 55;
        /// PFCP.
        PFCP = 56;
        /// PFCP, node-related.
        PFCP_NODE = 57;
        /// PFCP, session-related.
        PFCP_SESSION = 58;
        /// RTP.
        RTP = 59;
        /// RoCE.
        ROCE = 60;
        /// RoCE, version 1.
        ROCEV1 = 61;
        /// RoCE, version 2.
        ROCEV2 = 62;
        /// No protocol.
        NO_PROTO = 65535;
    }
}
