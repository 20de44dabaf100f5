// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What machine code and Rust share while a block runs.

use adit_p4_frontend::ir::Inst;

use crate::p4::externs::{Forward, Requests, Run};
use crate::p4::machine::{Applied, End, Machine};
use crate::p4::packet::Writer;

/// [`Context::end`] while nothing ends.
pub(super) const GOING_ON: u64 = 0;
/// By `exit`.
pub(super) const EXIT: u64 = 1;
/// It took too many steps.
pub(super) const TOO_LONG: u64 = 2;
/// By the parser's error whose index is added.
pub(super) const REJECTED: u64 = 1 << 32;

/// What [`Context::forward`] says, if it is not 0, and what [`Context::asked`] has bits for.
pub(super) mod asked {
    pub(in crate::p4::native) const PORT: u64 = 1;
    pub(in crate::p4::native) const GROUP: u64 = 2;
    pub(in crate::p4::native) const DROP: u64 = 3;
    pub(in crate::p4::native) const AGAIN: u64 = 4;

    pub(in crate::p4::native) const QUEUE: u64 = 1;
    pub(in crate::p4::native) const FLOW_ID: u64 = 2;
    pub(in crate::p4::native) const HASH: u64 = 4;
}

/// What machine code reads and writes beside the frame, by the offsets in [`at`].
#[repr(C)]
pub(super) struct Context<'a, 'h> {
    pub(super) frame: *mut u64,
    /// The packet: where it is, how many bits it has, and which comes next.
    pub(super) data: *const u8,
    pub(super) bits: u64,
    pub(super) next_bit: u64,
    /// What is written: where it is, how many bytes there are, and for how many there is room.
    pub(super) out: *mut u8,
    pub(super) out_length: u64,
    pub(super) out_room: u64,
    pub(super) end: u64,
    pub(super) steps: u64,
    /// Where code goes on: 0 is its beginning.
    pub(super) resume: u64,
    /// What a lookup came to that code has waited for.
    pub(super) applied: u64,
    /// The sums of `InternetChecksum` objects, one for each object of the program.
    pub(super) sums: *mut u64,
    /// Where the program sent the packet, one of [`asked`]'s first; 0: it did not say.
    pub(super) forward: u64,
    pub(super) forward_to: u64,
    /// What the program tells the packet's receiver, and which of that, by [`asked`]'s last.
    pub(super) asked: u64,
    pub(super) queue: u64,
    pub(super) flow_id: u64,
    pub(super) hash: u64,
    pub(super) bridge: *mut Bridge<'a, 'h>,
}

/// Offsets in [`Context`].
pub(super) mod at {
    use std::mem::offset_of;

    use super::Context;

    pub(in crate::p4::native) const FRAME: i32 = offset_of!(Context<'_, '_>, frame) as i32;
    pub(in crate::p4::native) const DATA: i32 = offset_of!(Context<'_, '_>, data) as i32;
    pub(in crate::p4::native) const BITS: i32 = offset_of!(Context<'_, '_>, bits) as i32;
    pub(in crate::p4::native) const NEXT_BIT: i32 = offset_of!(Context<'_, '_>, next_bit) as i32;
    pub(in crate::p4::native) const OUT: i32 = offset_of!(Context<'_, '_>, out) as i32;
    pub(in crate::p4::native) const OUT_LENGTH: i32 =
        offset_of!(Context<'_, '_>, out_length) as i32;
    pub(in crate::p4::native) const OUT_ROOM: i32 = offset_of!(Context<'_, '_>, out_room) as i32;
    pub(in crate::p4::native) const END: i32 = offset_of!(Context<'_, '_>, end) as i32;
    pub(in crate::p4::native) const RESUME: i32 = offset_of!(Context<'_, '_>, resume) as i32;
    pub(in crate::p4::native) const APPLIED: i32 = offset_of!(Context<'_, '_>, applied) as i32;
    pub(in crate::p4::native) const STEPS: i32 = offset_of!(Context<'_, '_>, steps) as i32;
    pub(in crate::p4::native) const SUMS: i32 = offset_of!(Context<'_, '_>, sums) as i32;
    pub(in crate::p4::native) const FORWARD: i32 = offset_of!(Context<'_, '_>, forward) as i32;
    pub(in crate::p4::native) const FORWARD_TO: i32 =
        offset_of!(Context<'_, '_>, forward_to) as i32;
    pub(in crate::p4::native) const ASKED: i32 = offset_of!(Context<'_, '_>, asked) as i32;
    pub(in crate::p4::native) const QUEUE: i32 = offset_of!(Context<'_, '_>, queue) as i32;
    pub(in crate::p4::native) const FLOW_ID: i32 = offset_of!(Context<'_, '_>, flow_id) as i32;
    pub(in crate::p4::native) const HASH: i32 = offset_of!(Context<'_, '_>, hash) as i32;
}

/// What only Rust uses of it.
pub(super) struct Bridge<'a, 'h> {
    pub(super) machine: &'a mut Machine,
    pub(super) host: &'a mut Run<'h>,
    pub(super) writer: &'a mut Writer,
    pub(super) data: &'a [u8],
    /// Whether lookups in large tables make the code wait.
    pub(super) may_wait: bool,
    /// The table that it waits for.
    pub(super) waits_for: Option<u32>,
    /// Instructions that have no code of their own.
    pub(super) others: &'a [Inst],
}

impl Context<'_, '_> {
    /// What the program has asked for.
    pub(super) fn take_requests(&self, requests: &mut Requests) {
        match self.forward {
            asked::PORT => requests.forward = Forward::Port(self.forward_to),
            asked::GROUP => requests.forward = Forward::Group(self.forward_to),
            asked::DROP => requests.forward = Forward::Drop,
            asked::AGAIN => requests.forward = Forward::Again,
            _ => {}
        }
        let receive = &mut requests.receive;
        if self.asked & asked::QUEUE != 0 {
            receive.queue = Some(self.queue as u16);
        }
        if self.asked & asked::FLOW_ID != 0 {
            receive.flow_id = Some(self.flow_id as u32);
        }
        if self.asked & asked::HASH != 0 {
            receive.hash = Some(self.hash as u32);
        }
    }
}

/// What a lookup came to, as one word: whether there was an entry in the upper half, the action in
/// the lower one.
pub(super) fn applied_word(applied: &Applied) -> u64 {
    u64::from(applied.hit) << 32 | u64::from(applied.action)
}

/// In its place: the code has to wait.
pub(super) const WAIT: u64 = u64::MAX;

/// The interpreter's name for how a block ended.
pub(super) fn end(word: u64) -> End {
    match word {
        GOING_ON => End::Done,
        EXIT => End::Exit,
        TOO_LONG => End::TooLong,
        error => End::Rejected(error as u32),
    }
}
