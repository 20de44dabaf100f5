// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Parsers: states are positions in the code, transitions are jumps.

use std::collections::HashMap;

use super::{Failed, Lower, Result, Storage};
use crate::check::DefKind;
use crate::ir::{Cmp, Inst, Layout, Op, Slot, ValueSet};
use crate::lexer::Name;
use crate::source::Span;
use crate::syntax::ast::{Decl, Expr, ExprKind, Ident, ParserBody, Transition};
use crate::types::{DefId, Kind, TypeId};

/// Jumps to states whose position is not known yet.
type Pending = Vec<(usize, Ident)>;

impl<'a> Lower<'a, '_> {
    pub(super) fn parser_code(&mut self, body: &'a ParserBody) -> Result<()> {
        let mut all = self.locals(&body.locals);
        let mut pending: Pending = Vec::new();
        let start = Ident {
            name: Name::from("start"),
            span: Span::default(),
        };
        let jump = self.jump();
        pending.push((jump, start));
        let mut places: HashMap<Name, u32> = HashMap::new();
        for state in &body.states {
            let here = self.here();
            places.insert(state.name.name.clone(), here);
            self.body.labels.push((here, state.name.name.to_string()));
            all = all.and(self.statements(&state.body));
            all = all.and(self.transition(&state.transition, &mut pending));
        }
        let reject = self.here();
        let none = self.number(0);
        self.emit(Inst::Reject { error: none });
        let end = self.jump();
        self.body.returns.push(end);
        for (jump, state) in pending {
            match &*state.name {
                "accept" => self.body.returns.push(jump),
                "reject" => self.aim(jump, reject),
                name => match places.get(name) {
                    Some(place) => self.aim(jump, *place),
                    None => return Err(Failed),
                },
            }
        }
        all
    }

    fn transition(&mut self, transition: &'a Transition, pending: &mut Pending) -> Result<()> {
        match transition {
            Transition::None => {
                let jump = self.jump();
                let reject = Ident {
                    name: Name::from("reject"),
                    span: Span::default(),
                };
                pending.push((jump, reject));
                Ok(())
            }
            Transition::To(state) => {
                let jump = self.jump();
                pending.push((jump, state.clone()));
                Ok(())
            }
            Transition::Select(values, cases) => {
                let mut slots = Vec::new();
                for (n, value) in values.iter().enumerate() {
                    let later: Vec<_> = values[n + 1..].iter().collect();
                    let slot = self.kept(value, &later)?;
                    slots.push((slot, self.type_of(value)));
                }
                for (sets, state) in cases {
                    if let Some(matches) = self.matches(sets, &slots)? {
                        let jump = self.branch(matches, true);
                        pending.push((jump, state.clone()));
                    } else {
                        let jump = self.jump();
                        pending.push((jump, state.clone()));
                    }
                }
                let error = self.error_slot("NoMatch");
                self.emit(Inst::Reject { error });
                let end = self.jump();
                self.body.returns.push(end);
                Ok(())
            }
        }
    }

    /// Emits a test whether all values are in their sets; returns `None` if they always are.
    fn matches(&mut self, sets: &'a [Expr], slots: &[(Slot, TypeId)]) -> Result<Option<Slot>> {
        if let [one] = sets {
            if slots.len() != 1 {
                return match &one.kind {
                    ExprKind::Default | ExprKind::DontCare => Ok(None),
                    ExprKind::List(items) => self.matches(items, slots),
                    _ => self.in_value_set(one, slots).map(Some),
                };
            }
        }
        let mut all = None;
        for (set, (slot, ty)) in sets.iter().zip(slots) {
            if let Some(one) = self.in_set(set, *slot, *ty)? {
                all = Some(self.both(all, one));
            }
        }
        Ok(all)
    }

    fn both(&mut self, first: Option<Slot>, second: Slot) -> Slot {
        let Some(first) = first else {
            return second;
        };
        let dst = self.allocate(1);
        self.emit(Inst::Binary {
            op: Op::And,
            dst,
            a: first,
            b: second,
            width: 1,
        });
        dst
    }

    fn in_set(&mut self, set: &'a Expr, slot: Slot, ty: TypeId) -> Result<Option<Slot>> {
        let layout = self.layout(ty, set.span)?;
        let width = match &layout {
            Layout::Bits(width, _) => *width,
            _ => 64,
        };
        match &set.kind {
            ExprKind::Default | ExprKind::DontCare => Ok(None),
            ExprKind::Mask(value, mask) => {
                let (mask, value) = (self.value(mask)?, self.value(value)?);
                let (a, b) = (self.allocate(layout.limbs()), self.allocate(layout.limbs()));
                for (dst, src) in [(a, slot), (b, value)] {
                    self.emit(Inst::Binary {
                        op: Op::And,
                        dst,
                        a: src,
                        b: mask,
                        width,
                    });
                }
                self.equal(a, b, &layout).map(Some)
            }
            ExprKind::Range(low, high) => {
                let signed = matches!(layout, Layout::Bits(_, true));
                let (low, high) = (self.value(low)?, self.value(high)?);
                let (above, below) = (self.allocate(1), self.allocate(1));
                for (dst, a, b) in [(above, low, slot), (below, slot, high)] {
                    self.emit(Inst::Compare {
                        cmp: Cmp::Le(signed),
                        dst,
                        a,
                        b,
                        width,
                    });
                }
                Ok(Some(self.both(Some(above), below)))
            }
            ExprKind::List(items) if !matches!(layout, Layout::Struct(_)) => match &items[..] {
                [one] => self.in_set(one, slot, ty),
                _ => Err(Failed),
            },
            _ => {
                let set_ty = self.natural_type(set);
                if let Kind::Set(_) = self.kind(set_ty) {
                    return self.in_value_set(set, &[(slot, ty)]).map(Some);
                }
                let value = self.value(set)?;
                self.equal(slot, value, &layout).map(Some)
            }
        }
    }

    fn in_value_set(&mut self, set: &'a Expr, slots: &[(Slot, TypeId)]) -> Result<Slot> {
        let def = self.info.def_of.get(&set.id).copied();
        let Some(Storage::ValueSet(index)) = def.and_then(|d| self.lookup(d)) else {
            return self.unsupported(set.span, "this as a set");
        };
        let keys = self.out.value_sets[index as usize].keys.clone();
        // The values one by one, regardless of the structure of the set.
        let mut parts = Vec::new();
        for (slot, ty) in slots {
            let layout = self.layout(*ty, set.span)?;
            leaves(&layout, *slot, &mut parts);
        }
        if parts.len() != keys.len() {
            return self.fail(set.span, "this value set has another number of fields");
        }
        for ((src, _), (dst, width)) in parts.into_iter().zip(keys) {
            self.emit(Inst::Move {
                dst,
                src,
                limbs: crate::ir::limbs_of(width),
            });
        }
        let dst = self.allocate(1);
        self.emit(Inst::InValueSet { set: index, dst });
        Ok(dst)
    }

    pub(super) fn value_set(&mut self, decl: &'a Decl, def: DefId, size: &'a Expr) -> Result<u32> {
        let DefKind::ValueSet(set) = self.def(def).kind else {
            return Err(Failed);
        };
        let Kind::Set(ty) = self.kind(set) else {
            return Err(Failed);
        };
        let ty = self.info.types.substitute(ty, &self.scope.types);
        let layout = self.layout(ty, decl.span)?;
        let mut parts = Vec::new();
        leaves(&layout, 0, &mut parts);
        let keys = parts
            .into_iter()
            .map(|(_, width)| (self.allocate(crate::ir::limbs_of(width)), width))
            .collect();
        let size = self.entries_size(size)?;
        self.show_value_set(decl, ty);
        self.out.value_sets.push(ValueSet {
            name: self.visible_name(&decl.annotations, &decl.name.name),
            keys,
            size: size.into(),
        });
        Ok(self.out.value_sets.len() as u32 - 1)
    }
}

/// Collects the scalar components of a value, with their widths.
pub(super) fn leaves(layout: &Layout, slot: Slot, out: &mut Vec<(Slot, u32)>) {
    match layout {
        Layout::Struct(fields) | Layout::Header(fields) | Layout::Union(fields) => {
            for field in &fields.fields {
                leaves(&field.layout, slot + field.offset, out);
            }
        }
        Layout::Stack(element, count) => {
            for n in 0..*count {
                leaves(element, slot + 1 + n * element.limbs(), out);
            }
        }
        _ => out.push((slot, layout.bits())),
    }
}
