// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A loaded program with its tables and objects, shared by all cores.

mod worker;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use adit_conntrack::Tracker;
use adit_p4_frontend::ir::{Program, Slot};

use super::code::Code;
use super::connections::{Connections, TrackerError};
use super::events::{ControlPacket, Digest, Events, Idle, LogMessage};
use super::externs::{self, Architecture, Call, Order};
use super::hash::Hashes;
use super::lane::Loaded;
use super::load_error::{LoadError, MainError};
use super::memory::{Epochs, MAX_WORKERS};
use super::native::{Borders, Native, Untranslated};
use super::objects::{Object, ValueSet};
use super::packets::DropReason;
use super::pna;
use super::rejections::Rejections;
use super::replication::Replication;
use super::state::State;
use super::tables::Table;
use super::trace::Instrumented;
use super::v1model;
pub use worker::Worker;

/// A program's blocks, bound to its architecture.
#[derive(Clone)]
pub(super) enum Blocks {
    V1model(Box<v1model::Blocks>),
    Pna(pna::Blocks),
}

impl Blocks {
    /// Binds a program's blocks to its architecture.
    pub(super) fn new(program: &mut Program) -> Result<Blocks, LoadError> {
        let made = match program.package.as_str() {
            "PNA_NIC" => pna::Blocks::new(program).map(Blocks::Pna),
            "V1Switch" => v1model::Blocks::new(program).map(|b| Blocks::V1model(Box::new(b))),
            other => Err(MainError::Package(other.to_owned())),
        };
        made.map_err(|error| LoadError::Main {
            place: program.place.clone(),
            error,
        })
    }

    /// The same, compiled to machine code; for that, successive blocks of a PNA program share
    /// slots.
    pub(super) fn translated(
        program: &mut Program,
    ) -> Result<(Blocks, Result<Arc<Native>, Untranslated>), LoadError> {
        pna::share(program);
        let blocks = Blocks::new(program)?;
        let places = Native::reserve(program);
        let native = blocks.native(program, places).map(Arc::new);
        Ok((blocks, native))
    }

    /// Compiles the program to machine code.
    fn native(&self, program: &Program, places: Slot) -> Result<Native, Untranslated> {
        let borders = match self {
            Blocks::Pna(blocks) => Borders {
                entries: vec![blocks.linked.function],
                given: vec![blocks.linked.given()],
                taken: Vec::new(),
                places: Some(places),
            },
            // Each block runs separately, and its parameters are passed on.
            Blocks::V1model(_) => {
                let parameters = program.blocks.iter().flat_map(|b| &b.parameters);
                let parameters: Vec<_> = parameters.map(|p| (p.slot, p.layout.limbs())).collect();
                Borders {
                    entries: program.blocks.iter().map(|b| b.function).collect(),
                    given: parameters.clone(),
                    taken: parameters,
                    places: None,
                }
            }
        };
        Native::new(program, &borders)
    }

    /// Returns whether packets may be processed concurrently in one worker.
    fn may_overlap(&self) -> bool {
        match self {
            Blocks::V1model(_) => false,
            Blocks::Pna(blocks) => blocks.may_overlap,
        }
    }
}

/// A running program. All methods take `&self`; packets are processed by [`Worker`]s.
pub struct Engine {
    pub(super) loaded: Loaded,
    pub(super) blocks: Blocks,
    /// The program with trace points, made when it is first needed.
    traced: OnceLock<Arc<Instrumented>>,
}

impl Engine {
    /// Loads a program; its package determines the architecture. It is compiled to machine code, or
    /// interpreted if that is not possible ([`Engine::is_interpreted`]).
    pub fn load(mut program: Program) -> Result<Engine, LoadError> {
        let (blocks, native) = Blocks::translated(&mut program)?;
        Engine::with_code(program, blocks, native)
    }

    /// Loads a program for the interpreter, as a reference for comparison.
    pub fn load_interpreted(mut program: Program) -> Result<Engine, LoadError> {
        let blocks = Blocks::new(&mut program)?;
        Engine::with_code(program, blocks, Err(Untranslated::Requested))
    }

