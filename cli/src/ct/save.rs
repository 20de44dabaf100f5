// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Connections as commands that create them again, for `--load-file`. As in conntrack(8), a command
//! does not have the mark and the label.

use std::fmt::Write;

use adit_conntrack::Status;
use adit_conntrack_rpc::proto::{connection::State, Connection, EventKind};

use super::flow::{Entry, Part};
use super::protocol;
use super::text::Occasion;
use super::values;

/// The command of a connection: one that adds it, or deletes it.
pub(super) fn connection(connection: &Connection, occasion: Occasion) -> String {
    let command = match occasion {
        Occasion::Listed | Occasion::Event(EventKind::New, _) => "-A",
        Occasion::Event(EventKind::Update, _) => "-U",
        Occasion::Event(..) => "-D",
    };
    let mut line = command.to_owned();
    write(&mut line, &Entry::new(connection), occasion)
        .unwrap_or_else(|_| unreachable!("writing to a string cannot fail"));
    line
}

/// The names of the bits of a status that a command sets.
fn status(status: Status) -> String {
    let names = [
        (Status::SEEN_REPLY, "SEEN_REPLY"),
        (Status::ASSURED, "ASSURED"),
        (Status::FIXED_TIMEOUT, "FIXED_TIMEOUT"),
        (Status::EXPECTED, "EXPECTED"),
    ];
    let set = names.iter().filter(|(bit, _)| status.contains(*bit));
    let set: Vec<_> = set.map(|(_, name)| *name).collect();
    match set.is_empty() {
        true => "UNSET".to_owned(),
        false => set.join(","),
    }
}

fn write(line: &mut String, entry: &Entry<'_>, occasion: Occasion) -> std::fmt::Result {
    if let Some(timeout) = occasion.timeout(entry.timeout()) {
        write!(line, " -t {timeout}")?;
    }
    write!(line, " -u {}", status(entry.status))?;
    let [zone, zone_original, zone_reply] = entry.zones();
    for (option, zone) in [
        ("-w", zone),
        ("--orig-zone", zone_original),
        ("--reply-zone", zone_reply),
    ] {
        if let Some(zone) = zone {
            write!(line, " {option} {zone}")?;
        }
    }
    let (original, reply) = (&entry.original, &entry.reply);
    write!(line, " -s {} -d {}", original.src, original.dst)?;
    let source = if entry.has_dst_nat() { "-g" } else { "-r" };
    let destination = if entry.has_src_nat() { "-n" } else { "-q" };
    write!(line, " {source} {} {destination} {}", reply.src, reply.dst)?;
    match protocol::shown_name(entry.protocol) {
        "unknown" => write!(line, " -p {}", entry.protocol)?,
        name => write!(line, " -p {name}")?,
    }
    match (original.part, reply.part) {
        (Part::Ports(src, dst), Part::Ports(reply_src, reply_dst)) => write!(
            line,
            " --sport {src} --dport {dst} --reply-port-src {reply_src} --reply-port-dst {reply_dst}"
        )?,
        (Part::Keys(src, dst), Part::Keys(reply_src, reply_dst)) => write!(
            line,
            " --srckey {src} --dstkey {dst} --reply-key-src {reply_src} --reply-key-dst {reply_dst}"
        )?,
        (Part::Icmp { kind, code, id }, _) => {
            let name = protocol::shown_name(entry.protocol);
            write!(
                line,
                " --{name}-type {kind} --{name}-code {code} --{name}-id {id}"
            )?;
        }
        // Of protocols without parts; both directions have the same kind.
        (Part::None | Part::Ports(..) | Part::Keys(..), _) => {}
    }
    if !occasion.has_state() {
        return Ok(());
    }
    if let Some(state) = entry.state() {
        write!(line, " --state {state}")?;
    }
    let is_gone = matches!(occasion, Occasion::Event(EventKind::Destroy, _));
    if let Some(State::Sctp(sctp)) = entry.connection.state.as_ref().filter(|_| !is_gone) {
        let tag = |direction| values::tag(sctp.tags.get(direction).copied().unwrap_or(0));
        write!(line, " --orig-vtag {} --reply-vtag {}", tag(0), tag(1))?;
    }
    Ok(())
}
