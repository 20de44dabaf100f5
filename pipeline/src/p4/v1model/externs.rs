// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The extern functions and methods of v1model. Calls are made ready when a program is loaded: what
//! the engine does not have is refused then, by name.

use adit_p4_frontend::ir::{ExternCall, Layout, Program};

use super::metadata::{field, Field};
use super::objects::Object;
use super::{value_of, LoadError};
use crate::p4::fields::Flat;
use crate::p4::hash::Algorithm;
use crate::p4::machine::{Applied, Host};
use crate::p4::packet::Writer;
use crate::p4::tables::{EntryId, Table};

/// The most digests that wait to be taken.
const MAX_DIGESTS: usize = 4096;

/// Something that a program uses and the engine does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not supported: {0}")]
pub struct Unsupported(pub String);

/// What the program asked for, until the end of ingress or egress.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests {
    /// Session, and the list of fields to keep.
    pub(super) clone_ingress: Option<(u64, Option<u32>)>,
    pub(super) clone_egress: Option<(u64, Option<u32>)>,
    pub(super) resubmit: Option<u32>,
    pub(super) recirculate: Option<u32>,
    pub(super) truncate: Option<u64>,
}

/// A value in the frame.
#[derive(Clone, Debug)]
struct Operand {
    slot: u32,
    width: u32,
    flat: Flat,
}

impl Operand {
    fn get(&self, frame: &[u64]) -> u64 {
        frame[self.slot as usize]
    }

    fn set(&self, frame: &mut [u64], value: u64) {
        let value = value & crate::p4::bits::mask(self.width);
        let limbs = &mut frame[self.slot as usize..][..self.flat.limbs as usize];
        limbs.fill(0);
        limbs[0] = value;
    }
}

/// A call, ready.
enum Op {
    Drop {
        base: u32,
        egress_spec: Field,
        mcast_grp: Field,
    },
    Hash {
        result: Operand,
        algorithm: Algorithms,
        base: Operand,
        data: Operand,
        max: Operand,
    },
    Random {
        result: Operand,
        low: Operand,
        high: Operand,
    },
    Digest {
        receiver: Operand,
        data: Operand,
    },
    Checksum {
        condition: Operand,
        data: Operand,
        checksum: Operand,
        algorithm: Algorithms,
        is_update: bool,
        with_payload: bool,
    },
    /// By `CloneType`, whose first member is I2E.
    Clone {
        kind: Operand,
        session: Operand,
        list: Option<Operand>,
    },
    Resubmit(Operand),
    Recirculate(Operand),
    Truncate(Operand),
    Assert(Operand),
    Nothing,
    Count {
        object: usize,
        index: Operand,
    },
    Green(Operand),
    RegisterRead {
        object: usize,
        result: Operand,
        index: Operand,
    },
    RegisterWrite {
        object: usize,
        index: Operand,
        value: Operand,
    },
    Checksum16 {
        data: Operand,
        result: u32,
    },
}

/// Hash functions, by the index of the enum's member in a slot.
struct Algorithms {
    slot: u32,
    members: Vec<Algorithm>,
}

impl Algorithms {
    fn get(&self, frame: &[u64]) -> Algorithm {
        let index = frame[self.slot as usize] as usize;
        self.members.get(index).copied().unwrap_or(Algorithm::Crc32)
    }
}

/// Tables, objects, and what calls leave behind.
pub(super) struct Core {
    pub(super) tables: Vec<Table>,
    pub(super) objects: Vec<Object>,
    /// The direct counter of each table.
    counters: Vec<Option<usize>>,
    calls: Vec<Op>,
    pub(super) requests: Requests,
    pub(super) checksum_error: bool,
    pub(super) assertion_failed: bool,
    /// The payload of the packet at hand.
    pub(super) payload: Vec<u8>,
    /// How long the packet at hand was when it came.
    pub(super) length: u64,
    pub(super) digests: Vec<(u64, Vec<u8>)>,
    random: u64,
    writer: Writer,
    bytes: Vec<u8>,
}

