// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Excerpts of source lines for diagnostics. A program is untrusted, and a line of it may have
//! megabytes: of a long line only the part around the diagnostic is shown.

use std::ops::Range;

use codespan_reporting::files::{Error, Files};

use crate::source::SourceMap;

/// The maximum number of bytes of a line that are shown.
const MAX_LINE: usize = 512;
/// The number of bytes that are shown before the column of the diagnostic.
const BEFORE: usize = 100;

/// The part of a long line that is shown, by the line's file and index.
struct Window {
    file: usize,
    line: usize,
    range: Range<usize>,
}

/// The sources with long lines reduced to excerpts.
pub(crate) struct Excerpts<'a> {
    sources: &'a SourceMap,
    windows: Vec<Window>,
}

impl<'a> Excerpts<'a> {
    pub(crate) fn new(sources: &'a SourceMap) -> Excerpts<'a> {
        Excerpts {
            sources,
            windows: Vec::new(),
        }
    }

    /// Makes the excerpts show a range of a file. Returns the part of the range that is shown;
    /// `None` if another part of its line is shown already.
    pub(crate) fn show(&mut self, file: usize, range: Range<usize>) -> Option<Range<usize>> {
        let first = self.window(file, range.start)?;
        let start = range.start;
        if !(first.start..=first.end).contains(&start) {
            return None;
        }
        let lines = [range.start, range.end].map(|at| self.sources.line_index(file, at).ok());
        if lines[0] == lines[1] {
            return Some(start..range.end.min(first.end));
        }
        let last = self.window(file, range.end)?;
        (last.start..=last.end)
            .contains(&range.end)
            .then_some(range)
    }

    /// The shown part of the line at an offset.
    fn window(&mut self, file: usize, at: usize) -> Option<Range<usize>> {
        let line = self.sources.line_index(file, at).ok()?;
        let whole = self.sources.line_range(file, line).ok()?;
        if whole.len() <= MAX_LINE {
            return Some(whole);
        }
        if let Some(window) = self.found(file, line) {
            return Some(window);
        }
        let text = self.sources.source(file).ok()?;
        let start = boundary(text, at.saturating_sub(BEFORE).max(whole.start));
        let end = boundary(text, (start + MAX_LINE).min(whole.end));
        self.windows.push(Window {
            file,
            line,
            range: start..end,
        });
        Some(start..end)
    }

    fn found(&self, file: usize, line: usize) -> Option<Range<usize>> {
        let mut windows = self.windows.iter();
        let found = windows.find(|w| (w.file, w.line) == (file, line));
        found.map(|w| w.range.clone())
    }

    /// Notes on the lines of which only a part is shown.
    pub(crate) fn notes(&self) -> impl Iterator<Item = String> + '_ {
        self.windows.iter().map(|window| {
            let whole = self.sources.line_range(window.file, window.line);
            format!(
                "of the {} bytes of line {}, {} are shown",
                whole.map_or(0, |range| range.len()),
                window.line + 1,
                window.range.len()
            )
        })
    }
}

/// The last char boundary that is not after an offset.
fn boundary(text: &str, at: usize) -> usize {
    let found = (0..=at).rev().find(|at| text.is_char_boundary(*at));
    found.unwrap_or(0)
}

impl<'a> Files<'a> for Excerpts<'a> {
    type FileId = usize;
    type Name = &'a str;
    type Source = &'a str;

    fn name(&'a self, id: usize) -> Result<&'a str, Error> {
        self.sources.name(id)
    }

    fn source(&'a self, id: usize) -> Result<&'a str, Error> {
        self.sources.source(id)
    }

    fn line_index(&'a self, id: usize, byte: usize) -> Result<usize, Error> {
        self.sources.line_index(id, byte)
    }

    fn column_number(&'a self, id: usize, line: usize, byte: usize) -> Result<usize, Error> {
        self.sources.column_number(id, line, byte)
    }

    fn line_range(&'a self, id: usize, line: usize) -> Result<Range<usize>, Error> {
        let whole = self.sources.line_range(id, line)?;
        if whole.len() <= MAX_LINE {
            return Ok(whole);
        }
        Ok(self.found(id, line).unwrap_or_else(|| {
            let text = self.sources.source(id).unwrap_or_default();
            whole.start..boundary(text, whole.start + MAX_LINE)
        }))
    }
}

#[cfg(test)]
mod tests {
    use crate::source::NoIncludes;
    use crate::{compile, Options};

    /// Renders the diagnostics of a program.
    fn rendered(text: &str) -> String {
        let compiled = compile("x.p4", text, &NoIncludes, &Options::default());
        compiled.diagnostics.render(&compiled.sources)
    }

    #[test]
    fn short_lines_are_shown_whole() {
        let text = rendered("const bit<8> a = b;\n");
        assert!(text.contains("const bit<8> a = b;"), "{text}");
        assert!(text.contains("x.p4:1:18"), "{text}");
    }

    #[test]
    fn of_a_long_line_the_part_around_the_column_is_shown() {
        let long = format!(
            "{}const bit<8> a = b;{}\n",
            "/*ä*/ ".repeat(10_000),
            " ".repeat(70_000)
        );
        let text = rendered(&long);
        assert!(text.len() < 2048, "{} bytes", text.len());
        assert!(text.contains("const bit<8> a = b;"), "{text}");
        let column = 6 * 10_000 + 18;
        assert!(text.contains(&format!("x.p4:1:{column}")), "{text}");
        let length = long.len();
        assert!(
            text.contains(&format!("of the {length} bytes of line 1, ")),
            "{text}"
        );
    }

    #[test]
    fn diagnostics_of_one_long_line_are_bounded_in_total() {
        let many = (0..200).map(|n| format!("const bit<8> c{n} = missing{n}; "));
        let long = many.collect::<String>() + &" ".repeat(1 << 20);
        let text = rendered(&long);
        assert!(text.len() < 100_000, "{} bytes", text.len());
    }

    #[test]
    fn two_places_far_apart_on_a_long_line_do_not_panic() {
        let long = format!(
            "const bit<8> a = 1; {} const bit<8> a = 2;",
            " ".repeat(5000)
        );
        let text = rendered(&long);
        assert!(text.contains("a = 1") || text.contains("a = 2"), "{text}");
        assert!(text.len() < 4096, "{} bytes", text.len());
        // A construct over several long lines.
        let long = format!(
            "control c() {{ {0}\n{0} apply {{ x = 1; }} {0}\n{0} }}",
            " ".repeat(3000)
        );
        assert!(rendered(&long).len() < 8192);
    }
}
