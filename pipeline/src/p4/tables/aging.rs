// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Entries that a program adds itself, and entries that have not been used for a while.

use std::sync::atomic::Ordering::Relaxed;

use adit_p4_frontend::ir::{Chosen, Match};

use super::{Action, Entry, EntryId, EntryState, MatchKind, Origin, Table, TableError};

/// How long entries of each expire-time profile live, in seconds.
pub const PROFILES_S: [u64; 8] = [10, 30, 60, 120, 300, 43_200, 120, 120];

/// What came of learning an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learn {
    /// There is an entry now: this one, or one that came before it.
    Done,
    /// There is none: no room, or the table does not learn that.
    NotDone,
}

/// Entries whose time is over.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expired {
    /// How many learnt ones were removed.
    pub removed: usize,
    /// Those that a control plane asked to be told of; they stay.
    pub idle: Vec<EntryState>,
}

fn lifetime_ns(profile: u64) -> Option<u64> {
    let seconds = PROFILES_S.get(usize::try_from(profile).ok()?)?;
    Some(seconds * 1_000_000_000)
}

impl Table {
    /// The action with that name, or whose name ends in it.
    pub(in crate::p4) fn action_named(&self, name: &str) -> Option<u32> {
        let dotted = format!(".{name}");
        let named = |full: &str| full == name || full.ends_with(&dotted);
        let found = self.spec().actions.iter().position(|a| named(&a.name));
        found.map(|at| at as u32)
    }

    /// Adds the key that was looked up. An entry that is there already is as good as a new one.
    pub(in crate::p4) fn learn(
        &self,
        key: &[u64],
        chosen: Chosen,
        profile: u64,
        now_ns: u64,
    ) -> Learn {
        let exact = self.shape.kinds.iter().all(|k| *k == MatchKind::Exact);
        let Some(lifetime) = lifetime_ns(profile).filter(|_| exact) else {
            return Learn::NotDone;
        };
        if key.len() != self.shape.limbs() {
            return Learn::NotDone;
        }
        let parts = self.shape.offsets.windows(2);
        let entry = Entry {
            keys: parts
                .map(|ends| Match::Exact(key[ends[0]..ends[1]].to_vec()))
                .collect(),
            priority: 0,
            action: Action::Direct(chosen),
            idle_timeout_ns: None,
        };
        match self.put(&entry, Origin::Packet, lifetime, now_ns) {
            Ok(_) | Err(TableError::Exists(_)) => Learn::Done,
            Err(_) => Learn::NotDone,
        }
    }

    /// Gives a learnt entry another lifetime, from now on.
    pub(in crate::p4) fn set_profile(&self, id: EntryId, profile: u64, now_ns: u64) {
        let state = self.state.read();
        let held = state.entries.get(id.0 as usize).and_then(Option::as_ref);
        if let (Some(held), Some(lifetime)) = (held, lifetime_ns(profile)) {
            if held.origin == Origin::Packet {
                held.timeout_ns.store(lifetime, Relaxed);
                held.since_ns.store(now_ns, Relaxed);
            }
        }
    }

    /// Lets a learnt entry live its lifetime again.
    pub(in crate::p4) fn restart_timer(&self, id: EntryId, now_ns: u64) {
        let state = self.state.read();
        if let Some(held) = state.entries.get(id.0 as usize).and_then(Option::as_ref) {
            held.since_ns.store(now_ns, Relaxed);
        }
    }

    /// Removes learnt entries whose time is over; tells of others that have become idle, once
    /// until a packet hits them again.
    pub fn expire(&self, now_ns: u64) -> Expired {
        let mut expired = Expired::default();
        let mut over = Vec::new();
        let mut state = self.state.write();
        for (n, held) in state.entries.iter().enumerate() {
            let Some(held) = held else { continue };
            let timeout = held.timeout_ns.load(Relaxed);
            let deadline = held.since_ns.load(Relaxed).saturating_add(timeout);
            if timeout == 0 || deadline > now_ns {
                continue;
            }
            let id = EntryId(n as u32);
            if held.origin == Origin::Packet {
                over.push(id);
            } else if held.is_told.swap(1, Relaxed) == 0 {
                expired.idle.push(self.show(id, held));
            }
        }
        expired.removed = over.len();
        for id in over {
            self.remove(&mut state, id);
        }
        expired
    }
}
