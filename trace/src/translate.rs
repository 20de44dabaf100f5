// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Translation of the engine's events to the names that control planes know.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use adit_conntrack::{Direction, ProtoInfo, Time, Tuple};
use adit_p4_frontend::ir::{Argument, BlockParameter, Layout, Match, Program};
use adit_p4runtime::p4info::p4info;
use adit_p4runtime::server::Pipeline;
use adit_pipeline::p4::tables::{EntryId, EntryState};
use adit_pipeline::p4::trace::{Applied, Event, OfConnection, Returned};
use adit_pipeline::p4::{Engine, SentKind};

use crate::changes::{changes, has_header};
use crate::proto::{
    self, fate, step, Block, CallStep, Change, ConnectionStep, FlowTuple, LogStep, State, Step,
    TableStep,
};
use crate::record::{Fate, Record, Sent};
use crate::values::{flat, number};

/// The members of `ConntrackStatus_t` (`adit.p4`).
const STATUSES: [&str; 8] = [
    "COMMITTED",
    "NOT_TRACKED",
    "INVALID",
    "TABLE_FULL",
    "ZONE_FULL",
    "NAT_EXHAUSTED",
    "BAD_RANGE",
    "REFUSED",
];

/// A translator of the records of one program.
pub struct Translator {
    pipeline: Pipeline,
    /// The ids of the tables, in the program's order, and the names that people use.
    tables: Vec<(u32, String)>,
}

fn short(name: &str) -> String {
    name.rsplit('.').next().unwrap_or(name).to_owned()
}

fn step(step: step::Step) -> Step {
    Step { step: Some(step) }
}

/// Returns whether an entry matches a key: its number may be another entry's by now.
fn matches(state: &EntryState, keys: &[Vec<u64>]) -> bool {
    let mut pairs = state.entry.keys.iter().zip(keys);
    pairs.all(|(wanted, value)| match wanted {
        Match::Exact(wanted) => wanted == value,
        _ => true,
    })
}

impl Translator {
    /// Creates the translator of an engine's program.
    ///
    /// # Errors
    /// When the ids of the program are invalid: a text.
    pub fn new(engine: &Arc<Engine>) -> Result<Translator, String> {
        Translator::of(Pipeline::of_engine(engine.clone())?)
    }

    /// Creates the translator of a pipeline's program.
    ///
    /// # Errors
    /// When the ids of the program are invalid: a text.
    pub fn of(pipeline: Pipeline) -> Result<Translator, String> {
        let program = pipeline.engine().program();
        let ids = p4info(program).map_err(|error| error.to_string())?.tables;
        let known = &pipeline.p4info().tables;
        let named = program.tables.iter().zip(ids).map(|(table, id)| {
            let preambles = known.iter().filter_map(|t| t.preamble.as_ref());
            let alias = preambles.filter(|p| p.id == id).map(|p| &p.alias).next();
            (id, alias.unwrap_or(&table.name).clone())
        });
        Ok(Translator {
            tables: named.collect(),
            pipeline,
        })
    }

