// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Packets that are traced, for clients of `adit.v1.Trace`.
//!
//! While there are no clients, no packet comes here: the program stage is in another state
//! ([`Way`](super::program::Way)), in a match that it makes anyway.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use adit_conntrack::Time;
use adit_pipeline::offload::FrameMeta;
use adit_pipeline::p4::trace::Event;
use adit_pipeline::p4::{self, Engine, Output, SentKind, NO_QUEUE};
use adit_trace::{Dropped, Fate, Rate, Record, Refused, Seen, Sent, Watcher, MAX_RATE, SNAP};

use super::destination::{Arrival, Destination, Outcome, Source, Transit};
use super::fabric::Fabric;
use super::fragments::Pieces;
use super::program::{process, untraced};
use crate::drops::DropReason;
use crate::frame::Frame;
use crate::ids::P4Port;
use crate::program::Program;

/// The maximum number of clients.
const MAX_CLIENTS: usize = u8::BITS as usize;

/// The clients, and the packet that is traced now.
pub(super) struct Tracing {
    clients: Vec<(u64, Watcher)>,
    /// The number of clients so far.
    numbered: u64,
    /// The limit for all clients together.
    rate: Rate,
    /// The clients that get the packet that is traced now, as bits.
    taken: u8,
    /// The packet between program and destination, with its destination.
    current: Option<(Record, Destination)>,
    /// Set while a packet is injected: it is traced whatever clients want.
    is_injecting: bool,
    injected: Option<Record>,
}

impl Default for Tracing {
    fn default() -> Self {
        Self {
            clients: Vec::new(),
            numbered: 0,
            rate: Rate::new(MAX_RATE),
            taken: 0,
            current: None,
            is_injecting: false,
            injected: None,
        }
    }
}

impl Tracing {
    /// Adds a client; returns its number.
    pub(super) fn add(&mut self, watcher: Watcher) -> Result<u64, Refused> {
        self.clients.retain(|(_, client)| !client.is_done());
        if self.clients.len() == MAX_CLIENTS {
            return Err(Refused::Clients(MAX_CLIENTS));
        }
        self.numbered += 1;
        self.clients.push((self.numbered, watcher));
        Ok(self.numbered)
    }

    /// Removes a client.
    pub(super) fn remove(&mut self, client: u64) {
        self.clients.retain(|(number, _)| *number != client);
    }

    /// Returns whether packets come here.
    pub(super) fn is_active(&self) -> bool {
        self.is_injecting || !self.clients.is_empty()
    }

    /// Begins to inject a packet.
    pub(super) fn begin_injection(&mut self, now: u64) -> Result<(), Refused> {
        if !self.rate.take(now) {
            return Err(Refused::Rate(MAX_RATE));
        }
        self.is_injecting = true;
        Ok(())
    }

    /// Ends the injection; returns the packet's trace.
    pub(super) fn end_injection(&mut self) -> Option<Record> {
        self.is_injecting = false;
        self.injected.take()
    }

    /// Returns whether a packet is to be traced: a client's filter passes it, and there is a place
    /// for it in the client's rate and in that of all clients.
    fn wants(&mut self, engine: Option<&Engine>, port: u32, frame: &[u8], now: u64) -> bool {
        if self.is_injecting {
            return true;
        }
        self.taken = 0;
        let tracker = engine.and_then(|engine| engine.tracker());
        let tracker = tracker.map(|tracker| (&**tracker, Time::from_nanos(now)));
        let Some(seen) = Seen::new(port, frame, tracker) else {
            return false;
        };
        for (n, (_, client)) in self.clients.iter_mut().enumerate() {
            if client.passes(&seen) && client.take(now) {
                self.taken |= 1 << n;
            }
        }
        if self.taken != 0 && !self.rate.take(now) {
            self.takers().for_each(|client| client.lose());
            self.taken = 0;
        }
        self.taken != 0
    }

    /// The clients that get the packet that is traced now.
    fn takers(&mut self) -> impl Iterator<Item = &mut Watcher> {
        let taken = self.taken;
        let clients = self.clients.iter_mut().enumerate();
        clients.filter_map(move |(n, (_, client))| (taken >> n & 1 != 0).then_some(client))
    }

