// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tables: keys, actions, entries and the other properties.

use std::collections::HashSet;

use num_traits::ToPrimitive;

use super::site::Site;
use super::{Callee, Checker, DefKind, Place, Signature, TableInfo};
use crate::diagnostics::Diagnostic;
use crate::eval::Value;
use crate::lexer::Name;
use crate::source::Span;
use crate::syntax::ast::{
    ActionRef, Argument, Decl, Direction, Entry, Expr, ExprKind, Ident, Key, Property,
    PropertyValue,
};
use crate::types::{DefId, Kind, TypeId, UNKNOWN};

impl<'a> Checker<'a, '_> {
    pub(super) fn table(&mut self, decl: &'a Decl, properties: &'a [Property]) {
        let id = self.declare(&decl.name, Some(decl), DefKind::Table(TableInfo::default()));
        let mut seen: HashSet<Name> = HashSet::new();
        for property in properties {
            if !seen.insert(property.name.name.clone()) {
                let name = &property.name.name;
                self.fail(
                    property.name.span,
                    format!("the property `{name}` is given twice"),
                );
            }
        }
        let (mut keys, mut written): (Vec<_>, &'a [Key]) = (Vec::new(), &[]);
        for property in properties {
            if let PropertyValue::Key(list) = &property.value {
                self.open.push(id);
                keys = list.iter().map(|key| self.key(key)).collect();
                self.open.pop();
                written = list;
                let entries = properties
                    .iter()
                    .find(|p| matches!(p.value, PropertyValue::Entries(_)));
                if let Some(early) = entries.filter(|e| e.name.span < property.name.span) {
                    self.error(
                        Diagnostic::error(early.name.span, "entries come behind the key")
                            .related(property.name.span, "which is here"),
                    );
                }
            }
        }
        let mut info = TableInfo::default();
        for property in properties {
            if let PropertyValue::Actions(list) = &property.value {
                for action in list {
                    if let Some(def) = self.listed_action(action) {
                        if info.actions.iter().any(|a| a.0 == def) {
                            self.fail(
                                action.name.span,
                                format!("the action `{}` is listed twice", action.name.name),
                            );
                        }
                        info.actions.push((def, action));
                    }
                }
            }
        }
        if !seen.contains("actions") {
            self.error(
                Diagnostic::error(decl.name.span, "this table has no actions")
                    .note("`actions = { … }` lists them"),
            );
        }
        for property in properties {
            match &property.value {
                PropertyValue::Key(_) | PropertyValue::Actions(_) => {}
                PropertyValue::Entries(entries) => {
                    for entry in entries {
                        self.entry(entry, &keys, &info);
                        self.entry_fits(entry, written, &keys);
                    }
                    self.priorities(properties, entries);
                }
                PropertyValue::Expr(value) => self.property(property, value, &info),
            }
        }
        if !seen.contains("default_action") {
            self.has_no_action(decl.name.span);
        }
        self.info.defs[id.0 as usize].kind = DefKind::Table(info);
    }

    fn key(&mut self, key: &'a Key) -> TypeId {
        // A key is evaluated where its table is applied: other tables may be applied in it.
        let outer = std::mem::replace(&mut self.place, Place::Apply);
        let mut ty = self.expression(&key.expr);
        self.place = outer;
        self.name_annotation(&key.annotations);
        self.kind_fits(key, ty);
        if !has_name(&key.expr) && !super::has(&key.annotations, "name") {
            self.error(
                Diagnostic::error(key.expr.span, "this key has no name")
                    .note("`@name(\"…\")` behind the match kind gives it one"),
            );
        }
        if !self.info.match_kinds.contains(&key.kind.name) {
            let list: Vec<_> = self
                .info
                .match_kinds
                .iter()
                .map(|n| n.to_string())
                .collect();
            self.error(
                Diagnostic::error(
                    key.kind.span,
                    format!("`{}` is no match kind", key.kind.name),
                )
                .note(format!("there are {}", list.join(", "))),
            );
        }
        if matches!(self.kind(ty), Kind::Integer) {
            ty = self.fail(key.expr.span, "a key needs a width");
        }
        let mut under = self.info.types.underlying(ty);
        while let Kind::New(_, base) = self.kind(under) {
            under = self.info.types.underlying(base);
        }
        let fits = matches!(
            self.kind(under),
            Kind::Bit(_)
                | Kind::Int(_)
                | Kind::Bool
                | Kind::Enum(_)
                | Kind::Error
                | Kind::Varbit(_)
                | Kind::Unknown
        );
        if !fits {
            let shown = self.show(ty);
            self.fail(
                key.expr.span,
                format!("a table does not match values of type `{shown}`"),
            );
        }
        ty
    }

    fn action_def(&mut self, name: &'a Ident, global: bool) -> Option<DefId> {
        let def = self.resolve(name, global)?;
        match self.def(def).kind {
            DefKind::Action(..) => Some(def),
            _ => {
                let at = self.def(def).span;
                self.error(
                    Diagnostic::error(name.span, format!("`{}` is no action", name.name))
                        .related(at, "declared here"),
                );
                None
            }
        }
    }

    /// Checks an action in the action list, whose arguments bind the parameters with directions.
    fn listed_action(&mut self, action: &'a ActionRef) -> Option<DefId> {
        let def = self.action_def(&action.name, action.global)?;
        self.info.def_of.insert(action.id, def);
        let DefKind::Action(signature, _) = &self.def(def).kind else {
            return None;
        };
        let mut signature = signature.clone();
        signature
            .parameters
            .retain(|p| p.direction != Direction::None);
        self.bound(
            action.id,
            action.name.span,
            def,
            &signature,
            &action.arguments,
        );
        Some(def)
    }

    fn bound(
        &mut self,
        id: u32,
        span: Span,
        def: DefId,
        signature: &Signature<'a>,
        arguments: &'a [Argument],
    ) {
        // The results are recorded under the id of the reference.
        self.finish(
            Site { id, span },
            Callee::Action(def),
            signature,
            Vec::new(),
            arguments,
            false,
        );
    }

    /// Checks the action of an entry or the default action: either all or none of the listed
    /// action's arguments again, then values for the directionless parameters.
    pub(super) fn chosen_action(
        &mut self,
        id: u32,
        name: &'a Ident,
        global: bool,
        arguments: &'a [Argument],
        info: &TableInfo<'a>,
        entry: bool,
    ) -> Option<DefId> {
        let def = self.action_def(name, global)?;
        self.info.def_of.insert(id, def);
        let Some((_, listed)) = info.actions.iter().find(|a| a.0 == def) else {
            self.error(
                Diagnostic::error(
                    name.span,
                    format!("`{}` is not in the table's actions", name.name),
                )
                .note("only an action that `actions = { … }` lists can be used"),
            );
            return None;
        };
        self.only(name, listed, entry);
        let DefKind::Action(signature, _) = &self.def(def).kind else {
            return None;
        };
        let mut signature = signature.clone();
        let directed = signature
            .parameters
            .iter()
            .filter(|p| p.direction != Direction::None)
            .count();
        let mut given = arguments;
        if directed > 0
            && arguments.len() == signature.parameters.len()
            && arguments.iter().all(|a| a.name.is_none())
        {
            // The same arguments again, as the older form of the language requires.
            for (again, first) in arguments[..directed].iter().zip(&listed.arguments) {
                self.expression(&again.value);
                if !same(&again.value, &first.value) {
                    self.fail(
                        again.value.span,
                        "this is not the argument in the table's actions",
                    );
                }
            }
            given = &arguments[directed..];
        }
        signature
            .parameters
            .retain(|p| p.direction == Direction::None);
        self.bound(id, name.span, def, &signature, given);
        for argument in given {
            let known = self.info.type_of.get(&argument.value.id) == Some(&UNKNOWN)
                || self.compile_time(&argument.value);
            if !known {
                self.fail(argument.value.span, "this has to be known to the compiler");
            }
        }
        Some(def)
    }

    fn entry(&mut self, entry: &'a Entry, keys: &[TypeId], info: &TableInfo<'a>) {
        if keys.is_empty() {
            self.fail(entry.span, "a table without keys has no entries");
            return;
        }
        self.sets(&entry.keys, keys, keys.len());
        if let Some(priority) = &entry.priority {
            self.expression(priority);
            if self
                .constant(priority)
                .and_then(|v| v.int().cloned())
                .is_none_or(|v| v < 0.into())
            {
                self.fail(
                    priority.span,
                    "a priority is a constant that is not negative",
                );
            }
        }
        let action = &entry.action;
        self.chosen_action(
            action.id,
            &action.name,
            action.global,
            &action.arguments,
            info,
            true,
        );
    }

    /// Checks the size of a table or value set.
    pub(super) fn size_of_entries(&mut self, value: &'a Expr, what: &str) {
        let ty = self.expression(value);
        let number = matches!(
            self.kind(ty),
            Kind::Integer | Kind::Bit(_) | Kind::Int(_) | Kind::Unknown
        );
        if !number || ty != UNKNOWN && !self.compile_time(value) {
            self.fail(
                value.span,
                format!("the size of {what} is a number known to the compiler"),
            );
        } else if let Some(Value::Int(size)) = self.constant(value) {
            if size.to_u32().is_none() {
                self.fail(
                    value.span,
                    format!("the size of {what} is 0 to {}, not {size}", u32::MAX),
                );
            }
        }
    }

    fn property(&mut self, property: &'a Property, value: &'a Expr, info: &TableInfo<'a>) {
        match &*property.name.name {
            "default_action" => match &value.kind {
                ExprKind::Name(name, global) => {
                    self.chosen_action(value.id, name, *global, &[], info, false);
                }
                ExprKind::Call(function, _, arguments) => match &function.kind {
                    ExprKind::Name(name, global) => {
                        self.chosen_action(value.id, name, *global, arguments, info, false);
                    }
                    _ => {
                        self.fail(value.span, "an action is expected here");
                    }
                },
                _ => {
                    self.fail(value.span, "an action is expected here");
                }
            },
            "size" => self.size_of_entries(value, "a table"),
            "largest_priority_wins" => self.expect(value, crate::types::BOOL),
            "priority_delta" => {
                self.expression(value);
                let known = self.constant(value).and_then(|v| v.int().cloned());
                if known.is_none_or(|v| v <= 0.into()) {
                    self.fail(value.span, "`priority_delta` is a constant above 0");
                }
            }
            _ => {
                // The architecture defines the other properties, and which of them are read.
                self.expression(value);
            }
        }
    }
}

