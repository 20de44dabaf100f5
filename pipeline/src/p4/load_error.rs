// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reasons why a program cannot be loaded.

use super::tables::TableError;
use super::unsupported::Unsupported;

/// Reasons why a program cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// A `main` that the engine cannot run.
    #[error("{place}: {error}")]
    Main {
        /// The source location: file, line and column.
        place: String,
        /// The reason.
        error: MainError,
    },
    /// A construct that the engine does not support.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// A table that cannot be created.
    #[error("{place}: {error}")]
    Table {
        /// The source location: file, line and column.
        place: String,
        /// The reason.
        error: TableError,
    },
}

/// Reasons why a program's `main` cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MainError {
    /// An architecture that the engine does not support.
    #[error("the program is for `{0}`: the engine has `PNA_NIC` and `V1Switch`")]
    Package(String),
    /// A package of that name with other blocks.
    #[error("this `{package}` has {given} blocks: the architecture's has {wanted}")]
    Blocks {
        /// The package.
        package: String,
        /// The number of blocks it has.
        given: usize,
        /// The number of blocks it should have.
        wanted: &'static str,
    },
    /// A block that is missing, or has other parameters than in the architecture.
    #[error("the block `{0}` is not as its architecture has it")]
    Block(String),
}
