// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Parsing of tokens to a syntax tree, by recursive descent.
//!
//! The grammar depends on which names are types. As the language requires names to be declared
//! before they are used, the parser keeps scopes of names with only that information in them.
//!
//! An error ends a declaration or a statement; parsing resumes after it. Depth and work are
//! limited, so that parsing terminates for any input.

mod annotations;
pub(crate) mod ast;
mod declarations;
mod expressions;
mod literals;
mod statements;
mod tables;
mod types;
pub(crate) mod visit;

use std::collections::HashMap;

use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::lexer::{Kind, Name, Token};
use crate::source::Span;
use ast::{Ident, NodeId, Program};

/// The maximum nesting depth of a program; a chain of operators is as deep as it is long.
const MAX_DEPTH: usize = 400;

/// An error that has been reported.
#[derive(Debug)]
pub(crate) struct Failed;

pub(crate) type Result<T> = std::result::Result<T, Failed>;

pub(crate) struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    nodes: NodeId,
    depth: usize,
    /// The remaining number of tokens to process; those parsed twice count twice.
    fuel: usize,
    /// `true` inside `<` and `>`, where `>` ends the construct.
    angle: bool,
    /// More than 0 during a speculative parse, in which errors are not reported.
    trying: usize,
    diagnostics: &'a mut Diagnostics,
    /// The names in scope; `true` for types.
    scopes: Vec<HashMap<Name, bool>>,
}

/// Parses a program from its tokens.
pub(crate) fn parse(tokens: &[Token], diagnostics: &mut Diagnostics) -> Program {
    let mut parser = Parser {
        tokens,
        at: 0,
        nodes: 0,
        depth: 0,
        fuel: tokens.len().saturating_mul(20) + 1000,
        angle: false,
        trying: 0,
        diagnostics,
        scopes: vec![HashMap::new()],
    };
    let mut program = Program::default();
    while parser.peek() != Kind::End && parser.fuel > 0 {
        if parser.diagnostics.stopped() || parser.diagnostics.is_full() {
            break;
        }
        if parser.eat(Kind::Semicolon) {
            continue;
        }
        let start = parser.at;
        match parser.declaration() {
            Ok(decl) => program.decls.push(decl),
            Err(Failed) => parser.skip_declaration(start),
        }
    }
    program.nodes = parser.nodes;
    program
}

const RESERVED: &[&str] = &[
    "abstract",
    "action",
    "bit",
    "bool",
    "break",
    "const",
    "continue",
    "control",
    "default",
    "else",
    "enum",
    "error",
    "exit",
    "extern",
    "false",
    "for",
    "header",
    "header_union",
    "if",
    "in",
    "inout",
    "int",
    "match_kind",
    "out",
    "package",
    "parser",
    "return",
    "select",
    "string",
    "struct",
    "switch",
    "table",
    "this",
    "transition",
    "true",
    "tuple",
    "typedef",
    "value_set",
    "varbit",
    "void",
];

