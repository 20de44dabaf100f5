// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The error of a construct that the engine does not support.

/// A construct of a program that the engine does not support.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: not supported: {what}")]
pub struct Unsupported {
    /// The source location: file, line and column.
    pub place: String,
    /// The construct.
    pub what: String,
}
