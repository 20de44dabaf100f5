// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Statements.

use super::{Checker, DefKind, Place};
use crate::diagnostics::Diagnostic;
use crate::source::Span;
use crate::syntax::ast::{
    Block, Decl, DeclKind, Expr, ExprKind, ForRange, Statement, StatementKind, SwitchCase, Type,
};
use crate::types::{DefId, Kind, TypeId, BOOL, UNKNOWN, VOID};

impl<'a> Checker<'a, '_> {
    pub(super) fn block(&mut self, block: &'a Block) {
        self.scoped(|c| c.statements(&block.statements));
    }

    pub(super) fn statements(&mut self, statements: &'a [Statement]) {
        for statement in statements {
            self.statement(statement);
        }
    }

    fn statement(&mut self, statement: &'a Statement) {
        if self.diagnostics.stopped() {
            return;
        }
        let span = statement.span;
        match &statement.kind {
            StatementKind::Empty => {}
            StatementKind::Block(block) => self.block(block),
            StatementKind::Declaration(decl) => self.local(decl),
            StatementKind::Call(expr) => match expr.kind {
                ExprKind::Call(..) => {
                    self.expression(expr);
                }
                _ => self.no_call(expr),
            },
            StatementKind::Assign(left, None, right) => {
                let ty = self.expression(left);
                self.expression(right);
                if self.writable(left) {
                    self.coerce(right, ty);
                }
            }
            StatementKind::Assign(left, Some(op), right) => {
                let ty = self.expression(left);
                let given = self.expression(right);
                if self.writable(left) {
                    let result = self.binary_types(left, *op, left, right, ty, given);
                    let under = self.info.types.underlying(ty);
                    // The conversion of the left operand belongs to the operation, not to the
                    // assignment.
                    self.info.coerced.remove(&left.id);
                    if result != UNKNOWN && result != under {
                        self.fail(
                            span,
                            "the result of this operation does not fit the variable",
                        );
                    }
                }
            }
            StatementKind::If(condition, yes, no) => {
                // Allowed in parser states since 1.2.2.
                self.expect(condition, BOOL);
                self.scoped(|c| c.statement(yes));
                if let Some(no) = no {
                    self.scoped(|c| c.statement(no));
                }
            }
            StatementKind::Return(value) => self.return_statement(span, value.as_ref()),
            StatementKind::Exit => {
                if !matches!(self.place, Place::Apply | Place::Action) {
                    self.fail(span, "`exit` is for controls and actions");
                }
            }
            StatementKind::Break | StatementKind::Continue => {
                if self.loops == 0 {
                    self.fail(span, "there is no loop around this");
                }
            }
            StatementKind::Switch(value, cases) => self.switch(span, value, cases),
            StatementKind::For(init, condition, update, body) => self.scoped(|c| {
                c.statements(init);
                if let Some(condition) = condition {
                    c.expect(condition, BOOL);
                }
                c.loops += 1;
                c.scoped(|c| c.statement(body));
                c.loops -= 1;
                c.statements(update);
            }),
            StatementKind::ForIn(decl, range, body) => self.for_in(decl, range, body),
        }
    }

    /// Reports a statement that is an expression but not a call.
    fn no_call(&mut self, expr: &'a Expr) {
        let ty = match &expr.kind {
            ExprKind::Name(name, global) => {
                let Some(def) = self.resolve(name, *global) else {
                    return;
                };
                match self.def(def).kind {
                    DefKind::Function(..) | DefKind::Action(..) => {
                        self.error(
                            Diagnostic::error(expr.span, format!("`{}` is not called", name.name))
                                .note(format!("`{}(…)` is meant", name.name)),
                        );
                        return;
                    }
                    _ => match self.as_type(expr) {
                        Some(ty) => ty,
                        None => self.expression(expr),
                    },
                }
            }
            _ => self.expression(expr),
        };
        if ty == UNKNOWN || self.not_applied(expr, ty) {
            return;
        }
        self.error(
            Diagnostic::error(expr.span, "this statement does nothing")
                .label("expected `=` or `(` behind this")
                .note("a statement assigns or calls"),
        );
    }

    /// Reports a table, parser or control that is used without `apply`; returns whether it is one.
    pub(super) fn not_applied(&mut self, expr: &Expr, ty: TypeId) -> bool {
        let what = match self.kind(ty) {
            Kind::Table(_) => "table",
            Kind::Parser(..) => "parser",
            Kind::Control(..) => "control",
            _ => return false,
        };
        let mut error = Diagnostic::error(expr.span, format!("this {what} is not applied"));
        if let ExprKind::Name(name, _) = &expr.kind {
            let arguments = if what == "table" { "" } else { "…" };
            error = error.note(format!("`{}.apply({arguments})` is meant", name.name));
        }
        self.error(error);
        true
    }

    fn for_in(&mut self, decl: &'a Decl, range: &'a ForRange, body: &'a Statement) {
        let DeclKind::Variable(written, _) = &decl.kind else {
            return;
        };
        let ty = self.variable_type(written);
        match range {
            ForRange::Numbers(low, high) => {
                self.expect(low, ty);
                self.expect(high, ty);
            }
            ForRange::Elements(elements) => {
                let given = self.expression(elements);
                match self.kind(given) {
                    Kind::Stack(element, _) | Kind::List(element) => {
                        if element != ty && ty != UNKNOWN && element != UNKNOWN {
                            let (shown, wanted) = (self.show(element), self.show(ty));
                            self.fail(
                                written.span,
                                format!("the elements are `{shown}`, the variable is a `{wanted}`"),
                            );
                        }
                    }
                    Kind::ListLiteral(_) => {
                        let list = self.info.types.id(Kind::List(ty));
                        self.coerce(elements, list);
                    }
                    Kind::Unknown => {}
                    _ => {
                        self.fail(elements.span, "a loop runs over a range, stack or list");
                    }
                }
            }
        }
        self.scoped(|c| {
            c.declare(&decl.name, Some(decl), DefKind::Variable(ty));
            c.loops += 1;
            c.scoped(|c| c.statement(body));
            c.loops -= 1;
        });
    }

    fn return_statement(&mut self, span: Span, value: Option<&'a Expr>) {
        match value {
            Some(value) if self.place == Place::Function && self.result != VOID => {
                let result = self.result;
                self.expect(value, result);
            }
            Some(value) => {
                self.expression(value);
                self.fail(span, "nothing is returned from here");
            }
            None if self.place == Place::Function && self.result != VOID => {
                let shown = self.show(self.result);
                self.fail(span, format!("a `{shown}` has to be returned here"));
            }
            None if matches!(self.place, Place::State | Place::Parser) => {
                self.fail(span, "`return` is not for parsers");
            }
            None => {}
        }
    }

    /// The type of a variable; reports types that a variable cannot have.
    pub(super) fn variable_type(&mut self, written: &'a Type) -> TypeId {
        let ty = self.ty(written);
        match self.kind(ty) {
            Kind::Void
            | Kind::Integer
            | Kind::String
            | Kind::MatchKind
            | Kind::List(_)
            | Kind::Extern(..)
            | Kind::Parser(..)
            | Kind::Control(..)
            | Kind::Package(..) => {
                let shown = self.show(ty);
                self.error(
                    Diagnostic::error(
                        written.span,
                        format!("there are no variables of type `{shown}`"),
                    )
                    .note("a constant, or an instance with arguments, may be meant"),
                );
                UNKNOWN
            }
            _ => ty,
        }
    }

    /// Checks a declaration among statements or in a parser or control.
    pub(super) fn local(&mut self, decl: &'a Decl) {
        match &decl.kind {
            DeclKind::Variable(written, value) => {
                let ty = self.variable_type(written);
                if let Some(value) = value {
                    self.expect(value, ty);
                }
                self.declare(&decl.name, Some(decl), DefKind::Variable(ty));
            }
            DeclKind::Const(..) | DeclKind::Action(..) => self.declaration(decl),
            DeclKind::Instance(..) => {
                if !matches!(self.place, Place::Parser | Place::Control) {
                    self.fail(
                        decl.span,
                        "instances are declared at the beginning of parsers and controls",
                    );
                }
                self.declaration(decl);
            }
            DeclKind::Table(properties) => {
                self.control_name(decl, "tables");
                self.table(decl, properties);
            }
            DeclKind::ValueSet(written, size) => {
                let ty = self.ty(written);
                self.size_of_entries(size, "a value set");
                let set = self.info.types.id(Kind::Set(ty));
                self.declare(&decl.name, Some(decl), DefKind::ValueSet(set));
            }
            _ => {
                self.fail(decl.span, "this cannot be declared here");
            }
        }
    }

    fn switch(&mut self, span: Span, value: &'a Expr, cases: &'a [SwitchCase]) {
        let ty = self.expression(value);
        let run = match self.kind(ty) {
            Kind::ActionRun(table) => Some(table),
            _ => None,
        };
        let under = self.info.types.underlying(ty);
        if run.is_none()
            && !matches!(
                self.kind(under),
                Kind::Bit(_)
                    | Kind::Int(_)
                    | Kind::Bool
                    | Kind::Enum(_)
                    | Kind::Error
                    | Kind::New(..)
                    | Kind::Unknown
                    | Kind::Integer
            )
        {
            let shown = self.show(ty);
            let mut error = Diagnostic::error(value.span, format!("`switch` takes no `{shown}`"));
            match self.kind(ty) {
                Kind::Applied(_) => error = error.note("`….apply().action_run` is meant"),
                Kind::Table(table) => {
                    let name = &self.def(table).name;
                    error = error.note(format!("`{name}.apply().action_run` is meant"));
                }
                _ => {}
            }
            self.error(error);
        }
        if run.is_some() && self.place == Place::Action {
            self.fail(span, "actions do not apply tables");
        }
        let mut seen: Vec<crate::eval::Value> = Vec::new();
        let mut actions: Vec<DefId> = Vec::new();
        for (n, case) in cases.iter().enumerate() {
            match (&case.label, run) {
                (None, _) => {
                    if n + 1 != cases.len() {
                        self.fail(case.span, "`default` is the last label of a `switch`");
                    }
                }
                (Some(label), Some(table)) => self.action_label(label, table, &mut actions),
                (Some(label), None) => {
                    self.expect(label, ty);
                    match self.constant(label) {
                        Some(value) if seen.contains(&value) => {
                            self.fail(label.span, "this label has been given before");
                        }
                        Some(value) => seen.push(value),
                        None => {
                            self.fail(label.span, "a label is a constant");
                        }
                    }
                }
            }
            if let Some(body) = &case.body {
                self.block(body);
            }
        }
    }

    fn action_label(&mut self, label: &'a Expr, table: DefId, seen: &mut Vec<DefId>) {
        let found = match &label.kind {
            ExprKind::Name(name, global) => {
                let def = self
                    .look_up(&name.name, *global)
                    .and_then(|l| l.first())
                    .copied();
                let DefKind::Table(info) = &self.def(table).kind else {
                    return;
                };
                def.filter(|def| info.actions.iter().any(|a| a.0 == *def))
            }
            _ => None,
        };
        match found {
            None => {
                let name = self.def(table).name.clone();
                self.fail(
                    label.span,
                    format!("this is no action of the table `{name}`"),
                );
            }
            Some(def) if seen.contains(&def) => {
                self.fail(label.span, "this label has been given before");
            }
            Some(def) => {
                seen.push(def);
                self.info.def_of.insert(label.id, def);
            }
        }
    }
}

/// Returns whether control flow may reach the end of the statements.
pub(crate) fn falls_through(statements: &[Statement]) -> bool {
    statements.iter().all(|s| match &s.kind {
        StatementKind::Return(_) | StatementKind::Exit => false,
        StatementKind::Block(block) => falls_through(&block.statements),
        StatementKind::If(_, yes, Some(no)) => {
            falls_through(std::slice::from_ref(yes)) || falls_through(std::slice::from_ref(no))
        }
        StatementKind::Switch(_, cases) => {
            let default = cases.iter().any(|c| c.label.is_none());
            let some = |c: &SwitchCase| {
                c.body
                    .as_ref()
                    .is_some_and(|b| falls_through(&b.statements))
            };
            !default || cases.iter().any(some)
        }
        _ => true,
    })
}
