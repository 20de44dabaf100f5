// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Locations that are read and written.

use num_traits::ToPrimitive;

use super::{Failed, Lower, Result, Storage};
use crate::ir::{Inst, Layout, Op, Slot};
use crate::source::Span;
use crate::syntax::ast::{Expr, ExprKind};
use crate::types::{Kind, TypeId};

/// The location of a value. At most one index in a path is not a constant.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) base: Slot,
    pub(super) index: Option<Index>,
    pub(super) ty: TypeId,
    /// The lowest bit and the number of bits, if it is a slice of an integer.
    pub(super) slice: Option<(u32, u32)>,
    /// A slice of that, with an offset that is known only at run time.
    pub(super) part: Option<Part>,
    /// The distances to the other headers of the union, if it is a header of one.
    pub(super) others: Vec<i64>,
}

/// A slice of `width` bits from a bit offset in a slot, which has a width itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) low: Slot,
    pub(super) low_width: u32,
    pub(super) width: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Index {
    pub(super) slot: Slot,
    pub(super) stride: u32,
    pub(super) count: u32,
}

impl Place {
    pub(super) fn at(base: Slot, ty: TypeId) -> Place {
        Place {
            base,
            index: None,
            ty,
            slice: None,
            part: None,
            others: Vec::new(),
        }
    }
}

