// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tables at run time: entries are validated when they are added, so that lookups need no checks.

mod aging;
mod carry;
mod change;
mod control;
mod dir;
mod error;
mod find;
#[cfg(feature = "jit")]
mod in_place;
mod index;
mod indirect;
mod key;
mod lookup;
mod meters;
mod opaque;
mod record;
mod shape;
mod staged;
mod tuples;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::sync::Arc;

use adit_p4_frontend::ir::{self, limbs_of, Chosen, Match};
use parking_lot::Mutex;

pub use aging::{Expired, Learn, Lifetime, PROFILES_S};
pub use carry::{Fate, Learnt};
pub use error::TableError;
pub use key::MatchKind;
pub(super) use key::Plan;
pub use opaque::{MAX_OPAQUE, MAX_OPAQUE_TOTAL};
#[cfg(feature = "jit")]
pub(super) use {
    in_place::{is_direct_counter, Places},
    index::Index,
    key::is_selector,
    key::numbers,
    staged::learns,
    staged::may_suspend,
};

use self::shape::Shape;
use super::memory::{Epochs, Snapshot};
use super::objects::{Count, Counts, MeterConfig, SetAction};
use aging::Timers;
use change::State;
use dir::Dir;
#[cfg(not(feature = "jit"))]
use index::Index;
use indirect::Indirect;
pub(super) use lookup::{Found, Hit, SelectedAction};
use meters::Meters;
use record::{Layout, Records};
pub(super) use staged::{StagedLookup, STAGES};
use tuples::Tuples;

/// Identifies an entry while it is in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(pub(super) u32);

impl EntryId {
    /// Start of an iteration over all entries.
    pub const FIRST: EntryId = EntryId(0);

    /// The number of the entry: its handle, while it is in the table.
    pub fn number(self) -> u32 {
        self.0
    }
}

/// The action of an entry.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// An action with its arguments.
    Direct(Chosen),
    /// The action of a member of the table's action profile.
    Member(u32),
    /// The action of one of the members of a group of the table's action selector.
    Group(u32),
    /// A one-shot group of the table's action selector, owned by the entry. Its members refer to
    /// actions by the table's numbering.
    Set(Vec<SetAction>),
}

/// An entry as supplied by a control plane. Keys and priority identify it; a table without ternary,
/// range or optional keys ignores the priority.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The match for each key.
    pub keys: Vec<Match>,
    /// The priority; the largest wins.
    pub priority: i64,
    /// The action.
    pub action: Action,
    /// Time without a packet after which the control plane is notified; `None`: never.
    pub idle_timeout_ns: Option<u64>,
    /// Opaque data returned to the control plane with the entry; at most [`MAX_OPAQUE`] bytes.
    pub opaque: Vec<u8>,
}

/// The creator of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The program's source.
    Program,
    /// A control plane.
    Control,
    /// A packet, by `add_entry`.
    Packet,
}

/// An entry as stored in a table.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryState {
    /// Identifies the entry while it is in the table.
    pub id: EntryId,
    /// The entry; a match of all values is [`Match::Any`].
    pub entry: Entry,
    /// The creator.
    pub origin: Origin,
    /// Its direct counter, if the table has one.
    pub count: Option<Count>,
    /// The rates of its direct meter, if configured.
    pub meter: Option<MeterConfig>,
    /// Time of the last hit by a packet, or of the insertion. Maintained only for entries with a
    /// timeout.
    pub last_hit_ns: u64,
}

/// Maximum number of entries, for a table that declares no size or a larger one.
pub const MAX_ENTRIES: usize = 4 << 20;

/// A table with its entries. All methods take `&self`: packets look up while control planes write.
/// Neither blocks the other: an entry is in a record that does not change while a packet can reach
/// it, and is added, modified and removed by a single store.
///
/// Fields that each lookup reads are in front, in few cache lines.
#[repr(C)]
pub struct Table {
    /// The number of entries: many tables have none, in which packets need not search.
    count: AtomicUsize,
    /// The number of words of a packed key.
    key_words: usize,
    seed: u64,
    index: Snapshot<Index>,
    records: Records,
    /// The record of the default action.
    default: AtomicU32,
    /// Set if a hit is counted, or restarts a timer.
    records_hits: bool,
    learns: bool,
    is_keyless: bool,
    /// Set if lookups may be staged.
    has_stages: bool,
    /// Set if a hit is counted implicitly, as in v1model.
    counts_hits: bool,
    supports_timeout: bool,
    /// The slots of each action's arguments, limb by limb.
    argument_slots: Vec<Vec<u32>>,
    search: Search,
    /// The direct counter, by its index among the program's externs.
    direct_counter: Option<u32>,
    /// The direct meter, likewise.
    direct_meter: Option<u32>,
    counts: Option<Counts>,
    /// The direct meters of the entries.
    meters: Meters,
    timers: Option<Timers>,
    /// The action profile or selector, by its index among the program's externs.
    profile: Option<u32>,
    /// The profile's run-time object; set after the engine has created its objects.
    indirect: Option<Indirect>,
    /// The number of limbs of each range key.
    range_limbs: Vec<usize>,
    capacity: usize,
    shape: Shape,
    epochs: Arc<Epochs>,
    state: Mutex<State>,
}

