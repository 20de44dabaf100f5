// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Errors of accesses to objects by control planes.

/// An index beyond an object's end, or a value that does not fit into it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// The index is out of range.
    #[error("the index {index} is beyond the {size} elements")]
    Index {
        /// The index.
        index: u64,
        /// The number of elements.
        size: u64,
    },
    /// A peak rate below the committed rate.
    #[error("the peak rate {peak} is below the committed rate {committed}")]
    Rates {
        /// The committed rate.
        committed: u64,
        /// The peak rate.
        peak: u64,
    },
    /// The value has more bits than an element.
    #[error("the value does not fit into {0} bits")]
    Width(u32),
}

/// Members that a value set cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueSetError {
    /// More members than its size.
    #[error("the value set `{set}` has room for {size} members, not {given}")]
    Full {
        /// The value set.
        set: String,
        /// Its size.
        size: u64,
        /// The number of members given.
        given: usize,
    },
    /// A member with a number of fields other than the set's.
    #[error("a member of the value set `{set}` has {expected} fields, not {given}")]
    Fields {
        /// The value set.
        set: String,
        /// The set's number of fields.
        expected: usize,
        /// The number given.
        given: usize,
    },
}
