// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Instances of parsers and controls, and the package.

use std::rc::Rc;

use super::{Callable, Failed, Lower, Result, Scope, Storage};
use crate::check::{Callee, DefKind, Signature};
use crate::eval::Value;
use crate::ir::{Block, BlockParameter};
use crate::source::Span;
use crate::syntax::ast::{Argument, ControlBody, Decl, DeclKind, Expr, ExprKind};
use crate::types::{DefId, Kind, TypeId};

/// An argument of a constructor.
pub(super) enum Constructed {
    Value(Value),
    Object(Storage),
}

impl<'a> Lower<'a, '_> {
    /// Lowers the blocks of `main`.
    pub(super) fn package(&mut self, main: &'a Decl) -> Result<()> {
        let DeclKind::Instance(_, arguments, _) = &main.kind else {
            return Err(Failed);
        };
        let Some(call) = self.info.calls.get(&main.id).cloned() else {
            return Err(Failed);
        };
        let Callee::Construct(ty) = call.callee else {
            return Err(Failed);
        };
        let Kind::Package(def, _) = self.kind(ty) else {
            return self.fail(main.span, "`main` is no package");
        };
        self.out.place = self.sources.position(main.span);
        self.out.package = self.def(def).name.to_string();
        let DefKind::Package(signature) = &self.def(def).kind else {
            return Err(Failed);
        };
        let signature: Signature<'a> = signature.clone();
        let mut all = Ok(());
        for (parameter, given) in signature.parameters.iter().zip(&call.arguments) {
            let Some(argument) = given.map(|n| &arguments[n].value) else {
                continue;
            };
            if self
                .package_block(&parameter.name, parameter.ty, argument)
                .is_err()
            {
                all = Err(Failed);
            }
        }
        all
    }

    fn package_block(&mut self, role: &str, wanted: TypeId, argument: &'a Expr) -> Result<()> {
        let ty = self.natural_type(argument);
        let (Kind::Parser(def, types) | Kind::Control(def, types), ExprKind::Call(_, _, given)) =
            (self.kind(ty), &argument.kind)
        else {
            return self.unsupported(
                argument.span,
                "packages made of anything but parsers and controls",
            );
        };
        let constructed = self.constructed(argument.id, given)?;
        let name = self.def(def).name.to_string();
        let block = self.instantiate(def, types, constructed, name.clone(), argument.span)?;
        let roles: Vec<String> = match self.kind(wanted) {
            Kind::Parser(def, _) | Kind::Control(def, _) => match &self.def(def).kind {
                DefKind::Parser(s, ..) | DefKind::Control(s, ..) => {
                    s.parameters.iter().map(|p| p.name.to_string()).collect()
                }
                _ => Vec::new(),
            },
            _ => Vec::new(),
        };
        let mut parameters = Vec::new();
        for (parameter, role) in block.parameters.iter().zip(roles) {
            if let Some((slot, ty)) = parameter.place {
                parameters.push(BlockParameter {
                    name: parameter.name.to_string(),
                    role,
                    slot,
                    layout: self.layout(ty, argument.span)?,
                    is_written: parameter.direction.writes(),
                });
            }
        }
        self.out.blocks.push(Block {
            role: role.to_owned(),
            name,
            function: block.function,
            parameters,
            is_parser: block.is_parser,
        });
        Ok(())
    }

    /// The arguments of the constructor call that is recorded under a node id.
    pub(super) fn constructed(
        &mut self,
        site: u32,
        given: &'a [Argument],
    ) -> Result<Vec<Option<Constructed>>> {
        let Some(call) = self.info.calls.get(&site).cloned() else {
            return Err(Failed);
        };
        let mut list = Vec::new();
        for argument in &call.arguments {
            list.push(match argument {
                None => None,
                Some(n) => Some(self.constructor_argument(&given[*n].value)?),
            });
        }
        Ok(list)
    }

    fn constructor_argument(&mut self, expr: &'a Expr) -> Result<Constructed> {
        if let Some(value) = self.known(expr)? {
            return Ok(Constructed::Value(value));
        }
        if let Some(storage) = self
            .info
            .def_of
            .get(&expr.id)
            .copied()
            .and_then(|d| self.lookup(d))
        {
            return Ok(Constructed::Object(storage));
        }
        let ty = self.natural_type(expr);
        if let (ExprKind::Call(_, _, given), Some(Callee::Construct(_))) = (
            &expr.kind,
            self.info.calls.get(&expr.id).map(|c| c.callee.clone()),
        ) {
            return Ok(Constructed::Object(match self.kind(ty) {
                Kind::Extern(def, _) => {
                    let name = format!("{}{}", self.scope.path, self.def(def).name);
                    self.make_extern(expr.id, expr.span, ty, given, name, &[])?
                }
                Kind::Parser(def, types) | Kind::Control(def, types) => {
                    let constructed = self.constructed(expr.id, given)?;
                    let path = format!("{}{}", self.scope.path, self.def(def).name);
                    Storage::Block(self.instantiate(def, types, constructed, path, expr.span)?)
                }
                _ => return self.unsupported(expr.span, "this constructor argument"),
            }));
        }
        self.fail(
            expr.span,
            "the compiler has to know this value, and does not",
        )
    }

    /// Creates an instance: slots for its parameters, and its code.
    pub(super) fn instantiate(
        &mut self,
        def: DefId,
        types: Vec<TypeId>,
        arguments: Vec<Option<Constructed>>,
        path: String,
        span: Span,
    ) -> Result<Rc<Callable>> {
        let (signature, constructor) = match &self.def(def).kind {
            DefKind::Parser(s, c, Some(())) | DefKind::Control(s, c, Some(())) => {
                (s.clone(), c.clone())
            }
            _ => return self.unsupported(span, "this as a block"),
        };
        let Some(decl) = self.def(def).decl else {
            return Err(Failed);
        };
        self.go_on(span)?;
        let types: Vec<_> = types
            .into_iter()
            .map(|t| self.info.types.substitute(t, &self.scope.types))
            .collect();
        let mut scope = Scope {
            types: signature
                .type_parameters
                .iter()
                .copied()
                .zip(types)
                .collect(),
            path: format!("{path}."),
            ..Scope::default()
        };
        let mut arguments = arguments.into_iter();
        for parameter in &constructor.parameters {
            let Some(id) = self.info.def_of.get(&parameter.ast.id).copied() else {
                return Err(Failed);
            };
            match arguments.next().flatten() {
                Some(Constructed::Value(value)) => {
                    let value = crate::check::convert(&self.info, value, parameter.ty);
                    scope.known.insert(id, value);
                }
                Some(Constructed::Object(storage)) => {
                    scope.env.insert(id, storage);
                }
                None => {
                    let default = parameter.ast.default.as_ref();
                    match default.map(|d| self.known(d)).transpose()?.flatten() {
                        Some(value) => {
                            scope.known.insert(id, value);
                        }
                        None => return self.unsupported(span, "objects as default arguments"),
                    }
                }
            }
        }
        let outer = std::mem::replace(&mut self.scope, scope);
        let callable = match &decl.kind {
            DeclKind::Parser(_, body) => self
                .code_of(path, &signature, |lower| lower.parser_code(body), false)
                .map(|callable| Callable {
                    is_parser: true,
                    ..callable
                }),
            DeclKind::Control(_, body) => {
                self.code_of(path, &signature, |lower| lower.control_code(body), false)
            }
            _ => Err(Failed),
        };
        self.scope = outer;
        callable.map(Rc::new)
    }

    fn control_code(&mut self, body: &'a ControlBody) -> Result<()> {
        let mut all = self.locals(&body.locals);
        all = all.and(self.statements(&body.apply.statements));
        all
    }

    /// Lowers the declarations in a parser or control.
    pub(super) fn locals(&mut self, locals: &'a [Decl]) -> Result<()> {
        let mut all = Ok(());
        for local in locals {
            if self.local(local).is_err() {
                all = Err(Failed);
            }
        }
        all
    }

    fn local(&mut self, decl: &'a Decl) -> Result<()> {
        self.go_on(decl.span)?;
        let Some(def) = self.info.def_of.get(&decl.id).copied() else {
            return Err(Failed);
        };
        match &decl.kind {
            DeclKind::Variable(..) | DeclKind::Const(..) => self.local_declaration(decl),
            DeclKind::Action(..) => self.declared_action(def, decl.span).map(|_| ()),
            DeclKind::Table(properties) => {
                let table = self.table(decl, def, properties)?;
                self.scope.env.insert(def, Storage::Table(table));
                Ok(())
            }
            DeclKind::ValueSet(_, size) => {
                let set = self.value_set(decl, def, size)?;
                self.scope.env.insert(def, Storage::ValueSet(set));
                Ok(())
            }
            DeclKind::Instance(_, arguments, _) => {
                let DefKind::Instance(ty) = self.def(def).kind else {
                    return Err(Failed);
                };
                let storage = match self.kind(ty) {
                    Kind::Extern(..) => self.declared_extern(decl, ty)?,
                    Kind::Parser(block, types) | Kind::Control(block, types) => {
                        let constructed = self.constructed(decl.id, arguments)?;
                        let path = self.visible_name(&decl.annotations, &decl.name.name);
                        Storage::Block(self.instantiate(
                            block,
                            types,
                            constructed,
                            path,
                            decl.span,
                        )?)
                    }
                    _ => return self.unsupported(decl.span, "this instance"),
                };
                self.scope.env.insert(def, storage);
                Ok(())
            }
            _ => self.unsupported(decl.span, "this declaration here"),
        }
    }
}
