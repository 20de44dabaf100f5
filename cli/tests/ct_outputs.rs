// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit ct` with readers of its output that are slow or have gone, and with more connections than a page has.

mod ct_common;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::sync::mpsc::{channel, Receiver};
use std::time::{Duration, Instant};

use adit_conntrack::testing::V4;
use adit_conntrack::{Cursor, Endpoint, NewConnection, Protocol, Tuple};
use adit_conntrack_rpc::Clock;
use ct_common::Nic;
use rustix::process::{kill_process, Pid, Signal};

/// The time in which what is waited for happens, on the slowest machine.
const LIMIT: Duration = Duration::from_secs(60);
/// The time for which connections are there: longer than a test.
const LASTING: Duration = Duration::from_secs(3600);
/// More connections than pages, pipes and queues have places for.
const MANY: u16 = 3000;

impl Nic {
    /// Creates connections of datagrams from ports 1, 2, …, which last.
    fn datagrams(&self, count: u16) {
        for src_port in 1..=count {
            let end = |address, part| Endpoint { address, part };
            let ends = [end(V4.src, src_port), end(V4.dst, V4.dst_port)];
            let [original, reply] = [ends, [ends[1], ends[0]]]
                .map(|[src, dst]| Tuple::new(Protocol::UDP, src, dst).expect("one family"));
            let new = NewConnection::new(original, reply, LASTING);
            let created = self.tracker.create_connection(&new, self.clock.now());
            created.expect("a place");
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
fn a_change_that_its_reader_ends_is_an_error() {
    for line in ["-U -p udp -m 7", "-D -w 0"] {
        let nic = Nic::start();
        nic.datagrams(MANY);
        let mut change = nic.piped(line);
        drop(change.stdout.take());
        let error = text(change.stderr.take().expect("a pipe"));
        assert_eq!(code(&mut change), Some(1), "{line}: {error}");
        assert!(error.contains("nobody reads the output"), "{line}: {error}");
        assert!(!nic.tracker.is_empty(), "{line}");
    }
}

#[test]
fn a_timeout_selects_what_has_it_left() {
    let nic = Nic::start();
    nic.datagrams(2);
    let begin = Instant::now();
    // It passes while the commands run.
    while nic.tracker.len() == 2 {
        assert!(
            begin.elapsed() < LIMIT,
            "no timeout was the one that is left"
        );
        let list = text(&nic.run("-L -p udp --sport 1").stdout[..]);
        let left = list.split_whitespace().nth(2).expect("the timeout");
        nic.run(&format!("-D -p udp --sport 1 -t {left}"));
    }
    let other = nic.run("-D -p udp --sport 2 -t 9999");
    assert_eq!(other.status.code(), Some(1));
    assert_eq!(nic.tracker.len(), 1);
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
    let unread = |line: &str| {
        let (_, writer) = rustix::pipe::pipe().expect("a pipe");
        let mut command = nic.command(line);
        command.stdout(Stdio::piped()).stderr(writer);
        command.spawn().expect("adit starts")
    };
    assert_eq!(code(&mut unread("-F")), Some(0));
    assert!(nic.tracker.is_empty());
    assert_eq!(code(&mut unread("-L --bogus")), Some(2));
    let mut watch = unread("-E");
    wait_for("the watch begins", || nic.tracker.listeners() == 1);
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

/// The first one waits until it has what is printed.
#[test]
fn a_second_signal_does_not_wait_for_the_reader() {
    let nic = Nic::start();
    // A watch that is not printing at the moment of a signal ends at once.
    for _ in 0..20 {
        let mut watch = nic.watch("-E");
        nic.datagrams(MANY);
        let out = watch.stdout.take().expect("a pipe");
        let full = rustix::pipe::fcntl_getpipe_size(&out).expect("a pipe") as u64;
        // The last part of each page has no room for a line.
        let is_full = || rustix::io::ioctl_fionread(&out).expect("a pipe") > full - full / 8;
        wait_for("the pipe is full", is_full);
        signal(&watch, Signal::INT);
        // Longer than the time within which two signals are one.
        std::thread::sleep(Duration::from_millis(700));
        if watch.try_wait().expect("it is ours").is_none() {
            signal(&watch, Signal::INT);
            assert_eq!(code(&mut watch), Some(1));
            return;
        }
        assert_eq!(code(&mut watch), Some(0));
        wait_for("the watch ends", || nic.tracker.listeners() == 0);
        nic.flush();
    }
    panic!("the first signal has always ended it");
}
