// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Session descriptions (RFC 4566): the lines that matter, and what they announce.

use std::net::IpAddr;
use std::ops::Range;

use super::scan::{address, digits, is_line_end, next_line, starts_with};
use crate::tuple::Family;

/// A kind of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Version,
    Owner,
    Connection,
    Media,
}

/// A medium whose streams are expected; its number is the class of the expectations
/// (`enum sip_expectation_classes`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Medium {
    Audio = 1,
    Video = 2,
    Image = 3,
}

impl Line {
    fn name(self) -> &'static [u8] {
        match self {
            Line::Version => b"v=",
            Line::Owner => b"o=",
            Line::Connection => b"c=",
            Line::Media => b"m=",
        }
    }

    /// The value of a line whose name ends at `at`.
    fn value(self, text: &[u8], at: usize, family: Family) -> Option<Range<usize>> {
        let (start, length) = match self {
            Line::Version => (at, digits(&text[at..])),
            Line::Owner | Line::Connection => {
                let start = behind_network(text, at, family)?;
                (start, address(&text[start..], family)?.1)
            }
            Line::Media => (at, media_length(&text[at..])?),
        };
        (length > 0).then_some(start..start + length)
    }
}

/// The place of the address on a line (`ct_sdp_header_search`).
fn behind_network(text: &[u8], from: usize, family: Family) -> Option<usize> {
    let network: &[u8] = match family {
        Family::V4 => b"IN IP4 ",
        Family::V6 => b"IN IP6 ",
    };
    let limit = text.len().checked_sub(network.len())?;
    let line = text.get(from..limit)?;
    let end = line.iter().position(|&octet| is_line_end(octet));
    let mut places = from..from + end.unwrap_or(line.len());
    Some(places.find(|&at| text[at..].starts_with(network))? + network.len())
}

/// The length of a medium's name and its port (`media_len`).
fn media_length(text: &[u8]) -> Option<usize> {
    let name = text.iter().take_while(|it| it.is_ascii_alphabetic());
    let blank = name.count();
    (text.get(blank) == Some(&b' ')).then(|| blank + 1 + digits(&text[blank + 1..]))
}

/// The value of the first line of a kind behind `from`, and before a line of the kind `until`
/// (`ct_sip_get_sdp_header`).
pub(super) fn find(
    text: &[u8],
    from: usize,
    family: Family,
    kind: Line,
    until: Option<Line>,
) -> Option<Range<usize>> {
    let mut at = from;
    while at < text.len() {
        if !is_line_end(text[at]) {
            at += 1;
            continue;
        }
        let line = next_line(text, at, text.len())?;
        let rest = &text[line..];
        if until.is_some_and(|until| starts_with(rest, until.name())) {
            return None;
        }
        if starts_with(rest, kind.name()) {
            return kind.value(text, line + kind.name().len(), family);
        }
        at = line + 1;
    }
    None
}

/// The address in the first line `c=` behind `from`, and before the next medium.
pub(super) fn connection(text: &[u8], from: usize, family: Family) -> Option<IpAddr> {
    let range = find(text, from, family, Line::Connection, Some(Line::Media))?;
    address(&text[range], family).map(|(address, _)| address)
}

/// The medium of a line `m=`, and the place of its port (`sdp_media_type`).
pub(super) fn medium(text: &[u8], line: &Range<usize>) -> Option<(Medium, Range<usize>)> {
    let media: [(&[u8], Medium); 3] = [
        (b"audio ", Medium::Audio),
        (b"video ", Medium::Video),
        (b"image ", Medium::Image),
    ];
    let value = &text[line.clone()];
    let (name, medium) = media.iter().find(|(name, _)| value.starts_with(name))?;
    Some((*medium, line.start + name.len()..line.end))
}