    /// Passes a packet on to the clients that want it.
    fn finish(&mut self, record: Record) {
        if self.is_injecting {
            self.injected = Some(record);
            return;
        }
        let record = Arc::new(record);
        self.takers().for_each(|client| client.give(&record));
    }

    /// The destination of the packet that is traced now.
    fn destination(&self) -> Option<Destination> {
        self.current.as_ref().map(|(_, to)| *to)
    }

    /// The destination behind one that may be kept with a trace.
    pub(super) fn behind(&self, to: Destination) -> Destination {
        match to {
            Destination::Traced { .. } => self.destination().unwrap_or(to),
            to => to,
        }
    }

    /// Completes the packet that is traced now.
    fn complete(&mut self, fate: Option<Fate>, is_flooded: bool, dropped: Option<DropReason>) {
        let Some((mut record, _)) = self.current.take() else {
            return;
        };
        // Copies and answers have theirs already.
        let mut outputs = record.outputs.iter_mut();
        if let Some(output) = outputs.find(|output| output.kind == SentKind::Packet) {
            (output.fate, output.is_flooded) = (fate, is_flooded);
        }
        if let Some(reason) = dropped {
            record.dropped = Some(nic(reason));
        }
        self.finish(record);
    }

    /// Records a packet that was refused before the program, in a connection or not.
    #[cold]
    fn refused(&mut self, source: Source, frame: &[u8], reason: DropReason, now: u64) {
        if self.wants(None, source.port().0, frame, now) {
            let record = Record {
                dropped: Some(nic(reason)),
                ..record(source, frame, now)
            };
            self.finish(record);
        }
    }
}

fn nic(reason: DropReason) -> Dropped {
    Dropped::Nic(reason.label(), reason.explanation())
}

/// The record of a packet before the program.
pub(super) fn record(source: Source, frame: &[u8], now: u64) -> Record {
    let queue = source.queue();
    Record {
        time_ns: now,
        port: source.port().0,
        queue: (queue != NO_QUEUE).then_some(queue),
        length: frame.len(),
        data: frame[..frame.len().min(SNAP)].to_vec(),
        ..Record::default()
    }
}

/// Runs the program on a frame as [`ProgramStage::run_with`](super::program::ProgramStage::run_with)
/// does; a frame that a client wants is traced. Its copies leave in `pieces`.
#[cold]
pub(super) fn run(
    program: &mut Program,
    copy: &mut Frame,
    fabric: &mut Fabric,
    source: Source,
    (frame, fragment_size): (&mut Frame, u16),
    meta: &mut FrameMeta,
    pieces: &mut Pieces<'_>,
) -> Destination {
    let now = fabric.host.now;
    let engine = Some(&**program.engine());
    if !fabric.tracing.wants(engine, source.port().0, frame, now) {
        let emit = |is_as_came, copy: &mut Frame, meta, to| {
            pieces.each(is_as_came, copy, meta, |piece, meta| {
                fabric.dispatch_now(source, piece, meta, to);
            });
        };
        let frame = (frame, fragment_size);
        return process(program, copy, source, frame, meta, untraced(now), emit);
    }
    let mut record = Record {
        engine: Some(program.engine().clone()),
        ..record(source, frame, now)
    };
    let (outputs, dropped) = (RefCell::new(Vec::new()), Cell::new(None));
    let mut events: Vec<Event> = Vec::new();
    let to = process(
        program,
        copy,
        source,
        (frame, fragment_size),
        meta,
        |worker, inputs, out| {
            let input = &inputs[0];
            events = worker.process_traced(now, input, &mut |n, output| {
                match &output {
                    Output::Sent(sent) => outputs.borrow_mut().push(Sent::new(sent, input.data)),
                    // The packet itself is still forwarded.
                    Output::Dropped(p4::DropReason::UnknownSession) => {}
                    Output::Dropped(reason) => dropped.set(Some(*reason)),
                }
                out(n, output);
            });
        },
        |is_as_came, copy, meta, to| {
            let mut first = None;
            pieces.each(is_as_came, copy, meta, |piece, meta| {
                let end = fabric.observe_now(source, piece, meta, to);
                first.get_or_insert(end);
            });
            if let (Some(output), Some(end)) = (outputs.borrow_mut().last_mut(), first) {
                (output.fate, output.is_flooded) = end;
            }
        },
    );
    if let Destination::Segment = to {
        // Its segments are traced, one by one.
        return to;
    }
    record.events = events;
    record.outputs = outputs.into_inner();
    record.dropped = dropped.take().map(Dropped::Engine);
    match to {
        Destination::Dropped(reason) => {
            record.dropped.get_or_insert_with(|| nic(reason));
            fabric.tracing.finish(record);
            to
        }
        Destination::Consumed => {
            fabric.tracing.finish(record);
            to
        }
        to => {
            fabric.tracing.current = Some((record, to));
            Destination::Traced {
                is_switched: matches!(to, Destination::Switch(_)),
            }
        }
    }
}

