// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Basic blocks and data flow at their boundaries: live slots, and whether an end may be pending.

use adit_p4_frontend::ir::{Inst, Program, Slot};

use super::inline::{Inlined, Node};
use super::Untranslated;
use crate::p4::effects::{Effects, SlotRange};

/// Maximum number of words of all sets of slots.
const MAX_WORDS: usize = 12 << 20;

/// A set of slots.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Slots(Vec<u64>);

impl Slots {
    pub(super) fn new(count: usize) -> Slots {
        Slots(vec![0; count.div_ceil(64)])
    }

    pub(super) fn has(&self, slot: Slot) -> bool {
        self.0[slot as usize / 64] >> (slot % 64) & 1 == 1
    }

    pub(super) fn add(&mut self, (first, count): SlotRange) {
        for slot in first..first + count {
            self.0[slot as usize / 64] |= 1 << (slot % 64);
        }
    }

    pub(super) fn remove(&mut self, (first, count): SlotRange) {
        for slot in first..first + count {
            self.0[slot as usize / 64] &= !(1 << (slot % 64));
        }
    }

    /// Makes a run that of another set.
    pub(super) fn copy(&mut self, run: SlotRange, others: &Slots) {
        self.remove(run);
        self.add_run_of(run, others);
    }

    /// Adds a run of another set.
    pub(super) fn add_run_of(&mut self, (first, count): SlotRange, others: &Slots) {
        for slot in first..first + count {
            self.0[slot as usize / 64] |= others.0[slot as usize / 64] & 1 << (slot % 64);
        }
    }

    /// Adds another set. Returns whether this one has grown.
    pub(super) fn add_all(&mut self, others: &Slots) -> bool {
        let mut grown = false;
        for (mine, other) in self.0.iter_mut().zip(&others.0) {
            grown |= *other & !*mine != 0;
            *mine |= other;
        }
        grown
    }
}

/// A basic block.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) nodes: std::ops::Range<usize>,
    /// The successors, each once.
    pub(super) next: Vec<usize>,
    /// The predecessors, each once, if all of them precede this block; otherwise none.
    pub(super) before: Vec<usize>,
    pub(super) is_reached: bool,
    /// Set if no end is pending at its start: neither `exit` nor an error.
    pub(super) no_pending_end: bool,
    /// Slots that are live at its start.
    pub(super) live_in: Slots,
    /// Slots that are live at its end.
    pub(super) live_out: Slots,
    /// The same; but of the fields of headers those that are live even if their header is invalid.
    pub(super) live_in_if_invalid: Slots,
    pub(super) live_out_if_invalid: Slots,
}

/// The control-flow graph of a program block.
pub(super) struct Graph {
    pub(super) blocks: Vec<Block>,
    /// The block of each node.
    pub(super) at: Vec<u32>,
}

pub(super) fn effects(node: &Node<'_>, program: &Program) -> Effects {
    match node {
        Node::Plain(inst) | Node::Parse { inst, .. } => Effects::of(inst, program),
        Node::Branch { cond, .. } => Effects {
            reads: vec![(*cond, 1)],
            ..Effects::default()
        },
        Node::Apply {
            table, hit, action, ..
        } => Effects::of_table(*table, *hit, *action, program),
        Node::Cost(_) | Node::Jump { .. } | Node::IfEnding { .. } | Node::End => Effects::default(),
    }
}

/// Checks the size of the sets of slots: four for each block, and two while liveness is computed.
fn check_size(blocks: usize, slots: usize) -> Result<(), Untranslated> {
    match blocks * slots.div_ceil(64) * 6 {
        words if words > MAX_WORDS => Err(Untranslated::TooManySlots {
            blocks,
            slots,
            words,
            max: MAX_WORDS,
        }),
        _ => Ok(()),
    }
}

impl Graph {
    pub(super) fn new(code: &Inlined<'_>, program: &Program) -> Result<Graph, Untranslated> {
        let nodes = &code.nodes;
        let mut begins = vec![false; nodes.len() + 1];
        begins[0] = true;
        for (n, node) in nodes.iter().enumerate() {
            begins[n + 1] |= node.is_last();
            for to in successors(node, n) {
                begins[to as usize] = true;
            }
        }
        let (mut blocks, mut at) = (Vec::<Block>::new(), Vec::new());
        for (n, begins) in begins[..nodes.len()].iter().enumerate() {
            if *begins {
                blocks.push(Block {
                    nodes: n..n,
                    next: Vec::new(),
                    before: Vec::new(),
                    is_reached: false,
                    no_pending_end: true,
                    live_in: Slots::default(),
                    live_out: Slots::default(),
                    live_in_if_invalid: Slots::default(),
                    live_out_if_invalid: Slots::default(),
                });
            }
            let current = blocks.len() - 1;
            blocks[current].nodes.end = n + 1;
            at.push(current as u32);
        }
        let slots = program.frame.len();
        check_size(blocks.len(), slots)?;
        for block in &mut blocks {
            (block.live_in, block.live_out) = (Slots::new(slots), Slots::new(slots));
            block.live_in_if_invalid = Slots::new(slots);
            block.live_out_if_invalid = Slots::new(slots);
            let last = block.nodes.end - 1;
            let mut next = successors(&nodes[last], last);
            if !nodes[last].is_last() {
                next.push(last as u32 + 1);
            }
            block.next = next.iter().map(|n| at[*n as usize] as usize).collect();
            block.next.sort_unstable();
            block.next.dedup();
        }
        let mut graph = Graph { blocks, at };
        graph.reach();
        graph.find_pending_ends(code);
        Ok(graph)
    }

