// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Calls of helpers, and block terminators.

use adit_p4_frontend::ir::{limbs_of, Inst, Slot};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{Block, FuncRef, InstBuilder, Value};

use super::context::{at, EXIT, GOING_ON, REJECTED, TOO_LONG, WAIT};
use super::emit::Translator;
use super::graph::no_pending_end_after;
use super::inline::Node;
use super::lookup::{in_tables, Applying};
use crate::p4::effects::Effects;
use crate::p4::machine::MAX_STEPS;
use crate::p4::tables::{is_selector, Table};

impl Translator<'_, '_> {
    pub(super) fn call(&mut self, helper: FuncRef, arguments: &[u32]) -> Option<Value> {
        let mut values = vec![self.context];
        for argument in arguments {
            let value = self.b.ins().iconst(I32, i64::from(*argument));
            values.push(value);
        }
        let call = self.b.ins().call(helper, &values);
        self.b.inst_results(call).first().copied()
    }

    pub(super) fn call_external(&mut self, call: u32) {
        self.call(self.helpers.external, &[call]);
    }

    /// Calls an extern when it is the packet's turn: until then the code suspends, and comes back to the
    /// call. Known values are lost.
    pub(super) fn call_in_turn(&mut self, call: u32) {
        self.store_all();
        self.known.clear();
        let resume = self.resumes[self.resumed];
        self.resumed += 1;
        self.b.ins().jump(resume, &[]);

        self.b.switch_to_block(resume);
        let result = self.call(self.helpers.in_turn, &[call]);
        let (waiting, on) = (self.b.create_block(), self.b.create_block());
        match result {
            Some(result) => self.b.ins().brif(result, waiting, &[], on, &[]),
            None => self.b.ins().jump(on, &[]),
        };

        self.b.switch_to_block(waiting);
        let number = self.number(self.resumed as u64);
        self.set_context_word(at::RESUME, number);
        self.b.ins().return_(&[]);

        self.b.switch_to_block(on);
    }

    pub(super) fn call_count(&mut self, object: u32, index: Value) {
        let object = self.b.ins().iconst(I32, i64::from(object));
        let arguments = [self.context, object, index];
        self.b.ins().call(self.helpers.count, &arguments);
    }

    pub(super) fn call_count_direct(&mut self, object: u32) {
        self.call(self.helpers.count_direct, &[object]);
    }

    pub(super) fn call_copy(&mut self, dst: Slot, src: Slot, limbs: u32) {
        let _ = (self.offset(dst + limbs - 1), self.offset(src + limbs - 1));
        self.call(self.helpers.copy, &[dst, src, limbs]);
    }

    pub(super) fn call_clear(&mut self, dst: Slot, limbs: u32) {
        let _ = self.offset(dst + limbs - 1);
        self.call(self.helpers.clear, &[dst, limbs]);
    }

    pub(super) fn call_emit(&mut self, layout: u32, src: Slot) {
        self.call(self.helpers.emit, &[layout, src]);
    }

    /// Delegates an instruction to the interpreter. Returns whether it ends parsing.
    pub(super) fn by_interpreter(&mut self, inst: &Inst) -> Option<Value> {
        let at = self.others.len() as u32;
        self.others.push(inst.clone());
        let effects = Effects::of(inst, self.of.program);
        let mut ends = None;
        self.in_memory(&effects, |t| ends = t.call(t.helpers.other, &[at]));
        ends
    }

    /// Translates `exit` and parser errors; of several errors the first applies.
    pub(super) fn end_all(&mut self, inst: &Inst) {
        let old = self.context_word(at::END);
        let new = match inst {
            Inst::Reject { error } => {
                let error = self.read(*error);
                let error = self.b.ins().band_imm(error, i64::from(u32::MAX));
                let new = self.b.ins().iadd_imm(error, REJECTED as i64);
                let is_on = self.b.ins().icmp_imm(IntCC::Equal, old, GOING_ON as i64);
                self.b.ins().select(is_on, new, old)
            }
            _ => self.number(EXIT),
        };
        self.set_context_word(at::END, new);
    }

    /// Translates the end of a program block: stores its error, and clears the pending end.
    pub(super) fn end_block(&mut self, error: Slot) {
        let end = self.context_word(at::END);
        let rejected = IntCC::UnsignedGreaterThanOrEqual;
        let is_rejected = self.b.ins().icmp_imm(rejected, end, REJECTED as i64);
        let code = self.b.ins().band_imm(end, i64::from(u32::MAX));
        let none = self.number(0);
        let value = self.b.ins().select(is_rejected, code, none);
        self.write(error, value);
        let on = self.number(GOING_ON);
        self.set_context_word(at::END, on);
    }

