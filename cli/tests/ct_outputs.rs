// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit ct` with readers of its output that are slow or have gone, and with more connections than a page has.

mod ct_common;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::sync::mpsc::{channel, Receiver};
use std::time::{Duration, Instant};

use adit_conntrack::testing::{Flow, V4};
use adit_conntrack::{Commit, Cursor, Input};
use adit_conntrack_rpc::Clock;
use ct_common::Nic;
use rustix::process::{kill_process, Pid, Signal};

/// The time in which what is waited for happens, on the slowest machine.
const LIMIT: Duration = Duration::from_secs(60);
/// More connections than pages, pipes and queues have places for.
const MANY: u16 = 3000;

impl Nic {
    /// Creates connections of datagrams from ports 1, 2, …
    fn datagrams(&self, count: u16) {
        for src_port in 1..=count {
            let packet = Flow { src_port, ..V4 }.udp(b"");
            let (input, now) = (Input::new(&packet), self.clock.now());
            let mut tracked = self.tracker.track(&input, now);
            let commit = Commit::default();
            let committed = self.tracker.commit(&mut tracked, &input, &commit, now);
            committed.expect("a place");
        }
    }

    fn flush(&self) {
        let mut next = Some(Cursor::default());
        while let Some(cursor) = next {
            next = self.tracker.flush(cursor, self.clock.now()).1;
        }
    }

    /// Starts a command with pipes.
    fn piped(&self, line: &str) -> Child {
        let mut command = self.command(line);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("adit starts")
    }

    /// Starts a watch, and waits until it misses nothing.
    fn watch(&self, line: &str) -> Child {
        let watch = self.piped(line);
        wait_for("the watch begins", || self.tracker.listeners() == 1);
        watch
    }
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("it runs");
}

/// Waits for the end of a process, and returns its exit code.
fn code(child: &mut Child) -> Option<i32> {
    let mut code = None;
    wait_for("the process ends", || {
        code = child.try_wait().expect("it is ours").map(|end| end.code());
        code.is_some()
    });
    code.flatten()
}

/// The lines of a stream, as they arrive.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(stream).lines();
        lines
            .map_while(Result::ok)
            .try_for_each(|line| sender.send(line))
    });
    receiver
}

fn text(mut stream: impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("text");
    text
}

#[test]
fn all_pages_are_changed_and_deleted() {
    let nic = Nic::start();
    nic.datagrams(MANY);
    let count = |line: &str| {
        let output = nic.run(line);
        let error = text(&output.stderr[..]);
        assert_eq!(output.status.code(), Some(0), "{line}: {error}");
        let printed = output.stdout.iter().filter(|byte| **byte == b'\n').count();
        let last = error.rsplit("): ").next().unwrap_or_default().to_owned();
        (printed, last)
    };
    let many = usize::from(MANY);
    let (printed, last) = count("-U -p udp -m 7");
    assert_eq!(
        (printed, &*last),
        (many, "3000 flow entries have been updated.\n")
    );
    // Zones are none of the service's filter: each connection is deleted by its number.
    let (printed, last) = count("-D -w 0 -m 7");
    assert_eq!(
        (printed, &*last),
        (many, "3000 flow entries have been deleted.\n")
    );
    assert!(nic.tracker.is_empty());
}

#[test]
fn a_list_ends_with_its_reader() {
    let nic = Nic::start();
    nic.datagrams(MANY);
    let mut list = nic.piped("-L");
    let mut out = BufReader::new(list.stdout.take().expect("a pipe"));
    let mut first = String::new();
    out.read_line(&mut first).expect("text");
    assert!(first.starts_with("udp "), "{first}");
    drop(out);
    assert_eq!(code(&mut list), Some(0));
    let error = text(list.stderr.take().expect("a pipe"));
    assert_eq!(error, "");
}

#[test]
fn an_output_that_is_full_is_an_error() {
    let nic = Nic::start();
    nic.datagrams(1);
    let full = std::fs::File::create("/dev/full").expect("Linux has it");
    let output = nic.command("-L").stdout(full).output();
    let output = output.expect("adit starts");
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr[..]);
    assert!(error.contains("No space left on device"), "{error}");
}

#[test]
fn messages_that_nobody_reads_change_nothing() {
    let nic = Nic::start();
    nic.datagrams(1);
    let mut flush = nic.piped("-F");
    drop(flush.stderr.take());
    assert_eq!(code(&mut flush), Some(0));
    assert!(nic.tracker.is_empty());
    let mut wrong = nic.piped("-L --bogus");
    drop(wrong.stderr.take());
    assert_eq!(code(&mut wrong), Some(2));
    let mut watch = nic.watch("-E");
    drop(watch.stderr.take());
    signal(&watch, Signal::TERM);
    assert_eq!(code(&mut watch), Some(0));
}

/// The number that begins what follows a text.
fn number_behind(line: &str, text: &str) -> Option<u64> {
    let (_, behind) = line.split_once(text)?;
    behind.split(' ').next()?.parse().ok()
}

#[test]
fn events_that_a_slow_reader_loses_are_counted() {
    let nic = Nic::start();
    let mut watch = nic.watch("-E -e NEW,DESTROY");
    // Nobody reads meanwhile.
    let rounds = 8;
    for _ in 0..rounds {
        nic.datagrams(MANY);
        nic.flush();
    }
    let out = lines(watch.stdout.take().expect("a pipe"));
    let error = lines(watch.stderr.take().expect("a pipe"));
    let total = 2 * rounds * u64::from(MANY);
    let (mut shown, mut lost) = (0, 0);
    wait_for("all are shown or lost", || {
        shown += out.try_iter().count() as u64;
        let counts = error.try_iter().map(|line| {
            let count = number_behind(&line, "WARNING: ");
            count.unwrap_or_else(|| panic!("no loss: {line}"))
        });
        lost += counts.sum::<u64>();
        shown + lost >= total
    });
    assert_eq!(shown + lost, total, "{shown} shown, {lost} lost");
    assert!(lost > 0, "the queue had a place for each");
    signal(&watch, Signal::INT);
    assert_eq!(code(&mut watch), Some(0));
    let last = error.recv_timeout(LIMIT).expect("a last line");
    assert_eq!(number_behind(&last, "): "), Some(shown), "{last}");
}

#[test]
fn a_second_signal_does_not_wait_for_the_reader() {
    let nic = Nic::start();
    let mut watch = nic.watch("-E");
    nic.datagrams(MANY);
    let mut out = watch.stdout.take().expect("a pipe");
    out.read_exact(&mut [0]).expect("an event");
    // It waits for this program to read the others, or will.
    let begin = Instant::now();
    while watch.try_wait().expect("it is ours").is_none() {
        assert!(begin.elapsed() < LIMIT, "signals do not end it");
        // It may have ended at this moment.
        let _ = kill_process(Pid::from_child(&watch), Signal::INT);
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(out);
}
