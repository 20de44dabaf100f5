// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Calls: arguments are copied in, the code runs, `out` arguments are copied out in order.

use std::rc::Rc;

use super::places::Place;
use super::{Callable, Failed, Lower, Parameter, Result, Scope, Storage};
use crate::check::{convert, Builtin, Call, Callee, DefKind, Signature};
use crate::ir::{Inst, Layout, Slot};
use crate::source::Span;
use crate::syntax::ast::{Argument, Block, Direction, Expr, ExprKind};
use crate::types::{DefId, Kind, TypeId, VOID};

/// The argument of a parameter: its position in the call, which determines when it is evaluated,
/// and its value. `None` if the parameter takes its default.
pub(super) type Given<'a> = Option<(usize, &'a Expr)>;

/// The arguments of a call, one for each parameter.
pub(super) fn given<'a>(call: &Call, arguments: &'a [Argument]) -> Vec<Given<'a>> {
    let find = |n: &Option<usize>| n.map(|n| (n, &arguments[n].value));
    call.arguments.iter().map(find).collect()
}

/// The parameters in the order of their arguments in the call, which is the order of evaluation and
/// of copy-out (P4_16 1.2.5, section 6.8); those without an argument come last.
pub(super) fn call_order(given: &[Given<'_>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..given.len()).collect();
    order.sort_by_key(|n| given[*n].map_or(usize::MAX, |g| g.0));
    order
}

impl<'a> Lower<'a, '_> {
    /// Lowers a call; returns the slot of its result, if it has one.
    pub(super) fn call(&mut self, expr: &'a Expr) -> Result<Option<Slot>> {
        let ExprKind::Call(function, _, arguments) = &expr.kind else {
            return Err(Failed);
        };
        let Some(call) = self.info.calls.get(&expr.id).cloned() else {
            return Err(Failed);
        };
        match &call.callee {
            Callee::Function(def) => {
                let DefKind::Function(signature, body) = &self.def(*def).kind else {
                    return Err(Failed);
                };
                match body {
                    None => {
                        let signature = signature.clone();
                        self.extern_function(expr, *def, &signature, &call, arguments)
                    }
                    Some(_) => {
                        let types: Vec<_> = call
                            .types
                            .iter()
                            .map(|t| self.info.types.substitute(*t, &self.scope.types))
                            .collect();
                        let objects = self.given_objects(*def, &call, arguments)?;
                        let callable = self.user_function(*def, types, &objects)?;
                        self.call_code(&callable, &call, arguments, expr.span)
                    }
                }
            }
            Callee::Action(def) => {
                // To control planes, an action called within an action is part of the calling one.
                let callable = match self.body.is_action {
                    true => self.declared_action(*def, expr.span)?,
                    false => self.action(*def, expr.span)?,
                };
                self.call_code(&callable, &call, arguments, expr.span)
            }
            Callee::ApplyTable(_) => self.apply_table(expr).map(|_| None),
            Callee::Apply(_) => {
                let callable = self.applied_block(expr, function)?;
                self.call_code(&callable, &call, arguments, expr.span)
            }
            Callee::Builtin(builtin) => self.builtin(expr, *builtin, function, arguments),
            Callee::Method(def, index) => {
                self.method(expr, *def, *index, function, &call, arguments)
            }
            Callee::Construct(_) => {
                self.unsupported(expr.span, "making an object in an expression")
            }
        }
    }

    /// The parser or control that `apply` runs.
    fn applied_block(&mut self, expr: &'a Expr, function: &'a Expr) -> Result<Rc<Callable>> {
        let ExprKind::Member(base, _) = &function.kind else {
            return Err(Failed);
        };
        let def = self.info.def_of.get(&base.id).copied();
        if let Some(def) = def {
            // An instance that could not be created has been reported.
            return match self.lookup(def) {
                Some(Storage::Block(block)) => Ok(block),
                _ => Err(Failed),
            };
        }
        // Applied by its type: an unnamed instance.
        if let Some(block) = self.scope.direct.get(&expr.id) {
            return Ok(block.clone());
        }
        let ty = self.natural_type(base);
        let (Kind::Parser(def, types) | Kind::Control(def, types)) = self.kind(ty) else {
            return Err(Failed);
        };
        let name = self.def(def).name.to_string();
        let path = format!("{}{name}", self.scope.path);
        let block = self.instantiate(def, types, Vec::new(), path, expr.span)?;
        self.scope.direct.insert(expr.id, block.clone());
        Ok(block)
    }

    /// Emits a call of lowered code.
    pub(super) fn call_code(
        &mut self,
        callable: &Rc<Callable>,
        call: &Call,
        arguments: &'a [Argument],
        span: Span,
    ) -> Result<Option<Slot>> {
        let given = given(call, arguments);
        self.call_with(callable, &given, span)
    }

    /// Emits a call of lowered code with arguments for its parameters.
    pub(super) fn call_with(
        &mut self,
        callable: &Rc<Callable>,
        given: &[Given<'a>],
        span: Span,
    ) -> Result<Option<Slot>> {
        let careful = given.iter().flatten().any(|g| self.has_effects(g.1));
        let mut copies: Vec<(Slot, Slot, u32)> = Vec::new();
        let mut back: Vec<(Place, Slot)> = Vec::new();
        for n in call_order(given) {
            let Some(parameter) = callable.parameters.get(n) else {
                continue;
            };
            let argument = given[n].map(|g| g.1);
            let Some((slot, ty)) = parameter.place else {
                continue;
            };
            let limbs = self.layout(ty, span)?.limbs();
            let Some(argument) = argument else {
                // Later arguments may call the same function.
                let dst = match careful {
                    true => self.allocate(limbs),
                    false => slot,
                };
                match &parameter.default {
                    Some(value) => {
                        let layout = self.layout(ty, span)?;
                        self.known_aggregate(value, &layout, dst, span)?;
                    }
                    None => self.emit(Inst::Zero { dst, limbs }),
                }
                if careful {
                    copies.push((slot, dst, limbs));
                }
                continue;
            };
            if parameter.direction.writes() {
                if let ExprKind::DontCare = argument.kind {
                    continue;
                }
                let Some(place) = self.place(argument)? else {
                    return self.unsupported(argument.span, "this as an `out` argument");
                };
                if parameter.direction.reads() {
                    let value = self.read(&place, argument.span)?;
                    // A variable is read in its turn, and passed once all arguments have been
                    // evaluated.
                    let value = self.fresh_copy(value, limbs);
                    copies.push((slot, value, limbs));
                }
                back.push((place, slot));
            } else if careful || self.in_use(argument) {
                let made = self.allocate(limbs);
                self.value_into(argument, made)?;
                copies.push((slot, made, limbs));
            } else {
                self.value_into(argument, slot)?;
            }
        }
        for (dst, src, limbs) in copies {
            self.emit(Inst::Move { dst, src, limbs });
        }
        for parameter in &callable.parameters {
            if let (Direction::Out, Some((slot, ty))) = (parameter.direction, parameter.place) {
                let limbs = self.layout(ty, span)?.limbs();
                self.emit(Inst::Zero { dst: slot, limbs });
            }
        }
        self.emit(Inst::Call {
            function: callable.function,
        });
        for (place, slot) in back {
            self.write(&place, slot, span)?;
        }
        let is_function = callable.result.is_some();
        if !is_function {
            self.leave_if_ending();
        }
        match callable.result {
            Some((slot, ty)) if ty != VOID => {
                let limbs = self.layout(ty, span)?.limbs();
                Ok(Some(self.fresh_copy(slot, limbs)))
            }
            _ => Ok(None),
        }
    }

    /// Returns whether an argument may access a parameter of the callee.
    fn in_use(&self, argument: &Expr) -> bool {
        self.has_effects(argument)
    }

    /// The extern objects among a function's arguments, with their parameters.
    fn given_objects(
        &mut self,
        def: DefId,
        call: &Call,
        arguments: &'a [Argument],
    ) -> Result<Vec<(DefId, u32)>> {
        let DefKind::Function(signature, _) = &self.def(def).kind else {
            return Err(Failed);
        };
        let parameters: Vec<_> = signature.parameters.iter().map(|p| p.ast.id).collect();
        let mut objects = Vec::new();
        for (parameter, argument) in parameters.into_iter().zip(&call.arguments) {
            let Some(argument) = argument.map(|n| &arguments[n].value) else {
                continue;
            };
            let named = self.info.def_of.get(&argument.id).copied();
            let object = named.and_then(|def| self.lookup(def));
            let parameter = self.info.def_of.get(&parameter).copied();
            if let (Some(parameter), Some(Storage::Extern(object))) = (parameter, object) {
                objects.push((parameter, object));
            }
        }
        Ok(objects)
    }

    /// A function, instantiated for its type arguments and the extern objects passed to it.
    fn user_function(
        &mut self,
        def: DefId,
        types: Vec<TypeId>,
        objects: &[(DefId, u32)],
    ) -> Result<Rc<Callable>> {
        let key = (def, types, objects.iter().map(|o| o.1).collect());
        if let Some(callable) = self.functions.get(&key) {
            return Ok(callable.clone());
        }
        let DefKind::Function(signature, Some(body)) = &self.def(def).kind else {
            return Err(Failed);
        };
        let (signature, body): (Signature<'a>, &'a Block) = (signature.clone(), body);
        let name = self.def(def).name.to_string();
        let scope = Scope {
            types: signature
                .type_parameters
                .iter()
                .copied()
                .zip(key.1.clone())
                .collect(),
            env: objects
                .iter()
                .map(|(def, object)| (*def, Storage::Extern(*object)))
                .collect(),
            ..Scope::default()
        };
        let outer = std::mem::replace(&mut self.scope, scope);
        let callable = self.code_of(
            name,
            &signature,
            |lower| lower.statements(&body.statements),
            true,
        );
        self.scope = outer;
        let callable = Rc::new(callable?);
        self.functions.insert(key, callable.clone());
        Ok(callable)
    }

    /// Allocates slots for the parameters, and generates code.
    pub(super) fn code_of(
        &mut self,
        name: String,
        signature: &Signature<'a>,
        make: impl FnOnce(&mut Self) -> Result<()>,
        is_function: bool,
    ) -> Result<Callable> {
        let parameters = self.parameters(signature)?;
        let result = match is_function {
            true => {
                let ty = self
                    .info
                    .types
                    .substitute(signature.result, &self.scope.types);
                let limbs = match ty {
                    VOID => 0,
                    _ => self.layout(ty, Span::default())?.limbs(),
                };
                Some((self.allocate(limbs), ty))
            }
            false => None,
        };
        let function = self.function(name, result, make)?;
        Ok(Callable {
            function,
            parameters,
            result,
            is_parser: false,
        })
    }

    pub(super) fn parameters(&mut self, signature: &Signature<'a>) -> Result<Vec<Parameter>> {
        let mut list = Vec::new();
        for parameter in &signature.parameters {
            let ty = self.info.types.substitute(parameter.ty, &self.scope.types);
            let Some(def) = self.info.def_of.get(&parameter.ast.id).copied() else {
                return Err(Failed);
            };
            let span = parameter.ast.name.span;
            let place = match self.kind(ty) {
                Kind::Extern(object, _) => {
                    let name = &*self.def(object).name;
                    let known = matches!(self.scope.env.get(&def), Some(Storage::Extern(_)));
                    if known {
                        list.push(Parameter {
                            name: parameter.name.clone(),
                            direction: parameter.direction,
                            place: None,
                            default: None,
                        });
                        continue;
                    }
                    if !matches!(name, "packet_in" | "packet_out") {
                        return self.unsupported(span, "objects as parameters of `apply`");
                    }
                    self.scope.env.insert(def, Storage::Packet);
                    None
                }
                _ => {
                    let slot = self.temporary(ty, span)?;
                    let place = Place::at(slot, ty);
                    self.scope.env.insert(def, Storage::Place(place));
                    Some((slot, ty))
                }
            };
            let default = match (&parameter.ast.default, place) {
                (Some(default), Some(_)) => match self.known(default)? {
                    Some(value) => Some(convert(&self.info, value, ty)),
                    None => {
                        return self.unsupported(default.span, "default arguments of this kind")
                    }
                },
                _ => None,
            };
            list.push(Parameter {
                name: parameter.name.clone(),
                direction: parameter.direction,
                place,
                default,
            });
        }
        Ok(list)
    }

    /// The code of an action in the current instance; marks the action as used.
    pub(super) fn action(&mut self, def: DefId, span: Span) -> Result<Rc<Callable>> {
        let callable = self.declared_action(def, span)?;
        self.use_action(callable.function);
        Ok(callable)
    }

    pub(super) fn declared_action(&mut self, def: DefId, span: Span) -> Result<Rc<Callable>> {
        if let Some(Storage::Action(callable)) = self.lookup(def) {
            return Ok(callable);
        }
        let DefKind::Action(signature, body) = &self.def(def).kind else {
            return self.fail(span, "this is no action");
        };
        let (signature, body): (Signature<'a>, &'a Block) = (signature.clone(), body);
        let decl = self.def(def).decl;
        let annotations = decl.map_or(&[][..], |d| &d.annotations);
        let is_global = !self.scope.env.contains_key(&def) && self.is_top_level(def);
        let name = match is_global {
            true => crate::check::given_name(annotations).map_or_else(
                || self.def(def).name.to_string(),
                |n| n.trim_start_matches('.').to_owned(),
            ),
            false => self.visible_name(annotations, &self.def(def).name.clone()),
        };
        self.show_action(&name, def);
        let callable = self.code_of(
            name,
            &signature,
            |lower| {
                lower.body.is_action = true;
                lower.statements(&body.statements)
            },
            false,
        )?;
        let callable = Rc::new(callable);
        self.scope
            .env
            .insert(def, Storage::Action(callable.clone()));
        Ok(callable)
    }

    /// Returns whether a definition is outside of all parsers and controls.
    fn is_top_level(&self, def: DefId) -> bool {
        self.info.top_level.contains(&def)
    }

    fn builtin(
        &mut self,
        expr: &'a Expr,
        builtin: Builtin,
        function: &'a Expr,
        arguments: &'a [Argument],
    ) -> Result<Option<Slot>> {
        let ExprKind::Member(base, _) = &function.kind else {
            return Err(Failed);
        };
        let ty = self.natural_type(base);
        let place = match self.place(base)? {
            Some(place) => place,
            None => {
                let slot = self.value(base)?;
                Place::at(slot, ty)
            }
        };
        match builtin {
            Builtin::SetValid | Builtin::SetInvalid => {
                let value = self.number(u64::from(builtin == Builtin::SetValid));
                self.write_limbs(&place, 0, value, 1);
                self.select_member(&place);
                Ok(None)
            }
            Builtin::IsValid => {
                let layout = self.layout(ty, expr.span)?;
                let slot = match layout {
                    Layout::Union(_) => {
                        let slot = self.read(&place, expr.span)?;
                        self.union_valid(slot, &layout)?
                    }
                    _ => {
                        let slot = self.read_limb(&place);
                        self.fresh_copy(slot, 1)
                    }
                };
                Ok(Some(slot))
            }
            Builtin::PushFront | Builtin::PopFront => {
                let Layout::Stack(element, elements) = self.layout(ty, expr.span)? else {
                    return Err(Failed);
                };
                let count = self.small(&arguments[0].value)?.unwrap_or(0).min(elements) as i32;
                self.emit(Inst::Push {
                    base: place.base,
                    stride: element.limbs(),
                    elements,
                    count: match builtin {
                        Builtin::PushFront => count,
                        _ => -count,
                    },
                });
                Ok(None)
            }
            _ => self.unsupported(expr.span, "the size of this type"),
        }
    }
}
