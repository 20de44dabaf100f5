// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The trace of a packet, for programs and for users.

use std::io::Write;

use adit_pipeline::p4::events::escape;
use adit_trace::proto::{self, fate, step};
use anyhow::Result;
use serde::Serialize;

use super::text;
use crate::table::catalog::Catalog;

/// The kind of a packet that answers another.
const ANSWER: &str = "answer";

/// A packet and its trace.
#[derive(Debug, Serialize)]
pub(crate) struct PacketRecord {
    /// The packet's number, from 1.
    pub(crate) packet: u64,
    /// The time on a running NIC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) time: Option<String>,
    pub(crate) port: u32,
    /// The transmit queue that it was sent from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) queue: Option<u32>,
    pub(crate) bytes: usize,
    /// Addresses, ports and protocol.
    pub(crate) flow: String,
    pub(crate) steps: Vec<Step>,
    /// The headers and fields that have changed between input and output.
    pub(crate) changes: Vec<Change>,
    /// The messages of the program's `log_msg` and assertions.
    pub(crate) log: Vec<Logged>,
    pub(crate) digests: Vec<String>,
    pub(crate) sent: Vec<Sent>,
    pub(crate) dropped: Vec<Dropped>,
}

/// A key or an argument.
#[derive(Debug, Serialize)]
pub(crate) struct Value {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// A step of the trace.
#[derive(Debug, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub(crate) enum Step {
    /// A block of the program.
    Block { name: String, role: String },
    /// A parser state, and the headers that it extracted.
    State {
        name: String,
        extracted: Vec<String>,
    },
    /// The parser ended with an error.
    ParserError { error: String },
    /// A table and the result of applying it.
    Table {
        table: String,
        key: Vec<Value>,
        hit: bool,
        /// The entry that was hit, as `adit table` writes it.
        #[serde(skip_serializing_if = "Option::is_none")]
        entry: Option<String>,
        /// Its number in the table.
        #[serde(skip_serializing_if = "Option::is_none")]
        handle: Option<u32>,
        /// The group of an action selector, and the member that was selected.
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        member: Option<u32>,
        action: String,
        arguments: Vec<Value>,
    },
    /// An action that the program called directly.
    Action { action: String },
    /// A call of an extern.
    Call {
        call: String,
        arguments: Vec<Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        result: Option<String>,
    },
    /// A call of the connection tracker.
    Connection {
        /// The result of a commit.
        #[serde(skip_serializing_if = "Option::is_none")]
        commit: Option<String>,
        /// Set after a call that has ended the connection that the packet had.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        forgotten: bool,
        zone: u32,
        /// The flags of the packet's state.
        state: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        invalid: Option<String>,
        mark: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        /// The tuples of the connection, and the one that the packet leaves with.
        #[serde(skip_serializing_if = "Option::is_none")]
        original: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reply: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        translated: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        protocol_state: Option<String>,
    },
    /// The trace was truncated.
    Cut,
}

/// A message of the program.
#[derive(Debug, Serialize)]
pub(crate) struct Logged {
    pub(crate) place: String,
    pub(crate) text: String,
}

/// A header or a field that has changed.
#[derive(Debug, Serialize)]
pub(crate) struct Change {
    pub(crate) name: String,
    /// `None` if the header was added.
    pub(crate) before: Option<String>,
    /// `None` if the header was removed.
    pub(crate) after: Option<String>,
}

/// A packet that was sent.
#[derive(Debug, Serialize)]
pub(crate) struct Sent {
    port: u32,
    kind: &'static str,
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flow_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<u32>,
    /// Its addresses, ports and protocol.
    flow: String,
    /// Its fate in the NIC.
    #[serde(skip_serializing_if = "Option::is_none")]
    fate: Option<Fate>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    flooded: bool,
    /// Set if it leaves with other addresses or ports than it has come with.
    #[serde(skip)]
    is_other_flow: bool,
}

/// The fate of a packet in the NIC.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fate {
    Delivered { port: u32, queue: u32 },
    Wire(u32),
    Dropped(String),
    Waits,
}

