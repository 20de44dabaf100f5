// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Unreachable statements, states and cases, and states without a transition.

use std::collections::{HashMap, HashSet};

use num_bigint::BigInt;

use crate::check::{falls_through, value, Info};
use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::eval::{wrap, Value};
use crate::source::Span;
use crate::syntax::ast::{
    Block, Decl, DeclKind, Entry, Expr, ExprKind, ParserBody, Program, PropertyValue, State,
    Statement, StatementKind, Transition,
};
use crate::syntax::visit::{walk, Visitor};
use crate::types::Kind;
use crate::warnings::Warning;

/// The maximum number of `select` cases or table entries that are compared with each other.
const MAX_COMPARED: usize = 256;
/// The maximum number of comparisons of two sets in a program; beyond it nothing is reported.
const MAX_STEPS: usize = 4 << 20;

/// Warns about unreachable code.
pub(super) fn reach(program: &Program, info: &Info<'_>, diagnostics: &mut Diagnostics) {
    let mut reach = Reachability {
        info,
        diagnostics,
        fuel: MAX_STEPS,
    };
    program.decls.iter().for_each(|decl| walk(decl, &mut reach));
}

struct Reachability<'i, 'a, 'd> {
    info: &'i Info<'a>,
    diagnostics: &'d mut Diagnostics,
    /// The remaining comparisons.
    fuel: usize,
}

/// The values in a set.
#[derive(Clone, PartialEq)]
enum Set {
    /// All values that agree with a value where a mask has ones.
    Mask(BigInt, BigInt),
    Range(BigInt, BigInt),
    All,
    /// One value that is not a number.
    Value(Value),
}

impl Set {
    /// Returns whether every value of `other` is known to be in this set.
    fn covers(&self, other: &Set) -> bool {
        match (self, other) {
            (Set::All, _) => true,
            (Set::Mask(a, m), Set::Mask(b, n)) => {
                (m & !n.clone()) == BigInt::from(0) && (a & m) == (b & m)
            }
            (Set::Range(a, b), Set::Range(c, d)) => a <= c && d <= b,
            (Set::Value(a), Set::Value(b)) => a == b,
            _ => false,
        }
    }
}

impl<'a> Visitor<'a> for Reachability<'_, '_, '_> {
    fn decl(&mut self, decl: &'a Decl) {
        match &decl.kind {
            DeclKind::Parser(_, body) => self.states(body),
            DeclKind::Table(properties) => {
                // The longest prefix wins, regardless of the order.
                let by_length = properties.iter().any(|p| match &p.value {
                    PropertyValue::Key(keys) => keys.iter().any(|k| &*k.kind.name == "lpm"),
                    _ => false,
                });
                for property in properties {
                    if let PropertyValue::Entries(entries) = &property.value {
                        let by_place = |e: &Entry| e.priority.is_none() && e.annotations.is_empty();
                        if !by_length && entries.iter().all(by_place) {
                            let cases = entries.iter().map(|e| (&e.keys[..], e.span));
                            self.cases(cases.collect(), "entry");
                        }
                    }
                }
            }
            _ => {}
        }
    }

    fn state(&mut self, state: &'a State) {
        self.statements(&state.body);
        match &state.transition {
            Transition::None => self.diagnostics.push(
                Diagnostic::warning(
                    Warning::ParserTransition,
                    state.name.span,
                    format!(
                        "the state `{}` has no transition: it rejects",
                        state.name.name
                    ),
                )
                .label("goes to `reject`")
                .note("`transition accept;` may be meant, or `transition reject;` said"),
            ),
            Transition::To(_) => {}
            Transition::Select(_, cases) => {
                let cases = cases.iter().map(|(sets, next)| {
                    let first = sets.first().map_or(next.span, |s| s.span);
                    (&sets[..], first.to(next.span))
                });
                self.cases(cases.collect(), "case");
            }
        }
    }

    fn block(&mut self, block: &'a Block) {
        self.statements(&block.statements);
    }

    fn statement(&mut self, statement: &'a Statement) {
        if let StatementKind::Switch(_, cases) = &statement.kind {
            if let Some(last) = cases.last().filter(|last| last.body.is_none()) {
                self.diagnostics.push(
                    Diagnostic::warning(Warning::Missing, last.span, "this label has no statement")
                        .note("`{}` behind it says that nothing is to be done"),
                );
            }
        }
    }
}

