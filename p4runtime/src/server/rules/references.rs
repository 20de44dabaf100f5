// SPDX-License-Identifier: Apache-2.0 OR MIT
//! References between entries. `@refers_to(TABLE, FIELD)` on a match field or parameter requires an
//! entry of that table with the value in that field; several references from one entry's match or
//! one action to the same table refer to a single entry.
//! `@referenced_by(builtin::multicast_group_table, replica.port)` on a match field requires the
//! same of replicas. An entry that is referred to cannot be deleted.

use std::collections::HashMap;

use adit_p4_frontend::ir::{self, Match, Program};
use adit_pipeline::p4::replication::Replica;
use adit_pipeline::p4::tables::{Action, Entry, EntryId, Table};
use adit_pipeline::p4::Engine;
use parking_lot::Mutex;
use tonic::Code;

use super::edges::{is_annotated, Edge, Finder, Place};
use crate::server::fault::{Fault, Result};

/// The values of fields, without leading zeros.
type Values = Vec<Vec<u64>>;

/// The entries with the same values at a place, and the references to them.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    present: u64,
    references: u64,
}

/// The values that an entry, member, default action or group refers to, with their places.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Uses(Vec<(usize, Values)>);

/// A holder of references other than an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    /// The default action of the table with that index.
    Default(usize),
    /// A member of an action profile.
    Member(u32, u32),
    /// A multicast group.
    Group(u64),
}

/// All references of a program.
pub(crate) struct References {
    places: Vec<Place>,
    /// The names of places, for messages.
    names: Vec<String>,
    tables: Vec<Vec<Edge>>,
    actions: HashMap<String, Vec<Edge>>,
    replicas: Vec<Edge>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counts: Vec<HashMap<Values, Counts>>,
    held: HashMap<Holder, Uses>,
}

fn short(value: &[u64]) -> Vec<u64> {
    let zeros = value.iter().rev().take_while(|limb| **limb == 0).count();
    value[..value.len() - zeros].to_vec()
}

/// Returns the value of a field that matches a single value.
fn matched(is: &Match) -> Option<Vec<u64>> {
    match is {
        Match::Exact(value) | Match::Ternary(value, _) => Some(short(value)),
        Match::Any | Match::Range(..) => None,
    }
}

impl References {
    /// Creates the references of an engine's program and of its initial entries.
    pub(super) fn new(engine: &Engine) -> std::result::Result<References, String> {
        let program: &Program = engine.program();
        let mut finder = Finder::new(program);
        let api = &program.control;
        let (mut tables, mut replicas) = (Vec::new(), Vec::new());
        for (n, (table, shown)) in program.tables.iter().zip(&api.tables).enumerate() {
            let of_table = |why| format!("table `{}`: {why}", table.name);
            tables.push(finder.edges(&shown.keys).map_err(of_table)?);
            replicas.extend(finder.of_replicas_to(n).map_err(of_table)?);
        }
        let mut actions = HashMap::new();
        for action in &api.actions {
            if action
                .parameters
                .iter()
                .any(|p| is_annotated(&p.annotations))
            {
                let edges = finder.edges(&action.parameters);
                let edges = edges.map_err(|why| format!("action `{}`: {why}", action.name))?;
                actions.insert(action.name.clone(), edges);
            }
        }
        let state = State {
            counts: vec![HashMap::new(); finder.places.len()],
            held: HashMap::new(),
        };
        let references = References {
            places: finder.places,
            names: finder.names,
            tables,
            actions,
            replicas,
            state: Mutex::new(state),
        };
        for (n, table) in engine.tables().iter().enumerate() {
            if references.is_part(n, table.spec()) {
                references.begin(n, table)?;
            }
        }
        Ok(references)
    }

    /// Returns whether entries of a table refer to others or are referred to.
    fn is_part(&self, n: usize, table: &ir::Table) -> bool {
        let mut places = self.places.iter();
        let mut actions = table.actions.iter();
        !self.tables[n].is_empty()
            || actions.any(|action| self.actions.contains_key(&action.name))
            || places.any(|place| matches!(place, Place::Keys(table, _) if *table == n))
    }

