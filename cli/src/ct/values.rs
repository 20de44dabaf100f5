// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The values of options.

use std::net::{IpAddr, Ipv4Addr};

use adit_conntrack::{SctpState, Status, TcpState};

use super::error::{note, usage, Result};

/// A number as strtoul(3) reads it, and the text behind it: decimal, octal or hexadecimal, up to the
/// first character that is no digit; 0 without any.
fn leading_number(text: &str) -> (u64, &str) {
    let text = text.trim_start();
    let (is_negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let hexadecimal = text.strip_prefix("0x").or(text.strip_prefix("0X"));
    let hexadecimal = hexadecimal.filter(|rest| rest.starts_with(|c: char| c.is_ascii_hexdigit()));
    let (digits, radix) = match hexadecimal {
        Some(digits) => (digits, 16),
        None if text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    let end = digits.find(|c: char| !c.is_digit(radix));
    let (digits, rest) = digits.split_at(end.unwrap_or(digits.len()));
    let value = digits.chars().filter_map(|c| c.to_digit(radix));
    let value = value.fold(0_u64, |value, digit| {
        value
            .saturating_mul(radix.into())
            .saturating_add(digit.into())
    });
    match is_negative {
        true => (value.wrapping_neg(), rest),
        false => (value, rest),
    }
}

/// A number as strtoul(3) reads it.
pub(super) fn number(text: &str) -> u64 {
    leading_number(text).0
}

/// A number of which nothing is left over.
pub(super) fn whole_number(text: &str) -> Option<u64> {
    let begins = text.starts_with(|c: char| c.is_ascii_digit());
    let (number, rest) = leading_number(text);
    (begins && rest.is_empty()).then_some(number)
}

/// The decimal number with which a text begins (atol(3)), 0 without any.
pub(super) fn decimal(text: &str) -> i64 {
    let text = text.trim_start();
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = text.chars().map_while(|c| c.to_digit(10));
    digits.fold(0, |value: i64, digit| {
        value
            .saturating_mul(10)
            .saturating_add(sign * i64::from(digit))
    })
}

/// An IPv4 address as inet_aton(3) reads it: up to four numbers, the last of which has all remaining
/// bits.
fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let parts: Option<Vec<u64>> = text.trim_end().split('.').map(whole_number).collect();
    let parts = parts.filter(|parts| parts.len() <= 4)?;
    let (last, first) = parts.split_last()?;
    let bits = 32 - 8 * first.len() as u32;
    if first.iter().any(|part| *part > 0xFF) || *last >> bits != 0 {
        return None;
    }
    let high = first.iter().fold(0, |high, part| high << 8 | part);
    Some(Ipv4Addr::from((high << bits | last) as u32))
}

/// An address, and the length of a network's prefix, if there is one.
pub(super) struct Network {
    pub(super) address: IpAddr,
    /// The length, or nothing if it is wrong.
    pub(super) prefix: Option<Option<u32>>,
}

impl Network {
    /// Reads an address with or without a prefix.
    pub(super) fn read(text: &str) -> Result<Self> {
        let (host, prefix) = match text.split_once('/') {
            Some((host, prefix)) => (host, Some(prefix)),
            None => (text, None),
        };
        let address = ipv4(host).map(IpAddr::V4);
        let address = address.or_else(|| host.parse().ok().map(IpAddr::V6));
        let Some(address) = address else {
            return usage(format!("Invalid IP address `{text}'"));
        };
        let prefix = prefix.map(|prefix| match prefix {
            "" => Some(0),
            prefix => prefix
                .parse()
                .ok()
                .filter(|prefix| *prefix <= longest(address)),
        });
        Ok(Network { address, prefix })
    }
}

/// The number of bits of an address.
pub(super) fn longest(address: IpAddr) -> u32 {
    if address.is_ipv4() {
        32
    } else {
        128
    }
}

/// The mask whose first bits are ones.
pub(super) fn mask(address: IpAddr, prefix: u32) -> IpAddr {
    match address {
        IpAddr::V4(_) => {
            let bits = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            IpAddr::V4(bits.into())
        }
        IpAddr::V6(_) => {
            let bits = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            IpAddr::V6(bits.into())
        }
    }
}

/// The address and port to which a connection is translated: `A`, `A:PORT`, `[A]:PORT`.
pub(super) fn nat(text: &str) -> Result<(&str, Option<u16>)> {
    let bracketed = match text.split_once('[') {
        None => None,
        Some((_, rest)) => match rest.split_once(']') {
            Some(("", _)) => return usage("No IPv6 address specified"),
            Some((host, behind)) => Some((host, behind.split_once(':'))),
            None => return usage("No closing ']' around IPv6 address"),
        },
    };
    let (host, port) = match bracketed {
        Some((host, Some((_, port)))) => (host, port),
        Some((_, None)) => return Ok((text, None)),
        None => match text.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, port),
            _ => return Ok((text, None)),
        },
    };
    if port.is_empty() {
        return usage("No port specified after `:'");
    }
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse() {
        Ok(number) if digits => Ok((host, Some(number))),
        _ => usage(format!("Invalid port `{port}'")),
    }
}