/// The lookup structure.
enum Search {
    /// A single hash lookup.
    Exact,
    /// A hash lookup for each mask; a single short LPM key uses a direct index.
    Tuples {
        tuples: Snapshot<Tuples>,
        dir: Option<Dir>,
    },
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {} with {} entries", self.spec().name, self.len())
    }
}

impl Table {
    /// Creates a table as declared by the program, with its entries.
    pub(super) fn new(mut spec: ir::Table, epochs: Arc<Epochs>) -> Result<Table, TableError> {
        let entries = std::mem::take(&mut spec.entries);
        let shape = Shape::new(spec)?;
        // The program's own entries always fit, even if the declared size is smaller.
        let size = shape.spec.size.unwrap_or(MAX_ENTRIES as u64);
        let size = size.max(entries.len() as u64);
        let capacity = usize::try_from(size).map_or(MAX_ENTRIES, |n| n.min(MAX_ENTRIES));
        let memory = || TableError::Unsupported {
            table: shape.spec.name.clone(),
            why: format!("there is no memory for {capacity} entries"),
        };
        let plan = &shape.plan;
        let is_exact = shape.is_exact();
        let layout = Layout::of(&shape);
        let room = change::room(capacity);
        let records = Records::new(room, layout).ok_or_else(memory)?;
        let index = Arc::new(Index::new(16).ok_or_else(memory)?);
        let tuples = Arc::new(Tuples::default());
        let by_dir = match &shape.spec.keys[..] {
            [key] if shape.kinds[0] == MatchKind::Lpm && (1..=32).contains(&key.width) => {
                Some(Dir::new(key.width).ok_or_else(memory)?)
            }
            _ => None,
        };
        let ranges = shape.spec.keys.iter().zip(&shape.kinds);
        let ranges = ranges.filter(|(_, kind)| **kind == MatchKind::Range);
        let mut table = Table {
            capacity,
            direct_counter: None,
            direct_meter: None,
            profile: None,
            indirect: None,
            counts_hits: false,
            records_hits: false,
            learns: false,
            supports_timeout: false,
            is_keyless: shape.spec.keys.is_empty(),
            has_stages: (is_exact && !shape.spec.keys.is_empty()) || by_dir.is_some(),
            key_words: plan.length(),
            argument_slots: shape.argument_slots(),
            range_limbs: ranges.map(|(k, _)| limbs_of(k.width) as usize).collect(),
            epochs,
            seed: RandomState::new().hash_one(0),
            records,
            index: Snapshot::new(index.clone()),
            search: match is_exact {
                true => Search::Exact,
                false => Search::Tuples {
                    tuples: Snapshot::new(tuples.clone()),
                    dir: by_dir,
                },
            },
            count: AtomicUsize::new(0),
            default: AtomicU32::new(0),
            counts: None,
            meters: Meters::default(),
            timers: None,
            state: Mutex::new(State::new(index, shape.spec.default.clone())),
            shape,
        };
        table.properties()?;
        if table.direct_counter.is_some() {
            table.counts = Some(Counts::new(room).ok_or_else(|| table.no_memory())?);
        }
        if table.direct_meter.is_some() {
            table.meters = Meters::new(room);
        }
        if table.learns || table.supports_timeout {
            table.timers = Some(Timers::new(room).ok_or_else(|| table.no_memory())?);
        }
        table.records_hits = table.counts_hits || table.timers.is_some();
        table.init_default()?;
        for entry in entries {
            let given = Entry {
                keys: entry.keys,
                priority: entry.priority,
                action: Action::Direct(entry.chosen),
                idle_timeout_ns: None,
                opaque: Vec::new(),
            };
            match table.put(&given, Origin::Program, 0, 0) {
                // Of equal entries the first wins, as everywhere.
                Ok(_) | Err(TableError::Exists(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(table)
    }

    fn no_memory(&self) -> TableError {
        TableError::Unsupported {
            table: self.spec().name.clone(),
            why: format!("there is no memory for {} entries", self.capacity),
        }
    }

    /// Allocates a worker's counters when it starts.
    pub(super) fn join(&self, worker: usize) {
        if let Some(counts) = &self.counts {
            counts.join(worker);
        }
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
                // `add_entry` names the profile of each entry that it adds.
                ("default_idle_timeout_for_data_plane_added_entries", ir::Constant::Int(_)) => {}
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

    /// The program's declaration of the table, without its entries, which are in the table.
    pub fn spec(&self) -> &ir::Table {
        &self.shape.spec
    }

    /// Returns the match kind of a key.
    pub fn kind(&self, key: usize) -> Option<MatchKind> {
        self.shape.kinds.get(key).copied()
    }

    /// Returns whether entries need a priority, which also makes a prefix a mask.
    pub fn has_priorities(&self) -> bool {
        self.shape.has_priorities()
    }

    /// Maximum number of entries.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.state.lock().len()
    }

    /// Returns whether there are no entries.
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

    /// Returns whether packets add entries.
    pub fn learns(&self) -> bool {
        self.learns
    }

    /// Returns whether entries may have idle timeouts.
    pub fn supports_timeout(&self) -> bool {
        self.supports_timeout
    }
}

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
