// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The Portable NIC Architecture: parser, pre-control (if the program's version has one), control,
//! deparser.
//!
//! Implementation choices where the specification leaves them open: without a forwarding call a
//! packet is dropped, and of several calls the last wins; a parser error does not drop the packet,
//! but is passed to the control; a packet makes at most eight passes; all values are zero at the
//! start of each pass; a mirrored packet is the deparser's output.

mod in_place;
mod link;
mod overlap;
mod share;

use adit_p4_frontend::ir::Program;

use super::environment::{Extra, Forward};
use super::lane::{At, Scratch};
use super::load_error::MainError;
use super::packets::{Direction, DropReason, Input, Output, Receive, Sent, SentKind};
use super::rejections::Rejected;
use super::replication::Replica;
use super::round::Round;
use crate::fragment::Fragmentation;
use crate::reject::{Answer, Rejection, Unanswered};

use link::link;
pub(super) use link::Linked;
pub(super) use share::share;

/// Maximum number of passes of a packet.
const MAX_PASSES: u64 = 8;

/// A program's blocks, linked.
#[derive(Clone, Debug)]
pub(super) struct Blocks {
    pub(super) linked: Linked,
    /// Set if several packets may be in flight at once.
    pub(super) may_overlap: bool,
    /// Set if no pass of a packet tracks it twice.
    pub(super) tracks_once: bool,
}

/// One pass through the pipeline.
struct Pass<'a> {
    data: &'a [u8],
    round: Round,
    number: u64,
    /// Set if the packet was inside of the input.
    is_inner: bool,
    /// Set if the checksum of what was inside is still to be computed.
    is_pending: bool,
}

impl<'a> Pass<'a> {
    /// Creates a packet's first pass.
    fn first(input: &'a Input<'_>) -> Pass<'a> {
        Pass {
            data: input.data,
            round: Round::first(input),
            number: 0,
            is_inner: false,
            is_pending: false,
        }
    }
}

impl Blocks {
    /// Links the program's blocks.
    pub(super) fn new(program: &mut Program) -> Result<Blocks, MainError> {
        Ok(Blocks {
            linked: link(program)?,
            may_overlap: false,
            tracks_once: false,
        })
    }

