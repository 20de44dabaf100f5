// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Connections as XML.

use std::fmt::Write;

use adit_conntrack_rpc::proto::{Connection, EventKind, Expectation};

use super::date;
use super::flow::{now_ns, Entry, Flow, Part};
use super::labels::Labels;
use super::parse::Output;
use super::protocol;
use super::text::{mask, Occasion};

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

fn layers(flow: &Flow, protocol: u8) -> String {
    let (name, number) = match flow.src.is_ipv4() {
        true => ("ipv4", 2),
        false => ("ipv6", 10),
    };
    format!(
        "<layer3 protonum=\"{number}\" protoname=\"{name}\"><src>{}</src><dst>{}</dst></layer3>\
         <layer4 protonum=\"{protocol}\" protoname=\"{}\">{}</layer4>",
        flow.src,
        flow.dst,
        protocol::shown_name(protocol),
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
        let is_listed = occasion == Occasion::Listed;
        let has_end = occasion == Occasion::Event(EventKind::Destroy);
        text.push_str(match occasion {
            Occasion::Listed => "<flow>",
            Occasion::Event(EventKind::New) => "<flow type=\"new\">",
            Occasion::Event(EventKind::Update) => "<flow type=\"update\">",
            Occasion::Event(_) => "<flow type=\"destroy\">",
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
            if is_listed || has_end {
                let (packets, bytes) = entry.counters(direction);
                write!(
                    text,
                    "<counters><packets>{packets}</packets><bytes>{bytes}</bytes></counters>"
                )?;
            }
            text.push_str("</meta>");
        }
        text.push_str("<meta direction=\"independent\">");
        if let Some(state) = entry.state() {
            write!(text, "<state>{state}</state>")?;
        }
        write!(text, "<timeout>{}</timeout>", entry.timeout())?;
        let mark = entry.connection.mark;
        if is_listed || mark != 0 {
            write!(text, "<mark>{mark}</mark>")?;
        }
        if let (Some(labels), true) = (&self.labels, self.output.labels) {
            let names = labels.names(entry.label());
            if !names.is_empty() {
                text.push_str("<labels>");
                for name in names {
                    write!(text, "<label>{}</label>", escaped(&name))?;
                }
                text.push_str("</labels>");
            }
        }
        if let Some(zone) = zone {
            write!(text, "<zone>{zone}</zone>")?;
        }
        if is_listed {
            text.push_str("<use>1</use>");
        }
        write!(text, "<id>{}</id>", entry.connection.id)?;
        if entry.is_assured() {
            text.push_str("<assured/>");
        }
        if entry.is_unreplied() {
            text.push_str("<unreplied/>");
        }
        if is_listed || has_end {
            self.write_times(text, entry)?;
        }
        text.push_str("</meta>");
        if self.output.timestamp {
            self.write_when(text)?;
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

    /// The date of an event; its days of the week count from 1.
    fn write_when(&self, text: &mut String) -> std::fmt::Result {
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

    /// The element of an expectation.
    pub(super) fn expectation(&self, one: &Expectation) -> String {
        let tuple = one.tuple.clone().unwrap_or_default();
        let master = one.master_tuple.clone().unwrap_or_default();
        let expected = Flow::new(&tuple);
        let meta = |direction: &str, flow: &Flow, protocol: u32| {
            let layers = layers(flow, protocol as u8);
            format!("<meta direction=\"{direction}\">{layers}</meta>")
        };
        let mut text = format!(
            "<flow>{}{}{}<meta direction=\"independent\"><timeout>{}</timeout><class>{}</class>",
            meta("master", &Flow::new(&master), master.protocol),
            meta("expected", &expected, tuple.protocol),
            meta("mask", &mask(one, &expected), tuple.protocol),
            one.timeout_ns / 1_000_000_000,
            one.class,
        );
        if !one.helper.is_empty() {
            text += &format!("<helper-name>{}</helper-name>", escaped(&one.helper));
        }
        if one.zone != 0 {
            text += &format!("<zone>{}</zone>", one.zone);
        }
        text + "</meta></flow>"
    }
}

/// A text whose characters are no markup.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;")
}
