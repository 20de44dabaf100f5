// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Errors of constraints.

/// An error in a constraint, with its position in the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {why}")]
pub struct ConstraintError {
    /// The line, from 1.
    pub line: usize,
    /// The column in bytes, from 1.
    pub column: usize,
    /// The reason.
    pub why: String,
}

impl ConstraintError {
    pub(super) fn at(text: &str, offset: usize, why: impl Into<String>) -> ConstraintError {
        let before = &text.as_bytes()[..offset.min(text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let start = before.iter().rposition(|byte| *byte == b'\n');
        ConstraintError {
            line,
            column: before.len() - start.map_or(0, |newline| newline + 1) + 1,
            why: why.into(),
        }
    }
}
