// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ICMPv6 (`nf_conntrack_proto_icmpv6.c`).

pub(crate) const ECHO: u8 = 128;
pub(crate) const ECHO_REPLY: u8 = 129;
pub(crate) const REDIRECT: u8 = 137;
pub(crate) const NODE_INFORMATION: u8 = 139;
pub(crate) const NODE_INFORMATION_REPLY: u8 = 140;

/// The type that answers a type of message (`invmap`).
pub(crate) fn answer(kind: u8) -> Option<u8> {
    Some(match kind {
        ECHO => ECHO_REPLY,
        ECHO_REPLY => ECHO,
        NODE_INFORMATION => NODE_INFORMATION_REPLY,
        NODE_INFORMATION_REPLY => NODE_INFORMATION,
        _ => return None,
    })
}

/// Reports whether a message of the type creates a connection (`valid_new`).
pub(crate) fn creates(kind: u8) -> bool {
    matches!(kind, ECHO | NODE_INFORMATION)
}

/// Reports whether a message of the type is not tracked: multicast listener discovery, neighbour
/// discovery, multicast router discovery (`noct_valid_new`).
pub(crate) fn is_untracked(kind: u8) -> bool {
    matches!(kind, 130..=136 | 143 | 151 | 152)
}

/// Reports whether a message of the type is an error, which quotes a packet.
pub(crate) fn is_error(kind: u8) -> bool {
    kind < 128
}
