// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The interpreter: runs a program's code on a frame of slots.

use adit_p4_frontend::ir::{FunctionId, Inst, Op, Program, Slot};

use super::bits;
use super::code::{Code, Step};
use super::fields::Flat;
use super::packet::{Reader, Writer};

/// Maximum number of steps of a run, since a program may loop forever. Steps are counted at calls
/// and back-edges, so that they are never fewer than the instructions run: a call counts the
/// instructions of its function, a back-edge those between its ends.
pub const MAX_STEPS: u64 = 4 << 20;
/// Maximum depth of calls. A program's own depth is limited to far less.
const MAX_CALLS: usize = 4096;

/// The reason for the end of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its last instruction, `accept` or `return`.
    Done,
    /// An `exit`.
    Exit,
    /// A parser error, by its index.
    Rejected(u32),
    /// More than [`MAX_STEPS`] steps.
    TooLong,
}

/// The result of applying a table.
pub(super) struct Applied {
    pub(super) hit: bool,
    pub(super) action: u32,
}

/// The architecture's interface for the machine.
pub(super) trait Host {
    /// Looks up a table's keys in the frame and stores the action's parameters there.
    fn apply(&mut self, table: u32, frame: &mut [u64]) -> Applied;
    /// Runs an extern function or method.
    fn external(&mut self, call: u32, frame: &mut [u64]);
    /// Returns whether a value set contains the values in its slots.
    fn in_value_set(&mut self, set: u32, frame: &[u64]) -> bool;
}

/// The packet of a run: its input and its output.
pub(super) struct Packet<'a, 'w> {
    pub(super) reader: Reader<'a>,
    pub(super) writer: &'w mut Writer,
}

/// Indices of the errors that the machine itself raises.
#[derive(Clone, Copy, Debug, Default)]
struct Errors {
    too_short: u32,
    header_too_short: u32,
    invalid_argument: u32,
}

pub(super) struct Machine {
    pub(super) frame: Vec<u64>,
    layouts: Vec<Flat>,
    errors: Errors,
    calls: Vec<usize>,
    /// Operands and results of more than 64 bits.
    pub(super) scratch: [Vec<u64>; 4],
}

impl Machine {
    pub(super) fn new(program: &Program) -> Machine {
        let error = |name: &str| {
            let at = program.errors.iter().position(|e| e == name);
            at.unwrap_or(0) as u32
        };
        Machine {
            frame: program.frame.clone(),
            layouts: program.layouts.iter().map(Flat::new).collect(),
            errors: Errors {
                too_short: error("PacketTooShort"),
                header_too_short: error("HeaderTooShort"),
                invalid_argument: error("ParserInvalidArgument"),
            },
            calls: Vec::new(),
            scratch: Default::default(),
        }
    }

    fn get(&self, slot: Slot) -> u64 {
        self.frame[slot as usize]
    }

    pub(super) fn set(&mut self, slot: Slot, value: u64) {
        self.frame[slot as usize] = value;
    }

