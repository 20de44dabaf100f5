// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Slot sharing: a value passed from one block to the next has the same slots in both, so that it
//! need not be copied. The parser's headers and metadata are the control's and the deparser's, and
//! the control's output metadata is the deparser's. Blocks do not overlap in time, and all values
//! are initialised in each pass.

use adit_p4_frontend::ir::{Argument, Block, Inst, Program, Slot};

use super::in_place;

/// Relocated runs of limbs: source, destination, number of limbs.
struct Moved(Vec<(Slot, Slot, u32)>);

impl Moved {
    fn slot(&self, slot: &mut Slot) {
        for (from, to, limbs) in &self.0 {
            if (*from..from + limbs).contains(slot) {
                *slot = to + (*slot - from);
                return;
            }
        }
    }

    /// Maps a parameter to another block's, if both have the same type.
    fn join(&mut self, of: (&Block, usize), with: (&Block, usize)) {
        let (from, to) = (of.0.parameters.get(of.1), with.0.parameters.get(with.1));
        let (Some(from), Some(to)) = (from, to) else {
            return;
        };
        if from.layout == to.layout {
            let mut target = to.slot;
            self.slot(&mut target);
            self.0.push((from.slot, target, from.layout.limbs()));
        }
    }
}

/// Shares slots between the blocks of a PNA program; other programs are unchanged.
pub(in crate::p4) fn share(program: &mut Program) {
    if program.package != "PNA_NIC" {
        return;
    }
    let find = |role: &str| program.blocks.iter().find(|b| b.role == role);
    let (Some(parser), Some(control), Some(deparser)) = (
        find("main_parser"),
        find("main_control"),
        find("main_deparser"),
    ) else {
        return;
    };
    let parser = parser.clone();
    let (control, deparser) = (control.clone(), deparser.clone());
    let mut moved = Moved(in_place::take_out(program, &parser));
    let (parser, control, deparser) = (&parser, &control, &deparser);
    for n in 0..2 {
        moved.join((control, n), (parser, n));
        moved.join((deparser, n), (control, n));
    }
    moved.join((deparser, 2), (control, 3));
    let code = program.functions.iter_mut().flat_map(|f| &mut f.code);
    code.for_each(|inst| slots(inst, |slot| moved.slot(slot)));
    for call in &mut program.calls {
        for argument in call.arguments.iter_mut().flatten() {
            if let Argument::Value(slot, ..) = argument {
                moved.slot(slot);
            }
        }
        if let Some((slot, _)) = &mut call.result {
            moved.slot(slot);
        }
    }
    for table in &mut program.tables {
        table.keys.iter_mut().for_each(|k| moved.slot(&mut k.slot));
        let parameters = table.actions.iter_mut().flat_map(|a| &mut a.parameters);
        parameters.for_each(|p| moved.slot(&mut p.slot));
    }
    let keys = program.value_sets.iter_mut().flat_map(|s| &mut s.keys);
    keys.for_each(|(slot, _)| moved.slot(slot));
    let parameters = program.blocks.iter_mut().flat_map(|b| &mut b.parameters);
    parameters.for_each(|p| moved.slot(&mut p.slot));
}

/// Applies a change to all slots of an instruction.
fn slots(inst: &mut Inst, change: impl Fn(&mut Slot)) {
    let all = |slots: &mut [&mut Slot]| slots.iter_mut().for_each(|slot| change(slot));
    match inst {
        Inst::Move { dst, src, .. } => all(&mut [dst, src]),
        Inst::Zero { dst, .. }
        | Inst::Lookahead { dst, .. }
        | Inst::PacketLength { dst }
        | Inst::InValueSet { dst, .. } => all(&mut [dst]),
        Inst::Binary { dst, a, b, .. }
        | Inst::Compare { dst, a, b, .. }
        | Inst::Shl { dst, a, b, .. }
        | Inst::Shr { dst, a, b, .. }
        | Inst::Concat { dst, a, b, .. }
        | Inst::EqualVarbit { dst, a, b, .. } => all(&mut [dst, a, b]),
        Inst::Not { dst, a, .. }
        | Inst::Neg { dst, a, .. }
        | Inst::Resize { dst, a, .. }
        | Inst::Slice { dst, a, .. }
        | Inst::SetSlice { dst, a, .. }
        | Inst::LogicalNot { dst, a } => all(&mut [dst, a]),
        Inst::Load {
            dst, base, index, ..
        } => all(&mut [dst, base, index]),
        Inst::Store {
            src, base, index, ..
        } => all(&mut [src, base, index]),
        Inst::Branch { cond, .. } => all(&mut [cond]),
        Inst::Reject { error } | Inst::EndBlock { error } => all(&mut [error]),
        Inst::Apply { hit, action, .. } => all(&mut [hit, action]),
        Inst::Extract { dst, length, .. } => {
            change(dst);
            length.iter_mut().for_each(change);
        }
        Inst::Advance { bits } => all(&mut [bits]),
        Inst::Emit { src, .. } => all(&mut [src]),
        Inst::Push { base, .. } => all(&mut [base]),
        Inst::Jump { .. }
        | Inst::Call { .. }
        | Inst::Return
        | Inst::Exit
        | Inst::IfEnding { .. }
        | Inst::Extern { .. } => {}
    }
}
