// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Live slots at the boundaries of basic blocks. The fields of a header are often read only if it is
//! valid: so there are two sets, that of all live slots, and that of slots of which the fields of headers
//! are live even if their header is invalid there. A pass clears all headers, and need not store the zeros
//! of the other fields.

use adit_p4_frontend::ir::{Inst, Layout, Program, Slot};

use super::graph::{effects, Graph, Slots};
use super::inline::{Inlined, Node};
use super::verbatim::Verbatim;
use crate::p4::effects::SlotRange;

/// The headers of a program that have fixed slots.
pub(super) struct Headers {
    /// The slot of each header's validity, which its fields follow, and the number of all slots; in order.
    runs: Vec<SlotRange>,
}

impl Headers {
    /// The headers in the parameters of a program's blocks; not those in stacks and unions.
    pub(super) fn new(program: &Program) -> Headers {
        let mut headers = Headers { runs: Vec::new() };
        for parameter in program.blocks.iter().flat_map(|block| &block.parameters) {
            headers.collect(&parameter.layout, parameter.slot);
        }
        headers.runs.sort_unstable();
        headers.runs.dedup();
        // Parameters of blocks may share slots; as one type only, or none of them is known.
        let all = headers.runs.clone();
        let overlaps = |a: &SlotRange, b: &SlotRange| a.0 < b.0 + b.1 && b.0 < a.0 + a.1;
        let is_apart =
            |run: &SlotRange| all.iter().filter(|other| overlaps(run, other)).count() == 1;
        headers.runs.retain(is_apart);
        headers
    }

    fn collect(&mut self, layout: &Layout, slot: Slot) {
        match layout {
            Layout::Struct(fields) => {
                for field in &fields.fields {
                    self.collect(&field.layout, slot + field.offset);
                }
            }
            Layout::Header(fields) => self.runs.push((slot, fields.limbs)),
            _ => {}
        }
    }

    /// The slot of each header's validity, which its fields follow, and the number of all slots.
    pub(super) fn runs(&self) -> &[SlotRange] {
        &self.runs
    }

    /// The header that has a slot.
    fn of(&self, slot: Slot) -> Option<SlotRange> {
        let n = self
            .runs
            .partition_point(|run| run.0 <= slot)
            .checked_sub(1)?;
        let run = self.runs[n];
        (slot < run.0 + run.1).then_some(run)
    }

    /// The slot of the validity of the header whose field a slot is.
    pub(super) fn validity_of(&self, slot: Slot) -> Option<Slot> {
        let (validity, _) = self.of(slot)?;
        (slot != validity).then_some(validity)
    }

    /// The headers whose validity is in a run.
    fn with_validity_in(&self, run: SlotRange) -> &[SlotRange] {
        let from = self.runs.partition_point(|header| header.0 < run.0);
        let to = self.runs.partition_point(|header| header.0 < run.0 + run.1);
        &self.runs[from..to]
    }
}

/// The effect of a step of a block on the sets of live slots, from its end to its start.
#[derive(Clone, Copy, Debug)]
enum Effect {
    Read(SlotRange),
    /// Of a header's fields, if it is valid.
    ReadIfValid(SlotRange),
    Write(SlotRange),
    /// A header becomes valid, keeping its fields; or it may.
    Validate(SlotRange),
    Invalidate(SlotRange),
}

/// A branch on a header's validity.
struct Test {
    header: SlotRange,
    if_valid: usize,
    if_invalid: usize,
}

/// The effects of a block, in reverse.
struct Summary {
    effects: Vec<Effect>,
    test: Option<Test>,
    ends: bool,
}

/// The fields of a header.
fn fields(header: SlotRange) -> SlotRange {
    (header.0 + 1, header.1 - 1)
}

/// The constant that an instruction writes to a slot.
pub(super) fn constant(
    inst: &Inst,
    slot: Slot,
    program: &Program,
    constants: &Slots,
) -> Option<u64> {
    match *inst {
        Inst::Zero { .. } => Some(0),
        Inst::Move { dst, src, .. } => {
            let src = src + (slot - dst);
            constants.has(src).then(|| program.frame[src as usize])
        }
        _ => None,
    }
}

/// Appends the effects of a node, in reverse.
fn append(
    node: &Node<'_>,
    program: &Program,
    headers: &Headers,
    constants: &Slots,
    verbatim: &Verbatim,
    to: &mut Vec<Effect>,
) {
    let inst = match node {
        Node::Plain(inst) | Node::Parse { inst, .. } => Some(*inst),
        _ => None,
    };
    let all = effects(node, program);
    for run in &all.writes {
        for header in headers.with_validity_in(*run) {
            match inst.and_then(|inst| constant(inst, header.0, program, constants)) {
                Some(0) => to.push(Effect::Invalidate(*header)),
                _ => to.push(Effect::Validate(*header)),
            }
        }
        to.push(Effect::Write(*run));
    }
    for run in &all.touches {
        for header in headers.with_validity_in(*run) {
            // An extraction that fails changes nothing, and one that succeeds writes all fields.
            let is_extraction = matches!(inst, Some(Inst::Extract { dst, .. })
                if *dst == header.0 && *run == *header);
            if !is_extraction {
                to.push(Effect::Validate(*header));
            }
        }
    }
    for run in &all.reads {
        match inst {
            Some(Inst::Emit { layout, src }) if headers.of(*src) == Some(*run) => {
                match verbatim.get(*src, *layout) {
                    Some(copied) => {
                        to.extend(copied.read.iter().map(|run| Effect::ReadIfValid(*run)))
                    }
                    None => to.push(Effect::ReadIfValid(fields(*run))),
                }
                to.push(Effect::Read((*src, 1)));
            }
            _ => to.push(Effect::Read(*run)),
        }
    }
}

