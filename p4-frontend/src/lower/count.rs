// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The size of a program after the instantiation of its blocks and generic functions and the
//! unrolling of its loops, counted without doing any of these.
//!
//! The unit is a node of the syntax tree, counted as often as code is generated for it. A control
//! with two instances of one that has two instances of another doubles with every line of source,
//! so the count saturates.

use std::collections::{HashMap, HashSet};

use crate::check::{Callee, Def, DefKind, Info};
use crate::diagnostics::Diagnostic;
use crate::eval::Value;
use crate::source::Span;
use crate::syntax::ast::{
    Argument, Block, Decl, DeclKind, Expr, ExprKind, ForRange, Program, Property, PropertyValue,
    Statement, StatementKind, Transition,
};
use crate::syntax::visit::Inside;
use crate::types::{DefId, Kind};

/// The maximum number of nodes for which code is generated.
pub(crate) const MAX_NODES: u64 = 1 << 20;

/// Rejects a program that would be too large.
pub(super) fn count<'a>(info: &Info<'a>, program: &'a Program) -> Result<(), Diagnostic> {
    let mut count = Count {
        info,
        made: HashMap::new(),
        once: HashSet::new(),
        overflow: None,
    };
    let mut total = 0;
    for decl in &program.decls {
        let def = info.def_of.get(&decl.id).copied();
        match (&decl.kind, def) {
            (DeclKind::Instance(_, arguments, _), _) => {
                let nodes = count.arguments(arguments);
                total = count.add(total, nodes, decl.span, &decl.name.name);
            }
            // In the order of declaration, so that the recursion here is not as deep as a chain of
            // controls or functions is long.
            (DeclKind::Parser(..) | DeclKind::Control(..), Some(def)) => {
                count.block(def);
            }
            (DeclKind::Function(..), Some(def)) => {
                total = total.saturating_add(count.function(def));
            }
            // No code is generated for these by themselves.
            (DeclKind::Parser(..) | DeclKind::Control(..) | DeclKind::Function(..), None)
            | (
                DeclKind::Const(..)
                | DeclKind::Variable(..)
                | DeclKind::Errors(_)
                | DeclKind::MatchKinds(_)
                | DeclKind::Typedef(_)
                | DeclKind::NewType(_)
                | DeclKind::Struct(..)
                | DeclKind::Enum(..)
                | DeclKind::ParserType(_)
                | DeclKind::ControlType(_)
                | DeclKind::Package(_)
                | DeclKind::Extern(..)
                | DeclKind::Action(..)
                | DeclKind::Table(_)
                | DeclKind::ValueSet(..),
                _,
            ) => {}
        }
    }
    match count.overflow {
        Some((span, name)) if total > MAX_NODES => Err(Diagnostic::error(
            span,
            format!("too much code: with this, `{name}` has more than {MAX_NODES} nodes"),
        )
        .label("does not fit any more")
        .note("a node is a statement, an expression or a declaration, counted once for each instance and each round of an unrolled loop")),
        _ => Ok(()),
    }
}

struct Count<'i, 'a> {
    info: &'i Info<'a>,
    /// The nodes of parsers, controls and functions, and of the keys of tables.
    made: HashMap<DefId, u64>,
    /// Actions outside of controls that have already been counted in the current instance.
    once: HashSet<DefId>,
    /// The first place where a sum exceeded the limit, and the name of the declaration summed.
    overflow: Option<(Span, String)>,
}

impl<'i, 'a> Count<'i, 'a> {
    fn def(&self, id: DefId) -> &'i Def<'a> {
        &self.info.defs[id.0 as usize]
    }

    /// Returns the sum; records the place of the first one above the limit.
    fn add(&mut self, sum: u64, nodes: u64, at: Span, of: &str) -> u64 {
        let sum = sum.saturating_add(nodes);
        if sum > MAX_NODES && self.overflow.is_none() {
            self.overflow = Some((at, of.to_owned()));
        }
        sum
    }

