// SPDX-License-Identifier: Apache-2.0 OR MIT
//! SCTP (`nf_conntrack_proto_sctp.c`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Context, Effects, Invalid, Outcome, ProtoState};
use crate::bits::Status;
use crate::packet::sctp::{checked_kinds, chunk, tag, Chunk, Chunks, Kinds};
use crate::settings::SctpTimeouts;
use crate::tuple::Direction;

/// The state of an SCTP association, as Linux numbers it
/// (`include/uapi/linux/netfilter/nf_conntrack_sctp.h`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[repr(u8)]
pub enum SctpState {
    /// Nothing was seen.
    #[default]
    None = 0,
    /// The association was shut down or aborted, or has not been answered.
    Closed = 1,
    /// An INIT was answered.
    CookieWait = 2,
    /// A COOKIE ECHO was seen.
    CookieEchoed = 3,
    /// A COOKIE ACK was seen.
    Established = 4,
    /// A SHUTDOWN was seen in the original direction.
    ShutdownSent = 5,
    /// A SHUTDOWN was seen in the reply direction.
    ShutdownReceived = 6,
    /// A SHUTDOWN ACK was seen.
    ShutdownAckSent = 7,
    /// A HEARTBEAT was seen, of an association that has another path.
    HeartbeatSent = 8,
}

const _: () = {
    let mut number = 0;
    while number < SctpState::ALL.len() {
        assert!(SctpState::ALL[number] as usize == number);
        number += 1;
    }
};

impl SctpState {
    /// All states, by number.
    pub const ALL: [SctpState; 9] = [
        SctpState::None,
        SctpState::Closed,
        SctpState::CookieWait,
        SctpState::CookieEchoed,
        SctpState::Established,
        SctpState::ShutdownSent,
        SctpState::ShutdownReceived,
        SctpState::ShutdownAckSent,
        SctpState::HeartbeatSent,
    ];

    /// The name that conntrack(8) shows.
    pub fn name(self) -> &'static str {
        match self {
            SctpState::None => "NONE",
            SctpState::Closed => "CLOSED",
            SctpState::CookieWait => "COOKIE_WAIT",
            SctpState::CookieEchoed => "COOKIE_ECHOED",
            SctpState::Established => "ESTABLISHED",
            SctpState::ShutdownSent => "SHUTDOWN_SENT",
            SctpState::ShutdownReceived => "SHUTDOWN_RECD",
            SctpState::ShutdownAckSent => "SHUTDOWN_ACK_SENT",
            SctpState::HeartbeatSent => "HEARTBEAT_SENT",
        }
    }

    fn timeout(self, timeouts: &SctpTimeouts) -> Duration {
        match self {
            // Linux has no timeout of this state, which no packet leads to.
            SctpState::None => Duration::ZERO,
            SctpState::Closed => timeouts.closed,
            SctpState::CookieWait => timeouts.cookie_wait,
            SctpState::CookieEchoed => timeouts.cookie_echoed,
            SctpState::Established => timeouts.established,
            SctpState::ShutdownSent => timeouts.shutdown_sent,
            SctpState::ShutdownReceived => timeouts.shutdown_received,
            SctpState::ShutdownAckSent => timeouts.shutdown_ack_sent,
            SctpState::HeartbeatSent => timeouts.heartbeat_sent,
        }
    }
}

/// The state of an SCTP association (`struct ip_ct_sctp`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Sctp {
    /// The verification tags of packets in each direction; zero while unknown.
    tags: [u32; 2],
    pub(crate) state: SctpState,
    /// An INIT was seen in each direction.
    init: [bool; 2],
    /// A HEARTBEAT with another tag was seen, in this direction.
    strange_heartbeat: Option<Direction>,
}

impl Sctp {
    /// The verification tags, the original direction's first.
    pub(crate) fn tags(&self) -> [u32; 2] {
        self.tags
    }

