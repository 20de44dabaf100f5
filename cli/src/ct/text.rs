// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Connections and expectations as lines.

use std::fmt::Write;
use std::net::IpAddr;

use adit_conntrack::ExpectFlags;
use adit_conntrack_rpc::proto::{Connection, EventKind, Expectation};

use super::date;
use super::flow::{now_ns, Entry, Flow, Part};
use super::labels::Labels;
use super::parse::Output;
use super::protocol;

/// The way in which a connection appears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// In a list.
    Listed,
    /// In an event, which has no number of users, and other values only where it is about them.
    Event(EventKind),
}

/// The lines of connections and expectations.
pub(super) struct Text {
    pub(super) output: Output,
    pub(super) labels: Option<Labels>,
}

fn part(flow: &Flow) -> String {
    match flow.part {
        Part::None => String::new(),
        Part::Ports(src, dst) => format!("sport={src} dport={dst} "),
        Part::Keys(src, dst) => format!("srckey={src:#x} dstkey={dst:#x} "),
        Part::Icmp { kind, code, id } => format!("type={kind} code={code} id={id} "),
    }
}

fn flow(flow: &Flow) -> String {
    format!("src={} dst={} {}", flow.src, flow.dst, part(flow))
}

/// The beginning of an event's line: the date, and the kind.
pub(super) fn event_prefix(kind: EventKind, output: Output) -> String {
    let mut line = String::new();
    if output.timestamp {
        let now = now_ns();
        let (seconds, micros) = (now / 1_000_000_000, now % 1_000_000_000 / 1000);
        // Writing to a string cannot fail.
        let _ = write!(line, "[{seconds}.{micros:<6}]\t");
    }
    line + match kind {
        EventKind::New => "    [NEW] ",
        EventKind::Update => " [UPDATE] ",
        EventKind::Destroy => "[DESTROY] ",
        EventKind::Unspecified => "[UNKNOWN] ",
    }
}

impl Text {
    /// The line of a connection.
    pub(super) fn connection(&self, connection: &Connection, occasion: Occasion) -> String {
        let entry = Entry::new(connection);
        let mut line = String::new();
        self.write(&mut line, &entry, occasion)
            .unwrap_or_else(|_| unreachable!("writing to a string cannot fail"));
        line.truncate(line.trim_end().len());
        line
    }

    fn write(&self, line: &mut String, entry: &Entry<'_>, occasion: Occasion) -> std::fmt::Result {
        let output = self.output;
        let is_listed = occasion == Occasion::Listed;
        let has_end = occasion == Occasion::Event(EventKind::Destroy);
        if output.extended {
            let (name, number) = entry.family();
            write!(line, "{name:<8} {number} ")?;
        }
        let name = protocol::shown_name(entry.protocol);
        write!(line, "{name:<8} {} ", entry.protocol)?;
        write!(line, "{} ", entry.timeout())?;
        if let Some(state) = entry.state() {
            write!(line, "{state} ")?;
        }
        let [zone, zone_original, zone_reply] = entry.zones();
        line.push_str(&flow(&entry.original));
        if let Some(zone) = zone_original {
            write!(line, "zone-orig={zone} ")?;
        }
        self.write_counters(line, entry, 0, is_listed || has_end)?;
        if entry.is_unreplied() {
            line.push_str("[UNREPLIED] ");
        }
        line.push_str(&flow(&entry.reply));
        if let Some(zone) = zone_reply {
            write!(line, "zone-reply={zone} ")?;
        }
        self.write_counters(line, entry, 1, is_listed || has_end)?;
        if entry.is_assured() {
            line.push_str("[ASSURED] ");
        }
        let mark = entry.connection.mark;
        if is_listed || mark != 0 {
            write!(line, "mark={mark} ")?;
        }
        if let Some(zone) = zone {
            write!(line, "zone={zone} ")?;
        }
        if is_listed || has_end {
            write!(line, "delta-time={} ", entry.age())?;
            if output.ktimestamp {
                self.write_dates(line, entry)?;
            }
        }
        if !entry.connection.helper.is_empty() {
            write!(line, "helper={} ", entry.connection.helper)?;
        }
        if is_listed {
            line.push_str("use=1 ");
        }
        if output.id {
            write!(line, "id={} ", entry.connection.id)?;
        }
        if let (Some(labels), true) = (&self.labels, output.labels) {
            let names = labels.names(entry.label());
            if !names.is_empty() {
                write!(line, "labels={} ", names.join(","))?;
            }
        }
        Ok(())
    }