/// A packet that was dropped.
#[derive(Debug, Serialize)]
pub(crate) struct Dropped {
    reason: String,
    why: String,
    /// The step that is to blame, by its index in `steps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<usize>,
}

impl Sent {
    pub(crate) fn new(output: &proto::Output, flow_before: &str) -> Sent {
        let flow = text::flow(&output.data, output.length as usize);
        let fate = output.fate.as_ref();
        Sent {
            port: output.port,
            kind: match output.kind() {
                proto::output::Kind::Multicast => "multicast",
                proto::output::Kind::Clone => "clone",
                proto::output::Kind::Answer => ANSWER,
                _ => "packet",
            },
            bytes: output.length as usize,
            queue: output.queue,
            flow_id: output.flow_id,
            hash: output.hash,
            is_other_flow: flow != flow_before,
            flow,
            fate: fate.and_then(|f| f.fate.as_ref()).map(|fate| match fate {
                fate::Fate::Delivered(at) => Fate::Delivered {
                    port: at.port,
                    queue: at.queue,
                },
                fate::Fate::Sent(wire) => Fate::Wire(*wire),
                fate::Fate::Dropped(reason) => Fate::Dropped(reason.clone()),
                fate::Fate::Waits(_) => Fate::Waits,
            }),
            flooded: fate.is_some_and(|f| f.is_flooded),
        }
    }

    /// Returns whether it is the answer to the packet.
    pub(crate) fn is_answer(&self) -> bool {
        self.kind == ANSWER
    }

    /// Writes where it has been sent, and its fate.
    pub(crate) fn write(&self, out: &mut impl Write) -> Result<()> {
        writeln!(out, "  {}", self.text())?;
        self.write_fate(out)
    }

    fn text(&self) -> String {
        let kind = match self.kind {
            "packet" => String::new(),
            ANSWER => ", an answer".to_owned(),
            kind => format!(", a {kind}"),
        };
        let number = |name: &str, n: Option<u32>| n.map(|n| format!(", {name} {n}"));
        let details = [
            number("queue", self.queue),
            number("flow id", self.flow_id),
            self.hash.map(|hash| format!(", hash {hash:#010x}")),
        ];
        let port = text::port(self.port);
        let details: String = details.into_iter().flatten().collect();
        format!("sent to port {port}, {} bytes{kind}{details}", self.bytes)
    }

    /// Its fate in the NIC, as lines of text.
    fn write_fate(&self, out: &mut impl Write) -> Result<()> {
        let Some(fate) = &self.fate else {
            return Ok(());
        };
        if self.is_other_flow {
            writeln!(out, "    leaves as {}", self.flow)?;
        }
        let flooded = match self.flooded {
            true => ", and copied to the other ports",
            false => "",
        };
        match fate {
            Fate::Delivered { port, queue } => {
                let port = text::port(*port);
                writeln!(
                    out,
                    "    delivered to port {port}, receive queue {queue}{flooded}"
                )?;
            }
            Fate::Wire(wire) => writeln!(out, "    sent on wire {wire}{flooded}")?,
            Fate::Dropped(reason) => writeln!(out, "    dropped by the NIC ({reason}){flooded}")?,
            Fate::Waits => writeln!(out, "    waits for buffers or for its wire{flooded}")?,
        }
        Ok(())
    }
}

fn value(value: &proto::Value, path: &str) -> Value {
    let of = if value.name.is_empty() {
        path
    } else {
        &value.name
    };
    Value {
        name: value.name.clone(),
        value: text::value(value, of),
    }
}

fn values(list: &[proto::Value]) -> Vec<Value> {
    list.iter().map(|v| value(v, "")).collect()
}

fn side(header: &proto::Header, path: &str) -> String {
    if let [one] = &header.fields[..] {
        if one.name.is_empty() {
            return text::value(one, path);
        }
    }
    let fields = header.fields.iter().map(|field| {
        let name = field.name.rsplit('.').next().unwrap_or_default();
        format!("{name}={}", text::value(field, &field.name))
    });
    format!("{{{}}}", fields.collect::<Vec<_>>().join(" "))
}

