// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Translation of the engine's events to the names that users know.

use adit_p4_frontend::ir::{BlockParameter, Layout, Program};
use adit_p4runtime::p4info::p4info;
use adit_p4runtime::server::Pipeline;
use adit_pipeline::p4::trace::{Applied, Event, MAX_TRACE};
use adit_pipeline::p4::Engine;
use anyhow::Result;

use super::changes::{bytes, changes, has_header};
use super::record::{Change, Step, Value};
use crate::table::catalog::Catalog;
use crate::table::value::{form, show};

/// A translator of events.
pub(super) struct Tracer<'a> {
    program: Program,
    pipeline: &'a Pipeline,
    catalog: &'a Catalog,
    /// The ids of the tables, in the program's order.
    tables: Vec<u32>,
}

fn value(name: &str, width: u32, limbs: &[u64]) -> Value {
    Value {
        name: name.to_owned(),
        value: show(&bytes(limbs), width, form(name, width, &[])),
    }
}

impl<'a> Tracer<'a> {
    pub(super) fn new(
        engine: &Engine,
        pipeline: &'a Pipeline,
        catalog: &'a Catalog,
    ) -> Result<Tracer<'a>> {
        let program = engine.program().clone();
        Ok(Tracer {
            tables: p4info(&program)?.tables,
            program,
            pipeline,
            catalog,
        })
    }

    /// Returns a packet's steps, and the changes to its headers.
    pub(super) fn steps(&self, events: &[Event]) -> (Vec<Step>, Vec<Change>) {
        let mut steps: Vec<Step> = Vec::new();
        let (mut parsed, mut left) = (None, None);
        let mut has_parsed = false;
        for event in events {
            match event {
                Event::Block(block, values) => {
                    let block = &self.program.blocks[*block as usize];
                    let error = self.parser_error(&block.parameters, values);
                    // The first block after a parser has the parser's error.
                    if let Some(error) = error.filter(|_| has_parsed && !block.is_parser) {
                        steps.push(Step::ParserError { error });
                    }
                    has_parsed = false;
                    steps.push(Step::Block {
                        name: block.name.clone(),
                        role: block.role.clone(),
                    });
                }
                Event::End(block, values) => {
                    let block = &self.program.blocks[*block as usize];
                    has_parsed = block.is_parser;
                    let pairs = block.parameters.iter().zip(values);
                    let mut headers = pairs.filter(|(p, _)| has_header(&p.layout));
                    let Some((parameter, values)) = headers.next() else {
                        continue;
                    };
                    if block.is_parser {
                        // The headers of the first pass count, not those after recirculation.
                        parsed.get_or_insert((parameter, values));
                    } else {
                        left = Some((parameter, values));
                    }
                }
                Event::State(name) => steps.push(Step::State {
                    name: name.clone(),
                    extracted: Vec::new(),
                }),
                Event::Extract(header) => {
                    if let Some(Step::State { extracted, .. }) = steps.last_mut() {
                        extracted.push(header.clone());
                    }
                }
                Event::Apply(table, keys) => steps.push(self.table(*table, keys)),
                Event::Action { name, applied } => self.action(name, applied.as_ref(), &mut steps),
            }
        }
        if events.len() >= MAX_TRACE {
            steps.push(Step::Cut);
        }
        let changed = match (parsed, left) {
            (Some((before, old)), Some((after, new))) if before.layout == after.layout => {
                changes(&before.name, &before.layout, old, new)
            }
            _ => Vec::new(),
        };
        (steps, changed)
    }

    fn parser_error(&self, parameters: &[BlockParameter], values: &[Vec<u64>]) -> Option<String> {
        let mut found = parameters.iter().zip(values).filter_map(|(p, values)| {
            let Layout::Struct(fields) = &p.layout else {
                return None;
            };
            let mut fields = fields.fields.iter();
            let field = fields.find(|f| f.layout == Layout::Error && f.name == "parser_error")?;
            let error = *values.get(field.offset as usize)?;
            self.program.errors.get(error as usize)
        });
        found.next().filter(|name| *name != "NoError").cloned()
    }

    fn table(&self, table: u32, keys: &[Vec<u64>]) -> Step {
        let spec = &self.program.tables[table as usize];
        let shown = self.tables.get(table as usize);
        let shown = shown.and_then(|id| self.catalog.table_of(*id));
        let key = spec.keys.iter().zip(keys);
        Step::Table {
            table: shown.map_or(&spec.name, |t| &t.alias).clone(),
            key: key.map(|(k, v)| value(&k.name, k.width, v)).collect(),
            hit: false,
            entry: None,
            action: String::new(),
            arguments: Vec::new(),
        }
    }

    /// Adds an action: the last table's, or one that the program calls.
    fn action(&self, name: &str, applied: Option<&Applied>, steps: &mut Vec<Step>) {
        let short = || name.rsplit('.').next().unwrap_or(name).to_owned();
        let (
            Some(applied),
            Some(Step::Table {
                hit,
                entry,
                action,
                arguments,
                ..
            }),
        ) = (applied, steps.last_mut())
        else {
            steps.push(Step::Action { action: short() });
            return;
        };
        let spec = &self.program.tables[applied.table as usize].actions[applied.action as usize];
        *hit = applied.entry.is_some();
        *entry = applied.entry.and_then(|id| {
            let table = self
                .pipeline
                .engine()
                .tables()
                .get(applied.table as usize)?;
            let (found, _) = table.entries(id, 1);
            let state = found.first().filter(|state| state.id == id)?;
            let message = self.pipeline.table_entry(applied.table as usize, state);
            Some(self.catalog.table_of(message.table_id)?.line(&message))
        });
        *action = short();
        let values = spec.parameters.iter().zip(&applied.arguments);
        *arguments = values.map(|(p, v)| value(&p.name, p.width, v)).collect();
    }
}
