// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Execution of calls that add entries and change their lifetimes.

use std::sync::atomic::Ordering::Relaxed;

use adit_p4_frontend::ir::{limbs_of, Chosen};

use super::Environment;
use crate::p4::externs::{EntryCall, Operand};
use crate::p4::tables::Learn;

impl Environment<'_> {
    /// Executes a call that concerns the table applied last.
    pub(super) fn entry(&mut self, call: &EntryCall, frame: &mut [u64]) {
        match call {
            EntryCall::Add {
                condition,
                action,
                arguments,
                profile,
                result,
                done,
            } => {
                let wanted = condition.as_ref().is_none_or(|c| c.get(frame) != 0);
                let added = wanted && self.learn(action, arguments, profile.get(frame), frame);
                result.set(frame, done[usize::from(added)]);
            }
            EntryCall::AllocateFlowId(result) => {
                let last = self.state.flow_id.fetch_add(1, Relaxed);
                result.set(frame, last.wrapping_add(1));
            }
            EntryCall::SetExpireTime { condition, profile } => {
                if condition.as_ref().is_none_or(|c| c.get(frame) != 0) {
                    self.set_profile(profile.get(frame));
                }
            }
            EntryCall::UpdateExpireInfo {
                restart,
                set,
                profile,
            } => match (restart.get(frame), set.get(frame)) {
                (0, _) => {}
                (_, 0) => self.restart_timer(),
                _ => self.set_profile(profile.get(frame)),
            },
            EntryCall::RestartTimer => self.restart_timer(),
        }
    }

    fn set_profile(&mut self, profile: u64) {
        if let Some((table, Some(entry))) = self.local.applied {
            self.state.tables[table].set_profile(entry, profile, self.local.now_ns);
        }
    }

    fn restart_timer(&mut self) {
        if let Some((table, Some(entry))) = self.local.applied {
            self.state.tables[table].restart_timer(entry, self.local.now_ns);
        }
    }

    /// Adds the key that was looked up last, if its table learns and missed.
    fn learn(&mut self, action: &str, arguments: &Operand, profile: u64, frame: &[u64]) -> bool {
        let Some((table, None)) = self.local.applied else {
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
        let (key, now) = (&self.local.key, self.local.now_ns);
        table.learn(key, chosen, profile, now) == Learn::Done
    }
}
