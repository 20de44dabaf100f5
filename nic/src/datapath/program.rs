// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The P4 program in the data path, in both directions: from an ingress port to an egress port.
//!
//! A program that only passes all frames to the layer 2 stage is not run.

use std::sync::Arc;

use adit_pipeline::offload::FrameMeta;
use adit_pipeline::p4::externs::Receive;
use adit_pipeline::p4::{DropReason, Engine, Input, Output, Sent as Leaving, SentKind};
use adit_pipeline::segment::Segmenter;

use super::transmit::{count_sent, destination, put, Sent};
use super::Datapath;
use crate::drops::Drop;
use crate::frame::Frame;
use crate::program::{amend, direction, Program, CPU_PORT, FIRST_HOST_PORT, SWITCH_PORT};
use crate::wire::PortCaps;

/// The maximum number of packets from the control plane that are sent in a turn.
const PACKETS_OUT: usize = 64;

/// The program's metadata for the receiver of a frame.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Steer {
    /// Queue, flow and hash.
    pub(super) receive: Receive,
    /// Set if it has selected the virtual port, whose filters are skipped then.
    pub(super) is_addressed: bool,
}

/// The verdict on a frame.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    /// Forwarded by the layer 2 stage.
    Switch(Steer),
    /// Delivered to a virtual port.
    Vport(u32, Steer),
    /// Sent on the wire of that port.
    Wire(u32),
    /// A GSO frame that must be segmented before the program sees it.
    Cut,
    /// Consumed: only copies of it were sent, or the control plane has it.
    Done,
    /// Dropped, for a reason.
    Dropped(Drop),
}

/// A frame that its wire has not accepted yet. The program has processed it, so its descriptor is
/// done.
pub(super) struct Kept {
    frame: Frame,
    meta: FrameMeta,
    queue: u32,
    vport: u32,
    waiting: bool,
}

/// The data path's state of the program.
#[derive(Default)]
pub(super) struct Programmed {
    engine: Option<Arc<Engine>>,
    /// `None` while it runs, or if there is no program to run.
    program: Option<Box<Program>>,
    /// Scratch frames for copies, and for the segments of frames.
    copy: Option<Frame>,
    piece: Option<Frame>,
    /// Indexed by wire.
    kept: Vec<Option<Box<Kept>>>,
}

impl Datapath {
    /// Replaces the program, from the next frame on; ports and queues, with their frames, are
    /// unchanged.
    pub fn set_program(&mut self, program: Program) {
        self.programmed.engine = Some(program.engine().clone());
        self.programmed.program = match program.is_switch() {
            true => None,
            false => Some(Box::new(program)),
        };
        self.programmed.copy.get_or_insert_with(Frame::default);
        self.programmed.piece.get_or_insert_with(Frame::default);
        self.programmed.kept.resize_with(self.ports, || None);
        self.ask_for_merged(true);
    }

    /// The engine of the running program, if one was set.
    #[must_use]
    pub fn engine(&self) -> Option<&Arc<Engine>> {
        self.programmed.engine.as_ref()
    }

    /// Returns whether frames go through a program.
    pub(super) fn is_programmed(&self) -> bool {
        self.programmed.program.is_some()
    }

    /// Enables or disables merged frames from the wires.
    fn ask_for_merged(&mut self, merged: bool) {
        let wanted = PortCaps {
            checksum: true,
            tso4: merged,
            tso6: merged,
            uso: merged,
        };
        for vport in &mut self.vports {
            if let Some(Err(error)) = vport.wire.as_mut().map(|w| w.set_recv_offloads(wanted)) {
                tracing::warn!(%error, "a wire does not change its offloads");
            }
        }
    }

    /// Runs the program on a frame from a port, and modifies the frame accordingly.
    pub(super) fn decide(&mut self, from: u32, frame: &mut Frame, meta: &mut FrameMeta) -> Fate {
        let Some(mut program) = self.programmed.program.take() else {
            return Fate::Switch(Steer::default());
        };
        let fate = self.run(&mut program, from, frame, meta);
        self.programmed.program = Some(program);
        fate
    }

