// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From TX queues to wires.

use std::io::IoSlice;

use adit_pipeline::checksum::fill::complete_partial;
use adit_pipeline::offload::{Checksum, FrameMeta, GsoKind};
use adit_pipeline::parse::DstKind;
use adit_pipeline::segment::Segmenter;

use super::adi::space;
use super::program::Steer;
use super::switch::Route;
use super::{Datapath, BURST, MAX_STALL_NS};
use crate::dataplane::{QueueKind, VportCounters};
use crate::drops::Drop;
use crate::egress;
use crate::frame::Frame;
use crate::queues::{QueueFault, TxOutcome, TxQueue};
use crate::wire::{Port, PortCaps, SendError, TxDrop};

/// Frames on the wire after which it is the neighbours' turn, too: one frame from a driver may be
/// thousands when it is cut.
const WIRE_BURST: u64 = 4 * BURST as u64;

/// What became of a frame.
pub(super) enum Sent {
    /// It left, or was dropped and counted.
    Done,
    /// The wire takes no more for now.
    Stalled,
}

impl Datapath {
    /// Sends up to a burst of one queue's packets; true when any was moved.
    pub(super) fn transmit_burst(&mut self, index: u32) -> bool {
        let tail = self.doorbells.tx_tail.load(index);
        let slot = &mut self.tx[index as usize];
        let (vport, vector) = (slot.vport, slot.vector);
        let Some(mut queue) = slot.queue.take() else {
            return false;
        };
        let mut moved = 0;
        let mut result = Ok(());
        let start = self.on_wire(vport);
        while moved < BURST && self.on_wire(vport) - start < WIRE_BURST {
            match self.transmit_one(&mut queue, index, vport, tail) {
                Ok(true) => moved += 1,
                Ok(false) => break,
                Err(fault) => {
                    result = Err(fault);
                    break;
                }
            }
        }
        self.tx[index as usize].queue = Some(queue);
        if moved > 0 {
            if let Some((vector, itr)) = vector {
                self.interrupts.raise(&self.doorbells.vectors, vector, itr);
            }
        }
        if let Err(fault) = result {
            self.fault(QueueKind::Tx, index, fault);
        }
        moved > 0
    }

    /// Frames that the wire of a virtual port has sent.
    fn on_wire(&self, vport: u32) -> u64 {
        let port = self.port_of(vport) as u32;
        self.wire(port).map_or(0, |w| w.counters().tx_frames)
    }

    fn transmit_one(
        &mut self,
        queue: &mut TxQueue,
        index: u32,
        vport: u32,
        tail: u32,
    ) -> Result<bool, QueueFault> {
        if !queue.has_work(tail)? {
            return Ok(false);
        }
        let reports_to = queue.completion_queue.map(|id| id as usize);
        // A frame does not leave that could not be reported.
        if let Some(reports_to) = reports_to {
            let completion = self.completion.get_mut(reports_to);
            if completion.and_then(super::Slot::running).is_none() {
                return Err(QueueFault::NoCompletionQueue);
            }
        }
        if !self.send_kept(self.port_of(vport)) {
            return Ok(false);
        }
        let Some(mut frame) = self.tx_frame.take() else {
            return Ok(false);
        };
        let memory = space(&self.memory, &self.translator, &self.vports, vport);
        let outcome = queue.peek(&memory, tail, &mut frame);
        let sent = match &outcome {
            Err(_) => self.refuse(vport, Drop::QueueFault),
            Ok(TxOutcome::Idle) => Sent::Done,
            Ok(TxOutcome::BadLength) => self.refuse(vport, Drop::BadLength),
            Ok(TxOutcome::Frame(offload)) => match self.admit(vport, &frame, *offload) {
                Ok(offload) => match egress::prepare(&mut frame, &offload) {
                    Ok(meta) => self.send(index, vport, &mut frame, meta),
                    Err(egress::EgressError::Runt) => self.refuse(vport, Drop::Runt),
                    Err(_) => self.refuse(vport, Drop::BadOffload),
                },
                Err(reason) => self.refuse(vport, reason),
            },
        };
        self.tx_frame = Some(frame);
        if matches!(outcome?, TxOutcome::Idle) || matches!(sent, Sent::Stalled) {
            return Ok(false);
        }
        let completions = queue.consume();
        let memory = space(&self.memory, &self.translator, &self.vports, vport);
        let Some(reports_to) = reports_to else {
            queue.write_back(&memory)?;
            return Ok(true);
        };
        let slot = self
            .completion
            .get_mut(reports_to)
            .and_then(super::Slot::running)
            .ok_or(QueueFault::NoCompletionQueue)?;
        for c in completions.into_iter().flatten() {
            slot.push(&memory, queue.relative_id, c.comp_type, c.value)?;
        }
        Ok(true)
    }

    pub(super) fn refuse(&mut self, vport: u32, reason: Drop) -> Sent {
        let vport = &mut self.vports[vport as usize];
        vport.drops.tx.count(reason);
        vport.counters.tx_errors += 1;
        Sent::Done
    }

