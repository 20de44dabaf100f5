// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The preprocessor: `#include`, `#define` (also with arguments, `#`, `##`, `...` and
//! `__VA_OPT__`), `#undef`, `#if` and related directives, `#error`, `#warning`, `#pragma once`,
//! `__LINE__`, `__FILE__` and `__COUNTER__`, as in GNU's preprocessor. It operates on tokens, and
//! every token keeps its span in the source; one that results from a macro has the span of the
//! macro's use.

mod condition;
mod expand;
mod macros;
mod strings;
mod substitute;

use std::collections::{HashMap, HashSet};

use crate::architectures::{Form, FILES};
use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::lexer::{tokens, Interner, Kind, Name, Token};
use crate::source::{Includes, SourceMap, Span};
use crate::warnings::Warning;

use expand::{Counts, Expansion, MAX_TOKENS};
use macros::Macro;

/// The maximum nesting depth of included files.
const MAX_INCLUDE_DEPTH: usize = 32;
/// The maximum number of included files, each counted as often as it is included.
const MAX_INCLUDES: usize = 1000;
/// The maximum nesting depth of conditions.
const MAX_CONDITIONS: usize = 256;

/// The state of the preprocessor.
pub(crate) struct Preprocessor<'a> {
    pub(crate) sources: &'a mut SourceMap,
    pub(crate) diagnostics: &'a mut Diagnostics,
    includes: &'a dyn Includes,
    architectures: Form,
    names: Interner,
    macros: HashMap<Name, Macro>,
    counts: Counts,
    /// Names of files with `#pragma once`.
    once: HashSet<String>,
    out: Vec<Token>,
    included: usize,
    /// The number of lines with conditions in string literals.
    literal_lines: usize,
}

/// An `#if` without its `#endif` so far.
struct Condition {
    span: Span,
    /// `true` if the lines that follow are active.
    active: bool,
    /// `true` if a branch has been taken, or none may be since the whole is in a skipped section.
    done: bool,
    /// `true` if `#else` has been seen.
    last: bool,
}

impl<'a> Preprocessor<'a> {
    pub(crate) fn new(
        sources: &'a mut SourceMap,
        diagnostics: &'a mut Diagnostics,
        includes: &'a dyn Includes,
        architectures: Form,
    ) -> Self {
        Preprocessor {
            sources,
            diagnostics,
            includes,
            architectures,
            names: Interner::default(),
            macros: HashMap::new(),
            counts: Counts::default(),
            once: HashSet::new(),
            out: Vec::new(),
            included: 0,
            literal_lines: 0,
        }
    }

    /// Defines a macro as `-D NAME=VALUE` does for a C compiler.
    pub(crate) fn define(&mut self, name: &str, value: &str) {
        let line = format!("#define {name} {value}\n");
        self.run("(command line)".to_owned(), line, 0);
    }

    /// Preprocesses the program; returns its tokens, an end token last.
    pub(crate) fn finish(mut self, name: String, text: String) -> Vec<Token> {
        self.run(name, text, 0);
        let end = self.out.last().map_or(Span::default(), |t| Span {
            lo: t.span.hi.saturating_sub(1),
            hi: t.span.hi,
        });
        self.out.push(Token {
            kind: Kind::End,
            text: self.names.name("the end of the program"),
            span: end,
            first: true,
            spaced: true,
        });
        self.out
    }

