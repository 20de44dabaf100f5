// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Conditions inside string literals of several lines. GNU's preprocessor works line by line and
//! has no such literals, so programs have conditions in their `@entry_restriction`s.

use crate::diagnostics::Diagnostic;
use crate::lexer::{tokens, Kind, Token};

use super::{Condition, Preprocessor};

/// The maximum number of lines with conditions in all string literals.
const MAX_LINES: usize = 1000;

/// Returns whether a line is a condition, and ends before the literal does.
fn is_condition(line: &str) -> bool {
    let Some(rest) = line.trim_start().strip_prefix('#') else {
        return false;
    };
    let rest = rest.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_alphabetic());
    let name = &rest[..end.unwrap_or(rest.len())];
    let names = [
        "if", "ifdef", "ifndef", "elif", "elifdef", "elifndef", "else", "endif",
    ];
    line.ends_with('\n') && names.contains(&name)
}

fn has_conditions(token: &Token) -> bool {
    token.kind == Kind::Str && token.text.split_inclusive('\n').skip(1).any(is_condition)
}

impl Preprocessor<'_> {
    /// Evaluates the conditions in string literals; returns `None` if there are none.
    pub(super) fn without_conditions(&mut self, list: &[Token]) -> Option<Vec<Token>> {
        if !list.iter().any(has_conditions) {
            return None;
        }
        let each = list.iter().map(|token| match has_conditions(token) {
            true => self.literal(token),
            false => token.clone(),
        });
        Some(each.collect())
    }

    /// A string literal with its active lines. The inactive ones are empty, so that positions in it
    /// do not change.
    fn literal(&mut self, token: &Token) -> Token {
        let file = self.sources.file(self.sources.file_of(token.span));
        let name = format!("{} (a string literal)", file.name);
        let mut conditions: Vec<Condition> = Vec::new();
        let mut text = String::new();
        for (n, line) in token.text.split_inclusive('\n').enumerate() {
            if n > 0 && is_condition(line) {
                text.push('\n');
                self.literal_lines += 1;
                if self.literal_lines > MAX_LINES {
                    let message = format!("string literals have more than {MAX_LINES} conditions");
                    self.error(token.span, message);
                    break;
                }
                let Some(index) = self.sources.add(name.clone(), line.to_owned()) else {
                    break;
                };
                let line = tokens(self.sources.file(index), &mut self.names, self.diagnostics);
                if let Some((hash, rest)) = line.split_first() {
                    self.directive(rest, hash.span, &mut conditions, 0);
                }
            } else if conditions.last().is_none_or(|c| c.active) {
                text.push_str(line);
            } else if line.ends_with('\n') {
                text.push('\n');
            } else {
                // The closing quote.
                text.push('"');
            }
        }
        if let Some(open) = conditions.pop() {
            self.diagnostics.push(
                Diagnostic::error(open.span, "this condition does not end")
                    .note("`#endif` ends a condition, within the string literal"),
            );
        }
        Token {
            text: self.names.name(&text),
            ..token.clone()
        }
    }
}