impl Step {
    /// The step of a message, but for log messages, which are apart.
    fn new(message: &step::Step, catalog: &Catalog) -> Option<Step> {
        let some = |text: &String| (!text.is_empty()).then(|| text.clone());
        Some(match message {
            step::Step::Block(block) => Step::Block {
                name: block.name.clone(),
                role: block.role.clone(),
            },
            step::Step::State(state) => Step::State {
                name: state.name.clone(),
                extracted: state.extracted.clone(),
            },
            step::Step::ParserError(error) => Step::ParserError {
                error: error.clone(),
            },
            step::Step::Table(table) => Step::Table {
                table: table.name.clone(),
                key: values(&table.key),
                hit: table.hit,
                entry: table
                    .entry
                    .as_ref()
                    .and_then(|entry| Some(catalog.table_of(entry.table_id)?.line(entry))),
                handle: table.handle,
                group: table.group,
                member: table.member,
                action: table.action.clone(),
                arguments: values(&table.arguments),
            },
            step::Step::Action(action) => Step::Action {
                action: action.clone(),
            },
            step::Step::Call(call) => Step::Call {
                call: call.name.clone(),
                arguments: values(&call.arguments),
                result: call.result.as_ref().map(|result| text::value(result, "")),
            },
            step::Step::Connection(of) => Step::Connection {
                commit: some(&of.status),
                forgotten: of.is_forgotten,
                zone: of.zone,
                state: text::state(of.state),
                invalid: some(&of.invalid),
                mark: of.mark,
                id: (of.id != 0).then_some(of.id),
                original: of.original.as_ref().map(text::tuple),
                reply: of.reply.as_ref().map(text::tuple),
                translated: of.translated.as_ref().map(text::tuple),
                protocol_state: some(&of.protocol_state),
            },
            step::Step::Log(_) => return None,
            step::Step::Cut(_) => Step::Cut,
        })
    }
}

