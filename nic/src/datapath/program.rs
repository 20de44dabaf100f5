// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The program stage: runs the P4 program on a frame, which selects the frame's destination.
//!
//! A program that only passes all frames to the switch is not run.

use std::sync::Arc;

use adit_pipeline::offload::FrameMeta;
use adit_pipeline::p4::{self, Engine, Input, Output, SentKind};
use adit_pipeline::segment::Segmenter;

use super::destination::{Destination, Outcome, Source, Steer};
use super::fabric::Fabric;
use crate::drops::DropReason;
use crate::frame::Frame;
use crate::ids::{P4Port, WireIndex};
use crate::program::{amend, Program};

/// The program stage.
#[derive(Default)]
pub(super) struct ProgramStage {
    engine: Option<Arc<Engine>>,
    /// `None` if there is no program to run.
    program: Option<Box<Program>>,
    /// A copy that the program makes of a frame.
    copy: Frame,
}

impl ProgramStage {
    /// Replaces the program, from the next frame on.
    pub(super) fn set(&mut self, program: Program) {
        self.engine = Some(program.engine().clone());
        self.program = match program.is_switch() {
            true => None,
            false => Some(Box::new(program)),
        };
    }

    /// The engine of the program, if one was set.
    pub(super) fn engine(&self) -> Option<&Arc<Engine>> {
        self.engine.as_ref()
    }

    /// Returns whether frames go through a program.
    pub(super) fn is_active(&self) -> bool {
        self.program.is_some()
    }

    /// Takes a packet that the control plane has queued.
    pub(super) fn packet_out(&self, packet: &mut Frame) -> Option<Result<(), DropReason>> {
        let queued = self.engine.as_ref()?.packets_out().take()?;
        let fits = packet.copy_from(&queued.data);
        Some(fits.then_some(()).ok_or(DropReason::TooLong))
    }

    /// Runs the program on a frame, and modifies the frame accordingly; returns the frame's
    /// destination. Copies that the program makes are passed to `emit`.
    #[inline]
    pub(super) fn run(
        &mut self,
        now: u64,
        source: Source,
        frame: &mut Frame,
        meta: &mut FrameMeta,
        emit: impl FnMut(&mut Frame, FrameMeta, Destination),
    ) -> Destination {
        match self.program.as_deref_mut() {
            Some(program) => process(program, &mut self.copy, now, source, frame, meta, emit),
            None => Destination::Switch(Steer::default()),
        }
    }
}

fn process(
    program: &mut Program,
    copy: &mut Frame,
    now: u64,
    source: Source,
    frame: &mut Frame,
    meta: &mut FrameMeta,
    mut emit: impl FnMut(&mut Frame, FrameMeta, Destination),
) -> Destination {
    if meta.gso.is_some() && program.reshapes {
        return Destination::Segment;
    }
    let port = source.port();
    let input = Input {
        direction: port.direction(),
        on_wire: meta.on_wire(frame.len()),
        ..Input::new(port.0, frame)
    };
    let headers = &mut program.headers;
    let (mut to, mut payload, mut same) = (Destination::Consumed, 0, true);
    let mut whole = usize::MAX;
    program.worker.process(now, &[input], &mut |_, output| {
        let sent = match output {
            Output::Sent(sent) => sent,
            // The packet itself is still forwarded.
            Output::Dropped(p4::DropReason::UnknownSession) => return,
            Output::Dropped(reason) => {
                to = Destination::Dropped(drop_reason(reason));
                return;
            }
        };
        if sent.kind != SentKind::Packet {
            let mut meta = *meta;
            let to = make_copy(copy, &sent, frame, &mut meta);
            return emit(copy, meta, to);
        }
        payload = sent.payload_offset;
        same = frame.get(..payload) == Some(sent.headers);
        if !same {
            headers.clear();
            headers.extend_from_slice(sent.headers);
        }
        whole = sent.truncate.unwrap_or(usize::MAX);
        to = destination(&sent);
    });
    if same && whole >= frame.len() {
        return to;
    }
    if meta.gso.is_some() && (headers.len() != payload || whole < frame.len()) {
        // The program adds or removes headers. Nothing has been modified yet.
        program.reshapes = true;
        return Destination::Segment;
    }
    if !same && !frame.replace_front(payload, headers) {
        return Destination::Dropped(DropReason::NoHeadroom);
    }
    frame.truncate(whole);
    match amend(frame, meta, payload, program.headers.len()) {
        true => to,
        false => Destination::Dropped(DropReason::BadOffload),
    }
}

