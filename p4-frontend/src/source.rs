// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Source files and spans in them.
//!
//! All files of a compilation share one range of offsets, one after the other, so that a span is
//! two numbers, whatever file it is in. Tokens keep the span at which they were written: the
//! preprocessor does not move them.

use codespan_reporting::files::{self, Error, Files};
use std::ops::Range;

/// The maximum size of the source in bytes, all files together.
pub const MAX_SOURCE_BYTES: usize = 8 << 20;

/// A range of source text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// Offset of the first byte.
    pub lo: u32,
    /// Offset after the last byte.
    pub hi: u32,
}

impl Span {
    /// The span from the beginning of `self` to the end of `other`, if they are in that order; else
    /// `self`.
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

/// One file: its name for diagnostics, and its text.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// The name that diagnostics show.
    pub name: String,
    /// The whole text.
    pub text: String,
    start: u32,
    /// Offsets of the beginnings of lines, from the beginning of the file.
    lines: Vec<usize>,
}

/// All files of a compilation.
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

impl SourceMap {
    /// Adds a file; returns its index, or `None` if there is too much source.
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
        // One offset between files belongs to none: a span at the end of one is not in the next.
        self.files
            .last()
            .map_or(0, |f| f.start as usize + f.text.len() + 1)
    }

    /// A file by its index.
    pub(crate) fn file(&self, index: usize) -> &SourceFile {
        &self.files[index]
    }

    /// The index of the file that contains a span.
    pub(crate) fn file_of(&self, span: Span) -> usize {
        self.files
            .partition_point(|f| f.start <= span.lo)
            .saturating_sub(1)
    }

    /// The index of a span's file, and the range in it.
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

    /// The `file:line:column` of the beginning of a span.
    pub fn position(&self, span: Span) -> String {
        let (index, range) = self.local(span);
        match (self.files.get(index), self.location(index, range.start)) {
            (Some(file), Ok(at)) => {
                format!("{}:{}:{}", file.name, at.line_number, at.column_number)
            }
            _ => "?".to_owned(),
        }
    }

    /// Returns whether a span is in a file shipped with the front end.
    pub(crate) fn is_ours(&self, span: Span) -> bool {
        let file = self.files.get(self.file_of(span));
        file.is_some_and(|file| file.name.starts_with('<'))
    }

    /// The number of the line in which a span begins, from 1.
    pub(crate) fn line(&self, span: Span) -> usize {
        let (index, range) = self.local(span);
        self.line_index(index, range.start)
            .map_or(0, |line| line + 1)
    }

    /// The text of a span.
    pub fn text(&self, span: Span) -> &str {
        let (index, range) = self.local(span);
        self.files
            .get(index)
            .and_then(|f| f.text.get(range))
            .unwrap_or("")
    }
}

impl SourceFile {
    /// The span of a range of this file.
    pub(crate) fn span(&self, range: Range<usize>) -> Span {
        // A source map accepts no more bytes than fit.
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

/// A provider of included files. The front end itself reads no files.
pub trait Includes {
    /// Returns the name and the text of the file that `#include` names. `from` is the name of the
    /// file with the directive if the path is in quotes, `None` if it is in angle brackets.
    ///
    /// # Errors
    /// The reason for which an existing file is not included.
    fn include(&self, path: &str, from: Option<&str>) -> Result<Option<(String, String)>, String>;
}

/// Provides nothing: only the architectures shipped with the front end can be included.
pub struct NoIncludes;

impl Includes for NoIncludes {
    fn include(&self, _path: &str, _: Option<&str>) -> Result<Option<(String, String)>, String> {
        Ok(None)
    }
}
