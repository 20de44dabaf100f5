// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Translation of nodes to Cranelift IR: slot values, blocks and the edges between them.

use std::collections::BTreeMap;

use adit_p4_frontend::ir::{Cmp, Inst, Op, Slot};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I64, I64X2};
use cranelift_codegen::ir::{AliasRegion, Block, FuncRef, InstBuilder, MemFlags, Value};
use cranelift_frontend::{FunctionBuilder, Switch};

use super::context::at;
use super::ends::{Ended, Ends, Known};
use super::graph::Graph;
use super::inline::{Inlined, Node};
use super::source::Source;
use super::verbatim::Verbatim;
use crate::p4::bits::mask;
use crate::p4::effects::{Effects, SlotRange};

/// References to the helpers in a function.
pub(super) struct Helpers {
    pub(super) apply: FuncRef,
    pub(super) external: FuncRef,
    pub(super) count_direct: FuncRef,
    pub(super) other: FuncRef,
    pub(super) emit: FuncRef,
    pub(super) copy: FuncRef,
    pub(super) clear: FuncRef,
    pub(super) in_turn: FuncRef,
    pub(super) count: FuncRef,
    pub(super) miss: FuncRef,
    pub(super) find: FuncRef,
    pub(super) reserve: FuncRef,
    pub(super) find_hashed: FuncRef,
}

/// Maximum length of a run of limbs that is translated limb by limb.
const MAX_LIMBS: u32 = 32;

/// The same for zeros, which are stored in pairs, and only where they are live.
const MAX_ZEROS: u32 = 512;

/// The translation of one function.
pub(super) struct Translator<'t, 'f> {
    pub(super) of: &'t Source<'t>,
    pub(super) code: &'t Inlined<'t>,
    pub(super) graph: &'t Graph,
    pub(super) verbatim: &'t Verbatim,
    pub(super) b: FunctionBuilder<'f>,
    pub(super) blocks: Vec<Block>,
    pub(super) helpers: Helpers,
    pub(super) context: Value,
    pub(super) frame: Value,
    pub(super) known: BTreeMap<Slot, Known>,
    /// The values known where the extraction that ends the block has failed.
    pub(super) failed: Option<BTreeMap<Slot, Known>>,
    /// The block that ends a run with too many steps.
    pub(super) too_long: Option<Block>,
    /// The resume blocks, one for each lookup and each call that may suspend.
    pub(super) resumes: Vec<Block>,
    /// The number of resume blocks translated so far.
    pub(super) resumed: usize,
    pub(super) others: &'t mut Vec<Inst>,
    /// Set if all reads start at byte boundaries.
    pub(super) is_aligned: bool,
}

/// Memory flags of accesses to the frame.
pub(super) fn in_frame() -> MemFlags {
    MemFlags::trusted().with_alias_region(Some(AliasRegion::Heap))
}

/// Memory flags of accesses to the context.
pub(super) fn in_context() -> MemFlags {
    MemFlags::trusted().with_alias_region(Some(AliasRegion::Vmctx))
}

impl Translator<'_, '_> {
    /// Translates all blocks; the entry block jumps to the first. Returns the largest number of known values
    /// that were kept from ends of blocks at a time.
    pub(super) fn translate(&mut self) -> usize {
        let entry = self.b.create_block();
        self.b.append_block_params_for_function_params(entry);
        self.b.switch_to_block(entry);
        self.context = self.b.block_params(entry)[0];
        self.frame = self.context_word(at::FRAME);
        for _ in &self.graph.blocks {
            let block = self.b.create_block();
            self.blocks.push(block);
        }
        self.enter();
        // The number of blocks behind each that take its values over.
        let mut behind = vec![0; self.graph.blocks.len()];
        for before in self.graph.blocks.iter().flat_map(|block| &block.before) {
            behind[*before] += 1;
        }
        let mut ends = Ends::default();
        for (n, block) in self.graph.blocks.iter().enumerate() {
            self.b.switch_to_block(self.blocks[n]);
            self.known = ends.inherited(n, self.graph, self.code);
            ends.release(&block.before);
            if block.is_reached {
                self.block(n);
            } else {
                self.b.ins().return_(&[]);
            }
            let mut ended = Ended {
                known: std::mem::take(&mut self.known),
                failed: self.failed.take(),
            };
            ended.keep(|slot| block.live_out.has(slot));
            ends.add(n, ended, behind[n]);
        }
        if let Some(block) = self.too_long {
            self.b.switch_to_block(block);
            self.leave_too_long();
        }
        self.b.seal_all_blocks();
        ends.most
    }

