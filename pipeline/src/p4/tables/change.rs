// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Insertion, modification and removal of entries. Changes are serialised; each becomes visible to
//! packets by a single store.

use std::sync::atomic::Ordering::Release;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_p4_frontend::ir::Chosen;

use super::dir::Groups;
use super::index::{Index, Place};
use super::indirect::Stored;
use super::key::{hash, mix};
use super::opaque::Opaque;
use super::record::Head;
use super::shape::Rule;
use super::tuples::{tuple_seed, Masks};
use super::{Action, Count, Entry, EntryId, Origin, Search, Table, TableError};
use crate::p4::memory::Limbo;

/// Maximum time that a change waits for active packets when no record is free.
const MAX_WAIT: Duration = Duration::from_millis(200);
/// The id of a record that is not an entry.
pub(super) const NO_ENTRY: u32 = u32::MAX;

/// Number of records for that many entries: old ones may still be read while new ones are added.
pub(super) fn room(capacity: usize) -> usize {
    capacity + capacity / 2 + 4096
}

/// State that only writers access.
pub(super) struct State {
    pub(super) index: Arc<Index>,
    /// Slots of the index that have been used since its creation.
    pub(super) used: usize,
    pub(super) masks: Masks,
    pub(super) groups: Groups,
    /// The record and creator of each id.
    pub(super) entries: Vec<Option<(u32, Origin)>>,
    pub(super) count: usize,
    pub(super) free_ids: Vec<u32>,
    pub(super) free_records: Vec<u32>,
    pub(super) next_record: u32,
    pub(super) sequence: u64,
    pub(super) out: Limbo<Out>,
    pub(super) old_indices: Limbo<Arc<Index>>,
    pub(super) old_tuples: Limbo<Arc<super::Tuples>>,
    pub(super) default: Chosen,
    pub(super) default_is_set: bool,
    pub(super) opaque: Opaque,
}

/// A retired record, with its id and set of actions if these are retired too. Packets may still
/// read it.
pub(super) struct Out {
    pub(super) record: u32,
    pub(super) id: Option<u32>,
    pub(super) set: Option<u32>,
}

/// The place of an entry, existing or to be inserted.
pub(super) struct Spot {
    pub(super) hash: u64,
    /// The slot in the index and the first record there.
    pub(super) first: Option<(Place, u32)>,
    /// The predecessor in the chain.
    pub(super) before: Option<u32>,
    /// The entry itself.
    pub(super) record: Option<u32>,
}

impl State {
    pub(super) fn new(index: Arc<Index>, default: Chosen) -> State {
        State {
            index,
            used: 0,
            masks: Masks::default(),
            groups: Groups::default(),
            entries: Vec::new(),
            count: 0,
            free_ids: Vec::new(),
            free_records: Vec::new(),
            next_record: 0,
            sequence: 0,
            out: Limbo::default(),
            old_indices: Limbo::default(),
            old_tuples: Limbo::default(),
            default,
            default_is_set: false,
            opaque: Opaque::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn record(&self, id: EntryId) -> Option<(u32, Origin)> {
        self.entries.get(id.0 as usize).copied().flatten()
    }

    /// All entries, starting at an id.
    pub(super) fn from(&self, id: u32) -> impl Iterator<Item = (EntryId, u32, Origin)> + '_ {
        let entries = self.entries.iter().enumerate().skip(id as usize);
        entries.filter_map(|(n, entry)| {
            let (record, origin) = (*entry)?;
            Some((EntryId(n as u32), record, origin))
        })
    }
}

impl Table {
    fn hash_of(&self, tuple: Option<u32>, rule: &Rule) -> u64 {
        let seed = tuple.map_or(self.seed, |tuple| tuple_seed(self.seed, tuple));
        hash(seed, rule.value.len(), |n| rule.value[n])
    }

    fn mix_of(&self, tuple: u32, rule: &Rule) -> u64 {
        let seed = tuple_seed(self.seed, tuple);
        mix(seed, rule.value.len(), |n| rule.value[n])
    }

