// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Lookups without calls: the code hashes the key, finds the record in the index, and copies the
//! arguments of its action into the frame. What is rarer is called: a record that is not in its first
//! slot, a search by masks, a lookup that suspends.
//!
//! The code reads what a table's writers publish, as [`Index::search`] and `Table::find` do, while the
//! worker holds its pin: the index and the records that it can reach stay as they are. It reads within
//! them: a slot's place is masked as writers do, and a record's number is that of a slot or of the default
//! action, which writers set to records that exist. Nothing of a packet but its hash and the comparison of
//! its key decides what is read.

use adit_p4_frontend::ir::{limbs_of, Slot};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{Block, InstBuilder, MemFlags, Value};
use cranelift_frontend::Switch;

use super::context::at;
use super::emit::{in_context, in_frame, Translator};
use crate::p4::environment::Reached;
use crate::p4::tables::{numbers, Index, Places, Table};

/// The maximum number of actions that are found by comparisons, and not in a jump table.
const MAX_COMPARED: usize = 6;

/// Memory flags of reads of tables, which others write.
pub(super) fn in_tables() -> MemFlags {
    MemFlags::new().with_notrap()
}

/// The nodes and slots of a lookup.
#[derive(Clone, Copy)]
pub(super) struct Applying<'n> {
    /// The basic block that it ends.
    pub(super) block: usize,
    pub(super) table: u32,
    pub(super) hit: Slot,
    pub(super) action: Slot,
    /// The code of each action.
    pub(super) arms: &'n [u32],
}

impl Translator<'_, '_> {
    /// Looks up, and continues with the code of the action.
    pub(super) fn look_up(&mut self, applying: Applying<'_>, places: &Places) {
        let Applying { block, table, .. } = applying;
        let of = self.of;
        // Once, before ways part. On all of them the frame has what is live then.
        self.store_live(block);
        let [none, some, take] = std::array::from_fn(|_| self.b.create_block());
        // The address of the record, and the word of the result.
        let record = self.b.append_block_param(take, I64);
        let reached = self.b.append_block_param(take, I64);

        let tables = self.context_word(at::TABLES);
        if of.plans[table as usize].length() == 0 {
            self.b.ins().jump(none, &[]);
        } else {
            let place = of.table_offset(table, Table::COUNT);
            let count = self.b.ins().load(I64, in_tables(), tables, place);
            self.b.ins().brif(count, some, &[], none, &[]);
        }

        self.b.switch_to_block(none);
        let place = of.table_offset(table, Table::DEFAULT);
        let place = self.b.ins().iadd_imm(tables, i64::from(place));
        let number = self.b.ins().atomic_load(I32, in_tables(), place);
        let number = self.b.ins().uextend(I64, number);
        let default = self.record(tables, table, places, number);
        let missed = self.number(Reached::miss(table));
        self.b.ins().jump(take, &[default.into(), missed.into()]);

        self.b.switch_to_block(take);
        self.take_record(applying, places, record, reached);

        self.b.switch_to_block(some);
        if of.plans[table as usize].length() == 0 {
            self.b.ins().jump(none, &[]);
        } else {
            let known = self.known.clone();
            self.search(applying, places, tables, none, take);
            self.known = known;
        }
        // What the key has read is known on one of the ways only, and after the code has suspended
        // nothing is.
        let effects = self.effects_of_packed(table, applying.hit, applying.action);
        match of.may_suspend(table) {
            true => self.known.clear(),
            false => {
                self.forget(&effects.writes);
                self.forget(&effects.touches);
            }
        }
    }

