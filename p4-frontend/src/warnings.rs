// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Kinds of warnings, and which of them are reported.
//!
//! Names are those of the public compiler where it warns of the same. A kind is switched off for
//! a program by an option, or for a declaration and all in it by `@noWarn("name")`.

use std::collections::BTreeMap;

/// A kind of warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Warning {
    /// `#warning`.
    Preprocessor,
    /// A constant that its type does not hold.
    Overflow,
    /// A negative constant for an unsigned type; a label that its mask cannot match.
    Mismatch,
    /// Something declared that nothing uses.
    Unused,
    /// A parameter that nothing uses. What is said of `Unused` counts for it too.
    UnusedParameter,
    /// A parser state without a transition; a transition that depends on nothing.
    ParserTransition,
    /// Code, a state or a case that nothing gets to.
    Unreachable,
    /// A field that is read while its header is not valid.
    InvalidHeader,
    /// A variable that is read before it is written.
    UninitializedUse,
    /// A label without effect at the end of a `switch`.
    Missing,
    /// An older form of something.
    Deprecated,
}

impl Warning {
    /// Every kind.
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

    /// The name that options and annotations have for it.
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

    /// The kind that this one is a part of.
    pub(crate) fn whole(self) -> Option<Warning> {
        (self == Warning::UnusedParameter).then_some(Warning::Unused)
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Warning> {
        Warning::ALL.into_iter().find(|w| w.name() == name)
    }
}

/// What becomes of a kind of warning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// It is not reported.
    Disable,
    /// It is reported.
    #[default]
    Warn,
    /// It is an error: the program is refused.
    Error,
}

/// What becomes of each kind of warning; reported if nothing else is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    all: Action,
    each: BTreeMap<Warning, Action>,
}

impl Actions {
    /// Sets what becomes of every kind.
    pub fn set_all(&mut self, action: Action) {
        self.all = action;
        self.each.clear();
    }

    /// Sets what becomes of one kind.
    pub fn set(&mut self, warning: Warning, action: Action) {
        self.each.insert(warning, action);
    }

    /// What becomes of a kind.
    pub fn of(&self, warning: Warning) -> Action {
        let own = self.each.get(&warning);
        let whole = || warning.whole().and_then(|whole| self.each.get(&whole));
        own.or_else(whole).copied().unwrap_or(self.all)
    }
}
