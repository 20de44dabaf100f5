// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A client is handed over to another server and does not notice.

mod common;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use adit_vfio_user::fuzzing::{message, HELLO};
use adit_vfio_user::handover::{
    receive, send, Client as Served, Limits, SavedClient, SavedServer, SentFds,
};
use adit_vfio_user::header::Command;
use adit_vfio_user::migration::{MigrationState, MigrationSupport};
use adit_vfio_user::testing::{shared_memory, ScratchDevice, MSIX};
use adit_vfio_user::{wire, Config, Errno, Server, StopHandle};
use common::{eventfd, signals, Client};
use serde::{Deserialize, Serialize};
use zerocopy::IntoBytes;

const TIMEOUT: Duration = Duration::from_secs(10);

fn config() -> Config {
    Config {
        message_timeout: Duration::from_millis(300),
        handover: true,
        ..Config::default()
    }
}

/// A process that serves a device: here a thread.
struct Process {
    stop: StopHandle,
    thread: std::thread::JoinHandle<(Server, ScratchDevice, Option<Served>)>,
}

impl Process {
    fn start(server: Server, mut device: ScratchDevice, client: Option<Served>) -> Self {
        let stop = StopHandle::new().unwrap();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let client = server.serve(&mut device, &stopped, client).unwrap();
            (server, device, client)
        });
        Self { stop, thread }
    }

    fn hand_over(self) -> (Server, ScratchDevice, Option<Served>) {
        self.stop.hand_over();
        self.thread.join().unwrap()
    }

    fn stop(self) -> ScratchDevice {
        self.stop.stop();
        let (_, device, client) = self.thread.join().unwrap();
        assert!(client.is_none());
        device
    }
}

fn bind() -> (tempfile::TempDir, PathBuf, Server) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.sock");
    let server = Server::bind(&path, config()).unwrap();
    (folder, path, server)
}

fn map(address: u64, size: u64, offset: u64) -> wire::DmaMap {
    wire::DmaMap {
        argsz: 32,
        flags: 3,
        offset,
        address,
        size,
    }
}

/// The state that a process hands over: the device's own beside the server's, as for a daemon.
#[derive(Serialize, Deserialize)]
struct Description {
    server: SavedServer,
    client: Option<SavedClient>,
    vectors: Vec<(u32, u32)>,
}

/// Passes all of it on through a socket.
fn pass_on(
    (server, device, client): (Server, ScratchDevice, Option<Served>),
) -> (Server, ScratchDevice, Option<Served>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let sender = std::thread::spawn(move || {
        let mut fds = SentFds::default();
        let description = Description {
            server: server.save(&mut fds),
            client: client.as_ref().map(|client| client.save(&mut fds)),
            vectors: (device.vectors.iter())
                .map(|(&vector, fd)| (vector, fds.add(fd.as_fd())))
                .collect(),
        };
        let json = serde_json::to_vec(&description).unwrap();
        send(ours.as_fd(), &json, &fds, TIMEOUT).unwrap();
        drop(fds);
        drop(client);
        server.leave();
        device.migration
    });
    let (json, mut fds) = receive(theirs.as_fd(), Limits::default(), TIMEOUT).unwrap();
    let migration = sender.join().unwrap();
    let Description {
        server,
        client,
        vectors,
    } = serde_json::from_slice(&json).unwrap();
    let server = Server::restore(server, &mut fds, config()).unwrap();
    let client = client.map(|client| client.restore(&mut fds, server.config()).unwrap());
    let mut device = ScratchDevice::new();
    device.migration = migration;
    for (vector, fd) in vectors {
        let fd = fds.take(fd).unwrap();
        let fd = adit_vfio_user::EventFd::from_client(fd).unwrap();
        device.vectors.insert(vector, fd);
    }
    (server, device, client)
}