    /// Adds steps; ends the run if there are too many.
    pub(super) fn add_steps(&mut self, cost: u32) {
        if !self.code.has_loops || cost == 0 {
            return;
        }
        self.store_all();
        let steps = self.context_word(at::STEPS);
        let steps = self.b.ins().iadd_imm(steps, i64::from(cost));
        self.set_context_word(at::STEPS, steps);
        let is_over = self
            .b
            .ins()
            .icmp_imm(IntCC::UnsignedGreaterThan, steps, MAX_STEPS as i64);
        let over = match self.too_long {
            Some(block) => block,
            None => self.b.create_block(),
        };
        self.too_long = Some(over);
        let on = self.b.create_block();
        self.b.ins().brif(is_over, over, &[], on, &[]);
        self.b.switch_to_block(on);
    }

    pub(super) fn leave_too_long(&mut self) {
        let end = self.number(TOO_LONG);
        self.set_context_word(at::END, end);
        self.b.ins().return_(&[]);
    }

    /// Returns the block to jump to for an edge to a node; it counts steps if the edge costs any.
    /// Live values have been stored.
    fn edge(&mut self, to: u32, cost: u32, open: &mut Vec<(Block, Block, u32)>) -> Block {
        let target = self.block_at(to);
        if !self.code.has_loops || cost == 0 {
            return target;
        }
        let counting = self.b.create_block();
        open.push((counting, target, cost));
        counting
    }

    fn fill(&mut self, open: Vec<(Block, Block, u32)>) {
        for (counting, target, cost) in open {
            self.b.switch_to_block(counting);
            self.add_steps(cost);
            self.b.ins().jump(target, &[]);
        }
    }

    /// Translates the last node of a block.
    pub(super) fn last(&mut self, block: usize, at: usize, node: &Node<'_>) {
        let next = at as u32 + 1;
        let mut open = Vec::new();
        match node {
            Node::End => {
                self.store_live(block);
                self.b.ins().return_(&[]);
            }
            Node::Jump { to, cost } => {
                self.store_live(block);
                self.add_steps(*cost);
                let to = self.block_at(*to);
                self.b.ins().jump(to, &[]);
            }
            Node::Branch {
                cond,
                when,
                to,
                cost,
            } => {
                let cond = self.read(*cond);
                self.store_live(block);
                let to = self.edge(*to, *cost, &mut open);
                let next = self.block_at(next);
                match when {
                    true => self.b.ins().brif(cond, to, &[], next, &[]),
                    false => self.b.ins().brif(cond, next, &[], to, &[]),
                };
            }
            Node::IfEnding { to, cost } => {
                self.store_live(block);
                self.branch_if_ending(
                    *to,
                    *cost,
                    next,
                    self.no_pending_end_at_last(block),
                    &mut open,
                );
            }
            Node::Parse { inst, to, cost } => {
                // The state before the node: an error that it raises takes the other edge anyway.
                let no_pending_end = self.no_pending_end_at_last(block);
                if let Some((words, dst)) = self.words_of(inst) {
                    let effects = Effects::of(inst, self.of.program);
                    self.store_runs(&effects.touches);
                    self.store_live(block);
                    let fail = self.b.create_block();
                    self.forget(&effects.touches);
                    self.failed = Some(self.known.clone());
                    let live = &self.graph.blocks[block].live_out;
                    let wanted = |_: &Self, slot| live.has(slot);
                    self.extract_or(words, dst, fail, wanted, |t, slot, value| {
                        t.write(slot, value);
                        t.is_stored(slot);
                    });
                    self.branch_if_ending(*to, *cost, next, no_pending_end, &mut open);
                    self.b.switch_to_block(fail);
                    self.fail_extraction();
                    let to = self.edge(*to, *cost, &mut open);
                    self.b.ins().jump(to, &[]);
                    self.fill(open);
                    return;
                }
                let failed = self.parse(inst);
                self.store_live(block);
                let fail = self.edge(*to, *cost, &mut open);
                let on = self.b.create_block();
                self.b.ins().brif(failed, fail, &[], on, &[]);
                self.b.switch_to_block(on);
                self.branch_if_ending(*to, *cost, next, no_pending_end, &mut open);
            }
            Node::Apply {
                table,
                hit,
                action,
                arms,
            } => {
                let applying = Applying {
                    block,
                    table: *table,
                    hit: *hit,
                    action: *action,
                    arms,
                };
                let of = self.of;
                let effects = self.effects_of_packed(*table, *hit, *action);
                match &of.places[*table as usize] {
                    Some(places) => self.look_up(applying, places),
                    // A packet that adds an entry needs the key.
                    None if of.learns(*table) => {
                        let result = self.apply(*table, &effects);
                        self.take_applied(applying, result);
                    }
                    None => {
                        let result = self.apply_unless_empty(*table, &effects);
                        self.take_applied(applying, result);
                    }
                }
            }
            Node::Plain(_) | Node::Cost(_) => {}
        }
        self.fill(open);
    }

    /// Looks up. Returns the result.
    fn apply(&mut self, table: u32, effects: &Effects) -> Value {
        let key = self.packed_key(table);
        self.store_packed(&key);
        let mut result = None;
        self.in_memory(effects, |t| result = t.call(t.helpers.apply, &[table]));
        match result {
            Some(result) if self.of.may_suspend(table) => self.wait(result),
            Some(result) => result,
            None => self.number(0),
        }
    }

