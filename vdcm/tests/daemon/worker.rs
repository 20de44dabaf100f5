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

/// The process id of the worker that was ready last. The daemon may be known to be ready before its keeper has
/// logged that.
pub(crate) fn worker(daemon: &Daemon) -> Pid {
    let since = Instant::now();
    loop {
        let log = daemon.log();
        if let Some(worker) = logged(&log) {
            return worker;
        }
        assert!(since.elapsed() < TIMEOUT, "no worker: {log}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The process id of the worker that the last entire line about one names.
fn logged(log: &str) -> Option<Pid> {
    let mut ready = log
        .split_inclusive('\n')
        .filter(|line| line.contains("the worker is ready") || line.contains("updated:"))
        .filter(|line| line.ends_with('\n'));
    let (_, pid) = ready.next_back()?.split_once("pid=")?;
    Pid::from_raw(pid.split_whitespace().next()?.parse().ok()?)
}
