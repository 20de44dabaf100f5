// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Instances of externs, parsers, controls and packages.

use std::collections::HashMap;

use super::arguments::{accepts, shown};
use super::site::Site;
use super::{Callee, Checker, DefKind};
use crate::diagnostics::Diagnostic;
use crate::syntax::ast::Argument;
use crate::types::{Kind, TypeId, UNKNOWN};

impl<'a> Checker<'a, '_> {
    /// Checks an instantiation of an extern, parser, control or package.
    pub(super) fn construct(
        &mut self,
        site: Site,
        ty: TypeId,
        arguments: &'a [Argument],
    ) -> TypeId {
        let (kind, mut with) = (self.kind(ty), HashMap::new());
        let signature = match &kind {
            Kind::Extern(def, args) => {
                let DefKind::Extern(parameters, methods) = &self.def(*def).kind else {
                    return UNKNOWN;
                };
                with.extend(parameters.iter().copied().zip(args.iter().copied()));
                let constructors: Vec<_> = methods
                    .iter()
                    .filter(|m| m.method.result.is_none())
                    .map(|m| m.signature.clone())
                    .collect();
                let fitting = constructors
                    .iter()
                    .find(|s| accepts(&s.parameters, arguments));
                match fitting {
                    Some(signature) => signature.clone(),
                    None => {
                        self.check_loose(arguments);
                        let name = self.def(*def).name.clone();
                        let mut error = Diagnostic::error(
                            site.span,
                            format!("`{name}` has no constructor for these arguments"),
                        );
                        for s in &constructors {
                            error = error.note(format!("it takes ({})", shown(&s.parameters)));
                        }
                        self.error(error);
                        return UNKNOWN;
                    }
                }
            }
            Kind::Parser(def, args) | Kind::Control(def, args) => {
                let (signature, constructor, body) = match &self.def(*def).kind {
                    DefKind::Parser(s, c, b) | DefKind::Control(s, c, b) => {
                        (s.clone(), c.clone(), *b)
                    }
                    _ => return UNKNOWN,
                };
                let open = self.open.contains(def);
                if open {
                    let name = self.def(*def).name.clone();
                    return self.fail(site.span, format!("`{name}` is made inside of itself"));
                }
                if body.is_none() {
                    let name = self.def(*def).name.clone();
                    return self.fail(
                        site.span,
                        format!("`{name}` has no body: it is only a type"),
                    );
                }
                with.extend(
                    signature
                        .type_parameters
                        .iter()
                        .copied()
                        .zip(args.iter().copied()),
                );
                constructor
            }
            Kind::Package(def, args) => {
                let DefKind::Package(signature) = &self.def(*def).kind else {
                    return UNKNOWN;
                };
                with.extend(
                    signature
                        .type_parameters
                        .iter()
                        .copied()
                        .zip(args.iter().copied()),
                );
                signature.clone()
            }
            _ => {
                self.check_loose(arguments);
                let shown = self.show(ty);
                return self.fail(site.span, format!("`{shown}` has no constructor"));
            }
        };
        let signature = self.replaced(&signature, &with);
        if !accepts(&signature.parameters, arguments) {
            self.check_loose(arguments);
            let list = shown(&signature.parameters);
            let given = arguments.len();
            self.error(
                Diagnostic::error(site.span, format!("these {given} arguments do not fit"))
                    .note(format!("the constructor takes ({list})")),
            );
            return UNKNOWN;
        }
        let mut signature = signature;
        signature.type_parameters.clear();
        signature.result = ty;
        self.finish(
            site,
            Callee::Construct(ty),
            &signature,
            Vec::new(),
            arguments,
            true,
        );
        let made = self.found(ty);
        if let Kind::Extern(_, args) = self.kind(made) {
            if let Some(open) = args
                .iter()
                .find(|a| matches!(self.kind(**a), Kind::Integer | Kind::Extern(..)))
            {
                let shown = self.show(*open);
                self.fail(
                    site.span,
                    format!("this extern would be one of `{shown}`: a type argument says of what"),
                );
            }
        }
        made
    }
}
