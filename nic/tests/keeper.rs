// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The device under a keeper, with a driver that stays connected: its process is killed, hangs, and is
//! replaced.

#[path = "keeper/connections.rs"]
mod connections;
#[path = "keeper/driver.rs"]
mod driver;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use adit_p4runtime::client::{Client, ClientError, Target};
use adit_p4runtime::program::Package;
use adit_p4runtime::proto::config::Preamble;
use adit_p4runtime::proto::v1::{self, entity::Entity};
use driver::Driver;
use rustix::process::{kill_process, Pid, Signal};

/// The timeout for everything that a correct device does soon.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The command register, with memory space and bus master enabled, and the interrupt line, a register
/// without an effect.
const COMMAND: (u64, u16) = (4, 6);
const INTERRUPT_LINE: (u64, u16) = (0x3C, 0x0B);

/// A keeper and its worker.
struct Keeper {
    process: Child,
    folder: tempfile::TempDir,
    /// The worker that was ready last.
    worker: i32,
}

impl Keeper {
    fn start(words: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_adit-nic"))
            .arg("--socket")
            .arg(folder.path().join("nic.sock"))
            .arg("--keeper")
            .args(words)
            .env_remove("ADIT_LOG")
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut keeper = Self {
            process,
            folder,
            worker: 0,
        };
        keeper.next_worker();
        keeper
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("nic.sock")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Waits until another worker is ready, and returns its process id.
    fn next_worker(&mut self) -> i32 {
        let until = Instant::now() + TIMEOUT;
        loop {
            let log = self.log();
            let mut ready = log
                .lines()
                .filter(|line| line.contains("the worker is ready") || line.contains("updated:"));
            let last = ready.next_back().and_then(|line| {
                let (_, pid) = line.split_once("pid=")?;
                pid.split(' ').next()?.parse().ok()
            });
            match last {
                Some(pid) if pid != self.worker => {
                    self.worker = pid;
                    return pid;
                }
                _ => assert!(Instant::now() < until, "no worker: {log}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn signal_worker(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.worker).unwrap(), signal).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Updates it, and waits for the end of the old worker, whose servers end with it.
    fn update(&mut self) {
        let old = Pid::from_raw(self.worker).unwrap();
        self.signal(Signal::HUP);
        self.next_worker();
        let until = Instant::now() + TIMEOUT;
        while rustix::process::test_kill_process(old).is_ok() {
            assert!(Instant::now() < until, "the old worker does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Stops it, and returns its log.
    fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.log());
        assert!(!self.socket().exists());
        let worker = Pid::from_raw(self.worker).unwrap();
        assert!(rustix::process::test_kill_process(worker).is_err());
        self.log()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // It has ended already, unless a test has failed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A driver with a running device: some of its configuration space is set.
fn start(keeper: &Keeper) -> Driver {
    let mut driver = Driver::connect(&keeper.socket());
    for (at, value) in [COMMAND, INTERRUPT_LINE] {
        driver.set_config(at, value);
    }
    driver.negotiate();
    driver
}

/// Checks that a device which the driver finds in reset comes back with what the driver has set up
/// once; returns the time until its reset was complete.
fn recovers(driver: &mut Driver, since: Instant) -> Duration {
    while driver.in_reset() {
        assert!(driver.finds_reset());
        assert!(since.elapsed() < TIMEOUT, "the reset does not end");
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = since.elapsed();
    assert!(driver.finds_reset());
    assert_eq!(driver.mapped_tail().load(Ordering::SeqCst), 0);
    driver.ring(5);
    assert_eq!(driver.tail(), 5, "the mapped page is the device's");
    for (at, value) in [COMMAND, INTERRUPT_LINE] {
        assert_eq!(driver.config(at), value);
    }
    driver.negotiate();
    took
}

#[test]
fn a_device_that_is_killed_comes_back_to_its_driver() {
    let mut keeper = Keeper::start(&["--wire", "none"]);
    let mut driver = start(&keeper);
    for round in 0..3 {
        driver.ring(3);
        let killed = Instant::now();
        keeper.signal_worker(Signal::KILL);
        // The driver's accesses are answered at any time.
        let mut slowest = Duration::ZERO;
        while !driver.finds_reset() {
            assert!(killed.elapsed() < TIMEOUT);
        }
        let noticed = killed.elapsed();
        while driver.in_reset() && killed.elapsed() < TIMEOUT {
            let asked = Instant::now();
            driver.finds_reset();
            slowest = slowest.max(asked.elapsed());
        }
        keeper.next_worker();
        let took = recovers(&mut driver, killed);
        println!("round {round}: reset noticed after {noticed:?}, complete after {took:?}; slowest read {slowest:?}");
        assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    }
    let log = keeper.stop();
    assert!(
        log.contains("the worker has died: signal: 9 (SIGKILL)"),
        "{log}"
    );
}

#[test]
fn a_device_that_hangs_is_killed_and_comes_back() {
    let mut keeper = Keeper::start(&[]);
    let mut driver = start(&keeper);
    let hung = Instant::now();
    keeper.signal_worker(Signal::STOP);
    assert!(driver.finds_reset());
    assert!(
        hung.elapsed() < Duration::from_secs(5),
        "QEMU waits for no longer"
    );
    keeper.next_worker();
    recovers(&mut driver, hung);
    let log = keeper.stop();
    assert!(log.contains("the worker hangs: killed"), "{log}");
}

/// Checks that the device goes on as if nothing had happened.
fn goes_on(driver: &mut Driver, tail: u32) {
    assert!(!driver.in_reset() && !driver.finds_reset());
    assert_eq!(driver.tail(), tail);
    assert_eq!(driver.mapped_tail().load(Ordering::SeqCst), tail.to_le());
    for (at, value) in [COMMAND, INTERRUPT_LINE] {
        assert_eq!(driver.config(at), value);
    }
    driver.ask();
}

#[test]
fn a_driver_does_not_notice_an_update() {
    let mut keeper = Keeper::start(&["--wire", "none"]);
    let mut driver = start(&keeper);
    for round in 3..6 {
        driver.ring(round);
        let old = keeper.worker;
        keeper.signal(Signal::HUP);
        assert_ne!(keeper.next_worker(), old);
        goes_on(&mut driver, round);
    }
    // A death afterwards is still a reset.
    keeper.signal_worker(Signal::KILL);
    let killed = Instant::now();
    keeper.next_worker();
    recovers(&mut driver, killed);
    keeper.signal(Signal::HUP);
    keeper.next_worker();
    goes_on(&mut driver, 5);
    let log = keeper.stop();
    let pauses: Vec<_> = log
        .lines()
        .filter(|line| line.contains("updated: clients were paused"))
        .collect();
    println!("{}", pauses.join("\n"));
    assert_eq!(pauses.len(), 4, "{log}");
}

#[test]
fn a_successor_that_does_not_start_leaves_the_device_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program.p4");
    let text = include_str!("../../p4/default.p4");
    std::fs::write(&program, text).unwrap();
    let mut keeper = Keeper::start(&["--p4", program.to_str().unwrap()]);
    let mut driver = start(&keeper);
    driver.ring(3);
    std::fs::write(&program, "no program").unwrap();
    let running = keeper.worker;
    keeper.signal(Signal::HUP);
    let until = Instant::now() + TIMEOUT;
    while !keeper.log().contains("no update: the worker goes on") {
        assert!(Instant::now() < until, "{}", keeper.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    goes_on(&mut driver, 3);
    std::fs::write(&program, text).unwrap();
    keeper.signal(Signal::HUP);
    assert_ne!(keeper.next_worker(), running);
    goes_on(&mut driver, 3);
    keeper.stop();
}

/// The entries of a program, or of another one that is to be loaded first.
struct Control {
    client: Client,
    table: u32,
    action: u32,
}

impl Control {
    /// Connects; the server may not be there yet.
    fn connect(folder: &tempfile::TempDir) -> Self {
        let until = Instant::now() + TIMEOUT;
        let target = || Target {
            address: format!("unix:{}", folder.path().join("p4rt.sock").display()),
            device_id: 1,
            role: String::new(),
            tls: None,
        };
        let client = loop {
            match Client::connect(target()) {
                Ok(client) => break client,
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let (table, action) = (0, 0);
        let mut control = Self {
            client,
            table,
            action,
        };
        control.look_up();
        control
    }

    fn look_up(&mut self) {
        let info = self.client.p4info().unwrap();
        let id = |preamble: &Option<Preamble>, name: &str| {
            let preamble = preamble.as_ref()?;
            (preamble.alias == name).then_some(preamble.id)
        };
        let mut tables = info.tables.iter();
        let table = tables.find_map(|table| id(&table.preamble, "ipv4_routes"));
        let mut actions = info.actions.iter();
        let action = actions.find_map(|action| id(&action.preamble, "set_nexthop"));
        (self.table, self.action) = (table.unwrap_or(0), action.unwrap_or(0));
    }

    fn load(&mut self, text: &str) {
        let config = v1::ForwardingPipelineConfig {
            p4_device_config: Package::source(text).to_bytes(),
            ..Default::default()
        };
        self.client.load(config, false).unwrap();
        self.look_up();
    }

    /// A route to 10.N.0.0/16, with N packets counted.
    fn route(&self, n: u8) -> v1::TableEntry {
        let lpm = v1::field_match::Lpm {
            value: vec![10, n, 0, 0],
            prefix_len: 16,
        };
        let param = v1::action::Param {
            param_id: 1,
            value: vec![n],
        };
        v1::TableEntry {
            table_id: self.table,
            r#match: vec![v1::FieldMatch {
                field_id: 1,
                field_match_type: Some(v1::field_match::FieldMatchType::Lpm(lpm)),
            }],
            action: Some(v1::TableAction {
                r#type: Some(v1::table_action::Type::Action(v1::Action {
                    action_id: self.action,
                    params: vec![param],
                })),
            }),
            counter_data: Some(v1::CounterData {
                byte_count: 100 * i64::from(n),
                packet_count: n.into(),
            }),
            metadata: vec![n; 3],
            ..Default::default()
        }
    }

    fn add(&mut self, n: u8) {
        let update = v1::Update {
            r#type: v1::update::Type::Insert as i32,
            entity: Some(v1::Entity {
                entity: Some(Entity::TableEntry(self.route(n))),
            }),
        };
        self.client.write(vec![update], true).unwrap();
    }

    fn routes(&mut self) -> Vec<v1::TableEntry> {
        let wanted = v1::TableEntry {
            table_id: self.table,
            counter_data: Some(v1::CounterData::default()),
            ..Default::default()
        };
        let mut found = Vec::new();
        let read = self
            .client
            .read(vec![Entity::TableEntry(wanted)], |entity| {
                if let Entity::TableEntry(entry) = entity {
                    found.push(entry);
                }
                Ok::<_, ClientError>(())
            });
        read.unwrap();
        found.sort_by_key(|entry| entry.metadata.clone());
        found
    }
}

#[test]
fn a_loaded_program_and_its_entries_outlive_an_update() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", folder.path().join("p4rt.sock").display());
    let mut keeper = Keeper::start(&["--p4rt", &address]);
    let mut driver = start(&keeper);
    let mut control = Control::connect(&folder);
    assert_eq!(control.table, 0, "the standard program has no routes");
    control.load(include_str!("../../p4/l3.p4"));
    let mut routes = Vec::new();
    for round in 1..4 {
        control.add(round);
        routes.push(control.route(round));
        assert_eq!(control.routes(), routes);
        driver.ring(round.into());
        keeper.update();
        goes_on(&mut driver, round.into());
        control = Control::connect(&folder);
        assert_eq!(control.routes(), routes);
    }
    // After a death the program is that of the options.
    keeper.signal_worker(Signal::KILL);
    keeper.next_worker();
    assert_eq!(Control::connect(&folder).table, 0);
    keeper.stop();
}

#[test]
fn a_wire_keeps_its_socket_in_an_update() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let wire = format!("unix:{},{}", path("nic").display(), path("peer").display());
    let _peer = std::os::unix::net::UnixDatagram::bind(path("peer")).unwrap();
    let mut keeper = Keeper::start(&["--wire", &wire]);
    let inode = || {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path("nic")).unwrap().ino()
    };
    let before = inode();
    for _ in 0..3 {
        keeper.update();
        assert_eq!(inode(), before);
    }
    keeper.signal_worker(Signal::KILL);
    keeper.next_worker();
    assert_eq!(inode(), before);
    keeper.stop();
    assert!(!path("nic").exists());
}

/// The numbers of the sockets that are bound to a path and that a process has.
fn sockets(process: i32, path: &Path) -> BTreeSet<String> {
    let all = std::fs::read_to_string("/proc/net/unix").unwrap();
    let bound = all.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let is_there = Path::new(fields.get(7)?) == path;
        is_there.then(|| format!("socket:[{}]", fields[6]))
    });
    let files = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let links = files.filter_map(|it| std::fs::read_link(it.ok()?.path()).ok());
    let open: BTreeSet<String> = links.map(|it| it.display().to_string()).collect();
    bound.filter(|it| open.contains(it)).collect()
}

#[test]
fn a_wire_outlives_a_successor_that_fails_and_the_loss_of_its_file() {
    use std::os::unix::net::UnixDatagram;

    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let wire = format!("unix:{},{}", path("nic").display(), path("peer").display());
    let peer = UnixDatagram::bind(path("peer")).unwrap();
    let receives = || peer.send_to(&[0; 60], path("nic")).is_ok();
    let program = path("program.p4");
    let text = include_str!("../../p4/default.p4");
    std::fs::write(&program, text).unwrap();
    let words = ["--wire", &wire, "--connections", "16", "--p4"];
    let words = [&words[..], &[program.to_str().unwrap()]].concat();
    let mut keeper = Keeper::start(&words);
    assert!(receives());
    // It needs more connections than the device has, which is found once the wires are open.
    std::fs::write(&program, include_str!("../../p4/conntrack.p4")).unwrap();
    keeper.signal(Signal::HUP);
    let until = Instant::now() + TIMEOUT;
    while !keeper.log().contains("no update: the worker goes on") {
        assert!(Instant::now() < until, "{}", keeper.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(keeper.log().contains("connections"), "{}", keeper.log());
    assert!(receives());

    // Its socket is another one afterwards.
    std::fs::remove_file(path("nic")).unwrap();
    while !receives() {
        assert!(Instant::now() < until, "{}", keeper.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    std::fs::write(&program, text).unwrap();
    // The worker binds the new socket, then reports it to the keeper.
    let keeper_id = keeper.process.id() as i32;
    loop {
        let [held, kept] = [keeper.worker, keeper_id].map(|it| sockets(it, &path("nic")));
        if !held.is_empty() && held.is_subset(&kept) {
            break;
        }
        assert!(
            Instant::now() < until,
            "{held:?} {kept:?}: {}",
            keeper.log()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    for signal in [Signal::HUP, Signal::KILL] {
        match signal {
            Signal::HUP => keeper.update(),
            _ => {
                keeper.signal_worker(signal);
                keeper.next_worker();
            }
        }
        assert!(receives(), "after {signal:?}: {}", keeper.log());
    }
    keeper.stop();
    assert!(!path("nic").exists());
}

#[test]
fn a_client_that_comes_before_its_device_is_back_is_served() {
    let mut keeper = Keeper::start(&[]);
    keeper.signal_worker(Signal::KILL);
    // It waits for the next worker.
    let mut driver = start(&keeper);
    keeper.next_worker();
    drop(driver);
    driver = start(&keeper);
    assert!(!driver.in_reset());
    keeper.stop();
}

#[test]
fn a_client_that_has_left_does_not_ring_the_next_ones_doorbells() {
    let mut keeper = Keeper::start(&[]);
    for dies in [false, true] {
        let driver = start(&keeper);
        if dies {
            // The next process inherits the pages of a client that leaves before it is there.
            keeper.signal_worker(Signal::KILL);
        }
        let former = driver.leave();
        if dies {
            keeper.next_worker();
        }
        let mut driver = start(&keeper);
        former.ring(9);
        assert_eq!(driver.tail(), 0, "dies: {dies}");
        driver.ring(4);
        former.ring(9);
        assert_eq!(driver.tail(), 4, "dies: {dies}");

        // The pages of the present client are those that outlive the process.
        keeper.signal_worker(Signal::KILL);
        let killed = Instant::now();
        keeper.next_worker();
        former.ring(9);
        recovers(&mut driver, killed);
    }
    keeper.stop();
}

#[test]
fn a_device_whose_keeper_is_gone_ends() {
    let keeper = Keeper::start(&[]);
    keeper.signal(Signal::KILL);
    let worker = Pid::from_raw(keeper.worker).unwrap();
    let until = Instant::now() + TIMEOUT;
    while rustix::process::test_kill_process(worker).is_ok() {
        assert!(Instant::now() < until, "the worker goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_keeper_whose_device_does_not_start_ends_with_its_error() {
    let folder = tempfile::tempdir().unwrap();
    for (words, causes) in [
        (
            ["--wire", "unix:/nonexistent/d/x"],
            [
                "No such file or directory",
                "the worker ended before it was ready",
            ],
        ),
        (
            ["--p4", "/nonexistent.p4"],
            [
                "No such file or directory",
                "the worker ended before it was prepared",
            ],
        ),
        (
            ["--wire", "pcap:-,out.pcap"],
            ["would replay a capture from its beginning", "no keeper"],
        ),
    ] {
        let socket = folder.path().join("nic.sock");
        let output = Command::new("timeout")
            .arg("60")
            .arg(env!("CARGO_BIN_EXE_adit-nic"))
            .arg("--socket")
            .arg(&socket)
            .arg("--keeper")
            .args(words)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}: {text}");
        for cause in causes {
            assert!(text.contains(cause), "{words:?}: {text}");
        }
        assert!(!socket.exists());
    }
}
