// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Carrying entries over to a table of another engine: the fates of the program's own, and learnt ones.

use adit_p4_frontend::ir::{self, Chosen, Match};

use super::{Action, Count, Entry, EntryId, EntryState, Origin, Table, TableError};

/// The fate of an entry of the program's source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is as in the source.
    Unchanged,
    /// A control plane has changed it, or deleted it and added another one with its keys.
    Changed,
    /// A control plane has deleted it.
    Deleted,
}

/// A learnt entry, with its timer.
#[derive(Clone, Debug, PartialEq)]
pub struct Learnt {
    /// The entry.
    pub state: EntryState,
    /// Its lifetime; 0 if it stays, since a control plane has modified it.
    pub lifetime_ns: u64,
}

impl Table {
    /// The fate of an entry of the program's source, and its keys in the form of those of
    /// [`entries`](Self::entries).
    ///
    /// # Errors
    /// If it is not one for this table.
    pub fn fate(&self, own: &ir::Entry) -> Result<(Vec<Match>, Fate), TableError> {
        let rule = self.shape.rule(&own.keys, own.priority)?;
        let fate = match self.get(&own.keys, own.priority) {
            Ok(state) if is_unchanged(&state.entry, &own.chosen) => Fate::Unchanged,
            Ok(_) => Fate::Changed,
            Err(TableError::Unknown(_)) => Fate::Deleted,
            Err(error) => return Err(error),
        };
        Ok((self.shape.keys(&rule), fate))
    }

    /// The direct counters of all entries that are not learnt, in the order of ids; none without such counters.
    pub fn counts(&self) -> Vec<(EntryId, Count)> {
        let Some(counts) = &self.counts else {
            return Vec::new();
        };
        let state = self.state.lock();
        let own = state
            .from(0)
            .filter(|(_, _, origin)| *origin != Origin::Packet);
        let counted = own.filter_map(|(id, ..)| Some((id, counts.get(id.0 as usize)?)));
        counted.collect()
    }

    /// Lists learnt entries among up to `most` entries, starting at an id. Returns the start of the next part.
    pub fn learnt(&self, from: EntryId, most: usize) -> (Vec<Learnt>, Option<EntryId>) {
        let (states, next) = self.entries(from, most);
        let learnt = states
            .into_iter()
            .filter(|state| state.origin == Origin::Packet);
        let learnt = learnt.map(|state| Learnt {
            lifetime_ns: self.timers.as_ref().map_or(0, |t| t.timeout(state.id.0)),
            state,
        });
        (learnt.collect(), next)
    }

    /// Adds an entry that another table has learnt. Its timer goes on from `since_ns`.
    ///
    /// # Errors
    /// If the table does not learn, or as for [`insert`](Self::insert).
    pub fn insert_learnt(
        &self,
        entry: &Entry,
        lifetime_ns: u64,
        since_ns: u64,
    ) -> Result<EntryId, TableError> {
        if !self.learns() {
            return Err(TableError::NoTimeout(self.spec().name.clone()));
        }
        self.put(entry, Origin::Packet, lifetime_ns, since_ns)
    }
}

/// Returns whether an entry has the action of the source, and nothing that only a control plane sets.
fn is_unchanged(entry: &Entry, own: &Chosen) -> bool {
    let trimmed = |chosen: &Chosen| -> Vec<Vec<u64>> {
        let arguments = chosen.arguments.iter().map(|limbs| {
            let zeros = limbs.iter().rev().take_while(|limb| **limb == 0).count();
            limbs[..limbs.len() - zeros].to_vec()
        });
        arguments.collect()
    };
    let same = |now: &Chosen| now.action == own.action && trimmed(now) == trimmed(own);
    let action = matches!(&entry.action, Action::Direct(now) if same(now));
    action && entry.idle_timeout_ns.is_none() && entry.opaque.is_empty()
}