/// Returns whether the source text of a key can serve as its name.
fn has_name(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Name(..) => true,
        ExprKind::Member(base, _) => has_name(base),
        ExprKind::Index(base, _) | ExprKind::Slice(base, ..) | ExprKind::Part(base, ..) => {
            has_name(base)
        }
        ExprKind::Binary(crate::syntax::ast::BinaryOp::BitAnd, base, _) => has_name(base),
        ExprKind::Call(function, _, _) => match &function.kind {
            ExprKind::Member(base, name) => &*name.name == "isValid" && has_name(base),
            _ => false,
        },
        // A constant: its value can serve as a name.
        ExprKind::Int(..) | ExprKind::Bool(_) => true,
        _ => false,
    }
}

/// Returns whether two expressions are written identically.
fn same(a: &Expr, b: &Expr) -> bool {
    match (&a.kind, &b.kind) {
        (ExprKind::Name(a, x), ExprKind::Name(b, y)) => a.name == b.name && x == y,
        (ExprKind::Member(a, x), ExprKind::Member(b, y)) => x.name == y.name && same(a, b),
        (ExprKind::Index(a, i), ExprKind::Index(b, j)) => same(a, b) && same(i, j),
        (ExprKind::Slice(a, h, l), ExprKind::Slice(b, g, k)) => {
            same(a, b) && same(h, g) && same(l, k)
        }
        (ExprKind::Int(a, _), ExprKind::Int(b, _)) => a == b,
        (ExprKind::Bool(a), ExprKind::Bool(b)) => a == b,
        (ExprKind::Call(f, _, x), ExprKind::Call(g, _, y)) => {
            same(f, g)
                && x.len() == y.len()
                && x.iter().zip(y).all(|(a, b)| same(&a.value, &b.value))
        }
        _ => a.span == b.span,
    }
}
