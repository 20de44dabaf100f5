// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Values of expressions that are known at compile time.

use std::collections::HashMap;

use num_bigint::BigInt;
use num_traits::ToPrimitive;

use super::{Builtin, Callee, Checker, DefKind, Info};
use crate::eval::{binary, slice, unary, wrap, Value};
use crate::lexer::Name;
use crate::syntax::ast::{BinaryOp, Expr, ExprKind, StructKind};
use crate::types::{DefId, Kind, TypeId};

/// Values of constructor parameters and similar, where the caller has them.
pub(crate) type Known = HashMap<DefId, Value>;

impl<'a> Checker<'a, '_> {
    /// The value of a checked expression; `None` if it is not known at compile time.
    pub(super) fn constant(&self, expr: &Expr) -> Option<Value> {
        value(&self.info, &Known::new(), expr).ok()?
    }
}

/// The value of an expression: `Ok(None)` if it is not known at compile time, an error if it is
/// known to have no value.
pub(crate) fn value(info: &Info<'_>, known: &Known, expr: &Expr) -> Result<Option<Value>, String> {
    let Some(raw) = raw(info, known, expr)? else {
        return Ok(None);
    };
    Ok(Some(match info.coerced.get(&expr.id) {
        Some(to) => convert(info, raw, *to),
        None => raw,
    }))
}

/// Converts a value to that type.
pub(crate) fn convert(info: &Info<'_>, value: Value, to: TypeId) -> Value {
    let mut ty = to;
    while let Kind::New(_, base) | Kind::Serializable(_, base) = info.types.kind(ty) {
        ty = *base;
    }
    match (value, info.types.kind(ty)) {
        (Value::Int(value), Kind::Bool) => Value::Bool(value != BigInt::from(0)),
        (Value::Bool(value), Kind::Bit(_)) => Value::Int(value.into()),
        (Value::Int(value), _) => match info.types.shape(ty) {
            Some(shape) => Value::Int(wrap(&value, shape)),
            None => Value::Int(value),
        },
        (other, _) => other,
    }
}

fn raw(info: &Info<'_>, known: &Known, expr: &Expr) -> Result<Option<Value>, String> {
    let shape = |e: &Expr| {
        let ty = info
            .coerced
            .get(&e.id)
            .or_else(|| info.type_of.get(&e.id))?;
        info.types.shape(info.types.underlying(*ty))
    };
    if let Some(value) = info.values.get(&expr.id) {
        return Ok(Some(value.clone()));
    }
    macro_rules! get {
        ($e:expr) => {
            match value(info, known, $e)? {
                Some(value) => value,
                None => return Ok(None),
            }
        };
    }
    Ok(Some(match &expr.kind {
        ExprKind::Bool(value) => Value::Bool(*value),
        ExprKind::Int(value, shape) => Value::Int(match shape {
            Some(shape) => wrap(value, *shape),
            None => value.clone(),
        }),
        ExprKind::Str(text) => Value::Str(text.clone()),
        ExprKind::Name(..) => {
            let Some(def) = info.def_of.get(&expr.id) else {
                return Ok(None);
            };
            return Ok(match &info.def(*def).kind {
                DefKind::Const(_, Some(value)) => Some(value.clone()),
                _ => known.get(def).cloned(),
            });
        }
        ExprKind::Member(base, name) => {
            if &*name.name == "size" {
                if let Some(Kind::Stack(_, size)) =
                    info.type_of.get(&base.id).map(|t| info.types.kind(*t))
                {
                    return Ok(Some(Value::Int((*size).into())));
                }
            }
            if !matches!(base.kind, ExprKind::Name(..) | ExprKind::Member(..)) {
                return Ok(None);
            }
            match get!(base) {
                Value::Record(fields) => match fields.into_iter().find(|(n, _)| *n == name.name) {
                    Some((_, value)) => value,
                    None => return Ok(None),
                },
                Value::List(items) => match position(info, base, &name.name) {
                    Some(at) if at < items.len() => items[at].clone(),
                    _ => return Ok(None),
                },
                _ => return Ok(None),
            }
        }
        ExprKind::Index(base, index) => match (get!(base), get!(index)) {
            (Value::List(items), Value::Int(at)) => {
                match at.to_usize().and_then(|at| items.get(at).cloned()) {
                    Some(item) => item,
                    None => return Err("this index is beyond the end".to_owned()),
                }
            }
            _ => return Ok(None),
        },
        ExprKind::Slice(base, high, low) => match (get!(base), get!(high), get!(low)) {
            (Value::Int(base), Value::Int(high), Value::Int(low)) => {
                match (high.to_u32(), low.to_u32()) {
                    (Some(high), Some(low)) if high >= low => Value::Int(slice(&base, high, low)),
                    _ => return Ok(None),
                }
            }
            _ => return Ok(None),
        },
        ExprKind::Part(base, low, width) => match (get!(base), get!(low), get!(width)) {
            (Value::Int(base), Value::Int(low), Value::Int(width)) => {
                match (low.to_u32(), width.to_u32()) {
                    (Some(low), Some(width)) if width > 0 => {
                        Value::Int(slice(&base, low + width - 1, low))
                    }
                    _ => return Ok(None),
                }
            }
            _ => return Ok(None),
        },
        ExprKind::Unary(op, operand) => match unary(*op, &get!(operand), shape(operand)) {
            Some(value) => value,
            None => return Ok(None),
        },
        ExprKind::Binary(op, a, b) => {
            let left = get!(a);
            match (op, &left) {
                (BinaryOp::And, Value::Bool(false)) | (BinaryOp::Or, Value::Bool(true)) => left,
                _ => binary(*op, &left, &get!(b), shape(a), shape(b))?,
            }
        }
        ExprKind::Ternary(condition, yes, no) => match get!(condition) {
            Value::Bool(true) => get!(yes),
            Value::Bool(false) => get!(no),
            _ => return Ok(None),
        },
        ExprKind::Cast(ty, operand) => {
            let value = get!(operand);
            match info.type_of.get(&ty.id) {
                Some(to) => convert(info, value, *to),
                None => return Ok(None),
            }
        }
        ExprKind::List(items) => {
            let mut values = Vec::with_capacity(items.len());
            for item in items {
                values.push(get!(item));
            }
            Value::List(values)
        }
        ExprKind::Record(fields, false) => {
            let mut values = Vec::with_capacity(fields.len());
            for (name, field) in fields {
                values.push((name.name.clone(), get!(field)));
            }
            Value::Record(values)
        }
        ExprKind::Call(function, ..) => return size_of(info, expr, function),
        _ => return Ok(None),
    }))
}

