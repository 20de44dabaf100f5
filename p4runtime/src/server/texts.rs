// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Values that are strings to clients (`sdn_string`), and the numbers that represent them in the
//! data plane (P4Runtime 1.4, sections "User-Defined Types" and "PSA Metadata Translation").
//!
//! The standard leaves the mapping to the device. Here a string of decimal digits is mapped to that
//! number. Any other string gets a number when it is first written, from the largest of the type
//! downwards, and keeps it while the program is loaded, since the data plane may have copied the
//! number to places that the server cannot inspect. Types with the same URI share their strings. A
//! number without a string is reported in digits.

mod translation;

use std::borrow::Cow;
use std::collections::HashMap;

use adit_p4_frontend::control::{Api, Definition, Type};
use parking_lot::Mutex;

use super::fault::{Fault, Result};
use crate::bytes::from_limbs;
use crate::p4info::id_of;
use crate::proto::config::{self as pb, p4_new_type_translation::SdnType};
use crate::proto::v1::field_match::{Exact, FieldMatchType, Optional};
use translation::Translation;
pub(crate) use translation::Unknown;

/// The maximum length of a string in bytes.
const MAX_TEXT: usize = 128;

/// The place of a match field, parameter or metadata: the id of its owner, and its own.
pub(crate) type Place = (u32, u32);

/// A translation: its name and width, and the numbers that are assigned with their strings.
pub(crate) type Assigned = (String, u32, Vec<(u64, String)>);

/// All strings of a program.
pub(crate) struct Texts {
    /// The places whose values are strings, and the translation of each.
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

impl Texts {
    /// Collects the places and types whose values are strings to clients.
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

    /// Converts a value for the data plane: to a string's number, or unchanged.
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
        let named = |fault: Fault| fault.within(&format!("`{name}`"));
        let text = std::str::from_utf8(given).ok();
        let text = text.filter(|text| (1..=MAX_TEXT).contains(&text.len()));
        let text = text.ok_or_else(|| {
            named(Fault::invalid(format!(
                "the value has {} bytes: an sdn_string is 1 to {MAX_TEXT} bytes of UTF-8",
                given.len()
            )))
        })?;
        let Known {
            translations,
            bytes,
        } = &mut *self.known.lock();
        let number = translations[*at].number(text, unknown, bytes);
        Ok(Cow::Owned(from_limbs(&[number.map_err(named)?])))
    }

    /// Converts a value for clients.
    pub(crate) fn shown(&self, place: Place, value: Vec<u8>) -> Vec<u8> {
        match self.places.get(&place) {
            Some(at) => self.known.lock().translations[*at].text(&value).into(),
            None => value,
        }
    }

    /// Converts a value of a named type for clients.
    pub(crate) fn shown_type(&self, ty: &str, value: Vec<u8>) -> Vec<u8> {
        match self.types.get(ty) {
            Some(at) => self.known.lock().translations[*at].text(&value).into(),
            None => value,
        }
    }

    /// Converts a match for the data plane.
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
                    "match field `{name}` is an sdn_string, and these are matched exact or \
                     optional only"
                )))
            }
        }))
    }

    /// Converts a match for clients.
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

    /// Takes over the mappings of translations that the previous program has, too.
    /// The translations with the numbers that are assigned: name, width, numbers and strings.
    pub(crate) fn assigned(&self) -> Vec<Assigned> {
        let known = self.known.lock();
        let translations = known.translations.iter();
        translations
            .map(|one| (one.name.clone(), one.bits, one.assigned()))
            .collect()
    }

    /// Takes over the numbers of [`assigned`](Self::assigned), of translations that are here, too.
    pub(crate) fn assign(&self, before: &[Assigned]) {
        let mut known = self.known.lock();
        for ours in &mut known.translations {
            let mut theirs = before.iter();
            let same = |(name, bits, _): &&Assigned| *name == ours.name && *bits == ours.bits;
            if let Some((_, _, assigned)) = theirs.find(same) {
                ours.assign(assigned);
            }
        }
        known.bytes = known.translations.iter().map(Translation::bytes).sum();
    }

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

/// Returns the types whose values are strings, with their URIs.
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
