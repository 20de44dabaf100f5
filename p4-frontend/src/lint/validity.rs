// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Accesses to fields of invalid headers, and reads of uninitialized variables, on every path that
//! leads there.
//!
//! The state of a location is one of three: it holds a value, it holds nothing, or it may be
//! either. Only the second causes a warning, so that anything the analysis does not follow (the
//! effects of tables, actions and other blocks on headers) causes none.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use super::paths::{path, Path};
use crate::check::{Builtin, Call, Callee, DefKind, Info};
use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::syntax::ast::{
    BinaryOp, Block, Decl, DeclKind, Direction, Expr, ExprKind, ForRange, Parameter, ParserBody,
    Program, Statement, StatementKind, StructKind, Transition, UnaryOp,
};
use crate::types::{Kind, TypeId};
use crate::warnings::Warning;

/// The maximum number of analysis steps: statements, expressions, and known locations wherever
/// states are copied or joined. It bounds the memory of these copies as well as the time.
const MAX_STEPS: usize = 4 << 20;

/// The state of a location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ValueState {
    Defined,
    Undefined,
    Unknown,
}

/// The states of locations at a point of control flow; those not listed may hold anything.
#[derive(Clone, Debug, Default, PartialEq)]
struct ValueStates(BTreeMap<Arc<[String]>, ValueState>);

impl ValueStates {
    /// The state of a location: its own if known, else that of the nearest enclosing one.
    fn of(&self, path: &[String]) -> ValueState {
        let around = (1..=path.len())
            .rev()
            .filter_map(|n| self.0.get(&path[..n]));
        around.copied().next().unwrap_or(ValueState::Unknown)
    }

    fn set(&mut self, path: &Path, value_state: ValueState) {
        // In the order of the keys a path directly precedes those that start with it.
        let from = (Bound::Included(&path[..]), Bound::Unbounded);
        let keys = self.0.range::<[String], _>(from).map(|(key, _)| key);
        let inside: Vec<_> = keys.take_while(|k| k.starts_with(path)).cloned().collect();
        for key in inside {
            self.0.remove(&key);
        }
        self.0.insert(path.as_slice().into(), value_state);
    }

    /// Joins the states of two control flow paths.
    fn or(&self, other: &ValueStates) -> ValueStates {
        let keys = self.0.keys().chain(other.0.keys());
        ValueStates(
            keys.map(|path| {
                let (a, b) = (self.of(path), other.of(path));
                (path.clone(), if a == b { a } else { ValueState::Unknown })
            })
            .collect(),
        )
    }
}

/// Warns about accesses to fields of invalid headers and reads of uninitialized variables.
pub(super) fn validity(program: &Program, info: &Info<'_>, diagnostics: &mut Diagnostics) {
    let mut flow = Flow {
        info,
        diagnostics,
        quiet: false,
        fuel: MAX_STEPS,
    };
    for decl in &program.decls {
        flow.decl(decl);
    }
}

struct Flow<'i, 'a, 'd> {
    info: &'i Info<'a>,
    diagnostics: &'d mut Diagnostics,
    /// `true` while nothing is reported, since the analysis has not converged yet.
    quiet: bool,
    /// The remaining steps: a large program is not analysed to its end. Nothing is reported once
    /// there are none.
    fuel: usize,
}

