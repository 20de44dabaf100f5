// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Types as written.

use super::ast::{Type, TypeKind};
use super::{Parser, Result};
use crate::lexer::Kind;

impl Parser<'_> {
    /// Returns whether the next token begins a type and nothing else.
    pub(super) fn at_base_type(&self) -> bool {
        let token = self.token();
        token.kind == Kind::Ident
            && matches!(
                &*token.text,
                "bool"
                    | "bit"
                    | "int"
                    | "varbit"
                    | "error"
                    | "string"
                    | "match_kind"
                    | "void"
                    | "tuple"
            )
    }

    /// Returns whether the next token begins a type, according to the names in scope.
    pub(super) fn at_type(&self) -> bool {
        let token = self.token();
        self.at_base_type()
            || token.kind == Kind::Ident && self.is_type_name(&token.text)
            || token.is("list") && self.ahead(1).kind == Kind::Lt
            || token.kind == Kind::Dot && self.is_type_name(&self.ahead(1).text)
    }

    pub(super) fn ty(&mut self) -> Result<Type> {
        self.deeper(|p| p.type_inner())
    }

    fn type_inner(&mut self) -> Result<Type> {
        let start = self.token().span;
        let token = self.token();
        let kind = if token.kind == Kind::Ident {
            match &*token.text {
                "bool" => self.word(TypeKind::Bool),
                "error" => self.word(TypeKind::Error),
                "string" => self.word(TypeKind::String),
                "match_kind" => self.word(TypeKind::MatchKind),
                "void" => self.word(TypeKind::Void),
                "_" => self.word(TypeKind::DontCare),
                "bit" => {
                    self.bump();
                    TypeKind::Bit(match self.peek() {
                        Kind::Lt => Some(Box::new(self.width()?)),
                        _ => None,
                    })
                }
                "int" => {
                    self.bump();
                    match self.peek() {
                        Kind::Lt => TypeKind::Int(Box::new(self.width()?)),
                        _ => TypeKind::Integer,
                    }
                }
                "varbit" => {
                    self.bump();
                    TypeKind::Varbit(Box::new(self.width()?))
                }
                "tuple" => {
                    self.bump();
                    TypeKind::Tuple(self.type_arguments()?)
                }
                "list" if self.ahead(1).kind == Kind::Lt => {
                    self.bump();
                    let mut inner = self.type_arguments()?;
                    match (inner.pop(), inner.is_empty()) {
                        (Some(element), true) => TypeKind::List(Box::new(element)),
                        _ => return Err(self.expected("a list with one type")),
                    }
                }
                _ => self.named_type(false)?,
            }
        } else if self.eat(Kind::Dot) {
            self.named_type(true)?
        } else {
            return Err(self.expected("a type"));
        };
        let mut ty = Type {
            id: self.id(),
            span: self.span_from(start),
            kind,
        };
        let mut levels = 0;
        while self.eat(Kind::BracketOpen) {
            levels += 1;
            if levels > 16 {
                return Err(self.too_deep());
            }
            let size = self.in_angle(false, |p| p.expression())?;
            self.expect(Kind::BracketClose, "`]`")?;
            ty = Type {
                id: self.id(),
                span: self.span_from(start),
                kind: TypeKind::Stack(Box::new(ty), Box::new(size)),
            };
        }
        Ok(ty)
    }

    fn word(&mut self, kind: TypeKind) -> TypeKind {
        self.bump();
        kind
    }

    fn named_type(&mut self, global: bool) -> Result<TypeKind> {
        let name = self.ident("a type")?;
        let arguments = match self.peek() {
            Kind::Lt => self.type_arguments()?,
            _ => Vec::new(),
        };
        Ok(TypeKind::Named(name, global, arguments))
    }

    /// Parses `<`, an expression without the operator `>`, and `>`.
    fn width(&mut self) -> Result<super::ast::Expr> {
        self.expect(Kind::Lt, "`<`")?;
        let width = self.in_angle(true, |p| p.expression())?;
        self.expect(Kind::Gt, "`>`")?;
        Ok(width)
    }

    /// Parses `<` types `>`.
    pub(super) fn type_arguments(&mut self) -> Result<Vec<Type>> {
        self.expect(Kind::Lt, "`<`")?;
        self.list(Kind::Gt, "`>` or `,`", |p| p.ty())
    }
}
