// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The rules that a program's annotations make for its entries: `@entry_restriction` and
//! `@action_restriction` (p4-constraints), `@refers_to` and `@referenced_by`, `@p4runtime_role`.
//! Comparisons use the data plane's values: for a translated type, the number that represents a
//! string. Programs with invalid rules are rejected.

mod annotations;
mod edges;
mod references;

use std::collections::HashMap;

use adit_p4_frontend::control::Annotation;
use adit_p4_frontend::ir::{self, Match, Program};
use num_bigint::{BigInt, BigUint};
use tonic::Code;

use super::fault::{Fault, Result};
use crate::constraints::{self, Constraint, Field, Kind, Part, Scope};
use adit_pipeline::p4::tables::{Action, Entry, EntryId, Origin, Table};
use adit_pipeline::p4::Engine;
pub(crate) use references::{Holder, References, Uses};

/// A constraint of a table or action, with the match fields or parameters that it can name.
struct Restriction {
    constraint: Constraint,
    fields: Vec<(usize, Field)>,
}

/// The rules of a table.
#[derive(Default)]
struct TableRules {
    restriction: Option<Restriction>,
    role: Option<String>,
}

/// The rules of a program.
pub(crate) struct Rules {
    tables: Vec<TableRules>,
    actions: HashMap<String, Restriction>,
    pub(crate) references: References,
}

impl Rules {
    /// Creates the rules of an engine's program.
    pub(crate) fn new(engine: &Engine) -> std::result::Result<Rules, String> {
        let program: &Program = engine.program();
        let api = &program.control;
        let mut tables = Vec::with_capacity(program.tables.len());
        for (table, shown) in program.tables.iter().zip(&api.tables) {
            let names = shown.keys.iter().map(|item| item.name.as_str());
            let keys = table.keys.iter().zip(names).enumerate();
            let fields = keys.filter_map(|(n, (key, name))| {
                let kind = match key.kind.as_str() {
                    "exact" => Kind::Exact,
                    "ternary" => Kind::Ternary,
                    "optional" => Kind::Optional,
                    "lpm" => Kind::Lpm,
                    "range" => Kind::Range,
                    _ => return None,
                };
                Some((n, field(name, kind, key.width)))
            });
            let restriction = restriction(
                &shown.annotations,
                "entry_restriction",
                fields.collect(),
                true,
            );
            let role = annotations::text(&shown.annotations, "p4runtime_role");
            let of_table = |why| format!("table `{}`: {why}", table.name);
            tables.push(TableRules {
                restriction: restriction.map_err(of_table)?,
                role: role.map_err(of_table)?,
            });
        }
        let mut actions = HashMap::new();
        for action in &api.actions {
            let parameters = action.parameters.iter().enumerate();
            let fields = parameters.map(|(n, p)| (n, field(&p.name, Kind::Exact, p.width)));
            let found = restriction(
                &action.annotations,
                "action_restriction",
                fields.collect(),
                false,
            );
            let found = found.map_err(|why| format!("action `{}`: {why}", action.name))?;
            if let Some(found) = found {
                actions.insert(action.name.clone(), found);
            }
        }
        let rules = Rules {
            tables,
            actions,
            references: References::new(engine)?,
        };
        for (n, table) in engine.tables().iter().enumerate() {
            rules.check_initial(n, table)?;
        }
        rules.references.check_initial()?;
        Ok(rules)
    }

    /// Rejects entries of the program that violate restrictions.
    fn check_initial(&self, n: usize, table: &Table) -> std::result::Result<(), String> {
        let spec = table.spec();
        let restricted = |action: &ir::TableAction| self.actions.contains_key(&action.name);
        if self.tables[n].restriction.is_none() && !spec.actions.iter().any(restricted) {
            return Ok(());
        }
        let check = |entry: &Entry| {
            self.check_entry(n, spec, &entry.keys, entry.priority)?;
            if let Action::Direct(chosen) = &entry.action {
                if let Some(action) = spec.actions.get(chosen.action as usize) {
                    self.check_action(&action.name, &chosen.arguments)?;
                }
            }
            Ok(())
        };
        let mut from = Some(EntryId::FIRST);
        while let Some(at) = from {
            let (states, next) = table.entries(at, 1024);
            let own = states.iter().filter(|s| s.origin == Origin::Program);
            for state in own {
                check(&state.entry).map_err(|fault: Fault| {
                    format!(
                        "an entry of the program in `{}`: {}",
                        spec.name, fault.message
                    )
                })?;
            }
            from = next;
        }
        Ok(())
    }

