// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Extern functions and objects. Calls are made ready when a program is loaded: what the engine
//! does not have is refused then, by name. Which calls there are is the architecture's to say; what
//! they do is here, once.

mod objects;
mod op;
mod pna;
mod run;
mod run_pna;
mod v1model;
mod value_sets;

use adit_p4_frontend::ir::{Argument, Constant, ExternCall, Layout, Program};

use super::hash::Algorithm;
use super::machine::{Applied, Host};
use super::packet::Writer;
use super::tables::{EntryId, Table, TableError};
pub use objects::{Count, Object};
pub(super) use op::DROP_PORT;
use op::{Op, Operand};
pub use value_sets::ValueSet;

/// The most digests that wait to be taken.
const MAX_DIGESTS: usize = 4096;

/// Something that a program uses and the engine does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not supported: {0}")]
pub struct Unsupported(pub String);

/// Whose calls there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Architecture {
    V1model,
    Pna,
}

/// Why a program's tables and externs cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoreError {
    /// Something that the engine does not have.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// A table that cannot be made.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// Where PNA's program sends a packet: what it said last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Forward {
    /// Nothing was said.
    #[default]
    Nowhere,
    Drop,
    Port(u64),
    Again,
}

/// What a program says of a packet to who receives it (`adit.p4`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receive {
    /// Which of the virtual port's receive queues (`set_queue`).
    pub queue: Option<u16>,
    /// What its flow is called (`set_flow_id`).
    pub flow_id: Option<u32>,
    /// Its hash (`set_hash`).
    pub hash: Option<u32>,
}

/// What the program asked for, until the end of ingress or egress.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests {
    /// Session, and the list of fields to keep.
    pub(super) clone_ingress: Option<(u64, Option<u32>)>,
    pub(super) clone_egress: Option<(u64, Option<u32>)>,
    pub(super) resubmit: Option<u32>,
    pub(super) recirculate: Option<u32>,
    pub(super) truncate: Option<u64>,
    pub(super) forward: Forward,
    /// What PNA's program tells the receive queue.
    pub(super) receive: Receive,
    /// Slots and sessions of mirrors.
    pub(super) mirrors: Vec<(u64, u64)>,
}

/// Tables, objects, and what calls leave behind.
pub(super) struct Core {
    pub(super) tables: Vec<Table>,
    pub(super) objects: Vec<Object>,
    pub(super) value_sets: Vec<ValueSet>,
    /// The direct counter of each table.
    counters: Vec<Option<usize>>,
    /// Whether each table adds entries of its own on a miss.
    learns: Vec<bool>,
    calls: Vec<Op>,
    /// The table applied last, and the entry that was hit.
    applied: Option<(usize, Option<EntryId>)>,
    flow_id: u64,
    pub(super) now_us: u64,
    pub(super) requests: Requests,
    pub(super) checksum_error: bool,
    pub(super) assertion_failed: bool,
    /// The payload of the packet at hand.
    pub(super) payload: Vec<u8>,
    /// How long the packet at hand was when it came.
    pub(super) length: u64,
    pub(super) digests: Vec<(u64, Vec<u8>)>,
    /// Digests that found no room.
    pub(super) digests_lost: u64,
    random: u64,
    writer: Writer,
    bytes: Vec<u8>,
}

impl Core {
    pub(super) fn new(program: &Program, of: Architecture) -> Result<Core, CoreError> {
        let objects: Result<Vec<_>, _> = program.externs.iter().map(Object::new).collect();
        let mut tables = Vec::new();
        let (mut counters, mut learns) = (Vec::new(), Vec::new());
        for spec in &program.tables {
            let (mut counter, mut learn) = (None, false);
            for (name, value) in &spec.properties {
                match (name.as_str(), value) {
                    ("counters" | "pna_direct_counter", Constant::Object(object)) => {
                        counter = Some(*object as usize);
                    }
                    ("add_on_miss", Constant::Bool(on)) => learn = *on,
                    // Meters without rates are green; profiles are in the entries.
                    ("meters" | "pna_direct_meter", _) => {}
                    ("implementation" | "pna_implementation", _) => {}
                    ("support_timeout" | "largest_priority_wins" | "priority_delta", _) => {}
                    _ => {
                        let text = format!("the property `{name}` of the table `{}`", spec.name);
                        return Err(Unsupported(text).into());
                    }
                }
            }
            counters.push(counter);
            learns.push(learn);
            tables.push(Table::new(spec.clone())?);
        }
        let ready = |call| match of {
            Architecture::V1model => v1model::ready(&Call::new(program, call)),
            Architecture::Pna => pna::ready(&Call::new(program, call)),
        };
        let calls: Result<Vec<_>, _> = program.calls.iter().map(ready).collect();
        Ok(Core {
            tables,
            objects: objects?,
            value_sets: program
                .value_sets
                .iter()
                .cloned()
                .map(ValueSet::new)
                .collect(),
            counters,
            learns,
            applied: None,
            flow_id: 0,
            now_us: 0,
            calls: calls?,
            requests: Requests::default(),
            checksum_error: false,
            assertion_failed: false,
            payload: Vec::new(),
            length: 0,
            digests: Vec::new(),
            digests_lost: 0,
            random: 0x9e37_79b9_7f4a_7c15,
            writer: Writer::default(),
            bytes: Vec::new(),
        })
    }

