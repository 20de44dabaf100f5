// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Type checking of constraints: resolves names to fields and reduces comparisons to those of
//! numbers.

use std::fmt;

use num_bigint::BigInt;

use super::scope::{Field, Kind, Scope};
use super::syntax::{Comparison, Expr, ExprKind};

/// A part of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The value.
    Value,
    /// The mask.
    Mask,
    /// The number of bits that are matched, from the most significant one.
    PrefixLength,
    /// The lowest value.
    Low,
    /// The highest value.
    High,
}

impl Part {
    /// Returns the name after `::`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Part::Value => "value",
            Part::Mask => "mask",
            Part::PrefixLength => "prefix_length",
            Part::Low => "low",
            Part::High => "high",
        }
    }
}

impl Kind {
    /// Returns the parts of a field of this kind.
    fn parts(self) -> &'static [Part] {
        match self {
            Kind::Exact => &[Part::Value],
            Kind::Ternary | Kind::Optional => &[Part::Value, Part::Mask],
            Kind::Lpm => &[Part::Value, Part::PrefixLength],
            Kind::Range => &[Part::Low, Part::High],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Exact => "exact",
            Kind::Ternary => "ternary",
            Kind::Optional => "optional",
            Kind::Lpm => "lpm",
            Kind::Range => "range",
        }
    }
}

/// A numeric expression.
#[derive(Clone, Debug)]
pub(super) enum Number {
    Constant(BigInt),
    Part(usize, Part),
    Priority,
    Negated(Box<Number>),
    /// A number truncated to that many bits, that is modulo 2 to the power of that.
    InBits(Box<Number>, u32),
}

/// A boolean expression.
#[derive(Clone, Debug)]
pub(super) enum Test {
    Bool(bool),
    Not(Box<Test>),
    All(Vec<Test>),
    Any(Vec<Test>),
    Implies(Box<Test>, Box<Test>),
    Same(Box<Test>, Box<Test>),
    Compare(Comparison, Number, Number),
}

/// A typed expression.
enum Typed {
    Test(Test),
    Int(Number),
    Bits(Number, u32),
    /// A field as a whole.
    Field(usize),
}

/// A type, for messages.
struct Type<'a>(&'a Typed, &'a Scope);

impl fmt::Display for Type<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Typed::Test(_) => f.write_str("bool"),
            Typed::Int(_) => f.write_str("int"),
            Typed::Bits(_, width) => write!(f, "bit<{width}>"),
            Typed::Field(n) => {
                let field = &self.1.fields[*n];
                write!(f, "{} bit<{}>", field.kind.name(), field.width)
            }
        }
    }
}

type Result<T> = std::result::Result<T, (usize, String)>;

/// Type-checks a clause, which has to be boolean.
pub(super) fn check(expr: &Expr, scope: &Scope) -> Result<Test> {
    match typed(expr, scope)? {
        Typed::Test(test) => Ok(test),
        other => Err((
            expr.span.start,
            format!("expected bool, found {}", Type(&other, scope)),
        )),
    }
}

fn tests(list: &[Expr], scope: &Scope) -> Result<Vec<Test>> {
    list.iter().map(|expr| check(expr, scope)).collect()
}

fn typed(expr: &Expr, scope: &Scope) -> Result<Typed> {
    let at = expr.span.start;
    Ok(match &expr.kind {
        ExprKind::Bool(value) => Typed::Test(Test::Bool(*value)),
        ExprKind::Number(value) => Typed::Int(Number::Constant(value.clone())),
        ExprKind::Key(name) => Typed::Field(find(name, at, scope)?),
        ExprKind::Attribute(name) if name == "priority" && scope.has_priority => {
            Typed::Int(Number::Priority)
        }
        ExprKind::Attribute(name) => {
            let known = match scope.has_priority {
                true => "priority",
                false => "none",
            };
            let why = format!("attribute `::{name}` does not exist; attributes: {known}");
            return Err((at, why));
        }
        ExprKind::Part(inner, name) => part(inner, name, scope)?,
        ExprKind::Not(inner) => Typed::Test(Test::Not(Box::new(check(inner, scope)?))),
        ExprKind::Negated(inner) => match typed(inner, scope)? {
            Typed::Int(Number::Constant(value)) => Typed::Int(Number::Constant(-value)),
            Typed::Int(number) => Typed::Int(Number::Negated(Box::new(number))),
            other => {
                let why = format!("`-` takes int, not {}", Type(&other, scope));
                return Err((at, why));
            }
        },
        ExprKind::All(list) => Typed::Test(Test::All(tests(list, scope)?)),
        ExprKind::Any(list) => Typed::Test(Test::Any(tests(list, scope)?)),
        ExprKind::Implies(if_, then) => {
            let (if_, then) = (check(if_, scope)?, check(then, scope)?);
            Typed::Test(Test::Implies(Box::new(if_), Box::new(then)))
        }
        ExprKind::Compare(comparison, left, right) => {
            let (left, right) = (typed(left, scope)?, typed(right, scope)?);
            let test = compare(*comparison, left, right, scope);
            Typed::Test(test.map_err(|why| (at, why))?)
        }
    })
}

fn find(name: &str, at: usize, scope: &Scope) -> Result<usize> {
    let found = scope.fields.iter().position(|field| field.name == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = scope.fields.iter().take(8).map(|f| &*f.name).collect();
        let known = match (names.is_empty(), scope.fields.len() - names.len()) {
            (true, _) => "none".to_owned(),
            (false, 0) => names.join(", "),
            (false, more) => format!("{} and {more} more", names.join(", ")),
        };
        (at, format!("key `{name}` does not exist; keys: {known}"))
    })
}

