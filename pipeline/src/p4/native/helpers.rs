// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What machine code calls. A panic in here ends the process: there is no way back through code
//! without unwinding tables. Nothing here panics for a packet's or a table's sake.

use super::context::{applied_word, Bridge, Context, REJECTED, WAIT};
use crate::p4::externs::Run;
use crate::p4::machine::{Host, Packet};
use crate::p4::packet::Reader;

/// For so many bytes there is room after a header that had none.
const ROOM: usize = 256;

type Shared<'a> = Context<'a, 'a>;

/// The part of a context that is Rust's.
fn bridge<'c, 'a>(context: &'c mut Shared<'a>) -> &'c mut Bridge<'a, 'a> {
    // SAFETY: `Native::run` made the pointer from a mutable borrow that lasts as long as the code
    // runs, and touches it only here; the code hands on the context that it got. The borrow ends
    // with the helper, and helpers do not call code, so that there is one at a time.
    unsafe { &mut *context.bridge }
}

/// Looks up, or begins to.
pub(super) extern "C" fn apply(context: &mut Shared<'_>, table: u32) -> u64 {
    let bridge = bridge(context);
    let frame = &mut bridge.machine.frame;
    let applied = bridge.host.begin_apply(table, frame, bridge.may_wait);
    match applied {
        Some(applied) => applied_word(&applied),
        None => {
            bridge.waits_for = Some(table);
            WAIT
        }
    }
}

/// Calls an extern.
pub(super) extern "C" fn external(context: &mut Shared<'_>, call: u32) {
    let bridge = bridge(context);
    bridge.host.external(call, &mut bridge.machine.frame);
}

/// Counts a packet as long as it came by a table's direct counter.
pub(super) extern "C" fn count_direct(context: &mut Shared<'_>, object: u32) {
    let host = &mut *bridge(context).host;
    host.count_direct(object as usize, None);
}

/// Runs an instruction as the interpreter does; tells whether that ends parsing.
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
        .instruction::<Run<'_>>(inst, bridge.host, &mut packet);
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

/// Appends a header as the interpreter does, and makes room for more.
pub(super) extern "C" fn emit(context: &mut Shared<'_>, layout: u32, src: u32) {
    let length = context.out_length as usize;
    let bridge = bridge(context);
    // SAFETY: the code has written all bytes up to there, within the room that it was told of.
    unsafe { bridge.writer.set_written(length) };
    bridge.machine.emit(layout, src, bridge.writer);
    bridge.writer.reserve(ROOM);
    let (out, length, room) = bridge.writer.space();
    (context.out, context.out_length, context.out_room) = (out, length as u64, room as u64);
}

/// Copies limbs of the frame, which may overlap.
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