impl Reachability<'_, '_, '_> {
    fn never(&mut self, span: Span, what: &str) {
        self.diagnostics.push(
            Diagnostic::warning(
                Warning::Unreachable,
                span,
                format!("{what} is never reached"),
            )
            .label("never reached"),
        );
    }

    /// Warns about statements after one that does not fall through.
    fn statements(&mut self, statements: &[Statement]) {
        let leaves = statements.iter().position(|statement| {
            matches!(
                statement.kind,
                StatementKind::Break | StatementKind::Continue
            ) || !falls_through(std::slice::from_ref(statement))
        });
        let behind = leaves.and_then(|at| statements.get(at + 1..));
        if let Some([first, ..]) = behind {
            self.never(first.span, "this statement");
        }
    }

    /// Warns about states that no transition leads to.
    fn states(&mut self, body: &ParserBody) {
        let named: HashMap<&str, &State> = body.states.iter().map(|s| (&*s.name.name, s)).collect();
        let (mut seen, mut open) = (HashSet::new(), vec!["start"]);
        while let Some(name) = open.pop() {
            let Some(state) = named.get(name).filter(|_| seen.insert(name)) else {
                continue;
            };
            match &state.transition {
                Transition::None => {}
                Transition::To(next) => open.push(&next.name),
                Transition::Select(_, cases) => {
                    open.extend(cases.iter().map(|(_, next)| &*next.name));
                }
            }
        }
        for state in &body.states {
            if !seen.contains(&*state.name.name) {
                let what = format!("the state `{}`", state.name.name);
                self.never(state.name.span, &what);
            }
        }
    }

    /// Warns about cases that an earlier one covers, and about masks and ranges that look mistaken.
    fn cases(&mut self, cases: Vec<(&[Expr], Span)>, what: &str) {
        let mut before: Vec<(Vec<Set>, Span)> = Vec::new();
        for (sets, span) in cases {
            if self.fuel == 0 || self.diagnostics.stopped() {
                return;
            }
            let made: Option<Vec<Set>> = flat(sets).into_iter().map(|set| self.set(set)).collect();
            let Some(made) = made else {
                continue;
            };
            let steps = 1 + made.len() * before.len();
            self.fuel = self.fuel.saturating_sub(steps);
            let covered = before.iter().find(|(earlier, _)| {
                let all = earlier.iter().all(|set| *set == Set::All);
                let each = earlier.len() == made.len()
                    && earlier.iter().zip(&made).all(|(a, b)| a.covers(b));
                all || each
            });
            if let Some((_, first)) = covered {
                let message = format!("this {what} is never reached");
                self.diagnostics.push(
                    Diagnostic::warning(Warning::Unreachable, span, message)
                        .label("nothing is left for this")
                        .related(*first, "this matches all of it"),
                );
            } else if before.len() < MAX_COMPARED {
                before.push((made, span));
            }
        }
    }

    /// The values in a set, as far as they are known.
    fn set(&mut self, set: &Expr) -> Option<Set> {
        let number = |expr: &Expr| match value(self.info, &HashMap::new(), expr) {
            Ok(Some(Value::Int(value))) => Some(value),
            _ => None,
        };
        match &set.kind {
            ExprKind::Default | ExprKind::DontCare => Some(Set::All),
            ExprKind::Mask(a, b) => {
                let (a, mask) = (number(a)?, number(b)?);
                if (&a & &mask) != a {
                    let matched = &a & &mask;
                    self.diagnostics.push(
                        Diagnostic::warning(
                            Warning::Mismatch,
                            set.span,
                            format!("{a} has bits that the mask {mask} leaves out"),
                        )
                        .note(format!("{matched} is what is matched")),
                    );
                }
                Some(Set::Mask(a, mask))
            }
            ExprKind::Range(a, b) => {
                let (low, high) = (number(a)?, number(b)?);
                if low > high {
                    self.diagnostics.push(Diagnostic::warning(
                        Warning::Mismatch,
                        set.span,
                        format!("nothing is in the range from {low} to {high}"),
                    ));
                    return None;
                }
                Some(Set::Range(low, high))
            }
            ExprKind::List(items) if items.len() == 1 => self.set(&items[0]),
            _ => match value(self.info, &HashMap::new(), set).ok()?? {
                Value::Int(value) => {
                    let ty = self.info.coerced.get(&set.id);
                    let ty = *ty.or_else(|| self.info.type_of.get(&set.id))?;
                    let mut ty = self.info.types.underlying(ty);
                    while let Kind::New(_, base) = self.info.types.kind(ty) {
                        ty = self.info.types.underlying(*base);
                    }
                    let (width, _) = self.info.types.shape(ty)?;
                    let ones = (BigInt::from(1) << width) - 1;
                    Some(Set::Mask(wrap(&value, (width, false)), ones))
                }
                other => Some(Set::Value(other)),
            },
        }
    }
}

/// The sets of a case, with or without braces.
fn flat(sets: &[Expr]) -> Vec<&Expr> {
    match sets {
        [one] => match &one.kind {
            ExprKind::List(items) => items.iter().collect(),
            _ => vec![one],
        },
        sets => sets.iter().collect(),
    }
}
