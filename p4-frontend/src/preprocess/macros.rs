// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Macro definitions: the name, the parameters and the body of a `#define`.

use std::rc::Rc;

use crate::diagnostics::Diagnostic;
use crate::lexer::{Interner, Kind, Name, Token};
use crate::source::Span;

/// The name of the variadic arguments.
const VA_ARGS: &str = "__VA_ARGS__";

/// A macro.
#[derive(Clone, Debug)]
pub(super) struct Macro {
    /// `None` for an object-like macro.
    pub(super) parameters: Option<Vec<Name>>,
    /// `true` if the last parameter takes all further arguments, possibly none.
    pub(super) is_variadic: bool,
    pub(super) body: Rc<[Token]>,
}

impl Macro {
    /// Parses the tokens after `#define`.
    pub(super) fn parse(
        line: &[Token],
        span: Span,
        names: &mut Interner,
    ) -> Result<(Name, Macro), Diagnostic> {
        let Some((name, mut body)) = line.split_first().filter(|(n, _)| n.kind == Kind::Ident)
        else {
            return Err(Diagnostic::error(span, "`#define` needs a name"));
        };
        let (mut parameters, mut is_variadic) = (None, false);
        if let [open, inside @ ..] = body {
            if open.kind == Kind::ParenOpen && !open.spaced {
                let (list, variadic, rest) = parameter_list(open, inside, names)?;
                (parameters, is_variadic, body) = (Some(list), variadic, rest);
            }
        }
        let edge = [body.first(), body.last()];
        if let Some(paste) = edge
            .into_iter()
            .flatten()
            .find(|t| t.kind == Kind::HashHash)
        {
            return Err(Diagnostic::error(
                paste.span,
                "`##` stands between two tokens of a macro's body",
            ));
        }
        let named = |t: &&Token| t.is(VA_ARGS) || t.is("__VA_OPT__");
        if let Some(token) = body.iter().find(named).filter(|_| !is_variadic) {
            return Err(Diagnostic::error(
                token.span,
                format!(
                    "`{}` is for macros whose parameters end in `...`",
                    token.text
                ),
            ));
        }
        let parsed = Macro {
            parameters,
            is_variadic,
            body: body.into(),
        };
        Ok((name.text.clone(), parsed))
    }

    /// The parameter that takes all further arguments.
    pub(super) fn variadic(&self) -> Option<&Name> {
        let last = self.parameters.as_ref()?.last();
        last.filter(|_| self.is_variadic)
    }
}

/// Parses parameters up to the closing parenthesis; returns them, whether the last one takes all
/// further arguments, and the tokens that follow.
fn parameter_list<'t>(
    open: &Token,
    mut inside: &'t [Token],
    names: &mut Interner,
) -> Result<(Vec<Name>, bool, &'t [Token]), Diagnostic> {
    let mut list: Vec<Name> = Vec::new();
    loop {
        match inside {
            [close, rest @ ..] if close.kind == Kind::ParenClose && list.is_empty() => {
                return Ok((list, false, rest));
            }
            [dots, close, rest @ ..]
                if dots.kind == Kind::Ellipsis && close.kind == Kind::ParenClose =>
            {
                list.push(names.name(VA_ARGS));
                return Ok((list, true, rest));
            }
            // A named variadic parameter, as in GNU's preprocessor.
            [name, dots, close, rest @ ..]
                if name.kind == Kind::Ident
                    && dots.kind == Kind::Ellipsis
                    && close.kind == Kind::ParenClose =>
            {
                list.push(name.text.clone());
                return Ok((list, true, rest));
            }
            [name, _, ..] if name.kind == Kind::Ident && list.contains(&name.text) => {
                return Err(Diagnostic::error(
                    name.span,
                    format!("two parameters are called `{}`", name.text),
                ));
            }
            [name, next, rest @ ..]
                if name.kind == Kind::Ident
                    && matches!(next.kind, Kind::Comma | Kind::ParenClose) =>
            {
                list.push(name.text.clone());
                if next.kind == Kind::ParenClose {
                    return Ok((list, false, rest));
                }
                inside = rest;
            }
            _ => {
                return Err(Diagnostic::error(
                    open.span,
                    "a macro's parameters are names with commas between them, `...` the last",
                ))
            }
        }
    }
}
