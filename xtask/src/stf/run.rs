// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Execution of a test on the engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use adit_p4_frontend::ir::{Chosen, Match, Program};
use adit_pipeline::p4::objects::{Object, Register};
use adit_pipeline::p4::replication::{CloneSession, Replica};
use adit_pipeline::p4::tables::Entry;
use adit_pipeline::p4::{Engine, Input, Output, Worker, NO_QUEUE};
use anyhow::{bail, Context, Result};

use super::command::{self, Action, Command};
use super::compare::{compare, Expected, Received};
use super::control;
use super::values;

/// Runs a test with machine code and with the interpreter; returns the failures.
pub(super) fn run(program: Program, test: &str) -> Result<Vec<String>> {
    let interpreted = Engine::load_interpreted(program.clone())?;
    let native = Engine::load(program)?;
    if let Some(why) = native.is_interpreted() {
        println!("interpreted only: {why}");
        return run_engine(native, test);
    }
    let mut failures = run_engine(native, test)?;
    for failure in run_engine(interpreted, test)? {
        failures.push(format!("interpreted: {failure}"));
    }
    Ok(failures)
}

fn run_engine(engine: Engine, test: &str) -> Result<Vec<String>> {
    let commands = command::parse(test)?;
    let mut runner = Runner {
        worker: Engine::worker(&Arc::new(engine)),
        nodes: Vec::new(),
        expected: BTreeMap::new(),
        received: BTreeMap::new(),
        now_ns: 0,
        failures: Vec::new(),
    };
    for (line, command) in commands {
        runner
            .command(line, command)
            .with_context(|| format!("line {line}"))?;
    }
    runner
        .failures
        .extend(compare(&runner.expected, &runner.received));
    Ok(runner.failures)
}

pub(super) struct Runner {
    worker: Worker,
    /// Replication nodes, indexed by handle: the id and the ports.
    nodes: Vec<(u64, Vec<u64>)>,
    expected: BTreeMap<u16, Vec<Expected>>,
    received: BTreeMap<u16, Vec<Received>>,
    /// The current time, advanced by the test.
    pub(super) now_ns: u64,
    pub(super) failures: Vec<String>,
}

impl Runner {
    pub(super) fn engine(&self) -> Arc<Engine> {
        self.worker.engine().clone()
    }

    fn command(&mut self, line: usize, command: Command) -> Result<()> {
        match command {
            Command::Packet { port, queue, data } => {
                let received = &mut self.received;
                let input = Input {
                    queue: queue.unwrap_or(NO_QUEUE),
                    ..Input::new(port.into(), &data)
                };
                self.worker
                    .process(self.now_ns, &[input], &mut |_, output| {
                        if let Output::Sent(sent) = output {
                            let queue = sent.receive.queue;
                            let all = received.entry(sent.port as u16).or_default();
                            let frames = sent.frames(&data).into_iter();
                            all.extend(frames.map(|packet| Received { packet, queue }));
                        }
                    });
            }
            Command::Expect {
                port,
                queue,
                pattern,
            } => self.expected.entry(port).or_default().push(Expected {
                line,
                queue,
                pattern,
            }),
            Command::Add { entry, action } => {
                let table = self.table(&entry.table)?;
                let entry = self.entry(table, &entry, &action, None)?;
                self.engine().tables()[table].insert(&entry, self.now_ns)?;
            }
            Command::SetDefault { table, action } => {
                let table = self.table(&table)?;
                let chosen = self.chosen(table, &action)?;
                self.engine().tables()[table].set_default(chosen)?;
            }
            Command::MirrorPort(session, port) => {
                self.set_session(session, CloneSession::port(port))?;
            }
            Command::MirrorGroup(session, group) => {
                self.set_session(session, CloneSession::group(group))?;
            }
            Command::MakeGroup(group) => self.engine().replication().insert_group(group, &[])?,
            Command::MakeNode(rid, ports) => self.nodes.push((rid, ports)),
            Command::JoinGroup(group, node) => {
                let (rid, ports) = self.nodes.get(node).context("there is no such node")?;
                let engine = self.engine();
                let copies = engine.replication().group(group);
                let mut copies = copies.context("there is no such group")?.to_vec();
                copies.extend(ports.iter().map(|port| Replica {
                    port: *port,
                    instance: *rid,
                }));
                engine.replication().modify_group(group, &copies)?;
            }
            Command::CheckCounter {
                counter,
                index,
                packets,
                bytes,
            } => self.check_counter(line, &counter, index, packets, bytes)?,
            Command::RegisterRead(name, index, wanted) => {
                let (engine, at) = (self.engine(), self.object(&name)?);
                let value = register(&engine, at)?.get(index as u64)?[0];
                if wanted.is_some_and(|wanted| wanted != value) {
                    let text = format!("line {line}: {name}[{index}] is {value}, not {wanted:?}");
                    self.failures.push(text);
                }
            }
            Command::RegisterWrite(name, index, value) => {
                let (engine, at) = (self.engine(), self.object(&name)?);
                register(&engine, at)?.set(index as u64, &[value])?;
            }
            Command::Control(control) => self.control(line, control)?,
            Command::Fails(command) => {
                let text = format!("{command:?}");
                if self.command(line, *command).is_ok() {
                    let text = format!("line {line}: this was to be refused: {text}");
                    self.failures.push(text);
                }
            }
        }
        Ok(())
    }

