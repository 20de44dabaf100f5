// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A keeper and its workers as processes: a worker is killed, replaced, and replaced by one that does
//! not start, under a connected client.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_keeper::{AtDeath, Begin, Frozen, Keeper, Unfit, Worker, Workload};
use adit_vfio_user::fuzzing::{message, HELLO};
use adit_vfio_user::header::{Command, Header};
use adit_vfio_user::testing::ScratchDevice;
use adit_vfio_user::{wire, Config, Device, DmaMap, Errno, IrqRequest, StopHandle};
use rustix::process::{getpid, kill_process, Pid, Signal};
use zerocopy::{FromBytes, IntoBytes};

/// Set in the environment of workers, which run the same test: the folder of the test.
const WORKER: &str = "ADIT_TEST_WORKER";
/// The registers of the device: the process id, one that is kept, and whether it is frozen.
const PID: u64 = 0;
const KEPT: u64 = 8;
const FROZEN: u64 = 16;

/// The scratch device with two words that can be frozen.
struct Words {
    inner: ScratchDevice,
    kept: Arc<AtomicU32>,
    frozen: Arc<AtomicBool>,
}

impl Device for Words {
    fn info(&self) -> adit_vfio_user::DeviceInfo {
        self.inner.info()
    }
    fn regions(&self) -> &[adit_vfio_user::Region] {
        self.inner.regions()
    }
    fn irqs(&self) -> &[adit_vfio_user::IrqInfo] {
        self.inner.irqs()
    }
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> Result<(), Errno> {
        let word = match (region, offset) {
            (0, PID) => std::process::id(),
            (0, KEPT) => self.kept.load(Ordering::SeqCst),
            (0, FROZEN) => self.frozen.load(Ordering::SeqCst).into(),
            _ => return self.inner.region_read(region, offset, data),
        };
        data.copy_from_slice(&word.to_le_bytes());
        Ok(())
    }
    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<(), Errno> {
        if (region, offset) == (0, KEPT) {
            let word = u32::from_le_bytes(data.try_into().map_err(|_| Errno::INVAL)?);
            self.kept.store(word, Ordering::SeqCst);
            return Ok(());
        }
        self.inner.region_write(region, offset, data)
    }
    fn dma_map(&mut self, map: DmaMap) -> Result<(), Errno> {
        self.inner.dma_map(map)
    }
    fn dma_unmap(&mut self, iova: u64, size: u64) {
        self.inner.dma_unmap(iova, size);
    }
    fn set_irqs(&mut self, request: IrqRequest) -> Result<(), Errno> {
        self.inner.set_irqs(request)
    }
    fn reset(&mut self) -> Result<(), Errno> {
        self.inner.reset()
    }
    fn connected(&mut self) {
        self.inner.connected();
    }
    fn disconnected(&mut self) {
        self.inner.disconnected();
    }
}

struct Load {
    worker: Worker,
    /// The word that was copied last for a successor.
    copied: Option<u32>,
    kept: Arc<AtomicU32>,
    frozen: Arc<AtomicBool>,
    stop: StopHandle,
    folder: PathBuf,
}

impl Load {
    /// Dies if the test wants that, once.
    fn obey(&self, order: &str) {
        if std::fs::remove_file(self.folder.join(order)).is_ok() {
            std::process::exit(3);
        }
    }
}

impl Workload for Load {
    fn precopy(&mut self) -> Option<Frozen> {
        self.obey("copies");
        assert!(!self.frozen.load(Ordering::SeqCst));
        self.copied = Some(self.kept.load(Ordering::SeqCst));
        let pipe = std::fs::File::open("/dev/null").unwrap();
        Some(Frozen {
            state: self.copied.into(),
            fds: vec![pipe.into()],
        })
    }
    fn freeze(&mut self) -> Result<Frozen, Unfit> {
        self.obey("freezes");
        if meets(&self.folder, "busy") {
            return Err(Unfit::busy("busy"));
        }
        if self.folder.join("unfit").exists() {
            return Err(Unfit::reset("unfit"));
        }
        if !self.folder.join("hasty").exists() {
            self.frozen.store(true, Ordering::SeqCst);
        } else if std::fs::remove_file(self.folder.join("hasty")).is_ok() {
            // What a new worker has not seen.
            self.worker.note("more", Some("two".into())).unwrap();
            self.frozen.store(true, Ordering::SeqCst);
        }
        let pipe = std::fs::File::open("/dev/null").unwrap();
        Ok(Frozen {
            state: vec![self.copied.unwrap(), self.kept.load(Ordering::SeqCst)].into(),
            fds: vec![pipe.into()],
        })
    }
    fn go_on(&mut self) {
        self.frozen.store(false, Ordering::SeqCst);
    }
    fn abandoned(&mut self) {
        self.stop.stop();
    }
}