    fn is_value(&self, record: u32, value: &[u64]) -> bool {
        let from = self.records.layout.key;
        let words = self.records.words(record, from, value.len());
        words.eq(value.iter().copied())
    }

    /// Returns whether a table of exact keys has this key.
    pub(super) fn has_key(&self, state: &State, key: &[u64]) -> bool {
        let hash = hash(self.seed, key.len(), |n| key[n]);
        let found = state.index.search(hash, &mut |r| self.is_value(r, key));
        found.is_some()
    }

    /// Finds the entry with these keys and this rank, or its insertion point.
    pub(super) fn spot(&self, state: &State, rule: &Rule) -> Spot {
        let mut spot = Spot {
            hash: 0,
            first: None,
            before: None,
            record: None,
        };
        if !self.records.layout.chained {
            spot.hash = self.hash_of(None, rule);
            let mut is_it = |record| self.is_value(record, &rule.value);
            spot.first = state.index.search(spot.hash, &mut is_it);
            spot.record = spot.first.map(|first| first.1);
            return spot;
        }
        let Some(tuple) = state.masks.id(&rule.mask) else {
            return spot;
        };
        spot.hash = self.hash_of(Some(tuple), rule);
        let mut is_it = |r| self.records.tuple(r) == tuple && self.is_value(r, &rule.value);
        spot.first = state.index.search(spot.hash, &mut is_it);
        let mut next = spot.first.map(|first| first.1);
        while let Some(record) = next {
            let rank = self.records.priority(record);
            if rank < rule.rank {
                break;
            }
            let ranges = self.records.layout.ranges;
            let ranges = self.records.words(record, ranges, rule.ranges.len());
            if rank == rule.rank && ranges.eq(rule.ranges.iter().copied()) {
                spot.record = Some(record);
                break;
            }
            spot.before = Some(record);
            next = self.records.next(record);
        }
        spot
    }

    pub(super) fn put(
        &self,
        entry: &Entry,
        origin: Origin,
        timeout_ns: u64,
        now_ns: u64,
    ) -> Result<EntryId, TableError> {
        self.check(&entry.action)?;
        let rule = self.shape.rule(&entry.keys, entry.priority)?;
        let state = &mut *self.state.lock();
        self.check_opaque(state, None, &entry.opaque)?;
        let id = self.put_rule(state, &rule, &entry.action, origin, [timeout_ns, now_ns])?;
        state.opaque.set(id.0, &entry.opaque);
        Ok(id)
    }

    /// Checks that there is space for a control plane's opaque data.
    pub(super) fn check_opaque(
        &self,
        state: &State,
        id: Option<u32>,
        bytes: &[u8],
    ) -> Result<(), TableError> {
        let room = state.opaque.room(id);
        match bytes.len() <= room {
            true => Ok(()),
            false => Err(TableError::Opaque {
                table: self.spec().name.clone(),
                given: bytes.len(),
                room,
            }),
        }
    }