    fn send(&mut self, queue: u32, index: u32, frame: &mut Frame, meta: FrameMeta) -> Sent {
        let vport = &mut self.vports[index as usize];
        if vport.forwarding.loopback {
            count_sent(&mut vport.counters, destination(frame), frame.len() as u64);
            self.deliver(index as usize, frame, meta, Steer::default());
            return Sent::Done;
        }
        match self.is_programmed() {
            true => self.send_programmed(queue, index, frame, meta),
            false => self.send_switched(queue, index, frame, meta, Steer::default()),
        }
    }

    /// Sends a frame by its address.
    pub(super) fn send_switched(
        &mut self,
        queue: u32,
        index: u32,
        frame: &mut [u8],
        meta: FrameMeta,
        steer: Steer,
    ) -> Sent {
        let (kind, len) = (destination(frame), frame.len() as u64);
        let port = self.port_of(index);
        let mut meta = meta;
        let route = self.route(index, port, frame, &mut meta, steer);
        let vport = &mut self.vports[index as usize];
        match route {
            Route::Wire | Route::Copies => {}
            Route::Local => {
                count_sent(&mut vport.counters, kind, len);
                return Sent::Done;
            }
            Route::Refused(reason) => return self.refuse(index, reason),
        }
        let mut wire = self.vports[port].wire.take();
        let sent = match wire.as_mut() {
            Some(wire) => self.send_on(wire.as_mut(), queue, index, frame, meta),
            None if route == Route::Copies => {
                count_sent(&mut self.vports[index as usize].counters, kind, len);
                Sent::Done
            }
            None => {
                let vport = &mut self.vports[index as usize];
                vport.drops.tx.count(Drop::NoWire);
                vport.counters.tx_discards += 1;
                Sent::Done
            }
        };
        self.vports[port].wire = wire;
        if route == Route::Copies && matches!(sent, Sent::Done) {
            self.copy(index, port, frame, meta, steer);
        }
        sent
    }

    pub(super) fn send_on(
        &mut self,
        wire: &mut dyn Port,
        queue: u32,
        index: u32,
        frame: &mut [u8],
        meta: FrameMeta,
    ) -> Sent {
        let (kind, len) = (destination(frame), frame.len() as u64);
        let Some(outcome) = put(wire, &mut self.segment, frame, meta) else {
            return self.refuse(index, Drop::BadOffload);
        };
        let vport = &mut self.vports[index as usize];
        let stalled = &mut self.stalled_since[queue as usize];
        match outcome {
            Ok(()) => count_sent(&mut vport.counters, kind, len),
            Err(SendError::Full)
                if self.now.saturating_sub(*stalled.get_or_insert(self.now)) < MAX_STALL_NS =>
            {
                return Sent::Stalled;
            }
            Err(error) => {
                if matches!(error, SendError::Full) {
                    wire.counters_mut().drop_tx(TxDrop::Full);
                }
                vport.drops.tx.count(Drop::Wire);
                vport.counters.tx_discards += 1;
            }
        }
        *stalled = None;
        Sent::Done
    }
}

/// Puts a frame on a wire, finished as far as the wire wants it to be; `None` if it cannot be.
pub(super) fn put(
    wire: &mut dyn Port,
    segment: &mut [u8],
    frame: &mut [u8],
    meta: FrameMeta,
) -> Option<Result<(), SendError>> {
    let caps = wire.capabilities();
    let mut meta = meta;
    match (meta.gso, meta.checksum) {
        (Some(gso), _) if !cuts(caps, gso.kind) => {
            let mut segments = Segmenter::new(frame, &meta).ok()?;
            let mut first = true;
            while let Some(n) = segments.next_into(segment) {
                let slice = [IoSlice::new(&segment[..n])];
                let outcome = wire.send(&slice, &FrameMeta::default());
                if matches!(outcome, Err(SendError::Full)) && !first {
                    // Some segments have left: the frame cannot be kept for later.
                    wire.counters_mut().drop_tx(TxDrop::Full);
                    return Some(Err(SendError::Refused));
                }
                if outcome.is_err() {
                    return Some(outcome);
                }
                first = false;
            }
            return Some(Ok(()));
        }
        (None, Checksum::Partial { start, offset }) if !caps.checksum => {
            complete_partial(frame, start, offset).ok()?;
            meta.checksum = Checksum::Unknown;
        }
        _ => {}
    }
    Some(wire.send(&[IoSlice::new(frame)], &meta))
}

fn cuts(caps: PortCaps, kind: GsoKind) -> bool {
    match kind {
        GsoKind::Tcp4 => caps.tso4,
        GsoKind::Tcp6 => caps.tso6,
        GsoKind::Udp => caps.uso,
    }
}

pub(super) fn destination(frame: &[u8]) -> DstKind {
    frame
        .first_chunk::<6>()
        .map_or(DstKind::Unicast, DstKind::of)
}

pub(super) fn count_sent(counters: &mut VportCounters, kind: DstKind, len: u64) {
    counters.tx_bytes += len;
    match kind {
        DstKind::Unicast => counters.tx_unicast += 1,
        DstKind::Multicast => counters.tx_multicast += 1,
        DstKind::Broadcast => counters.tx_broadcast += 1,
    }
}
