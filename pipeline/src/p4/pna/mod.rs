// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The Portable NIC Architecture: parser, pre-control if the program's form has one, control,
//! deparser.
//!
//! What the specification leaves open, here: without a forwarding call a packet is dropped, and of
//! several the last wins; a parser's error does not drop, but reaches the control; a packet goes
//! through at most eight times; all values begin as zero in each pass; a mirrored packet is what
//! the deparser makes.

use std::collections::BTreeMap;

use adit_p4_frontend::ir::{Block, Layout, Program};

use super::externs::{Architecture, Core, CoreError, Forward, Object, ValueSet};
use super::machine::{End, Machine, Packet};
use super::metadata::{field, Field};
use super::packet::Reader;
use super::tables::Table;

/// How often a packet may go through.
pub const MAX_PASSES: u64 = 8;

/// Why a program cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Another architecture.
    #[error("the program is for `{0}`, not for `PNA_NIC`")]
    Package(String),
    /// A block that is missing, or has other parameters.
    #[error("the block `{0}` is not as PNA has it")]
    Block(&'static str),
    /// Tables or externs that the engine does not have.
    #[error(transparent)]
    Core(#[from] CoreError),
}

/// Where a packet came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a wire.
    NetToHost,
    /// From a virtual port.
    HostToNet,
}

/// What happened to packets other than being sent, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// The program called `drop_packet` last.
    pub by_program: u64,
    /// The program made no forwarding call.
    pub not_forwarded: u64,
    /// It went through too often.
    pub too_many_passes: u64,
    /// The program ran for too long.
    pub too_long: u64,
    /// A mirror for a session that does not exist.
    pub unknown_session: u64,
}

/// A structure of metadata that the architecture fills.
#[derive(Clone, Debug, Default)]
struct Filled {
    base: u32,
    limbs: u32,
    fields: BTreeMap<&'static str, Field>,
}

impl Filled {
    fn new(block: &Block, parameter: usize, role: &'static str) -> Result<Filled, LoadError> {
        let parameter = block.parameters.get(parameter);
        let Some((slot, Layout::Struct(list))) = parameter.map(|p| (p.slot, &p.layout)) else {
            return Err(LoadError::Block(role));
        };
        let names = [
            "direction",
            "pass",
            "loopedback",
            "input_port",
            "timestamp",
            "parser_error",
        ];
        let named = names.into_iter().filter_map(|n| Some((n, field(list, n)?)));
        Ok(Filled {
            base: slot,
            limbs: list.limbs,
            fields: named.collect(),
        })
    }

    fn clear(&self, frame: &mut [u64]) {
        frame[self.base as usize..][..self.limbs as usize].fill(0);
    }

    fn set(&self, frame: &mut [u64], name: &str, value: u64) {
        if let Some(field) = self.fields.get(name) {
            field.set(frame, self.base, value);
        }
    }
}

/// How many limbs a parameter of a block has.
fn limbs(block: &Block, parameter: usize, role: &'static str) -> Result<u32, LoadError> {
    let parameter = block
        .parameters
        .get(parameter)
        .ok_or(LoadError::Block(role))?;
    Ok(parameter.layout.limbs())
}

/// A NIC with a program.
pub struct Nic {
    program: Program,
    machine: Machine,
    core: Core,
    parser: usize,
    pre: Option<usize>,
    control: usize,
    deparser: usize,
    /// Sessions of mirrors: the port that each sends to.
    mirrors: BTreeMap<u64, u64>,
    drops: Drops,
}

/// The slots of a pass: clear these, fill those.
struct Pass<'a> {
    data: &'a [u8],
    port: u64,
    direction: Direction,
    number: u64,
}

impl Nic {
    /// Loads a program.
    pub fn new(program: Program) -> Result<Nic, LoadError> {
        if program.package != "PNA_NIC" {
            return Err(LoadError::Package(program.package));
        }
        let find = |role: &str| program.blocks.iter().position(|b| b.role == role);
        let need = |role: &'static str| find(role).ok_or(LoadError::Block(role));
        let nic = Nic {
            machine: Machine::new(&program),
            core: Core::new(&program, Architecture::Pna)?,
            parser: need("main_parser")?,
            pre: find("pre_control"),
            control: need("main_control")?,
            deparser: need("main_deparser")?,
            mirrors: BTreeMap::new(),
            drops: Drops::default(),
            program,
        };
        nic.check()?;
        Ok(nic)
    }

