// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ICMP errors: the connection of the packet that they quote (`nf_conntrack_inet_error`).

use std::sync::atomic::Ordering;

use super::{
    is_icmp, is_icmp_error, nat_state, Association, Input, Marks, Rewrite, Tracked, Tracker,
};
use crate::bits::CtState;
use crate::packet::{Headers, Malformed};
use crate::proto::{icmp, icmpv6, Invalid};
use crate::table::{ConnectionRef, Keys};
use crate::time::Time;
use crate::tuple::{Direction, Family};

/// The length of an ICMP header.
const HEADER: usize = 8;
/// The length of an ICMPv6 redirect before its options (RFC 4861, 4.5).
const REDIRECT_HEADER: usize = 40;
/// The option with the redirected packet.
const REDIRECTED_HEADER_OPTION: u8 = 4;

/// Finds the quote in an ICMP message: its offset in the message. Absent if the message quotes nothing.
pub(crate) fn quote_offset(headers: &Headers, packet: &[u8]) -> Result<Option<usize>, Invalid> {
    let message = headers.message(packet);
    if !is_icmp(headers) {
        return Ok(None);
    }
    let kind = match message.get(..HEADER) {
        Some(header) => header[0],
        None => return Err(Malformed::Transport.into()),
    };
    if headers.family == Family::V4 {
        if kind > icmp::MAX_TYPE {
            return Err(Invalid::IcmpType);
        }
    } else {
        if icmpv6::is_untracked(kind) {
            return Err(Invalid::Untracked);
        }
        if kind == icmpv6::REDIRECT {
            return redirect_quote(headers, packet, message);
        }
    }
    Ok(is_icmp_error(headers, kind).then_some(HEADER))
}

/// `nf_conntrack_icmpv6_redirect`.
fn redirect_quote(
    headers: &Headers,
    packet: &[u8],
    message: &[u8],
) -> Result<Option<usize>, Invalid> {
    if message.len() < REDIRECT_HEADER {
        return Err(Malformed::Transport.into());
    }
    if message[1] != 0 {
        return Ok(None);
    }
    let is_link_local = packet[8] == 0xfe && packet[9] & 0xc0 == 0x80;
    if headers.hop_limit != 255 || !is_link_local {
        return Err(Invalid::IcmpRedirect);
    }
    match message.get(REDIRECT_HEADER..REDIRECT_HEADER + 2) {
        None | Some(&[_, 0]) => Err(Invalid::IcmpRedirect),
        Some(&[REDIRECTED_HEADER_OPTION, _]) => Ok(Some(REDIRECT_HEADER + 8)),
        Some(_) => Ok(None),
    }
}

impl Tracker {
    /// Relates an ICMP error to the connection of the packet that it quotes. Absent if the packet is
    /// no error.
    pub(super) fn track_icmp_error(
        &self,
        headers: &Headers,
        input: &Input<'_>,
        now: Time,
    ) -> Result<Option<Tracked>, Invalid> {
        let Some(offset) = quote_offset(headers, input.packet)? else {
            return Ok(None);
        };
        let related = self.find_quoted(headers, input, offset, now);
        related.map(Some).ok_or(Invalid::IcmpUnrelated)
    }

    /// The connection of the packet that an ICMP error quotes at an offset of its message, and the
    /// error's direction in it.
    pub(super) fn quoted(
        &self,
        headers: &Headers,
        input: &Input<'_>,
        offset: usize,
        now: Time,
    ) -> Option<(ConnectionRef, Direction, Keys)> {
        let quote = headers.message(input.packet).get(offset..)?;
        let quoted = Headers::parse_quoted(headers.family, quote).ok()?;
        // The error flows opposite to the packet that it quotes.
        let tuple = quoted.tuple(quote).ok()?;
        let tuple = self.gre_keys.complete(tuple, input.zone.id()).invert()?;
        let (connection, direction) = self.find(&tuple, input.zone, now)?;
        let keys = self.table.keys(connection)?;
        let outer = headers.addresses(input.packet);
        let outer_dst = crate::packet::address(&outer[outer.len() / 2..]);
        // An error of another host than the sender's own is a forgery.
        let is_genuine = keys.tuple(direction).dst().address == outer_dst;
        is_genuine.then_some((connection, direction, keys))
    }

    fn find_quoted(
        &self,
        headers: &Headers,
        input: &Input<'_>,
        offset: usize,
        now: Time,
    ) -> Option<Tracked> {
        let (connection, direction, keys) = self.quoted(headers, input, offset, now)?;
        let slot = self.table.slot(connection);
        let status = slot.status();
        let marks = Marks {
            mark: slot.mark.load(Ordering::Relaxed),
            label: slot.lock(connection.generation)?.label,
        };
        let mut state = CtState::TRACKED | CtState::RELATED;
        if direction == Direction::Reply {
            state |= CtState::REPLY;
        }
        Some(Tracked {
            state: state | nat_state(status, direction),
            invalid: None,
            association: Association::Related(connection, direction),
            rewrite: Rewrite::of(|| keys.0[direction.opposite() as usize], status),
            reading: None,
            marks,
        })
    }
}
