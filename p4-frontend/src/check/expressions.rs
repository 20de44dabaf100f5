// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Types of expressions.

use num_traits::ToPrimitive;

use super::{Checker, DefKind};
use crate::diagnostics::Diagnostic;
use crate::eval::{fits, Value};
use crate::lexer::Name;
use crate::syntax::ast::{Direction, Expr, ExprKind, Ident, StructKind, Type, TypeKind};
use crate::types::{
    Kind, TypeId, BOOL, DEFAULT, DONT_CARE, INTEGER, INVALID_HEADER, STRING, UNKNOWN,
};

impl<'a> Checker<'a, '_> {
    /// Determines the type of an expression and records it.
    pub(super) fn expression(&mut self, expr: &'a Expr) -> TypeId {
        if self.diagnostics.stopped() {
            return UNKNOWN;
        }
        let ty = self.expression_inner(expr);
        let ty = self.found(ty);
        self.note_type(expr, ty)
    }

    /// Checks an expression whose value must have the given type.
    pub(super) fn expect(&mut self, expr: &'a Expr, ty: TypeId) {
        self.expression(expr);
        self.coerce(expr, ty);
    }

    fn expression_inner(&mut self, expr: &'a Expr) -> TypeId {
        match &expr.kind {
            ExprKind::Bool(_) => BOOL,
            ExprKind::Int(_, None) => INTEGER,
            ExprKind::Int(value, Some(shape)) => {
                let ty = match shape {
                    (width, false) => self.info.types.bit(*width),
                    (width, true) => self.info.types.id(Kind::Int(*width)),
                };
                if !fits(value, *shape) {
                    self.does_not_fit(expr.span, value, ty, *shape);
                }
                ty
            }
            ExprKind::Str(_) => STRING,
            ExprKind::Name(name, global) => self.name(expr, name, *global),
            ExprKind::Type(ty) => {
                self.ty(ty);
                self.fail(expr.span, "a value is expected here, not a type")
            }
            ExprKind::Member(base, name) => self.member(expr, base, name),
            ExprKind::Index(base, index) => self.index(expr, base, index),
            ExprKind::Slice(base, high, low) => self.slice(expr, base, high, low),
            ExprKind::Part(base, low, width) => self.part(expr, base, low, width),
            ExprKind::Unary(op, operand) => self.unary(expr, *op, operand),
            ExprKind::Binary(op, a, b) => self.binary(expr, *op, a, b),
            ExprKind::Ternary(condition, yes, no) => self.ternary(expr, condition, yes, no),
            ExprKind::Cast(ty, operand) => self.cast(expr, ty, operand),
            ExprKind::Call(function, types, arguments) => {
                self.call(expr, function, types, arguments)
            }
            ExprKind::List(items) => {
                let parts = items.iter().map(|i| self.expression(i)).collect();
                self.info.types.id(Kind::ListLiteral(parts))
            }
            ExprKind::Record(fields, dots) => {
                let mut parts: Vec<(Name, TypeId)> = Vec::new();
                for (name, value) in fields {
                    if parts.iter().any(|(n, _)| *n == name.name) {
                        self.fail(
                            name.span,
                            format!("the field `{}` is given twice", name.name),
                        );
                    }
                    let ty = self.expression(value);
                    parts.push((name.name.clone(), ty));
                }
                if *dots {
                    parts.push((Name::from("..."), DEFAULT));
                }
                self.info.types.id(Kind::RecordLiteral(parts))
            }
            ExprKind::InvalidHeader => INVALID_HEADER,
            ExprKind::Dots => DEFAULT,
            ExprKind::DontCare => DONT_CARE,
            ExprKind::Default | ExprKind::Mask(..) | ExprKind::Range(..) => self.fail(
                expr.span,
                "a set is not a value: it belongs into a table or a select",
            ),
        }
    }

    fn name(&mut self, expr: &'a Expr, name: &'a Ident, global: bool) -> TypeId {
        let Some(def) = self.resolve(name, global) else {
            return UNKNOWN;
        };
        self.info.def_of.insert(expr.id, def);
        match &self.def(def).kind {
            DefKind::Const(ty, _)
            | DefKind::Variable(ty)
            | DefKind::Parameter(ty, ..)
            | DefKind::Instance(ty)
            | DefKind::ValueSet(ty) => *ty,
            DefKind::Table(_) => self.info.types.id(Kind::Table(def)),
            DefKind::Function(..) | DefKind::Action(..) => self.fail(
                expr.span,
                format!("`{}` is not called here, and is no value", name.name),
            ),
            DefKind::Pending => self.fail(
                expr.span,
                format!("`{}` is used inside of itself", name.name),
            ),
            _ => self.fail(expr.span, format!("`{}` is a type, not a value", name.name)),
        }
    }

    /// The type that an expression names, if any.
    pub(super) fn as_type(&mut self, expr: &'a Expr) -> Option<TypeId> {
        match &expr.kind {
            ExprKind::Type(ty) => {
                self.infers = matches!(&ty.kind, TypeKind::Named(_, _, args) if args.is_empty());
                let ty = self.ty(ty);
                self.infers = false;
                Some(ty)
            }
            ExprKind::Name(name, global) => {
                let def = *self.look_up(&name.name, *global)?.first()?;
                match &self.def(def).kind {
                    DefKind::Const(..)
                    | DefKind::Variable(_)
                    | DefKind::Parameter(..)
                    | DefKind::Instance(_)
                    | DefKind::ValueSet(_)
                    | DefKind::Table(_)
                    | DefKind::Function(..)
                    | DefKind::Action(..)
                    | DefKind::Pending => None,
                    _ => Some(self.named(def, Vec::new(), expr.span)),
                }
            }
            _ => None,
        }
    }

    fn member(&mut self, expr: &'a Expr, base: &'a Expr, name: &'a Ident) -> TypeId {
        if let Some(ty) = self.as_type(base) {
            return self.static_member(expr, ty, name);
        }
        let ty = self.expression(base);
        let member = &*name.name;
        match self.kind(ty) {
            Kind::Unknown => UNKNOWN,
            Kind::Struct(..) => match self.fields(ty).into_iter().find(|f| f.0 == name.name) {
                Some((_, ty)) => ty,
                None => self.no_member(ty, name),
            },
            Kind::Stack(element, _) => match member {
                "next" | "last" | "lastIndex" if !self.is_stacked(element) => {
                    self.no_member(ty, name)
                }
                "next" | "last" => {
                    if !matches!(self.place, super::Place::State) {
                        self.fail(name.span, format!("`{member}` is for parsers only"));
                    }
                    element
                }
                "lastIndex" => {
                    if !matches!(self.place, super::Place::State) {
                        self.fail(name.span, "`lastIndex` is for parsers only");
                    }
                    self.info.types.bit(32)
                }
                "size" => self.info.types.bit(32),
                _ => self.no_member(ty, name),
            },
            Kind::Applied(table) => match member {
                "hit" | "miss" => BOOL,
                "action_run" => self.info.types.id(Kind::ActionRun(table)),
                _ => self.no_member(ty, name),
            },
            _ => self.no_member(ty, name),
        }
    }

    pub(super) fn no_member(&mut self, ty: TypeId, name: &Ident) -> TypeId {
        let shown = self.show(ty);
        let mut error = Diagnostic::error(
            name.span,
            format!("`{shown}` has no member `{}`", name.name),
        );
        if let (Kind::Table(table), "hit" | "miss" | "action_run") = (self.kind(ty), &*name.name) {
            let table = &self.def(table).name;
            error = error.note(format!("`{table}.apply().{}` is meant", name.name));
        }
        let fields = self.fields(ty);
        if !fields.is_empty() {
            let list: Vec<_> = fields.iter().map(|f| f.0.to_string()).collect();
            error = error.note(format!("it has {}", list.join(", ")));
        }
        self.error(error);
        UNKNOWN
    }

    /// Resolves `error.Name` and `Enum.Member`.
    fn static_member(&mut self, expr: &'a Expr, ty: TypeId, name: &'a Ident) -> TypeId {
        let value = match self.kind(ty) {
            Kind::Unknown => return UNKNOWN,
            Kind::Error => self
                .info
                .errors
                .contains(&name.name)
                .then(|| Value::Error(name.name.clone())),
            Kind::Enum(def) | Kind::Serializable(def, _) => match &self.def(def).kind {
                DefKind::Enum(members, values) => {
                    let at = members.iter().position(|m| *m == name.name);
                    at.map(|at| match values {
                        Some((_, values)) => Value::Int(values[at].clone()),
                        None => Value::Enum(def, at),
                    })
                }
                _ => None,
            },
            _ => None,
        };
        match value {
            Some(value) => {
                self.info.values.insert(expr.id, value);
                ty
            }
            None => self.no_member(ty, name),
        }
    }

    fn index(&mut self, expr: &'a Expr, base: &'a Expr, index: &'a Expr) -> TypeId {
        let (ty, at) = (self.expression(base), self.expression(index));
        if ty == UNKNOWN || at == UNKNOWN {
            return UNKNOWN;
        }
        let under = self.info.types.underlying(at);
        if !matches!(
            self.kind(under),
            Kind::Integer | Kind::Bit(_) | Kind::Int(_)
        ) {
            let shown = self.show(at);
            return self.fail(index.span, format!("an index is an integer, not `{shown}`"));
        }
        let known = self.constant(index).and_then(|v| v.int().cloned());
        let (element, size) = match self.kind(ty) {
            Kind::Stack(element, size) => (Some(element), size as usize),
            Kind::Tuple(parts) | Kind::ListLiteral(parts) => {
                let at = known.as_ref().and_then(|k| k.to_usize());
                if known.is_none() {
                    return self.fail(index.span, "the index into a tuple has to be a constant");
                }
                (at.and_then(|at| parts.get(at).copied()), parts.len())
            }
            Kind::List(element) => return element,
            _ => {
                let shown = self.show(ty);
                return self.fail(expr.span, format!("`{shown}` has no elements to index"));
            }
        };
        match (known, element) {
            (Some(at), _) if at.to_usize().is_none_or(|at| at >= size) => self.fail(
                index.span,
                format!("the index {at} is beyond the {size} elements"),
            ),
            (_, Some(element)) => element,
            (_, None) => UNKNOWN,
        }
    }

    fn slice(&mut self, expr: &'a Expr, base: &'a Expr, high: &'a Expr, low: &'a Expr) -> TypeId {
        let ty = self.expression(base);
        let (high, low) = (self.bit_number(high), self.bit_number(low));
        self.slice_type(expr, ty, high, low)
    }

    fn part(&mut self, expr: &'a Expr, base: &'a Expr, low: &'a Expr, width: &'a Expr) -> TypeId {
        let ty = self.expression(base);
        let from = self.expression(low);
        if from != UNKNOWN && self.constant(low).is_none() {
            return self.moving_part(expr, ty, (low, from), width);
        }
        let (low, width) = (self.bit_number(low), self.bit_number(width));
        let high = low.zip(width).map(|(low, width)| low + width);
        let high = high.and_then(|h| h.checked_sub(1));
        self.slice_type(expr, ty, high, low)
    }

    /// A slice `[low +: width]` whose offset is known only at run time.
    fn moving_part(
        &mut self,
        expr: &'a Expr,
        ty: TypeId,
        (low, from): (&'a Expr, TypeId),
        width: &'a Expr,
    ) -> TypeId {
        let from = self.info.types.underlying(from);
        if !matches!(self.kind(from), Kind::Bit(_)) {
            let shown = self.show(from);
            return self.fail(
                low.span,
                format!("where a part begins is a `bit<…>`, not `{shown}`"),
            );
        }
        let Some(width) = self.bit_number(width) else {
            return UNKNOWN;
        };
        if matches!(self.kind(ty), Kind::Integer) {
            return self.fail(
                expr.span,
                "the width of the value is not known: give it one, as in `8w5`",
            );
        }
        self.slice_type(expr, ty, width.checked_sub(1), Some(0))
    }

    fn bit_number(&mut self, expr: &'a Expr) -> Option<u32> {
        if self.expression(expr) == UNKNOWN {
            return None;
        }
        let value = self
            .constant(expr)
            .and_then(|v| v.int().and_then(|v| v.to_u32()));
        if value.is_none_or(|v| v > crate::types::MAX_WIDTH) {
            self.fail(
                expr.span,
                "the bounds of a slice are constants, and not negative",
            );
            return None;
        }
        value
    }

    fn slice_type(
        &mut self,
        expr: &'a Expr,
        ty: TypeId,
        high: Option<u32>,
        low: Option<u32>,
    ) -> TypeId {
        let (Some(high), Some(low)) = (high, low) else {
            return UNKNOWN;
        };
        let width = match self.kind(self.info.types.underlying(ty)) {
            Kind::Bit(width) | Kind::Int(width) => width,
            Kind::Integer => high + 1,
            Kind::Unknown => return UNKNOWN,
            _ => {
                let shown = self.show(ty);
                return self.fail(expr.span, format!("`{shown}` has no bits to slice"));
            }
        };
        if high < low || high >= width {
            return self.fail(
                expr.span,
                format!("bits {high} to {low} are not in a value of {width} bits"),
            );
        }
        self.info.types.bit(high - low + 1)
    }

    fn ternary(
        &mut self,
        expr: &'a Expr,
        condition: &'a Expr,
        yes: &'a Expr,
        no: &'a Expr,
    ) -> TypeId {
        self.expect(condition, BOOL);
        let (a, b) = (self.expression(yes), self.expression(no));
        let (narrow, from, to) = if self.implicit(a, b) {
            (yes, a, b)
        } else {
            (no, b, a)
        };
        if !self.implicit(from, to) {
            let (a, b) = (self.show(a), self.show(b));
            return self.fail(
                expr.span,
                format!("both values of `?` need one type: these are `{a}` and `{b}`"),
            );
        }
        if to == INTEGER && self.constant(condition).is_none() {
            return self.fail(
                expr.span,
                "the width of this value is not known: give one of the two numbers a width",
            );
        }
        self.coerce(narrow, to);
        to
    }

    fn cast(&mut self, expr: &'a Expr, ty: &'a Type, operand: &'a Expr) -> TypeId {
        let to = self.ty(ty);
        let from = self.expression(operand);
        if self.kind(from) == Kind::Integer && self.implicit(from, to) {
            // An explicit cast: a number that does not fit is meant to be truncated.
            self.info.coerced.insert(operand.id, to);
        } else if self.implicit(from, to) {
            self.coerce(operand, to);
        } else if !self.castable(from, to) {
            let (a, b) = (self.show(from), self.show(to));
            return self.fail(expr.span, format!("no cast converts `{a}` to `{b}`"));
        } else if to == INTEGER && self.constant(operand).is_none() {
            return self.fail(expr.span, "only constants are converted to `int`");
        }
        if let (Kind::Integer, Kind::Bool, Some(Value::Int(value))) =
            (self.kind(from), self.kind(to), self.constant(operand))
        {
            if value.to_u8().is_none_or(|v| v > 1) {
                return self.fail(expr.span, format!("{value} is neither 0 nor 1"));
            }
        }
        to
    }

    /// Returns whether an expression is a writable l-value; if not, reports why.
    pub(super) fn writable(&mut self, expr: &'a Expr) -> bool {
        match &expr.kind {
            ExprKind::Name(name, _) => {
                let Some(def) = self.info.def_of.get(&expr.id).copied() else {
                    return true; // Already reported.
                };
                let at = self.def(def).span;
                let why = match &self.def(def).kind {
                    DefKind::Variable(_) => return true,
                    DefKind::Parameter(_, direction, _) if direction.writes() => return true,
                    DefKind::Parameter(_, Direction::In, _) => "an `in` parameter",
                    DefKind::Parameter(..) => "a parameter without direction",
                    DefKind::Const(..) => "a constant",
                    _ => "not a variable",
                };
                self.error(
                    Diagnostic::error(expr.span, format!("`{}` cannot be written", name.name))
                        .label(why)
                        .related(at, "declared here"),
                );
                false
            }
            ExprKind::Member(base, name) => {
                let ty = self.info.type_of.get(&base.id).copied();
                let kind = ty.map(|ty| self.kind(ty));
                if matches!(kind, Some(Kind::Stack(..)))
                    && matches!(&*name.name, "last" | "lastIndex" | "size")
                    && &*name.name != "last"
                    || matches!(kind, Some(Kind::Applied(_)))
                {
                    self.fail(expr.span, format!("`{}` cannot be written", name.name));
                    return false;
                }
                self.writable(base)
            }
            ExprKind::Index(base, _) | ExprKind::Slice(base, ..) | ExprKind::Part(base, ..) => {
                self.writable(base)
            }
            _ => {
                self.error(
                    Diagnostic::error(expr.span, "this is no place that can be written")
                        .note("variables, fields, elements and slices are"),
                );
                false
            }
        }
    }

    /// Returns whether values of the type can be compared for equality.
    pub(super) fn comparable(&mut self, ty: TypeId) -> bool {
        match self.kind(ty) {
            Kind::Unknown
            | Kind::Bool
            | Kind::Error
            | Kind::Integer
            | Kind::Bit(_)
            | Kind::Int(_)
            | Kind::Varbit(_)
            | Kind::Enum(_)
            | Kind::Serializable(..) => true,
            Kind::New(_, base) => self.comparable(base),
            Kind::Stack(element, _) => self.comparable(element),
            Kind::Tuple(parts) | Kind::ListLiteral(parts) => {
                parts.into_iter().all(|p| self.comparable(p))
            }
            Kind::Struct(kind, ..) => {
                let _: StructKind = kind;
                self.fields(ty).into_iter().all(|f| self.comparable(f.1))
            }
            _ => false,
        }
    }
}
