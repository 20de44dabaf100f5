// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The syntax of action sets in entries of a table with an action selector:
//!
//! ```text
//! TABLE FIELD=MATCH … action(ACTION(NAME=VALUE, …), weight=W, watch=PORT) …
//! ```
//!
//! An action of weight 1 that watches no port can be written alone; no action is called `action`,
//! which is a keyword of P4. The empty set is `action()`.

use adit_p4runtime::proto::v1::{
    action_profile_action::WatchKind, table_action::Type, ActionProfileAction,
    ActionProfileActionSet, TableAction,
};
use adit_p4runtime::watch::Watch;
use anyhow::Result;

use super::call;
use super::catalog::Table;
use super::profile::{read_share, shown_share};

/// Splits a text at the commas that are not in parentheses.
fn parts(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut parts) = (0i32, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[from..].trim());
    parts
}

/// Parses a set of one action, or the empty one.
pub(super) fn read(table: &Table, text: &str) -> Result<ActionProfileActionSet> {
    let (name, inner) = call::split(text)?;
    let (text, share) = match name {
        "action" if inner.is_empty() => return Ok(ActionProfileActionSet::default()),
        "action" => {
            let parts = parts(inner);
            (parts[0], read_share(&parts[1..])?)
        }
        _ => (text, (1, None)),
    };
    let given = call::read(&table.actions, text)?;
    let (weight, watched) = share;
    let one = ActionProfileAction {
        action: Some(given),
        weight,
        watch_kind: watched.map(WatchKind::WatchPort),
    };
    Ok(ActionProfileActionSet {
        action_profile_actions: vec![one],
        ..Default::default()
    })
}

/// Combines two actions, if they are sets.
pub(super) fn both(one: TableAction, other: TableAction) -> Option<TableAction> {
    match (one.r#type?, other.r#type?) {
        (Type::ActionProfileActionSet(mut one), Type::ActionProfileActionSet(other)) => {
            one.action_profile_actions
                .extend(other.action_profile_actions);
            Some(TableAction {
                r#type: Some(Type::ActionProfileActionSet(one)),
            })
        }
        _ => None,
    }
}

/// Formats a set.
pub(super) fn shown(table: &Table, set: &ActionProfileActionSet) -> String {
    let shown = set.action_profile_actions.iter().map(|one| {
        let action = one
            .action
            .as_ref()
            .map(|given| call::shown(&table.actions, given));
        let watched = one.watch_kind.as_ref().map(Watch::from);
        let share = shown_share(one.weight, watched);
        format!("action({}{share})", action.unwrap_or_default())
    });
    let shown: Vec<_> = shown.collect();
    match shown.is_empty() {
        true => "action()".to_owned(),
        false => shown.join(" "),
    }
}