fn part(inner: &Expr, name: &str, scope: &Scope) -> Result<Typed> {
    let at = inner.span.start;
    let n = match typed(inner, scope)? {
        Typed::Field(n) => n,
        other => {
            let why = format!("{} has no `::{name}`: a key has", Type(&other, scope));
            return Err((at, why));
        }
    };
    let Field { kind, width, .. } = scope.fields[n];
    let part = kind.parts().iter().find(|part| part.name() == name);
    let Some(part) = part else {
        let parts: Vec<_> = kind
            .parts()
            .iter()
            .map(|p| format!("::{}", p.name()))
            .collect();
        let why = format!(
            "{} key `{}` has no `::{name}`: it has {}",
            kind.name(),
            scope.fields[n].name,
            parts.join(" and ")
        );
        return Err((at, why));
    };
    Ok(match part {
        Part::PrefixLength => Typed::Int(Number::Part(n, *part)),
        Part::Value | Part::Mask | Part::Low | Part::High => {
            Typed::Bits(Number::Part(n, *part), width)
        }
    })
}

/// Casts a number to that many bits; a constant has to fit.
fn in_bits(number: Number, width: u32) -> std::result::Result<Number, String> {
    if let Number::Constant(value) = &number {
        let most = BigInt::from(1) << width;
        let least = -(BigInt::from(1) << width.saturating_sub(1));
        if *value >= most || *value < least {
            return Err(format!("{value} does not fit into bit<{width}>"));
        }
    }
    Ok(Number::InBits(Box::new(number), width))
}

fn compare(
    comparison: Comparison,
    left: Typed,
    right: Typed,
    scope: &Scope,
) -> std::result::Result<Test, String> {
    let is_equality = matches!(comparison, Comparison::Equal | Comparison::Unequal);
    // An exact key stands for its value.
    let scalar = |typed: Typed| match typed {
        Typed::Field(n) if scope.fields[n].kind == Kind::Exact => {
            Typed::Bits(Number::Part(n, Part::Value), scope.fields[n].width)
        }
        other => other,
    };
    let (left, right) = (scalar(left), scalar(right));
    let none = format!(
        "{} and {} cannot be compared",
        Type(&left, scope),
        Type(&right, scope)
    );
    let equal = |test: Test| match comparison {
        Comparison::Unequal => Test::Not(Box::new(test)),
        _ => test,
    };
    match (left, right) {
        (Typed::Test(left), Typed::Test(right)) if is_equality => {
            Ok(equal(Test::Same(Box::new(left), Box::new(right))))
        }
        (Typed::Int(left), Typed::Int(right)) => Ok(Test::Compare(comparison, left, right)),
        (Typed::Bits(left, width), Typed::Int(right)) => {
            Ok(Test::Compare(comparison, left, in_bits(right, width)?))
        }
        (Typed::Int(left), Typed::Bits(right, width)) => {
            Ok(Test::Compare(comparison, in_bits(left, width)?, right))
        }
        (Typed::Bits(left, width), Typed::Bits(right, other)) if width == other => {
            Ok(Test::Compare(comparison, left, right))
        }
        (Typed::Field(n), Typed::Field(m)) if is_equality => {
            let (one, other) = (&scope.fields[n], &scope.fields[m]);
            if (one.kind, one.width) != (other.kind, other.width) {
                return Err(none);
            }
            let parts = one.kind.parts().iter().map(|part| {
                let (one, other) = (Number::Part(n, *part), Number::Part(m, *part));
                Test::Compare(Comparison::Equal, one, other)
            });
            Ok(equal(Test::All(parts.collect())))
        }
        (Typed::Field(n), Typed::Int(value)) | (Typed::Int(value), Typed::Field(n))
            if is_equality =>
        {
            let value = in_bits(value, scope.fields[n].width)?;
            Ok(equal(is_value(n, value, scope)))
        }
        (Typed::Field(n), Typed::Bits(value, width))
        | (Typed::Bits(value, width), Typed::Field(n))
            if is_equality && width == scope.fields[n].width =>
        {
            Ok(equal(is_value(n, value, scope)))
        }
        (Typed::Field(_), Typed::Int(_) | Typed::Bits(..))
        | (Typed::Int(_) | Typed::Bits(..), Typed::Field(_)) => Err(format!(
            "{none} so: a key that is not matched exact takes == and !=, its parts take all"
        )),
        (Typed::Test(_) | Typed::Bits(..) | Typed::Field(_), _) | (_, Typed::Test(_)) => Err(none),
    }
}

/// Builds the test that a field matches that value and no other.
fn is_value(n: usize, value: Number, scope: &Scope) -> Test {
    let field = &scope.fields[n];
    let is = |part, value| Test::Compare(Comparison::Equal, Number::Part(n, part), value);
    let all_ones = Number::Constant((BigInt::from(1) << field.width) - 1);
    Test::All(match field.kind {
        Kind::Exact => vec![is(Part::Value, value)],
        Kind::Ternary | Kind::Optional => vec![is(Part::Value, value), is(Part::Mask, all_ones)],
        Kind::Lpm => {
            let whole = Number::Constant(field.width.into());
            vec![is(Part::Value, value), is(Part::PrefixLength, whole)]
        }
        Kind::Range => vec![is(Part::Low, value.clone()), is(Part::High, value)],
    })
}
