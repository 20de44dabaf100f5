// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The control-plane operations of a table.

use std::sync::atomic::Ordering::Release;

use adit_p4_frontend::ir::{Chosen, Match};

use super::change::{Out, State, NO_ENTRY};
use super::indirect::Stored;
use super::shape::Rule;
use super::{Action, Count, Entry, EntryId, EntryState, Origin, Table, TableError};

impl Table {
    /// Adds an entry. Of two that match, the one with the larger priority wins.
    pub fn insert(&self, entry: &Entry, now_ns: u64) -> Result<EntryId, TableError> {
        self.check_writable()?;
        let timeout = self.check_timeout(entry)?;
        self.put(entry, Origin::Control, timeout, now_ns)
    }

    /// Replaces the action and timeout of the entry with these keys and this priority. Its counter
    /// is kept.
    pub fn modify(&self, entry: &Entry, now_ns: u64) -> Result<EntryId, TableError> {
        self.check_writable()?;
        let timeout = self.check_timeout(entry)?;
        self.check(&entry.action)?;
        let rule = self.shape.rule(&entry.keys, entry.priority)?;
        let state = &mut *self.state.lock();
        let spot = self.spot(state, &rule);
        let (Some(old), Some((place, _))) = (spot.record, spot.first) else {
            return Err(self.unknown());
        };
        let id = self.records.head(old).id;
        self.check_opaque(state, Some(id), &entry.opaque)?;
        let new = self.take_record(state)?;
        let before = self.action_of(old);
        let action = match self.hold(&entry.action, Some(&before)) {
            Ok(stored) => stored,
            Err(error) => {
                state.free_records.push(new);
                return Err(error);
            }
        };
        // The set was replaced in its group.
        let set = match (&before, action, &entry.action) {
            (Action::Group(old), Stored::Group(new), Action::Set(_)) if *old == new => None,
            _ => self.release(&before),
        };
        self.write(new, id, &rule, action);
        state.opaque.set(id, &entry.opaque);
        if self.records.layout.chained {
            let (tuple, sequence) = (self.records.tuple(old), self.records.sequence(old));
            self.records.write_chained(new, tuple, rule.rank, sequence);
            self.records.set_next(new, self.records.next(old));
        }
        match spot.before {
            Some(before) => self.records.set_next(before, Some(new)),
            None => state.index.replace(place, spot.hash, new),
        }
        self.change_prefix(
            state,
            &rule,
            |there| if there == old + 1 { new + 1 } else { there },
        );
        if let Some(place) = state.entries.get_mut(id as usize).and_then(Option::as_mut) {
            place.0 = new;
        }
        if let Some(timers) = &self.timers {
            timers.start(id, timeout, now_ns, false);
        }
        let out = Out {
            record: old,
            id: None,
            set,
        };
        state.out.add(out, &self.epochs);
        Ok(EntryId(id))
    }

    /// Removes the entry with these keys and this priority.
    pub fn delete(&self, keys: &[Match], priority: i64) -> Result<EntryId, TableError> {
        self.check_writable()?;
        let rule = self.shape.rule(keys, priority)?;
        let state = &mut *self.state.lock();
        let id = self.remove_rule(state, &rule);
        id.ok_or_else(|| self.unknown())
    }

    /// The entry with these keys and this priority.
    pub fn get(&self, keys: &[Match], priority: i64) -> Result<EntryState, TableError> {
        let rule = self.shape.rule(keys, priority)?;
        let state = &*self.state.lock();
        let record = self
            .spot(state, &rule)
            .record
            .ok_or_else(|| self.unknown())?;
        let id = EntryId(self.records.head(record).id);
        let origin = state.record(id).map_or(Origin::Control, |entry| entry.1);
        Ok(self.show(state, id, record, origin))
    }

    /// Lists up to `most` entries, starting at an id. Returns the start of the next part. Entries
    /// added or removed concurrently may be listed or not.
    pub fn entries(&self, from: EntryId, most: usize) -> (Vec<EntryState>, Option<EntryId>) {
        let state = &*self.state.lock();
        let mut found = Vec::new();
        for (id, record, origin) in state.from(from.0) {
            if found.len() >= most {
                return (found, Some(id));
            }
            found.push(self.show(state, id, record, origin));
        }
        (found, None)
    }

    /// The entries in the order in which they were added, where that decides: of two with the same priority that
    /// match, the one that was added first wins. `None` if it is the order of ids, or does not matter.
    pub fn in_order(&self) -> Option<Vec<EntryId>> {
        if !self.records.layout.chained {
            return None;
        }
        let state = self.state.lock();
        let all = state.from(0);
        let all = all.map(|(id, record, _)| (self.records.sequence(record), id));
        let mut all: Vec<_> = all.collect();
        if all.is_sorted() {
            return None;
        }
        all.sort_unstable();
        Some(all.into_iter().map(|(_, id)| id).collect())
    }

    /// All entries.
    pub fn all(&self) -> Vec<EntryState> {
        self.entries(EntryId(0), usize::MAX).0
    }

    /// Number of different masks of the entries.
    pub fn masks(&self) -> usize {
        self.state.lock().masks.len()
    }

    /// Approximate memory used by the entries, in bytes.
    pub fn bytes(&self) -> usize {
        let state = self.state.lock();
        let counts = if self.counts.is_some() { 32 } else { 0 };
        let timers = if self.timers.is_some() { 24 } else { 0 };
        let each = self.records.layout.bytes() + counts + timers + 12;
        state.next_record as usize * each + state.index.bytes()
    }

    /// The action for packets that match no entry.
    pub fn default_action(&self) -> Action {
        Action::Direct(self.state.lock().default.clone())
    }

