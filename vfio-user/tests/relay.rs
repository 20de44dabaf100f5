// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A client behind a relay: its worker dies, starts again, and is replaced.

mod common;
#[path = "relay/parts.rs"]
mod parts;

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::mpsc::{channel, Receiver};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use adit_vfio_user::handover::{InheritedFds, SentFds};
use adit_vfio_user::header::{Command, Header};
use adit_vfio_user::migration::MigrationSupport;
use adit_vfio_user::relay::{
    source, IntroductionError, Lost, PassedClients, Relay, RelayHandle, END_TIMEOUT, REPLY_TIMEOUT,
};
use adit_vfio_user::testing::{shared_memory, ScratchDevice, CONFIG, MSIX};
use adit_vfio_user::{wire, Config, Errno, Server, StopHandle};
use common::{eventfd, Client};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use zerocopy::IntoBytes;

const TIMEOUT: Duration = Duration::from_secs(20);

/// A relay in a thread.
struct Fixture {
    relay: RelayHandle,
    lost: Receiver<Lost>,
    path: PathBuf,
    thread: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Fixture {
    fn start() -> Self {
        Self::start_with(Duration::from_millis(300))
    }

    /// Starts one that waits this long for the rest of a client's message.
    fn start_with(message_timeout: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device.sock");
        let server = Server::bind(&path, Config::default()).unwrap();
        let mut sent = SentFds::default();
        let saved = server.save(&mut sent);
        let dup = |fd: &std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().unwrap();
        let mut fds: InheritedFds = sent.as_slice().iter().map(dup).collect();
        let (notify, lost) = channel();
        let config = Config {
            message_timeout,
            ..Config::default()
        };
        let (mut relay, handle) = Relay::new(saved, &mut fds, config, move |lost| {
            let _ = notify.send(lost);
        })
        .unwrap();
        server.leave();
        let thread = std::thread::spawn(move || relay.run().unwrap());
        Self {
            relay: handle,
            lost,
            path,
            thread: Some(thread),
            _folder: folder,
        }
    }

    /// Has a new worker serve the clients.
    fn connect(&self, device: ScratchDevice) -> Worker {
        let (worker, source) = Worker::start(device);
        self.relay.connect(source);
        worker
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.relay.stop();
        self.thread.take().unwrap().join().unwrap();
        assert!(!self.path.exists());
    }
}

/// A worker as a thread.
struct Worker {
    stop: StopHandle,
    thread: JoinHandle<ScratchDevice>,
}

impl Worker {
    fn start(device: ScratchDevice) -> (Self, OwnedFd) {
        let (theirs, ours) = source().unwrap();
        let stop = StopHandle::new().unwrap();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut device = device;
            let clients = PassedClients::new(ours, Config::default());
            clients.run(&mut device, &stopped).unwrap();
            device
        });
        (Self { stop, thread }, theirs)
    }

    /// Ends it, as if it had died: the relay is told nothing.
    fn die(self) -> ScratchDevice {
        self.stop.stop();
        self.thread.join().unwrap()
    }
}

fn access(region: u32, offset: u64, count: u32) -> Vec<u8> {
    let access = wire::RegionAccess {
        offset,
        region,
        count,
    };
    access.as_bytes().to_vec()
}

fn read(client: &mut Client, region: u32, offset: u64) -> Result<[u8; 4], Errno> {
    let reply = client.request(Command::RegionRead, &access(region, offset, 4))?;
    Ok(reply[16..].try_into().unwrap())
}

fn write(client: &mut Client, region: u32, offset: u64, data: [u8; 4]) -> Result<(), Errno> {
    let payload = [&access(region, offset, 4)[..], &data].concat();
    client.request(Command::RegionWrite, &payload).map(|_| ())
}

