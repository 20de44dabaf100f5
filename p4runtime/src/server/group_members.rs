// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The common parts of members of groups and actions of sets: weights, watch ports, and the limits of
//! their number.

use super::fault::{Fault, Result};
use crate::proto::config::{action_profile::SelectorSizeSemantics, ActionProfile};
use crate::watch::Watch;

/// Returns the port that a member or action watches.
pub(crate) fn watch_port<'a, K>(kind: &'a Option<K>) -> Result<Option<u32>>
where
    Watch<'a>: From<&'a K>,
{
    match kind {
        Some(kind) => Watch::from(kind)
            .port()
            .map_err(|error| Fault::of("watch_port", error)),
        None => Ok(None),
    }
}

/// Returns the weight of a member or action.
pub(crate) fn weight(given: i32) -> Result<u32> {
    let weight = u32::try_from(given).ok().filter(|weight| *weight > 0);
    weight.ok_or_else(|| Fault::invalid(format!("weight is {given}: it is above 0")))
}

/// Checks the size of a set or group against the limits in P4Info.
pub(crate) fn check_size(
    info: &ActionProfile,
    weights: impl ExactSizeIterator<Item = u32> + Clone,
) -> Result<()> {
    let most = match info.max_group_size {
        ..=0 => u64::MAX,
        most => most as u64,
    };
    let (size, what) = match &info.selector_size_semantics {
        Some(SelectorSizeSemantics::SumOfMembers(limits)) => {
            let most = limits.max_member_weight;
            let heavy = |weight: &u32| most > 0 && i64::from(*weight) > i64::from(most);
            if let Some(weight) = weights.clone().find(heavy) {
                return Err(Fault::invalid(format!(
                    "weight is {weight}: max_member_weight is {most}"
                )));
            }
            (weights.len() as u64, "the number of members")
        }
        _ => (weights.map(u64::from).sum(), "the sum of weights"),
    };
    match size > most {
        true => Err(Fault::invalid(format!(
            "the size, {what}, is {size}: max_group_size is {most}"
        ))),
        false => Ok(()),
    }
}
