// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The syntax of matches: `10.0.0.0/8`, `0x0800&&&0xff00`, `1000..2000`, `80`, `*`.

use adit_p4runtime::bytes::shortest;
use adit_p4runtime::proto::config::match_field::MatchType;
use adit_p4runtime::proto::v1::field_match::{
    Exact, FieldMatchType, Lpm, Optional, Range, Ternary,
};
use anyhow::{bail, ensure, Context, Result};

use super::value::{hexadecimal, padded, parse, show, Form};

/// A match field of a table.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) width: u32,
    pub(crate) kind: MatchType,
    pub(crate) form: Form,
}

/// Returns a mask of the upper `length` bits of a width.
fn prefix(width: u32, length: u32) -> Vec<u8> {
    let mut mask = vec![0u8; width.div_ceil(8) as usize];
    let size = mask.len() as u32 * 8;
    for bit in size - width..size - width + length {
        mask[bit as usize / 8] |= 0x80 >> (bit % 8);
    }
    mask
}

/// Returns the prefix length of a mask, if it is a prefix.
fn prefix_length(mask: &[u8], width: u32) -> Option<u32> {
    let length = mask.iter().map(|b| b.count_ones()).sum();
    (prefix(width, length) == mask).then_some(length)
}

fn and(value: &[u8], mask: &[u8]) -> Vec<u8> {
    value.iter().zip(mask).map(|(v, m)| v & m).collect()
}

