// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Connections as XML.

use std::fmt::Write;

use adit_conntrack::TcpState;
use adit_conntrack_rpc::proto::{connection::State, Connection, EventKind, Expectation};

use super::date;
use super::flow::{now_ns, Entry, Flow, Part};
use super::labels::Labels;
use super::parse::Output;
use super::protocol;
use super::text::{expect_flags, mask, Occasion};

/// The beginning of a document.
pub(super) const HEAD: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<conntrack>";
/// The beginning of a document of expectations.
pub(super) const EXPECT_HEAD: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<expect>";

/// The elements of connections.
pub(super) struct Xml {
    pub(super) output: Output,
    pub(super) labels: Option<Labels>,
}

fn part(flow: &Flow) -> String {
    match flow.part {
        // Types of ICMP are not shown, as conntrack(8) does not.
        Part::None | Part::Icmp { .. } => String::new(),
        Part::Ports(src, dst) => format!("<sport>{src}</sport><dport>{dst}</dport>"),
        Part::Keys(src, dst) => format!("<srckey>{src:#x}</srckey><dstkey>{dst:#x}</dstkey>"),
    }
}

fn addresses(flow: &Flow) -> String {
    format!("<src>{}</src><dst>{}</dst>", flow.src, flow.dst)
}

/// The beginning of the element of an address family.
fn layer3(flow: &Flow) -> String {
    let (name, number) = match flow.src.is_ipv4() {
        true => ("ipv4", 2),
        false => ("ipv6", 10),
    };
    format!("<layer3 protonum=\"{number}\" protoname=\"{name}\">")
}

/// The beginning of the element of a protocol.
fn layer4(protocol: u8) -> String {
    let name = protocol::shown_name(protocol);
    format!("<layer4 protonum=\"{protocol}\" protoname=\"{name}\">")
}

fn layers(flow: &Flow, protocol: u8) -> String {
    format!(
        "{}{}</layer3>{}{}</layer4>",
        layer3(flow),
        addresses(flow),
        layer4(protocol),
        part(flow)
    )
}

impl Xml {
    /// The element of a connection.
    pub(super) fn connection(&self, connection: &Connection, occasion: Occasion) -> String {
        let entry = Entry::new(connection);
        let mut text = String::new();
        self.write(&mut text, &entry, occasion)
            .unwrap_or_else(|_| unreachable!("writing to a string cannot fail"));
        text
    }

    fn write(&self, text: &mut String, entry: &Entry<'_>, occasion: Occasion) -> std::fmt::Result {
        text.push_str(match occasion {
            Occasion::Listed => "<flow>",
            Occasion::Event(kind, _) => flow_of(kind),
        });
        let [zone, zone_original, zone_reply] = entry.zones();
        for (direction, name, flow, zone) in [
            (0, "original", &entry.original, zone_original),
            (1, "reply", &entry.reply, zone_reply),
        ] {
            let layers = layers(flow, entry.protocol);
            write!(text, "<meta direction=\"{name}\">{layers}")?;
            if let Some(zone) = zone {
                write!(text, "<zone>{zone}</zone>")?;
            }
            if occasion.has_counters() {
                let (packets, bytes) = entry.counters(direction);
                write!(
                    text,
                    "<counters><packets>{packets}</packets><bytes>{bytes}</bytes></counters>"
                )?;
            }
            text.push_str("</meta>");
        }
        text.push_str("<meta direction=\"independent\">");
        if let Some(state) = state(entry).filter(|_| occasion.has_state()) {
            write!(text, "<state>{state}</state>")?;
        }
        if let Some(timeout) = occasion.timeout(entry.timeout()) {
            write!(text, "<timeout>{timeout}</timeout>")?;
        }
        let mark = entry.connection.mark;
        if occasion.has_mark(mark) {
            write!(text, "<mark>{mark}</mark>")?;
        }
        if let Some(labels) = self
            .labels
            .as_ref()
            .filter(|_| occasion.has_label(entry.label()))
        {
            text.push_str("<labels>");
            for name in labels.names(entry.label()) {
                write!(text, "<label>{name}</label>")?;
            }
            text.push_str("</labels>");
        }
        if let Some(zone) = zone {
            write!(text, "<zone>{zone}</zone>")?;
        }
        if occasion == Occasion::Listed {
            text.push_str("<use>1</use>");
        }
        write!(text, "<id>{}</id>", entry.connection.id)?;
        if entry.is_assured() {
            text.push_str("<assured/>");
        }
        if entry.is_unreplied() {
            text.push_str("<unreplied/>");
        }
        if occasion.has_counters() {
            self.write_times(text, entry)?;
        }
        text.push_str("</meta>");
        if self.output.timestamp && occasion != Occasion::Listed {
            write_when(text)?;
        }
        let helper = &entry.connection.helper;
        if occasion.has_helper() && !helper.is_empty() {
            write!(text, "<helper>{}</helper>", escaped(helper))?;
        }
        text.push_str("</flow>");
        Ok(())
    }