#[test]
fn a_client_goes_on_with_its_successor() {
    let (_folder, path, server) = bind();
    let first = Process::start(server, ScratchDevice::new(), None);
    let mut client = Client::negotiated(&path);
    let memory = shared_memory(1 << 20);
    let requests = [
        map(0x10_0000, 0x2000, 0x1000),
        map(0x20_0000, 0x1000, 0),
        map(0x30_0000, 0x1000, 0),
    ];
    for (n, request) in requests.iter().enumerate() {
        let fds = [memory.as_fd()];
        let fds = if n == 2 { &[][..] } else { &fds };
        client
            .request_with_fds(Command::DmaMap, request.as_bytes(), fds)
            .unwrap();
    }
    let irqs = wire::IrqSet {
        argsz: 20,
        flags: 0x24,
        index: MSIX.0,
        start: 3,
        count: 1,
    };
    let event = eventfd();
    client
        .request_with_fds(Command::DeviceSetIrqs, irqs.as_bytes(), &[event.as_fd()])
        .unwrap();

    let (server, device, served) = first.hand_over();
    let served = served.unwrap();
    assert_eq!((served.windows(), device.windows.len()), (3, 3));
    // What the client sends meanwhile is answered by the successor.
    let trigger = wire::IrqSet {
        flags: 0x21,
        ..irqs
    };
    client.send(&message(7, Command::DeviceSetIrqs, 0, trigger.as_bytes()));
    let second = pass_on((server, device, Some(served)));
    assert!(path.exists());
    let second = Process::start(second.0, second.1, second.2);
    client.reply().unwrap();
    assert_eq!(signals(&event), 1);
    // Its windows are there: they can be unmapped, and mapped over they cannot.
    let again = client.request(Command::DmaMap, requests[1].as_bytes());
    assert_eq!(again, Err(Errno::EXIST));
    let unmap = wire::DmaUnmap {
        argsz: 24,
        flags: 0,
        address: 0x20_0000,
        size: 0x1000,
    };
    client.request(Command::DmaUnmap, unmap.as_bytes()).unwrap();
    assert_eq!(client.request(Command::Version, HELLO), Err(Errno::INVAL));
    assert!(client.is_served());

    // Once more, from a process that has taken over itself; and the memory is the client's own.
    File::from(memory).write_all_at(b"mine", 0x1000).unwrap();
    let third = pass_on(second.hand_over());
    assert_eq!(third.2.as_ref().unwrap().windows(), 2);
    let third = Process::start(third.0, third.1, third.2);
    assert!(client.is_served());
    let (server, device, _served) = third.hand_over();
    assert_eq!((device.resumed, device.clients), (1, 1));
    let window = &device.windows[&0x10_0000];
    assert_eq!((window.size, window.offset), (0x2000, 0x1000));
    let mut text = [0; 4];
    let file: OwnedFd = window.fd.as_ref().unwrap().try_clone().unwrap();
    File::from(file)
        .read_exact_at(&mut text, window.offset)
        .unwrap();
    assert_eq!(&text, b"mine");
    assert!(device.windows[&0x30_0000].fd.is_none());
    assert_eq!(
        (server.stats().resumed(), server.stats().handed_over()),
        (1, 1)
    );
    drop(server);
    assert!(!path.exists(), "the last process removes the socket");
}

#[test]
fn the_predecessor_goes_on_if_there_is_no_successor() {
    let (_folder, path, server) = bind();
    let mut process = Process::start(server, ScratchDevice::new(), None);
    let mut client = Client::negotiated(&path);
    let memory = shared_memory(1 << 20);
    let request = map(0, 0x1000, 0);
    client
        .request_with_fds(Command::DmaMap, request.as_bytes(), &[memory.as_fd()])
        .unwrap();
    for _ in 0..3 {
        let (server, device, served) = process.hand_over();
        process = Process::start(server, device, served);
        assert!(client.is_served());
    }
    drop(client);
    assert!(Client::negotiated(&path).is_served());
    let device = process.stop();
    assert_eq!((device.clients, device.resumed), (2, 0));
}

