// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Extern functions and objects. Calls are resolved when a program is loaded; unsupported ones are
//! refused then, by name. Each architecture determines its set of calls; their semantics are
//! implemented here, once.

mod buckets;
mod logs;
mod meter;
mod objects;
mod op;
mod pna;
mod profile;
mod run;
mod run_marks;
mod run_meters;
mod run_pna;
mod v1model;
mod value_sets;

use std::sync::Arc;

use adit_p4_frontend::ir::{Argument, Constant, ExternCall, Layout, Program};

use super::engine::State;
use super::hash::{Algorithm, Hashes};
use super::machine::{Applied, Host};
use super::memory::{Epochs, Pin};
use super::packet::Writer;
use super::packets::Input;
use super::tables::{Ahead, EntryId, Found, Reached, Table, Visit};
use super::trace::{Trace, MARK};
pub(super) use meter::MeterCell;
pub use meter::{Color, Meter, MeterConfig, MeterUnit};
pub use objects::{Count, Counter, Object, ObjectError, Register};
pub(super) use op::DROP_PORT;
pub(super) use op::{Op, Operand};
pub use profile::{
    GroupMember, Profile, ProfileError, SetAction, MAX_GROUP, MAX_GROUPS, MAX_WEIGHT,
};
pub use value_sets::ValueSet;

/// A construct of a program that the engine does not support.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: not supported: {what}")]
pub struct Unsupported {
    /// The source location: file, line and column.
    pub place: String,
    /// The construct.
    pub what: String,
}

/// The architecture whose externs are available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Architecture {
    V1model,
    Pna,
}

/// The destination set by a PNA program: the last call wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Forward {
    /// No destination was set.
    #[default]
    Nowhere,
    Drop,
    Port(u64),
    Group(u64),
    Again,
}

/// Receive metadata that a program sets (`adit.p4`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receive {
    /// The virtual port's receive queue (`set_queue`).
    pub queue: Option<u16>,
    /// The flow's id (`set_flow_id`).
    pub flow_id: Option<u32>,
    /// The flow's hash (`set_hash`).
    pub hash: Option<u32>,
}

/// Requests of the program, processed at the end of ingress or egress.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Requests {
    /// Session, and the list of fields to preserve.
    pub(super) clone_ingress: Option<(u64, Option<u32>)>,
    pub(super) clone_egress: Option<(u64, Option<u32>)>,
    pub(super) resubmit: Option<u32>,
    pub(super) recirculate: Option<u32>,
    pub(super) truncate: Option<u64>,
    /// Set if `mark_to_drop()` was called without the metadata to mark.
    pub(super) drop: bool,
    pub(super) forward: Forward,
    /// Receive metadata set by a PNA program.
    pub(super) receive: Receive,
}

/// A worker's state for the current packet: results of calls, and working memory.
pub(super) struct Local {
    worker: usize,
    /// The table applied last, and the entry hit.
    applied: Option<(usize, Option<EntryId>)>,
    /// The key looked up last.
    key: Vec<u64>,
    /// Intermediate results of a pending lookup.
    ahead: Ahead,
    pub(super) now_ns: u64,
    pub(super) requests: Requests,
    /// Slots and sessions of the mirrors requested by a PNA program.
    pub(super) mirrors: Vec<(u64, u64)>,
    pub(super) checksum_error: bool,
    pub(super) assertion_failed: bool,
    /// The length of the current packet as received.
    length: u64,
    /// The number of packets that it counts as, and the total bytes of headers that these have
    /// beyond its own.
    packets: u64,
    more_headers: u64,
    /// Input of `Checksum` objects for this packet, by object; and the objects of that type.
    checksums: Vec<Vec<u8>>,
    checksum_objects: Vec<usize>,
    /// Sums of `InternetChecksum` objects, by object; and the objects of that type.
    pub(super) sums: Vec<u64>,
    sum_objects: Vec<usize>,
    random: u64,
    writer: Writer,
    bytes: Vec<u8>,
    /// The trace of the packet, if the program is traced.
    pub(super) trace: Trace,
}