impl PacketRecord {
    /// The record of a packet's message. The catalog has the entries' syntax.
    pub(crate) fn new(packet: &proto::Packet, catalog: &Catalog, has_time: bool) -> PacketRecord {
        let flow = text::flow(&packet.data, packet.length as usize);
        let messages = packet.steps.iter().filter_map(|step| step.step.as_ref());
        let (mut steps, mut log, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for message in messages {
            places.push(steps.len());
            if let step::Step::Log(message) = message {
                log.push(Logged {
                    place: message.place.clone(),
                    text: message.text.clone(),
                });
            }
            steps.extend(Step::new(message, catalog));
        }
        let changes = packet.changes.iter().map(|change| Change {
            name: change.name.clone(),
            before: change.before.as_ref().map(|h| side(h, &change.name)),
            after: change.after.as_ref().map(|h| side(h, &change.name)),
        });
        let dropped = packet.drop.iter().map(|drop| Dropped {
            reason: drop.reason.clone(),
            why: drop.text.clone(),
            step: drop.step.and_then(|n| places.get(n as usize).copied()),
        });
        PacketRecord {
            packet: packet.number,
            time: has_time.then(|| text::time(packet.time_ns)),
            port: packet.port,
            queue: packet.queue,
            bytes: packet.length as usize,
            changes: changes.collect(),
            log,
            digests: Vec::new(),
            sent: packet.outputs.iter().map(|o| Sent::new(o, &flow)).collect(),
            dropped: dropped.collect(),
            steps,
            flow,
        }
    }
}

fn list(values: &[Value]) -> Vec<String> {
    let words = values.iter();
    let word = |v: &Value| match v.name.is_empty() {
        true => v.value.clone(),
        false => format!("{}={}", v.name, v.value),
    };
    words.map(word).collect()
}

impl PacketRecord {
    /// Writes the record as text for users, without blocks in which nothing happened.
    pub(crate) fn write(&self, out: &mut impl Write) -> Result<()> {
        write!(
            out,
            "packet {}: {} bytes at port {}",
            self.packet,
            self.bytes,
            text::port(self.port)
        )?;
        if let Some(queue) = self.queue {
            write!(out, ", sent from queue {queue}")?;
        }
        match &self.time {
            Some(time) => writeln!(out, ", {time}\n  {}", self.flow)?,
            None => writeln!(out)?,
        }
        let mut block = None;
        for step in &self.steps {
            if let Step::Block { name, .. } = step {
                block = Some(name);
                continue;
            }
            // Headers and what leaves show the others.
            if matches!(step, Step::Call { call, .. } if !text::is_shown(call)) {
                continue;
            }
            if let Some(name) = block.take() {
                writeln!(out, "  {name}")?;
            }
            step.write(out)?;
        }
        for change in &self.changes {
            match (&change.before, &change.after) {
                (Some(before), Some(after)) => {
                    writeln!(out, "  changed {}: {before} -> {after}", change.name)?;
                }
                (None, Some(after)) => writeln!(out, "  added {} {after}", change.name)?,
                _ => writeln!(out, "  removed {}", change.name)?,
            }
        }
        for Logged { place, text } in &self.log {
            writeln!(out, "  log {}: {}", escape(place), escape(text))?;
        }
        for digest in &self.digests {
            writeln!(out, "  digest {digest}")?;
        }
        for sent in &self.sent {
            sent.write(out)?;
        }
        for dropped in &self.dropped {
            writeln!(out, "  dropped ({}): {}", dropped.reason, dropped.why)?;
        }
        if self.sent.is_empty() && self.dropped.is_empty() {
            writeln!(out, "  nothing leaves")?;
        }
        Ok(())
    }
}

impl Step {
    fn write(&self, out: &mut impl Write) -> Result<()> {
        match self {
            Step::Block { .. } => {}
            Step::State { name, extracted } => match extracted.is_empty() {
                true => writeln!(out, "    state {name}")?,
                false => writeln!(out, "    state {name}: {}", extracted.join(", "))?,
            },
            Step::ParserError { error } => writeln!(out, "    parser error: {error}")?,
            Step::Table {
                table,
                key,
                hit,
                entry,
                group,
                member,
                action,
                arguments,
                ..
            } => {
                writeln!(out, "    table {table}: {}", list(key).join(" "))?;
                match (hit, entry) {
                    (true, Some(entry)) => writeln!(out, "      hit   {entry}")?,
                    (true, None) => writeln!(out, "      hit   an entry that is gone by now")?,
                    _ => writeln!(out, "      miss")?,
                }
                match (group, member) {
                    (Some(group), Some(member)) => {
                        writeln!(out, "      group {group}, member {member}")?;
                    }
                    (Some(group), None) => writeln!(out, "      group {group}, which is empty")?,
                    _ => {}
                }
                let arguments = list(arguments).join(", ");
                writeln!(out, "      {action}({arguments})")?;
            }
            Step::Action { action } => writeln!(out, "    action {action}")?,
            Step::Call {
                call,
                arguments,
                result,
            } => {
                let arguments = list(arguments).join(", ");
                match result {
                    Some(result) => writeln!(out, "    {call}({arguments}) = {result}")?,
                    None => writeln!(out, "    {call}({arguments})")?,
                }
            }
            Step::Connection {
                commit,
                forgotten,
                zone,
                state,
                invalid,
                mark,
                original,
                reply,
                translated,
                protocol_state,
                ..
            } => {
                match commit {
                    Some(status) => writeln!(out, "    commit: {status}, zone {zone}, {state}")?,
                    None if *forgotten => writeln!(out, "    forget: zone {zone}, {state}")?,
                    None => writeln!(out, "    track: zone {zone}, {state}")?,
                }
                if let Some(why) = invalid {
                    writeln!(out, "      invalid: {why}")?;
                }
                if let (Some(original), Some(reply)) = (original, reply) {
                    let state = protocol_state.as_deref().unwrap_or_default();
                    let mark = match mark {
                        0 => String::new(),
                        mark => format!(" mark {mark:#x}"),
                    };
                    writeln!(
                        out,
                        "      connection {original}, replies {reply} {state}{mark}"
                    )?;
                }
                if let Some(translated) = translated {
                    writeln!(out, "      translated to {translated}")?;
                }
            }
            Step::Cut => writeln!(out, "    … and more")?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(step: step::Step) -> proto::Step {
        proto::Step { step: Some(step) }
    }

    #[test]
    fn a_packet_of_a_nic_is_a_block_of_text() {
        let address = |last| vec![10, 0, 0, last];
        let tuple = |from, to, port| proto::FlowTuple {
            source: address(from),
            destination: address(to),
            protocol: 6,
            source_part: 1000,
            destination_part: port,
        };
        let fate = fate::Fate::Delivered(proto::Delivery {
            port: 0x1001,
            queue: 2,
        });
        let packet = proto::Packet {
            number: 7,
            port: 0x1000,
            queue: Some(3),
            length: 60,
            steps: vec![
                of(step::Step::Block(proto::Block {
                    name: "C".to_owned(),
                    role: "main_control".to_owned(),
                })),
                of(step::Step::Table(proto::TableStep {
                    name: "services".to_owned(),
                    hit: true,
                    group: Some(4),
                    member: Some(5),
                    action: "to".to_owned(),
                    ..Default::default()
                })),
                of(step::Step::Log(proto::LogStep::default())),
                of(step::Step::Connection(proto::ConnectionStep {
                    status: "COMMITTED".to_owned(),
                    zone: 9,
                    state: 0xa1,
                    translated: Some(tuple(1, 3, 8080)),
                    original: Some(tuple(1, 2, 80)),
                    reply: Some(tuple(3, 1, 1000)),
                    protocol_state: "SYN_SENT".to_owned(),
                    ..Default::default()
                })),
            ],
            outputs: vec![proto::Output {
                port: 0x1001,
                length: 60,
                fate: Some(proto::Fate {
                    fate: Some(fate),
                    is_flooded: false,
                }),
                ..Default::default()
            }],
            drop: Some(proto::Drop {
                reason: "no_buffer".to_owned(),
                step: Some(3),
                text: "too few".to_owned(),
            }),
            ..Default::default()
        };
        let record = PacketRecord::new(&packet, &Catalog::new(&Default::default()), true);
        let mut out = Vec::new();
        record.write(&mut out).unwrap();
        let expected = "\
packet 7: 60 bytes at port 4096, sent from queue 3, 1970-01-01T00:00:00.000000Z
  no Ethernet header
  C
    table services: 
      hit   an entry that is gone by now
      group 4, member 5
      to()
    commit: COMMITTED, zone 9, new|trk|dnat
      connection 10.0.0.1:1000 > 10.0.0.2:80 tcp, replies 10.0.0.3:1000 > 10.0.0.1:1000 tcp SYN_SENT
      translated to 10.0.0.1:1000 > 10.0.0.3:8080 tcp
  log : 
  sent to port 4097, 60 bytes
    delivered to port 4097, receive queue 2
  dropped (no_buffer): too few
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        // Log messages are not among the steps of a record.
        let json = serde_json::to_value(&record).unwrap();
        assert_eq!(json["dropped"][0]["step"], 2);
        assert_eq!(json["steps"][2]["step"], "connection");
        assert_eq!(json["sent"][0]["fate"]["delivered"]["queue"], 2);
    }

    #[test]
    fn texts_of_a_program_are_escaped_for_terminals() {
        let record = PacketRecord {
            packet: 1,
            time: None,
            port: 0,
            queue: None,
            bytes: 60,
            flow: String::new(),
            steps: Vec::new(),
            changes: Vec::new(),
            log: vec![Logged {
                place: "x.p4:1:1".to_owned(),
                text: "a\n  sent to port 7\u{1b}[2J".to_owned(),
            }],
            digests: Vec::new(),
            sent: Vec::new(),
            dropped: Vec::new(),
        };
        let mut out = Vec::new();
        record.write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let expected = r"  log x.p4:1:1: a\n  sent to port 7\u{1b}[2J";
        assert_eq!(text.lines().nth(1), Some(expected), "{text}");
    }
}
