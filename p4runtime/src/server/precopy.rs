// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A copy of a program's tables for a successor of this process, made while packets pass, and what has changed
//! since: the updates that clients have made, which the successor makes, too, and the direct counters that packets
//! have changed.

use std::collections::HashSet;

use adit_pipeline::p4::objects::Count;
use adit_pipeline::p4::tables::EntryId;
use parking_lot::Mutex;
use prost::Message;

use super::fault::Result;
use super::owners::Owners;
use super::reconcile::{direct_counter, Part};
use super::target::Target;
use crate::proto::v1::{self, entity::Entity as E};

/// The maximum number of bytes of the updates since a copy: those of a few seconds.
const MAX_JOURNAL: usize = 32 << 20;

/// The updates of clients since the tables were copied, if they were.
#[derive(Default)]
pub(super) struct Journal(Mutex<Option<Copied>>);

/// The state at the time of a copy, and the updates since.
pub(super) struct Copied {
    /// The direct counters of each table.
    counts: Vec<Vec<(EntryId, Count)>>,
    updates: Vec<v1::Update>,
    bytes: usize,
}

impl Journal {
    /// Begins after a copy, in place of another one.
    fn begin(&self, counts: Vec<Vec<(EntryId, Count)>>) {
        *self.0.lock() = Some(Copied {
            counts,
            updates: Vec::new(),
            bytes: 0,
        });
    }

    /// Records the updates of a batch that were made. When they become too many, the copy is of no use any more.
    pub(super) fn record(&self, updates: &[v1::Update], results: &[Result<()>]) {
        let mut copied = self.0.lock();
        let Some(journal) = copied.as_mut() else {
            return;
        };
        let made = updates
            .iter()
            .zip(results)
            .filter(|(_, result)| result.is_ok());
        for (update, _) in made.filter(|(update, _)| is_of_tables(update)) {
            journal.bytes += update.encoded_len();
            journal.updates.push(update.clone());
        }
        if journal.bytes > MAX_JOURNAL {
            *copied = None;
        }
    }

    /// Ends it; `None` if there is none, or the updates were too many.
    pub(super) fn end(&self) -> Option<Copied> {
        self.0.lock().take()
    }
}

/// Returns whether an update is one of what is copied. All else is read at the end.
fn is_of_tables(update: &v1::Update) -> bool {
    let entity = update.entity.as_ref().and_then(|e| e.entity.as_ref());
    matches!(
        entity,
        Some(
            E::TableEntry(_)
                | E::ActionProfileMember(_)
                | E::ActionProfileGroup(_)
                | E::DirectCounterEntry(_)
                | E::DirectMeterEntry(_)
        )
    )
}

impl Target<'_> {
    /// Reads what is copied, with the owners of buckets, and begins a journal. Clients must not write meanwhile.
    pub(super) fn copy_tables(&self, journal: &Journal) -> Result<(Vec<v1::Update>, Vec<Owners>)> {
        // Before the entries are read: a packet may be counted twice as a change, but not be missed.
        let tables = self.pipeline.engine.tables().iter();
        let counts = tables.map(|table| table.counts()).collect();
        let mut copy = Vec::new();
        self.updates(Part::Tables, &mut |updates| {
            copy.extend(updates);
            true
        })?;
        let owners = self.owners()?;
        journal.begin(counts);
        Ok((copy, owners))
    }

    /// Reads what has changed since, and what is not copied.
    pub(super) fn rest_of_tables(&self, copied: Copied) -> Result<(Vec<v1::Update>, Vec<Owners>)> {
        let mut rest = copied.updates;
        let owners = self.owners_written(&rest);
        let written = self.written(&rest);
        for (n, before) in copied.counts.into_iter().enumerate() {
            let table = &self.pipeline.engine.tables()[n];
            // Both are in the order of ids.
            let mut before = before.into_iter().peekable();
            for (id, count) in table.counts() {
                while before.next_if(|(one, _)| *one < id).is_some() {}
                if before.peek() == Some(&(id, count)) && !written.contains(&(n, id)) {
                    continue;
                }
                let (found, _) = table.entries(id, 1);
                if let [state] = &found[..] {
                    let entry = &state.entry;
                    let key = self.pipeline.shown_key(n, &entry.keys, entry.priority);
                    rest.push(direct_counter(key, count));
                }
            }
        }
        self.updates(Part::Rest, &mut |updates| {
            rest.extend(updates);
            true
        })?;
        Ok((rest, owners))
    }

    /// The entries that updates have written: their ids may have been another entry's before.
    fn written(&self, updates: &[v1::Update]) -> HashSet<(usize, EntryId)> {
        let entries = updates
            .iter()
            .filter_map(|update| match &update.entity.as_ref()?.entity {
                Some(E::TableEntry(entry)) if !entry.is_default_action => Some(entry),
                _ => None,
            });
        let ids = entries.filter_map(|entry| self.find_entry(entry).ok());
        ids.collect()
    }
}