impl Local {
    pub(super) fn new(program: &Program, worker: usize) -> Local {
        let named = |kind| {
            let each = program.externs.iter().enumerate();
            let such = each.filter(move |(_, instance)| instance.kind == kind);
            such.map(|(n, _)| n).collect()
        };
        Local {
            checksum_objects: named("Checksum"),
            sum_objects: named("InternetChecksum"),
            worker,
            applied: None,
            key: Vec::new(),
            ahead: Ahead::default(),
            now_ns: 0,
            requests: Requests::default(),
            mirrors: Vec::new(),
            checksum_error: false,
            assertion_failed: false,
            length: 0,
            packets: 1,
            more_headers: 0,
            checksums: vec![Vec::new(); program.externs.len()],
            sums: vec![0; program.externs.len()],
            random: 0x9e37_79b9_7f4a_7c15 ^ (worker as u64) << 32,
            writer: Writer::default(),
            bytes: Vec::new(),
            trace: Trace::default(),
        }
    }

    /// Sets the number of packets that the current packet counts as.
    #[inline]
    pub(super) fn set_weight(&mut self, input: &Input<'_>) {
        self.packets = input.on_wire.frames;
        self.more_headers = input.on_wire.bytes.saturating_sub(input.length as u64);
    }

    /// The amount by which the current packet increments counters and meters: `bytes` as given by
    /// the program, or its length.
    #[inline]
    pub(super) fn weight(&self, bytes: Option<u64>) -> Count {
        Count {
            packets: self.packets,
            bytes: bytes.unwrap_or(self.length + self.more_headers),
        }
    }

    /// Begins a pass: clears requests and checksums.
    pub(super) fn begin(&mut self, length: u64) {
        self.requests = Requests::default();
        self.mirrors.clear();
        self.applied = None;
        self.length = length;
        for object in &self.sum_objects {
            self.sums[*object] = 0;
        }
        for object in &self.checksum_objects {
            self.checksums[*object].clear();
        }
    }

    /// Serialises a value to bytes.
    fn gather(&mut self, data: &Operand, frame: &[u64]) {
        self.writer.clear();
        let value = &frame[data.slot as usize..][..data.flat.limbs as usize];
        data.flat.write(&mut self.writer, value);
        self.bytes.clear();
        self.bytes.extend_from_slice(self.writer.bytes());
    }

    /// Serialises a table's selector keys to bytes.
    fn gather_selector(&mut self, table: &Table, frame: &[u64]) {
        self.bytes.clear();
        for key in table.selector_keys() {
            // In whole bytes, the highest first, as in a packet.
            for at in (0..key.width.div_ceil(8)).rev() {
                let limb = frame[(key.slot + at / 8) as usize];
                self.bytes.push((limb >> (at % 8 * 8)) as u8);
            }
        }
    }

    fn hash(&mut self, hashes: &Hashes, algorithm: Algorithm) -> u64 {
        let mut state = self.random;
        let value = hashes.hash(algorithm, &self.bytes, || next_random(&mut state));
        self.random = state;
        value
    }
}

/// Resolves a program's calls.
pub(super) fn calls(program: &Program, of: Architecture) -> Result<Vec<Op>, Unsupported> {
    let mut marks = 0..;
    let ready = |call: &ExternCall| match of {
        _ if call.name == MARK => Ok(Op::Mark(marks.next().unwrap_or_default())),
        Architecture::V1model => v1model::ready(&Call::new(program, call)),
        Architecture::Pna => pna::ready(&Call::new(program, call)),
    };
    program.calls.iter().map(ready).collect()
}

/// Creates a program's objects.
pub(super) fn objects(program: &Program, epochs: &Arc<Epochs>) -> Result<Vec<Object>, Unsupported> {
    let count = program.externs.len();
    (0..count)
        .map(|at| Object::new(program, at, epochs))
        .collect()
}

/// Creates a program's value sets.
pub(super) fn value_sets(program: &Program) -> Vec<ValueSet> {
    let sets = program.value_sets.iter().cloned();
    sets.map(ValueSet::new).collect()
}

