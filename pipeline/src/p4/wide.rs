// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The interpreter's instructions on values of more than 64 bits.

use std::cmp::Ordering;

use adit_p4_frontend::ir::{Cmp, Inst, Op, Slot};

use super::bits;
use super::machine::Machine;

impl Machine {
    /// Runs an instruction on values of more than 64 bits. Operands are copied first: the result
    /// may overlap one of them.
    pub(super) fn compute_wide(&mut self, inst: &Inst) {
        let [mut x, mut y, mut out, mut rest] = std::mem::take(&mut self.scratch);
        let load = |frame: &[u64], to: &mut Vec<u64>, slot: Slot, width: u32| {
            let limbs = (width as usize).div_ceil(64).max(1);
            to.clear();
            to.extend_from_slice(&frame[slot as usize..][..limbs]);
        };
        let room = |to: &mut Vec<u64>, width: u32| {
            to.clear();
            to.resize((width as usize).div_ceil(64).max(1), 0);
        };
        let mut dst_slot = None;
        match *inst {
            Inst::Binary {
                op,
                dst,
                a,
                b,
                width,
            } => {
                load(&self.frame, &mut x, a, width);
                load(&self.frame, &mut y, b, width);
                room(&mut out, width);
                room(&mut rest, width);
                binary_wide(op, &mut out, &mut rest, &x, &y, width);
                dst_slot = Some(dst);
            }
            Inst::Compare {
                cmp,
                dst,
                a,
                b,
                width,
            } => {
                load(&self.frame, &mut x, a, width);
                load(&self.frame, &mut y, b, width);
                let order = match cmp {
                    Cmp::Lt(true) | Cmp::Le(true) => bits::compare_signed(&x, &y, width),
                    _ => bits::compare(&x, &y),
                };
                let value = match cmp {
                    Cmp::Eq => order == Ordering::Equal,
                    Cmp::Ne => order != Ordering::Equal,
                    Cmp::Lt(_) => order == Ordering::Less,
                    Cmp::Le(_) => order != Ordering::Greater,
                };
                self.set(dst, value.into());
            }
            Inst::Shl {
                dst,
                a,
                b,
                width,
                amount_width,
            } => {
                load(&self.frame, &mut x, a, width);
                load(&self.frame, &mut y, b, amount_width);
                room(&mut out, width);
                if let Some(amount) = shift_amount(&y, width) {
                    bits::shl(&mut out, &x, amount, width);
                }
                dst_slot = Some(dst);
            }
            Inst::Shr {
                dst,
                a,
                b,
                width,
                amount_width,
                signed,
            } => {
                load(&self.frame, &mut x, a, width);
                load(&self.frame, &mut y, b, amount_width);
                room(&mut out, width);
                let amount = shift_amount(&y, width).unwrap_or(width);
                if amount < width {
                    bits::shr(&mut out, &x, amount);
                }
                if signed && bits::negative(&x, width) {
                    bits::set_ones(&mut out, width - amount, width);
                }
                dst_slot = Some(dst);
            }
            Inst::Not { dst, a, width } => {
                load(&self.frame, &mut out, a, width);
                out.iter_mut().for_each(|limb| *limb = !*limb);
                bits::trim(&mut out, width);
                dst_slot = Some(dst);
            }
            Inst::Neg { dst, a, width } => {
                load(&self.frame, &mut y, a, width);
                room(&mut x, width);
                room(&mut out, width);
                bits::sub(&mut out, &x, &y, width);
                dst_slot = Some(dst);
            }
            Inst::Resize {
                dst,
                a,
                from,
                to,
                signed,
            } => {
                load(&self.frame, &mut x, a, from);
                room(&mut out, to);
                bits::insert(&mut out, &x, 0, from.min(to));
                if signed && to > from && bits::negative(&x, from) {
                    bits::set_ones(&mut out, from, to);
                }
                dst_slot = Some(dst);
            }
            Inst::Slice {
                dst,
                a,
                from,
                low,
                to,
            } => {
                load(&self.frame, &mut x, a, from);
                room(&mut out, to);
                bits::shr(&mut out, &x, low);
                bits::trim(&mut out, to);
                dst_slot = Some(dst);
            }
            Inst::SetSlice {
                dst,
                width,
                a,
                low,
                bits: count,
            } => {
                load(&self.frame, &mut out, dst, width);
                load(&self.frame, &mut x, a, count);
                bits::insert(&mut out, &x, low, count);
                dst_slot = Some(dst);
            }
            Inst::Concat {
                dst,
                a,
                b,
                low,
                width,
            } => {
                load(&self.frame, &mut x, a, width - low);
                load(&self.frame, &mut y, b, low);
                room(&mut out, width);
                bits::insert(&mut out, &y, 0, low);
                bits::insert(&mut out, &x, low, width - low);
                dst_slot = Some(dst);
            }
            Inst::EqualVarbit { dst, a, b, max } => {
                let limbs = 1 + (max as usize).div_ceil(64).max(1);
                let (a, b) = (a as usize, b as usize);
                let same = self.frame[a..a + limbs] == self.frame[b..b + limbs];
                self.set(dst, same.into());
            }
            // All other instructions are handled by the caller.
            _ => {}
        }
        if let Some(dst) = dst_slot {
            self.frame[dst as usize..][..out.len()].copy_from_slice(&out);
        }
        self.scratch = [x, y, out, rest];
    }
}

/// Returns a shift's amount if it is below the width.
fn shift_amount(amount: &[u64], width: u32) -> Option<u32> {
    let (low, high) = amount.split_first()?;
    let small = high.iter().all(|limb| *limb == 0) && *low < u64::from(width);
    small.then_some(*low as u32)
}

fn binary_wide(op: Op, out: &mut [u64], rest: &mut [u64], a: &[u64], b: &[u64], width: u32) {
    let each = |out: &mut [u64], f: fn(u64, u64) -> u64| {
        for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
            *out = f(*a, *b);
        }
    };
    match op {
        Op::Add => {
            bits::add(out, a, b, width);
        }
        Op::Sub => {
            bits::sub(out, a, b, width);
        }
        Op::Mul => bits::mul(out, a, b, width),
        Op::Div => bits::div_rem(out, rest, a, b, width),
        Op::Mod => bits::div_rem(rest, out, a, b, width),
        Op::And => each(out, |a, b| a & b),
        Op::Or => each(out, |a, b| a | b),
        Op::Xor => each(out, |a, b| a ^ b),
        Op::AddSat(false) => {
            if bits::add(out, a, b, width) {
                bits::set_ones(out, 0, width);
            }
        }
        Op::SubSat(false) => {
            if bits::sub(out, a, b, width) {
                out.fill(0);
            }
        }
        Op::AddSat(true) | Op::SubSat(true) => {
            let (x, mut y) = (bits::negative(a, width), bits::negative(b, width));
            if op == Op::AddSat(true) {
                bits::add(out, a, b, width);
            } else {
                bits::sub(out, a, b, width);
                y = !y;
            }
            // Overflow: both operands have the same sign and the result has the other.
            if x == y && bits::negative(out, width) != x {
                out.fill(0);
                match x {
                    true => bits::set_ones(out, width - 1, width),
                    false => bits::set_ones(out, 0, width - 1),
                }
            }
        }
    }
}
