// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Calls: the choice of the callee, and inference of type arguments from the arguments.

use std::collections::HashMap;

use super::arguments::{accepts, shown};
use super::site::Site;
use super::{Builtin, Call, Callee, Checker, DefKind, Place, Signature};
use crate::diagnostics::Diagnostic;
use crate::lexer::Name;
use crate::syntax::ast::{Argument, Expr, ExprKind, Ident, StructKind, Type};
use crate::types::{DefId, Kind, TypeId, BOOL, INTEGER, UNKNOWN, VOID};

impl<'a> Checker<'a, '_> {
    pub(super) fn call(
        &mut self,
        expr: &'a Expr,
        function: &'a Expr,
        types: &'a [Type],
        arguments: &'a [Argument],
    ) -> TypeId {
        let explicit: Vec<_> = types.iter().map(|t| self.ty(t)).collect();
        if let Some(ty) = self.constructed(function, &explicit) {
            if let Kind::Extern(def, args) = self.kind(ty) {
                if let [(missing, _), ..] = self.abstract_methods(def, &args)[..] {
                    self.error(
                        Diagnostic::error(expr.span, "an instance without a name has no methods")
                            .related(missing.name.span, "this abstract method needs one"),
                    );
                }
            }
            return self.construct(expr.into(), ty, arguments);
        }
        match &function.kind {
            ExprKind::Name(name, global) => {
                self.call_name(expr, function, name, *global, explicit, arguments)
            }
            ExprKind::Member(base, name) => self.call_member(expr, base, name, explicit, arguments),
            _ => self.fail(function.span, "this cannot be called"),
        }
    }

    /// The type that is constructed, if the callee is a type.
    fn constructed(&mut self, function: &'a Expr, explicit: &[TypeId]) -> Option<TypeId> {
        match &function.kind {
            ExprKind::Type(_) => self.as_type(function),
            ExprKind::Name(name, global) => {
                let def = *self.look_up(&name.name, *global)?.first()?;
                match self.def(def).kind {
                    DefKind::Extern(..)
                    | DefKind::Parser(..)
                    | DefKind::Control(..)
                    | DefKind::Package(_)
                    | DefKind::Alias(_) => Some(self.named(def, explicit.to_vec(), function.span)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn call_name(
        &mut self,
        expr: &'a Expr,
        function: &'a Expr,
        name: &'a Ident,
        global: bool,
        explicit: Vec<TypeId>,
        arguments: &'a [Argument],
    ) -> TypeId {
        let Some(candidates) = self.look_up(&name.name, global).cloned() else {
            self.resolve(name, global);
            self.check_loose(arguments);
            return UNKNOWN;
        };
        let mut fitting = Vec::new();
        for def in &candidates {
            match &self.def(*def).kind {
                DefKind::Function(signature, _) => {
                    if accepts(&signature.parameters, arguments) {
                        fitting.push((*def, signature.clone()));
                    }
                }
                DefKind::Action(signature, _) => {
                    let signature = signature.clone();
                    self.info.def_of.insert(function.id, *def);
                    if !explicit.is_empty() {
                        return self.fail(expr.span, "actions have no type parameters");
                    }
                    if !matches!(self.place, Place::Action | Place::Apply) {
                        return self.fail(expr.span, "actions are called by controls and actions");
                    }
                    return self.finish(
                        expr.into(),
                        Callee::Action(*def),
                        &signature,
                        explicit,
                        arguments,
                        false,
                    );
                }
                DefKind::Pending => {
                    return self.fail(expr.span, format!("`{}` calls itself", name.name));
                }
                _ => {
                    let ty = self.expression(function);
                    if ty != UNKNOWN && !self.not_applied(function, ty) {
                        self.fail(function.span, format!("`{}` cannot be called", name.name));
                    }
                    self.check_loose(arguments);
                    return UNKNOWN;
                }
            }
        }
        match fitting.len() {
            1 => {
                let (def, signature) = fitting.swap_remove(0);
                let is_verify = &*name.name == "verify" && arguments.len() == 2;
                if is_verify && !matches!(self.place, Place::State | Place::Function) {
                    self.fail(expr.span, "`verify` is for parsers");
                }
                self.info.def_of.insert(function.id, def);
                self.finish(
                    expr.into(),
                    Callee::Function(def),
                    &signature,
                    explicit,
                    arguments,
                    false,
                )
            }
            0 => self.no_candidate(expr, &name.name, &candidates, arguments),
            _ => self.fail(
                expr.span,
                format!("more than one `{}` takes these arguments", name.name),
            ),
        }
    }

    /// Checks the arguments of a call that is already known to be invalid.
    pub(super) fn check_loose(&mut self, arguments: &'a [Argument]) {
        for argument in arguments {
            self.expression(&argument.value);
        }
    }

    fn no_candidate(
        &mut self,
        expr: &'a Expr,
        name: &Name,
        candidates: &[DefId],
        arguments: &'a [Argument],
    ) -> TypeId {
        self.check_loose(arguments);
        let mut error = Diagnostic::error(
            expr.span,
            format!("no `{name}` takes these {} arguments", arguments.len()),
        );
        for def in candidates {
            if let DefKind::Function(signature, _) = &self.def(*def).kind {
                error = error.note(format!("`{name}` takes ({})", shown(&signature.parameters)));
            }
        }
        self.error(error);
        UNKNOWN
    }

    fn call_member(
        &mut self,
        expr: &'a Expr,
        base: &'a Expr,
        name: &'a Ident,
        explicit: Vec<TypeId>,
        arguments: &'a [Argument],
    ) -> TypeId {
        let by_type = self.as_type(base);
        let ty = match by_type {
            Some(ty) => {
                self.info.type_of.insert(base.id, ty);
                ty
            }
            None => self.expression(base),
        };
        let member = &*name.name;
        match (self.kind(ty), member) {
            (Kind::Unknown, _) => {
                self.check_loose(arguments);
                UNKNOWN
            }
            (_, "minSizeInBits" | "minSizeInBytes" | "maxSizeInBits" | "maxSizeInBytes") => {
                let builtin = match member {
                    "minSizeInBits" => Builtin::MinSizeInBits,
                    "minSizeInBytes" => Builtin::MinSizeInBytes,
                    "maxSizeInBits" => Builtin::MaxSizeInBits,
                    _ => Builtin::MaxSizeInBytes,
                };
                self.builtin(expr, builtin, arguments, 0);
                INTEGER
            }
            (Kind::Table(def), "apply") => {
                if self.place != Place::Apply {
                    self.fail(
                        expr.span,
                        "a table is applied in the `apply` block of its control",
                    );
                }
                if self.open.contains(&def) {
                    return self.fail(expr.span, "a table is not applied for its own key");
                }
                self.note_call(expr.into(), Callee::ApplyTable(def), Vec::new(), Vec::new());
                if !arguments.is_empty() {
                    self.fail(expr.span, "a table's `apply` takes no arguments");
                }
                self.info.types.id(Kind::Applied(def))
            }
            (Kind::Parser(def, args) | Kind::Control(def, args), "apply") => {
                self.apply_block(expr, def, args, by_type.is_some(), arguments)
            }
            (Kind::Struct(StructKind::Header, ..), "setValid" | "setInvalid") => {
                self.writable(base);
                let builtin = match member {
                    "setValid" => Builtin::SetValid,
                    _ => Builtin::SetInvalid,
                };
                self.builtin(expr, builtin, arguments, 0)
            }
            (Kind::Struct(StructKind::Header | StructKind::Union, ..), "isValid") => {
                self.builtin(expr, Builtin::IsValid, arguments, 0);
                BOOL
            }
            (Kind::Stack(element, _), "push_front" | "pop_front") if self.is_stacked(element) => {
                self.writable(base);
                let builtin = match member {
                    "push_front" => Builtin::PushFront,
                    _ => Builtin::PopFront,
                };
                self.builtin(expr, builtin, arguments, 1)
            }
            (Kind::Extern(def, args), _) => {
                self.call_method(expr, def, args, name, explicit, arguments)
            }
            _ => {
                self.check_loose(arguments);
                self.no_member(ty, name)
            }
        }
    }

    fn builtin(
        &mut self,
        expr: &'a Expr,
        builtin: Builtin,
        arguments: &'a [Argument],
        count: usize,
    ) -> TypeId {
        self.check_loose(arguments);
        if arguments.len() != count {
            let given = arguments.len();
            return self.fail(
                expr.span,
                format!("this takes {count} arguments, not {given}"),
            );
        }
        if let Some(argument) = arguments.first() {
            let known = self
                .constant(&argument.value)
                .and_then(|v| v.int().cloned());
            if known.is_none_or(|v| v < 0.into()) {
                return self.fail(
                    argument.value.span,
                    "this has to be a constant that is not negative",
                );
            }
        }
        self.note_call(
            expr.into(),
            Callee::Builtin(builtin),
            Vec::new(),
            Vec::new(),
        );
        VOID
    }

    pub(super) fn note_call(
        &mut self,
        site: Site,
        callee: Callee,
        types: Vec<TypeId>,
        arguments: Vec<Option<usize>>,
    ) {
        let call = Call {
            callee,
            types,
            arguments,
        };
        self.info.calls.insert(site.id, call);
    }

    fn apply_block(
        &mut self,
        expr: &'a Expr,
        def: DefId,
        args: Vec<TypeId>,
        by_type: bool,
        arguments: &'a [Argument],
    ) -> TypeId {
        let (signature, constructor, is_parser) = match &self.def(def).kind {
            DefKind::Parser(s, c, _) => (s.clone(), c.clone(), true),
            DefKind::Control(s, c, _) => (s.clone(), c.clone(), false),
            _ => return UNKNOWN,
        };
        let fits = match self.place {
            Place::State => is_parser,
            Place::Apply => !is_parser,
            _ => false,
        };
        if !fits {
            self.fail(
                expr.span,
                "parsers are applied in parsers' states, controls in controls' `apply` blocks",
            );
        }
        if by_type && constructor.parameters.iter().any(|p| !p.optional) {
            self.fail(
                expr.span,
                "this needs constructor arguments, so an instance of it",
            );
        }
        let with = signature
            .type_parameters
            .iter()
            .copied()
            .zip(args)
            .collect();
        let signature = self.replaced(&signature, &with);
        self.finish(
            expr.into(),
            Callee::Apply(def),
            &signature,
            Vec::new(),
            arguments,
            false,
        )
    }

    fn call_method(
        &mut self,
        expr: &'a Expr,
        def: DefId,
        args: Vec<TypeId>,
        name: &'a Ident,
        explicit: Vec<TypeId>,
        arguments: &'a [Argument],
    ) -> TypeId {
        let DefKind::Extern(parameters, methods) = &self.def(def).kind else {
            return UNKNOWN;
        };
        let with: HashMap<u32, TypeId> = parameters.iter().copied().zip(args).collect();
        let named: Vec<_> = methods
            .iter()
            .enumerate()
            .filter(|(_, m)| m.method.result.is_some() && m.method.name.name == name.name)
            .map(|(n, m)| (n, m.signature.clone()))
            .collect();
        if named.is_empty() {
            self.check_loose(arguments);
            let object = self.def(def).name.clone();
            return self.fail(
                name.span,
                format!("`{object}` has no method `{}`", name.name),
            );
        }
        let mut fitting: Vec<_> = named
            .iter()
            .filter(|(_, s)| accepts(&s.parameters, arguments))
            .collect();
        // Prefers the method with no optional parameters left out, if there is one.
        if fitting.len() > 1 {
            fitting.retain(|(_, s)| s.parameters.len() == arguments.len());
        }
        match fitting[..] {
            [(n, ref signature)] => {
                let signature = self.replaced(signature, &with);
                let callee = Callee::Method(def, *n);
                let extracts = &*self.def(def).name == "packet_in" && &*name.name == "extract";
                let site = expr.into();
                let result = self.finish(site, callee, &signature, explicit, arguments, false);
                if extracts {
                    self.extracted(arguments);
                }
                result
            }
            _ => {
                self.check_loose(arguments);
                let mut error = Diagnostic::error(
                    expr.span,
                    format!(
                        "no `{}` takes these {} arguments",
                        name.name,
                        arguments.len()
                    ),
                );
                for (_, signature) in &named {
                    let list = shown(&signature.parameters);
                    error = error.note(format!("`{}` takes ({list})", name.name));
                }
                self.error(error);
                UNKNOWN
            }
        }
    }

    /// Checks that an extracted value is a header with at most one varbit field.
    fn extracted(&mut self, arguments: &'a [Argument]) {
        let Some(header) = arguments.first().map(|a| &a.value) else {
            return;
        };
        let ty = self
            .info
            .type_of
            .get(&header.id)
            .copied()
            .unwrap_or(UNKNOWN);
        let fits = matches!(
            self.kind(ty),
            Kind::Struct(StructKind::Header, ..)
                | Kind::Unknown
                | Kind::Parameter(_)
                | Kind::Infer(_)
        );
        if !fits {
            let shown = self.show(ty);
            self.fail(
                header.span,
                format!("only headers are extracted, not `{shown}`"),
            );
        }
        let fields = self.fields(ty);
        let varbits = fields
            .iter()
            .filter(|f| matches!(self.kind(f.1), Kind::Varbit(_)));
        if varbits.count() > 1 {
            self.fail(
                header.span,
                "a header that is extracted has one varbit field at most",
            );
        }
    }

    pub(super) fn replaced(
        &mut self,
        signature: &Signature<'a>,
        with: &HashMap<u32, TypeId>,
    ) -> Signature<'a> {
        let mut signature = signature.clone();
        for parameter in &mut signature.parameters {
            parameter.ty = self.info.types.substitute(parameter.ty, with);
        }
        signature.result = self.info.types.substitute(signature.result, with);
        signature
    }
}
