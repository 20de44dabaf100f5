// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The tokens of a constraint.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use num_bigint::{BigInt, BigUint};

/// The maximum number of digits of a number.
const MAX_DIGITS: usize = 1024;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Number(BigInt),
    /// A key's name, with its dots.
    Name(String),
    /// An operator or parenthesis.
    Symbol(&'static str),
}

/// A token with its span in the text.
pub(super) type Placed = (Token, Range<usize>);

/// Operators; the longer ones first.
const SYMBOLS: [&str; 16] = [
    "::", "==", "!=", ">=", "<=", "&&", "||", "->", ">", "<", "!", "-", "(", ")", ";", ".",
];

/// Returns the length of leading white space and comments; the error is the offset of an
/// unterminated comment.
fn space(text: &str) -> Result<usize, usize> {
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let blank = rest.len() - rest.trim_start().len();
        let rest = &rest[blank..];
        at += blank;
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            at += rest.find("*/").ok_or(at)? + 2;
        } else {
            return Ok(at);
        }
    }
}

/// Formats a text for messages: on one line, without comments, truncated.
pub(super) fn shown(text: &str, most: usize) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = space(rest).unwrap_or(rest.len());
        if skipped > 0 {
            shown.push(' ');
            rest = &rest[skipped..];
            continue;
        }
        if shown.len() + first.len_utf8() > most {
            shown.push('…');
            break;
        }
        shown.push(first);
        rest = &rest[first.len_utf8()..];
    }
    shown.trim().to_owned()
}

/// Splits a text into tokens with their spans; the error has the offset of what is not a token.
pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, (usize, String)> {
    let mut list = Vec::new();
    let mut at = 0;
    loop {
        let skipped = space(&text[at..]);
        at += skipped.map_err(|open| (at + open, "the comment does not end".to_owned()))?;
        let rest = &text[at..];
        let Some(first) = rest.chars().next() else {
            return Ok(list);
        };
        let (token, length) = match first {
            '0'..='9' => number(rest),
            'a'..='z' | 'A'..='Z' | '_' => name(rest),
            _ => symbol(rest),
        }
        .map_err(|why| (at, why))?;
        list.push((token, at..at + length));
        at += length;
    }
}

fn symbol(text: &str) -> Result<(Token, usize), String> {
    let found = SYMBOLS.iter().find(|symbol| text.starts_with(**symbol));
    let first: String = text.chars().take(1).collect();
    let symbol = found.ok_or_else(|| format!("`{first}` is no operator"))?;
    Ok((Token::Symbol(symbol), symbol.len()))
}

fn number(text: &str) -> Result<(Token, usize), String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let length = text.find(|c| !is_part(c)).unwrap_or(text.len());
    let word = &text[..length];
    let lower = word.to_ascii_lowercase();
    let (digits, radix) = match lower.as_bytes() {
        [b'0', b'x', ..] => (&lower[2..], 16),
        [b'0', b'b', ..] => (&lower[2..], 2),
        [b'0', b'o', ..] => (&lower[2..], 8),
        [b'0', b'd', ..] => (&lower[2..], 10),
        _ => (&lower[..], 10),
    };
    if digits.len() > MAX_DIGITS {
        return Err(format!("a number has {MAX_DIGITS} digits at most"));
    }
    match BigUint::parse_bytes(digits.as_bytes(), radix) {
        Some(value) if !digits.contains('_') => Ok((Token::Number(value.into()), length)),
        _ => Err(format!("`{word}` is no number")),
    }
}

fn name(text: &str) -> Result<(Token, usize), String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut length = text.find(|c| !is_part(c)).unwrap_or(text.len());
    let word = &text[..length];
    if matches!(word, "ipv4" | "ipv6" | "mac") {
        let rest = text[length..].trim_start();
        if let Some(quoted) = rest.strip_prefix('(').map(str::trim_start) {
            if let Some(quoted) = quoted.strip_prefix('\'') {
                return address(text, word, quoted);
            }
        }
    }
    // The parts of a name: each begins like a name.
    while let Some(rest) = text[length..].strip_prefix('.') {
        if !rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            break;
        }
        length += 1 + rest.find(|c| !is_part(c)).unwrap_or(rest.len());
    }
    Ok((Token::Name(text[..length].to_owned()), length))
}

/// Parses an address such as `ipv4('…')`; `quoted` begins after the first quote.
fn address(text: &str, kind: &str, quoted: &str) -> Result<(Token, usize), String> {
    let end = quoted.find('\'').ok_or("the address has no second quote")?;
    let (inside, rest) = (&quoted[..end], &quoted[end + 1..]);
    let rest = rest.trim_start();
    let rest = rest
        .strip_prefix(')')
        .ok_or("`)` is missing behind the address")?;
    let bytes = match kind {
        "ipv4" => inside.parse::<Ipv4Addr>().ok().map(|a| a.octets().to_vec()),
        "ipv6" => inside.parse::<Ipv6Addr>().ok().map(|a| a.octets().to_vec()),
        _ => mac(inside),
    };
    let bytes = bytes.ok_or_else(|| format!("`{inside}` is no {kind} address"))?;
    let value = BigInt::from(BigUint::from_bytes_be(&bytes));
    Ok((Token::Number(value), text.len() - rest.len()))
}

fn mac(text: &str) -> Option<Vec<u8>> {
    let parts = text.split(':').map(|part| match part.len() {
        2 => u8::from_str_radix(part, 16).ok(),
        _ => None,
    });
    let bytes: Option<Vec<u8>> = parts.collect();
    bytes.filter(|bytes| bytes.len() == 6)
}