    /// Counts a parser or control with all that is instantiated in it.
    fn block(&mut self, id: DefId) -> u64 {
        if let Some(nodes) = self.made.get(&id) {
            return *nodes;
        }
        // Not instantiated inside itself: the checker has rejected that.
        self.made.insert(id, 0);
        let Some(decl) = self.def(id).decl else {
            return 0;
        };
        // Code for a global action is generated once per instance.
        let outer = std::mem::take(&mut self.once);
        let name = &*decl.name.name;
        let mut sum = 1;
        match &decl.kind {
            DeclKind::Parser(_, body) => {
                for local in &body.locals {
                    let nodes = self.decl(local);
                    sum = self.add(sum, nodes, local.span, name);
                }
                for state in &body.states {
                    let mut nodes = self.statements(&state.body);
                    if let Transition::Select(values, cases) = &state.transition {
                        nodes = nodes.saturating_add(self.exprs(values));
                        for (sets, _) in cases {
                            nodes = nodes.saturating_add(self.exprs(sets)).saturating_add(1);
                        }
                    }
                    sum = self.add(sum, nodes, state.name.span, name);
                }
            }
            DeclKind::Control(_, body) => {
                for local in &body.locals {
                    let nodes = self.decl(local);
                    sum = self.add(sum, nodes, local.span, name);
                }
                for statement in &body.apply.statements {
                    let nodes = self.statement(statement);
                    sum = self.add(sum, nodes, statement.span, name);
                }
            }
            // Only parsers and controls are blocks.
            DeclKind::Const(..)
            | DeclKind::Variable(..)
            | DeclKind::Instance(..)
            | DeclKind::Errors(_)
            | DeclKind::MatchKinds(_)
            | DeclKind::Typedef(_)
            | DeclKind::NewType(_)
            | DeclKind::Struct(..)
            | DeclKind::Enum(..)
            | DeclKind::ParserType(_)
            | DeclKind::ControlType(_)
            | DeclKind::Package(_)
            | DeclKind::Extern(..)
            | DeclKind::Function(..)
            | DeclKind::Action(..)
            | DeclKind::Table(_)
            | DeclKind::ValueSet(..) => {}
        }
        self.once = outer;
        self.made.insert(id, sum);
        sum
    }

    fn decl(&mut self, decl: &'a Decl) -> u64 {
        let nodes = match &decl.kind {
            DeclKind::Variable(_, Some(value)) | DeclKind::Const(_, value) => self.expr(value),
            DeclKind::Action(_, body) => self.body(body, &decl.name.name),
            DeclKind::Table(properties) => properties.iter().fold(1, |sum: u64, property| {
                sum.saturating_add(self.property(property))
            }),
            DeclKind::Instance(_, arguments, _) => {
                let made = match self.info.def_of.get(&decl.id).map(|id| &self.def(*id).kind) {
                    Some(DefKind::Instance(ty)) => self.object(*ty),
                    _ => 0,
                };
                made.saturating_add(self.arguments(arguments))
            }
            _ => 0,
        };
        nodes.saturating_add(1)
    }

    fn object(&mut self, ty: crate::types::TypeId) -> u64 {
        match self.info.types.kind(ty) {
            Kind::Parser(def, _) | Kind::Control(def, _) => self.block(*def),
            _ => 1,
        }
    }

    fn property(&mut self, property: &'a Property) -> u64 {
        let mut sum = 1u64;
        property.each_expr(&mut |expr| sum = sum.saturating_add(self.expr(expr)));
        let actions = match &property.value {
            PropertyValue::Actions(actions) => actions,
            _ => return sum,
        };
        for action in actions {
            if let Some(def) = self.info.def_of.get(&action.id) {
                sum = sum.saturating_add(self.shared(*def));
            }
        }
        sum
    }

    /// Counts a body by itself, such as that of an action.
    fn body(&mut self, body: &'a Block, name: &str) -> u64 {
        let mut sum = 0;
        for statement in &body.statements {
            let nodes = self.statement(statement);
            sum = self.add(sum, nodes, statement.span, name);
        }
        sum
    }

    /// Counts a global action, whose code is generated once per instance that uses it.
    fn shared(&mut self, def: DefId) -> u64 {
        if !self.info.top_level.contains(&def) || !self.once.insert(def) {
            return 0;
        }
        match &self.def(def).kind {
            DefKind::Action(_, body) => self.body(body, &self.def(def).name),
            _ => 0,
        }
    }

