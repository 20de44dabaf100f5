// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A NIC's listener with a tracker, and `adit ct` as a process.
#![allow(dead_code, reason = "each test uses a part")]

use std::process::{Command, Output};
use std::sync::Arc;
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
}

impl Nic {
    pub(crate) fn start() -> Self {
        let tracker = Tracker::new(4096, Seed::new([3; 16]), Settings::default());
        let tracker = Arc::new(tracker);
        let date = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let clock = Clock(Instant::now(), date.expect("it is after 1970"));
        let further =
            Routes::default().add_service(service(tracker.clone(), clock, Gate::default()));
        let server = Server::new(1, Arc::new(Idle), None);
        let address = "127.0.0.1:0".parse().expect("an address");
        let listening = listen_with(server, &address, None, Limits::default(), further);
        Nic {
            tracker,
            clock,
            listening: listening.expect("the kernel has a port"),
        }
    }

    /// `adit ct` with words.
    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
        command
            .arg("ct")
            .args(words.split_whitespace())
            .env("ADIT_P4RT", &self.listening.address);
        command
    }

    pub(crate) fn run(&self, words: &str) -> Output {
        self.command(words).output().expect("adit starts")
    }
}