fn map(client: &mut Client, address: u64, memory: &OwnedFd) -> Result<(), Errno> {
    let map = wire::DmaMap {
        argsz: 32,
        flags: 3,
        offset: 0,
        address,
        size: 0x1000,
    };
    client
        .request_with_fds(Command::DmaMap, map.as_bytes(), &[memory.as_fd()])
        .map(|_| ())
}

fn unmap(client: &mut Client, address: u64) -> Result<(), Errno> {
    let unmap = wire::DmaUnmap {
        argsz: 24,
        flags: 0,
        address,
        size: 0x1000,
    };
    client
        .request(Command::DmaUnmap, unmap.as_bytes())
        .map(|_| ())
}

fn set_eventfds(client: &mut Client, start: u32, fds: &[OwnedFd]) -> Result<(), Errno> {
    let set = wire::IrqSet {
        argsz: 20,
        flags: 1 << 2 | 1 << 5,
        index: MSIX.0,
        start,
        count: fds.len() as u32,
    };
    let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
    client
        .request_with_fds(Command::DeviceSetIrqs, set.as_bytes(), &fds)
        .map(|_| ())
}

#[test]
fn a_client_survives_its_worker() {
    let fixture = Fixture::start();
    let worker = fixture.connect(ScratchDevice::new());
    let mut client = Client::negotiated(&fixture.path);
    let (memory, events) = (shared_memory(1 << 16), [eventfd(), eventfd()]);
    map(&mut client, 0x1000, &memory).unwrap();
    map(&mut client, 0x3000, &memory).unwrap();
    set_eventfds(&mut client, 2, &events).unwrap();
    write(&mut client, 0, 8, [1; 4]).unwrap();
    write(&mut client, CONFIG, 4, [7; 4]).unwrap();
    let info = wire::DeviceInfo {
        argsz: 16,
        ..Default::default()
    };
    let described = client.request(Command::DeviceGetInfo, info.as_bytes());
    assert_eq!(read(&mut client, 0, 8), Ok([1; 4]));
    worker.die();
    assert_eq!(fixture.lost.recv_timeout(TIMEOUT), Ok(Lost::Gone));
    fixture.relay.worker_ended();

    // A function in reset.
    assert_eq!(read(&mut client, 0, 8), Ok([0; 4]));
    write(&mut client, 0, 8, [2; 4]).unwrap();
    assert_eq!(read(&mut client, CONFIG, 4), Ok([7; 4]));
    write(&mut client, CONFIG, 8, [9; 4]).unwrap();
    map(&mut client, 0x5000, &memory).unwrap();
    assert_eq!(map(&mut client, 0x5000, &memory), Err(Errno::EXIST));
    unmap(&mut client, 0x1000).unwrap();
    set_eventfds(&mut client, 5, &events[..1]).unwrap();
    assert_eq!(
        client.request(Command::DeviceGetInfo, info.as_bytes()),
        described
    );
    let probe = [0; 8];
    assert_eq!(
        client.request(Command::DeviceFeature, &probe),
        Err(Errno::INVAL)
    );

    let worker = fixture.connect(ScratchDevice::new());
    assert_eq!(read(&mut client, 0, 8), Ok([0; 4]), "power-on");
    assert_eq!(read(&mut client, CONFIG, 4), Ok([7; 4]));
    assert_eq!(read(&mut client, CONFIG, 8), Ok([9; 4]));
    let device = worker.die();
    assert_eq!((device.clients, device.known), (1, 1));
    let stats = fixture.relay.stats();
    assert_eq!((stats.introduced(), stats.connections()), (1, 1));
}