impl<'a> Lower<'a, '_> {
    /// The location that an expression names; `None` if it is only a value.
    pub(super) fn place(&mut self, expr: &'a Expr) -> Result<Option<Place>> {
        match &expr.kind {
            ExprKind::Name(..) => {
                let def = self.info.def_of.get(&expr.id).copied();
                match def.and_then(|def| self.lookup(def)) {
                    Some(Storage::Place(place)) => Ok(Some(place)),
                    _ => Ok(None),
                }
            }
            ExprKind::Member(base, name) => {
                let Some(base_place) = self.place_or_temporary(base)? else {
                    return Ok(None);
                };
                self.member(expr, base, base_place, &name.name)
            }
            ExprKind::Index(base, index) => {
                let Some(place) = self.place_or_temporary(base)? else {
                    return Ok(None);
                };
                self.element(expr, place, index).map(Some)
            }
            ExprKind::Slice(base, high, low) => {
                let (Some(high), Some(low)) = (self.small(high)?, self.small(low)?) else {
                    return Ok(None);
                };
                self.slice_place(base, low, high + 1 - low)
            }
            ExprKind::Part(base, low, width) => {
                let Some(width) = self.small(width)? else {
                    return Ok(None);
                };
                match self.small(low)? {
                    Some(low) => self.slice_place(base, low, width),
                    None => self.part_place(base, low, width),
                }
            }
            _ => Ok(None),
        }
    }

    pub(super) fn small(&mut self, expr: &Expr) -> Result<Option<u32>> {
        Ok(self
            .known(expr)?
            .and_then(|v| v.int().and_then(|v| v.to_u32())))
    }

    /// The location of a composite value; a value without one is stored in a temporary.
    fn place_or_temporary(&mut self, expr: &'a Expr) -> Result<Option<Place>> {
        if let Some(place) = self.place(expr)? {
            return Ok(Some(place));
        }
        let ty = self.type_of(expr);
        match self.kind(ty) {
            Kind::Struct(..) | Kind::Stack(..) | Kind::Tuple(_) | Kind::ListLiteral(_) => {
                let slot = self.value(expr)?;
                Ok(Some(Place::at(slot, ty)))
            }
            _ => Ok(None),
        }
    }

    fn member(
        &mut self,
        expr: &'a Expr,
        base: &'a Expr,
        place: Place,
        name: &str,
    ) -> Result<Option<Place>> {
        let span = expr.span;
        match self.layout(place.ty, span)? {
            Layout::Struct(fields) | Layout::Header(fields) => {
                let Some(field) = fields.fields.iter().find(|f| f.name == name) else {
                    return Err(Failed);
                };
                let ty = self.natural_type(expr);
                Ok(Some(Place {
                    base: place.base + field.offset,
                    ty,
                    others: Vec::new(),
                    ..place
                }))
            }
            Layout::Union(fields) => {
                let Some(field) = fields.fields.iter().find(|f| f.name == name) else {
                    return Err(Failed);
                };
                let others = fields
                    .fields
                    .iter()
                    .filter(|f| f.name != name)
                    .map(|f| i64::from(f.offset) - i64::from(field.offset))
                    .collect();
                let ty = self.natural_type(expr);
                Ok(Some(Place {
                    base: place.base + field.offset,
                    ty,
                    others,
                    ..place
                }))
            }
            Layout::Stack(element, count) => match name {
                "next" | "last" => {
                    let index = self.stack_index(&place, name == "next", count);
                    let ty = self.natural_type(expr);
                    self.indexed(place, index, element.limbs(), count, ty, base.span)
                        .map(Some)
                }
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// Emits the index of a stack's `next` or `last`; ends parsing if there is none.
    fn stack_index(&mut self, place: &Place, next: bool, count: u32) -> Slot {
        let out_of_bounds = self.error_slot("StackOutOfBounds");
        let index = self.allocate(1);
        self.emit(Inst::Move {
            dst: index,
            src: place.base,
            limbs: 1,
        });
        if !next {
            let one = self.number(1);
            self.emit(Inst::Binary {
                op: Op::Sub,
                dst: index,
                a: index,
                b: one,
                width: 32,
            });
        }
        // `last` of an empty stack has the index 2^32 - 1.
        let (limit, good) = (self.number(count.into()), self.allocate(1));
        self.emit(Inst::Compare {
            cmp: crate::ir::Cmp::Lt(false),
            dst: good,
            a: index,
            b: limit,
            width: 32,
        });
        let ok = self.branch(good, true);
        self.emit(Inst::Reject {
            error: out_of_bounds,
        });
        let end = self.jump();
        self.body.returns.push(end);
        self.land(ok);
        index
    }

    pub(super) fn error_slot(&mut self, name: &str) -> Slot {
        let at = self.info.errors.iter().position(|e| &**e == name);
        self.number(at.unwrap_or(0) as u64)
    }

    fn element(&mut self, expr: &'a Expr, place: Place, index: &'a Expr) -> Result<Place> {
        let ty = self.natural_type(expr);
        match self.layout(place.ty, expr.span)? {
            Layout::Stack(element, count) => {
                let stride = element.limbs();
                if let Some(at) = self.small(index)? {
                    return Ok(Place {
                        base: place.base + 1 + at.min(count - 1) * stride,
                        ty,
                        ..place
                    });
                }
                // The index is kept: its operands may change before the location is used.
                let index_ty = self.type_of(index);
                let width = self.layout(index_ty, index.span)?.bits();
                let value = self.value(index)?;
                let slot = self.allocate(1);
                self.emit(Inst::Resize {
                    dst: slot,
                    a: value,
                    from: width,
                    to: 64,
                    signed: false,
                });
                self.indexed(place, slot, stride, count, ty, expr.span)
            }
            Layout::Struct(fields) => {
                let at = self.small(index)?.unwrap_or(0) as usize;
                match fields.fields.get(at) {
                    Some(field) => Ok(Place {
                        base: place.base + field.offset,
                        ty,
                        ..place
                    }),
                    None => Err(Failed),
                }
            }
            _ => self.unsupported(expr.span, "an index into this"),
        }
    }

    fn indexed(
        &mut self,
        place: Place,
        slot: Slot,
        stride: u32,
        count: u32,
        ty: TypeId,
        span: Span,
    ) -> Result<Place> {
        if place.index.is_some() {
            return self.unsupported(span, "two indices that are not constants in one path");
        }
        Ok(Place {
            base: place.base + 1,
            index: Some(Index {
                slot,
                stride,
                count,
            }),
            ty,
            slice: None,
            part: None,
            others: Vec::new(),
        })
    }

    /// The slot from which the location's value can be read. It may be the location itself.
    pub(super) fn read(&mut self, place: &Place, span: Span) -> Result<Slot> {
        let layout = self.layout(place.ty, span)?;
        let whole = match place.index {
            None => place.base,
            Some(index) => {
                let dst = self.allocate(layout.limbs());
                self.emit(Inst::Load {
                    dst,
                    base: place.base,
                    index: index.slot,
                    stride: index.stride,
                    count: index.count,
                    limbs: layout.limbs(),
                });
                dst
            }
        };
        let (value, width) = match place.slice {
            None => (whole, layout.bits()),
            Some((low, width)) => {
                let dst = self.allocate(crate::ir::limbs_of(width));
                self.emit(Inst::Slice {
                    dst,
                    a: whole,
                    from: layout.bits(),
                    low,
                    to: width,
                });
                (dst, width)
            }
        };
        Ok(match place.part {
            None => value,
            Some(part) => self.read_part(part, value, width),
        })
    }

    /// Writes a value of the location's type, or of the width of its slice.
    pub(super) fn write(&mut self, place: &Place, src: Slot, span: Span) -> Result<()> {
        let layout = self.layout(place.ty, span)?;
        if let Some(part) = place.part {
            let outer = Place {
                part: None,
                ..place.clone()
            };
            let whole = self.read(&outer, span)?;
            let width = outer.slice.map_or(layout.bits(), |s| s.1);
            let value = self.with_part(part, whole, src, width);
            return self.write(&outer, value, span);
        }
        if let Some((low, bits)) = place.slice {
            let whole = Place {
                slice: None,
                part: None,
                ..place.clone()
            };
            let value = match place.index {
                None => place.base,
                Some(_) => self.read(&whole, span)?,
            };
            self.emit(Inst::SetSlice {
                dst: value,
                width: layout.bits(),
                a: src,
                low,
                bits,
            });
            return match place.index {
                None => Ok(()),
                Some(_) => self.write(&whole, value, span),
            };
        }
        self.write_limbs(place, 0, src, layout.limbs());
        self.select_member(place);
        Ok(())
    }

    /// Writes some limbs of a location.
    pub(super) fn write_limbs(&mut self, place: &Place, offset: u32, src: Slot, limbs: u32) {
        let base = place.base + offset;
        match place.index {
            None if base == src => {}
            None => self.emit(Inst::Move {
                dst: base,
                src,
                limbs,
            }),
            Some(index) => self.emit(Inst::Store {
                src,
                base,
                index: index.slot,
                stride: index.stride,
                count: index.count,
                limbs,
            }),
        }
    }

    /// Invalidates the other headers of a union if this one has become valid.
    pub(super) fn select_member(&mut self, place: &Place) {
        if place.others.is_empty() {
            return;
        }
        let valid = self.read_limb(place);
        let skip = self.branch(valid, false);
        let zero = self.number(0);
        for distance in &place.others {
            let other = Place {
                base: (i64::from(place.base) + distance) as Slot,
                others: Vec::new(),
                ..place.clone()
            };
            self.write_limbs(&other, 0, zero, 1);
        }
        self.land(skip);
    }

    /// The first limb of a location: the validity of a header.
    pub(super) fn read_limb(&mut self, place: &Place) -> Slot {
        match place.index {
            None => place.base,
            Some(index) => {
                let dst = self.allocate(1);
                self.emit(Inst::Load {
                    dst,
                    base: place.base,
                    index: index.slot,
                    stride: index.stride,
                    count: index.count,
                    limbs: 1,
                });
                dst
            }
        }
    }
}
