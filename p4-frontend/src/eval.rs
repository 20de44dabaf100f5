// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Values known at compile time, and the evaluation of operators on them.

use num_bigint::{BigInt, Sign};
use num_integer::Integer;
use num_traits::{One, Signed, ToPrimitive, Zero};

use crate::lexer::Name;
use crate::syntax::ast::{BinaryOp, UnaryOp};
use crate::types::{DefId, MAX_WIDTH};

/// The maximum length of a concatenated string in bytes.
const MAX_TEXT: usize = 64 << 10;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Int(BigInt),
    Bool(bool),
    Str(String),
    Error(Name),
    Enum(DefId, usize),
    List(Vec<Value>),
    Record(Vec<(Name, Value)>),
}

impl Value {
    /// The number of values, including nested ones.
    pub(crate) fn parts(&self) -> usize {
        1 + match self {
            Value::List(items) => items.iter().map(Value::parts).sum(),
            Value::Record(fields) => fields.iter().map(|f| f.1.parts()).sum(),
            Value::Int(_) | Value::Bool(_) | Value::Str(_) | Value::Error(_) | Value::Enum(..) => 0,
        }
    }

    pub(crate) fn int(&self) -> Option<&BigInt> {
        match self {
            Value::Int(value) => Some(value),
            _ => None,
        }
    }
}

/// The value wrapped to an integer of that width and signedness.
pub(crate) fn wrap(value: &BigInt, (width, signed): (u32, bool)) -> BigInt {
    let modulus = BigInt::one() << width;
    let value = value.mod_floor(&modulus);
    if signed && width > 0 && value.bit(u64::from(width) - 1) {
        value - modulus
    } else {
        value
    }
}

/// Returns whether an integer of that width and signedness can represent the value.
pub(crate) fn fits(value: &BigInt, shape: (u32, bool)) -> bool {
    wrap(value, shape) == *value
}

/// Evaluates a unary operator; `shape` is the operand's width and signedness, if it has a width.
pub(crate) fn unary(op: UnaryOp, value: &Value, shape: Option<(u32, bool)>) -> Option<Value> {
    let wrapped = |value: BigInt| match shape {
        Some(shape) => Value::Int(wrap(&value, shape)),
        None => Value::Int(value),
    };
    Some(match (op, value) {
        (UnaryOp::Not, Value::Bool(value)) => Value::Bool(!value),
        (UnaryOp::Complement, Value::Int(value)) => wrapped(-value - 1),
        (UnaryOp::Minus, Value::Int(value)) => wrapped(-value),
        (UnaryOp::Plus, Value::Int(value)) => Value::Int(value.clone()),
        _ => return None,
    })
}

/// Evaluates a binary operator. `left` and `right` are the operands' widths and signedness, if any.
pub(crate) fn binary(
    op: BinaryOp,
    a: &Value,
    b: &Value,
    left: Option<(u32, bool)>,
    right: Option<(u32, bool)>,
) -> Result<Value, String> {
    let wrapped = |value: BigInt| match left {
        Some(shape) => Value::Int(wrap(&value, shape)),
        None => Value::Int(value),
    };
    let bad = || format!("`{}` has no value here", op.symbol());
    if op == BinaryOp::Eq || op == BinaryOp::Ne {
        return Ok(Value::Bool((a == b) == (op == BinaryOp::Eq)));
    }
    let (a, b) = match (a, b) {
        (Value::Str(a), Value::Str(b)) if op == BinaryOp::Concat => {
            return match a.len() + b.len() > MAX_TEXT {
                true => Err(format!("this text has more than {MAX_TEXT} bytes")),
                false => Ok(Value::Str(format!("{a}{b}"))),
            }
        }
        (Value::Int(a), Value::Int(b)) => (a, b),
        (Value::Bool(a), Value::Bool(b)) => {
            return match op {
                BinaryOp::And => Ok(Value::Bool(*a && *b)),
                BinaryOp::Or => Ok(Value::Bool(*a || *b)),
                _ => Err(bad()),
            }
        }
        _ => return Err(bad()),
    };
    Ok(match op {
        BinaryOp::Add => wrapped(a + b),
        BinaryOp::Sub => wrapped(a - b),
        BinaryOp::Mul => wrapped(limited(a * b)?),
        BinaryOp::Div | BinaryOp::Mod if b.is_zero() => return Err("division by zero".to_owned()),
        BinaryOp::Div | BinaryOp::Mod if a.is_negative() || b.is_negative() => {
            return Err("division of negative numbers is not defined".to_owned())
        }
        BinaryOp::Div => wrapped(a / b),
        BinaryOp::Mod => wrapped(a % b),
        BinaryOp::AddSat => Value::Int(saturate(a + b, left.ok_or_else(bad)?)),
        BinaryOp::SubSat => Value::Int(saturate(a - b, left.ok_or_else(bad)?)),
        BinaryOp::Shl | BinaryOp::Shr if b.is_negative() => {
            return Err("a shift by a negative number is not defined".to_owned())
        }
        BinaryOp::Shl => match (b.to_u32(), left) {
            (Some(n), Some((width, _))) if n >= width => wrapped(BigInt::zero()),
            (None, Some(_)) => wrapped(BigInt::zero()),
            (Some(n), _) if n <= MAX_WIDTH => wrapped(limited(a << n)?),
            _ => return Err("this shift makes a number too large".to_owned()),
        },
        BinaryOp::Shr => match b.to_u32() {
            Some(n) => wrapped(a >> n),
            None if a.is_negative() => Value::Int(-BigInt::one()),
            None => Value::Int(BigInt::zero()),
        },
        BinaryOp::BitAnd => wrapped(a & b),
        BinaryOp::BitOr => wrapped(a | b),
        BinaryOp::BitXor => wrapped(a ^ b),
        BinaryOp::Concat => {
            let ((wa, signed), (wb, _)) = left.zip(right).ok_or_else(bad)?;
            let low = wrap(b, (wb, false));
            Value::Int(wrap(&((a << wb) | low), (wa + wb, signed)))
        }
        BinaryOp::Lt => Value::Bool(a < b),
        BinaryOp::Le => Value::Bool(a <= b),
        BinaryOp::Gt => Value::Bool(a > b),
        BinaryOp::Ge => Value::Bool(a >= b),
        _ => return Err(bad()),
    })
}

/// Rejects numbers that no type can represent, to bound the cost of operations on them.
fn limited(value: BigInt) -> Result<BigInt, String> {
    match value.bits() > 2 * u64::from(MAX_WIDTH) {
        true => Err("this number is too large".to_owned()),
        false => Ok(value),
    }
}

fn saturate(value: BigInt, (width, signed): (u32, bool)) -> BigInt {
    let one = BigInt::one();
    let (low, high) = match signed {
        true => {
            let half = &one << width.saturating_sub(1);
            (-half.clone(), half - &one)
        }
        false => (BigInt::zero(), (&one << width) - &one),
    };
    value.clamp(low, high)
}

/// Bits `high` to `low` of a number.
pub(crate) fn slice(value: &BigInt, high: u32, low: u32) -> BigInt {
    wrap(&(value >> low), (high - low + 1, false))
}

/// The limbs of a number of that width, the least significant first; at least one.
pub(crate) fn limbs(value: &BigInt, width: u32) -> Vec<u64> {
    let (sign, mut limbs) = wrap(value, (width, false)).to_u64_digits();
    debug_assert_ne!(sign, Sign::Minus);
    limbs.resize((width as usize).div_ceil(64).max(1), 0);
    limbs
}
