// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A lane of a worker: the memory for one packet at a time, in which a program's blocks are run as
//! machine code or by the interpreter.

use std::sync::Arc;

use adit_conntrack::Tracker;
use adit_p4_frontend::ir::FunctionId;

use super::code::Code;
use super::environment::{Environment, Extra, Forward, Local, OwnCounts};
use super::machine::{End, Machine, Packet};
use super::memory::{Pin, Pool};
use super::native::{Begin, Leave, Native, Ran, Untranslated, Waiting, WaitsFor};
use super::packet::{Reader, Writer};
use super::packets::DropReason;
use super::rejections::Rejections;
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

/// A loaded program in one of its forms, with the pin that permits reading its state.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    state: &'a State,
    code: &'a Code,
    /// `None` to interpret.
    native: Option<&'a Native>,
    pin: &'a Pin<'a>,
}

impl<'a> At<'a> {
    /// The program as it usually runs.
    pub(super) fn new(loaded: &'a Loaded, pin: &'a Pin<'a>) -> At<'a> {
        At {
            state: &loaded.state,
            code: &loaded.code,
            native: loaded.native.as_deref().ok(),
            pin,
        }
    }

    /// The program with trace points.
    pub(super) fn traced(loaded: &'a Loaded, code: &'a Code, pin: &'a Pin<'a>) -> At<'a> {
        At {
            state: &loaded.state,
            code,
            native: None,
            pin,
        }
    }

    /// The copies of a multicast group.
    pub(super) fn group(self, group: u64) -> Result<&'a [Replica], DropReason> {
        let members = self.state.replication.members(group, self.pin);
        members.ok_or(DropReason::UnknownGroup)
    }

    /// The copies of a session; an unknown session or group is counted.
    pub(super) fn session(self, session: u64) -> Option<Copies<'a>> {
        let copies = self.state.replication.copies(session, self.pin);
        copies.map_err(|reason| self.state.count_drop(reason)).ok()
    }

    /// The answers to packets that the program rejects.
    pub(super) fn rejections(self) -> &'a Rejections {
        &self.state.rejections
    }

    fn run<'b>(self, local: &'b mut Local, data: &'b [u8], payload: &'b [u8]) -> Environment<'b>
    where
        'a: 'b,
    {
        Environment {
            state: self.state,
            pin: self.pin,
            local,
            data,
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
    /// The suspended function, and its read position in bits.
    waiting: Option<(FunctionId, Waiting, usize)>,
}

impl Scratch {
    /// Creates a lane of a worker that has joined.
    pub(super) fn new(state: &State, worker: usize, tracker: Option<Arc<Tracker>>) -> Scratch {
        let program = &state.program;
        let counts = OwnCounts::all(state, worker);
        Scratch {
            machine: Machine::new(program),
            local: Local::new(program, worker, counts, tracker),
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
        let ran = self.start(
            at,
            function,
            reader,
            payload,
            Begin::Start,
            Leave::TO_THE_END,
        );
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
        leave: Leave,
    ) -> End {
        let mut packet = Packet {
            reader: *reader,
            writer: &mut self.writer,
        };
        let data = reader.data();
        let (machine, mut host) = (&mut self.machine, at.run(&mut self.local, data, payload));
        let ran = match at.native {
            Some(native) => native.run(function, machine, &mut host, &mut packet, from, leave),
            None => None,
        };
        let end = match ran {
            Some(Ran::Waits(waiting)) => {
                self.waiting = Some((function, waiting, packet.reader.position()));
                End::Done
            }
            Some(Ran::Ended(end)) => end,
            None => machine.run(at.code, function, &mut host, &mut packet),
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
        let reader = Reader::new(data);
        self.go(at, function, reader, Begin::Start, Leave::TO_THE_END)
    }

    /// The same until it ends or suspends ([`Scratch::go_on`]). Returns the number of bytes that it has
    /// read by then. Only machine code suspends.
    pub(super) fn begin(
        &mut self,
        at: At<'_>,
        function: FunctionId,
        data: &[u8],
        leave: Leave,
    ) -> Result<usize, DropReason> {
        self.go(at, function, Reader::new(data), Begin::Start, leave)
    }

    /// Returns whether it is suspended.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// The cause for which it is suspended.
    pub(super) fn waits_for(&self) -> Option<WaitsFor> {
        self.waiting.map(|(_, waiting, _)| waiting.what)
    }

    /// Runs a stage of what it is suspended for.
    pub(super) fn advance(&mut self, at: At<'_>, stage: usize) {
        match self.waits_for() {
            Some(WaitsFor::Lookup(table)) => {
                at.run(&mut self.local, &[], &[]).advance(table, stage);
            }
            Some(WaitsFor::Call(_)) => self.local.prefetch_connection(),
            Some(WaitsFor::Table(_)) | None => {}
        }
    }

    /// Does what it is suspended for, and resumes as [`Scratch::begin`] does.
    pub(super) fn go_on(
        &mut self,
        at: At<'_>,
        data: &[u8],
        leave: Leave,
    ) -> Result<usize, DropReason> {
        let Some((function, waiting, bit)) = self.waiting.take() else {
            return Ok(0);
        };
        let mut host = at.run(&mut self.local, &[], &[]);
        let frame = &mut self.machine.frame;
        let applied = match waiting.what {
            WaitsFor::Lookup(table) => Some(host.end_apply(table, frame)),
            // Machine code has packed the key.
            WaitsFor::Table(table) => Some(host.find_in_turn(table, frame)),
            WaitsFor::Call(_) => None,
        };
        let from = Begin::Again(waiting, applied);
        self.go(at, function, Reader::resume(data, bit), from, leave)
    }

    fn go(
        &mut self,
        at: At<'_>,
        function: FunctionId,
        mut reader: Reader<'_>,
        from: Begin,
        leave: Leave,
    ) -> Result<usize, DropReason> {
        let end = self.start(at, function, &mut reader, &[], from, leave);
        let taken = reader.bytes() - reader.rest().len();
        self.ended(end).map(|_| taken)
    }

    /// Ends a pass of a packet whose parser has consumed `taken` bytes of `data`: if the program has
    /// tracked it, and sends it anywhere, it is translated. Returns the number of bytes that the
    /// output replaces.
    #[inline]
    pub(super) fn settle(&mut self, data: &[u8], taken: usize) -> Result<usize, DropReason> {
        if self.local.tracked.is_none() {
            return Ok(taken);
        }
        let taken = self.translate(data, taken);
        self.local.tracked = None;
        taken
    }

    fn translate(&mut self, data: &[u8], taken: usize) -> Result<usize, DropReason> {
        let is_sent = match self.local.requests.forward {
            // Its answer is to be sent even if its connection could not be committed.
            Forward::Reject | Forward::RejectWith | Forward::RejectBehind(_) => false,
            Forward::Nowhere | Forward::Drop => {
                let mut extras = self.local.extras.iter();
                extras.any(|it| matches!(it, Extra::Mirror { .. }))
            }
            Forward::Port(_) | Forward::Group(_) | Forward::Again | Forward::AgainInner => true,
        };
        match (&self.local.tracker, &self.local.tracked) {
            (Some(tracker), Some(tracked)) if is_sent => {
                let length = self.writer.bytes().len() + data.len() - taken;
                let taken = tracked.translate(tracker, data, taken, &mut self.writer)?;
                let is_rewritten = self.writer.bytes().len() + data.len() - taken != length;
                self.local.requests.is_rewritten = is_rewritten;
                Ok(taken)
            }
            _ => Ok(taken),
        }
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
