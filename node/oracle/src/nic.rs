// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A NIC on loopback: a P4Runtime server and the tracker's service over an engine with the node's
//! program, and frames through it.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Duration;

use adit_conntrack::{
    FragmentLimits, Fragments, Origin, Reassembly, Seed, Settings, Time, Tracker,
};
use adit_conntrack_rpc::{service, Gate};
use adit_node::device::Setup;
use adit_node::nic::{Nic, NicError};
use adit_p4_frontend::files::{self, Folders};
use adit_p4runtime::client::Target;
use adit_p4runtime::program::Package;
use adit_p4runtime::proto::config::P4Info;
use adit_p4runtime::proto::v1::Update;
use adit_p4runtime::server::{
    listen_with, Limits, Listening, Pipeline, PipelineHandle, Routes, Server,
};
use adit_pipeline::fragment;
use adit_pipeline::p4::objects::Object;
use adit_pipeline::p4::{
    Direction, Engine, Input, Output, SentKind, Worker, FIRST_HOST_PORT, NO_QUEUE,
};
use anyhow::{anyhow, Context, Result};

use crate::tap::{Handle, Taps};

/// The port of the wire.
pub const WIRE: u32 = 0;
/// The MAC address of frames that are routed.
pub const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The number of connections of the program.
const CONNECTIONS: usize = 8192;
const ETHERNET: usize = 14;

#[derive(Clone, Default)]
pub(crate) struct Clock(Arc<AtomicU64>);

impl adit_conntrack_rpc::Clock for Clock {
    fn now(&self) -> Time {
        Time::ZERO + Duration::from_nanos(self.0.load(Relaxed))
    }

    fn start_date(&self) -> Duration {
        Duration::from_secs(1_700_000_000)
    }
}

impl PipelineHandle for Clock {
    fn commit(&self, _: Arc<Engine>) -> Result<(), String> {
        Err("the test has one program".to_owned())
    }