    /// Counts the initial entries of a table.
    fn begin(&self, n: usize, table: &Table) -> std::result::Result<(), String> {
        let spec = table.spec();
        let is_auto_delete = |(name, value): &(String, ir::Constant)| {
            let is_it = matches!(value, ir::Constant::Enum(kind) if kind.ends_with("AUTO_DELETE"));
            name == "pna_idle_timeout" && is_it
        };
        if table.learns() || spec.properties.iter().any(is_auto_delete) {
            return Err(format!(
                "table `{}`: @refers_to is not supported where the data plane adds or deletes \
                 entries",
                spec.name
            ));
        }
        let mut from = Some(EntryId::FIRST);
        while let Some(at) = from {
            let (states, next) = table.entries(at, 1024);
            for state in states {
                let uses = self.of_entry(n, spec, &state.entry);
                self.inserted(n, &state.entry.keys, &uses);
            }
            from = next;
        }
        Ok(())
    }

    /// Rejects initial entries that refer to entries that do not exist. Multicast groups are only
    /// added later.
    pub(super) fn check_initial(&self) -> std::result::Result<(), String> {
        let state = self.state.lock();
        for (n, place) in self.places.iter().enumerate() {
            let mut counts = state.counts[n].iter();
            let missing = counts.find(|(_, c)| c.references > 0 && c.present == 0);
            if let (Place::Keys(..), Some((values, _))) = (place, missing) {
                let missing = self.missing(n, values).message;
                return Err(format!("an entry of the program: {missing}"));
            }
        }
        Ok(())
    }

    /// Returns whether the program has no references.
    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Returns the references of an action.
    pub(crate) fn of_action(&self, name: &str, arguments: &[Vec<u64>]) -> Uses {
        let edges = self.actions.get(name).map_or(&[][..], |edges| edges);
        let uses = edges.iter().map(|edge| {
            let values = edge.from.iter().map(|n| short(&arguments[*n]));
            (edge.place, values.collect())
        });
        Uses(uses.collect())
    }

    /// Returns the references of an entry. A field that matches anything refers to nothing.
    pub(crate) fn of_entry(&self, n: usize, table: &ir::Table, entry: &Entry) -> Uses {
        let of_keys = self.tables[n].iter().filter_map(|edge| {
            let values = edge.from.iter().map(|key| matched(&entry.keys[*key]));
            Some((edge.place, values.collect::<Option<Values>>()?))
        });
        let mut uses = Uses(of_keys.collect());
        let mut add = |chosen: &ir::Chosen| {
            if let Some(action) = table.actions.get(chosen.action as usize) {
                uses.0
                    .extend(self.of_action(&action.name, &chosen.arguments).0);
            }
        };
        match &entry.action {
            Action::Direct(chosen) => add(chosen),
            Action::Set(actions) => actions.iter().for_each(|action| add(&action.chosen)),
            // The references of members and groups are their own.
            Action::Member(_) | Action::Group(_) => {}
        }
        uses
    }

    /// Returns the references of replicas.
    pub(crate) fn of_replicas(&self, replicas: &[Replica]) -> Uses {
        let uses = replicas.iter().flat_map(|replica| {
            self.replicas.iter().map(|edge| {
                let values = edge.from.iter().map(|from| match from {
                    0 => short(&[replica.port]),
                    _ => short(&[replica.instance]),
                });
                (edge.place, values.collect())
            })
        });
        Uses(uses.collect())
    }

    /// Rejects references to entries that do not exist.
    pub(crate) fn check(&self, uses: &Uses) -> Result<()> {
        let state = self.state.lock();
        let is_missing = |(place, values): &&(usize, Values)| {
            let counts = state.counts[*place].get(values);
            counts.is_none_or(|counts| counts.present == 0)
        };
        match uses.0.iter().find(is_missing) {
            Some((place, values)) => Err(self.missing(*place, values)),
            None => Ok(()),
        }
    }

    /// Checks all current references in the same way.
    pub(crate) fn check_all(&self) -> Result<()> {
        let state = self.state.lock();
        for (place, counts) in state.counts.iter().enumerate() {
            let mut counts = counts.iter();
            let missing = counts.find(|(_, c)| c.references > 0 && c.present == 0);
            if let Some((values, _)) = missing {
                return Err(self.missing(place, values));
            }
        }
        Ok(())
    }