    /// Adds an entry that has been validated.
    pub(super) fn put_rule(
        &self,
        state: &mut State,
        rule: &Rule,
        action: &Action,
        origin: Origin,
        [timeout_ns, now_ns]: [u64; 2],
    ) -> Result<EntryId, TableError> {
        if self.is_keyless {
            return Err(TableError::Unsupported {
                table: self.spec().name.clone(),
                why: "it has no keys: it has a default action only".to_owned(),
            });
        }
        if self.spot(state, rule).record.is_some() {
            return Err(TableError::Exists(self.spec().name.clone()));
        }
        if state.count >= self.capacity {
            return Err(TableError::Full {
                table: self.spec().name.clone(),
                size: self.capacity,
            });
        }
        self.make_room(state)?;
        let record = self.take_record(state)?;
        let action = match self.hold(action, None) {
            Ok(stored) => stored,
            Err(error) => {
                state.free_records.push(record);
                return Err(error);
            }
        };
        let id = match state.free_ids.pop() {
            Some(id) => id,
            None => {
                state.entries.push(None);
                state.entries.len() as u32 - 1
            }
        };
        self.write(record, id, rule, action);
        if let Some(counts) = &self.counts {
            counts.set(id as usize, Count::default());
        }
        if let Some(timers) = &self.timers {
            timers.start(id, timeout_ns, now_ns, origin == Origin::Packet);
        }
        let mut tuple = None;
        if self.records.layout.chained {
            let (id, is_news) = state.masks.add(&rule.mask, rule.rank);
            self.records
                .write_chained(record, id, rule.rank, state.sequence);
            state.sequence += 1;
            // A tuple is published before it has an entry, not vice versa.
            if is_news {
                self.publish_tuples(state);
            }
            tuple = Some(id);
        }
        let spot = self.spot(state, rule);
        let hash = self.hash_of(tuple, rule);
        let info = tuple.and_then(|id| Some((id, state.masks.info(id)?)));
        if let Some((id, info)) = info {
            info.filter.add(self.mix_of(id, rule));
        }
        match (spot.before, spot.first) {
            (Some(before), _) => {
                self.records.set_next(record, self.records.next(before));
                self.records.set_next(before, Some(record));
            }
            (None, Some((place, first))) => {
                self.records.set_next(record, Some(first));
                state.index.replace(place, hash, record);
            }
            (None, None) => state.used += usize::from(state.index.insert(hash, record)),
        }
        self.change_prefix(state, rule, |there| {
            let is_longer = there
                .checked_sub(1)
                .is_some_and(|there| self.records.priority(there) > rule.rank);
            if is_longer {
                there
            } else {
                record + 1
            }
        });
        state.entries[id as usize] = Some((record, origin));
        state.count += 1;
        self.count.store(state.count, Release);
        Ok(EntryId(id))
    }

    pub(super) fn remove_id(&self, state: &mut State, id: EntryId) {
        if let Some((record, _)) = state.record(id) {
            let rule = self.rule_of(state, record);
            self.remove_rule(state, &rule);
        }
    }

    pub(super) fn remove_rule(&self, state: &mut State, rule: &Rule) -> Option<EntryId> {
        let spot = self.spot(state, rule);
        let (record, (place, _)) = (spot.record?, spot.first?);
        let next = match self.records.layout.chained {
            true => self.records.next(record),
            false => None,
        };
        match (spot.before, next) {
            (Some(before), next) => self.records.set_next(before, next),
            (None, Some(next)) => state.index.replace(place, spot.hash, next),
            (None, None) => state.used -= usize::from(state.index.remove(place)),
        }
        if self.records.layout.chained {
            let shorter = self.shorter(state, rule).map_or(0, |other| other + 1);
            self.change_prefix(state, rule, |there| {
                if there == record + 1 {
                    shorter
                } else {
                    there
                }
            });
            let tuple = self.records.tuple(record);
            if state.masks.remove(tuple) {
                self.publish_tuples(state);
            }
        }
        let id = self.records.head(record).id;
        if let Some(timers) = &self.timers {
            timers.start(id, 0, 0, false);
        }
        if let Some(cell) = self.meters.get(id) {
            // Removing rates never fails.
            let _ = cell.set(None);
        }
        let out = Out {
            record,
            id: Some(id),
            set: self.release(&self.action_of(record)),
        };
        state.entries[id as usize] = None;
        state.count -= 1;
        self.count.store(state.count, Release);
        state.opaque.set(id, &[]);
        state.out.add(out, &self.epochs);
        Some(EntryId(id))
    }

    /// The entry with the longest shorter prefix, excluding the prefix of length zero.
    fn shorter(&self, state: &State, rule: &Rule) -> Option<u32> {
        self.dir()?;
        let width = self.spec().keys[0].width;
        (1..rule.rank).rev().find_map(|length| {
            let mask = crate::p4::bits::mask(width) & !crate::p4::bits::mask(width - length as u32);
            let other = Rule {
                value: vec![rule.value[0] & mask],
                mask: vec![mask],
                ranges: Vec::new(),
                rank: length,
            };
            self.spot(state, &other).record
        })
    }

