// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Type inference by unification, and implicit conversions.

use num_bigint::BigInt;
use num_traits::Signed;

use super::{Checker, DefKind};
use crate::diagnostics::Diagnostic;
use crate::eval::{fits, wrap, Value};
use crate::source::Span;
use crate::syntax::ast::{Expr, ExprKind};
use crate::types::{Kind, TypeId, UNKNOWN};
use crate::warnings::Warning;

impl<'a> Checker<'a, '_> {
    /// Creates a type variable, to be inferred.
    pub(super) fn fresh(&mut self) -> TypeId {
        self.infer.push(None);
        let n = self.infer.len() as u32 - 1;
        self.info.types.id(Kind::Infer(n))
    }

    /// Resolves a bound type variable; returns any other type unchanged.
    pub(super) fn shallow(&self, mut ty: TypeId) -> TypeId {
        while let Kind::Infer(n) = self.info.types.kind(ty) {
            match self.infer[*n as usize] {
                Some(found) => ty = found,
                None => break,
            }
        }
        ty
    }

    /// The type with all bound type variables substituted.
    pub(super) fn found(&mut self, ty: TypeId) -> TypeId {
        // Taken, not cloned: this runs for every expression.
        let infer = std::mem::take(&mut self.infer);
        fn go(
            types: &mut crate::types::Types,
            infer: &[Option<TypeId>],
            ty: TypeId,
            depth: usize,
        ) -> TypeId {
            types.map(ty, &mut |types, part| match types.kind(part) {
                Kind::Infer(n) if depth < 64 => {
                    let found = infer[*n as usize]?;
                    Some(go(types, infer, found, depth + 1))
                }
                _ => None,
            })
        }
        let found = go(&mut self.info.types, &infer, ty, 0);
        self.infer = infer;
        found
    }

    /// Unifies the expected type with the given type and binds type variables. Assignability is a
    /// separate question, which `coerce` answers.
    pub(super) fn unify(&mut self, wanted: TypeId, given: TypeId) -> bool {
        let (wanted, given) = (self.shallow(wanted), self.shallow(given));
        if wanted == given {
            return true;
        }
        let (a, b) = (self.kind(wanted), self.kind(given));
        match (&a, &b) {
            (Kind::Unknown, _) | (_, Kind::Unknown) => true,
            (Kind::Infer(n), _) => self.bind_type(*n, given),
            (_, Kind::Infer(n)) => self.bind_type(*n, wanted),
            (Kind::Struct(_, d, x), Kind::Struct(_, e, y))
            | (Kind::Extern(d, x), Kind::Extern(e, y))
            | (Kind::Package(d, x), Kind::Package(e, y))
                if d == e =>
            {
                self.unify_all(x, y)
            }
            (Kind::Tuple(x) | Kind::ListLiteral(x), Kind::Tuple(y) | Kind::ListLiteral(y)) => {
                self.unify_all(x, y)
            }
            (Kind::Struct(..), Kind::ListLiteral(y)) => {
                let x: Vec<_> = self.fields(wanted).into_iter().map(|f| f.1).collect();
                self.unify_all(&x, y)
            }
            (Kind::Struct(..), Kind::RecordLiteral(y)) => {
                for (name, ty) in self.fields(wanted) {
                    if let Some((_, given)) = y.iter().find(|(n, _)| *n == name) {
                        self.unify(ty, *given);
                    }
                }
                true
            }
            (Kind::List(x), Kind::ListLiteral(y)) => y.iter().all(|y| self.unify(*x, *y)),
            (Kind::Stack(x, n), Kind::Stack(y, m)) if n == m => self.unify(*x, *y),
            (Kind::List(x), Kind::List(y)) | (Kind::Set(x), Kind::Set(y)) => self.unify(*x, *y),
            (Kind::Parser(..), Kind::Parser(..)) | (Kind::Control(..), Kind::Control(..)) => {
                self.unify_blocks(wanted, given)
            }
            _ => false,
        }
    }

    fn unify_all(&mut self, a: &[TypeId], b: &[TypeId]) -> bool {
        let mut all = a.len() == b.len();
        for (a, b) in a.iter().zip(b) {
            all &= self.unify(*a, *b);
        }
        all
    }

    fn bind_type(&mut self, n: u32, ty: TypeId) -> bool {
        let ty = self.settled(ty);
        // Occurs check: a type that contains itself is infinite.
        let mut inside = false;
        self.info.types.map(ty, &mut |types, part| {
            inside |= matches!(types.kind(part), Kind::Infer(m) if *m == n);
            None
        });
        if !inside {
            self.infer[n as usize] = Some(ty);
        }
        !inside
    }

    /// The type of a literal as the type of a value.
    fn settled(&mut self, ty: TypeId) -> TypeId {
        match self.kind(ty) {
            Kind::ListLiteral(parts) => {
                let parts = parts.into_iter().map(|p| self.settled(p)).collect();
                self.info.types.id(Kind::Tuple(parts))
            }
            _ => ty,
        }
    }

    /// Unifies a parser or control with a parser or control type, parameter by parameter.
    fn unify_blocks(&mut self, wanted: TypeId, given: TypeId) -> bool {
        let (a, b) = (self.block_parameters(wanted), self.block_parameters(given));
        let mut all = a.len() == b.len();
        for ((t, d), (u, e)) in a.into_iter().zip(b) {
            let fits = self.unify(t, u);
            all &= d == e && fits && self.found(t) == self.found(u);
        }
        all
    }

    fn block_parameters(&mut self, ty: TypeId) -> Vec<(TypeId, crate::syntax::ast::Direction)> {
        let (Kind::Parser(def, args) | Kind::Control(def, args)) = self.kind(ty) else {
            return Vec::new();
        };
        let (DefKind::Parser(signature, ..) | DefKind::Control(signature, ..)) =
            &self.def(def).kind
        else {
            return Vec::new();
        };
        let signature = signature.clone();
        let with = signature
            .type_parameters
            .iter()
            .copied()
            .zip(args)
            .collect();
        signature
            .parameters
            .iter()
            .map(|p| (self.info.types.substitute(p.ty, &with), p.direction))
            .collect()
    }

    /// Returns whether a value is converted implicitly.
    pub(super) fn implicit(&mut self, from: TypeId, to: TypeId) -> bool {
        let (from, to) = (self.found(from), self.found(to));
        if from == to {
            return true;
        }
        match (self.kind(from), self.kind(to)) {
            (Kind::Unknown, _) | (_, Kind::Unknown) => true,
            // The type of a list does not include its length.
            (Kind::Default, Kind::List(_)) => false,
            (Kind::Default, _) => true,
            (Kind::Parser(..), Kind::Parser(..)) | (Kind::Control(..), Kind::Control(..)) => {
                self.unify_blocks(to, from)
            }
            (Kind::Integer, Kind::Bit(_) | Kind::Int(_)) => true,
            // A literal has no type of its own from which a `type` would have to be kept distinct.
            (Kind::Integer, Kind::New(_, base)) => self.implicit(from, base),
            (Kind::Serializable(_, base), _) => self.implicit(base, to),
            (Kind::InvalidHeader, Kind::Struct(kind, ..)) => {
                kind != crate::syntax::ast::StructKind::Struct
            }
            (Kind::ListLiteral(parts), Kind::List(element)) => {
                parts.iter().all(|p| self.implicit(*p, element))
            }
            (Kind::ListLiteral(parts), Kind::Stack(element, size)) => {
                self.all_implicit(&parts, &vec![element; size as usize])
            }
            (Kind::ListLiteral(parts), Kind::Tuple(wanted)) => self.all_implicit(&parts, &wanted),
            (Kind::Tuple(parts), Kind::Tuple(wanted))
            | (Kind::ListLiteral(parts), Kind::ListLiteral(wanted)) => {
                self.all_implicit(&parts, &wanted)
            }
            (Kind::ListLiteral(parts), Kind::Struct(..)) => {
                let wanted: Vec<_> = self.fields(to).into_iter().map(|f| f.1).collect();
                self.all_implicit(&parts, &wanted)
            }
            (Kind::RecordLiteral(given), Kind::Struct(..)) => {
                let wanted = self.fields(to);
                let dots = given.iter().any(|(n, _)| &**n == "...");
                let named = given.iter().filter(|(n, _)| &**n != "...");
                (dots || given.len() == wanted.len())
                    && named.clone().all(|(name, from)| {
                        let to = wanted.iter().find(|(n, _)| n == name).map(|w| w.1);
                        to.is_some_and(|to| self.implicit(*from, to))
                    })
            }
            _ => false,
        }
    }

    fn all_implicit(&mut self, parts: &[TypeId], wanted: &[TypeId]) -> bool {
        let dots = parts
            .last()
            .is_some_and(|p| matches!(self.kind(*p), Kind::Default));
        let count = parts.len() - usize::from(dots);
        (parts.len() == wanted.len() || dots && count <= wanted.len())
            && parts[..count]
                .iter()
                .zip(wanted)
                .all(|(p, w)| self.implicit(*p, *w))
    }

    /// Records that an expression's value is converted to a type; reports an error if it cannot be.
    pub(super) fn coerce(&mut self, expr: &'a Expr, to: TypeId) -> bool {
        let from = self.info.type_of.get(&expr.id).copied().unwrap_or(UNKNOWN);
        self.unify(to, from);
        let (from, to) = (self.found(from), self.found(to));
        if !self.implicit(from, to) {
            let (wanted, given) = (self.show(to), self.show(from));
            let mut error = Diagnostic::error(
                expr.span,
                format!("expected a value of type `{wanted}`, found `{given}`"),
            )
            .label(format!("`{given}`"));
            if self.castable(from, to) {
                error = error.note(format!("a cast converts it: `({wanted}) …`"));
            }
            self.error(error);
            return false;
        }
        self.convert(expr, to);
        true
    }

    /// Records the conversions of the elements of literals.
    fn convert(&mut self, expr: &'a Expr, to: TypeId) {
        let from = self.info.type_of.get(&expr.id).copied().unwrap_or(UNKNOWN);
        // Done before the conversion is recorded, after which any value fits.
        self.check_fits(expr, from, to);
        if from != to {
            self.info.coerced.insert(expr.id, to);
        }
        match &expr.kind {
            ExprKind::List(items) => {
                let parts: Vec<_> = match self.kind(to) {
                    Kind::Tuple(parts) | Kind::ListLiteral(parts) => parts,
                    Kind::Struct(..) => self.fields(to).into_iter().map(|f| f.1).collect(),
                    Kind::List(element) | Kind::Stack(element, _) => vec![element; items.len()],
                    _ => return,
                };
                for (item, part) in items.iter().zip(parts) {
                    self.convert(item, part);
                }
            }
            ExprKind::Record(fields, _) => {
                let wanted = self.fields(to);
                for (name, value) in fields {
                    if let Some((_, ty)) = wanted.iter().find(|(n, _)| *n == name.name) {
                        self.convert(value, *ty);
                    }
                }
            }
            ExprKind::Ternary(_, yes, no) => {
                self.convert(yes, to);
                self.convert(no, to);
            }
            _ => {}
        }
    }

    /// Reports a number without a width that does not fit into its type.
    fn check_fits(&mut self, expr: &'a Expr, from: TypeId, to: TypeId) {
        let mut base = to;
        while let Kind::New(_, below) = self.kind(base) {
            base = below;
        }
        let Some(shape) = self.info.types.shape(base) else {
            return;
        };
        if !matches!(self.kind(from), Kind::Integer) || matches!(expr.kind, ExprKind::Ternary(..)) {
            return;
        }
        let value = super::value(&self.info, &Default::default(), expr);
        if let Err(why) = &value {
            self.fail(expr.span, why.clone());
        }
        if let Ok(Some(Value::Int(value))) = value {
            if !fits(&value, shape) {
                self.does_not_fit(expr.span, &value, to, shape);
            }
        }
    }

    /// Warns that a constant has another value in its type.
    pub(super) fn does_not_fit(
        &mut self,
        span: Span,
        value: &BigInt,
        to: TypeId,
        shape: (u32, bool),
    ) {
        let (shown, becomes) = (self.show(to), wrap(value, shape));
        // Mostly intended: `-1` for all ones.
        let warning = match value.is_negative() && !shape.1 && fits(value, (shape.0, true)) {
            true => Warning::Mismatch,
            false => Warning::Overflow,
        };
        let message = format!("{value} does not fit into `{shown}`: it becomes {becomes}");
        self.error(Diagnostic::warning(warning, span, message));
    }

    /// Returns whether a cast converts a value.
    pub(super) fn castable(&mut self, from: TypeId, to: TypeId) -> bool {
        if self.implicit(from, to) {
            return true;
        }
        let (from, to) = (self.found(from), self.found(to));
        match (self.kind(from), self.kind(to)) {
            (Kind::Bit(_), Kind::Bit(_)) | (Kind::Int(_), Kind::Int(_)) => true,
            (Kind::Bit(a), Kind::Int(b)) | (Kind::Int(a), Kind::Bit(b)) => a == b,
            (Kind::Bit(1), Kind::Bool) | (Kind::Bool, Kind::Bit(1)) => true,
            (Kind::Integer, Kind::Bool) => true,
            (Kind::Bit(_) | Kind::Int(_), Kind::Integer) => true,
            (a, b) if matches!((&a, &b), (Kind::New(..), _) | (_, Kind::New(..))) => {
                let below = |kind: &Kind| match kind {
                    Kind::New(_, base) => Some(*base),
                    _ => None,
                };
                below(&a).is_some_and(|base| self.implicit(base, to))
                    || below(&b).is_some_and(|base| self.implicit(from, base))
            }
            (_, Kind::Serializable(_, base)) => self.castable(from, base),
            (Kind::Serializable(_, base), _) => self.castable(base, to),
            (Kind::Tuple(a), Kind::Struct(..)) => {
                let wanted: Vec<_> = self.fields(to).into_iter().map(|f| f.1).collect();
                self.all_implicit(&a, &wanted)
            }
            (Kind::Struct(_, a, _), Kind::Struct(_, b, _)) => a == b,
            _ => false,
        }
    }
}