#[test]
fn a_message_that_has_begun_is_served_first() {
    let (_folder, path, server) = bind();
    let process = Process::start(server, ScratchDevice::new(), None);
    let mut client = Client::negotiated(&path);
    let access = wire::RegionAccess {
        offset: 0,
        region: 0,
        count: 4,
    };
    let bytes = message(9, Command::RegionRead, 0, access.as_bytes());
    client.send(&bytes[..20]);
    // Nothing tells that the server has read the beginning. If it has not, the message is left to
    // the next session; either way it is answered once.
    std::thread::sleep(Duration::from_millis(50));
    process.stop.hand_over();
    client.send(&bytes[20..]);
    let (server, device, served) = process.thread.join().unwrap();
    let process = Process::start(server, device, served);
    assert_eq!(client.reply().unwrap().len(), 20);
    assert!(client.is_served());

    // A client that stalls within a message delays the handover by the message timeout only. As above, it
    // may be left to the next session.
    client.send(&bytes[..20]);
    let mut process = process;
    let device = loop {
        std::thread::sleep(Duration::from_millis(50));
        let begun = std::time::Instant::now();
        let (server, device, served) = process.hand_over();
        assert!(begun.elapsed() < Duration::from_secs(60));
        if served.is_none() {
            break device;
        }
        process = Process::start(server, device, served);
    };
    assert!(device.windows.is_empty());
    assert!(client.is_closed());
}

#[test]
fn a_client_that_waits_to_be_accepted_is_accepted_by_the_successor() {
    let (_folder, path, server) = bind();
    let (server, device, served) = Process::start(server, ScratchDevice::new(), None).hand_over();
    assert!(served.is_none());
    let mut client = Client::connect(&path);
    client.send(&message(9, Command::Version, 0, HELLO));
    let (server, device, served) = pass_on((server, device, served));
    let process = Process::start(server, device, served);
    client.reply().unwrap();
    assert!(client.is_served());
    assert_eq!(process.stop().resumed, 0);
}

#[test]
fn a_client_that_has_sent_nothing_is_passed_on() {
    let (_folder, path, server) = bind();
    let stats = server.stats().clone();
    let process = Process::start(server, ScratchDevice::new(), None);
    let mut client = Client::connect(&path);
    while stats.connections() == 0 {
        std::thread::yield_now();
    }
    let (server, device, served) = process.hand_over();
    assert!(!served.as_ref().unwrap().is_connected());
    let (server, device, served) = pass_on((server, device, served));
    let process = Process::start(server, device, served);
    client.request(Command::Version, HELLO).unwrap();
    assert!(client.is_served());
    let device = process.stop();
    assert_eq!((device.clients, device.resumed), (1, 0));
}

#[test]
fn a_migration_goes_on() {
    let (_folder, path, server) = bind();
    let support = MigrationSupport::default();
    let process = Process::start(server, ScratchDevice::migratable(support), None);
    let mut client = Client::negotiated(&path);
    let mut state = |flags: u32, state: MigrationState| {
        let head = wire::DeviceFeature { argsz: 64, flags };
        let payload = [head.as_bytes(), [state as u32, 0].as_bytes()].concat();
        client
            .request(Command::DeviceFeature, &payload)
            .map(|reply| reply[8])
    };
    state(1 << 17 | 2, MigrationState::StopCopy).unwrap();
    let (server, device, served) = pass_on(process.hand_over());
    let process = Process::start(server, device, served);
    assert_eq!(
        state(1 << 16 | 2, MigrationState::Error),
        Ok(MigrationState::StopCopy as u8)
    );
    state(1 << 17 | 2, MigrationState::Running).unwrap();
    drop(client);
    process.stop();
}

#[test]
fn servers_that_are_not_configured_for_it_stop() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.sock");
    let server = Server::bind(&path, Config::default()).unwrap();
    let process = Process::start(server, ScratchDevice::new(), None);
    let mut client = Client::negotiated(&path);
    let (_server, device, served) = process.hand_over();
    assert!(served.is_none() && client.is_closed());
    assert_eq!(device.clients, 1);
}

#[test]
fn run_disconnects_a_client_that_it_cannot_return() {
    let (_folder, path, server) = bind();
    let stop = StopHandle::new().unwrap();
    let stopped = stop.clone();
    let thread = std::thread::spawn(move || {
        let mut device = ScratchDevice::new();
        server.run(&mut device, &stopped).unwrap();
        // Panics if the device was not told.
        adit_vfio_user::Device::connected(&mut device);
    });
    let mut client = Client::negotiated(&path);
    stop.hand_over();
    assert!(client.is_closed());
    thread.join().unwrap();
}