    fn dir(&self) -> Option<&super::Dir> {
        match &self.search {
            Search::Tuples { dir, .. } => dir.as_ref(),
            Search::Exact => None,
        }
    }

    pub(super) fn change_prefix(
        &self,
        state: &mut State,
        rule: &Rule,
        change: impl Fn(u32) -> u32,
    ) {
        if let Some(dir) = self.dir() {
            let (value, length) = (rule.value[0], rule.rank as u32);
            dir.change(value, length, &mut state.groups, &self.epochs, change);
        }
    }

    fn publish_tuples(&self, state: &mut State) {
        if let Search::Tuples { tuples, .. } = &self.search {
            let new = Arc::new(state.masks.tuples(self.seed));
            tuples.replace(new, &self.epochs, &mut state.old_tuples);
            state.old_tuples.free(&self.epochs, drop);
        }
    }

    /// Replaces a full index by a larger one, or by one without tombstones.
    fn make_room(&self, state: &mut State) -> Result<(), TableError> {
        if state.used < state.index.room() {
            return Ok(());
        }
        let new = Arc::new(Index::new((state.count + 1) * 2).ok_or_else(|| self.no_memory())?);
        // Only the first record of a slot is in the index; it links to the others.
        let mut used = 0;
        for (_, record, _) in state.from(0) {
            let rule = self.rule_of(state, record);
            let tuple = self
                .records
                .layout
                .chained
                .then(|| self.records.tuple(record));
            let is_first = self.spot(state, &rule).first.is_some_and(|f| f.1 == record);
            if is_first {
                used += usize::from(new.insert(self.hash_of(tuple, &rule), record));
            }
        }
        state.index = new.clone();
        state.used = used;
        self.index
            .replace(new, &self.epochs, &mut state.old_indices);
        state.old_indices.free(&self.epochs, drop);
        Ok(())
    }

    /// Allocates a record that no packet reads.
    pub(super) fn take_record(&self, state: &mut State) -> Result<u32, TableError> {
        let mut since = None;
        loop {
            if let Some(record) = state.free_records.pop() {
                return Ok(record);
            }
            if state.out.len() > 64 || since.is_some() {
                let (records, ids) = (&mut state.free_records, &mut state.free_ids);
                state.out.free(&self.epochs, |out| {
                    records.push(out.record);
                    ids.extend(out.id);
                    self.forget(out.set);
                });
                if !state.free_records.is_empty() {
                    continue;
                }
            }
            if (state.next_record as usize) < room(self.capacity) {
                state.next_record += 1;
                return Ok(state.next_record - 1);
            }
            // A worker has been reading for as long as it took to change half the table.
            let since = since.get_or_insert_with(Instant::now);
            if since.elapsed() > MAX_WAIT {
                return Err(TableError::Busy(self.spec().name.clone()));
            }
            std::thread::yield_now();
        }
    }

    pub(super) fn write(&self, record: u32, id: u32, rule: &Rule, action: Stored<'_>) {
        self.write_action(record, id, action);
        let layout = self.records.layout;
        self.records.store(record, layout.key, &rule.value);
        self.records.store(record, layout.ranges, &rule.ranges);
    }

    pub(super) fn write_action(&self, record: u32, id: u32, action: Stored<'_>) {
        let mut at = self.records.layout.arguments;
        let (kind, action) = match action {
            Stored::Member(number) => (1, Err(number)),
            Stored::Group(number) => (2, Err(number)),
            Stored::Direct(chosen) => (0, Ok(chosen)),
        };
        match action {
            Err(number) => self.records.store(record, at, &[number.into()]),
            Ok(chosen) => {
                let places = &self.shape.arguments[chosen.action as usize];
                for ((_, limbs), value) in places.iter().zip(&chosen.arguments) {
                    for n in 0..*limbs as usize {
                        let limb = value.get(n).copied().unwrap_or(0);
                        self.records.store(record, at + n, &[limb]);
                    }
                    at += *limbs as usize;
                }
            }
        }
        let head = Head {
            id,
            action: action.map_or(0, |chosen| chosen.action as u16),
            kind,
        };
        self.records.set_head(record, head);
    }
}
