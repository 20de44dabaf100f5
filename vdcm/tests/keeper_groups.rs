// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The daemon under a keeper, with a driver of a device out of a group of ADIs: replaced under traffic, and
//! killed.

#[allow(dead_code, reason = "its other functions are for tests of processes")]
mod daemon;
mod driver;
#[allow(dead_code, reason = "its other functions are for the examples")]
mod vdev_client;
#[path = "daemon/worker.rs"]
mod worker;

use std::os::unix::net::UnixDatagram;
use std::time::Instant;

use adit_function::mac::MacAddr;
use adit_vdcm::protocol::{Spec, VdevInfo, VdevState};
use daemon::Daemon;
use driver::{answers, assert_all, flows, interrupts, udp, Driver, QUEUES, STATION, TIMEOUT};
use rustix::process::{kill_process, Pid, Signal};
use vdev_client::{device, queues, vf};
use worker::{next_worker, worker};

/// `web` is made before `group`, but comes after it in the order of names: the ADIs of the next process have
/// other ids.
const CONFIG: &str = "[[device]]
name = \"web\"

[[device]]
name = \"group\"
group = 2
queues = 4
";

/// A daemon whose NIC has a wire, and the other end of that.
fn start() -> (Daemon, UnixDatagram, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let [near, far] = ["near", "far"].map(|name| folder.path().join(name));
    let wire = UnixDatagram::bind(&far).unwrap();
    wire.set_read_timeout(Some(TIMEOUT)).unwrap();
    let ends = format!("unix:{},{}", near.display(), far.display());
    let daemon = Daemon::start(CONFIG, &["--embedded", "--wire", &ends, "--keeper"]);
    wire.connect(&near).unwrap();
    (daemon, wire, folder)
}

fn group(daemon: &Daemon) -> VdevInfo {
    daemon.client().show("group").unwrap()
}

/// The identity of the devices.
fn identity(daemon: &Daemon) -> Vec<(String, MacAddr, u16)> {
    let all = daemon.client().list().unwrap();
    let each = all
        .iter()
        .map(|it| (it.name.clone(), it.adis[0].mac, it.queues));
    each.collect()
}

/// Replaces the daemon, while each queue has a frame on its way at most times. All of them must arrive, in
/// their order.
fn replace(daemon: &Daemon, driver: &mut Driver, wire: &UnixDatagram) {
    let old = worker(daemon);
    let since = Instant::now();
    let mac = driver.mac();
    let mut sent = vec![0_u16; driver.pairs.len()];
    let mut arrived = sent.clone();
    wire.set_nonblocking(true).unwrap();
    let Driver { vf, pairs } = driver;
    let mut signalled = false;
    loop {
        let over = signalled && worker(daemon) != old;
        if over && sent == arrived {
            break;
        }
        for (n, pair) in pairs.iter_mut().enumerate() {
            assert_eq!(pair.receive(vf).unwrap(), None);
            if !over && pair.completed == pair.sent {
                // The source port is the queue, the destination's address the number.
                let mut frame = udp(mac, STATION, n as u16);
                frame[32..34].copy_from_slice(&sent[n].to_be_bytes());
                pair.send(vf, &frame).unwrap();
                sent[n] = sent[n].wrapping_add(1);
            }
        }
        if !signalled && sent.iter().all(|&sent| sent > 3) {
            daemon.signal(Signal::HUP);
            signalled = true;
        }
        let mut frame = [0; 2048];
        while wire.recv(&mut frame).is_ok() {
            let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
            let (queue, number) = (usize::from(word(34)), word(32));
            assert_eq!(number, arrived[queue], "queue {queue}");
            arrived[queue] = arrived[queue].wrapping_add(1);
        }
        assert!(since.elapsed() < daemon::TIMEOUT, "{}", daemon.log());
    }
    wire.set_nonblocking(false).unwrap();
    for pair in pairs {
        pair.settle(vf).unwrap();
    }
    assert!(daemon.notified().starts_with("READY=1\n"));
}

/// All queues and vectors work, in both directions.
fn works(driver: &mut Driver, wire: &UnixDatagram) {
    assert_all(&flows(driver, wire));
    answers(driver, wire);
    interrupts(driver, wire);
}

#[test]
fn a_group_and_its_driver_outlive_the_daemon() {
    let (daemon, wire, _folder) = start();
    let before = group(&daemon);
    assert_eq!((before.queues, before.adis.len()), (QUEUES, 1));
    let devices = identity(&daemon);
    let mut driver = Driver::start(&before.socket);
    works(&mut driver, &wire);
    let goes_on = |driver: &mut Driver| {
        replace(&daemon, driver, &wire);
        assert_eq!(identity(&daemon), devices);
        let now = group(&daemon);
        assert_eq!(now.state, VdevState::Connected);
        assert!(now.adis[0].name.contains('+'), "{}", now.adis[0].name);
        let stats = daemon.client().stats("group").unwrap();
        // The new process has reset the ADIs before it restored their state.
        assert_eq!(stats.requests_refused.len(), 0, "{stats:?}");
        works(driver, &wire);
    };
    for _ in 0..3 {
        goes_on(&mut driver);
    }
    // One that dies leaves the doorbell pages, which are zero then, and a reset.
    let old = worker(&daemon);
    let killed = |old: Pid| {
        kill_process(old, Signal::KILL).unwrap();
        next_worker(&daemon, old);
    };
    killed(old);
    driver.vf.restart(daemon::TIMEOUT).unwrap();
    driver.set_up();
    assert_eq!(identity(&daemon), devices);
    works(&mut driver, &wire);
    goes_on(&mut driver);

    // The next client has other pages, which the next process takes over.
    drop(driver);
    let end = Instant::now() + TIMEOUT;
    while group(&daemon).state != VdevState::Idle {
        assert!(Instant::now() < end, "the client does not go");
    }
    let mut driver = Driver::start(&before.socket);
    works(&mut driver, &wire);
    goes_on(&mut driver);

    // An address of an ADI that exists is no obstacle for the next device's own.
    let more = Spec {
        name: Some("more".into()),
        group: Some(3),
        ..Spec::default()
    };
    daemon.client().create(more).unwrap();
    drop(driver);
    daemon.stop(Signal::TERM);
}
