// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Migration of composed devices between two daemons, with running queues: by their client (VFIO
//! migration v2 over vfio-user), and by the operator over the control socket.
#![cfg(feature = "embedded")]

#[path = "migration/device.rs"]
mod device;
#[allow(dead_code)]
#[path = "../examples/vdev_client/queues.rs"]
mod queues;
#[allow(dead_code)]
#[path = "../examples/vdev_client/vf.rs"]
mod vf;
#[path = "migration/written.rs"]
mod written;

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use adit_vdcm::control::client::{Client, ClientError};
use adit_vdcm::protocol::{ErrorCode, Spec, VdevInfo};
use adit_vfio_user::migration::MigrationState::{Resuming, Running, Stop, StopCopy};
use serde_json::Value;

use device::{Device, Memory};
use queues::Pair;
use vf::Vf;

/// The addresses of the device that migrates, and of the station on the wire.
const MAC: [u8; 6] = [2, 0, 0, 0, 7, 1];
const STATION: [u8; 6] = [2, 0, 0, 0, 9, 9];
/// More frames than a ring has entries, in both directions.
const FRAMES: u16 = 150;
/// The timeout for everything that a correct daemon does soon.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A daemon with a NIC, and the other end of its wire.
struct Daemon {
    process: Child,
    client: Client,
    wire: UnixDatagram,
    _folder: tempfile::TempDir,
}