    fn write_counters(
        &self,
        line: &mut String,
        entry: &Entry<'_>,
        direction: usize,
        is_shown: bool,
    ) -> std::fmt::Result {
        if !is_shown {
            return Ok(());
        }
        let (packets, bytes) = entry.counters(direction);
        write!(line, "packets={packets} bytes={bytes} ")
    }

    fn write_dates(&self, line: &mut String, entry: &Entry<'_>) -> std::fmt::Result {
        let start = entry.connection.start_ns;
        write!(line, "[start={}] ", date::text(start))?;
        match entry.connection.stop_ns {
            0 => Ok(()),
            stop => write!(line, "[stop={}] ", date::text(stop)),
        }
    }

    /// The line of an expectation.
    pub(super) fn expectation(&self, one: &Expectation) -> String {
        let (tuple, master) = (
            one.tuple.clone().unwrap_or_default(),
            one.master_tuple.clone().unwrap_or_default(),
        );
        let expected = Flow::new(&tuple);
        let mask = mask(one, &expected);
        let master = Flow::new(&master);
        let mut line = String::new();
        if self.output.extended {
            let (name, number) = match expected.src {
                IpAddr::V4(_) => ("ipv4", 2),
                IpAddr::V6(_) => ("ipv6", 10),
            };
            line += &format!("{name:<8} {number} ");
        }
        line += &format!(
            "{} proto={} {}mask-src={} mask-dst={} {}master-src={} master-dst={} {}",
            one.timeout_ns / 1_000_000_000,
            tuple.protocol,
            flow(&expected),
            mask.src,
            mask.dst,
            part(&mask),
            master.src,
            master.dst,
            part(&master),
        );
        if one.zone != 0 {
            line += &format!("zone={} ", one.zone);
        }
        let flags = ExpectFlags::from_bits(one.flags as u8);
        let named = [
            (ExpectFlags::PERMANENT, "PERMANENT"),
            (ExpectFlags::INACTIVE, "INACTIVE"),
            (ExpectFlags::USERSPACE, "USERSPACE"),
        ];
        let set = named.iter().filter(|(flag, _)| flags.contains(*flag));
        let set: Vec<_> = set.map(|(_, name)| *name).collect();
        if !set.is_empty() {
            line += &format!("[{}] ", set.join(","));
        }
        line += &format!("class={} ", one.class);
        if !one.helper.is_empty() {
            line += &format!("helper={} ", one.helper);
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// The mask of an expectation as conntrack(8) shows it: its destination is always exact.
pub(super) fn mask(one: &Expectation, expected: &Flow) -> Flow {
    let mask = one.mask.clone().unwrap_or_default();
    let ones = match expected.dst {
        IpAddr::V4(_) => IpAddr::from([0xFF; 4]),
        IpAddr::V6(_) => IpAddr::from([0xFF; 16]),
    };
    let src = match <[u8; 4]>::try_from(&mask.address[..]) {
        Ok(octets) => octets.into(),
        Err(_) => <[u8; 16]>::try_from(&mask.address[..]).map_or(ones, IpAddr::from),
    };
    let part = match expected.part {
        Part::None => Part::None,
        Part::Ports(..) => Part::Ports(mask.part, 0xFFFF),
        Part::Keys(..) => Part::Keys(mask.part, 0xFFFF),
        Part::Icmp { .. } => Part::Icmp {
            kind: 0xFF,
            code: 0xFF,
            id: mask.part,
        },
    };
    Flow {
        src,
        dst: ones,
        part,
    }
}
