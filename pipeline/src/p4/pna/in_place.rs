// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Copy elimination for a sub-parser that the main parser calls: its output is written directly to its
//! destination. Headers have many limbs, and were written just before.

use adit_p4_frontend::ir::{Block, FunctionId, Inst, Program, Slot};

use crate::p4::effects::{Effects, SlotRange};

/// A run of limbs that is cleared, passed to a sub-parser, and copied to its destination.
#[derive(Clone, Copy, Debug)]
struct Copied {
    from: Slot,
    to: Slot,
    limbs: u32,
    /// The indices of the instructions that clear and copy.
    clear: usize,
    copy: usize,
}

fn overlaps(a: SlotRange, b: SlotRange) -> bool {
    a.0 < b.0 + b.1 && b.0 < a.0 + a.1
}

fn contains(a: SlotRange, b: SlotRange) -> bool {
    a.0 <= b.0 && b.0 + b.1 <= a.0 + a.1
}

/// Returns all runs of the frame that an instruction accesses.
fn runs(inst: &Inst, program: &Program) -> Vec<SlotRange> {
    let effects = match inst {
        Inst::Apply { table, hit, action } => Effects::of_table(*table, *hit, *action, program),
        Inst::Branch { cond, .. } => return vec![(*cond, 1)],
        _ => Effects::of(inst, program),
    };
    let Effects {
        reads,
        writes,
        touches,
    } = effects;
    [reads, writes, touches].concat()
}

/// Returns a function with all its callees, or `None` if any other function calls one of them.
fn own(program: &Program, first: FunctionId) -> Option<Vec<FunctionId>> {
    let calls = |function: FunctionId| {
        let code = &program.functions[function as usize].code;
        code.iter().filter_map(|inst| match inst {
            Inst::Call { function } => Some(*function),
            _ => None,
        })
    };
    let mut own = vec![first];
    let mut n = 0;
    while let Some(function) = own.get(n) {
        for called in calls(*function) {
            if !own.contains(&called) {
                own.push(called);
            }
        }
        n += 1;
    }
    let others = (0..program.functions.len() as u32).filter(|f| !own.contains(f));
    let from_others = others.flat_map(calls).filter(|f| own.contains(f));
    let is_action = |function| {
        let actions = program.tables.iter().flat_map(|t| &t.actions);
        actions.into_iter().any(|a| a.function == function)
    };
    let is_block = |function| program.blocks.iter().any(|b| b.function == function);
    let is_own = from_others.eq([first]) && !own.iter().any(|f| is_action(*f) || is_block(*f));
    is_own.then_some(own)
}

/// A call of a sub-parser, and the runs copied after it.
struct Called {
    function: FunctionId,
    /// The index of the call.
    at: usize,
    copies: Vec<Copied>,
}

/// Finds the first call of a sub-parser whose outputs are copied. The parser must clear some slots,
/// call, and copy, with no jumps between these instructions, and without back-edges to them or to what
/// is before: so the call is executed once at most, after instructions in front of it.
fn copied(code: &[Inst]) -> Option<Called> {
    let calls = code.iter().enumerate().filter_map(|(n, inst)| match inst {
        Inst::Call { function } => Some((n, *function)),
        _ => None,
    });
    calls
        .into_iter()
        .find_map(|(n, f)| copied_after(code, n, f))
}

