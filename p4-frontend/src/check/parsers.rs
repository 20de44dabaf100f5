// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bodies of parsers and controls.

use std::collections::{HashMap, HashSet};

use super::{Checker, Place};
use crate::diagnostics::Diagnostic;
use crate::lexer::Name;
use crate::source::Span;
use crate::syntax::ast::{ControlBody, Decl, Expr, ExprKind, Ident, ParserBody, State, Transition};
use crate::types::{Kind, TypeId, UNKNOWN};

impl<'a> Checker<'a, '_> {
    pub(super) fn parser_body(&mut self, decl: &'a Decl, body: &'a ParserBody) {
        let outer = std::mem::replace(&mut self.place, Place::Parser);
        self.scoped(|c| {
            for local in &body.locals {
                c.local(local);
            }
            let mut names: HashSet<Name> = HashSet::new();
            for state in &body.states {
                let name = &state.name;
                if matches!(&*name.name, "accept" | "reject") {
                    c.fail(
                        name.span,
                        format!("the state `{}` is there already", name.name),
                    );
                } else if !names.insert(name.name.clone()) {
                    c.fail(
                        name.span,
                        format!("the state `{}` is declared twice", name.name),
                    );
                }
            }
            if !names.contains("start") {
                c.error(
                    Diagnostic::error(decl.name.span, "this parser has no state `start`")
                        .note("parsing begins in the state `start`"),
                );
            }
            c.comes_to_an_end(decl, body);
            for state in &body.states {
                c.place = Place::State;
                c.scoped(|c| {
                    c.statements(&state.body);
                    c.transition(&state.transition, &names);
                });
                c.place = Place::Parser;
            }
        });
        self.place = outer;
    }

    /// Reports a parser that can never reach `accept` or `reject`.
    fn comes_to_an_end(&mut self, decl: &'a Decl, body: &'a ParserBody) {
        let states: HashMap<&str, &State> =
            body.states.iter().map(|s| (&*s.name.name, s)).collect();
        let (mut seen, mut open) = (HashSet::new(), vec![Name::from("start")]);
        while let Some(name) = open.pop() {
            let Some(state) = states.get(&*name) else {
                return; // `accept`, `reject`, or an undeclared state, which is reported elsewhere.
            };
            if !seen.insert(name) {
                continue;
            }
            match &state.transition {
                Transition::None => return,
                Transition::To(next) => open.push(next.name.clone()),
                Transition::Select(_, cases) => {
                    // A packet that no case matches is rejected, unless there is a default case.
                    let any =
                        |set: &Expr| matches!(set.kind, ExprKind::Default | ExprKind::DontCare);
                    if !cases.iter().any(|(sets, _)| sets.iter().all(any)) {
                        return;
                    }
                    open.extend(cases.iter().map(|(_, next)| next.name.clone()));
                }
            }
        }
        self.fail(
            decl.name.span,
            format!("`{}` never reaches `accept` or `reject`", decl.name.name),
        );
    }

    fn transition(&mut self, transition: &'a Transition, names: &HashSet<Name>) {
        match transition {
            Transition::None => {}
            Transition::To(state) => self.state_name(state, names),
            Transition::Select(values, cases) => {
                let types: Vec<_> = values.iter().map(|v| self.expression(v)).collect();
                for (value, ty) in values.iter().zip(&types) {
                    if matches!(
                        self.kind(*ty),
                        Kind::Varbit(_) | Kind::Struct(..) | Kind::Stack(..) | Kind::String
                    ) {
                        let shown = self.show(*ty);
                        self.fail(value.span, format!("`select` takes no `{shown}`"));
                    }
                }
                for (sets, state) in cases {
                    self.state_name(state, names);
                    sets.iter().for_each(|set| self.set_is_known(set));
                    self.sets(sets, &types, values.len());
                    for end in std::mem::take(&mut self.late) {
                        let reported = self.info.type_of.get(&end.id) == Some(&UNKNOWN);
                        if !reported && !self.compile_time(end) {
                            self.fail(end.span, "the compiler has to know the ends of a set");
                        }
                    }
                }
            }
        }
    }

    /// Collects the bounds of masks and ranges, which must be known at compile time; rejects calls.
    fn set_is_known(&mut self, set: &'a Expr) {
        match &set.kind {
            ExprKind::List(items) => items.iter().for_each(|set| self.set_is_known(set)),
            ExprKind::Call(..) => {
                self.fail(set.span, "nothing is called in a set of `select`");
            }
            ExprKind::Mask(a, b) | ExprKind::Range(a, b) => self.late.extend([&**a, &**b]),
            _ => {}
        }
    }

    fn state_name(&mut self, state: &'a Ident, names: &HashSet<Name>) {
        if !names.contains(&state.name) && !matches!(&*state.name, "accept" | "reject") {
            self.fail(state.span, format!("there is no state `{}`", state.name));
        }
    }

    /// Checks the sets of one case or entry against the types of the matched values.
    pub(super) fn sets(&mut self, sets: &'a [Expr], types: &[TypeId], count: usize) {
        if let [one] = sets {
            if matches!(one.kind, ExprKind::Default | ExprKind::DontCare) {
                return;
            }
            // A value set of a struct or tuple type covers all of them.
            if count != 1 {
                if let ExprKind::Name(..) = one.kind {
                    self.expression(one);
                    return;
                }
                if let ExprKind::List(items) = &one.kind {
                    return self.sets(items, types, count);
                }
            }
        }
        if sets.len() != count {
            let span = sets.first().map_or(Span::default(), |s| s.span);
            let given = sets.len();
            self.fail(span, format!("{count} sets are needed here, not {given}"));
            return;
        }
        for (set, ty) in sets.iter().zip(types) {
            self.set_of(set, *ty);
        }
    }

    /// Checks a set of values of a type.
    pub(super) fn set_of(&mut self, set: &'a Expr, ty: TypeId) {
        let ty = self.found(ty);
        match &set.kind {
            ExprKind::Default | ExprKind::DontCare => {}
            ExprKind::Mask(a, b) | ExprKind::Range(a, b) => {
                let mut under = self.info.types.underlying(ty);
                while let Kind::New(_, base) = self.kind(under) {
                    under = base;
                }
                if self.info.types.shape(under).is_none()
                    && ty != UNKNOWN
                    && !matches!(self.kind(under), Kind::Integer | Kind::Bool)
                {
                    let shown = self.show(ty);
                    self.fail(
                        set.span,
                        format!("there are no masks or ranges of `{shown}`"),
                    );
                    return;
                }
                let to = if self.kind(under) == Kind::Bool {
                    self.info.types.bit(1)
                } else {
                    under
                };
                for value in [a, b] {
                    let given = self.expression(value);
                    match given == ty
                        || self.castable(given, ty) && self.kind(given) != Kind::Integer
                    {
                        true if self.implicit(given, to) => {
                            self.coerce(value, to);
                        }
                        true => {}
                        false => {
                            self.coerce(value, to);
                        }
                    }
                }
                let (x, y) = (self.info.type_of.get(&a.id), self.info.type_of.get(&b.id));
                if let (Some(x), Some(y)) = (x.copied(), y.copied()) {
                    let widths = [self.info.types.shape(x), self.info.types.shape(y)];
                    let wanted = self.info.types.shape(to).map(|w| w.0);
                    let other = |end: &(u32, bool)| wanted.is_some_and(|w| w != end.0);
                    let differ = matches!(widths, [Some(x), Some(y)] if x != y);
                    if differ || widths.iter().flatten().any(other) {
                        self.fail(set.span, "both ends of a set have one width");
                    }
                }
                self.info.type_of.insert(set.id, ty);
            }
            _ => {
                let given = self.expression(set);
                match self.kind(given) {
                    Kind::Set(inner) => {
                        if inner != ty && !self.one_field(inner, ty) {
                            let (a, b) = (self.show(inner), self.show(ty));
                            self.fail(set.span, format!("this is a set of `{a}`, not of `{b}`"));
                        }
                    }
                    Kind::ListLiteral(_) if self.info.types.shape(ty).is_some() => {
                        if let ExprKind::List(items) = &set.kind {
                            self.sets(items, &[ty], 1);
                        }
                    }
                    _ => {
                        self.coerce(set, ty);
                    }
                }
            }
        }
    }

    /// Returns whether a struct or tuple has exactly one field, of that type.
    fn one_field(&mut self, ty: TypeId, field: TypeId) -> bool {
        match self.kind(ty) {
            Kind::Tuple(parts) => parts == [field],
            _ => {
                let fields = self.fields(ty);
                fields.len() == 1 && fields[0].1 == field
            }
        }
    }

    pub(super) fn control_body(&mut self, body: &'a ControlBody) {
        let outer = std::mem::replace(&mut self.place, Place::Control);
        self.scoped(|c| {
            for local in &body.locals {
                c.local(local);
            }
            c.place = Place::Apply;
            c.block(&body.apply);
        });
        self.place = outer;
    }
}
