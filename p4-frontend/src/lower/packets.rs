// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Methods of `packet_in` and `packet_out`, and `verify`.

use super::calls::Given;
use super::places::Place;
use super::{Failed, Lower, Result};
use crate::ir::{Inst, Layout, Slot};
use crate::source::Span;
use crate::syntax::ast::{Expr, ExprKind};
use crate::types::{Kind, TypeId};

impl<'a> Lower<'a, '_> {
    pub(super) fn packet_method(
        &mut self,
        expr: &'a Expr,
        name: &str,
        arguments: &[Given<'a>],
    ) -> Result<Option<Slot>> {
        match (name, arguments) {
            ("extract", [Some(header)]) => self.extract(*header, None).map(|()| None),
            ("extract", [Some(header), Some(bits)]) => {
                self.extract(*header, Some(*bits)).map(|()| None)
            }
            ("lookahead", []) => {
                let ty = self.natural_type(expr);
                let layout = self.layout(ty, expr.span)?;
                let dst = self.allocate(layout.limbs());
                let layout = self.layout_index(&layout);
                self.emit(Inst::Lookahead { layout, dst });
                self.leave_if_ending();
                Ok(Some(dst))
            }
            ("advance", [Some((_, bits))]) => {
                let bits = self.value(bits)?;
                self.emit(Inst::Advance { bits });
                self.leave_if_ending();
                Ok(None)
            }
            ("length", []) => {
                let dst = self.allocate(1);
                self.emit(Inst::PacketLength { dst });
                Ok(Some(dst))
            }
            ("emit", [Some((_, value))]) => {
                let ty = self.type_of(value);
                let layout = self.layout(ty, value.span)?;
                let slot = self.value(value)?;
                self.emit_value(slot, &layout, value.span).map(|()| None)
            }
            _ => self.unsupported(
                expr.span,
                &format!("`{name}` of a packet with these arguments"),
            ),
        }
    }

    /// Extracts a header; `bits` is the size of its varbit in bits, if it has one.
    fn extract(
        &mut self,
        (first, header): (usize, &'a Expr),
        bits: Option<(usize, &'a Expr)>,
    ) -> Result<()> {
        let span = header.span;
        let (before, after) = match bits {
            Some((turn, bits)) if turn < first => (Some(bits), None),
            other => (None, other.map(|b| b.1)),
        };
        let length = |lower: &mut Self, bits: &'a Expr| {
            let slot = lower.value(bits)?;
            lower.copied(bits, slot)
        };
        let early = before.map(|bits| length(self, bits)).transpose()?;
        if let ExprKind::DontCare = header.kind {
            let ty = self.natural_type(header);
            let slot = self.temporary(ty, span)?;
            let late = after.map(|bits| length(self, bits)).transpose()?;
            let length = early.or(late);
            return self.extract_to(&Place::at(slot, ty), ty, length, span);
        }
        let Some(place) = self.place(header)? else {
            return self.unsupported(span, "extracting into this");
        };
        let late = after.map(|bits| length(self, bits)).transpose()?;
        let ty = place.ty;
        self.extract_to(&place, ty, early.or(late), span)?;
        // `stack.next`, or a member of a union that is `stack.next`.
        let mut part = header;
        while let ExprKind::Member(base, name) = &part.kind {
            let ty = self.natural_type(base);
            if &*name.name == "next" && matches!(self.kind(ty), Kind::Stack(..)) {
                return self.count_up(base);
            }
            part = base;
        }
        Ok(())
    }

    fn extract_to(
        &mut self,
        place: &Place,
        ty: TypeId,
        length: Option<Slot>,
        span: Span,
    ) -> Result<()> {
        let layout = self.layout(ty, span)?;
        if !matches!(layout, Layout::Header(_)) {
            return self.fail(span, "only headers are extracted");
        }
        let direct = place.index.is_none();
        let dst = match direct {
            true => place.base,
            false => self.allocate(layout.limbs()),
        };
        let index = self.layout_index(&layout);
        self.emit(Inst::Extract {
            layout: index,
            dst,
            length,
        });
        self.leave_if_ending();
        match direct {
            true => {
                self.select_member(place);
                Ok(())
            }
            false => self.write(place, dst, span),
        }
    }

    /// Increments the next index of a stack after the extraction into `next`.
    fn count_up(&mut self, stack: &'a Expr) -> Result<()> {
        let Some(place) = self.place(stack)? else {
            return Err(Failed);
        };
        let one = self.number(1);
        self.emit(Inst::Binary {
            op: crate::ir::Op::Add,
            dst: place.base,
            a: place.base,
            b: one,
            width: 32,
        });
        Ok(())
    }

    /// Appends the headers in a value to the output.
    fn emit_value(&mut self, slot: Slot, layout: &Layout, span: Span) -> Result<()> {
        match layout {
            Layout::Header(_) => {
                let layout = self.layout_index(layout);
                self.emit(Inst::Emit { layout, src: slot });
                Ok(())
            }
            Layout::Struct(fields) | Layout::Union(fields) => {
                for field in &fields.fields {
                    self.emit_value(slot + field.offset, &field.layout, span)?;
                }
                Ok(())
            }
            Layout::Stack(element, count) => {
                for n in 0..*count {
                    self.emit_value(slot + 1 + n * element.limbs(), element, span)?;
                }
                Ok(())
            }
            _ => self.fail(span, "only headers are emitted, and what is made of them"),
        }
    }

    pub(super) fn verify(&mut self, given: &[Given<'a>]) -> Result<()> {
        let [Some(condition), Some(error)] = given else {
            return Err(Failed);
        };
        let (good, error) = match condition.0 < error.0 {
            true => (self.kept(condition.1, &[error.1])?, self.value(error.1)?),
            false => {
                let error = self.kept(error.1, &[condition.1])?;
                (self.value(condition.1)?, error)
            }
        };
        let ok = self.branch(good, true);
        self.emit(Inst::Reject { error });
        let end = self.jump();
        self.body.returns.push(end);
        self.land(ok);
        Ok(())
    }
}
