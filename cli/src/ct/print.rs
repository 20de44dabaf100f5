// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The output, in the format of a request. Each connection is written at once.

use std::io::Write;

use adit_conntrack_rpc::proto::{Connection, Event, EventKind, Expectation};

use super::error::Result;
use super::labels::Labels;
use super::parse::Output;
use super::text::{event_prefix, expectation_prefix, Occasion, Text};
use super::xml::{Xml, EXPECT_HEAD, HEAD};
use super::{json, save};

enum Format {
    Text(Text),
    Xml(Xml),
    Save,
    Json,
}

/// Prints connections and expectations on the standard output.
pub(super) struct Printer {
    format: Format,
    output: Output,
    /// The element that ends an XML document, once it has begun.
    end: Option<&'static str>,
    /// No document is begun: elements stand alone.
    omits_head: bool,
}

impl Printer {
    /// A printer of an output, which shows the names of labels if there are some.
    pub(super) fn new(output: Output, labels: Option<Labels>) -> Self {
        let format = match output {
            Output { json: true, .. } => Format::Json,
            Output { save: true, .. } => Format::Save,
            Output { xml: true, .. } => Format::Xml(Xml { output, labels }),
            _ => Format::Text(Text { output, labels }),
        };
        Printer {
            format,
            output,
            end: None,
            omits_head: false,
        }
    }

    /// A printer of entries that a command has changed: without dates, and without a document of XML
    /// around them.
    pub(super) fn of_changes(output: Output, labels: Option<Labels>) -> Self {
        let output = Output {
            timestamp: false,
            ktimestamp: false,
            ..output
        };
        Printer {
            omits_head: true,
            ..Printer::new(output, labels)
        }
    }

    fn begin(&mut self, head: &str, end: &'static str) -> Result<()> {
        if self.end.is_none() && !self.omits_head {
            self.end = Some(end);
            writeln!(std::io::stdout(), "{head}")?;
        }
        Ok(())
    }

    /// Prints a connection of a list.
    pub(super) fn connection(&mut self, one: &Connection) -> Result<()> {
        let line = self.line(one, Occasion::Listed)?;
        writeln!(std::io::stdout(), "{line}")?;
        Ok(())
    }

    /// Prints the connection of an event. conntrack(8) marks one that was requested in all formats, whether or
    /// not `-o userspace` is given.
    pub(super) fn event(&mut self, one: &Connection, event: &Event) -> Result<()> {
        let occasion = Occasion::Event(event.kind(), event.values);
        let line = match self.format {
            Format::Json => {
                let mut value = json::connection(one, occasion);
                value["requested"] = event.requested.into();
                value.to_string()
            }
            Format::Text(_) | Format::Xml(_) | Format::Save => {
                let mark = if event.requested { " [USERSPACE]" } else { "" };
                self.line(one, occasion)? + mark
            }
        };
        writeln!(std::io::stdout(), "{line}")?;
        Ok(())
    }

    fn line(&mut self, one: &Connection, occasion: Occasion) -> Result<String> {
        if matches!(self.format, Format::Xml(_)) {
            self.begin(HEAD, "</conntrack>")?;
        }
        Ok(match &self.format {
            Format::Json => json::connection(one, occasion).to_string(),
            Format::Save => save::connection(one, occasion),
            Format::Xml(xml) => xml.connection(one, occasion),
            Format::Text(text) => {
                let prefix = match occasion {
                    Occasion::Listed => String::new(),
                    Occasion::Event(kind, _) => event_prefix(kind, self.output),
                };
                prefix + &text.connection(one, occasion)
            }
        })
    }

    /// Prints a connection that this command has deleted: as in a list, but for the command that
    /// repeats it.
    pub(super) fn deleted(&mut self, one: &Connection) -> Result<()> {
        match self.format {
            Format::Save => {
                let line = save::connection(one, Occasion::Event(EventKind::Destroy, 0));
                writeln!(std::io::stdout(), "{line}")?;
                Ok(())
            }
            _ => self.connection(one),
        }
    }

    pub(super) fn expectation(&mut self, one: &Expectation, occasion: Occasion) -> Result<()> {
        let line = match &self.format {
            Format::Json => json::expectation(one, occasion).to_string(),
            Format::Xml(_) => {
                self.begin(EXPECT_HEAD, "</expect>")?;
                let Format::Xml(xml) = &self.format else {
                    return Ok(());
                };
                xml.expectation(one, occasion)
            }
            Format::Text(Text { .. }) | Format::Save => {
                let text = Text {
                    output: self.output,
                    labels: None,
                };
                expectation_prefix(occasion, self.output) + &text.expectation(one)
            }
        };
        writeln!(std::io::stdout(), "{line}")?;
        Ok(())
    }

    /// Reports whether a document has begun.
    pub(super) fn has_document(&self) -> bool {
        self.end.is_some()
    }

    /// Ends a document.
    pub(super) fn end(&mut self) -> Result<()> {
        if let Some(end) = self.end.take() {
            writeln!(std::io::stdout(), "{end}")?;
        }
        Ok(())
    }
}
