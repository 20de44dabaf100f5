// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Parser value sets, which control planes populate.

use std::sync::Arc;

use adit_p4_frontend::ir::{self, limbs_of, Match};
use arc_swap::ArcSwap;

use super::ValueSetError;

/// A value set with its members.
#[derive(Debug)]
pub struct ValueSet {
    spec: ir::ValueSet,
    /// Replaced as a whole: packets do not block.
    members: ArcSwap<Vec<Vec<Match>>>,
}

impl ValueSet {
    pub(in crate::p4) fn new(spec: ir::ValueSet) -> ValueSet {
        ValueSet {
            spec,
            members: ArcSwap::default(),
        }
    }

    /// The control-plane name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// The program's declaration.
    pub fn spec(&self) -> &ir::ValueSet {
        &self.spec
    }

    /// The members: one match for each field.
    pub fn members(&self) -> Vec<Vec<Match>> {
        Vec::clone(&self.members.load())
    }

    /// Replaces all members: one match for each field.
    ///
    /// # Errors
    /// When they are more than the set's size, or one has another number of fields; then nothing is
    /// changed.
    pub fn set(&self, members: Vec<Vec<Match>>) -> Result<(), ValueSetError> {
        let name = || self.spec.name.clone();
        if members.len() as u64 > self.spec.size {
            return Err(ValueSetError::Full {
                set: name(),
                size: self.spec.size,
                given: members.len(),
            });
        }
        let expected = self.spec.keys.len();
        if let Some(member) = members.iter().find(|member| member.len() != expected) {
            return Err(ValueSetError::Fields {
                set: name(),
                expected,
                given: member.len(),
            });
        }
        self.members.store(Arc::new(members));
        Ok(())
    }

    /// Returns whether the values in the set's slots match a member.
    pub(in crate::p4) fn has(&self, frame: &[u64]) -> bool {
        self.members.load().iter().any(|member| {
            member
                .iter()
                .zip(&self.spec.keys)
                .all(|(wanted, (slot, width))| {
                    let value = &frame[*slot as usize..][..limbs_of(*width) as usize];
                    is_match(wanted, value)
                })
        })
    }
}

fn is_match(wanted: &Match, value: &[u64]) -> bool {
    // Missing limbs are 0.
    let limb = |of: &[u64], n: usize| of.get(n).copied().unwrap_or(0);
    let order = |of: &[u64]| {
        let longest = of.len().max(value.len());
        let pairs = (0..longest).rev().map(|n| limb(value, n).cmp(&limb(of, n)));
        pairs.fold(std::cmp::Ordering::Equal, |first, next| first.then(next))
    };
    match wanted {
        Match::Any => true,
        Match::Exact(exact) => order(exact).is_eq(),
        Match::Ternary(bits, mask) => {
            (0..value.len()).all(|n| (value[n] ^ limb(bits, n)) & limb(mask, n) == 0)
        }
        Match::Range(low, high) => order(low).is_ge() && order(high).is_le(),
    }
}
