// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The Portable NIC Architecture: parser, pre-control if the program's form has one, control,
//! deparser.
//!
//! What the specification leaves open, here: without a forwarding call a packet is dropped, and of
//! several the last wins; a parser's error does not drop, but reaches the control; a packet goes
//! through at most eight times; all values begin as zero in each pass; a mirrored packet is what
//! the deparser makes.

mod in_place;
mod share;

use adit_p4_frontend::ir::{self, FunctionId, Layout, Program};

use super::bits;
use super::engine::{At, LoadError, Scratch, LANES};
use super::externs::Forward;
use super::machine::End;
use super::packet::Reader;
use super::packets::{Direction, DropReason, Input, Output, Sent, SentKind};
use super::replication::Replica;
use super::round::Round;
use super::tables::STAGES;

pub(super) use share::share;

/// How often a packet may go through.
const MAX_PASSES: u64 = 8;

/// A run of limbs in the frame.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    slot: u32,
    limbs: u32,
}

impl Place {
    fn clear(self, frame: &mut [u64]) {
        frame[self.slot as usize..][..self.limbs as usize].fill(0);
    }
}

/// What the architecture puts into a limb of metadata.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Fill {
    slot: u32,
    /// Which of [`Pass::values`].
    value: usize,
    mask: u64,
}

/// Fields that the architecture fills, in the order of [`Pass::values`], behind what is zero.
const FILLED: [&str; 6] = [
    "direction",
    "pass",
    "loopedback",
    "input_port",
    "timestamp",
    "parser_error",
];
/// Up to so many limbs are cleared one by one.
const FEW: u32 = 8;

/// A block's code, and what is put where before it runs.
#[derive(Clone, Debug, Default)]
struct Stage {
    function: FunctionId,
    /// What is copied: from where, to where, how much.
    copies: Vec<(u32, u32, u32)>,
    cleared: Vec<Place>,
    filled: Vec<Fill>,
}

/// A program's blocks.
#[derive(Clone, Debug)]
pub(super) struct Blocks {
    parser: Stage,
    pre: Option<Stage>,
    control: Stage,
    deparser: Stage,
    /// Whether packets may be on their way at once.
    pub(super) may_overlap: bool,
}

/// What is known of a packet after its parser.
#[derive(Clone, Copy, Default)]
struct Parsed {
    /// How many bytes the parser took.
    bytes: usize,
    error: u64,
}

/// One time through.
struct Pass<'a> {
    data: &'a [u8],
    round: Round,
    port: u64,
    direction: Direction,
    number: u64,
}

impl<'a> Pass<'a> {
    /// A packet's first time.
    fn first(input: &'a Input<'_>) -> Pass<'a> {
        Pass {
            data: input.data,
            round: Round::first(input),
            port: input.port.into(),
            direction: input.direction,
            number: 0,
        }
    }

    /// Zero, and what fields of metadata are.
    fn values(&self, error: u64, now_ns: u64) -> [u64; FILLED.len() + 1] {
        let from_host = self.direction == Direction::HostToNet;
        let loopedback = self.number > 0;
        [
            0,
            from_host.into(),
            self.number,
            loopedback.into(),
            self.port,
            now_ns,
            error,
        ]
    }
}

fn place(block: &ir::Block, parameter: usize) -> Result<Place, LoadError> {
    match block.parameters.get(parameter) {
        Some(found) => Ok(Place {
            slot: found.slot,
            limbs: found.layout.limbs(),
        }),
        None => Err(LoadError::Block(block.name.clone())),
    }
}

impl Stage {
    /// A block whose headers and user metadata come from another one.
    fn new(block: &ir::Block, from: Option<&ir::Block>) -> Result<Stage, LoadError> {
        let mut stage = Stage {
            function: block.function,
            ..Stage::default()
        };
        for n in 0..2 {
            stage.receive(block, n, from.map(|from| (from, n)))?;
        }
        Ok(stage)
    }

