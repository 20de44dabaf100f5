// SPDX-License-Identifier: Apache-2.0 OR MIT
//! State shared by machine code and Rust while a block runs.

use adit_p4_frontend::ir::Inst;

use super::{Leave, WaitsFor};
use crate::p4::environment::{Environment, Forward, OwnCounts, Reached, Requests};
use crate::p4::machine::{Applied, End, Machine};
use crate::p4::packet::Writer;
use crate::p4::tables::Table;

/// [`Context::end`] while no end is pending.
pub(super) const GOING_ON: u64 = 0;
/// An end by `exit`.
pub(super) const EXIT: u64 = 1;
/// An end because of too many steps.
pub(super) const TOO_LONG: u64 = 2;
/// An end by a parser error, whose index is added.
pub(super) const REJECTED: u64 = 1 << 32;

/// Values of [`Context::forward`], if it is not 0, and bits of [`Context::requested`].
pub(super) mod request {
    pub(in crate::p4::native) const PORT: u64 = 1;
    pub(in crate::p4::native) const GROUP: u64 = 2;
    pub(in crate::p4::native) const DROP: u64 = 3;
    pub(in crate::p4::native) const AGAIN: u64 = 4;
    pub(in crate::p4::native) const REJECT: u64 = 5;
    /// As the call has recorded it where it was executed.
    pub(in crate::p4::native) const RECORDED: u64 = 6;

    pub(in crate::p4::native) const QUEUE: u64 = 1;
    pub(in crate::p4::native) const FLOW_ID: u64 = 2;
    pub(in crate::p4::native) const HASH: u64 = 4;
}

/// The state that machine code accesses besides the frame, by the offsets in [`at`].
#[repr(C)]
pub(super) struct Context<'a, 'h> {
    pub(super) frame: *mut u64,
    /// The packet: its address, its length in bits, and the position of the next bit.
    pub(super) data: *const u8,
    pub(super) bits: u64,
    pub(super) next_bit: u64,
    /// The output buffer: its address, the bytes written, and its capacity.
    pub(super) out: *mut u8,
    pub(super) out_length: u64,
    pub(super) out_room: u64,
    pub(super) end: u64,
    pub(super) steps: u64,
    /// The resume point: 0 is the beginning.
    pub(super) resume: u64,
    /// The result of the lookup that the code was suspended for.
    pub(super) applied: u64,
    /// The packed key of the next lookup, with room for each table's.
    pub(super) key: *mut u64,
    /// The sums of `InternetChecksum` objects, one for each object of the program.
    pub(super) sums: *mut u64,
    /// The forwarding request, one of the first group in [`request`]; 0: none.
    pub(super) forward: u64,
    pub(super) forward_to: u64,
    /// The receive metadata that the program has set, as bits of the last group in [`request`].
    pub(super) requested: u64,
    pub(super) queue: u64,
    pub(super) flow_id: u64,
    pub(super) hash: u64,
    /// The queue that the packet was sent from.
    pub(super) input_queue: u64,
    /// The tables of the program, in which the code looks up.
    pub(super) tables: *const Table,
    /// The result of the last lookup.
    pub(super) reached: *mut Reached,
    /// 1 if slow lookups suspend, else 0.
    pub(super) may_wait: u64,
    /// The worker's counts, one for each object of the program, and what is added to them.
    pub(super) counts: *const OwnCounts,
    pub(super) packets: u64,
    pub(super) bytes: u64,
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
    pub(in crate::p4::native) const KEY: i32 = offset_of!(Context<'_, '_>, key) as i32;
    pub(in crate::p4::native) const SUMS: i32 = offset_of!(Context<'_, '_>, sums) as i32;
    pub(in crate::p4::native) const FORWARD: i32 = offset_of!(Context<'_, '_>, forward) as i32;
    pub(in crate::p4::native) const FORWARD_TO: i32 =
        offset_of!(Context<'_, '_>, forward_to) as i32;
    pub(in crate::p4::native) const REQUESTED: i32 = offset_of!(Context<'_, '_>, requested) as i32;
    pub(in crate::p4::native) const QUEUE: i32 = offset_of!(Context<'_, '_>, queue) as i32;
    pub(in crate::p4::native) const FLOW_ID: i32 = offset_of!(Context<'_, '_>, flow_id) as i32;
    pub(in crate::p4::native) const HASH: i32 = offset_of!(Context<'_, '_>, hash) as i32;
    pub(in crate::p4::native) const INPUT_QUEUE: i32 =
        offset_of!(Context<'_, '_>, input_queue) as i32;
    pub(in crate::p4::native) const TABLES: i32 = offset_of!(Context<'_, '_>, tables) as i32;
    pub(in crate::p4::native) const REACHED: i32 = offset_of!(Context<'_, '_>, reached) as i32;
    pub(in crate::p4::native) const MAY_WAIT: i32 = offset_of!(Context<'_, '_>, may_wait) as i32;
    pub(in crate::p4::native) const COUNTS: i32 = offset_of!(Context<'_, '_>, counts) as i32;
    pub(in crate::p4::native) const PACKETS: i32 = offset_of!(Context<'_, '_>, packets) as i32;
    pub(in crate::p4::native) const BYTES: i32 = offset_of!(Context<'_, '_>, bytes) as i32;
}

/// The part of the context that only Rust uses.
pub(super) struct Bridge<'a, 'h> {
    pub(super) machine: &'a mut Machine,
    pub(super) host: &'a mut Environment<'h>,
    pub(super) writer: &'a mut Writer,
    pub(super) data: &'a [u8],
    pub(super) leave: Leave,
    /// The cause for which the code is suspended.
    pub(super) waits_for: Option<WaitsFor>,
    /// Instructions without machine code.
    pub(super) others: &'a [Inst],
}

impl Context<'_, '_> {
    /// Copies the program's requests from the context.
    #[inline(always)]
    pub(super) fn take_requests(&self, requests: &mut Requests) {
        if self.forward | self.requested == 0 {
            return;
        }
        match self.forward {
            request::PORT => requests.forward = Forward::Port(self.forward_to),
            request::GROUP => requests.forward = Forward::Group(self.forward_to),
            request::DROP => requests.forward = Forward::Drop,
            request::AGAIN => requests.forward = Forward::Again,
            request::REJECT => requests.forward = Forward::Reject,
            _ => {}
        }
        let receive = &mut requests.receive;
        if self.requested & request::QUEUE != 0 {
            receive.queue = Some(self.queue as u16);
        }
        if self.requested & request::FLOW_ID != 0 {
            receive.flow_id = Some(self.flow_id as u32);
        }
        if self.requested & request::HASH != 0 {
            receive.hash = Some(self.hash as u32);
        }
    }
}

/// Encodes a lookup's result in one word: the hit flag in the upper half, the action in the lower
/// half.
pub(super) fn applied_word(applied: &Applied) -> u64 {
    u64::from(applied.hit) << 32 | u64::from(applied.action)
}

/// The value returned if the code has to suspend.
pub(super) const WAIT: u64 = u64::MAX;

/// Converts the end of a block to the interpreter's form.
pub(super) fn end(word: u64) -> End {
    match word {
        GOING_ON => End::Done,
        EXIT => End::Exit,
        TOO_LONG => End::TooLong,
        error => End::Rejected(error as u32),
    }
}
