// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Lowering of expressions to instructions.

use super::{Failed, Lower, Result};
use crate::check::{Builtin, Callee};
use crate::ir::{Cmp, Inst, Layout, Op, Slot};
use crate::syntax::ast::{BinaryOp, Expr, ExprKind, UnaryOp};
use crate::types::{Kind, TypeId};

impl<'a> Lower<'a, '_> {
    /// The slot of an expression's value. It may be the slot of a variable: a caller that keeps it
    /// while other code runs has to copy it or use `kept`.
    pub(super) fn value(&mut self, expr: &'a Expr) -> Result<Slot> {
        self.go_on(expr.span)?;
        if let Some(value) = self.known(expr)? {
            let ty = self.type_of(expr);
            let layout = self.layout(ty, expr.span)?;
            if let Some(slot) = self.value_slot(&value, &layout) {
                return Ok(slot);
            }
            if !matches!(expr.kind, ExprKind::List(_) | ExprKind::Record(..)) {
                let dst = self.allocate(layout.limbs());
                self.known_aggregate(&value, &layout, dst, expr.span)?;
                return Ok(dst);
            }
        }
        let ty = self.type_of(expr);
        match &expr.kind {
            ExprKind::List(_) | ExprKind::Record(..) | ExprKind::Dots | ExprKind::InvalidHeader => {
                let dst = self.temporary(ty, expr.span)?;
                self.value_into(expr, dst)?;
                Ok(dst)
            }
            ExprKind::Unary(op, operand) => self.unary(expr, *op, operand),
            ExprKind::Binary(op, a, b) => self.binary(*op, a, b),
            ExprKind::Ternary(condition, yes, no) => {
                let dst = self.temporary(ty, expr.span)?;
                let other = self.branch_on(condition, false)?;
                self.value_into(yes, dst)?;
                let end = self.jump();
                self.land_all(other);
                self.value_into(no, dst)?;
                self.land(end);
                Ok(dst)
            }
            ExprKind::Cast(_, operand) => {
                let to = self.natural_type(expr);
                self.cast(operand, to)
            }
            ExprKind::Call(..) => match self.call(expr)? {
                Some(slot) => Ok(slot),
                None => Err(Failed),
            },
            ExprKind::Member(base, name) => match self.special_member(base, &name.name)? {
                Some(slot) => Ok(slot),
                None => self.read_place(expr),
            },
            ExprKind::Slice(base, high, low) => match self.place(expr)? {
                Some(place) => self.read(&place, expr.span),
                None => {
                    let (high, low) = (self.small(high)?, self.small(low)?);
                    let (Some(high), Some(low)) = (high, low) else {
                        return Err(Failed);
                    };
                    self.slice_value(base, low, high + 1 - low)
                }
            },
            ExprKind::Part(base, low, width) => match self.place(expr)? {
                Some(place) => self.read(&place, expr.span),
                None => {
                    let Some(width) = self.small(width)? else {
                        return Err(Failed);
                    };
                    match self.small(low)? {
                        Some(low) => self.slice_value(base, low, width),
                        None => {
                            let ty = self.type_of(base);
                            let from = self.layout(ty, base.span)?.bits();
                            let a = self.kept(base, &[low])?;
                            let part = self.moving(low, width)?;
                            Ok(self.read_part(part, a, from))
                        }
                    }
                }
            },
            _ => self.read_place(expr),
        }
    }

    fn read_place(&mut self, expr: &'a Expr) -> Result<Slot> {
        match self.place(expr)? {
            Some(place) => self.read(&place, expr.span),
            None => self.unsupported(expr.span, "this expression at run time"),
        }
    }

    fn slice_value(&mut self, base: &'a Expr, low: u32, to: u32) -> Result<Slot> {
        let ty = self.type_of(base);
        let from = self.layout(ty, base.span)?.bits();
        let a = self.value(base)?;
        let dst = self.allocate(crate::ir::limbs_of(to));
        self.emit(Inst::Slice {
            dst,
            a,
            from,
            low,
            to,
        });
        Ok(dst)
    }

    /// The slot of a value that stays unchanged while `later` is evaluated.
    pub(super) fn kept(&mut self, expr: &'a Expr, later: &[&'a Expr]) -> Result<Slot> {
        let slot = self.value(expr)?;
        if !later.iter().any(|e| self.has_effects(e)) {
            return Ok(slot);
        }
        self.copied(expr, slot)
    }

    pub(super) fn copied(&mut self, expr: &'a Expr, slot: Slot) -> Result<Slot> {
        let ty = self.type_of(expr);
        let limbs = self.layout(ty, expr.span)?.limbs();
        let dst = self.allocate(limbs);
        self.emit(Inst::Move {
            dst,
            src: slot,
            limbs,
        });
        Ok(dst)
    }

    /// Returns whether evaluating an expression may have side effects.
    pub(super) fn has_effects(&self, expr: &Expr) -> bool {
        let all = |list: &[&Expr]| list.iter().any(|e| self.has_effects(e));
        match &expr.kind {
            ExprKind::Call(function, _, arguments) => {
                let pure = matches!(
                    self.info.calls.get(&expr.id).map(|c| &c.callee),
                    Some(Callee::Builtin(Builtin::IsValid))
                );
                let inside = match &function.kind {
                    ExprKind::Member(base, _) => self.has_effects(base),
                    _ => false,
                };
                !pure || inside || arguments.iter().any(|a| self.has_effects(&a.value))
            }
            ExprKind::Member(a, _) | ExprKind::Unary(_, a) | ExprKind::Cast(_, a) => {
                self.has_effects(a)
            }
            ExprKind::Index(a, b)
            | ExprKind::Binary(_, a, b)
            | ExprKind::Mask(a, b)
            | ExprKind::Range(a, b) => all(&[a, b]),
            ExprKind::Slice(a, b, c) | ExprKind::Part(a, b, c) | ExprKind::Ternary(a, b, c) => {
                all(&[a, b, c])
            }
            ExprKind::List(items) => items.iter().any(|i| self.has_effects(i)),
            ExprKind::Record(fields, _) => fields.iter().any(|f| self.has_effects(&f.1)),
            _ => false,
        }
    }

    /// Members that are not fields.
    fn special_member(&mut self, base: &'a Expr, name: &str) -> Result<Option<Slot>> {
        let ty = self.natural_type(base);
        match (self.kind(ty), name) {
            (Kind::Stack(..), "lastIndex") => {
                let Some(place) = self.place(base)? else {
                    return Err(Failed);
                };
                let (dst, one) = (self.allocate(1), self.number(1));
                self.emit(Inst::Binary {
                    op: Op::Sub,
                    dst,
                    a: place.base,
                    b: one,
                    width: 32,
                });
                Ok(Some(dst))
            }
            (Kind::Applied(_), _) => {
                let (hit, action) = self.apply_table(base)?;
                Ok(Some(match name {
                    "hit" => hit,
                    "miss" => {
                        let dst = self.allocate(1);
                        self.emit(Inst::LogicalNot { dst, a: hit });
                        dst
                    }
                    _ => action,
                }))
            }
            _ => Ok(None),
        }
    }

    fn unary(&mut self, expr: &'a Expr, op: UnaryOp, operand: &'a Expr) -> Result<Slot> {
        let ty = self.type_of(operand);
        let width = self.layout(ty, expr.span)?.bits();
        let a = self.value(operand)?;
        if op == UnaryOp::Plus {
            return Ok(a);
        }
        let dst = self.allocate(crate::ir::limbs_of(width));
        self.emit(match op {
            UnaryOp::Not => Inst::LogicalNot { dst, a },
            UnaryOp::Complement => Inst::Not { dst, a, width },
            _ => Inst::Neg { dst, a, width },
        });
        Ok(dst)
    }

    pub(super) fn binary(&mut self, op: BinaryOp, a: &'a Expr, b: &'a Expr) -> Result<Slot> {
        if matches!(op, BinaryOp::And | BinaryOp::Or) {
            let dst = self.allocate(1);
            self.value_into(a, dst)?;
            let skip = self.branch(dst, op == BinaryOp::Or);
            self.value_into(b, dst)?;
            self.land(skip);
            return Ok(dst);
        }
        let (left, right) = (self.type_of(a), self.type_of(b));
        let x = self.kept(a, &[b])?;
        let y = self.value(b)?;
        self.operate(op, (x, left), (y, right), a)
    }

    /// Emits jumps that are taken if a condition's value is `when`; their targets are set later. An
    /// operand that decides the condition jumps itself, without a value of the whole.
    pub(super) fn branch_on(&mut self, condition: &'a Expr, when: bool) -> Result<Vec<usize>> {
        self.go_on(condition.span)?;
        let is_known = self.known(condition)?.is_some();
        match &condition.kind {
            ExprKind::Unary(UnaryOp::Not, operand) if !is_known => self.branch_on(operand, !when),
            ExprKind::Binary(op @ (BinaryOp::And | BinaryOp::Or), a, b) if !is_known => {
                let decides = *op == BinaryOp::Or;
                let mut first = self.branch_on(a, decides)?;
                let mut jumps = self.branch_on(b, when)?;
                match decides == when {
                    true => jumps.append(&mut first),
                    false => self.land_all(first),
                }
                Ok(jumps)
            }
            _ => {
                let value = self.value(condition)?;
                Ok(vec![self.branch(value, when)])
            }
        }
    }

    /// Applies an operator to values in slots.
    pub(super) fn operate(
        &mut self,
        op: BinaryOp,
        (x, left): (Slot, TypeId),
        (y, right): (Slot, TypeId),
        at: &'a Expr,
    ) -> Result<Slot> {
        let (l, r) = (self.layout(left, at.span)?, self.layout(right, at.span)?);
        let signed = matches!(l, Layout::Bits(_, true));
        let width = l.bits();
        let arithmetic = |op| (Some(op), None);
        let (arithmetic, compare) = match op {
            BinaryOp::Add => arithmetic(Op::Add),
            BinaryOp::Sub => arithmetic(Op::Sub),
            BinaryOp::Mul => arithmetic(Op::Mul),
            BinaryOp::Div => arithmetic(Op::Div),
            BinaryOp::Mod => arithmetic(Op::Mod),
            BinaryOp::AddSat => arithmetic(Op::AddSat(signed)),
            BinaryOp::SubSat => arithmetic(Op::SubSat(signed)),
            BinaryOp::BitAnd => arithmetic(Op::And),
            BinaryOp::BitOr => arithmetic(Op::Or),
            BinaryOp::BitXor => arithmetic(Op::Xor),
            BinaryOp::Lt => (None, Some((Cmp::Lt(signed), false))),
            BinaryOp::Le => (None, Some((Cmp::Le(signed), false))),
            BinaryOp::Gt => (None, Some((Cmp::Lt(signed), true))),
            BinaryOp::Ge => (None, Some((Cmp::Le(signed), true))),
            _ => (None, None),
        };
        if let Some(op) = arithmetic {
            let dst = self.allocate(l.limbs());
            self.emit(Inst::Binary {
                op,
                dst,
                a: x,
                b: y,
                width,
            });
            return Ok(dst);
        }
        if let Some((cmp, swapped)) = compare {
            let dst = self.allocate(1);
            let (a, b) = if swapped { (y, x) } else { (x, y) };
            self.emit(Inst::Compare {
                cmp,
                dst,
                a,
                b,
                width,
            });
            return Ok(dst);
        }
        match op {
            BinaryOp::Eq => self.equal(x, y, &l),
            BinaryOp::Ne => {
                let equal = self.equal(x, y, &l)?;
                let dst = self.allocate(1);
                self.emit(Inst::LogicalNot { dst, a: equal });
                Ok(dst)
            }
            BinaryOp::Shl | BinaryOp::Shr => {
                let dst = self.allocate(l.limbs());
                let amount_width = r.bits();
                self.emit(match op {
                    BinaryOp::Shl => Inst::Shl {
                        dst,
                        a: x,
                        b: y,
                        width,
                        amount_width,
                    },
                    _ => Inst::Shr {
                        dst,
                        a: x,
                        b: y,
                        width,
                        amount_width,
                        signed,
                    },
                });
                Ok(dst)
            }
            BinaryOp::Concat => {
                let low = r.bits();
                let dst = self.allocate(crate::ir::limbs_of(width + low));
                self.emit(Inst::Concat {
                    dst,
                    a: x,
                    b: y,
                    low,
                    width: width + low,
                });
                Ok(dst)
            }
            _ => Err(Failed),
        }
    }

    fn cast(&mut self, operand: &'a Expr, to: TypeId) -> Result<Slot> {
        let from = self.type_of(operand);
        let (source, target) = (
            self.layout(from, operand.span)?,
            self.layout(to, operand.span)?,
        );
        let a = self.value(operand)?;
        match (&source, &target) {
            (Layout::Bits(from, signed), Layout::Bits(to, _)) => {
                if from == to {
                    return Ok(a);
                }
                let dst = self.allocate(target.limbs());
                self.emit(Inst::Resize {
                    dst,
                    a,
                    from: *from,
                    to: *to,
                    signed: *signed,
                });
                Ok(dst)
            }
            _ if source.limbs() == target.limbs() => Ok(a),
            _ => self.unsupported(operand.span, "this cast"),
        }
    }
}
