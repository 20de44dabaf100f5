// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Lowering of statements to instructions.

use super::places::Place;
use super::{Failed, Loop, Lower, Result, Storage};
use crate::check::DefKind;
use crate::eval::Value;
use crate::ir::{Cmp, Inst, Layout, Op, Slot};
use crate::syntax::ast::{
    BinaryOp, Decl, DeclKind, Expr, ExprKind, ForRange, Statement, StatementKind, SwitchCase,
};
use crate::types::Kind;

impl<'a> Lower<'a, '_> {
    /// Lowers statements; one that fails does not hide errors in the next.
    pub(super) fn statements(&mut self, statements: &'a [Statement]) -> Result<()> {
        let mut all = Ok(());
        for statement in statements {
            if self.statement(statement).is_err() {
                all = Err(Failed);
            }
        }
        all
    }

    fn statement(&mut self, statement: &'a Statement) -> Result<()> {
        self.go_on(statement.span)?;
        match &statement.kind {
            StatementKind::Empty => Ok(()),
            StatementKind::Block(block) => self.statements(&block.statements),
            StatementKind::Declaration(decl) => self.local_declaration(decl),
            StatementKind::Assign(left, op, right) => self.assign(left, *op, right),
            StatementKind::Call(expr) => self.call(expr).map(|_| ()),
            StatementKind::If(condition, yes, no) => {
                let other = self.branch_on(condition, false)?;
                let first = self.statement(yes);
                let second = match no {
                    Some(no) => {
                        let end = self.jump();
                        self.land_all(other);
                        let result = self.statement(no);
                        self.land(end);
                        result
                    }
                    None => {
                        self.land_all(other);
                        Ok(())
                    }
                };
                first.and(second)
            }
            StatementKind::Return(value) => {
                if let (Some(value), Some((slot, _))) = (value, self.body.result) {
                    self.value_into(value, slot)?;
                }
                let end = self.jump();
                self.body.returns.push(end);
                Ok(())
            }
            StatementKind::Exit => {
                self.emit(Inst::Exit);
                let end = self.jump();
                self.body.returns.push(end);
                Ok(())
            }
            StatementKind::Break => {
                let jump = self.jump();
                if let Some(inner) = self.body.loops.last_mut() {
                    inner.breaks.push(jump);
                }
                Ok(())
            }
            StatementKind::Continue => {
                let jump = self.jump();
                if let Some(inner) = self.body.loops.last_mut() {
                    inner.continues.push(jump);
                }
                Ok(())
            }
            StatementKind::Switch(value, cases) => self.switch(value, cases),
            StatementKind::For(init, condition, update, body) => {
                self.statements(init)?;
                let top = self.here();
                let end = match condition {
                    Some(condition) => self.branch_on(condition, false)?,
                    None => Vec::new(),
                };
                let inner = self.in_loop(body)?;
                for jump in inner.continues {
                    self.land(jump);
                }
                self.statements(update)?;
                let back = self.jump();
                self.aim(back, top);
                self.land_all(end);
                self.land_all(inner.breaks);
                Ok(())
            }
            StatementKind::ForIn(decl, range, body) => self.for_in(decl, range, body),
        }
    }

    /// Lowers the body of a loop; returns the jumps out of it.
    fn in_loop(&mut self, body: &'a Statement) -> Result<Loop> {
        self.body.loops.push(Loop::default());
        let result = self.statement(body);
        let inner = self.body.loops.pop().unwrap_or_default();
        result.map(|()| inner)
    }

    fn for_in(&mut self, decl: &'a Decl, range: &'a ForRange, body: &'a Statement) -> Result<()> {
        let variable = self.variable(decl)?;
        let (ty, span) = (variable.ty, decl.span);
        let layout = self.layout(ty, span)?;
        match range {
            ForRange::Numbers(low, high) => {
                let width = layout.bits();
                let signed = matches!(layout, Layout::Bits(_, true));
                let last = self.allocate(layout.limbs());
                self.value_into(low, variable.base)?;
                self.value_into(high, last)?;
                let go = self.allocate(1);
                self.emit(Inst::Compare {
                    cmp: Cmp::Le(signed),
                    dst: go,
                    a: variable.base,
                    b: last,
                    width,
                });
                let empty = self.branch(go, false);
                let top = self.here();
                let inner = self.in_loop(body)?;
                for jump in inner.continues {
                    self.land(jump);
                }
                // The last value may be the maximum of its type: compared before the increment.
                self.emit(Inst::Compare {
                    cmp: Cmp::Lt(signed),
                    dst: go,
                    a: variable.base,
                    b: last,
                    width,
                });
                let end = self.branch(go, false);
                let one = crate::eval::limbs(&1.into(), width);
                let one = self.constant_limbs(one);
                self.emit(Inst::Binary {
                    op: Op::Add,
                    dst: variable.base,
                    a: variable.base,
                    b: one,
                    width,
                });
                let back = self.jump();
                self.aim(back, top);
                for jump in inner.breaks.into_iter().chain([empty, end]) {
                    self.land(jump);
                }
                Ok(())
            }
            ForRange::Elements(elements) => self.for_elements(&variable, elements, body),
        }
    }

    /// Unrolls the body, once for each element.
    fn for_elements(
        &mut self,
        variable: &Place,
        elements: &'a Expr,
        body: &'a Statement,
    ) -> Result<()> {
        let mut breaks = Vec::new();
        let mut once = |lower: &mut Self| -> Result<()> {
            let inner = lower.in_loop(body)?;
            for jump in inner.continues {
                lower.land(jump);
            }
            breaks.extend(inner.breaks);
            Ok(())
        };
        let ty = self.type_of(elements);
        let mut literal = elements;
        while let ExprKind::Cast(_, inner) = &literal.kind {
            literal = inner;
        }
        match (&literal.kind, self.kind(ty)) {
            (ExprKind::List(items), Kind::List(_) | Kind::ListLiteral(_)) => {
                for item in items {
                    self.value_into(item, variable.base)?;
                    once(self)?;
                }
            }
            (_, Kind::List(_)) => {
                let Some(Value::List(items)) = self.known(elements)? else {
                    return self.fail(
                        elements.span,
                        "the compiler has to know this list, and does not",
                    );
                };
                let layout = self.layout(variable.ty, elements.span)?;
                for item in &items {
                    self.known_aggregate(item, &layout, variable.base, elements.span)?;
                    once(self)?;
                }
            }
            _ => {
                let Layout::Stack(element, count) = self.layout(ty, elements.span)? else {
                    return self.unsupported(elements.span, "a loop over this");
                };
                let slot = self.value(elements)?;
                for n in 0..count {
                    self.emit(Inst::Move {
                        dst: variable.base,
                        src: slot + 1 + n * element.limbs(),
                        limbs: element.limbs(),
                    });
                    once(self)?;
                }
            }
        }
        for jump in breaks {
            self.land(jump);
        }
        Ok(())
    }

    /// Allocates the slot of a variable.
    fn variable(&mut self, decl: &'a Decl) -> Result<Place> {
        let Some(def) = self.info.def_of.get(&decl.id).copied() else {
            return Err(Failed);
        };
        let DefKind::Variable(ty) = self.def(def).kind else {
            return Err(Failed);
        };
        let ty = self.info.types.substitute(ty, &self.scope.types);
        let slot = self.temporary(ty, decl.span)?;
        let place = Place::at(slot, ty);
        self.scope.env.insert(def, Storage::Place(place.clone()));
        Ok(place)
    }

    pub(super) fn local_declaration(&mut self, decl: &'a Decl) -> Result<()> {
        match &decl.kind {
            DeclKind::Variable(_, value) => {
                // The value may refer to an outer variable of the same name.
                let place = self.variable(decl)?;
                match value {
                    Some(value) => self.value_into(value, place.base),
                    None => {
                        let limbs = self.layout(place.ty, decl.span)?.limbs();
                        self.emit(Inst::Zero {
                            dst: place.base,
                            limbs,
                        });
                        Ok(())
                    }
                }
            }
            DeclKind::Const(_, value) => self.local_constant(decl, value),
            _ => self.unsupported(decl.span, "this declaration here"),
        }
    }

    /// Evaluates a constant whose value depends on constructor parameters.
    pub(super) fn local_constant(&mut self, decl: &'a Decl, value: &'a Expr) -> Result<()> {
        let Some(def) = self.info.def_of.get(&decl.id).copied() else {
            return Err(Failed);
        };
        if let DefKind::Const(_, Some(_)) = self.def(def).kind {
            return Ok(());
        }
        match self.known(value)? {
            Some(known) => {
                self.scope.known.insert(def, known);
                Ok(())
            }
            None => self.fail(
                value.span,
                "the compiler has to know this value, and does not",
            ),
        }
    }

    fn assign(&mut self, left: &'a Expr, op: Option<BinaryOp>, right: &'a Expr) -> Result<()> {
        let Some(place) = self.place(left)? else {
            return self.unsupported(left.span, "writing this");
        };
        let src = match op {
            None => match place {
                // Directly into the variable, if nothing else needs to be done.
                Place {
                    index: None,
                    slice: None,
                    part: None,
                    ref others,
                    base,
                    ..
                } if others.is_empty() && !self.has_effects(right) => {
                    return self.value_into(right, base);
                }
                _ => {
                    let ty = self.type_of(right);
                    let made = self.temporary(ty, right.span)?;
                    self.value_into(right, made)?;
                    made
                }
            },
            Some(op) => {
                let ty = self.natural_type(left);
                let ty = self.info.types.underlying(ty);
                let old = self.read(&place, left.span)?;
                let old = match self.has_effects(right) {
                    true => {
                        let limbs = self.layout(ty, left.span)?.limbs();
                        let dst = self.allocate(limbs);
                        self.emit(Inst::Move {
                            dst,
                            src: old,
                            limbs,
                        });
                        dst
                    }
                    false => old,
                };
                let right_ty = self.type_of(right);
                let value = self.value(right)?;
                self.operate(op, (old, ty), (value, right_ty), left)?
            }
        };
        self.write(&place, src, left.span)
    }

    fn switch(&mut self, value: &'a Expr, cases: &'a [SwitchCase]) -> Result<()> {
        let ty = self.type_of(value);
        let table = match self.kind(ty) {
            Kind::ActionRun(table) => Some(table),
            _ => None,
        };
        let layout = self.layout(ty, value.span)?;
        let slot = self.value(value)?;
        let slot = self.copied(value, slot)?;
        let mut ends = Vec::new();
        let mut bodies: Vec<usize> = Vec::new();
        let mut default = None;
        for (n, case) in cases.iter().enumerate() {
            match &case.label {
                None => default = Some(n),
                Some(label) => {
                    let wanted = match table {
                        Some(table) => {
                            let at = self.action_index(table, label);
                            self.number(at as u64)
                        }
                        None => self.value(label)?,
                    };
                    let same = self.equal(slot, wanted, &layout)?;
                    bodies.push(self.branch(same, true));
                }
            }
        }
        // The jumps to bodies in order of the labels, the default's last.
        let jump_default = self.jump();
        let mut labels = bodies.into_iter();
        let mut pending: Vec<usize> = Vec::new();
        let mut result = Ok(());
        for (n, case) in cases.iter().enumerate() {
            match default == Some(n) {
                true => pending.push(jump_default),
                false => pending.extend(labels.next()),
            }
            if let Some(body) = &case.body {
                for jump in pending.drain(..) {
                    self.land(jump);
                }
                result = result.and(self.statements(&body.statements));
                ends.push(self.jump());
            }
        }
        for jump in pending.into_iter().chain(ends) {
            self.land(jump);
        }
        if default.is_none() {
            self.land(jump_default);
        }
        result
    }

    fn action_index(&self, table: crate::types::DefId, label: &Expr) -> usize {
        let action = self.info.def_of.get(&label.id);
        match &self.def(table).kind {
            DefKind::Table(info) => info
                .actions
                .iter()
                .position(|a| Some(&a.0) == action)
                .unwrap_or(usize::MAX >> 1),
            _ => usize::MAX >> 1,
        }
    }

    /// Copies a Boolean or similar value out of a slot that may change.
    pub(super) fn fresh_copy(&mut self, src: Slot, limbs: u32) -> Slot {
        let dst = self.allocate(limbs);
        self.emit(Inst::Move { dst, src, limbs });
        dst
    }
}