    fn reach(&mut self) {
        let mut open = vec![0];
        self.blocks[0].is_reached = true;
        while let Some(n) = open.pop() {
            for next in self.blocks[n].next.clone() {
                let block = &mut self.blocks[next];
                block.before.push(n);
                if !block.is_reached {
                    block.is_reached = true;
                    open.push(next);
                }
            }
        }
        for (n, block) in self.blocks.iter_mut().enumerate() {
            // The first block begins a run, too.
            if n == 0 || block.before.iter().any(|before| *before >= n) {
                block.before.clear();
            }
        }
    }

    /// Computes the blocks at whose start no end can be pending.
    fn find_pending_ends(&mut self, code: &Inlined<'_>) {
        let mut open: Vec<usize> = (0..self.blocks.len()).collect();
        while let Some(n) = open.pop() {
            if !self.blocks[n].is_reached {
                continue;
            }
            let nodes = self.blocks[n].nodes.clone();
            let last = nodes.end - 1;
            let no_pending_end =
                no_pending_end_after(self.blocks[n].no_pending_end, &code.nodes[nodes]);
            for next in self.blocks[n].next.clone() {
                let after = match &code.nodes[last] {
                    // On fall-through no end is pending, unless both edges lead to the same block.
                    Node::IfEnding { to, .. } | Node::Parse { to, .. } => {
                        self.at[*to as usize] as usize != next
                    }
                    _ => no_pending_end,
                };
                if self.blocks[next].no_pending_end && !after {
                    self.blocks[next].no_pending_end = false;
                    open.push(next);
                }
            }
        }
    }

    /// Returns whether two of some nodes, or one of them twice, may be executed in one run.
    pub(super) fn may_repeat(
        &self,
        code: &Inlined<'_>,
        is_one: impl Fn(&Node<'_>) -> bool,
    ) -> bool {
        let count = |block: &Block| {
            let nodes = code.nodes[block.nodes.clone()].iter();
            nodes.filter(|node| is_one(node)).count()
        };
        let counts: Vec<usize> = self.blocks.iter().map(count).collect();
        let mut open: Vec<usize> = Vec::new();
        for (block, count) in self.blocks.iter().zip(&counts) {
            match (block.is_reached, count) {
                (false, _) | (true, 0) => {}
                (true, 1) => open.extend(&block.next),
                _ => return true,
            }
        }
        let mut behind = vec![false; self.blocks.len()];
        while let Some(n) = open.pop() {
            if counts[n] > 0 {
                return true;
            }
            if !std::mem::replace(&mut behind[n], true) {
                open.extend(&self.blocks[n].next);
            }
        }
        false
    }
}

/// Returns whether no end is pending after nodes, given the state before them.
pub(super) fn no_pending_end_after(before: bool, nodes: &[Node<'_>]) -> bool {
    nodes
        .iter()
        .fold(before, |no_pending_end, node| match node {
            Node::Plain(Inst::EndBlock { .. }) => true,
            Node::Plain(inst) => no_pending_end && !may_end(inst),
            _ => no_pending_end,
        })
}

/// Returns whether an end may be pending after an instruction.
fn may_end(inst: &Inst) -> bool {
    matches!(
        inst,
        Inst::Exit
            | Inst::Reject { .. }
            | Inst::Extract { .. }
            | Inst::Lookahead { .. }
            | Inst::Advance { .. }
    )
}

/// The jump targets of a block's last node.
fn successors(node: &Node<'_>, n: usize) -> Vec<u32> {
    let next = n as u32 + 1;
    match node {
        Node::Jump { to, .. } => vec![*to],
        Node::Branch { to, .. } | Node::IfEnding { to, .. } | Node::Parse { to, .. } => {
            vec![*to, next]
        }
        Node::Apply { arms, .. } => arms.clone(),
        Node::Plain(_) | Node::Cost(_) | Node::End => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_what_is_too_large() {
        assert_eq!(check_size(8192, 16_384), Ok(()));
        let refused = check_size(8192, 16_385).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "a block has 8192 basic blocks and 16385 slots: their liveness takes 12632064 words, \
             of 12582912 at most"
        );
    }
}
