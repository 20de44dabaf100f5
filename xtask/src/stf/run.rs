// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A test on a switch.

use std::collections::BTreeMap;

use adit_p4_frontend::ir::{Chosen, Match, Program};
use adit_pipeline::p4::externs::Object;
use adit_pipeline::p4::pna::{Direction, Nic};
use adit_pipeline::p4::tables::Table;
use adit_pipeline::p4::v1model::{CloneSession, Replication, Switch};
use anyhow::{bail, ensure, Context, Result};

use super::command::{self, Action, Command};
use super::compare::{compare, Expected};
use super::values;

/// Runs a test; gives what went wrong.
pub(super) fn run(program: Program, test: &str) -> Result<Vec<String>> {
    let commands = command::parse(test)?;
    let mut runner = Runner {
        switch: Device::new(program)?,
        nodes: Vec::new(),
        expected: BTreeMap::new(),
        received: BTreeMap::new(),
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

/// What runs the program: the architecture that it is written for says which.
enum Device {
    V1model(Box<Switch>),
    Pna(Box<Nic>),
}

impl Device {
    fn new(program: Program) -> Result<Device> {
        Ok(match program.package.as_str() {
            "PNA_NIC" => Device::Pna(Box::new(Nic::new(program)?)),
            _ => Device::V1model(Box::new(Switch::new(program)?)),
        })
    }

    fn tables(&mut self) -> &mut [Table] {
        match self {
            Device::V1model(switch) => switch.tables(),
            Device::Pna(nic) => nic.tables(),
        }
    }

    fn objects(&mut self) -> &mut [Object] {
        match self {
            Device::V1model(switch) => switch.objects(),
            Device::Pna(nic) => nic.objects(),
        }
    }

    fn program(&self) -> &Program {
        match self {
            Device::V1model(switch) => switch.program(),
            Device::Pna(nic) => nic.program(),
        }
    }

    fn replication(&mut self) -> Result<&mut Replication> {
        match self {
            Device::V1model(switch) => Ok(&mut switch.replication),
            Device::Pna(_) => bail!("PNA has no such command"),
        }
    }

    fn process(&mut self, port: u16, data: &[u8], out: &mut dyn FnMut(u16, &[u8])) {
        match self {
            Device::V1model(switch) => switch.process(port, data, out),
            Device::Pna(nic) => {
                nic.process(
                    port.into(),
                    Direction::NetToHost,
                    data,
                    &mut |port, packet| {
                        out(port as u16, packet);
                    },
                );
            }
        }
    }

    fn set_session(&mut self, session: u64, port: u64) {
        match self {
            Device::V1model(switch) => {
                switch
                    .replication
                    .set_session(session, CloneSession::Port(port));
            }
            Device::Pna(nic) => nic.set_mirror(session, port),
        }
    }
}

struct Runner {
    switch: Device,
    /// Replication nodes by their handles: the id and the ports.
    nodes: Vec<(u64, Vec<u64>)>,
    expected: BTreeMap<u16, Vec<Expected>>,
    received: BTreeMap<u16, Vec<Vec<u8>>>,
    failures: Vec<String>,
}

impl Runner {
    fn command(&mut self, line: usize, command: Command) -> Result<()> {
        match command {
            Command::Packet { port, data } => {
                let received = &mut self.received;
                self.switch.process(port, &data, &mut |port, packet| {
                    received.entry(port).or_default().push(packet.to_vec());
                });
            }
            Command::Expect { port, pattern } => {
                self.expected.entry(port).or_default().push((line, pattern));
            }
            Command::Add {
                table,
                priority,
                keys,
                action,
            } => self.add(&table, priority, &keys, &action)?,
            Command::SetDefault { table, action } => {
                let table = self.table(&table)?;
                let chosen = self.chosen(table, &action)?;
                self.switch.tables()[table].set_default(chosen)?;
            }
            Command::MirrorPort(session, port) => {
                self.switch.set_session(session, port);
            }
            Command::MirrorGroup(session, group) => {
                let to = CloneSession::Group(group);
                self.switch.replication()?.set_session(session, to);
            }
            Command::MakeGroup(group) => self.switch.replication()?.make_group(group),
            Command::MakeNode(rid, ports) => self.nodes.push((rid, ports)),
            Command::JoinGroup(group, node) => {
                let (rid, ports) = self.nodes.get(node).context("there is no such node")?;
                for port in ports {
                    let added = self.switch.replication()?.add_copy(group, *port, *rid);
                    ensure!(added, "there is no group {group}, or it is full");
                }
            }
            Command::CheckCounter {
                counter,
                index,
                packets,
                bytes,
            } => self.check_counter(line, &counter, index, packets, bytes)?,
            Command::RegisterRead(name, index, wanted) => {
                let value = *self.register(&name, index)?;
                if wanted.is_some_and(|wanted| wanted != value) {
                    let text = format!("line {line}: {name}[{index}] is {value}, not {wanted:?}");
                    self.failures.push(text);
                }
            }
            Command::RegisterWrite(name, index, value) => *self.register(&name, index)? = value,
            // Packets are through when they have been sent.
            Command::Wait => {}
        }
        Ok(())
    }

    fn table(&mut self, name: &str) -> Result<usize> {
        let names: Vec<String> = self
            .switch
            .tables()
            .iter()
            .map(|t| t.spec().name.clone())
            .collect();
        values::find("table", name, &names)
    }

    fn add(
        &mut self,
        table: &str,
        priority: Option<i64>,
        keys: &[(String, String)],
        action: &Action,
    ) -> Result<()> {
        let table = self.table(table)?;
        let chosen = self.chosen(table, action)?;
        let table = &mut self.switch.tables()[table];
        let names: Vec<String> = table.spec().keys.iter().map(|k| k.name.clone()).collect();
        let mut matches = vec![Match::Any; names.len()];
        for (name, value) in keys {
            let at = values::find("key", name, &names)?;
            matches[at] = values::matched(value, table.spec().keys[at].width)?;
        }
        table.add(&matches, priority.unwrap_or(0), chosen)?;
        Ok(())
    }

    fn chosen(&mut self, table: usize, action: &Action) -> Result<Chosen> {
        let spec = self.switch.tables()[table].spec();
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

    fn object(&mut self, name: &str) -> Result<&mut Object> {
        let externs = &self.switch.program().externs;
        let names: Vec<String> = externs.iter().map(|e| e.name.clone()).collect();
        let at = values::find("object", name, &names)?;
        Ok(&mut self.switch.objects()[at])
    }

    fn register(&mut self, name: &str, index: usize) -> Result<&mut u64> {
        match self.object(name)? {
            Object::Register { limbs, values } => {
                let value = values.get_mut(index * *limbs);
                value.with_context(|| format!("`{name}` has no element {index}"))
            }
            _ => bail!("`{name}` is no register"),
        }
    }

    fn check_counter(
        &mut self,
        line: usize,
        name: &str,
        index: usize,
        packets: Option<u64>,
        bytes: Option<u64>,
    ) -> Result<()> {
        let Object::Counter(counts) = self.object(name)? else {
            bail!("`{name}` is no counter");
        };
        let count = *counts
            .get(index)
            .with_context(|| format!("`{name}` has no element {index}"))?;
        let differs =
            packets.is_some_and(|n| n != count.packets) || bytes.is_some_and(|n| n != count.bytes);
        if differs {
            self.failures
                .push(format!("line {line}: {name}[{index}] is {count:?}"));
        }
        Ok(())
    }
}
