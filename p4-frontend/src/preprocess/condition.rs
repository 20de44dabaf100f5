// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The value of an `#if`: integer expressions of the C preprocessor, in which names are 0.

use crate::diagnostics::Diagnostic;
use crate::lexer::{Kind, Token};
use crate::source::Span;

/// The maximum nesting depth of parentheses, conditionals and prefix operators.
const MAX_DEPTH: usize = 64;

pub(super) fn evaluate(line: &[Token], span: Span) -> Result<i64, Diagnostic> {
    let mut expression = Expression { line, at: 0, span };
    let value = expression.ternary(0)?;
    match expression.peek() {
        None => Ok(value),
        Some(_) => Err(expression.wrong("this does not belong to the condition")),
    }
}

struct Expression<'a> {
    line: &'a [Token],
    at: usize,
    span: Span,
}

impl Expression<'_> {
    fn peek(&self) -> Option<Kind> {
        self.line.get(self.at).map(|t| t.kind)
    }

    fn wrong(&self, message: &str) -> Diagnostic {
        let span = self.line.get(self.at).map_or(self.span, |t| t.span);
        Diagnostic::error(span, message)
            .note("a condition is made of integers, macros, `defined` and C's operators")
    }

    fn ternary(&mut self, depth: usize) -> Result<i64, Diagnostic> {
        let condition = self.binary(0, depth)?;
        if self.peek() != Some(Kind::Question) {
            return Ok(condition);
        }
        if depth > MAX_DEPTH {
            return Err(self.wrong("this condition is nested too deep"));
        }
        self.at += 1;
        let yes = self.ternary(depth + 1)?;
        if self.peek() != Some(Kind::Colon) {
            return Err(self.wrong("a `:` is missing here"));
        }
        self.at += 1;
        let no = self.ternary(depth + 1)?;
        Ok(if condition != 0 { yes } else { no })
    }

    /// The current operator, its precedence and its number of tokens.
    fn operator(&self) -> Option<(&'static str, u8, usize)> {
        let next = self.line.get(self.at + 1);
        let joined = |kind| next.is_some_and(|t| t.kind == kind && !t.spaced);
        Some(match self.peek()? {
            Kind::OrOr => ("||", 1, 1),
            Kind::AndAnd => ("&&", 2, 1),
            Kind::Or => ("|", 3, 1),
            Kind::Xor => ("^", 4, 1),
            Kind::And => ("&", 5, 1),
            Kind::Eq => ("==", 6, 1),
            Kind::Ne => ("!=", 6, 1),
            Kind::Shl => ("<<", 8, 1),
            Kind::Gt if joined(Kind::Gt) => (">>", 8, 2),
            Kind::Lt => ("<", 7, 1),
            Kind::Le => ("<=", 7, 1),
            Kind::Gt => (">", 7, 1),
            Kind::Ge => (">=", 7, 1),
            Kind::Plus => ("+", 9, 1),
            Kind::Minus => ("-", 9, 1),
            Kind::Star => ("*", 10, 1),
            Kind::Slash => ("/", 10, 1),
            Kind::Percent => ("%", 10, 1),
            _ => return None,
        })
    }

    fn binary(&mut self, least: u8, depth: usize) -> Result<i64, Diagnostic> {
        let mut left = self.unary(depth)?;
        while let Some((operator, precedence, tokens)) = self.operator() {
            if precedence <= least {
                break;
            }
            self.at += tokens;
            let right = self.binary(precedence, depth)?;
            left = self.apply(operator, left, right)?;
        }
        Ok(left)
    }

    fn apply(&self, operator: &str, a: i64, b: i64) -> Result<i64, Diagnostic> {
        let amount = || u32::try_from(b).ok().filter(|&b| b < 64);
        Ok(match operator {
            "||" => (a != 0 || b != 0).into(),
            "&&" => (a != 0 && b != 0).into(),
            "|" => a | b,
            "^" => a ^ b,
            "&" => a & b,
            "==" => (a == b).into(),
            "!=" => (a != b).into(),
            "<" => (a < b).into(),
            "<=" => (a <= b).into(),
            ">" => (a > b).into(),
            ">=" => (a >= b).into(),
            "<<" => amount().map_or(0, |n| a.wrapping_shl(n)),
            ">>" => amount().map_or(0, |n| a.wrapping_shr(n)),
            "+" => a.wrapping_add(b),
            "-" => a.wrapping_sub(b),
            "*" => a.wrapping_mul(b),
            "/" | "%" if b == 0 => return Err(self.wrong("this condition divides by zero")),
            "/" => a.wrapping_div(b),
            _ => a.wrapping_rem(b),
        })
    }

    fn unary(&mut self, depth: usize) -> Result<i64, Diagnostic> {
        if depth > MAX_DEPTH {
            return Err(self.wrong("this condition is nested too deep"));
        }
        let Some(token) = self.line.get(self.at) else {
            return Err(self.wrong("a value is missing in this condition"));
        };
        self.at += 1;
        match token.kind {
            Kind::Not => Ok((self.unary(depth + 1)? == 0).into()),
            Kind::Tilde => Ok(!self.unary(depth + 1)?),
            Kind::Minus => Ok(self.unary(depth + 1)?.wrapping_neg()),
            Kind::Plus => self.unary(depth + 1),
            Kind::ParenOpen => {
                let value = self.ternary(depth + 1)?;
                if self.peek() != Some(Kind::ParenClose) {
                    return Err(self.wrong("a `)` is missing here"));
                }
                self.at += 1;
                Ok(value)
            }
            Kind::Ident => Ok(0),
            Kind::Number => number(&token.text).ok_or_else(|| {
                self.at -= 1;
                self.wrong("this is no integer of 64 bits")
            }),
            _ => {
                self.at -= 1;
                Err(self.wrong("a value is expected here"))
            }
        }
    }
}

fn number(text: &str) -> Option<i64> {
    let text = text.trim_end_matches(['u', 'U', 'l', 'L']).replace('_', "");
    let lower = text.to_ascii_lowercase();
    let (digits, radix) = match lower.get(..2) {
        Some("0x") => (&lower[2..], 16),
        Some("0b") => (&lower[2..], 2),
        _ if lower.len() > 1 && lower.starts_with('0') => (&lower[1..], 8),
        _ => (&lower[..], 10),
    };
    i64::from_str_radix(digits, radix).ok()
}
