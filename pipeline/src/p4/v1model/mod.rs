// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The v1model architecture: parser, checksum verification, ingress, egress, checksum computation,
//! deparser; cloning, replication, resubmission, recirculation.
//!
//! What the architecture leaves open, here: every value begins as 0 and every header as invalid, in
//! each pass; a parser's error does not drop, and what was not extracted is payload; `egress_spec`
//! 511 drops, and a later assignment undoes that. At the end of ingress come, in this order: clone,
//! resubmission, replication, dropping, one port.

mod replication;
mod standard;

use std::collections::VecDeque;

use adit_p4_frontend::ir::{Block, FunctionId, Layout, Program};

use super::externs::{Architecture, Core, CoreError, Object, ValueSet, DROP_PORT};
use super::machine::{End, Machine, Packet};
use super::metadata::{self, Field};
use super::packet::Reader;
use super::tables::Table;
pub use replication::{CloneSession, Replication};
use standard::Standard;

/// How often a packet and what is made of it may go through the pipeline.
pub const MAX_PASSES: u32 = 64;

/// What `instance_type` says.
mod instance {
    pub(super) const NORMAL: u64 = 0;
    pub(super) const INGRESS_CLONE: u64 = 1;
    pub(super) const EGRESS_CLONE: u64 = 2;
    pub(super) const RECIRCULATED: u64 = 4;
    pub(super) const REPLICATED: u64 = 5;
    pub(super) const RESUBMITTED: u64 = 6;
}

/// Why a program cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Another architecture.
    #[error("the program is for `{0}`, not for `V1Switch`")]
    Package(String),
    /// Not the blocks that the architecture has.
    #[error("the program's blocks are not those of v1model: {0}")]
    Blocks(String),
    /// Tables or externs that the engine does not have.
    #[error(transparent)]
    Core(#[from] CoreError),
}

/// What happened to packets other than being sent, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// The program dropped it.
    pub by_program: u64,
    /// It went through the pipeline too often.
    pub too_many_passes: u64,
    /// The program ran for too long.
    pub too_long: u64,
    /// A clone for a session that does not exist.
    pub unknown_session: u64,
    /// A copy for a group that does not exist.
    pub unknown_group: u64,
    /// An `assert` or `assume` did not hold.
    pub assertion: u64,
}

/// Where the values of a block are that all blocks share.
#[derive(Clone, Copy, Debug, Default)]
struct Places {
    function: FunctionId,
    headers: u32,
    metadata: Option<u32>,
    standard: Option<u32>,
}

/// A switch with a program.
pub struct Switch {
    program: Program,
    machine: Machine,
    core: Core,
    parser: Places,
    verify: Places,
    ingress: Places,
    egress: Places,
    compute: Places,
    deparser: Places,
    headers_limbs: u32,
    metadata_layout: Layout,
    standard: Standard,
    /// Clone sessions and multicast groups.
    pub replication: Replication,
    drops: Drops,
    now_us: u64,
}

/// A packet between ingress and egress, or on its way round.
enum Work {
    Ingress {
        data: Vec<u8>,
        port: u64,
        instance: u64,
        /// Metadata of which the fields of that list are kept.
        kept: Option<(Vec<u64>, u32)>,
    },
    Egress {
        values: Vec<u64>,
        payload: Vec<u8>,
        port: u64,
        rid: u64,
        instance: u64,
        original_length: u64,
    },
}

impl Switch {
    /// Loads a program.
    pub fn new(program: Program) -> Result<Switch, LoadError> {
        if program.package != "V1Switch" {
            return Err(LoadError::Package(program.package));
        }
        let [parser, verify, ingress, egress, compute, deparser] = &program.blocks[..] else {
            return Err(LoadError::Blocks(format!("{} of 6", program.blocks.len())));
        };
        let headers_limbs = layout_of(parser, 0)?.limbs();
        let metadata_layout = layout_of(parser, 1)?.clone();
        let standard = Standard::new(layout_of(parser, 2)?)
            .ok_or_else(|| LoadError::Blocks("standard metadata".to_owned()))?;
        let core = Core::new(&program, Architecture::V1model)?;
        Ok(Switch {
            machine: Machine::new(&program),
            core,
            parser: places(parser)?,
            verify: places(verify)?,
            ingress: places(ingress)?,
            egress: places(egress)?,
            compute: places(compute)?,
            deparser: places(deparser)?,
            headers_limbs,
            metadata_layout,
            standard,
            replication: Replication::default(),
            drops: Drops::default(),
            now_us: 0,
            program,
        })
    }

