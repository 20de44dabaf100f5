// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The worker of a daemon under a keeper.

use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::daemon::{Daemon, TIMEOUT};

/// Waits for a daemon that was not ready before, and returns its process id.
pub(crate) fn next_worker(daemon: &Daemon, old: Pid) -> Pid {
    let since = Instant::now();
    loop {
        let worker = worker(daemon);
        if worker != old {
            assert!(daemon.notified().starts_with("READY=1\n"));
            return worker;
        }
        assert!(since.elapsed() < TIMEOUT, "{}", daemon.log());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The process id of the worker that was ready last.
pub(crate) fn worker(daemon: &Daemon) -> Pid {
    let log = daemon.log();
    let mut ready = log
        .lines()
        .filter(|line| line.contains("the worker is ready") || line.contains("updated:"));
    let pid = ready.next_back().and_then(|line| {
        let (_, pid) = line.split_once("pid=")?;
        pid.split(' ').next()?.parse().ok()
    });
    Pid::from_raw(pid.unwrap_or_else(|| panic!("no worker: {log}"))).unwrap()
}