    /// The program with trace points. It is made by the first call, which takes some time: before
    /// packets are traced ([`Worker::process_traced`]), a control plane calls this.
    pub fn prepare_trace(&self) {
        self.instrumented();
    }

    fn instrumented(&self) -> &Arc<Instrumented> {
        let make = || Arc::new(Instrumented::new(&self.loaded.state.program));
        self.traced.get_or_init(make)
    }

    /// The reason why the program is interpreted; `None` if it has machine code.
    pub fn is_interpreted(&self) -> Option<&Untranslated> {
        self.loaded.native.as_ref().err()
    }

    pub(super) fn with_code(
        program: Program,
        mut blocks: Blocks,
        native: Result<Arc<Native>, Untranslated>,
    ) -> Result<Engine, LoadError> {
        let architecture = match &blocks {
            Blocks::Pna(_) => Architecture::Pna,
            Blocks::V1model(_) => Architecture::V1model,
        };
        let epochs = Arc::new(Epochs::new());
        let mut tables = Vec::new();
        for spec in &program.tables {
            let table = Table::new(spec.clone(), epochs.clone());
            tables.push(table.map_err(|error| LoadError::Table {
                place: spec.place.clone(),
                error,
            })?);
        }
        let objects = (0..program.externs.len()).map(|at| Object::new(&program, at, &epochs));
        let objects = objects.collect::<Result<Vec<_>, _>>()?;
        tables.iter_mut().for_each(|table| table.attach(&objects));
        let state = State {
            replication: Replication::new(&epochs),
            epochs,
            tables,
            objects,
            value_sets: program
                .value_sets
                .iter()
                .cloned()
                .map(ValueSet::new)
                .collect(),
            connections: Connections::new(&program)?,
            calls: externs::resolve(&program, architecture)?,
            digests: Events::default(),
            logs: Events::default(),
            idle: Events::default(),
            packets_in: Events::default(),
            packets_out: Events::default(),
            hashes: Hashes::default(),
            flow_id: AtomicU64::new(0),
            cpu_port: AtomicU64::new(u64::MAX),
            rejections: Rejections::default(),
            drops: Default::default(),
            program,
        };
        if let Blocks::Pna(blocks) = &mut blocks {
            let needs_one = |call: &Call| call.order() == Order::OneLane;
            blocks.tracks_once = native.as_ref().is_ok_and(|native| native.tracks_once());
            blocks.may_overlap = native.is_ok() && !state.calls.iter().any(needs_one);
        }
        let loaded = Loaded {
            code: Code::new(&state.program),
            native,
            state,
        };
        Ok(Engine {
            loaded,
            blocks,
            traced: OnceLock::new(),
        })
    }

    /// Sets the tracker of connections for the program's `Conntrack` objects. Without this, the first
    /// worker creates one of the size that they have together. A program without such an object
    /// ignores it.
    ///
    /// # Errors
    /// A [`TrackerError`] if the tracker is too small, or the engine has another one.
    pub fn set_tracker(&self, tracker: Arc<Tracker>) -> Result<(), TrackerError> {
        self.loaded.state.connections.set(tracker)
    }

    /// Returns whether the program has a `Conntrack` object: it is to get whole datagrams then, instead
    /// of their fragments.
    pub fn tracks_connections(&self) -> bool {
        self.loaded.state.connections.is_used()
    }

    /// The tracker of connections, if one was set or created.
    pub fn tracker(&self) -> Option<&Arc<Tracker>> {
        self.loaded.state.connections.get()
    }

    /// The last number of `allocate_flow_id`; 0 before the first.
    pub fn last_flow_id(&self) -> u64 {
        self.loaded.state.flow_id.load(Relaxed)
    }

    /// Continues the numbers of another engine's `allocate_flow_id`: those that it has assigned are not
    /// assigned again.
    pub fn continue_flow_ids(&self, last: u64) {
        self.loaded.state.flow_id.fetch_max(last, Relaxed);
    }

