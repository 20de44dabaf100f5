// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tables at run time: entries are checked when they come, so that looking up need not.

mod aging;
mod error;
mod indirect;
mod lookup;
mod shape;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;

use adit_p4_frontend::ir::{self, limbs_of, Chosen, Match};
use parking_lot::RwLock;

pub use aging::{Expired, Learn, PROFILES_S};
pub use error::TableError;
use indirect::Indirect;
use lookup::{Lookup, Rule};
pub use shape::MatchKind;
use shape::Shape;

use super::externs::{Count, MeterCell, MeterConfig};

/// How an entry is known while it is in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(pub(super) u32);

/// What an entry does.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// An action with its arguments.
    Direct(Chosen),
    /// What a member of the table's action profile does.
    Member(u32),
    /// What one of the members of a group of the table's action selector does.
    Group(u32),
}

/// An entry as control planes give it. Keys and priority are what it is known by; a table without
/// ternary, range or optional keys ignores the priority.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What each key has to be.
    pub keys: Vec<Match>,
    /// The larger one wins.
    pub priority: i64,
    /// What is done.
    pub action: Action,
    /// After how long without a packet the control plane is told; `None`: never.
    pub idle_timeout_ns: Option<u64>,
}

/// Who made an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The program's text.
    Program,
    /// A control plane.
    Control,
    /// A packet, by `add_entry`.
    Packet,
}

/// An entry as it is in a table.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryState {
    /// How it is known in the table while it is there.
    pub id: EntryId,
    /// The entry; what matches everything is [`Match::Any`].
    pub entry: Entry,
    /// Who made it.
    pub origin: Origin,
    /// Its direct counter, if the table has one.
    pub count: Option<Count>,
    /// The rates of its direct meter, if it has some.
    pub meter: Option<MeterConfig>,
    /// When a packet hit it last, or when it came. Kept for entries with a timeout only.
    pub last_hit_ns: u64,
}

/// The most entries of a table that asks for no size, or for more.
pub const MAX_ENTRIES: usize = 4 << 20;

/// A table with its entries. Everything takes `&self`: packets look up while control planes write.
pub struct Table {
    shape: Shape,
    capacity: usize,
    /// The direct counter, by its index among the program's externs.
    direct_counter: Option<u32>,
    /// The direct meter, likewise.
    direct_meter: Option<u32>,
    /// The action profile or selector, likewise.
    profile: Option<u32>,
    /// The same, for what is looked up there; set when the engine has its objects.
    indirect: Option<Indirect>,
    /// Whether a hit is counted without being asked to be, as v1model has it.
    counts_hits: bool,
    learns: bool,
    supports_timeout: bool,
    state: RwLock<State>,
}

struct State {
    lookup: Lookup,
    /// Entries by what they are known by.
    known: HashMap<Rule, EntryId>,
    entries: Vec<Option<Arc<Held>>>,
    free: Vec<u32>,
    default: Action,
    default_is_set: bool,
}

/// An entry and what packets change of it.
struct Held {
    rule: Rule,
    action: Action,
    origin: Origin,
    /// After how long without use it is over; 0: never.
    timeout_ns: AtomicU64,
    /// From when on that counts.
    since_ns: AtomicU64,
    /// Whether the control plane has been told.
    is_told: AtomicU64,
    packets: AtomicU64,
    bytes: AtomicU64,
    meter: MeterCell,
}

/// What a lookup came to. The arguments of a direct action are in the frame.
pub(super) struct Found {
    pub(super) entry: Option<EntryId>,
    pub(super) action: Reached,
}

/// The action that a lookup came to: the table's own, or one that its profile knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    Direct(u32),
    Member(u32),
    Group(u32),
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {} with {} entries", self.spec().name, self.len())
    }
}