    /// Returns whether the default action was changed from the program's.
    pub fn default_is_set(&self) -> bool {
        self.state.lock().default_is_set
    }

    /// Sets the action for packets that match no entry.
    pub fn set_default(&self, chosen: Chosen) -> Result<(), TableError> {
        if self.spec().const_default {
            return Err(self.constant("default action"));
        }
        self.shape.check_action(&chosen, true)?;
        self.put_default(chosen, true)
    }

    /// Restores the program's own default action.
    pub fn reset_default(&self) -> Result<(), TableError> {
        if self.spec().const_default {
            return Err(self.constant("default action"));
        }
        self.put_default(self.spec().default.clone(), false)
    }

    /// Sets an entry's direct counter.
    pub fn set_count(&self, id: EntryId, count: Count) -> Result<(), TableError> {
        let Some(counts) = &self.counts else {
            return Err(TableError::NoCounter(self.spec().name.clone()));
        };
        let state = self.state.lock();
        state.record(id).ok_or_else(|| self.unknown())?;
        counts.set(id.0 as usize, count);
        Ok(())
    }

    pub(super) fn init_default(&self) -> Result<(), TableError> {
        let state = &mut *self.state.lock();
        let record = self.take_record(state)?;
        self.write_action(record, NO_ENTRY, Stored::Direct(&state.default));
        self.default.store(record, Release);
        Ok(())
    }

    fn put_default(&self, chosen: Chosen, is_set: bool) -> Result<(), TableError> {
        let state = &mut *self.state.lock();
        let new = self.take_record(state)?;
        self.write_action(new, NO_ENTRY, Stored::Direct(&chosen));
        let out = Out {
            record: self.default.swap(new, Release),
            id: None,
            set: None,
        };
        state.out.add(out, &self.epochs);
        state.default = chosen;
        state.default_is_set = is_set;
        Ok(())
    }

    pub(super) fn show(
        &self,
        state: &State,
        id: EntryId,
        record: u32,
        origin: Origin,
    ) -> EntryState {
        let timeout = self.timers.as_ref().map_or(0, |t| t.timeout(id.0));
        let rule = self.rule_of(state, record);
        EntryState {
            id,
            entry: Entry {
                keys: self.shape.keys(&rule),
                priority: if self.has_priorities() { rule.rank } else { 0 },
                action: self.shown(self.action_of(record)),
                idle_timeout_ns: (timeout > 0 && origin != Origin::Packet).then_some(timeout),
                opaque: state.opaque.get(id.0).to_vec(),
            },
            origin,
            count: self.counts.as_ref().and_then(|c| c.get(id.0 as usize)),
            meter: self.meters.get(id.0).and_then(|cell| cell.get()),
            last_hit_ns: self.last_hit_ns(id.0),
        }
    }

    /// The match of a record.
    pub(super) fn rule_of(&self, state: &State, record: u32) -> Rule {
        let (plan, layout) = (&self.shape.plan, self.records.layout);
        let mut rule = Rule {
            value: self.records.words(record, layout.key, plan.words).collect(),
            mask: vec![u64::MAX; plan.words],
            ..Rule::default()
        };
        if layout.chained {
            let ranges = self
                .records
                .words(record, layout.ranges, 2 * plan.range_words);
            rule.ranges = ranges.collect();
            rule.rank = self.records.priority(record);
            if let Some(info) = state.masks.info(self.records.tuple(record)) {
                rule.mask = info.mask.to_vec();
            }
        }
        rule
    }

    pub(super) fn action_of(&self, record: u32) -> Action {
        let (head, mut at) = (self.records.head(record), self.records.layout.arguments);
        match head.kind {
            1 => return Action::Member(self.records.word(record, at) as u32),
            2 => return Action::Group(self.records.word(record, at) as u32),
            _ => {}
        }
        let mut arguments = Vec::new();
        for (_, limbs) in &self.shape.arguments[head.action as usize] {
            let words = self.records.words(record, at, *limbs as usize);
            arguments.push(words.collect());
            at += *limbs as usize;
        }
        Action::Direct(Chosen {
            action: head.action.into(),
            arguments,
        })
    }

    pub(super) fn check_writable(&self) -> Result<(), TableError> {
        match self.spec().const_entries {
            true => Err(self.constant("entries")),
            false => Ok(()),
        }
    }

    fn check_timeout(&self, entry: &Entry) -> Result<u64, TableError> {
        match entry.idle_timeout_ns {
            Some(_) if !self.supports_timeout => {
                Err(TableError::NoTimeout(self.spec().name.clone()))
            }
            timeout => Ok(timeout.unwrap_or(0)),
        }
    }

    pub(super) fn check(&self, action: &Action) -> Result<(), TableError> {
        match (action, self.profile) {
            // Entries of a table with a profile may have direct actions until they are given
            // members: those in programs do.
            (Action::Direct(chosen), _) => self.shape.check_action(chosen, false),
            (Action::Set(actions), Some(_)) => {
                self.check_indirect(action)?;
                let mut actions = actions.iter();
                actions.try_for_each(|a| self.shape.check_action(&a.chosen, false))
            }
            (Action::Member(_) | Action::Group(_), Some(_)) => self.check_indirect(action),
            (Action::Member(_) | Action::Group(_) | Action::Set(_), None) => {
                Err(TableError::Indirect {
                    table: self.spec().name.clone(),
                    wanted: "actions of their own: it has no action profile",
                })
            }
        }
    }

    fn constant(&self, what: &'static str) -> TableError {
        TableError::Constant {
            table: self.spec().name.clone(),
            what,
        }
    }

    pub(super) fn unknown(&self) -> TableError {
        TableError::Unknown(self.spec().name.clone())
    }
}
