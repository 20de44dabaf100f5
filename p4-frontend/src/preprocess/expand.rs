// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Macro expansion.
//!
//! A token that results from a macro is not replaced by the same macro again (each carries the list
//! of macros that it resulted from), so that expansion terminates; its amount is limited.

use std::collections::HashMap;
use std::rc::Rc;

use super::macros::Macro;
use super::substitute::{substitute, Argument, Arguments};
use crate::cancel::Cancel;
use crate::diagnostics::{cancelled, Diagnostic};
use crate::lexer::{Interner, Kind, Name, Token};
use crate::source::{SourceMap, Span};

/// The maximum number of tokens in a program after macro expansion.
pub(super) const MAX_TOKENS: usize = 4 << 20;
/// The maximum nesting depth of function-like macros in arguments of macros.
const MAX_DEPTH: usize = 64;

/// The macros that a token resulted from.
type Hidden = Option<Rc<HiddenIn>>;

pub(super) struct HiddenIn {
    name: Name,
    outer: Hidden,
}

fn hides(mut hidden: &Hidden, name: &Name) -> bool {
    while let Some(node) = hidden {
        if node.name == *name {
            return true;
        }
        hidden = &node.outer;
    }
    false
}

/// A token and the macros that it resulted from.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) token: Token,
    hidden: Hidden,
}

impl From<Token> for Item {
    fn from(token: Token) -> Item {
        Item {
            token,
            hidden: None,
        }
    }
}

/// Counters over the whole program.
#[derive(Default)]
pub(super) struct Counts {
    /// The number of tokens processed.
    work: usize,
    /// The next value of `__COUNTER__`.
    counter: usize,
}

/// Expansion of the macros in some tokens.
pub(super) struct Expansion<'a> {
    pub(super) macros: &'a HashMap<Name, Macro>,
    pub(super) sources: &'a SourceMap,
    pub(super) names: &'a mut Interner,
    pub(super) counts: &'a mut Counts,
    pub(super) cancel: &'a Cancel,
    /// The maximum number of resulting tokens.
    pub(super) limit: usize,
}

