// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Unused declarations: tables that are never applied, actions that no table lists and nothing
//! calls, objects, variables, value sets and parameters.

use std::collections::HashSet;

use crate::check::{Callee, Info};
use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::lexer::Name;
use crate::source::Span;
use crate::syntax::ast::{
    ActionRef, Decl, DeclKind, Expr, NodeId, Parameter, Program, Statement, StatementKind,
};
use crate::syntax::visit::{walk, Inside, Visitor};
use crate::types::{DefId, Kind};
use crate::warnings::Warning;

const PARAMETER: &str = "the parameter";

/// Warns about unused declarations.
pub(super) fn unused(program: &Program, info: &Info<'_>, diagnostics: &mut Diagnostics) {
    let mut uses = Uses {
        info,
        named: HashSet::new(),
        applied: HashSet::new(),
        made: HashSet::new(),
        dictated: HashSet::new(),
    };
    for decl in &program.decls {
        walk(decl, &mut uses);
        uses.package(decl);
    }
    let mut report = Report {
        uses: &uses,
        found: Vec::new(),
    };
    program.decls.iter().for_each(|decl| report.top(decl));
    for (span, what, name, why) in report.found {
        if diagnostics.stopped() {
            return;
        }
        let kind = match what {
            PARAMETER => Warning::UnusedParameter,
            _ => Warning::Unused,
        };
        diagnostics.push(
            Diagnostic::warning(kind, span, format!("{what} `{name}` is never {why}"))
                .label(format!("never {why}")),
        );
    }
}

struct Uses<'i, 'a> {
    info: &'i Info<'a>,
    /// Definitions that expressions and action lists refer to.
    named: HashSet<DefId>,
    /// Tables that are applied.
    applied: HashSet<DefId>,
    /// Parsers and controls that are instantiated or applied.
    made: HashSet<DefId>,
    /// Parsers and controls passed to a package: the architecture determines their parameters.
    dictated: HashSet<DefId>,
}

impl Uses<'_, '_> {
    /// Records the blocks that are passed to a package.
    fn package(&mut self, decl: &Decl) {
        let DeclKind::Instance(_, arguments, _) = &decl.kind else {
            return;
        };
        for argument in arguments {
            let ty = self.info.type_of.get(&argument.value.id);
            if let Some(Kind::Parser(def, _) | Kind::Control(def, _)) =
                ty.map(|ty| self.info.types.kind(*ty))
            {
                self.dictated.insert(*def);
            }
        }
    }

    fn name(&mut self, id: NodeId) {
        self.named.extend(self.info.def_of.get(&id).copied());
    }

    fn called(&mut self, id: NodeId) {
        match self.info.calls.get(&id).map(|call| &call.callee) {
            Some(Callee::ApplyTable(def)) => {
                self.applied.insert(*def);
            }
            Some(Callee::Apply(def)) => {
                self.made.insert(*def);
            }
            Some(Callee::Construct(ty)) => {
                if let Kind::Parser(def, _) | Kind::Control(def, _) = self.info.types.kind(*ty) {
                    self.made.insert(*def);
                }
            }
            Some(
                Callee::Function(_) | Callee::Action(_) | Callee::Method(..) | Callee::Builtin(_),
            )
            | None => {}
        }
    }
}

impl<'a> Visitor<'a> for Uses<'_, '_> {
    fn decl(&mut self, decl: &'a Decl) {
        // An instance is recorded as a call under the id of its declaration.
        if let DeclKind::Instance(..) = decl.kind {
            self.called(decl.id);
        }
    }

    fn expr(&mut self, expr: &'a Expr) {
        self.name(expr.id);
        self.called(expr.id);
    }

    fn action(&mut self, action: &'a ActionRef) {
        self.name(action.id);
    }
}

struct Report<'u, 'i, 'a> {
    uses: &'u Uses<'i, 'a>,
    found: Vec<(Span, &'static str, Name, &'static str)>,
}