    /// The program's tables.
    pub fn tables(&mut self) -> &mut [Table] {
        &mut self.core.tables
    }

    /// The value sets of the program's parsers.
    pub fn value_sets(&mut self) -> &mut [ValueSet] {
        &mut self.core.value_sets
    }

    /// The objects of the program, in the order of its externs.
    pub fn objects(&mut self) -> &mut [Object] {
        &mut self.core.objects
    }

    /// The program that runs.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// What was not sent, and why.
    pub fn drops(&self) -> Drops {
        self.drops
    }

    /// Sets the clock that timestamps are read from.
    pub fn set_time(&mut self, microseconds: u64) {
        self.now_us = microseconds;
    }

    /// Takes the digests that have been made: the receiver, and the data as a packet holds it.
    pub fn take_digests(&mut self) -> Vec<(u64, Vec<u8>)> {
        std::mem::take(&mut self.core.digests)
    }

    /// Digests that were lost because too many waited to be taken.
    #[must_use]
    pub fn digests_lost(&self) -> u64 {
        self.core.digests_lost
    }

    /// Sends a packet in at a port; gives what comes out, and where.
    pub fn process(&mut self, port: u16, data: &[u8], out: &mut dyn FnMut(u16, &[u8])) {
        let mut work = VecDeque::from([Work::Ingress {
            data: data.to_vec(),
            port: port.into(),
            instance: instance::NORMAL,
            kept: None,
        }]);
        let mut passes = 0;
        while let Some(next) = work.pop_front() {
            passes += 1;
            if passes > MAX_PASSES {
                self.drops.too_many_passes += 1 + work.len() as u64;
                return;
            }
            match next {
                Work::Ingress {
                    data,
                    port,
                    instance,
                    kept,
                } => self.ingress(&data, port, instance, kept, &mut work),
                Work::Egress {
                    values,
                    payload,
                    port,
                    rid,
                    instance,
                    original_length,
                } => {
                    self.restore(&values, self.egress);
                    self.set_standard(self.egress, |standard| &standard.instance_type, instance);
                    self.set_standard(self.egress, |standard| &standard.egress_port, port);
                    self.set_standard(self.egress, |standard| &standard.egress_rid, rid);
                    let length = original_length;
                    self.egress(payload, port, length, &mut work, out);
                }
            }
        }
    }

    fn set_standard(&mut self, at: Places, field: impl Fn(&Standard) -> &Field, value: u64) {
        if let Some(base) = at.standard {
            field(&self.standard).set(&mut self.machine.frame, base, value);
        }
    }

    fn standard(&self, at: Places, field: impl Fn(&Standard) -> &Field) -> u64 {
        match at.standard {
            Some(base) => field(&self.standard).get(&self.machine.frame, base),
            None => 0,
        }
    }

    /// Runs a block; false if it ran too long, which drops the packet.
    fn run(&mut self, block: Places, packet: &mut Packet<'_>) -> Option<End> {
        let end = self
            .machine
            .run(&self.program, block.function, &mut self.core, packet);
        match end {
            End::TooLong => {
                self.drops.too_long += 1;
                None
            }
            _ if std::mem::take(&mut self.core.assertion_failed) => {
                self.drops.assertion += 1;
                None
            }
            end => Some(end),
        }
    }

    /// Parser to the end of ingress.
    fn ingress(
        &mut self,
        data: &[u8],
        port: u64,
        instance: u64,
        kept: Option<(Vec<u64>, u32)>,
        work: &mut VecDeque<Work>,
    ) {
        let Some(payload) = self.parse(data, port, instance, kept.as_ref()) else {
            return;
        };
        self.hand_over(self.parser, self.verify);
        self.core.payload = payload.to_vec();
        self.core.length = data.len() as u64;
        self.core.checksum_error = false;
        if self.run(self.verify, &mut Packet::default()).is_none() {
            return;
        }
        self.hand_over(self.verify, self.ingress);
        self.copy_standard(self.parser, self.ingress);
        if self.core.checksum_error {
            self.set_standard(self.ingress, |s| &s.checksum_error, 1);
        }
        self.core.requests = Default::default();
        if self.run(self.ingress, &mut Packet::default()).is_none() {
            return;
        }
        let requests = std::mem::take(&mut self.core.requests);
        let values = self.save(self.ingress);
        if let Some((session, list)) = requests.clone_ingress {
            self.clone_ingress(data, port, session, list, &values, work);
            // The clone was parsed where the packet's own values are.
            self.restore(&values, self.ingress);
        }
        let length = data.len() as u64;
        if let Some(list) = requests.resubmit {
            work.push_back(Work::Ingress {
                data: data.to_vec(),
                port,
                instance: instance::RESUBMITTED,
                kept: Some((self.metadata_of(&values), list)),
            });
            return;
        }
        let group = self.standard(self.ingress, |s| &s.mcast_grp);
        let spec = self.standard(self.ingress, |s| &s.egress_spec);
        let payload = payload.to_vec();
        if group != 0 {
            let Some(copies) = self.replication.group(group) else {
                self.drops.unknown_group += 1;
                return;
            };
            for (port, rid) in copies {
                work.push_back(Work::Egress {
                    values: values.clone(),
                    payload: payload.clone(),
                    port,
                    rid,
                    instance: instance::REPLICATED,
                    original_length: length,
                });
            }
        } else if spec == DROP_PORT {
            self.drops.by_program += 1;
        } else {
            let instance = self.standard(self.ingress, |s| &s.instance_type);
            work.push_back(Work::Egress {
                values,
                payload,
                port: spec,
                rid: 0,
                instance,
                original_length: length,
            });
        }
    }