    fn run(
        &mut self,
        program: &mut Program,
        from: u32,
        frame: &mut Frame,
        meta: &mut FrameMeta,
    ) -> Fate {
        if meta.gso.is_some() && program.reshapes {
            return Fate::Cut;
        }
        let input = Input {
            direction: direction(from),
            on_wire: meta.on_wire(frame.len()),
            ..Input::new(from, frame)
        };
        let headers = &mut program.headers;
        let (mut fate, mut payload, mut same) = (Fate::Done, 0, true);
        let mut whole = usize::MAX;
        program
            .worker
            .process(self.now, &[input], &mut |_, output| {
                let sent = match output {
                    Output::Sent(sent) => sent,
                    // The packet itself is still forwarded.
                    Output::Dropped(DropReason::UnknownSession) => return,
                    Output::Dropped(reason) => {
                        fate = Fate::Dropped(drop_of(reason));
                        return;
                    }
                };
                if sent.kind != SentKind::Packet {
                    return self.copy_to(from, &sent, frame, *meta);
                }
                payload = sent.payload_offset;
                same = frame.get(..payload) == Some(sent.headers);
                if !same {
                    headers.clear();
                    headers.extend_from_slice(sent.headers);
                }
                whole = sent.truncate.unwrap_or(usize::MAX);
                fate = self.towards(sent.port, sent.receive);
            });
        if same && whole >= frame.len() {
            return fate;
        }
        if meta.gso.is_some() && (headers.len() != payload || whole < frame.len()) {
            // The program adds or removes headers. Nothing has been modified yet.
            program.reshapes = true;
            self.ask_for_merged(false);
            return Fate::Cut;
        }
        if !same && !frame.replace_front(payload, headers) {
            return Fate::Dropped(Drop::NoHeadroom);
        }
        frame.truncate(whole);
        match amend(frame, meta, payload, program.headers.len()) {
            true => fate,
            false => Fate::Dropped(Drop::BadOffload),
        }
    }

    /// The verdict for an egress port of the program.
    fn towards(&self, port: u32, receive: Receive) -> Fate {
        if port == SWITCH_PORT {
            return Fate::Switch(Steer {
                receive,
                is_addressed: false,
            });
        }
        if (port as usize) < self.ports {
            return Fate::Wire(port);
        }
        let vport = port.wrapping_sub(FIRST_HOST_PORT);
        let known = self.vports.get(vport as usize);
        match known.is_some_and(|v| (vport as usize) < self.ports || v.adi.is_some()) {
            true => Fate::Vport(
                vport,
                Steer {
                    receive,
                    is_addressed: true,
                },
            ),
            false => Fate::Dropped(Drop::NoSuchPort),
        }
    }

    /// Sends a copy: one for a member of a multicast group, or a mirrored one.
    fn copy_to(&mut self, from: u32, sent: &Leaving<'_>, input: &[u8], meta: FrameMeta) {
        let Some(mut copy) = self.programmed.copy.take() else {
            return;
        };
        let mut meta = meta;
        let whole = sent.truncate.unwrap_or(usize::MAX);
        let fits = copy.copy_from(input)
            && copy.replace_front(sent.payload_offset, sent.headers)
            && (whole >= copy.len() || meta.gso.is_none());
        copy.truncate(whole);
        let same = input.get(..sent.payload_offset) == Some(sent.headers);
        let fate = match fits {
            true if same
                || amend(
                    &mut copy,
                    &mut meta,
                    sent.payload_offset,
                    sent.headers.len(),
                ) =>
            {
                self.towards(sent.port, sent.receive)
            }
            _ => Fate::Dropped(Drop::BadOffload),
        };
        let whole = meta.on_wire(copy.len());
        if let Some(reason) = self.carry_out(from, fate, &mut copy, meta) {
            self.count_drop(from, reason, whole.frames);
        }
        self.programmed.copy = Some(copy);
    }

