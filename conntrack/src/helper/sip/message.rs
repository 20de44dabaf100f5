// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A message in the payload of a packet, as it will leave.

use std::ops::Range;

use super::header::{digits_of, Header};
use super::sdp::{self, Line};
use crate::helper::Session;
use crate::stats::DropReason;
use crate::tuple::Family;

/// The maximum number of bytes of a payload.
const MAX_PAYLOAD: usize = u16::MAX as usize;

/// The maximum number of replacements in a packet: each moves what follows.
const MAX_REPLACED: usize = 256;

/// A message, and the packet that it is in.
pub(super) struct Message<'s, 'a> {
    pub(super) session: &'s mut Session<'a>,
    /// The range of the message in the payload.
    range: Range<usize>,
}

impl<'s, 'a> Message<'s, 'a> {
    pub(super) fn new(session: &'s mut Session<'a>, range: Range<usize>) -> Self {
        Message { session, range }
    }

    pub(super) fn text(&self) -> &[u8] {
        self.session
            .text()
            .get(self.range.clone())
            .unwrap_or_default()
    }

    /// The end of the message in the payload.
    pub(super) fn end(&self) -> usize {
        self.range.end
    }

    /// The family of the connection's addresses.
    pub(super) fn family(&self) -> Family {
        self.session.this().family()
    }

    /// Replaces a part of the text, and returns the end of the new one.
    pub(super) fn replace(&mut self, range: Range<usize>, new: &str) -> Result<usize, DropReason> {
        let end = range.start + new.len();
        let length = self.session.text().len() - range.len() + new.len();
        if length > MAX_PAYLOAD || self.session.replaced >= MAX_REPLACED {
            return Err(DropReason::Message);
        }
        self.range.end = self.range.end - range.len() + new.len();
        let base = self.range.start;
        self.session
            .replace(base + range.start..base + range.end, new.as_bytes());
        Ok(end)
    }

    /// Writes the length of the session description (`mangle_content_len`).
    pub(super) fn update_content_length(&mut self) -> Result<(), DropReason> {
        let text = self.text();
        let version = sdp::find(text, 0, self.family(), Line::Version, None);
        let header = digits_of(text, Header::ContentLength);
        let (Some(version), Some(header)) = (version, header) else {
            return Err(DropReason::Message);
        };
        let length = text.len() - version.start + b"v=".len();
        self.replace(header, &length.to_string())?;
        Ok(())
    }
}
