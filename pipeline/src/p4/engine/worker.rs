// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a core needs to process packets.

use std::sync::Arc;

use adit_p4_frontend::ir::FunctionId;

use super::{Blocks, Engine, State};
use crate::p4::events::ControlPacket;
use crate::p4::externs::{Local, Run};
use crate::p4::machine::{End, Machine, Packet};
use crate::p4::memory::Pin;
use crate::p4::packet::{Reader, Writer};
use crate::p4::packets::{DropReason, Input, Output, Sent};
use crate::p4::trace::Event;

/// How many packets are processed before what has been taken out of tables may be used again.
const MAX_PINNED: usize = 64;

/// A core's frame and buffers. What it needs for a packet is there before the packet comes.
pub struct Worker {
    engine: Arc<Engine>,
    scratch: Scratch,
}

/// What is shared, and the proof that it may be read.
#[derive(Clone, Copy)]
pub(in crate::p4) struct At<'a> {
    pub(in crate::p4) state: &'a State,
    pub(in crate::p4) pin: &'a Pin<'a>,
}

/// What an architecture works with.
pub(in crate::p4) struct Scratch {
    number: usize,
    pub(in crate::p4) machine: Machine,
    pub(in crate::p4) local: Local,
    pub(in crate::p4) writer: Writer,
    /// A packet on its way round.
    pub(in crate::p4) again: Vec<u8>,
}

impl Scratch {
    /// Runs a block; `Err` if that drops the packet.
    pub(in crate::p4) fn run<'p>(
        &mut self,
        at: At<'_>,
        function: FunctionId,
        reader: &mut Reader<'p>,
        payload: &[u8],
    ) -> Result<End, DropReason> {
        let mut packet = Packet {
            reader: *reader,
            writer: &mut self.writer,
        };
        let mut host = Run {
            state: at.state,
            pin: at.pin,
            local: &mut self.local,
            payload,
        };
        let machine = &mut self.machine;
        let native = at.state.native.as_ref().ok();
        let end = native.and_then(|native| native.run(function, machine, &mut host, &mut packet));
        let end = match end {
            Some(end) => end,
            None => machine.run(&at.state.code, function, &mut host, &mut packet),
        };
        *reader = packet.reader;
        match end {
            End::TooLong => Err(DropReason::TooLong),
            _ if std::mem::take(&mut self.local.assertion_failed) => Err(DropReason::Assertion),
            end => Ok(end),
        }
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
        let scratch = Scratch {
            number,
            machine: Machine::new(program),
            local: Local::new(program, number),
            writer: Writer::default(),
            again: Vec::new(),
        };
        Worker { engine, scratch }
    }

    /// The engine that it works for.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// What the last packet met, if the engine was loaded with [`Engine::load_traced`].
    pub fn take_trace(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.scratch.local.trace.events)
    }

    /// Processes packets; `out` gets each one's index in `inputs` and what becomes of it. The
    /// caller's clock says what time it is.
    pub fn process(
        &mut self,
        now_ns: u64,
        inputs: &[Input<'_>],
        out: &mut dyn FnMut(usize, Output<'_>),
    ) {
        let engine = &*self.engine;
        let state = &engine.state;
        let cpu_port = engine.cpu_port();
        self.scratch.local.now_ns = now_ns;
        let mut pin = engine.state.epochs.pin(self.scratch.number);
        for (n, input) in inputs.iter().enumerate() {
            // Who writes can use again what it took out, also if a caller has very many packets.
            if n > 0 && n % MAX_PINNED == 0 {
                drop(pin);
                pin = engine.state.epochs.pin(self.scratch.number);
            }
            let at = At { state, pin: &pin };
            let mut emit = |output: Output<'_>| {
                match output {
                    Output::Sent(sent) if Some(sent.port) == cpu_port => {
                        if !to_control(state, &sent, input.data) {
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
            match &engine.blocks {
                Blocks::V1model(blocks) => {
                    blocks.process(at, &mut self.scratch, input, &mut emit);
                }
                Blocks::Pna(blocks) => blocks.process(at, &mut self.scratch, input, &mut emit),
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.engine.state.epochs.leave(self.scratch.number);
    }
}

/// Puts a packet in line for the control plane.
fn to_control(state: &State, sent: &Sent<'_>, input: &[u8]) -> bool {
    let mut data = Vec::with_capacity(sent.headers.len() + input.len());
    sent.copy_to(input, &mut data);
    state.packets_in.push(ControlPacket { data })
}
