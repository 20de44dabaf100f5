// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The transmit path: from TX queues to wires.

use std::io::IoSlice;

use adit_pipeline::checksum::fill::complete_partial;
use adit_pipeline::offload::{Checksum, FrameMeta, GsoKind, OnWire};
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

/// The number of frames handed to a wire after which its neighbours get their turn: one frame from
/// a driver may become thousands when it is segmented here.
const WIRE_BURST: u64 = 4 * BURST as u64;

/// The result of sending a frame.
pub(super) enum Sent {
    /// It was sent, or was dropped and counted.
    Done,
    /// The wire is full.
    Stalled,
}

impl Datapath {
    /// Sends up to a burst of one queue's packets; returns true if any was moved.
    pub(super) fn transmit_burst(&mut self, index: u32) -> bool {
        let tail = self.doorbells.tx_tail.load(index);
        let slot = &mut self.tx[index as usize];
        let (vport, vector) = (slot.vport, slot.vector);
        let Some(mut queue) = slot.queue.take() else {
            return false;
        };
        let mut moved = 0;
        let mut result = Ok(());
        let start = self.handed_to_wire(vport);
        while moved < BURST && self.handed_to_wire(vport) - start < WIRE_BURST {
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

    /// The number of frames handed to the wire of a virtual port; one that the wire segments counts
    /// once.
    fn handed_to_wire(&self, vport: u32) -> u64 {
        let port = self.port_of(vport) as u32;
        self.wire(port).map_or(0, |w| w.counters().tx_calls)
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
        // A frame whose completion could not be reported must not be sent.
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
            let on_wire = meta.on_wire(frame.len());
            count_sent(&mut vport.counters, destination(frame), on_wire);
            self.deliver(index as usize, frame, meta, Steer::default());
            return Sent::Done;
        }
        match self.is_programmed() {
            true => self.send_programmed(queue, index, frame, meta),
            false => self.send_switched(queue, index, frame, meta, Steer::default()),
        }
    }

    /// Sends a frame by its destination address.
    pub(super) fn send_switched(
        &mut self,
        queue: u32,
        index: u32,
        frame: &mut [u8],
        meta: FrameMeta,
        steer: Steer,
    ) -> Sent {
        let (kind, on_wire) = (destination(frame), meta.on_wire(frame.len()));
        let port = self.port_of(index);
        let mut meta = meta;
        let route = self.route(index, port, frame, &mut meta, steer);
        let vport = &mut self.vports[index as usize];
        match route {
            Route::Wire | Route::Copies => {}
            Route::Local => {
                count_sent(&mut vport.counters, kind, on_wire);
                return Sent::Done;
            }
            Route::Refused(reason) => return self.refuse(index, reason),
        }
        let mut wire = self.vports[port].wire.take();
        let sent = match wire.as_mut() {
            Some(wire) => self.send_on(wire.as_mut(), queue, index, frame, meta),
            None if route == Route::Copies => {
                count_sent(&mut self.vports[index as usize].counters, kind, on_wire);
                Sent::Done
            }
            None => {
                self.discard(index, Drop::NoWire, on_wire.frames);
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
        let (kind, whole) = (destination(frame), meta.on_wire(frame.len()));
        let Some(put) = put(wire, &mut self.segment, frame, meta) else {
            return self.refuse(index, Drop::BadOffload);
        };
        let stalled = &mut self.stalled_since[queue as usize];
        if put.may_wait()
            && self.now.saturating_sub(*stalled.get_or_insert(self.now)) < MAX_STALL_NS
        {
            return Sent::Stalled;
        }
        *stalled = None;
        if put.left.frames > 0 {
            let vport = &mut self.vports[index as usize];
            count_sent(&mut vport.counters, kind, put.left);
        }
        let lost = put.give_up(wire, whole);
        self.note_losses(self.port_of(index), wire, put.reason(), lost);
        if lost > 0 {
            self.discard(index, Drop::Wire, lost);
        }
        Sent::Done
    }

    /// Counts frames from a driver that were not sent.
    pub(super) fn discard(&mut self, vport: u32, reason: Drop, frames: u64) {
        let vport = &mut self.vports[vport as usize];
        vport.drops.tx.count_many(reason, frames);
        vport.counters.tx_discards += frames;
    }
}

/// The result of offering a frame to a wire.
#[must_use]
pub(super) struct Put {
    /// The part of it that was sent.
    pub(super) left: OnWire,
    /// The error that stopped the rest.
    failed: Option<SendError>,
    /// Set if it was offered segment by segment.
    segmented: bool,
}

impl Put {
    /// Returns whether the wire may accept the frame later: it is full, and no part was sent.
    fn may_wait(&self) -> bool {
        self.left.frames == 0 && matches!(self.failed, Some(SendError::Full))
    }

    /// The reason why the frame was not sent completely.
    pub(super) fn reason(&self) -> Option<TxDrop> {
        self.failed.as_ref().map(SendError::reason)
    }

    /// Counts the lost part of a frame in the wire's counters, where `whole` is the complete frame;
    /// returns the number of lost frames.
    pub(super) fn give_up(&self, wire: &mut dyn Port, whole: OnWire) -> u64 {
        let Some(error) = &self.failed else {
            return 0;
        };
        let lost = whole.frames - self.left.frames;
        // The port has counted frames offered to it, except those that the caller may offer again.
        let counted = match (error, self.segmented) {
            (SendError::Full, _) => 0,
            (_, true) => 1,
            (_, false) => lost,
        };
        wire.counters_mut().drop_tx(error.reason(), lost - counted);
        lost
    }
}

/// Sends a frame on a wire, after doing the offloads that the wire does not support; `None` if they
/// cannot be done.
pub(super) fn put(
    wire: &mut dyn Port,
    segment: &mut [u8],
    frame: &mut [u8],
    meta: FrameMeta,
) -> Option<Put> {
    let caps = wire.capabilities();
    let mut meta = meta;
    match (meta.gso, meta.checksum) {
        (Some(gso), _) if !cuts(caps, gso.kind) => {
            let mut segments = Segmenter::new(frame, &meta).ok()?;
            let mut left = OnWire::default();
            while let Some(n) = segments.next_into(segment) {
                let slice = [IoSlice::new(&segment[..n])];
                if let Err(error) = wire.send(&slice, &FrameMeta::default()) {
                    let (failed, segmented) = (Some(error), true);
                    return Some(Put {
                        left,
                        failed,
                        segmented,
                    });
                }
                left.frames += 1;
                left.bytes += n as u64;
            }
            return Some(Put {
                left,
                failed: None,
                segmented: true,
            });
        }
        (None, Checksum::Partial { start, offset }) if !caps.checksum => {
            complete_partial(frame, start, offset).ok()?;
            meta.checksum = Checksum::Unknown;
        }
        _ => {}
    }
    let failed = wire.send(&[IoSlice::new(frame)], &meta).err();
    Some(Put {
        left: match failed {
            None => meta.on_wire(frame.len()),
            Some(_) => OnWire::default(),
        },
        failed,
        segmented: false,
    })
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

/// Counts a frame as sent, or its segments if it is a GSO frame.
pub(super) fn count_sent(counters: &mut VportCounters, kind: DstKind, on_wire: OnWire) {
    counters.tx_bytes += on_wire.bytes;
    match kind {
        DstKind::Unicast => counters.tx_unicast += on_wire.frames,
        DstKind::Multicast => counters.tx_multicast += on_wire.frames,
        DstKind::Broadcast => counters.tx_broadcast += on_wire.frames,
    }
}
