// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is wrong with a change of an action profile.

/// What is wrong with a change of an action profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// There is one already.
    #[error("the {what} {id} of `{profile}` is there already")]
    Exists {
        /// The profile.
        profile: String,
        /// A member or a group.
        what: &'static str,
        /// Its id.
        id: u32,
    },
    /// There is none.
    #[error("`{profile}` has no {what} {id}")]
    Unknown {
        /// The profile.
        profile: String,
        /// A member or a group.
        what: &'static str,
        /// Its id.
        id: u32,
    },
    /// Something still uses it.
    #[error("the {what} {id} of `{profile}` is still used")]
    Used {
        /// The profile.
        profile: String,
        /// A member or a group.
        what: &'static str,
        /// Its id.
        id: u32,
    },
    /// There is no room.
    #[error("`{profile}` has room for {size} {what}")]
    Full {
        /// The profile.
        profile: String,
        /// Members, groups or actions of sets.
        what: &'static str,
        /// How many it has room for.
        size: u64,
    },
    /// Sets beside members and groups.
    #[error("`{profile}` has {has}: its tables have either sets of actions or members and groups")]
    Mixed {
        /// The profile.
        profile: String,
        /// What it has.
        has: &'static str,
    },
    /// The action is none of its tables'.
    #[error("`{action}` is no action of the tables of `{profile}`")]
    Action {
        /// The profile.
        profile: String,
        /// The action.
        action: String,
    },
    /// An action's arguments do not fit.
    #[error("`{action}` takes {expected}, not {given}")]
    Arguments {
        /// The action.
        action: String,
        /// What it takes.
        expected: String,
        /// What was given.
        given: String,
    },
    /// A group cannot be like that.
    #[error("the group {group} of `{profile}`: {why}")]
    Group {
        /// The profile.
        profile: String,
        /// The group.
        group: u32,
        /// What is wrong.
        why: String,
    },
    /// A set of actions cannot be like that.
    #[error("a set of actions of `{profile}`: {why}")]
    Set {
        /// The profile.
        profile: String,
        /// What is wrong.
        why: String,
    },
    /// It has no groups.
    #[error("`{0}` is an action profile: only action selectors have groups")]
    NoGroups(String),
}
