// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The names in scope of a constraint.

/// The match kind of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An exact match, or an action's parameter: a value.
    Exact,
    /// A value and a mask.
    Ternary,
    /// A value and a mask of all or no bits.
    Optional,
    /// A value and the length of its prefix.
    Lpm,
    /// The lowest and the highest value.
    Range,
}

/// A match field or parameter that constraints can name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in P4Info.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// Its width in bits.
    pub width: u32,
}

/// The names that a constraint can use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Match fields of a table, or parameters of an action.
    pub fields: Vec<Field>,
    /// `true` if `::priority` is available.
    pub has_priority: bool,
}