    /// Counts frames that the program drops, for their ingress port.
    fn count_drop(&mut self, from: u32, reason: Drop, frames: u64) {
        let (vport, is_wire) = match from.checked_sub(FIRST_HOST_PORT) {
            Some(vport) if from != CPU_PORT => (vport, false),
            Some(_) => (0, false),
            None => (from, true),
        };
        if let Some(vport) = self.vports.get_mut(vport as usize) {
            match is_wire {
                true => vport.drops.rx.count_many(reason, frames),
                false => vport.drops.tx.count_many(reason, frames),
            }
        }
    }

    /// Applies the verdict to a frame that does not wait; returns the reason if it is dropped.
    fn carry_out(
        &mut self,
        from: u32,
        fate: Fate,
        frame: &mut Frame,
        meta: FrameMeta,
    ) -> Option<Drop> {
        match fate {
            Fate::Switch(steer) => match from.checked_sub(FIRST_HOST_PORT) {
                // For the wire's own virtual port, an ADI or both.
                None => self.switch_now(from as usize, frame, meta, steer),
                Some(vport) => {
                    let vport = if from == CPU_PORT { 0 } else { vport };
                    self.switch_out(vport, frame, meta, steer);
                }
            },
            Fate::Vport(target, steer) => self.hand_over(target, frame, meta, steer),
            Fate::Wire(wire) => self.pass_on(wire, frame, meta),
            Fate::Done => {}
            Fate::Cut => return Some(Drop::BadOffload),
            Fate::Dropped(reason) => return Some(reason),
        }
        None
    }

    /// Sends a frame from a virtual port through the layer 2 stage, without waiting for its wire.
    fn switch_out(&mut self, vport: u32, frame: &mut Frame, meta: FrameMeta, steer: Steer) {
        let port = self.port_of(vport);
        let mut meta = meta;
        match self.route(vport, port, frame, &mut meta, steer) {
            super::switch::Route::Local => {}
            super::switch::Route::Refused(reason) => {
                let frames = meta.on_wire(frame.len()).frames;
                self.count_drop(FIRST_HOST_PORT + vport, reason, frames);
            }
            super::switch::Route::Wire => self.pass_on(port as u32, frame, meta),
            super::switch::Route::Copies => {
                self.pass_on(port as u32, frame, meta);
                self.copy(vport, port, frame, meta, steer);
            }
        }
    }

    /// Sends a frame on a wire, or drops it.
    pub(super) fn pass_on(&mut self, wire: u32, frame: &mut [u8], meta: FrameMeta) {
        let whole = meta.on_wire(frame.len());
        let index = wire as usize;
        let Some(vport) = self.vports.get_mut(index) else {
            return;
        };
        let Some(mut port) = vport.wire.take() else {
            vport.drops.tx.count_many(Drop::NoWire, whole.frames);
            return;
        };
        match put(port.as_mut(), &mut self.segment, frame, meta) {
            Some(put) => {
                let lost = put.give_up(port.as_mut(), whole);
                vport.drops.tx.count_many(Drop::Wire, lost);
                self.note_losses(index, port.as_ref(), put.reason(), lost);
            }
            None => vport.drops.tx.count(Drop::BadOffload),
        }
        self.vports[index].wire = Some(port);
    }

    /// Segments a frame, and runs the program on each segment.
    pub(super) fn cut(&mut self, from: u32, frame: &Frame, meta: FrameMeta) -> Option<Drop> {
        let Ok(mut segments) = Segmenter::new(frame, &meta) else {
            return Some(Drop::Unsegmentable);
        };
        let mut piece = self.programmed.piece.take()?;
        while let Some(len) = segments.next_into(piece.space()) {
            piece.set_len(len);
            let mut meta = FrameMeta::default();
            let fate = self.decide(from, &mut piece, &mut meta);
            if let Some(reason) = self.carry_out(from, fate, &mut piece, meta) {
                self.count_drop(from, reason, 1);
            }
        }
        self.programmed.piece = Some(piece);
        None
    }