    /// Searches a table that has entries.
    fn search(
        &mut self,
        applying: Applying<'_>,
        places: &Places,
        tables: Value,
        none: Block,
        take: Block,
    ) {
        let table = applying.table;
        let key = self.packed_key(table);
        let hit = self.number(Reached::miss(table) | Reached::HIT);
        let index = match places.exact_words {
            Some(_) => {
                let place = self.of.table_offset(table, Table::INDEX);
                let place = self.b.ins().iadd_imm(tables, i64::from(place));
                Some(self.b.ins().atomic_load(I64, in_tables(), place))
            }
            None => None,
        };
        if self.of.may_suspend(table) {
            let (may_wait, on) = (self.b.create_block(), self.b.create_block());
            let wait = self.context_word(at::MAY_WAIT);
            let wait = match index {
                // Only a lookup in an index that is far.
                Some(index) => {
                    let place = Index::IS_FAR as i32;
                    let is_far = self.b.ins().uload8(I64, in_tables(), index, place);
                    self.b.ins().band(wait, is_far)
                }
                None => wait,
            };
            self.b.ins().brif(wait, may_wait, &[], on, &[]);
            self.b.switch_to_block(may_wait);
            self.look_up_or_suspend(applying, &key);
            self.b.switch_to_block(on);
        }
        let called = self.b.create_block();
        let mut of_exact = None;
        if let Some(index) = index {
            let seed = self.of.table_offset(table, Table::SEED);
            let seed = self.b.ins().load(I64, in_tables(), tables, seed);
            let hash = self.hash(seed, &key);
            of_exact = Some(hash);
            let number = self.first_slot(index, hash, called);
            let record = self.record(tables, table, places, number);
            for (n, word) in key.iter().enumerate() {
                let place = places.key + n as i32 * 8;
                let its = self.b.ins().load(I64, in_tables(), record, place);
                let next = self.b.create_block();
                let is_same = self.b.ins().icmp(IntCC::Equal, its, *word);
                self.b.ins().brif(is_same, next, &[], called, &[]);
                self.b.switch_to_block(next);
            }
            self.b.ins().jump(take, &[record.into(), hit.into()]);
        } else {
            self.b.ins().jump(called, &[]);
        }

        self.b.switch_to_block(called);
        self.store_packed(&key);
        let number = self.b.ins().iconst(I32, i64::from(table));
        let call = match of_exact {
            Some(hash) => {
                let arguments = [self.context, number, hash];
                self.b.ins().call(self.helpers.find_hashed, &arguments)
            }
            None => {
                let arguments = [self.context, number];
                self.b.ins().call(self.helpers.find, &arguments)
            }
        };
        let found = self.b.inst_results(call)[0];
        let is_found = self.b.create_block();
        self.b.ins().brif(found, is_found, &[], none, &[]);
        self.b.switch_to_block(is_found);
        let number = self.b.ins().iadd_imm(found, -1);
        let record = self.record(tables, table, places, number);
        self.b.ins().jump(take, &[record.into(), hit.into()]);
    }

    /// The number of the record in the first slot for a hash. Goes elsewhere if it has none, or one of
    /// another hash.
    fn first_slot(&mut self, index: Value, hash: Value, otherwise: Block) -> Value {
        let slots = Index::SLOTS_OF_BUCKET as i64;
        let mask = self
            .b
            .ins()
            .load(I64, in_tables(), index, Index::MASK as i32);
        let bucket = self.b.ins().band(hash, mask);
        let start = self.b.ins().imul_imm(bucket, slots);
        let home = self.b.ins().ushr_imm(hash, i64::from(Index::HOME_BIT));
        let home = self.b.ins().band_imm(home, slots - 1);
        let place = self.b.ins().bor(start, home);
        let place = self.b.ins().ishl_imm(place, 3);
        let slots = self
            .b
            .ins()
            .load(I64, in_tables(), index, Index::SLOTS as i32);
        let place = self.b.ins().iadd(slots, place);
        let slot = self.b.ins().atomic_load(I64, in_tables(), place);
        // The record's number plus one, if the upper halves are equal.
        let low = self.b.ins().bxor(slot, hash);
        let differs = self.b.ins().ushr_imm(low, 32);
        let (alike, on) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(differs, otherwise, &[], alike, &[]);

        self.b.switch_to_block(alike);
        let low = self.b.ins().ireduce(I32, slot);
        let low = self.b.ins().sextend(I64, low);
        let number = self.b.ins().iadd_imm(low, -1);
        // Neither 0 nor all ones: it is not empty. No table has 2^31 records.
        let at_least = IntCC::SignedGreaterThanOrEqual;
        let is_record = self.b.ins().icmp_imm(at_least, number, 0);
        self.b.ins().brif(is_record, on, &[], otherwise, &[]);

        self.b.switch_to_block(on);
        number
    }