    /// A packet begins: nothing has been asked for, checksums are empty.
    pub(super) fn begin(&mut self, length: u64) {
        self.requests = Requests::default();
        self.applied = None;
        self.length = length;
        for object in &mut self.objects {
            match object {
                Object::Checksum(bytes) => bytes.clear(),
                Object::Sum(sum) => *sum = 0,
                _ => {}
            }
        }
    }

    /// A value as bytes, with the payload behind it if that is wanted.
    fn gather(&mut self, data: &Operand, frame: &[u64], with_payload: bool) {
        self.writer.clear();
        let value = &frame[data.slot as usize..][..data.flat.limbs as usize];
        data.flat.write(&mut self.writer, value);
        self.bytes.clear();
        self.bytes.extend_from_slice(self.writer.bytes());
        if with_payload {
            self.bytes.extend_from_slice(&self.payload);
        }
    }

    fn hash(&mut self, algorithm: Algorithm) -> u64 {
        let mut state = self.random;
        let value = algorithm.hash(&self.bytes, || next_random(&mut state));
        self.random = state;
        value
    }
}

/// SplitMix64.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Host for Core {
    fn apply(&mut self, table: u32, frame: &mut [u64]) -> Applied {
        let index = table as usize;
        let table = &mut self.tables[index];
        let (entry, chosen): (Option<EntryId>, _) = table.find(frame);
        self.applied = Some((index, entry));
        let (action, arguments) = (chosen.action, chosen.arguments.clone());
        let spec = &table.spec().actions[action as usize];
        for (parameter, value) in spec.parameters.iter().zip(&arguments) {
            let limbs = adit_p4_frontend::ir::limbs_of(parameter.width) as usize;
            let slot = &mut frame[parameter.slot as usize..][..limbs];
            for (n, limb) in slot.iter_mut().enumerate() {
                *limb = value.get(n).copied().unwrap_or(0);
            }
        }
        if let (Some(entry), Some(counter)) = (entry, self.counters[index]) {
            if let Some(Object::DirectCounter(counts)) = self.objects.get_mut(counter) {
                counts.entry(entry).or_default().add(self.length);
            }
        }
        Applied {
            hit: entry.is_some(),
            action,
            function: spec.function,
        }
    }

    fn external(&mut self, call: u32, frame: &mut [u64]) {
        let op = std::mem::replace(&mut self.calls[call as usize], Op::Nothing);
        self.run(&op, frame);
        self.calls[call as usize] = op;
    }

    fn in_value_set(&mut self, set: u32, frame: &[u64]) -> bool {
        self.value_sets[set as usize].has(frame)
    }
}

/// The slot of an argument that is a value.
fn value_of(argument: Option<&Option<Argument>>) -> Option<(u32, &Layout)> {
    match argument?.as_ref()? {
        Argument::Value(slot, layout) => Some((*slot, layout)),
        Argument::Text(_) => None,
    }
}

/// A call that is made ready.
struct Call<'a> {
    program: &'a Program,
    call: &'a ExternCall,
    /// The name, behind the type of the object if it is a method.
    name: String,
}

impl<'a> Call<'a> {
    fn new(program: &'a Program, call: &'a ExternCall) -> Call<'a> {
        let name = match call.object {
            Some(object) => format!("{}.{}", program.externs[object as usize].kind, call.name),
            None => call.name.clone(),
        };
        Call {
            program,
            call,
            name,
        }
    }

    fn unsupported(&self) -> Unsupported {
        Unsupported(format!("`{}` with these arguments", self.name))
    }

    /// How many arguments are given; optional ones come last.
    fn count(&self) -> usize {
        self.call.arguments.iter().flatten().count()
    }

    fn value(&self, n: usize) -> Result<(u32, &'a Layout), Unsupported> {
        value_of(self.call.arguments.get(n)).ok_or_else(|| self.unsupported())
    }

    fn operand(&self, n: usize) -> Result<Operand, Unsupported> {
        let (slot, layout) = self.value(n)?;
        Ok(Operand::new(slot, layout))
    }

    fn result(&self) -> Result<Operand, Unsupported> {
        match &self.call.result {
            Some((slot, layout)) => Ok(Operand::new(*slot, layout)),
            None => Err(self.unsupported()),
        }
    }

    fn object(&self) -> usize {
        self.call.object.unwrap_or(0) as usize
    }

    /// An argument of the object's constructor.
    fn constructed(&self, n: usize) -> Option<&'a Constant> {
        self.program.externs.get(self.object())?.arguments.get(n)
    }
}
