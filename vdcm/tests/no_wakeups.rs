// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The fast path of a composed device does not pass the daemon: a million frames make no message,
//! and wake none of its threads.
//!
//! The daemon is in this process, with the NIC whose engine moves the frames. Its own threads are
//! found by their names; Linux counts for each how often it was switched away from the CPU. A thread
//! that sleeps cannot do anything without being counted: it runs, and then sleeps again.

#[allow(dead_code, reason = "its other functions are for the benchmark")]
#[path = "../examples/vdev_bench/composed.rs"]
mod composed;
#[allow(dead_code, reason = "its other functions are for the examples")]
#[path = "../examples/vdev_client/device.rs"]
mod device;
#[allow(dead_code, reason = "its other functions are for the benchmark")]
#[path = "../examples/vdev_bench/direct.rs"]
mod direct;
#[path = "../examples/vdev_bench/ids.rs"]
mod ids;
#[allow(dead_code, reason = "its other functions are for the benchmark")]
#[path = "../examples/vdev_bench/traffic.rs"]
mod traffic;
#[allow(dead_code, reason = "its other functions are for the examples")]
#[path = "../examples/vdev_client/vf.rs"]
mod vf;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_function::control::AdiLimits;
use adit_nic::mac::MacAddr;
use adit_nic::runtime::Setup;
use adit_nic::wire::WireSpec;
use adit_vdcm::embedded::EmbeddedNic;
use adit_vdcm::manager::{Manager, ManagerOptions};
use adit_vdcm::protocol::{Limits, Spec, VdevStats};
use adit_vfio_user::Permissions;
use parking_lot::Mutex;

use composed::Composed;
use traffic::{End, Ends};

const FRAMES: u64 = 1_000_000;
/// The thread that reads the links once a second, whether or not there is traffic.
const EVENTS: &str = "vdev-events";

/// Held by each test, so that all threads with such names are those of its own daemon.
static ALONE: Mutex<()> = Mutex::new(());

/// A daemon with two devices out of a NIC's ADIs.
struct Daemon {
    manager: Manager,
    sockets: Vec<std::path::PathBuf>,
    _folder: tempfile::TempDir,
}

impl Daemon {
    fn start() -> Self {
        let setup = Setup {
            wires: vec![WireSpec::None],
            mac: MacAddr([2, 0xAD, 0x17, 0, 9, 0]),
            p4: None,
            p4_options: Default::default(),
            p4rt: None,
            metrics: None,
            connections: 64,
            reserved_ports: Vec::new(),
        };
        let limits = AdiLimits { adis: 2, pairs: 4 };
        let nic = adit_nic::embedded::Nic::start(&setup, limits).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let options = ManagerOptions {
            sockets: folder.path().to_owned(),
            permissions: Permissions::default(),
            limits: Limits::default(),
            max_devices: 2,
        };
        let manager = Manager::new(Arc::new(EmbeddedNic::new(nic)), options).unwrap();
        let spec = || Spec {
            queues: Some(1),
            ..Spec::default()
        };
        let sockets = (0..2)
            .map(|_| manager.create(spec()).unwrap().socket)
            .collect();
        Self {
            manager,
            sockets,
            _folder: folder,
        }
    }

    fn stats(&self) -> [VdevStats; 2] {
        ["vdev0", "vdev1"].map(|name| self.manager.stats(name).unwrap())
    }
}

/// The number of times that each thread of the daemon has left a CPU, by its name.
fn switches() -> BTreeMap<String, u64> {
    let mut threads = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        // Threads of tests may end meanwhile.
        let Ok(status) = std::fs::read_to_string(task.join("status")) else {
            continue;
        };
        let value = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap_or_else(|| panic!("no {key} in {status}"))
                .trim()
        };
        let name = value("Name:");
        if name.starts_with("vdev-") {
            let count = |key| value(key).parse::<u64>().unwrap();
            let sum = count("voluntary_ctxt_switches:") + count("nonvoluntary_ctxt_switches:");
            assert!(threads.insert(name.to_owned(), sum).is_none(), "{name}");
        }
    }
    threads
}

/// The counts of the threads that serve clients, and the count of the one for events.
fn split(mut threads: BTreeMap<String, u64>) -> (BTreeMap<String, u64>, u64) {
    let events = threads.remove(EVENTS).expect("the thread for events");
    assert_eq!(threads.len(), 2, "{threads:?}");
    (threads, events)
}

/// The counts that a message, a request or an event of the slow path changes.
fn slow_path(stats: &VdevStats) -> [u64; 5] {
    let adi = &stats.adis[0];
    [
        stats.messages,
        stats.requests,
        stats.events,
        stats.interrupts,
        stats.stray_accesses + adi.refused + adi.faults,
    ]
}

/// Waits until the threads of the daemon sleep: they may still finish what they did last.
fn settle() -> BTreeMap<String, u64> {
    let mut before = split(switches()).0;
    loop {
        std::thread::sleep(Duration::from_millis(50));
        let now = split(switches()).0;
        if now == before {
            return now;
        }
        before = now;
    }
}

#[test]
fn a_million_frames_make_no_message_and_wake_no_thread() {
    let _alone = ALONE.lock();
    let daemon = Daemon::start();
    let end = |n: usize| {
        let composed = Composed::connect(&daemon.sockets[n]).unwrap();
        End::start(Box::new(composed)).unwrap()
    };
    let mut ends = Ends::new(end(0), end(1));
    settle();
    let (before, start) = (daemon.stats(), Instant::now());
    let (threads, events) = split(switches());
    let arrived = ends.stream(Duration::MAX, FRAMES).unwrap();
    // Sleeping drivers are woken by eventfds.
    let trips = ends.round_trips_asleep(1_000).unwrap().len() as u64;
    let (threads_after, events_after) = split(switches());
    let (after, time) = (daemon.stats(), start.elapsed());

    assert_eq!(arrived, FRAMES);
    assert_eq!(threads_after, threads, "a thread that serves a client ran");
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(slow_path(after), slow_path(before));
        let received = |stats: &VdevStats| stats.adis[0].traffic.unwrap();
        let (b, a) = (received(before), received(after));
        assert_eq!((a.rx_no_buffer, a.tx_errors), (b.rx_no_buffer, b.tx_errors));
    }
    let traffic = after[1].adis[0].traffic.unwrap();
    assert!(traffic.rx_unicast >= FRAMES + trips, "{traffic:?}");
    // Once a second, and the reading of the links takes a lock of each device.
    let wakeups = events_after - events;
    let timer = 4 * (time.as_secs() + 2);
    assert!(wakeups <= timer, "{EVENTS}: {wakeups} in {time:?}");
}

#[test]
fn a_trapped_access_is_counted() {
    let _alone = ALONE.lock();
    let daemon = Daemon::start();
    let composed = Composed::connect(&daemon.sockets[0]).unwrap();
    // One doorbell page is mapped; the status of the reset is a register that traps.
    let _other = Composed::connect(&daemon.sockets[1]).unwrap();
    let threads = settle();
    let before = daemon.stats();
    const READS: u64 = 100;
    for _ in 0..READS {
        composed.with(|vf| vf.device.read(0x8800).unwrap());
    }
    let (after, threads_after) = (daemon.stats(), settle());
    assert_eq!(after[0].messages - before[0].messages, READS);
    assert_eq!(after[1].messages, before[1].messages);
    let woken = |name: &str| threads_after[name] - threads[name];
    assert!(woken("vdev-1") >= READS, "{threads_after:?}");
    assert_eq!(woken("vdev-2"), 0);
}
