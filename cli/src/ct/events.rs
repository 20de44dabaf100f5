// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Events, until the program is terminated.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::Arc;

use adit_conntrack_rpc::proto::{self, event::Subject};

use super::error::{say, Result};
use super::options::Table;
use super::parse::{Events, Request};
use super::print::Printer;
use super::run::{passes, Client};
use super::text::Occasion;

/// The size of a netlink message for an event: conntrack(8) has its buffer's size in bytes.
const EVENT_SIZE: u64 = 512;

/// The events that were shown, which a signal reports.
#[derive(Default)]
struct Shown {
    count: AtomicU64,
    has_document: AtomicBool,
}

/// Prints events until SIGINT or SIGTERM, or until the server closes the stream.
pub(super) fn run(request: &Request, client: &mut Client) -> Result<u8> {
    let is_expect = request.table == Table::Expect;
    let all = Events {
        new: true,
        update: true,
        destroy: true,
    };
    let events = request.events.unwrap_or(all);
    let filter = request.filter(false)?;
    let queue = request
        .buffer
        .map_or(0, |bytes| (bytes / EVENT_SIZE).max(1));
    let mut watch = client.watch(proto::WatchRequest {
        new: events.new && !is_expect,
        update: events.update && !is_expect,
        destroy: events.destroy && !is_expect,
        expect_new: is_expect,
        expect_destroy: is_expect,
        filter: (!is_expect).then_some(filter),
        queue: u32::try_from(queue).unwrap_or(u32::MAX),
    })?;
    let shown = Arc::new(Shown::default());
    end_on_signal(is_expect, shown.clone())?;
    let mut printer = Printer::new(request.output);
    while let Some(response) = client.next(&mut watch)? {
        for event in response.events {
            let occasion = Occasion::Event(event.kind());
            match &event.subject {
                Some(Subject::Connection(one)) if passes(request, one) => {
                    printer.connection(one, occasion)?;
                }
                Some(Subject::Expectation(one)) => printer.expectation(one, occasion)?,
                _ => continue,
            }
            shown.count.fetch_add(1, Relaxed);
            shown.has_document.store(printer.has_document(), Relaxed);
        }
        if response.lost > 0 {
            say(&format!(
                "WARNING: {} events were lost: the buffer was full (see --buffer-size)",
                response.lost
            ));
        }
    }
    say("the server has ended");
    Ok(1)
}

/// Terminates the program on a signal, with the number of events.
fn end_on_signal(is_expect: bool, shown: Arc<Shown>) -> Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            if signals.forever().next().is_none() {
                return;
            }
            // No line is printed in part: each is written under this lock.
            let mut out = std::io::stdout().lock();
            if shown.has_document.load(Relaxed) {
                let end = if is_expect {
                    "</expect>"
                } else {
                    "</conntrack>"
                };
                // The reader may have gone; there is nothing else to print then.
                let _ = writeln!(out, "{end}");
            }
            let what = if is_expect { "expectation" } else { "flow" };
            say(&format!(
                "{} {what} events have been shown.",
                shown.count.load(Relaxed)
            ));
            std::process::exit(0);
        })?;
    Ok(())
}
