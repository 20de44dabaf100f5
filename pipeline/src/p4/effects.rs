// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Frame accesses of instructions.

use adit_p4_frontend::ir::{limbs_of, Argument, Inst, Program, Slot};

/// A run of limbs: the first one and the number.
pub(super) type SlotRange = (Slot, u32);

/// The frame accesses of an instruction.
#[derive(Clone, Debug, Default)]
pub(super) struct Effects {
    pub(super) reads: Vec<SlotRange>,
    /// Slots that are always written.
    pub(super) writes: Vec<SlotRange>,
    /// Slots that may be written.
    pub(super) touches: Vec<SlotRange>,
}

/// Returns the run of an array of elements of `limbs` limbs each.
fn elements(base: Slot, stride: u32, count: u32, limbs: u32) -> SlotRange {
    (base, count.saturating_sub(1) * stride + limbs)
}

impl Effects {
    fn new(reads: &[SlotRange], writes: &[SlotRange], touches: &[SlotRange]) -> Effects {
        Effects {
            reads: reads.to_vec(),
            writes: writes.to_vec(),
            touches: touches.to_vec(),
        }
    }

    /// Returns the effects of an instruction other than a jump, call or lookup.
    pub(super) fn of(inst: &Inst, program: &Program) -> Effects {
        let layout = |n: u32| program.layouts[n as usize].limbs();
        match *inst {
            Inst::Move { dst, src, limbs } => Effects::new(&[(src, limbs)], &[(dst, limbs)], &[]),
            Inst::Zero { dst, limbs } => Effects::new(&[], &[(dst, limbs)], &[]),
            Inst::Binary {
                dst, a, b, width, ..
            } => {
                let limbs = limbs_of(width);
                Effects::new(&[(a, limbs), (b, limbs)], &[(dst, limbs)], &[])
            }
            Inst::Compare {
                dst, a, b, width, ..
            } => {
                let limbs = limbs_of(width);
                Effects::new(&[(a, limbs), (b, limbs)], &[(dst, 1)], &[])
            }
            Inst::Shl {
                dst,
                a,
                b,
                width,
                amount_width,
            }
            | Inst::Shr {
                dst,
                a,
                b,
                width,
                amount_width,
                ..
            } => {
                let limbs = limbs_of(width);
                let reads = [(a, limbs), (b, limbs_of(amount_width))];
                Effects::new(&reads, &[(dst, limbs)], &[])
            }
            Inst::Not { dst, a, width } | Inst::Neg { dst, a, width } => {
                let limbs = limbs_of(width);
                Effects::new(&[(a, limbs)], &[(dst, limbs)], &[])
            }
            Inst::Resize {
                dst, a, from, to, ..
            }
            | Inst::Slice {
                dst, a, from, to, ..
            } => Effects::new(&[(a, limbs_of(from))], &[(dst, limbs_of(to))], &[]),
            Inst::SetSlice {
                dst,
                width,
                a,
                bits,
                ..
            } => {
                let whole = (dst, limbs_of(width));
                Effects::new(&[whole, (a, limbs_of(bits))], &[whole], &[])
            }
            Inst::Concat {
                dst,
                a,
                b,
                low,
                width,
            } => {
                let reads = [(a, limbs_of(width.saturating_sub(low))), (b, limbs_of(low))];
                Effects::new(&reads, &[(dst, limbs_of(width))], &[])
            }
            Inst::LogicalNot { dst, a } => Effects::new(&[(a, 1)], &[(dst, 1)], &[]),
            Inst::Load {
                dst,
                base,
                index,
                stride,
                count,
                limbs,
            } => {
                let from = elements(base, stride, count, limbs);
                Effects::new(&[(index, 1), from], &[(dst, limbs)], &[])
            }
            Inst::Store {
                src,
                base,
                index,
                stride,
                count,
                limbs,
            } => {
                let to = elements(base, stride, count, limbs);
                Effects::new(&[(index, 1), (src, limbs)], &[], &[to])
            }
            Inst::EqualVarbit { dst, a, b, max } => {
                let limbs = 1 + limbs_of(max);
                Effects::new(&[(a, limbs), (b, limbs)], &[(dst, 1)], &[])
            }
            Inst::Reject { error } => Effects::new(&[(error, 1)], &[], &[]),
            Inst::EndBlock { error } => Effects::new(&[], &[(error, 1)], &[]),
            Inst::Extract {
                layout: n,
                dst,
                length,
            } => {
                let length = length.map(|slot| (slot, 1));
                Effects::new(length.as_slice(), &[], &[(dst, layout(n))])
            }
            Inst::Lookahead { layout: n, dst } => Effects::new(&[], &[], &[(dst, layout(n))]),
            Inst::Advance { bits } => Effects::new(&[(bits, 1)], &[], &[]),
            Inst::PacketLength { dst } => Effects::new(&[], &[(dst, 1)], &[]),
            Inst::Emit { layout: n, src } => Effects::new(&[(src, layout(n))], &[], &[]),
            Inst::Push {
                base,
                stride,
                elements,
                ..
            } => {
                let all = (base, 1 + stride * elements);
                Effects::new(&[all], &[], &[all])
            }
            Inst::InValueSet { set, dst } => {
                let keys = program.value_sets[set as usize].keys.iter();
                let reads: Vec<SlotRange> = keys
                    .map(|(slot, width)| (*slot, limbs_of(*width)))
                    .collect();
                Effects::new(&reads, &[(dst, 1)], &[])
            }
            Inst::Extern { call } => {
                let call = &program.calls[call as usize];
                let mut effects = Effects::default();
                for argument in call.arguments.iter().flatten() {
                    if let Argument::Value(slot, layout, is_written) = argument {
                        let run = (*slot, layout.limbs());
                        effects.reads.push(run);
                        effects.touches.extend(is_written.then_some(run));
                    }
                }
                if let Some((slot, layout)) = &call.result {
                    effects.reads.push((*slot, layout.limbs()));
                    effects.touches.push((*slot, layout.limbs()));
                }
                effects
            }
            Inst::Exit
            | Inst::Return
            | Inst::Jump { .. }
            | Inst::Branch { .. }
            | Inst::IfEnding { .. }
            | Inst::Call { .. }
            | Inst::Apply { .. } => Effects::default(),
        }
    }

    /// The effects of a lookup.
    pub(super) fn of_table(table: u32, hit: Slot, action: Slot, program: &Program) -> Effects {
        let table = &program.tables[table as usize];
        let keys = table.keys.iter();
        let parameters = table.actions.iter().flat_map(|a| &a.parameters);
        Effects {
            reads: keys.map(|key| (key.slot, limbs_of(key.width))).collect(),
            writes: vec![(hit, 1), (action, 1)],
            touches: parameters.map(|p| (p.slot, limbs_of(p.width))).collect(),
        }
    }
}
