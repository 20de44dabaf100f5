// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The syntax of actions: `NAME(NAME=VALUE, …)`.

use adit_p4runtime::proto::v1::Action as ActionMessage;
use anyhow::{Context, Result};

use super::catalog::{find, Action};

/// The parts that a line must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    Action,
    /// Only the key matters, which identifies the entry.
    Key,
}

/// Splits a text into the name and the text between the parentheses after it.
pub(super) fn split(text: &str) -> Result<(&str, &str)> {
    let Some((name, rest)) = text.split_once('(') else {
        return Ok((text, ""));
    };
    let inner = rest.trim_end().strip_suffix(')');
    let inner = inner.with_context(|| format!("`{text}` goes on after its `)`"))?;
    Ok((name.trim(), inner.trim()))
}

/// Parses an action with its arguments.
pub(super) fn read(actions: &[Action], text: &str) -> Result<ActionMessage> {
    read_checked(actions, text, |_| Ok(()))
}

/// Parses an action as [`read`] does, if `check` accepts it.
pub(super) fn read_checked(
    actions: &[Action],
    text: &str,
    check: impl FnOnce(&Action) -> Result<()>,
) -> Result<ActionMessage> {
    let (name, arguments) = split(text)?;
    let action = find(actions.iter(), "action", "it", name)?;
    check(action)?;
    action
        .read(arguments)
        .with_context(|| format!("`{text}`: the action is {}", action.signature()))
}

/// Formats an action; an unknown one as its id.
pub(super) fn shown(actions: &[Action], given: &ActionMessage) -> String {
    match actions.iter().find(|a| a.id == given.action_id) {
        Some(action) => action.show(given),
        None => given.action_id.to_string(),
    }
}