impl Field {
    /// Returns the syntax of the field's matches.
    pub(crate) fn syntax(&self) -> &'static str {
        match self.kind {
            MatchType::Lpm => "VALUE/LENGTH",
            MatchType::Ternary => "VALUE&&&MASK, VALUE/LENGTH or VALUE",
            MatchType::Range => "LOW..HIGH or VALUE",
            MatchType::Optional => "VALUE or *",
            _ => "VALUE",
        }
    }

    fn show(&self, bytes: &[u8]) -> String {
        show(bytes, self.width, self.form)
    }

    /// Parses a match; `None` if it matches anything.
    pub(crate) fn parse(&self, text: &str) -> Result<Option<FieldMatchType>> {
        self.read(text)
            .with_context(|| format!("`{}={text}`", self.name))
    }

    fn read(&self, text: &str) -> Result<Option<FieldMatchType>> {
        let value = |text: &str| parse(text.trim(), self.width);
        let short = |bytes: &[u8]| match self.width {
            0 => bytes.to_vec(),
            _ => shortest(bytes).to_vec(),
        };
        if text == "*" && self.kind != MatchType::Exact {
            return Ok(None);
        }
        let wrong = |given: &str| {
            format!(
                "{given}, but the field is matched {}: {}",
                self.kind_name(),
                self.syntax()
            )
        };
        if let Some((low, high)) = text.split_once("..") {
            ensure!(self.kind == MatchType::Range, wrong("a range"));
            let (low, high) = (value(low)?, value(high)?);
            ensure!(low <= high, "the range's end is below its beginning");
            let is_all = low.iter().all(|b| *b == 0) && high == prefix(self.width, self.width);
            return Ok((!is_all).then(|| {
                FieldMatchType::Range(Range {
                    low: short(&low),
                    high: short(&high),
                })
            }));
        }
        let masked = match (text.split_once("&&&"), text.split_once('/')) {
            (Some((of, mask)), _) => {
                ensure!(self.kind == MatchType::Ternary, wrong("a mask"));
                Some((value(of)?, value(mask)?))
            }
            (None, Some((of, length))) => {
                let is_right = matches!(self.kind, MatchType::Ternary | MatchType::Lpm);
                ensure!(is_right, wrong("a prefix"));
                let length = length.trim().parse().ok().filter(|l| *l <= self.width);
                let length = length.with_context(|| {
                    format!("the length of a prefix is 0 to {} here", self.width)
                })?;
                Some((value(of)?, prefix(self.width, length)))
            }
            (None, None) => None,
        };
        if let Some((of, mask)) = masked {
            let right = and(&of, &mask);
            if right != of {
                bail!(
                    "the value has bits outside of its mask: {} would be right",
                    self.masked(&right, &mask)
                );
            }
            if mask.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            return Ok(Some(match self.kind {
                MatchType::Lpm => FieldMatchType::Lpm(Lpm {
                    value: short(&of),
                    prefix_len: mask.iter().map(|b| b.count_ones() as i32).sum(),
                }),
                _ => FieldMatchType::Ternary(Ternary {
                    value: short(&of),
                    mask: short(&mask),
                }),
            }));
        }
        let of = short(&value(text)?);
        Ok(Some(match self.kind {
            MatchType::Exact => FieldMatchType::Exact(Exact { value: of }),
            MatchType::Optional => FieldMatchType::Optional(Optional { value: of }),
            MatchType::Range => FieldMatchType::Range(Range {
                low: of.clone(),
                high: of,
            }),
            MatchType::Lpm => FieldMatchType::Lpm(Lpm {
                value: of,
                prefix_len: self.width as i32,
            }),
            MatchType::Ternary => FieldMatchType::Ternary(Ternary {
                value: of,
                mask: short(&prefix(self.width, self.width)),
            }),
            MatchType::Unspecified => bail!("its kind of match is not one of P4Runtime's"),
        }))
    }

    /// Returns the field's match kind in P4.
    pub(crate) fn kind_name(&self) -> &'static str {
        match self.kind {
            MatchType::Exact => "exact",
            MatchType::Lpm => "lpm",
            MatchType::Ternary => "ternary",
            MatchType::Range => "range",
            MatchType::Optional => "optional",
            MatchType::Unspecified => "in a way of its own",
        }
    }

    fn masked(&self, value: &[u8], mask: &[u8]) -> String {
        match (prefix_length(mask, self.width), self.form) {
            (Some(length), _) if length == self.width => self.show(value),
            (Some(length), Form::Ipv4 | Form::Ipv6) => format!("{}/{length}", self.show(value)),
            (_, Form::Number) if self.kind != MatchType::Lpm => {
                format!("{}&&&{}", hexadecimal(value), hexadecimal(mask))
            }
            (Some(length), _) if self.kind == MatchType::Lpm => {
                format!("{}/{length}", self.show(value))
            }
            _ => format!("{}&&&{}", self.show(value), self.show(mask)),
        }
    }

    /// Formats a match.
    pub(crate) fn shown(&self, of: &FieldMatchType) -> String {
        let pad = |bytes: &[u8]| padded(bytes, self.width);
        match of {
            FieldMatchType::Exact(m) => self.show(&m.value),
            FieldMatchType::Optional(m) => self.show(&m.value),
            FieldMatchType::Lpm(m) => {
                let length = u32::try_from(m.prefix_len).unwrap_or(0).min(self.width);
                format!("{}/{length}", self.show(&m.value))
            }
            FieldMatchType::Ternary(m) => self.masked(&pad(&m.value), &pad(&m.mask)),
            FieldMatchType::Range(m) if m.low == m.high => self.show(&m.low),
            FieldMatchType::Range(m) => format!("{}..{}", self.show(&m.low), self.show(&m.high)),
            FieldMatchType::Other(_) => "?".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field(kind: MatchType, width: u32, form: Form) -> Field {
        Field {
            id: 1,
            name: "x".to_owned(),
            width,
            kind,
            form,
        }
    }

    #[test]
    fn matches_are_read_as_they_are_written() {
        let lpm = field(MatchType::Lpm, 32, Form::Ipv4);
        assert_eq!(
            lpm.parse("10.0.0.0/8").unwrap(),
            Some(FieldMatchType::Lpm(Lpm {
                value: vec![10, 0, 0, 0],
                prefix_len: 8
            }))
        );
        let ternary = field(MatchType::Ternary, 16, Form::Number);
        assert_eq!(
            ternary.parse("0x0800&&&0xff00").unwrap(),
            Some(FieldMatchType::Ternary(Ternary {
                value: vec![8, 0],
                mask: vec![0xFF, 0]
            }))
        );
        let range = field(MatchType::Range, 16, Form::Number);
        assert_eq!(
            range.parse("1000..2000").unwrap(),
            Some(FieldMatchType::Range(Range {
                low: vec![3, 232],
                high: vec![7, 208]
            }))
        );
        let exact = field(MatchType::Exact, 16, Form::Number);
        assert_eq!(
            exact.parse("80").unwrap(),
            Some(FieldMatchType::Exact(Exact { value: vec![80] }))
        );
    }

    #[test]
    fn what_matches_anything_is_left_out() {
        for (kind, text) in [
            (MatchType::Lpm, "0.0.0.0/0"),
            (MatchType::Ternary, "*"),
            (MatchType::Ternary, "0&&&0"),
            (MatchType::Range, "0..0xffffffff"),
            (MatchType::Optional, "*"),
        ] {
            let field = field(kind, 32, Form::Ipv4);
            assert_eq!(field.parse(text).unwrap(), None, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_and_what_would_be_right() {
        for (kind, text, why) in [
            (MatchType::Lpm, "10.0.0.1/8", "10.0.0.0/8 would be right"),
            (MatchType::Lpm, "10.0.0.0/33", "0 to 32"),
            (MatchType::Lpm, "1..2", "matched lpm: VALUE/LENGTH"),
            (MatchType::Exact, "1&&&1", "matched exact: VALUE"),
            (MatchType::Exact, "10.0.0.0/8", "matched exact: VALUE"),
            (MatchType::Exact, "*", "no number"),
            (MatchType::Range, "2..1", "below its beginning"),
            (MatchType::Ternary, "3&&&1", "0.0.0.1&&&0.0.0.1 would be"),
        ] {
            let error = field(kind, 32, Form::Ipv4).parse(text).unwrap_err();
            let error = format!("{error:#}");
            assert!(error.contains(why) && error.contains("x="), "{error}");
        }
    }

    fn kinds() -> impl Strategy<Value = (MatchType, Form)> {
        let kinds = prop::sample::select(vec![
            MatchType::Exact,
            MatchType::Lpm,
            MatchType::Ternary,
            MatchType::Range,
            MatchType::Optional,
        ]);
        (kinds, prop::sample::select(vec![Form::Number, Form::Ipv4]))
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_read(
            (kind, form) in kinds(), a in any::<u32>(), b in any::<u32>(), length in 1u32..=32,
            is_prefix in any::<bool>(),
        ) {
            let field = field(kind, 32, form);
            let short = |v: u32| shortest(&v.to_be_bytes()).to_vec();
            let top = u32::MAX << (32 - length);
            let mask = if is_prefix { top } else { b.max(1) };
            let of = match kind {
                MatchType::Exact => FieldMatchType::Exact(Exact { value: short(a) }),
                MatchType::Optional => FieldMatchType::Optional(Optional { value: short(a) }),
                MatchType::Lpm => FieldMatchType::Lpm(Lpm {
                    value: short(a & top),
                    prefix_len: length as i32,
                }),
                MatchType::Range => FieldMatchType::Range(Range {
                    low: short(a.min(b)),
                    high: short(a.max(b)),
                }),
                _ => FieldMatchType::Ternary(Ternary {
                    value: short(a & mask),
                    mask: short(mask),
                }),
            };
            let shown = field.shown(&of);
            prop_assert_eq!(field.parse(&shown).unwrap(), Some(of), "{}", shown);
        }

        #[test]
        fn any_text_is_read_or_refused((kind, form) in kinds(), text in ".*", width in 0u32..80) {
            let _ = field(kind, width, form).parse(&text);
        }
    }
}
