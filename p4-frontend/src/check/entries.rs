// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Entries in the program's tables, checked against the match kinds of the keys.

use num_bigint::BigInt;
use num_traits::{One, ToPrimitive, Zero};

use super::{has, Checker};
use crate::diagnostics::Diagnostic;
use crate::eval::{wrap, Value};
use crate::syntax::ast::{ActionRef, Entry, Expr, ExprKind, Key, Property, PropertyValue};
use crate::types::{Kind, TypeId};

impl<'a> Checker<'a, '_> {
    /// Checks an entry's sets and priority.
    pub(super) fn entry_fits(&mut self, entry: &'a Entry, keys: &'a [Key], types: &[TypeId]) {
        if entry.priority.is_some() && !keys.iter().any(|k| needs_priority(&k.kind.name)) {
            self.error(
                Diagnostic::error(entry.span, "no two entries of this table match one packet")
                    .note("a priority is for tables with a ternary, range or optional key"),
            );
        }
        let sets: Vec<&Expr> = match &entry.keys[..] {
            [one] if keys.len() != 1 => match &one.kind {
                ExprKind::List(items) => items.iter().collect(),
                _ => return,
            },
            sets => sets.iter().collect(),
        };
        for ((set, key), ty) in sets.into_iter().zip(keys).zip(types) {
            self.set_fits(set, key, *ty);
        }
    }

    fn set_fits(&mut self, set: &'a Expr, key: &'a Key, ty: TypeId) {
        let kind = &*key.kind.name;
        let wrong = match (&set.kind, kind) {
            (ExprKind::Mask(..), "exact" | "range" | "optional") => "a mask",
            (ExprKind::Range(..), "exact" | "lpm" | "ternary" | "optional") => "a range",
            (ExprKind::Default | ExprKind::DontCare, "exact") => "anything",
            _ => "",
        };
        if !wrong.is_empty() {
            let message = format!("{wrong} is no value of a key that is matched `{kind}`");
            self.error(Diagnostic::error(set.span, message).related(key.kind.span, "said here"));
            return;
        }
        let (ExprKind::Mask(_, mask), "lpm") = (&set.kind, kind) else {
            return;
        };
        let shape = self.info.types.shape(self.info.types.underlying(ty));
        if let (Some(Value::Int(mask)), Some((width, _))) = (self.constant(mask), shape) {
            // The complement of a prefix mask, plus one, is a power of two.
            let rest = wrap(&!mask, (width, false));
            if !(&rest & (&rest + BigInt::one())).is_zero() {
                self.fail(set.span, "the mask of a prefix has all its ones at the top");
            }
        }
    }

    /// Checks the priorities of a table's entries, including those counted by `priority_delta`.
    pub(super) fn priorities(&mut self, properties: &'a [Property], entries: &'a [Entry]) {
        let number = |c: &Self, expr: &Expr| match c.constant(expr) {
            Some(Value::Int(value)) => value.to_i64(),
            _ => None,
        };
        let option = |name: &str| {
            let property = properties.iter().find(|p| &*p.name.name == name)?;
            match &property.value {
                PropertyValue::Expr(value) => Some(value),
                _ => None,
            }
        };
        let falls = option("largest_priority_wins")
            .is_none_or(|value| self.constant(value) != Some(Value::Bool(false)));
        let step = option("priority_delta").and_then(|value| number(self, value));
        let step = step.unwrap_or(1);
        let mut next = None;
        for entry in entries {
            let own = entry.priority.as_ref().and_then(|p| number(self, p));
            let priority = match own.or(next) {
                Some(priority) => priority,
                None => {
                    if entries.iter().any(|e| e.priority.is_some()) {
                        self.error(
                            Diagnostic::error(entry.span, "this entry needs a priority")
                                .note("a later one has one, and this is the first"),
                        );
                    }
                    return;
                }
            };
            if priority < 0 || priority > i64::from(u32::MAX) {
                self.error(
                    Diagnostic::error(entry.span, format!("this entry's priority is {priority}"))
                        .note("counted from the last one that is given, by `priority_delta`"),
                );
                return;
            }
            next = priority.checked_add(if falls { -step } else { step });
        }
    }

    /// Checks that `@defaultonly` and `@tableonly` in the action list are respected.
    pub(super) fn only(
        &mut self,
        at: &'a crate::syntax::ast::Ident,
        listed: &ActionRef,
        entry: bool,
    ) {
        let (annotation, place) = match entry {
            true => ("defaultonly", "an entry"),
            false => ("tableonly", "the default action"),
        };
        if has(&listed.annotations, annotation) {
            self.error(
                Diagnostic::error(
                    at.span,
                    format!("`{}` is `@{annotation}`: it is not {place}", at.name),
                )
                .related(listed.name.span, "listed here"),
            );
        }
    }

    /// Checks that the match kind is applicable to the type of the key.
    pub(super) fn kind_fits(&mut self, key: &'a Key, ty: TypeId) {
        let mut under = self.info.types.underlying(ty);
        while let Kind::New(_, base) = self.kind(under) {
            under = self.info.types.underlying(base);
        }
        let number = matches!(
            self.kind(under),
            Kind::Bit(_) | Kind::Int(_) | Kind::Unknown | Kind::Parameter(_)
        );
        if matches!(&*key.kind.name, "lpm" | "range") && !number {
            let shown = self.show(ty);
            self.fail(
                key.kind.span,
                format!("`{}` is for numbers, not for `{shown}`", key.kind.name),
            );
        }
    }

    /// Checks that `NoAction` of `core.p4`, the default action of a table without one, is declared.
    pub(super) fn has_no_action(&mut self, at: crate::source::Span) {
        let name = crate::lexer::Name::from("NoAction");
        let found = self.look_up(&name, true).and_then(|l| l.first()).copied();
        let fits = found.is_some_and(|def| match &self.def(def).kind {
            super::DefKind::Action(signature, _) => signature.parameters.is_empty(),
            _ => false,
        });
        if !fits {
            self.error(
                Diagnostic::error(at, "this table has no default action")
                    .note("it would be `NoAction`, an action without parameters of `core.p4`"),
            );
        }
    }
}

/// Returns whether several entries with this match kind may match one packet.
fn needs_priority(kind: &str) -> bool {
    !matches!(kind, "exact" | "lpm")
}
