// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The program stage: runs the P4 program on a frame, which selects the frame's destination.
//!
//! A program that only passes all frames to the switch is not run.

use std::sync::Arc;

use adit_pipeline::fragment::is_fragment;
use adit_pipeline::offload::{Checksum, FrameMeta};
use adit_pipeline::p4::{self, Engine, Input, Output, SentKind, Worker};
use adit_pipeline::segment::Segmenter;

use super::destination::{Arrival, Destination, Outcome, Source, Steer};
use super::fabric::{complete_checksum, Fabric};
use super::fragments::{Held, HeldFragments, Pieces, Whole};
use super::tracing;
use crate::drops::DropReason;
use crate::frame::Frame;
use crate::ids::{P4Port, WireIndex};
use crate::program::{amend, Program};

/// The way of frames through the stage.
pub(super) enum Way {
    /// Past a program that passes all frames to the switch; `None`: there is none yet.
    Switch(Option<Box<Program>>),
    /// Through the program.
    Program(Box<Program>),
    /// Through the program, and packets are traced ([`tracing`]).
    Traced(Box<Program>),
}

/// The program stage.
pub(super) struct ProgramStage {
    way: Way,
    /// A copy that the program makes of a frame.
    copy: Frame,
    /// Set if the program tracks connections: it gets whole datagrams.
    holds_fragments: bool,
    pub(super) held: HeldFragments,
}

impl Default for ProgramStage {
    fn default() -> Self {
        Self {
            way: Way::Switch(None),
            copy: Frame::default(),
            holds_fragments: false,
            held: HeldFragments::default(),
        }
    }
}

impl ProgramStage {
    /// Replaces the program, from the next frame on.
    pub(super) fn set(&mut self, program: Program) {
        let is_traced = matches!(self.way, Way::Traced(_));
        self.holds_fragments = program.engine().tracks_connections();
        self.way = Way::Switch(Some(Box::new(program)));
        self.trace(is_traced);
    }

    /// Begins or ends the tracing of packets.
    pub(super) fn trace(&mut self, is_traced: bool) {
        self.way = match std::mem::replace(&mut self.way, Way::Switch(None)) {
            Way::Switch(Some(program)) | Way::Program(program) | Way::Traced(program) => {
                match program.is_switch() {
                    _ if is_traced => Way::Traced(program),
                    true => Way::Switch(Some(program)),
                    false => Way::Program(program),
                }
            }
            Way::Switch(None) => Way::Switch(None),
        };
    }

    /// The engine of the program, if one was set.
    pub(super) fn engine(&self) -> Option<&Arc<Engine>> {
        match &self.way {
            Way::Switch(program) => program.as_ref().map(|program| program.engine()),
            Way::Program(program) | Way::Traced(program) => Some(program.engine()),
        }
    }

    /// Returns whether frames go through a program.
    pub(super) fn is_active(&self) -> bool {
        !matches!(self.way, Way::Switch(_))
    }

    /// Takes a packet that the control plane has queued.
    pub(super) fn packet_out(&self, packet: &mut Frame) -> Option<Result<(), DropReason>> {
        let queued = self.engine()?.packets_out().take()?;
        let fits = packet.copy_from(&queued.data);
        Some(fits.then_some(()).ok_or(DropReason::TooLong))
    }
}

/// The receiver of a program's outputs.
pub(super) type Outputs<'a> = dyn FnMut(usize, Output<'_>) + 'a;

