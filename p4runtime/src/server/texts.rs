// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Values that are texts to clients (`sdn_string`), and the numbers that stand for them in the data
//! plane (P4Runtime 1.4, sections "User-Defined Types" and "PSA Metadata Translation").
//!
//! The standard leaves it to the device what a text stands for. Here a text of digits is that
//! number. Any other gets a number when it is first written, from the largest of the type
//! downwards, and keeps it as long as the program is there: the data plane may have copied it to
//! where nobody looks. Types with the same URI have their texts in common. A number without a text
//! is told in digits.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use adit_p4_frontend::control::{Api, Definition, Type};
use parking_lot::Mutex;
use tonic::Code;

use super::fault::{Fault, Result};
use super::pipeline::id_of;
use crate::bytes::{from_limbs, shortest};
use crate::proto::config::{self as pb, p4_new_type_translation::SdnType};
use crate::proto::v1::field_match::{Exact, FieldMatchType, Optional};

/// The longest text in bytes.
const MAX_TEXT: usize = 128;
/// How many bytes all texts of a program take, each with what is kept beside it.
const MAX_BYTES: usize = 32 << 20;
const BESIDE: usize = 128;
/// The most bits of a number that stands for a text which is not that number.
const MAX_BITS: u32 = 32;

/// What becomes of a text that nobody has written yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// It gets a number.
    Numbered,
    /// It is not there.
    Missing,
}

/// A match field, parameter or metadata: the id of what it is of, and its own.
pub(crate) type Place = (u32, u32);

/// All texts of a program.
pub(crate) struct Texts {
    /// Where values are texts, and of which translation.
    places: HashMap<Place, usize>,
    /// The translations of types.
    types: HashMap<String, usize>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    translations: Vec<Translation>,
    bytes: usize,
}

/// The texts of the types with one URI.
#[derive(Clone, Debug, PartialEq)]
struct Translation {
    /// The URI; without one, the type.
    name: String,
    /// The bits of the narrowest type.
    bits: u32,
    numbers: HashMap<Arc<str>, u64>,
    /// Nothing for numbers that were written as such.
    texts: HashMap<u64, Option<Arc<str>>>,
    /// The largest number that no text has got yet.
    next: Option<u64>,
}

/// The number that a text is, if it is one; nothing in that if it is too large.
fn digits(text: &str) -> Option<Option<u64>> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_short = text == "0" || !text.is_empty() && !text.starts_with('0');
    (is_number && is_short).then(|| text.parse().ok())
}