    /// Runs a function to its end.
    #[inline(never)]
    pub(super) fn run(
        &mut self,
        code: &Code,
        function: FunctionId,
        host: &mut impl Host,
        packet: &mut Packet<'_, '_>,
    ) -> End {
        let mut end = End::Done;
        let entry = code.entries[function as usize];
        let mut at = entry.at as usize;
        let mut steps = u64::from(entry.cost);
        self.calls.clear();
        let list = &code.list[..];
        let mut frame = &mut self.frame[..];
        loop {
            let step = &list[at];
            at += 1;
            // The jump's target, and its cost.
            let (to, cost) = match *step {
                Step::Move { dst, src } => {
                    frame[dst as usize] = frame[src as usize];
                    continue;
                }
                Step::Moves {
                    dst,
                    src,
                    dst2,
                    src2,
                } => {
                    frame[dst as usize] = frame[src as usize];
                    frame[dst2 as usize] = frame[src2 as usize];
                    at += 1;
                    continue;
                }
                Step::MoveBranch { when, dst, src, to } => {
                    let value = frame[src as usize];
                    frame[dst as usize] = value;
                    at = if (value != 0) == when {
                        to as usize
                    } else {
                        at + 1
                    };
                    continue;
                }
                Step::Copy { dst, src, limbs } => {
                    let src = src as usize;
                    frame.copy_within(src..src + limbs as usize, dst as usize);
                    continue;
                }
                Step::Zero { dst, limbs } => {
                    frame[dst as usize..][..limbs as usize].fill(0);
                    continue;
                }
                Step::Compare { test, dst, a, b } => {
                    let holds = test.holds(frame[a as usize], frame[b as usize]);
                    frame[dst as usize] = holds.into();
                    continue;
                }
                Step::CompareBranch {
                    test,
                    when,
                    dst,
                    a,
                    b,
                    to,
                } => {
                    let holds = test.holds(frame[a as usize], frame[b as usize]);
                    frame[dst as usize] = holds.into();
                    at = if holds == when { to as usize } else { at + 1 };
                    continue;
                }
                Step::CompareNotBranch {
                    test,
                    when,
                    dst,
                    a,
                    b,
                    to,
                } => {
                    let holds = test.holds(frame[a as usize], frame[b as usize]);
                    let both = &mut frame[dst as usize..][..2];
                    both[0] = holds.into();
                    both[1] = (!holds).into();
                    at = if holds != when { to as usize } else { at + 2 };
                    continue;
                }
                Step::And { dst, a, b } => {
                    frame[dst as usize] = frame[a as usize] & frame[b as usize];
                    continue;
                }
                Step::Add { width, dst, a, b } => {
                    let sum = frame[a as usize].wrapping_add(frame[b as usize]);
                    frame[dst as usize] = sum & bits::mask(width.into());
                    continue;
                }
                Step::Sub { width, dst, a, b } => {
                    let left = frame[a as usize].wrapping_sub(frame[b as usize]);
                    frame[dst as usize] = left & bits::mask(width.into());
                    continue;
                }
                Step::LogicalNot { dst, a } => {
                    frame[dst as usize] = u64::from(frame[a as usize] == 0);
                    continue;
                }
                Step::Jump { to, cost } => (to, cost),
                Step::Branch {
                    when,
                    cond,
                    to,
                    cost,
                } => {
                    if (frame[cond as usize] != 0) != when {
                        continue;
                    }
                    (to, cost)
                }
                Step::IfEnding { to, cost } => {
                    if end == End::Done {
                        continue;
                    }
                    (to, cost)
                }
                Step::Call { function } => {
                    if self.calls.len() >= MAX_CALLS {
                        return End::TooLong;
                    }
                    self.calls.push(at);
                    let entry = code.entries[function as usize];
                    (entry.at, entry.cost)
                }
                Step::Return => match self.calls.pop() {
                    None => return end,
                    Some(back) => {
                        at = back;
                        continue;
                    }
                },
                Step::Exit => {
                    end = End::Exit;
                    continue;
                }
                Step::EndBlock { error } => {
                    frame[error as usize] = match end {
                        End::Rejected(error) => error.into(),
                        _ => 0,
                    };
                    end = End::Done;
                    continue;
                }
                Step::Reject { error } => {
                    if end == End::Done {
                        end = End::Rejected(frame[error as usize] as u32);
                    }
                    continue;
                }
                Step::Apply { table, hit, action } => {
                    let applied = host.apply(table, frame);
                    frame[hit as usize] = applied.hit.into();
                    frame[action as usize] = applied.action.into();
                    if self.calls.len() >= MAX_CALLS {
                        return End::TooLong;
                    }
                    self.calls.push(at);
                    let entry = code.action(table, applied.action);
                    (entry.at, entry.cost)
                }
                Step::Extern { call } => {
                    host.external(call, frame);
                    continue;
                }
                Step::Extract { layout, dst } => {
                    let flat = &self.layouts[layout as usize];
                    if packet.reader.left() < flat.bits as usize {
                        end = End::Rejected(self.errors.too_short);
                    } else {
                        let value = &mut frame[dst as usize..][..flat.limbs as usize];
                        flat.read(&mut packet.reader, value, 0);
                        value[0] = 1;
                    }
                    continue;
                }
                Step::ExtractVarbit {
                    layout,
                    dst,
                    length,
                } => {
                    let length = frame[length as usize];
                    if let Err(error) = self.extract_varbit(packet, layout, dst, length) {
                        end = End::Rejected(error);
                    }
                    frame = &mut self.frame[..];
                    continue;
                }
                Step::Emit { layout, src } => {
                    let flat = &self.layouts[layout as usize];
                    let value = &frame[src as usize..][..flat.limbs as usize];
                    flat.write(packet.writer, value);
                    continue;
                }
                Step::Other { at } => {
                    if let Err(error) = self.other(&code.others[at as usize], host, packet) {
                        end = End::Rejected(error);
                    }
                    frame = &mut self.frame[..];
                    continue;
                }
            };
            at = to as usize;
            steps += u64::from(cost);
            if steps > MAX_STEPS {
                return End::TooLong;
            }
        }
    }

