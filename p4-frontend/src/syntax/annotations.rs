// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Annotations.

use super::ast::{Annotation, AnnotationBody, Expr, Ident};
use super::{Parser, Result};
use crate::lexer::{Kind, Token};

impl<'a> Parser<'a> {
    pub(super) fn annotations(&mut self) -> Result<Vec<Annotation>> {
        let mut list = Vec::new();
        while self.eat(Kind::At) {
            if self.at_word("pragma") {
                list.push(self.pragma());
                continue;
            }
            if self.peek() != Kind::Ident {
                return Err(self.expected("an annotation's name"));
            }
            let name = self.any_ident();
            let body = match self.peek() {
                // Older programs write these records in parentheses.
                Kind::ParenOpen if matches!(&*name.name, "pkginfo" | "platform_property") => {
                    self.bump();
                    AnnotationBody::Record(self.record(Kind::ParenClose, "`)` or `,`")?)
                }
                Kind::ParenOpen => self.unstructured()?,
                Kind::BracketOpen => self.structured()?,
                _ => AnnotationBody::None,
            };
            list.push(Annotation { name, body });
        }
        Ok(list)
    }

    /// Parses `@pragma name …` up to the end of the line.
    fn pragma(&mut self) -> Annotation {
        self.bump();
        let name = self.any_ident();
        let mut text = String::new();
        while !self.token().first && self.peek() != Kind::End {
            append(&mut text, self.bump());
        }
        Annotation {
            name,
            body: AnnotationBody::Unstructured(Vec::new(), text),
        }
    }

    fn unstructured(&mut self) -> Result<AnnotationBody> {
        let start = self.at;
        let expressions = self.attempt(|p| {
            p.bump();
            p.list(Kind::ParenClose, "`)`", |p| p.expression())
        });
        let end = self.at;
        self.at = start;
        self.bump();
        let mut text = String::new();
        let mut depth = 1;
        loop {
            match self.peek() {
                Kind::ParenOpen => depth += 1,
                Kind::ParenClose => depth -= 1,
                Kind::End => return Err(self.expected("`)`")),
                _ => {}
            }
            let token = self.bump();
            if depth == 0 {
                break;
            }
            append(&mut text, token);
        }
        let expressions = expressions.filter(|_| self.at == end).unwrap_or_default();
        Ok(AnnotationBody::Unstructured(expressions, text))
    }

    fn structured(&mut self) -> Result<AnnotationBody> {
        self.bump();
        if self.peek() == Kind::Ident && self.ahead(1).kind == Kind::Assign {
            let record = self.record(Kind::BracketClose, "`]` or `,`")?;
            return Ok(AnnotationBody::Record(record));
        }
        let items = self.list(Kind::BracketClose, "`]` or `,`", |p| p.expression())?;
        Ok(AnnotationBody::List(items))
    }
}

impl Parser<'_> {
    /// Parses names and values up to a closing bracket.
    fn record(&mut self, close: Kind, expected: &str) -> Result<Vec<(Ident, Expr)>> {
        self.list(close, expected, |p| {
            let name = p.any_ident();
            p.expect(Kind::Assign, "`=`")?;
            Ok((name, p.expression()?))
        })
    }
}

fn append(text: &mut String, token: &Token) {
    if token.spaced && !text.is_empty() {
        text.push(' ');
    }
    text.push_str(&token.text);
}