/// The header whose validity a slot has at the end of nodes, behind copies of it.
fn tested(
    nodes: &[Node<'_>],
    mut slot: Slot,
    program: &Program,
    headers: &Headers,
) -> Option<SlotRange> {
    let mut from = nodes.len();
    let header = loop {
        if let Some(header) = headers.of(slot).filter(|header| header.0 == slot) {
            break header;
        }
        // The last node that writes it has to be a copy.
        let writes = |node: &Node<'_>| changes(node, slot, program);
        from = nodes[..from].iter().rposition(writes)?;
        match &nodes[from] {
            Node::Plain(Inst::Move { dst, src, .. }) => slot = src + (slot - dst),
            _ => return None,
        }
    };
    let mut behind = nodes[from..].iter();
    (!behind.any(|node| changes(node, header.0, program))).then_some(header)
}

/// Returns whether a node may write a slot.
fn changes(node: &Node<'_>, slot: Slot, program: &Program) -> bool {
    let all = effects(node, program);
    let mut runs = all.writes.iter().chain(&all.touches);
    runs.any(|(first, count)| (*first..first + count).contains(&slot))
}

impl Summary {
    fn new(
        graph: &Graph,
        n: usize,
        code: &Inlined<'_>,
        program: &Program,
        headers: &Headers,
        constants: &Slots,
        verbatim: &Verbatim,
    ) -> Summary {
        let range = graph.blocks[n].nodes.clone();
        let nodes = &code.nodes[range.clone()];
        let (mut list, mut ends, mut test) = (Vec::new(), false, None);
        for node in nodes.iter().rev() {
            append(node, program, headers, constants, verbatim, &mut list);
            ends |= matches!(node, Node::End) || code.has_loops && node.cost() > 0;
        }
        if let Some(Node::Branch { cond, when, to, .. }) = nodes.last() {
            let next = graph.at[range.end] as usize;
            let to = graph.at[*to as usize] as usize;
            let (if_valid, if_invalid) = if *when { (to, next) } else { (next, to) };
            let header = tested(&nodes[..nodes.len() - 1], *cond, program, headers);
            test = header.map(|header| Test {
                header,
                if_valid,
                if_invalid,
            });
        }
        Summary {
            effects: list,
            test,
            ends,
        }
    }
}

impl Graph {
    /// Computes liveness; `at_end` has the slots that are live after the program block.
    pub(super) fn live(
        &mut self,
        code: &Inlined<'_>,
        program: &Program,
        headers: &Headers,
        constants: &Slots,
        verbatim: &Verbatim,
        at_end: &Slots,
    ) {
        let slots = program.frame.len();
        let summaries: Vec<Summary> = (0..self.blocks.len())
            .map(|n| Summary::new(self, n, code, program, headers, constants, verbatim))
            .collect();
        let mut is_changed = true;
        while is_changed {
            is_changed = false;
            for n in (0..self.blocks.len()).rev() {
                let summary = &summaries[n];
                let (mut any, mut invalid) = (Slots::new(slots), Slots::new(slots));
                if summary.ends {
                    any.add_all(at_end);
                    invalid.add_all(at_end);
                }
                for next in &self.blocks[n].next {
                    any.add_all(&self.blocks[*next].live_in);
                    invalid.add_all(&self.blocks[*next].live_in_if_invalid);
                }
                if let Some(test) = &summary.test {
                    // Each way is taken in one state only.
                    let run = fields(test.header);
                    let valid = &self.blocks[test.if_valid].live_in;
                    let not = &self.blocks[test.if_invalid].live_in_if_invalid;
                    any.copy(run, valid);
                    any.add_run_of(run, not);
                    invalid.copy(run, not);
                    if summary.ends {
                        any.add_run_of(run, at_end);
                        invalid.add_run_of(run, at_end);
                    }
                }
                let block = &mut self.blocks[n];
                is_changed |= block.live_out.add_all(&any);
                is_changed |= block.live_out_if_invalid.add_all(&invalid);
                for effect in &summary.effects {
                    match *effect {
                        Effect::Read(run) => {
                            any.add(run);
                            invalid.add(run);
                        }
                        Effect::ReadIfValid(run) => any.add(run),
                        Effect::Write(run) => {
                            any.remove(run);
                            invalid.remove(run);
                        }
                        Effect::Validate(header) => invalid.copy(fields(header), &any),
                        Effect::Invalidate(header) => any.copy(fields(header), &invalid),
                    }
                }
                if summary.ends {
                    any.add_all(at_end);
                    invalid.add_all(at_end);
                }
                is_changed |= block.live_in.add_all(&any);
                is_changed |= block.live_in_if_invalid.add_all(&invalid);
            }
        }
    }
}