    /// The pipeline of the program.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    pub(crate) fn program(&self) -> &Program {
        self.pipeline.engine().program()
    }

    /// The message of a packet. `start` is the date at the time zero of its data path, as the time
    /// since 1970.
    pub fn packet(&self, record: &Record, number: u64, start: Duration) -> proto::Packet {
        let (steps, changes) = self.steps(record);
        let drop = record.dropped.as_ref();
        proto::Packet {
            drop: drop.map(|dropped| self.blame(dropped, &record.events, &steps)),
            steps,
            changes,
            ..plain(record, number, start)
        }
    }

    /// A packet's steps, and the changes to its headers.
    fn steps(&self, record: &Record) -> (Vec<Step>, Vec<Change>) {
        let mut steps: Vec<Step> = Vec::new();
        let (mut parsed, mut left) = (None, None);
        let mut has_parsed = false;
        let mut keys: &[Vec<u64>] = &[];
        for event in &record.events {
            match event {
                Event::Block(block, values) => {
                    let block = &self.program().blocks[*block as usize];
                    let error = self.parser_error(&block.parameters, values);
                    // The first block after a parser has the parser's error.
                    if let Some(error) = error.filter(|_| has_parsed && !block.is_parser) {
                        steps.push(step(step::Step::ParserError(error)));
                    }
                    has_parsed = false;
                    steps.push(step(step::Step::Block(Block {
                        name: block.name.clone(),
                        role: block.role.clone(),
                    })));
                }
                Event::End(block, values) => {
                    let block = &self.program().blocks[*block as usize];
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
                Event::State(name) => steps.push(step(step::Step::State(State {
                    name: name.clone(),
                    extracted: Vec::new(),
                }))),
                Event::Extract(header) => {
                    if let Some(step::Step::State(state)) =
                        steps.last_mut().and_then(|s| s.step.as_mut())
                    {
                        state.extracted.push(header.clone());
                    }
                }
                Event::Apply(table, values) => {
                    keys = values;
                    steps.push(step(step::Step::Table(self.table(*table, values))));
                }
                Event::Action { name, applied } => {
                    self.action(name, applied.as_ref(), keys, &mut steps);
                }
                Event::Call(returned) => {
                    steps.push(step(step::Step::Call(self.call(returned))));
                }
                Event::Connection(of) => {
                    let connection = self.connection(of, record.time_ns);
                    steps.push(step(step::Step::Connection(connection)));
                }
                Event::Log(message) => steps.push(step(step::Step::Log(LogStep {
                    place: message.place.clone(),
                    text: message.text.clone(),
                }))),
                Event::Cut => steps.push(step(step::Step::Cut(true))),
            }
        }
        let changed = match (parsed, left) {
            (Some((before, old)), Some((after, new))) if before.layout == after.layout => {
                changes(self.program(), &before.name, &before.layout, old, new)
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
            self.program().errors.get(error as usize)
        });
        found.next().filter(|name| *name != "NoError").cloned()
    }

    fn table(&self, table: u32, keys: &[Vec<u64>]) -> TableStep {
        let spec = &self.program().tables[table as usize];
        let (table_id, name) = self.tables[table as usize].clone();
        let key = spec.keys.iter().zip(keys);
        TableStep {
            table_id,
            name,
            key: key.map(|(k, v)| number(&k.name, k.width, v)).collect(),
            ..TableStep::default()
        }
    }

    /// Adds an action: the last table's, or one that the program calls.
    fn action(
        &self,
        name: &str,
        applied: Option<&Applied>,
        keys: &[Vec<u64>],
        steps: &mut Vec<Step>,
    ) {
        let last = steps.last_mut().and_then(|s| s.step.as_mut());
        let (Some(applied), Some(step::Step::Table(table))) = (applied, last) else {
            steps.push(step(step::Step::Action(short(name))));
            return;
        };
        let n = applied.table as usize;
        let spec = &self.program().tables[n].actions[applied.action as usize];
        table.hit = applied.entry.is_some();
        table.handle = applied.entry.map(EntryId::number);
        table.entry = applied.entry.and_then(|id| {
            let table = self.pipeline.engine().tables().get(n)?;
            let (found, _) = table.entries(id, 1);
            let is_it = |state: &&EntryState| state.id == id && matches(state, keys);
            let state = found.first().filter(is_it)?;
            Some(self.pipeline.table_entry(n, state))
        });
        (table.group, table.member) = match applied.selected {
            Some((group, member)) => (Some(group), member),
            None => (None, None),
        };
        table.action = short(name);
        let values = spec.parameters.iter().zip(&applied.arguments);
        table.arguments = values.map(|(p, v)| number(&p.name, p.width, v)).collect();
    }

    fn call(&self, returned: &Returned) -> CallStep {
        let program = self.program();
        let call = &program.calls[returned.call as usize];
        let object = call.object.and_then(|at| program.externs.get(at as usize));
        let name = match object {
            Some(object) => format!("{}.{}", short(&object.name), call.name),
            None => call.name.clone(),
        };
        let mut arguments = Vec::new();
        for (argument, value) in call.arguments.iter().zip(&returned.arguments) {
            match (argument, value) {
                (Some(Argument::Value(_, layout, _)), Some(value)) => {
                    flat(program, "", layout, value, &mut arguments);
                }
                (Some(Argument::Text(text)), _) => arguments.push(proto::Value {
                    text: text.clone(),
                    ..proto::Value::default()
                }),
                _ => {}
            }
        }
        let mut result = Vec::new();
        if let (Some((_, layout)), Some(value)) = (&call.result, &returned.result) {
            flat(program, "", layout, value, &mut result);
        }
        CallStep {
            name,
            arguments,
            result: result.into_iter().next(),
        }
    }

    fn connection(&self, of: &OfConnection, now_ns: u64) -> ConnectionStep {
        let tracker = self.pipeline.engine().tracker();
        let kept = tracker.zip(of.connection);
        let kept = kept.and_then(|(tracker, id)| tracker.get(id, Time::from_nanos(now_ns)));
        let status = of.status.map(|n| match STATUSES.get(usize::from(n)) {
            Some(name) => (*name).to_owned(),
            None => n.to_string(),
        });
        let protocol_state = kept.as_ref().map(|kept| match kept.proto {
            ProtoInfo::Tcp { state, .. } => state.name().to_owned(),
            ProtoInfo::Sctp { state, .. } => state.name().to_owned(),
            _ => String::new(),
        });
        ConnectionStep {
            status: status.unwrap_or_default(),
            is_forgotten: of.is_forgotten,
            zone: of.zone.into(),
            state: of.state.bits().into(),
            invalid: of.invalid.map(|why| why.to_string()).unwrap_or_default(),
            is_reply: of.direction == Some(Direction::Reply),
            mark: of.mark,
            translated: of.translated.as_ref().map(tuple),
            id: of.connection.map_or(0, |id| id.to_bits()),
            original: kept.as_ref().map(|kept| tuple(&kept.original)),
            reply: kept.as_ref().map(|kept| tuple(&kept.reply)),
            protocol_state: protocol_state.unwrap_or_default(),
        }
    }
}