    fn run(&mut self, name: String, text: String, depth: usize) {
        let Some(index) = self.sources.add(name.clone(), text) else {
            self.diagnostics.push(Diagnostic::error(
                Span::default(),
                format!(
                    "`{name}` is too long: a program may have {} bytes",
                    crate::source::MAX_SOURCE_BYTES
                ),
            ));
            return;
        };
        let tokens = tokens(self.sources.file(index), &mut self.names, self.diagnostics);
        let mut conditions: Vec<Condition> = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            let active = conditions.last().is_none_or(|c| c.active);
            let start = at;
            if tokens[at].first && tokens[at].kind == Kind::Hash {
                at = line_end(&tokens, at);
                self.directive(
                    &tokens[start + 1..at],
                    tokens[start].span,
                    &mut conditions,
                    depth,
                );
            } else {
                // Everything up to the next directive at once: a macro's arguments may span lines.
                while at < tokens.len() && !(tokens[at].first && tokens[at].kind == Kind::Hash) {
                    at += 1;
                }
                if active {
                    self.text(&tokens[start..at]);
                }
            }
            if self.out.len() > MAX_TOKENS
                || self.diagnostics.stopped()
                || self.diagnostics.is_full()
            {
                return;
            }
        }
        if let Some(open) = conditions.pop() {
            self.diagnostics.push(
                Diagnostic::error(open.span, "this condition does not end")
                    .note("`#endif` ends a condition"),
            );
        }
    }

    fn text(&mut self, tokens: &[Token]) {
        let plain = self.without_conditions(tokens);
        match self.expanded(plain.as_deref().unwrap_or(tokens)) {
            Ok(expanded) => self.out.extend(expanded),
            Err(_) if self.diagnostics.stopped() => {}
            Err(error) => self.diagnostics.push(error),
        }
    }

    /// Returns the tokens with macros expanded.
    fn expanded(&mut self, tokens: &[Token]) -> Result<Vec<Token>, Diagnostic> {
        let mut expansion = Expansion {
            macros: &self.macros,
            sources: self.sources,
            names: &mut self.names,
            counts: &mut self.counts,
            cancel: self.diagnostics.cancel(),
            limit: MAX_TOKENS.saturating_sub(self.out.len()),
        };
        expansion.run(tokens)
    }

    fn directive(
        &mut self,
        line: &[Token],
        hash: Span,
        conditions: &mut Vec<Condition>,
        depth: usize,
    ) {
        let active = conditions.last().is_none_or(|c| c.active);
        let Some((name, rest)) = line.split_first() else {
            return; // A `#` alone does nothing, as in C.
        };
        let span = hash.to(name.span);
        match &*name.text {
            "ifdef" | "ifndef" => {
                let taken = active && self.is_defined(rest, span) == (&*name.text == "ifdef");
                self.open(conditions, span, active, taken);
            }
            "if" => {
                let taken = active && self.condition(rest, span);
                self.open(conditions, span, active, taken);
            }
            "elif" | "elifdef" | "elifndef" | "else" | "endif" => match conditions.last_mut() {
                None => self.error(span, format!("`#{}` without `#if`", name.text)),
                Some(_) if &*name.text == "endif" => {
                    conditions.pop();
                }
                Some(open) if open.last => {
                    let error = Diagnostic::error(span, format!("`#{}` after `#else`", name.text))
                        .related(open.span, "the condition begins here");
                    self.diagnostics.push(error);
                }
                Some(open) => {
                    open.last = &*name.text == "else";
                    let done = open.done;
                    let taken = !done
                        && match &*name.text {
                            "else" => true,
                            "elif" => self.condition(rest, span),
                            which => self.is_defined(rest, span) == (which == "elifdef"),
                        };
                    if let Some(open) = conditions.last_mut() {
                        open.active = taken;
                        open.done |= taken;
                    }
                }
            },
            _ if !active => {}
            "define" => self.define_line(rest, span),
            "undef" => match rest {
                [name] if name.kind == Kind::Ident => {
                    self.macros.remove(&name.text);
                }
                _ => self.error(span, "`#undef` takes one name".to_owned()),
            },
            "include" => self.include(rest, span, depth),
            "error" => {
                let message = format!("#error {}", self.text_of(rest));
                self.error(span, message);
            }
            "warning" => {
                let message = format!("#warning {}", self.text_of(rest));
                self.diagnostics
                    .push(Diagnostic::warning(Warning::Preprocessor, span, message));
            }
            "pragma" if matches!(rest, [once] if once.is("once")) => {
                let file = self.sources.file_of(span);
                self.once.insert(self.sources.file(file).name.clone());
            }
            // Positions are those of the actual text; pragmas are for other compilers.
            "line" | "pragma" | "ident" => {}
            _ if name.kind == Kind::Number => {}
            other => self.error(span, format!("there is no directive `#{other}`")),
        }
    }

    fn open(&mut self, conditions: &mut Vec<Condition>, span: Span, active: bool, taken: bool) {
        if conditions.len() >= MAX_CONDITIONS {
            self.error(
                span,
                format!("more than {MAX_CONDITIONS} conditions in each other"),
            );
        }
        conditions.push(Condition {
            span,
            active: taken,
            done: taken || !active,
            last: false,
        });
    }

    fn is_defined(&mut self, rest: &[Token], span: Span) -> bool {
        match rest {
            [name, ..] if name.kind == Kind::Ident => self.macros.contains_key(&name.text),
            _ => {
                self.error(span, "a macro's name is missing here".to_owned());
                false
            }
        }
    }

    fn condition(&mut self, rest: &[Token], span: Span) -> bool {
        let mut line = Vec::new();
        let mut at = 0;
        while at < rest.len() {
            let token = &rest[at];
            at += 1;
            if !token.is("defined") {
                line.push(token.clone());
                continue;
            }
            let parens = rest.get(at).is_some_and(|t| t.kind == Kind::ParenOpen);
            let name = rest.get(at + usize::from(parens));
            at += 1 + 2 * usize::from(parens);
            let known = name.is_some_and(|n| self.macros.contains_key(&n.text));
            line.push(Token {
                kind: Kind::Number,
                text: self.names.name(if known { "1" } else { "0" }),
                ..token.clone()
            });
        }
        let result = self
            .expanded(&line)
            .and_then(|line| condition::evaluate(&line, span));
        match result {
            Ok(value) => value != 0,
            Err(error) => {
                self.diagnostics.push(error);
                false
            }
        }
    }

    fn define_line(&mut self, rest: &[Token], span: Span) {
        match Macro::parse(rest, span, &mut self.names) {
            Ok((name, definition)) => {
                self.macros.insert(name, definition);
            }
            Err(error) => self.diagnostics.push(error),
        }
    }

    fn include(&mut self, rest: &[Token], span: Span, depth: usize) {
        let path = match self.include_path(rest) {
            Some(path) => Some(path),
            None => match self.expanded(rest) {
                Ok(line) => expanded_path(&line),
                Err(error) => {
                    self.diagnostics.push(error);
                    return;
                }
            },
        };
        let Some((path, quoted)) = path else {
            self.error(span, "`#include` takes \"a file\" or <a file>".to_owned());
            return;
        };
        self.included += 1;
        if depth >= MAX_INCLUDE_DEPTH || self.included > MAX_INCLUDES {
            self.error(
                span,
                format!("`{path}` is included too deep or too often (limits: {MAX_INCLUDE_DEPTH} deep, {MAX_INCLUDES} in all)"),
            );
            return;
        }
        let from = self.sources.file(self.sources.file_of(span)).name.clone();
        let found = self
            .includes
            .include(&path, quoted.then_some(from.as_str()));
        let found = match found {
            Ok(found) => found.or_else(|| self.architectures.file(&path)),
            Err(why) => {
                let message = format!("`{path}` cannot be included: {why}");
                self.error(span, message);
                return;
            }
        };
        match found {
            Some((name, _)) if self.once.contains(&name) => {}
            Some((name, text)) => self.run(name, text, depth + 1),
            None => self.diagnostics.push(
                Diagnostic::error(span, format!("there is no file `{path}`"))
                    .label("included here")
                    .note(format!("{} come with us", FILES.join(", "))),
            ),
        }
    }

    fn include_path(&self, rest: &[Token]) -> Option<(String, bool)> {
        match rest {
            [path] if path.kind == Kind::Str => {
                Some((path.text[1..path.text.len() - 1].to_owned(), true))
            }
            [open, .., close] if open.kind == Kind::Lt && close.kind == Kind::Gt => {
                let inside = Span {
                    lo: open.span.hi,
                    hi: close.span.lo,
                };
                Some((self.sources.text(inside).trim().to_owned(), false))
            }
            _ => None,
        }
    }

    /// The source text from the first of these tokens to the last.
    fn text_of(&self, tokens: &[Token]) -> String {
        let ends = tokens.first().zip(tokens.last());
        let text = ends.map(|(a, b)| self.sources.text(a.span.to(b.span)).to_owned());
        text.unwrap_or_default()
    }

    fn error(&mut self, span: Span, message: String) {
        self.diagnostics.push(Diagnostic::error(span, message));
    }
}

/// The path of an `#include` after macro expansion, and whether it is in quotes.
fn expanded_path(line: &[Token]) -> Option<(String, bool)> {
    match line {
        [path] if path.kind == Kind::Str => {
            Some((path.text[1..path.text.len() - 1].to_owned(), true))
        }
        [open, inside @ .., close] if open.kind == Kind::Lt && close.kind == Kind::Gt => {
            Some((inside.iter().map(|t| &*t.text).collect(), false))
        }
        _ => None,
    }
}

/// The index after the line that begins at `at`.
fn line_end(tokens: &[Token], at: usize) -> usize {
    let rest = &tokens[at + 1..];
    at + 1 + rest.iter().position(|t| t.first).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests;
