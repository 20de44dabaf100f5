// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The interpreter's code, generated from the intermediate representation when a program is loaded.
//!
//! It has one step for each instruction, plus a return for each function. A fused instruction
//! replaces the first of several; the others remain, since jumps may target them. Rare
//! instructions, and those on more than 64 bits, remain in the intermediate representation.

use adit_p4_frontend::ir::{Cmp, FunctionId, Inst, Op, Program, Slot, Table};

use super::bits;

/// A comparison of values of one limb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Eq,
    Ne,
    Lt,
    Le,
    /// A signed comparison, with the operands' width.
    SignedLt(u8),
    SignedLe(u8),
}

/// An instruction. Jump targets are indices of [`Code::list`]; back-edges cost steps.
#[derive(Clone, Copy, Debug, PartialEq)]
#[rustfmt::skip]
pub(super) enum Step {
    Move { dst: Slot, src: Slot },
    /// Two successive moves.
    Moves { dst: Slot, src: Slot, dst2: Slot, src2: Slot },
    Copy { dst: Slot, src: Slot, limbs: u32 },
    Zero { dst: Slot, limbs: u32 },
    Compare { test: Test, dst: Slot, a: Slot, b: Slot },
    /// A comparison fused with a forward branch on its result.
    CompareBranch { test: Test, when: bool, dst: Slot, a: Slot, b: Slot, to: u32 },
    /// The same with the negated result in the next slot, and a forward branch on that.
    CompareNotBranch { test: Test, when: bool, dst: Slot, a: Slot, b: Slot, to: u32 },
    /// A move fused with a forward branch on the value.
    MoveBranch { when: bool, dst: Slot, src: Slot, to: u32 },
    And { dst: Slot, a: Slot, b: Slot },
    Add { width: u8, dst: Slot, a: Slot, b: Slot },
    Sub { width: u8, dst: Slot, a: Slot, b: Slot },
    LogicalNot { dst: Slot, a: Slot },
    Jump { to: u32, cost: u32 },
    Branch { when: bool, cond: Slot, to: u32, cost: u32 },
    IfEnding { to: u32, cost: u32 },
    Call { function: FunctionId },
    Return,
    Exit,
    EndBlock { error: Slot },
    Reject { error: Slot },
    Apply { table: u32, hit: Slot, action: Slot },
    Extern { call: u32 },
    Extract { layout: u32, dst: Slot },
    /// An extraction with a varbit, whose length is in a slot.
    ExtractVarbit { layout: u32, dst: Slot, length: Slot },
    Emit { layout: u32, src: Slot },
    /// An instruction in the intermediate representation, by its index in [`Code::others`].
    Other { at: u32 },
}

/// The entry of a function.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) at: u32,
    /// The number of steps of a run without back-edges.
    pub(super) cost: u32,
}

/// A program's functions.
#[derive(Clone, Debug, Default)]
pub(super) struct Code {
    pub(super) list: Vec<Step>,
    pub(super) entries: Vec<Entry>,
    pub(super) others: Vec<Inst>,
    /// The actions' functions, indexed by table and action.
    actions: Vec<Vec<FunctionId>>,
}

impl Test {
    fn new(cmp: Cmp, width: u32) -> Test {
        match cmp {
            Cmp::Eq => Test::Eq,
            Cmp::Ne => Test::Ne,
            Cmp::Lt(false) => Test::Lt,
            Cmp::Le(false) => Test::Le,
            Cmp::Lt(true) => Test::SignedLt(width as u8),
            Cmp::Le(true) => Test::SignedLe(width as u8),
        }
    }

    #[inline]
    pub(super) fn holds(self, a: u64, b: u64) -> bool {
        let signed = |value, width: u8| bits::signed(value, width.into());
        match self {
            Test::Eq => a == b,
            Test::Ne => a != b,
            Test::Lt => a < b,
            Test::Le => a <= b,
            Test::SignedLt(width) => signed(a, width) < signed(b, width),
            Test::SignedLe(width) => signed(a, width) <= signed(b, width),
        }
    }
}

impl Code {
    pub(super) fn new(program: &Program) -> Code {
        let functions = |table: &Table| table.actions.iter().map(|a| a.function).collect();
        let mut code = Code {
            actions: program.tables.iter().map(functions).collect(),
            ..Code::default()
        };
        for function in &program.functions {
            let (at, cost) = (code.list.len() as u32, function.code.len() as u32 + 1);
            code.entries.push(Entry { at, cost });
            for n in 0..function.code.len() {
                let step = code.step(&function.code, n, at);
                code.list.push(step);
            }
            code.list.push(Step::Return);
        }
        code
    }