impl Expansion<'_> {
    /// Returns `tokens` with all macros expanded.
    pub(super) fn run(&mut self, tokens: &[Token]) -> Result<Vec<Token>, Diagnostic> {
        let out = self.items(tokens.iter().cloned().map(Item::from).collect(), 0)?;
        Ok(out.into_iter().map(|item| item.token).collect())
    }

    /// Counts processed tokens; fails if there are too many or the compilation is cancelled.
    pub(super) fn work(&mut self, tokens: usize, span: Span) -> Result<(), Diagnostic> {
        self.counts.work += tokens;
        if self.cancel.is_cancelled() {
            return Err(cancelled(span));
        }
        match self.counts.work > 4 * MAX_TOKENS {
            true => Err(too_long(span)),
            false => Ok(()),
        }
    }

    fn items(&mut self, mut input: Vec<Item>, depth: usize) -> Result<Vec<Item>, Diagnostic> {
        let mut out = Vec::with_capacity(input.len());
        input.reverse();
        while let Some(item) = input.pop() {
            let span = item.token.span;
            self.work(1, span)?;
            if out.len() >= self.limit || depth > MAX_DEPTH {
                return Err(too_long(span));
            }
            let definition = self
                .macros
                .get(&item.token.text)
                .filter(|_| item.token.kind == Kind::Ident)
                .filter(|_| !hides(&item.hidden, &item.token.text));
            let Some(definition) = definition else {
                out.push(self.builtin(item));
                continue;
            };
            let body = match &definition.parameters {
                None => substitute(self, definition, &Arguments::default(), span)?,
                Some(_) if input.last().map(|i| i.token.kind) != Some(Kind::ParenOpen) => {
                    out.push(item);
                    continue;
                }
                Some(parameters) => {
                    let given = arguments(&mut input, &item.token, definition)?;
                    let mut replaced = Arguments::default();
                    for (name, raw) in parameters.iter().zip(given) {
                        let full = self.items(raw.clone(), depth + 1)?;
                        replaced.insert(name.clone(), Argument { raw, full });
                    }
                    substitute(self, definition, &replaced, span)?
                }
            };
            self.work(body.len(), span)?;
            let hidden = Some(Rc::new(HiddenIn {
                name: item.token.text.clone(),
                outer: item.hidden.clone(),
            }));
            let last = body.len().saturating_sub(1);
            for (n, mut inner) in body.into_iter().rev().enumerate() {
                inner.token.span = span;
                inner.token.first = false;
                if n == last {
                    inner.token.spaced = item.token.spaced;
                }
                inner.hidden = match inner.hidden {
                    // From an argument: hidden from the macros that it resulted from, and from this
                    // one.
                    Some(own) => Some(Rc::new(HiddenIn {
                        name: item.token.text.clone(),
                        outer: Some(own),
                    })),
                    None => hidden.clone(),
                };
                input.push(inner);
            }
        }
        Ok(out)
    }

    /// Expands a name that is always defined.
    fn builtin(&mut self, mut item: Item) -> Item {
        let token = &mut item.token;
        if token.kind != Kind::Ident || !token.text.starts_with("__") {
            return item;
        }
        let (kind, text) = match &*token.text {
            "__LINE__" => (Kind::Number, self.sources.line(token.span).to_string()),
            "__FILE__" => {
                let name = &self.sources.file(self.sources.file_of(token.span)).name;
                let name = name.replace('\\', "\\\\").replace('"', "\\\"");
                (Kind::Str, format!("\"{name}\""))
            }
            "__COUNTER__" => {
                self.counts.counter += 1;
                (Kind::Number, (self.counts.counter - 1).to_string())
            }
            _ => return item,
        };
        token.kind = kind;
        token.text = self.names.name(&text);
        item
    }
}

fn too_long(span: Span) -> Diagnostic {
    Diagnostic::error(span, "macros make this program too long")
        .note(format!("a program may have {} tokens", MAX_TOKENS))
}

/// Takes a macro's arguments with their parentheses off the input (whose next token is its last).
fn arguments(
    input: &mut Vec<Item>,
    name: &Token,
    definition: &Macro,
) -> Result<Vec<Vec<Item>>, Diagnostic> {
    let wanted = definition.parameters.as_ref().map_or(0, Vec::len);
    let is_variadic = definition.is_variadic;
    input.pop();
    let mut arguments = vec![Vec::new()];
    let mut depth = 0usize;
    loop {
        let Some(item) = input.pop() else {
            return Err(Diagnostic::error(
                name.span,
                format!("the arguments of the macro `{}` do not end", name.text),
            ));
        };
        match item.token.kind {
            Kind::ParenClose if depth == 0 => break,
            // The argument of a variadic parameter includes its commas.
            Kind::Comma if depth == 0 && !(is_variadic && arguments.len() == wanted) => {
                arguments.push(Vec::new());
                continue;
            }
            Kind::ParenOpen => depth += 1,
            Kind::ParenClose => depth -= 1,
            _ => {}
        }
        if let Some(last) = arguments.last_mut() {
            last.push(item);
        }
    }
    if wanted == 0 && arguments.len() == 1 && arguments[0].is_empty() {
        arguments.clear();
    }
    if is_variadic && arguments.len() + 1 == wanted {
        arguments.push(Vec::new());
    }
    if arguments.len() != wanted {
        let least = match is_variadic {
            true => format!("{} arguments or more", wanted - 1),
            false => format!("{wanted} arguments"),
        };
        return Err(Diagnostic::error(
            name.span,
            format!(
                "the macro `{}` takes {least}, not {}",
                name.text,
                arguments.len()
            ),
        ));
    }
    Ok(arguments)
}