    fn write_times(&self, text: &mut String, entry: &Entry<'_>) -> std::fmt::Result {
        if self.output.ktimestamp {
            let start = entry.connection.start_ns;
            write!(text, "<timestamp><start>{start}</start>")?;
            if entry.connection.stop_ns != 0 {
                write!(text, "<stop>{}</stop>", entry.connection.stop_ns)?;
            }
            text.push_str("</timestamp>");
        }
        write!(text, "<deltatime>{}</deltatime>", entry.age())
    }

    /// The element of an expectation.
    pub(super) fn expectation(&self, one: &Expectation, occasion: Occasion) -> String {
        let tuple = one.tuple.clone().unwrap_or_default();
        let expected = Flow::new(&tuple);
        let mask = mask(one, &expected);
        let master = Flow::new(&one.master_tuple.clone().unwrap_or_default());
        let named = [
            ("expected", &expected),
            ("mask", &mask),
            ("master", &master),
        ];
        let of_each = |show: fn(&Flow) -> String| {
            let elements = named.map(|(name, flow)| format!("<{name}>{}</{name}>", show(flow)));
            elements.concat()
        };
        let protocol = tuple.protocol as u8;
        let mut text = match occasion {
            Occasion::Listed => "<flow>".to_owned(),
            Occasion::Event(kind, _) => flow_of(kind).to_owned(),
        };
        text += &format!(
            "{}{}</layer3>{}{}</layer4><meta>",
            layer3(&expected),
            of_each(addresses),
            layer4(protocol),
            of_each(part),
        );
        if !one.helper.is_empty() {
            text += &format!("<helper-name>{}</helper-name>", escaped(&one.helper));
        }
        text += &format!(
            "<timeout>{}</timeout><class>{}</class>",
            one.timeout_ns / 1_000_000_000,
            one.class,
        );
        for name in expect_flags(one) {
            text += &format!("<{}/>", name.to_lowercase());
        }
        if self.output.timestamp {
            write_when(&mut text).unwrap_or_else(|_| unreachable!("a string has room"));
        }
        text + "</meta></flow>"
    }
}

/// The beginning of an event's element.
fn flow_of(kind: EventKind) -> &'static str {
    match kind {
        EventKind::New => "<flow type=\"new\">",
        EventKind::Update => "<flow type=\"update\">",
        EventKind::Destroy | EventKind::Unspecified => "<flow type=\"destroy\">",
    }
}

/// The date of an event; its days of the week count from 1.
fn write_when(text: &mut String) -> std::fmt::Result {
    let now = date::local(now_ns());
    let weekday = now.weekday().to_sunday_zero_offset() + 1;
    write!(
        text,
        "<when><hour>{}</hour><min>{:02}</min><sec>{:02}</sec><wday>{weekday}</wday>\
         <day>{}</day><month>{}</month><year>{}</year></when>",
        now.hour(),
        now.minute(),
        now.second(),
        now.day(),
        now.month(),
        now.year()
    )
}

/// A text whose characters are no markup.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;")
}

/// The name of an entry's state. As in conntrack(8), that of SCTP is TCP's of the same number.
fn state(entry: &Entry<'_>) -> Option<&'static str> {
    match entry.connection.state.as_ref()? {
        State::Sctp(sctp) => Some(TcpState::ALL.get(sctp.state as usize)?.name()),
        _ => entry.state(),
    }
}
