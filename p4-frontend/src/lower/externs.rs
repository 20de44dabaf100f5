// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Extern objects and functions, as the engine needs them.

use super::calls::{call_order, given, Given};
use super::places::Place;
use super::{Failed, Lower, Result, Storage};
use crate::check::{Call, DefKind, Signature};
use crate::control;
use crate::diagnostics::Diagnostic;
use crate::eval::Value;
use crate::ir::{self, Constant, ExternInstance, Inst, Slot};
use crate::source::Span;
use crate::syntax::ast::{self, Argument, Expr, ExprKind, NodeId};
use crate::types::{DefId, Kind, TypeId, STRING, VOID};
use crate::warnings::Warning;

impl<'a> Lower<'a, '_> {
    pub(super) fn make_extern(
        &mut self,
        site: NodeId,
        span: Span,
        ty: TypeId,
        arguments: &'a [Argument],
        name: String,
        annotations: &[ast::Annotation],
    ) -> Result<Storage> {
        let Kind::Extern(def, types) = self.kind(ty) else {
            return Err(Failed);
        };
        let Some(call) = self.info.calls.get(&site).cloned() else {
            return Err(Failed);
        };
        let mut list = Vec::new();
        for argument in call.arguments.iter().flatten() {
            list.push(self.constructor_constant(&arguments[*argument].value)?);
        }
        let mut layouts = Vec::new();
        let mut shown = Vec::new();
        for ty in types {
            let ty = self.info.types.substitute(ty, &self.scope.types);
            shown.push(self.shown_type(ty));
            // A type argument that nothing determines is not used either.
            layouts.push(match self.kind(ty) {
                Kind::Infer(_) | Kind::Void => ir::Layout::Bits(0, false),
                _ => self.layout(ty, span)?,
            });
        }
        let annotations = self.shown_annotations(annotations);
        self.out.control.externs.push(control::Extern {
            annotations,
            types: shown,
        });
        self.out.externs.push(ExternInstance {
            place: self.sources.position(span),
            name,
            kind: self.def(def).name.to_string(),
            arguments: list,
            types: layouts,
        });
        Ok(Storage::Extern(self.out.externs.len() as u32 - 1))
    }

    fn constructor_constant(&mut self, expr: &'a Expr) -> Result<Constant> {
        if let Some(value) = self.known(expr)? {
            return self.engine_constant(&value, expr.span);
        }
        let def = self.info.def_of.get(&expr.id).copied();
        match def.and_then(|d| self.lookup(d)) {
            Some(Storage::Extern(id)) => Ok(Constant::Object(id)),
            _ => self.fail(
                expr.span,
                "the compiler has to know this value, and does not",
            ),
        }
    }

    pub(super) fn method(
        &mut self,
        expr: &'a Expr,
        def: DefId,
        index: usize,
        function: &'a Expr,
        call: &Call,
        arguments: &'a [Argument],
    ) -> Result<Option<Slot>> {
        let ExprKind::Member(base, name) = &function.kind else {
            return Err(Failed);
        };
        let object = self
            .info
            .def_of
            .get(&base.id)
            .copied()
            .and_then(|d| self.lookup(d));
        let given = given(call, arguments);
        match object {
            Some(Storage::Packet) => self.packet_method(expr, &name.name, &given),
            Some(Storage::Extern(id)) => {
                let DefKind::Extern(_, methods) = &self.def(def).kind else {
                    return Err(Failed);
                };
                let signature = methods[index].signature.clone();
                self.extern_call(expr, Some(id), name.name.to_string(), &signature, &given)
            }
            _ => self.unsupported(base.span, "this object"),
        }
    }

    pub(super) fn extern_function(
        &mut self,
        expr: &'a Expr,
        def: DefId,
        signature: &Signature<'a>,
        call: &Call,
        arguments: &'a [Argument],
    ) -> Result<Option<Slot>> {
        let name = self.def(def).name.to_string();
        let given = given(call, arguments);
        match name.as_str() {
            "verify" if arguments.len() == 2 => return self.verify(&given).map(|()| None),
            "digest" => self.show_digest(call),
            "mark_to_drop" if arguments.is_empty() => {
                if let Some((slot, layout)) = self.standard_metadata(expr.span)? {
                    let metadata = ir::Argument::Value(slot, layout, true);
                    self.emit_extern(expr, None, name, vec![Some(metadata)], None);
                    return Ok(None);
                }
            }
            "clone3" | "resubmit" | "recirculate" if !arguments.is_empty() => {
                self.warn_of_fields(expr.span, &name);
            }
            "static_assert" => return self.static_assert(expr, &given).map(Some),
            _ => {}
        }
        self.extern_call(expr, None, name, signature, &given)
    }

    /// The standard metadata of the current block, for older programs that drop without naming it.
    fn standard_metadata(&mut self, span: Span) -> Result<Option<(Slot, ir::Layout)>> {
        let env = self.scope.env.values();
        let places: Vec<_> = env
            .filter_map(|storage| match storage {
                Storage::Place(place) => Some((place.base, place.ty)),
                _ => None,
            })
            .collect();
        let mut found = places.into_iter().filter(|(_, ty)| match self.kind(*ty) {
            Kind::Struct(_, def, _) => &*self.def(def).name == "standard_metadata_t",
            _ => false,
        });
        match (found.next(), found.next()) {
            (Some((slot, ty)), None) => Ok(Some((slot, self.layout(ty, span)?))),
            _ => Ok(None),
        }
    }

    /// Warns that fields passed to an older form of clone, resubmit or recirculate are not
    /// preserved.
    fn warn_of_fields(&mut self, span: Span, name: &str) {
        let now = match name {
            "clone3" => "clone_preserving_field_list".to_owned(),
            name => format!("{name}_preserving_field_list"),
        };
        let message = format!("`{name}` keeps none of the fields that it is given");
        let warning = Diagnostic::warning(Warning::Deprecated, span, message);
        let note = format!("`{now}` keeps those that have `@field_list`");
        self.diagnostics.push(warning.note(note));
    }

    /// Records a digest that a function call sends; it has the name of the type sent.
    fn show_digest(&mut self, call: &Call) {
        let Some(ty) = call.types.first().copied() else {
            return;
        };
        let ty = self.info.types.substitute(ty, &self.scope.types);
        let shown = self.shown_type(ty);
        let digests = &mut self.out.control.digests;
        let name = match &shown {
            control::Type::Struct(name) | control::Type::Header(name) => name.clone(),
            control::Type::New(name) | control::Type::Serializable(name) => name.clone(),
            _ => format!("digest_{}", digests.len()),
        };
        if !digests.iter().any(|(other, _)| *other == name) {
            digests.push((name, shown));
        }
    }

    fn static_assert(&mut self, expr: &'a Expr, given: &[Given<'a>]) -> Result<Slot> {
        let [Some((_, condition)), rest @ ..] = given else {
            return Err(Failed);
        };
        let message = match rest.first().copied().flatten().map(|m| &m.1.kind) {
            Some(ExprKind::Str(text)) => format!(": {text}"),
            _ => String::new(),
        };
        match self.known(condition)? {
            Some(Value::Bool(true)) => Ok(self.number(1)),
            Some(Value::Bool(false)) => {
                self.fail(expr.span, format!("static_assert fails{message}"))
            }
            _ => self.fail(expr.span, "static_assert needs a constant"),
        }
    }

    fn extern_call(
        &mut self,
        expr: &'a Expr,
        object: Option<u32>,
        name: String,
        signature: &Signature<'a>,
        given: &[Given<'a>],
    ) -> Result<Option<Slot>> {
        let mut back: Vec<(Place, Slot)> = Vec::new();
        let mut arguments: Vec<Option<ir::Argument>> = vec![None; given.len()];
        let order = call_order(given);
        for (turn, n) in order.iter().copied().enumerate() {
            let (Some((_, argument)), Some(parameter)) = (given[n], signature.parameters.get(n))
            else {
                continue;
            };
            let ty = self.type_of(argument);
            if ty == STRING {
                match self.known(argument)? {
                    Some(Value::Str(text)) => arguments[n] = Some(ir::Argument::Text(text)),
                    _ => return self.fail(argument.span, "the compiler has to know this text"),
                }
                continue;
            }
            let layout = self.layout(ty, argument.span)?;
            let slot = match parameter.direction.writes() {
                true => {
                    let made = self.allocate(layout.limbs());
                    if let ExprKind::DontCare = argument.kind {
                        arguments[n] = Some(ir::Argument::Value(made, layout, true));
                        continue;
                    }
                    let Some(place) = self.place(argument)? else {
                        return self.unsupported(argument.span, "this as an `out` argument");
                    };
                    if parameter.direction.reads() {
                        let src = self.read(&place, argument.span)?;
                        self.emit(Inst::Move {
                            dst: made,
                            src,
                            limbs: layout.limbs(),
                        });
                    } else {
                        self.emit(Inst::Zero {
                            dst: made,
                            limbs: layout.limbs(),
                        });
                    }
                    back.push((place, made));
                    made
                }
                false => {
                    let later = order[turn + 1..].iter().filter_map(|n| given[*n]);
                    let later: Vec<_> = later.map(|g| g.1).collect();
                    self.kept(argument, &later)?
                }
            };
            let is_written = parameter.direction.writes();
            arguments[n] = Some(ir::Argument::Value(slot, layout, is_written));
        }
        let ty = self.natural_type(expr);
        let result = match ty {
            VOID => None,
            _ => {
                let layout = self.layout(ty, expr.span)?;
                Some((self.allocate(layout.limbs()), layout))
            }
        };
        let slot = result.as_ref().map(|r| r.0);
        self.emit_extern(expr, object, name, arguments, result);
        for (place, made) in back {
            self.write(&place, made, expr.span)?;
        }
        Ok(slot)
    }

    fn emit_extern(
        &mut self,
        expr: &Expr,
        object: Option<u32>,
        name: String,
        arguments: Vec<Option<ir::Argument>>,
        result: Option<(Slot, ir::Layout)>,
    ) {
        self.out.calls.push(ir::ExternCall {
            place: self.sources.position(expr.span),
            object,
            name,
            arguments,
            result,
        });
        let call = self.out.calls.len() as u32 - 1;
        self.emit(Inst::Extern { call });
    }
}
