// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Errors of entries and table operations.

use crate::p4::objects::{ObjectError, ProfileError};

/// An error of an entry or a table operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// A number of keys other than the table's.
    #[error("the table `{table}` has {expected} keys, not {given}")]
    Keys {
        /// The table.
        table: String,
        /// The table's number of keys.
        expected: usize,
        /// The number given.
        given: usize,
    },
    /// A match that the key's kind does not allow.
    #[error("the key `{key}` is matched {kind}: it takes {takes}")]
    Kind {
        /// The key.
        key: String,
        /// Its match kind.
        kind: String,
        /// The matches it takes.
        takes: &'static str,
    },
    /// A value wider than its key or parameter.
    #[error("the value for `{name}` does not fit into {width} bits")]
    Width {
        /// The key or parameter.
        name: String,
        /// Its width in bits.
        width: u32,
    },
    /// A range whose end is before its beginning.
    #[error("the range for `{0}` ends before it begins")]
    Range(String),
    /// An action that is not allowed here.
    #[error("the table `{table}` has no action for this use: {action}")]
    Action {
        /// The table.
        table: String,
        /// The action.
        action: String,
    },
    /// A number of arguments other than the action's number of parameters.
    #[error("the action `{action}` has {expected} parameters, not {given}")]
    Arguments {
        /// The action.
        action: String,
        /// The action's number of parameters.
        expected: usize,
        /// The number given.
        given: usize,
    },
    /// The program's own entries or default action cannot be changed.
    #[error("the {what} of the table `{table}` are the program's own")]
    Constant {
        /// The table.
        table: String,
        /// The constant property.
        what: &'static str,
    },
    /// An entry with this key exists.
    #[error("the table `{0}` has an entry with this key already")]
    Exists(String),
    /// No such entry.
    #[error("the table `{0}` has no such entry")]
    Unknown(String),
    /// The table is full.
    #[error("the table `{table}` is full: it has room for {size} entries")]
    Full {
        /// The table.
        table: String,
        /// Its size.
        size: usize,
    },
    /// A timeout in a table without idle timeouts.
    #[error("the table `{0}` has no idle timeouts: its property `support_timeout` is not true")]
    NoTimeout(String),
    /// Direct actions in a table with a profile, or members in one without.
    #[error("the entries of the table `{table}` have {wanted}")]
    Indirect {
        /// The table.
        table: String,
        /// The actions that entries must have.
        wanted: &'static str,
    },
    /// No direct counter.
    #[error("the table `{0}` has no direct counter")]
    NoCounter(String),
    /// No direct meter.
    #[error("the table `{0}` has no direct meter")]
    NoMeter(String),
    /// Rates that a meter cannot have.
    #[error(transparent)]
    Meter(ObjectError),
    /// A member or group that cannot be used.
    #[error(transparent)]
    Profile(ProfileError),
    /// More opaque data than there is space for.
    #[error("{given} bytes to keep with an entry of the table `{table}`, where there is room for {room}")]
    Opaque {
        /// The table.
        table: String,
        /// The number of bytes given.
        given: usize,
        /// The number of bytes available.
        room: usize,
    },
    /// Too many retired entries are still being read by packets: try again.
    #[error("the table `{0}` has no room for a change until packets at work are done")]
    Busy(String),
    /// A declaration that the engine does not support.
    #[error("the table `{table}` cannot be run: {why}")]
    Unsupported {
        /// The table.
        table: String,
        /// The reason.
        why: String,
    },
}
