// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The trace of a packet, for programs and for users.

use std::io::Write;

use adit_pipeline::p4::events::escape;
use adit_pipeline::p4::{DropReason, Sent as Leaves, SentKind};
use anyhow::Result;
use serde::Serialize;

/// A packet and its trace.
#[derive(Debug, Serialize)]
pub(super) struct PacketRecord {
    /// The packet's number in the file, from 1.
    pub(super) packet: u64,
    pub(super) port: u32,
    pub(super) bytes: usize,
    pub(super) steps: Vec<Step>,
    /// The headers and fields that have changed between input and output.
    pub(super) changes: Vec<Change>,
    /// The messages of the program's `log_msg` and assertions.
    pub(super) log: Vec<Logged>,
    pub(super) digests: Vec<String>,
    pub(super) sent: Vec<Sent>,
    pub(super) dropped: Vec<Dropped>,
}

/// A key or an argument.
#[derive(Debug, Serialize)]
pub(super) struct Value {
    pub(super) name: String,
    pub(super) value: String,
}

/// A step of the trace.
#[derive(Debug, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub(super) enum Step {
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
        action: String,
        arguments: Vec<Value>,
    },
    /// An action that the program called directly.
    Action { action: String },
    /// The trace was truncated.
    Cut,
}

/// A message of the program.
#[derive(Debug, Serialize)]
pub(super) struct Logged {
    pub(super) place: String,
    pub(super) text: String,
}

/// A header or a field that has changed.
#[derive(Debug, Serialize)]
pub(super) struct Change {
    pub(super) name: String,
    /// `None` if the header was added.
    pub(super) before: Option<String>,
    /// `None` if the header was removed.
    pub(super) after: Option<String>,
}

/// A packet that was sent.
#[derive(Debug, Serialize)]
pub(super) struct Sent {
    port: u32,
    kind: &'static str,
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flow_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<u32>,
}

/// A packet that was dropped.
#[derive(Debug, Serialize)]
pub(super) struct Dropped {
    reason: &'static str,
    why: &'static str,
}

pub(super) fn drop_text(reason: DropReason) -> Dropped {
    let why = match reason {
        DropReason::Program => "the program dropped it",
        DropReason::NotForwarded => {
            "the program did not forward it: no send_to_port, multicast, recirculate or \
             drop_packet"
        }
        DropReason::TooManyPasses => "it went through the pipeline too often",
        DropReason::TooLong => "the program ran for too long",
        DropReason::UnknownSession => "a copy was for a session that there is not",
        DropReason::UnknownGroup => "it was for a multicast group that there is not",
        DropReason::Assertion => "an assert or assume did not hold",
        DropReason::ControlQueueFull => "it was for the control plane, whose queue is full",
    };
    Dropped {
        reason: reason.name(),
        why,
    }
}

impl Sent {
    pub(super) fn new(leaves: &Leaves<'_>, bytes: usize) -> Sent {
        Sent {
            port: leaves.port,
            kind: match leaves.kind {
                SentKind::Packet => "packet",
                SentKind::Multicast => "multicast",
                SentKind::Clone => "clone",
            },
            bytes,
            queue: leaves.receive.queue,
            flow_id: leaves.receive.flow_id,
            hash: leaves.receive.hash,
        }
    }

    fn text(&self) -> String {
        let kind = match self.kind {
            "packet" => String::new(),
            kind => format!(", a {kind}"),
        };
        let number = |name: &str, n: Option<u32>| n.map(|n| format!(", {name} {n}"));
        let details = [
            number("queue", self.queue.map(u32::from)),
            number("flow id", self.flow_id),
            self.hash.map(|hash| format!(", hash {hash:#010x}")),
        ];
        let port = match self.port {
            0xFFFF_0000.. => format!("{:#x}", self.port),
            port => port.to_string(),
        };
        let details: String = details.into_iter().flatten().collect();
        format!("sent to port {port}, {} bytes{kind}{details}", self.bytes)
    }
}

fn list(values: &[Value]) -> Vec<String> {
    let words = values.iter();
    words.map(|v| format!("{}={}", v.name, v.value)).collect()
}

impl PacketRecord {
    /// Writes the record as text for users, without blocks in which nothing happened.
    pub(super) fn write(&self, out: &mut impl Write) -> Result<()> {
        writeln!(
            out,
            "packet {}: {} bytes at port {}",
            self.packet, self.bytes, self.port
        )?;
        let mut block = None;
        for step in &self.steps {
            if let Step::Block { name, .. } = step {
                block = Some(name);
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
            writeln!(out, "  {}", sent.text())?;
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
                action,
                arguments,
            } => {
                writeln!(out, "    table {table}: {}", list(key).join(" "))?;
                match (hit, entry) {
                    (true, Some(entry)) => writeln!(out, "      hit   {entry}")?,
                    (true, None) => writeln!(out, "      hit   an entry that is gone by now")?,
                    _ => writeln!(out, "      miss")?,
                }
                let arguments = list(arguments).join(", ");
                writeln!(out, "      {action}({arguments})")?;
            }
            Step::Action { action } => writeln!(out, "    action {action}")?,
            Step::Cut => writeln!(out, "    … and more")?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_a_program_are_escaped_for_terminals() {
        let record = PacketRecord {
            packet: 1,
            port: 0,
            bytes: 60,
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