impl Daemon {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let wire = UnixDatagram::bind(path("far")).unwrap();
        wire.set_read_timeout(Some(TIMEOUT)).unwrap();
        std::fs::write(path("vdcm.toml"), "").unwrap();
        let log = std::fs::File::create(path("log")).unwrap();
        let ends = format!("unix:{},{}", path("near").display(), path("far").display());
        let process = Command::new(env!("CARGO_BIN_EXE_adit-vdcm"))
            .arg("--control")
            .arg(path("control.sock"))
            .arg("--config")
            .arg(path("vdcm.toml"))
            .args(["--embedded", "--wire", &ends])
            .env_remove("ADIT_LOG")
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let begun = Instant::now();
        let client = loop {
            match Client::connect(&path("control.sock")) {
                Ok(client) => break client,
                Err(error) => {
                    let log = std::fs::read_to_string(path("log")).unwrap();
                    assert!(begun.elapsed() < TIMEOUT, "{error}: {log}");
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        wire.connect(path("near")).unwrap();
        Self {
            process,
            client,
            wire,
            _folder: folder,
        }
    }

    /// Composes the device that migrates.
    fn create(&mut self) -> VdevInfo {
        let spec = Spec {
            name: Some("moves".into()),
            queues: Some(1),
            mac: Some(adit_function::mac::MacAddr(MAC)),
            ..Spec::default()
        };
        self.client.create(spec).unwrap()
    }

    /// Sends a frame from the wire to the device.
    fn send(&self, number: u16) {
        self.wire.send(&frame(MAC, STATION, number)).unwrap();
    }

    /// The number of the next frame that the device has sent to the station.
    fn received(&self) -> u16 {
        let mut frame = [0; 2048];
        loop {
            let len = self.wire.recv(&mut frame).expect("a frame");
            if frame[..6] == STATION {
                assert_eq!(frame[6..12], MAC);
                return number(&frame[..len]);
            }
        }
    }

    /// The number of frames that the device's ADI was to receive and did not.
    fn discarded(&mut self) -> u64 {
        let stats = self.client.stats("moves").unwrap();
        stats.adis[0].traffic.as_ref().unwrap().rx_discards
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn frame(to: [u8; 6], from: [u8; 6], number: u16) -> Vec<u8> {
    let mut frame = [to, from].concat();
    // The EtherType for local experiments (IEEE 802).
    frame.extend([0x88, 0xB5]);
    frame.extend(number.to_be_bytes());
    frame.resize(64, 0x5A);
    frame
}

fn number(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[14], frame[15]])
}

/// A driver with a queue pair.
struct Driver {
    vf: Vf,
    pair: Pair,
    /// The number of the next frame in each direction.
    next: u16,
}

impl Driver {
    fn start(socket: &Path) -> Self {
        let device = Device::connect(socket).and_then(Device::boot).unwrap();
        let mut vf = Vf::start(device).unwrap();
        let pair = Pair::start(&mut vf).unwrap();
        assert_eq!(pair.mac, MAC);
        Self { vf, pair, next: 0 }
    }

    fn send(&mut self, number: u16) {
        let frame = frame(STATION, MAC, number);
        self.pair.send(&mut self.vf, &frame).unwrap();
    }

    /// The number of the next frame; waits for it by interrupt.
    fn receive(&mut self) -> u16 {
        let begun = Instant::now();
        loop {
            if let Some(frame) = self.pair.receive(&mut self.vf).unwrap() {
                assert_eq!(frame[..6], MAC);
                return number(&frame);
            }
            assert!(begun.elapsed() < TIMEOUT, "no frame comes");
            let slice = Duration::from_secs(5);
            self.pair.wait(&mut self.vf, slice).unwrap();
        }
    }

    /// Exchanges frames with the wire of a daemon, one at a time in each direction.
    fn exchange(&mut self, daemon: &Daemon) {
        for _ in 0..FRAMES {
            let number = self.next;
            self.send(number);
            assert_eq!(daemon.received(), number);
            daemon.send(number);
            assert_eq!(self.receive(), number);
            self.next += 1;
        }
        self.pair.settle(&mut self.vf).unwrap();
    }
}

/// Migrates the device of a driver from one daemon to another, memory included.
fn migrate(driver: &mut Driver, from: &mut Daemon, to: &mut Daemon) -> Device {
    let mut device = Device::connect(&to.create().socket).unwrap();
    device.enter(Resuming).unwrap();
    let (memory, source) = (driver.vf.memory.alike().unwrap(), &mut driver.vf.device);
    let old = &driver.vf.memory;
    source.start_log(old).unwrap();
    old.touched();
    old.copy(&old.pages(), &memory).unwrap();

    // Some frames are on their way in each direction, and the driver has not looked.
    let (first, before) = (driver.next, from.discarded());
    for n in 0..3 {
        let frame = frame(STATION, MAC, first + n);
        driver.pair.send(&mut driver.vf, &frame).unwrap();
        from.send(first + n);
    }
    let source = &mut driver.vf.device;
    let estimate = source.state_size().unwrap();
    source.enter(Stop).unwrap();
    let old = &driver.vf.memory;
    let stopped = old.image().unwrap();
    for n in 0..5 {
        from.send(0xDEAD - n);
    }
    wait("frames to be dropped", || from.discarded() >= before + 5);
    assert!(
        old.image().unwrap() == stopped,
        "written while it is stopped"
    );
    let mut written = source.written(old).unwrap();
    written.append(&mut old.touched());
    assert!(written.len() < old.pages().len() / 2, "{written:?}");
    source.stop_log().unwrap();
    old.copy(&written, &memory).unwrap();
    assert!(memory.image().unwrap() == stopped, "a page is missing");

    source.enter(StopCopy).unwrap();
    let state = source.read_state().unwrap();
    assert!(
        state.len() as u64 <= 2 * estimate,
        "{} {estimate}",
        state.len()
    );
    source.enter(Stop).unwrap();
    device.write_state(&state).unwrap();
    device.enter(Stop).unwrap();
    device.map(&memory).unwrap();
    let eventfds = device.interrupts(2).unwrap();
    assert!(memory.image().unwrap() == stopped, "every ring");
    // What the device reads back as its state is the same.
    device.enter(StopCopy).unwrap();
    let again: Value = serde_json::from_slice(&device.read_state().unwrap()).unwrap();
    let mut expected: Value = serde_json::from_slice(&state).unwrap();
    // The driver is notified of the link that it has here.
    expected["function"]["control"]["vports"][0]["link_event"] = true.into();
    assert_eq!(again, expected);
    device.enter(Running).unwrap();

    let old = std::mem::replace(&mut driver.vf.device, device);
    (driver.vf.memory, driver.vf.eventfds) = (memory, eventfds);
    // Three frames have left, each once, at one place or the other.
    let mut sent: Vec<_> = [&*from, &*to].map(waiting).concat();
    for _ in sent.len()..3 {
        sent.push(to.received());
    }
    sent.sort_unstable();
    assert_eq!(sent, [first, first + 1, first + 2]);
    // Those that came before it was stopped are in the rings; all others were dropped and counted.
    let mut expected = first;
    while let Some(frame) = driver.pair.receive(&mut driver.vf).unwrap() {
        assert_eq!(number(&frame), expected);
        expected += 1;
    }
    let delivered = u64::from(expected - first);
    wait("all frames to be counted", || {
        from.discarded() - before + delivered == 3 + 5
    });
    driver.next += 3;
    old
}

/// The numbers of frames that wait at the end of a wire.
fn waiting(daemon: &Daemon) -> Vec<u16> {
    daemon.wire.set_nonblocking(true).unwrap();
    let mut numbers = Vec::new();
    let mut frame = [0; 2048];
    while let Ok(len) = daemon.wire.recv(&mut frame) {
        if frame[..6] == STATION {
            numbers.push(number(&frame[..len]));
        }
    }
    daemon.wire.set_nonblocking(false).unwrap();
    numbers
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < TIMEOUT, "waiting for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_client_moves_a_device_to_another_daemon_and_back() {
    let (mut a, mut b) = (Daemon::start(), Daemon::start());
    let mut driver = Driver::start(&a.create().socket);
    driver.exchange(&a);
    drop(migrate(&mut driver, &mut a, &mut b));
    driver.exchange(&b);
    a.client.destroy("moves").unwrap();
    let source = migrate(&mut driver, &mut b, &mut a);
    driver.exchange(&a);
    // The source was left stopped; its client could also have let it go on.
    assert!(b.client.show("moves").unwrap().suspended);
    drop(source);
    wait("the client to be gone", || {
        !b.client.show("moves").unwrap().suspended
    });
    // The driver can still do all that it could.
    driver.pair.stop(&mut driver.vf).unwrap();
    driver.pair = Pair::start(&mut driver.vf).unwrap();
    driver.exchange(&a);
}

#[test]
fn a_move_that_fails_ends_where_it_began() {
    let mut a = Daemon::start();
    let mut driver = Driver::start(&a.create().socket);
    driver.exchange(&a);
    let source = &mut driver.vf.device;
    source.enter(StopCopy).unwrap();
    let state = source.read_state().unwrap();
    source.enter(Running).unwrap();
    driver.exchange(&a);

    // What it does not accept as a state leaves it as a device that can be reset.
    let mut b = Daemon::start();
    let mut device = Device::connect(&b.create().socket).unwrap();
    device.enter(Resuming).unwrap();
    device.write_state(&state[..state.len() / 2]).unwrap();
    device.enter(Stop).unwrap_err();
    device.write_state(b"{}").unwrap();
    device.enter(Stop).unwrap_err();
    device.write_state(&state).unwrap();
    device.enter(Stop).unwrap();
    device.reset().unwrap();
    drop(device);
    let mut driver = Driver::start(&b.client.show("moves").unwrap().socket);
    driver.exchange(&b);
}

#[test]
fn an_operator_moves_a_device_whose_client_connects_to_the_new_one() {
    let (mut a, mut b) = (Daemon::start(), Daemon::start());
    let mut driver = Driver::start(&a.create().socket);
    driver.exchange(&a);
    let _ = a.client.save("moves").unwrap();
    assert!(a.client.show("moves").unwrap().suspended);
    a.client.resume("moves").unwrap();
    driver.exchange(&a);
    let state = a.client.save("moves").unwrap();
    a.client.destroy("moves").unwrap();

    let spec = || Spec {
        name: Some("moved".into()),
        ..Spec::default()
    };
    let mut broken = state.clone();
    broken["adis"][0]["queues"][0]["position"]["next"] = 4_096.into();
    for (state, part) in [
        (broken, "adis[0].queues[0].position.next"),
        (Value::Null, "state"),
    ] {
        match b.client.restore(spec(), state) {
            Err(ClientError::Refused(error)) => {
                assert_eq!(error.code, ErrorCode::Invalid);
                assert!(error.message.contains(part), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(b.client.list().unwrap().is_empty());
    let moved = b.client.restore(spec(), state).unwrap();
    assert!(moved.suspended);
    let mut device = Device::connect(&moved.socket).unwrap();
    device.map(&driver.vf.memory).unwrap();
    assert!(b.client.show("moved").unwrap().suspended);
    driver.vf.eventfds = device.interrupts(2).unwrap();
    assert!(!b.client.show("moved").unwrap().suspended);
    driver.vf.device = device;
    driver.exchange(&b);
}

#[test]
fn memory_is_copied_by_pages() {
    let memory = Memory::new(0x10_0000, 0x3000).unwrap();
    memory.write(0x10_1000, &[7_u8; 0x1000][..]).unwrap();
    let other = memory.alike().unwrap();
    memory.copy(&[0, 2].into(), &other).unwrap();
    assert!(other.image().unwrap().iter().all(|&byte| byte == 0));
    assert_eq!(memory.touched(), [1].into());
    memory.copy(&[1].into(), &other).unwrap();
    assert_eq!(other.image().unwrap(), memory.image().unwrap());
}
