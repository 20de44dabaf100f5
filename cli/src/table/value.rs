// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The syntax of values of fields and parameters: numbers in any base, Ethernet, IPv4 and IPv6
//! addresses. Values are as many bytes as the width takes, the most significant first.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{bail, ensure, Context, Result};

/// The format of a field's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Number,
    Mac,
    Ipv4,
    Ipv6,
    /// A string of the control plane, which the device translates.
    Text,
}

/// Returns the format of a field: from `@format`, or else from the width and the name.
pub(crate) fn form(name: &str, width: u32, annotations: &[String]) -> Form {
    let format = annotations.iter().find_map(|a| {
        let said = a.strip_prefix("@format(")?.strip_suffix(')')?;
        match (said.trim(), width) {
            ("MAC_ADDRESS", 48) => Some(Form::Mac),
            ("IPV4_ADDRESS", 32) => Some(Form::Ipv4),
            ("IPV6_ADDRESS", 128) => Some(Form::Ipv6),
            ("HEX_STRING", 1..) => Some(Form::Number),
            _ => None,
        }
    });
    let is_ipv4 = || {
        let mut parts = name.split(['.', '_']);
        parts.any(|part| part.to_ascii_lowercase().starts_with("ip"))
    };
    format.unwrap_or_else(|| match width {
        0 => Form::Text,
        32 if is_ipv4() => Form::Ipv4,
        48 => Form::Mac,
        128 => Form::Ipv6,
        _ => Form::Number,
    })
}

/// Parses a value of that many bits.
pub(crate) fn parse(text: &str, width: u32) -> Result<Vec<u8>> {
    ensure!(!text.is_empty(), "a value is missing");
    let address = |kind: &str, bytes: Vec<u8>| {
        let bits = bytes.len() * 8;
        ensure!(
            bits == width as usize,
            "`{text}` is an {kind} address of {bits} bits, the field has {width}"
        );
        Ok(bytes)
    };
    if width == 0 {
        return Ok(text.as_bytes().to_vec());
    }
    if let Some(mac) = mac(text) {
        return address("Ethernet", mac);
    }
    if text.contains(':') {
        let ipv6: Ipv6Addr = text
            .parse()
            .with_context(|| format!("`{text}` is neither an Ethernet nor an IPv6 address"))?;
        return address("IPv6", ipv6.octets().to_vec());
    }
    if text.contains('.') {
        let ipv4: Ipv4Addr = text
            .parse()
            .with_context(|| format!("`{text}` is neither a number nor an IPv4 address"))?;
        return address("IPv4", ipv4.octets().to_vec());
    }
    number(text, width)
}

fn mac(text: &str) -> Option<Vec<u8>> {
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|part| match part.len() {
            2 => u8::from_str_radix(part, 16).ok(),
            _ => None,
        })
        .collect();
    bytes.filter(|bytes| bytes.len() == 6)
}

fn number(text: &str, width: u32) -> Result<Vec<u8>> {
    let lower = text.to_ascii_lowercase();
    let (digits, base) = match lower.get(..2) {
        Some("0x") => (&lower[2..], 16),
        Some("0o") => (&lower[2..], 8),
        Some("0b") => (&lower[2..], 2),
        _ => match &*lower {
            "true" => ("1", 2),
            "false" => ("0", 2),
            _ => (&*lower, 10),
        },
    };
    let fits = || format!("`{text}` does not fit into {width} bits");
    let mut bytes = vec![0u8; width.div_ceil(8) as usize];
    let mut has_digits = false;
    for digit in digits.chars().filter(|c| *c != '_') {
        let Some(digit) = digit.to_digit(base) else {
            bail!("`{text}` is no number: `{digit}` is not a digit in base {base}");
        };
        has_digits = true;
        let mut carry = digit;
        for byte in bytes.iter_mut().rev() {
            let sum = u32::from(*byte) * base + carry;
            *byte = sum as u8;
            carry = sum >> 8;
        }
        ensure!(carry == 0, fits());
    }
    ensure!(has_digits, "`{text}` is no number");
    let spare = bytes.len() as u32 * 8 - width;
    ensure!(bytes[0].leading_zeros() >= spare, fits());
    Ok(bytes)
}

