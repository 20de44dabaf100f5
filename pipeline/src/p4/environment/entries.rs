// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Execution of calls that add entries and change their lifetimes.

use std::sync::atomic::Ordering::Relaxed;

use adit_p4_frontend::ir::{limbs_of, Chosen};

use super::Environment;
use crate::p4::externs::{EntryCall, LifetimeOperand, Operand};
use crate::p4::tables::{Learn, Lifetime};

impl Environment<'_> {
    /// Executes a call that concerns the table applied last.
    pub(super) fn entry(&mut self, call: &EntryCall, frame: &mut [u64]) {
        match call {
            EntryCall::Add {
                condition,
                action,
                arguments,
                lifetime,
                result,
                done,
            } => {
                let wanted = condition.as_ref().is_none_or(|c| c.get(frame) != 0);
                let added = wanted && self.learn(action, arguments, lifetime.get(frame), frame);
                result.set(frame, done[usize::from(added)]);
            }
            EntryCall::AllocateFlowId(result) => {
                let last = self.state.flow_id.fetch_add(1, Relaxed);
                result.set(frame, last.wrapping_add(1));
            }
            EntryCall::SetExpireTime {
                condition,
                lifetime,
            } => {
                if condition.as_ref().is_none_or(|c| c.get(frame) != 0) {
                    self.set_lifetime(lifetime.get(frame));
                }
            }
            EntryCall::UpdateExpireInfo {
                restart,
                set,
                profile,
            } => match (restart.get(frame), set.get(frame)) {
                (0, _) => {}
                (_, 0) => self.restart_timer(),
                _ => self.set_lifetime(Lifetime::Profile(profile.get(frame))),
            },
            EntryCall::RestartTimer => self.restart_timer(),
        }
    }

    fn set_lifetime(&mut self, lifetime: Lifetime) {
        if let Some((table, Some(entry))) = self.local.applied.get() {
            self.state.tables[table].set_lifetime(entry, lifetime, self.local.now_ns);
        }
    }

    fn restart_timer(&mut self) {
        if let Some((table, Some(entry))) = self.local.applied.get() {
            self.state.tables[table].restart_timer(entry, self.local.now_ns);
        }
    }

    /// Adds the key that was looked up last, if its table learns and missed.
    fn learn(
        &mut self,
        action: &str,
        arguments: &Operand,
        lifetime: Lifetime,
        frame: &[u64],
    ) -> bool {
        let Some((table, None)) = self.local.applied.get() else {
            return false;
        };
        let table = &self.state.tables[table];
        let Some(at) = table.action_named(action).filter(|_| table.learns()) else {
            return false;
        };
        let value = arguments.value(frame);
        let chosen = || {
            let arguments = arguments.flat.leaves.iter().map(|leaf| {
                let limbs = limbs_of(leaf.width) as usize;
                value[leaf.offset as usize..][..limbs].to_vec()
            });
            Chosen {
                action: at,
                arguments: arguments.collect(),
            }
        };
        let (key, now) = (self.local.key_of(table), self.local.now_ns);
        table.learn(key, chosen, lifetime, now) == Learn::Done
    }
}

impl LifetimeOperand {
    fn get(&self, frame: &[u64]) -> Lifetime {
        match self {
            LifetimeOperand::Profile(profile) => Lifetime::Profile(profile.get(frame)),
            LifetimeOperand::Seconds(seconds) => Lifetime::Seconds(seconds.get(frame)),
        }
    }
}
