// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Kinds of warnings, and the action for each of them.
//!
//! The names are those of p4c for the same warnings. A kind is disabled for a program by an option,
//! or for a declaration and everything in it by `@noWarn("name")`.

use std::collections::BTreeMap;

/// A kind of warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Warning {
    /// `#warning`.
    Preprocessor,
    /// A constant that its type cannot represent.
    Overflow,
    /// A negative constant for an unsigned type, a value with bits outside a mask, an empty range.
    Mismatch,
    /// An unused declaration.
    Unused,
    /// An unused parameter. The action for `Unused` applies to it too.
    UnusedParameter,
    /// A parser state without a transition.
    ParserTransition,
    /// Unreachable code, an unreachable state or case.
    Unreachable,
    /// A field that is accessed while its header is not valid.
    InvalidHeader,
    /// A variable that is read before it is written.
    UninitializedUse,
    /// A label without effect at the end of a `switch`.
    Missing,
    /// A deprecated form.
    Deprecated,
}

impl Warning {
    /// All kinds.
    pub const ALL: [Warning; 11] = [
        Warning::Preprocessor,
        Warning::Overflow,
        Warning::Mismatch,
        Warning::Unused,
        Warning::UnusedParameter,
        Warning::ParserTransition,
        Warning::Unreachable,
        Warning::InvalidHeader,
        Warning::UninitializedUse,
        Warning::Missing,
        Warning::Deprecated,
    ];

    /// The name in options and annotations.
    pub fn name(self) -> &'static str {
        match self {
            Warning::Preprocessor => "cpp",
            Warning::Overflow => "overflow",
            Warning::Mismatch => "mismatch",
            Warning::Unused => "unused",
            Warning::UnusedParameter => "unused-parameter",
            Warning::ParserTransition => "parser-transition",
            Warning::Unreachable => "unreachable",
            Warning::InvalidHeader => "invalid-header",
            Warning::UninitializedUse => "uninitialized-use",
            Warning::Missing => "missing",
            Warning::Deprecated => "deprecated",
        }
    }

    /// The kind of which this one is a part.
    pub(crate) fn whole(self) -> Option<Warning> {
        (self == Warning::UnusedParameter).then_some(Warning::Unused)
    }

    /// The kind with that name.
    pub fn from_name(name: &str) -> Option<Warning> {
        Warning::ALL.into_iter().find(|w| w.name() == name)
    }
}

/// The action for a kind of warning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Not reported.
    Disable,
    /// Reported.
    #[default]
    Warn,
    /// Reported as an error: the program is rejected.
    Error,
}

/// The action for each kind of warning; by default it is reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    all: Action,
    each: BTreeMap<Warning, Action>,
}

impl Actions {
    /// Sets the action for all kinds.
    pub fn set_all(&mut self, action: Action) {
        self.all = action;
        self.each.clear();
    }

    /// Sets the action for one kind.
    pub fn set(&mut self, warning: Warning, action: Action) {
        self.each.insert(warning, action);
    }

    /// The action for a kind.
    pub fn of(&self, warning: Warning) -> Action {
        let own = self.each.get(&warning);
        let whole = || warning.whole().and_then(|whole| self.each.get(&whole));
        own.or_else(whole).copied().unwrap_or(self.all)
    }
}
