// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a core needs to process packets.

use std::sync::Arc;

use adit_p4_frontend::ir::FunctionId;

use super::{Blocks, Engine, State};
use crate::p4::events::ControlPacket;
use crate::p4::externs::{Local, Run};
use crate::p4::machine::{End, Machine, Packet};
use crate::p4::memory::{Pin, Pool};
use crate::p4::native::{Begin, Ran, Waiting};
use crate::p4::packet::{Reader, Writer};
use crate::p4::packets::{DropReason, Input, Output, Sent};
use crate::p4::replication::{Copies, Replica};
use crate::p4::trace::Event;

/// How many packets are processed before what has been taken out of tables may be used again.
const MAX_PINNED: usize = 64;

/// How many packets are on their way at once, if their order does not matter: as many as hide how
/// long memory takes, with frames that fit into a core's caches.
pub(in crate::p4) const LANES: usize = 16;

/// A core's frames and buffers. What it needs for a packet is there before the packet comes.
pub struct Worker {
    engine: Arc<Engine>,
    number: usize,
    /// One, or [`LANES`].
    lanes: Vec<Scratch>,
}

/// What is shared, and the proof that it may be read.
#[derive(Clone, Copy)]
pub(in crate::p4) struct At<'a> {
    pub(in crate::p4) state: &'a State,
    pub(in crate::p4) pin: &'a Pin<'a>,
}

impl<'a> At<'a> {
    /// The copies of a multicast group.
    pub(in crate::p4) fn group(self, group: u64) -> Result<&'a [Replica], DropReason> {
        let members = self.state.replication.members(group, self.pin);
        members.ok_or(DropReason::UnknownGroup)
    }

    /// The copies of a session; if there is none, that is counted.
    pub(in crate::p4) fn session(self, session: u64) -> Option<Copies<'a>> {
        let copies = self.state.replication.copies(session, self.pin);
        if copies.is_none() {
            self.state.count_drop(DropReason::UnknownSession);
        }
        copies
    }

    fn run<'b>(self, local: &'b mut Local, payload: &'b [u8]) -> Run<'b>
    where
        'a: 'b,
    {
        Run {
            state: self.state,
            pin: self.pin,
            local,
            payload,
        }
    }
}

/// What an architecture works with.
pub(in crate::p4) struct Scratch {
    pub(in crate::p4) machine: Machine,
    pub(in crate::p4) local: Local,
    pub(in crate::p4) writer: Writer,
    /// For packets on their way round.
    pub(in crate::p4) bytes: Pool<u8>,
    /// For values that wait.
    pub(in crate::p4) values: Pool<u64>,
    /// The function that waits for a lookup, and how far it has read, in bits.
    waiting: Option<(FunctionId, Waiting, usize)>,
}

impl Scratch {
    /// Runs a block; `Err` if that drops the packet.
    pub(in crate::p4) fn run(
        &mut self,
        at: At<'_>,
        function: FunctionId,
        reader: &mut Reader<'_>,
        payload: &[u8],
    ) -> Result<End, DropReason> {
        let ran = self.start(at, function, reader, payload, Begin::ToTheEnd);
        self.ended(ran)
    }

