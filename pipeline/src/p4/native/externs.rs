// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Externs with machine code: the sums of `InternetChecksum`, and a program's requests for its
//! packet, which `Native::run` copies when the code has returned.

use adit_p4_frontend::ir::Slot;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{InstBuilder, Value};

use super::context::{at, request};
use super::emit::{in_context, Translator};
use crate::p4::bits::mask;
use crate::p4::externs::{
    Call, CounterCall, DirectionCall, ForwardCall, Operand, ReceiveCall, SumCall,
};
use crate::p4::packets::FIRST_HOST_PORT;

impl Translator<'_, '_> {
    /// Translates a call. Returns `false` if it has no machine code.
    pub(super) fn external(&mut self, call: u32) -> bool {
        let of = self.of;
        let Some(call) = of.calls.get(call as usize) else {
            return false;
        };
        match call {
            Call::Forward(ForwardCall::Port(port)) => {
                self.forward(request::PORT, Some(port.slot()))
            }
            Call::Forward(ForwardCall::Group(group)) => {
                self.forward(request::GROUP, Some(group.slot()))
            }
            Call::Forward(ForwardCall::Drop) => self.forward(request::DROP, None),
            Call::Forward(ForwardCall::Reject) => self.forward(request::REJECT, None),
            // The interpreter's implementation records all of it, this that it is the last request.
            Call::Forward(ForwardCall::RejectWith { .. } | ForwardCall::RecirculateInner) => {
                self.forward(request::RECORDED, None);
                return false;
            }
            Call::Forward(ForwardCall::Recirculate) => self.forward(request::AGAIN, None),
            Call::Receive(ReceiveCall::Queue(queue)) => {
                self.set_receive(request::QUEUE, at::QUEUE, queue.slot())
            }
            Call::Receive(ReceiveCall::FlowId(id)) => {
                self.set_receive(request::FLOW_ID, at::FLOW_ID, id.slot())
            }
            Call::Receive(ReceiveCall::Hash(hash)) => {
                self.set_receive(request::HASH, at::HASH, hash.slot())
            }
            Call::InputQueue(result) => {
                let queue = self.context_word(at::INPUT_QUEUE);
                self.set_result(result, queue);
            }
            Call::Direction(DirectionCall::IsPort {
                port,
                is_host,
                result,
            }) => {
                let port = self.read(port.slot());
                let how = match is_host {
                    true => IntCC::UnsignedGreaterThanOrEqual,
                    false => IntCC::UnsignedLessThan,
                };
                let is = self.b.ins().icmp_imm(how, port, i64::from(FIRST_HOST_PORT));
                let is = self.b.ins().uextend(I64, is);
                self.set_result(result, is);
            }
            Call::Sum(SumCall::Clear { object }) => {
                let zero = self.number(0);
                self.set_sum(*object, zero);
            }
            Call::Sum(SumCall::Set { object, value }) => {
                let value = self.read(value.slot());
                let value = self.b.ins().band_imm(value, 0xffff);
                self.set_sum(*object, value);
            }
            Call::Sum(SumCall::Add {
                object,
                data,
                subtract,
            }) => {
                let Some(parts) = data.parts_of_one_word() else {
                    return false;
                };
                let value = self.sum_of(&parts);
                // In ones' complement, subtracting is adding the inverse.
                let value = match subtract {
                    true => self.b.ins().bxor_imm(value, 0xffff),
                    false => value,
                };
                let old = self.sum(*object);
                let new = self.b.ins().iadd(old, value);
                let new = self.fold(new);
                self.set_sum(*object, new);
            }
            Call::Sum(SumCall::Get {
                object,
                result,
                inverted,
            }) => {
                let value = self.sum(*object);
                let value = match inverted {
                    true => self.b.ins().bxor_imm(value, 0xffff),
                    false => value,
                };
                self.set_result(result, value);
            }
            Call::Counter(CounterCall::Count {
                object,
                index,
                bytes: None,
            }) => {
                let index = self.read(index.slot());
                self.count_at(*object, index);
            }
            Call::Counter(CounterCall::CountDirect {
                object,
                bytes: None,
            }) => self.count_entry(*object),
            _ => return false,
        }
        true
    }

    /// Sets the packet's destination.
    fn forward(&mut self, how: u64, to: Option<Slot>) {
        let how = self.number(how);
        self.set_context_word(at::FORWARD, how);
        if let Some(slot) = to {
            let value = self.read(slot);
            self.set_context_word(at::FORWARD_TO, value);
        }
    }

    /// Sets receive metadata.
    fn set_receive(&mut self, what: u64, place: i32, slot: Slot) {
        let value = self.read(slot);
        self.set_context_word(place, value);
        let old = self.context_word(at::REQUESTED);
        let new = self.b.ins().bor_imm(old, what as i64);
        self.set_context_word(at::REQUESTED, new);
    }

    /// The offset of an object's sum. There is one for each object of the program.
    fn sum_offset(&self, object: usize) -> i32 {
        assert!(object < self.of.program.externs.len(), "no object {object}");
        object as i32 * 8
    }

    fn sum(&mut self, object: usize) -> Value {
        let offset = self.sum_offset(object);
        let sums = self.context_word(at::SUMS);
        self.b.ins().load(I64, in_context(), sums, offset)
    }

    fn set_sum(&mut self, object: usize, value: Value) {
        let offset = self.sum_offset(object);
        let sums = self.context_word(at::SUMS);
        self.b.ins().store(in_context(), value, sums, offset);
    }

    /// Adds the bits above 16 to the lower 16 bits; the result fits in 16 bits if the value was
    /// small.
    fn fold(&mut self, value: Value) -> Value {
        let high = self.b.ins().ushr_imm(value, 16);
        let low = self.b.ins().band_imm(value, 0xffff);
        self.b.ins().iadd(high, low)
    }

    /// The ones' complement sum of contiguous values, given as slots and widths.
    fn sum_of(&mut self, parts: &[(Slot, u32)]) -> Value {
        let bits: u32 = parts.iter().map(|(_, width)| width).sum();
        let mut word = self.number(0);
        for (slot, width) in parts {
            let value = self.read(*slot);
            word = match width {
                64.. => value,
                _ => {
                    let above = self.b.ins().ishl_imm(word, i64::from(*width));
                    self.b.ins().bor(above, value)
                }
            };
        }
        let word = self.b.ins().ishl_imm(word, i64::from(64 - bits));
        let mut sum = self.b.ins().ushr_imm(word, 48);
        for n in 1..bits.div_ceil(16) {
            let part = self.b.ins().ushr_imm(word, i64::from(48 - 16 * n));
            let part = self.b.ins().band_imm(part, 0xffff);
            sum = self.b.ins().iadd(sum, part);
        }
        if bits > 16 {
            // At most four parts: their sum folded is 0x10002 at most; a second fold makes it 16
            // bits.
            sum = self.fold(sum);
            sum = self.fold(sum);
        }
        sum
    }

    /// Stores a result as [`Operand::set`] does.
    fn set_result(&mut self, result: &Operand, value: Value) {
        let value = match result.width() {
            64.. => value,
            width => self.b.ins().band_imm(value, mask(width) as i64),
        };
        self.write(result.slot(), value);
        for limb in 1..result.limbs() {
            let zero = self.number(0);
            self.write(result.slot() + limb, zero);
        }
    }
}
