// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Macros and their replacement.
//!
//! A token that came out of a macro is not replaced by the same macro again (each carries the
//! list of those it came out of), so that replacement ends; how much of it there is has a limit.

use std::collections::HashMap;
use std::rc::Rc;

use logos::Logos;

use crate::diagnostics::Diagnostic;
use crate::lexer::{Interner, Kind, Name, Token};
use crate::source::Span;

/// How deep the arguments of macros may be macros with arguments.
const MAX_DEPTH: usize = 64;

#[derive(Clone, Debug)]
pub(super) struct Macro {
    /// `None` for a macro without parentheses.
    parameters: Option<Vec<Name>>,
    body: Rc<[Token]>,
}

impl Macro {
    /// What stands behind `#define`.
    pub(super) fn parse(line: &[Token], span: Span) -> Result<(Name, Macro), Diagnostic> {
        let Some((name, mut rest)) = line.split_first().filter(|(n, _)| n.kind == Kind::Ident)
        else {
            return Err(Diagnostic::error(span, "`#define` needs a name"));
        };
        let mut parameters = None;
        if let Some((open, mut inside)) = rest
            .split_first()
            .filter(|(t, _)| t.kind == Kind::ParenOpen && !t.spaced)
        {
            let mut names = Vec::new();
            loop {
                match inside {
                    [close, after @ ..] if close.kind == Kind::ParenClose && names.is_empty() => {
                        rest = after;
                        break;
                    }
                    [name, next, after @ ..]
                        if name.kind == Kind::Ident
                            && matches!(next.kind, Kind::Comma | Kind::ParenClose) =>
                    {
                        names.push(name.text.clone());
                        inside = after;
                        if next.kind == Kind::ParenClose {
                            rest = after;
                            break;
                        }
                    }
                    _ => {
                        return Err(Diagnostic::error(
                            open.span,
                            "this list of parameters is not names with commas between them",
                        ))
                    }
                }
            }
            parameters = Some(names);
        }
        Ok((
            name.text.clone(),
            Macro {
                parameters,
                body: rest.into(),
            },
        ))
    }
}

/// The macros that a token came out of.
type Hidden = Option<Rc<HiddenIn>>;

struct HiddenIn {
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

#[derive(Clone)]
struct Item {
    token: Token,
    hidden: Hidden,
}

/// Replaces macros. Counts what it does over the whole program.
#[derive(Default)]
pub(super) struct Expander {
    work: usize,
}

impl Expander {
    /// `tokens` with all macros replaced; at most `limit` of them.
    pub(super) fn expand(
        &mut self,
        macros: &HashMap<Name, Macro>,
        tokens: &[Token],
        limit: usize,
        names: &mut Interner,
    ) -> Result<Vec<Token>, Diagnostic> {
        let items = tokens.iter().map(|token| Item {
            token: token.clone(),
            hidden: None,
        });
        let out = self.items(macros, items.collect(), limit, names, 0)?;
        Ok(out.into_iter().map(|item| item.token).collect())
    }

