// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Headers of a message (RFC 3261, 7.3), their lists of values, and the parameters of these.

use std::net::IpAddr;
use std::ops::Range;

use super::scan::{
    self, digits, host, is_blank, is_line_end, next_line, number, search, skip_whitespace,
    starts_with,
};
use crate::tuple::{Endpoint, Family, Protocol};

/// The values of one header of a list that are looked at: each costs a search of the line's rest.
const MAX_VALUES: u8 = 64;
/// The scheme of an address.
const SCHEME: &[u8] = b"sip:";

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    CSeq,
    From,
    To,
    Contact,
    /// The topmost one of a transport protocol.
    Via(Protocol),
    Expires,
    ContentLength,
}

/// The notation of a header's value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    Digits,
    Endpoint,
    /// An endpoint that may have a user before it.
    Uri,
}

/// The names of a header, the text before its value, and the value's notation.
struct Syntax {
    name: &'static [u8],
    compact: Option<u8>,
    before: &'static [u8],
    value: Value,
}

impl Header {
    /// `ct_sip_hdrs`.
    fn syntax(self) -> Syntax {
        let (name, compact, before, value): (&[u8], _, &[u8], _) = match self {
            Header::CSeq => (b"CSeq", None, b"", Value::Digits),
            Header::From => (b"From", Some(b'f'), SCHEME, Value::Uri),
            Header::To => (b"To", Some(b't'), SCHEME, Value::Uri),
            Header::Contact => (b"Contact", Some(b'm'), SCHEME, Value::Uri),
            Header::Via(Protocol::TCP) => (b"Via", Some(b'v'), b"TCP ", Value::Endpoint),
            Header::Via(_) => (b"Via", Some(b'v'), b"UDP ", Value::Endpoint),
            Header::Expires => (b"Expires", None, b"", Value::Digits),
            Header::ContentLength => (b"Content-Length", Some(b'l'), b"", Value::Digits),
        };
        Syntax {
            name,
            compact,
            before,
            value,
        }
    }
}

impl Syntax {
    /// The length of the header's name, if a line begins with it. A compact one is not followed by a
    /// letter.
    fn name_length(&self, line: &[u8]) -> Option<usize> {
        if starts_with(line, self.name) {
            return Some(self.name.len());
        }
        let compact = [self.compact?];
        let is_compact = starts_with(line, &compact) && !line.get(1)?.is_ascii_alphabetic();
        is_compact.then_some(1)
    }

    /// The value at `at`.
    fn value(&self, text: &[u8], at: usize, family: Family) -> Option<Range<usize>> {
        match self.value {
            Value::Digits => Some(at..at + digits(&text[at..])).filter(|range| !range.is_empty()),
            Value::Endpoint => uri_at(text, at, family).map(|uri| uri.range),
            Value::Uri => user_and_host(text, at, family).map(|uri| uri.range),
        }
    }
}

/// An address and port, and their place in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Uri {
    pub(super) range: Range<usize>,
    pub(super) endpoint: Endpoint,
}

fn uri_at(text: &[u8], at: usize, family: Family) -> Option<Uri> {
    let (endpoint, length) = scan::endpoint(&text[at..], family)?;
    let range = at..at + length;
    Some(Uri { range, endpoint })
}

/// The endpoint behind the user, if there is one on the line (`skp_epaddr_len`).
fn user_and_host(text: &[u8], at: usize, family: Family) -> Option<Uri> {
    let rest = &text[at..];
    let stop = |&octet: &u8| octet == b'@' || is_line_end(octet);
    let user = rest.iter().position(stop).filter(|&end| rest[end] == b'@');
    uri_at(text, at + user.map_or(0, |end| end + 1), family)
}

/// The result of a search for a value.
enum Lookup {
    Absent,
    /// There is one that cannot be used; the place from which to search on.
    Unusable(usize),
    Found(Range<usize>),
}

/// `ct_sip_get_header`.
fn lookup(text: &[u8], family: Family, from: usize, syntax: &Syntax) -> Lookup {
    let mut at = from;
    while at < text.len() {
        if !is_line_end(text[at]) {
            at += 1;
            continue;
        }
        let Some(line) = next_line(text, at, text.len()) else {
            break;
        };
        at = line + 1;
        if is_blank(text[line]) {
            continue;
        }
        let Some(length) = syntax.name_length(&text[line..]) else {
            continue;
        };
        let colon = skip_whitespace(text, line + length).filter(|&at| text[at] == b':');
        let value = colon.and_then(|at| skip_whitespace(text, (at + 1).min(text.len())));
        let Some(value) = value else {
            break;
        };
        let start = match syntax.before {
            [] => Some(value),
            before => search(text, value, text.len(), before).map(|at| at + before.len()),
        };
        let found = start.and_then(|start| syntax.value(text, start, family));
        return found.map_or(Lookup::Unusable(value), Lookup::Found);
    }
    Lookup::Absent
}

/// The next value of a list that is separated by commas (`ct_sip_next_header`).
fn next_value(text: &[u8], family: Family, from: usize, syntax: &Syntax) -> Lookup {
    let comma = search(text, from, text.len(), b",");
    let start = comma.and_then(|at| search(text, at, text.len(), syntax.before));
    let Some(start) = start.map(|at| at + syntax.before.len()) else {
        return Lookup::Absent;
    };
    match syntax.value(text, start, family) {
        Some(range) => Lookup::Found(range),
        None => Lookup::Unusable(start),
    }
}