    /// Dispatches to the beginning or to a resume block.
    fn enter(&mut self) {
        let reached = self.graph.blocks.iter().filter(|block| block.is_reached);
        let nodes = reached.flat_map(|block| &self.code.nodes[block.nodes.clone()]);
        let suspends = |node: &&Node<'_>| match node {
            Node::Apply { table, .. } => self.of.may_suspend(*table),
            Node::Plain(Inst::Extern { call }) => self.of.is_in_turn(*call),
            _ => false,
        };
        let count = nodes.filter(suspends).count();
        let first = self.blocks[0];
        if count == 0 {
            self.b.ins().jump(first, &[]);
            return;
        }
        let resume = self.context_word(at::RESUME);
        let mut switch = Switch::new();
        for n in 0..count {
            let block = self.b.create_block();
            self.resumes.push(block);
            switch.set_entry(n as u128 + 1, block);
        }
        switch.emit(&mut self.b, resume, first);
    }

    fn block(&mut self, n: usize) {
        let nodes = self.graph.blocks[n].nodes.clone();
        for at in nodes.clone() {
            match &self.code.nodes[at] {
                Node::Plain(inst) => self.instruction(inst),
                Node::Cost(cost) => self.add_steps(*cost),
                last => {
                    self.last(n, at, last);
                    return;
                }
            }
        }
        self.store_live(n);
        let next = self.block_at(nodes.end as u32);
        self.b.ins().jump(next, &[]);
    }

    pub(super) fn block_at(&self, node: u32) -> Block {
        self.blocks[self.graph.at[node as usize] as usize]
    }

    pub(super) fn context_word(&mut self, offset: i32) -> Value {
        self.b.ins().load(I64, in_context(), self.context, offset)
    }

    pub(super) fn set_context_word(&mut self, offset: i32, value: Value) {
        self.b
            .ins()
            .store(in_context(), value, self.context, offset);
    }

    pub(super) fn number(&mut self, value: u64) -> Value {
        self.b.ins().iconst(I64, value as i64)
    }

    /// Returns the offset of a slot in the frame. The frame has the length that the program
    /// declares, so this check also ensures that no code accesses memory beyond its end.
    pub(super) fn offset(&self, slot: Slot) -> i32 {
        assert!(
            (slot as usize) < self.of.program.frame.len(),
            "slot {slot} is outside of the frame"
        );
        slot as i32 * 8
    }

    pub(super) fn read(&mut self, slot: Slot) -> Value {
        let offset = self.offset(slot);
        if self.of.constants.has(slot) {
            return self.number(self.of.program.frame[slot as usize]);
        }
        if let Some(known) = self.known.get(&slot) {
            return known.value;
        }
        let value = self.b.ins().load(I64, in_frame(), self.frame, offset);
        let (is_new, is_zero) = (false, false);
        let known = Known {
            value,
            is_new,
            is_zero,
        };
        self.known.insert(slot, known);
        value
    }

    /// Returns whether a slot is known to be 0.
    fn is_zero(&self, slot: Slot) -> bool {
        if self.of.constants.has(slot) {
            return self.of.program.frame[slot as usize] == 0;
        }
        self.known.get(&slot).is_some_and(|known| known.is_zero)
    }

    pub(super) fn write(&mut self, slot: Slot, value: Value) {
        self.write_known(slot, value, false);
    }

    fn write_known(&mut self, slot: Slot, value: Value, is_zero: bool) {
        let _ = self.offset(slot);
        let is_new = true;
        let known = Known {
            value,
            is_new,
            is_zero,
        };
        self.known.insert(slot, known);
    }

    pub(super) fn write_flag(&mut self, slot: Slot, flag: Value) {
        let value = self.b.ins().uextend(I64, flag);
        self.write(slot, value);
    }

    fn store(&mut self, slot: Slot) {
        let offset = self.offset(slot);
        if let Some(known) = self.known.get_mut(&slot).filter(|known| known.is_new) {
            known.is_new = false;
            let value = known.value;
            self.b.ins().store(in_frame(), value, self.frame, offset);
        }
    }

    /// Notes that the frame has a slot's value.
    pub(super) fn is_stored(&mut self, slot: Slot) {
        if let Some(known) = self.known.get_mut(&slot) {
            known.is_new = false;
        }
    }

    /// Stores two adjacent slots with one instruction if both are 0.
    fn store_zeros(&mut self, slot: Slot) -> bool {
        let is_new_zero = |slot| {
            let known = self.known.get(&slot);
            known.is_some_and(|known| known.is_new && known.is_zero)
        };
        if !is_new_zero(slot) || !is_new_zero(slot + 1) {
            return false;
        }
        let offset = self.offset(slot);
        let _ = self.offset(slot + 1);
        let zero = self.number(0);
        let zeros = self.b.ins().splat(I64X2, zero);
        // Limbs are aligned to their own size only.
        let flags = MemFlags::new().with_notrap();
        let flags = flags.with_alias_region(Some(AliasRegion::Heap));
        self.b.ins().store(flags, zeros, self.frame, offset);
        for slot in [slot, slot + 1] {
            if let Some(known) = self.known.get_mut(&slot) {
                known.is_new = false;
            }
        }
        true
    }

    /// Stores the new values of some slots, in their order.
    fn store_slots(&mut self, slots: &[Slot]) {
        for (n, slot) in slots.iter().enumerate() {
            let has_neighbour = slots.get(n + 1) == Some(&(slot + 1));
            if !has_neighbour || !self.store_zeros(*slot) {
                self.store(*slot);
            }
        }
    }

    pub(super) fn store_all(&mut self) {
        let new = self.known.iter().filter(|(_, known)| known.is_new);
        let slots: Vec<Slot> = new.map(|(slot, _)| *slot).collect();
        self.store_slots(&slots);
    }

    /// Stores the live values at the end of a block.
    pub(super) fn store_live(&mut self, block: usize) {
        let block = &self.graph.blocks[block];
        // The fields of headers that are known to be invalid are live in fewer cases.
        let is_invalid = |slot| {
            let validity = self.of.headers.validity_of(slot);
            validity.is_some_and(|validity| self.is_zero(validity))
        };
        let is_live = |slot: &Slot| match is_invalid(*slot) {
            true => block.live_out_if_invalid.has(*slot),
            false => block.live_out.has(*slot),
        };
        let new = self.known.iter().filter(|(_, known)| known.is_new);
        let slots: Vec<Slot> = new.map(|(slot, _)| *slot).filter(is_live).collect();
        self.store_slots(&slots);
    }

    /// Stores values before memory is read.
    pub(super) fn store_runs(&mut self, runs: &[SlotRange]) {
        for (slot, limbs) in runs {
            (*slot..slot + limbs).for_each(|slot| self.store(slot));
        }
    }

    /// Invalidates known values after memory was written.
    pub(super) fn forget(&mut self, runs: &[SlotRange]) {
        for (slot, limbs) in runs {
            self.known
                .retain(|known, _| !(*slot..slot + limbs).contains(known));
        }
    }

    /// Stores known values before an operation that accesses memory, and invalidates them after it.
    pub(super) fn in_memory(&mut self, effects: &Effects, work: impl FnOnce(&mut Self)) {
        self.store_runs(&effects.reads);
        self.store_runs(&effects.touches);
        work(self);
        self.forget(&effects.writes);
        self.forget(&effects.touches);
    }

    pub(super) fn truncate(&mut self, value: Value, width: u32) -> Value {
        match width {
            64.. => value,
            _ => {
                let mask = self.number(mask(width));
                self.b.ins().band(value, mask)
            }
        }
    }

    /// Sign-extends a value of one limb.
    pub(super) fn signed(&mut self, value: Value, width: u32) -> Value {
        match width {
            0 => self.number(0),
            64.. => value,
            _ => {
                let up = self.b.ins().ishl_imm(value, i64::from(64 - width));
                self.b.ins().sshr_imm(up, i64::from(64 - width))
            }
        }
    }

    /// Translates an instruction that is not a terminator.
    fn instruction(&mut self, inst: &Inst) {
        match *inst {
            Inst::Move { dst, src, limbs } if limbs <= MAX_LIMBS => {
                let moved = |t: &mut Self, n| (t.read(src + n), t.is_zero(src + n));
                let values: Vec<_> = (0..limbs).map(|n| moved(self, n)).collect();
                for (n, (value, is_zero)) in values.into_iter().enumerate() {
                    self.write_known(dst + n as u32, value, is_zero);
                }
            }
            Inst::Move { dst, src, limbs } => {
                let effects = Effects::of(inst, self.of.program);
                self.in_memory(&effects, |t| t.call_copy(dst, src, limbs));
            }
            Inst::Zero { dst, limbs } if limbs <= MAX_ZEROS => {
                let zero = self.number(0);
                (dst..dst + limbs).for_each(|slot| self.write_known(slot, zero, true));
            }
            Inst::Zero { dst, limbs } => {
                let effects = Effects::of(inst, self.of.program);
                self.in_memory(&effects, |t| t.call_clear(dst, limbs));
            }
            Inst::Binary {
                op: op @ (Op::Add | Op::Sub | Op::Mul | Op::And | Op::Or | Op::Xor),
                dst,
                a,
                b,
                width,
            } if width <= 64 => {
                let (a, b) = (self.read(a), self.read(b));
                let value = match op {
                    Op::Add => self.b.ins().iadd(a, b),
                    Op::Sub => self.b.ins().isub(a, b),
                    Op::Mul => self.b.ins().imul(a, b),
                    Op::And => self.b.ins().band(a, b),
                    Op::Or => self.b.ins().bor(a, b),
                    _ => self.b.ins().bxor(a, b),
                };
                let value = match op {
                    Op::Add | Op::Sub | Op::Mul => self.truncate(value, width),
                    _ => value,
                };
                self.write(dst, value);
            }
            Inst::Compare {
                cmp,
                dst,
                a,
                b,
                width,
            } if width <= 64 => {
                let (mut a, mut b) = (self.read(a), self.read(b));
                if let Cmp::Lt(true) | Cmp::Le(true) = cmp {
                    (a, b) = (self.signed(a, width), self.signed(b, width));
                }
                let code = match cmp {
                    Cmp::Eq => IntCC::Equal,
                    Cmp::Ne => IntCC::NotEqual,
                    Cmp::Lt(false) => IntCC::UnsignedLessThan,
                    Cmp::Le(false) => IntCC::UnsignedLessThanOrEqual,
                    Cmp::Lt(true) => IntCC::SignedLessThan,
                    Cmp::Le(true) => IntCC::SignedLessThanOrEqual,
                };
                let flag = self.b.ins().icmp(code, a, b);
                self.write_flag(dst, flag);
            }
            Inst::LogicalNot { dst, a } => {
                let a = self.read(a);
                let flag = self.b.ins().icmp_imm(IntCC::Equal, a, 0);
                self.write_flag(dst, flag);
            }
            Inst::Not { dst, a, width } if width <= 64 => {
                let a = self.read(a);
                let value = self.b.ins().bnot(a);
                let value = self.truncate(value, width);
                self.write(dst, value);
            }
            Inst::Neg { dst, a, width } if width <= 64 => {
                let a = self.read(a);
                let value = self.b.ins().ineg(a);
                let value = self.truncate(value, width);
                self.write(dst, value);
            }
            Inst::Resize {
                dst,
                a,
                from,
                to,
                signed,
            } if from <= 64 && to <= 64 => {
                let mut value = self.read(a);
                if signed {
                    value = self.signed(value, from);
                }
                let value = self.truncate(value, to);
                self.write(dst, value);
            }
            Inst::Extern { call } if self.of.is_in_turn(call) => self.call_in_turn(call),
            Inst::Extern { call } => {
                if self.external(call) {
                    return;
                }
                let effects = Effects::of(inst, self.of.program);
                self.in_memory(&effects, |t| t.call_external(call));
            }
            Inst::PacketLength { dst } => {
                let bits = self.context_word(at::BITS);
                let bytes = self.b.ins().ushr_imm(bits, 3);
                self.write(dst, bytes);
            }
            Inst::Exit | Inst::Reject { .. } => self.end_all(inst),
            Inst::EndBlock { error } => self.end_block(error),
            Inst::Emit { layout, src } => self.emit_header(layout, src),
            Inst::Extract { .. } | Inst::Lookahead { .. } | Inst::Advance { .. } => {
                self.parse_on(inst);
            }
            ref other => {
                if !self.wide(other) {
                    self.by_interpreter(other);
                }
            }
        }
    }
}