/// A worker with its shared state, for one block of one packet.
pub(super) struct Run<'a> {
    pub(super) state: &'a State,
    pub(super) pin: &'a Pin<'a>,
    pub(super) local: &'a mut Local,
    /// The data after the headers.
    pub(super) payload: &'a [u8],
}

/// SplitMix64.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Run<'_> {
    fn visit(&self) -> Visit<'_> {
        Visit {
            pin: self.pin,
            worker: self.local.worker,
            weight: self.local.weight(None),
            now_ns: self.local.now_ns,
        }
    }

    /// Looks up. Returns `None` if the lookup is slow and was only begun.
    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    pub(super) fn begin_apply(
        &mut self,
        table: u32,
        frame: &mut [u64],
        may_wait: bool,
    ) -> Option<Applied> {
        let state = self.state;
        let of = &state.tables[table as usize];
        of.gather(frame, &mut self.local.key);
        let visit = self.visit();
        if may_wait && of.is_far(visit) {
            self.local.ahead = of.set_out(&self.local.key, visit);
            return None;
        }
        Some(self.find(table, frame))
    }

    /// Completes a lookup that was begun.
    pub(super) fn end_apply(&mut self, table: u32, frame: &mut [u64]) -> Applied {
        let of = &self.state.tables[table as usize];
        let found = of.find_ahead(frame, &self.local.key, self.local.ahead, self.visit());
        self.take(table, found, frame)
    }

    /// Looks up the key that was packed.
    #[inline]
    fn find(&mut self, table: u32, frame: &mut [u64]) -> Applied {
        let of = &self.state.tables[table as usize];
        let found = of.find(frame, &self.local.key, self.visit());
        self.take(table, found, frame)
    }

    /// Records a lookup's result for the packet; resolves members and groups of a profile.
    #[inline]
    fn take(&mut self, table: u32, found: Found, frame: &mut [u64]) -> Applied {
        let index = table as usize;
        let local = &mut *self.local;
        let table = &self.state.tables[index];
        local.applied = Some((index, found.entry));
        let action = match found.action {
            Reached::Direct(action) => action,
            Reached::Member(member) => table.reach_member(member, frame, self.pin),
            Reached::Group(group) => {
                local.gather_selector(table, frame);
                let hash = local.hash(&self.state.hashes, table.selector_hash());
                table.reach_group(group, hash, frame, self.pin)
            }
        };
        Applied {
            hit: found.entry.is_some(),
            action,
        }
    }

    /// Runs a later stage of a lookup that was begun.
    pub(super) fn approach(&mut self, table: u32, stage: usize) {
        let mut ahead = self.local.ahead;
        let table = &self.state.tables[table as usize];
        table.approach(stage, &mut ahead, &self.local.key, self.visit());
        self.local.ahead = ahead;
    }
}

impl Host for Run<'_> {
    fn apply(&mut self, table: u32, frame: &mut [u64]) -> Applied {
        self.state.tables[table as usize].gather(frame, &mut self.local.key);
        self.find(table, frame)
    }

    fn external(&mut self, call: u32, frame: &mut [u64]) {
        let state = self.state;
        self.run(&state.calls[call as usize], frame);
    }

    fn in_value_set(&mut self, set: u32, frame: &[u64]) -> bool {
        self.state.value_sets[set as usize].has(frame)
    }
}

/// The slot of an argument that is a value.
fn value_of(argument: Option<&Option<Argument>>) -> Option<(u32, &Layout)> {
    match argument?.as_ref()? {
        Argument::Value(slot, layout) => Some((*slot, layout)),
        Argument::Text(_) => None,
    }
}

/// A call to be resolved.
struct Call<'a> {
    program: &'a Program,
    call: &'a ExternCall,
    /// The name, for a method prefixed with the object's type.
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
        self.without(format!("`{}` with these arguments", self.name))
    }

    fn without(&self, what: String) -> Unsupported {
        Unsupported {
            place: self.call.place.clone(),
            what,
        }
    }

    /// The number of arguments given; optional ones come last.
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