    /// Rejects an entry that violates its table's restriction.
    pub(crate) fn check_entry(
        &self,
        n: usize,
        table: &ir::Table,
        keys: &[Match],
        priority: i64,
    ) -> Result<()> {
        let Some(restriction) = &self.tables[n].restriction else {
            return Ok(());
        };
        let entry = OfTable {
            restriction,
            keys,
            priority,
        };
        match restriction.constraint.violated(&entry) {
            None => Ok(()),
            Some(clause) => Err(Fault::invalid(format!(
                "the entry violates @entry_restriction of table `{}`: {clause}",
                table.name
            ))),
        }
    }

    /// Rejects arguments that violate their action's restriction.
    pub(crate) fn check_action(&self, name: &str, arguments: &[Vec<u64>]) -> Result<()> {
        let Some(restriction) = self.actions.get(name) else {
            return Ok(());
        };
        let entry = OfAction {
            restriction,
            arguments,
        };
        match restriction.constraint.violated(&entry) {
            None => Ok(()),
            Some(clause) => Err(Fault::invalid(format!(
                "the params violate @action_restriction of action `{name}`: {clause}"
            ))),
        }
    }

    /// Rejects a role that may not write a table. The default role may write all tables.
    pub(crate) fn check_role(&self, n: usize, table: &ir::Table, role: &str) -> Result<()> {
        match &self.tables[n].role {
            Some(only) if !role.is_empty() && role != only => Err(Fault::new(
                Code::PermissionDenied,
                format!(
                    "role \"{role}\" may not write table `{}`: its @p4runtime_role is \"{only}\"",
                    table.name
                ),
            )),
            _ => Ok(()),
        }
    }
}

fn field(name: &str, kind: Kind, width: u32) -> Field {
    Field {
        name: name.to_owned(),
        kind,
        width,
    }
}

fn restriction(
    annotations: &[Annotation],
    name: &str,
    fields: Vec<(usize, Field)>,
    has_priority: bool,
) -> std::result::Result<Option<Restriction>, String> {
    let Some(text) = annotations::text(annotations, name)? else {
        return Ok(None);
    };
    let scope = Scope {
        fields: fields.iter().map(|(_, field)| field.clone()).collect(),
        has_priority,
    };
    let constraint = Constraint::new(&text, &scope);
    Ok(Some(Restriction {
        constraint: constraint.map_err(|error| format!("@{name}: {error}"))?,
        fields,
    }))
}

fn big(limbs: &[u64]) -> BigInt {
    let halves = limbs
        .iter()
        .flat_map(|limb| [*limb as u32, (*limb >> 32) as u32]);
    BigUint::new(halves.collect()).into()
}

/// An entry with the values of its keys.
struct OfTable<'a> {
    restriction: &'a Restriction,
    keys: &'a [Match],
    priority: i64,
}

impl constraints::Entry for OfTable<'_> {
    fn part(&self, field: usize, part: Part) -> BigInt {
        let (key, Field { kind, width, .. }) = &self.restriction.fields[field];
        let all_ones = || (BigInt::from(1) << *width) - 1;
        match (&self.keys[*key], part) {
            (Match::Any, Part::High) => all_ones(),
            (Match::Any, _) => 0.into(),
            (Match::Exact(_), Part::Mask) => all_ones(),
            (Match::Exact(_), Part::PrefixLength) => (*width).into(),
            (Match::Exact(value), Part::Value | Part::Low | Part::High) => big(value),
            (Match::Ternary(_, mask), Part::Mask) => big(mask),
            (Match::Ternary(_, mask), Part::PrefixLength) => mask
                .iter()
                .map(|limb| limb.count_ones())
                .sum::<u32>()
                .into(),
            (Match::Ternary(value, _), Part::Value | Part::Low | Part::High) => big(value),
            (Match::Range(_, high), Part::High) => big(high),
            (Match::Range(low, _), _) => {
                debug_assert_eq!(*kind, Kind::Range);
                big(low)
            }
        }
    }

    fn priority(&self) -> BigInt {
        self.priority.into()
    }
}

/// An action with its arguments.
struct OfAction<'a> {
    restriction: &'a Restriction,
    arguments: &'a [Vec<u64>],
}

impl constraints::Entry for OfAction<'_> {
    fn part(&self, field: usize, _part: Part) -> BigInt {
        let (parameter, _) = &self.restriction.fields[field];
        big(&self.arguments[*parameter])
    }

    fn priority(&self) -> BigInt {
        0.into()
    }
}