    /// Looks up if the table has entries: otherwise its key is not needed.
    fn apply_unless_empty(&mut self, table: u32, effects: &Effects) -> Value {
        // A lookup that suspends needs all values in memory, and knows none after it.
        match self.of.may_suspend(table) {
            true => self.store_all(),
            false => {
                self.store_runs(&effects.reads);
                self.store_runs(&effects.touches);
            }
        }
        let known = self.known.clone();
        let (miss, look_up, on) = (
            self.b.create_block(),
            self.b.create_block(),
            self.b.create_block(),
        );
        let result = self.b.append_block_param(on, I64);
        let tables = self.context_word(at::TABLES);
        let place = self.of.table_offset(table, Table::COUNT);
        let count = self.b.ins().load(I64, in_tables(), tables, place);
        self.b.ins().brif(count, look_up, &[], miss, &[]);

        self.b.switch_to_block(miss);
        let missed = match self.call(self.helpers.miss, &[table]) {
            Some(missed) => missed,
            None => self.number(0),
        };
        self.b.ins().jump(on, &[missed.into()]);

        self.b.switch_to_block(look_up);
        let found = self.apply(table, effects);
        self.b.ins().jump(on, &[found.into()]);

        self.b.switch_to_block(on);
        // What the key has read is known on one of the ways only.
        match self.of.may_suspend(table) {
            true => self.known.clear(),
            false => {
                self.known = known;
                self.forget(&effects.writes);
                self.forget(&effects.touches);
            }
        }
        result
    }

    /// Returns whether no end is pending before the last node.
    fn no_pending_end_at_last(&self, block: usize) -> bool {
        let block = &self.graph.blocks[block];
        no_pending_end_after(block.no_pending_end, &self.code.nodes[block.nodes.clone()])
    }

    fn branch_if_ending(
        &mut self,
        to: u32,
        cost: u32,
        next: u32,
        no_pending_end: bool,
        open: &mut Vec<(Block, Block, u32)>,
    ) {
        let next = self.block_at(next);
        if no_pending_end {
            self.b.ins().jump(next, &[]);
            return;
        }
        let to = self.edge(to, cost, open);
        let end = self.context_word(at::END);
        self.b.ins().brif(end, to, &[], next, &[]);
    }

    /// The effects of a lookup whose key has been packed: it reads only what selects a group's member.
    pub(super) fn effects_of_packed(&self, table: u32, hit: Slot, action: Slot) -> Effects {
        let mut effects = Effects::of_table(table, hit, action, self.of.program);
        let keys = &self.of.program.tables[table as usize].keys;
        let selectors = keys.iter().filter(|key| is_selector(key));
        effects.reads = selectors.map(|k| (k.slot, limbs_of(k.width))).collect();
        effects
    }

    /// Emits the suspension for a slow lookup: code that returns, and that resumes here. Known
    /// values are lost.
    fn wait(&mut self, result: Value) -> Value {
        self.store_all();
        self.known.clear();
        let resume = self.resumes[self.resumed];
        self.resumed += 1;
        let (waiting, on) = (self.b.create_block(), self.b.create_block());
        let found = self.b.append_block_param(on, I64);
        let is_waiting = self.b.ins().icmp_imm(IntCC::Equal, result, WAIT as i64);
        let result = [result.into()];
        self.b.ins().brif(is_waiting, waiting, &[], on, &result);

        self.b.switch_to_block(waiting);
        let number = self.number(self.resumed as u64);
        self.set_context_word(at::RESUME, number);
        self.b.ins().return_(&[]);

        self.b.switch_to_block(resume);
        let result = self.context_word(at::APPLIED);
        self.b.ins().jump(on, &[result.into()]);

        self.b.switch_to_block(on);
        found
    }

    /// Looks up by a call, which may suspend, and continues with the code of the action. The frame has
    /// all live values.
    pub(super) fn look_up_or_suspend(&mut self, applying: Applying<'_>, key: &[Value]) {
        self.store_packed(key);
        let result = match self.call(self.helpers.apply, &[applying.table]) {
            Some(result) => result,
            None => self.number(0),
        };
        self.known.clear();
        let result = self.wait(result);
        self.take_applied(applying, result);
    }

    /// Branches to the code of the action that a lookup returned.
    fn take_applied(&mut self, applying: Applying<'_>, result: Value) {
        let is_hit = self.b.ins().ushr_imm(result, 32);
        self.write(applying.hit, is_hit);
        let chosen = self.b.ins().band_imm(result, i64::from(u32::MAX));
        self.write(applying.action, chosen);
        self.store_live(applying.block);
        let arms: Vec<Block> = applying
            .arms
            .iter()
            .map(|arm| self.block_at(*arm))
            .collect();
        self.continue_with(chosen, &arms);
    }
}
