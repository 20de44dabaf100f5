// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Composite values: literals and comparison.

use super::{Failed, Lower, Result};
use crate::eval::Value;
use crate::ir::{Cmp, Inst, Layout, Op, Slot};
use crate::source::Span;
use crate::syntax::ast::{Expr, ExprKind};

impl<'a> Lower<'a, '_> {
    /// Evaluates an expression into a slot of its type.
    pub(super) fn value_into(&mut self, expr: &'a Expr, dst: Slot) -> Result<()> {
        self.go_on(expr.span)?;
        let ty = self.type_of(expr);
        let layout = self.layout(ty, expr.span)?;
        let limbs = layout.limbs();
        match &expr.kind {
            ExprKind::List(_) | ExprKind::Record(..) => {
                // Built separately, since the elements may read the destination.
                let made = self.allocate(limbs);
                self.literal(expr, &layout, made)?;
                self.emit(Inst::Move {
                    dst,
                    src: made,
                    limbs,
                });
            }
            ExprKind::Dots | ExprKind::InvalidHeader => self.emit(Inst::Zero { dst, limbs }),
            _ => {
                let src = self.value(expr)?;
                if src != dst {
                    self.emit(Inst::Move { dst, src, limbs });
                }
            }
        }
        Ok(())
    }

    fn literal(&mut self, expr: &'a Expr, layout: &Layout, dst: Slot) -> Result<()> {
        self.emit(Inst::Zero {
            dst,
            limbs: layout.limbs(),
        });
        match (&expr.kind, layout) {
            (ExprKind::List(items), Layout::Struct(fields) | Layout::Header(fields)) => {
                for (item, field) in items.iter().zip(&fields.fields) {
                    if !matches!(item.kind, ExprKind::Dots) {
                        self.part(item, &field.layout, dst + field.offset)?;
                    }
                }
            }
            (ExprKind::Record(parts, _), Layout::Struct(fields) | Layout::Header(fields)) => {
                for (name, item) in parts {
                    let found = fields.fields.iter().find(|f| f.name == *name.name);
                    if let Some(field) = found {
                        self.part(item, &field.layout, dst + field.offset)?;
                    }
                }
            }
            (ExprKind::List(items), Layout::Stack(element, count)) => {
                for (n, item) in (0..*count).zip(items) {
                    if !matches!(item.kind, ExprKind::Dots) {
                        self.part(item, element, dst + 1 + n * element.limbs())?;
                    }
                }
            }
            _ => return self.unsupported(expr.span, "this literal here"),
        }
        if let Layout::Header(_) = layout {
            let one = self.number(1);
            self.emit(Inst::Move {
                dst,
                src: one,
                limbs: 1,
            });
        }
        Ok(())
    }

    fn part(&mut self, item: &'a Expr, layout: &Layout, dst: Slot) -> Result<()> {
        match &item.kind {
            ExprKind::List(_) | ExprKind::Record(..) => self.literal(item, layout, dst),
            _ => self.value_into(item, dst),
        }
    }

    /// Stores a value that is known at compile time in a slot, part by part.
    pub(super) fn known_aggregate(
        &mut self,
        value: &Value,
        layout: &Layout,
        dst: Slot,
        span: Span,
    ) -> Result<()> {
        self.go_on(span)?;
        if let Some(src) = self.value_slot(value, layout) {
            self.emit(Inst::Move {
                dst,
                src,
                limbs: layout.limbs(),
            });
            return Ok(());
        }
        if let (Layout::Stack(element, count), Value::List(items)) = (layout, value) {
            // The next index comes first; elements that are not given are invalid.
            let limbs = element.limbs();
            self.emit(Inst::Zero {
                dst,
                limbs: layout.limbs(),
            });
            for (n, item) in items.iter().enumerate().take(*count as usize) {
                self.known_aggregate(item, element, dst + 1 + n as u32 * limbs, span)?;
            }
            return Ok(());
        }
        let (Layout::Struct(fields) | Layout::Header(fields)) = layout else {
            return self.unsupported(span, "this constant at run time");
        };
        for (n, field) in fields.fields.iter().enumerate() {
            let part = match value {
                Value::List(items) => items.get(n),
                Value::Record(parts) => parts
                    .iter()
                    .find(|(name, _)| **name == *field.name)
                    .map(|p| &p.1),
                _ => None,
            };
            let Some(part) = part else {
                return self.unsupported(span, "this constant at run time");
            };
            self.known_aggregate(part, &field.layout, dst + field.offset, span)?;
        }
        if let Layout::Header(_) = layout {
            let one = self.number(1);
            self.emit(Inst::Move {
                dst,
                src: one,
                limbs: 1,
            });
        }
        Ok(())
    }

    /// Emits a comparison of two values for equality; returns the slot of the Boolean.
    pub(super) fn equal(&mut self, a: Slot, b: Slot, layout: &Layout) -> Result<Slot> {
        self.go_on(self.at)?;
        let dst = self.allocate(1);
        match layout {
            Layout::Bits(width, _) => self.emit(Inst::Compare {
                cmp: Cmp::Eq,
                dst,
                a,
                b,
                width: *width,
            }),
            Layout::Bool | Layout::Error | Layout::Enum(_) => self.emit(Inst::Compare {
                cmp: Cmp::Eq,
                dst,
                a,
                b,
                width: 64,
            }),
            Layout::Varbit(max) => self.emit(Inst::EqualVarbit {
                dst,
                a,
                b,
                max: *max,
            }),
            Layout::Struct(fields) | Layout::Union(fields) => {
                self.equal_parts(
                    dst,
                    fields.fields.iter().map(|f| (f.offset, &f.layout)),
                    a,
                    b,
                )?;
            }
            Layout::Stack(element, count) => {
                let stride = element.limbs();
                let parts = (0..*count).map(|n| (1 + n * stride, &**element));
                self.equal_parts(dst, parts, a, b)?;
            }
            Layout::Header(fields) => {
                // Both invalid, or both valid with equal fields.
                self.emit(Inst::Compare {
                    cmp: Cmp::Eq,
                    dst,
                    a,
                    b,
                    width: 64,
                });
                let differ = self.branch(dst, false);
                let both_invalid = self.branch(a, false);
                self.equal_parts(
                    dst,
                    fields.fields.iter().map(|f| (f.offset, &f.layout)),
                    a,
                    b,
                )?;
                self.land(differ);
                self.land(both_invalid);
            }
        }
        Ok(dst)
    }

    fn equal_parts<'l>(
        &mut self,
        dst: Slot,
        parts: impl Iterator<Item = (u32, &'l Layout)>,
        a: Slot,
        b: Slot,
    ) -> Result<()> {
        let one = self.number(1);
        self.emit(Inst::Move {
            dst,
            src: one,
            limbs: 1,
        });
        for (offset, layout) in parts {
            let equal = self.equal(a + offset, b + offset, layout)?;
            self.emit(Inst::Binary {
                op: Op::And,
                dst,
                a: dst,
                b: equal,
                width: 1,
            });
        }
        Ok(())
    }

    /// Emits a test whether any header of a union is valid; returns the slot of the Boolean.
    pub(super) fn union_valid(&mut self, base: Slot, layout: &Layout) -> Result<Slot> {
        let Layout::Union(fields) = layout else {
            return Err(Failed);
        };
        let dst = self.allocate(1);
        self.emit(Inst::Zero { dst, limbs: 1 });
        for field in &fields.fields {
            self.emit(Inst::Binary {
                op: Op::Or,
                dst,
                a: dst,
                b: base + field.offset,
                width: 1,
            });
        }
        Ok(dst)
    }
}