impl<'a> Parser<'a> {
    fn token(&self) -> &'a Token {
        &self.tokens[self.at]
    }

    fn peek(&self) -> Kind {
        self.token().kind
    }

    fn ahead(&self, n: usize) -> &'a Token {
        &self.tokens[(self.at + n).min(self.tokens.len() - 1)]
    }

    fn bump(&mut self) -> &'a Token {
        let token = self.token();
        if token.kind != Kind::End {
            self.at += 1;
        }
        self.fuel = self.fuel.saturating_sub(1);
        token
    }

    fn eat(&mut self, kind: Kind) -> bool {
        let found = self.peek() == kind;
        if found {
            self.bump();
        }
        found
    }

    fn at_word(&self, word: &str) -> bool {
        self.token().is(word)
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.at_word(word);
        if found {
            self.bump();
        }
        found
    }

    fn expect(&mut self, kind: Kind, what: &str) -> Result<&'a Token> {
        if self.peek() == kind {
            Ok(self.bump())
        } else {
            Err(self.expected(what))
        }
    }

    fn expect_word(&mut self, word: &str) -> Result<()> {
        if self.eat_word(word) {
            Ok(())
        } else {
            Err(self.expected(&format!("`{word}`")))
        }
    }

    /// Returns whether the next two tokens are adjacent, as in `>>`.
    fn joined(&self, first: Kind, second: Kind) -> bool {
        let next = self.ahead(1);
        self.peek() == first && next.kind == second && !next.spaced
    }

    fn expected(&mut self, what: &str) -> Failed {
        let token = self.token();
        let found = match token.kind {
            Kind::End => "the program ends here".to_owned(),
            _ => format!("found `{}`", token.text),
        };
        self.report(
            Diagnostic::error(token.span, format!("expected {what}, {found}"))
                .label(format!("expected {what}")),
        )
    }

    fn report(&mut self, diagnostic: Diagnostic) -> Failed {
        if self.trying == 0 {
            self.diagnostics.push(diagnostic);
        }
        Failed
    }

    /// The span from `start` to the last consumed token.
    fn span_from(&self, start: Span) -> Span {
        start.to(self.tokens[self.at.saturating_sub(1)].span)
    }

    fn id(&mut self) -> NodeId {
        self.nodes += 1;
        self.nodes - 1
    }

    /// Runs `inner` one nesting level deeper.
    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.depth += 1;
        let result = if self.depth > MAX_DEPTH {
            Err(self.too_deep())
        } else if self.diagnostics.stopped() {
            self.fuel = 0;
            Err(Failed)
        } else if self.fuel == 0 {
            Err(self.report(Diagnostic::error(
                self.token().span,
                "this program takes too long to parse",
            )))
        } else {
            inner(self)
        };
        self.depth -= 1;
        result
    }

    fn too_deep(&mut self) -> Failed {
        self.report(
            Diagnostic::error(self.token().span, "this is nested too deep")
                .note(format!("a program may be nested {MAX_DEPTH} deep")),
        )
    }

    /// Parses speculatively; if `inner` fails, the position is restored.
    fn attempt<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T>) -> Option<T> {
        let (at, depth, angle) = (self.at, self.depth, self.angle);
        self.trying += 1;
        let result = inner(self);
        self.trying -= 1;
        (self.depth, self.angle) = (depth, angle);
        if result.is_err() {
            self.at = at;
        }
        result.ok()
    }

    /// Runs `inner` with `>` either ending an expression or being an operator.
    fn in_angle<T>(
        &mut self,
        angle: bool,
        inner: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let outer = std::mem::replace(&mut self.angle, angle);
        let result = inner(self);
        self.angle = outer;
        result
    }

    /// Parses a name that is not reserved.
    fn ident(&mut self, what: &str) -> Result<Ident> {
        let token = self.token();
        if token.kind != Kind::Ident {
            return Err(self.expected(what));
        }
        if RESERVED.contains(&&*token.text) || token.is("_") {
            return Err(self.report(
                Diagnostic::error(
                    token.span,
                    format!("expected {what}, found the keyword `{}`", token.text),
                )
                .label(format!("expected {what}")),
            ));
        }
        Ok(self.any_ident())
    }

    /// Takes a name, reserved or not; the token must be an identifier.
    fn any_ident(&mut self) -> Ident {
        let token = self.bump();
        Ident {
            name: token.text.clone(),
            span: token.span,
        }
    }

    fn is_type_name(&self, name: &Name) -> bool {
        self.scopes
            .iter()
            .rev()
            .find_map(|scope| scope.get(name))
            .copied()
            .unwrap_or(false)
    }

    fn declare(&mut self, name: &Ident, is_type: bool) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.name.clone(), is_type);
        }
    }

    fn scoped<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.scopes.push(HashMap::new());
        let result = inner(self);
        self.scopes.pop();
        result
    }

    /// Parses comma-separated items up to `close`, which is consumed.
    fn list<T>(
        &mut self,
        close: Kind,
        what: &str,
        mut item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.in_angle(close == Kind::Gt, |p| {
            let mut items = Vec::new();
            while !p.eat(close) {
                items.push(item(p)?);
                if !p.eat(Kind::Comma) {
                    p.expect(close, what)?;
                    break;
                }
            }
            Ok(items)
        })
    }

    /// Resumes after a declaration that failed: after its `;` or closing brace.
    fn skip_declaration(&mut self, start: usize) {
        self.at = self.at.max(start);
        let mut depth = self.tokens[start..self.at]
            .iter()
            .fold(0i32, |d, t| match t.kind {
                Kind::BraceOpen => d + 1,
                Kind::BraceClose => d - 1,
                _ => d,
            });
        if self.at == start {
            depth += i32::from(self.peek() == Kind::BraceOpen);
            self.bump();
        }
        loop {
            match self.peek() {
                Kind::End => return,
                Kind::BraceOpen => depth += 1,
                Kind::BraceClose => {
                    depth -= 1;
                    if depth <= 0 {
                        self.bump();
                        return;
                    }
                }
                Kind::Semicolon if depth <= 0 => {
                    self.bump();
                    return;
                }
                _ => {}
            }
            self.bump();
        }
    }

    /// Resumes after a statement that failed: after its `;`, or before the brace that closes the
    /// enclosing block.
    fn skip_statement(&mut self, start: usize) {
        self.at = self.at.max(start);
        let mut depth = 0;
        loop {
            match self.peek() {
                Kind::End => return,
                Kind::BraceOpen => depth += 1,
                Kind::BraceClose if depth == 0 => return,
                Kind::BraceClose => {
                    depth -= 1;
                    if depth == 0 {
                        self.bump();
                        return;
                    }
                }
                Kind::Semicolon if depth == 0 => {
                    self.bump();
                    return;
                }
                _ => {}
            }
            self.bump();
        }
    }
}

#[cfg(test)]
mod tests;
