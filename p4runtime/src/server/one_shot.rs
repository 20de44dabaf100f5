// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One-shot programming of action selectors: an entry with an action set, which is a group with
//! members that clients do not number (P4Runtime 1.4, section 9.2.3).

use adit_p4_frontend::ir;
use adit_pipeline::p4::objects::SetAction;
use adit_pipeline::p4::tables::Table;

use super::fault::{Fault, Result};
use super::group_members::{check_size, watch_port, weight};
use super::names::Kind;
use super::pipeline::Pipeline;
use crate::bytes::from_limbs;
use crate::p4info::id_of;
use crate::proto::config::{action_profile::SelectorSizeSemantics, ActionProfile};
use crate::proto::v1::{
    self, action_profile_action::WatchKind, action_profile_action_set as modes, table_action,
};

impl Pipeline {
    /// Returns the P4Info of an action profile.
    pub(crate) fn profile_info(&self, id: u32) -> Result<&ActionProfile> {
        let mut profiles = self.p4info.action_profiles.iter();
        let found = profiles.find(|p| id_of(&p.preamble) == id);
        found.ok_or_else(|| self.unknown(Kind::Profile, id))
    }

    /// Converts the actions of a set.
    pub(crate) fn action_set(
        &self,
        table: &Table,
        given: &v1::ActionProfileActionSet,
    ) -> Result<Vec<SetAction>> {
        let profile = table.profile().and_then(|n| self.externs.get(n as usize));
        let info = self.profile_info(profile.copied().unwrap_or(0))?;
        check_modes(info, given)?;
        if given.group_action.is_some() {
            return Err(Fault::unimplemented(
                "group_action of an action profile action set is not supported",
            ));
        }
        let mut actions = Vec::with_capacity(given.action_profile_actions.len());
        for (n, given) in given.action_profile_actions.iter().enumerate() {
            let named = |fault: Fault| fault.within(&format!("action {} of the action set", n + 1));
            let action = given.action.as_ref();
            let action = action.ok_or_else(|| named(Fault::invalid("it is missing")))?;
            actions.push(SetAction {
                chosen: self.chosen(table.spec(), action).map_err(named)?,
                weight: weight(given.weight).map_err(named)?,
                watch_port: watch_port(&given.watch_kind).map_err(named)?,
            });
        }
        check_size(info, actions.iter().map(|action| action.weight))?;
        Ok(actions)
    }

    /// Converts a set for clients.
    pub(crate) fn shown_set(
        &self,
        table: &ir::Table,
        actions: &[SetAction],
    ) -> Option<table_action::Type> {
        let shown = actions.iter().map(|action| {
            Some(v1::ActionProfileAction {
                action: Some(self.shown_chosen(table, &action.chosen)?),
                weight: action.weight as i32,
                watch_kind: action
                    .watch_port
                    .map(|port| WatchKind::WatchPort(from_limbs(&[port.into()]))),
            })
        });
        Some(table_action::Type::ActionProfileActionSet(
            v1::ActionProfileActionSet {
                action_profile_actions: shown.collect::<Option<_>>()?,
                ..Default::default()
            },
        ))
    }
}

/// Checks a set's modes, which may only state what holds anyway: selectors pick by a hash, and
/// sizes count as P4Info specifies.
fn check_modes(info: &ActionProfile, given: &v1::ActionProfileActionSet) -> Result<()> {
    use modes::{ActionSelectionMode as Mode, SizeSemantics as Size};
    match Mode::try_from(given.action_selection_mode) {
        Ok(Mode::DefaultModeDeterminedByActionSelector | Mode::Hash) => {}
        Ok(Mode::Random) => {
            return Err(Fault::unimplemented(
                "action_selection_mode is RANDOM (2), which is not supported: an action selector \
                 picks by its HASH (1)",
            ))
        }
        Err(_) => {
            let mode = given.action_selection_mode;
            return Err(Fault::invalid(format!(
                "action_selection_mode is {mode}: it takes \
                 DEFAULT_MODE_DETERMINED_BY_ACTION_SELECTOR (0) or HASH (1)"
            )));
        }
    }
    let by_members = matches!(
        info.selector_size_semantics,
        Some(SelectorSizeSemantics::SumOfMembers(_))
    );
    match Size::try_from(given.size_semantics) {
        Ok(Size::DefaultSizeDeterminedByActionSelector) => Ok(()),
        Ok(size) if by_members == (size == Size::SumOfMembers) => Ok(()),
        Ok(_) => Err(Fault::unimplemented(
            "size_semantics is not the action selector's, which is the only one supported",
        )),
        Err(_) => Err(Fault::invalid(format!(
            "size_semantics is {}: it takes DEFAULT_SIZE_DETERMINED_BY_ACTION_SELECTOR (0), or the \
             action selector's",
            given.size_semantics
        ))),
    }
}
