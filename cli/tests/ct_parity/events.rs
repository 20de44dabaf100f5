// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Events: several watches of the same activity, in order, until a signal.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use rustix::process::{kill_process, Pid, Signal};

use crate::neutral;
use crate::steps::{difference, Both, View};
use crate::traffic;

/// A name, the watches, and the steps that they watch. A watch behind `-` ends, or waits for nothing.
pub(crate) const WATCHED: [(&str, &[&str], &str); 5] = [
    ("events_of_packets", traffic::FORMATS, traffic::PACKETS),
    ("some_events_of_packets", traffic::FILTERS, traffic::PACKETS),
    ("events_of_requests", traffic::FORMATS, traffic::REQUESTS),
    (
        "some_events_of_requests",
        traffic::FILTERS,
        traffic::REQUESTS,
    ),
    (
        "events_of_expectations",
        traffic::EXPECT_WATCHES,
        traffic::EXPECTED_EVENTS,
    ),
];

/// The time in which watches begin, and in which they print.
const LIMIT: Duration = Duration::from_secs(60);
/// The time without output after which nothing follows, if both sides have printed the same, and otherwise: one
/// may not have run for a while.
const QUIET: Duration = Duration::from_millis(400);
const LONG_QUIET: Duration = Duration::from_secs(10);

/// A program that watches, and its outputs.
struct Watch {
    child: Child,
    out: tempfile::NamedTempFile,
    error: tempfile::NamedTempFile,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Watch {
    fn start(mut command: Command) -> std::io::Result<Self> {
        let (out, error) = (
            tempfile::NamedTempFile::new()?,
            tempfile::NamedTempFile::new()?,
        );
        let child = command
            .stdin(Stdio::null())
            .stdout(out.reopen()?)
            .stderr(error.reopen()?)
            .spawn()?;
        Ok(Watch { child, out, error })
    }

    fn printed(&self) -> Vec<u8> {
        std::fs::read(self.out.path()).unwrap_or_default()
    }

    /// Ends it with a signal. What it prints then is no event: those were printed before.
    fn end(&mut self, signal: Signal) -> Result<View, Failed> {
        let before = self.printed();
        // A watch that was refused has ended before.
        let _ = kill_process(Pid::from_child(&self.child), signal);
        let code = self.child.wait()?.code();
        let (out, error) = (self.printed(), std::fs::read(self.error.path())?);
        let last = out.strip_prefix(&before[..]);
        let last = last.map(|last| String::from_utf8_lossy(last).into_owned());
        match last.as_deref() {
            Some("" | "</conntrack>\n" | "</expect>\n") => {}
            other => return Err(format!("printed after the signal: {other:?}").into()),
        }
        Ok((code, neutral::lines(&out), neutral::lines(&error)))
    }
}

/// Waits for a condition.
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), Failed> {
    let begin = Instant::now();
    while !is_so() {
        if begin.elapsed() > LIMIT {
            return Err(format!("{what}: not within {LIMIT:?}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The sockets of netfilter that wait for events.
fn listening(both: &Both) -> usize {
    let output = both.theirs.run(&["cat", "/proc/net/netlink"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_listening = |line: &&str| {
        let words: Vec<_> = line.split_whitespace().collect();
        matches!(words[..], [_, "12", _, groups, ..] if !groups.trim_matches('0').is_empty())
    };
    text.lines().filter(is_listening).count()
}

/// Runs the watches on both sides while the steps are taken, and compares what they print.
pub(crate) fn compare(watches: &[&str], table: &str) -> Result<(), Failed> {
    let mut both = Both::new()?;
    both.theirs.name_labels("0 zero\n1 one\n");
    let (mut all, mut seen) = (Vec::new(), 0);
    for line in watches {
        let (line, is_seen) = match line.strip_prefix("- ") {
            Some(line) => (line, false),
            None => (*line, true),
        };
        seen += usize::from(is_seen);
        let [theirs, ours] = both.commands(line).map(Watch::start);
        all.push((line, [theirs?, ours?]));
    }
    wait_for("conntrack(8) watches", || listening(&both) == seen)?;
    wait_for("adit watches", || both.ours.tracker.listeners() == seen)?;
    let mut differences = String::new();
    both.take(table, |line, outputs| {
        let codes = outputs.map(|output| output.status.code());
        if codes[0] != codes[1] {
            differences += &format!("conntrack {line} ends with {codes:?}\n");
        }
    })?;
    let (mut last, mut since) = (Vec::new(), Instant::now());
    wait_for("all is printed", || {
        let printed: Vec<_> = all
            .iter()
            .flat_map(|(_, both)| both.each_ref().map(|watch| watch.printed().len()))
            .collect();
        if printed != last {
            (last, since) = (printed, Instant::now());
        }
        let same = |both: &[Watch; 2]| {
            let [theirs, ours] = both.each_ref().map(|it| neutral::lines(&it.printed()));
            theirs == ours
        };
        let is_quiet = since.elapsed() > QUIET;
        is_quiet && (all.iter().all(|(_, both)| same(both)) || since.elapsed() > LONG_QUIET)
    })?;
    let mut lines = 0;
    for (number, (line, [theirs, ours])) in all.iter_mut().enumerate() {
        let signal = if number % 2 == 0 {
            Signal::INT
        } else {
            Signal::TERM
        };
        let views = [theirs.end(signal)?, ours.end(signal)?];
        lines += views[0].1.len();
        differences += &difference(line, views);
    }
    println!("{} watches with {lines} lines compared", all.len());
    match differences.is_empty() {
        true => Ok(()),
        false => Err(differences.into()),
    }
}
