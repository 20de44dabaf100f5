// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The daemon under a keeper, with connected clients: it is killed and replaced.

#![cfg(feature = "embedded")]

mod daemon;
#[path = "keeper/frozen.rs"]
mod frozen;
#[path = "daemon/worker.rs"]
mod worker;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use adit_uapi::regs::{rstat, vf};
use adit_vdcm::protocol::{Spec, VdevInfo, VdevState};
use daemon::{Daemon, TIMEOUT};
use memmap2::{MmapOptions, MmapRaw};
use rustix::process::{kill_process, test_kill_process, Pid, Signal};
use vfio_user::Client;
use worker::{next_worker, worker};

const BAR0: u32 = 0;

/// The first word of mapped pages.
fn first_word(pages: &MmapRaw) -> &AtomicU32 {
    // SAFETY: the mapping is whole pages and lives as long as the borrow; the device accesses the
    // word concurrently, which atomics permit.
    unsafe { AtomicU32::from_ptr(pages.as_mut_ptr().cast()) }
}

/// A client of a device, with its doorbell pages mapped.
struct Device {
    client: Client,
    /// The offset of the pages in BAR0.
    start: u64,
    pages: MmapRaw,
}

impl Device {
    fn connect(socket: &Path) -> Self {
        let client = Client::new(socket).unwrap();
        let bar = client.region(BAR0).unwrap();
        let (file, area) = (bar.file_offset.as_ref().unwrap(), &bar.sparse_areas[0]);
        // The difference of the two may be negative.
        let pages = MmapOptions::new()
            .offset(file.start().wrapping_add(area.offset))
            .len(area.size as usize)
            .map_raw(file.file())
            .unwrap();
        let start = area.offset;
        Self {
            client,
            start,
            pages,
        }
    }

    fn read(&mut self, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        self.client.region_read(BAR0, offset, &mut bytes).unwrap();
        u32::from_le_bytes(bytes)
    }

    /// The first doorbell as the client has it mapped.
    fn mapped(&self) -> &AtomicU32 {
        first_word(&self.pages)
    }

    fn is_in_reset(&mut self) -> bool {
        self.read(vf::GEN_RSTAT.into()) & rstat::STATE_M == rstat::IN_PROGRESS
    }

    /// Checks that nothing has happened to the device whose first doorbell is `value`.
    fn goes_on(&mut self, value: u32) {
        assert!(!self.is_in_reset());
        assert_eq!(self.mapped().load(Ordering::SeqCst), value.to_le());
        assert_eq!(self.read(self.start), value);
        self.mapped().store(7_u32.to_le(), Ordering::SeqCst);
        assert_eq!(self.read(self.start), 7);
    }

