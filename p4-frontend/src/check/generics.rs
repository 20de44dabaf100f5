// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Checks of the types inferred for type parameters.

use super::site::Site;
use super::{has, Callee, Checker, DefKind, Signature};
use crate::diagnostics::Diagnostic;
use crate::syntax::ast::{Argument, Direction, ExprKind};
use crate::types::{Kind, TypeId};

impl<'a> Checker<'a, '_> {
    /// Checks the types that a call of a generic function or method inferred for its type
    /// parameters.
    pub(super) fn generic(
        &mut self,
        site: Site,
        callee: &Callee,
        signature: &Signature<'a>,
        types: &[TypeId],
        arguments: &'a [Argument],
        matched: &[Option<usize>],
    ) {
        for (parameter, argument) in signature.parameters.iter().zip(matched) {
            let Some(value) = argument.map(|n| &arguments[n].value) else {
                continue;
            };
            // Only if the declared type of the parameter is a type parameter.
            let written = self.info.type_of.get(&parameter.ast.ty.id).copied();
            let open = written.is_some_and(|ty| matches!(self.kind(ty), Kind::Parameter(_)));
            if !open || parameter.direction == Direction::None && is_extern(self, callee) {
                continue;
            }
            let ty = self.found(parameter.ty);
            let what = match self.kind(ty) {
                Kind::Integer => "the width of this number is not known: `8w1` gives it one",
                Kind::Infer(_) if matches!(value.kind, ExprKind::DontCare) => {
                    "nothing says which type this has"
                }
                Kind::RecordLiteral(_) => "nothing says which structure this is: a cast does",
                Kind::String => "a text has no place here",
                Kind::Table(_) | Kind::Parser(..) | Kind::Control(..) | Kind::Package(..) => {
                    "this is an object, not a value"
                }
                _ => continue,
            };
            self.fail(value.span, what);
        }
        for ty in types {
            let kind = self.kind(*ty);
            if matches!(
                kind,
                Kind::Parser(..) | Kind::Control(..) | Kind::Package(..)
            ) {
                let shown = self.show(*ty);
                self.fail(site.span, format!("`{shown}` is no type for a parameter"));
            }
        }
        if let Callee::Method(def, n) = callee {
            self.packet_types(site, *def, *n, signature);
        }
    }

    /// Checks that the types that `lookahead` and `extract` read have a size known to the method.
    fn packet_types(
        &mut self,
        site: Site,
        def: crate::types::DefId,
        n: usize,
        signature: &Signature<'a>,
    ) {
        if &*self.def(def).name != "packet_in" {
            return;
        }
        let DefKind::Extern(_, methods) = &self.def(def).kind else {
            return;
        };
        let method = methods[n].method;
        let why = match &*method.name.name {
            "lookahead" => {
                let ty = self.found(signature.result);
                match self.kind(ty) {
                    Kind::Void => "`lookahead` needs a type that has a size",
                    _ if self.has_varbit(ty) => "`lookahead` reads no varbit",
                    _ => return,
                }
            }
            "extract" => {
                let Some(header) = signature.parameters.first() else {
                    return;
                };
                let ty = self.found(header.ty);
                if matches!(
                    self.kind(ty),
                    Kind::Parameter(_) | Kind::Unknown | Kind::Infer(_)
                ) {
                    return;
                }
                match (self.has_varbit(ty), signature.parameters.len()) {
                    (true, 1) => {
                        "this header has a varbit: its size in bits is the second argument"
                    }
                    (false, 2) => "this header has no varbit: `extract` takes it alone",
                    _ => return,
                }
            }
            _ => return,
        };
        let span = method.name.span;
        self.error(Diagnostic::error(site.span, why).related(span, "declared here"));
    }

    fn has_varbit(&mut self, ty: TypeId) -> bool {
        match self.kind(ty) {
            Kind::Varbit(_) => true,
            Kind::Struct(..) => self.fields(ty).into_iter().any(|f| self.has_varbit(f.1)),
            _ => false,
        }
    }

    /// Rejects `@optional` on parameters other than those of externs, packages and block types.
    pub(super) fn no_optional(&mut self, parameters: &'a [crate::syntax::ast::Parameter]) {
        for parameter in parameters {
            if has(&parameter.annotations, "optional") {
                self.error(
                    Diagnostic::error(
                        parameter.name.span,
                        "`@optional` is for externs, packages and types of blocks",
                    )
                    .note("a default, as in `bit<8> x = 0`, may be meant"),
                );
            }
        }
    }
}

/// Returns whether the callee has no body.
fn is_extern(checker: &Checker<'_, '_>, callee: &Callee) -> bool {
    match callee {
        Callee::Function(def) => {
            matches!(checker.def(*def).kind, DefKind::Function(_, None))
        }
        _ => true,
    }
}