impl Table {
    /// A table as the program declares it, with its entries.
    pub(super) fn new(mut spec: ir::Table) -> Result<Table, TableError> {
        let entries = std::mem::take(&mut spec.entries);
        let shape = Shape::new(spec)?;
        let default = shape.spec.default.clone();
        let size = shape.spec.size.unwrap_or(u64::MAX);
        let mut table = Table {
            capacity: usize::try_from(size).unwrap_or(usize::MAX).min(MAX_ENTRIES),
            direct_counter: None,
            direct_meter: None,
            profile: None,
            indirect: None,
            counts_hits: false,
            learns: false,
            supports_timeout: false,
            state: RwLock::new(State {
                lookup: Lookup::new(&shape.kinds),
                known: HashMap::new(),
                entries: Vec::new(),
                free: Vec::new(),
                default: Action::Direct(default),
                default_is_set: false,
            }),
            shape,
        };
        table.properties()?;
        for entry in entries {
            let given = Entry {
                keys: entry.keys,
                priority: entry.priority,
                action: Action::Direct(entry.chosen),
                idle_timeout_ns: None,
            };
            match table.put(&given, Origin::Program, 0, 0) {
                // The first of equal ones wins, as everywhere.
                Ok(_) | Err(TableError::Exists(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(table)
    }

    fn properties(&mut self) -> Result<(), TableError> {
        use ir::Constant::{Bool, Object};
        for (name, value) in &self.shape.spec.properties {
            match (name.as_str(), value) {
                ("counters" | "pna_direct_counter", Object(object)) => {
                    self.direct_counter = Some(*object);
                    self.counts_hits = name == "counters";
                }
                ("meters" | "pna_direct_meter", Object(object)) => {
                    self.direct_meter = Some(*object);
                }
                ("implementation" | "pna_implementation", Object(object)) => {
                    self.profile = Some(*object);
                }
                ("add_on_miss", Bool(on)) => self.learns = *on,
                ("support_timeout", Bool(on)) => self.supports_timeout = *on,
                // `pna_idle_timeout` is an enum with `NO_TIMEOUT` and `NOTIFY_CONTROL`.
                ("pna_idle_timeout", ir::Constant::Enum(kind)) => {
                    self.supports_timeout = kind != "NO_TIMEOUT";
                }
                (
                    "largest_priority_wins" | "priority_delta" | "idle_timeout_with_auto_delete",
                    _,
                ) => {}
                ("meters" | "pna_direct_meter" | "implementation" | "pna_implementation", _) => {}
                ("support_timeout", _) => {}
                _ => {
                    return Err(TableError::Unsupported {
                        table: self.shape.spec.name.clone(),
                        why: format!("its property `{name}` is not known"),
                    })
                }
            }
        }
        Ok(())
    }

    /// What the program says of the table. Its entries are not there, but in the table.
    pub fn spec(&self) -> &ir::Table {
        &self.shape.spec
    }

    /// How a key is matched.
    pub fn kind(&self, key: usize) -> Option<MatchKind> {
        self.shape.kinds.get(key).copied()
    }

    /// Whether entries need a priority, which also makes a prefix a mask.
    pub fn has_priorities(&self) -> bool {
        self.shape.has_priorities()
    }

    /// How many entries it has room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        let state = self.state.read();
        state.entries.len() - state.free.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The direct counter, by its index among the program's externs.
    pub fn direct_counter(&self) -> Option<u32> {
        self.direct_counter
    }

    /// The direct meter, by its index among the program's externs.
    pub fn direct_meter(&self) -> Option<u32> {
        self.direct_meter
    }

    /// The action profile or selector, by its index among the program's externs.
    pub fn profile(&self) -> Option<u32> {
        self.profile
    }

    /// Whether packets add entries.
    pub fn learns(&self) -> bool {
        self.learns
    }

    /// Whether entries may have idle timeouts.
    pub fn supports_timeout(&self) -> bool {
        self.supports_timeout
    }

    /// Adds an entry. Of two that match, the one with the larger priority wins.
    pub fn insert(&self, entry: &Entry, now_ns: u64) -> Result<EntryId, TableError> {
        self.check_writable()?;
        let timeout = self.check_timeout(entry)?;
        self.put(entry, Origin::Control, timeout, now_ns)
    }

    /// Gives the entry with these keys and this priority another action and timeout. Its counter
    /// goes on.
    pub fn modify(&self, entry: &Entry, now_ns: u64) -> Result<EntryId, TableError> {
        self.check_writable()?;
        let timeout = self.check_timeout(entry)?;
        self.check(&entry.action)?;
        let rule = self.shape.rule(&entry.keys, entry.priority)?;
        let mut state = self.state.write();
        let id = self.known(&state, &rule)?;
        self.hold(&entry.action)?;
        let Some(old) = state.entries[id.0 as usize].take() else {
            return Err(TableError::Unknown(self.spec().name.clone()));
        };
        self.release(&old.action);
        let held = Held {
            action: entry.action.clone(),
            origin: old.origin,
            timeout_ns: timeout.into(),
            since_ns: now_ns.into(),
            is_told: 0.into(),
            packets: old.packets.load(Relaxed).into(),
            bytes: old.bytes.load(Relaxed).into(),
            meter: old.meter.share(),
            rule,
        };
        state.entries[id.0 as usize] = Some(Arc::new(held));
        Ok(id)
    }

    /// Removes the entry with these keys and this priority.
    pub fn delete(&self, keys: &[Match], priority: i64) -> Result<EntryId, TableError> {
        self.check_writable()?;
        let rule = self.shape.rule(keys, priority)?;
        let mut state = self.state.write();
        let id = self.known(&state, &rule)?;
        self.remove(&mut state, id);
        Ok(id)
    }

    /// The entry with these keys and this priority.
    pub fn get(&self, keys: &[Match], priority: i64) -> Result<EntryState, TableError> {
        let rule = self.shape.rule(keys, priority)?;
        let state = self.state.read();
        let id = self.known(&state, &rule)?;
        match &state.entries[id.0 as usize] {
            Some(held) => Ok(self.show(id, held)),
            None => Err(TableError::Unknown(self.spec().name.clone())),
        }
    }

    /// Shows entries from an id on, to go through all of them in pieces: gives where the next
    /// piece begins. Entries that come and go meanwhile may be shown or not.
    pub fn entries(&self, from: EntryId, most: usize) -> (Vec<EntryState>, Option<EntryId>) {
        let state = self.state.read();
        let mut found = Vec::new();
        for (n, held) in state.entries.iter().enumerate().skip(from.0 as usize) {
            let id = EntryId(n as u32);
            if found.len() >= most {
                return (found, Some(id));
            }
            if let Some(held) = held {
                found.push(self.show(id, held));
            }
        }
        (found, None)
    }

    /// All entries.
    pub fn all(&self) -> Vec<EntryState> {
        self.entries(EntryId(0), usize::MAX).0
    }

    /// What is done with packets that match no entry.
    pub fn default_action(&self) -> Action {
        self.state.read().default.clone()
    }

    /// Whether the default action is another than the program's.
    pub fn default_is_set(&self) -> bool {
        self.state.read().default_is_set
    }

    /// Sets the action for packets that match no entry.
    pub fn set_default(&self, chosen: Chosen) -> Result<(), TableError> {
        if self.spec().const_default {
            return Err(self.constant("default action"));
        }
        self.shape.check_action(&chosen, true)?;
        let mut state = self.state.write();
        state.default = Action::Direct(chosen);
        state.default_is_set = true;
        Ok(())
    }

    /// Puts the program's own default action back.
    pub fn reset_default(&self) -> Result<(), TableError> {
        if self.spec().const_default {
            return Err(self.constant("default action"));
        }
        let mut state = self.state.write();
        state.default = Action::Direct(self.spec().default.clone());
        state.default_is_set = false;
        Ok(())
    }

    /// Sets an entry's direct counter.
    pub fn set_count(&self, id: EntryId, count: Count) -> Result<(), TableError> {
        if self.direct_counter.is_none() {
            return Err(TableError::NoCounter(self.spec().name.clone()));
        }
        let state = self.state.read();
        let held = state.entries.get(id.0 as usize).and_then(Option::as_ref);
        let held = held.ok_or_else(|| TableError::Unknown(self.spec().name.clone()))?;
        held.packets.store(count.packets, Relaxed);
        held.bytes.store(count.bytes, Relaxed);
        Ok(())
    }

    fn show(&self, id: EntryId, held: &Held) -> EntryState {
        let timeout = held.timeout_ns.load(Relaxed);
        EntryState {
            id,
            entry: Entry {
                keys: self.shape.keys(&held.rule),
                priority: held.rule.priority,
                action: held.action.clone(),
                idle_timeout_ns: (timeout > 0 && held.origin != Origin::Packet).then_some(timeout),
            },
            origin: held.origin,
            count: self.direct_counter.map(|_| Count {
                packets: held.packets.load(Relaxed),
                bytes: held.bytes.load(Relaxed),
            }),
            meter: held.meter.get(),
            last_hit_ns: held.since_ns.load(Relaxed),
        }
    }

    fn known(&self, state: &State, rule: &Rule) -> Result<EntryId, TableError> {
        let known = state.known.get(rule).copied();
        known.ok_or_else(|| TableError::Unknown(self.spec().name.clone()))
    }

    fn put(
        &self,
        entry: &Entry,
        origin: Origin,
        timeout_ns: u64,
        now_ns: u64,
    ) -> Result<EntryId, TableError> {
        self.check(&entry.action)?;
        let rule = self.shape.rule(&entry.keys, entry.priority)?;
        let mut state = self.state.write();
        let state = &mut *state;
        if state.known.contains_key(&rule) {
            return Err(TableError::Exists(self.spec().name.clone()));
        }
        if state.entries.len() - state.free.len() >= self.capacity {
            return Err(TableError::Full {
                table: self.spec().name.clone(),
                size: self.capacity,
            });
        }
        self.hold(&entry.action)?;
        let id = state.free.pop().unwrap_or(state.entries.len() as u32);
        state.lookup.insert(&rule, id);
        state.known.insert(rule.clone(), EntryId(id));
        let held = Some(Arc::new(Held {
            rule,
            action: entry.action.clone(),
            origin,
            timeout_ns: timeout_ns.into(),
            since_ns: now_ns.into(),
            is_told: 0.into(),
            packets: 0.into(),
            bytes: 0.into(),
            meter: MeterCell::default(),
        }));
        match state.entries.get_mut(id as usize) {
            Some(place) => *place = held,
            None => state.entries.push(held),
        }
        Ok(EntryId(id))
    }

    fn remove(&self, state: &mut State, id: EntryId) {
        if let Some(held) = state.entries[id.0 as usize].take() {
            self.release(&held.action);
            state.lookup.remove(&held.rule, id.0);
            state.known.remove(&held.rule);
            state.free.push(id.0);
        }
    }

    fn check_writable(&self) -> Result<(), TableError> {
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

    fn check(&self, action: &Action) -> Result<(), TableError> {
        match (action, self.profile) {
            // Entries of a table with a profile may have actions of their own until they are
            // given members: programs' entries do.
            (Action::Direct(chosen), _) => self.shape.check_action(chosen, false),
            (Action::Member(_) | Action::Group(_), Some(_)) => self.check_indirect(action),
            (Action::Member(_) | Action::Group(_), None) => Err(TableError::Indirect {
                table: self.spec().name.clone(),
                wanted: "actions of their own: it has no action profile",
            }),
        }
    }

    fn constant(&self, what: &'static str) -> TableError {
        TableError::Constant {
            table: self.spec().name.clone(),
            what,
        }
    }

    /// Looks up the keys in a frame and counts: the entry, and what it does; without entry, the
    /// default action. `key` is left as what was looked up.
    pub(super) fn find(
        &self,
        frame: &mut [u64],
        key: &mut Vec<u64>,
        bytes: u64,
        now_ns: u64,
    ) -> Found {
        key.clear();
        for (part, ends) in self.spec().keys.iter().zip(self.shape.offsets.windows(2)) {
            let limbs = ends[1] - ends[0];
            key.extend_from_slice(&frame[part.slot as usize..][..limbs]);
        }
        let state = self.state.read();
        let found = match self.spec().keys.is_empty() {
            true => None,
            false => state.lookup.find(key),
        };
        let held = found.and_then(|id| Some((id, state.entries.get(id as usize)?.as_ref()?)));
        let action = match held {
            Some((_, held)) => {
                if self.counts_hits {
                    held.packets.fetch_add(1, Relaxed);
                    held.bytes.fetch_add(bytes, Relaxed);
                }
                if held.origin != Origin::Packet && held.timeout_ns.load(Relaxed) != 0 {
                    held.since_ns.store(now_ns, Relaxed);
                    held.is_told.store(0, Relaxed);
                }
                &held.action
            }
            None => &state.default,
        };
        let action = match action {
            Action::Direct(chosen) => {
                self.put_arguments(chosen.action, &chosen.arguments, frame);
                Reached::Direct(chosen.action)
            }
            Action::Member(member) => Reached::Member(*member),
            Action::Group(group) => Reached::Group(*group),
        };
        Found {
            entry: held.map(|(id, _)| EntryId(id)),
            action,
        }
    }

    /// Puts an action's arguments where its parameters are.
    fn put_arguments(&self, action: u32, arguments: &[Vec<u64>], frame: &mut [u64]) {
        let action = &self.spec().actions[action as usize];
        for (parameter, value) in action.parameters.iter().zip(arguments) {
            let limbs = limbs_of(parameter.width) as usize;
            let slot = &mut frame[parameter.slot as usize..][..limbs];
            for (n, limb) in slot.iter_mut().enumerate() {
                *limb = value.get(n).copied().unwrap_or(0);
            }
        }
    }
}

#[cfg(test)]
mod tests;