impl Translation {
    fn new(name: &str, bits: u32) -> Translation {
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

    /// A type of so many bits has this translation, too.
    fn narrow(&mut self, bits: u32) {
        self.bits = self.bits.min(bits);
        self.next = (1u64 << self.bits.min(MAX_BITS)).checked_sub(1);
    }

    /// What its texts take.
    fn bytes(&self) -> usize {
        let texts = self.numbers.keys().map(|text| text.len());
        texts.sum::<usize>() + self.texts.len() * BESIDE
    }

    fn fits(&self, number: u64) -> bool {
        self.bits >= u64::BITS || number >> self.bits == 0
    }

    fn number(&mut self, text: &str, unknown: Unknown, bytes: &mut usize) -> Result<u64> {
        if let Some(number) = self.numbers.get(text) {
            return Ok(*number);
        }
        if let Some(number) = digits(text) {
            let number = number.filter(|number| self.fits(*number)).ok_or_else(|| {
                Fault::invalid(format!("`{text}` does not fit into {} bits", self.bits))
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
            return Err(Fault::not_found(format!("there is no text `{text}`")));
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

    fn text(&self, number: &[u8]) -> String {
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

impl Texts {
    /// What is a text to clients.
    pub(crate) fn new(info: &pb::P4Info, api: &Api) -> Texts {
        let mut types = HashMap::new();
        let mut translations: Vec<Translation> = Vec::new();
        for (name, uri) in types_of(info) {
            let bits = match api.types.get(name) {
                Some(Definition::New(Type::Bit(bits) | Type::Int(bits), _)) => *bits,
                _ => 1,
            };
            let known_as = if uri.is_empty() { name } else { uri };
            let at = translations.iter().position(|t| t.name == *known_as);
            match at {
                Some(at) => translations[at].narrow(bits),
                None => translations.push(Translation::new(known_as, bits)),
            }
            types.insert(name.clone(), at.unwrap_or(translations.len() - 1));
        }
        let mut places = HashMap::new();
        let mut note = |preamble, id: u32, ty: &Option<pb::P4NamedType>| {
            if let Some(at) = ty.as_ref().and_then(|ty| types.get(&ty.name)) {
                places.insert((id_of(preamble), id), *at);
            }
        };
        for table in &info.tables {
            let fields = table.match_fields.iter();
            fields.for_each(|f| note(&table.preamble, f.id, &f.type_name));
        }
        for set in &info.value_sets {
            let fields = set.r#match.iter();
            fields.for_each(|f| note(&set.preamble, f.id, &f.type_name));
        }
        for action in &info.actions {
            let parameters = action.params.iter();
            parameters.for_each(|p| note(&action.preamble, p.id, &p.type_name));
        }
        for header in &info.controller_packet_metadata {
            let fields = header.metadata.iter();
            fields.for_each(|f| note(&header.preamble, f.id, &f.type_name));
        }
        Texts {
            places,
            types,
            known: Mutex::new(Known {
                translations,
                bytes: 0,
            }),
        }
    }

    /// A value as the data plane has it: a text's number, or what was given.
    pub(crate) fn number<'v>(
        &self,
        place: Place,
        name: &str,
        given: &'v [u8],
        unknown: Unknown,
    ) -> Result<Cow<'v, [u8]>> {
        let Some(at) = self.places.get(&place) else {
            return Ok(Cow::Borrowed(given));
        };
        let named = |fault: Fault| Fault::new(fault.code, format!("`{name}`: {}", fault.message));
        let text = std::str::from_utf8(given).ok();
        let text = text.filter(|text| (1..=MAX_TEXT).contains(&text.len()));
        let text = text.ok_or_else(|| {
            named(Fault::invalid(format!(
                "a text is 1 to {MAX_TEXT} bytes of UTF-8"
            )))
        })?;
        let Known {
            translations,
            bytes,
        } = &mut *self.known.lock();
        let number = translations[*at].number(text, unknown, bytes);
        Ok(Cow::Owned(from_limbs(&[number.map_err(named)?])))
    }

    /// A value as clients have it.
    pub(crate) fn shown(&self, place: Place, value: Vec<u8>) -> Vec<u8> {
        match self.places.get(&place) {
            Some(at) => self.known.lock().translations[*at].text(&value).into(),
            None => value,
        }
    }

    /// The same for a value of a type that has a name.
    pub(crate) fn shown_type(&self, ty: &str, value: Vec<u8>) -> Vec<u8> {
        match self.types.get(ty) {
            Some(at) => self.known.lock().translations[*at].text(&value).into(),
            None => value,
        }
    }

    /// A match as the data plane has it.
    pub(crate) fn number_match<'m>(
        &self,
        place: Place,
        name: &str,
        is: &'m FieldMatchType,
        unknown: Unknown,
    ) -> Result<Cow<'m, FieldMatchType>> {
        if !self.places.contains_key(&place) {
            return Ok(Cow::Borrowed(is));
        }
        let value = |text: &[u8]| self.number(place, name, text, unknown).map(Cow::into_owned);
        Ok(Cow::Owned(match is {
            FieldMatchType::Exact(m) => FieldMatchType::Exact(Exact {
                value: value(&m.value)?,
            }),
            FieldMatchType::Optional(m) => FieldMatchType::Optional(Optional {
                value: value(&m.value)?,
            }),
            _ => {
                return Err(Fault::unimplemented(format!(
                    "`{name}` is a text (sdn_string): texts are matched exact or optional"
                )))
            }
        }))
    }

    /// A match as clients have it.
    pub(crate) fn shown_match(&self, place: Place, mut is: FieldMatchType) -> FieldMatchType {
        match &mut is {
            FieldMatchType::Exact(Exact { value })
            | FieldMatchType::Optional(Optional { value }) => {
                *value = self.shown(place, std::mem::take(value));
            }
            _ => {}
        }
        is
    }

    /// Takes over what is known of the translations that the program before has, too.
    pub(crate) fn inherit(&self, before: &Texts) {
        let before = before.known.lock();
        let mut known = self.known.lock();
        for ours in &mut known.translations {
            let mut theirs = before.translations.iter();
            let same = |t: &&Translation| t.name == ours.name && t.bits == ours.bits;
            if let Some(theirs) = theirs.find(same) {
                *ours = theirs.clone();
            }
        }
        known.bytes = known.translations.iter().map(Translation::bytes).sum();
    }
}

/// The types whose values are texts, and their URIs.
fn types_of(info: &pb::P4Info) -> impl Iterator<Item = (&String, &String)> {
    use pb::p4_new_type_spec::Representation;
    let types = info.type_info.iter().flat_map(|types| &types.new_types);
    types.filter_map(|(name, ty)| match &ty.representation {
        Some(Representation::TranslatedType(translation)) => match translation.sdn_type {
            Some(SdnType::SdnString(_)) => Some((name, &translation.uri)),
            _ => None,
        },
        _ => None,
    })
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
        assert_eq!(error.message, "`4` does not fit into 2 bits");
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
                    // Only digits can stand for another text already.
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
