// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Declarations.

use std::collections::HashSet;

use num_bigint::BigInt;

use super::annotations::has;
use super::site::Site;
use super::statements::falls_through;
use super::{Checker, DefKind, Param, Place, Role, Signature, StructField};
use crate::diagnostics::Diagnostic;
use crate::eval::{fits, Value};
use crate::lexer::Name;
use crate::syntax::ast::{
    self, Argument, Block, Decl, DeclKind, Direction, Expr, Field, Ident, Method, Parameter,
    StructKind, Type,
};
use crate::types::{DefId, Kind, TypeId, UNKNOWN, VOID};

/// The maximum number of values in all constants of a program together.
const MAX_CONSTANTS: usize = 1 << 18;

impl<'a> Checker<'a, '_> {
    pub(super) fn declaration(&mut self, decl: &'a Decl) {
        self.name_annotation(&decl.annotations);
        self.structured_annotations(&decl.annotations);
        match &decl.kind {
            DeclKind::Const(written, value) => self.const_declaration(decl, written, value),
            DeclKind::Variable(..) if self.place == Place::Top => {
                self.fail(
                    decl.span,
                    "variables are declared in parsers, controls and functions",
                );
            }
            DeclKind::Variable(..) | DeclKind::Table(_) | DeclKind::ValueSet(..) => {
                self.local(decl);
            }
            DeclKind::Instance(written, arguments, methods) => {
                self.instance(decl, written, arguments, methods.as_deref());
            }
            DeclKind::Errors(names) => self.collect(names, true),
            DeclKind::MatchKinds(names) => self.collect(names, false),
            DeclKind::Typedef(written) => {
                let ty = self.ty(written);
                self.declare(&decl.name, Some(decl), DefKind::Alias(ty));
            }
            DeclKind::NewType(written) => {
                let ty = self.ty(written);
                let simple = matches!(
                    self.kind(ty),
                    Kind::Bit(_)
                        | Kind::Int(_)
                        | Kind::Bool
                        | Kind::New(..)
                        | Kind::Serializable(..)
                        | Kind::Enum(_)
                        | Kind::Error
                        | Kind::Varbit(_)
                        | Kind::Unknown
                        | Kind::Parameter(_)
                );
                if !simple {
                    let shown = self.show(ty);
                    self.fail(
                        written.span,
                        format!("no new type can be made of `{shown}`"),
                    );
                }
                self.declare(&decl.name, Some(decl), DefKind::New(ty));
            }
            DeclKind::Struct(kind, parameters, fields) => {
                self.structure(decl, *kind, parameters, fields);
            }
            DeclKind::Enum(written, members) => self.enumeration(decl, written.as_ref(), members),
            DeclKind::Parser(signature, body) => {
                let id = self.pending(decl);
                self.scoped(|c| {
                    let (own, constructor) = c.block_signature(signature);
                    c.no_optional(&signature.constructor);
                    c.set(id, DefKind::Parser(own, constructor, Some(())));
                    c.open.push(id);
                    c.parser_body(decl, body);
                    c.open.pop();
                });
            }
            DeclKind::ParserType(signature) => {
                let id = self.pending(decl);
                let (own, constructor) = self.scoped(|c| c.block_signature(signature));
                self.set(id, DefKind::Parser(own, constructor, None));
            }
            DeclKind::Control(signature, body) => {
                let id = self.pending(decl);
                self.scoped(|c| {
                    let (own, constructor) = c.block_signature(signature);
                    c.no_optional(&signature.constructor);
                    c.set(id, DefKind::Control(own, constructor, Some(())));
                    c.open.push(id);
                    c.control_body(body);
                    c.open.pop();
                });
            }
            DeclKind::ControlType(signature) => {
                let id = self.pending(decl);
                let (own, constructor) = self.scoped(|c| c.block_signature(signature));
                self.set(id, DefKind::Control(own, constructor, None));
            }
            DeclKind::Package(signature) => {
                let id = self.pending(decl);
                let own = self.scoped(|c| {
                    let type_parameters = c.type_parameters(&signature.type_parameters);
                    c.signature(
                        type_parameters,
                        &signature.parameters,
                        VOID,
                        Role::Constructor,
                    )
                });
                self.set(id, DefKind::Package(own));
            }
            DeclKind::Extern(parameters, methods) => self.external(decl, parameters, methods),
            DeclKind::Function(method, body) => self.function(decl, method, body.as_ref()),
            DeclKind::Action(parameters, body) => self.action(decl, parameters, body),
        }
    }

    pub(super) fn pending(&mut self, decl: &'a Decl) -> DefId {
        self.declare(&decl.name, Some(decl), DefKind::Pending)
    }

    pub(super) fn set(&mut self, id: DefId, kind: DefKind<'a>) {
        self.info.defs[id.0 as usize].kind = kind;
    }

    fn const_declaration(&mut self, decl: &'a Decl, written: &'a Type, value: &'a Expr) {
        let ty = self.ty(written);
        if matches!(
            self.kind(ty),
            Kind::Extern(..) | Kind::Parser(..) | Kind::Control(..) | Kind::Package(..)
        ) {
            self.fail(written.span, "objects are no constants");
            return;
        }
        self.expect(value, ty);
        let mut open = false;
        self.info.types.map(ty, &mut |types, part| {
            open |= matches!(types.kind(part), Kind::Infer(_));
            None
        });
        if open {
            self.fail(
                written.span,
                "a constant's type is written in full, without `_`",
            );
        }
        let known = super::constants::value(&self.info, &Default::default(), value);
        let known = match known {
            Ok(known) => known,
            Err(why) => {
                self.fail(value.span, why);
                None
            }
        };
        if known.is_none()
            && !self.compile_time(value)
            && self.info.type_of.get(&value.id) != Some(&UNKNOWN)
        {
            self.error(
                Diagnostic::error(
                    value.span,
                    "a constant's value has to be known to the compiler",
                )
                .label("not a constant"),
            );
        }
        let known = known.filter(|known| {
            let parts = known.parts();
            self.constant_parts = self.constant_parts.saturating_add(parts);
            let fits = self.constant_parts <= MAX_CONSTANTS;
            if !fits {
                self.fail(
                    value.span,
                    format!(
                        "constants have more than {MAX_CONSTANTS} values: this one has {parts}"
                    ),
                );
            }
            fits
        });
        self.declare(&decl.name, Some(decl), DefKind::Const(ty, known));
    }

    fn instance(
        &mut self,
        decl: &'a Decl,
        written: &'a Type,
        arguments: &'a [Argument],
        methods: Option<&'a [Decl]>,
    ) {
        self.infers = matches!(&written.kind, ast::TypeKind::Named(_, _, args) if args.is_empty());
        let ty = self.ty(written);
        self.infers = false;
        if ty != UNKNOWN {
            // The declaration stands in for the constructing expression.
            let site = Site {
                id: decl.id,
                span: decl.span,
            };
            let ty = self.construct(site, ty, arguments);
            if matches!(self.kind(ty), Kind::Package(..)) && self.place != Place::Top {
                self.fail(decl.span, "packages are made at the top of the program");
            }
            if matches!(self.kind(ty), Kind::Parser(..) | Kind::Control(..))
                && self.place == Place::Top
            {
                self.fail(
                    decl.span,
                    "parsers and controls are not made at the top of the program",
                );
            }
            let misplaced = match self.kind(ty) {
                Kind::Control(..) => self.place == Place::Parser,
                Kind::Parser(..) => self.place == Place::Control,
                _ => false,
            };
            if misplaced {
                self.fail(
                    decl.span,
                    "parsers have parsers inside of them, and controls controls",
                );
            }
            if &*decl.name.name == "main" && self.place == Place::Top {
                if !matches!(self.kind(ty), Kind::Package(..) | Kind::Unknown) {
                    self.fail(decl.name.span, "`main` is an instance of a package");
                }
                self.info.main = Some(decl);
            }
            self.declare(&decl.name, Some(decl), DefKind::Instance(ty));
            self.implementations(&decl.name, ty, methods);
        } else {
            self.declare(&decl.name, Some(decl), DefKind::Instance(UNKNOWN));
        }
    }

    fn collect(&mut self, names: &[Ident], errors: bool) {
        for name in names {
            let list = match errors {
                true => &mut self.info.errors,
                false => &mut self.info.match_kinds,
            };
            if list.contains(&name.name) {
                self.fail(name.span, format!("`{}` is declared twice", name.name));
            } else {
                list.push(name.name.clone());
            }
        }
    }

    pub(super) fn type_parameters(&mut self, names: &'a [Ident]) -> Vec<u32> {
        names
            .iter()
            .map(|name| {
                let n = self.scoped_types;
                self.scoped_types += 1;
                let ty = self.info.types.id(Kind::Parameter(n));
                self.declare(name, None, DefKind::Alias(ty));
                n
            })
            .collect()
    }

    fn structure(
        &mut self,
        decl: &'a Decl,
        kind: StructKind,
        parameters: &'a [Ident],
        fields: &'a [Field],
    ) {
        let id = self.pending(decl);
        self.scoped(|c| {
            let parameters = c.type_parameters(parameters);
            let mut list: Vec<StructField<'a>> = Vec::new();
            for field in fields {
                if list.iter().any(|f| f.name == field.name.name) {
                    let name = &field.name.name;
                    c.fail(
                        field.name.span,
                        format!("the field `{name}` is declared twice"),
                    );
                }
                let ty = c.element(&field.ty);
                if matches!(field.ty.kind, ast::TypeKind::DontCare) {
                    c.fail(field.ty.span, "a field needs a type");
                }
                c.field_type(kind, ty, field);
                c.match_annotation(&field.annotations);
                list.push(StructField {
                    name: field.name.name.clone(),
                    ty,
                    field,
                });
            }
            c.set(id, DefKind::Struct(kind, parameters, list));
        });
    }

    fn enumeration(
        &mut self,
        decl: &'a Decl,
        written: Option<&'a Type>,
        members: &'a [(Ident, Option<Expr>)],
    ) {
        let base = written.map(|written| {
            let under = self.ty(written);
            let ty = under;
            if self.info.types.shape(under).is_none() && ty != UNKNOWN {
                let shown = self.show(ty);
                self.fail(
                    written.span,
                    format!("values of an enum are integers, not `{shown}`"),
                );
            }
            under
        });
        let (mut names, mut values): (Vec<Name>, Vec<BigInt>) = Default::default();
        let mut seen = HashSet::new();
        for (name, value) in members {
            if !seen.insert(name.name.clone()) {
                self.fail(name.span, format!("`{}` is declared twice", name.name));
            }
            names.push(name.name.clone());
            match (base, value) {
                (Some(base), Some(value)) => {
                    self.expression(value);
                    let raw = self.constant(value);
                    self.coerce(value, base);
                    match raw {
                        Some(Value::Int(v)) => {
                            let shape = self.info.types.shape(base);
                            if shape.is_some_and(|s| !fits(&v, s)) {
                                let shown = self.show(base);
                                self.fail(value.span, format!("{v} does not fit into `{shown}`"));
                            }
                            values.push(v);
                        }
                        _ => {
                            self.fail(value.span, "a member's value has to be a constant");
                            values.push(0.into());
                        }
                    }
                }
                (Some(_), None) => {
                    self.fail(name.span, format!("`{}` needs a value", name.name));
                    values.push(0.into());
                }
                (None, Some(value)) => {
                    self.fail(
                        value.span,
                        "members have values only if the enum has a type",
                    );
                }
                (None, None) => {}
            }
        }
        let kind = DefKind::Enum(names, base.map(|base| (base, values)));
        self.declare(&decl.name, Some(decl), kind);
    }

    /// The signatures of a parser or control and of its constructor; declares their parameters.
    fn block_signature(&mut self, signature: &'a ast::Signature) -> (Signature<'a>, Signature<'a>) {
        let type_parameters = self.type_parameters(&signature.type_parameters);
        let own = self.signature(type_parameters, &signature.parameters, VOID, Role::Ordinary);
        let constructor =
            self.signature(Vec::new(), &signature.constructor, VOID, Role::Constructor);
        (own, constructor)
    }

    pub(super) fn signature(
        &mut self,
        type_parameters: Vec<u32>,
        parameters: &'a [Parameter],
        result: TypeId,
        role: Role,
    ) -> Signature<'a> {
        let mut list = Vec::new();
        for parameter in parameters {
            let ty = self.ty(&parameter.ty);
            let kind = self.kind(ty);
            if kind == Kind::Void {
                self.fail(parameter.ty.span, "a parameter cannot be `void`");
            }
            let object = matches!(
                kind,
                Kind::Extern(..) | Kind::Parser(..) | Kind::Control(..) | Kind::Package(..)
            );
            if object && parameter.direction != Direction::None {
                self.fail(
                    parameter.name.span,
                    "an object's parameter has no direction",
                );
            }
            if kind == Kind::String && parameter.direction != Direction::None {
                self.fail(parameter.name.span, "a text's parameter has no direction");
            }
            if let Kind::Parser(def, _) | Kind::Control(def, _) = kind {
                if let DefKind::Parser(_, _, Some(())) | DefKind::Control(_, _, Some(())) =
                    self.def(def).kind
                {
                    let name = self.def(def).name.clone();
                    self.error(
                        Diagnostic::error(
                            parameter.ty.span,
                            format!("`{name}` has a body: no parameter is of its type"),
                        )
                        .note("a `control` or `parser` without a body declares such a type"),
                    );
                }
            }
            if object && role == Role::Action {
                self.fail(parameter.ty.span, "an action's parameter is no object");
            }
            if kind == Kind::Integer
                && (parameter.direction != Direction::None || role == Role::Action)
            {
                self.fail(
                    parameter.name.span,
                    "this type is known to the compiler only",
                );
            }
            if role == Role::Constructor && parameter.direction != Direction::None {
                self.fail(
                    parameter.name.span,
                    "a constructor's parameter has no direction",
                );
            }
            if let Some(default) = &parameter.default {
                self.expect(default, ty);
                if parameter.direction.writes() {
                    self.fail(default.span, "an `out` parameter has no default");
                }
                if !self.compile_time(default) {
                    self.fail(default.span, "a default is known to the compiler");
                }
            }
            let optional = parameter.default.is_some() || has(&parameter.annotations, "optional");
            let def = self.declare(
                &parameter.name,
                None,
                DefKind::Parameter(ty, parameter.direction, role),
            );
            self.info.def_of.insert(parameter.id, def);
            list.push(Param {
                name: parameter.name.name.clone(),
                ty,
                direction: parameter.direction,
                ast: parameter,
                optional,
            });
        }
        Signature {
            type_parameters,
            parameters: list,
            result,
        }
    }

    fn function(&mut self, decl: &'a Decl, method: &'a Method, body: Option<&'a Block>) {
        self.scopes.push(Default::default());
        let signature = self.method(method);
        let names = self.scopes.pop().unwrap_or_default();
        let result = signature.result;
        let same = self
            .look_up(&decl.name.name, false)
            .cloned()
            .unwrap_or_default();
        for other in same {
            if let DefKind::Function(before, _) = &self.def(other).kind {
                let names = before.parameters.iter().zip(&signature.parameters);
                if before.parameters.len() == signature.parameters.len()
                    && names.clone().all(|(a, b)| a.name == b.name)
                {
                    let at = self.def(other).span;
                    self.error(
                        Diagnostic::error(
                            decl.name.span,
                            format!(
                                "`{}` with so many parameters is declared twice",
                                decl.name.name
                            ),
                        )
                        .related(at, "first here"),
                    );
                }
            }
        }
        if let Some(body) = body {
            self.no_optional(&method.parameters);
            // Not declared yet: a function cannot call itself.
            self.scopes.push(names);
            let outer = (self.place, self.result, self.loops);
            (self.place, self.result, self.loops) = (Place::Function, result, 0);
            self.block(body);
            (self.place, self.result, self.loops) = outer;
            self.scopes.pop();
            if result != VOID && result != UNKNOWN && falls_through(&body.statements) {
                self.fail(
                    decl.name.span,
                    format!("`{}` does not return a value on all paths", decl.name.name),
                );
            }
        }
        self.declare(&decl.name, Some(decl), DefKind::Function(signature, body));
    }

    fn action(&mut self, decl: &'a Decl, parameters: &'a [Parameter], body: &'a Block) {
        self.control_name(decl, "actions");
        let id = self.pending(decl);
        let signature = self.scoped(|c| {
            let signature = c.signature(Vec::new(), parameters, VOID, Role::Action);
            let mut open = false;
            for parameter in &signature.parameters {
                open |= parameter.direction == Direction::None;
                if open && parameter.direction != Direction::None {
                    c.error(
                        Diagnostic::error(
                            parameter.ast.name.span,
                            "a parameter with a direction stands behind one without",
                        )
                        .note("parameters that entries of tables set come last"),
                    );
                }
            }
            let outer = (c.place, c.loops);
            (c.place, c.loops) = (Place::Action, 0);
            c.block(body);
            (c.place, c.loops) = outer;
            signature
        });
        self.set(id, DefKind::Action(signature, body));
    }
}
