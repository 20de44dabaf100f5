// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bits of integers as locations: slices with constant offsets and with run-time offsets.

use super::places::{Part, Place};
use super::{Lower, Result};
use crate::ir::{limbs_of, Inst, Op, Slot};
use crate::syntax::ast::Expr;

impl<'a> Lower<'a, '_> {
    pub(super) fn slice_place(
        &mut self,
        base: &'a Expr,
        low: u32,
        width: u32,
    ) -> Result<Option<Place>> {
        let Some(mut place) = self.place(base)? else {
            return Ok(None);
        };
        if place.part.is_some() {
            return Ok(None);
        }
        let outer = place.slice.map_or(0, |s| s.0);
        place.slice = Some((outer + low, width));
        Ok(Some(place))
    }

    pub(super) fn part_place(
        &mut self,
        base: &'a Expr,
        low: &'a Expr,
        width: u32,
    ) -> Result<Option<Place>> {
        let Some(mut place) = self.place(base)? else {
            return Ok(None);
        };
        if place.part.is_some() {
            return Ok(None);
        }
        place.part = Some(self.moving(low, width)?);
        Ok(Some(place))
    }

    /// A slice whose offset is the current value of an expression.
    pub(super) fn moving(&mut self, low: &'a Expr, width: u32) -> Result<Part> {
        let ty = self.type_of(low);
        let low_width = self.layout(ty, low.span)?.bits();
        let slot = self.value(low)?;
        let low = self.copied(low, slot)?;
        Ok(Part {
            low,
            low_width,
            width,
        })
    }

    /// Emits the extraction of a slice from a value of `width` bits.
    pub(super) fn read_part(&mut self, part: Part, a: Slot, width: u32) -> Slot {
        let moved = self.allocate(limbs_of(width));
        self.emit(Inst::Shr {
            dst: moved,
            a,
            b: part.low,
            width,
            amount_width: part.low_width,
            signed: false,
        });
        let dst = self.allocate(limbs_of(part.width));
        self.emit(Inst::Slice {
            dst,
            a: moved,
            from: width,
            low: 0,
            to: part.width,
        });
        dst
    }

    /// A value of `width` bits with a slice of it replaced. Bits beyond its end are dropped.
    pub(super) fn with_part(&mut self, part: Part, whole: Slot, src: Slot, width: u32) -> Slot {
        let limbs = limbs_of(width);
        let ones = self.allocate(limbs);
        self.emit(Inst::Zero { dst: ones, limbs });
        self.emit(Inst::Not {
            dst: ones,
            a: ones,
            width: part.width,
        });
        let bits = self.allocate(limbs);
        self.emit(Inst::Resize {
            dst: bits,
            a: src,
            from: part.width,
            to: width,
            signed: false,
        });
        for moved in [ones, bits] {
            self.emit(Inst::Shl {
                dst: moved,
                a: moved,
                b: part.low,
                width,
                amount_width: part.low_width,
            });
        }
        self.emit(Inst::Not {
            dst: ones,
            a: ones,
            width,
        });
        for (op, b) in [(Op::And, whole), (Op::Or, bits)] {
            self.emit(Inst::Binary {
                op,
                dst: ones,
                a: ones,
                b,
                width,
            });
        }
        ones
    }
}