    /// Sets what a control plane knows of the association (`nlattr_to_sctp`).
    pub(crate) fn restore(&mut self, state: SctpState, tags: [u32; 2]) {
        self.state = state;
        self.tags = tags;
    }

    /// Reports whether the association is being shut down (`sctp_can_early_drop`).
    pub(crate) fn is_closing(&self) -> bool {
        matches!(
            self.state,
            SctpState::ShutdownSent | SctpState::ShutdownReceived | SctpState::ShutdownAckSent
        )
    }
}

/// The state after a chunk; absent if the state does not permit it (`sctp_new_state`).
fn transition(direction: Direction, state: SctpState, kind: u8) -> Option<SctpState> {
    let row = match kind {
        chunk::INIT => 0,
        chunk::INIT_ACK => 1,
        chunk::ABORT => 2,
        chunk::SHUTDOWN => 3,
        chunk::SHUTDOWN_ACK => 4,
        chunk::ERROR => 5,
        chunk::COOKIE_ECHO => 6,
        chunk::COOKIE_ACK => 7,
        chunk::SHUTDOWN_COMPLETE => 8,
        chunk::HEARTBEAT => 9,
        chunk::HEARTBEAT_ACK => 10,
        _ => return Some(state),
    };
    TRANSITIONS[direction as usize][row][state as usize]
}

const CL: Option<SctpState> = Some(SctpState::Closed);
const CW: Option<SctpState> = Some(SctpState::CookieWait);
const CE: Option<SctpState> = Some(SctpState::CookieEchoed);
const ES: Option<SctpState> = Some(SctpState::Established);
const SS: Option<SctpState> = Some(SctpState::ShutdownSent);
const SR: Option<SctpState> = Some(SctpState::ShutdownReceived);
const SA: Option<SctpState> = Some(SctpState::ShutdownAckSent);
const HS: Option<SctpState> = Some(SctpState::HeartbeatSent);
const IV: Option<SctpState> = None;

/// By direction, chunk, and state.
#[rustfmt::skip]
const TRANSITIONS: [[[Option<SctpState>; 9]; 11]; 2] = [
    [
        //                      NO  CL  CW  CE  ES  SS  SR  SA  HS
        /* INIT              */ [CL, CL, CW, CE, ES, CL, CL, SA, CW],
        /* INIT ACK          */ [CL, CL, CW, CE, ES, SS, SR, SA, CL],
        /* ABORT             */ [CL, CL, CL, CL, CL, CL, CL, CL, CL],
        /* SHUTDOWN          */ [CL, CL, CW, CE, SS, SS, SR, SA, CL],
        /* SHUTDOWN ACK      */ [SA, CL, CW, CE, ES, SA, SA, SA, SA],
        /* ERROR             */ [CL, CL, CW, CE, ES, SS, SR, SA, CL],
        /* COOKIE ECHO       */ [CL, CL, CE, CE, ES, SS, SR, SA, CL],
        /* COOKIE ACK        */ [CL, CL, CW, ES, ES, SS, SR, SA, CL],
        /* SHUTDOWN COMPLETE */ [CL, CL, CW, CE, ES, SS, SR, CL, CL],
        /* HEARTBEAT         */ [HS, CL, CW, CE, ES, SS, SR, SA, HS],
        /* HEARTBEAT ACK     */ [CL, CL, CW, CE, ES, SS, SR, SA, HS],
    ],
    [
        //                      NO  CL  CW  CE  ES  SS  SR  SA  HS
        /* INIT              */ [IV, CL, CW, CE, ES, SS, SR, SA, IV],
        /* INIT ACK          */ [IV, CW, CW, CE, ES, SS, SR, SA, IV],
        /* ABORT             */ [IV, CL, CL, CL, CL, CL, CL, CL, IV],
        /* SHUTDOWN          */ [IV, CL, CW, CE, SR, SS, SR, SA, IV],
        /* SHUTDOWN ACK      */ [IV, CL, CW, CE, ES, SA, SA, SA, IV],
        /* ERROR             */ [IV, CL, CW, CL, ES, SS, SR, SA, IV],
        /* COOKIE ECHO       */ [IV, CL, CE, CE, ES, SS, SR, SA, IV],
        /* COOKIE ACK        */ [IV, CL, CW, ES, ES, SS, SR, SA, IV],
        /* SHUTDOWN COMPLETE */ [IV, CL, CW, CE, ES, SS, SR, CL, IV],
        /* HEARTBEAT         */ [IV, CL, CW, CE, ES, SS, SR, SA, HS],
        /* HEARTBEAT ACK     */ [IV, CL, CW, CE, ES, SS, SR, SA, ES],
    ],
];