    /// The address of a record, by its number.
    fn record(&mut self, tables: Value, table: u32, places: &Places, number: Value) -> Value {
        let start = self.of.table_offset(table, Table::RECORDS);
        let start = self.b.ins().load(I64, in_tables(), tables, start);
        let offset = match places.stride.is_power_of_two() {
            true => {
                let shift = i64::from(places.stride.trailing_zeros());
                self.b.ins().ishl_imm(number, shift)
            }
            false => self.b.ins().imul_imm(number, places.stride as i64),
        };
        self.b.ins().iadd(start, offset)
    }

    /// The hash of a key, as the tables' `hash` computes it.
    fn hash(&mut self, seed: Value, key: &[Value]) -> Value {
        let rotated = self.b.ins().rotl_imm(seed, 32);
        let mut state = None;
        for (n, pair) in key.chunks(2).enumerate() {
            let step = |step: u64| step.wrapping_mul(n as u64) as i64;
            let [first, second] = numbers::STEPS.map(step);
            let first = match n {
                0 => seed,
                _ => self.b.ins().iadd_imm(seed, first),
            };
            let start = self.number(numbers::SECOND);
            let mut other = self.b.ins().bxor(rotated, start);
            if n > 0 {
                other = self.b.ins().iadd_imm(other, second);
            }
            let last = match pair.get(1) {
                Some(word) => *word,
                None => self.number(numbers::NO_WORD),
            };
            let a = self.b.ins().bxor(pair[0], first);
            let b = self.b.ins().bxor(last, other);
            let product = self.folded_product(a, b);
            state = Some(match state {
                Some(state) => self.b.ins().iadd(state, product),
                None => product,
            });
        }
        let state = match state {
            Some(state) => self.b.ins().bxor(state, seed),
            None => seed,
        };
        let last = self.number(numbers::LAST);
        self.folded_product(state, last)
    }

    fn folded_product(&mut self, a: Value, b: Value) -> Value {
        let low = self.b.ins().imul(a, b);
        let high = self.b.ins().umulhi(a, b);
        self.b.ins().bxor(low, high)
    }

