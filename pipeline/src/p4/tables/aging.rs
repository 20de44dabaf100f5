// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Entries that a program adds itself, and that go when they have not been used for a while.

use std::collections::HashMap;

use adit_p4_frontend::ir::{Chosen, Match};

use super::{EntryId, MatchKind, Table, TableError};

/// How long entries of each expire-time profile live, in seconds.
const PROFILES: [u64; 8] = [10, 30, 60, 120, 300, 43_200, 120, 120];

/// When entries go.
#[derive(Debug, Default)]
pub(super) struct Timers(HashMap<EntryId, Timer>);

#[derive(Clone, Copy, Debug)]
struct Timer {
    lifetime_us: u64,
    deadline_us: u64,
}

impl Timers {
    pub(super) fn forget(&mut self, id: EntryId) {
        self.0.remove(&id);
    }
}

fn lifetime_us(profile: u64) -> Option<u64> {
    let seconds = PROFILES.get(usize::try_from(profile).ok()?)?;
    Some(seconds * 1_000_000)
}

impl Table {
    /// Adds the key that was looked up last, with an action given by the end of its name. False if
    /// that cannot be done; an entry that is there already is as good as a new one.
    pub(in crate::p4) fn learn(
        &mut self,
        action: &str,
        arguments: Vec<Vec<u64>>,
        profile: u64,
        now_us: u64,
    ) -> bool {
        let dotted = format!(".{action}");
        let named = |name: &str| name == action || name.ends_with(&dotted);
        let found = self.spec.actions.iter().position(|a| named(&a.name));
        let (Some(at), Some(lifetime_us)) = (found, lifetime_us(profile)) else {
            return false;
        };
        if self.kinds.iter().any(|k| *k != MatchKind::Exact) {
            return false;
        }
        let keys: Vec<Match> = self
            .offsets
            .windows(2)
            .map(|ends| Match::Exact(self.key[ends[0]..ends[1]].to_vec()))
            .collect();
        let chosen = Chosen {
            action: at as u32,
            arguments,
        };
        match self.insert(&keys, 0, chosen) {
            Ok(id) => {
                let timer = Timer {
                    lifetime_us,
                    deadline_us: now_us.saturating_add(lifetime_us),
                };
                self.timers.0.insert(id, timer);
                true
            }
            Err(error) => matches!(error, TableError::Exists(_)),
        }
    }

    /// Gives an entry another lifetime, from now on.
    pub(in crate::p4) fn set_profile(&mut self, id: EntryId, profile: u64, now_us: u64) {
        if let (Some(timer), Some(lifetime_us)) = (self.timers.0.get_mut(&id), lifetime_us(profile))
        {
            timer.lifetime_us = lifetime_us;
            timer.deadline_us = now_us.saturating_add(lifetime_us);
        }
    }

    /// Lets an entry live its lifetime again.
    pub(in crate::p4) fn restart_timer(&mut self, id: EntryId, now_us: u64) {
        if let Some(timer) = self.timers.0.get_mut(&id) {
            timer.deadline_us = now_us.saturating_add(timer.lifetime_us);
        }
    }

    /// Removes the entries whose time is over; tells how many.
    pub fn expire(&mut self, now_us: u64) -> usize {
        let timers = self.timers.0.iter();
        let over: Vec<EntryId> = timers
            .filter(|(_, timer)| timer.deadline_us <= now_us)
            .map(|(id, _)| *id)
            .collect();
        for id in &over {
            // An entry with a timer is there, in a table that takes entries.
            let _ = self.remove(*id);
        }
        over.len()
    }
}