/// A value and its mask: `VALUE[/MASK]`.
pub(super) fn mark(text: &str) -> (u32, Option<u32>) {
    let (value, rest) = leading_number(text);
    let mask = rest.strip_prefix('/').map(|mask| number(mask) as u32);
    (value as u32, mask)
}

/// The verification tag of a number, or the number of a tag: conntrack(8) does not convert the order of its
/// bytes.
pub(super) fn tag(number: u32) -> u32 {
    u32::from_be_bytes(number.to_ne_bytes())
}

/// Reports whether `name` is the beginning of a known one, in either case.
fn begins(known: &str, name: &str) -> bool {
    let beginning = known.get(..name.len());
    beginning.is_some_and(|beginning| beginning.eq_ignore_ascii_case(name))
}

/// The index of a name that may be abbreviated. Those of translations are ignored in every list, with a
/// warning.
fn index(name: &str, known: &[&str]) -> Option<Option<usize>> {
    if name.is_empty() {
        return None;
    }
    for (translated, end) in [("SRC_NAT", "src"), ("DST_NAT", "dst")] {
        if begins(translated, name) {
            note(&format!(
                "WARNING: ignoring {translated}, use --{end}-nat instead"
            ));
            return Some(None);
        }
    }
    known.iter().position(|known| begins(known, name)).map(Some)
}

/// The names of a list, each with the text from it on.
fn list(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let all = rest?;
        let (name, behind) = match all.split_once(',') {
            Some((name, behind)) => (name, Some(behind)),
            None => (all, None),
        };
        rest = behind;
        Some((name, all))
    })
}

/// Calls `take` with the index of each name in a list; a name may be abbreviated, in either case.
pub(super) fn names(text: &str, known: &[&str], mut take: impl FnMut(usize)) -> Result<()> {
    for (name, rest) in list(text) {
        match index(name, known) {
            Some(index) => index.into_iter().for_each(&mut take),
            None => return usage(format!("Bad parameter `{rest}'")),
        }
    }
    Ok(())
}

/// Bits of a status, and bits that a filter requires to be clear: those behind `!`.
pub(super) fn status(text: &str) -> Result<(Status, Status)> {
    let known = [
        ("ASSURED", Status::ASSURED),
        ("SEEN_REPLY", Status::SEEN_REPLY),
        ("UNSET", Status::NONE),
        ("FIXED_TIMEOUT", Status::FIXED_TIMEOUT),
        ("EXPECTED", Status::EXPECTED),
        ("OFFLOAD", Status::from_bits(1 << 14)),
        ("HW_OFFLOAD", Status::from_bits(1 << 15)),
    ];
    let (mut set, mut clear) = (Status::NONE, Status::NONE);
    for (name, rest) in list(text) {
        let (is_negated, name, rest) = match name.strip_prefix('!') {
            Some(name) => (true, name, &rest[1..]),
            None => (false, name, rest),
        };
        if !is_negated && name.starts_with("UNREPLIED") {
            clear |= Status::SEEN_REPLY;
            continue;
        }
        let Some(index) = index(name, &known.map(|(name, _)| name)) else {
            return usage(format!("Bad parameter `{rest}'"));
        };
        let bits = index.map_or(Status::NONE, |index| known[index].1);
        match is_negated {
            true => clear |= bits,
            false => set |= bits,
        }
    }
    Ok((set, clear))
}

/// The states of TCP; conntrack(8) calls the last one LISTEN as well.
pub(super) fn tcp_state(text: &str) -> Result<u32> {
    if text == "LISTEN" {
        return Ok(TcpState::SynSent2 as u32);
    }
    let mut states = TcpState::ALL.into_iter();
    let found = states.find(|state| state.name() == text);
    found.map_or_else(
        || usage(format!("unknown TCP state `{text}'")),
        |state| Ok(state as u32),
    )
}

