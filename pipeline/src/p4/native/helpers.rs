// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Functions that machine code calls. A panic in them aborts the process, since the code has no
//! unwind tables. None of them panics depending on a packet or a table.

use super::context::{applied_word, Bridge, Context, REJECTED, WAIT};
use super::{Leave, Turn, WaitsFor};
use crate::p4::environment::Environment;
use crate::p4::machine::{Host, Packet};
use crate::p4::packet::Reader;

/// Bytes of capacity reserved after a header that did not fit.
const ROOM: usize = 256;

type Shared<'a> = Context<'a, 'a>;

/// The part of a context that only Rust uses.
fn bridge<'c, 'a>(context: &'c mut Shared<'a>) -> &'c mut Bridge<'a, 'a> {
    // SAFETY: `Native::run` made the pointer from a mutable borrow that outlives the code's run,
    // and accesses it only here; the code passes on the context that it was given. The borrow ends
    // with the helper, and helpers do not call code, so that there is only one at a time.
    unsafe { &mut *context.bridge }
}

/// Looks up, or begins a lookup and suspends.
pub(super) extern "C" fn apply(context: &mut Shared<'_>, table: u32) -> u64 {
    let bridge = bridge(context);
    let Leave { may_wait, turn } = bridge.leave;
    let of = bridge.host.table(table);
    if turn != Turn::Has && of.learns() {
        bridge.waits_for = Some(WaitsFor::Table(table));
        return WAIT;
    }
    let frame = &mut bridge.machine.frame;
    match bridge.host.begin_apply(table, of, frame, may_wait) {
        Some(applied) => applied_word(&applied),
        None => {
            bridge.waits_for = Some(WaitsFor::Lookup(table));
            WAIT
        }
    }
}

/// Finds a record, and does nothing else. Returns its number plus one; 0 if there is none.
pub(super) extern "C" fn find(context: &mut Shared<'_>, table: u32) -> u64 {
    let host = &*bridge(context).host;
    let record = host.record(host.table(table));
    record.map_or(0, |record| u64::from(record) + 1)
}

/// The same in a table with exact keys, with the key's hash.
pub(super) extern "C" fn find_hashed(context: &mut Shared<'_>, table: u32, hash: u64) -> u64 {
    let host = &*bridge(context).host;
    let record = host.record_hashed(host.table(table), hash);
    record.map_or(0, |record| u64::from(record) + 1)
}

/// Runs the default action of a table that has no entries.
pub(super) extern "C" fn miss(context: &mut Shared<'_>, table: u32) -> u64 {
    let bridge = bridge(context);
    let of = bridge.host.table(table);
    applied_word(&bridge.host.miss(table, of, &mut bridge.machine.frame))
}

/// Calls an extern that packets execute in their order, or suspends until it is the packet's turn.
pub(super) extern "C" fn in_turn(context: &mut Shared<'_>, call: u32) -> u64 {
    let bridge = bridge(context);
    let frame = &mut bridge.machine.frame;
    let Leave { may_wait, turn } = bridge.leave;
    let must_wait = match turn {
        Turn::Has => may_wait && bridge.host.begin_call(call, frame),
        Turn::Once => {
            bridge.leave.turn = Turn::No;
            false
        }
        Turn::No => {
            bridge.host.begin_call(call, frame);
            true
        }
    };
    if must_wait {
        bridge.waits_for = Some(WaitsFor::Call(call));
        return WAIT;
    }
    bridge.host.external(call, frame);
    0
}

/// Calls an extern.
pub(super) extern "C" fn external(context: &mut Shared<'_>, call: u32) {
    let bridge = bridge(context);
    bridge.host.external(call, &mut bridge.machine.frame);
}

/// Counts a packet, with its length as received, in an element of a counter.
pub(super) extern "C" fn count(context: &mut Shared<'_>, object: u32, index: u64) {
    let host = &mut *bridge(context).host;
    host.count_at(object as usize, index, None);
}

/// Counts a packet, with its length as received, in a table's direct counter.
pub(super) extern "C" fn count_direct(context: &mut Shared<'_>, object: u32) {
    let host = &mut *bridge(context).host;
    host.count_direct(object as usize, None);
}

/// Runs an instruction in the interpreter. Returns whether it ends parsing.
pub(super) extern "C" fn other(context: &mut Shared<'_>, at: u32) -> u64 {
    let next_bit = context.next_bit as usize;
    let bridge = bridge(context);
    let mut packet = Packet {
        reader: Reader::resume(bridge.data, next_bit),
        writer: &mut *bridge.writer,
    };
    let inst = &bridge.others[at as usize];
    let done = bridge
        .machine
        .instruction::<Environment<'_>>(inst, bridge.host, &mut packet);
    let next_bit = packet.reader.position() as u64;
    context.next_bit = next_bit;
    match done {
        Ok(()) => 0,
        Err(error) => {
            context.end = REJECTED + u64::from(error);
            1
        }
    }
}

/// Appends a header as the interpreter does, and reserves capacity for more.
pub(super) extern "C" fn emit(context: &mut Shared<'_>, layout: u32, src: u32) {
    let length = context.out_length as usize;
    let bridge = bridge(context);
    // SAFETY: the code has written all bytes up to there, within the capacity that it was passed.
    unsafe { bridge.writer.set_written(length) };
    bridge.machine.emit(layout, src, bridge.writer);
    bridge.writer.reserve(ROOM);
    let (out, length, room) = bridge.writer.space();
    (context.out, context.out_length, context.out_room) = (out, length as u64, room as u64);
}

/// Reserves capacity for a header of that many bytes, and more.
pub(super) extern "C" fn reserve(context: &mut Shared<'_>, bytes: u32) {
    let length = context.out_length as usize;
    let bridge = bridge(context);
    // SAFETY: the code has written all bytes up to there, within the capacity that it was passed.
    unsafe { bridge.writer.set_written(length) };
    bridge.writer.reserve(bytes as usize + ROOM);
    let (out, length, room) = bridge.writer.space();
    (context.out, context.out_length, context.out_room) = (out, length as u64, room as u64);
}

/// Copies limbs within the frame; the ranges may overlap.
pub(super) extern "C" fn copy(context: &mut Shared<'_>, dst: u32, src: u32, limbs: u32) {
    let (src, limbs) = (src as usize, limbs as usize);
    let frame = &mut bridge(context).machine.frame;
    frame.copy_within(src..src + limbs, dst as usize);
}

/// Clears limbs of the frame.
pub(super) extern "C" fn clear(context: &mut Shared<'_>, dst: u32, limbs: u32) {
    let frame = &mut bridge(context).machine.frame;
    frame[dst as usize..][..limbs as usize].fill(0);
}
