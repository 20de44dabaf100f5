// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A block's code as one list, with all calls inlined. P4 has no recursion, so that this
//! terminates.

use adit_p4_frontend::ir::{FunctionId, Inst, Program, Slot};

use super::Untranslated;
use crate::p4::code::through;

/// Maximum number of nodes of a block: a program that exceeds it is interpreted.
const MAX_NODES: usize = 32 << 10;
/// Maximum depth of calls: the inliner recurses for each level.
const MAX_DEPTH: usize = 128;

/// An instruction, or the inlined form of calls and jumps. Targets are indices of
/// [`Inlined::nodes`]; `cost` is the number of steps that an edge adds, as the interpreter counts
/// them.
#[derive(Clone, Debug)]
pub(super) enum Node<'p> {
    /// An instruction followed by the next one.
    Plain(&'p Inst),
    /// An instruction that may end parsing; if an end is pending after it, control continues at
    /// `to`.
    Parse {
        inst: &'p Inst,
        to: u32,
        cost: u32,
    },
    /// The beginning of a call.
    Cost(u32),
    Jump {
        to: u32,
        cost: u32,
    },
    Branch {
        cond: Slot,
        when: bool,
        to: u32,
        cost: u32,
    },
    IfEnding {
        to: u32,
        cost: u32,
    },
    /// Continues with the code of the selected action; `arms` are indexed by action.
    Apply {
        table: u32,
        hit: Slot,
        action: Slot,
        arms: Vec<u32>,
    },
    End,
}

impl Node<'_> {
    /// Returns whether the next node begins a block.
    pub(super) fn is_last(&self) -> bool {
        !matches!(self, Node::Plain(_) | Node::Cost(_))
    }

    fn set_to(&mut self, place: u32) {
        match self {
            Node::Parse { to, .. }
            | Node::Jump { to, .. }
            | Node::Branch { to, .. }
            | Node::IfEnding { to, .. } => *to = place,
            _ => {}
        }
    }

    /// The cost of the node's jump or call in steps.
    pub(super) fn cost(&self) -> u32 {
        match self {
            Node::Cost(cost)
            | Node::Parse { cost, .. }
            | Node::Jump { cost, .. }
            | Node::Branch { cost, .. }
            | Node::IfEnding { cost, .. } => *cost,
            _ => 0,
        }
    }
}

/// The inlined code of a block.
pub(super) struct Inlined<'p> {
    program: &'p Program,
    pub(super) nodes: Vec<Node<'p>>,
    /// Set if it has back-edges: only then are steps counted.
    pub(super) has_loops: bool,
}

impl<'p> Inlined<'p> {
    pub(super) fn new(program: &'p Program, of: FunctionId) -> Result<Inlined<'p>, Untranslated> {
        let mut inlined = Inlined {
            program,
            nodes: Vec::new(),
            has_loops: false,
        };
        inlined.function(of, 0)?;
        inlined.nodes.push(Node::End);
        Ok(inlined)
    }

    fn here(&self) -> u32 {
        self.nodes.len() as u32
    }

    fn call(&mut self, function: FunctionId, depth: usize) -> Result<(), Untranslated> {
        let length = self.program.functions[function as usize].code.len();
        self.nodes.push(Node::Cost(length as u32 + 1));
        self.function(function, depth + 1)
    }

    /// Appends a function's code; its returns continue after it.
    fn function(&mut self, function: FunctionId, depth: usize) -> Result<(), Untranslated> {
        let code = &self.program.functions[function as usize].code;
        if depth > MAX_DEPTH || self.nodes.len() + code.len() > MAX_NODES {
            return Err(Untranslated::TooLong(MAX_NODES));
        }
        let mut starts = Vec::with_capacity(code.len() + 1);
        // Nodes with a target, and the target's index in the function.
        let mut jumps = Vec::new();
        let mut n = 0;
        while let Some(inst) = code.get(n) {
            starts.push(self.here());
            let place = self.nodes.len();
            let mut go = |at: usize, to: u32| {
                let to = through(code, to);
                jumps.push((place, (to as usize).min(code.len())));
                let cost = (at as u32 + 1).saturating_sub(to);
                self.has_loops |= cost > 0;
                cost
            };
            let node = match (inst, code.get(n + 1)) {
                (
                    Inst::Extract { .. } | Inst::Lookahead { .. } | Inst::Advance { .. },
                    Some(Inst::IfEnding { to }),
                ) => {
                    // A jump to the second instruction lands after the first.
                    let cost = go(n + 1, *to);
                    Node::Parse { inst, to: 0, cost }
                }
                (Inst::Jump { to }, _) => {
                    let cost = go(n, *to);
                    Node::Jump { to: 0, cost }
                }
                (Inst::Branch { cond, when, to }, _) => {
                    let cost = go(n, *to);
                    Node::Branch {
                        cond: *cond,
                        when: *when,
                        to: 0,
                        cost,
                    }
                }
                (Inst::IfEnding { to }, _) => {
                    let cost = go(n, *to);
                    Node::IfEnding { to: 0, cost }
                }
                (Inst::Return, _) => {
                    jumps.push((place, code.len()));
                    Node::Jump { to: 0, cost: 0 }
                }
                (Inst::Call { function }, _) => {
                    self.call(*function, depth)?;
                    n += 1;
                    continue;
                }
                (Inst::Apply { table, hit, action }, _) => {
                    self.apply(*table, *hit, *action, depth)?;
                    n += 1;
                    continue;
                }
                _ => Node::Plain(inst),
            };
            self.nodes.push(node);
            n += 1;
        }
        starts.push(self.here());
        for (node, to) in jumps {
            let place = starts[to];
            self.nodes[node].set_to(place);
        }
        Ok(())
    }

    /// Appends a table's lookup, then the code of each of its actions.
    fn apply(
        &mut self,
        table: u32,
        hit: Slot,
        action: Slot,
        depth: usize,
    ) -> Result<(), Untranslated> {
        let place = self.nodes.len();
        self.nodes.push(Node::End);
        let mut begun: Vec<(FunctionId, u32)> = Vec::new();
        let mut arms = Vec::new();
        let mut leave = Vec::new();
        for choice in &self.program.tables[table as usize].actions {
            let known = begun.iter().find(|known| known.0 == choice.function);
            if let Some((_, start)) = known {
                arms.push(*start);
                continue;
            }
            let start = self.here();
            begun.push((choice.function, start));
            arms.push(start);
            self.call(choice.function, depth)?;
            leave.push(self.nodes.len());
            self.nodes.push(Node::Jump { to: 0, cost: 0 });
        }
        let after = self.here();
        for node in leave {
            self.nodes[node].set_to(after);
        }
        self.nodes[place] = Node::Apply {
            table,
            hit,
            action,
            arms,
        };
        Ok(())
    }
}
