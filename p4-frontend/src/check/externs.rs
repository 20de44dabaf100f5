// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Extern objects: their declarations, and the implementations of abstract methods by instances.

use super::{has, Checker, DefKind, MethodDef, Role, Signature};
use crate::diagnostics::Diagnostic;
use crate::lexer::Name;
use crate::source::Span;
use crate::syntax::ast::{Decl, DeclKind, Ident, Method};
use crate::types::{Kind, TypeId, INTEGER, UNKNOWN, VOID};

impl<'a> Checker<'a, '_> {
    pub(super) fn external(
        &mut self,
        decl: &'a Decl,
        parameters: &'a [Ident],
        methods: &'a [Method],
    ) {
        let id = self.pending(decl);
        self.scoped(|c| {
            let parameters = c.type_parameters(parameters);
            // Methods may refer to the extern itself.
            c.set(id, DefKind::Extern(parameters.clone(), Vec::new()));
            let list = methods
                .iter()
                .map(|method| MethodDef {
                    method,
                    signature: c.scoped(|c| c.method(method)),
                })
                .collect::<Vec<_>>();
            for (n, a) in list.iter().enumerate() {
                for parameter in &a.signature.parameters {
                    if matches!(
                        c.kind(parameter.ty),
                        Kind::Parser(..) | Kind::Control(..) | Kind::Package(..)
                    ) {
                        let shown = c.show(parameter.ty);
                        c.fail(
                            parameter.ast.name.span,
                            format!("no extern object is given a `{shown}`"),
                        );
                    }
                }
                if a.method.result.is_some() && a.method.name.name == decl.name.name {
                    let name = &decl.name.name;
                    c.error(
                        Diagnostic::error(
                            a.method.name.span,
                            format!("the constructor `{name}` returns nothing"),
                        )
                        .note(format!("`{name}(…);` without a type declares it")),
                    );
                }
                let twice = list[..n].iter().any(|b| {
                    a.method.name.name == b.method.name.name
                        && a.signature.parameters.len() == b.signature.parameters.len()
                        && a.method.result.is_some() == b.method.result.is_some()
                        && a.signature
                            .parameters
                            .iter()
                            .zip(&b.signature.parameters)
                            .all(|(x, y)| x.name == y.name)
                });
                if twice {
                    c.fail(
                        a.method.name.span,
                        format!(
                            "`{}` with so many parameters is declared twice",
                            a.method.name.name
                        ),
                    );
                }
            }
            c.set(id, DefKind::Extern(parameters, list));
        });
    }

    pub(super) fn method(&mut self, method: &'a Method) -> Signature<'a> {
        let type_parameters = self.type_parameters(&method.type_parameters);
        let result = method.result.as_ref().map_or(VOID, |r| self.ty(r));
        let role = match method.result {
            Some(_) => Role::Ordinary,
            None => Role::Constructor,
        };
        self.signature(type_parameters, &method.parameters, result, role)
    }

    /// Checks the body of an instance: an implementation of each abstract method of its extern, and
    /// the objects that these use. `this` is the instance.
    pub(super) fn implementations(
        &mut self,
        name: &'a Ident,
        ty: TypeId,
        methods: Option<&'a [Decl]>,
    ) {
        self.scoped(|c| {
            let this = Ident {
                name: Name::from("this"),
                span: name.span,
            };
            c.declare(&this, None, DefKind::Instance(ty));
            c.given_methods(name, ty, methods);
        });
    }

    fn given_methods(&mut self, name: &'a Ident, ty: TypeId, methods: Option<&'a [Decl]>) {
        let Kind::Extern(def, args) = self.kind(ty) else {
            if methods.is_some() && ty != UNKNOWN {
                self.fail(
                    name.span,
                    "only an extern's instance has methods of its own",
                );
            }
            return;
        };
        let mut wanted = self.abstract_methods(def, &args);
        if wanted.is_empty() && methods.is_some() {
            let shown = self.def(def).name.clone();
            self.fail(name.span, format!("`{shown}` has no abstract methods"));
        }
        for decl in methods.unwrap_or_default() {
            match decl.kind {
                DeclKind::Instance(..) => self.declaration(decl),
                _ => self.scoped(|c| c.declaration(decl)),
            }
            let DeclKind::Function(method, _) = &decl.kind else {
                continue;
            };
            let made = self.info.def_of.get(&decl.id).copied();
            let Some(DefKind::Function(given, _)) = made.map(|d| &self.def(d).kind) else {
                continue;
            };
            let given = given.clone();
            let at = wanted.iter().position(|(wanted, signature)| {
                let (all, own) = (&signature.parameters, given.parameters.len());
                wanted.name.name == method.name.name
                    && own <= all.len()
                    && all[own..].iter().all(|p| p.optional)
            });
            match at {
                Some(at) => {
                    let (wanted, signature) = wanted.swap_remove(at);
                    self.same_signature(method, &given, wanted, &signature);
                }
                None => {
                    let object = self.def(def).name.clone();
                    self.fail(
                        method.name.span,
                        format!(
                            "`{object}` has no abstract method like this `{}`",
                            method.name.name
                        ),
                    );
                }
            }
        }
        wanted.retain(|(method, _)| !has(&method.annotations, "optional"));
        for (missing, _) in wanted {
            let why = format!("the abstract method `{}` is not given", missing.name.name);
            self.error(
                Diagnostic::error(name.span, why).related(missing.name.span, "declared here"),
            );
        }
    }

    /// The abstract methods of an extern, with its type arguments substituted.
    pub(super) fn abstract_methods(
        &mut self,
        def: crate::types::DefId,
        args: &[TypeId],
    ) -> Vec<(&'a Method, Signature<'a>)> {
        let DefKind::Extern(parameters, methods) = &self.def(def).kind else {
            return Vec::new();
        };
        let with = parameters
            .iter()
            .copied()
            .zip(args.iter().copied())
            .collect();
        let list: Vec<_> = methods
            .iter()
            .filter(|m| m.method.is_abstract)
            .map(|m| (m.method, m.signature.clone()))
            .collect();
        list.into_iter()
            .map(|(method, signature)| (method, self.replaced(&signature, &with)))
            .collect()
    }

    fn same_signature(
        &mut self,
        method: &'a Method,
        given: &Signature<'a>,
        wanted: &'a Method,
        signature: &Signature<'a>,
    ) {
        let differs = |c: &mut Self, span: Span, what: &str| {
            c.error(
                Diagnostic::error(span, format!("{what} is not the abstract method's"))
                    .related(wanted.name.span, "declared here"),
            );
        };
        let pairs = given.parameters.iter().zip(&signature.parameters);
        for (mine, theirs) in pairs {
            self.unify(theirs.ty, mine.ty);
            let (a, b) = (self.found(mine.ty), self.found(theirs.ty));
            if a != b && a != UNKNOWN && b != UNKNOWN {
                differs(self, mine.ast.name.span, "this parameter's type");
            } else if mine.direction != theirs.direction {
                differs(self, mine.ast.name.span, "this parameter's direction");
            }
        }
        self.unify(signature.result, given.result);
        let (a, b) = (self.found(given.result), self.found(signature.result));
        if a != b && a != UNKNOWN && b != UNKNOWN {
            differs(self, method.name.span, "the result's type");
        }
        if a == INTEGER {
            self.fail(
                method.name.span,
                "no method returns an `int` without a width",
            );
        }
    }
}
