// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A NIC's listener with a tracker, and `adit ct` as a process.
#![allow(dead_code, reason = "each test uses a part")]

use std::process::{Command, Output};
use std::sync::{mpsc, Arc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use adit_conntrack::{Seed, Settings, Time, Tracker};
use adit_conntrack_rpc::{service, Gate};
use adit_p4runtime::server::{listen_with, Limits, Listening, PipelineHandle, Routes, Server};
use adit_pipeline::p4::Engine;

/// A data path without a program.
struct Idle;

impl PipelineHandle for Idle {
    fn commit(&self, _: Arc<Engine>) -> Result<(), String> {
        Ok(())
    }
    fn now_ns(&self) -> u64 {
        0
    }
}

/// The clock of the tracker.
#[derive(Clone, Copy)]
pub(crate) struct Clock(Instant, Duration);

impl adit_conntrack_rpc::Clock for Clock {
    fn now(&self) -> Time {
        Time::ZERO + self.0.elapsed()
    }

    fn start_date(&self) -> Duration {
        self.1
    }
}

/// A NIC as far as `adit ct` sees it.
pub(crate) struct Nic {
    pub(crate) tracker: Arc<Tracker>,
    pub(crate) clock: Clock,
    listening: Listening,
    /// The thread that removes connections in time, and what ends it.
    expiry: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl Drop for Nic {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.expiry.take() {
            drop(end);
            let _ = thread.join();
        }
    }
}

/// The words of a command line; those in quotes may have blanks.
pub(crate) fn words(line: &str) -> Vec<String> {
    let (mut all, mut word, mut is_quoted) = (Vec::new(), None, false);
    for c in line.chars() {
        match c {
            '"' => {
                is_quoted = !is_quoted;
                word.get_or_insert_with(String::new);
            }
            ' ' if !is_quoted => all.extend(word.take()),
            c => word.get_or_insert_with(String::new).push(c),
        }
    }
    all.extend(word);
    all
}

/// The interval at which connections are removed.
const EXPIRY: Duration = Duration::from_millis(50);

/// Removes connections in time until the sender is gone.
fn expire(tracker: &Arc<Tracker>, clock: Clock) -> (mpsc::Sender<()>, JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel::<()>();
    let tracker = tracker.clone();
    let thread = std::thread::spawn(move || {
        while receiver.recv_timeout(EXPIRY) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracker.expire(adit_conntrack_rpc::Clock::now(&clock), 1 << 16);
        }
    });
    (sender, thread)
}

impl Nic {
    pub(crate) fn start() -> Self {
        Nic::with_capacity(4096)
    }

    /// A NIC that tracks so many connections.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let tracker = Tracker::new(capacity, Seed::new([3; 16]), Settings::default());
        let tracker = Arc::new(tracker);
        let date = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let clock = Clock(Instant::now(), date.expect("it is after 1970"));
        let further =
            Routes::default().add_service(service(tracker.clone(), clock, Gate::default()));
        let server = Server::new(1, Arc::new(Idle), None);
        let address = "127.0.0.1:0".parse().expect("an address");
        let listening = listen_with(server, &address, None, Limits::default(), further);
        let expiry = Some(expire(&tracker, clock));
        Nic {
            tracker,
            clock,
            listening: listening.expect("the kernel has a port"),
            expiry,
        }
    }

    /// The address of the listener.
    pub(crate) fn address(&self) -> &str {
        &self.listening.address
    }

    /// `adit ct` with words.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
        command
            .arg("ct")
            .args(words(line))
            .env("ADIT_P4RT", &self.listening.address);
        command
    }

    pub(crate) fn run(&self, line: &str) -> Output {
        self.command(line).output().expect("adit starts")
    }
}
