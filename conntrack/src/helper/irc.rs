// SPDX-License-Identifier: Apache-2.0 OR MIT
//! IRC (`nf_conntrack_irc.c`, `nf_nat_irc.c`): the address and port at which a client waits for
//! another one, in the commands of its Direct Client-to-Client protocol.

use std::net::Ipv4Addr;
use std::ops::Range;

use super::text::number;
use super::{Announced, Session};
use crate::stats::DropReason;
use crate::tuple::{Direction, Endpoint, Protocol};

const MARK: &[u8] = b"\x01DCC ";
const COMMANDS: [&[u8]; 5] = [b"SEND ", b"CHAT ", b"MOVE ", b"TSEND ", b"SCHAT "];
/// The bytes of a payload that are searched (`MAX_SEARCH_SIZE`).
const MAX_SEARCH: usize = 4095;
/// The shortest beginning of a message: `PRIVMSG x `.
const MIN_BEGINNING: usize = 10;
/// The shortest text with a command: ` :\x01DCC SENT t AAAAAAAA P\x01\n`.
const MIN_TEXT: usize = 26;
/// The shortest end of a command from its argument on: `AAAAAAAA P\x01\n`.
const MIN_END: usize = 12;

/// An address and port, and their place in the payload.
#[derive(Debug, PartialEq, Eq)]
struct Offer {
    address: Ipv4Addr,
    port: u16,
    range: Range<usize>,
}

/// The address and port that follow a command, at `at` of a payload (`parse_dcc`).
fn offer(payload: &[u8], at: usize) -> Option<Offer> {
    let space = payload[at..].iter().position(|&octet| octet == b' ')?;
    let start = at + space + 1;
    if start - 1 > (payload.len() + 1).saturating_sub(MIN_END) || !payload[start..].contains(&b'\n')
    {
        return None;
    }
    let (address, digits) = number(&payload[start..]);
    let rest = start + digits;
    let blanks = payload[rest..].iter().take_while(|&&octet| octet == b' ');
    let port_at = rest + blanks.count();
    let (port, digits) = number(&payload[port_at..]);
    Some(Offer {
        address: address.into(),
        port: port as u16,
        range: start..port_at + digits,
    })
}

/// The offer that is the message of a payload.
fn find(payload: &[u8]) -> Option<Offer> {
    let payload = &payload[..payload.len().min(MAX_SEARCH)];
    let is_blank = |octet: &u8| matches!(octet, b' ' | b'\r' | b'\n');
    let limit = payload.len().saturating_sub(MIN_BEGINNING);
    let blanks = payload[..limit].iter().take_while(|octet| is_blank(octet));
    let mut at = blanks.count();
    if at < limit {
        let name = &payload[at..at + 8];
        if !name.eq_ignore_ascii_case(b"PRIVMSG ") {
            return None;
        }
        at += name.len();
    }
    let end = payload.len().saturating_sub(MIN_TEXT);
    let message = (at..end).find(|&at| payload[at..].starts_with(b" :"))? + 2;
    let rest = payload[message..].strip_prefix(MARK)?;
    let command = COMMANDS.iter().find(|command| rest.starts_with(command))?;
    offer(payload, message + MARK.len() + command.len())
}

pub(super) fn read(session: &mut Session<'_>) -> Result<(), DropReason> {
    if session.packet.direction == Direction::Reply || !session.is_established() {
        return Ok(());
    }
    let Some(payload) = session.received() else {
        return Ok(());
    };
    let (this, other) = (session.this(), session.other());
    let Some(found) = find(payload) else {
        return Ok(());
    };
    // The address may be the client's own or, if that is translated, the one that the server sees.
    let own = [this.src().address, other.dst().address];
    if !own.contains(&found.address.into()) || found.port == 0 {
        return Ok(());
    }
    let dst = Endpoint {
        address: other.dst().address,
        part: found.port,
    };
    // The other client is not the server: it may be anywhere.
    let mut announced = Announced::new(Protocol::TCP, None, dst);
    if !session.is_translated() {
        let added = session.expect(&announced);
        return added.map(|_| ()).map_err(DropReason::Expectation);
    }
    announced.nat = Some(session.follow_master(found.port));
    let port = session
        .expect_free_port(&mut announced)
        .map_err(DropReason::Expectation)?;
    if let std::net::IpAddr::V4(address) = dst.address {
        let text = format!("{} {port}", u32::from(address));
        session.replace(found.range, text.as_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn offers_are_found() {
        let payload = b"\r\nprivmsg you :\x01DCC SEND file 167772161 1025 9999\x01\r\n";
        let found = find(payload).unwrap();
        assert_eq!(
            (found.address, found.port),
            (Ipv4Addr::new(10, 0, 0, 1), 1025)
        );
        assert_eq!(&payload[found.range], b"167772161 1025");
        // The end of the line is missing.
        assert_eq!(find(&payload[..payload.len() - 2]), None);
        for other in [
            &b"PRIVMSG you :\x01DCC NONE file 167772161 1025\x01\r\n"[..],
            b"PRIVMSG you :see \x01DCC SEND file 167772161 1025\x01\r\n",
            b"NOTICE you :\x01DCC SEND file 167772161 1025\x01\r\n",
        ] {
            assert_eq!(find(other), None);
        }
    }

    proptest! {
        #[test]
        fn no_octets_panic(
            text in "(PRIVMSG x)? :\x01DCC (SEND|CHAT) [a-z0-9 \n]{0,30}",
            rest in any::<[u8; 20]>(),
            cut in 0usize..60,
        ) {
            let mut payload = text.into_bytes();
            payload.extend(rest);
            payload.truncate(cut);
            if let Some(offer) = find(&payload) {
                prop_assert!(offer.range.end <= payload.len());
            }
        }
    }
}
