// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Operators and the types of their operands.

use num_traits::Signed;

use super::Checker;
use crate::diagnostics::Diagnostic;
use crate::eval::Value;
use crate::syntax::ast::{BinaryOp, Expr, UnaryOp};
use crate::types::{Kind, TypeId, BOOL, INTEGER, UNKNOWN};

impl<'a> Checker<'a, '_> {
    pub(super) fn unary(&mut self, expr: &'a Expr, op: UnaryOp, operand: &'a Expr) -> TypeId {
        let ty = self.expression(operand);
        if op == UnaryOp::Not {
            return match self.coerce(operand, BOOL) {
                true => BOOL,
                false => UNKNOWN,
            };
        }
        let under = self.info.types.underlying(ty);
        match (op, self.kind(under)) {
            (_, Kind::Unknown) => UNKNOWN,
            (_, Kind::Bit(_) | Kind::Int(_)) => {
                self.coerce(operand, under);
                under
            }
            (UnaryOp::Minus | UnaryOp::Plus, Kind::Integer) => ty,
            (UnaryOp::Complement, Kind::Integer) => {
                self.fail(expr.span, "`~` needs a number with a width, as in `8w1`")
            }
            _ => {
                let shown = self.show(ty);
                self.fail(operand.span, format!("this operator takes no `{shown}`"))
            }
        }
    }

    pub(super) fn binary(
        &mut self,
        expr: &'a Expr,
        op: BinaryOp,
        a: &'a Expr,
        b: &'a Expr,
    ) -> TypeId {
        let (left, right) = (self.expression(a), self.expression(b));
        self.binary_types(expr, op, a, b, left, right)
    }

    pub(super) fn binary_types(
        &mut self,
        expr: &'a Expr,
        op: BinaryOp,
        a: &'a Expr,
        b: &'a Expr,
        left: TypeId,
        right: TypeId,
    ) -> TypeId {
        if left == UNKNOWN || right == UNKNOWN {
            return match op {
                BinaryOp::Eq
                | BinaryOp::Ne
                | BinaryOp::Lt
                | BinaryOp::Le
                | BinaryOp::Gt
                | BinaryOp::Ge
                | BinaryOp::And
                | BinaryOp::Or => BOOL,
                _ => UNKNOWN,
            };
        }
        for (operand, ty) in [(a, left), (b, right)] {
            match self.kind(ty) {
                Kind::Default if !matches!(op, BinaryOp::Eq | BinaryOp::Ne) => {
                    return self.fail(operand.span, "`...` has no value for an operator");
                }
                Kind::ActionRun(_) => {
                    return self.fail(operand.span, "`action_run` is for `switch` only");
                }
                _ => {}
            }
        }
        match op {
            BinaryOp::And | BinaryOp::Or => {
                let (x, y) = (self.coerce(a, BOOL), self.coerce(b, BOOL));
                if x && y {
                    BOOL
                } else {
                    UNKNOWN
                }
            }
            BinaryOp::Eq | BinaryOp::Ne => self.equality(expr, op, a, b, left, right),
            BinaryOp::Shl | BinaryOp::Shr => self.shift(expr, op, a, b, left, right),
            BinaryOp::Concat => self.concat(expr, a, b, left, right),
            _ => self.arithmetic(expr, op, a, b, left, right),
        }
    }

    fn mismatch(&mut self, expr: &'a Expr, op: BinaryOp, left: TypeId, right: TypeId) -> TypeId {
        let (left, right) = (self.show(left), self.show(right));
        self.error(
            Diagnostic::error(
                expr.span,
                format!("`{}` does not take `{left}` and `{right}`", op.symbol()),
            )
            .label(format!("`{left}` {} `{right}`", op.symbol())),
        );
        UNKNOWN
    }

    fn equality(
        &mut self,
        expr: &'a Expr,
        op: BinaryOp,
        a: &'a Expr,
        b: &'a Expr,
        left: TypeId,
        right: TypeId,
    ) -> TypeId {
        let (left, right) = (self.balanced(left, right), self.balanced(right, left));
        let both_literal = |kind: Kind| {
            matches!(
                kind,
                Kind::RecordLiteral(_) | Kind::InvalidHeader | Kind::Default
            )
        };
        if both_literal(self.kind(left)) && both_literal(self.kind(right)) {
            return self.mismatch(expr, op, left, right);
        }
        let (wide, narrow) = if self.implicit(left, right) {
            (right, a)
        } else if self.implicit(right, left) {
            (left, b)
        } else {
            return self.mismatch(expr, op, left, right);
        };
        if !self.comparable(wide) && !matches!(self.kind(wide), Kind::String) {
            let shown = self.show(wide);
            return self.fail(
                expr.span,
                format!("values of type `{shown}` cannot be compared"),
            );
        }
        let other = if std::ptr::eq(narrow, a) { b } else { a };
        self.coerce(narrow, wide);
        self.coerce(other, wide);
        BOOL
    }

    /// The type of an enum itself if both operands have it, else its underlying type.
    fn balanced(&self, ty: TypeId, other: TypeId) -> TypeId {
        match ty == other {
            true => ty,
            false => self.info.types.underlying(ty),
        }
    }

    fn arithmetic(
        &mut self,
        expr: &'a Expr,
        op: BinaryOp,
        a: &'a Expr,
        b: &'a Expr,
        left: TypeId,
        right: TypeId,
    ) -> TypeId {
        let (l, r) = (
            self.info.types.underlying(left),
            self.info.types.underlying(right),
        );
        let ty = match (self.kind(l), self.kind(r)) {
            (Kind::Integer, Kind::Integer) => {
                if matches!(op, BinaryOp::AddSat | BinaryOp::SubSat) {
                    return self.fail(expr.span, format!("`{}` needs a width", op.symbol()));
                }
                INTEGER
            }
            (Kind::Bit(_) | Kind::Int(_), Kind::Integer) => l,
            (Kind::Integer, Kind::Bit(_) | Kind::Int(_)) => r,
            (Kind::Bit(x), Kind::Bit(y)) | (Kind::Int(x), Kind::Int(y)) if x == y => l,
            _ => return self.mismatch(expr, op, left, right),
        };
        if matches!(op, BinaryOp::Div | BinaryOp::Mod) {
            if let Kind::Int(_) = self.kind(ty) {
                return self.fail(expr.span, "division of signed numbers is not defined");
            }
            if let Some(Value::Int(by)) = self.constant(b) {
                if by.is_negative() || by == 0.into() {
                    return self.fail(b.span, format!("division by {by} is not defined"));
                }
            }
            if matches!(self.constant(a), Some(Value::Int(v)) if v.is_negative()) {
                return self.fail(a.span, "division of negative numbers is not defined");
            }
        }
        self.coerce(a, ty);
        self.coerce(b, ty);
        match op {
            BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge => BOOL,
            _ => ty,
        }
    }

    fn shift(
        &mut self,
        expr: &'a Expr,
        op: BinaryOp,
        a: &'a Expr,
        b: &'a Expr,
        left: TypeId,
        right: TypeId,
    ) -> TypeId {
        let (l, r) = (
            self.info.types.underlying(left),
            self.info.types.underlying(right),
        );
        let amount = self.constant(b);
        if matches!(&amount, Some(Value::Int(v)) if v.is_negative()) {
            return self.fail(b.span, "a shift by a negative number is not defined");
        }
        match (self.kind(l), self.kind(r)) {
            (Kind::Bit(_) | Kind::Int(_) | Kind::Integer, Kind::Int(_)) => {
                return self.fail(b.span, "the number of bits to shift by is unsigned");
            }
            (Kind::Bit(_) | Kind::Int(_), Kind::Bit(_) | Kind::Integer) => {}
            (Kind::Integer, Kind::Integer | Kind::Bit(_)) if amount.is_some() => {}
            (Kind::Integer, Kind::Bit(_)) => {
                return self.fail(
                    a.span,
                    "a number that is shifted by a variable needs a width",
                );
            }
            _ => return self.mismatch(expr, op, left, right),
        }
        self.coerce(a, l);
        if self.kind(r) == Kind::Integer {
            let enough = self.info.types.bit(32);
            let huge = matches!(&amount, Some(Value::Int(v)) if v.bits() > 32);
            if !huge && l != INTEGER {
                self.coerce(b, enough);
            }
        } else {
            self.coerce(b, r);
        }
        l
    }

    fn concat(
        &mut self,
        expr: &'a Expr,
        a: &'a Expr,
        b: &'a Expr,
        left: TypeId,
        right: TypeId,
    ) -> TypeId {
        let (l, r) = (
            self.info.types.underlying(left),
            self.info.types.underlying(right),
        );
        let (x, y) = (self.info.types.shape(l), self.info.types.shape(r));
        if self.kind(l) == Kind::String && self.kind(r) == Kind::String {
            return l;
        }
        let (Some((x, signed)), Some((y, _))) = (x, y) else {
            return self.mismatch(expr, BinaryOp::Concat, left, right);
        };
        if x + y > crate::types::MAX_WIDTH {
            return self.fail(expr.span, "this value is too wide");
        }
        self.coerce(a, l);
        self.coerce(b, r);
        match signed {
            true => self.info.types.id(Kind::Int(x + y)),
            false => self.info.types.bit(x + y),
        }
    }
}
