// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Resolution of types as written in source.

use num_traits::ToPrimitive;

use super::{Checker, DefKind};
use crate::diagnostics::Diagnostic;
use crate::eval::Value;
use crate::source::Span;
use crate::syntax::ast::{Expr, StructKind, Type, TypeKind};
use crate::types::{
    DefId, Kind, TypeId, BOOL, ERROR, INTEGER, MATCH_KIND, MAX_WIDTH, STRING, UNKNOWN, VOID,
};

/// The maximum number of parts of a type, counted recursively with repetitions.
const MAX_PARTS: u32 = 1 << 16;
/// The maximum nesting depth of types.
const MAX_NESTING: u32 = 64;

/// The size of a type: its number of parts and its nesting depth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    parts: u32,
    depth: u32,
}

impl<'a> Checker<'a, '_> {
    pub(super) fn ty(&mut self, ty: &'a Type) -> TypeId {
        let mut id = self.ty_inner(ty);
        let size = self.size(id);
        if size.parts > MAX_PARTS || size.depth > MAX_NESTING {
            id = self.fail(
                ty.span,
                format!(
                    "this type is too large: the limits are {MAX_PARTS} parts, {MAX_NESTING} deep"
                ),
            );
        }
        self.info.type_of.insert(ty.id, id);
        id
    }

    fn ty_inner(&mut self, ty: &'a Type) -> TypeId {
        match &ty.kind {
            TypeKind::Bool => BOOL,
            TypeKind::Error => ERROR,
            TypeKind::String => STRING,
            TypeKind::MatchKind => MATCH_KIND,
            TypeKind::Void => VOID,
            TypeKind::Integer => INTEGER,
            TypeKind::DontCare => self.fresh(),
            TypeKind::Bit(None) => self.info.types.bit(1),
            TypeKind::Bit(Some(width)) => match self.width(width, 0) {
                Some(width) => self.info.types.bit(width),
                None => UNKNOWN,
            },
            TypeKind::Int(width) => match self.width(width, 1) {
                Some(width) => self.info.types.id(Kind::Int(width)),
                None => UNKNOWN,
            },
            TypeKind::Varbit(width) => match self.width(width, 0) {
                Some(width) => self.info.types.id(Kind::Varbit(width)),
                None => UNKNOWN,
            },
            TypeKind::Stack(element, size) => self.stack(element, size),
            TypeKind::Tuple(parts) => {
                let parts = parts.iter().map(|p| self.element(p)).collect();
                self.info.types.id(Kind::Tuple(parts))
            }
            TypeKind::List(element) => {
                let element = self.element(element);
                self.info.types.id(Kind::List(element))
            }
            TypeKind::Named(name, global, args) => {
                let Some(def) = self.resolve(name, *global) else {
                    return UNKNOWN;
                };
                let args: Vec<_> = args.iter().map(|a| self.ty(a)).collect();
                let generic = matches!(
                    &self.def(def).kind,
                    DefKind::Struct(_, parameters, _) | DefKind::Extern(parameters, _)
                        if !parameters.is_empty()
                );
                if generic && args.is_empty() && !self.infers {
                    let name = &name.name;
                    return self.fail(ty.span, format!("`{name}` needs type arguments"));
                }
                self.named(def, args, ty.span)
            }
        }
    }

    /// Computes the size of a type from the sizes of its parts.
    fn size(&mut self, ty: TypeId) -> Size {
        if let Some(size) = self.sizes.get(&ty) {
            return *size;
        }
        let parts = match self.kind(ty) {
            Kind::Struct(_, _, args) => {
                let fields = self.fields(ty).into_iter().map(|f| f.1);
                fields.chain(args).collect()
            }
            Kind::Tuple(parts)
            | Kind::ListLiteral(parts)
            | Kind::Extern(_, parts)
            | Kind::Parser(_, parts)
            | Kind::Control(_, parts)
            | Kind::Package(_, parts) => parts,
            Kind::Stack(part, _) | Kind::List(part) | Kind::Set(part) => vec![part],
            Kind::New(_, base) => vec![base],
            _ => Vec::new(),
        };
        let mut size = Size { parts: 1, depth: 1 };
        for part in parts {
            let part = self.size(part);
            size.parts = size.parts.saturating_add(part.parts);
            size.depth = size.depth.max(part.depth + 1);
        }
        // A type with an unbound type variable may still grow.
        if !self.info.types.is_open(ty) {
            self.sizes.insert(ty, size);
        }
        size
    }

    /// The type of a part of a tuple, list or struct; rejects `void` and other illegal ones.
    pub(super) fn element(&mut self, ty: &'a Type) -> TypeId {
        let id = self.ty(ty);
        match self.kind(id) {
            Kind::Void
            | Kind::Parser(..)
            | Kind::Control(..)
            | Kind::Package(..)
            | Kind::Extern(..) => {
                let shown = self.show(id);
                self.fail(ty.span, format!("`{shown}` cannot be part of another type"))
            }
            _ => id,
        }
    }

    /// A declared type with type arguments; if they are omitted, they are inferred later where
    /// legal.
    pub(super) fn named(&mut self, def: DefId, mut args: Vec<TypeId>, span: Span) -> TypeId {
        let parameters = match &self.def(def).kind {
            DefKind::Struct(_, parameters, _) | DefKind::Extern(parameters, _) => parameters.len(),
            DefKind::Parser(signature, ..)
            | DefKind::Control(signature, ..)
            | DefKind::Package(signature) => signature.type_parameters.len(),
            _ => 0,
        };
        if args.is_empty() {
            args = (0..parameters).map(|_| self.fresh()).collect();
        }
        if args.len() != parameters {
            let name = self.def(def).name.clone();
            let (has, given) = (parameters, args.len());
            return self.fail(
                span,
                format!("`{name}` has {has} type parameters, not {given}"),
            );
        }
        let kind = match &self.def(def).kind {
            DefKind::Alias(ty) => return *ty,
            DefKind::New(ty) => Kind::New(def, *ty),
            DefKind::Struct(kind, ..) => {
                let ty = Kind::Struct(*kind, def, args);
                let ty = self.info.types.id(ty);
                self.specialised(ty, span);
                return ty;
            }
            DefKind::Enum(_, None) => Kind::Enum(def),
            DefKind::Enum(_, Some((base, _))) => Kind::Serializable(def, *base),
            DefKind::Extern(..) => {
                let block = args.iter().find(|a| {
                    matches!(
                        self.kind(**a),
                        Kind::Parser(..) | Kind::Control(..) | Kind::Package(..)
                    )
                });
                if let Some(block) = block {
                    let shown = self.show(*block);
                    return self.fail(span, format!("no extern is one of `{shown}`"));
                }
                Kind::Extern(def, args)
            }
            DefKind::Parser(..) => Kind::Parser(def, args),
            DefKind::Control(..) => Kind::Control(def, args),
            DefKind::Package(_) => Kind::Package(def, args),
            DefKind::Pending => {
                let name = self.def(def).name.clone();
                return self.fail(span, format!("`{name}` is used inside of itself"));
            }
            _ => {
                let (name, at) = (self.def(def).name.clone(), self.def(def).span);
                self.error(
                    Diagnostic::error(span, format!("`{name}` is no type"))
                        .related(at, "it is declared here"),
                );
                return UNKNOWN;
            }
        };
        self.info.types.id(kind)
    }

    /// Checks the fields of a generic struct once their types are known.
    fn specialised(&mut self, ty: TypeId, span: Span) {
        let Kind::Struct(kind, _, args) = self.kind(ty) else {
            return;
        };
        if args.is_empty() || args.iter().any(|a| matches!(self.kind(*a), Kind::Infer(_))) {
            return;
        }
        for (name, field) in self.fields(ty) {
            if !self.field_fits(kind, field) {
                let (shown, whole) = (self.show(field), self.show(ty));
                self.fail(
                    span,
                    format!("the field `{name}` of `{whole}` would be a `{shown}`"),
                );
            }
        }
    }

    /// A width or size: an integer known at compile time.
    pub(super) fn width(&mut self, expr: &'a Expr, least: u32) -> Option<u32> {
        let ty = self.expression(expr);
        if ty == UNKNOWN {
            return None;
        }
        let width = match self.constant(expr) {
            Some(Value::Int(width)) => width,
            _ => {
                self.error(
                    Diagnostic::error(expr.span, "the compiler has to know this number")
                        .label("not a constant"),
                );
                return None;
            }
        };
        match width.to_u32().filter(|w| (least..=MAX_WIDTH).contains(w)) {
            Some(width) => Some(width),
            None => {
                self.fail(
                    expr.span,
                    format!("{width} is not in {least} to {MAX_WIDTH}, which it has to be"),
                );
                None
            }
        }
    }

    fn stack(&mut self, element: &'a Type, size: &'a Expr) -> TypeId {
        let inner = self.ty(element);
        let size = self.width(size, 1);
        let fits = matches!(
            self.kind(inner),
            Kind::Unknown
                | Kind::Bool
                | Kind::Error
                | Kind::Bit(_)
                | Kind::Int(_)
                | Kind::Enum(_)
                | Kind::Serializable(..)
                | Kind::New(..)
                | Kind::Struct(..)
                | Kind::Tuple(_)
                | Kind::Stack(..)
                | Kind::Parameter(_)
        );
        if !fits {
            let shown = self.show(inner);
            return self.fail(element.span, format!("there are no arrays of `{shown}`"));
        }
        match size {
            Some(size) if inner != UNKNOWN => self.info.types.id(Kind::Stack(inner, size)),
            _ => UNKNOWN,
        }
    }

    /// Returns whether an array of such elements is a header stack, with `next` and similar
    /// members.
    pub(super) fn is_stacked(&self, element: TypeId) -> bool {
        matches!(
            self.kind(element),
            Kind::Struct(StructKind::Header | StructKind::Union, ..) | Kind::Unknown
        )
    }

    /// The names and types of a struct's fields.
    pub(super) fn fields(&mut self, ty: TypeId) -> Vec<(crate::lexer::Name, TypeId)> {
        let kind = self.kind(ty);
        crate::check::fields(&mut self.info, &kind)
    }
}