/// The run of a program without a trace, at the time `now`.
pub(super) fn untraced(now: u64) -> impl FnOnce(&mut Worker, &[Input<'_>], &mut Outputs<'_>) {
    move |worker, inputs, out| worker.process(now, inputs, out)
}

/// Runs the program on a frame, by `run`, and modifies the frame accordingly; returns the frame's
/// destination. `fragment_size` is the length of the largest fragment that it came in, 0 if it came whole. Copies
/// that the program makes, and its answer, are passed to `emit`, first whether they leave in the fragments that
/// it came in.
#[inline]
pub(super) fn process(
    program: &mut Program,
    copy: &mut Frame,
    source: Source,
    (frame, fragment_size): (&mut Frame, u16),
    meta: &mut FrameMeta,
    run: impl FnOnce(&mut Worker, &[Input<'_>], &mut Outputs<'_>),
    mut emit: impl FnMut(bool, &mut Frame, FrameMeta, Destination),
) -> Destination {
    if meta.gso.is_some() && program.reshapes {
        return Destination::Segment;
    }
    let port = source.port();
    let input = Input {
        direction: port.direction(),
        queue: source.queue(),
        on_wire: meta.on_wire(frame.len()),
        fragment_size,
        checksums_verified: meta.checksum != Checksum::Unknown,
        pending_checksum: match meta.checksum {
            Checksum::Partial { start, .. } => Some(start),
            Checksum::Unknown | Checksum::Valid => None,
        },
        ..Input::new(port.0, frame)
    };
    let (headers, fragments) = (&mut program.headers, &mut program.fragments);
    let is_inner = &mut program.is_inner;
    let (mut to, mut payload, mut same) = (Destination::Consumed, 0, true);
    let mut is_rewritten = false;
    let mut whole = usize::MAX;
    run(&mut program.worker, &[input], &mut |_, output| {
        let sent = match output {
            Output::Sent(sent) => sent,
            // The packet itself is still forwarded.
            Output::Dropped(p4::DropReason::UnknownSession) => return,
            Output::Dropped(reason) => {
                to = Destination::Dropped(drop_reason(reason));
                return;
            }
        };
        if sent.kind == SentKind::Answer {
            let to = match copy.copy_from(sent.headers) {
                true => destination(&sent),
                false => Destination::Dropped(DropReason::BadOffload),
            };
            return emit(false, copy, FrameMeta::default(), to);
        }
        if sent.kind != SentKind::Packet {
            let mut meta = *meta;
            let to = make_copy(copy, &sent, frame, &mut meta);
            return emit(sent.is_as_came(), copy, meta, to);
        }
        payload = sent.payload_offset;
        same = frame.get(..payload) == Some(sent.headers);
        if !same {
            headers.clear();
            headers.extend_from_slice(sent.headers);
        }
        whole = sent.truncate.unwrap_or(usize::MAX);
        is_rewritten = sent.is_rewritten;
        *is_inner = sent.is_inner;
        // What stands for several packets is segmented, which makes it short enough.
        if sent.fragments.is_some() && meta.gso.is_none() {
            *fragments = sent.fragments;
        }
        to = destination(&sent);
    });
    if same && whole >= frame.len() {
        return to;
    }
    if meta.gso.is_some() && (headers.len() != payload || whole < frame.len()) {
        // The program adds or removes headers, which it will do again, or a helper has rewritten the
        // payload, which is rare. Nothing has been modified yet.
        program.reshapes |= !is_rewritten;
        return Destination::Segment;
    }
    if !same && !frame.replace_front(payload, headers) {
        return Destination::Dropped(DropReason::NoHeadroom);
    }
    frame.truncate(whole);
    if is_rewritten {
        meta.checksum = Checksum::Unknown;
    }
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
    if sent.is_rewritten {
        meta.checksum = Checksum::Unknown;
    }
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
        p4::DropReason::Rejected => DropReason::Rejected,
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
        if self.holds_fragments && is_fragment(frame) {
            match self.held.hold(source, frame, fabric.host.now) {
                Held::No => {}
                Held::Kept => return Destination::Consumed,
                Held::TooLong => {
                    let reason = DropReason::TooLong;
                    fabric.trace_refused(source, frame, reason);
                    return Destination::Dropped(reason);
                }
                Held::Complete(whole) => {
                    *meta = FrameMeta::default();
                    return self.run_on_datagram(fabric, source, frame, meta, whole);
                }
            }
        }
        let run = untraced(fabric.host.now);
        let copy = &mut self.copy;
        match &mut self.way {
            Way::Program(program) => {
                let emit = |_, copy: &mut Frame, meta, to| {
                    fabric.dispatch_now(source, copy, meta, to);
                };
                let to = process(program, copy, source, (frame, 0), meta, run, emit);
                match program.fragments.is_some() {
                    true => self.divide(fabric, source, frame, meta, None, to),
                    false => to,
                }
            }
            Way::Switch(_) => Destination::Switch(Steer::default()),
            Way::Traced(program) => {
                let pieces = &mut Pieces::none();
                let to = tracing::run(program, copy, fabric, source, (frame, 0), meta, pieces);
                self.divide(fabric, source, frame, meta, None, to)
            }
        }
    }

    /// Dispatches a frame that came from the program to `to` in the fragments that the program has asked
    /// for, or those that it came in; returns its destination, if it is neither.
    #[cold]
    fn divide(
        &mut self,
        fabric: &mut Fabric,
        source: Source,
        frame: &mut Frame,
        meta: &mut FrameMeta,
        whole: Option<Whole>,
        to: Destination,
    ) -> Destination {
        let (asked, is_inner) = match &mut self.way {
            Way::Program(program) | Way::Traced(program) => {
                (program.fragments.take(), program.is_inner)
            }
            Way::Switch(_) => (None, false),
        };
        if let Destination::Dropped(_) | Destination::Consumed | Destination::Segment = to {
            return to;
        }
        let mut pieces = match (asked, whole.filter(|_| !is_inner)) {
            (Some(asked), whole) => self.held.division(asked, whole),
            (None, Some(whole)) => self.held.pieces(whole),
            (None, None) => return to,
        };
        // The checksum is the whole packet's.
        if !complete_checksum(frame, meta, Checksum::Unknown) {
            return Destination::Dropped(DropReason::BadOffload);
        }
        // The trace ends with the first fragment.
        let (mut to, rest) = (to, fabric.tracing.behind(to));
        pieces.each(true, frame, *meta, |piece, meta| {
            let to = std::mem::replace(&mut to, rest);
            fabric.dispatch_now(source, piece, meta, to);
        });
        Destination::Consumed
    }

    /// Runs the program on a datagram that came in fragments, and dispatches it in fragments again. The
    /// sender's counters have each fragment already; so they have only the last one if the datagram
    /// is dropped, unless it came from a wire, whose held frames are not counted.
    fn run_on_datagram(
        &mut self,
        fabric: &mut Fabric,
        source: Source,
        frame: &mut Frame,
        meta: &mut FrameMeta,
        whole: Whole,
    ) -> Destination {
        let (copy, run) = (&mut self.copy, untraced(fabric.host.now));
        let mut pieces = self.held.pieces(whole);
        let datagram = (&mut *frame, whole.largest());
        let to = match &mut self.way {
            Way::Switch(_) => return Destination::Switch(Steer::default()),
            Way::Program(program) => {
                let emit = |is_as_came, copy: &mut Frame, meta, to| {
                    pieces.each(is_as_came, copy, meta, |piece, meta| {
                        fabric.dispatch_now(source, piece, meta, to);
                    });
                };
                process(program, copy, source, datagram, meta, run, emit)
            }
            Way::Traced(program) => {
                tracing::run(program, copy, fabric, source, datagram, meta, &mut pieces)
            }
        };
        let to = self.divide(fabric, source, frame, meta, Some(whole), to);
        if let (Destination::Dropped(reason), Source::Wire(_)) = (to, source) {
            let earlier = whole.count - 1;
            fabric.host.count_dropped(source, reason, earlier);
        }
        to
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
        // Segmentation by the host is cheaper, if all frames need it.
        if let Way::Program(program) | Way::Traced(program) = &self.way {
            if program.reshapes {
                fabric.wires.stop_merging();
            }
        }
        let Ok(mut segments) = Segmenter::new(frame, &meta) else {
            return Outcome::Dropped(DropReason::Unsegmentable);
        };
        while let Some(len) = segments.next_into(segment.space()) {
            segment.set_len(len);
            let mut meta = FrameMeta::default();
            let to = self.run_with(fabric, source, segment, &mut meta);
            fabric.dispatch_now(source, segment, meta, to);
        }
        Outcome::Forwarded(Arrival::Nowhere)
    }
}
