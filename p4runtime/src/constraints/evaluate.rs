// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Evaluation of constraints with the values of an entry.

use num_bigint::BigInt;

use super::scope::{Kind, Scope};
use super::syntax::Comparison;
use super::typing::{Number, Part, Test};

/// The values of an entry.
pub trait Entry {
    /// Returns a part of a field, by its index in [`Scope::fields`]. A field without a match
    /// matches anything: its mask or prefix length is 0.
    fn part(&self, field: usize, part: Part) -> BigInt;
    /// Returns the priority.
    fn priority(&self) -> BigInt;
}

/// The maximum number of values that a message shows.
const MAX_VALUES: usize = 4;

/// Returns whether an entry satisfies a test.
pub(super) fn holds(test: &Test, entry: &dyn Entry) -> bool {
    match test {
        Test::Bool(value) => *value,
        Test::Not(inner) => !holds(inner, entry),
        Test::All(list) => list.iter().all(|test| holds(test, entry)),
        Test::Any(list) => list.iter().any(|test| holds(test, entry)),
        Test::Implies(if_, then) => !holds(if_, entry) || holds(then, entry),
        Test::Same(left, right) => holds(left, entry) == holds(right, entry),
        Test::Compare(comparison, left, right) => {
            let (left, right) = (value(left, entry), value(right, entry));
            match comparison {
                Comparison::Equal => left == right,
                Comparison::Unequal => left != right,
                Comparison::Greater => left > right,
                Comparison::AtLeast => left >= right,
                Comparison::Less => left < right,
                Comparison::AtMost => left <= right,
            }
        }
    }
}

fn value(number: &Number, entry: &dyn Entry) -> BigInt {
    match number {
        Number::Constant(value) => value.clone(),
        Number::Part(field, part) => entry.part(*field, *part),
        Number::Priority => entry.priority(),
        Number::Negated(inner) => -value(inner, entry),
        Number::InBits(inner, width) => {
            let modulus = BigInt::from(1) << *width;
            let rest = value(inner, entry) % &modulus;
            match rest.sign() {
                num_bigint::Sign::Minus => rest + modulus,
                _ => rest,
            }
        }
    }
}

/// Formats the values that a test reads, for messages.
pub(super) fn values(test: &Test, scope: &Scope, entry: &dyn Entry) -> String {
    let mut parts = Vec::new();
    let mut has_priority = false;
    gather(test, &mut parts, &mut has_priority);
    let shown = parts.iter().map(|(field, part)| {
        let value = entry.part(*field, *part);
        let field = &scope.fields[*field];
        match (field.kind, part) {
            (Kind::Exact, _) => format!("{} is {value:#x}", field.name),
            (_, Part::PrefixLength) => format!("{}::prefix_length is {value}", field.name),
            (_, part) => format!("{}::{} is {value:#x}", field.name, part.name()),
        }
    });
    let priority = has_priority.then(|| format!("::priority is {}", entry.priority()));
    let all: Vec<String> = shown.chain(priority).take(MAX_VALUES).collect();
    all.join(", ")
}

/// Gathers the parts of fields that a test reads, each once.
fn gather(test: &Test, parts: &mut Vec<(usize, Part)>, has_priority: &mut bool) {
    match test {
        Test::Bool(_) => {}
        Test::Not(inner) => gather(inner, parts, has_priority),
        Test::All(list) | Test::Any(list) => {
            list.iter()
                .for_each(|test| gather(test, parts, has_priority));
        }
        Test::Implies(left, right) | Test::Same(left, right) => {
            gather(left, parts, has_priority);
            gather(right, parts, has_priority);
        }
        Test::Compare(_, left, right) => {
            for number in [left, right] {
                let mut number = number;
                while let Number::Negated(inner) | Number::InBits(inner, _) = number {
                    number = inner;
                }
                match number {
                    Number::Part(field, part) if !parts.contains(&(*field, *part)) => {
                        parts.push((*field, *part));
                    }
                    Number::Priority => *has_priority = true,
                    Number::Part(..) | Number::Constant(_) => {}
                    Number::Negated(_) | Number::InBits(..) => {}
                }
            }
        }
    }
}
