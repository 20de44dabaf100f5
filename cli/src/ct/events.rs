// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Events, until the program is terminated.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{mpsc, Arc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use adit_conntrack_rpc::proto::{self, event::Subject};

use super::error::{note, say, Result};
use super::options::Table;
use super::parse::{Events, Request};
use super::print::Printer;
use super::run::{passes, Client};
use super::text::Occasion;

/// The size of a netlink message for an event: conntrack(8) has its buffer's size in bytes.
const EVENT_SIZE: u32 = 512;
/// The smallest buffer of a socket of Linux (`SOCK_MIN_RCVBUF`).
const MIN_BUFFER: i32 = 2304;

/// The size of the buffer that conntrack(8) gets from Linux, which doubles the size that it asks for.
fn buffer_size(wanted: i64) -> u32 {
    let half = (wanted as i32).clamp(0, i32::MAX / 2);
    (half * 2).max(MIN_BUFFER).unsigned_abs()
}

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
    let mut queue = 0;
    if let Some(wanted) = request.buffer {
        let bytes = buffer_size(wanted);
        note(&format!(
            "NOTICE: Netlink socket buffer size has been set to {bytes} bytes."
        ));
        queue = bytes / EVENT_SIZE;
    }
    let shown = Arc::new(Shown::default());
    let signals = end_on_signal(is_expect, shown.clone())?;
    let has_none = !events.new && !events.update && !events.destroy;
    if has_none && !is_expect {
        // Of names that are ignored nothing is left: conntrack(8) waits for the signal.
        let _ = signals.join();
        return Ok(0);
    }
    let mut watch = client.watch(proto::WatchRequest {
        new: events.new && !is_expect,
        update: events.update && !is_expect,
        destroy: events.destroy && !is_expect,
        expect_new: is_expect,
        expect_destroy: is_expect,
        filter: (!is_expect).then_some(filter),
        queue,
    })?;
    let mut printer = Printer::new(request.output, request.labels.clone());
    while let Some(response) = client.next(&mut watch)? {
        for event in response.events {
            // The end of the program counts what is printed: under one lock with it.
            let _out = std::io::stdout().lock();
            match &event.subject {
                Some(Subject::Connection(one)) if passes(request, one) => {
                    printer.event(one, &event)?;
                }
                Some(Subject::Expectation(one)) => {
                    printer.expectation(one, Occasion::Event(event.kind(), event.values))?;
                }
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

/// The exit code of a second signal, and the time between signals that are not the same one: timeout(1) sends one to
/// its child, and again to the group of its child.
const UNREAD: i32 = 1;
const AGAIN: Duration = Duration::from_millis(500);

/// Terminates the program on a signal, with the number of events, in a thread that is returned. A reader of the output
/// that does not read holds that up; a second signal terminates the program at once.
fn end_on_signal(is_expect: bool, shown: Arc<Shown>) -> Result<JoinHandle<()>> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let (sender, receiver) = mpsc::channel();
    let end = move || {
        // Without a sender there are no signals.
        if receiver.recv().is_ok() {
            end(is_expect, &shown);
        }
    };
    std::thread::Builder::new().name("end".into()).spawn(end)?;
    let watch = move || {
        let mut first = None;
        for _ in signals.forever() {
            let first = *first.get_or_insert_with(|| {
                // The receiver waits for it.
                let _ = sender.send(());
                Instant::now()
            });
            if first.elapsed() > AGAIN {
                std::process::exit(UNREAD);
            }
        }
    };
    let thread = std::thread::Builder::new().name("signals".into());
    Ok(thread.spawn(watch)?)
}

/// Terminates the program, with the number of events.
fn end(is_expect: bool, shown: &Shown) -> ! {
    let (element, what) = match is_expect {
        true => ("</expect>", "expectation"),
        false => ("</conntrack>", "flow"),
    };
    // No line is printed in part: each is written under this lock.
    let mut out = std::io::stdout().lock();
    if shown.has_document.load(Relaxed) {
        // The reader may have gone; there is nothing else to print then.
        let _ = writeln!(out, "{element}");
    }
    say(&format!(
        "{} {what} events have been shown.",
        shown.count.load(Relaxed)
    ));
    std::process::exit(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_have_the_sizes_of_sockets() {
        let sizes = [0, -1, 8192, 1 << 40, i64::from(i32::MAX)].map(buffer_size);
        assert_eq!(sizes, [2304, 2304, 16_384, 2304, 2_147_483_646]);
    }
}
