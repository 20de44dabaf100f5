// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Constraints on entries: the language of `@entry_restriction` and `@action_restriction`
//! (p4-constraints, "language specification"). Pure: a constraint is parsed and type-checked once,
//! and evaluated for each entry that is written. Programs are untrusted: text length, nesting depth
//! and numbers are bounded.
//!
//! ```
//! use adit_p4runtime::constraints::{Constraint, Entry, Field, Kind, Part, Scope};
//! use num_bigint::BigInt;
//!
//! struct Vlan(u32);
//! impl Entry for Vlan {
//!     fn part(&self, _field: usize, _part: Part) -> BigInt {
//!         self.0.into()
//!     }
//!     fn priority(&self) -> BigInt {
//!         0.into()
//!     }
//! }
//!
//! let scope = Scope {
//!     fields: vec![Field { name: "vlan_id".into(), kind: Kind::Exact, width: 12 }],
//!     has_priority: true,
//! };
//! let reserved = Constraint::new("vlan_id != 0 && vlan_id != 4095;", &scope).unwrap();
//! assert_eq!(reserved.violated(&Vlan(7)), None);
//! let violation = reserved.violated(&Vlan(4095)).unwrap();
//! assert_eq!(violation, "vlan_id != 0 && vlan_id != 4095 (vlan_id is 0xfff)");
//! ```

mod error;
mod evaluate;
mod lexer;
mod scope;
mod syntax;
mod typing;

pub use error::ConstraintError;
pub use evaluate::Entry;
pub use scope::{Field, Kind, Scope};
pub use typing::Part;
use typing::Test;

/// The maximum size of a constraint in bytes.
const MAX_TEXT: usize = 64 << 10;
/// The maximum length of a clause in a message.
const MAX_SHOWN: usize = 200;

/// A parsed and type-checked constraint.
#[derive(Clone, Debug)]
pub struct Constraint {
    /// The clauses between `;`, each as shown in messages and as evaluated.
    clauses: Vec<(String, Test)>,
    scope: Scope,
}

impl Constraint {
    /// Parses and checks a constraint.
    ///
    /// # Errors
    /// When it is too long or malformed, uses names that are not in the scope, or compares
    /// expressions without a common type.
    pub fn new(text: &str, scope: &Scope) -> Result<Constraint, ConstraintError> {
        if text.len() > MAX_TEXT {
            let why = format!("{} bytes: {MAX_TEXT} are the most", text.len());
            return Err(ConstraintError::at(text, 0, why));
        }
        let clauses = syntax::parse(text)?;
        let checked = clauses.into_iter().map(|clause| {
            let shown = lexer::shown(&text[clause.span.clone()], MAX_SHOWN);
            let test = typing::check(&clause, scope);
            let test = test.map_err(|(offset, why)| ConstraintError::at(text, offset, why))?;
            Ok((shown, test))
        });
        Ok(Constraint {
            clauses: checked.collect::<Result<_, _>>()?,
            scope: scope.clone(),
        })
    }

    /// Returns the first clause that an entry violates, with the values that the clause reads.
    pub fn violated(&self, entry: &dyn Entry) -> Option<String> {
        let mut clauses = self.clauses.iter();
        let (shown, test) = clauses.find(|(_, test)| !evaluate::holds(test, entry))?;
        let values = evaluate::values(test, &self.scope, entry);
        Some(match values.is_empty() {
            true => shown.clone(),
            false => format!("{shown} ({values})"),
        })
    }
}

#[cfg(test)]
mod tests;
