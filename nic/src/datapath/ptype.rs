// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The packet types of frames.

use adit_function::control::ptype::id;
use adit_pipeline::parse::{Parsed, L3, L4};

/// The packet type of a frame. VLAN tags and IPv6 extension headers make no difference.
#[must_use]
pub(super) fn ptype_of(parsed: &Parsed) -> u16 {
    u16::from(match (parsed.l3, parsed.is_fragment(), parsed.l4) {
        (L3::None, ..) => id::MAC,
        (L3::Arp, ..) => id::ARP,
        (L3::Ipv4, true, _) => id::IPV4_FRAG,
        (L3::Ipv4, _, L4::Udp) => id::IPV4_UDP,
        (L3::Ipv4, _, L4::Tcp) => id::IPV4_TCP,
        (L3::Ipv4, _, L4::Sctp) => id::IPV4_SCTP,
        (L3::Ipv4, _, L4::Icmp) => id::IPV4_ICMP,
        (L3::Ipv4, ..) => id::IPV4,
        (L3::Ipv6, true, _) => id::IPV6_FRAG,
        (L3::Ipv6, _, L4::Udp) => id::IPV6_UDP,
        (L3::Ipv6, _, L4::Tcp) => id::IPV6_TCP,
        (L3::Ipv6, _, L4::Sctp) => id::IPV6_SCTP,
        (L3::Ipv6, _, L4::Icmpv6) => id::IPV6_ICMPV6,
        (L3::Ipv6, ..) => id::IPV6,
    })
}