    /// Clears all values and parses; gives the payload.
    fn parse<'p>(
        &mut self,
        data: &'p [u8],
        port: u64,
        instance: u64,
        kept: Option<&(Vec<u64>, u32)>,
    ) -> Option<&'p [u8]> {
        self.clear(self.parser);
        if let (Some((values, list)), Some(base)) = (kept, self.parser.metadata) {
            let limbs = self.metadata_layout.limbs() as usize;
            let to = &mut self.machine.frame[base as usize..][..limbs];
            metadata::keep(&self.metadata_layout, *list, values, to);
        }
        self.set_standard(self.parser, |s| &s.ingress_port, port);
        self.set_standard(self.parser, |s| &s.instance_type, instance);
        self.set_standard(self.parser, |s| &s.packet_length, data.len() as u64);
        let now = self.now_us;
        self.set_standard(self.parser, |s| &s.ingress_timestamp, now);
        let mut packet = Packet {
            reader: Reader::new(data),
            ..Packet::default()
        };
        if let End::Rejected(error) = self.run(self.parser, &mut packet)? {
            self.set_standard(self.parser, |s| &s.parser_error, error.into());
        }
        Some(packet.reader.rest())
    }

    fn clone_ingress(
        &mut self,
        data: &[u8],
        port: u64,
        session: u64,
        list: Option<u32>,
        values: &[u64],
        work: &mut VecDeque<Work>,
    ) {
        let Some(copies) = self.replication.session(session) else {
            self.drops.unknown_session += 1;
            return;
        };
        // The packet as it came, with some of the metadata as it is now.
        let kept = list.map(|list| (self.metadata_of(values), list));
        let kept_list = kept.clone();
        let Some(payload) = self.parse(data, port, instance::INGRESS_CLONE, None) else {
            return;
        };
        if let (Some((values, list)), Some(base)) = (kept_list, self.parser.metadata) {
            let limbs = self.metadata_layout.limbs() as usize;
            let to = &mut self.machine.frame[base as usize..][..limbs];
            metadata::keep(&self.metadata_layout, list, &values, to);
        }
        let payload = payload.to_vec();
        let clone = self.save(self.parser);
        for (port, rid) in copies {
            work.push_back(Work::Egress {
                values: clone.clone(),
                payload: payload.clone(),
                port,
                rid,
                instance: instance::INGRESS_CLONE,
                original_length: data.len() as u64,
            });
        }
    }

    /// Egress to the wire; the values are where egress has them.
    fn egress(
        &mut self,
        payload: Vec<u8>,
        port: u64,
        length: u64,
        work: &mut VecDeque<Work>,
        out: &mut dyn FnMut(u16, &[u8]),
    ) {
        self.set_standard(self.egress, |s| &s.egress_spec, 0);
        self.core.length = length;
        let now = self.now_us;
        self.set_standard(self.egress, |s| &s.egress_timestamp, now);
        self.core.requests = Default::default();
        if self.run(self.egress, &mut Packet::default()).is_none() {
            return;
        }
        let requests = std::mem::take(&mut self.core.requests);
        let values = self.save(self.egress);
        if let Some((session, list)) = requests.clone_egress {
            match self.replication.session(session) {
                None => self.drops.unknown_session += 1,
                Some(copies) => {
                    let clone = self.egress_clone(&values, list);
                    for (port, rid) in copies {
                        work.push_back(Work::Egress {
                            values: clone.clone(),
                            payload: payload.clone(),
                            port,
                            rid,
                            instance: instance::EGRESS_CLONE,
                            original_length: length,
                        });
                    }
                }
            }
        }
        if self.standard(self.egress, |s| &s.egress_spec) == DROP_PORT {
            self.drops.by_program += 1;
            return;
        }
        self.hand_over(self.egress, self.compute);
        self.core.payload = payload;
        if self.run(self.compute, &mut Packet::default()).is_none() {
            return;
        }
        self.hand_over(self.compute, self.deparser);
        let mut packet = Packet::default();
        if self.run(self.deparser, &mut packet).is_none() {
            return;
        }
        let mut frame = packet.writer.bytes().to_vec();
        frame.extend_from_slice(&self.core.payload);
        if let Some(length) = requests.truncate {
            frame.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        }
        if let Some(list) = requests.recirculate {
            let standard = self
                .standard
                .ingress_port
                .of(&values, self.standard_offset());
            work.push_back(Work::Ingress {
                data: frame,
                port: standard,
                instance: instance::RECIRCULATED,
                kept: Some((self.metadata_of(&values), list)),
            });
            return;
        }
        out(port as u16, &frame);
    }

    /// A clone's values: headers as they are, metadata cleared but for the fields of the list.
    fn egress_clone(&self, values: &[u64], list: Option<u32>) -> Vec<u64> {
        let mut clone = values.to_vec();
        let from = self.headers_limbs as usize;
        let to = self.standard_offset() as usize;
        clone[from..to].fill(0);
        if let Some(list) = list {
            let kept = self.metadata_of(values);
            metadata::keep(&self.metadata_layout, list, &kept, &mut clone[from..to]);
        }
        clone
    }

    fn standard_offset(&self) -> u32 {
        self.headers_limbs + self.metadata_layout.limbs()
    }

    fn metadata_of(&self, values: &[u64]) -> Vec<u64> {
        values[self.headers_limbs as usize..self.standard_offset() as usize].to_vec()
    }

    /// Headers, metadata and standard metadata of a block, one after the other.
    fn save(&self, from: Places) -> Vec<u64> {
        let mut values = Vec::new();
        let sizes = [
            (Some(from.headers), self.headers_limbs),
            (from.metadata, self.metadata_layout.limbs()),
            (from.standard, self.standard.limbs),
        ];
        for (slot, limbs) in sizes {
            if let Some(slot) = slot {
                let slot = slot as usize;
                values.extend_from_slice(&self.machine.frame[slot..slot + limbs as usize]);
            }
        }
        values
    }

    fn restore(&mut self, values: &[u64], to: Places) {
        let sizes = [
            (Some(to.headers), self.headers_limbs),
            (to.metadata, self.metadata_layout.limbs()),
            (to.standard, self.standard.limbs),
        ];
        let mut at = 0;
        for (slot, limbs) in sizes {
            let limbs = limbs as usize;
            if let Some(slot) = slot {
                self.machine.frame[slot as usize..][..limbs]
                    .copy_from_slice(&values[at..at + limbs]);
            }
            at += limbs;
        }
    }

    fn clear(&mut self, at: Places) {
        let zeros = vec![0; (self.standard_offset() + self.standard.limbs) as usize];
        self.restore(&zeros, at);
    }

    /// Copies headers and metadata from one block to the next, as far as both have them.
    fn hand_over(&mut self, from: Places, to: Places) {
        let frame = &mut self.machine.frame;
        let mut copy = |from: u32, to: u32, limbs: u32| {
            let from = from as usize;
            frame.copy_within(from..from + limbs as usize, to as usize);
        };
        copy(from.headers, to.headers, self.headers_limbs);
        if let (Some(from), Some(to)) = (from.metadata, to.metadata) {
            copy(from, to, self.metadata_layout.limbs());
        }
    }

    fn copy_standard(&mut self, from: Places, to: Places) {
        if let (Some(from), Some(to)) = (from.standard, to.standard) {
            let from = from as usize;
            let limbs = self.standard.limbs as usize;
            self.machine
                .frame
                .copy_within(from..from + limbs, to as usize);
        }
    }
}

fn layout_of(block: &Block, parameter: usize) -> Result<&Layout, LoadError> {
    let found = block.parameters.get(parameter).map(|p| &p.layout);
    found.ok_or_else(|| LoadError::Blocks(format!("`{}` lacks parameters", block.name)))
}

fn places(block: &Block) -> Result<Places, LoadError> {
    layout_of(block, 0)?;
    let slot = |n: usize| block.parameters.get(n).map(|p| p.slot);
    Ok(Places {
        function: block.function,
        headers: block.parameters[0].slot,
        metadata: slot(1),
        standard: slot(2),
    })
}

#[cfg(test)]
mod tests;