    /// Runs one instruction other than a jump or call; an error ends parsing.
    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    pub(super) fn instruction<H: Host>(
        &mut self,
        inst: &Inst,
        host: &mut H,
        packet: &mut Packet<'_, '_>,
    ) -> Result<(), u32> {
        match *inst {
            Inst::Extract {
                layout,
                dst,
                length: Some(length),
            } => self.extract_varbit(packet, layout, dst, self.get(length)),
            Inst::Extract {
                layout,
                dst,
                length: None,
            } => self.extract_varbit(packet, layout, dst, 0),
            ref other => self.other(other, host, packet),
        }
    }

    /// Appends a header if it is valid.
    #[cfg_attr(not(feature = "jit"), allow(dead_code, reason = "for machine code"))]
    pub(super) fn emit(&self, layout: u32, src: u32, writer: &mut Writer) {
        let flat = &self.layouts[layout as usize];
        flat.write(writer, &self.frame[src as usize..][..flat.limbs as usize]);
    }

    /// Runs a rare instruction; an error ends parsing.
    #[cold]
    #[inline(never)]
    fn other(
        &mut self,
        inst: &Inst,
        host: &mut impl Host,
        packet: &mut Packet<'_, '_>,
    ) -> Result<(), u32> {
        match *inst {
            Inst::InValueSet { set, dst } => {
                let found = host.in_value_set(set, &self.frame);
                self.set(dst, found.into());
            }
            Inst::Lookahead { layout, dst } => {
                let flat = &self.layouts[layout as usize];
                if packet.reader.left() < flat.bits as usize {
                    return Err(self.errors.too_short);
                }
                let mut reader = packet.reader;
                let value = &mut self.frame[dst as usize..][..flat.limbs as usize];
                flat.read(&mut reader, value, 0);
                if flat.is_header {
                    value[0] = 1;
                }
            }
            Inst::Advance { bits } => {
                let bits = self.get(bits) as usize;
                if bits > packet.reader.left() {
                    return Err(self.errors.too_short);
                } else if bits % 8 != 0 {
                    return Err(self.errors.invalid_argument);
                }
                packet.reader.skip(bits);
            }
            Inst::PacketLength { dst } => self.set(dst, packet.reader.bytes() as u64),
            ref other => self.compute(other),
        }
        Ok(())
    }

    fn extract_varbit(
        &mut self,
        packet: &mut Packet<'_, '_>,
        layout: u32,
        dst: Slot,
        varbit: u64,
    ) -> Result<(), u32> {
        let flat = &self.layouts[layout as usize];
        if (packet.reader.left() as u64) < u64::from(flat.bits) + varbit {
            return Err(self.errors.too_short);
        }
        let room = flat
            .leaves
            .iter()
            .find(|l| l.is_varbit)
            .map_or(0, |l| l.width);
        if varbit > u64::from(room) {
            return Err(self.errors.header_too_short);
        }
        if varbit % 8 != 0 {
            return Err(self.errors.invalid_argument);
        }
        let value = &mut self.frame[dst as usize..][..flat.limbs as usize];
        flat.read(&mut packet.reader, value, varbit as u32);
        value[0] = 1;
        Ok(())
    }