impl Report<'_, '_, '_> {
    /// Reports a declaration unless it is used. A name that begins with an underscore marks it as
    /// unused on purpose.
    fn check(&mut self, id: NodeId, decl: (&Name, Span), what: &'static str, why: &'static str) {
        let Some(def) = self.uses.info.def_of.get(&id) else {
            return;
        };
        let used = match why {
            "applied" => self.uses.applied.contains(def),
            _ => self.uses.named.contains(def),
        };
        if !used && !decl.0.starts_with('_') {
            self.found.push((decl.1, what, decl.0.clone(), why));
        }
    }

    fn top(&mut self, decl: &Decl) {
        let def = self.uses.info.def_of.get(&decl.id);
        let made =
            def.is_some_and(|def| self.uses.made.contains(def) || self.uses.dictated.contains(def));
        let dictated = def.is_some_and(|def| self.uses.dictated.contains(def));
        let (signature, locals, apply) = match &decl.kind {
            DeclKind::Parser(signature, body) => (signature, &body.locals, None),
            DeclKind::Control(signature, body) => (signature, &body.locals, Some(&body.apply)),
            DeclKind::Action(parameters, body) => {
                self.parameters(parameters);
                self.statements(&body.statements);
                return;
            }
            DeclKind::Function(method, Some(body)) => {
                self.parameters(&method.parameters);
                self.statements(&body.statements);
                return;
            }
            _ => return,
        };
        if !made && self.uses.info.main.is_some() {
            let what = match decl.kind {
                DeclKind::Parser(..) => "the parser",
                _ => "the control",
            };
            self.found
                .push((decl.name.span, what, decl.name.name.clone(), "used"));
            return;
        }
        if !dictated {
            self.parameters(&signature.parameters);
        }
        self.parameters(&signature.constructor);
        locals.iter().for_each(|local| self.local(local));
        match (apply, &decl.kind) {
            (Some(apply), _) => self.statements(&apply.statements),
            (None, DeclKind::Parser(_, body)) => {
                body.states.iter().for_each(|s| self.statements(&s.body));
            }
            (None, _) => {}
        }
    }

    fn parameters(&mut self, parameters: &[Parameter]) {
        for parameter in parameters {
            let name = (&parameter.name.name, parameter.name.span);
            self.check(parameter.id, name, PARAMETER, "used");
        }
    }

    fn local(&mut self, decl: &Decl) {
        let name = (&decl.name.name, decl.name.span);
        match &decl.kind {
            DeclKind::Variable(..) => self.check(decl.id, name, "the variable", "used"),
            DeclKind::Const(..) => self.check(decl.id, name, "the constant", "used"),
            DeclKind::ValueSet(..) => self.check(decl.id, name, "the value set", "used"),
            DeclKind::Table(_) => self.check(decl.id, name, "the table", "applied"),
            DeclKind::Instance(_, _, None) => self.check(decl.id, name, "the instance", "used"),
            DeclKind::Action(parameters, body) => {
                let def = self.uses.info.def_of.get(&decl.id);
                self.check(decl.id, name, "the action", "used");
                if def.is_some_and(|def| self.uses.named.contains(def)) {
                    self.parameters(parameters);
                    self.statements(&body.statements);
                }
            }
            _ => {}
        }
    }

    fn statements(&mut self, statements: &[Statement]) {
        for statement in statements {
            // The variable of a loop that only counts is unused, but required.
            let counts = matches!(statement.kind, StatementKind::ForIn(..));
            statement.each_inside(&mut |inside| match inside {
                Inside::Decl(_) if counts => {}
                Inside::Decl(decl) => self.local(decl),
                Inside::Statement(one) => self.statements(std::slice::from_ref(one)),
                Inside::Block(block) => self.statements(&block.statements),
                Inside::Expr(_) => {}
            });
        }
    }
}
