// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A loaded program with its tables and objects, shared by all cores.

mod worker;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;

use adit_p4_frontend::ir::Program;

use super::code::Code;
use super::events::{ControlPacket, Digest, Events, Idle, LogMessage};
use super::externs::{self, Architecture, Object, Op, Unsupported, ValueSet};
use super::hash::Hashes;
use super::memory::{Epochs, MAX_WORKERS};
use super::native::{Borders, Native, Untranslated};
use super::packets::DropReason;
use super::pna;
use super::replication::Replication;
use super::tables::{Table, TableError};
use super::trace::{instrument, Mark};
use super::v1model;
pub use worker::Worker;
pub(super) use worker::{At, Scratch, LANES};

/// Reasons why a program cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// A `main` that the engine cannot run.
    #[error("{place}: {error}")]
    Main {
        /// The source location: file, line and column.
        place: String,
        /// The reason.
        error: MainError,
    },
    /// A construct that the engine does not support.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// A table that cannot be created.
    #[error("{place}: {error}")]
    Table {
        /// The source location: file, line and column.
        place: String,
        /// The reason.
        error: TableError,
    },
}

/// Reasons why a program's `main` cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MainError {
    /// An architecture that the engine does not support.
    #[error("the program is for `{0}`: the engine has `PNA_NIC` and `V1Switch`")]
    Package(String),
    /// A package of that name with other blocks.
    #[error("this `{package}` has {given} blocks: the architecture's has {wanted}")]
    Blocks {
        /// The package.
        package: String,
        /// The number of blocks it has.
        given: usize,
        /// The number of blocks it should have.
        wanted: &'static str,
    },
    /// A block that is missing, or has other parameters than in the architecture.
    #[error("the block `{0}` is not as its architecture has it")]
    Block(String),
}

/// State shared by workers and control planes.
pub(super) struct State {
    pub(super) program: Program,
    pub(super) code: Code,
    pub(super) native: Result<Arc<Native>, Untranslated>,
    pub(super) epochs: Arc<Epochs>,
    pub(super) tables: Vec<Table>,
    pub(super) objects: Vec<Object>,
    pub(super) value_sets: Vec<ValueSet>,
    pub(super) calls: Vec<Op>,
    /// The trace points of [`Op::Mark`] calls.
    pub(super) marks: Vec<Mark>,
    pub(super) replication: Replication,
    pub(super) digests: Events<Digest>,
    pub(super) logs: Events<LogMessage>,
    pub(super) idle: Events<Idle>,
    pub(super) packets_in: Events<ControlPacket>,
    pub(super) packets_out: Events<ControlPacket>,
    pub(super) hashes: Hashes,
    pub(super) flow_id: AtomicU64,
    /// The CPU port; a value above 32 bits: none.
    cpu_port: AtomicU64,
    drops: [AtomicU64; DropReason::ALL.len()],
}