    /// Counts a function, whose code is generated once if it takes neither type arguments nor
    /// objects, and possibly at each call otherwise.
    fn function(&mut self, def: DefId) -> u64 {
        let DefKind::Function(signature, Some(body)) = &self.def(def).kind else {
            return 0;
        };
        let objects = signature
            .parameters
            .iter()
            .any(|p| matches!(self.info.types.kind(p.ty), Kind::Extern(..)));
        let many = objects || !signature.type_parameters.is_empty();
        match self.made.get(&def) {
            Some(nodes) if many => *nodes,
            Some(_) => 0,
            None => {
                self.made.insert(def, 0);
                let nodes = self.body(body, &self.def(def).name);
                self.made.insert(def, nodes);
                nodes
            }
        }
    }

    fn statements(&mut self, statements: &'a [Statement]) -> u64 {
        statements.iter().fold(0, |sum: u64, statement| {
            sum.saturating_add(self.statement(statement))
        })
    }

    fn statement(&mut self, statement: &'a Statement) -> u64 {
        if let StatementKind::ForIn(_, ForRange::Elements(elements), body) = &statement.kind {
            let (rounds, made) = (self.rounds(elements), self.expr(elements));
            let body = self.statement(body).saturating_add(1);
            return made.saturating_add(body.saturating_mul(rounds));
        }
        let mut sum = 1u64;
        statement.each_inside(&mut |inside| {
            sum = sum.saturating_add(match inside {
                Inside::Expr(expr) => self.expr(expr),
                Inside::Statement(statement) => self.statement(statement),
                Inside::Block(block) => self.statements(&block.statements),
                Inside::Decl(decl) => self.decl(decl),
            });
        });
        sum
    }

    /// The number of iterations of a loop over these elements.
    fn rounds(&self, elements: &Expr) -> u64 {
        if let ExprKind::List(items) = &elements.kind {
            return items.len() as u64;
        }
        let ty = self.info.type_of.get(&elements.id);
        match ty.map(|ty| self.info.types.kind(*ty)) {
            Some(Kind::Stack(_, size)) => u64::from(*size),
            _ => match crate::check::value(self.info, &HashMap::new(), elements) {
                Ok(Some(Value::List(items))) => items.len() as u64,
                _ => 1,
            },
        }
    }

    fn exprs(&mut self, list: &'a [Expr]) -> u64 {
        list.iter()
            .fold(0, |sum: u64, expr| sum.saturating_add(self.expr(expr)))
    }

    fn arguments(&mut self, list: &'a [Argument]) -> u64 {
        list.iter().fold(0, |sum: u64, argument| {
            sum.saturating_add(self.expr(&argument.value))
        })
    }

    fn expr(&mut self, expr: &'a Expr) -> u64 {
        let mut sum = 1u64;
        expr.each_child(&mut |child| sum = sum.saturating_add(self.expr(child)));
        let Some(call) = self.info.calls.get(&expr.id) else {
            return sum;
        };
        sum.saturating_add(match &call.callee {
            Callee::Construct(ty) => self.object(*ty),
            Callee::Function(def) => self.function(*def),
            Callee::Action(def) => self.shared(*def),
            // Keys are evaluated where a table is applied.
            Callee::ApplyTable(def) => self.keys(*def),
            // Applied by its type: an instance is created for it.
            Callee::Apply(def) => match &expr.kind {
                ExprKind::Call(function, ..) => match &function.kind {
                    ExprKind::Member(base, _) if !self.info.def_of.contains_key(&base.id) => {
                        self.block(*def)
                    }
                    _ => 0,
                },
                _ => 0,
            },
            Callee::Method(..) | Callee::Builtin(_) => 0,
        })
    }

    fn keys(&mut self, table: DefId) -> u64 {
        if let Some(nodes) = self.made.get(&table) {
            return *nodes;
        }
        self.made.insert(table, 0);
        let Some(DeclKind::Table(properties)) = self.def(table).decl.map(|d| &d.kind) else {
            return 0;
        };
        let mut sum = 0u64;
        for property in properties {
            if let PropertyValue::Key(keys) = &property.value {
                for key in keys {
                    sum = sum.saturating_add(self.expr(&key.expr));
                }
            }
        }
        self.made.insert(table, sum);
        sum
    }
}