/// The digits that are the value of the first header.
pub(super) fn digits_of(text: &[u8], header: Header) -> Option<Range<usize>> {
    // The family matters to addresses only.
    match lookup(text, Family::V4, 0, &header.syntax()) {
        Lookup::Found(range) => Some(range),
        Lookup::Absent | Lookup::Unusable(_) => None,
    }
}

/// The number that is the value of the first header; absent if it has more than 32 bits.
pub(super) fn number_of(text: &[u8], header: Header) -> Option<(u32, Range<usize>)> {
    let range = digits_of(text, header)?;
    let (number, _) = number(&text[range.start..])?;
    Some((number, range))
}

/// The place up to which the values of a header have been read.
#[derive(Debug)]
pub(super) struct Cursor {
    at: usize,
    in_header: bool,
    left: u8,
}

/// A list has more values than are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooManyValues;

impl Cursor {
    pub(super) fn new() -> Self {
        Cursor {
            at: 0,
            in_header: false,
            left: MAX_VALUES,
        }
    }

    /// The next address in the headers of a kind (`ct_sip_walk_headers`).
    ///
    /// # Errors
    ///
    /// [`TooManyValues`] after as many as are looked at.
    pub(super) fn next(
        &mut self,
        text: &[u8],
        family: Family,
        header: Header,
    ) -> Result<Option<Uri>, TooManyValues> {
        let syntax = header.syntax();
        while self.in_header {
            self.left = self.left.checked_sub(1).ok_or(TooManyValues)?;
            match next_value(text, family, self.at, &syntax) {
                Lookup::Absent => self.in_header = false,
                Lookup::Unusable(at) => self.at = at,
                Lookup::Found(range) => return Ok(self.take(text, range, family)),
            }
        }
        loop {
            match lookup(text, family, self.at, &syntax) {
                Lookup::Absent => return Ok(None),
                Lookup::Unusable(at) => self.at = at,
                Lookup::Found(range) => {
                    self.in_header = true;
                    self.left = MAX_VALUES;
                    return Ok(self.take(text, range, family));
                }
            }
        }
    }

    fn take(&mut self, text: &[u8], range: Range<usize>, family: Family) -> Option<Uri> {
        self.at = range.end;
        uri_at(text, range.start, family)
    }

    /// Notes that the last address has become longer or shorter.
    pub(super) fn move_to(&mut self, end: usize) {
        self.at = end;
    }
}

/// The first address in a header of this kind that can be used (`ct_sip_parse_header_uri`).
pub(super) fn uri_of(text: &[u8], family: Family, header: Header) -> Option<Uri> {
    // No list is read, so none is too long.
    Cursor::new().next(text, family, header).ok()?
}

/// The address in a request's first line (`ct_sip_parse_request`).
pub(super) fn request_uri(text: &[u8], family: Family) -> Option<Uri> {
    let method = text
        .iter()
        .take_while(|it| it.is_ascii_alphabetic())
        .count();
    if method == 0 {
        return None;
    }
    let limit = text.len().checked_sub(SCHEME.len())?;
    let line = text.get(method + 1..limit)?;
    let end = line.iter().position(|&octet| is_line_end(octet));
    let mut places = 0..end.unwrap_or(line.len());
    let at = method + 1 + places.find(|&at| starts_with(&text[method + 1 + at..], SCHEME))?;
    user_and_host(text, at + SCHEME.len(), family)
}

/// The end of the value whose parameters begin at `from`.
fn value_end(text: &[u8], from: usize) -> usize {
    search(text, from, text.len(), b",").unwrap_or(text.len())
}

/// The place behind a parameter's name, such as `expires=`, and the end of the value.
fn behind(text: &[u8], from: usize, name: &[u8]) -> Option<(usize, usize)> {
    let limit = value_end(text, from);
    Some((search(text, from, limit, name)? + name.len(), limit))
}

/// The text of a parameter (`ct_sip_parse_param`).
pub(super) fn parameter<'a>(text: &'a [u8], from: usize, name: &[u8]) -> Option<&'a [u8]> {
    let (start, limit) = behind(text, from, name)?;
    let end = search(text, start, limit, b";").unwrap_or(limit);
    text.get(start..end)
}

/// The address of a parameter, and its place (`ct_sip_parse_address_param`).
pub(super) fn address_parameter(
    text: &[u8],
    from: usize,
    name: &[u8],
    family: Family,
    needs_brackets: bool,
) -> Option<(IpAddr, Range<usize>)> {
    let (start, limit) = behind(text, from, name)?;
    let (address, length) = host(text.get(start..limit)?, family, needs_brackets)?;
    Some((address, start..start + length))
}

/// The number of a parameter, and its place (`ct_sip_parse_numerical_param`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NumberParameter {
    Absent,
    /// It is no number.
    Invalid,
    Found(u32, Range<usize>),
}

pub(super) fn number_parameter(text: &[u8], from: usize, name: &[u8]) -> NumberParameter {
    let Some((start, limit)) = behind(text, from, name) else {
        return NumberParameter::Absent;
    };
    match text.get(start..limit).and_then(number) {
        Some((value, length)) => NumberParameter::Found(value, start..start + length),
        None => NumberParameter::Invalid,
    }
}