impl State {
    pub(super) fn count_drop(&self, reason: DropReason) {
        if let Some(count) = self.drops.get(reason as usize) {
            count.fetch_add(1, Relaxed);
        }
    }
}

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
        let native = blocks.native(program).map(Arc::new);
        Ok((blocks, native))
    }

    /// Compiles the program to machine code.
    fn native(&self, program: &Program) -> Result<Native, Untranslated> {
        let borders = match self {
            Blocks::Pna(blocks) => Borders {
                entries: vec![blocks.linked.function],
                given: vec![blocks.linked.given()],
                taken: Vec::new(),
            },
            // Each block runs separately, and its parameters are passed on.
            Blocks::V1model(_) => {
                let parameters = program.blocks.iter().flat_map(|b| &b.parameters);
                let parameters: Vec<_> = parameters.map(|p| (p.slot, p.layout.limbs())).collect();
                Borders {
                    entries: program.blocks.iter().map(|b| b.function).collect(),
                    given: parameters.clone(),
                    taken: parameters,
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
    pub(super) state: State,
    pub(super) blocks: Blocks,
}

impl Engine {
    /// Loads a program; its package determines the architecture. It is compiled to machine code, or
    /// interpreted if that is not possible ([`Engine::is_interpreted`]).
    pub fn load(mut program: Program) -> Result<Engine, LoadError> {
        let (blocks, native) = Blocks::translated(&mut program)?;
        Engine::with_code(program, blocks, native, Vec::new())
    }

    /// Loads a program for the interpreter, as a reference for comparison.
    pub fn load_interpreted(program: Program) -> Result<Engine, LoadError> {
        Engine::to_interpret(program, Vec::new())
    }

    /// Loads a program with tracing of packets ([`Worker::take_trace`]). It is interpreted, since a
    /// trace point may record any value in the frame. Packets should be processed one at a time.
    pub fn load_traced(mut program: Program) -> Result<Engine, LoadError> {
        let marks = instrument(&mut program);
        Engine::to_interpret(program, marks)
    }

    fn to_interpret(mut program: Program, marks: Vec<Mark>) -> Result<Engine, LoadError> {
        let blocks = Blocks::new(&mut program)?;
        Engine::with_code(program, blocks, Err(Untranslated::AskedFor), marks)
    }

    /// The reason why the program is interpreted; `None` if it has machine code.
    pub fn is_interpreted(&self) -> Option<&Untranslated> {
        self.state.native.as_ref().err()
    }

    pub(super) fn with_code(
        program: Program,
        mut blocks: Blocks,
        native: Result<Arc<Native>, Untranslated>,
        marks: Vec<Mark>,
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
        let objects = externs::objects(&program, &epochs)?;
        tables.iter_mut().for_each(|table| table.attach(&objects));
        let state = State {
            replication: Replication::new(&epochs),
            epochs,
            tables,
            objects,
            value_sets: externs::value_sets(&program),
            calls: externs::calls(&program, architecture)?,
            marks,
            digests: Events::default(),
            logs: Events::default(),
            idle: Events::default(),
            packets_in: Events::default(),
            packets_out: Events::default(),
            hashes: Hashes::default(),
            flow_id: AtomicU64::new(0),
            cpu_port: AtomicU64::new(u64::MAX),
            drops: Default::default(),
            code: Code::new(&program),
            native,
            program,
        };
        if let Blocks::Pna(blocks) = &mut blocks {
            blocks.may_overlap = state.native.is_ok() && !state.calls.iter().any(Op::is_ordered);
        }
        Ok(Engine { state, blocks })
    }

    /// Creates a worker, which processes packets on one core.
    ///
    /// # Panics
    /// Panics if there are 64 workers already.
    pub fn worker(engine: &Arc<Engine>) -> Worker {
        match engine.state.epochs.join() {
            Some(number) => Worker::new(engine.clone(), number),
            None => panic!("an engine has {MAX_WORKERS} workers at most"),
        }
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.state.program
    }

    /// The tables, in the program's order.
    pub fn tables(&self) -> &[Table] {
        &self.state.tables
    }

    /// The table with that name.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables().iter().find(|t| t.spec().name == name)
    }

    /// The extern objects, in the program's order.
    pub fn objects(&self) -> &[Object] {
        &self.state.objects
    }

    /// The extern object with that name.
    pub fn object(&self, name: &str) -> Option<&Object> {
        let externs = &self.state.program.externs;
        let at = externs.iter().position(|e| e.name == name)?;
        self.state.objects.get(at)
    }

    /// The value sets of the parsers, in the program's order.
    pub fn value_sets(&self) -> &[ValueSet] {
        &self.state.value_sets
    }

    /// Multicast groups, clone and mirror sessions.
    pub fn replication(&self) -> &Replication {
        &self.state.replication
    }

    /// The hash function parameters set by control planes.
    pub fn hashes(&self) -> &Hashes {
        &self.state.hashes
    }

    /// Digests generated by packets.
    pub fn digests(&self) -> &Events<Digest> {
        &self.state.digests
    }

    /// Messages generated by packets: by `log_msg`, and by failed assertions.
    pub fn logs(&self) -> &Events<LogMessage> {
        &self.state.logs
    }

    /// Entries that have become idle, as detected by [`Engine::expire`].
    pub fn idle(&self) -> &Events<Idle> {
        &self.state.idle
    }

    /// Packets that the program has sent to the CPU port.
    pub fn packets_in(&self) -> &Events<ControlPacket> {
        &self.state.packets_in
    }

    /// Queues a packet from the control plane. Returns `false` if the queue is full. A worker's
    /// owner takes it from there ([`Engine::packets_out`]) and processes it as received on the CPU
    /// port.
    pub fn packet_out(&self, packet: ControlPacket) -> bool {
        self.state.packets_out.push(|| packet)
    }

    /// Packets from the control plane.
    pub fn packets_out(&self) -> &Events<ControlPacket> {
        &self.state.packets_out
    }

    /// Sets the CPU port: packets that the program sends there are queued in
    /// [`Engine::packets_in`].
    pub fn set_cpu_port(&self, port: Option<u32>) {
        let port = port.map_or(u64::MAX, u64::from);
        self.state.cpu_port.store(port, Relaxed);
    }

    /// The CPU port.
    pub fn cpu_port(&self) -> Option<u32> {
        u32::try_from(self.state.cpu_port.load(Relaxed)).ok()
    }

    /// The number of packets dropped for that reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        let count = self.state.drops.get(reason as usize);
        count.map_or(0, |count| count.load(Relaxed))
    }

    /// Removes learnt entries whose lifetime is over, and detects idle ones. To be called
    /// periodically, preferably more than once a second. Returns the number of entries removed.
    pub fn expire(&self, now_ns: u64) -> usize {
        let mut removed = 0;
        for (n, table) in self.tables().iter().enumerate() {
            let expired = table.expire(now_ns);
            removed += expired.removed;
            for entry in expired.idle {
                self.state.idle.push(|| Idle {
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
