// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A daemon that ends while its devices are frozen, in an update: it leaves what another process goes on with.
//! The test is the keeper.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_vfio_user::handover::{receive, send, InheritedFds, Limits, SentFds};
use rustix::process::{kill_process, Pid, Signal};
use serde_json::{json, Value};

use crate::daemon::{adit_vdcm, TIMEOUT};

/// The name of the device's doorbell pages at the keeper, and of its note.
const DEVICE: &str = "vdev web";

/// A worker, and what it has its keeper hold.
struct Worker {
    process: Child,
    socket: UnixStream,
    kept: BTreeMap<String, Arc<OwnedFd>>,
    notes: BTreeMap<String, Value>,
    served: Vec<String>,
}

impl Worker {
    /// Starts one with what `old` has kept, or the first one.
    fn start(folder: &tempfile::TempDir, old: Option<&Self>) -> Self {
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("vdcm.toml"), "[[device]]\nname = \"web\"\n").unwrap();
        let (socket, theirs) = UnixStream::pair().unwrap();
        let process = adit_vdcm()
            .arg("--control")
            .arg(path("control.sock"))
            .arg("--config")
            .arg(path("vdcm.toml"))
            .args(["--embedded", "--wire", "none", "--keeper", "--worker"])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .unwrap();
        let worker = Self {
            process,
            socket,
            kept: old.map(|old| old.kept.clone()).unwrap_or_default(),
            notes: old.map(|old| old.notes.clone()).unwrap_or_default(),
            served: old.map(|old| old.served.clone()).unwrap_or_default(),
        };
        let mut fds = SentFds::default();
        let kept = worker.kept.iter();
        let kept: BTreeMap<_, _> = kept.map(|(name, fd)| (name, fds.add(fd.as_fd()))).collect();
        let start = json!({ "start": {
            "version": adit_keeper::VERSION,
            "update": old.is_some(),
            "kept": kept,
            "notes": worker.notes,
            "served": worker.served,
        } });
        worker.tell(&start, &fds);
        worker
    }

    fn tell(&self, message: &Value, fds: &SentFds<'_>) {
        let text = serde_json::to_vec(message).unwrap();
        send(self.socket.as_fd(), &text, fds, TIMEOUT).unwrap();
    }

    fn order(&self, message: &Value) {
        self.tell(message, &SentFds::default());
    }

    /// Carries out a message, and returns its kind and content.
    fn message(&mut self) -> (String, Value, InheritedFds) {
        let (text, mut fds) = receive(self.socket.as_fd(), Limits::default(), TIMEOUT).unwrap();
        let message = match serde_json::from_slice(&text).unwrap() {
            Value::String(kind) => (kind, Value::Null),
            Value::Object(all) => all.into_iter().next().unwrap(),
            other => panic!("{other}"),
        };
        let (kind, content) = message;
        let name = content["name"].as_str().unwrap_or_default().to_owned();
        match kind.as_str() {
            "keep" => {
                let fd = fds.take(content["fd"].as_u64().unwrap() as u32).unwrap();
                self.kept.insert(name, Arc::new(fd));
            }
            "note" => drop(self.notes.insert(name, content["text"].clone())),
            "serve" => self.served.push(name),
            "prepared" | "ready" | "frozen" | "not_frozen" => {}
            other => panic!("the worker sends {other}"),
        }
        (kind, content, fds)
    }

    /// Carries out messages up to one of this kind.
    fn until(&mut self, goal: &str) -> (Value, InheritedFds) {
        loop {
            let (kind, content, fds) = self.message();
            if kind == goal {
                return (content, fds);
            }
        }
    }

    /// Starts the first one, whose device is there then.
    fn first(folder: &tempfile::TempDir) -> Self {
        let mut worker = Self::start(folder, None);
        worker.until("prepared");
        worker.order(&json!({ "go": { "state": null } }));
        while !worker.notes.contains_key(DEVICE) {
            worker.message();
        }
        worker
    }

    /// Freezes it; returns its state.
    fn freeze(&mut self) -> (Value, InheritedFds) {
        loop {
            self.order(&json!("freeze"));
            let (kind, content, fds) = loop {
                let message = self.message();
                if message.0.ends_with("frozen") {
                    break message;
                }
            };
            if kind == "frozen" {
                return (content["state"].clone(), fds);
            }
            // The device is kept, and its creation has not ended.
            let text = content["text"].as_str().unwrap();
            assert!(text.contains("being created"), "{text}");
        }
    }

    /// Waits for its end.
    fn ended(&mut self) -> ExitStatus {
        let until = Instant::now() + TIMEOUT;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "it does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for its end, which is an orderly one.
    fn ends(mut self) {
        let status = self.ended();
        assert!(status.success(), "{status}");
    }

    fn first_doorbell(&self) -> File {
        self.kept[DEVICE].try_clone().unwrap().into()
    }
}

fn rings(doorbell: &File) -> u32 {
    let mut word = [0; 4];
    doorbell.read_exact_at(&mut word, 0).unwrap();
    u32::from_le_bytes(word)
}

#[test]
fn a_frozen_daemon_that_ends_leaves_the_doorbells_to_its_successor() {
    for keeper_ends in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut worker = Worker::first(&folder);
        let doorbell = worker.first_doorbell();
        doorbell.write_all_at(&9_u32.to_le_bytes(), 0).unwrap();
        worker.freeze();
        match keeper_ends {
            false => kill_process(Pid::from_child(&worker.process), Signal::TERM).unwrap(),
            true => worker.socket.shutdown(std::net::Shutdown::Both).unwrap(),
        }
        worker.ends();
        assert_eq!(rings(&doorbell), 9, "keeper ends: {keeper_ends}");
    }
}

#[test]
fn a_successor_that_ends_before_it_goes_on_leaves_the_doorbells_to_its_predecessor() {
    let folder = tempfile::tempdir().unwrap();
    let mut worker = Worker::first(&folder);
    let doorbell = worker.first_doorbell();
    doorbell.write_all_at(&9_u32.to_le_bytes(), 0).unwrap();
    let mut next = Worker::start(&folder, Some(&worker));
    next.until("prepared");
    let (state, inherited) = worker.freeze();
    next.order(&json!("introduce"));
    let shared = (0..inherited.len() as u32).map(|n| inherited.share(n).unwrap());
    let shared: Vec<_> = shared.collect();
    let mut fds = SentFds::default();
    for fd in &shared {
        fds.add(fd.as_fd());
    }
    next.tell(&json!({ "go": { "state": state } }), &fds);
    next.until("ready");
    next.socket.shutdown(std::net::Shutdown::Both).unwrap();
    next.ended();
    assert_eq!(rings(&doorbell), 9);
    worker.order(&json!("go_on"));
    kill_process(Pid::from_child(&worker.process), Signal::TERM).unwrap();
    worker.ends();
}
