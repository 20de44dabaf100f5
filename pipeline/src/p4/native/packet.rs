// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Parsing and emitting of headers, as 64-bit words from which fields are extracted by layout.

use adit_p4_frontend::ir::{Inst, Slot};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I16, I32, I64, I8};
use cranelift_codegen::ir::{AliasRegion, Block, InstBuilder, MemFlags, Value};

use super::context::{at, REJECTED};
use super::emit::{in_frame, Translator};
use super::source::Source;
use super::verbatim::Copied;
use crate::p4::effects::Effects;
use crate::p4::fields::Words;

fn in_packet() -> MemFlags {
    let flags = MemFlags::new().with_notrap();
    flags.with_alias_region(Some(AliasRegion::Table))
}

impl<'t> Translator<'t, '_> {
    /// Translates an instruction that may end parsing, where no check for that follows.
    pub(super) fn parse_on(&mut self, inst: &Inst) {
        self.parse(inst);
    }

    /// Reads a header or advances. Returns whether that ended parsing.
    pub(super) fn parse(&mut self, inst: &Inst) -> Value {
        if let Some((words, dst)) = self.words_of(inst) {
            let effects = Effects::of(inst, self.of.program);
            self.store_runs(&effects.touches);
            let failed = self.extract(words, dst);
            self.forget(&effects.touches);
            return failed;
        }
        match self.by_interpreter(inst) {
            Some(failed) => failed,
            None => self.number(0),
        }
    }

    /// The words of a header that is extracted, if its code reads them.
    pub(super) fn words_of(&self, inst: &Inst) -> Option<(&'t Words, Slot)> {
        match *inst {
            Inst::Extract {
                layout,
                dst,
                length: None,
            } if self.is_aligned => {
                let of: &'t Source<'t> = self.of;
                Some((of.layouts[layout as usize].words()?, dst))
            }
            _ => None,
        }
    }

    fn extract(&mut self, words: &Words, dst: Slot) -> Value {
        let (fail, on) = (self.b.create_block(), self.b.create_block());
        let failed = self.extract_or(words, dst, fail, |_, _| true, |_, _, _| {});
        self.b.ins().jump(on, &[]);

        self.b.switch_to_block(fail);
        self.fail_extraction();
        self.b.ins().jump(on, &[]);
        self.b.switch_to_block(on);
        failed
    }

    /// Sets the error of a packet that is too short for a header.
    pub(super) fn fail_extraction(&mut self) {
        let error = self.number(REJECTED + u64::from(self.of.too_short));
        self.set_context_word(at::END, error);
    }

    /// Extracts a header, or goes to `fail` if the packet is too short, and returns whether it is. Of the
    /// slots those are written that are `wanted`; `known` gets them, and their values.
    pub(super) fn extract_or(
        &mut self,
        words: &Words,
        dst: Slot,
        fail: Block,
        wanted: impl Fn(&Self, Slot) -> bool,
        known: impl Fn(&mut Self, Slot, Value),
    ) -> Value {
        let bits = words.bytes() as i64 * 8;
        let next_bit = self.context_word(at::NEXT_BIT);
        let all = self.context_word(at::BITS);
        let after = self.b.ins().iadd_imm(next_bit, bits);
        let failed = self.b.ins().icmp(IntCC::UnsignedGreaterThan, after, all);
        let read = self.b.create_block();
        self.b.set_cold_block(fail);
        self.b.ins().brif(failed, fail, &[], read, &[]);

        self.b.switch_to_block(read);
        let data = self.context_word(at::DATA);
        let byte = self.b.ins().ushr_imm(next_bit, 3);
        let from = self.b.ins().iadd(data, byte);
        if let Some(place) = self.verbatim.place_of(dst) {
            let offset = self.offset(place);
            self.b.ins().store(in_frame(), byte, self.frame, offset);
        }
        let values = self.header_words(words, from);
        let mut limbs: Vec<(u32, Value)> = Vec::new();
        for (word, piece) in words.pieces() {
            let mut value = values[word];
            if piece.in_word > 0 {
                value = self.b.ins().ushr_imm(value, i64::from(piece.in_word));
            }
            if piece.in_word as u32 + piece.mask.count_ones() < 64 {
                let mask = self.number(piece.mask);
                value = self.b.ins().band(value, mask);
            }
            if piece.in_limb > 0 {
                value = self.b.ins().ishl_imm(value, i64::from(piece.in_limb));
            }
            match limbs.iter_mut().find(|limb| limb.0 == piece.limb) {
                Some((_, known)) => *known = self.b.ins().bor(*known, value),
                None => limbs.push((piece.limb, value)),
            }
        }
        let is_valid = self.number(1);
        limbs.push((0, is_valid));
        limbs.retain(|(limb, _)| wanted(self, dst + limb));
        for (limb, value) in limbs {
            let offset = self.offset(dst + limb);
            self.b.ins().store(in_frame(), value, self.frame, offset);
            known(self, dst + limb, value);
        }
        self.set_context_word(at::NEXT_BIT, after);
        failed
    }

    /// Loads a header's words; no bytes beyond the header are read.
    fn header_words(&mut self, words: &Words, from: Value) -> Vec<Value> {
        let bytes = words.bytes();
        let mut values: Vec<Value> = (0..bytes / 8)
            .map(|n| self.load_word(from, n as i32 * 8))
            .collect();
        let rest = bytes % 8;
        if rest == 0 {
            return values;
        }
        let last = if bytes >= 8 {
            // The last eight bytes, some of which were read before.
            let word = self.load_word(from, bytes as i32 - 8);
            self.b.ins().ishl_imm(word, 8 * (8 - rest as i64))
        } else {
            self.load_part(from, bytes)
        };
        values.push(last);
        values
    }

    /// A word of a header of that many bytes, as it is in the packet; no bytes beyond the header are read.
    fn packet_word(&mut self, from: Value, n: usize, bytes: usize) -> Value {
        let rest = bytes - n * 8;
        let offset = n as i32 * 8;
        if rest >= 8 {
            return self.b.ins().load(I64, in_packet(), from, offset);
        }
        if bytes < 8 {
            let word = self.load_part(from, bytes);
            return self.big_endian(word);
        }
        // The last eight bytes of the header, without those of the word before.
        let word = self.b.ins().load(I64, in_packet(), from, bytes as i32 - 8);
        self.b.ins().ushr_imm(word, 8 * (8 - rest as i64))
    }

    fn load_word(&mut self, from: Value, offset: i32) -> Value {
        let value = self.b.ins().load(I64, in_packet(), from, offset);
        self.big_endian(value)
    }

    fn big_endian(&mut self, value: Value) -> Value {
        match cfg!(target_endian = "little") {
            true => self.b.ins().bswap(value),
            false => value,
        }
    }

    /// Loads less than eight bytes, left-aligned in a word.
    fn load_part(&mut self, from: Value, bytes: usize) -> Value {
        let (mut done, mut word) = (0, self.number(0));
        for (size, ty) in [(4, I32), (2, I16), (1, I8)] {
            if bytes - done < size {
                continue;
            }
            let value = self.b.ins().load(ty, in_packet(), from, done as i32);
            let value = if size > 1 {
                self.big_endian(value)
            } else {
                value
            };
            let value = self.b.ins().uextend(I64, value);
            let up = 64 - 8 * (done + size) as i64;
            let value = self.b.ins().ishl_imm(value, up);
            word = self.b.ins().bor(word, value);
            done += size;
        }
        word
    }

    /// Appends a header if it is valid.
    pub(super) fn emit_header(&mut self, layout: u32, src: Slot) {
        let of = self.of;
        let flat = &of.layouts[layout as usize];
        let is_valid = self.read(src);
        let (write, on) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(is_valid, write, &[], on, &[]);
        // Values read only on the path of a valid header are not known after it.
        let known = self.known.clone();
        self.b.switch_to_block(write);
        match flat.words() {
            Some(words) => {
                let (slow, fast) = (self.b.create_block(), self.b.create_block());
                let length = self.context_word(at::OUT_LENGTH);
                let room = self.context_word(at::OUT_ROOM);
                let end = self.b.ins().iadd_imm(length, words.bytes() as i64 + 8);
                let is_full = self.b.ins().icmp(IntCC::UnsignedGreaterThan, end, room);
                self.b.ins().brif(is_full, slow, &[], fast, &[]);
                self.b.switch_to_block(slow);
                self.b.set_cold_block(slow);
                let copied = self.verbatim.get(src, layout);
                if copied.is_some() {
                    // Its fields are not all in the frame, and what is emitted has whole bytes.
                    self.call(self.helpers.reserve, &[words.bytes() as u32]);
                    self.b.ins().jump(fast, &[]);
                } else {
                    self.store_runs(&[(src, flat.limbs)]);
                    self.call_emit(layout, src);
                    self.b.ins().jump(on, &[]);
                    self.known.clone_from(&known);
                }
                self.b.switch_to_block(fast);
                self.write_words(words, src, length, copied);
            }
            None => {
                self.store_runs(&[(src, flat.limbs)]);
                self.call_emit(layout, src);
            }
        }
        self.b.ins().jump(on, &[]);
        self.b.switch_to_block(on);
        self.known = known;
    }

    /// Writes a header; there is capacity for it and for one more word.
    fn write_words(&mut self, words: &Words, src: Slot, length: Value, copied: Option<&Copied>) {
        let out = self.context_word(at::OUT);
        let to = self.b.ins().iadd(out, length);
        let is_copied = |word: usize| copied.is_some_and(|copied| copied.words[word]);
        let mut values: Vec<Option<Value>> = vec![None; words.bytes().div_ceil(8)];
        for (word, piece) in words.pieces().filter(|(word, _)| !is_copied(*word)) {
            let mut value = self.read(src + piece.limb);
            if piece.in_limb > 0 {
                value = self.b.ins().ushr_imm(value, i64::from(piece.in_limb));
            }
            // The shift takes away what is above the top of the word.
            let is_cut = u32::from(piece.in_word) + piece.mask.count_ones() == 64;
            if !piece.is_top && !is_cut {
                let mask = self.number(piece.mask);
                value = self.b.ins().band(value, mask);
            }
            if piece.in_word > 0 {
                value = self.b.ins().ishl_imm(value, i64::from(piece.in_word));
            }
            values[word] = Some(match values[word] {
                Some(known) => self.b.ins().bor(known, value),
                None => value,
            });
        }
        // The header is valid, so it was extracted from this packet, at this place.
        let from = copied.map(|copied| {
            let offset = self.offset(copied.place);
            let place = self.b.ins().load(I64, in_frame(), self.frame, offset);
            let data = self.context_word(at::DATA);
            self.b.ins().iadd(data, place)
        });
        for (n, value) in values.into_iter().enumerate() {
            let value = match (value, from) {
                (Some(value), _) => self.big_endian(value),
                (None, Some(from)) if is_copied(n) => self.packet_word(from, n, words.bytes()),
                (None, _) => self.number(0),
            };
            self.b.ins().store(in_packet(), value, to, n as i32 * 8);
        }
        let length = self.b.ins().iadd_imm(length, words.bytes() as i64);
        self.set_context_word(at::OUT_LENGTH, length);
    }
}
