// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The steps of a packet's last pass through the program, by the names of the program.

use std::net::{IpAddr, SocketAddr};

use adit_node::program::{address_of, number};
use adit_trace::proto::{step, ConnectionStep, FlowTuple, Packet, TableStep, Value};

/// The part of a program that begins a pass.
const PARSER: &str = "main_parser";
/// The call behind which the answer to a packet goes through the program.
const ANSWER: &str = "reject_behind";

/// The steps of a pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps<'p>(&'p [adit_trace::proto::Step]);

impl<'p> Steps<'p> {
    /// The last pass, for an earlier one has taken a packet out of its tunnel.
    pub(super) fn new(packet: &'p Packet) -> Steps<'p> {
        let steps = Self::without_answer(packet);
        let begin = steps.iter().rposition(begins_pass).unwrap_or(0);
        Steps(&steps[begin..])
    }

    /// The pass that takes a packet out of its tunnel, if there was one behind it.
    pub(super) fn before_last(packet: &'p Packet) -> Option<Steps<'p>> {
        let steps = Self::without_answer(packet);
        let last = steps.iter().rposition(begins_pass)?;
        let earlier = &steps[..last];
        earlier.iter().any(begins_pass).then_some(Steps(earlier))
    }

    /// The steps but for those of the answer to the packet.
    fn without_answer(packet: &'p Packet) -> &'p [adit_trace::proto::Step] {
        let answers = |step: &adit_trace::proto::Step| match &step.step {
            Some(step::Step::Call(call)) => call.name == ANSWER,
            _ => false,
        };
        let answered = packet.steps.iter().position(answers);
        &packet.steps[..answered.unwrap_or(packet.steps.len())]
    }

    fn all(self) -> impl DoubleEndedIterator<Item = &'p step::Step> {
        self.0.iter().filter_map(|step| step.step.as_ref())
    }

    fn tables(self) -> impl DoubleEndedIterator<Item = &'p TableStep> {
        self.all().filter_map(|step| match step {
            step::Step::Table(table) => Some(table),
            _ => None,
        })
    }

    /// The first application of a table.
    pub(super) fn table(self, name: &str) -> Option<&'p TableStep> {
        self.tables().find(|table| table.name == name)
    }

    /// The last application of one of these tables, with one of these actions.
    pub(super) fn acted(self, tables: &[&str], actions: &[&str]) -> Option<&'p TableStep> {
        let is_it = |table: &&TableStep| {
            tables.contains(&&*table.name) && actions.contains(&&*table.action)
        };
        self.tables().rev().find(is_it)
    }

    /// The index at which a counter has counted last.
    pub(super) fn counted(self, counter: &str) -> Option<u64> {
        let mut calls = self.all().rev().filter_map(|step| match step {
            step::Step::Call(call) => Some(call),
            _ => None,
        });
        let name = format!("{counter}.count");
        let call = calls.find(|call| call.name == name)?;
        Some(number(&call.arguments.first()?.value))
    }

    fn connections(self) -> impl DoubleEndedIterator<Item = &'p ConnectionStep> {
        self.all().filter_map(|step| match step {
            step::Step::Connection(of) => Some(of),
            _ => None,
        })
    }

    /// The result of tracking the packet.
    pub(super) fn tracked(self) -> Option<&'p ConnectionStep> {
        self.connections()
            .find(|it| it.status.is_empty() && !it.is_forgotten)
    }

    /// The result of keeping its connection.
    pub(super) fn committed(self) -> Option<&'p ConnectionStep> {
        self.connections().rfind(|it| !it.status.is_empty())
    }

    /// Returns whether its connection was ended.
    pub(super) fn has_forgotten(self) -> bool {
        self.connections().any(|it| it.is_forgotten)
    }
}

fn begins_pass(step: &adit_trace::proto::Step) -> bool {
    match &step.step {
        Some(step::Step::Block(block)) => block.role == PARSER,
        _ => false,
    }
}

fn named<'v>(values: &'v [Value], name: &str) -> Option<&'v [u8]> {
    let found = values.iter().find(|it| it.name == name)?;
    Some(&found.value)
}

/// An argument of the action of a table, by its name.
pub(super) fn argument(table: &TableStep, name: &str) -> Option<u64> {
    named(&table.arguments, name).map(number)
}

/// An argument that is an address, of either family in the program's form, or of IPv4.
pub(super) fn address_argument(table: &TableStep, name: &str) -> Option<IpAddr> {
    let bytes = named(&table.arguments, name)?;
    Some(match <[u8; 4]>::try_from(bytes) {
        Ok(four) => four.into(),
        Err(_) => address_of(bytes),
    })
}

/// A key of a table, by its name.
pub(super) fn key(table: &TableStep, name: &str) -> Option<u64> {
    named(&table.key, name).map(number)
}

/// The ends of a tuple, if its protocol has ports.
pub(super) fn ends(tuple: &FlowTuple) -> Option<[SocketAddr; 2]> {
    let end = |bytes: &[u8], port: u32| {
        let ip: IpAddr = match <[u8; 4]>::try_from(bytes) {
            Ok(four) => four.into(),
            Err(_) => <[u8; 16]>::try_from(bytes).ok()?.into(),
        };
        Some(SocketAddr::new(ip, u16::try_from(port).ok()?))
    };
    Some([
        end(&tuple.source, tuple.source_part)?,
        end(&tuple.destination, tuple.destination_part)?,
    ])
}