impl Core {
    pub(super) fn new(program: &Program) -> Result<Core, LoadError> {
        let objects: Result<Vec<_>, _> = program.externs.iter().map(Object::new).collect();
        let mut tables = Vec::new();
        let mut counters = Vec::new();
        for spec in &program.tables {
            let mut counter = None;
            for (name, value) in &spec.properties {
                use adit_p4_frontend::ir::Constant;
                match (name.as_str(), value) {
                    ("counters", Constant::Object(object)) => counter = Some(*object as usize),
                    // Meters without rates are green; profiles are in the entries.
                    ("meters" | "implementation", _) => {}
                    ("support_timeout" | "largest_priority_wins" | "priority_delta", _) => {}
                    _ => {
                        let text = format!("the property `{name}` of the table `{}`", spec.name);
                        return Err(Unsupported(text).into());
                    }
                }
            }
            counters.push(counter);
            tables.push(Table::new(spec.clone())?);
        }
        if let Some(set) = program.value_sets.first() {
            return Err(Unsupported(format!("the value set `{}`", set.name)).into());
        }
        let calls: Result<Vec<_>, _> = program.calls.iter().map(|c| ready(program, c)).collect();
        Ok(Core {
            tables,
            objects: objects?,
            counters,
            calls: calls?,
            requests: Requests::default(),
            checksum_error: false,
            assertion_failed: false,
            payload: Vec::new(),
            length: 0,
            digests: Vec::new(),
            random: 0x9e37_79b9_7f4a_7c15,
            writer: Writer::default(),
            bytes: Vec::new(),
        })
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

    fn in_value_set(&mut self, _set: u32, _frame: &[u64]) -> bool {
        // Programs with value sets are refused.
        false
    }
}

impl Core {
    fn run(&mut self, op: &Op, frame: &mut [u64]) {
        match op {
            Op::Nothing => {}
            Op::Drop {
                base,
                egress_spec,
                mcast_grp,
            } => {
                egress_spec.set(frame, *base, super::DROP_PORT);
                mcast_grp.set(frame, *base, 0);
            }
            Op::Hash {
                result,
                algorithm,
                base,
                data,
                max,
            } => {
                self.gather(data, frame, false);
                let hash = self.hash(algorithm.get(frame));
                let (base, max) = (base.get(frame), max.get(frame));
                let value = match max {
                    0 => base,
                    max => base.wrapping_add(hash % max),
                };
                result.set(frame, value);
            }
            Op::Random { result, low, high } => {
                let (low, high) = (low.get(frame), high.get(frame));
                let span = u128::from(high.saturating_sub(low)) + 1;
                let value = u128::from(next_random(&mut self.random)) % span;
                result.set(frame, low.wrapping_add(value as u64));
            }
            Op::Digest { receiver, data } => {
                self.gather(data, frame, false);
                if self.digests.len() < MAX_DIGESTS {
                    self.digests.push((receiver.get(frame), self.bytes.clone()));
                }
            }
            Op::Checksum {
                condition,
                data,
                checksum,
                algorithm,
                is_update,
                with_payload,
            } => {
                if condition.get(frame) == 0 {
                    return;
                }
                self.gather(data, frame, *with_payload);
                let value = self.hash(algorithm.get(frame)) & crate::p4::bits::mask(checksum.width);
                match is_update {
                    true => checksum.set(frame, value),
                    false => self.checksum_error |= value != checksum.get(frame),
                }
            }
            Op::Clone {
                kind,
                session,
                list,
            } => {
                let list = list.as_ref().map(|l| l.get(frame) as u32);
                let request = Some((session.get(frame), list));
                match kind.get(frame) {
                    0 => self.requests.clone_ingress = request,
                    _ => self.requests.clone_egress = request,
                }
            }
            Op::Resubmit(list) => self.requests.resubmit = Some(list.get(frame) as u32),
            Op::Recirculate(list) => self.requests.recirculate = Some(list.get(frame) as u32),
            Op::Truncate(length) => self.requests.truncate = Some(length.get(frame)),
            Op::Assert(check) => self.assertion_failed |= check.get(frame) == 0,
            Op::Count { object, index } => {
                let (at, bytes) = (index.get(frame) as usize, self.length);
                if let Some(Object::Counter(counts)) = self.objects.get_mut(*object) {
                    if let Some(count) = counts.get_mut(at) {
                        count.add(bytes);
                    }
                }
            }
            Op::Green(result) => result.set(frame, 0),
            Op::RegisterRead {
                object,
                result,
                index,
            } => {
                let at = index.get(frame) as usize;
                let to = &mut frame[result.slot as usize..][..result.flat.limbs as usize];
                to.fill(0);
                if let Some(Object::Register { limbs, values }) = self.objects.get(*object) {
                    if let Some(value) = values.chunks_exact(*limbs).nth(at) {
                        to.iter_mut().zip(value).for_each(|(to, v)| *to = *v);
                    }
                }
            }
            Op::RegisterWrite {
                object,
                index,
                value,
            } => {
                let at = index.get(frame) as usize;
                let from = &frame[value.slot as usize..][..value.flat.limbs as usize];
                if let Some(Object::Register { limbs, values }) = self.objects.get_mut(*object) {
                    if let Some(to) = values.chunks_exact_mut(*limbs).nth(at) {
                        to.iter_mut().zip(from).for_each(|(to, v)| *to = *v);
                    }
                }
            }
            Op::Checksum16 { data, result } => {
                self.gather(data, frame, false);
                frame[*result as usize] = self.hash(Algorithm::Checksum16);
            }
        }
    }
}

/// Makes a call ready.
fn ready(program: &Program, call: &ExternCall) -> Result<Op, Unsupported> {
    let named = match call.object {
        Some(object) => format!("{}.{}", program.externs[object as usize].kind, call.name),
        None => call.name.clone(),
    };
    let unsupported = || Unsupported(format!("`{named}` with these arguments"));
    let value = |n: usize| value_of(call.arguments.get(n)).ok_or_else(unsupported);
    let operand = |n: usize| {
        let (slot, layout) = value(n)?;
        Ok(Operand {
            slot,
            width: layout.bits(),
            flat: Flat::new(layout),
        })
    };
    let algorithms = |n: usize| match value(n)? {
        (slot, Layout::Enum(members)) => {
            let members: Option<Vec<_>> = members.iter().map(|m| Algorithm::v1model(m)).collect();
            Ok(Algorithms {
                slot,
                members: members.ok_or_else(unsupported)?,
            })
        }
        _ => Err(unsupported()),
    };
    let object = call.object.unwrap_or(0) as usize;
    let checksum = |is_update, with_payload| {
        Ok(Op::Checksum {
            condition: operand(0)?,
            data: operand(1)?,
            checksum: operand(2)?,
            algorithm: algorithms(3)?,
            is_update,
            with_payload,
        })
    };
    match (named.as_str(), call.arguments.len()) {
        ("mark_to_drop", 1) => match value(0)? {
            (base, Layout::Struct(fields)) => Ok(Op::Drop {
                base,
                egress_spec: field(fields, "egress_spec").ok_or_else(unsupported)?,
                mcast_grp: field(fields, "mcast_grp").ok_or_else(unsupported)?,
            }),
            _ => Err(unsupported()),
        },
        ("hash", 5) => Ok(Op::Hash {
            result: operand(0)?,
            algorithm: algorithms(1)?,
            base: operand(2)?,
            data: operand(3)?,
            max: operand(4)?,
        }),
        ("random", 3) => Ok(Op::Random {
            result: operand(0)?,
            low: operand(1)?,
            high: operand(2)?,
        }),
        ("digest", 2) => Ok(Op::Digest {
            receiver: operand(0)?,
            data: operand(1)?,
        }),
        ("verify_checksum", 4) => checksum(false, false),
        ("update_checksum", 4) => checksum(true, false),
        ("verify_checksum_with_payload", 4) => checksum(false, true),
        ("update_checksum_with_payload", 4) => checksum(true, true),
        ("clone", 2) => Ok(Op::Clone {
            kind: operand(0)?,
            session: operand(1)?,
            list: None,
        }),
        ("clone_preserving_field_list", 3) => Ok(Op::Clone {
            kind: operand(0)?,
            session: operand(1)?,
            list: Some(operand(2)?),
        }),
        ("resubmit_preserving_field_list", 1) => Ok(Op::Resubmit(operand(0)?)),
        ("recirculate_preserving_field_list", 1) => Ok(Op::Recirculate(operand(0)?)),
        ("truncate", 1) => Ok(Op::Truncate(operand(0)?)),
        ("assert" | "assume", 1) => Ok(Op::Assert(operand(0)?)),
        // Nobody reads the log of a packet.
        ("log_msg", _) => Ok(Op::Nothing),
        ("counter.count", 1) => Ok(Op::Count {
            object,
            index: operand(0)?,
        }),
        // Counted when the entry is hit.
        ("direct_counter.count", 0) => Ok(Op::Nothing),
        ("meter.execute_meter", 2) => Ok(Op::Green(operand(1)?)),
        ("direct_meter.read", 1) => Ok(Op::Green(operand(0)?)),
        ("register.read", 2) => Ok(Op::RegisterRead {
            object,
            result: operand(0)?,
            index: operand(1)?,
        }),
        ("register.write", 2) => Ok(Op::RegisterWrite {
            object,
            index: operand(0)?,
            value: operand(1)?,
        }),
        ("Checksum16.get", 1) => Ok(Op::Checksum16 {
            data: operand(0)?,
            result: call.result.as_ref().ok_or_else(unsupported)?.0,
        }),
        _ => Err(unsupported()),
    }
}
