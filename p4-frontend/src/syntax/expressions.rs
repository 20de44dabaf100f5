// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Expressions, by precedence climbing.

use super::ast::{Argument, BinaryOp, Expr, ExprKind, UnaryOp};
use super::{literals, Parser, Result, MAX_DEPTH};
use crate::diagnostics::Diagnostic;
use crate::lexer::Kind;
use crate::source::Span;

impl Parser<'_> {
    pub(super) fn expression(&mut self) -> Result<Expr> {
        self.deeper(|p| {
            let start = p.token().span;
            let condition = p.binary(0)?;
            if !p.eat(Kind::Question) {
                return Ok(condition);
            }
            let yes = p.expression()?;
            p.expect(Kind::Colon, "`:`")?;
            let no = p.expression()?;
            let kind = ExprKind::Ternary(Box::new(condition), Box::new(yes), Box::new(no));
            Ok(p.node(start, kind))
        })
    }

    pub(super) fn node(&mut self, start: Span, kind: ExprKind) -> Expr {
        Expr {
            id: self.id(),
            span: self.span_from(start),
            kind,
        }
    }

    /// The current operator, its precedence and its number of tokens.
    fn operator(&self) -> Option<(BinaryOp, u8, usize)> {
        use BinaryOp::*;
        Some(match self.peek() {
            Kind::OrOr => (Or, 1, 1),
            Kind::AndAnd => (And, 2, 1),
            Kind::Eq => (Eq, 3, 1),
            Kind::Ne => (Ne, 3, 1),
            Kind::Gt | Kind::Ge if self.angle => return None,
            Kind::Gt if self.joined(Kind::Gt, Kind::Ge) => return None, // `>>=`
            Kind::Plus if self.joined(Kind::Plus, Kind::Colon) => return None, // `+:`
            Kind::Gt if self.joined(Kind::Gt, Kind::Gt) => (Shr, 8, 2),
            Kind::Lt => (Lt, 4, 1),
            Kind::Le => (Le, 4, 1),
            Kind::Gt => (Gt, 4, 1),
            Kind::Ge => (Ge, 4, 1),
            Kind::Or => (BitOr, 5, 1),
            Kind::Xor => (BitXor, 6, 1),
            Kind::And => (BitAnd, 7, 1),
            Kind::Shl => (Shl, 8, 1),
            Kind::PlusPlus => (Concat, 9, 1),
            Kind::Plus => (Add, 9, 1),
            Kind::Minus => (Sub, 9, 1),
            Kind::PlusSat => (AddSat, 9, 1),
            Kind::MinusSat => (SubSat, 9, 1),
            Kind::Star => (Mul, 10, 1),
            Kind::Slash => (Div, 10, 1),
            Kind::Percent => (Mod, 10, 1),
            _ => return None,
        })
    }

    fn binary(&mut self, least: u8) -> Result<Expr> {
        let start = self.token().span;
        let mut left = self.unary()?;
        let mut chain = 0;
        while let Some((op, precedence, tokens)) = self.operator() {
            if precedence <= least {
                break;
            }
            chain += 1;
            if self.depth + chain > MAX_DEPTH {
                return Err(self.too_deep());
            }
            for _ in 0..tokens {
                self.bump();
            }
            let right = self.deeper(|p| p.binary(precedence))?;
            left = self.node(start, ExprKind::Binary(op, Box::new(left), Box::new(right)));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr> {
        let start = self.token().span;
        let op = match self.peek() {
            Kind::Not => UnaryOp::Not,
            Kind::Tilde => UnaryOp::Complement,
            Kind::Minus => UnaryOp::Minus,
            Kind::Plus => UnaryOp::Plus,
            Kind::ParenOpen => {
                if let Some(ty) = self.cast_type() {
                    let operand = self.deeper(|p| p.unary())?;
                    let kind = ExprKind::Cast(Box::new(ty), Box::new(operand));
                    return Ok(self.node(start, kind));
                }
                return self.postfix();
            }
            _ => return self.postfix(),
        };
        self.bump();
        let operand = self.deeper(|p| p.unary())?;
        Ok(self.node(start, ExprKind::Unary(op, Box::new(operand))))
    }

    /// Parses `(type)`, if it follows.
    fn cast_type(&mut self) -> Option<super::ast::Type> {
        self.attempt(|p| {
            p.bump();
            if !p.at_type() {
                return Err(super::Failed);
            }
            let ty = p.ty()?;
            p.expect(Kind::ParenClose, "`)`")?;
            Ok(ty)
        })
    }

    fn postfix(&mut self) -> Result<Expr> {
        let start = self.token().span;
        let mut expr = self.primary()?;
        let mut chain = 0;
        loop {
            chain += 1;
            if self.depth + chain > MAX_DEPTH {
                return Err(self.too_deep());
            }
            let kind = match self.peek() {
                Kind::Dot => {
                    self.bump();
                    if self.peek() != Kind::Ident {
                        return Err(self.expected("a member's name"));
                    }
                    let name = self.any_ident();
                    ExprKind::Member(Box::new(expr), name)
                }
                Kind::BracketOpen => {
                    self.bump();
                    let kind = self.in_angle(false, |p| p.subscript(expr))?;
                    self.expect(Kind::BracketClose, "`]`")?;
                    kind
                }
                Kind::ParenOpen if callable(&expr) => {
                    let arguments = self.arguments()?;
                    ExprKind::Call(Box::new(expr), Vec::new(), arguments)
                }
                Kind::Lt if callable(&expr) => {
                    // Type arguments only if a call follows: `a < b` is far more common.
                    let types = self.attempt(|p| {
                        let types = p.type_arguments()?;
                        match p.peek() {
                            Kind::ParenOpen => Ok(types),
                            // `T<A>.apply(…)`.
                            Kind::Dot if matches!(&expr.kind, ExprKind::Name(n, _) if p.is_type_name(&n.name)) => Ok(types),
                            _ => Err(super::Failed),
                        }
                    });
                    let Some(types) = types else {
                        return Ok(expr);
                    };
                    if let (Kind::Dot, ExprKind::Name(name, global)) = (self.peek(), &expr.kind) {
                        let ty = super::ast::Type {
                            id: self.id(),
                            span: expr.span,
                            kind: super::ast::TypeKind::Named(name.clone(), *global, types),
                        };
                        expr = self.node(start, ExprKind::Type(Box::new(ty)));
                        continue;
                    }
                    let arguments = self.arguments()?;
                    ExprKind::Call(Box::new(expr), types, arguments)
                }
                _ => return Ok(expr),
            };
            expr = self.node(start, kind);
        }
    }

    /// Parses an index, or a slice: `[high:low]` or `[low+:width]`.
    fn subscript(&mut self, expr: Expr) -> Result<ExprKind> {
        let first = self.expression()?;
        if self.eat(Kind::Colon) {
            let low = self.expression()?;
            return Ok(ExprKind::Slice(
                Box::new(expr),
                Box::new(first),
                Box::new(low),
            ));
        }
        if !self.joined(Kind::Plus, Kind::Colon) {
            return Ok(ExprKind::Index(Box::new(expr), Box::new(first)));
        }
        self.bump();
        self.bump();
        let width = self.expression()?;
        let kind = ExprKind::Part(Box::new(expr), Box::new(first), Box::new(width));
        Ok(kind)
    }

    /// Parses `(` arguments `)`.
    pub(super) fn arguments(&mut self) -> Result<Vec<Argument>> {
        self.expect(Kind::ParenOpen, "`(`")?;
        self.list(Kind::ParenClose, "`)` or `,`", |p| {
            let named = p.peek() == Kind::Ident && p.ahead(1).kind == Kind::Assign;
            let name = match named {
                true => {
                    let name = p.ident("a parameter's name")?;
                    p.bump();
                    Some(name)
                }
                false => None,
            };
            Ok(Argument {
                name,
                value: p.expression()?,
            })
        })
    }

    pub(super) fn primary(&mut self) -> Result<Expr> {
        let token = self.token();
        let start = token.span;
        let kind = match token.kind {
            Kind::Number => {
                self.bump();
                match literals::number(&token.text) {
                    Ok((value, shape)) => ExprKind::Int(value, shape),
                    Err(message) => return Err(self.report(Diagnostic::error(start, message))),
                }
            }
            Kind::Str => {
                self.bump();
                ExprKind::Str(literals::string(&token.text))
            }
            Kind::Ellipsis => {
                self.bump();
                ExprKind::Dots
            }
            Kind::ParenOpen => {
                self.bump();
                let inner = self.in_angle(false, |p| p.expression())?;
                self.expect(Kind::ParenClose, "`)`")?;
                return Ok(inner);
            }
            Kind::BraceOpen => self.braces()?,
            Kind::Dot => {
                self.bump();
                ExprKind::Name(self.ident("a name")?, true)
            }
            Kind::Ident => match &*token.text {
                "true" | "false" => {
                    self.bump();
                    ExprKind::Bool(&*token.text == "true")
                }
                "_" => {
                    self.bump();
                    ExprKind::DontCare
                }
                "default" => {
                    self.bump();
                    ExprKind::Default
                }
                "this" => ExprKind::Name(self.any_ident(), false),
                _ if self.at_base_type() => {
                    let ty = self.ty()?;
                    ExprKind::Type(Box::new(ty))
                }
                _ => ExprKind::Name(self.ident("an expression")?, false),
            },
            _ => return Err(self.expected("an expression")),
        };
        Ok(self.node(start, kind))
    }

    /// Parses `{ a, b }`, `{ f = a }` or `{#}`.
    fn braces(&mut self) -> Result<ExprKind> {
        let open = self.ahead(0);
        self.expect(Kind::BraceOpen, "`{`")?;
        let (hash, close) = (self.ahead(0), self.ahead(1));
        if hash.kind == Kind::Hash && close.kind == Kind::BraceClose {
            // A single token in the specification's grammar.
            if open.span.hi != hash.span.lo || hash.span.hi != close.span.lo {
                let error = Diagnostic::error(hash.span, "`{#}` is written without blanks");
                return Err(self.report(error));
            }
            self.bump();
            self.bump();
            return Ok(ExprKind::InvalidHeader);
        }
        let is_record = self.peek() == Kind::Ident && self.ahead(1).kind == Kind::Assign;
        if !is_record {
            let items = self.list(Kind::BraceClose, "`}` or `,`", |p| p.expression())?;
            return Ok(ExprKind::List(items));
        }
        let mut dots = false;
        let mut fields = Vec::new();
        while !self.eat(Kind::BraceClose) {
            if self.eat(Kind::Ellipsis) {
                dots = true;
                self.eat(Kind::Comma);
                self.expect(Kind::BraceClose, "`}`")?;
                break;
            }
            let name = self.ident("a field's name")?;
            self.expect(Kind::Assign, "`=`")?;
            fields.push((name, self.in_angle(false, |p| p.expression())?));
            if !self.eat(Kind::Comma) {
                self.expect(Kind::BraceClose, "`}` or `,`")?;
                break;
            }
        }
        Ok(ExprKind::Record(fields, dots))
    }

    /// Parses one item of a set: an expression, a mask, a range, `_` or `default`.
    pub(super) fn set(&mut self) -> Result<Expr> {
        let start = self.token().span;
        let low = self.expression()?;
        let kind = if self.eat(Kind::Mask) {
            ExprKind::Mask(Box::new(low), Box::new(self.expression()?))
        } else if self.eat(Kind::DotDot) {
            ExprKind::Range(Box::new(low), Box::new(self.expression()?))
        } else {
            return Ok(low);
        };
        Ok(self.node(start, kind))
    }

    /// Parses one set for each key: in parentheses, or a single one.
    pub(super) fn sets(&mut self) -> Result<Vec<Expr>> {
        if self.peek() == Kind::ParenOpen {
            // A parenthesis may also begin an expression or a cast.
            let list = self.attempt(|p| {
                p.bump();
                let sets = p.list(Kind::ParenClose, "`)` or `,`", |p| p.set())?;
                match p.peek() {
                    Kind::Colon => Ok(sets),
                    _ => Err(super::Failed),
                }
            });
            if let Some(sets) = list {
                return Ok(sets);
            }
        }
        Ok(vec![self.set()?])
    }
}

/// Returns whether parentheses or type arguments may follow.
fn callable(expr: &Expr) -> bool {
    matches!(
        expr.kind,
        ExprKind::Name(..) | ExprKind::Member(..) | ExprKind::Type(_)
    )
}