#[test]
fn a_client_waits_for_the_end_of_a_lost_worker_and_no_longer() {
    for is_known in [true, false] {
        let fixture = Fixture::start();
        let worker = fixture.connect(ScratchDevice::new());
        let mut client = Client::negotiated(&fixture.path);
        map(&mut client, 0x1000, &shared_memory(1 << 16)).unwrap();
        let since = Instant::now();
        worker.die();
        assert_eq!(fixture.lost.recv_timeout(TIMEOUT), Ok(Lost::Gone));
        let unmap = wire::DmaUnmap {
            argsz: 24,
            flags: 0,
            address: 0x1000,
            size: 0x1000,
        };
        let message = adit_vfio_user::fuzzing::message(9, Command::DmaUnmap, 0, unmap.as_bytes());
        client.send(&message);
        // Its process, or a device that outlives it, may still write to the window.
        let moment = Timespec::try_from(Duration::from_millis(50)).unwrap();
        let mut reply = [PollFd::new(&client.stream, PollFlags::IN)];
        let early = poll(&mut reply, Some(&moment)) != Ok(0);
        assert!(!early || since.elapsed() >= REPLY_TIMEOUT + END_TIMEOUT);
        if is_known {
            fixture.relay.worker_ended();
        }
        client.reply().unwrap();
        // It is answered before its client gives up, and not before the end might be known.
        assert!(is_known || since.elapsed() >= REPLY_TIMEOUT + END_TIMEOUT);
        // The end is not waited for twice.
        assert_eq!(read(&mut client, 0, 8), Ok([0; 4]));
    }
}

#[test]
fn a_worker_that_has_ended_is_not_waited_for() {
    let fixture = Fixture::start();
    let worker = fixture.connect(ScratchDevice::new());
    let mut client = Client::negotiated(&fixture.path);
    write(&mut client, 0, 8, [1; 4]).unwrap();
    // The end is known before it is noticed.
    fixture.relay.worker_ended();
    assert_eq!(fixture.lost.recv_timeout(TIMEOUT), Ok(Lost::Gone));
    assert_eq!(read(&mut client, 0, 8), Ok([0; 4]));
    worker.die();
}

#[test]
fn a_new_worker_has_the_windows_and_eventfds() {
    let fixture = Fixture::start();
    let worker = fixture.connect(ScratchDevice::new());
    let mut client = Client::negotiated(&fixture.path);
    let memory = shared_memory(1 << 16);
    map(&mut client, 0x1000, &memory).unwrap();
    map(&mut client, 0x3000, &memory).unwrap();
    set_eventfds(&mut client, 0, &[eventfd(), eventfd()]).unwrap();
    worker.die();
    let _worker = fixture.connect(ScratchDevice::new());
    // It refuses what exists, and signals what it has.
    assert_eq!(map(&mut client, 0x1000, &memory), Err(Errno::EXIST));
    unmap(&mut client, 0x3000).unwrap();
    map(&mut client, 0x3000, &memory).unwrap();
    assert!(client.is_served());
}

#[test]
fn a_message_that_was_with_the_worker_is_answered() {
    let fixture = Fixture::start();
    // A worker that accepts and never answers.
    let worker = fixture.connect(ScratchDevice::new());
    let mut client = Client::negotiated(&fixture.path);
    worker.die();
    let (ours, theirs) = source().unwrap();
    fixture.relay.connect(ours);
    let message = adit_vfio_user::fuzzing::message(9, Command::RegionRead, 0, &access(0, 0, 4));
    client.send(&message);
    drop(theirs);
    assert_eq!(client.reply().unwrap()[16..], [0; 4]);
    assert!(fixture.lost.recv_timeout(TIMEOUT).is_ok());
}

#[test]
fn the_death_of_a_worker_is_noticed_while_a_client_is_introduced_to_it() {
    let fixture = Fixture::start();
    let worker = fixture.connect(ScratchDevice::new());
    let _client = Client::negotiated(&fixture.path);
    worker.die();
    assert_eq!(fixture.lost.recv_timeout(TIMEOUT), Ok(Lost::Gone));
    let (ours, theirs) = source().unwrap();
    fixture.relay.connect(ours);
    // The client's connection has come, and nobody takes it.
    let mut passed = [PollFd::new(&theirs, PollFlags::IN)];
    poll(&mut passed, None).unwrap();
    drop(theirs);
    // Not a worker that does not answer, for which another one would be killed.
    assert_eq!(fixture.lost.recv_timeout(TIMEOUT), Ok(Lost::Gone));
}

