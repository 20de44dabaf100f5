// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The IPv6 header and its extension headers (RFC 8200).

use super::{FragmentHeader, Headers, Malformed};
use crate::tuple::{Family, Protocol};

const HEADER: usize = 40;

/// Next header: hop-by-hop options.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
/// Next header: nothing follows.
const NONE: u8 = 59;
const DESTINATION: u8 = 60;

/// The most extension headers that are skipped (`IP6_MAX_EXT_HDRS_CNT`).
const MAX_EXTENSIONS: usize = 12;

pub(super) fn parse(packet: &[u8]) -> Result<Headers, Malformed> {
    if packet.len() < HEADER {
        return Err(Malformed::HeaderLength);
    }
    let payload = usize::from(u16::from_be_bytes([packet[4], packet[5]]));
    // A payload length of zero before hop-by-hop options announces a jumbogram.
    let end = if payload == 0 && packet[6] == HOP_BY_HOP {
        packet.len()
    } else {
        HEADER + payload
    };
    if end > packet.len() {
        return Err(Malformed::Length);
    }
    skip_extensions(packet, end)
}

pub(super) fn parse_quoted(quote: &[u8]) -> Result<Headers, Malformed> {
    if quote.len() < HEADER {
        return Err(Malformed::HeaderLength);
    }
    let headers = skip_extensions(quote, quote.len())?;
    match headers.fragment {
        Some(fragment) if !fragment.is_first() => Err(Malformed::Fragment),
        _ => Ok(headers),
    }
}

/// Finds the transport header as `ipv6_skip_exthdr` (`net/ipv6/exthdrs_core.c`) does.
fn skip_extensions(packet: &[u8], end: usize) -> Result<Headers, Malformed> {
    let mut headers = Headers {
        family: Family::V6,
        protocol: Protocol(packet[6]),
        transport: HEADER,
        end,
        fragment: None,
        hop_limit: packet[7],
    };
    for _ in 0..=MAX_EXTENSIONS {
        let header = headers.protocol.0;
        if !matches!(
            header,
            HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | NONE | DESTINATION
        ) {
            return if headers.transport <= end {
                Ok(headers)
            } else {
                Err(Malformed::Extension)
            };
        }
        if header == NONE {
            return Err(Malformed::Extension);
        }
        let rest = packet
            .get(headers.transport..end)
            .ok_or(Malformed::Extension)?;
        let &[next, length, ..] = rest else {
            return Err(Malformed::Extension);
        };
        let length = match header {
            // A datagram is not divided twice.
            FRAGMENT if headers.fragment.is_some() => return Err(Malformed::Extension),
            FRAGMENT => {
                let fragment = fragment(rest).ok_or(Malformed::Extension)?;
                headers.fragment = Some(fragment);
                if !fragment.is_first() {
                    // What follows is payload, whatever the next header is.
                    headers.protocol = Protocol(next);
                    headers.transport += 8;
                    return Ok(headers);
                }
                8
            }
            AUTHENTICATION => (usize::from(length) + 2) * 4,
            _ => (usize::from(length) + 1) * 8,
        };
        headers.protocol = Protocol(next);
        headers.transport += length;
    }
    Err(Malformed::Extension)
}

/// The offset of the byte that announces the first fragment header, and the offset of that header.
/// Headers behind the packet's end are not seen.
pub(crate) fn fragment_link(packet: &[u8]) -> Option<(usize, usize)> {
    let (mut link, mut at) = (6, HEADER);
    for _ in 0..=MAX_EXTENSIONS {
        match *packet.get(link)? {
            FRAGMENT => return (at + 8 <= packet.len()).then_some((link, at)),
            HOP_BY_HOP | ROUTING | DESTINATION => {
                link = at;
                at += (usize::from(*packet.get(at + 1)?) + 1) * 8;
            }
            AUTHENTICATION => {
                link = at;
                at += (usize::from(*packet.get(at + 1)?) + 2) * 4;
            }
            _ => return None,
        }
    }
    None
}

fn fragment(header: &[u8]) -> Option<FragmentHeader> {
    let header = header.get(..8)?;
    let offset = u16::from_be_bytes([header[2], header[3]]);
    Some(FragmentHeader {
        id: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
        offset: offset & !7,
        more: offset & 1 != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, payload.len() as u8, next, 64];
        packet.extend([0xfd; 32]);
        packet.extend(payload);
        packet
    }

    #[test]
    fn extensions_are_skipped() {
        let mut payload = vec![ROUTING, 1];
        payload.extend([0; 14]);
        payload.extend([AUTHENTICATION, 0, 0, 0, 0, 0, 0, 0]);
        payload.extend([DESTINATION, 0, 0, 0, 0, 0, 0, 0]);
        payload.extend([17, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
        let headers = parse(&packet(HOP_BY_HOP, &payload)).unwrap();
        assert_eq!(
            (headers.protocol, headers.transport),
            (Protocol::UDP, 40 + 16 + 8 + 8 + 8)
        );
        assert_eq!(headers.end, headers.transport + 4);
    }

    #[test]
    fn what_has_no_transport_header_is_malformed() {
        assert_eq!(parse(&packet(NONE, &[])), Err(Malformed::Extension));
        assert_eq!(
            parse(&packet(DESTINATION, &[17])),
            Err(Malformed::Extension)
        );
        assert_eq!(
            parse(&packet(DESTINATION, &[17, 9, 0, 0])),
            Err(Malformed::Extension)
        );
        let twice = [FRAGMENT, 0, 0, 0, 0, 0, 0, 1, 17, 0, 0, 0, 0, 0, 0, 2];
        assert_eq!(parse(&packet(FRAGMENT, &twice)), Err(Malformed::Extension));
        let endless = [DESTINATION, 0, 0, 0, 0, 0, 0, 0].repeat(31);
        assert_eq!(
            parse(&packet(DESTINATION, &endless)),
            Err(Malformed::Extension)
        );
        assert_eq!(parse(&packet(17, &[])[..39]), Err(Malformed::HeaderLength));
        assert_eq!(parse(&packet(17, &[0; 8])[..47]), Err(Malformed::Length));
    }

    #[test]
    fn fragments_are_recognised() {
        let first = parse(&packet(FRAGMENT, &[17, 0, 0, 1, 1, 2, 3, 4, 0, 53, 0, 53])).unwrap();
        let expected = FragmentHeader {
            id: 0x0102_0304,
            offset: 0,
            more: true,
        };
        assert_eq!(first.fragment, Some(expected));
        assert_eq!((first.protocol, first.transport), (Protocol::UDP, 48));
        let last = packet(FRAGMENT, &[DESTINATION, 0, 0, 16, 1, 2, 3, 4, 9]);
        let headers = parse(&last).unwrap();
        assert_eq!(
            headers.fragment,
            Some(FragmentHeader {
                offset: 16,
                more: false,
                ..expected
            })
        );
        assert_eq!(
            (headers.protocol.0, headers.transport, headers.end),
            (DESTINATION, 48, 49)
        );
        assert_eq!(parse_quoted(&last), Err(Malformed::Fragment));
    }
}
