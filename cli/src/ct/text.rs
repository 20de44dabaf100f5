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
    /// In an event, which has no number of users, and other values only where it is about them: bits
    /// IPCT_*.
    Event(EventKind, u32),
}

/// Bits of `enum ip_conntrack_events` (`linux/netfilter/nf_conntrack_common.h`).
pub(super) const PROTOINFO: u32 = 1 << 5;
const MARK: u32 = 1 << 7;
const LABEL: u32 = 1 << 10;

impl Occasion {
    /// Reports whether the connection has ended.
    fn is_end(self) -> bool {
        matches!(self, Occasion::Event(EventKind::Destroy, _))
    }

    /// Reports whether an event is about some value.
    fn is_about(self, value: u32) -> bool {
        matches!(self, Occasion::Event(_, values) if values & value != 0)
    }

    /// Reports whether counters and dates are shown.
    pub(super) fn has_counters(self) -> bool {
        self == Occasion::Listed || self.is_end()
    }

    /// Reports whether the protocol's state is shown.
    pub(super) fn has_state(self) -> bool {
        self.has_counters() || self.is_about(PROTOINFO)
    }

    /// Reports whether the mark is shown.
    pub(super) fn has_mark(self, mark: u32) -> bool {
        self == Occasion::Listed || mark != 0 || self.is_about(MARK)
    }

    /// Reports whether the helper is shown.
    pub(super) fn has_helper(self) -> bool {
        !self.is_end()
    }

    /// Reports whether a label is shown.
    pub(super) fn has_label(self, label: u128) -> bool {
        label != 0 && (self == Occasion::Listed || self.is_about(LABEL) && !self.is_end())
    }

    /// The whole seconds until a timeout, if they are shown.
    pub(super) fn timeout(self, seconds: u64) -> Option<u64> {
        Some(seconds).filter(|seconds| *seconds > 0 || !self.is_end())
    }
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

/// The names of an expectation's flags.
pub(super) fn expect_flags(one: &Expectation) -> impl Iterator<Item = &'static str> {
    let flags = ExpectFlags::from_bits(one.flags as u8);
    let named = [
        (ExpectFlags::PERMANENT, "PERMANENT"),
        (ExpectFlags::INACTIVE, "INACTIVE"),
    ];
    let set = named
        .into_iter()
        .filter(move |(flag, _)| flags.contains(*flag));
    set.map(|(_, name)| name)
}

/// The beginning of an event's line: the date of a connection's, and the kind.
pub(super) fn event_prefix(kind: EventKind, output: Output) -> String {
    let mut line = String::new();
    if output.timestamp {
        let (seconds, micros) = seconds_and_micros();
        line = format!("[{seconds}.{micros:06}]\t");
    }
    line + kind_name(kind)
}

/// The beginning of an expectation's line.
pub(super) fn expectation_prefix(occasion: Occasion, output: Output) -> String {
    let mut line = String::new();
    if output.timestamp {
        let (seconds, micros) = seconds_and_micros();
        line = format!("[{seconds:<8}.{micros:<6}]\t");
    }
    match occasion {
        Occasion::Listed => line,
        Occasion::Event(kind, _) => line + kind_name(kind),
    }
}

fn seconds_and_micros() -> (u64, u64) {
    let now = now_ns();
    (now / 1_000_000_000, now % 1_000_000_000 / 1000)
}

fn kind_name(kind: EventKind) -> &'static str {
    match kind {
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
        if output.extended {
            let (name, number) = entry.family();
            write!(line, "{name:<8} {number} ")?;
        }
        let name = protocol::shown_name(entry.protocol);
        write!(line, "{name:<8} {} ", entry.protocol)?;
        if let Some(timeout) = occasion.timeout(entry.timeout()) {
            write!(line, "{timeout} ")?;
        }
        if let Some(state) = entry.state().filter(|_| occasion.has_state()) {
            write!(line, "{state} ")?;
        }
        let [zone, zone_original, zone_reply] = entry.zones();
        line.push_str(&flow(&entry.original));
        if let Some(zone) = zone_original {
            write!(line, "zone-orig={zone} ")?;
        }
        self.write_counters(line, entry, 0, occasion)?;
        if entry.is_unreplied() {
            line.push_str("[UNREPLIED] ");
        }
        line.push_str(&flow(&entry.reply));
        if let Some(zone) = zone_reply {
            write!(line, "zone-reply={zone} ")?;
        }
        self.write_counters(line, entry, 1, occasion)?;
        if entry.is_assured() {
            line.push_str("[ASSURED] ");
        }
        let mark = entry.connection.mark;
        if occasion.has_mark(mark) {
            write!(line, "mark={mark} ")?;
        }
        if let Some(zone) = zone {
            write!(line, "zone={zone} ")?;
        }
        if occasion.has_counters() {
            write!(line, "delta-time={} ", entry.age())?;
            if output.ktimestamp {
                self.write_dates(line, entry)?;
            }
        }
        if occasion.has_helper() && !entry.connection.helper.is_empty() {
            write!(line, "helper={} ", entry.connection.helper)?;
        }
        if occasion == Occasion::Listed {
            line.push_str("use=1 ");
        }
        if output.id {
            write!(line, "id={} ", entry.connection.id)?;
        }
        if let Some(labels) = self
            .labels
            .as_ref()
            .filter(|_| occasion.has_label(entry.label()))
        {
            // If none of them has a name, conntrack(8) replaces the sign of equality with a blank.
            let names = labels.names(entry.label()).join(",");
            let sign = if names.is_empty() { "" } else { "=" };
            write!(line, "labels{sign}{names} ")?;
        }
        Ok(())
    }

    fn write_counters(
        &self,
        line: &mut String,
        entry: &Entry<'_>,
        direction: usize,
        occasion: Occasion,
    ) -> std::fmt::Result {
        if !occasion.has_counters() {
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
        let mut line = format!(
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
        let set: Vec<_> = expect_flags(one).collect();
        if !set.is_empty() {
            line += &format!("{} ", set.join(","));
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