    /// Processes a packet, with all its passes.
    pub(super) fn process(
        &self,
        at: At<'_>,
        scratch: &mut Scratch,
        input: &Input<'_>,
        emit: &mut impl FnMut(Output<'_>),
    ) {
        let first = self.pass(at, scratch, input, &Pass::first(input));
        self.complete(at, scratch, input, first, emit);
    }

    /// Completes a packet after its first pass; `first` is that pass's result: the number of bytes
    /// that the parser consumed.
    fn complete(
        &self,
        at: At<'_>,
        scratch: &mut Scratch,
        input: &Input<'_>,
        first: Result<usize, DropReason>,
        emit: &mut impl FnMut(Output<'_>),
    ) {
        let first = first.and_then(|taken| scratch.settle(input.data, taken));
        let requests = &scratch.local.requests;
        match (first, requests.forward) {
            // The fast path of nearly all packets.
            (Ok(taken), Forward::Port(port)) if scratch.local.extras.is_empty() => {
                let (receive, is_rewritten) = (requests.receive, requests.is_rewritten);
                let round = Round::first(input);
                emit(Output::Sent(Sent {
                    port: port as u32,
                    receive,
                    is_rewritten,
                    ..round.leave(input, input.data, taken, &mut scratch.writer)
                }));
            }
            _ => self.finish(at, scratch, input, first, emit),
        }
    }

    /// Completes a packet in the general case; `first` is the result of its first pass.
    fn finish(
        &self,
        at: At<'_>,
        scratch: &mut Scratch,
        input: &Input<'_>,
        first: Result<usize, DropReason>,
        emit: &mut dyn FnMut(Output<'_>),
    ) {
        let mut first = Some(first);
        let mut again = scratch.bytes.take();
        let mut round = Round::first(input);
        let mut reason = Some(DropReason::TooManyPasses);
        let (mut is_rewritten, mut is_inner, mut is_pending) = (false, false, false);
        // Set once the answer to the packet is in its place.
        let mut answer = None;
        for number in 0..MAX_PASSES {
            let pass = Pass {
                data: if number == 0 { input.data } else { &again },
                round,
                number,
                is_inner,
                is_pending,
            };
            let taken = first.take();
            let taken = match taken.unwrap_or_else(|| self.pass(at, scratch, input, &pass)) {
                Ok(taken) => taken,
                Err(dropped) => {
                    reason = Some(dropped);
                    break;
                }
            };
            let requests = scratch.local.requests;
            is_rewritten |= requests.is_rewritten;
            // The mirrors of this pass have no outer headers either.
            is_inner |= requests.forward == Forward::AgainInner;
            let sent = Sent {
                receive: requests.receive,
                is_rewritten,
                is_inner,
                ..round.leave(input, pass.data, taken, &mut scratch.writer)
            };
            mirror(at, &scratch.local.extras, sent, emit);
            let rejection = scratch.local.rejection;
            reason = match requests.forward {
                Forward::Port(port) if answer.is_some() => {
                    emit(Output::Sent(Sent {
                        port: port as u32,
                        kind: SentKind::Answer,
                        ..sent
                    }));
                    if let Some(kind) = answer.take() {
                        at.rejections().count(kind);
                    }
                    None
                }
                Forward::Port(port) => {
                    emit(Output::Sent(Sent {
                        port: port as u32,
                        fragments: fragments(&scratch.local.extras),
                        ..sent
                    }));
                    None
                }
                Forward::Group(group) => match at.group(group) {
                    Ok(copies) => {
                        copy(copies, SentKind::Multicast, sent, emit);
                        None
                    }
                    Err(reason) => Some(reason),
                },
                Forward::Drop => Some(DropReason::Program),
                // An answer is not answered.
                Forward::Reject | Forward::RejectWith | Forward::RejectBehind(_)
                    if answer.is_some() =>
                {
                    Some(DropReason::Rejected)
                }
                Forward::Reject => {
                    reject(at, scratch, input, Rejection::default(), emit);
                    Some(DropReason::Rejected)
                }
                Forward::RejectWith => {
                    reject(at, scratch, input, rejection, emit);
                    Some(DropReason::Rejected)
                }
                Forward::RejectBehind(offset) => {
                    let made = answer_behind(at, scratch, input, &pass, offset.into());
                    if let Some((kind, bytes)) = made {
                        emit(Output::Dropped(DropReason::Rejected));
                        scratch.bytes.give(std::mem::replace(&mut again, bytes));
                        round = Round::instead(again.len(), input);
                        (answer, is_rewritten) = (Some(kind), false);
                        scratch.local.is_answer = true;
                        continue;
                    }
                    Some(DropReason::Rejected)
                }
                Forward::Nowhere => Some(DropReason::NotForwarded),
                Forward::Again | Forward::AgainInner => {
                    if requests.forward == Forward::AgainInner {
                        is_pending = remains_pending(input, &sent);
                    }
                    round = Round::again(&sent, input, &mut again);
                    continue;
                }
            };
            break;
        }
        match (answer, reason) {
            // The packet is reported as rejected already.
            (Some(_), _) => at.rejections().lose(Unanswered::NotForwarded),
            (None, Some(reason)) => emit(Output::Dropped(reason)),
            (None, None) => {}
        }
        scratch.local.is_answer = false;
        scratch.bytes.give(again);
    }

    /// Runs one pass. Returns the number of bytes that the parser consumed.
    fn pass(
        &self,
        at: At<'_>,
        scratch: &mut Scratch,
        input: &Input<'_>,
        pass: &Pass<'_>,
    ) -> Result<usize, DropReason> {
        self.prepare(scratch, input, pass);
        let taken = scratch.run_all(at, self.linked.function, pass.data)?;
        scratch.settle(pass.data, taken)
    }

    /// Initialises the state for a pass.
    #[inline]
    fn prepare(&self, scratch: &mut Scratch, input: &Input<'_>, pass: &Pass<'_>) {
        scratch.local.set_attributes(input);
        if pass.is_inner {
            scratch.local.set_inner(pass.is_pending);
        }
        scratch.local.begin(pass.round.length() as u64);
        scratch.writer.clear();
        let values = [
            u64::from(input.direction == Direction::HostToNet),
            pass.number,
            u64::from(pass.number > 0),
            input.port.into(),
            scratch.local.now_ns,
        ];
        self.linked.give(&mut scratch.machine.frame, values);
    }
}

/// Returns whether the checksum that is still to be computed is that of a packet inside of the input which
/// a pass leaves: the transport header is behind all that the pass has parsed or removed.
fn remains_pending(input: &Input<'_>, inner: &Sent<'_>) -> bool {
    is_pending_behind(input, inner.payload_offset)
}

/// Returns whether the transport header whose checksum is still to be computed is behind so many bytes of
/// the input.
fn is_pending_behind(input: &Input<'_>, offset: usize) -> bool {
    let start = input.pending_checksum.map(usize::from);
    start.is_some_and(|start| start >= offset)
}

/// Sends the answer to a packet that the program rejects back to the port that it came from.
fn reject(
    at: At<'_>,
    scratch: &mut Scratch,
    input: &Input<'_>,
    rejection: Rejection,
    emit: &mut dyn FnMut(Output<'_>),
) {
    let mut answer = scratch.bytes.take();
    answer.clear();
    let packet = Rejected {
        port: input.port,
        front: input.data,
        length: input.length,
        checksums_verified: input.checksums_verified,
        rejection,
    };
    let rejections = at.rejections();
    if let Some(kind) = rejections.answer(scratch.local.now_ns, &packet, &mut answer) {
        rejections.count(kind);
        emit(Output::Sent(Sent {
            port: input.port,
            kind: SentKind::Answer,
            headers: &answer,
            payload_offset: input.length,
            truncate: None,
            receive: Receive::default(),
            is_rewritten: false,
            is_inner: false,
            fragments: None,
        }));
    }
    scratch.bytes.give(answer);
}

/// The answer to what is behind `offset` bytes of the packet that a pass has received, behind the same
/// bytes, if there is one.
fn answer_behind(
    at: At<'_>,
    scratch: &mut Scratch,
    input: &Input<'_>,
    pass: &Pass<'_>,
    offset: usize,
) -> Option<(Answer, Vec<u8>)> {
    let mut bytes = scratch.bytes.take();
    bytes.clear();
    let (in_front, front) = pass.data.split_at(offset.min(pass.data.len()));
    bytes.extend_from_slice(in_front);
    // Sums of what is in a tunnel are not known, unless one is still to be computed: then its field has a part
    // of it only, and there is nothing to verify.
    let is_pending = match pass.number {
        0 => is_pending_behind(input, offset),
        _ => pass.is_pending,
    };
    let packet = Rejected {
        port: input.port,
        front,
        length: pass.round.length().saturating_sub(offset),
        checksums_verified: is_pending,
        rejection: scratch.local.rejection,
    };
    let kind = at
        .rejections()
        .answer(scratch.local.now_ns, &packet, &mut bytes);
    match kind {
        Some(kind) => Some((kind, bytes)),
        None => {
            scratch.bytes.give(bytes);
            None
        }
    }
}

/// The fragments that the program has requested.
fn fragments(extras: &[Extra]) -> Option<Fragmentation> {
    extras.iter().find_map(|it| match it {
        Extra::Fragments(fragmentation) => Some(*fragmentation),
        Extra::Mirror { .. } => None,
    })
}

/// Sends the mirrors that the program has requested, by their slots and sessions.
fn mirror(at: At<'_>, extras: &[Extra], sent: Sent<'_>, emit: &mut dyn FnMut(Output<'_>)) {
    let sessions = extras.iter().filter_map(|it| match it {
        Extra::Mirror { session, .. } => Some(*session),
        Extra::Fragments(_) => None,
    });
    for session in sessions {
        if let Some(copies) = at.session(session) {
            let truncate = copies.truncate;
            let sent = Sent { truncate, ..sent };
            copy(copies.replicas, SentKind::Clone, sent, emit);
        }
    }
}

/// Sends copies.
fn copy(to: &[Replica], kind: SentKind, sent: Sent<'_>, emit: &mut dyn FnMut(Output<'_>)) {
    for replica in to {
        let port = replica.port as u32;
        emit(Output::Sent(Sent { port, kind, ..sent }));
    }
}

#[cfg(test)]
mod tests;