/// The roles of DCCP, which may be abbreviated, even to nothing.
pub(super) fn role(text: &str) -> Option<u32> {
    let roles = ["client", "server"];
    let found = roles.iter().position(|role| begins(role, text));
    found.map(|index| index as u32)
}

/// The states of SCTP.
pub(super) fn sctp_state(text: &str) -> Result<u32> {
    let mut states = SctpState::ALL.into_iter();
    let found = states.find(|state| state.name() == text);
    found.map_or_else(
        || usage(format!("unknown SCTP state `{text}'")),
        |state| Ok(state as u32),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_strtoul() {
        let read = ["0x10", "010", "12x", "x", "-1", "", " 7", "0x"].map(number);
        assert_eq!(read, [16, 8, 12, 0, u64::MAX, 0, 7, 0]);
        let read = ["5x", "99999", "x", "-5", "010"].map(decimal);
        assert_eq!(read, [5, 99_999, 0, -5, 10]);
        assert_eq!(mark("0x5/0xff"), (5, Some(255)));
        assert_eq!((mark("/3"), mark("5x/3")), ((0, Some(3)), (5, None)));
        assert_eq!(whole_number("0x11"), Some(17));
        assert_eq!((whole_number("11x"), whole_number("-1")), (None, None));
    }

    #[test]
    fn networks_have_prefixes() {
        let read = |text: &str| Network::read(text).unwrap();
        let v4 = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(read("10.0.0.1/24").prefix, Some(Some(24)));
        assert_eq!(mask(v4("10.0.0.1"), 24), v4("255.255.255.0"));
        assert_eq!(mask(v4("10.0.0.1"), 0), v4("0.0.0.0"));
        assert_eq!(mask(v4("fd00::"), 64), v4("ffff:ffff:ffff:ffff::"));
        assert_eq!(read("10.0.0.1/").prefix, Some(Some(0)));
        for (text, address) in [
            ("10.1", "10.0.0.1"),
            ("0x0a000002", "10.0.0.2"),
            ("012.0.257", "10.0.1.1"),
            ("1", "0.0.0.1"),
        ] {
            assert_eq!(read(text).address, v4(address), "{text}");
        }
        for bad in ["10.0.0.1/33", "10.0.0.1/x", "10.0.0.1/-1", "fd00::/129"] {
            assert_eq!(read(bad).prefix, Some(None), "{bad}");
        }
        for bad in ["x/1", "", "1.2.3.256", "256.1", "1.2.3.4.5", "08.0.0.1"] {
            assert!(Network::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn translations_have_ports() {
        assert_eq!(nat("5.5.5.5").unwrap(), ("5.5.5.5", None));
        assert_eq!(nat("5.5.5.5:9").unwrap(), ("5.5.5.5", Some(9)));
        assert_eq!(nat("[fd00::9]:5").unwrap(), ("fd00::9", Some(5)));
        assert_eq!(nat("fd00::9").unwrap(), ("fd00::9", None));
        // What is left is no address.
        assert_eq!(nat("[fd00::9]").unwrap(), ("[fd00::9]", None));
        for bad in [
            "5.5.5.5:x",
            "5.5.5.5:",
            "5.5.5.5:+1",
            "5.5.5.5:65536",
            "[]",
            "[::1",
        ] {
            assert!(nat(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists_of_names_are_abbreviated() {
        let bits = |text: &str| status(text).unwrap();
        let both = Status::ASSURED | Status::SEEN_REPLY;
        assert_eq!(bits("assured,SEEN"), (both, Status::NONE));
        assert_eq!(bits("UNREPLIED"), (Status::NONE, Status::SEEN_REPLY));
        let mixed = (Status::SEEN_REPLY, Status::ASSURED);
        assert_eq!(bits("SEEN_REPLY,!ASS"), mixed);
        // SRC_NAT begins so, too.
        assert_eq!(bits("S"), (Status::NONE, Status::NONE));
        for bad in [
            "",
            ",ASSURED",
            "ASSURED,",
            "unreplied",
            "CONFIRMED",
            "!",
            "!UNREPLIED",
        ] {
            assert!(status(bad).is_err(), "{bad}");
        }
    }
}
