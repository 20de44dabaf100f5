// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The grammar of constraints.

use std::ops::Range;

use num_bigint::BigInt;

use super::error::ConstraintError;
use super::lexer::{tokens, Placed, Token};

/// The maximum nesting depth of parentheses and unary operators.
const MAX_DEPTH: usize = 64;

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Greater,
    AtLeast,
    Less,
    AtMost,
}

/// An expression with its span. A chain of one operator is a single list, so that the tree is no
/// deeper than the nesting.
#[derive(Clone, Debug)]
pub(super) struct Expr {
    pub(super) kind: ExprKind,
    pub(super) span: Range<usize>,
}

#[derive(Clone, Debug)]
pub(super) enum ExprKind {
    Bool(bool),
    Number(BigInt),
    Key(String),
    /// `::priority`.
    Attribute(String),
    /// A key's part.
    Part(Box<Expr>, String),
    Not(Box<Expr>),
    Negated(Box<Expr>),
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Implies(Box<Expr>, Box<Expr>),
    Compare(Comparison, Box<Expr>, Box<Expr>),
}

/// Parses the clauses of a constraint.
pub(super) fn parse(text: &str) -> std::result::Result<Vec<Expr>, ConstraintError> {
    let place = |(offset, why)| ConstraintError::at(text, offset, why);
    let tokens = tokens(text).map_err(place)?;
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        depth: 0,
        end: text.len(),
    };
    let clauses = parser.clauses().map_err(place)?;
    match parser.peek() {
        None => Ok(clauses),
        Some(_) => Err(place(parser.expected("`;` or the end"))),
    }
}

struct Parser<'a> {
    tokens: &'a [Placed],
    at: usize,
    depth: usize,
    end: usize,
}

type Result<T> = std::result::Result<T, (usize, String)>;

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    /// Returns the offset of the next token.
    fn place(&self) -> usize {
        self.tokens
            .get(self.at)
            .map_or(self.end, |(_, span)| span.start)
    }

    /// Returns the end of the previous token.
    fn last(&self) -> usize {
        let last = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        last.map_or(0, |(_, span)| span.end)
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self.peek(), Some(Token::Symbol(found)) if *found == symbol)
    }

    fn take(&mut self, symbol: &str) -> bool {
        let is = self.is(symbol);
        self.at += usize::from(is);
        is
    }

    fn expected(&self, what: &str) -> (usize, String) {
        let found = match self.peek() {
            None => "the end".to_owned(),
            Some(Token::Number(value)) => format!("{value}"),
            Some(Token::Name(name)) => format!("`{name}`"),
            Some(Token::Symbol(symbol)) => format!("`{symbol}`"),
        };
        (self.place(), format!("expected {what}, found {found}"))
    }

    fn clauses(&mut self) -> Result<Vec<Expr>> {
        let mut clauses = vec![self.implication()?];
        while self.take(";") {
            if self.peek().is_none() || self.is(")") {
                break;
            }
            clauses.push(self.implication()?);
        }
        Ok(clauses)
    }

    fn implication(&mut self) -> Result<Expr> {
        let begin = self.place();
        let left = self.any()?;
        if !self.take("->") {
            return Ok(left);
        }
        let right = self.any()?;
        if self.is("->") {
            let why = "`->` of `->` takes parentheses".to_owned();
            return Err((self.place(), why));
        }
        Ok(Expr {
            kind: ExprKind::Implies(Box::new(left), Box::new(right)),
            span: begin..self.last(),
        })
    }

    /// Parses operands that are joined by one operator.
    fn chain(
        &mut self,
        symbol: &str,
        operand: fn(&mut Self) -> Result<Expr>,
        make: fn(Vec<Expr>) -> ExprKind,
    ) -> Result<Expr> {
        let begin = self.place();
        let first = operand(self)?;
        if !self.is(symbol) {
            return Ok(first);
        }
        let mut list = vec![first];
        while self.take(symbol) {
            list.push(operand(self)?);
        }
        Ok(Expr {
            kind: make(list),
            span: begin..self.last(),
        })
    }

    fn any(&mut self) -> Result<Expr> {
        self.chain("||", Self::all, ExprKind::Any)
    }

    fn all(&mut self) -> Result<Expr> {
        self.chain("&&", Self::comparison, ExprKind::All)
    }

    fn compares(&self) -> Option<Comparison> {
        match self.peek()? {
            Token::Symbol("==") => Some(Comparison::Equal),
            Token::Symbol("!=") => Some(Comparison::Unequal),
            Token::Symbol(">") => Some(Comparison::Greater),
            Token::Symbol(">=") => Some(Comparison::AtLeast),
            Token::Symbol("<") => Some(Comparison::Less),
            Token::Symbol("<=") => Some(Comparison::AtMost),
            Token::Symbol(_) | Token::Number(_) | Token::Name(_) => None,
        }
    }

    fn comparison(&mut self) -> Result<Expr> {
        let begin = self.place();
        let left = self.unary()?;
        let Some(comparison) = self.compares() else {
            return Ok(left);
        };
        self.at += 1;
        let right = self.unary()?;
        if self.compares().is_some() {
            let why = "a comparison of a comparison takes parentheses".to_owned();
            return Err((self.place(), why));
        }
        Ok(Expr {
            kind: ExprKind::Compare(comparison, Box::new(left), Box::new(right)),
            span: begin..self.last(),
        })
    }

    fn unary(&mut self) -> Result<Expr> {
        let begin = self.place();
        if self.depth >= MAX_DEPTH {
            return Err((begin, format!("nested deeper than {MAX_DEPTH}")));
        }
        self.depth += 1;
        let made = match self.peek() {
            Some(Token::Symbol("!")) => {
                self.at += 1;
                self.unary().map(|inner| ExprKind::Not(Box::new(inner)))
            }
            Some(Token::Symbol("-")) => {
                self.at += 1;
                self.unary().map(|inner| ExprKind::Negated(Box::new(inner)))
            }
            _ => self.primary(),
        };
        self.depth -= 1;
        Ok(Expr {
            kind: made?,
            span: begin..self.last(),
        })
    }

    fn primary(&mut self) -> Result<ExprKind> {
        let begin = self.place();
        let mut kind = match self.peek().cloned() {
            Some(Token::Number(value)) => {
                self.at += 1;
                ExprKind::Number(value)
            }
            Some(Token::Name(name)) => {
                self.at += 1;
                match name.as_str() {
                    "true" => ExprKind::Bool(true),
                    "false" => ExprKind::Bool(false),
                    _ => ExprKind::Key(name),
                }
            }
            Some(Token::Symbol("::")) => {
                self.at += 1;
                ExprKind::Attribute(self.id()?)
            }
            Some(Token::Symbol("(")) => {
                self.at += 1;
                let inner = self.clauses()?;
                if !self.take(")") {
                    return Err(self.expected("`)`"));
                }
                match <[Expr; 1]>::try_from(inner) {
                    Ok([inner]) => inner.kind,
                    Err(clauses) => ExprKind::All(clauses),
                }
            }
            _ => return Err(self.expected("an expression")),
        };
        if self.take("::") {
            let inner = Expr {
                kind,
                span: begin..self.last(),
            };
            kind = ExprKind::Part(Box::new(inner), self.id()?);
        }
        Ok(kind)
    }

    fn id(&mut self) -> Result<String> {
        match self.peek().cloned() {
            Some(Token::Name(name)) if !name.contains('.') => {
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.expected("a name")),
        }
    }
}
