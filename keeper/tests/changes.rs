// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An update that resets the devices, during which the old worker changes what is kept.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use adit_keeper::{Keeper, Stateless, Worker};
use rustix::process::{getpid, kill_process, Signal};

/// Set in the environment of workers, which run the same test: the folder of the test.
const WORKER: &str = "ADIT_TEST_WORKER";
/// The limit for what a correct keeper does soon.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Waits for a file.
fn wait(path: &Path) {
    let until = Instant::now() + TIMEOUT;
    while !path.exists() {
        assert!(Instant::now() < until, "{}", path.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The process of a worker, which leaves files as marks of what it has come to.
fn worker(folder: &Path) {
    let mark = |name: &str| std::fs::write(folder.join(name), "").unwrap();
    let (worker, start) = Worker::begin().unwrap();
    if start.update {
        mark("updating");
        wait(&folder.join("changed"));
    }
    worker.prepared(|_, _| Ok(())).unwrap();
    let abandoned = || {
        std::process::exit(0);
    };
    worker.ready(Stateless(abandoned)).unwrap();
    if start.notes.contains_key("made") {
        mark("last");
    } else if start.update {
        mark("outdated");
    } else {
        mark("first");
        wait(&folder.join("updating"));
        worker.note("made", Some("meanwhile".into())).unwrap();
        mark("changed");
    }
    loop {
        std::thread::sleep(TIMEOUT);
    }
}

#[test]
fn changes_during_an_update_are_not_lost() {
    if let Some(folder) = std::env::var_os(WORKER) {
        return worker(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "changes_during_an_update_are_not_lost"])
        .env(WORKER, folder.path());
    let keeper = std::thread::spawn(|| Keeper::new(command).resetting_on_update().run());
    wait(&folder.path().join("first"));
    // The keeper may not know yet that the worker is ready, and ignores the signal then.
    let begun = Instant::now();
    while !folder.path().join("updating").exists() {
        assert!(begun.elapsed() < TIMEOUT, "no update");
        kill_process(getpid(), Signal::HUP).unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
    wait(&folder.path().join("last"));
    assert!(!folder.path().join("outdated").exists());
    kill_process(getpid(), Signal::TERM).unwrap();
    keeper.join().unwrap().unwrap();
}
