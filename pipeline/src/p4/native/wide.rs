// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Shifts, slices and multi-limb values.

use adit_p4_frontend::ir::{limbs_of, Cmp, Inst, Op, Slot};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value};

use super::emit::Translator;

/// Maximum width of a value that is translated to machine code.
const MAX_WIDTH: u32 = 512;

impl Translator<'_, '_> {
    /// Translates an instruction. Returns `false` if it has no machine code.
    pub(super) fn wide(&mut self, inst: &Inst) -> bool {
        match *inst {
            Inst::Binary {
                op: op @ (Op::And | Op::Or | Op::Xor),
                dst,
                a,
                b,
                width,
            } if width <= MAX_WIDTH => {
                let (a, b) = (self.limbs(a, width), self.limbs(b, width));
                let each = a.into_iter().zip(b);
                let values = each.map(|(a, b)| match op {
                    Op::And => self.b.ins().band(a, b),
                    Op::Or => self.b.ins().bor(a, b),
                    _ => self.b.ins().bxor(a, b),
                });
                let values: Vec<Value> = values.collect();
                self.write_limbs(dst, values);
            }
            Inst::Compare {
                cmp: cmp @ (Cmp::Eq | Cmp::Ne),
                dst,
                a,
                b,
                width,
            } if width <= MAX_WIDTH => {
                let (a, b) = (self.limbs(a, width), self.limbs(b, width));
                let mut differs = self.number(0);
                for (a, b) in a.into_iter().zip(b) {
                    let bits = self.b.ins().bxor(a, b);
                    differs = self.b.ins().bor(differs, bits);
                }
                let code = match cmp {
                    Cmp::Eq => IntCC::Equal,
                    _ => IntCC::NotEqual,
                };
                let flag = self.b.ins().icmp_imm(code, differs, 0);
                self.write_flag(dst, flag);
            }
            Inst::Not { dst, a, width } if width <= MAX_WIDTH => {
                let a = self.limbs(a, width);
                let values = a.into_iter().map(|a| self.b.ins().bnot(a));
                let mut values: Vec<Value> = values.collect();
                self.trim(&mut values, width);
                self.write_limbs(dst, values);
            }
            Inst::Resize {
                dst,
                a,
                from,
                to,
                signed: false,
            } if from.max(to) <= MAX_WIDTH => {
                let mut values = self.limbs(a, from);
                let zero = self.number(0);
                values.resize(limbs_of(to) as usize, zero);
                if to < from {
                    self.trim(&mut values, to);
                }
                self.write_limbs(dst, values);
            }
            Inst::Slice {
                dst,
                a,
                from,
                low,
                to,
            } if from <= MAX_WIDTH && low + to <= from => {
                let a = self.limbs(a, from);
                let count = limbs_of(to) as usize;
                let mut values = Vec::new();
                for n in 0..count {
                    let value = self.shifted_limb(&a, n + low as usize / 64, low % 64);
                    values.push(value);
                }
                self.trim(&mut values, to);
                self.write_limbs(dst, values);
            }
            Inst::SetSlice {
                dst,
                width,
                a,
                low,
                bits,
            } if width <= MAX_WIDTH && low + bits <= width && bits > 0 => {
                let old = self.limbs(dst, width);
                let mut a = self.limbs(a, bits);
                self.trim(&mut a, bits);
                let a = self.shifted_up(&a, low, old.len());
                let each = old.into_iter().zip(a).enumerate();
                let values = each.map(|(n, (old, a))| {
                    let set = mask_of_limb(n as u32, low, bits);
                    let kept = self.b.ins().band_imm(old, !set as i64);
                    self.b.ins().bor(kept, a)
                });
                let values: Vec<Value> = values.collect();
                self.write_limbs(dst, values);
            }
            Inst::Concat {
                dst,
                a,
                b,
                low,
                width,
            } if width <= MAX_WIDTH && low < width => {
                let (mut a, mut b) = (self.limbs(a, width - low), self.limbs(b, low));
                self.trim(&mut a, width - low);
                self.trim(&mut b, low);
                let count = limbs_of(width) as usize;
                let a = self.shifted_up(&a, low, count);
                b.truncate(low.div_ceil(64) as usize);
                let each = a.into_iter().enumerate();
                let values = each.map(|(n, a)| match b.get(n) {
                    Some(b) => self.b.ins().bor(a, *b),
                    None => a,
                });
                let values: Vec<Value> = values.collect();
                self.write_limbs(dst, values);
            }
            Inst::Shl {
                dst,
                a,
                b,
                width,
                amount_width,
            } if width <= 64 && amount_width <= 64 => {
                let (a, amount) = (self.read(a), self.read(b));
                let value = self.b.ins().ishl(a, amount);
                let value = self.truncate(value, width);
                let value = self.unless_beyond(value, amount, width);
                self.write(dst, value);
            }
            Inst::Shr {
                dst,
                a,
                b,
                width,
                amount_width,
                signed: false,
            } if width <= 64 && amount_width <= 64 => {
                let (a, amount) = (self.read(a), self.read(b));
                let value = self.b.ins().ushr(a, amount);
                let value = self.unless_beyond(value, amount, width);
                self.write(dst, value);
            }
            Inst::Shr {
                dst,
                a,
                b,
                width,
                amount_width,
                signed: true,
            } if width <= 64 && amount_width <= 64 => {
                let (a, amount) = (self.read(a), self.read(b));
                let a = self.signed(a, width);
                let most = self.number(63);
                let amount = self.b.ins().umin(amount, most);
                let value = self.b.ins().sshr(a, amount);
                let value = self.truncate(value, width);
                self.write(dst, value);
            }
            _ => return false,
        }
        true
    }

