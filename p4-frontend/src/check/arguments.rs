// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Checks of arguments against parameters.

use std::collections::HashMap;

use super::site::Site;
use super::{Callee, Checker, DefKind, Param, Role, Signature};
use crate::diagnostics::Diagnostic;
use crate::syntax::ast::{Argument, Direction, Expr, ExprKind, Ident};
use crate::types::{Kind, TypeId, UNKNOWN};

impl<'a> Checker<'a, '_> {
    /// Checks the arguments against the callee's parameters.
    pub(super) fn finish(
        &mut self,
        site: Site,
        callee: Callee,
        signature: &Signature<'a>,
        explicit: Vec<TypeId>,
        arguments: &'a [Argument],
        constant: bool,
    ) -> TypeId {
        let own = &signature.type_parameters;
        let mut with = HashMap::new();
        if callee_is_generic(&callee) {
            if !explicit.is_empty() && explicit.len() != own.len() {
                let (has, given) = (own.len(), explicit.len());
                return self.fail(
                    site.span,
                    format!("this has {has} type parameters, not {given}"),
                );
            }
            for (n, parameter) in own.iter().enumerate() {
                let ty = match explicit.get(n) {
                    Some(ty) => *ty,
                    None => self.fresh(),
                };
                with.insert(*parameter, ty);
            }
        }
        let signature = self.replaced(signature, &with);
        if !accepts(&signature.parameters, arguments) {
            self.check_loose(arguments);
            let (list, given) = (shown(&signature.parameters), arguments.len());
            self.error(
                Diagnostic::error(site.span, format!("these {given} arguments do not fit"))
                    .note(format!("the parameters are ({list})")),
            );
            return UNKNOWN;
        }
        let matched = matched(&signature.parameters, arguments);
        let by_parameter: Vec<_> = signature.parameters.iter().zip(&matched).collect();
        let mut late = Vec::new();
        for (parameter, argument) in &by_parameter {
            let Some(value) = argument.map(|n| &arguments[n].value) else {
                continue;
            };
            let given = match value.kind {
                ExprKind::DontCare => self.fresh(),
                _ => self.expression(value),
            };
            // A number without a width does not determine the type if another argument does.
            match self.kind(given) {
                Kind::Integer => late.push((parameter.ty, given)),
                _ => {
                    self.unify(parameter.ty, given);
                }
            }
        }
        for (ty, given) in late {
            if matches!(self.kind(ty), Kind::Infer(_)) {
                self.unify(ty, given);
            }
        }
        for (parameter, argument) in &by_parameter {
            if let Some(n) = argument {
                self.argument(parameter, &arguments[*n].value, constant);
            }
        }
        let types = own
            .iter()
            .filter_map(|p| with.get(p).copied())
            .collect::<Vec<_>>();
        let types: Vec<_> = types.into_iter().map(|t| self.found(t)).collect();
        if callee_is_generic(&callee) {
            self.generic(site, &callee, &signature, &types, arguments, &matched);
        }
        let result = self.found(signature.result);
        self.note_call(site, callee, types, matched);
        result
    }

    fn argument(&mut self, parameter: &Param<'a>, value: &'a Expr, constant: bool) {
        if let ExprKind::DontCare = value.kind {
            if parameter.direction != Direction::Out && !constant {
                self.fail(value.span, "only an `out` parameter can be left to `_`");
            }
            let ty = self.found(parameter.ty);
            self.note_type(value, ty);
            return;
        }
        if parameter.direction.writes() {
            let given = self.info.type_of.get(&value.id).copied().unwrap_or(UNKNOWN);
            let (wanted, given) = (self.found(parameter.ty), self.found(given));
            if self.writable(value) && wanted != given && given != UNKNOWN && wanted != UNKNOWN {
                let (wanted, given) = (self.show(wanted), self.show(given));
                self.fail(
                    value.span,
                    format!(
                        "the `out` parameter `{}` is a `{wanted}`, this a `{given}`",
                        parameter.name
                    ),
                );
            }
            return;
        }
        self.coerce(value, parameter.ty);
        if parameter.direction == Direction::None {
            // In functions and actions such a parameter takes any value, like an `in` parameter.
            let needs = constant;
            let kind = self.kind(parameter.ty);
            let object = matches!(
                kind,
                Kind::Extern(..)
                    | Kind::Parser(..)
                    | Kind::Control(..)
                    | Kind::Package(..)
                    | Kind::Unknown
            );
            let known = match object {
                true => self.made_early(value),
                false => self.compile_time(value),
            };
            if needs && !known {
                self.error(
                    Diagnostic::error(
                        value.span,
                        format!("`{}` has to be known to the compiler", parameter.name),
                    )
                    .note("the parameter has no direction"),
                );
            }
        }
    }

    /// Returns whether an object constructed here, if any, has only compile-time known arguments.
    fn made_early(&self, expr: &Expr) -> bool {
        match &expr.kind {
            ExprKind::Call(_, _, arguments) => arguments.iter().all(|a| match a.value.kind {
                ExprKind::Call(..) => self.made_early(&a.value),
                _ => self.compile_time(&a.value),
            }),
            _ => true,
        }
    }

    /// Returns whether a value is known at compile time, at the latest at instantiation.
    pub(super) fn compile_time(&self, expr: &Expr) -> bool {
        if self.constant(expr).is_some() {
            return true;
        }
        match &expr.kind {
            ExprKind::Name(..) => {
                let def = self.info.def_of.get(&expr.id);
                def.is_some_and(|def| {
                    matches!(
                        &self.def(*def).kind,
                        DefKind::Parameter(_, _, Role::Constructor)
                            | DefKind::Parameter(_, Direction::None, Role::Ordinary)
                            | DefKind::Instance(_)
                            | DefKind::Const(..)
                    )
                })
            }
            ExprKind::Unary(_, a) | ExprKind::Cast(_, a) | ExprKind::Member(a, _) => {
                self.compile_time(a)
            }
            ExprKind::Binary(_, a, b) | ExprKind::Index(a, b) => {
                self.compile_time(a) && self.compile_time(b)
            }
            ExprKind::Ternary(a, b, c) | ExprKind::Slice(a, b, c) | ExprKind::Part(a, b, c) => {
                self.compile_time(a) && self.compile_time(b) && self.compile_time(c)
            }
            ExprKind::List(items) => items.iter().all(|i| self.compile_time(i)),
            ExprKind::Record(fields, _) => fields.iter().all(|f| self.compile_time(&f.1)),
            ExprKind::Call(..) => matches!(
                self.info.calls.get(&expr.id).map(|c| &c.callee),
                Some(Callee::Construct(_))
            ),
            ExprKind::Dots | ExprKind::InvalidHeader => true,
            _ => false,
        }
    }
}