    /// Runs instructions that only access the frame and have no [`Step`] of their own.
    fn compute(&mut self, inst: &Inst) {
        match *inst {
            Inst::Binary {
                op,
                dst,
                a,
                b,
                width,
            } if width <= 64 => {
                let value = binary(op, self.get(a), self.get(b), width);
                self.set(dst, value);
            }
            Inst::Not { dst, a, width } if width <= 64 => {
                self.set(dst, !self.get(a) & bits::mask(width));
            }
            Inst::Neg { dst, a, width } if width <= 64 => {
                self.set(dst, self.get(a).wrapping_neg() & bits::mask(width));
            }
            Inst::Resize {
                dst,
                a,
                from,
                to,
                signed,
            } if from <= 64 && to <= 64 => {
                let value = match signed {
                    true => bits::signed(self.get(a), from) as u64,
                    false => self.get(a),
                };
                self.set(dst, value & bits::mask(to));
            }
            Inst::Slice {
                dst,
                a,
                from,
                low,
                to,
            } if from <= 64 => self.set(dst, self.get(a) >> low & bits::mask(to)),
            Inst::Load {
                dst,
                base,
                index,
                stride,
                count,
                limbs,
            } => {
                let index = self.get(index);
                if index < u64::from(count) {
                    let src = base as usize + index as usize * stride as usize;
                    self.frame
                        .copy_within(src..src + limbs as usize, dst as usize);
                } else {
                    self.frame[dst as usize..][..limbs as usize].fill(0);
                }
            }
            Inst::Store {
                src,
                base,
                index,
                stride,
                count,
                limbs,
            } => {
                let index = self.get(index);
                if index < u64::from(count) {
                    let dst = base as usize + index as usize * stride as usize;
                    let src = src as usize;
                    self.frame.copy_within(src..src + limbs as usize, dst);
                }
            }
            Inst::Push {
                base,
                stride,
                elements,
                count,
            } => self.push(base, stride as usize, elements as usize, count),
            ref other => self.compute_wide(other),
        }
    }

    fn push(&mut self, base: Slot, stride: usize, elements: usize, count: i32) {
        let all = &mut self.frame[base as usize..][..1 + stride * elements];
        let n = (count.unsigned_abs() as usize).min(elements);
        let next = all[0];
        let body = &mut all[1..];
        let moved = (elements - n) * stride;
        if count >= 0 {
            body.copy_within(..moved, n * stride);
            body[..n * stride].fill(0);
            all[0] = (next + n as u64).min(elements as u64);
        } else {
            body.copy_within(n * stride.., 0);
            body[moved..].fill(0);
            all[0] = next.saturating_sub(n as u64);
        }
    }
}

fn binary(op: Op, a: u64, b: u64, width: u32) -> u64 {
    let mask = bits::mask(width);
    let clamp = |value: i128| {
        let half = 1i128 << (width.max(1) - 1);
        value.clamp(-half, half - 1) as u64 & mask
    };
    let signed = |value| i128::from(bits::signed(value, width));
    match op {
        Op::Add => a.wrapping_add(b) & mask,
        Op::Sub => a.wrapping_sub(b) & mask,
        Op::Mul => a.wrapping_mul(b) & mask,
        Op::Div => a.checked_div(b).unwrap_or(0),
        Op::Mod => a.checked_rem(b).unwrap_or(0),
        Op::AddSat(false) => (u128::from(a) + u128::from(b)).min(mask.into()) as u64,
        Op::SubSat(false) => a.saturating_sub(b),
        Op::AddSat(true) => clamp(signed(a) + signed(b)),
        Op::SubSat(true) => clamp(signed(a) - signed(b)),
        Op::And => a & b,
        Op::Or => a | b,
        Op::Xor => a ^ b,
    }
}
