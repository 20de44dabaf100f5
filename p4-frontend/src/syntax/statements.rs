// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Statements.

use super::ast::{BinaryOp, Block, ExprKind, ForRange, Statement, StatementKind, SwitchCase};
use super::{Failed, Parser, Result};
use crate::diagnostics::Diagnostic;
use crate::lexer::Kind;
use crate::source::Span;

impl Parser<'_> {
    pub(super) fn block(&mut self) -> Result<Block> {
        let annotations = self.annotations()?;
        let start = self.token().span;
        self.expect(Kind::BraceOpen, "`{`")?;
        let statements = self.scoped(|p| p.statements())?;
        self.expect(Kind::BraceClose, "`}`")?;
        Ok(Block {
            span: self.span_from(start),
            annotations,
            statements,
        })
    }

    /// Parses statements up to a `}` or the transition of a parser state.
    pub(super) fn statements(&mut self) -> Result<Vec<Statement>> {
        let mut list = Vec::new();
        while !matches!(self.peek(), Kind::BraceClose | Kind::End) && !self.at_word("transition") {
            let start = self.at;
            match self.statement() {
                Ok(statement) => list.push(statement),
                Err(Failed) if self.trying > 0 || self.fuel == 0 => return Err(Failed),
                Err(Failed) => {
                    self.skip_statement(start);
                    if self.at == start {
                        self.bump();
                    }
                }
            }
        }
        Ok(list)
    }

    pub(super) fn statement(&mut self) -> Result<Statement> {
        self.deeper(|p| {
            let start = p.token().span;
            let kind = p.statement_kind(start)?;
            Ok(p.make(start, kind))
        })
    }

    fn make(&mut self, start: Span, kind: StatementKind) -> Statement {
        Statement {
            span: self.span_from(start),
            kind,
        }
    }

    fn statement_kind(&mut self, start: Span) -> Result<StatementKind> {
        let at = self.at;
        let annotated = !self.annotations()?.is_empty();
        let token = self.token();
        if token.kind == Kind::BraceOpen {
            self.at = at;
            return Ok(StatementKind::Block(self.block()?));
        }
        if token.kind == Kind::Semicolon {
            self.bump();
            return Ok(StatementKind::Empty);
        }
        let word = if token.kind == Kind::Ident {
            &*token.text
        } else {
            ""
        };
        match word {
            "if" => self.if_statement(),
            "for" => self.scoped(|p| p.for_statement()),
            "switch" => self.switch_statement(),
            "return" => {
                self.bump();
                let value = match self.peek() {
                    Kind::Semicolon => None,
                    _ => Some(self.expression()?),
                };
                self.end_with(StatementKind::Return(value))
            }
            "exit" => {
                self.bump();
                self.end_with(StatementKind::Exit)
            }
            "break" => {
                self.bump();
                self.end_with(StatementKind::Break)
            }
            "continue" => {
                self.bump();
                self.end_with(StatementKind::Continue)
            }
            "const" => {
                self.at = at;
                Ok(StatementKind::Declaration(Box::new(self.declaration()?)))
            }
            _ if self.at_declaration() => {
                self.at = at;
                let decl = self.variable_or_instance(true)?;
                Ok(StatementKind::Declaration(Box::new(decl)))
            }
            _ if annotated => Err(self.report(
                Diagnostic::error(start, "this cannot have annotations")
                    .note("blocks, conditions, loops and declarations can"),
            )),
            _ => {
                let kind = self.assignment_or_call()?;
                self.end_with(kind)
            }
        }
    }

    fn end_with(&mut self, kind: StatementKind) -> Result<StatementKind> {
        self.expect(Kind::Semicolon, "`;`")?;
        Ok(kind)
    }

    /// Returns whether a type follows, and after it a declared name or constructor arguments.
    fn at_declaration(&mut self) -> bool {
        if !self.at_type() {
            return false;
        }
        let next = self.ahead(1 + usize::from(self.peek() == Kind::Dot)).kind;
        // `T.apply(…)` is a call, and so is `T<A>.apply(…)`.
        if next != Kind::Lt {
            return next != Kind::Dot;
        }
        let at = self.at;
        let after = self.attempt(|p| p.ty().map(|_| p.peek()));
        self.at = at;
        after != Some(Kind::Dot)
    }

    fn assignment_or_call(&mut self) -> Result<StatementKind> {
        let left = self.expression()?;
        let op = match self.peek() {
            Kind::Assign => None,
            Kind::PlusAssign => Some(BinaryOp::Add),
            Kind::MinusAssign => Some(BinaryOp::Sub),
            Kind::PlusSatAssign => Some(BinaryOp::AddSat),
            Kind::MinusSatAssign => Some(BinaryOp::SubSat),
            Kind::StarAssign => Some(BinaryOp::Mul),
            Kind::SlashAssign => Some(BinaryOp::Div),
            Kind::PercentAssign => Some(BinaryOp::Mod),
            Kind::AndAssign => Some(BinaryOp::BitAnd),
            Kind::OrAssign => Some(BinaryOp::BitOr),
            Kind::XorAssign => Some(BinaryOp::BitXor),
            Kind::ShlAssign => Some(BinaryOp::Shl),
            Kind::Gt if self.joined(Kind::Gt, Kind::Ge) => {
                self.bump();
                Some(BinaryOp::Shr)
            }
            _ if matches!(left.kind, ExprKind::Call(..)) => return Ok(StatementKind::Call(left)),
            // Not a call: reported by the checker, which knows what the name refers to.
            Kind::Semicolon if matches!(left.kind, ExprKind::Name(..) | ExprKind::Member(..)) => {
                return Ok(StatementKind::Call(left));
            }
            _ => return Err(self.expected("`=` or `(`")),
        };
        self.bump();
        let right = self.expression()?;
        Ok(StatementKind::Assign(left, op, right))
    }

    fn if_statement(&mut self) -> Result<StatementKind> {
        self.bump();
        self.expect(Kind::ParenOpen, "`(`")?;
        let condition = self.expression()?;
        self.expect(Kind::ParenClose, "`)`")?;
        let yes = Box::new(self.scoped(|p| p.statement())?);
        let no = match self.eat_word("else") {
            true => Some(Box::new(self.scoped(|p| p.statement())?)),
            false => None,
        };
        Ok(StatementKind::If(condition, yes, no))
    }

    fn for_statement(&mut self) -> Result<StatementKind> {
        self.bump();
        self.expect(Kind::ParenOpen, "`(`")?;
        if let Some(decl) = self.attempt(|p| p.loop_variable()) {
            self.declare(&decl.name, false);
            let first = self.expression()?;
            let range = match self.eat(Kind::DotDot) {
                true => ForRange::Numbers(first, self.expression()?),
                false => ForRange::Elements(first),
            };
            self.expect(Kind::ParenClose, "`)`")?;
            let body = Box::new(self.statement()?);
            return Ok(StatementKind::ForIn(Box::new(decl), range, body));
        }
        let init = self.for_statements(Kind::Semicolon)?;
        let condition = match self.peek() {
            Kind::Semicolon => None,
            _ => Some(self.expression()?),
        };
        self.expect(Kind::Semicolon, "`;`")?;
        let update = self.for_statements(Kind::ParenClose)?;
        let body = Box::new(self.statement()?);
        Ok(StatementKind::For(init, condition, update, body))
    }

    /// Parses comma-separated simple statements up to `close`, which is consumed.
    fn for_statements(&mut self, close: Kind) -> Result<Vec<Statement>> {
        self.list(close, "`,` or the next part of the loop's head", |p| {
            let start = p.token().span;
            let at = p.at;
            p.annotations()?;
            let kind = if p.at_declaration() {
                p.at = at;
                StatementKind::Declaration(Box::new(p.variable_or_instance(false)?))
            } else {
                p.assignment_or_call()?
            };
            Ok(p.make(start, kind))
        })
    }

    fn switch_statement(&mut self) -> Result<StatementKind> {
        self.bump();
        self.expect(Kind::ParenOpen, "`(`")?;
        let value = self.expression()?;
        self.expect(Kind::ParenClose, "`)`")?;
        self.expect(Kind::BraceOpen, "`{`")?;
        let mut cases = Vec::new();
        while !self.eat(Kind::BraceClose) {
            let span = self.token().span;
            let label = match self.eat_word("default") {
                true => None,
                false => Some(self.expression()?),
            };
            self.expect(Kind::Colon, "`:`")?;
            let body = match self.peek() {
                Kind::BraceOpen | Kind::At => Some(self.block()?),
                _ => None,
            };
            cases.push(SwitchCase { label, span, body });
        }
        Ok(StatementKind::Switch(value, cases))
    }
}
