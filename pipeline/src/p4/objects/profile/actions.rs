// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Actions of members as words, so that all of a group are in one allocation: a change of the group
//! copies them, and a packet finds its own next to them.

use adit_p4_frontend::ir::{limbs_of, ActionParameter, Chosen};

use super::ProfileError;

/// The form of a profile's actions: the action's index, then its arguments' limbs, padded to the
/// length of the longest.
pub(super) struct Forms {
    profile: String,
    /// The names and parameters.
    actions: Vec<(String, Vec<ActionParameter>)>,
    words: usize,
}

/// The action of a member, with the limbs of its arguments and padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::p4) struct MemberAction<'p> {
    /// The index among the profile's actions.
    pub(in crate::p4) action: u32,
    pub(in crate::p4) arguments: &'p [u64],
}

impl<'p> MemberAction<'p> {
    /// The action with these words.
    pub(super) fn of(words: &'p [u64]) -> Option<MemberAction<'p>> {
        let (action, arguments) = words.split_first()?;
        Some(MemberAction {
            action: *action as u32,
            arguments,
        })
    }
}

impl Forms {
    pub(super) fn new(profile: &str, actions: Vec<(String, Vec<ActionParameter>)>) -> Forms {
        let limbs = |parameters: &[ActionParameter]| -> u32 {
            parameters.iter().map(|p| limbs_of(p.width)).sum()
        };
        let longest = actions
            .iter()
            .map(|(_, parameters)| limbs(parameters))
            .max();
        Forms {
            profile: profile.to_owned(),
            actions,
            words: 1 + longest.unwrap_or(0) as usize,
        }
    }

    /// The number of words of each action.
    pub(super) fn words(&self) -> usize {
        self.words
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.actions.iter().map(|a| a.0.as_str())
    }

    /// Validates an action and converts it to words.
    pub(super) fn pack(&self, chosen: &Chosen) -> Result<Vec<u64>, ProfileError> {
        let Some((name, parameters)) = self.actions.get(chosen.action as usize) else {
            return Err(ProfileError::Action {
                profile: self.profile.clone(),
                action: chosen.action.to_string(),
            });
        };
        let wrong = |expected: String, given: String| ProfileError::Arguments {
            action: name.clone(),
            expected,
            given,
        };
        if chosen.arguments.len() != parameters.len() {
            let (takes, given) = (parameters.len(), chosen.arguments.len());
            return Err(wrong(format!("{takes} arguments"), given.to_string()));
        }
        let mut words = Vec::with_capacity(self.words);
        words.push(chosen.action.into());
        for (value, parameter) in chosen.arguments.iter().zip(parameters) {
            let limbs = limbs_of(parameter.width) as usize;
            let top = crate::p4::bits::top_mask(parameter.width);
            let high = value.iter().skip(limbs).any(|limb| *limb != 0);
            if high || value.get(limbs - 1).is_some_and(|limb| limb & !top != 0) {
                let expected = format!("{} bits for `{}`", parameter.width, parameter.name);
                return Err(wrong(expected, "more".to_owned()));
            }
            words.extend((0..limbs).map(|n| value.get(n).copied().unwrap_or(0)));
        }
        words.resize(self.words, 0);
        Ok(words)
    }

    /// The action of words that [`Forms::pack`] has made.
    pub(super) fn unpack(&self, words: &[u64]) -> Option<Chosen> {
        let MemberAction {
            action,
            mut arguments,
        } = MemberAction::of(words)?;
        let (_, parameters) = self.actions.get(action as usize)?;
        let mut values = Vec::with_capacity(parameters.len());
        for parameter in parameters {
            let (value, behind) = arguments.split_at_checked(limbs_of(parameter.width) as usize)?;
            values.push(value.to_vec());
            arguments = behind;
        }
        Some(Chosen {
            action,
            arguments: values,
        })
    }
}
