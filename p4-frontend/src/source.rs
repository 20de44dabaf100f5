// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Source files and places in them.
//!
//! All files of a compilation lie one after the other in one range of offsets, so that a place is
//! two numbers, whatever file it is in. Tokens keep the place that a person wrote them at: nothing
//! that the preprocessor does moves them.

use codespan_reporting::files::{self, Error, Files};
use std::ops::Range;

/// The most bytes of source, all files together.
pub const MAX_SOURCE_BYTES: usize = 8 << 20;

/// A range of source text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// Offset of the first byte.
    pub lo: u32,
    /// Offset behind the last byte.
    pub hi: u32,
}

impl Span {
    /// From the beginning of `self` to the end of `other`, if they are in that order; else `self`.
    pub(crate) fn to(self, other: Span) -> Span {
        if other.hi >= self.lo {
            Span {
                lo: self.lo,
                hi: other.hi,
            }
        } else {
            self
        }
    }
}

/// One file: its name as a person knows it, and its text.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// The name that diagnostics show.
    pub name: String,
    /// The whole text.
    pub text: String,
    start: u32,
    /// Offsets of the lines' beginnings, from the beginning of the file.
    lines: Vec<usize>,
}

/// All files of a compilation.
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

impl SourceMap {
    /// Adds a file; tells the offset of its first byte, or `None` if there is too much source.
    pub(crate) fn add(&mut self, name: String, text: String) -> Option<usize> {
        let start = self.end();
        if start + text.len() > MAX_SOURCE_BYTES {
            return None;
        }
        self.files.push(SourceFile {
            name,
            lines: files::line_starts(&text).collect(),
            text,
            start: u32::try_from(start).ok()?,
        });
        Some(self.files.len() - 1)
    }

    fn end(&self) -> usize {
        // One offset between files belongs to none: a place at the end of one is not in the next.
        self.files
            .last()
            .map_or(0, |f| f.start as usize + f.text.len() + 1)
    }

    /// A file by its number.
    pub(crate) fn file(&self, index: usize) -> &SourceFile {
        &self.files[index]
    }

    /// The number of the file that a place is in.
    pub(crate) fn file_of(&self, span: Span) -> usize {
        self.files
            .partition_point(|f| f.start <= span.lo)
            .saturating_sub(1)
    }

    /// The place in its file.
    pub(crate) fn local(&self, span: Span) -> (usize, Range<usize>) {
        let index = self.file_of(span);
        let Some(file) = self.files.get(index) else {
            return (0, 0..0);
        };
        let (len, start) = (file.text.len(), file.start);
        let lo = (span.lo.saturating_sub(start) as usize).min(len);
        let hi = (span.hi.saturating_sub(start) as usize).clamp(lo, len);
        (index, lo..hi)
    }

    /// `file:line:column` of the beginning of a place.
    pub fn position(&self, span: Span) -> String {
        let (index, range) = self.local(span);
        match (self.files.get(index), self.location(index, range.start)) {
            (Some(file), Ok(at)) => {
                format!("{}:{}:{}", file.name, at.line_number, at.column_number)
            }
            _ => "?".to_owned(),
        }
    }

    /// Whether a place is in a file that comes with the front end.
    pub(crate) fn is_ours(&self, span: Span) -> bool {
        let file = self.files.get(self.file_of(span));
        file.is_some_and(|file| file.name.starts_with('<'))
    }

    /// The number of the line that a place begins in, from 1.
    pub(crate) fn line(&self, span: Span) -> usize {
        let (index, range) = self.local(span);
        self.line_index(index, range.start)
            .map_or(0, |line| line + 1)
    }

    /// The text at a place.
    pub fn text(&self, span: Span) -> &str {
        let (index, range) = self.local(span);
        self.files
            .get(index)
            .and_then(|f| f.text.get(range))
            .unwrap_or("")
    }
}

impl SourceFile {
    /// The place of a range of this file.
    pub(crate) fn span(&self, range: Range<usize>) -> Span {
        // A map takes no more bytes than fit.
        Span {
            lo: self.start + range.start as u32,
            hi: self.start + range.end as u32,
        }
    }
}

impl<'a> Files<'a> for SourceMap {
    type FileId = usize;
    type Name = &'a str;
    type Source = &'a str;

    fn name(&'a self, id: usize) -> Result<&'a str, Error> {
        Ok(&self.files.get(id).ok_or(Error::FileMissing)?.name)
    }

    fn source(&'a self, id: usize) -> Result<&'a str, Error> {
        Ok(&self.files.get(id).ok_or(Error::FileMissing)?.text)
    }

    fn line_index(&'a self, id: usize, byte: usize) -> Result<usize, Error> {
        let file = self.files.get(id).ok_or(Error::FileMissing)?;
        Ok(file.lines.partition_point(|&l| l <= byte).saturating_sub(1))
    }

    fn line_range(&'a self, id: usize, line: usize) -> Result<Range<usize>, Error> {
        let file = self.files.get(id).ok_or(Error::FileMissing)?;
        let start = *file.lines.get(line).ok_or(Error::LineTooLarge {
            given: line,
            max: file.lines.len(),
        })?;
        let end = file.lines.get(line + 1).copied().unwrap_or(file.text.len());
        Ok(start..end)
    }
}

/// Where included files come from. The front end itself reads no files.
pub trait Includes {
    /// The name and the text of the file that `#include` names. `from` is the name of the file
    /// with the directive if the path stood in quotes, `None` if it stood in angle brackets.
    ///
    /// # Errors
    /// Why a file that is there is not included.
    fn include(&self, path: &str, from: Option<&str>) -> Result<Option<(String, String)>, String>;
}

/// Nothing can be included but the architectures that come with the front end.
pub struct NoIncludes;

impl Includes for NoIncludes {
    fn include(&self, _path: &str, _: Option<&str>) -> Result<Option<(String, String)>, String> {
        Ok(None)
    }
}