    fn items(
        &mut self,
        macros: &HashMap<Name, Macro>,
        mut input: Vec<Item>,
        limit: usize,
        names: &mut Interner,
        depth: usize,
    ) -> Result<Vec<Item>, Diagnostic> {
        let mut out = Vec::with_capacity(input.len());
        input.reverse();
        while let Some(item) = input.pop() {
            let span = item.token.span;
            self.work += 1;
            if out.len() >= limit || self.work > 4 * super::MAX_TOKENS || depth > MAX_DEPTH {
                return Err(Diagnostic::error(span, "macros make this program too long")
                    .note(format!("a program may have {} tokens", super::MAX_TOKENS)));
            }
            let definition = macros
                .get(&item.token.text)
                .filter(|_| item.token.kind == Kind::Ident)
                .filter(|_| !hides(&item.hidden, &item.token.text));
            let Some(definition) = definition else {
                out.push(item);
                continue;
            };
            let body = match &definition.parameters {
                None => paste(
                    definition.body.iter().cloned().map(|token| Item {
                        token,
                        hidden: None,
                    }),
                    names,
                ),
                Some(_) if input.last().map(|i| i.token.kind) != Some(Kind::ParenOpen) => {
                    out.push(item);
                    continue;
                }
                Some(parameters) => {
                    let arguments = arguments(&mut input, &item.token, parameters)?;
                    let mut replaced = HashMap::new();
                    for (name, argument) in parameters.iter().zip(&arguments) {
                        let full = self.items(macros, argument.clone(), limit, names, depth + 1)?;
                        replaced.insert(name.clone(), (argument.clone(), full));
                    }
                    let body = self.substitute(definition, &replaced, limit, names, span)?;
                    paste(body.into_iter(), names)
                }
            };
            let hidden = Some(Rc::new(HiddenIn {
                name: item.token.text.clone(),
                outer: item.hidden.clone(),
            }));
            self.work += body.len();
            for mut inner in body.into_iter().rev() {
                inner.token.span = span;
                inner.token.first = false;
                inner.hidden = match inner.hidden {
                    // From an argument: hidden in what it came out of, and in this macro.
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

    /// The body with the arguments in the places of the parameters.
    fn substitute(
        &mut self,
        definition: &Macro,
        arguments: &HashMap<Name, (Vec<Item>, Vec<Item>)>,
        limit: usize,
        names: &mut Interner,
        span: Span,
    ) -> Result<Vec<Item>, Diagnostic> {
        let mut out: Vec<Item> = Vec::new();
        let body = &definition.body;
        let mut at = 0;
        while at < body.len() {
            let token = &body[at];
            if out.len() > limit {
                return Err(Diagnostic::error(span, "macros make this program too long"));
            }
            let argument = arguments.get(&token.text);
            let next = body.get(at + 1);
            if token.kind == Kind::Hash {
                if let Some((raw, _)) = next.and_then(|n| arguments.get(&n.text)) {
                    out.push(Item {
                        token: Token {
                            kind: Kind::Str,
                            text: names.name(&quote(raw)),
                            ..token.clone()
                        },
                        hidden: None,
                    });
                    at += 2;
                    continue;
                }
            }
            let pasted = next.is_some_and(|n| n.kind == Kind::HashHash)
                || at > 0 && body[at - 1].kind == Kind::HashHash;
            match argument {
                Some((raw, _)) if pasted => out.extend(raw.iter().cloned()),
                Some((_, full)) => out.extend(full.iter().cloned()),
                None => out.push(Item {
                    token: token.clone(),
                    hidden: None,
                }),
            }
            at += 1;
        }
        self.work += out.len();
        Ok(out)
    }
}

/// Takes a macro's arguments, parentheses and all, off the input (whose next token is its last).
fn arguments(
    input: &mut Vec<Item>,
    name: &Token,
    parameters: &[Name],
) -> Result<Vec<Vec<Item>>, Diagnostic> {
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
            Kind::Comma if depth == 0 => {
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
    if parameters.is_empty() && arguments.len() == 1 && arguments[0].is_empty() {
        arguments.clear();
    }
    if arguments.len() != parameters.len() {
        return Err(Diagnostic::error(
            name.span,
            format!(
                "the macro `{}` takes {} arguments, not {}",
                name.text,
                parameters.len(),
                arguments.len()
            ),
        ));
    }
    Ok(arguments)
}

/// `a ## b` becomes `ab`.
fn paste(body: impl Iterator<Item = Item>, names: &mut Interner) -> Vec<Item> {
    let mut out: Vec<Item> = Vec::new();
    let mut pending = false;
    for item in body {
        if item.token.kind == Kind::HashHash && !out.is_empty() {
            pending = true;
        } else if let (true, Some(left)) = (pending, out.last_mut()) {
            pending = false;
            let text = format!("{}{}", left.token.text, item.token.text);
            let mut lexer = Kind::lexer(&text);
            match (lexer.next(), lexer.next()) {
                (Some(Ok(kind)), None) => {
                    left.token.kind = kind;
                    left.token.text = names.name(&text);
                }
                // Not one token: they stay two.
                _ => out.push(item),
            }
        } else {
            out.push(item);
        }
    }
    out
}

/// Tokens as the text of a string.
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