    /// Returns the entry of a table's action.
    #[inline]
    pub(super) fn action(&self, table: u32, action: u32) -> Entry {
        self.entries[self.actions[table as usize][action as usize] as usize]
    }

    /// Converts the instruction at `n` of a function that begins at `base`.
    fn step(&mut self, of: &[Inst], n: usize, base: u32) -> Step {
        let edge = |to: u32| {
            let to = through(of, to);
            // Targets beyond the function's end are clamped to it.
            (
                base + to.min(of.len() as u32),
                (n as u32 + 1).saturating_sub(to),
            )
        };
        let forward = |to| match edge(to) {
            (to, 0) if to > base + n as u32 + 2 => Some(to),
            _ => None,
        };
        match of[n] {
            Inst::Move { dst, src, limbs: 1 } => match of.get(n + 1) {
                Some(Inst::Branch { cond, when, to }) if *cond == dst => match forward(*to) {
                    Some(to) => Step::MoveBranch {
                        when: *when,
                        dst,
                        src,
                        to,
                    },
                    None => Step::Move { dst, src },
                },
                Some(Inst::Move {
                    dst: dst2,
                    src: src2,
                    limbs: 1,
                }) => Step::Moves {
                    dst,
                    src,
                    dst2: *dst2,
                    src2: *src2,
                },
                _ => Step::Move { dst, src },
            },
            Inst::Move { dst, src, limbs } => Step::Copy { dst, src, limbs },
            Inst::Zero { dst, limbs } => Step::Zero { dst, limbs },
            Inst::Compare {
                cmp,
                dst,
                a,
                b,
                width,
            } if width <= 64 => {
                let test = Test::new(cmp, width);
                match (of.get(n + 1), of.get(n + 2)) {
                    (Some(Inst::Branch { cond, when, to }), _) if *cond == dst => {
                        if let Some(to) = forward(*to) {
                            let when = *when;
                            return Step::CompareBranch {
                                test,
                                when,
                                dst,
                                a,
                                b,
                                to,
                            };
                        }
                    }
                    (
                        Some(Inst::LogicalNot { dst: not, a: of }),
                        Some(Inst::Branch { cond, when, to }),
                    ) if *of == dst && *not == dst + 1 && cond == not => {
                        if let Some(to) = forward(*to) {
                            let when = *when;
                            return Step::CompareNotBranch {
                                test,
                                when,
                                dst,
                                a,
                                b,
                                to,
                            };
                        }
                    }
                    _ => {}
                }
                Step::Compare { test, dst, a, b }
            }
            Inst::Binary {
                op,
                dst,
                a,
                b,
                width,
            } if width <= 64 => {
                let width = width as u8;
                match op {
                    Op::And => Step::And { dst, a, b },
                    Op::Add => Step::Add { width, dst, a, b },
                    Op::Sub => Step::Sub { width, dst, a, b },
                    _ => self.other(&of[n]),
                }
            }
            Inst::LogicalNot { dst, a } => Step::LogicalNot { dst, a },
            Inst::Jump { to } => {
                let (to, cost) = edge(to);
                Step::Jump { to, cost }
            }
            Inst::Branch { cond, when, to } => {
                let (to, cost) = edge(to);
                Step::Branch {
                    when,
                    cond,
                    to,
                    cost,
                }
            }
            Inst::IfEnding { to } => {
                let (to, cost) = edge(to);
                Step::IfEnding { to, cost }
            }
            Inst::Call { function } => Step::Call { function },
            Inst::Return => Step::Return,
            Inst::Exit => Step::Exit,
            Inst::EndBlock { error } => Step::EndBlock { error },
            Inst::Reject { error } => Step::Reject { error },
            Inst::Apply { table, hit, action } => Step::Apply { table, hit, action },
            Inst::Extern { call } => Step::Extern { call },
            Inst::Extract {
                layout,
                dst,
                length: None,
            } => Step::Extract { layout, dst },
            Inst::Extract {
                layout,
                dst,
                length: Some(length),
            } => Step::ExtractVarbit {
                layout,
                dst,
                length,
            },
            Inst::Emit { layout, src } => Step::Emit { layout, src },
            ref other => self.other(other),
        }
    }

    fn other(&mut self, inst: &Inst) -> Step {
        let at = self.others.len() as u32;
        self.others.push(inst.clone());
        Step::Other { at }
    }
}

/// Returns the final target of a jump to `to` through a chain of forward jumps.
pub(super) fn through(code: &[Inst], mut to: u32) -> u32 {
    while let Some(Inst::Jump { to: next }) = code.get(to as usize) {
        if *next <= to {
            break;
        }
        to = *next;
    }
    to
}
