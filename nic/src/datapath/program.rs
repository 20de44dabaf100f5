// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The program on a frame's way, in both directions: from which port it comes, to which it goes.
//!
//! A program that does nothing but hand all frames to the layer 2 stage is not run.

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

/// Packets from the control plane that are sent in a turn.
const PACKETS_OUT: usize = 64;

/// What a program says of who gets a frame.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Steer {
    /// Queue, flow and hash.
    pub(super) receive: Receive,
    /// It has named the virtual port, whose filters are not asked then.
    pub(super) is_addressed: bool,
}

/// What is to be done with a frame.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    /// The layer 2 stage decides.
    Switch(Steer),
    /// It is for a virtual port.
    Vport(u32, Steer),
    /// It leaves by the wire of that port.
    Wire(u32),
    /// It stands for many, and has to be cut before the program sees it.
    Cut,
    /// Only copies of it go on, or the control plane has it.
    Done,
    /// It ends here.
    Dropped(Drop),
}

/// A frame that its wire did not take yet. The program has seen it, so its descriptor is done.
pub(super) struct Kept {
    frame: Frame,
    meta: FrameMeta,
    queue: u32,
    vport: u32,
    waiting: bool,
}

/// What the data path has of the program.
#[derive(Default)]
pub(super) struct Programmed {
    engine: Option<Arc<Engine>>,
    /// Away while it runs; none if there is nothing to run.
    program: Option<Box<Program>>,
    /// Copies, and pieces of frames that are cut, are made here.
    copy: Option<Frame>,
    piece: Option<Frame>,
    /// By wire.
    kept: Vec<Option<Box<Kept>>>,
}

impl Datapath {
    /// Runs a program from the next frame on; ports, queues and what is in them stay.
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

    /// The engine of the program that runs, if one was set.
    #[must_use]
    pub fn engine(&self) -> Option<&Arc<Engine>> {
        self.programmed.engine.as_ref()
    }

    /// Whether frames go through a program.
    pub(super) fn is_programmed(&self) -> bool {
        self.programmed.program.is_some()
    }

    /// Lets the wires give merged frames, or not.
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

    /// Asks the program what is to be done with a frame from a port, and changes the frame as it
    /// says.
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
                    // The packet itself goes on.
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
            // It is one that changes which headers there are. Nothing has been changed yet.
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

    /// What is behind a port of the program's.
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

    /// Sends a copy: a member of a multicast group, or a mirror.
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

    /// Counts frames that the port's program drops.
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

    /// Does what is to be done with a frame that does not wait; tells why if it is dropped.
    fn carry_out(
        &mut self,
        from: u32,
        fate: Fate,
        frame: &mut Frame,
        meta: FrameMeta,
    ) -> Option<Drop> {
        match fate {
            Fate::Switch(steer) => match from.checked_sub(FIRST_HOST_PORT) {
                // A wire's own virtual port, an ADI or both.
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

    /// Sends a frame that the layer 2 stage is to see, from a virtual port, without waiting for
    /// its wire.
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

    /// Puts a frame on a wire, now or never.
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

    /// Cuts a frame, and lets each piece go through the program.
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

    /// Sends a driver's frame through the program.
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

    /// Keeps a frame for its wire; the caller's frame is another one then.
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

    /// Sends the frame that was kept for a wire; false if it still has to be.
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

    /// A reset: what was kept is of a driver that is gone.
    pub(super) fn forget_kept(&mut self) {
        self.programmed.kept.iter_mut().for_each(|k| *k = None);
    }

    /// Sends what the control plane has put in line; true if there was anything.
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