    /// A parameter begins as another block's, or as zeros if that has another type.
    fn receive(
        &mut self,
        block: &ir::Block,
        n: usize,
        from: Option<(&ir::Block, usize)>,
    ) -> Result<(), LoadError> {
        let to = place(block, n)?;
        let Some((other, m)) = from else {
            self.cleared.push(to);
            return Ok(());
        };
        let source = place(other, m)?;
        if source.slot == to.slot {
            // It is there already.
        } else if other.parameters[m].layout == block.parameters[n].layout {
            self.copies.push((source.slot, to.slot, to.limbs));
        } else {
            self.cleared.push(to);
        }
        Ok(())
    }

    /// A structure of metadata that the architecture fills; what it does not know is zero.
    fn fill(&mut self, block: &ir::Block, parameter: usize) -> Result<(), LoadError> {
        let place = place(block, parameter)?;
        let Layout::Struct(list) = &block.parameters[parameter].layout else {
            return Err(LoadError::Block(block.name.clone()));
        };
        for limb in 0..place.limbs {
            let field = list.fields.iter().find(|f| f.offset == limb);
            let field = field.filter(|f| f.layout.limbs() == 1);
            let known = field.and_then(|f| FILLED.iter().position(|name| f.name == *name));
            self.filled.push(Fill {
                slot: place.slot + limb,
                value: known.map_or(0, |n| n + 1),
                mask: field.map_or(0, |f| bits::mask(f.layout.bits())),
            });
        }
        Ok(())
    }

    /// What lies side by side is copied and cleared at once.
    fn merge(&mut self) {
        self.copies.dedup_by(|next, last| {
            let adjoins = (last.0 + last.2, last.1 + last.2) == (next.0, next.1);
            // Copied one after the other, the second must not read what the first has written.
            let is_apart = last.0.abs_diff(last.1) >= last.2 + next.2;
            if adjoins && is_apart {
                last.2 += next.2;
            }
            adjoins && is_apart
        });
        self.cleared.dedup_by(|next, last| {
            let adjoins = last.slot + last.limbs == next.slot;
            if adjoins {
                last.limbs += next.limbs;
            }
            adjoins
        });
        for place in self.cleared.iter().filter(|place| place.limbs <= FEW) {
            self.filled.extend((0..place.limbs).map(|limb| Fill {
                slot: place.slot + limb,
                value: 0,
                mask: 0,
            }));
        }
        self.cleared.retain(|place| place.limbs > FEW);
    }

    /// Puts in place what the block begins with.
    fn start(&self, scratch: &mut Scratch, pass: &Pass<'_>, error: u64) {
        let frame = &mut scratch.machine.frame[..];
        for (from, to, limbs) in &self.copies {
            let from = *from as usize;
            frame.copy_within(from..from + *limbs as usize, *to as usize);
        }
        for place in &self.cleared {
            place.clear(frame);
        }
        let values = pass.values(error, scratch.local.now_ns);
        for fill in &self.filled {
            frame[fill.slot as usize] = values[fill.value] & fill.mask;
        }
    }
}

impl Blocks {
    pub(super) fn new(program: &Program) -> Result<Blocks, LoadError> {
        let find = |role: &str| program.blocks.iter().find(|b| b.role == role);
        let need = |role: &str| find(role).ok_or_else(|| LoadError::Block(role.to_owned()));
        let (parser, control) = (need("main_parser")?, need("main_control")?);
        let deparser = need("main_deparser")?;
        let mut blocks = Blocks {
            parser: Stage::new(parser, None)?,
            pre: None,
            control: Stage::new(control, Some(parser))?,
            deparser: Stage::new(deparser, Some(control))?,
            may_overlap: false,
        };
        blocks.parser.fill(parser, 2)?;
        if let Some(pre) = find("pre_control") {
            let mut stage = Stage::new(pre, Some(parser))?;
            stage.fill(pre, 2)?;
            stage.cleared.push(place(pre, 3)?);
            // What it wrote of the user metadata, if it has the same type of it.
            if pre.parameters[1].layout == control.parameters[1].layout {
                blocks.control.receive(control, 1, Some((pre, 1)))?;
            }
            blocks.pre = Some(stage);
        }
        blocks.control.fill(control, 2)?;
        blocks.control.cleared.push(place(control, 3)?);
        blocks.deparser.receive(deparser, 2, Some((control, 3)))?;
        let stages = [
            &mut blocks.parser,
            &mut blocks.control,
            &mut blocks.deparser,
        ];
        stages
            .into_iter()
            .chain(&mut blocks.pre)
            .for_each(Stage::merge);
        Ok(blocks)
    }

