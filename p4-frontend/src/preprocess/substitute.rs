// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Substitution of arguments in a macro's body: `#`, `##` and `__VA_OPT__`.

use std::collections::HashMap;

use logos::Logos;

use super::expand::{Expansion, Item};
use super::macros::Macro;
use crate::diagnostics::Diagnostic;
use crate::lexer::{Interner, Kind, Name, Token};
use crate::source::Span;

/// An argument as written, and with its macros expanded.
pub(super) struct Argument {
    pub(super) raw: Vec<Item>,
    pub(super) full: Vec<Item>,
}

/// Arguments by the names of their parameters.
pub(super) type Arguments = HashMap<Name, Argument>;

/// Returns the body of a macro with these arguments, which has to be rescanned for macros.
pub(super) fn substitute(
    expansion: &mut Expansion<'_>,
    definition: &Macro,
    arguments: &Arguments,
    span: Span,
) -> Result<Vec<Item>, Diagnostic> {
    let mut substitution = Substitution {
        expansion,
        definition,
        arguments,
        span,
    };
    substitution.tokens(&definition.body)
}

struct Substitution<'s, 'e> {
    expansion: &'s mut Expansion<'e>,
    definition: &'s Macro,
    arguments: &'s Arguments,
    /// The span of the macro's use.
    span: Span,
}

impl<'s> Substitution<'s, '_> {
    fn tokens(&mut self, body: &'s [Token]) -> Result<Vec<Item>, Diagnostic> {
        let mut out: Vec<Item> = Vec::new();
        // The start of the replacement of a `##`'s left operand, which may be empty.
        let mut left = 0;
        let (mut at, mut joins) = (0, false);
        while at < body.len() {
            let token = &body[at];
            if token.kind == Kind::HashHash {
                (at, joins) = (at + 1, true);
                continue;
            }
            // GNU: `, ## __VA_ARGS__` is empty if there are no arguments, without the comma.
            let elides = joins
                && self.definition.variadic() == Some(&token.text)
                && at > 1
                && body[at - 2].kind == Kind::Comma;
            let (mut made, used) = self.operand(body, at, joins && !elides)?;
            at += used;
            if let Some(first) = made.first_mut() {
                first.token.spaced = token.spaced;
            }
            self.expansion.work(made.len(), self.span)?;
            match (joins, out.len() > left) {
                (true, true) if elides && made.is_empty() => {
                    out.pop();
                }
                (true, true) if !elides => {
                    let mut made = made.into_iter();
                    if let (Some(last), Some(first)) = (out.last_mut(), made.next()) {
                        let second = paste(last, first, self.expansion.names);
                        out.extend(second);
                    }
                    out.extend(made);
                }
                (true, _) => out.extend(made),
                (false, _) => {
                    left = out.len();
                    out.extend(made);
                }
            }
            joins = false;
        }
        Ok(out)
    }

    /// Replaces the token at `at`; returns the result and the number of tokens of the body used.
    fn operand(
        &mut self,
        body: &'s [Token],
        at: usize,
        joins: bool,
    ) -> Result<(Vec<Item>, usize), Diagnostic> {
        let token = &body[at];
        let is_function = self.definition.parameters.is_some();
        if token.kind == Kind::Hash && is_function {
            if let Some(argument) = body.get(at + 1).and_then(|n| self.arguments.get(&n.text)) {
                return Ok((vec![self.quoted(token, &argument.raw)], 2));
            }
            if let Some((items, used)) = self.optional(body, at + 1)? {
                return Ok((vec![self.quoted(token, &items)], used + 1));
            }
        }
        if let Some(optional) = self.optional(body, at)? {
            return Ok(optional);
        }
        let pasted = joins || body.get(at + 1).is_some_and(|n| n.kind == Kind::HashHash);
        Ok(match self.arguments.get(&token.text) {
            Some(argument) if token.kind == Kind::Ident => match pasted {
                true => (argument.raw.clone(), 1),
                false => (argument.full.clone(), 1),
            },
            _ => (vec![token.clone().into()], 1),
        })
    }

    /// Replaces a `__VA_OPT__(…)` at `at`, if there is one: by its tokens if there are further
    /// arguments, else by nothing.
    fn optional(
        &mut self,
        body: &'s [Token],
        at: usize,
    ) -> Result<Option<(Vec<Item>, usize)>, Diagnostic> {
        let Some(variadic) = self.definition.variadic() else {
            return Ok(None);
        };
        let [name, open, rest @ ..] = body.get(at..).unwrap_or_default() else {
            return Ok(None);
        };
        if !name.is("__VA_OPT__") || open.kind != Kind::ParenOpen {
            return Ok(None);
        }
        let mut depth = 0usize;
        let close = rest.iter().position(|t| match t.kind {
            Kind::ParenOpen => {
                depth += 1;
                false
            }
            Kind::ParenClose if depth > 0 => {
                depth -= 1;
                false
            }
            kind => kind == Kind::ParenClose,
        });
        let Some(close) = close else {
            return Err(Diagnostic::error(
                name.span,
                "this `__VA_OPT__` does not end",
            ));
        };
        let given = self.arguments.get(variadic);
        let items = match given.is_some_and(|a| !a.full.is_empty()) {
            true => self.tokens(&rest[..close])?,
            false => Vec::new(),
        };
        Ok(Some((items, close + 3)))
    }

    fn quoted(&mut self, hash: &Token, items: &[Item]) -> Item {
        Item::from(Token {
            kind: Kind::Str,
            text: self.expansion.names.name(&quote(items)),
            ..hash.clone()
        })
    }
}

/// Pastes the second token to the first; returns it if the two do not form one token.
fn paste(first: &mut Item, second: Item, names: &mut Interner) -> Option<Item> {
    let text = format!("{}{}", first.token.text, second.token.text);
    let mut lexer = Kind::lexer(&text);
    match (lexer.next(), lexer.next()) {
        (Some(Ok(kind)), None) => {
            first.token.kind = kind;
            first.token.text = names.name(&text);
            None
        }
        _ => Some(second),
    }
}

/// Tokens as a string literal.
fn quote(items: &[Item]) -> String {
    let mut text = String::from("\"");
    for (n, item) in items.iter().enumerate() {
        if n > 0 && item.token.spaced {
            text.push(' ');
        }
        for c in item.token.text.chars() {
            if item.token.kind == Kind::Str && matches!(c, '"' | '\\') {
                text.push('\\');
            }
            text.push(c);
        }
    }
    text.push('"');
    text
}
