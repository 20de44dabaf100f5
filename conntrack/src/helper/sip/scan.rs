// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The text of a message: lines that may be continued, numbers, addresses and ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::tuple::{Endpoint, Family};

/// The port of an address without one.
const DEFAULT_PORT: u16 = 5060;
/// The lowest port that an address may have.
pub(super) const MIN_PORT: u32 = 1024;
/// The maximum number of digits of a port.
const MAX_PORT_DIGITS: usize = 5;
/// The maximum number of digits of a number.
const MAX_DIGITS: usize = 11;

pub(super) fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

pub(super) fn is_line_end(octet: u8) -> bool {
    matches!(octet, b'\r' | b'\n')
}

/// Reports whether a text begins with `prefix` in upper or lower case.
pub(super) fn starts_with(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// The beginning of the next line, if there is one before `limit`; `at` is a line's end.
pub(super) fn next_line(text: &[u8], at: usize, limit: usize) -> Option<usize> {
    let crlf = text[at] == b'\r' && at + 1 < limit && text[at + 1] == b'\n';
    let next = at + 1 + usize::from(crlf);
    (next < limit).then_some(next)
}

/// The text of the next line, if it continues the one that ends at `at`: it begins with blanks
/// (`sip_follow_continuation`).
fn continuation(text: &[u8], at: usize, limit: usize) -> Option<usize> {
    let next = next_line(text, at, limit).filter(|&next| is_blank(text[next]))?;
    let blanks = text[next..limit].iter().take_while(|&&it| is_blank(it));
    Some(next + blanks.count())
}

/// Skips blanks and the end of one line that is continued. Absent at the end of the text or header
/// (`sip_skip_whitespace`).
pub(super) fn skip_whitespace(text: &[u8], from: usize) -> Option<usize> {
    let blanks = text[from..].iter().take_while(|&&it| is_blank(it));
    let at = from + blanks.count();
    let at = match text.get(at) {
        Some(&octet) if is_line_end(octet) => continuation(text, at, text.len())?,
        _ => at,
    };
    (at < text.len()).then_some(at)
}

/// Finds `needle`, in upper or lower case, in a header's value, which may have several lines
/// (`ct_sip_header_search`). As there, what ends at `limit` is not found, nor is what begins a
/// continued line.
pub(super) fn search(text: &[u8], from: usize, limit: usize, needle: &[u8]) -> Option<usize> {
    let limit = limit.checked_sub(needle.len())?;
    let mut at = from;
    while at < limit {
        if is_line_end(text[at]) {
            at = continuation(text, at, limit)?;
        } else if starts_with(&text[at..], needle) {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// The decimal number at the beginning of a text, and its length. Absent if there is none, or it has
/// more than 32 bits (`sip_strtouint`).
pub(super) fn number(text: &[u8]) -> Option<(u32, usize)> {
    let length = digits(text);
    if length > MAX_DIGITS {
        return None;
    }
    let number = std::str::from_utf8(&text[..length]).ok()?.parse().ok()?;
    Some((number, length))
}

/// The number of digits at the beginning of a text.
pub(super) fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|it| it.is_ascii_digit()).count()
}

/// The address at the beginning of a text, and its length (`in4_pton`, `in6_pton`).
pub(super) fn address(text: &[u8], family: Family) -> Option<(IpAddr, usize)> {
    match family {
        Family::V4 => v4(text).map(|(address, length)| (address.into(), length)),
        Family::V6 => {
            let is_part = |octet: &u8| octet.is_ascii_hexdigit() || matches!(octet, b':' | b'.');
            let length = text.iter().take_while(|octet| is_part(octet)).count();
            let address: Ipv6Addr = std::str::from_utf8(&text[..length]).ok()?.parse().ok()?;
            Some((address.into(), length))
        }
    }
}

fn v4(text: &[u8]) -> Option<(Ipv4Addr, usize)> {
    let mut octets = [0; 4];
    let mut at = 0;
    for (number, octet) in octets.iter_mut().enumerate() {
        if number > 0 {
            if text.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
        let (mut value, start) = (0u32, at);
        while let Some(digit) = text.get(at).filter(|it| it.is_ascii_digit()) {
            value = value * 10 + u32::from(digit - b'0');
            if value > 255 {
                return None;
            }
            at += 1;
        }
        if at == start {
            return None;
        }
        *octet = value as u8;
    }
    let goes_on = |octet: &u8| octet.is_ascii_hexdigit() || *octet == b'.';
    (!text.get(at).is_some_and(goes_on)).then_some((octets.into(), at))
}

/// As [`address`]; one of IPv6 may be in brackets, and with `needs_brackets` must be
/// (`sip_parse_addr`).
pub(super) fn host(text: &[u8], family: Family, needs_brackets: bool) -> Option<(IpAddr, usize)> {
    if family == Family::V4 {
        return address(text, family);
    }
    let opening = usize::from(text.first() == Some(&b'['));
    let (found, length) = address(&text[opening..], family)?;
    let end = opening + length;
    let closing = usize::from(text.get(end) == Some(&b']'));
    let is_bracketed = opening == 1 && closing == 1;
    (is_bracketed || !needs_brackets).then_some((found, end + closing))
}

/// The host and port at the beginning of a text, and their length (`epaddr_len`,
/// `sip_parse_port`).
pub(super) fn endpoint(text: &[u8], family: Family) -> Option<(Endpoint, usize)> {
    let (address, length) = host(text, family, true)?;
    if *text.get(length)? != b':' {
        let part = DEFAULT_PORT;
        return Some((Endpoint { address, part }, length));
    }
    let start = length + 1;
    let count = digits(&text[start..]);
    let end = start + count;
    // What ends with the text may be a part of the port.
    if count > MAX_PORT_DIGITS || end == text.len() {
        return None;
    }
    let (port, _) = number(&text[start..end])?;
    let part = u16::try_from(port).ok().filter(|_| port >= MIN_PORT)?;
    Some((Endpoint { address, part }, end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_and_ports() {
        let found = |text: &str, family| {
            let (found, length) = endpoint(text.as_bytes(), family)?;
            Some((found.address.to_string(), found.part, length))
        };
        let at = |address: &str, port, length| Some((address.to_owned(), port, length));
        let v4 = |text| found(text, Family::V4);
        assert_eq!(v4("10.0.0.1:5061;x"), at("10.0.0.1", 5061, 13));
        assert_eq!(v4("10.0.0.1>"), at("10.0.0.1", 5060, 8));
        for text in [
            "10.0.0.1",
            "10.0.0.1:5061",
            "10.0.0.1:80;",
            "10.0.0.1:65536;",
            "10.0.0.1:;",
            "10.0.0.256;",
            "10.0.0.1a;",
            "10.0.0.1.;",
            "10.0.0;",
            "10..0.1;",
            "",
        ] {
            assert_eq!(v4(text), None, "{text}");
        }
        let v6 = |text| found(text, Family::V6);
        assert_eq!(v6("[fd00::1]:5061;x"), at("fd00::1", 5061, 14));
        assert_eq!(v6("[fd00::1]>"), at("fd00::1", 5060, 9));
        for text in ["fd00::1;", "[fd00::1;", "[fd00:1]>", "[10.0.0.1]>"] {
            assert_eq!(v6(text), None, "{text}");
        }
        assert!(host(b"fd00::1;", Family::V6, false).is_some());
    }

    #[test]
    fn numbers() {
        assert_eq!(number(b"4294967295 "), Some((u32::MAX, 10)));
        for text in [&b""[..], b"x", b"4294967296", b"000000000001"] {
            assert_eq!(number(text), None);
        }
    }

    #[test]
    fn continued_lines_are_searched() {
        let text = b"a,\r\n\tb;expires=5 \r\nc;maddr=6 ";
        assert_eq!(search(text, 0, text.len(), b"EXPIRES="), Some(7));
        assert_eq!(search(text, 0, text.len(), b"maddr="), None);
        assert_eq!(skip_whitespace(b" \r\n x", 0), Some(4));
        assert_eq!(skip_whitespace(b" \r\nx", 0), None);
    }

    proptest! {
        #[test]
        fn no_octets_panic(text in "[0-9a-f:\\[\\]. \r\n;,]{0,40}", from in 0usize..40) {
            let text = text.as_bytes();
            for family in [Family::V4, Family::V6] {
                for found in [endpoint(text, family).map(|it| it.1), host(text, family, false).map(|it| it.1)] {
                    prop_assert!(found.unwrap_or(0) <= text.len());
                }
            }
            let from = from.min(text.len());
            prop_assert!(search(text, from, text.len(), b"1.").is_none_or(|at| at >= from && at < text.len()));
            prop_assert!(skip_whitespace(text, from).is_none_or(|at| at >= from && at < text.len()));
            let _ = number(text);
        }
    }
}
