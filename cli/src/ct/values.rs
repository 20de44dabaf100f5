// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The values of options.

use std::net::IpAddr;

use adit_conntrack::{Status, TcpState};

use super::error::{usage, Result};

/// A number as strtoul(3) reads it: decimal, octal or hexadecimal, up to the first character that is
/// no digit; 0 without any.
pub(super) fn number(text: &str) -> u64 {
    let text = text.trim_start();
    let (is_negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let hexadecimal = text.strip_prefix("0x").or(text.strip_prefix("0X"));
    let (digits, radix) = match hexadecimal {
        Some(digits) => (digits, 16),
        None if text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    let value = digits.chars().map_while(|c| c.to_digit(radix));
    let value = value.fold(0_u64, |value, digit| {
        value
            .saturating_mul(radix.into())
            .saturating_add(digit.into())
    });
    match is_negative {
        true => value.wrapping_neg(),
        false => value,
    }
}

/// The decimal number with which a text begins (atoi(3)), 0 without any.
pub(super) fn decimal(text: &str) -> u64 {
    let digits = text.trim_start_matches([' ', '+']).chars();
    let digits = digits.map_while(|c| c.to_digit(10));
    digits.fold(0, |value: u64, digit| {
        value.saturating_mul(10).saturating_add(digit.into())
    })
}

/// An address.
pub(super) fn address(text: &str) -> Result<IpAddr> {
    text.parse()
        .or_else(|_| usage(format!("Invalid IP address `{text}'")))
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

/// An address, with the mask of a network.
pub(super) fn network(text: &str) -> Result<(IpAddr, Option<IpAddr>)> {
    let Some((text, prefix)) = text.split_once('/') else {
        return Ok((address(text)?, None));
    };
    let address = address(text)?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    match prefix.parse::<u32>() {
        Ok(prefix) if prefix <= longest => Ok((address, Some(mask(address, prefix)))),
        _ => usage("Invalid netmask"),
    }
}

/// The address and port to which a connection is translated: `A`, `A:PORT`, `[A]:PORT`.
pub(super) fn nat(text: &str) -> Result<(IpAddr, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, port.strip_prefix(':')),
        None if text.matches(':').count() == 1 => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
        None => (text, None),
    };
    let address = address(host)?;
    let port = match port {
        None => None,
        Some(port) => match port.parse() {
            Ok(port) if port > 0 => Some(port),
            _ => return usage(format!("Invalid port `{port}'")),
        },
    };
    Ok((address, port))
}

/// A value and its mask: `VALUE[/MASK]`.
pub(super) fn mark(text: &str) -> (u32, Option<u32>) {
    match text.split_once('/') {
        Some((value, mask)) => (number(value) as u32, Some(number(mask) as u32)),
        None => (number(text) as u32, None),
    }
}

/// Calls `take` with the index of each name in a list; a name may be abbreviated, in either case.
pub(super) fn names(text: &str, known: &[&str], mut take: impl FnMut(usize)) -> Result<()> {
    let mut rest = text;
    loop {
        let (name, behind) = match rest.split_once(',') {
            Some((name, behind)) => (name, Some(behind)),
            None => (rest, None),
        };
        let begins = |known: &&str| {
            let beginning = known.get(..name.len());
            beginning.is_some_and(|beginning| beginning.eq_ignore_ascii_case(name))
        };
        match known.iter().position(begins) {
            Some(index) if !name.is_empty() => take(index),
            _ => return usage(format!("Bad parameter `{rest}'")),
        }
        match behind {
            Some(behind) => rest = behind,
            None => return Ok(()),
        }
    }
}

/// Bits of a status, and bits that a filter requires to be clear.
pub(super) fn status(text: &str) -> Result<(Status, Status)> {
    if text.eq_ignore_ascii_case("UNREPLIED") {
        return Ok((Status::NONE, Status::SEEN_REPLY));
    }
    let known = [
        ("ASSURED", Status::ASSURED),
        ("SEEN_REPLY", Status::SEEN_REPLY),
        ("UNSET", Status::NONE),
        ("FIXED_TIMEOUT", Status::FIXED_TIMEOUT),
        ("EXPECTED", Status::EXPECTED),
        ("OFFLOAD", Status::from_bits(1 << 14)),
        ("HW_OFFLOAD", Status::from_bits(1 << 15)),
    ];
    let translated = ["SRC_NAT", "DST_NAT"];
    if let Some(name) = translated
        .iter()
        .find(|name| name.eq_ignore_ascii_case(text))
    {
        let instead = if *name == "SRC_NAT" { "src" } else { "dst" };
        eprintln!("WARNING: ignoring {name}, use --{instead}-nat instead");
        return Ok((Status::NONE, Status::NONE));
    }
    let mut bits = Status::NONE;
    names(text, &known.map(|(name, _)| name), |index| {
        bits |= known[index].1
    })?;
    Ok((bits, Status::NONE))
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

/// The index of a state in the names of a protocol's.
pub(super) fn state(protocol: &str, names: &[&str], text: &str) -> Result<u32> {
    match names.iter().position(|name| *name == text) {
        Some(index) => Ok(index as u32),
        None => usage(format!("unknown {protocol} state `{text}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_strtoul() {
        let read = ["0x10", "010", "12x", "x", "-1", "", " 7"].map(number);
        assert_eq!(read, [16, 8, 12, 0, u64::MAX, 0, 7]);
        assert_eq!(["5x", "99999", "x"].map(decimal), [5, 99_999, 0]);
        assert_eq!(mark("0x5/0xff"), (5, Some(255)));
    }

    #[test]
    fn networks_have_prefixes() {
        let v4 = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        assert_eq!(network("10.0.0.1/24").unwrap().1, v4("255.255.255.0"));
        assert_eq!(network("10.0.0.1/0").unwrap().1, v4("0.0.0.0"));
        assert_eq!(network("fd00::/64").unwrap().1, v4("ffff:ffff:ffff:ffff::"));
        for bad in [
            "10.0.0.1/33",
            "10.0.0.1/x",
            "10.0.0.1/-1",
            "x/1",
            "fd00::/129",
        ] {
            assert!(network(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn translations_have_ports() {
        let text = |text: &str| nat(text).map(|(a, port)| (a.to_string(), port));
        assert_eq!(text("5.5.5.5").unwrap(), ("5.5.5.5".into(), None));
        assert_eq!(text("5.5.5.5:9").unwrap(), ("5.5.5.5".into(), Some(9)));
        assert_eq!(text("[fd00::9]:5").unwrap(), ("fd00::9".into(), Some(5)));
        assert_eq!(text("fd00::9").unwrap(), ("fd00::9".into(), None));
        for bad in ["5.5.5.5:x", "5.5.5.5:0", "5.5.5.5-6.6.6.6", "5.5.5.5:1-2"] {
            assert!(text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists_of_names_are_abbreviated() {
        let bits = |text: &str| status(text).unwrap();
        let both = Status::ASSURED | Status::SEEN_REPLY;
        assert_eq!(bits("assured,SEEN"), (both, Status::NONE));
        assert_eq!(bits("UNREPLIED"), (Status::NONE, Status::SEEN_REPLY));
        for bad in ["", ",ASSURED", "ASSURED,", "ASSURED,UNREPLIED", "CONFIRMED"] {
            assert!(status(bad).is_err(), "{bad}");
        }
    }
}