/// Chunks whose packets are exempt from the general check of the tag: they have rules of their own.
const OWN_TAG_RULES: [u8; 7] = [
    chunk::INIT,
    chunk::SHUTDOWN_COMPLETE,
    chunk::COOKIE_ECHO,
    chunk::ABORT,
    chunk::SHUTDOWN_ACK,
    chunk::HEARTBEAT,
    chunk::HEARTBEAT_ACK,
];

/// The state of an association before its first packet is handled (`sctp_new`).
fn new(message: &[u8], tag: u32) -> Option<Sctp> {
    let mut sctp = Sctp::default();
    for chunk in Chunks::new(message).flatten() {
        let state = transition(Direction::Original, SctpState::None, chunk.kind);
        if matches!(state, None | Some(SctpState::None)) {
            return None;
        }
        match chunk.kind {
            chunk::INIT if tag != 0 => return None,
            chunk::INIT => sctp.tags[Direction::Reply as usize] = chunk.init_tag()?,
            chunk::HEARTBEAT => sctp.tags[Direction::Original as usize] = tag,
            chunk::SHUTDOWN_ACK => sctp.tags[Direction::Reply as usize] = tag,
            // Other chunks contain no tag.
            _ => {}
        }
    }
    Some(sctp)
}

pub(super) fn handle(state: &mut ProtoState, context: &Context<'_>, message: &[u8]) -> Outcome {
    let Some(tag) = tag(message) else {
        return Outcome::Invalid(Invalid::Truncated);
    };
    let Some(kinds) = checked_kinds(message) else {
        return Outcome::Invalid(Invalid::SctpChunks);
    };
    if !context.status.contains(Status::CONFIRMED) {
        // Chunks that answer an association that is not there (RFC 9260, 8.4).
        let answers = [chunk::ABORT, chunk::SHUTDOWN_COMPLETE, chunk::COOKIE_ACK];
        match new(message, tag) {
            Some(sctp) if !kinds.contains_any(&answers) => *state = ProtoState::Sctp(sctp),
            _ => return Outcome::Invalid(Invalid::SctpChunks),
        }
    }
    let ProtoState::Sctp(sctp) = state else {
        return Outcome::Invalid(Invalid::SctpState);
    };
    if !kinds.contains_any(&OWN_TAG_RULES) && tag != sctp.tags[context.direction as usize] {
        return Outcome::Invalid(Invalid::SctpTag);
    }
    let mut effects = Effects::default();
    let mut refreshes = true;
    for chunk in Chunks::new(message).flatten() {
        match handle_chunk(sctp, context, &chunk, tag, &kinds, &mut refreshes) {
            Ok(Some(new)) => {
                if sctp.state != new {
                    effects.state_changed = true;
                    effects.assured |=
                        new == SctpState::Established && !context.status.contains(Status::ASSURED);
                }
                sctp.state = new;
            }
            Ok(None) => {}
            Err(reason) => return Outcome::Invalid(reason),
        }
    }
    if refreshes {
        effects.refresh = Some(sctp.state.timeout(&context.timeouts.sctp));
    }
    Outcome::Accept(effects)
}

