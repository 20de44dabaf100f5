// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The per-core part of an engine, which processes packets.

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

/// Number of packets processed under one pin, which delays the reuse of memory removed from tables.
const MAX_PINNED: usize = 64;

/// Number of packets in flight at once, if their order does not matter: enough to hide memory
/// latency, with frames that fit in a core's caches.
pub(in crate::p4) const LANES: usize = 16;

/// The frames and buffers of one core. They are allocated before packets arrive.
pub struct Worker {
    engine: Arc<Engine>,
    number: usize,
    /// A single one, or [`LANES`].
    lanes: Vec<Scratch>,
}

/// The shared state, with the pin that permits reading it.
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

    /// The copies of a session; an unknown session or group is counted.
    pub(in crate::p4) fn session(self, session: u64) -> Option<Copies<'a>> {
        let copies = self.state.replication.copies(session, self.pin);
        copies.map_err(|reason| self.state.count_drop(reason)).ok()
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

/// Working memory of an architecture for one packet.
pub(in crate::p4) struct Scratch {
    pub(in crate::p4) machine: Machine,
    pub(in crate::p4) local: Local,
    pub(in crate::p4) writer: Writer,
    /// Buffers for recirculated packets.
    pub(in crate::p4) bytes: Pool<u8>,
    /// Buffers for saved values.
    pub(in crate::p4) values: Pool<u64>,
    /// The function suspended for a lookup, and its read position in bits.
    waiting: Option<(FunctionId, Waiting, usize)>,
}

impl Scratch {
    /// Runs a block. Returns `Err` if it drops the packet.
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

    /// Runs a function to its end. Returns the number of bytes that it has read.
    pub(in crate::p4) fn run_all(
        &mut self,
        at: At<'_>,
        function: FunctionId,
        data: &[u8],
    ) -> Result<usize, DropReason> {
        self.go(at, function, Reader::new(data), Begin::ToTheEnd)
    }

    /// The same until it ends or suspends for a lookup ([`Scratch::go_on`]). Returns the number of
    /// bytes that it has read by then.
    pub(in crate::p4) fn begin(
        &mut self,
        at: At<'_>,
        function: FunctionId,
        data: &[u8],
    ) -> Result<usize, DropReason> {
        self.go(at, function, Reader::new(data), Begin::Waiting)
    }

    /// Returns whether it is suspended.
    pub(in crate::p4) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Runs a stage of the pending lookup.
    pub(in crate::p4) fn approach(&mut self, at: At<'_>, stage: usize) {
        if let Some((_, waiting, _)) = self.waiting {
            at.run(&mut self.local, &[]).approach(waiting.table, stage);
        }
    }

    /// Completes the pending lookup, and resumes as [`Scratch::begin`] does.
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

    /// The engine of this worker.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The trace of the last packet, if the engine was loaded with [`Engine::load_traced`].
    pub fn take_trace(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.lanes[0].local.trace.events)
    }

    /// Processes packets. `out` is called with each packet's index in `inputs` and its output, in
    /// their order. The caller supplies the current time.
    ///
    /// Packets are processed one after the other, unless their order does not matter for the
    /// program's control: counters and lookups, but no registers, meters, digests or learning. Then
    /// several are in flight at once, so that one packet's lookup in a large table does not stall
    /// the others.
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
        // Bounds the time under one pin, so that writers can reuse removed memory even if a caller
        // has very many packets.
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
                    // Unreachable: v1model has one lane.
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

/// Queues a packet for the control plane.
fn to_control(state: &State, sent: &Sent<'_>, input: &[u8]) -> bool {
    state.packets_in.push(|| {
        let mut data = Vec::with_capacity(sent.headers.len() + input.len());
        sent.copy_to(input, &mut data);
        ControlPacket { data }
    })
}