    fn now_ns(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Clock {
    pub(crate) fn now_ns(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// An IP packet that has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The port.
    pub port: u32,
    /// Set if it answers a packet that was rejected.
    pub is_answer: bool,
    /// The receive queue that the program has set.
    pub queue: Option<u16>,
    /// The packet.
    pub packet: Vec<u8>,
}

/// A NIC.
pub struct TestNic {
    /// Its connections.
    pub tracker: Arc<Tracker>,
    engine: Arc<Engine>,
    lane: Lane,
    clock: Clock,
    taps: Arc<Taps>,
    listening: Listening,
}

/// One of the threads that process packets.
pub struct Lane {
    worker: Worker,
    fragments: Fragments,
    clock: Clock,
    taps: Arc<Taps>,
}

impl TestNic {
    /// Starts a NIC with the program in a file, a server on a free port of loopback, and the entries of
    /// node setup.
    ///
    /// # Errors
    ///
    /// Fails if the program does not compile, or an entry is refused.
    pub fn start(program: &Path, setup: impl Fn(&P4Info) -> Vec<Update>) -> Result<TestNic> {
        let name = program.display().to_string();
        let mut package = Package {
            text: files::read(program).context(name.clone())?,
            name,
            defines: vec![format!("CONNECTIONS={CONNECTIONS}")],
            ..Package::default()
        };
        let made = package.gather(&Folders(Vec::new()), &Default::default());
        let (program, _) = made.map_err(|error| anyhow!("{error}"))?;
        let engine = Engine::load(program).map_err(|error| anyhow!("{error}"))?;
        let engine = Arc::new(engine);
        let tracker = Tracker::new(CONNECTIONS, Seed::new([5; 16]), Settings::default());
        let tracker = Arc::new(tracker);
        engine
            .set_tracker(tracker.clone())
            .map_err(|error| anyhow!("{error}"))?;
        let pipeline = Pipeline::of_engine(engine.clone()).map_err(|error| anyhow!("{error}"))?;
        let errors = pipeline.write(&setup(pipeline.p4info()), 0);
        anyhow::ensure!(errors.is_empty(), "entries are refused: {errors:?}");
        let clock = Clock::default();
        clock.0.store(1_000_000_000, Relaxed);
        let taps = Taps::new(&engine, &clock);
        let further = Routes::default()
            .add_service(service(tracker.clone(), clock.clone(), Gate::default()))
            .add_service(adit_trace::service(Handle(taps.clone())));
        let server = Server::new(1, Arc::new(clock.clone()), Some(pipeline));
        let address = "127.0.0.1:0".parse().map_err(|error| anyhow!("{error}"))?;
        let listening = listen_with(server, &address, None, Limits::default(), further);
        Ok(TestNic {
            tracker,
            lane: Lane::new(&engine, &clock, &taps),
            engine,
            clock,
            taps,
            listening: listening.context("P4Runtime on loopback")?,
        })
    }

    /// The server, for a client.
    pub fn target(&self) -> Target {
        Target {
            address: self.listening.address.clone(),
            device_id: 1,
            role: "svc".to_owned(),
            tls: None,
        }
    }

    /// A client that is the writer, and has read the device.
    ///
    /// # Errors
    ///
    /// Fails if another one is the writer.
    pub fn client(&self, setup: Setup) -> Result<Nic, NicError> {
        let mut nic = Nic::connect(self.target(), setup)?;
        nic.claim()?;
        nic.read()?;
        Ok(nic)
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The packets of a counter at an index.
    ///
    /// # Panics
    ///
    /// Panics if the program has no such counter: the test is wrong.
    pub fn count(&self, counter: &str, index: u64) -> u64 {
        match self.engine.object(&format!("NodeControl.{counter}")) {
            Some(Object::Counter(counter)) => counter.get(index).map_or(0, |it| it.packets),
            other => panic!("{counter}: {other:?}"),
        }
    }

    /// Sets the time since the NIC's start, which does not go back, and removes what has expired.
    pub fn set_time(&mut self, time: Duration) {
        let time = time.as_nanos() as u64;
        let now = self.clock.0.fetch_max(time, Relaxed).max(time);
        self.engine.expire(now);
        self.lane.fragments.expire(Time::from_nanos(now));
    }

    /// Lets time pass.
    pub fn wait(&mut self, time: Duration) {
        let now = Duration::from_nanos(self.clock.0.load(Relaxed));
        self.set_time(now + time);
    }

    /// A further lane, for another thread.
    pub fn lane(&self) -> Lane {
        Lane::new(&self.engine, &self.clock, &self.taps)
    }

    /// Processes an IP packet that a port sends to the gateway.
    pub fn pass(&mut self, port: u32, packet: &[u8]) -> Vec<Left> {
        self.lane.pass(port, NO_QUEUE, packet)
    }
}

impl Lane {
    fn new(engine: &Arc<Engine>, clock: &Clock, taps: &Arc<Taps>) -> Lane {
        Lane {
            taps: taps.clone(),
            worker: Engine::worker(engine),
            fragments: Fragments::new(FragmentLimits::default()),
            clock: clock.clone(),
        }
    }

    /// Processes an IP packet that a queue of a port sends to the gateway. Fragments are held until
    /// their datagram is complete, and leave in fragments, as in the NIC.
    pub fn pass(&mut self, port: u32, queue: u16, packet: &[u8]) -> Vec<Left> {
        let now = self.clock.0.fetch_add(1000, Relaxed);
        let origin = Origin { port, network: 0 };
        let mut whole = None;
        let mut frame = link(packet).to_vec();
        match self
            .fragments
            .insert_from(packet, origin, Time::from_nanos(now))
        {
            Ok(Reassembly::Kept) => return Vec::new(),
            Ok(Reassembly::Complete(datagram)) => {
                frame.extend(datagram.packet());
                whole = Some(fragment::Fragments {
                    largest: datagram.largest() as u16,
                    id: datagram.id(),
                });
            }
            Ok(Reassembly::Whole) | Err(_) => frame.extend(packet),
        }
        let input = Input {
            direction: direction(port),
            queue,
            fragment_size: whole.map_or(0, |it| it.largest),
            ..Input::new(port, &frame)
        };
        let mut left = Vec::new();
        let worker = &mut self.worker;
        self.taps.process(worker, now, &input, &mut |output| {
            let Output::Sent(sent) = output else { return };
            let is_answer = sent.kind == SentKind::Answer;
            let frames = sent.frames_of(&frame, whole).into_iter();
            left.extend(frames.map(|frame| Left {
                port: sent.port,
                is_answer,
                queue: sent.receive.queue,
                packet: frame[ETHERNET..].to_vec(),
            }));
        });
        left
    }
}

/// The direction of what a port receives.
pub(crate) fn direction(port: u32) -> Direction {
    match port < FIRST_HOST_PORT {
        true => Direction::NetToHost,
        false => Direction::HostToNet,
    }
}

/// The link layer's header of a packet to the gateway.
fn link(packet: &[u8]) -> [u8; ETHERNET] {
    let kind = match packet.first().map(|octet| octet >> 4) {
        Some(6) => [0x86, 0xdd],
        _ => [8, 0],
    };
    let mut header = [0; ETHERNET];
    header[..6].copy_from_slice(&ROUTER);
    header[6..12].copy_from_slice(&[2, 0x99, 0, 0, 0, 1]);
    header[12..].copy_from_slice(&kind);
    header
}