impl Fabric {
    /// Traces a packet that was refused before the program, if packets are traced.
    pub(super) fn trace_refused(&mut self, source: Source, frame: &[u8], reason: DropReason) {
        if self.tracing.is_active() {
            self.tracing.refused(source, frame, reason, self.host.now);
        }
    }

    /// Takes the packet that is traced now to its destination, and completes its trace.
    #[cold]
    pub(super) fn dispatch_traced(
        &mut self,
        source: Source,
        frame: &mut [u8],
        transit: &mut Transit,
    ) -> Outcome {
        let Some(to) = self.tracing.destination() else {
            // Unreachable: a packet is dispatched directly behind the program.
            return Outcome::Dropped(DropReason::BadOffload);
        };
        let (outcome, fate, is_flooded) = self.observe(source, frame, transit, to);
        let dropped = match outcome {
            Outcome::Dropped(reason)
            | Outcome::Forwarded(Arrival::Lost(reason))
            | Outcome::Counted(Arrival::Lost(reason)) => Some(reason),
            _ => None,
        };
        self.tracing.complete(fate, is_flooded, dropped);
        outcome
    }

    /// Takes a frame to its destination, and returns what became of it.
    fn observe(
        &mut self,
        source: Source,
        frame: &mut [u8],
        transit: &mut Transit,
        to: Destination,
    ) -> (Outcome, Option<Fate>, bool) {
        let to = match to {
            Destination::Switch(steer) => self.switch(source, frame, steer),
            to => to,
        };
        let outcome = self.dispatch(source, frame, transit, to);
        let fate = self.fate(&outcome);
        (outcome, fate, matches!(to, Destination::Flood(_)))
    }

    /// The same for a frame that never waits, which is counted for its source if it is dropped.
    fn observe_now(
        &mut self,
        source: Source,
        frame: &mut [u8],
        meta: FrameMeta,
        to: Destination,
    ) -> (Option<Fate>, bool) {
        let mut transit = Transit::new(frame, meta, super::destination::Wait::Never);
        let (outcome, fate, is_flooded) = self.observe(source, frame, &mut transit, to);
        if let Outcome::Dropped(reason) = outcome {
            self.host.count_dropped(source, reason, transit.frames);
        }
        (fate, is_flooded)
    }

    fn fate(&self, outcome: &Outcome) -> Option<Fate> {
        let arrival = match outcome {
            Outcome::Forwarded(arrival) | Outcome::Counted(arrival) => arrival,
            Outcome::Waiting(_) => return Some(Fate::Waits),
            Outcome::Dropped(reason) => return Some(Fate::Dropped(reason.label())),
        };
        Some(match *arrival {
            Arrival::Queue(vport, queue) => {
                let queues = &self.host.vports.get(vport)?.forwarding.rx_queues;
                let at = queues.iter().position(|id| *id == queue.0);
                Fate::Delivered {
                    port: P4Port::of_vport(vport).0,
                    queue: at.unwrap_or_default() as u32,
                }
            }
            Arrival::Wire(wire) => Fate::Sent(wire.0),
            Arrival::Lost(reason) => Fate::Dropped(reason.label()),
            Arrival::Nowhere => return None,
        })
    }
}