    /// Sends a packet through, as often as it wants.
    pub(super) fn process(
        &self,
        at: At<'_>,
        scratch: &mut Scratch,
        input: &Input<'_>,
        emit: &mut impl FnMut(Output<'_>),
    ) {
        let pass = Pass::first(input);
        let parsed = self.parse(at, scratch, &pass).and_then(|parsed| {
            let payload = pass.data.get(parsed.bytes..).unwrap_or_default();
            scratch.run_control(at, self.control.function, payload)?;
            Ok(parsed)
        });
        self.complete(at, scratch, input, parsed, emit);
    }

    /// Sends packets through, at most one for each lane. While one waits for a lookup in its first
    /// pass, the others go on; `emit` gets what becomes of them in their order.
    pub(super) fn process_some(
        &self,
        at: At<'_>,
        lanes: &mut [Scratch],
        inputs: &[Input<'_>],
        emit: &mut impl FnMut(usize, Output<'_>),
    ) {
        let mut heads = [Ok(Parsed::default()); LANES];
        // Those before the first that waits are through.
        let (mut through, mut waiting) = (0, 0);
        for (n, (lane, input)) in lanes.iter_mut().zip(inputs).enumerate() {
            let pass = Pass::first(input);
            heads[n] = self.parse(at, lane, &pass).and_then(|parsed| {
                let payload = pass.data.get(parsed.bytes..).unwrap_or_default();
                lane.begin(at, self.control.function, payload)?;
                Ok(parsed)
            });
            waiting += usize::from(lane.is_waiting());
            if waiting == 0 {
                self.complete(at, lane, input, heads[n], &mut |output| emit(n, output));
                through = n + 1;
            }
        }
        while std::mem::take(&mut waiting) > 0 {
            for stage in 1..STAGES {
                for lane in &mut lanes[through..] {
                    lane.approach(at, stage);
                }
            }
            let waited = through..inputs.len().min(lanes.len());
            for n in waited {
                let (lane, input) = (&mut lanes[n], &inputs[n]);
                if let Ok(parsed) = heads[n] {
                    let payload = input.data.get(parsed.bytes..).unwrap_or_default();
                    if let Err(dropped) = lane.go_on(at, payload) {
                        heads[n] = Err(dropped);
                    }
                }
                waiting += usize::from(lane.is_waiting());
                if waiting == 0 {
                    self.complete(at, lane, input, heads[n], &mut |output| emit(n, output));
                    through = n + 1;
                }
            }
        }
    }

    /// What comes after the control of a packet's first pass.
    fn complete(
        &self,
        at: At<'_>,
        scratch: &mut Scratch,
        input: &Input<'_>,
        parsed: Result<Parsed, DropReason>,
        emit: &mut impl FnMut(Output<'_>),
    ) {
        let pass = Pass::first(input);
        let first = parsed.and_then(|parsed| self.deparse(at, scratch, &pass, parsed));
        let requests = &scratch.local.requests;
        match (first, requests.forward) {
            // As nearly all packets go.
            (Ok(taken), Forward::Port(port)) if scratch.local.mirrors.is_empty() => {
                let receive = requests.receive;
                let round = pass.round;
                emit(Output::Sent(Sent {
                    port: port as u32,
                    receive,
                    ..round.leave(input, pass.data, taken, &mut scratch.writer)
                }));
            }
            _ => self.finish(at, scratch, input, first, emit),
        }
    }

    /// What follows a packet's first pass, of which `first` is what came out.
    fn finish(
        &self,
        at: At<'_>,
        scratch: &mut Scratch,
        input: &Input<'_>,
        first: Result<usize, DropReason>,
        emit: &mut dyn FnMut(Output<'_>),
    ) {
        let mut first = Some(first);
        let mut again = scratch.bytes.take();
        let mut round = Round::first(input);
        let mut reason = Some(DropReason::TooManyPasses);
        for number in 0..MAX_PASSES {
            let pass = Pass {
                data: if number == 0 { input.data } else { &again },
                round,
                port: input.port.into(),
                direction: input.direction,
                number,
            };
            let parsed = first.take();
            let parsed = match parsed.unwrap_or_else(|| self.pass(at, scratch, &pass)) {
                Ok(parsed) => parsed,
                Err(dropped) => {
                    reason = Some(dropped);
                    break;
                }
            };
            let requests = scratch.local.requests;
            let sent = Sent {
                receive: requests.receive,
                ..round.leave(input, pass.data, parsed, &mut scratch.writer)
            };
            mirror(at, &scratch.local.mirrors, sent, emit);
            reason = match requests.forward {
                Forward::Port(port) => {
                    emit(Output::Sent(Sent {
                        port: port as u32,
                        ..sent
                    }));
                    None
                }
                Forward::Group(group) => match at.group(group) {
                    Ok(copies) => {
                        copy(copies, SentKind::Multicast, sent, emit);
                        None
                    }
                    Err(reason) => Some(reason),
                },
                Forward::Drop => Some(DropReason::Program),
                Forward::Nowhere => Some(DropReason::NotForwarded),
                Forward::Again => {
                    round = Round::again(&sent, input, &mut again);
                    continue;
                }
            };
            break;
        }
        if let Some(reason) = reason {
            emit(Output::Dropped(reason));
        }
        scratch.bytes.give(again);
    }

    /// Once through; gives how many bytes the parser took.
    fn pass(
        &self,
        at: At<'_>,
        scratch: &mut Scratch,
        pass: &Pass<'_>,
    ) -> Result<usize, DropReason> {
        let parsed = self.parse(at, scratch, pass)?;
        let payload = pass.data.get(parsed.bytes..).unwrap_or_default();
        scratch.run_control(at, self.control.function, payload)?;
        self.deparse(at, scratch, pass, parsed)
    }

    /// Up to where the control begins.
    fn parse(
        &self,
        at: At<'_>,
        scratch: &mut Scratch,
        pass: &Pass<'_>,
    ) -> Result<Parsed, DropReason> {
        scratch.local.begin(pass.round.length() as u64);
        self.parser.start(scratch, pass, 0);
        scratch.writer.clear();
        let mut reader = Reader::new(pass.data);
        let end = scratch.run(at, self.parser.function, &mut reader, &[])?;
        let error = match end {
            End::Rejected(error) => error.into(),
            _ => 0,
        };
        let payload = reader.rest();
        if let Some(pre) = &self.pre {
            pre.start(scratch, pass, error);
            scratch.run_control(at, pre.function, payload)?;
        }
        self.control.start(scratch, pass, error);
        let bytes = pass.data.len() - payload.len();
        Ok(Parsed { bytes, error })
    }

    /// What comes after the control; gives how many bytes the parser took.
    fn deparse(
        &self,
        at: At<'_>,
        scratch: &mut Scratch,
        pass: &Pass<'_>,
        parsed: Parsed,
    ) -> Result<usize, DropReason> {
        let payload = pass.data.get(parsed.bytes..).unwrap_or_default();
        self.deparser.start(scratch, pass, parsed.error);
        scratch.run_control(at, self.deparser.function, payload)?;
        Ok(parsed.bytes)
    }
}

/// Sends the mirrors that the program asked for, by their slots and sessions.
fn mirror(at: At<'_>, mirrors: &[(u64, u64)], sent: Sent<'_>, emit: &mut dyn FnMut(Output<'_>)) {
    for (_, session) in mirrors {
        if let Some(copies) = at.session(*session) {
            let truncate = copies.truncate;
            let sent = Sent { truncate, ..sent };
            copy(copies.replicas, SentKind::Clone, sent, emit);
        }
    }
}

/// Sends copies.
fn copy(to: &[Replica], kind: SentKind, sent: Sent<'_>, emit: &mut dyn FnMut(Output<'_>)) {
    for replica in to {
        let port = replica.port as u32;
        emit(Output::Sent(Sent { port, kind, ..sent }));
    }
}

#[cfg(test)]
mod tests;
