// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A program with its tables and objects, shared by all cores.

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

/// Why a program cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// A `main` that the engine does not run.
    #[error("{place}: {error}")]
    Main {
        /// Where it is in the source: file, line and column.
        place: String,
        /// Why.
        error: MainError,
    },
    /// Something that the engine does not have.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// A table that cannot be made.
    #[error("{place}: {error}")]
    Table {
        /// Where it is in the source: file, line and column.
        place: String,
        /// Why.
        error: TableError,
    },
}

/// Why a program's `main` cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MainError {
    /// An architecture that the engine does not have.
    #[error("the program is for `{0}`: the engine has `PNA_NIC` and `V1Switch`")]
    Package(String),
    /// A package of that name with other blocks.
    #[error("this `{package}` has {given} blocks: the architecture's has {wanted}")]
    Blocks {
        /// The package.
        package: String,
        /// How many blocks it has.
        given: usize,
        /// How many it should have.
        wanted: &'static str,
    },
    /// A block that is missing, or has other parameters.
    #[error("the block `{0}` is not as its architecture has it")]
    Block(String),
}

/// What workers and control planes share.
pub(super) struct State {
    pub(super) program: Program,
    pub(super) code: Code,
    pub(super) native: Result<Arc<Native>, Untranslated>,
    pub(super) epochs: Arc<Epochs>,
    pub(super) tables: Vec<Table>,
    pub(super) objects: Vec<Object>,
    pub(super) value_sets: Vec<ValueSet>,
    pub(super) calls: Vec<Op>,
    /// What calls of [`Op::Mark`] note.
    pub(super) marks: Vec<Mark>,
    pub(super) replication: Replication,
    pub(super) digests: Events<Digest>,
    pub(super) logs: Events<LogMessage>,
    pub(super) idle: Events<Idle>,
    pub(super) packets_in: Events<ControlPacket>,
    pub(super) packets_out: Events<ControlPacket>,
    pub(super) hashes: Hashes,
    pub(super) flow_id: AtomicU64,
    /// The port of the control plane; above 32 bits: there is none.
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

/// How the architecture of a program runs it.
#[derive(Clone)]
pub(super) enum Blocks {
    V1model(Box<v1model::Blocks>),
    Pna(pna::Blocks),
}

impl Blocks {
    /// Makes a program ready for its architecture.
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

    /// The same with machine code, for which values are put where that is fastest.
    pub(super) fn translated(
        program: &mut Program,
    ) -> Result<(Blocks, Result<Arc<Native>, Untranslated>), LoadError> {
        pna::share(program);
        let blocks = Blocks::new(program)?;
        let native = blocks.native(program).map(Arc::new);
        Ok((blocks, native))
    }

    /// The program's machine code.
    fn native(&self, program: &Program) -> Result<Native, Untranslated> {
        let borders = match self {
            Blocks::Pna(blocks) => Borders {
                entries: vec![blocks.linked.function],
                given: vec![blocks.linked.given()],
                taken: Vec::new(),
            },
            // Every block is run by itself, and what it has for parameters is handed on.
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

    /// Whether packets may be on their way at once.
    fn may_overlap(&self) -> bool {
        match self {
            Blocks::V1model(_) => false,
            Blocks::Pna(blocks) => blocks.may_overlap,
        }
    }
}

/// A program at work. Everything takes `&self`; packets go through [`Worker`]s.
pub struct Engine {
    pub(super) state: State,
    pub(super) blocks: Blocks,
}

impl Engine {
    /// Loads a program: its package says which architecture it is for. It becomes machine code, or
    /// is interpreted if that cannot be ([`Engine::is_interpreted`]).
    pub fn load(mut program: Program) -> Result<Engine, LoadError> {
        let (blocks, native) = Blocks::translated(&mut program)?;
        Engine::with_code(program, blocks, native, Vec::new())
    }

    /// Loads a program to be interpreted, which is for comparing.
    pub fn load_interpreted(program: Program) -> Result<Engine, LoadError> {
        Engine::to_interpret(program, Vec::new())
    }

    /// Loads a program so that packets' ways can be seen ([`Worker::take_trace`]). It is interpreted:
    /// what is noted may be any value in the frame. Packets should be processed one at a time.
    pub fn load_traced(mut program: Program) -> Result<Engine, LoadError> {
        let marks = instrument(&mut program);
        Engine::to_interpret(program, marks)
    }

    fn to_interpret(mut program: Program, marks: Vec<Mark>) -> Result<Engine, LoadError> {
        let blocks = Blocks::new(&mut program)?;
        Engine::with_code(program, blocks, Err(Untranslated::AskedFor), marks)
    }

    /// Why the program is interpreted; `None` if it has machine code.
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

    /// What a core needs to process packets.
    ///
    /// # Panics
    /// If there are 64 workers already.
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

    /// What control planes set of hash functions.
    pub fn hashes(&self) -> &Hashes {
        &self.state.hashes
    }

    /// Digests that packets have left.
    pub fn digests(&self) -> &Events<Digest> {
        &self.state.digests
    }

    /// Messages that packets have left: of `log_msg`, and of assertions that did not hold.
    pub fn logs(&self) -> &Events<LogMessage> {
        &self.state.logs
    }

    /// Entries that have become idle, as [`Engine::expire`] noticed.
    pub fn idle(&self) -> &Events<Idle> {
        &self.state.idle
    }

    /// Packets that the program has sent to the control plane's port.
    pub fn packets_in(&self) -> &Events<ControlPacket> {
        &self.state.packets_in
    }

    /// Puts a packet from the control plane in line; false if there is no room. Who owns a worker
    /// takes it from there ([`Engine::packets_out`]) and sends it in by the control plane's port.
    pub fn packet_out(&self, packet: ControlPacket) -> bool {
        self.state.packets_out.push(|| packet)
    }

    /// Packets from the control plane.
    pub fn packets_out(&self) -> &Events<ControlPacket> {
        &self.state.packets_out
    }

    /// Says which port is the control plane's: what the program sends there waits in
    /// [`Engine::packets_in`].
    pub fn set_cpu_port(&self, port: Option<u32>) {
        let port = port.map_or(u64::MAX, u64::from);
        self.state.cpu_port.store(port, Relaxed);
    }

    /// The port of the control plane.
    pub fn cpu_port(&self) -> Option<u32> {
        u32::try_from(self.state.cpu_port.load(Relaxed)).ok()
    }

    /// How many packets did not leave for that reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        let count = self.state.drops.get(reason as usize);
        count.map_or(0, |count| count.load(Relaxed))
    }

    /// Removes learnt entries whose time is over, and notices idle ones. To be called now and
    /// then, best more than once a second; tells how many were removed.
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
