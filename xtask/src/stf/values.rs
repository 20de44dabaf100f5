// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Values of keys and arguments, and lookup of names given in part.

use adit_p4_frontend::ir::Match;
use anyhow::{bail, ensure, Context, Result};

/// Returns a number of up to 128 bits as limbs.
fn limbs(value: u128) -> Vec<u64> {
    vec![value as u64, (value >> 64) as u64]
}

/// Parses a plain number: decimal, `0x…`, `0b…`, or dotted like an IPv4 address.
pub(super) fn number(text: &str) -> Result<u128> {
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() == 4 {
        return parts.iter().try_fold(0, |value, part| {
            let byte: u8 = part
                .parse()
                .with_context(|| format!("`{text}` is no address"))?;
            Ok(value << 8 | u128::from(byte))
        });
    }
    let (value, mask) = masked(text)?;
    ensure!(
        mask.is_none(),
        "`{text}` has digits left open where a number is needed"
    );
    Ok(value)
}

/// Parses a value; returns its limbs.
pub(super) fn value(text: &str) -> Result<Vec<u64>> {
    Ok(limbs(number(text)?))
}

/// Parses a number whose digits may be `*`; returns a mask if some are.
fn masked(text: &str) -> Result<(u128, Option<u128>)> {
    let (digits, bits) = match text.get(..2) {
        Some("0x" | "0X") => (&text[2..], 4),
        Some("0b" | "0B") => (&text[2..], 1),
        _ => {
            let value = text
                .parse()
                .with_context(|| format!("`{text}` is no number"))?;
            return Ok((value, None));
        }
    };
    let (mut value, mut mask, mut open) = (0u128, 0u128, false);
    for c in digits.chars().filter(|c| *c != '_') {
        ensure!(
            value.leading_zeros() >= bits,
            "`{text}` has more than 128 bits"
        );
        let ones = (1 << bits) - 1;
        let digit = match c {
            '*' => {
                open = true;
                None
            }
            c => Some(
                c.to_digit(1 << bits)
                    .with_context(|| format!("`{text}` is no number"))?,
            ),
        };
        value = value << bits | u128::from(digit.unwrap_or(0));
        mask = mask << bits | if digit.is_some() { ones } else { 0 };
    }
    // Bits before the first digit are 0, not wildcards.
    let high = 128 - (digits.len() as u32 * bits).min(128);
    let above = if high == 128 {
        u128::MAX
    } else {
        !(u128::MAX >> high)
    };
    Ok((value, open.then_some(mask | above)))
}

/// Parses the match of a table's key.
pub(super) fn matched(text: &str, width: u32) -> Result<Match> {
    let full = u128::MAX >> (128 - width.clamp(1, 128));
    if let Some((value, mask)) = text.split_once("&&&") {
        return Ok(Match::Ternary(
            limbs(number(value)?),
            limbs(number(mask)? & full),
        ));
    }
    if let Some((low, high)) = text.split_once("->") {
        return Ok(Match::Range(limbs(number(low)?), limbs(number(high)?)));
    }
    if let Some((value, length)) = text.split_once('/') {
        let length: u32 = length
            .parse()
            .with_context(|| format!("`{text}` has no length"))?;
        ensure!(
            length <= width,
            "the prefix of `{text}` is longer than {width} bits"
        );
        let mask = match length {
            0 => 0,
            _ => full & !(full.checked_shr(length).unwrap_or(0)),
        };
        return Ok(Match::Ternary(limbs(number(value)? & mask), limbs(mask)));
    }
    if text.contains('.') {
        return Ok(Match::Exact(value(text)?));
    }
    Ok(match masked(text)? {
        (value, None) => Match::Exact(limbs(value)),
        (value, Some(mask)) => Match::Ternary(limbs(value), limbs(mask & full)),
    })
}

/// Returns the index of the name that is `given`, or of the only one that ends in it, or that it
/// ends in.
pub(super) fn find(what: &str, given: &str, names: &[String]) -> Result<usize> {
    // Words in a test have no spaces, while names of keys such as `a & 0xf` do.
    let plain = |name: &str| name.replace('[', "$").replace([']', ' '], "");
    let given_plain = plain(given);
    let wanted = given_plain.as_str();
    let is_suffix = |long: &str, short: &str| {
        long.strip_suffix(short)
            .is_some_and(|head| head.is_empty() || head.ends_with('.'))
    };
    let by = |fits: &dyn Fn(&str) -> bool| -> Vec<usize> {
        (0..names.len())
            .filter(|n| fits(&plain(&names[*n])))
            .collect()
    };
    let rounds: [&dyn Fn(&str) -> bool; 3] = [
        &|name| name == wanted,
        &|name| is_suffix(name, wanted),
        &|name| is_suffix(wanted, name),
    ];
    for fits in rounds {
        match by(fits)[..] {
            [] => {}
            [one] => return Ok(one),
            _ => bail!("more than one {what} is called `{given}`"),
        }
    }
    bail!(
        "there is no {what} `{given}`: there are {}",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_several_forms() {
        let pair = |v: u64, m: u64| Match::Ternary(vec![v, 0], vec![m, 0]);
        assert_eq!(matched("0x25**", 16).unwrap(), pair(0x2500, 0xff00));
        assert_eq!(matched("0b1*", 8).unwrap(), pair(2, 0xfe));
        assert_eq!(
            matched("0x0a000000/8", 32).unwrap(),
            pair(0x0a00_0000, 0xff00_0000)
        );
        assert_eq!(matched("5/0", 32).unwrap(), pair(0, 0));
        assert_eq!(matched("3&&&7", 8).unwrap(), pair(3, 7));
        assert_eq!(
            matched("1->9", 8).unwrap(),
            Match::Range(vec![1, 0], vec![9, 0])
        );
        assert_eq!(
            matched("10.0.0.1", 32).unwrap(),
            Match::Exact(vec![0x0a00_0001, 0])
        );
        assert!(matched("1/40", 32).is_err());
    }

    #[test]
    fn names_are_found_by_their_ends() {
        let names = ["a.t", "b.t", "hdr.x[0].h", "hdr.y & 0xf"].map(str::to_owned);
        assert_eq!(find("table", "b.t", &names).unwrap(), 1);
        assert_eq!(find("key", "x$0.h", &names).unwrap(), 2);
        assert_eq!(find("key", "y&0xf", &names).unwrap(), 3);
        assert!(find("table", "t", &names).is_err(), "two of them");
        assert!(find("table", "u", &names).is_err());
    }
}