    fn set_session(&mut self, id: u64, session: CloneSession) -> Result<()> {
        let engine = self.engine();
        match engine.replication().session(id) {
            None => engine.replication().insert_session(id, session)?,
            Some(_) => engine.replication().modify_session(id, session)?,
        }
        Ok(())
    }

    pub(super) fn table(&mut self, name: &str) -> Result<usize> {
        let engine = self.engine();
        let tables = engine.tables().iter();
        let names: Vec<String> = tables.map(|t| t.spec().name.clone()).collect();
        values::find("table", name, &names)
    }

    /// Builds an entry for a table.
    pub(super) fn entry(
        &mut self,
        table: usize,
        entry: &control::Entry,
        action: &Action,
        idle_timeout_ns: Option<u64>,
    ) -> Result<Entry> {
        Ok(Entry {
            keys: self.keys(table, entry)?,
            priority: entry.priority.unwrap_or(0),
            action: self.entry_action(table, action)?,
            idle_timeout_ns,
            opaque: Vec::new(),
        })
    }

    /// Returns an entry's keys, in the table's order; a key that is not given matches anything.
    pub(super) fn keys(&mut self, table: usize, entry: &control::Entry) -> Result<Vec<Match>> {
        let engine = self.engine();
        let keys = &engine.tables()[table].spec().keys;
        let names: Vec<String> = keys.iter().map(|k| k.name.clone()).collect();
        let mut matches = vec![Match::Any; names.len()];
        for (name, value) in &entry.keys {
            let at = values::find("key", name, &names)?;
            matches[at] = values::matched(value, keys[at].width)?;
        }
        Ok(matches)
    }

    pub(super) fn chosen(&mut self, table: usize, action: &Action) -> Result<Chosen> {
        let engine = self.engine();
        let spec = engine.tables()[table].spec();
        let names: Vec<String> = spec.actions.iter().map(|a| a.name.clone()).collect();
        let at = values::find("action", action.name.trim_start_matches('_'), &names)?;
        let parameters = &spec.actions[at].parameters;
        let names: Vec<String> = parameters.iter().map(|p| p.name.clone()).collect();
        let mut arguments = vec![None; names.len()];
        for (n, (name, value)) in action.arguments.iter().enumerate() {
            let at = match name.is_empty() {
                true => n,
                false => values::find("parameter", name, &names)?,
            };
            let slot = arguments
                .get_mut(at)
                .context("there are too many arguments")?;
            *slot = Some(values::value(value)?);
        }
        let arguments: Option<Vec<_>> = arguments.into_iter().collect();
        Ok(Chosen {
            action: at as u32,
            arguments: arguments.context("an argument of the action is missing")?,
        })
    }

    pub(super) fn object(&mut self, name: &str) -> Result<usize> {
        let engine = self.engine();
        let externs = engine.program().externs.iter();
        let names: Vec<String> = externs.map(|e| e.name.clone()).collect();
        values::find("object", name, &names)
    }

    fn check_counter(
        &mut self,
        line: usize,
        name: &str,
        index: usize,
        packets: Option<u64>,
        bytes: Option<u64>,
    ) -> Result<()> {
        let (engine, at) = (self.engine(), self.object(name)?);
        let Object::Counter(counter) = &engine.objects()[at] else {
            bail!("`{name}` is no counter");
        };
        let count = counter.get(index as u64)?;
        let differs =
            packets.is_some_and(|n| n != count.packets) || bytes.is_some_and(|n| n != count.bytes);
        if differs {
            self.failures
                .push(format!("line {line}: {name}[{index}] is {count:?}"));
        }
        Ok(())
    }
}

fn register(engine: &Engine, at: usize) -> Result<&Register> {
    match &engine.objects()[at] {
        Object::Register(register) => Ok(register),
        _ => bail!("`{}` is no register", engine.program().externs[at].name),
    }
}
