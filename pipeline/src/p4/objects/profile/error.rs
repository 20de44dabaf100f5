// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Errors of changes to an action profile.

/// An error of a change to an action profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// The id exists already.
    #[error("the {what} {id} of `{profile}` is there already")]
    Exists {
        /// The profile.
        profile: String,
        /// A member or a group.
        what: &'static str,
        /// Its id.
        id: u32,
    },
    /// The id does not exist.
    #[error("`{profile}` has no {what} {id}")]
    Unknown {
        /// The profile.
        profile: String,
        /// A member or a group.
        what: &'static str,
        /// Its id.
        id: u32,
    },
    /// The member or group is still in use.
    #[error("the {what} {id} of `{profile}` is still used")]
    Used {
        /// The profile.
        profile: String,
        /// A member or a group.
        what: &'static str,
        /// Its id.
        id: u32,
    },
    /// The maximum number is reached.
    #[error("`{profile}` has room for {size} {what}")]
    Full {
        /// The profile.
        profile: String,
        /// Members, groups or actions of sets.
        what: &'static str,
        /// The maximum number.
        size: u64,
    },
    /// A mix of action sets with members and groups.
    #[error("`{profile}` has {has}: its tables have either sets of actions or members and groups")]
    Mixed {
        /// The profile.
        profile: String,
        /// The kind of objects that it has.
        has: &'static str,
    },
    /// An action that none of its tables has.
    #[error("`{action}` is no action of the tables of `{profile}`")]
    Action {
        /// The profile.
        profile: String,
        /// The action.
        action: String,
    },
    /// Arguments that do not match the action.
    #[error("`{action}` takes {expected}, not {given}")]
    Arguments {
        /// The action.
        action: String,
        /// The expected arguments.
        expected: String,
        /// The given arguments.
        given: String,
    },
    /// An invalid group.
    #[error("the group {group} of `{profile}`: {why}")]
    Group {
        /// The profile.
        profile: String,
        /// The group.
        group: u32,
        /// The reason.
        why: String,
    },
    /// An invalid set of actions.
    #[error("a set of actions of `{profile}`: {why}")]
    Set {
        /// The profile.
        profile: String,
        /// The reason.
        why: String,
    },
    /// The profile has no groups.
    #[error("`{0}` is an action profile: only action selectors have groups")]
    NoGroups(String),
}