fn callee_is_generic(callee: &Callee) -> bool {
    matches!(callee, Callee::Function(_) | Callee::Method(..))
}

/// Returns whether the arguments match the parameters in number and names.
pub(super) fn accepts(parameters: &[Param<'_>], arguments: &[Argument]) -> bool {
    if arguments.len() > parameters.len() {
        return false;
    }
    let by_name = arguments.iter().any(|a| a.name.is_some());
    if !by_name {
        return parameters[arguments.len()..].iter().all(|p| p.optional);
    }
    let given = |p: &Param<'_>| {
        let same = |a: &&Argument| a.name.as_ref().is_some_and(|n| n.name == p.name);
        arguments.iter().filter(same).count()
    };
    arguments.iter().all(|a| {
        let known = |n: &Ident| parameters.iter().any(|p| p.name == n.name);
        a.name.as_ref().is_some_and(known)
    }) && parameters.iter().all(|p| match given(p) {
        0 => p.optional,
        n => n == 1,
    })
}

/// The index of the argument that each parameter gets.
fn matched(parameters: &[Param<'_>], arguments: &[Argument]) -> Vec<Option<usize>> {
    let find = |(n, p): (usize, &Param<'_>)| match arguments.iter().any(|a| a.name.is_some()) {
        true => arguments
            .iter()
            .position(|a| a.name.as_ref().is_some_and(|name| name.name == p.name)),
        false => (n < arguments.len()).then_some(n),
    };
    parameters.iter().enumerate().map(find).collect()
}

/// The names of the parameters, as a list for diagnostics.
pub(super) fn shown(parameters: &[Param<'_>]) -> String {
    let names: Vec<_> = parameters
        .iter()
        .map(|p| match p.optional {
            true => format!("optional {}", p.name),
            false => p.name.to_string(),
        })
        .collect();
    names.join(", ")
}
