// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The IPv4 header (RFC 791).

use super::{FragmentHeader, Headers, Malformed};
use crate::tuple::{Family, Protocol};

const MIN_HEADER: usize = 20;
/// Flags and fragment offset: further fragments follow.
const MORE_FRAGMENTS: u16 = 0x2000;
/// Flags and fragment offset: the offset in units of eight bytes.
const FRAGMENT_OFFSET: u16 = 0x1fff;

fn word(packet: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([packet[at], packet[at + 1]])
}

pub(super) fn parse(packet: &[u8]) -> Result<Headers, Malformed> {
    if packet.len() < MIN_HEADER {
        return Err(Malformed::HeaderLength);
    }
    let header = usize::from(packet[0] & 0xf) * 4;
    if header < MIN_HEADER || header > packet.len() {
        return Err(Malformed::HeaderLength);
    }
    let end = usize::from(word(packet, 2));
    if end > packet.len() || end < header {
        return Err(Malformed::Length);
    }
    Ok(headers(packet, header, end))
}

pub(super) fn parse_quoted(quote: &[u8]) -> Result<Headers, Malformed> {
    if quote.len() < MIN_HEADER {
        return Err(Malformed::HeaderLength);
    }
    let header = usize::from(quote[0] & 0xf) * 4;
    if header < MIN_HEADER || header > quote.len() {
        return Err(Malformed::HeaderLength);
    }
    let parsed = headers(quote, header, quote.len());
    match parsed.fragment {
        Some(fragment) if !fragment.is_first() => Err(Malformed::Fragment),
        _ => Ok(parsed),
    }
}

fn headers(packet: &[u8], header: usize, end: usize) -> Headers {
    let fragment = word(packet, 6);
    Headers {
        family: Family::V4,
        protocol: Protocol(packet[9]),
        transport: header,
        end,
        fragment: (fragment & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0).then(|| FragmentHeader {
            id: word(packet, 4).into(),
            offset: (fragment & FRAGMENT_OFFSET) * 8,
            more: fragment & MORE_FRAGMENTS != 0,
        }),
        hop_limit: packet[8],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Vec<u8> {
        vec![
            0x45, 0, 0, 24, 1, 2, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 1, 2, 3, 4,
        ]
    }

    #[test]
    fn lengths_are_checked() {
        let packet = header();
        let headers = parse(&packet).unwrap();
        assert_eq!(
            (headers.transport, headers.end, headers.protocol),
            (20, 24, Protocol::UDP)
        );
        assert_eq!(headers.fragment, None);
        assert_eq!(parse(&packet[..19]), Err(Malformed::HeaderLength));
        assert_eq!(parse(&packet[..23]), Err(Malformed::Length));
        let change = |at: usize, value: u8| {
            let mut packet = header();
            packet[at] = value;
            parse(&packet).map(|headers| (headers.transport, headers.end))
        };
        assert_eq!(change(0, 0x44), Err(Malformed::HeaderLength));
        assert_eq!(change(0, 0x47), Err(Malformed::HeaderLength));
        assert_eq!(change(0, 0x46), Ok((24, 24)));
        assert_eq!(change(3, 19), Err(Malformed::Length));
        assert_eq!(change(3, 22), Ok((20, 22)));
    }

    #[test]
    fn fragments_are_recognised() {
        let mut packet = header();
        packet[6] = 0x20;
        let first = FragmentHeader {
            id: 0x102,
            offset: 0,
            more: true,
        };
        assert_eq!(parse(&packet).unwrap().fragment, Some(first));
        packet[6..8].copy_from_slice(&[0x1f, 0xff]);
        let last = FragmentHeader {
            id: 0x102,
            offset: 65528,
            more: false,
        };
        assert_eq!(parse(&packet).unwrap().fragment, Some(last));
        assert_eq!(parse_quoted(&packet), Err(Malformed::Fragment));
        // Don't fragment.
        packet[6..8].copy_from_slice(&[0x40, 0]);
        assert_eq!(parse(&packet).unwrap().fragment, None);
    }
}
