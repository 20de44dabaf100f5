// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Basic blocks and data flow at their boundaries: live slots, and whether an end may be pending.

use adit_p4_frontend::ir::{Inst, Program, Slot};

use super::inline::{Inlined, Node};
use super::Untranslated;
use crate::p4::effects::{Effects, SlotRange};

/// Maximum number of words of all sets of slots.
const MAX_WORDS: usize = 8 << 20;

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

    fn remove(&mut self, (first, count): SlotRange) {
        for slot in first..first + count {
            self.0[slot as usize / 64] &= !(1 << (slot % 64));
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
    /// The only predecessor, if it precedes this block.
    pub(super) parent: Option<usize>,
    pub(super) is_reached: bool,
    /// Set if no end is pending at its start: neither `exit` nor an error.
    pub(super) no_pending_end: bool,
    /// Slots that are live at its start.
    pub(super) live_in: Slots,
    /// Slots that are live at its end.
    pub(super) live_out: Slots,
}

/// The control-flow graph of a program block.
pub(super) struct Graph {
    pub(super) blocks: Vec<Block>,
    /// The block of each node.
    pub(super) at: Vec<u32>,
}

fn effects(node: &Node<'_>, program: &Program) -> Effects {
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

/// Checks the size of the sets of slots: two for each block, and two while liveness is computed.
fn check_size(blocks: usize, slots: usize) -> Result<(), Untranslated> {
    match blocks * slots.div_ceil(64) * 4 {
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
                    parent: None,
                    is_reached: false,
                    no_pending_end: true,
                    live_in: Slots::default(),
                    live_out: Slots::default(),
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
        let mut from = vec![0usize; self.blocks.len()];
        let mut open = vec![0];
        self.blocks[0].is_reached = true;
        from[0] = 2;
        while let Some(n) = open.pop() {
            for next in self.blocks[n].next.clone() {
                from[next] += 1;
                let block = &mut self.blocks[next];
                block.parent = (from[next] == 1 && n < next).then_some(n);
                if !block.is_reached {
                    block.is_reached = true;
                    open.push(next);
                }
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

    /// Computes liveness; `at_end` has the slots that are live after the program block.
    pub(super) fn live(&mut self, code: &Inlined<'_>, program: &Program, at_end: &Slots) {
        let slots = program.frame.len();
        let mut sums = Vec::new();
        for block in &self.blocks {
            let (mut reads, mut writes) = (Slots::new(slots), Slots::new(slots));
            let mut ends = false;
            for node in code.nodes[block.nodes.clone()].iter().rev() {
                let effects = effects(node, program);
                for run in effects.writes {
                    reads.remove(run);
                    writes.add(run);
                }
                for run in effects.reads {
                    reads.add(run);
                }
                ends |= matches!(node, Node::End) || code.has_loops && node.cost() > 0;
            }
            sums.push((reads, writes, ends));
        }
        let mut is_changed = true;
        while is_changed {
            is_changed = false;
            for n in (0..self.blocks.len()).rev() {
                let (reads, writes, ends) = &sums[n];
                let mut out = Slots::new(slots);
                if *ends {
                    out.add_all(at_end);
                }
                for next in &self.blocks[n].next {
                    out.add_all(&self.blocks[*next].live_in);
                }
                let block = &mut self.blocks[n];
                is_changed |= block.live_out.add_all(&out);
                for (word, written) in out.0.iter_mut().zip(&writes.0) {
                    *word &= !written;
                }
                if *ends {
                    out.add_all(at_end);
                }
                out.add_all(reads);
                is_changed |= block.live_in.add_all(&out);
            }
        }
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
            "a block has 8192 basic blocks and 16385 slots: their liveness takes 8421376 words, \
             of 8388608 at most"
        );
    }
}
