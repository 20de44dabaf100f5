// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A lane of a worker: the memory for one packet at a time, in which a program's blocks are run as
//! machine code or by the interpreter.

use std::sync::Arc;

use adit_p4_frontend::ir::{FunctionId, Program};

use super::code::Code;
use super::environment::{Environment, Local};
use super::machine::{End, Machine, Packet};
use super::memory::{Pin, Pool};
use super::native::{Begin, Native, Ran, Untranslated, Waiting};
use super::packet::{Reader, Writer};
use super::packets::DropReason;
use super::replication::{Copies, Replica};
use super::state::State;

/// Number of packets in flight at once, if their order does not matter: enough to hide memory
/// latency, with frames that fit in a core's caches.
pub(super) const LANES: usize = 16;

/// A loaded program: its state, and its code in both forms.
pub(super) struct Loaded {
    pub(super) state: State,
    pub(super) code: Code,
    pub(super) native: Result<Arc<Native>, Untranslated>,
}

/// A loaded program, with the pin that permits reading its state.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) loaded: &'a Loaded,
    pub(super) pin: &'a Pin<'a>,
}

impl<'a> At<'a> {
    /// The copies of a multicast group.
    pub(super) fn group(self, group: u64) -> Result<&'a [Replica], DropReason> {
        let members = self.loaded.state.replication.members(group, self.pin);
        members.ok_or(DropReason::UnknownGroup)
    }

    /// The copies of a session; an unknown session or group is counted.
    pub(super) fn session(self, session: u64) -> Option<Copies<'a>> {
        let copies = self.loaded.state.replication.copies(session, self.pin);
        copies
            .map_err(|reason| self.loaded.state.count_drop(reason))
            .ok()
    }

    fn run<'b>(self, local: &'b mut Local, payload: &'b [u8]) -> Environment<'b>
    where
        'a: 'b,
    {
        Environment {
            state: &self.loaded.state,
            pin: self.pin,
            local,
            payload,
        }
    }
}

/// Working memory of an architecture for one packet.
pub(super) struct Scratch {
    pub(super) machine: Machine,
    pub(super) local: Local,
    pub(super) writer: Writer,
    /// Buffers for recirculated packets.
    pub(super) bytes: Pool<u8>,
    /// Buffers for saved values.
    pub(super) values: Pool<u64>,
    /// The function suspended for a lookup, and its read position in bits.
    waiting: Option<(FunctionId, Waiting, usize)>,
}

impl Scratch {
    pub(super) fn new(program: &Program, worker: usize) -> Scratch {
        Scratch {
            machine: Machine::new(program),
            local: Local::new(program, worker),
            writer: Writer::default(),
            bytes: Pool::default(),
            values: Pool::default(),
            waiting: None,
        }
    }

    /// Runs a block. Returns `Err` if it drops the packet.
    pub(super) fn run(
        &mut self,
        at: At<'_>,
        function: FunctionId,
        reader: &mut Reader<'_>,
        payload: &[u8],
    ) -> Result<End, DropReason> {
        let ran = self.start(at, function, reader, payload, Begin::ToTheEnd);
        self.ended(ran)
    }

    /// Runs a function from any entry point. If it suspends, that is recorded, and it has not
    /// ended.
    #[inline(always)]
    fn start(
        &mut self,
        at: At<'_>,
        function: FunctionId,
        reader: &mut Reader<'_>,
        payload: &[u8],
        from: Begin,
    ) -> End {
        let mut packet = Packet {
            reader: *reader,
            writer: &mut self.writer,
        };
        let (machine, mut host) = (&mut self.machine, at.run(&mut self.local, payload));
        let native = at.loaded.native.as_ref().ok();
        let ran = native.and_then(|n| n.run(function, machine, &mut host, &mut packet, from));
        let end = match ran {
            Some(Ran::Waits(waiting)) => {
                self.waiting = Some((function, waiting, packet.reader.position()));
                End::Done
            }
            Some(Ran::Ended(end)) => end,
            None => machine.run(&at.loaded.code, function, &mut host, &mut packet),
        };
        *reader = packet.reader;
        end
    }

    fn ended(&mut self, end: End) -> Result<End, DropReason> {
        match end {
            End::TooLong => Err(DropReason::TooLong),
            _ if std::mem::take(&mut self.local.assertion_failed) => Err(DropReason::Assertion),
            end => Ok(end),
        }
    }

    /// Runs a function to its end. Returns the number of bytes that it has read.
    pub(super) fn run_all(
        &mut self,
        at: At<'_>,
        function: FunctionId,
        data: &[u8],
    ) -> Result<usize, DropReason> {
        self.go(at, function, Reader::new(data), Begin::ToTheEnd)
    }

    /// The same until it ends or suspends for a lookup ([`Scratch::go_on`]). Returns the number of
    /// bytes that it has read by then.
    pub(super) fn begin(
        &mut self,
        at: At<'_>,
        function: FunctionId,
        data: &[u8],
    ) -> Result<usize, DropReason> {
        self.go(at, function, Reader::new(data), Begin::Waiting)
    }

    /// Returns whether it is suspended.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Runs a stage of the pending lookup.
    pub(super) fn advance(&mut self, at: At<'_>, stage: usize) {
        if let Some((_, waiting, _)) = self.waiting {
            at.run(&mut self.local, &[]).advance(waiting.table, stage);
        }
    }

    /// Completes the pending lookup, and resumes as [`Scratch::begin`] does.
    pub(super) fn go_on(&mut self, at: At<'_>, data: &[u8]) -> Result<usize, DropReason> {
        let Some((function, waiting, bit)) = self.waiting.take() else {
            return Ok(0);
        };
        let mut host = at.run(&mut self.local, &[]);
        let applied = host.end_apply(waiting.table, &mut self.machine.frame);
        let from = Begin::Again(waiting, applied);
        self.go(at, function, Reader::resume(data, bit), from)
    }

    fn go(
        &mut self,
        at: At<'_>,
        function: FunctionId,
        mut reader: Reader<'_>,
        from: Begin,
    ) -> Result<usize, DropReason> {
        let end = self.start(at, function, &mut reader, &[], from);
        let taken = reader.bytes() - reader.rest().len();
        self.ended(end).map(|_| taken)
    }

    /// Runs a block that does not parse.
    pub(super) fn run_control(
        &mut self,
        at: At<'_>,
        function: FunctionId,
        payload: &[u8],
    ) -> Result<(), DropReason> {
        self.run(at, function, &mut Reader::default(), payload)
            .map(drop)
    }
}
