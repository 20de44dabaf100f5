// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The strings of the types with one URI, and the number of each.

use std::collections::HashMap;
use std::sync::Arc;

use tonic::Code;

use crate::bytes::shortest;
use crate::server::fault::{Fault, Result};

/// The maximum size in bytes of all strings of a program, each with the overhead kept beside it.
const MAX_BYTES: usize = 32 << 20;
const BESIDE: usize = 128;
/// The maximum width of a number that represents a string other than its own digits.
const MAX_BITS: u32 = 32;

/// The handling of a string that has not been written yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// It is assigned a number.
    Numbered,
    /// It is treated as missing.
    Missing,
}

/// The strings of the types with one URI.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Translation {
    /// The URI, or the type if there is none.
    pub(super) name: String,
    /// The width of the narrowest type.
    pub(super) bits: u32,
    numbers: HashMap<Arc<str>, u64>,
    /// The strings by number; `None` for numbers that were written as such.
    texts: HashMap<u64, Option<Arc<str>>>,
    /// The largest number that has not been assigned to a string.
    next: Option<u64>,
}

/// Parses a string of decimal digits: `None` if it is another string, `Some(None)` if it is too
/// large.
fn digits(text: &str) -> Option<Option<u64>> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_short = text == "0" || !text.is_empty() && !text.starts_with('0');
    (is_number && is_short).then(|| text.parse().ok())
}

impl Translation {
    pub(super) fn new(name: &str, bits: u32) -> Translation {
        let mut made = Translation {
            name: name.to_owned(),
            bits: u32::MAX,
            numbers: HashMap::new(),
            texts: HashMap::new(),
            next: None,
        };
        made.narrow(bits);
        made
    }

    /// Adds a type of that many bits to the translation.
    pub(super) fn narrow(&mut self, bits: u32) {
        self.bits = self.bits.min(bits);
        self.next = (1u64 << self.bits.min(MAX_BITS)).checked_sub(1);
    }

    /// Returns the memory that its strings take.
    pub(super) fn bytes(&self) -> usize {
        let texts = self.numbers.keys().map(|text| text.len());
        texts.sum::<usize>() + self.texts.len() * BESIDE
    }

    /// The numbers that are assigned, with their strings; empty for those that were written as such.
    pub(super) fn assigned(&self) -> Vec<(u64, String)> {
        let shown = |text: &Option<Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
        let texts = self.texts.iter();
        texts.map(|(&number, text)| (number, shown(text))).collect()
    }

    /// Replaces all numbers by those of [`assigned`](Self::assigned).
    pub(super) fn assign(&mut self, assigned: &[(u64, String)]) {
        (self.numbers, self.texts) = (HashMap::new(), HashMap::new());
        // Numbers below are free; those above that are, too, are found again.
        self.narrow(self.bits);
        for (number, text) in assigned {
            let text: Option<Arc<str>> = (!text.is_empty()).then(|| text.as_str().into());
            if let Some(text) = &text {
                self.numbers.insert(text.clone(), *number);
            }
            self.texts.insert(*number, text);
        }
    }

    fn fits(&self, number: u64) -> bool {
        self.bits >= u64::BITS || number >> self.bits == 0
    }

    pub(super) fn number(
        &mut self,
        text: &str,
        unknown: Unknown,
        bytes: &mut usize,
    ) -> Result<u64> {
        if let Some(number) = self.numbers.get(text) {
            return Ok(*number);
        }
        if let Some(number) = digits(text) {
            let number = number.filter(|number| self.fits(*number)).ok_or_else(|| {
                Fault::new(
                    Code::OutOfRange,
                    format!("the value `{text}` does not fit into {} bits", self.bits),
                )
            })?;
            return match (self.texts.get(&number), unknown) {
                (Some(Some(other)), _) => Err(Fault::new(
                    Code::FailedPrecondition,
                    format!("{number} stands for the text `{other}`"),
                )),
                (Some(None), _) | (None, Unknown::Missing) => Ok(number),
                (None, Unknown::Numbered) => {
                    charge(bytes, BESIDE)?;
                    self.texts.insert(number, None);
                    Ok(number)
                }
            };
        }
        if unknown == Unknown::Missing {
            return Err(Fault::not_found(format!(
                "the value `{text}` does not exist"
            )));
        }
        while let Some(number) = self.next {
            if !self.texts.contains_key(&number) {
                charge(bytes, BESIDE + text.len())?;
                let text: Arc<str> = text.into();
                self.numbers.insert(text.clone(), number);
                self.texts.insert(number, Some(text));
                self.next = number.checked_sub(1);
                return Ok(number);
            }
            self.next = number.checked_sub(1);
        }
        Err(Fault::new(
            Code::ResourceExhausted,
            format!(
                "all numbers of {} bits stand for other texts of `{}`",
                self.bits.min(MAX_BITS),
                self.name
            ),
        ))
    }