impl Flow<'_, '_, '_> {
    /// Subtracts steps; returns whether the analysis continues.
    fn spend(&mut self, steps: usize) -> bool {
        self.fuel = self.fuel.saturating_sub(steps);
        if self.diagnostics.stopped() {
            self.fuel = 0;
        }
        self.fuel > 0
    }

    /// Returns a copy of the states; nothing is known in it once no steps are left.
    fn copy(&mut self, facts: &ValueStates) -> ValueStates {
        match self.spend(1 + facts.0.len()) {
            true => facts.clone(),
            false => ValueStates::default(),
        }
    }

    /// Joins the states after two paths, either of which may not get there.
    fn join(&mut self, a: Option<ValueStates>, b: Option<ValueStates>) -> Option<ValueStates> {
        match (a, b) {
            (Some(a), Some(b)) => match self.spend(1 + a.0.len() + b.0.len()) {
                true => Some(a.or(&b)),
                false => None,
            },
            (a, b) => a.or(b),
        }
    }

    fn decl(&mut self, decl: &Decl) {
        match &decl.kind {
            DeclKind::Parser(signature, body) => self.parser(&signature.parameters, body),
            DeclKind::Control(signature, body) => {
                let mut facts = self.parameters(&signature.parameters);
                for local in &body.locals {
                    match &local.kind {
                        DeclKind::Action(parameters, body) => {
                            let facts = self.parameters(parameters);
                            self.block(body, facts);
                        }
                        _ => self.local(local, &mut facts),
                    }
                }
                self.block(&body.apply, facts);
            }
            DeclKind::Action(parameters, body) => {
                let facts = self.parameters(parameters);
                self.block(body, facts);
            }
            DeclKind::Function(method, Some(body)) => {
                let facts = self.parameters(&method.parameters);
                self.block(body, facts);
            }
            _ => {}
        }
    }

    /// The initial states of parameters: `out` parameters hold nothing.
    fn parameters(&self, parameters: &[Parameter]) -> ValueStates {
        let mut facts = ValueStates::default();
        for parameter in parameters {
            if let (Direction::Out, Some(def)) =
                (parameter.direction, self.info.def_of.get(&parameter.id))
            {
                facts.set(&vec![def.0.to_string()], ValueState::Undefined);
            }
        }
        facts
    }

    fn local(&mut self, decl: &Decl, facts: &mut ValueStates) {
        let DeclKind::Variable(_, value) = &decl.kind else {
            return;
        };
        if !self.spend(1) {
            return;
        }
        if let Some(value) = value {
            self.read(value, facts);
        }
        let Some(def) = self.info.def_of.get(&decl.id) else {
            return;
        };
        let path = vec![def.0.to_string()];
        match value {
            Some(value) => self.put(&path, Some(value), facts),
            None => facts.set(&path, ValueState::Undefined),
        }
    }

    /// Analyses the states until a fixed point is reached, then once more to report.
    fn parser(&mut self, parameters: &[Parameter], body: &ParserBody) {
        let mut first = self.parameters(parameters);
        body.locals
            .iter()
            .for_each(|local| self.local(local, &mut first));
        let states: HashMap<&str, usize> = body
            .states
            .iter()
            .enumerate()
            .map(|(n, s)| (&*s.name.name, n))
            .collect();
        let Some(start) = states.get("start") else {
            return;
        };
        // Many cases of a `select` may lead to the same state.
        let targets = |transition: &Transition| -> BTreeSet<usize> {
            let numbers = |name: &str| states.get(name).copied();
            match transition {
                Transition::None => BTreeSet::new(),
                Transition::To(next) => numbers(&next.name).into_iter().collect(),
                Transition::Select(_, cases) => {
                    let cases = cases.iter().filter_map(|c| numbers(&c.1.name));
                    cases.collect()
                }
            }
        };
        let next: Vec<BTreeSet<usize>> =
            body.states.iter().map(|s| targets(&s.transition)).collect();
        let mut begins: Vec<Option<ValueStates>> = vec![None; body.states.len()];
        begins[*start] = Some(first);
        let mut open = vec![*start];
        self.quiet = true;
        while let Some(at) = open.pop() {
            let Some(facts) = begins[at].as_ref().map(|facts| self.copy(facts)) else {
                continue;
            };
            let Some(end) = self.state(&body.states[at], facts) else {
                continue;
            };
            for next in &next[at] {
                let before = begins[*next].as_ref().map(|before| self.copy(before));
                let end = self.copy(&end);
                let joined = self.join(before, Some(end));
                if self.fuel == 0 {
                    break;
                }
                if joined != begins[*next] {
                    begins[*next] = joined;
                    open.push(*next);
                }
            }
        }
        self.quiet = false;
        if self.fuel == 0 {
            return;
        }
        for (state, facts) in body.states.iter().zip(begins) {
            if let Some(facts) = facts {
                self.state(state, facts);
            }
        }
    }

    fn state(
        &mut self,
        state: &crate::syntax::ast::State,
        facts: ValueStates,
    ) -> Option<ValueStates> {
        let mut facts = self.statements(&state.body, Some(facts));
        if let (Some(facts), Transition::Select(values, _)) = (&mut facts, &state.transition) {
            values.iter().for_each(|value| self.read(value, facts));
        }
        facts
    }

    fn block(&mut self, block: &Block, facts: ValueStates) -> Option<ValueStates> {
        self.statements(&block.statements, Some(facts))
    }

    fn statements(
        &mut self,
        statements: &[Statement],
        facts: Option<ValueStates>,
    ) -> Option<ValueStates> {
        statements
            .iter()
            .fold(facts, |facts, statement| self.statement(statement, facts?))
    }

    /// The states after a statement; `None` if its end is not reached.
    fn statement(&mut self, statement: &Statement, mut facts: ValueStates) -> Option<ValueStates> {
        if !self.spend(1) {
            return None;
        }
        match &statement.kind {
            StatementKind::Empty => Some(facts),
            StatementKind::Declaration(decl) => {
                self.local(decl, &mut facts);
                Some(facts)
            }
            StatementKind::Assign(left, op, right) => {
                self.read(right, &mut facts);
                match op {
                    Some(_) => self.read(left, &mut facts),
                    None => self.written(left, &mut facts),
                }
                match (path(self.info, left), op) {
                    (Some((path, true)), None) => self.put(&path, Some(right), &mut facts),
                    (Some((path, _)), _) => facts.set(&path, ValueState::Unknown),
                    (None, _) => {}
                }
                Some(facts)
            }
            StatementKind::Call(expr) => {
                self.read(expr, &mut facts);
                Some(facts)
            }
            StatementKind::If(condition, yes, no) => {
                self.read(condition, &mut facts);
                let then = self.assume(condition, true, &facts);
                let other = self.assume(condition, false, &facts);
                let then = self.statement(yes, then);
                let other = match no {
                    Some(no) => self.statement(no, other),
                    None => Some(other),
                };
                self.join(then, other)
            }
            StatementKind::Block(block) => self.block(block, facts),
            StatementKind::Return(value) => {
                value.iter().for_each(|value| self.read(value, &mut facts));
                None
            }
            StatementKind::Exit | StatementKind::Break | StatementKind::Continue => None,
            StatementKind::Switch(value, cases) => {
                self.read(value, &mut facts);
                let mut ends = Some(self.copy(&facts));
                for case in cases {
                    if let Some(body) = &case.body {
                        let begin = self.copy(&facts);
                        let end = self.block(body, begin);
                        ends = self.join(ends, end);
                    }
                }
                ends
            }
            // The effects of one iteration are present in the next: nothing is known.
            StatementKind::For(init, condition, update, body) => {
                self.statements(init, Some(facts))?;
                let mut facts = ValueStates::default();
                condition.iter().for_each(|c| self.read(c, &mut facts));
                self.statement(body, ValueStates::default());
                self.statements(update, Some(ValueStates::default()));
                Some(ValueStates::default())
            }
            StatementKind::ForIn(_, range, body) => {
                match range {
                    ForRange::Numbers(low, high) => {
                        self.read(low, &mut facts);
                        self.read(high, &mut facts);
                    }
                    ForRange::Elements(elements) => self.read(elements, &mut facts),
                }
                self.statement(body, ValueStates::default());
                Some(ValueStates::default())
            }
        }
    }

    /// The states once a condition has evaluated to `truth`.
    fn assume(&mut self, condition: &Expr, truth: bool, facts: &ValueStates) -> ValueStates {
        let mut facts = self.copy(facts);
        match &condition.kind {
            ExprKind::Unary(UnaryOp::Not, inner) => return self.assume(inner, !truth, &facts),
            ExprKind::Binary(BinaryOp::And, a, b) if truth => {
                facts = self.assume(a, true, &facts);
                return self.assume(b, true, &facts);
            }
            ExprKind::Binary(BinaryOp::Or, a, b) if !truth => {
                facts = self.assume(a, false, &facts);
                return self.assume(b, false, &facts);
            }
            ExprKind::Call(function, ..) => {
                if let (Some(Callee::Builtin(Builtin::IsValid)), ExprKind::Member(base, _)) =
                    (self.callee(condition), &function.kind)
                {
                    if let Some((path, true)) = path(self.info, base) {
                        let value_state = if truth {
                            ValueState::Defined
                        } else {
                            ValueState::Undefined
                        };
                        facts.set(&path, value_state);
                    }
                }
            }
            _ => {}
        }
        facts
    }

    fn callee(&self, call: &Expr) -> Option<&Callee> {
        self.info.calls.get(&call.id).map(|call| &call.callee)
    }

    /// Records that a location has been written.
    fn put(&mut self, path: &Path, value: Option<&Expr>, facts: &mut ValueStates) {
        let value_state = match value.map(|value| &value.kind) {
            Some(ExprKind::InvalidHeader) => ValueState::Undefined,
            Some(ExprKind::Name(..) | ExprKind::Member(..) | ExprKind::Call(..)) => {
                // The other header may be invalid, and is copied as such.
                ValueState::Unknown
            }
            Some(ExprKind::List(_) | ExprKind::Record(..)) => ValueState::Unknown,
            _ => ValueState::Defined,
        };
        facts.set(path, value_state);
    }

    fn kind(&self, expr: &Expr) -> Option<&Kind> {
        let ty: &TypeId = self.info.type_of.get(&expr.id)?;
        Some(self.info.types.kind(*ty))
    }

    fn is_header(&self, expr: &Expr) -> bool {
        matches!(self.kind(expr), Some(Kind::Struct(StructKind::Header, ..)))
    }

    fn report(&mut self, expr: &Expr, warning: Warning, message: String) {
        if !self.quiet && self.fuel > 0 {
            self.diagnostics
                .push(Diagnostic::warning(warning, expr.span, message));
        }
    }

    /// Reports the fields of invalid headers in an l-value that is written.
    fn written(&mut self, expr: &Expr, facts: &mut ValueStates) {
        match &expr.kind {
            ExprKind::Member(base, name) => {
                if self.is_header(base) {
                    self.field(expr, base, &name.name, "written", facts);
                } else {
                    self.written(base, facts);
                }
            }
            ExprKind::Slice(base, ..) | ExprKind::Part(base, ..) => self.written(base, facts),
            ExprKind::Index(base, index) => {
                self.written(base, facts);
                self.read(index, facts);
            }
            _ => {}
        }
    }

    fn field(&mut self, expr: &Expr, header: &Expr, name: &str, how: &str, facts: &ValueStates) {
        let Some((place, true)) = path(self.info, header) else {
            return;
        };
        if facts.of(&place) == ValueState::Undefined {
            let shown = super::paths::shown(header);
            self.report(
                expr,
                Warning::InvalidHeader,
                format!("the field `{name}` is {how} while `{shown}` is not valid"),
            );
        }
    }

    /// Reports the reads of an expression, and records its effects.
    fn read(&mut self, expr: &Expr, facts: &mut ValueStates) {
        if !self.spend(1) {
            return;
        }
        match &expr.kind {
            ExprKind::Member(base, name) if self.is_header(base) => {
                self.field(expr, base, &name.name, "read", facts);
            }
            ExprKind::Name(..) | ExprKind::Member(..) => {
                let simple = matches!(
                    self.kind(expr),
                    Some(Kind::Bit(_) | Kind::Int(_) | Kind::Bool | Kind::New(..))
                );
                match path(self.info, expr) {
                    Some((place, true)) if simple => {
                        if facts.of(&place) == ValueState::Undefined {
                            let shown = super::paths::shown(expr);
                            self.report(
                                expr,
                                Warning::UninitializedUse,
                                format!("`{shown}` is read before anything is put into it"),
                            );
                        }
                    }
                    _ => expr.each_child(&mut |child| self.read(child, facts)),
                }
            }
            ExprKind::Binary(op @ (BinaryOp::And | BinaryOp::Or), a, b) => {
                self.read(a, facts);
                // The second operand may not be evaluated: its effects may not have happened.
                let mut after = self.assume(a, *op == BinaryOp::And, facts);
                self.read(b, &mut after);
                if self.changes(b) {
                    *facts = ValueStates::default();
                }
            }
            ExprKind::Ternary(condition, yes, no) => {
                self.read(condition, facts);
                let mut then = self.assume(condition, true, facts);
                let mut other = self.assume(condition, false, facts);
                self.read(yes, &mut then);
                self.read(no, &mut other);
                if self.changes(yes) || self.changes(no) {
                    *facts = ValueStates::default();
                }
            }
            ExprKind::Call(function, _, arguments) => {
                let Some(call) = self.info.calls.get(&expr.id).cloned() else {
                    return;
                };
                let values: Vec<&Expr> = arguments.iter().map(|a| &a.value).collect();
                self.call(function, &call, &values, facts);
            }
            _ => expr.each_child(&mut |child| self.read(child, facts)),
        }
    }

    /// Returns whether an expression calls something that may change locations.
    fn changes(&mut self, expr: &Expr) -> bool {
        if !self.spend(1) {
            return true;
        }
        let mut found = match (&expr.kind, self.callee(expr)) {
            (ExprKind::Call(..), Some(Callee::Builtin(Builtin::IsValid))) => false,
            (ExprKind::Call(..), _) => true,
            _ => false,
        };
        expr.each_child(&mut |child| found |= self.changes(child));
        found
    }

    fn call(&mut self, function: &Expr, call: &Call, arguments: &[&Expr], facts: &mut ValueStates) {
        let directions: Vec<Direction> = match &call.callee {
            Callee::Builtin(builtin) => {
                if let ExprKind::Member(base, _) = &function.kind {
                    self.builtin(*builtin, base, facts);
                }
                return;
            }
            // Their code may write everything that is in scope.
            Callee::ApplyTable(_) => {
                *facts = ValueStates::default();
                return;
            }
            Callee::Action(def) => {
                let directions = self.directions(*def, None);
                self.arguments(call, arguments, &directions, facts, false);
                *facts = ValueStates::default();
                return;
            }
            Callee::Function(def) | Callee::Apply(def) => self.directions(*def, None),
            Callee::Method(def, method) => self.directions(*def, Some(*method)),
            Callee::Construct(_) => return,
        };
        let extracts = matches!(&function.kind, ExprKind::Member(_, name) if &*name.name == "extract")
            && matches!(call.callee, Callee::Method(..));
        self.arguments(call, arguments, &directions, facts, extracts);
    }

    fn directions(&self, def: crate::types::DefId, method: Option<usize>) -> Vec<Direction> {
        let signature = match (&self.info.defs[def.0 as usize].kind, method) {
            (DefKind::Function(signature, _) | DefKind::Action(signature, _), _) => signature,
            (DefKind::Parser(signature, ..) | DefKind::Control(signature, ..), _) => signature,
            (DefKind::Extern(_, methods), Some(method)) => &methods[method].signature,
            _ => return Vec::new(),
        };
        signature.parameters.iter().map(|p| p.direction).collect()
    }

    fn arguments(
        &mut self,
        call: &Call,
        arguments: &[&Expr],
        directions: &[Direction],
        facts: &mut ValueStates,
        extracts: bool,
    ) {
        let given = || call.arguments.iter().zip(directions);
        for (argument, direction) in given() {
            let Some(argument) = argument.and_then(|n| arguments.get(n)) else {
                continue;
            };
            match direction.writes() {
                false => self.read(argument, facts),
                true => self.written(argument, facts),
            }
        }
        for (argument, direction) in given() {
            let Some(argument) = argument.and_then(|n| arguments.get(n)) else {
                continue;
            };
            if let (true, Some((place, whole))) = (direction.writes(), path(self.info, argument)) {
                let value_state = match extracts && whole {
                    true => ValueState::Defined,
                    false => ValueState::Unknown,
                };
                self.set_header(argument, &place, value_state, facts);
            }
        }
    }

    /// Sets the state of a header; in a union, the states of the other headers become unknown.
    fn set_header(
        &mut self,
        header: &Expr,
        place: &Path,
        value_state: ValueState,
        facts: &mut ValueStates,
    ) {
        if let ExprKind::Member(base, _) = &header.kind {
            if matches!(self.kind(base), Some(Kind::Struct(StructKind::Union, ..))) {
                facts.set(&place[..place.len() - 1].to_vec(), ValueState::Unknown);
            }
        }
        facts.set(place, value_state);
    }

    fn builtin(&mut self, builtin: Builtin, base: &Expr, facts: &mut ValueStates) {
        let Some((place, whole)) = path(self.info, base) else {
            return;
        };
        match builtin {
            Builtin::SetValid if whole => {
                self.set_header(base, &place, ValueState::Defined, facts);
            }
            Builtin::SetInvalid if whole => {
                self.set_header(base, &place, ValueState::Undefined, facts);
            }
            Builtin::SetValid | Builtin::SetInvalid | Builtin::PushFront | Builtin::PopFront => {
                facts.set(&place, ValueState::Unknown);
            }
            Builtin::IsValid
            | Builtin::MinSizeInBits
            | Builtin::MinSizeInBytes
            | Builtin::MaxSizeInBits
            | Builtin::MaxSizeInBytes => {}
        }
    }
}