/// Handles a chunk. Returns the new state; absent if the chunk is passed over.
fn handle_chunk(
    sctp: &mut Sctp,
    context: &Context<'_>,
    chunk: &Chunk<'_>,
    tag: u32,
    kinds: &Kinds,
    refreshes: &mut bool,
) -> Result<Option<SctpState>, Invalid> {
    let (this, other) = (
        context.direction as usize,
        context.direction.opposite() as usize,
    );
    match chunk.kind {
        // The rules of RFC 9260, 8.5.1.
        chunk::INIT if tag != 0 => return Err(Invalid::SctpTag),
        chunk::ABORT | chunk::SHUTDOWN_COMPLETE => {
            let expected = if chunk.has_reflected_tag() {
                other
            } else {
                this
            };
            if tag != sctp.tags[expected] {
                return Err(Invalid::SctpTag);
            }
        }
        chunk::COOKIE_ECHO if tag != sctp.tags[this] => return Err(Invalid::SctpTag),
        chunk::COOKIE_ACK => sctp.init = [false; 2],
        chunk::HEARTBEAT | chunk::HEARTBEAT_ACK
            if !check_heartbeat(sctp, context.direction, chunk.kind, tag, kinds, *refreshes)? =>
        {
            *refreshes = false;
            return Ok(None);
        }
        // Of the other chunks, and those that are not known, the packet's tag was checked.
        _ => {}
    }
    let old = sctp.state;
    let new = transition(context.direction, old, chunk.kind).ok_or(Invalid::SctpState)?;
    match chunk.kind {
        chunk::INIT => {
            let init_tag = chunk.init_tag().ok_or(Invalid::Truncated)?;
            // A repeated INIT has the tag that is known.
            if old == SctpState::None || sctp.tags[other] != init_tag {
                if sctp.init == [true; 2] {
                    sctp.init[other] = false;
                }
                sctp.init[this] = true;
            }
            sctp.tags[other] = init_tag;
            // Repeated INITs do not keep an association.
            if (old, new) == (SctpState::Closed, SctpState::Closed)
                && context.status.contains(Status::CONFIRMED)
            {
                *refreshes = false;
            }
        }
        chunk::INIT_ACK => {
            let init_tag = chunk.init_tag().ok_or(Invalid::Truncated)?;
            let known = sctp.tags[other];
            let differs = known != init_tag;
            if !sctp.init[other] && known != 0 && differs || sctp.init == [true; 2] && differs {
                return Err(Invalid::SctpTag);
            }
            sctp.tags[other] = init_tag;
        }
        // Other chunks change no tag.
        _ => {}
    }
    Ok(Some(new))
}

/// Checks the tag of a heartbeat or its answer. A tag that is not the association's may be that of a
/// new one with the same addresses: it is taken once the peer has answered. Returns false for a
/// heartbeat that waits for this.
fn check_heartbeat(
    sctp: &mut Sctp,
    direction: Direction,
    kind: u8,
    tag: u32,
    kinds: &Kinds,
    refreshes: bool,
) -> Result<bool, Invalid> {
    let (this, other) = (direction as usize, direction.opposite() as usize);
    if sctp.tags[this] == 0 {
        sctp.tags[this] = tag;
        return Ok(true);
    }
    if tag == sctp.tags[this] {
        sctp.strange_heartbeat = None;
        return Ok(true);
    }
    if kinds.contains(chunk::DATA) || !refreshes {
        return Err(Invalid::SctpTag);
    }
    if kind == chunk::HEARTBEAT {
        sctp.strange_heartbeat = Some(direction);
        return Ok(false);
    }
    if sctp.strange_heartbeat != Some(direction.opposite()) {
        return Err(Invalid::SctpTag);
    }
    sctp.strange_heartbeat = None;
    sctp.tags[this] = tag;
    sctp.tags[other] = 0;
    Ok(true)
}
