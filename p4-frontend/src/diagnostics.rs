// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is wrong with a program, and how a person is shown it.

use std::fmt::Write;

use codespan_reporting::diagnostic as shown;
use codespan_reporting::term;
use codespan_reporting::term::termcolor::NoColor;

use crate::source::{SourceMap, Span};

/// The most errors that are collected; what follows is mostly an effect of them.
pub const MAX_ERRORS: usize = 50;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The program is refused.
    Error,
    /// The program is accepted, but perhaps not what was meant.
    Warning,
}

/// One thing that is wrong, at one place.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub message: String,
    /// Where.
    pub span: Span,
    /// What the underlined text is, or should have been.
    pub label: String,
    /// Other places that have to do with it.
    pub related: Vec<(Span, String)>,
    /// What would be right.
    pub notes: Vec<String>,
}

impl Diagnostic {
    pub(crate) fn error(span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            message: message.into(),
            span,
            label: String::new(),
            related: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Diagnostic {
        self.label = label.into();
        self
    }

    pub(crate) fn related(mut self, span: Span, label: impl Into<String>) -> Diagnostic {
        self.related.push((span, label.into()));
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Diagnostic {
        self.notes.push(note.into());
        self
    }

    /// The diagnostic as a person is shown it: file, line, the text underlined.
    pub fn render(&self, sources: &SourceMap) -> String {
        let severity = match self.severity {
            Severity::Error => shown::Severity::Error,
            Severity::Warning => shown::Severity::Warning,
        };
        let place = |span| sources.local(span);
        let (file, range) = place(self.span);
        let mut labels = vec![shown::Label::primary(file, range).with_message(&self.label)];
        for (span, label) in &self.related {
            let (file, range) = place(*span);
            labels.push(shown::Label::secondary(file, range).with_message(label));
        }
        let diagnostic = shown::Diagnostic::new(severity)
            .with_message(&self.message)
            .with_labels(labels)
            .with_notes(self.notes.clone());
        let mut writer = NoColor::new(Vec::new());
        if term::emit(&mut writer, &term::Config::default(), sources, &diagnostic).is_err() {
            // A place that no file has: the message alone is better than none.
            return format!("error: {}\n", self.message);
        }
        String::from_utf8_lossy(&writer.into_inner()).into_owned()
    }
}

/// All that was found, in the order in which it was found.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    errors: usize,
}

impl Diagnostics {
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        if diagnostic.severity == Severity::Error {
            self.errors += 1;
            if self.errors > MAX_ERRORS {
                return;
            }
        }
        self.list.push(diagnostic);
    }

    /// Whether the program is refused.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Whether there are so many errors that more would not help.
    pub(crate) fn is_full(&self) -> bool {
        self.errors >= MAX_ERRORS
    }

    /// Every diagnostic that was kept.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// All of them, as a person is shown them.
    pub fn render(&self, sources: &SourceMap) -> String {
        let mut text = String::new();
        for diagnostic in &self.list {
            text += &diagnostic.render(sources);
            text.push('\n');
        }
        if self.errors > MAX_ERRORS {
            let _ = writeln!(text, "{} more errors", self.errors - MAX_ERRORS);
        }
        text
    }
}