#[test]
fn a_version_waits_for_the_first_worker() {
    let fixture = Fixture::start();
    let client = Client::connect(&fixture.path);
    let hello = adit_vfio_user::fuzzing::HELLO;
    client.send(&adit_vfio_user::fuzzing::message(
        1,
        Command::Version,
        0,
        hello,
    ));
    let worker = fixture.connect(ScratchDevice::new());
    let mut client = client;
    client.reply().unwrap();
    drop(client);
    // The next client, with the same worker.
    let mut client = Client::negotiated(&fixture.path);
    assert!(client.is_served());
    drop(client);
    let mut silent = Client::connect(&fixture.path);
    assert!(silent.is_closed(), "it must not block others");
    let mut client = Client::connect(&fixture.path);
    let refused = client.request(Command::RegionRead, &access(0, 0, 4));
    assert_eq!(refused, Err(Errno::INVAL));
    assert!(client.is_closed());
    let mut client = Client::negotiated(&fixture.path);
    assert!(client.is_served());
    worker.die();
}

#[test]
fn a_worker_is_replaced_between_two_messages() {
    let fixture = Fixture::start();
    let first = fixture.connect(ScratchDevice::new());
    let mut client = Client::negotiated(&fixture.path);
    write(&mut client, 0, 8, [1; 4]).unwrap();
    assert!(fixture.relay.pause().wait(TIMEOUT));
    let request = adit_vfio_user::fuzzing::message(9, Command::RegionRead, 0, &access(0, 8, 4));
    client.send(&request);

    // One that does not take over.
    let (ours, theirs) = source().unwrap();
    drop(theirs);
    let refused = fixture.relay.switch(ours, TIMEOUT);
    assert!(matches!(refused, Err(IntroductionError::Lost(Lost::Gone))));
    assert!(fixture.relay.revert().wait(TIMEOUT));
    assert_eq!(client.reply().unwrap()[16..], [1; 4]);

    assert!(fixture.relay.pause().wait(TIMEOUT));
    client.send(&request);
    let (second, source) = Worker::start(ScratchDevice::new());
    fixture.relay.switch(source, TIMEOUT).unwrap();
    assert_eq!(fixture.relay.stats().introduced(), 1);
    assert!(fixture.relay.commit().wait(TIMEOUT));
    assert_eq!(client.reply().unwrap()[16..], [0; 4]);
    let first = first.die();
    assert_eq!((first.clients, first.known), (1, 0));
    assert!(client.is_served());
    assert!(fixture.lost.try_recv().is_err());
    drop(client);
    let mut client = Client::negotiated(&fixture.path);
    assert!(client.is_served());
    drop(client);
    let second = second.die();
    assert_eq!((second.clients, second.known), (2, 1));
}

#[test]
fn a_worker_goes_on_for_good_when_the_one_after_it_has_died() {
    for connected in [true, false] {
        let fixture = Fixture::start();
        let first = fixture.connect(ScratchDevice::new());
        let mut client = connected.then(|| Client::negotiated(&fixture.path));
        assert!(fixture.relay.pause().wait(TIMEOUT));
        let (second, source) = Worker::start(ScratchDevice::new());
        fixture.relay.switch(source, TIMEOUT).unwrap();
        second.die();
        assert_eq!(fixture.lost.recv_timeout(TIMEOUT), Ok(Lost::Gone));
        assert!(fixture.relay.revert().wait(TIMEOUT));
        // Nobody waits for the end of the one that has died.
        let late = fixture.lost.recv_timeout(END_TIMEOUT * 2);
        assert!(late.is_err(), "connected: {connected}, lost: {late:?}");
        let client = client.get_or_insert_with(|| Client::negotiated(&fixture.path));
        write(client, 0, 8, [1; 4]).unwrap();
        assert_eq!(read(client, 0, 8), Ok([1; 4]));
        assert_eq!(first.die().clients, 1);
    }
}

