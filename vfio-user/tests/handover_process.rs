// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A client is handed over to another process, this one ends its server, and the client goes on.

mod common;

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command as Process, Stdio};
use std::time::Duration;

use adit_vfio_user::handover::{receive, send, Limits, SavedClient, SavedServer, SentFds};
use adit_vfio_user::header::Command;
use adit_vfio_user::testing::{shared_memory, ScratchDevice};
use adit_vfio_user::{wire, Config, Errno, Server, StopHandle};
use common::Client;
use zerocopy::IntoBytes;

const TIMEOUT: Duration = Duration::from_secs(20);

fn config() -> Config {
    Config {
        handover: true,
        ..Config::default()
    }
}

/// The other process: its standard input is the socket to its predecessor.
fn successor() {
    let channel: UnixStream = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .unwrap()
        .into();
    let (json, mut fds) = receive(channel.as_fd(), Limits::default(), TIMEOUT).unwrap();
    let (server, client): (SavedServer, SavedClient) = serde_json::from_slice(&json).unwrap();
    let server = Server::restore(server, &mut fds, config()).unwrap();
    let client = client.restore(&mut fds, &config()).unwrap();
    let stop = StopHandle::new().unwrap();
    let stopped = stop.clone();
    // The end of the predecessor's process, or of its test, is the end of this one.
    let watch = std::thread::spawn(move || {
        let _ = (&channel).read(&mut [0]);
        stopped.stop();
    });
    let mut device = ScratchDevice::new();
    assert!(server
        .serve(&mut device, &stop, Some(client))
        .unwrap()
        .is_none());
    assert_eq!((device.resumed, device.clients), (1, 2));
    watch.join().unwrap();
}

/// Set in the environment of the other process, which runs the same test.
const SUCCESSOR: &str = "ADIT_TEST_SUCCESSOR";

#[test]
fn another_process_takes_over() {
    if std::env::var_os(SUCCESSOR).is_some() {
        return successor();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.sock");
    let server = Server::bind(&path, config()).unwrap();
    let stop = StopHandle::new().unwrap();
    let stopped = stop.clone();
    let first = std::thread::spawn(move || {
        let mut device = ScratchDevice::new();
        let client = server.serve(&mut device, &stopped, None).unwrap();
        (server, client.unwrap())
    });
    let mut client = Client::negotiated(&path);
    let memory = shared_memory(1 << 16);
    let map = wire::DmaMap {
        argsz: 32,
        flags: 3,
        offset: 0,
        address: 0x1000,
        size: 1 << 16,
    };
    client
        .request_with_fds(Command::DmaMap, map.as_bytes(), &[memory.as_fd()])
        .unwrap();
    stop.hand_over();
    let (server, served) = first.join().unwrap();

    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut process = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "another_process_takes_over"])
        .env(SUCCESSOR, "1")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut fds = SentFds::default();
    let description = (server.save(&mut fds), served.save(&mut fds));
    let json = serde_json::to_vec(&description).unwrap();
    send(ours.as_fd(), &json, &fds, TIMEOUT).unwrap();
    drop(fds);
    drop(served);
    server.leave();

    assert!(client.is_served());
    let again = client.request(Command::DmaMap, map.as_bytes());
    assert_eq!(again, Err(Errno::EXIST));
    drop(client);
    let mut next = Client::negotiated(&path);
    assert!(next.is_served());
    drop(next);
    drop(ours);
    assert!(process.wait().unwrap().success());
    assert!(!path.exists(), "the successor removes the socket");
}