    /// Waits until the device is not in reset, and checks that the mapped pages are its pages.
    fn recovers(&mut self, since: Instant) {
        while self.is_in_reset() {
            assert!(since.elapsed() < TIMEOUT, "the reset does not end");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert_eq!(self.read(vf::ARQLEN.into()), 0);
        assert_eq!(self.mapped().load(Ordering::SeqCst), 0);
        self.mapped().store(7_u32.to_le(), Ordering::SeqCst);
        assert_eq!(self.read(self.start), 7);
    }
}

#[test]
fn a_client_that_has_left_does_not_ring_the_next_ones_doorbells() {
    let config = "[[device]]\nname = \"web\"\n";
    let daemon = Daemon::start(config, &["--embedded", "--wire", "none", "--keeper"]);
    let socket = daemon.client().list().unwrap().remove(0).socket;
    for dies in [false, true] {
        let Device { client, pages, .. } = Device::connect(&socket);
        let old = worker(&daemon);
        if dies {
            // The next process inherits the pages of a client that leaves before it is there.
            kill_process(old, Signal::KILL).unwrap();
        }
        drop(client);
        if dies {
            next_worker(&daemon, old);
        }
        let mut device = Device::connect(&socket);
        let start = device.start;
        let ring = || first_word(&pages).store(9_u32.to_le(), Ordering::SeqCst);
        ring();
        assert_eq!(device.read(start), 0, "dies: {dies}");
        device.mapped().store(4_u32.to_le(), Ordering::SeqCst);
        ring();
        assert_eq!(device.read(start), 4, "dies: {dies}");

        // The pages of the present client are those that outlive the process.
        let (killed, old) = (Instant::now(), worker(&daemon));
        kill_process(old, Signal::KILL).unwrap();
        next_worker(&daemon, old);
        ring();
        device.recovers(killed);
    }
    daemon.stop(Signal::TERM);
}

#[test]
fn keeper_and_daemon_raise_their_limit_of_descriptors() {
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_adit-vdcm");
    command.args(["-c", "ulimit -Sn 64 && exec \"$@\"", "sh", program]);
    let daemon = Daemon::start_with(command, "", &["--embedded", "--wire", "none", "--keeper"]);
    let keeper = Pid::from_child(&daemon.process);
    for process in [keeper, worker(&daemon)] {
        let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
        let open_files = limits
            .lines()
            .find_map(|it| it.strip_prefix("Max open files"));
        let words: Vec<_> = open_files.unwrap().split_whitespace().collect();
        assert_eq!(words[0], words[1], "soft and hard limit: {limits}");
        assert_ne!(words[0], "64");
    }
    daemon.stop(Signal::TERM);
}

/// The identity of a device.
fn identity(info: &VdevInfo) -> (String, Vec<String>, u16) {
    let macs = info.adis.iter().map(|adi| adi.mac.to_string());
    (info.name.clone(), macs.collect(), info.queues)
}

#[test]
fn devices_and_their_clients_outlive_the_daemon() {
    let config = "[[device]]\nname = \"web\"\n";
    let daemon = Daemon::start(config, &["--embedded", "--wire", "none", "--keeper"]);
    let db = Spec {
        name: Some("db".into()),
        queues: Some(2),
        ..Spec::default()
    };
    let db = daemon.client().create(db).unwrap();
    let before: Vec<_> = daemon.client().list().unwrap();
    let mut devices: Vec<_> = before
        .iter()
        .map(|it| Device::connect(&it.socket))
        .collect();

    for how in ["killed", "replaced"] {
        for device in &devices {
            device.mapped().store(9_u32.to_le(), Ordering::SeqCst);
        }
        let (since, old) = (Instant::now(), worker(&daemon));
        match how {
            "killed" => kill_process(old, Signal::KILL).unwrap(),
            _ => daemon.signal(Signal::HUP),
        }
        // A new daemon is ready; the keeper knows soon.
        assert!(daemon.notified().starts_with("READY=1\n"));
        while worker(&daemon) == old {
            assert!(since.elapsed() < TIMEOUT, "{}", daemon.log());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        // The keeper waits for it.
        while test_kill_process(old).is_ok() {
            assert!(since.elapsed() < TIMEOUT, "the old daemon is still there");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        for device in &mut devices {
            match how {
                "killed" => device.recovers(since),
                _ => device.goes_on(9),
            }
        }
        let now = daemon.client().list().unwrap();
        assert!(now.iter().all(|it| it.state == VdevState::Connected));
        let identities = |all: &[VdevInfo]| all.iter().map(identity).collect::<Vec<_>>();
        assert_eq!(identities(&now), identities(&before), "{how}");
    }

    // A device that was destroyed stays so, and its client is disconnected.
    daemon.client().destroy("db").unwrap();
    assert!(!db.socket.exists());
    let db_at = before.iter().position(|it| it.name == "db").unwrap();
    let mut gone = devices.remove(db_at);
    let since = Instant::now();
    while gone.client.region_read(BAR0, 0, &mut [0; 4]).is_ok() {
        assert!(since.elapsed() < TIMEOUT, "the client is still connected");
    }
    // One of the same name is another one.
    let again = Spec {
        name: Some("db".into()),
        ..Spec::default()
    };
    daemon.client().create(again).unwrap();
    assert!(!Device::connect(&db.socket).is_in_reset());
    daemon.client().destroy("db").unwrap();
    let since = Instant::now();
    kill_process(worker(&daemon), Signal::KILL).unwrap();
    assert!(daemon.notified().starts_with("READY=1\n"));
    devices[0].recovers(since);
    assert_eq!(daemon.client().list().unwrap().len(), 1);
    assert!(!db.socket.exists());
    daemon.stop(Signal::TERM);
}