/// The message of a packet without its way through a program.
pub(crate) fn plain(record: &Record, number: u64, start: Duration) -> proto::Packet {
    let time = start + Duration::from_nanos(record.time_ns);
    let nic = match record.dropped {
        Some(crate::Dropped::Nic(reason, text)) => Some(proto::Drop {
            reason: reason.to_owned(),
            step: None,
            text: text.to_owned(),
        }),
        _ => None,
    };
    proto::Packet {
        number,
        time_ns: time.as_nanos() as u64,
        port: record.port,
        queue: record.queue.map(u32::from),
        length: record.length as u32,
        data: record.data.clone(),
        outputs: record.outputs.iter().map(output).collect(),
        drop: nic,
        ..proto::Packet::default()
    }
}

fn output(sent: &Sent) -> proto::Output {
    let kind = match sent.kind {
        SentKind::Packet => proto::output::Kind::Packet,
        SentKind::Multicast => proto::output::Kind::Multicast,
        SentKind::Clone => proto::output::Kind::Clone,
        SentKind::Answer => proto::output::Kind::Answer,
    };
    proto::Output {
        kind: kind.into(),
        port: sent.port,
        length: sent.length as u32,
        data: sent.data.clone(),
        queue: sent.receive.queue.map(u32::from),
        flow_id: sent.receive.flow_id,
        hash: sent.receive.hash,
        fate: sent.fate.map(|is| proto::Fate {
            fate: Some(match is {
                Fate::Delivered { port, queue } => {
                    fate::Fate::Delivered(proto::Delivery { port, queue })
                }
                Fate::Sent(wire) => fate::Fate::Sent(wire),
                Fate::Dropped(reason) => fate::Fate::Dropped(reason.to_owned()),
                Fate::Waits => fate::Fate::Waits(true),
            }),
            is_flooded: sent.is_flooded,
        }),
    }
}

fn tuple(tuple: &Tuple) -> FlowTuple {
    let bytes = |address| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    FlowTuple {
        source: bytes(tuple.src().address),
        destination: bytes(tuple.dst().address),
        protocol: tuple.protocol().0.into(),
        source_part: tuple.src().part.into(),
        destination_part: tuple.dst().part.into(),
    }
}