/// Starts or ends a log of DMA writes, by the number of the feature.
fn log(client: &mut Client, number: u32) -> Result<(), Errno> {
    let head = wire::DeviceFeature {
        argsz: 1 << 10,
        flags: 1 << 17 | number,
    };
    let all = wire::LoggingControl {
        page_size: 4096,
        num_ranges: 0,
        reserved: 0,
    };
    let ranges: &[u8] = if number == START { all.as_bytes() } else { &[] };
    let payload = [head.as_bytes(), ranges].concat();
    client.request(Command::DeviceFeature, &payload).map(drop)
}

const START: u32 = 6;
const STOP: u32 = 7;

#[test]
fn a_log_of_dma_writes_goes_on_in_the_next_worker() {
    let device = || ScratchDevice::migratable(MigrationSupport::default());
    let fixture = Fixture::start();
    let first = fixture.connect(device());
    let mut client = Client::negotiated(&fixture.path);
    log(&mut client, START).unwrap();
    let next = |worker: Worker, dies: bool| {
        if dies {
            worker.die();
            return fixture.connect(device());
        }
        assert!(fixture.relay.pause().wait(TIMEOUT));
        let (next, source) = Worker::start(device());
        fixture.relay.switch(source, TIMEOUT).unwrap();
        assert!(fixture.relay.commit().wait(TIMEOUT));
        worker.die();
        next
    };
    let mut worker = first;
    for dies in [false, true] {
        worker = next(worker, dies);
        assert!(client.is_served());
        let again = log(&mut client, START);
        assert_eq!(again, Err(Errno::BUSY), "there is one, dies: {dies}");
    }
    log(&mut client, STOP).unwrap();
    worker = next(worker, false);
    log(&mut client, START).expect("one that has ended is not started again");
    worker.die();
}

#[test]
fn hostile_clients_of_a_relay_are_refused() {
    let fixture = Fixture::start();
    let worker = fixture.connect(ScratchDevice::new());
    for size in [0, 15, u32::MAX] {
        let mut client = Client::negotiated(&fixture.path);
        let header = Header {
            command: 9,
            size,
            ..Header::default()
        };
        client.send(header.as_bytes());
        assert!(client.is_closed());
    }
    let mut client = Client::negotiated(&fixture.path);
    let events: Vec<_> = (0..17).map(|_| eventfd()).collect();
    let fds: Vec<_> = events.iter().map(|fd| fd.as_fd()).collect();
    let excess = client.request_with_fds(Command::DeviceSetIrqs, &[0; 20], &fds);
    assert_eq!(excess, Err(Errno::INVAL));
    assert!(client.request(Command::DmaRead, &[]).is_err());
    worker.die();
    for (command, payload) in [
        (Command::RegionRead, access(0, 0, u32::MAX)),
        (Command::RegionRead, access(0, 0, 0)),
        (Command::RegionWrite, access(0, 0, 9)),
        (Command::DmaMap, vec![0; 32]),
        (Command::DmaUnmap, vec![0; 3]),
        (Command::DeviceSetIrqs, vec![0xFF; 20]),
        (Command::DmaRead, vec![]),
    ] {
        assert!(client.request(command, &payload).is_err(), "{command:?}");
    }
    let file = shared_memory(0x1000);
    assert_eq!(
        set_eventfds(&mut client, 0, std::slice::from_ref(&file)),
        Err(Errno::INVAL)
    );
    assert_eq!(
        set_eventfds(&mut client, u32::MAX, &[eventfd()]),
        Err(Errno::INVAL)
    );
    assert_eq!(read(&mut client, CONFIG, 1 << 40), Ok([0xFF; 4]));
}