    pub(super) fn text(&self, number: &[u8]) -> String {
        let short = shortest(number);
        if short.len() > size_of::<u64>() {
            let digits = short.iter().map(|byte| format!("{byte:02x}"));
            return format!("0x{}", digits.collect::<String>());
        }
        let number = short.iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
        match self.texts.get(&number) {
            Some(Some(text)) => text.to_string(),
            _ => number.to_string(),
        }
    }
}

fn charge(bytes: &mut usize, more: usize) -> Result<()> {
    if *bytes + more > MAX_BYTES {
        return Err(Fault::new(
            Code::ResourceExhausted,
            format!(
                "the texts of a program take {} MiB at most",
                MAX_BYTES >> 20
            ),
        ));
    }
    *bytes += more;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(of: &mut Translation, text: &str) -> Result<u64> {
        of.number(text, Unknown::Numbered, &mut 0)
    }

    #[test]
    fn texts_of_digits_are_their_numbers_and_others_get_what_is_left() {
        let mut names = Translation::new("ports", 2);
        assert_eq!(number(&mut names, "3"), Ok(3));
        assert_eq!(number(&mut names, "eth0"), Ok(2));
        assert_eq!(number(&mut names, "eth0"), Ok(2));
        assert_eq!(number(&mut names, "01"), Ok(1));
        let error = number(&mut names, "2").unwrap_err();
        assert_eq!(error.message, "2 stands for the text `eth0`");
        let error = number(&mut names, "4").unwrap_err();
        assert_eq!(error.message, "the value `4` does not fit into 2 bits");
        assert_eq!(number(&mut names, ""), Ok(0));
        let error = number(&mut names, "eth1").unwrap_err();
        assert_eq!(error.code, Code::ResourceExhausted);
        assert_eq!(names.text(&[0, 2]), "eth0");
        assert_eq!(names.text(&[3]), "3");
        assert_eq!(names.text(&[1; 9]), "0x010101010101010101");
    }

    #[test]
    fn who_only_asks_changes_nothing() {
        let mut names = Translation::new("ports", 64);
        let before = names.clone();
        let mut ask = |text| names.number(text, Unknown::Missing, &mut 0);
        assert_eq!(ask("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(ask("eth0").unwrap_err().code, Code::NotFound);
        assert_eq!(names, before);
        let mut bytes = MAX_BYTES;
        let full = names.number("eth0", Unknown::Numbered, &mut bytes);
        assert_eq!(full.unwrap_err().code, Code::ResourceExhausted);
        assert_eq!(names, before);
    }

    proptest! {
        #[test]
        fn each_text_has_a_number_of_its_own(texts in prop::collection::vec("[0-9a-c]{1,2}", 1..60)) {
            let mut names = Translation::new("names", 7);
            let mut known = HashMap::new();
            for text in texts {
                let Ok(number) = number(&mut names, &text) else {
                    // Only a string of digits may have a number that already represents another
                    // string.
                    prop_assert!(digits(&text).is_some());
                    continue;
                };
                prop_assert_eq!(names.text(&number.to_be_bytes()), &*text);
                if let Some(other) = known.insert(number, text.clone()) {
                    prop_assert_eq!(other, text);
                }
            }
        }
    }
}
