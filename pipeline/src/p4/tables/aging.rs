// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Entries added by the program (`add_entry`), and idle timeouts.

use std::sync::atomic::Ordering::Relaxed;

use adit_p4_frontend::ir::Chosen;

use super::shape::Rule;
use super::{Action, EntryId, EntryState, Origin, Search, Table, TableError};
use crate::p4::memory::Words;

/// Lifetime of entries of each expire-time profile, in seconds.
pub const PROFILES_S: [u64; 8] = [10, 30, 60, 120, 300, 43_200, 120, 120];

/// The last use and timeout of entries, by id.
pub(super) struct Timers {
    /// The timeout; 0: never.
    timeout: Words,
    pub(super) since: Words,
    /// `BY_PROGRAM`: only the program restarts the timer; `TOLD`: the control plane was notified.
    flags: Words,
}

/// Maximum number of attempts by a packet to lock the table that it adds an entry to.
const MAX_TRIES: usize = 1000;

const BY_PROGRAM: u64 = 1;
const TOLD: u64 = 2;

impl Timers {
    pub(super) fn new(count: usize) -> Option<Timers> {
        Some(Timers {
            timeout: Words::new(count)?,
            since: Words::new(count)?,
            flags: Words::new(count)?,
        })
    }

    pub(super) fn timeout(&self, id: u32) -> u64 {
        self.timeout[id as usize].load(Relaxed)
    }

    pub(super) fn start(&self, id: u32, timeout_ns: u64, now_ns: u64, by_program: bool) {
        let id = id as usize;
        self.flags[id].store(u64::from(by_program) * BY_PROGRAM, Relaxed);
        self.since[id].store(now_ns, Relaxed);
        self.timeout[id].store(timeout_ns, Relaxed);
    }

    /// Records a packet's hit of the entry.
    #[inline]
    pub(super) fn hit(&self, id: usize, now_ns: u64) {
        let flags = self.flags[id].load(Relaxed);
        if flags & BY_PROGRAM == 0 && self.timeout[id].load(Relaxed) != 0 {
            self.since[id].store(now_ns, Relaxed);
            if flags & TOLD != 0 {
                self.flags[id].store(flags & !TOLD, Relaxed);
            }
        }
    }
}

/// The result of learning an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learn {
    /// The entry exists: it was added now or before.
    Done,
    /// No entry was added: the table is full, or does not learn such entries.
    NotDone,
}

/// Expired entries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expired {
    /// Number of learnt entries removed.
    pub removed: usize,
    /// Idle entries that the control plane is notified of; they are kept.
    pub idle: Vec<EntryState>,
}

/// The time after which a learnt entry is removed, unless its timer restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// An expire-time profile, of [`PROFILES_S`].
    Profile(u64),
    /// A number of seconds.
    Seconds(u64),
}

impl Lifetime {
    /// The time in nanoseconds; `None` if there is no such profile.
    fn ns(self) -> Option<u64> {
        let seconds = match self {
            Lifetime::Profile(profile) => *PROFILES_S.get(usize::try_from(profile).ok()?)?,
            Lifetime::Seconds(seconds) => seconds,
        };
        Some(seconds.saturating_mul(1_000_000_000))
    }
}

impl Table {
    /// The action with that name, or whose name ends in it.
    pub(in crate::p4) fn action_named(&self, name: &str) -> Option<u32> {
        let named = |full: &str| match full.strip_suffix(name) {
            Some(before) => before.is_empty() || before.ends_with('.'),
            None => false,
        };
        let found = self.spec().actions.iter().position(|a| named(&a.name));
        found.map(|at| at as u32)
    }

    /// Adds the packed key that was looked up. An existing entry counts as success. `chosen`
    /// computes the action, and is called only if there is space.
    pub(in crate::p4) fn learn(
        &self,
        key: &[u64],
        chosen: impl FnOnce() -> Chosen,
        lifetime: Lifetime,
        now_ns: u64,
    ) -> Learn {
        let is_exact = matches!(self.search, Search::Exact);
        let lifetime = lifetime.ns().filter(|ns| *ns > 0);
        let Some(lifetime) = lifetime.filter(|_| is_exact && self.timers.is_some()) else {
            return Learn::NotDone;
        };
        // A packet does not wait for a control plane that holds the lock for long.
        let Some(mut state) = (0..MAX_TRIES).find_map(|_| {
            std::hint::spin_loop();
            self.state.try_lock()
        }) else {
            return Learn::NotDone;
        };
        let state = &mut *state;
        // When the table is full, no memory is allocated for a new flow.
        if state.len() >= self.capacity {
            return match self.has_key(state, key) {
                true => Learn::Done,
                false => Learn::NotDone,
            };
        }
        let chosen = chosen();
        if self.shape.check_action(&chosen, false).is_err() {
            return Learn::NotDone;
        }
        let rule = Rule {
            value: key.to_vec(),
            ..Rule::default()
        };
        let times = [lifetime, now_ns];
        match self.put_rule(state, &rule, &Action::Direct(chosen), Origin::Packet, times) {
            Ok(_) | Err(TableError::Exists(_)) => Learn::Done,
            Err(_) => Learn::NotDone,
        }
    }

    /// Sets the lifetime of a learnt entry, and restarts its timer. With a lifetime of 0 the next
    /// [`Table::expire`] removes it.
    pub(in crate::p4) fn set_lifetime(&self, id: EntryId, lifetime: Lifetime, now_ns: u64) {
        if let (Some(timers), Some(lifetime)) = (&self.timers, lifetime.ns()) {
            let at = id.0 as usize;
            if timers.flags[at].load(Relaxed) & BY_PROGRAM != 0 {
                // A timeout of 0 is none.
                timers.since[at].store(if lifetime == 0 { 0 } else { now_ns }, Relaxed);
                timers.timeout[at].store(lifetime.max(1), Relaxed);
            }
        }
    }

    /// Restarts the timer of a learnt entry.
    pub(in crate::p4) fn restart_timer(&self, id: EntryId, now_ns: u64) {
        if let Some(timers) = &self.timers {
            timers.since[id.0 as usize].store(now_ns, Relaxed);
        }
    }

    /// Removes learnt entries whose lifetime is over. Reports other entries that have become idle,
    /// once until the next packet hits them.
    pub fn expire(&self, now_ns: u64) -> Expired {
        let mut expired = Expired::default();
        let Some(timers) = &self.timers else {
            return expired;
        };
        let state = &mut *self.state.lock();
        let is_over = |id: EntryId| {
            let timeout = timers.timeout(id.0);
            let since = timers.since[id.0 as usize].load(Relaxed);
            timeout != 0 && since.saturating_add(timeout) <= now_ns
        };
        let over: Vec<_> = state.from(0).filter(|(id, _, _)| is_over(*id)).collect();
        for (id, record, origin) in over {
            let flags = &timers.flags[id.0 as usize];
            if origin == Origin::Packet {
                self.remove_id(state, id);
                expired.removed += 1;
            } else if flags.fetch_or(TOLD, Relaxed) & TOLD == 0 {
                expired.idle.push(self.show(state, id, record, origin));
            }
        }
        expired
    }
}