    fn missing(&self, place: usize, values: &Values) -> Fault {
        Fault::not_found(format!(
            "{} has no entry with {}, which is referred to (@refers_to)",
            self.names[place],
            shown(values)
        ))
    }

    /// Returns the values of a table's entry at each place that it is a target of.
    fn at(&self, n: usize, keys: &[Match]) -> Vec<(usize, Values)> {
        let places = self.places.iter().enumerate();
        let at = places.filter_map(|(place, is)| match is {
            Place::Keys(table, fields) if *table == n => {
                let values = fields.iter().map(|key| matched(&keys[*key]));
                Some((place, values.collect::<Option<Values>>()?))
            }
            Place::Keys(..) | Place::Groups => None,
        });
        at.collect()
    }

    fn group(&self, id: u64) -> Vec<(usize, Values)> {
        let place = self.places.iter().position(|place| *place == Place::Groups);
        place
            .map(|place| (place, vec![short(&[id])]))
            .into_iter()
            .collect()
    }

    fn check_unused(&self, at: &[(usize, Values)]) -> Result<()> {
        let state = self.state.lock();
        for (place, values) in at {
            let counts = state.counts[*place]
                .get(values)
                .copied()
                .unwrap_or_default();
            if counts.present == 1 && counts.references > 0 {
                return Err(Fault::new(
                    Code::FailedPrecondition,
                    format!(
                        "the entry of {} with {} is referred to {} times (@refers_to)",
                        self.names[*place],
                        shown(values),
                        counts.references
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Rejects the deletion of an entry that is referred to, unless another has the same values.
    pub(crate) fn check_deleted(&self, n: usize, keys: &[Match]) -> Result<()> {
        self.check_unused(&self.at(n, keys))
    }

    /// Rejects the deletion of a multicast group that is referred to.
    pub(crate) fn check_group_deleted(&self, id: u64) -> Result<()> {
        self.check_unused(&self.group(id))
    }

    fn change(&self, at: &[(usize, Values)], change: impl Fn(&mut Counts)) {
        let mut state = self.state.lock();
        for (place, values) in at {
            let counts = state.counts[*place].entry(values.clone()).or_default();
            change(counts);
            if (counts.present, counts.references) == (0, 0) {
                state.counts[*place].remove(values);
            }
        }
    }

    /// Notes that an entry has been inserted.
    pub(crate) fn inserted(&self, n: usize, keys: &[Match], uses: &Uses) {
        self.change(&self.at(n, keys), |counts| counts.present += 1);
        self.change(&uses.0, |counts| counts.references += 1);
    }

    /// Replaces the references of an entry.
    pub(crate) fn modified(&self, before: &Uses, now: &Uses) {
        self.change(&now.0, |counts| counts.references += 1);
        self.change(&before.0, |counts| {
            counts.references = counts.references.saturating_sub(1);
        });
    }

    /// Notes that an entry has been deleted.
    pub(crate) fn deleted(&self, n: usize, keys: &[Match], uses: &Uses) {
        self.change(&self.at(n, keys), |counts| {
            counts.present = counts.present.saturating_sub(1);
        });
        self.modified(uses, &Uses::default());
    }

    /// Sets the references of a member, default action or group.
    pub(crate) fn holds(&self, holder: Holder, uses: Uses) {
        let before = match uses.0.is_empty() {
            true => self.state.lock().held.remove(&holder),
            false => self.state.lock().held.insert(holder, uses.clone()),
        };
        self.modified(&before.unwrap_or_default(), &uses);
    }

    /// Notes that a multicast group exists or no longer exists.
    pub(crate) fn group_exists(&self, id: u64, exists: bool) {
        self.change(&self.group(id), |counts| counts.present = u64::from(exists));
    }
}

/// Formats values in hexadecimal, for messages.
fn shown(values: &Values) -> String {
    let shown = values
        .iter()
        .map(|value| crate::bytes::hex(&crate::bytes::from_limbs(value)));
    shown.collect::<Vec<_>>().join(", ")
}
