// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Counting without calls: a worker adds to counts of its own, which no other writes.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{Block, InstBuilder, MemFlags, Value};

use super::context::at;
use super::emit::{in_context, Translator};
use crate::p4::environment::{OwnCounts, Reached};

/// Memory flags of accesses to counts, which control planes read.
fn in_counts() -> MemFlags {
    MemFlags::trusted()
}

impl Translator<'_, '_> {
    /// Counts the packet, with its length as received, in an element of a counter.
    pub(super) fn count_at(&mut self, object: usize, index: Value) {
        let [slow, on] = [self.b.create_block(), self.b.create_block()];
        self.add_to(object, index, slow, on);

        // There is no such element, or no memory for a copy.
        self.b.switch_to_block(slow);
        self.b.set_cold_block(slow);
        self.call_count(object as u32, index);
        self.b.ins().jump(on, &[]);
        self.b.switch_to_block(on);
    }

    /// Counts the packet in a table's direct counter, if that is the table applied last, and it was a hit.
    pub(super) fn count_entry(&mut self, object: usize) {
        let tables = self.of.program.tables.iter().zip(0..);
        let mut its = tables.filter(|(table, _)| self.of.has_direct_counter(table, object));
        let (first, second) = (its.next(), its.next());
        let (Some((_, table)), None) = (first, second) else {
            return self.call_count_direct(object as u32);
        };
        let [same, slow, on] = std::array::from_fn(|_| self.b.create_block());
        let place = self.context_word(at::REACHED);
        let reached = self.b.ins().load(I64, in_context(), place, 0);
        let top = self.b.ins().ushr_imm(reached, 32);
        let hit = (Reached::miss(table) | Reached::HIT) >> 32;
        let is_same = self.b.ins().icmp_imm(IntCC::Equal, top, hit as i64);
        self.b.ins().brif(is_same, same, &[], on, &[]);

        self.b.switch_to_block(same);
        let id = self.b.ins().ireduce(I32, reached);
        let id = self.b.ins().uextend(I64, id);
        self.add_to(object, id, slow, on);

        self.b.switch_to_block(slow);
        self.b.set_cold_block(slow);
        self.call_count_direct(object as u32);
        self.b.ins().jump(on, &[]);
        self.b.switch_to_block(on);
    }

    /// Adds the packet to a count of the worker, and continues at `on`; at `slow` if it has none of that
    /// index.
    fn add_to(&mut self, object: usize, index: Value, slow: Block, on: Block) {
        assert!(object < self.of.program.externs.len(), "no object {object}");
        let place = object * size_of::<OwnCounts>();
        let counts = self.context_word(at::COUNTS);
        let size = place as i32 + OwnCounts::COUNT;
        let size = self.b.ins().load(I64, in_context(), counts, size);
        let is_one = self.b.ins().icmp(IntCC::UnsignedLessThan, index, size);
        let add = self.b.create_block();
        self.b.ins().brif(is_one, add, &[], slow, &[]);

        self.b.switch_to_block(add);
        let start = place as i32 + OwnCounts::START;
        let start = self.b.ins().load(I64, in_context(), counts, start);
        let offset = self.b.ins().ishl_imm(index, 4);
        let count = self.b.ins().iadd(start, offset);
        for (what, place) in [(at::PACKETS, 0), (at::BYTES, 8)] {
            let more = self.context_word(what);
            let old = self.b.ins().load(I64, in_counts(), count, place);
            let new = self.b.ins().iadd(old, more);
            self.b.ins().store(in_counts(), new, count, place);
        }
        self.b.ins().jump(on, &[]);
    }
}
