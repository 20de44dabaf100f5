// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Values known at compile time, as limbs.

use num_bigint::BigInt;
use num_traits::ToPrimitive;

use super::{Lower, Result};
use crate::check::{self, DefKind};
use crate::eval::{limbs, Value};
use crate::ir::{Constant, Layout, Slot};
use crate::source::Span;
use crate::syntax::ast::Expr;
use crate::types::TypeId;

impl Lower<'_, '_> {
    /// The value of an expression, if it is known at compile time.
    pub(super) fn known(&mut self, expr: &Expr) -> Result<Option<Value>> {
        match check::value(&self.info, &self.scope.known, expr) {
            Ok(value) => Ok(value),
            Err(why) => self.fail(expr.span, why),
        }
    }

    /// The limbs of a value of a simple type; `None` for composite types.
    pub(super) fn value_limbs(&self, value: &Value, layout: &Layout) -> Option<Vec<u64>> {
        Some(match (value, layout) {
            (Value::Int(value), Layout::Bits(width, _)) => limbs(value, *width),
            (Value::Int(value), Layout::Bool) => vec![u64::from(*value != BigInt::from(0))],
            (Value::Bool(value), Layout::Bool | Layout::Bits(..)) => vec![u64::from(*value)],
            (Value::Enum(_, at), Layout::Enum(_)) => vec![*at as u64],
            (Value::Error(name), Layout::Error) => {
                let at = self.info.errors.iter().position(|e| e == name)?;
                vec![at as u64]
            }
            _ => return None,
        })
    }

    /// The limbs of an expression of a simple type that must be known at compile time.
    pub(super) fn known_limbs(&mut self, expr: &Expr, ty: TypeId) -> Result<Vec<u64>> {
        let layout = self.layout(ty, expr.span)?;
        let value = self.known(expr)?;
        match value.and_then(|v| self.value_limbs(&v, &layout)) {
            Some(limbs) => Ok(limbs),
            None => self.fail(
                expr.span,
                "the compiler has to know this value, and does not",
            ),
        }
    }

    /// The slot of a value of a simple type.
    pub(super) fn value_slot(&mut self, value: &Value, layout: &Layout) -> Option<Slot> {
        let limbs = self.value_limbs(value, layout)?;
        Some(self.constant_limbs(limbs))
    }

    /// A value in the form that engines read: arguments of constructors, properties of tables.
    pub(super) fn engine_constant(&mut self, value: &Value, span: Span) -> Result<Constant> {
        Ok(match value {
            Value::Int(value) => {
                let cut = value & BigInt::from(u128::MAX);
                Constant::Int(cut.to_u128().unwrap_or(0))
            }
            Value::Bool(value) => Constant::Bool(*value),
            Value::Str(text) => Constant::Text(text.clone()),
            Value::Error(name) => Constant::Enum(name.to_string()),
            Value::Enum(def, at) => match &self.def(*def).kind {
                DefKind::Enum(members, _) => Constant::Enum(members[*at].to_string()),
                _ => return self.unsupported(span, "this value"),
            },
            Value::List(items) => {
                let items: Result<Vec<_>> = items
                    .iter()
                    .map(|i| self.engine_constant(i, span))
                    .collect();
                Constant::List(items?)
            }
            Value::Record(fields) => {
                let items: Result<Vec<_>> = fields
                    .iter()
                    .map(|f| self.engine_constant(&f.1, span))
                    .collect();
                Constant::List(items?)
            }
        })
    }
}