fn copied_after(code: &[Inst], call: usize, function: FunctionId) -> Option<Called> {
    let mut cleared: Vec<(usize, SlotRange)> = Vec::new();
    let mut start = call;
    for (at, inst) in code[..call].iter().enumerate().rev() {
        match inst {
            Inst::Jump { to } if *to as usize == at + 1 => {}
            Inst::Zero { dst, limbs } => {
                cleared.push((at, (*dst, *limbs)));
                start = at;
            }
            _ => break,
        }
    }
    let mut copies = Vec::new();
    let mut at = call + 1;
    while let Some(Inst::Move { dst, src, limbs }) = code.get(at) {
        if let Some((clear, _)) = cleared.iter().find(|(_, run)| *run == (*src, *limbs)) {
            copies.push(Copied {
                from: *src,
                to: *dst,
                limbs: *limbs,
                clear: *clear,
                copy: at,
            });
        }
        at += 1;
    }
    let is_wrong = |from: usize, to: usize| {
        to != from + 1 && to < at && (to <= from || (start + 1..at).contains(&to))
    };
    let may_repeat = code.iter().enumerate().any(|(n, inst)| match inst {
        Inst::Jump { to } | Inst::Branch { to, .. } | Inst::IfEnding { to } => {
            is_wrong(n, *to as usize)
        }
        _ => false,
    });
    (!copies.is_empty() && !may_repeat).then_some(Called {
        function,
        at: call,
        copies,
    })
}

/// Returns the functions that some code calls, with all their callees.
fn callees(program: &Program, code: &[Inst]) -> Vec<FunctionId> {
    let mut found: Vec<FunctionId> = Vec::new();
    let mut open = vec![code];
    while let Some(code) = open.pop() {
        for inst in code {
            if let Inst::Call { function } = inst {
                if !found.contains(function) {
                    found.push(*function);
                    open.push(&program.functions[*function as usize].code);
                }
            }
        }
    }
    found
}

/// Removes the copies from the parser's code. Returns the runs to relocate: source, destination,
/// number of limbs. Eligible destinations are in the parameters that the architecture clears before
/// the parser runs.
pub(super) fn take_out(program: &mut Program, parser: &Block) -> Vec<(Slot, Slot, u32)> {
    let code = &program.functions[parser.function as usize].code;
    let Some(Called {
        function,
        at,
        copies,
    }) = copied(code)
    else {
        return Vec::new();
    };
    let Some(own) = own(program, function) else {
        return Vec::new();
    };
    let before = callees(program, &code[..at]);
    let parameters = |block: &Block| -> Vec<SlotRange> {
        let each = block.parameters.iter();
        each.map(|p| (p.slot, p.layout.limbs())).collect()
    };
    let cleared = &parameters(parser)[..2.min(parser.parameters.len())];
    let is_free = |copied: &Copied| {
        let (from, to) = ((copied.from, copied.limbs), (copied.to, copied.limbs));
        let all = program.blocks.iter().flat_map(parameters);
        let is_apart = all.into_iter().all(|run| !overlaps(run, from));
        let others = copies.iter().filter(|other| other.copy != copied.copy);
        let is_only = others.into_iter().all(|other| {
            let runs = [(other.from, other.limbs), (other.to, other.limbs)];
            runs.iter()
                .all(|run| !overlaps(*run, from) && !overlaps(*run, to))
        });
        let keeps = |function: u32, n: usize, inst: &Inst| {
            if function == parser.function && (n == copied.clear || n == copied.copy) {
                return true;
            }
            let is_own = own.contains(&function);
            let is_before = is_own
                || before.contains(&function)
                || function == parser.function && n < copied.copy;
            runs(inst, program).into_iter().all(|run| {
                let is_in = is_own && contains(from, run);
                (is_in || !overlaps(run, from)) && (!is_before || !overlaps(run, to))
            })
        };
        let mut code = program.functions.iter().enumerate();
        cleared.iter().any(|run| contains(*run, to))
            && is_apart
            && is_only
            && code.all(|(f, function)| {
                let mut code = function.code.iter().enumerate();
                code.all(|(n, inst)| keeps(f as u32, n, inst))
            })
    };
    let taken: Vec<Copied> = copies.iter().copied().filter(is_free).collect();
    let code = &mut program.functions[parser.function as usize].code;
    for at in taken.iter().flat_map(|copied| [copied.clear, copied.copy]) {
        code[at] = Inst::Jump { to: at as u32 + 1 };
    }
    let runs = taken.iter();
    runs.map(|copied| (copied.from, copied.to, copied.limbs))
        .collect()
}