/// Pads or truncates received bytes to the width.
pub(crate) fn padded(bytes: &[u8], width: u32) -> Vec<u8> {
    let size = width.div_ceil(8) as usize;
    match bytes.len().checked_sub(size) {
        _ if width == 0 => bytes.to_vec(),
        Some(extra) => bytes[extra..].to_vec(),
        None => {
            let mut padded = vec![0; size - bytes.len()];
            padded.extend_from_slice(bytes);
            padded
        }
    }
}

/// Formats a value.
pub(crate) fn show(bytes: &[u8], width: u32, form: Form) -> String {
    let bytes = padded(bytes, width);
    match form {
        Form::Text => String::from_utf8_lossy(&bytes).into_owned(),
        Form::Mac => {
            let parts: Vec<_> = bytes.iter().map(|b| format!("{b:02x}")).collect();
            parts.join(":")
        }
        Form::Ipv4 => <[u8; 4]>::try_from(&*bytes)
            .map_or_else(|_| hexadecimal(&bytes), |b| Ipv4Addr::from(b).to_string()),
        Form::Ipv6 => <[u8; 16]>::try_from(&*bytes)
            .map_or_else(|_| hexadecimal(&bytes), |b| Ipv6Addr::from(b).to_string()),
        Form::Number if width <= 32 => {
            let value = bytes.iter().fold(0u64, |v, b| v << 8 | u64::from(*b));
            value.to_string()
        }
        Form::Number => hexadecimal(&bytes),
    }
}

/// Formats a number in base 16.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    match digits.trim_start_matches('0') {
        "" => "0x0".to_owned(),
        digits => format!("0x{digits}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_read_as_they_are_written() {
        for (text, width, bytes) in [
            ("10.0.0.1", 32, vec![10, 0, 0, 1]),
            ("0x1ff", 9, vec![1, 0xFF]),
            ("511", 9, vec![1, 0xFF]),
            ("0b101", 3, vec![5]),
            ("0o17", 4, vec![15]),
            ("true", 1, vec![1]),
            ("::", 128, vec![0; 16]),
            ("1_000", 16, vec![3, 232]),
            ("02:00:00:00:00:0a", 48, vec![2, 0, 0, 0, 0, 10]),
            (
                "fe80::1",
                128,
                vec![0xFE, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            ),
            ("web", 0, b"web".to_vec()),
        ] {
            assert_eq!(parse(text, width).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, width, why) in [
            ("512", 9, "does not fit into 9 bits"),
            ("0x1_0000_0000", 32, "does not fit into 32 bits"),
            (
                "10.0.0.1",
                16,
                "an IPv4 address of 32 bits, the field has 16",
            ),
            ("02:00:00:00:00:0a", 32, "an Ethernet address of 48 bits"),
            ("10.0.0", 32, "neither a number nor an IPv4 address"),
            ("fe80::g", 128, "neither an Ethernet nor an IPv6 address"),
            ("12a", 16, "`a` is not a digit in base 10"),
            ("0x", 16, "is no number"),
            ("-1", 16, "is no number"),
            ("", 16, "missing"),
        ] {
            let error = parse(text, width).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn names_and_annotations_tell_the_form() {
        let format = |text: &str| vec![text.to_owned()];
        assert_eq!(form("h.ipv4.dst", 32, &[]), Form::Ipv4);
        assert_eq!(form("m.index", 32, &[]), Form::Number);
        assert_eq!(form("x", 32, &format("@format(IPV4_ADDRESS)")), Form::Ipv4);
        assert_eq!(form("x", 128, &format("@format(HEX_STRING)")), Form::Number);
        assert_eq!(
            form("x", 16, &format("@format(IPV4_ADDRESS)")),
            Form::Number
        );
    }

    #[test]
    fn addresses_of_ipv4_in_ipv6_come_back() {
        let bytes = parse("::ffff:10.0.0.1", 128).unwrap();
        assert_eq!(show(&bytes, 128, Form::Ipv6), "::ffff:10.0.0.1");
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_read(
            bytes in prop::collection::vec(any::<u8>(), 1..20),
            spare in 0u32..8,
            name in prop::sample::select(vec!["h.ipv4.dst", "x"]),
        ) {
            let mut bytes = bytes;
            bytes[0] &= 0xFF >> spare;
            let width = bytes.len() as u32 * 8 - spare;
            let shown = show(&bytes, width, form(name, width, &[]));
            prop_assert_eq!(parse(&shown, width).unwrap(), bytes);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".*", width in 0u32..200) {
            let _ = parse(&text, width);
        }
    }
}
