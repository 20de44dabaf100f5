// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ICMP (`nf_conntrack_proto_icmp.c`): queries are connections, errors are related to them.

pub(crate) const ECHO_REPLY: u8 = 0;
pub(crate) const UNREACHABLE: u8 = 3;
pub(crate) const SOURCE_QUENCH: u8 = 4;
pub(crate) const REDIRECT: u8 = 5;
pub(crate) const ECHO: u8 = 8;
pub(crate) const TIME_EXCEEDED: u8 = 11;
pub(crate) const PARAMETER_PROBLEM: u8 = 12;
pub(crate) const TIMESTAMP: u8 = 13;
pub(crate) const TIMESTAMP_REPLY: u8 = 14;
pub(crate) const INFORMATION: u8 = 15;
pub(crate) const INFORMATION_REPLY: u8 = 16;
pub(crate) const ADDRESS: u8 = 17;
pub(crate) const ADDRESS_REPLY: u8 = 18;
/// The highest type that is known (`NR_ICMP_TYPES`).
pub(crate) const MAX_TYPE: u8 = 18;

/// The type that answers a type of message (`invmap`).
pub(crate) fn answer(kind: u8) -> Option<u8> {
    Some(match kind {
        ECHO => ECHO_REPLY,
        ECHO_REPLY => ECHO,
        TIMESTAMP => TIMESTAMP_REPLY,
        TIMESTAMP_REPLY => TIMESTAMP,
        INFORMATION => INFORMATION_REPLY,
        INFORMATION_REPLY => INFORMATION,
        ADDRESS => ADDRESS_REPLY,
        ADDRESS_REPLY => ADDRESS,
        _ => return None,
    })
}

/// Reports whether a message of the type creates a connection (`valid_new`).
pub(crate) fn creates(kind: u8) -> bool {
    matches!(kind, ECHO | TIMESTAMP | INFORMATION | ADDRESS)
}

/// Reports whether a message of the type is an error, which quotes a packet (`icmp_is_err`).
pub(crate) fn is_error(kind: u8) -> bool {
    matches!(
        kind,
        UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM
    )
}
