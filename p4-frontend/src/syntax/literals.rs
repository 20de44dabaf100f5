// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Literals: `8w0xFF`, `10_000`, strings; `4s-…` is not one.

use num_bigint::{BigInt, BigUint};

use crate::types::MAX_WIDTH;

/// The maximum number of digits of a literal: no value has more bits than the widest type.
const MAX_DIGITS: usize = MAX_WIDTH as usize + 64;

/// The value of a literal, and its width and signedness if it has them.
pub(super) fn number(text: &str) -> Result<(BigInt, Option<(u32, bool)>), String> {
    let lower = text.to_ascii_lowercase();
    let (shape, digits) = match lower.find(['w', 's']) {
        // A width consists of decimal digits only: `0xws` has none.
        Some(at) if lower[..at].bytes().all(|b| b.is_ascii_digit()) => {
            let width: u32 = lower[..at]
                .parse()
                .map_err(|_| format!("`{}` is no width", &lower[..at]))?;
            (
                Some((width, lower.as_bytes()[at] == b's')),
                &lower[at + 1..],
            )
        }
        _ => (None, &*lower),
    };
    if digits.len() > MAX_DIGITS {
        return Err("this number has too many digits".to_owned());
    }
    let (radix, digits) = match digits.get(..2) {
        Some("0x") => (16, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0d") => (10, &digits[2..]),
        _ => (10, digits),
    };
    let digits = digits.replace('_', "");
    let value = BigUint::parse_bytes(digits.as_bytes(), radix)
        .ok_or_else(|| format!("`{text}` is no number of base {radix}"))?;
    if let Some((width, signed)) = shape {
        if width > MAX_WIDTH {
            return Err(format!("a width may be {MAX_WIDTH} at most"));
        }
        if width == 0 && signed {
            return Err("a signed number has at least one bit".to_owned());
        }
    }
    Ok((value.into(), shape))
}

/// The value of a string literal.
pub(super) fn string(text: &str) -> String {
    let inner = text
        .strip_prefix('"')
        .and_then(|t| t.strip_suffix('"'))
        .unwrap_or(text);
    let mut out = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => {}
            },
            (other, false) => out.push(other),
        }
    }
    out
}