    /// All parameters that a pass touches are there.
    fn check(&self) -> Result<(), LoadError> {
        let blocks = &self.program.blocks;
        Filled::new(&blocks[self.parser], 2, "main_parser")?;
        Filled::new(&blocks[self.control], 2, "main_control")?;
        let (parser, control) = (&blocks[self.parser], &blocks[self.control]);
        let deparser = &blocks[self.deparser];
        for n in 0..2 {
            let from = limbs(parser, n, "main_parser")?;
            let same = limbs(control, n, "main_control")? == from
                && limbs(deparser, n, "main_deparser")? == from;
            if !same {
                return Err(LoadError::Block("main_control"));
            }
        }
        if let Some(pre) = self.pre {
            Filled::new(&blocks[pre], 2, "pre_control")?;
            limbs(&blocks[pre], 3, "pre_control")?;
        }
        limbs(control, 3, "main_control")?;
        limbs(deparser, 2, "main_deparser")?;
        Ok(())
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

    /// Makes or changes a mirror session.
    pub fn set_mirror(&mut self, session: u64, port: u64) {
        self.mirrors.insert(session, port);
    }

    /// Sets the clock, and lets entries go whose time is over.
    pub fn set_time(&mut self, microseconds: u64) {
        self.core.now_us = microseconds;
        for table in &mut self.core.tables {
            table.expire(microseconds);
        }
    }

    /// Takes the digests that have been made, as a packet holds them.
    pub fn take_digests(&mut self) -> Vec<Vec<u8>> {
        let digests = std::mem::take(&mut self.core.digests);
        digests.into_iter().map(|d| d.1).collect()
    }

    /// Digests that were lost because too many waited to be taken.
    #[must_use]
    pub fn digests_lost(&self) -> u64 {
        self.core.digests_lost
    }

    /// Sends a packet in at a port; gives what comes out, and where.
    pub fn process(
        &mut self,
        port: u32,
        direction: Direction,
        data: &[u8],
        out: &mut dyn FnMut(u32, &[u8]),
    ) {
        let mut frame = data.to_vec();
        for number in 0..MAX_PASSES {
            let pass = Pass {
                data: &frame,
                port: port.into(),
                direction,
                number,
            };
            let Some((next, forward)) = self.pass(&pass, out) else {
                return;
            };
            match forward {
                Forward::Port(port) => return out(port as u32, &next),
                Forward::Drop => {
                    self.drops.by_program += 1;
                    return;
                }
                Forward::Nowhere => {
                    self.drops.not_forwarded += 1;
                    return;
                }
                Forward::Again => frame = next,
            }
        }
        self.drops.too_many_passes += 1;
    }

    fn run(&mut self, block: usize, packet: &mut Packet<'_>) -> Option<End> {
        let function = self.program.blocks[block].function;
        let core = &mut self.core;
        match self.machine.run(&self.program, function, core, packet) {
            End::TooLong => {
                self.drops.too_long += 1;
                None
            }
            end => Some(end),
        }
    }

    /// Once through; gives the packet and where it is to go.
    fn pass(
        &mut self,
        pass: &Pass<'_>,
        out: &mut dyn FnMut(u32, &[u8]),
    ) -> Option<(Vec<u8>, Forward)> {
        self.core.begin(pass.data.len() as u64);
        for n in 0..2 {
            self.clear(self.parser, n);
        }
        self.fill(self.parser, 2, pass, 0);
        let mut packet = Packet {
            reader: Reader::new(pass.data),
            ..Packet::default()
        };
        let error = match self.run(self.parser, &mut packet)? {
            End::Rejected(error) => error.into(),
            _ => 0,
        };
        let payload = packet.reader.rest();
        if let Some(pre) = self.pre {
            self.hand_over(self.parser, pre);
            self.fill(pre, 2, pass, error);
            self.clear(pre, 3);
            self.run(pre, &mut Packet::default())?;
        }
        self.hand_over(self.parser, self.control);
        if let Some(pre) = self.pre {
            // What the pre-control wrote, if it has the same type of metadata.
            let blocks = &self.program.blocks;
            if blocks[pre].parameters[1].layout == blocks[self.control].parameters[1].layout {
                self.copy(pre, 1, self.control, 1);
            }
        }
        self.fill(self.control, 2, pass, error);
        self.clear(self.control, 3);
        self.run(self.control, &mut Packet::default())?;
        self.hand_over(self.control, self.deparser);
        self.copy(self.control, 3, self.deparser, 2);
        let mut packet = Packet::default();
        self.run(self.deparser, &mut packet)?;
        let mut frame = packet.writer.bytes().to_vec();
        frame.extend_from_slice(payload);
        for (_, session) in std::mem::take(&mut self.core.requests.mirrors) {
            match self.mirrors.get(&session) {
                Some(port) => out(*port as u32, &frame),
                None => self.drops.unknown_session += 1,
            }
        }
        Some((frame, self.core.requests.forward))
    }

    fn fill(&mut self, block: usize, parameter: usize, pass: &Pass<'_>, error: u64) {
        // Checked when the program was loaded.
        let Ok(filled) = Filled::new(&self.program.blocks[block], parameter, "") else {
            return;
        };
        let now = self.core.now_us;
        let frame = &mut self.machine.frame;
        filled.clear(frame);
        filled.set(
            frame,
            "direction",
            u64::from(pass.direction == Direction::HostToNet),
        );
        filled.set(frame, "pass", pass.number);
        filled.set(frame, "loopedback", u64::from(pass.number > 0));
        filled.set(frame, "input_port", pass.port);
        filled.set(frame, "timestamp", now.wrapping_mul(1000));
        filled.set(frame, "parser_error", error);
    }

    fn clear(&mut self, block: usize, parameter: usize) {
        if let Some(parameter) = self.program.blocks[block].parameters.get(parameter) {
            let limbs = parameter.layout.limbs() as usize;
            self.machine.frame[parameter.slot as usize..][..limbs].fill(0);
        }
    }

    /// Headers and user metadata.
    fn hand_over(&mut self, from: usize, to: usize) {
        self.hand_over_part(from, to, 0);
        self.hand_over_part(from, to, 1);
    }

    /// One of them, unless the block has a type of its own for it.
    fn hand_over_part(&mut self, from: usize, to: usize, part: usize) {
        let blocks = &self.program.blocks;
        if blocks[from].parameters[part].layout == blocks[to].parameters[part].layout {
            self.copy(from, part, to, part);
        } else {
            self.clear(to, part);
        }
    }

    fn copy(&mut self, from: usize, a: usize, to: usize, b: usize) {
        let blocks = &self.program.blocks;
        let (Some(a), Some(b)) = (blocks[from].parameters.get(a), blocks[to].parameters.get(b))
        else {
            return;
        };
        let limbs = a.layout.limbs().min(b.layout.limbs()) as usize;
        let src = a.slot as usize;
        self.machine
            .frame
            .copy_within(src..src + limbs, b.slot as usize);
    }
}
