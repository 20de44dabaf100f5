// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is wrong with an entry or an operation on a table.

use crate::p4::externs::{ObjectError, ProfileError};

/// What is wrong with an entry or an operation on a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Not as many keys as the table has.
    #[error("the table `{table}` has {expected} keys, not {given}")]
    Keys {
        /// The table.
        table: String,
        /// How many it has.
        expected: usize,
        /// How many came.
        given: usize,
    },
    /// A kind of match that the key does not take.
    #[error("the key `{key}` is matched {kind}: it takes {takes}")]
    Kind {
        /// The key.
        key: String,
        /// How it is matched.
        kind: String,
        /// What it takes.
        takes: &'static str,
    },
    /// A value wider than its key or parameter.
    #[error("the value for `{name}` does not fit into {width} bits")]
    Width {
        /// The key or parameter.
        name: String,
        /// How wide it is.
        width: u32,
    },
    /// A range whose end comes before its beginning.
    #[error("the range for `{0}` ends before it begins")]
    Range(String),
    /// An action that entries cannot have.
    #[error("the table `{table}` has no action for this use: {action}")]
    Action {
        /// The table.
        table: String,
        /// The action.
        action: String,
    },
    /// Not as many arguments as the action has parameters.
    #[error("the action `{action}` has {expected} parameters, not {given}")]
    Arguments {
        /// The action.
        action: String,
        /// How many it has.
        expected: usize,
        /// How many came.
        given: usize,
    },
    /// The program's own entries or default action cannot be changed.
    #[error("the {what} of the table `{table}` are the program's own")]
    Constant {
        /// The table.
        table: String,
        /// What it is.
        what: &'static str,
    },
    /// The same key again.
    #[error("the table `{0}` has an entry with this key already")]
    Exists(String),
    /// No such entry.
    #[error("the table `{0}` has no such entry")]
    Unknown(String),
    /// No room.
    #[error("the table `{table}` is full: it has room for {size} entries")]
    Full {
        /// The table.
        table: String,
        /// Its size.
        size: usize,
    },
    /// A timeout that the table does not have.
    #[error("the table `{0}` has no idle timeouts: its property `support_timeout` is not true")]
    NoTimeout(String),
    /// Entries with actions of their own where a profile gives them, or the other way.
    #[error("the entries of the table `{table}` have {wanted}")]
    Indirect {
        /// The table.
        table: String,
        /// What they have.
        wanted: &'static str,
    },
    /// No direct counter.
    #[error("the table `{0}` has no direct counter")]
    NoCounter(String),
    /// No direct meter.
    #[error("the table `{0}` has no direct meter")]
    NoMeter(String),
    /// Rates that no meter has.
    #[error(transparent)]
    Meter(ObjectError),
    /// A member or group that cannot be used.
    #[error(transparent)]
    Profile(ProfileError),
    /// More than is kept for control planes.
    #[error("{given} bytes to keep with an entry of the table `{table}`, where there is room for {room}")]
    Opaque {
        /// The table.
        table: String,
        /// How many bytes came.
        given: usize,
        /// For how many there is room.
        room: usize,
    },
    /// Too many entries are still being read by packets: try again.
    #[error("the table `{0}` has no room for a change until packets at work are done")]
    Busy(String),
    /// A match that the engine does not have.
    #[error("the table `{table}` cannot be run: {why}")]
    Unsupported {
        /// The table.
        table: String,
        /// Why.
        why: String,
    },
}