/// Makes a copy: one for a member of a multicast group, or a mirrored one.
fn make_copy(
    copy: &mut Frame,
    sent: &p4::Sent<'_>,
    frame: &[u8],
    meta: &mut FrameMeta,
) -> Destination {
    let whole = sent.truncate.unwrap_or(usize::MAX);
    let (payload, headers) = (sent.payload_offset, sent.headers);
    let fits = copy.copy_from(frame)
        && copy.replace_front(payload, headers)
        && (whole >= copy.len() || meta.gso.is_none());
    copy.truncate(whole);
    let same = frame.get(..payload) == Some(headers);
    match fits && (same || amend(copy, meta, payload, headers.len())) {
        true => destination(sent),
        false => Destination::Dropped(DropReason::BadOffload),
    }
}

/// The destination for the egress port of the program.
fn destination(sent: &p4::Sent<'_>) -> Destination {
    let (port, receive) = (P4Port(sent.port), sent.receive);
    let steer = |is_addressed| Steer {
        receive,
        is_addressed,
    };
    match port.vport() {
        _ if port == P4Port::SWITCH => Destination::Switch(steer(false)),
        Some(vport) => Destination::Vport(vport, steer(true)),
        None => Destination::Wire(WireIndex(port.0)),
    }
}

fn drop_reason(reason: p4::DropReason) -> DropReason {
    match reason {
        p4::DropReason::NotForwarded => DropReason::NotForwarded,
        p4::DropReason::TooManyPasses => DropReason::TooManyPasses,
        p4::DropReason::TooLong => DropReason::ProgramTooLong,
        p4::DropReason::UnknownGroup => DropReason::NoSuchPort,
        p4::DropReason::ControlQueueFull => DropReason::SlowPathFull,
        _ => DropReason::Program,
    }
}

/// The program stage together with the fabric, to which its copies and segments go.
impl ProgramStage {
    /// Runs the program on a frame, and dispatches the copies that it makes; returns the
    /// destination of the frame itself.
    #[inline]
    pub(super) fn run_with(
        &mut self,
        fabric: &mut Fabric,
        source: Source,
        frame: &mut Frame,
        meta: &mut FrameMeta,
    ) -> Destination {
        let now = fabric.host.now;
        self.run(now, source, frame, meta, |copy, meta, to| {
            fabric.dispatch_now(source, copy, meta, to);
        })
    }

    /// Segments a frame, runs the program on each segment and dispatches it. `segment` is scratch
    /// space.
    pub(super) fn run_on_segments(
        &mut self,
        fabric: &mut Fabric,
        source: Source,
        frame: &Frame,
        meta: FrameMeta,
        segment: &mut Frame,
    ) -> Outcome {
        // Segmentation by the host is cheaper.
        fabric.wires.stop_merging();
        let Ok(mut segments) = Segmenter::new(frame, &meta) else {
            return Outcome::Dropped(DropReason::Unsegmentable);
        };
        while let Some(len) = segments.next_into(segment.space()) {
            segment.set_len(len);
            let mut meta = FrameMeta::default();
            let to = self.run_with(fabric, source, segment, &mut meta);
            fabric.dispatch_now(source, segment, meta, to);
        }
        Outcome::Forwarded
    }
}