    /// Records the result, copies the arguments of the record's action, and continues with its code.
    fn take_record(
        &mut self,
        applying: Applying<'_>,
        places: &Places,
        record: Value,
        reached: Value,
    ) {
        let Applying {
            block,
            table,
            hit,
            action,
            arms,
        } = applying;
        let (of, graph) = (self.of, self.graph);
        let head = self.b.ins().load(I64, in_tables(), record, 0);
        // The entry's id of a miss is of no entry, and not looked at.
        let id = self.b.ins().ireduce(I32, head);
        let id = self.b.ins().uextend(I64, id);
        let word = self.b.ins().bor(reached, id);
        let place = self.context_word(at::REACHED);
        self.b.ins().store(in_context(), word, place, 0);
        // The third part is 0: the record has an action of its own.
        let chosen = self.b.ins().ushr_imm(head, 32);
        let live = &graph.blocks[block].live_out;
        if live.has(hit) {
            let is_hit = self.b.ins().ushr_imm(reached, 32);
            let is_hit = self.b.ins().band_imm(is_hit, 1);
            let offset = self.offset(hit);
            self.b.ins().store(in_frame(), is_hit, self.frame, offset);
        }
        if live.has(action) {
            let offset = self.offset(action);
            self.b.ins().store(in_frame(), chosen, self.frame, offset);
        }
        let mut copies = Vec::new();
        for (n, arm) in arms.iter().enumerate() {
            let parameters = &of.program.tables[table as usize].actions[n].parameters;
            let slots = parameters
                .iter()
                .flat_map(|p| p.slot..p.slot + limbs_of(p.width));
            let wanted = &graph.blocks[graph.at[*arm as usize] as usize].live_in;
            let places = (0..).map(|n| places.arguments + n * 8);
            let copied: Vec<(Slot, i32)> = slots
                .zip(places)
                .filter(|(slot, _)| wanted.has(*slot))
                .collect();
            let code = self.block_at(*arm);
            copies.push(match copied.is_empty() {
                true => (code, code, copied),
                false => (self.b.create_block(), code, copied),
            });
        }
        let starts: Vec<Block> = copies.iter().map(|copy| copy.0).collect();
        self.continue_with(chosen, &starts);
        for (start, code, copied) in copies {
            if start == code {
                continue;
            }
            self.b.switch_to_block(start);
            for (slot, place) in copied {
                let value = self.b.ins().load(I64, in_tables(), record, place);
                let offset = self.offset(slot);
                self.b.ins().store(in_frame(), value, self.frame, offset);
            }
            self.b.ins().jump(code, &[]);
        }
    }

    /// Branches to the code of an action.
    pub(super) fn continue_with(&mut self, chosen: Value, arms: &[Block]) {
        // A lookup never returns an action that the table does not have.
        let Some((last, others)) = arms.split_last() else {
            self.b.ins().return_(&[]);
            return;
        };
        let others = others.iter().enumerate().filter(|(_, arm)| *arm != last);
        if others.clone().count() > MAX_COMPARED {
            let mut switch = Switch::new();
            others.for_each(|(n, arm)| switch.set_entry(n as u128, *arm));
            switch.emit(&mut self.b, chosen, *last);
            return;
        }
        for (n, arm) in others {
            let next = self.b.create_block();
            let is_it = self.b.ins().icmp_imm(IntCC::Equal, chosen, n as i64);
            self.b.ins().brif(is_it, *arm, &[], next, &[]);
            self.b.switch_to_block(next);
        }
        self.b.ins().jump(*last, &[]);
    }

    /// The words of a key, as [`Plan::gather`](crate::p4::tables::Plan::gather) packs them.
    pub(super) fn packed_key(&mut self, table: u32) -> Vec<Value> {
        let of = self.of;
        let plan = &of.plans[table as usize];
        let mut words = Vec::with_capacity(plan.length());
        // Each word once, when its last part is there.
        let mut word = None;
        for (n, part) in plan.parts.iter().enumerate() {
            let mut bits = self.read(part.slot);
            if part.up > 0 {
                bits = self.b.ins().ishl_imm(bits, i64::from(part.up));
            }
            if part.down > 0 {
                bits = self.b.ins().ushr_imm(bits, i64::from(part.down));
            }
            let value = match word {
                Some(before) if part.keep != 0 => self.b.ins().bor(before, bits),
                _ => bits,
            };
            word = Some(value);
            let next = plan.parts.get(n + 1);
            if next.is_none_or(|next| next.word != part.word) {
                words.push(value);
            }
        }
        for (slot, limbs) in &plan.ranges {
            for n in 0..*limbs {
                let value = self.read(slot + n);
                words.push(value);
            }
        }
        words
    }

    /// Stores a packed key where lookups that are called find it.
    pub(super) fn store_packed(&mut self, words: &[Value]) {
        if words.is_empty() {
            return;
        }
        let key = self.context_word(at::KEY);
        for (n, word) in words.iter().enumerate() {
            self.b.ins().store(in_context(), *word, key, n as i32 * 8);
        }
    }
}
