// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ICMP errors: the error and the packet that it quotes are translated
//! (`nf_nat_icmp_reply_translation`, `nf_nat_icmpv6_reply_translation`).

use super::{rewrite, Manip, Translation};
use crate::bits::Status;
use crate::checksum::{pseudo_header, Sum};
use crate::packet::Headers;
use crate::proto::{icmp, icmpv6};
use crate::tracker::quote_offset;
use crate::tuple::{Direction, Family, Tuple};

/// Translates an error in `direction` of a connection; `other` is the tuple of the opposite direction.
pub(super) fn translate(
    packet: &mut [u8],
    headers: &Headers,
    other: &Tuple,
    status: Status,
    direction: Direction,
) -> Translation {
    let Ok(Some(offset)) = quote_offset(headers, packet) else {
        return Translation::Drop;
    };
    let redirect = match headers.family {
        Family::V4 => icmp::REDIRECT,
        Family::V6 => icmpv6::REDIRECT,
    };
    if packet[headers.transport] == redirect {
        // A route to the translated address is of no use to the sender.
        return Translation::Drop;
    }
    let Some(target) = other.invert() else {
        return Translation::Drop;
    };
    let quote_at = headers.transport + offset;
    for manip in [Manip::Destination, Manip::Source] {
        if !status.contains(manip.status(direction)) {
            continue;
        }
        let quote = &mut packet[quote_at..headers.end];
        let Ok(quoted) = Headers::parse_quoted(headers.family, quote) else {
            return Translation::Drop;
        };
        if !rewrite::datagram(quote, &quoted, other, manip.opposite())
            || !rewrite::datagram(packet, headers, &target, manip)
        {
            return Translation::Drop;
        }
    }
    fill_checksum(packet, headers);
    Translation::Rewritten
}

/// Computes the error's checksum anew. It was verified when the packet was tracked.
fn fill_checksum(packet: &mut [u8], headers: &Headers) {
    let at = headers.transport + 2;
    packet[at..at + 2].fill(0);
    let message = headers.message(packet);
    let sum = match headers.family {
        Family::V4 => Sum::default(),
        Family::V6 => pseudo_header(headers.addresses(packet), headers.protocol, message.len()),
    };
    let checksum = sum.bytes(message).checksum();
    packet[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}