    /// Creates a worker, which processes packets on one core.
    ///
    /// # Panics
    /// Panics if there are 64 workers already.
    pub fn worker(engine: &Arc<Engine>) -> Worker {
        match engine.loaded.state.epochs.join() {
            Some(number) => Worker::new(engine.clone(), number),
            None => panic!("an engine has {MAX_WORKERS} workers at most"),
        }
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.loaded.state.program
    }

    /// The tables, in the program's order.
    pub fn tables(&self) -> &[Table] {
        &self.loaded.state.tables
    }

    /// The table with that name.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables().iter().find(|t| t.spec().name == name)
    }

    /// The extern objects, in the program's order.
    pub fn objects(&self) -> &[Object] {
        &self.loaded.state.objects
    }

    /// The extern object with that name.
    pub fn object(&self, name: &str) -> Option<&Object> {
        let externs = &self.loaded.state.program.externs;
        let at = externs.iter().position(|e| e.name == name)?;
        self.loaded.state.objects.get(at)
    }

    /// The value sets of the parsers, in the program's order.
    pub fn value_sets(&self) -> &[ValueSet] {
        &self.loaded.state.value_sets
    }

    /// Multicast groups, clone and mirror sessions.
    pub fn replication(&self) -> &Replication {
        &self.loaded.state.replication
    }

    /// The hash function parameters set by control planes.
    pub fn hashes(&self) -> &Hashes {
        &self.loaded.state.hashes
    }

    /// Digests generated by packets.
    pub fn digests(&self) -> &Events<Digest> {
        &self.loaded.state.digests
    }

    /// Messages generated by packets: by `log_msg`, and by failed assertions.
    pub fn logs(&self) -> &Events<LogMessage> {
        &self.loaded.state.logs
    }

    /// Entries that have become idle, as detected by [`Engine::expire`].
    pub fn idle(&self) -> &Events<Idle> {
        &self.loaded.state.idle
    }

    /// Packets that the program has sent to the CPU port.
    pub fn packets_in(&self) -> &Events<ControlPacket> {
        &self.loaded.state.packets_in
    }

    /// Queues a packet from the control plane. Returns `false` if the queue is full. A worker's
    /// owner takes it from there ([`Engine::packets_out`]) and processes it as received on the CPU
    /// port.
    pub fn packet_out(&self, packet: ControlPacket) -> bool {
        self.loaded.state.packets_out.push(|| packet)
    }

    /// Packets from the control plane.
    pub fn packets_out(&self) -> &Events<ControlPacket> {
        &self.loaded.state.packets_out
    }

    /// Sets the CPU port: packets that the program sends there are queued in
    /// [`Engine::packets_in`].
    pub fn set_cpu_port(&self, port: Option<u32>) {
        let port = port.map_or(u64::MAX, u64::from);
        self.loaded.state.cpu_port.store(port, Relaxed);
    }

    /// The CPU port.
    pub fn cpu_port(&self) -> Option<u32> {
        u32::try_from(self.loaded.state.cpu_port.load(Relaxed)).ok()
    }

    /// The number of packets dropped for that reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        let count = self.loaded.state.drops.get(reason as usize);
        count.map_or(0, |count| count.load(Relaxed))
    }

    /// The packets that the program has rejected, and their answers.
    pub fn rejections(&self) -> &Rejections {
        &self.loaded.state.rejections
    }

    /// Removes learnt entries whose lifetime is over, and detects idle ones; removes timed out
    /// connections of a tracker that the engine has created itself. To be called periodically,
    /// preferably more than once a second. Returns the number of entries removed.
    pub fn expire(&self, now_ns: u64) -> usize {
        self.loaded.state.connections.expire(now_ns);
        let mut removed = 0;
        for (n, table) in self.tables().iter().enumerate() {
            let expired = table.expire(now_ns);
            removed += expired.removed;
            for entry in expired.idle {
                self.loaded.state.idle.push(|| Idle {
                    table: n as u32,
                    entry,
                    at_ns: now_ns,
                });
            }
        }
        removed
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "engine with {:?}", self.tables())
    }
}