fn position(info: &Info<'_>, base: &Expr, name: &Name) -> Option<usize> {
    let ty = info
        .coerced
        .get(&base.id)
        .or_else(|| info.type_of.get(&base.id))?;
    match info.types.kind(*ty) {
        Kind::Struct(_, def, _) => match &info.def(*def).kind {
            DefKind::Struct(_, _, fields) => fields.iter().position(|f| f.name == *name),
            _ => None,
        },
        _ => None,
    }
}

/// Evaluates `minSizeInBits` and its variants.
fn size_of(info: &Info<'_>, call: &Expr, function: &Expr) -> Result<Option<Value>, String> {
    let Some(Callee::Builtin(builtin)) = info.calls.get(&call.id).map(|c| &c.callee) else {
        return Ok(None);
    };
    let ExprKind::Member(base, _) = &function.kind else {
        return Ok(None);
    };
    let Some(ty) = info.type_of.get(&base.id) else {
        return Ok(None);
    };
    let maximum = match builtin {
        Builtin::MinSizeInBits | Builtin::MinSizeInBytes => false,
        Builtin::MaxSizeInBits | Builtin::MaxSizeInBytes => true,
        _ => return Ok(None),
    };
    let Some(bits) = size(info, *ty, maximum) else {
        return Ok(None);
    };
    let bytes = matches!(builtin, Builtin::MinSizeInBytes | Builtin::MaxSizeInBytes);
    Ok(Some(Value::Int(match bytes {
        true => bits.div_ceil(8).into(),
        false => bits.into(),
    })))
}

/// The minimum or maximum size in bits of a value of the type.
fn size(info: &Info<'_>, ty: TypeId, maximum: bool) -> Option<u64> {
    Some(match info.types.kind(ty) {
        Kind::Bit(width) | Kind::Int(width) => (*width).into(),
        Kind::Varbit(width) => match maximum {
            true => (*width).into(),
            false => 0,
        },
        Kind::Bool => 1,
        Kind::New(_, base) | Kind::Serializable(_, base) => size(info, *base, maximum)?,
        Kind::Stack(element, count) => size(info, *element, maximum)? * u64::from(*count),
        Kind::Struct(kind, def, args) => {
            let DefKind::Struct(_, parameters, fields) = &info.def(*def).kind else {
                return None;
            };
            let sizes = fields.iter().map(|f| {
                let at = match info.types.kind(f.ty) {
                    Kind::Parameter(n) => parameters.iter().position(|p| p == n),
                    _ => None,
                };
                size(info, at.map_or(f.ty, |at| args[at]), maximum)
            });
            let sizes: Option<Vec<u64>> = sizes.collect();
            match (kind, maximum) {
                (StructKind::Union, true) => sizes?.into_iter().max().unwrap_or(0),
                (StructKind::Union, false) => sizes?.into_iter().min().unwrap_or(0),
                _ => sizes?.into_iter().sum(),
            }
        }
        _ => return None,
    })
}
