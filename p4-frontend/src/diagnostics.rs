// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Diagnostics of a program and their rendering.

use std::fmt::Write;

use codespan_reporting::diagnostic as shown;
use codespan_reporting::term;
use codespan_reporting::term::termcolor::NoColor;

use crate::cancel::Cancel;
use crate::excerpts::Excerpts;
use crate::source::{SourceMap, Span};
use crate::warnings::{Action, Actions, Warning};

/// The maximum number of errors that are collected; later ones mostly result from earlier ones.
pub const MAX_ERRORS: usize = 50;
/// The maximum number of warnings that are collected.
pub const MAX_WARNINGS: usize = 200;

/// The severity of a diagnostic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The program is rejected.
    Error,
    /// The program is accepted, but perhaps not what was intended.
    Warning,
}

/// One problem at one place in the source.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// Its severity.
    pub severity: Severity,
    /// The kind of warning, even if it was turned into an error; `None` for other errors.
    pub warning: Option<Warning>,
    /// The problem, in one line.
    pub message: String,
    /// Its place in the source.
    pub span: Span,
    /// A label for the underlined text: its nature, or the text expected there.
    pub label: String,
    /// Other places involved.
    pub related: Vec<(Span, String)>,
    /// Notes on a correct form.
    pub notes: Vec<String>,
}

impl Diagnostic {
    pub(crate) fn error(span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            warning: None,
            message: message.into(),
            span,
            label: String::new(),
            related: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(crate) fn warning(warning: Warning, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Warning,
            warning: Some(warning),
            ..Diagnostic::error(span, message)
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

    /// Returns position and message in one line, for logs.
    pub fn line(&self, sources: &SourceMap) -> String {
        let kind = self
            .warning
            .map_or(String::new(), |w| format!(" [{}]", w.name()));
        format!("{}: {}{kind}", sources.position(self.span), self.message)
    }

    /// Renders the diagnostic for a person: file, line and underlined text.
    pub fn render(&self, sources: &SourceMap) -> String {
        let severity = match self.severity {
            Severity::Error => shown::Severity::Error,
            Severity::Warning => shown::Severity::Warning,
        };
        let mut excerpts = Excerpts::new(sources);
        let mut notes = self.notes.clone();
        let mut labels = Vec::new();
        let (file, range) = sources.local(self.span);
        if let Some(range) = excerpts.show(file, range) {
            labels.push(shown::Label::primary(file, range).with_message(&self.label));
        }
        for (span, label) in &self.related {
            let (file, range) = sources.local(*span);
            match excerpts.show(file, range) {
                Some(range) => {
                    labels.push(shown::Label::secondary(file, range).with_message(label));
                }
                None => notes.push(format!("{}: {label}", sources.position(*span))),
            }
        }
        notes.extend(excerpts.notes());
        let mut diagnostic = shown::Diagnostic::new(severity);
        if let Some(warning) = self.warning {
            diagnostic = diagnostic.with_code(warning.name());
        }
        let diagnostic = diagnostic
            .with_message(&self.message)
            .with_labels(labels)
            .with_notes(notes);
        let mut writer = NoColor::new(Vec::new());
        if term::emit(
            &mut writer,
            &term::Config::default(),
            &excerpts,
            &diagnostic,
        )
        .is_err()
        {
            // The span is in no file: the message alone is better than none.
            let severity = match self.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            return format!("{severity}: {}\n", self.message);
        }
        String::from_utf8_lossy(&writer.into_inner()).into_owned()
    }
}

/// The error of a cancelled compilation.
pub(crate) fn cancelled(span: Span) -> Diagnostic {
    Diagnostic::error(span, "the compilation was cancelled")
}

/// All diagnostics, in the order in which they were found.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
    cancel: Cancel,
    is_cancelled: bool,
}

impl Diagnostics {
    /// Creates the diagnostics of a compilation that `cancel` stops.
    pub(crate) fn new(cancel: Cancel) -> Diagnostics {
        Diagnostics {
            cancel,
            ..Diagnostics::default()
        }
    }

    /// Returns whether the compilation has been cancelled; reports it as an error the first time.
    pub(crate) fn stopped(&mut self) -> bool {
        if !self.is_cancelled && self.cancel.is_cancelled() {
            self.is_cancelled = true;
            self.errors += 1;
            self.list.push(cancelled(Span::default()));
        }
        self.is_cancelled
    }

    pub(crate) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Returns whether the compilation was cancelled, so that nothing is known about the program.
    pub fn is_cancelled(&self) -> bool {
        self.is_cancelled
    }

    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        if diagnostic.severity == Severity::Error {
            self.errors += 1;
            if self.errors > MAX_ERRORS {
                return;
            }
        } else {
            let same =
                |d: &Diagnostic| d.span == diagnostic.span && d.message == diagnostic.message;
            if self.list.iter().any(same) {
                return;
            }
            self.warnings += 1;
            if self.warnings > MAX_WARNINGS {
                return;
            }
        }
        self.list.push(diagnostic);
    }

    /// Drops the warnings that `keep` rejects and those that are disabled; turns those configured
    /// as errors into errors.
    pub(crate) fn settle(&mut self, actions: &Actions, keep: impl Fn(&Diagnostic) -> bool) {
        let mut errors = self.errors;
        self.list.retain_mut(|diagnostic| {
            let Some(warning) = diagnostic.warning else {
                return true;
            };
            if !keep(diagnostic) {
                return false;
            }
            match actions.of(warning) {
                Action::Disable => return false,
                Action::Warn => {}
                Action::Error => {
                    diagnostic.severity = Severity::Error;
                    errors += 1;
                }
            }
            true
        });
        self.errors = errors;
    }

    /// The warnings that were kept.
    pub fn warnings(&self) -> impl Iterator<Item = &Diagnostic> {
        let is_warning = |d: &&Diagnostic| d.severity == Severity::Warning;
        self.list.iter().filter(is_warning)
    }

    /// Returns whether the program is rejected.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Returns whether the error limit is reached or the compilation is cancelled.
    pub(crate) fn is_full(&self) -> bool {
        self.errors >= MAX_ERRORS || self.is_cancelled
    }

    /// Every diagnostic that was kept.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// Renders all diagnostics for a person.
    pub fn render(&self, sources: &SourceMap) -> String {
        let mut text = String::new();
        for diagnostic in &self.list {
            text += &diagnostic.render(sources);
            text.push('\n');
        }
        if self.warnings > MAX_WARNINGS {
            let _ = writeln!(text, "{} more warnings", self.warnings - MAX_WARNINGS);
        }
        if self.errors > MAX_ERRORS {
            let _ = writeln!(text, "{} more errors", self.errors - MAX_ERRORS);
        }
        text
    }
}