    /// Runs the program on a driver's frame and sends it.
    pub(super) fn send_programmed(
        &mut self,
        queue: u32,
        index: u32,
        frame: &mut Frame,
        meta: FrameMeta,
    ) -> Sent {
        let (kind, whole) = (destination(frame), meta.on_wire(frame.len()));
        let from = FIRST_HOST_PORT + index;
        let mut meta = meta;
        let dropped = match self.decide(from, frame, &mut meta) {
            Fate::Switch(steer) => {
                let sent = self.send_switched(queue, index, frame, meta, steer);
                if matches!(sent, Sent::Stalled) {
                    self.keep(queue, index, frame, meta);
                }
                return Sent::Done;
            }
            Fate::Cut => self.cut(from, frame, meta),
            fate => self.carry_out(from, fate, frame, meta),
        };
        match dropped {
            None => count_sent(&mut self.vports[index as usize].counters, kind, whole),
            Some(reason) => self.discard(index, reason, whole.frames),
        }
        Sent::Done
    }

    /// Keeps a frame for its wire; swaps the caller's frame for another one.
    fn keep(&mut self, queue: u32, vport: u32, frame: &mut Frame, meta: FrameMeta) {
        let port = self.port_of(vport);
        let Some(place) = self.programmed.kept.get_mut(port) else {
            return;
        };
        let kept = place.get_or_insert_with(|| {
            Box::new(Kept {
                frame: Frame::default(),
                meta,
                queue,
                vport,
                waiting: false,
            })
        });
        std::mem::swap(&mut kept.frame, frame);
        (kept.meta, kept.queue, kept.vport, kept.waiting) = (meta, queue, vport, true);
    }

    /// Sends the frame that was kept for a wire; returns false if the wire still does not accept
    /// it.
    pub(super) fn send_kept(&mut self, port: usize) -> bool {
        let place = self.programmed.kept.get_mut(port);
        let Some(mut kept) = place.and_then(|p| p.take_if(|k| k.waiting)) else {
            return true;
        };
        if let Some(mut wire) = self.vports[port].wire.take() {
            let (queue, vport, meta) = (kept.queue, kept.vport, kept.meta);
            let sent = self.send_on(wire.as_mut(), queue, vport, &mut kept.frame, meta);
            kept.waiting = matches!(sent, Sent::Stalled);
            self.vports[port].wire = Some(wire);
        }
        let done = !kept.waiting;
        self.programmed.kept[port] = Some(kept);
        done
    }

    /// Handles a reset: the driver of the kept frames is gone.
    pub(super) fn forget_kept(&mut self) {
        self.programmed.kept.iter_mut().for_each(|k| *k = None);
    }

    /// Sends packets that the control plane has queued; returns true if there were any.
    pub(super) fn packets_out(&mut self) -> bool {
        let Some(engine) = self.programmed.engine.clone() else {
            return false;
        };
        let Some(mut piece) = self.programmed.piece.take() else {
            return false;
        };
        let mut any = false;
        for _ in 0..PACKETS_OUT {
            let Some(packet) = engine.packets_out().take() else {
                break;
            };
            any = true;
            let mut meta = FrameMeta::default();
            let dropped = match piece.copy_from(&packet.data) {
                true => {
                    let fate = self.decide(CPU_PORT, &mut piece, &mut meta);
                    self.carry_out(CPU_PORT, fate, &mut piece, meta)
                }
                false => Some(Drop::TooLong),
            };
            if let Some(reason) = dropped {
                self.count_drop(CPU_PORT, reason, 1);
            }
        }
        self.programmed.piece = Some(piece);
        any
    }
}

fn drop_of(reason: DropReason) -> Drop {
    match reason {
        DropReason::NotForwarded => Drop::NotForwarded,
        DropReason::TooManyPasses => Drop::TooManyPasses,
        DropReason::TooLong => Drop::ProgramTooLong,
        DropReason::UnknownGroup => Drop::NoSuchPort,
        DropReason::ControlQueueFull => Drop::SlowPathFull,
        _ => Drop::Program,
    }
}