/// Returns whether the test wants an obstacle, and marks it as met.
fn meets(folder: &Path, obstacle: &str) -> bool {
    let is_there = folder.join(obstacle).exists();
    if is_there {
        std::fs::write(met(folder, obstacle), "").unwrap();
    }
    is_there
}

/// The mark of an obstacle that a worker has met.
fn met(folder: &Path, obstacle: &str) -> PathBuf {
    folder.join(format!("met-{obstacle}"))
}

/// The process of a worker.
fn worker(folder: &Path) {
    let (worker, start) = Worker::begin().unwrap();
    if meets(folder, "broken") {
        // A new version that does not start.
        std::process::exit(3);
    }
    while start.update && meets(folder, "slow") {
        // A new version that takes its time.
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(
        start.update || start.notes.contains_key("life"),
        start.kept.contains_key("file")
    );
    worker.note("life", Some("one".into())).unwrap();
    let file = std::fs::File::create(folder.join("file")).unwrap();
    worker.keep("file", file.as_fd()).unwrap();
    let mut last = std::fs::OpenOptions::new();
    let last = last.write(true).create(true).truncate(false);
    let last = last.open(folder.join("last")).unwrap();
    let at_death = AtDeath {
        offset: 2,
        bytes: b"stop".to_vec(),
    };
    let kept = worker.keep_with("last", last.as_fd(), Some(at_death));
    kept.unwrap();
    let kept = Arc::default();
    let frozen = Arc::<AtomicBool>::default();
    let stop = StopHandle::new().unwrap();
    let serve = |name: &str| {
        let path = folder.join(format!("{name}.sock"));
        let clients = worker.serve(name, &path, Config::default()).unwrap();
        let mut device = Words {
            inner: ScratchDevice::new(),
            kept: Arc::clone(&kept),
            frozen: Arc::clone(&frozen),
        };
        let stop = stop.clone();
        std::thread::spawn(move || clients.run(&mut device, &stop).unwrap())
    };
    let served = serve("device");
    let more = folder.join("more").exists().then(|| serve("more"));
    let mut copied = None;
    let begin = worker.prepared(|copy, fds| {
        assert_eq!(fds.len(), 1);
        copied = copy.as_u64();
        Ok(())
    });
    let begin = begin.unwrap();
    assert_eq!(copied.is_some(), start.update);
    if begin == Begin::TakeOver {
        let (state, fds) = worker.state().unwrap();
        frozen.store(true, Ordering::SeqCst);
        if meets(folder, "late") {
            // A new version that does not take over.
            std::process::exit(3);
        }
        assert_eq!(state[0].as_u64(), copied, "a state is the rest of a copy");
        kept.store(state[1].as_u64().unwrap() as u32, Ordering::SeqCst);
        assert_eq!(fds.len(), 1);
    }
    if begin == Begin::Anew && std::fs::remove_file(folder.join("fails")).is_ok() {
        // It may have set its devices up, and is not ready. What was written before is known.
        last_words(folder);
        std::process::exit(3);
    }
    let load = Load {
        worker: worker.clone(),
        copied: None,
        kept,
        frozen,
        stop,
        folder: folder.to_owned(),
    };
    worker.ready(load).unwrap();
    std::fs::write(ready(folder, std::process::id()), "").unwrap();
    served.join().unwrap();
    if let Some(more) = more {
        more.join().unwrap();
    }
}

struct Client(UnixStream);

impl Client {
    fn connect(path: &Path) -> Self {
        let until = Instant::now() + Duration::from_secs(20);
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut client = Self(stream);
        client.request(Command::Version, HELLO);
        client
    }

    fn request(&mut self, command: Command, payload: &[u8]) -> Vec<u8> {
        self.0.write_all(&message(1, command, 0, payload)).unwrap();
        let mut header = [0; Header::SIZE];
        self.0.read_exact(&mut header).unwrap();
        let header = Header::read_from_bytes(&header).unwrap();
        assert_eq!(header.error, 0, "{command:?}");
        let mut payload = vec![0; header.payload_len().unwrap()];
        self.0.read_exact(&mut payload).unwrap();
        payload
    }

    fn read(&mut self, offset: u64) -> u32 {
        let access = wire::RegionAccess {
            offset,
            region: 0,
            count: 4,
        };
        let reply = self.request(Command::RegionRead, access.as_bytes());
        u32::from_le_bytes(reply[16..].try_into().unwrap())
    }

    fn write(&mut self, offset: u64, value: u32) {
        let access = wire::RegionAccess {
            offset,
            region: 0,
            count: 4,
        };
        let payload = [access.as_bytes(), &value.to_le_bytes()].concat();
        self.request(Command::RegionWrite, &payload);
    }

    /// Waits until the worker is not frozen.
    fn goes_on(&mut self) {
        let until = Instant::now() + Duration::from_secs(20);
        while self.read(FROZEN) != 0 {
            assert!(Instant::now() < until, "it stays frozen");
        }
    }

    /// Waits for another worker; returns its process id.
    fn next_worker(&mut self, last: u32) -> u32 {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            match self.read(PID) {
                pid if pid != 0 && pid != last => return pid,
                _ => assert!(Instant::now() < until, "no other worker"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The mark of a worker that has reported to be ready.
fn ready(folder: &Path, pid: u32) -> PathBuf {
    folder.join(format!("ready-{pid}"))
}

/// Returns the bytes that were written at the death of a worker since the last call.
fn last_words(folder: &Path) -> Vec<u8> {
    let path = folder.join("last");
    let words = std::fs::read(&path).unwrap();
    std::fs::write(path, "").unwrap();
    words
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

#[test]
fn a_client_stays_connected_whatever_happens_to_workers() {
    if let Some(folder) = std::env::var_os(WORKER) {
        return worker(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Process::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "a_client_stays_connected_whatever_happens_to_workers",
        ])
        .env(WORKER, folder.path());
    let keeper = std::thread::spawn(|| Keeper::new(command).run());
    let path = folder.path().join("device.sock");
    let mut client = Client::connect(&path);
    let first = client.next_worker(0);
    // A keeper whose first worker does not become ready ends.
    let until = Instant::now() + Duration::from_secs(20);
    while !ready(folder.path(), first).exists() {
        assert!(Instant::now() < until, "the worker is not ready");
        std::thread::sleep(Duration::from_millis(2));
    }
    client.write(KEPT, 7);
    assert_eq!(client.read(KEPT), 7);

    // Death: the state after power-on.
    signal(first, Signal::KILL);
    let second = client.next_worker(first);
    assert_eq!(client.read(KEPT), 0);
    assert_eq!(last_words(folder.path()), b"\0\0stop");
    client.write(KEPT, 8);

    // An update: nothing changes.
    let itself = getpid().as_raw_nonzero().get() as u32;
    signal(itself, Signal::HUP);
    let third = client.next_worker(second);
    assert_eq!(client.read(KEPT), 8);
    assert_eq!(last_words(folder.path()), b"");

    // Updates that fail at three places.
    for obstacle in ["broken", "busy", "late"] {
        let met = met(folder.path(), obstacle);
        let obstacle = folder.path().join(obstacle);
        std::fs::write(&obstacle, "").unwrap();
        signal(itself, Signal::HUP);
        // However far the update has come meanwhile.
        let until = Instant::now() + Duration::from_secs(20);
        while !met.exists() {
            assert!(Instant::now() < until, "{} is not met", obstacle.display());
            assert_eq!((client.read(PID), client.read(KEPT)), (third, 8));
            std::thread::sleep(Duration::from_millis(1));
        }
        std::fs::remove_file(&obstacle).unwrap();
        client.goes_on();
        assert_eq!((client.read(PID), client.read(KEPT)), (third, 8));
    }
    client.write(KEPT, 9);
    signal(itself, Signal::HUP);
    let fourth = client.next_worker(third);
    client.goes_on();
    assert_eq!(client.read(KEPT), 9);

    // The old worker changes what is kept at the last moment: another new one is started.
    std::fs::write(folder.path().join("hasty"), "").unwrap();
    signal(itself, Signal::HUP);
    let fifth = client.next_worker(fourth);
    client.goes_on();
    assert_eq!(client.read(KEPT), 9);
    assert!(!folder.path().join("hasty").exists());

    assert_eq!(last_words(folder.path()), b"");

    // The old worker dies while it describes itself, which is a death like any other.
    let mut last = fifth;
    for order in ["copies", "freezes"] {
        std::fs::write(folder.path().join(order), "").unwrap();
        signal(itself, Signal::HUP);
        last = client.next_worker(last);
        assert!(!folder.path().join(order).exists());
        assert_eq!(client.read(KEPT), 0, "{order}");
        assert_eq!(last_words(folder.path()), b"\0\0stop", "{order}");
        client.write(KEPT, 9);
    }

    // The program file is replaced once more while a new worker is prepared, which may be of the one before.
    let is_prepared = |folder: &Path| {
        let until = Instant::now() + Duration::from_secs(20);
        while !met(folder, "slow").exists() {
            assert!(Instant::now() < until, "no new worker");
            std::thread::sleep(Duration::from_millis(2));
        }
        std::fs::remove_file(met(folder, "slow")).unwrap();
    };
    std::fs::write(folder.path().join("slow"), "").unwrap();
    signal(itself, Signal::HUP);
    is_prepared(folder.path());
    signal(itself, Signal::HUP);
    std::fs::remove_file(folder.path().join("slow")).unwrap();
    last = client.next_worker(last);
    last = client.next_worker(last);
    assert_eq!(client.read(KEPT), 9);

    // It hangs while the new one is prepared. The client does not wait for that one.
    let _ = std::fs::remove_file(met(folder.path(), "slow"));
    std::fs::write(folder.path().join("slow"), "").unwrap();
    signal(itself, Signal::HUP);
    is_prepared(folder.path());
    signal(last, Signal::STOP);
    last = client.next_worker(last);
    assert_eq!(client.read(KEPT), 0);
    std::fs::remove_file(folder.path().join("slow")).unwrap();

    // Devices that cannot be handed over are reset.
    client.write(KEPT, 9);
    last_words(folder.path());
    std::fs::write(folder.path().join("unfit"), "").unwrap();
    // The new version serves more, from when it is prepared on.
    std::fs::write(folder.path().join("more"), "").unwrap();
    signal(itself, Signal::HUP);
    last = client.next_worker(last);
    assert_eq!(client.read(KEPT), 0);
    assert_eq!(last_words(folder.path()), b"\0\0stop");
    let mut more = Client::connect(&folder.path().join("more.sock"));
    assert_eq!(more.read(PID), last);
    std::fs::remove_file(folder.path().join("more")).unwrap();

    // The next worker dies once it has been told to begin anew.
    for order in [Signal::HUP, Signal::KILL] {
        std::fs::write(folder.path().join("fails"), "").unwrap();
        signal(if order == Signal::HUP { itself } else { last }, order);
        // The one that dies may answer, too.
        let before = last;
        last = client.next_worker(before);
        let until = Instant::now() + Duration::from_secs(20);
        while !ready(folder.path(), last).exists() {
            assert!(Instant::now() < until, "no worker is ready");
            last = client.next_worker(before);
        }
        assert!(!folder.path().join("fails").exists());
        assert_eq!(last_words(folder.path()), b"\0\0stop", "{order:?}");
    }

    signal(itself, Signal::TERM);
    keeper.join().unwrap().unwrap();
    assert!(!path.exists());
    assert_eq!(client.0.read(&mut [0]).unwrap_or(0), 0);
}
