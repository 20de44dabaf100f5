// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The log of written pages of a client, across the end of a daemon under a keeper.

#[allow(dead_code, reason = "its other functions are for tests of processes")]
mod daemon;
#[allow(dead_code, reason = "its other functions are for tests of migrations")]
#[path = "migration/device.rs"]
mod device;
#[allow(dead_code, reason = "its other functions are for the examples")]
#[path = "../examples/vdev_client/queues.rs"]
mod queues;
#[allow(dead_code, reason = "its other functions are for the examples")]
#[path = "../examples/vdev_client/vf.rs"]
mod vf;
#[path = "daemon/worker.rs"]
mod worker;

use std::collections::BTreeSet;
use std::os::unix::net::UnixDatagram;

use adit_uapi::virtchnl2::{op, VersionInfo, VERSION_MAJOR_2, VERSION_MINOR_0};
use daemon::{Daemon, TIMEOUT};
use device::Device;
use queues::Pair;
use rustix::process::{kill_process, Signal};
use vf::Vf;
use worker::{next_worker, worker};
use zerocopy::little_endian::U32;
use zerocopy::IntoBytes;

/// A driver with a log, and the other end of its NIC's wire.
struct Driver {
    vf: Vf,
    pair: Pair,
    wire: UnixDatagram,
}

impl Driver {
    fn written(&mut self) -> BTreeSet<u64> {
        self.vf.device.written(&self.vf.memory).unwrap()
    }

    /// Has the mailbox and a queue write: the reply with its descriptor and that of the message, and a
    /// completion.
    fn exchange(&mut self) {
        let version = VersionInfo {
            major: U32::new(VERSION_MAJOR_2),
            minor: U32::new(VERSION_MINOR_0),
        };
        self.vf.ok(op::VERSION, version.as_bytes()).unwrap();
        let mut frame = [[0xFF; 6], self.pair.mac].concat();
        // The EtherType for local experiments (IEEE 802).
        frame.extend([0x88, 0xB5]);
        frame.resize(64, 0);
        self.pair.send(&mut self.vf, &frame).unwrap();
        self.pair.settle(&mut self.vf).unwrap();
        self.wire.recv(&mut [0; 2048]).unwrap();
    }

    /// Checks that reports have what is written, and nothing else.
    fn is_exact(&mut self) {
        assert_eq!(self.written(), [].into());
        self.exchange();
        let written = self.written();
        assert_eq!(written.len(), 4, "{written:?}");
        assert_eq!(self.written(), [].into());
    }
}

#[test]
fn no_written_page_is_lost_with_the_daemon() {
    let config = "[[device]]\nname = \"web\"\nqueues = 1\n";
    let folder = tempfile::tempdir().unwrap();
    let [near, far] = ["near", "far"].map(|name| folder.path().join(name));
    let wire = UnixDatagram::bind(&far).unwrap();
    wire.set_read_timeout(Some(TIMEOUT)).unwrap();
    let ends = format!("unix:{},{}", near.display(), far.display());
    let daemon = Daemon::start(config, &["--embedded", "--wire", &ends, "--keeper"]);
    let socket = daemon.client().list().unwrap().remove(0).socket;
    let device = Device::connect(&socket).and_then(Device::boot).unwrap();
    let mut vf = Vf::start(device).unwrap();
    let pair = Pair::start(&mut vf).unwrap();
    let mut driver = Driver { vf, pair, wire };
    driver.vf.device.start_log(&driver.vf.memory).unwrap();
    let all = driver.vf.memory.pages();
    for dies in [false, true, false] {
        driver.is_exact();
        driver.exchange();
        let old = worker(&daemon);
        match dies {
            false => daemon.signal(Signal::HUP),
            true => kill_process(old, Signal::KILL).unwrap(),
        }
        next_worker(&daemon, old);
        if dies {
            driver.vf.restart(TIMEOUT).unwrap();
            driver.pair = Pair::start(&mut driver.vf).unwrap();
        }
        assert_eq!(driver.written(), all, "dies: {dies}");
        // The device may have notified the driver of its link since.
        driver.exchange();
        driver.written();
    }
    driver.is_exact();
    daemon.stop(Signal::TERM);
}