    /// Runs a function from wherever; if it waits, that is noted, and nothing has ended.
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
        let native = at.state.native.as_ref().ok();
        let ran = native.and_then(|n| n.run(function, machine, &mut host, &mut packet, from));
        let end = match ran {
            Some(Ran::Waits(waiting)) => {
                self.waiting = Some((function, waiting, packet.reader.position()));
                End::Done
            }
            Some(Ran::Ended(end)) => end,
            None => machine.run(&at.state.code, function, &mut host, &mut packet),
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

    /// Runs a function to its end; gives how many bytes it has read.
    pub(in crate::p4) fn run_all(
        &mut self,
        at: At<'_>,
        function: FunctionId,
        data: &[u8],
    ) -> Result<usize, DropReason> {
        self.go(at, function, Reader::new(data), Begin::ToTheEnd)
    }

    /// The same until it ends or waits for a lookup ([`Scratch::go_on`]): gives what it has read by
    /// then.
    pub(in crate::p4) fn begin(
        &mut self,
        at: At<'_>,
        function: FunctionId,
        data: &[u8],
    ) -> Result<usize, DropReason> {
        self.go(at, function, Reader::new(data), Begin::Waiting)
    }

    /// Whether it waits.
    pub(in crate::p4) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// A stage of the lookup that is waited for.
    pub(in crate::p4) fn approach(&mut self, at: At<'_>, stage: usize) {
        if let Some((_, waiting, _)) = self.waiting {
            at.run(&mut self.local, &[]).approach(waiting.table, stage);
        }
    }

    /// Looks up what is waited for, and goes on as [`Scratch::begin`] does.
    pub(in crate::p4) fn go_on(&mut self, at: At<'_>, data: &[u8]) -> Result<usize, DropReason> {
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
    pub(in crate::p4) fn run_control(
        &mut self,
        at: At<'_>,
        function: FunctionId,
        payload: &[u8],
    ) -> Result<(), DropReason> {
        self.run(at, function, &mut Reader::default(), payload)
            .map(drop)
    }
}

impl Worker {
    pub(super) fn new(engine: Arc<Engine>, number: usize) -> Worker {
        let program = &engine.state.program;
        engine.state.tables.iter().for_each(|t| t.join(number));
        let lanes = if engine.blocks.may_overlap() {
            LANES
        } else {
            1
        };
        let lanes = (0..lanes).map(|_| Scratch {
            machine: Machine::new(program),
            local: Local::new(program, number),
            writer: Writer::default(),
            bytes: Pool::default(),
            values: Pool::default(),
            waiting: None,
        });
        Worker {
            lanes: lanes.collect(),
            number,
            engine,
        }
    }

    /// The engine that it works for.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// What the last packet met, if the engine was loaded with [`Engine::load_traced`].
    pub fn take_trace(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.lanes[0].local.trace.events)
    }

    /// Processes packets; `out` gets each one's index in `inputs` and what becomes of it, in their
    /// order. The caller's clock says what time it is.
    ///
    /// Packets go through one after the other, unless nothing that the program's control does makes
    /// the order matter: counters and lookups, but no registers, meters, digests or learning. Then
    /// some are on their way at once, so that one's lookup in a large table does not keep the others
    /// waiting.
    pub fn process(
        &mut self,
        now_ns: u64,
        inputs: &[Input<'_>],
        out: &mut dyn FnMut(usize, Output<'_>),
    ) {
        let engine = &*self.engine;
        let state = &engine.state;
        let cpu_port = engine.cpu_port();
        for lane in &mut self.lanes {
            lane.local.now_ns = now_ns;
        }
        let mut emit = |n: usize, output: Output<'_>| {
            match output {
                Output::Sent(sent) if Some(sent.port) == cpu_port => {
                    if !to_control(state, &sent, inputs[n].data) {
                        let reason = DropReason::ControlQueueFull;
                        state.count_drop(reason);
                        out(n, Output::Dropped(reason));
                    }
                    return;
                }
                Output::Dropped(reason) => state.count_drop(reason),
                Output::Sent(_) => {}
            }
            out(n, output);
        };
        // Who writes can use again what it took out, also if a caller has very many packets.
        for (n, some) in inputs.chunks(MAX_PINNED).enumerate() {
            let pin = &engine.state.epochs.pin(self.number);
            let at = At { state, pin };
            for (m, few) in some.chunks(self.lanes.len()).enumerate() {
                let first = n * MAX_PINNED + m * self.lanes.len();
                let mut emit = |n: usize, output: Output<'_>| emit(first + n, output);
                match (&engine.blocks, few) {
                    (Blocks::V1model(blocks), [input]) => {
                        blocks.process(at, &mut self.lanes[0], input, &mut |o| emit(0, o));
                    }
                    (Blocks::Pna(blocks), [input]) => {
                        blocks.process(at, &mut self.lanes[0], input, &mut |o| emit(0, o));
                    }
                    (Blocks::Pna(blocks), few) => {
                        blocks.process_some(at, &mut self.lanes, few, &mut emit);
                    }
                    // It has one lane.
                    (Blocks::V1model(_), _) => {}
                }
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.engine.state.epochs.leave(self.number);
    }
}

/// Puts a packet in line for the control plane.
fn to_control(state: &State, sent: &Sent<'_>, input: &[u8]) -> bool {
    state.packets_in.push(|| {
        let mut data = Vec::with_capacity(sent.headers.len() + input.len());
        sent.copy_to(input, &mut data);
        ControlPacket { data }
    })
}
