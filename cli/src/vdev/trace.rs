// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit vdev trace`: prints a line for each event of a device.

use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use adit_vdcm::control::client::Client;
use adit_vdcm::protocol::TraceEntry;
use anyhow::Result;
use serde_json::Value;

use super::args::Trace;
use crate::output::Format;

/// The interval of requests for new entries.
const INTERVAL: Duration = Duration::from_millis(500);

/// Prints the entries.
pub(super) fn trace(client: &mut Client, args: &Trace, format: Format) -> Result<()> {
    let mut after = args.after;
    let mut out = std::io::stdout().lock();
    // The entries before the first one were not asked for, or are long gone.
    let mut started = false;
    loop {
        let trace = client.trace(&args.device, after)?;
        for entry in &trace.entries {
            if started && entry.seq > after + 1 {
                let lost = entry.seq - after - 1;
                eprintln!("adit: {lost} entries were overwritten before they could be read");
            }
            started = true;
            after = entry.seq;
            match format {
                Format::Json => writeln!(out, "{}", serde_json::to_string(entry)?)?,
                Format::Table => writeln!(out, "{}", line(entry)?)?,
            }
        }
        out.flush()?;
        if trace.more && !trace.entries.is_empty() {
            continue;
        }
        if !args.follow {
            return Ok(());
        }
        sleep(INTERVAL);
    }
}

/// An entry as a line: its number, the time in seconds, the event, and what there is to say.
fn line(entry: &TraceEntry) -> Result<String> {
    let value = serde_json::to_value(&entry.event)?;
    let event = value["event"].as_str().unwrap_or_default();
    let mut text = format!(
        "{:>8} {:>6}.{:06} {event}",
        entry.seq,
        entry.time_us / 1_000_000,
        entry.time_us % 1_000_000
    );
    let is_window = !value["iova"].is_null();
    let fields = value.as_object().into_iter().flatten();
    for (name, value) in fields.filter(|(name, _)| *name != "event") {
        match value {
            Value::Null => {}
            Value::String(word) if word.is_empty() => {}
            Value::Number(number) if is_window && (name == "iova" || name == "len") => {
                let number = number.as_u64().unwrap_or_default();
                text.push_str(&format!(" {name}={number:#x}"));
            }
            // A text with spaces is quoted.
            Value::String(word) if !word.contains(char::is_whitespace) => {
                text.push_str(&format!(" {name}={word}"));
            }
            other => text.push_str(&format!(" {name}={other}")),
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_vdcm::protocol::TraceEvent;

    #[test]
    fn an_entry_is_a_line() {
        let of = |event| TraceEntry {
            seq: 12,
            time_us: 3_000_450,
            event,
        };
        let request = TraceEvent::Request {
            opcode: 1,
            name: "VERSION".into(),
            len: 8,
            status: 0,
        };
        assert_eq!(
            line(&of(request)).unwrap(),
            "      12      3.000450 request len=8 name=VERSION opcode=1 status=0"
        );
        let map = TraceEvent::Map {
            iova: 0x1000,
            len: 0x2000,
            error: Some("no space".into()),
        };
        assert_eq!(
            line(&of(map)).unwrap(),
            "      12      3.000450 map error=\"no space\" iova=0x1000 len=0x2000"
        );
        let connected = line(&of(TraceEvent::Connected)).unwrap();
        assert_eq!(connected, "      12      3.000450 connected");
    }
}
