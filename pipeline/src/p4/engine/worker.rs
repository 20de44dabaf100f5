// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The per-core part of an engine, which processes packets.

use std::sync::Arc;

use super::{Blocks, Engine};
use crate::p4::events::ControlPacket;
use crate::p4::lane::{At, Scratch, LANES};
use crate::p4::objects::Object;
use crate::p4::packets::{DropReason, Input, Output, Sent};
use crate::p4::state::State;
use crate::p4::trace::{Event, Trace};

/// Number of packets processed under one pin, which delays the reuse of memory removed from tables.
const MAX_PINNED: usize = 64;

/// The frames and buffers of one core. They are allocated before packets arrive.
pub struct Worker {
    engine: Arc<Engine>,
    number: usize,
    /// A single one, or [`LANES`].
    lanes: Vec<Scratch>,
}

impl Worker {
    pub(super) fn new(engine: Arc<Engine>, number: usize) -> Worker {
        let state = &engine.loaded.state;
        state.tables.iter().for_each(|t| t.join(number));
        for object in &state.objects {
            if let Object::Counter(counter) = object {
                counter.join(number);
            }
        }
        let lanes = if engine.blocks.may_overlap() {
            LANES
        } else {
            1
        };
        let tracker = state.connections.get_or_create();
        let lanes = (0..lanes).map(|_| Scratch::new(state, number, tracker.clone()));
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

    /// Processes a packet as [`Worker::process`] does, and returns its trace. It is interpreted,
    /// since a trace point may record any value in the frame, and it allocates. Its results are those
    /// that the packet has without a trace.
    pub fn process_traced(
        &mut self,
        now_ns: u64,
        input: &Input<'_>,
        out: &mut dyn FnMut(usize, Output<'_>),
    ) -> Vec<Event> {
        let engine = self.engine.clone();
        let instrumented = engine.instrumented();
        let pin = &engine.loaded.state.epochs.pin(self.number);
        let at = At::traced(&engine.loaded, &instrumented.code, pin);
        let lane = &mut self.lanes[0];
        lane.local.now_ns = now_ns;
        lane.local.trace = Trace::of(instrumented.clone());
        let inputs = &[*input];
        let mut emit = emitter(&engine, inputs, out);
        match &engine.blocks {
            Blocks::V1model(blocks) => blocks.process(at, lane, input, &mut |o| emit(0, o)),
            Blocks::Pna(blocks) => blocks.process(at, lane, input, &mut |o| emit(0, o)),
        }
        std::mem::take(&mut lane.local.trace).into_events()
    }

    /// Processes packets. `out` is called with each packet's index in `inputs` and its output, in
    /// their order. The caller supplies the current time.
    ///
    /// The results are those of packets processed one after the other. But several are in flight at
    /// once, so that one packet's lookup in a large table, or of its connection, does not stall the
    /// others: what depends on their order (registers, meters, digests, learning, packets of one
    /// connection and new ones) they do in that order.
    pub fn process(
        &mut self,
        now_ns: u64,
        inputs: &[Input<'_>],
        out: &mut dyn FnMut(usize, Output<'_>),
    ) {
        let engine = &*self.engine;
        let state = &engine.loaded.state;
        for lane in &mut self.lanes {
            lane.local.now_ns = now_ns;
        }
        let mut emit = emitter(engine, inputs, out);
        // Bounds the time under one pin, so that writers can reuse removed memory even if a caller
        // has very many packets.
        for (n, some) in inputs.chunks(MAX_PINNED).enumerate() {
            let loaded = &engine.loaded;
            let pin = &state.epochs.pin(self.number);
            let at = At::new(loaded, pin);
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
        self.engine.loaded.state.epochs.leave(self.number);
    }
}

/// Returns a function that takes outputs: it counts drops, queues packets for the control plane, and
/// passes the others to `out`.
#[inline]
fn emitter<'a>(
    engine: &'a Engine,
    inputs: &'a [Input<'_>],
    out: &'a mut dyn FnMut(usize, Output<'_>),
) -> impl FnMut(usize, Output<'_>) + 'a {
    let state = &engine.loaded.state;
    let cpu_port = engine.cpu_port();
    move |n, output| {
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