    fn limbs(&mut self, slot: Slot, width: u32) -> Vec<Value> {
        (0..limbs_of(width)).map(|n| self.read(slot + n)).collect()
    }

    fn write_limbs(&mut self, slot: Slot, values: Vec<Value>) {
        for (n, value) in values.into_iter().enumerate() {
            self.write(slot + n as u32, value);
        }
    }

    fn trim(&mut self, values: &mut [Value], width: u32) {
        if let Some(top) = values.last_mut() {
            let bits = match width % 64 {
                0 if width > 0 => 64,
                bits => bits,
            };
            *top = self.truncate(*top, bits);
        }
    }

    /// A limb of a value that is shifted right by `bits`, less than 64.
    fn shifted_limb(&mut self, of: &[Value], n: usize, bits: u32) -> Value {
        let Some(low) = of.get(n).copied() else {
            return self.number(0);
        };
        if bits == 0 {
            return low;
        }
        let low = self.b.ins().ushr_imm(low, i64::from(bits));
        match of.get(n + 1).copied() {
            Some(high) => {
                let high = self.b.ins().ishl_imm(high, i64::from(64 - bits));
                self.b.ins().bor(low, high)
            }
            None => low,
        }
    }

    /// The lower `count` limbs of a value that is shifted left.
    fn shifted_up(&mut self, of: &[Value], bits: u32, count: usize) -> Vec<Value> {
        let (limbs, bits) = (bits as usize / 64, i64::from(bits % 64));
        let limb = |n: usize| of.get(n.checked_sub(limbs)?).copied();
        let each = (0..count).map(|n| {
            let below = match n {
                0 => None,
                _ => limb(n - 1).filter(|_| bits > 0),
            };
            let low = below.map(|below| self.b.ins().ushr_imm(below, 64 - bits));
            let high = limb(n).map(|own| match bits {
                0 => own,
                _ => self.b.ins().ishl_imm(own, bits),
            });
            match (low, high) {
                (Some(low), Some(high)) => self.b.ins().bor(low, high),
                (Some(part), None) | (None, Some(part)) => part,
                (None, None) => self.number(0),
            }
        });
        each.collect()
    }

    /// Replaces the value by 0 if a shift's amount is not below the width.
    fn unless_beyond(&mut self, value: Value, amount: Value, width: u32) -> Value {
        let limit = i64::from(width);
        let is_below = self
            .b
            .ins()
            .icmp_imm(IntCC::UnsignedLessThan, amount, limit);
        let zero = self.number(0);
        self.b.ins().select(is_below, value, zero)
    }
}

/// The bits of limb `n` that the `bits` bits of a value from bit `low` on are in.
fn mask_of_limb(n: u32, low: u32, bits: u32) -> u64 {
    let in_limb = |bit: u32| bit.clamp(n * 64, n * 64 + 64) - n * 64;
    let below = |bit: u32| match in_limb(bit) {
        64 => u64::MAX,
        bits => (1 << bits) - 1,
    };
    below(low + bits) & !below(low)
}
